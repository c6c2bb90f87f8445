/*
 * h2_map_test.c - HTTP/2 field sections: what becomes of them as a head, what
 * is refused, and answers on their way back.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "worker/http/h2_map.h"

#define GET ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "weir.test"
#define POST ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "weir.test"
#define TUNNEL(to) ":method", "CONNECT", ":protocol", to, ":scheme", "http", ":path", "/", ":authority", "weir.test"
#define MAX_WORDS 32

static struct arena arena;
static struct head head;

/* Name, value, name, value ... NULL. */
static enum h2_bad map(const char *const *words, bool trailers, bool end, size_t max)
{
	struct h2_map m;

	arena_fini(&arena);
	arena_init(&arena, NULL, 1 << 20);
	head_init(&head, &arena);
	h2_map_init(&m, &head, trailers, max);
	for (; *words; words += 2)
		h2_map_field(&m, span_of(words[0]), span_of(words[1]));
	return h2_map_end(&m, end);
}

static void start(void)
{
	arena_init(&arena, NULL, 1 << 20);
}

struct row {
	enum h2_bad want;
	bool end;
	const char *words[MAX_WORDS];
};

static void all(const struct row *rows, size_t n, bool trailers)
{
	start();
	for (size_t i = 0; i < n; i++) {
		enum h2_bad got = map(rows[i].words, trailers, rows[i].end, 4096);

		ck_assert_msg(got == rows[i].want, "row %zu: \"%s\", not \"%s\"", i, h2_bad_text(got),
			      h2_bad_text(rows[i].want));
	}
	arena_fini(&arena);
}

