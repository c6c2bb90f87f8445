/*
 * ws_key_test.c - the handshake of WebSocket over HTTP/1.1.
 */
#include "t/unit/unit.h"

#include "worker/http/ws_key.h"

static struct arena arena;
static struct head head;

static void start(void)
{
	arena_init(&arena, NULL, 1 << 20);
	head_init(&head, &arena);
}

START_TEST(key_and_proof)
{
	char key[WS_KEY_LEN + 1], accept[WS_ACCEPT_LEN + 1];

	/* RFC 6455 1.3 */
	ws_key_make((const unsigned char *)"the sample nonce", key);
	ck_assert_str_eq(key, "dGhlIHNhbXBsZSBub25jZQ==");
	ws_key_accept(key, accept);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
END_TEST

START_TEST(who_needs_one)
{
	start();
	ck_assert(!ws_key_missing(&head));
	head.tunnel = true;
	head.upgrade_to = SPAN("echo");
	ck_assert(!ws_key_missing(&head));
	head.upgrade_to = SPAN("WebSocket");
	ck_assert(ws_key_missing(&head));
	head_add(&head, SPAN("sec-websocket-KEY"), SPAN("x"));
	ck_assert(!ws_key_missing(&head));
	arena_fini(&arena);
}
END_TEST

START_TEST(what_proves_it)
{
	start();
	ck_assert(!ws_key_proven(&head, SPAN("abc=")));
	head_add(&head, SPAN("Sec-WebSocket-Accept"), SPAN("abc="));
	ck_assert(ws_key_proven(&head, SPAN("abc=")));
	ck_assert(!ws_key_proven(&head, SPAN("ABC=")));
	arena_fini(&arena);
}
END_TEST

UNIT("ws_key", key_and_proof, who_needs_one, what_proves_it)
