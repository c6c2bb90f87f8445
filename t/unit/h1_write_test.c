/*
 * h1_write_test.c - HTTP/1 heads and chunk framing to bytes, and what comes of
 * reading them again.
 */
#include "t/unit/unit.h"

#include "t/unit/codec.h"
#include "worker/http/h1_write.h"

static struct arena arena;
static struct head head;
static char out[4096];

static void fresh(void)
{
	arena_init(&arena, NULL, 1 << 20);
	head_init(&head, &arena);
}

static void done(void)
{
	arena_fini(&arena);
}

/* What is written, in `out`; also that every smaller room is refused and nothing behind the room is touched. */
static const char *written(bool request, struct h1_out how)
{
	size_t n = request ? h1_write_request(&head, &how, out, sizeof(out)) :
			     h1_write_response(&head, &how, out, sizeof(out));
	char *copy = malloc(n + 1);

	ck_assert_uint_gt(n, 0);
	ck_assert_uint_le(n, h1_head_size(&head));
	memcpy(copy, out, n);
	copy[n] = '\0';
	for (size_t room = 0; room <= n; room++) {
		char *p = guarded(out, room);
		size_t got = request ? h1_write_request(&head, &how, p, room) : h1_write_response(&head, &how, p, room);

		ck_assert_uint_eq(got, room == n ? n : 0);
		if (got)
			ck_assert_mem_eq(p, copy, n);
	}
	memcpy(out, copy, n + 1);
	free(copy);
	return out;
}

START_TEST(requests)
{
	fresh();
	head.method = METHOD_GET;
	head.path = SPAN("/a");
	head_add(&head, SPAN("X-Own"), SPAN("1"));
	head_add(&head, SPAN("host"), SPAN("a.example"));
	head_add(&head, SPAN("Empty"), SPAN(""));
	head_add(&head, SPAN("Connection"), SPAN("x"));
	head_add(&head, SPAN("Content-Length"), SPAN("77"));
	head_add(&head, SPAN("Transfer-Encoding"), SPAN("x"));
	head_add(&head, SPAN("Keep-Alive"), SPAN("x"));
	ck_assert_str_eq(written(true, (struct h1_out){ .proto = PROTO_HTTP11 }),
			 "GET /a HTTP/1.1\r\nHost: a.example\r\nX-Own: 1\r\nEmpty: \r\n\r\n");
	head.method_text = SPAN("BREW");
	head.has_query = true;
	ck_assert_str_eq(written(true, (struct h1_out){ .proto = PROTO_HTTP10, .keep_alive = true }),
			 "BREW /a? HTTP/1.0\r\nHost: a.example\r\nX-Own: 1\r\nEmpty: \r\nConnection: keep-alive\r\n\r\n");
	head.query = SPAN("b=c");
	head.body = BODY_STREAM;
	ck_assert_str_eq(written(true, (struct h1_out){ .proto = PROTO_HTTP11, .chunked = true, .close = true }),
			 "BREW /a?b=c HTTP/1.1\r\nHost: a.example\r\nX-Own: 1\r\nEmpty: \r\nTransfer-Encoding: chunked\r\n"
			 "Connection: close\r\n\r\n");
	done();
	fresh();
	head.method = METHOD_POST;
	head.has_length = true;
	ck_assert_str_eq(written(true, (struct h1_out){ .proto = PROTO_HTTP11, .chunked = true }),
			 "POST / HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n");
	head.body = BODY_LENGTH;
	head.length = UINT64_MAX;
	ck_assert_str_eq(written(true, (struct h1_out){ .proto = PROTO_HTTP10 }),
			 "POST / HTTP/1.0\r\nContent-Length: 18446744073709551615\r\n\r\n");
	done();
}
END_TEST

START_TEST(responses)
{
	struct h1_out plain = { .proto = PROTO_HTTP11 };

	fresh();
	head.status = 200;
	head_add(&head, SPAN("Server"), SPAN("s"));
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 0\r\n\r\n");
	plain.to_head = true;
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 200 OK\r\nServer: s\r\n\r\n");
	plain.to_head = false;
	head.has_length = true;
	head.length = 5;
	head.reason = SPAN("Fine");
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 5\r\n\r\n");
	plain.date = SPAN("now");
	ck_assert_str_eq(written(false, plain),
			 "HTTP/1.1 200 Fine\r\nDate: now\r\nServer: s\r\nContent-Length: 5\r\n\r\n");
	head_add(&head, SPAN("date"), SPAN("then"));
	head.body = BODY_STREAM;
	plain.chunked = true;
	ck_assert_str_eq(written(false, plain),
			 "HTTP/1.1 200 Fine\r\nServer: s\r\ndate: then\r\nTransfer-Encoding: chunked\r\n\r\n");
	plain.chunked = false;
	plain.close = true;
	plain.proto = PROTO_HTTP10;
	ck_assert_str_eq(written(false, plain),
			 "HTTP/1.0 200 Fine\r\nServer: s\r\ndate: then\r\nConnection: close\r\n\r\n");
	done();
}
END_TEST