static const struct row refusals[] = {
	{ H2_GOOD, true, { GET } },
	{ H2_BAD_NAME_CASE, true, { GET, "X-Upper", "v" } },
	{ H2_BAD_NAME, true, { GET, "", "v" } },
	{ H2_BAD_NAME, true, { GET, "x y", "v" } },
	{ H2_BAD_NAME, true, { GET, "x:y", "v" } },
	{ H2_BAD_NAME, true, { GET, "x\r\ny", "v" } },
	{ H2_BAD_NAME, true, { GET, "x\x7f", "v" } },
	{ H2_BAD_NAME, true, { GET, "caf\xc3\xa9", "v" } },
	{ H2_BAD_VALUE, true, { GET, "x", "a\r\nb: c" } },
	{ H2_BAD_VALUE, true, { GET, "x", "a\nb" } },
	{ H2_BAD_VALUE, true, { GET, "x", "a\rb" } },
	{ H2_BAD_VALUE, true, { GET, "x", "a\x01" } },
	{ H2_BAD_VALUE_BLANK, true, { GET, "x", " a" } },
	{ H2_BAD_VALUE_BLANK, true, { GET, "x", "a\t" } },
	{ H2_BAD_VALUE_BLANK, true, { GET, "x", " " } },
	{ H2_GOOD, true, { GET, "x", "" } },
	{ H2_BAD_PSEUDO, true, { GET, ":status", "200" } },
	{ H2_BAD_PSEUDO, true, { GET, ":protocol", "websocket" } },
	{ H2_BAD_PSEUDO, true, { GET, ":Path", "/" } },
	{ H2_BAD_PSEUDO_TWICE, true, { GET, ":path", "/" } },
	{ H2_BAD_PSEUDO_LATE, true, { ":method", "GET", ":scheme", "http", ":path", "/", "x", "y", ":authority", "a" } },
	{ H2_BAD_PSEUDO_MISSING, true, { ":scheme", "http", ":path", "/", ":authority", "a" } },
	{ H2_BAD_PSEUDO_MISSING, true, { ":method", "GET", ":path", "/", ":authority", "a" } },
	{ H2_BAD_PSEUDO_MISSING, true, { ":method", "GET", ":scheme", "http", ":authority", "a" } },
	{ H2_BAD_METHOD, true, { ":method", "G T", ":scheme", "http", ":path", "/", ":authority", "a" } },
	{ H2_BAD_METHOD, true, { ":method", "", ":scheme", "http", ":path", "/", ":authority", "a" } },
	{ H2_BAD_SCHEME, true, { ":method", "GET", ":scheme", "ftp", ":path", "/", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "x", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "*", ":authority", "a" } },
	{ H2_GOOD, true, { ":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "/a b", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "/a#b", ":authority", "a" } },
	{ H2_BAD_PATH, true, { ":method", "GET", ":scheme", "http", ":path", "/../x", ":authority", "a" } },
	{ H2_BAD_TARGET, true, { ":method", "GET", ":scheme", "http", ":path", "http://b/", ":authority", "a" } },
	{ H2_BAD_VALUE, true, { ":method", "GET", ":scheme", "http", ":path", "/\r\nx", ":authority", "a" } },
	{ H2_BAD_AUTHORITY, true, { ":method", "GET", ":scheme", "http", ":path", "/" } },
	{ H2_BAD_AUTHORITY, true, { ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "" } },
	{ H2_BAD_AUTHORITY, true, { ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a" } },
	{ H2_BAD_AUTHORITY, true, { ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a/b" } },
	{ H2_BAD_AUTHORITY_TWO, true, { GET, "host", "other.test" } },
	{ H2_GOOD, true, { GET, "host", "weir.test" } },
	{ H2_BAD_DUPLICATE, true, { GET, "host", "weir.test", "host", "weir.test" } },
	{ H2_BAD_CONNECT, true, { ":method", "CONNECT", ":authority", "a:80" } },
	{ H2_BAD_PSEUDO_MISSING, true, { ":method", "CONNECT" } },
	{ H2_BAD_PSEUDO, true, { ":method", "CONNECT", ":authority", "a:80", ":path", "/" } },
	{ H2_BAD_PSEUDO, true, { ":method", "CONNECT", ":authority", "a:80", ":scheme", "http" } },
	{ H2_GOOD, false, { TUNNEL("websocket") } },
	{ H2_GOOD, true, { TUNNEL("WebSocket") } },
	{ H2_BAD_PROTOCOL, false, { TUNNEL("websockets") } },
	{ H2_BAD_PROTOCOL, false, { TUNNEL("connect-udp") } },
	{ H2_BAD_PSEUDO, false, { TUNNEL("") } },
	{ H2_BAD_PSEUDO, false, { TUNNEL("a b") } },
	{ H2_BAD_PSEUDO_TWICE, false, { TUNNEL("websocket"), ":protocol", "websocket" } },
	{ H2_BAD_PSEUDO_MISSING, false, { ":method", "CONNECT", ":protocol", "websocket", ":path", "/" } },
	{ H2_BAD_PSEUDO_MISSING, false, { ":method", "CONNECT", ":protocol", "chat", ":scheme", "http" } },
	{ H2_BAD_AUTHORITY, false, { ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/" } },
	{ H2_BAD_LENGTH, false, { TUNNEL("websocket"), "content-length", "0" } },
	{ H2_BAD_CONNECTION, false, { TUNNEL("websocket"), "upgrade", "websocket" } },
	{ H2_BAD_CONNECTION, true, { GET, "connection", "close" } },
	{ H2_BAD_CONNECTION, true, { GET, "keep-alive", "timeout=5" } },
	{ H2_BAD_CONNECTION, true, { GET, "proxy-connection", "keep-alive" } },
	{ H2_BAD_CONNECTION, true, { GET, "transfer-encoding", "chunked" } },
	{ H2_BAD_CONNECTION, true, { GET, "upgrade", "h2c" } },
	{ H2_BAD_TE, true, { GET, "te", "gzip" } },
	{ H2_BAD_TE, true, { GET, "te", "trailers, gzip" } },
	{ H2_BAD_EXPECT, false, { POST, "expect", "200-ok" } },
	{ H2_BAD_LENGTH, false, { POST, "content-length", "5x" } },
	{ H2_BAD_LENGTH, false, { POST, "content-length", "+5" } },
	{ H2_BAD_LENGTH, false, { POST, "content-length", "" } },
	{ H2_BAD_LENGTH, false, { POST, "content-length", "5", "content-length", "5" } },
	{ H2_BAD_LENGTH, false, { POST, "content-length", "18446744073709551616" } },
	{ H2_BAD_LENGTH_BODY, true, { POST, "content-length", "5" } },
	{ H2_GOOD, true, { POST, "content-length", "0" } },
};

START_TEST(refused)
{
	all(refusals, sizeof(refusals) / sizeof(refusals[0]), false);
}
END_TEST

START_TEST(mapped)
{
	start();
	ck_assert_int_eq(map((const char *[]){ ":method", "POST", ":path", "/a/%7eb/../c?q=1", ":scheme", "https",
					       ":authority", "Weir.Test:8443", "te", "trailers", "expect",
					       "100-continue", "x_forwarded_for", "1", "x-mine", "v", NULL },
			     false, false, 4096), H2_GOOD);
	ck_assert_int_eq(head.method, METHOD_POST);
	ck_assert_int_eq(head.proto, PROTO_HTTP2);
	ck_span_eq(head.path, "/a/c");
	ck_span_eq(head.query, "q=1");
	ck_span_eq(head.host, "weir.test");
	ck_assert_uint_eq(head.port, 8443);
	ck_span_eq(head.scheme, "https");
	ck_span_eq(head_get(&head, HDR_HOST), "Weir.Test:8443");
	ck_assert(head.te_trailers && head.expect_continue && head.body == BODY_STREAM && !head.has_length);
	ck_assert(head_find(&head, SPAN("x_forwarded_for")).p == NULL);
	ck_span_eq(head_find(&head, SPAN("x-mine")), "v");
	arena_fini(&arena);
}
END_TEST

START_TEST(tunnels)
{
	static const char *const words[] = { TUNNEL("websocket"), "sec-websocket-key", "x", "a", "b", NULL };

	start();
	ck_assert_int_eq(map(words, false, false, 4096), H2_GOOD);
	ck_assert_int_eq(head.method, METHOD_GET);
	ck_assert(span_eq(head.method_text, SPAN("GET")));
	ck_assert(head.upgrade && head.tunnel && span_eq(head.upgrade_to, SPAN("websocket")));
	ck_assert_int_eq(head.body, BODY_NONE);
	ck_assert_ptr_null(head_find(&head, SPAN("sec-websocket-key")).p);
	ck_assert(span_eq(head_find(&head, SPAN("a")), SPAN("b")));
	arena_fini(&arena);
}
END_TEST

START_TEST(lengths)
{
	start();
	ck_assert_int_eq(map((const char *[]){ POST, "content-length", "7", NULL }, false, false, 4096), H2_GOOD);
	ck_assert(head.body == BODY_LENGTH && head.has_length && head.length == 7);
	ck_assert_int_eq(map((const char *[]){ POST, "content-length", "0", NULL }, false, false, 4096), H2_GOOD);
	ck_assert(head.body == BODY_NONE && head.has_length && head.length == 0);
	ck_assert_int_eq(map((const char *[]){ POST, NULL }, false, true, 4096), H2_GOOD);
	ck_assert(head.body == BODY_NONE && !head.has_length);
	ck_assert(head_find(&head, SPAN("content-length")).p == NULL);
	arena_fini(&arena);
}
END_TEST

START_TEST(cookies)
{
	start();
	ck_assert_int_eq(map((const char *[]){ GET, "cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "c=3", NULL },
			     false, true, 4096), H2_GOOD);
	ck_span_eq(head_get(&head, HDR_COOKIE), "a=1; b=2; c=3");
	ck_assert_uint_eq(head.nfields, 3);	/* and Host */
	ck_assert_int_eq(map((const char *[]){ GET, "cookie", "a=1; b=2", NULL }, false, true, 4096), H2_GOOD);
	ck_span_eq(head_get(&head, HDR_COOKIE), "a=1; b=2");
	arena_fini(&arena);
}
END_TEST

START_TEST(limits)
{
	const char *words[220] = { GET };
	unsigned n = 8;

	start();
	for (unsigned i = 0; i < 100; i++, n += 2) {
		words[n] = i % 2 ? "cookie" : "x";
		words[n + 1] = "v";
	}
	ck_assert_int_eq(map(words, false, true, 65536), H2_GOOD);
	words[n] = "cookie";
	words[n + 1] = "v";
	ck_assert_int_eq(map(words, false, true, 65536), H2_BAD_FIELDS);
	/* 7+3, 7+4, 5+1, 10+9 and 32 for each */
	ck_assert_int_eq(map((const char *[]){ GET, NULL }, false, true, 46 + 128), H2_GOOD);
	ck_assert_int_eq(map((const char *[]){ GET, NULL }, false, true, 46 + 127), H2_BAD_LARGE);
	ck_assert_uint_eq(h2_bad_status(H2_BAD_LARGE), 431);
	arena_fini(&arena);
}
END_TEST

START_TEST(trailers)
{
	static const struct row rows[] = {
		{ H2_GOOD, true, { "x-sum", "17" } },
		{ H2_BAD_TRAILER_OPEN, false, { "x-sum", "17" } },
		{ H2_BAD_PSEUDO_TRAILER, true, { ":path", "/" } },
		{ H2_BAD_NAME_CASE, true, { "X-Sum", "17" } },
		{ H2_BAD_CONNECTION, true, { "transfer-encoding", "chunked" } },
		{ H2_GOOD, true, { "authorization", "x" } },
	};

	all(rows, sizeof(rows) / sizeof(rows[0]), true);
	start();
	ck_assert_int_eq(map((const char *[]){ "x-sum", "1", "authorization", "x", "content-length", "4", "host", "a",
					       NULL },
			     true, true, 4096), H2_GOOD);
	ck_assert_uint_eq(head.nfields, 1);
	arena_fini(&arena);
}
END_TEST

static void text_of(char *out, size_t room, const struct h2_field *f, unsigned n)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(out + at, room - at, "%.*s=%.*s|", SPAN_FMT(f[i].name), SPAN_FMT(f[i].value));
}

static const char *answer(enum body_kind body, bool has_length, uint64_t length, unsigned status, bool to_head)
{
	static char text[512];
	char scratch[H2_MAP_SCRATCH];
	struct h2_field f[16];

	head.status = (uint16_t)status;
	head.body = body;
	head.has_length = has_length;
	head.length = length;
	text_of(text, sizeof(text), f, h2_map_response(&head, SPAN("now"), to_head, f, scratch));
	return text;
}

START_TEST(answers)
{
	start();
	head_init(&head, &arena);
	head_add(&head, SPAN("Connection"), SPAN("close"));
	head_add(&head, SPAN("Server"), SPAN("one"));
	ck_assert_str_eq(answer(BODY_LENGTH, true, 123, 200, false), ":status=200|date=now|Server=one|content-length=123|");
	ck_assert_str_eq(answer(BODY_STREAM, false, 0, 200, false), ":status=200|date=now|Server=one|");
	ck_assert_str_eq(answer(BODY_CLOSE, false, 0, 500, false), ":status=500|date=now|Server=one|");
	ck_assert_str_eq(answer(BODY_NONE, false, 0, 200, false), ":status=200|date=now|Server=one|content-length=0|");
	ck_assert_str_eq(answer(BODY_NONE, true, UINT64_MAX, 200, true),
			 ":status=200|date=now|Server=one|content-length=18446744073709551615|");
	ck_assert_str_eq(answer(BODY_NONE, false, 0, 304, false), ":status=304|date=now|Server=one|");
	ck_assert_str_eq(answer(BODY_NONE, false, 0, 204, false), ":status=204|date=now|Server=one|");
	ck_assert_str_eq(answer(BODY_NONE, false, 0, 103, false), ":status=103|Server=one|");
	head_add(&head, SPAN("Sec-WebSocket-Accept"), SPAN("x"));
	head_add(&head, SPAN("Upgrade"), SPAN("websocket"));
	ck_assert_str_eq(answer(BODY_TUNNEL, false, 0, 101, false), ":status=200|date=now|Server=one|");
	arena_fini(&arena);
}
END_TEST

UNIT("h2_map", refused, mapped, tunnels, lengths, cookies, limits, trailers, answers)