START_TEST(upgrades)
{
	struct h1_out how = { .proto = PROTO_HTTP11, .upgrade = true };

	fresh();
	head.method = METHOD_GET;
	head.path = SPAN("/");
	head.upgrade_to = SPAN("foo/1, websocket");
	head_add(&head, SPAN("Host"), SPAN("a"));
	ck_assert_str_eq(written(true, how), "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
					     "Upgrade: foo/1, websocket\r\n\r\n");
	how.upgrade = false;
	ck_assert_str_eq(written(true, how), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	head_init(&head, &arena);
	head.status = 101;
	head.body = BODY_TUNNEL;
	head.upgrade_to = SPAN("websocket");
	how.upgrade = true;
	how.date = SPAN("now");
	ck_assert_str_eq(written(false, how), "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
					      "Upgrade: websocket\r\n\r\n");
	done();
}
END_TEST

START_TEST(responses_without_framing)
{
	struct h1_out plain = { .proto = PROTO_HTTP11, .chunked = true };

	fresh();
	head.status = 204;
	head.has_length = true;
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 204 No Content\r\n\r\n");
	head.status = 100;
	plain.date = SPAN("now");
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 100 Continue\r\n\r\n");
	head.status = 304;
	head.length = 7;
	plain.date.n = 0;
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
	head.has_length = false;
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 304 Not Modified\r\n\r\n");
	head.status = 599;
	ck_assert_str_eq(written(false, plain), "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n");
	done();
}
END_TEST

START_TEST(chunk_heads)
{
	static const struct { size_t n; const char *text; } cases[] = {
		{ 1, "1\r\n" }, { 9, "9\r\n" }, { 10, "a\r\n" }, { 15, "f\r\n" }, { 16, "10\r\n" }, { 255, "ff\r\n" },
		{ 256, "100\r\n" }, { 65536, "10000\r\n" }, { 0xabcdef12, "abcdef12\r\n" },
		{ SIZE_MAX, "ffffffffffffffff\r\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = h1_write_chunk_head(cases[i].n, out);

		ck_assert_uint_le(n, H1_CHUNK_HEAD);
		out[n] = '\0';
		ck_assert_str_eq(out, cases[i].text);
	}
}
END_TEST

START_TEST(last_chunks)
{
	size_t n = h1_write_last_chunk(NULL, out, 5);

	ck_assert_uint_eq(n, 5);
	ck_assert_mem_eq(out, "0\r\n\r\n", 5);
	ck_assert_uint_eq(h1_write_last_chunk(NULL, out, 4), 0);
	fresh();
	head_add(&head, SPAN("X-Sum"), SPAN("1"));
	head_add(&head, SPAN("Content-Length"), SPAN("1"));
	n = h1_write_last_chunk(&head, out, sizeof(out));
	ck_span_eq(span_make(out, n), "0\r\nX-Sum: 1\r\n\r\n");
	ck_assert_uint_eq(h1_write_last_chunk(&head, out, n - 1), 0);
	done();
}
END_TEST

START_TEST(reads_back)
{
	static const char *const messages[] = {
		"GET /a?b HTTP/1.1\r\nX: y\r\nHost: A.example:80\r\nCookie: a\r\nCookie: b\r\n\r\n",
		"POST http://b/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nEmpty:\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct h1_out how = { .proto = PROTO_HTTP11, .chunked = true };
		struct text a = { NULL, 0 }, b = { NULL, 0 };
		struct parsed first, second;
		size_t n;

		codec_parse(&first, CODEC_REQUEST, METHOD_GET, messages[i], strlen(messages[i]), 0);
		ck_assert(first.scan == H1_DONE && first.bad == H1_GOOD);
		n = h1_write_request(&first.head, &how, out, sizeof(out));
		codec_parse(&second, CODEC_REQUEST, METHOD_GET, out, n, 0);
		ck_assert(second.scan == H1_DONE && second.bad == H1_GOOD && second.len == n);
		text_head(&a, &first.head, false);
		text_fields(&a, &first.head, false);
		text_head(&b, &second.head, false);
		text_fields(&b, &second.head, false);
		ck_assert_str_eq(a.p, b.p);
		free(a.p);
		free(b.p);
		parsed_fini(&first);
		parsed_fini(&second);
	}
}
END_TEST

UNIT("h1_write", requests, responses, upgrades, responses_without_framing, chunk_heads, last_chunks, reads_back)
