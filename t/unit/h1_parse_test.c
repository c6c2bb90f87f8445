/*
 * h1_parse_test.c - HTTP/1 heads: what is read, what is refused and why.
 *
 * Each message is read whole, split at every byte, and against a page that
 * cannot be read; all must come to the same.
 */
#include "t/unit/unit.h"

#include "t/unit/codec.h"

struct bad_case {
	const char *bytes;
	size_t n;
	enum h1_bad bad;
};

#define B(text, id) { text, sizeof(text) - 1, H1_BAD_##id }
#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define END "\r\n"
#define OK "HTTP/1.1 200 OK\r\n"

static struct parsed got;

/* Whole, then in steps of 1 and 7; the last reading stays in `got`. */
static enum h1_bad read_all_ways(enum codec_kind kind, enum method m, const char *bytes, size_t n)
{
	static const size_t steps[] = { 1, 7 };
	struct parsed whole;

	codec_parse(&whole, kind, m, bytes, n, 0);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		parsed_fini(&got);
		codec_parse(&got, kind, m, bytes, n, n > 4096 ? steps[i] * 61 : steps[i]);
		ck_assert_msg(parsed_same(&whole, &got), "split by %zu differs: %.200s: rc %d %d, %s, %s", steps[i], bytes,
			      whole.scan, got.scan, h1_bad_text(whole.bad), h1_bad_text(got.bad));
	}
	ck_assert_msg(whole.scan != H1_MORE, "more wanted: %.200s", bytes);
	parsed_fini(&whole);
	return got.bad;
}

static void check_bad(enum codec_kind kind, const struct bad_case *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		enum h1_bad bad = read_all_ways(kind, METHOD_GET, c[i].bytes, c[i].n);

		ck_assert_msg(bad == c[i].bad, "case %zu, \"%.*s\": %s, not: %s", i, (int)c[i].n, c[i].bytes,
			      h1_bad_text(bad), h1_bad_text(c[i].bad));
	}
}

static void request(const char *text)
{
	enum h1_bad bad = read_all_ways(CODEC_REQUEST, METHOD_GET, text, strlen(text));

	ck_assert_msg(bad == H1_GOOD, "%s: %s", text, h1_bad_text(bad));
}

static void response(enum method m, const char *text)
{
	enum h1_bad bad = read_all_ways(CODEC_RESPONSE, m, text, strlen(text));

	ck_assert_msg(bad == H1_GOOD, "%s: %s", text, h1_bad_text(bad));
}

static const char *fields(void)
{
	static char out[4096];
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < got.head.nfields; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s: %.*s|", SPAN_FMT(got.head.fields[i].name),
				      SPAN_FMT(got.head.fields[i].value));
	return out;
}

START_TEST(reads_a_request)
{
	const struct head *h = &got.head;

	request("GET /a/./b?c=d HTTP/1.1\r\nhost: A.Example.:8080\r\nX-Own:\t one two \t\r\n"
		"Empty:\r\nAccept: \xc3\xa4\r\n\r\n");
	ck_assert(h->method == METHOD_GET && h->proto == PROTO_HTTP11 && h->body == BODY_NONE && !h->has_length);
	ck_span_eq(h->target, "/a/./b?c=d");
	ck_span_eq(h->path, "/a/b");
	ck_span_eq(h->query, "c=d");
	ck_span_eq(h->authority, "A.Example.:8080");
	ck_span_eq(h->host, "a.example");
	ck_assert_uint_eq(h->port, 8080);
	ck_assert_str_eq(fields(), "host: A.Example.:8080|X-Own: one two|Empty: |Accept: \xc3\xa4|");
	ck_assert(got.wire.keep_alive && !got.wire.close && !h->upgrade && !h->expect_continue);
	ck_assert_uint_eq(got.len, strlen("GET /a/./b?c=d HTTP/1.1\r\nhost: A.Example.:8080\r\nX-Own:\t one two \t\r\n"
					  "Empty:\r\nAccept: \xc3\xa4\r\n\r\n"));
}
END_TEST

START_TEST(stops_at_the_end_of_the_head)
{
	request(GET HOST END "GET /next HTTP/1.1\r\n");
	ck_assert_uint_eq(got.len, strlen(GET HOST END));
	request("\r\n" GET HOST END);
	ck_assert_uint_eq(got.len, strlen("\r\n" GET HOST END));
	request("BREW / HTTP/1.0\r\n\r\n\r\n");
	ck_assert(got.head.method == METHOD_OTHER);
	ck_assert_uint_eq(got.len, strlen("BREW / HTTP/1.0\r\n\r\n"));
}
END_TEST

START_TEST(waits_for_the_rest)
{
	const char *text = "\r\n" GET HOST "X: y\r\n" END;
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++) {
		struct parsed r;

		codec_parse(&r, CODEC_REQUEST, METHOD_GET, text, i, 0);
		ck_assert_msg(r.scan == H1_MORE, "done after %zu", i);
		parsed_fini(&r);
	}
}
END_TEST

START_TEST(decides_the_request_body)
{
	const struct head *h = &got.head;

	request(POST "Content-Length: 12\r\n" END);
	ck_assert(h->body == BODY_LENGTH && h->has_length && h->length == 12);
	ck_assert_str_eq(fields(), "Host: a|");
	request(POST "Content-Length: \t0 \t\r\n" END);
	ck_assert(h->body == BODY_NONE && h->has_length && h->length == 0);
	request(POST "Content-Length: 9223372036854775807\r\n" END);
	ck_assert(h->body == BODY_LENGTH && h->length == INT64_MAX);
	request(POST "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n" END);
	ck_assert(h->body == BODY_STREAM && !h->has_length);
	ck_assert_str_eq(fields(), "Host: a|Trailer: X-Sum|");
	request(POST "transfer-encoding:  CHUNKED  \r\n" END);
	ck_assert(h->body == BODY_STREAM);
	request("POST / HTTP/1.0\r\nContent-Length: 3\r\n" END);
	ck_assert(h->body == BODY_LENGTH && !got.wire.keep_alive);
}
END_TEST

START_TEST(reads_the_connection)
{
	request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" END);
	ck_assert(got.wire.keep_alive && !got.wire.close && got.head.nfields == 0 && got.head.host.n == 0);
	request("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n" END);
	ck_assert(!got.wire.keep_alive && got.wire.close);
	request(GET HOST "Connection: CLOSE\r\n" END);
	ck_assert(!got.wire.keep_alive && got.wire.close);
	request(GET HOST "X-Own: 1\r\nConnection: x-own, host, content-length, cookie,x-real-ip\r\n"
		"Cookie: c\r\nX-Real-IP: i\r\nContent-Length: 5\r\nKeep-Alive: 5\r\n"
		"Proxy-Connection: keep-alive\r\nTE: trailers\r\n" END);
	ck_assert_str_eq(fields(), "Host: a|Cookie: c|X-Real-IP: i|");
	ck_assert(got.head.body == BODY_LENGTH && got.head.te_trailers);
	request(GET HOST "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n" END);
	ck_assert(got.head.upgrade);
	ck_span_eq(got.head.upgrade_to, "websocket");
	ck_assert_str_eq(fields(), "Host: a|Sec-WebSocket-Key: k|");
	request(GET HOST "Upgrade: websocket\r\n" END);
	ck_assert(!got.head.upgrade && got.head.upgrade_to.n == 0);
	request(GET HOST "Connection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n" END);
	ck_assert(!got.head.upgrade);
	ck_assert_str_eq(fields(), "Host: a|");
	request("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" END);
	ck_assert(!got.head.upgrade);
}
END_TEST

START_TEST(reads_expectations)
{
	request(POST "Content-Length: 1\r\nExpect: 100-Continue\r\n" END);
	ck_assert(got.head.expect_continue);
	request(POST "Expect: 100-continue\r\n" END);
	ck_assert(!got.head.expect_continue);
	request("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n" END);
	ck_assert(!got.head.expect_continue);
}
END_TEST

START_TEST(target_wins_over_host)
{
	request("GET http://New.Example:81/x HTTP/1.1\r\nX: y\r\nHost: old\r\n" END);
	ck_span_eq(got.head.host, "new.example");
	ck_span_eq(got.head.scheme, "http");
	ck_span_eq(got.head.path, "/x");
	ck_assert_uint_eq(got.head.port, 81);
	ck_assert_str_eq(fields(), "X: y|Host: New.Example:81|");
	request("GET http://new HTTP/1.0\r\n" END);
	ck_assert_str_eq(fields(), "Host: new|");
	ck_span_eq(got.head.path, "/");
	request("OPTIONS * HTTP/1.1\r\n" HOST END);
	ck_span_eq(got.head.path, "*");
}
END_TEST

START_TEST(drops_disguised_fields)
{
	request(GET HOST "X_Forwarded_For: 1\r\nx_real-ip: 2\r\nX_REQUEST_ID: 3\r\nContent_Length: 4\r\n"
		"Transfer_Encoding: chunked\r\nX_Own: 5\r\nX-Forwarded_Proto: 6\r\n" END);
	ck_assert_str_eq(fields(), "Host: a|X_Own: 5|");
	ck_assert(got.head.body == BODY_NONE);
}
END_TEST

static const struct bad_case bad_requests[] = {
	/* start */
	B("\n" GET HOST END, BARE_LF), B("\r" GET HOST END, BARE_CR), B("\r\n\r\n" GET HOST END, LEADING_LINES),
	B("\r\n\n" GET HOST END, BARE_LF), B(" " GET HOST END, START), B("\t" GET HOST END, START),
	B("\r\n " GET HOST END, START), B("\x16\x03\x01\x02", START), B("\0" GET HOST END, START), B(":" GET, START),
	/* request line */
	B("GET\r\n\r\n", METHOD), B("GET\t/ HTTP/1.1\r\n" HOST END, METHOD), B("G@T / HTTP/1.1\r\n" HOST END, METHOD),
	B("GET\0 / HTTP/1.1\r\n" HOST END, METHOD), B("GET:/ / HTTP/1.1\r\n" HOST END, METHOD),
	B("GET  / HTTP/1.1\r\n" HOST END, TARGET), B("GET /\r\n\r\n", VERSION), B("GET / \r\n\r\n", VERSION),
	B("GET /  HTTP/1.1\r\n" HOST END, VERSION), B("GET / HTTP/1.1 \r\n" HOST END, VERSION),
	B("GET /\tHTTP/1.1\r\n" HOST END, TARGET), B("GET / x HTTP/1.1\r\n" HOST END, VERSION),
	B("GET /a b HTTP/1.1\r\n" HOST END, VERSION), B("GET / http/1.1\r\n" HOST END, VERSION),
	B("GET / HTTP/1.1x\r\n" HOST END, VERSION), B("GET / HTTP/1.10\r\n" HOST END, VERSION),
	B("GET / HTTP/11\r\n" HOST END, VERSION), B("GET / HTTP/1\r\n" HOST END, VERSION),
	B("GET / HTTP/ 1.1\r\n" HOST END, VERSION), B("GET / HTTP/01.1\r\n" HOST END, VERSION),
	B("GET / HTTP/1,1\r\n" HOST END, VERSION), B("GET / HTTPS/1.1\r\n" HOST END, VERSION),
	B("GET / ICY\r\n\r\n", VERSION), B("GET / HTTP/1.2\r\n" HOST END, VERSION_UNKNOWN),
	B("GET / HTTP/0.9\r\n" HOST END, VERSION_UNKNOWN), B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION_UNKNOWN),
	B("GET / HTTP/3.0\r\n" HOST END, VERSION_UNKNOWN), B("GET / HTTP/1.1\r\r\n" HOST END, VERSION),
	B("GET / HTTP/1.1\n" HOST END, BARE_LF),
	/* target */
	B("GET /#a HTTP/1.1\r\n" HOST END, TARGET), B("GET /\0 HTTP/1.1\r\n" HOST END, TARGET),
	B("GET /\x7f HTTP/1.1\r\n" HOST END, TARGET), B("GET /\x80 HTTP/1.1\r\n" HOST END, TARGET),
	B("GET /\x01 HTTP/1.1\r\n" HOST END, TARGET), B("GET a HTTP/1.1\r\n" HOST END, TARGET),
	B("GET * HTTP/1.1\r\n" HOST END, TARGET), B("GET /.. HTTP/1.1\r\n" HOST END, TARGET),
	B("GET /%00 HTTP/1.1\r\n" HOST END, TARGET), B("GET /%zz HTTP/1.1\r\n" HOST END, TARGET),
	B("GET /a/..%2fb HTTP/1.1\r\n" HOST END, TARGET), B("GET ftp://a/ HTTP/1.1\r\n" HOST END, TARGET),
	B("GET http:///a HTTP/1.1\r\n" HOST END, TARGET), B("GET http://u@a/ HTTP/1.1\r\n" HOST END, TARGET),
	B("GET http:a HTTP/1.1\r\n" HOST END, TARGET), B("CONNECT /a HTTP/1.1\r\n" HOST END, TARGET),
	B("CONNECT a:443 HTTP/1.1\r\n" HOST END, CONNECT), B("GET ?a HTTP/1.1\r\n" HOST END, TARGET),
	/* host */
	B(GET END, HOST_MISSING), B(GET "X: Host: a\r\n" END, HOST_MISSING), B(GET HOST HOST END, HOST_TWICE),
	B("GET / HTTP/1.0\r\n" HOST "host: b\r\n" END, HOST_TWICE), B("GET http://a/ HTTP/1.1\r\n" END, HOST_MISSING),
	B(GET "Host: \r\n" END, HOST), B(GET "Host: a b\r\n" END, HOST), B(GET "Host: a,b\r\n" END, HOST),
	B(GET "Host: a/b\r\n" END, HOST), B(GET "Host: u@a\r\n" END, HOST), B(GET "Host: a:x\r\n" END, HOST),
	B(GET "Host: a:65536\r\n" END, HOST), B(GET "Host: [::1\r\n" END, HOST), B(GET "Host: a\xff\r\n" END, HOST),
	B(GET "Host: http://a\r\n" END, HOST), B("GET http://a/ HTTP/1.1\r\nHost: b b\r\n" END, HOST),
	B("GET / HTTP/1.0\r\nHost: a?\r\n" END, HOST), B(GET HOST "Host : b\r\n" END, NAME_BLANK),
	/* fields */
	B(GET HOST ": x\r\n" END, NAME), B(GET HOST "X\r\n" END, NAME), B(GET HOST "X : y\r\n" END, NAME_BLANK),
	B(GET HOST "X\t: y\r\n" END, NAME_BLANK), B(GET HOST " X: y\r\n" END, FOLD),
	B(GET " X: y\r\n" HOST END, FOLD), B(GET HOST "X: y\r\n z\r\n" END, FOLD),
	B(GET HOST "X: y\r\n\tz\r\n" END, FOLD), B(GET HOST " \r\n" END, FOLD), B(GET HOST "X@: y\r\n" END, NAME),
	B(GET HOST "X\0: y\r\n" END, NAME), B(GET HOST "X\x80: y\r\n" END, NAME), B(GET HOST "(X): y\r\n" END, NAME),
	B(GET HOST "X\x01: y\r\n" END, NAME), B(GET HOST "X: y\n" END, BARE_LF), B(GET HOST "X: y\n\r\n", BARE_LF),
	B(GET HOST "X: y\rz\r\n" END, BARE_CR), B(GET HOST "X: y\r\r\n" END, BARE_CR),
	B(GET HOST "X\r: y\r\n" END, NAME), B(GET HOST "X: y\0z\r\n" END, VALUE),
	B(GET HOST "X: y\x7fz\r\n" END, VALUE), B(GET HOST "X: \x01\r\n" END, VALUE),
	B(GET HOST "X: \x1b[31m\r\n" END, VALUE), B(GET HOST "X: \x0b\r\n" END, VALUE),
	B(GET HOST "\r: y\r\n" END, BARE_CR), B(GET HOST "\rX: y\r\n" END, BARE_CR),
	B(GET HOST "X: y\r\n\n", BARE_LF), B(GET HOST "Authorization: a\r\nAuthorization: b\r\n" END, DUPLICATE),
	B(GET HOST "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\nConnection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n" END,
	  CONNECTION),
	B(POST "Content-Length: 1\r\nExpect: 200-ok\r\n" END, EXPECT), B(POST "Expect:\r\n" END, EXPECT),
	/* framing */
	B(POST "Content-Length:\r\n" END, LENGTH), B(POST "Content-Length: +1\r\n" END, LENGTH),
	B(POST "Content-Length: -1\r\n" END, LENGTH), B(POST "Content-Length: 1,1\r\n" END, LENGTH),
	B(POST "Content-Length: 1, 2\r\n" END, LENGTH), B(POST "Content-Length: 0x1\r\n" END, LENGTH),
	B(POST "Content-Length: 1 2\r\n" END, LENGTH), B(POST "Content-Length: 1a\r\n" END, LENGTH),
	B(POST "Content-Length: 1.0\r\n" END, LENGTH), B(POST "Content-Length: \"1\"\r\n" END, LENGTH),
	B(POST "Content-Length: 9223372036854775808\r\n" END, LENGTH),
	B(POST "Content-Length: 18446744073709551617\r\n" END, LENGTH),
	B(POST "Content-Length: 99999999999999999999999\r\n" END, LENGTH),
	B(POST "Content-Length: \xb2\r\n" END, LENGTH), B(POST "Content-Length: \x0b" "1\r\n" END, VALUE),
	B(POST "Content-Length: 1\r\nContent-Length: 1\r\n" END, LENGTH_TWICE),
	B(POST "Content-Length: 1\r\ncontent-length: 2\r\n" END, LENGTH_TWICE),
	B(POST "Content-Length : 1\r\n" END, NAME_BLANK),
	B(POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" END, LENGTH_AND_CODING),
	B(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" END, LENGTH_AND_CODING),
	B(POST "Transfer-Encoding: identity\r\nContent-Length: 1\r\n" END, LENGTH_AND_CODING),
	B("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" END, CODING_10),
	B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked, chunked\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked, identity\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked, gzip\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked,\r\n" END, CODING), B(POST "Transfer-Encoding: ,chunked\r\n" END, CODING),
	B(POST "Transfer-Encoding:\r\n" END, CODING), B(POST "Transfer-Encoding:\tchunked\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked\t\r\n" END, CODING),
	B(POST "Transfer-Encoding: chunked;q=1\r\n" END, CODING),
	B(POST "Transfer-Encoding: \"chunked\"\r\n" END, CODING),
	B(POST "Transfer-Encoding: chun ked\r\n" END, CODING),
	B(POST "Transfer-Encoding: \x0b" "chunked\r\n" END, VALUE),
	B(POST "Transfer-Encoding: chunked\0\r\n" END, VALUE), B(POST "Transfer-Encoding: [chunked]\r\n" END, CODING),
	B(POST "Transfer-Encoding : chunked\r\n" END, NAME_BLANK),
	B(POST "Transfer-Encoding\n: chunked\r\n" END, BARE_LF),
	B(POST "Transfer-Encoding: x\r\n chunked\r\n" END, FOLD),
	B(POST "Transfer-Encoding: gzip, chunked\r\n" END, CODING_UNKNOWN),
	B(POST "Transfer-Encoding: identity\r\n" END, CODING_UNKNOWN),
	B(POST "Transfer-Encoding: xchunked\r\n" END, CODING_UNKNOWN),
};

START_TEST(refuses_requests)
{
	check_bad(CODEC_REQUEST, bad_requests, sizeof(bad_requests) / sizeof(bad_requests[0]));
}
END_TEST

START_TEST(refuses_every_control_byte)
{
	static const struct { const char *before, *after; } places[] = {
		{ "GET /a", "b HTTP/1.1\r\n" HOST END }, { "G", "T / HTTP/1.1\r\n" HOST END },
		{ GET HOST "X: a", "b\r\n" END }, { GET HOST "X: long enough for a whole vector", " of bytes\r\n" END },
		{ GET HOST "Na", "me: b\r\n" END }, { GET "Host: a", "b\r\n" END },
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (int c = 0; c < 128; c = c == 31 ? 127 : c + 1) {
			char text[200];
			size_t n = strlen(places[i].before), m = strlen(places[i].after);
			bool value = strstr(places[i].before, "X:") != NULL;

			memcpy(text, places[i].before, n);
			text[n] = (char)c;
			memcpy(text + n + 1, places[i].after, m);
			ck_assert_msg((read_all_ways(CODEC_REQUEST, METHOD_GET, text, n + 1 + m) == H1_GOOD) ==
				      (value && c == '\t'), "place %zu, byte %d", i, c);
		}
	}
}
END_TEST

/* GET, then `unit` n times, then the rest. */
static enum h1_bad repeated(const char *before, const char *unit, size_t n, const char *after)
{
	size_t len = strlen(before), each = strlen(unit), rest = strlen(after);
	char *text = malloc(len + n * each + rest);
	enum h1_bad bad;

	memcpy(text, before, len);
	for (size_t i = 0; i < n; i++, len += each)
		memcpy(text + len, unit, each);
	memcpy(text + len, after, rest);
	bad = read_all_ways(CODEC_REQUEST, METHOD_GET, text, len + rest);
	free(text);
	return bad;
}

START_TEST(limits)
{
	size_t fixed = strlen("GET / HTTP/1.1\r\n");

	ck_assert(repeated("GET /", "a", H1_LINE_MAX - fixed, " HTTP/1.1\r\n" HOST END) == H1_GOOD);
	ck_assert(repeated("GET /", "a", H1_LINE_MAX - fixed + 1, " HTTP/1.1\r\n" HOST END) == H1_BAD_TARGET_LARGE);
	ck_assert(repeated("\r\nGET /", "a", H1_LINE_MAX - fixed, " HTTP/1.1\r\n" HOST END) == H1_GOOD);
	ck_assert(repeated("GET /", "a", 200000, "") == H1_BAD_TARGET_LARGE);
	ck_assert(repeated("G", "E", 20000, "") == H1_BAD_LINE_LARGE);
	ck_assert(repeated(GET HOST, "X: y\r\n", H1_FIELDS_MAX - 1, END) == H1_GOOD);
	ck_assert_uint_eq(got.head.nfields, H1_FIELDS_MAX);
	ck_assert(repeated(GET HOST, "X: y\r\n", H1_FIELDS_MAX, END) == H1_BAD_FIELDS);
	ck_assert(repeated(GET HOST, "Keep-Alive: y\r\n", H1_FIELDS_MAX, END) == H1_BAD_FIELDS);
	fixed = strlen(GET HOST "X: \r\n" END);
	ck_assert(repeated(GET HOST "X: ", "y", CODEC_MAX - fixed, "\r\n" END) == H1_GOOD);
	ck_assert_uint_eq(got.len, CODEC_MAX);
	ck_assert(repeated(GET HOST "X: ", "y", CODEC_MAX - fixed + 1, "\r\n" END) == H1_BAD_HEAD_LARGE);
	ck_assert(repeated(GET HOST, "X: y\r\n", 20000, END) == H1_BAD_HEAD_LARGE);
	/* Lengths around the widths that counters have had elsewhere. */
	for (size_t n = 254; n < 259; n++) {
		ck_assert(repeated(GET HOST "X: ", "y", n, "\r\n" END) == H1_GOOD);
		ck_assert_uint_eq(got.head.fields[1].value.n, n);
		ck_assert(repeated(GET HOST "X", "y", n, ": z\r\n" END) == H1_GOOD);
		ck_assert_uint_eq(got.head.fields[1].name.n, n + 1);
	}
	ck_assert_uint_eq(h1_bad_status(H1_BAD_TARGET_LARGE), 414);
	ck_assert_uint_eq(h1_bad_status(H1_BAD_FIELDS), 431);
	ck_assert_uint_eq(h1_bad_status(H1_BAD_HEAD_LARGE), 431);
	ck_assert_uint_eq(h1_bad_status(H1_BAD_VERSION_UNKNOWN), 505);
	ck_assert_uint_eq(h1_bad_status(H1_BAD_CODING_UNKNOWN), 501);
}
END_TEST

START_TEST(long_field_past_the_scan)
{
	/* 64 KiB and more of one value: the parser alone, the limit is the caller's. */
	for (size_t n = 65534; n < 65538; n++) {
		size_t len = strlen(GET HOST "X: ");
		char *text = malloc(len + n + 4);
		struct parsed r;

		memset(&r, 0, sizeof(r));
		memcpy(text, GET HOST "X: ", len);
		memset(text + len, 'y', n);
		memcpy(text + len + n, "\r\n\r\n", 4);
		arena_init(&r.arena, NULL, 1 << 20);
		head_init(&r.head, &r.arena);
		ck_assert(h1_parse_request(&r.head, &r.wire, guarded(text, len + n + 4), len + n + 4) == H1_GOOD);
		ck_assert_uint_eq(r.head.fields[1].value.n, n);
		parsed_fini(&r);
		free(text);
	}
}
END_TEST

START_TEST(survives_no_memory)
{
	const char *text = GET HOST "X: y\r\n" END;

	for (size_t limit = 1; limit < 4096 * 3; limit += 512) {
		struct arena a;
		struct head h;
		struct h1_wire w;
		enum h1_bad bad;

		arena_init(&a, NULL, limit);
		head_init(&h, &a);
		bad = h1_parse_request(&h, &w, guarded(text, strlen(text)), strlen(text));
		ck_assert(bad == H1_GOOD || h1_bad_status(bad) >= 400);
		arena_fini(&a);
	}
}
END_TEST

START_TEST(reads_a_response)
{
	const struct head *h = &got.head;

	response(METHOD_GET, OK "Server: x\r\nContent-Length: 5\r\nConnection: X-Own\r\nX-Own: 1\r\n" END);
	ck_assert(h->status == 200 && h->body == BODY_LENGTH && h->length == 5 && got.wire.keep_alive);
	ck_span_eq(h->reason, "OK");
	ck_assert_str_eq(fields(), "Server: x|");
	response(METHOD_GET, "HTTP/1.1 599\r\nContent-Length: 0\r\n" END);
	ck_assert(h->status == 599 && h->reason.n == 0 && h->body == BODY_NONE && h->has_length);
	response(METHOD_GET, "HTTP/1.1 404 \r\nTransfer-Encoding: Chunked\r\n" END);
	ck_assert(h->body == BODY_STREAM && h->reason.n == 0);
	response(METHOD_GET, "HTTP/1.1 200 \xc3\xa4 \t x\r\n" END);
	ck_span_eq(h->reason, "\xc3\xa4 \t x");
	ck_assert(h->body == BODY_CLOSE && !got.wire.keep_alive);
	response(METHOD_GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n" END);
	ck_assert(h->body == BODY_LENGTH && !got.wire.keep_alive);
	response(METHOD_GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n" END);
	ck_assert(got.wire.keep_alive);
	response(METHOD_GET, OK "Content-Length: 5\r\nConnection: close\r\n" END);
	ck_assert(!got.wire.keep_alive && got.wire.close);
}
END_TEST

START_TEST(responses_without_body)
{
	const struct head *h = &got.head;

	response(METHOD_HEAD, OK "Content-Length: 5\r\n" END);
	ck_assert(h->body == BODY_NONE && h->has_length && h->length == 5 && got.wire.keep_alive);
	response(METHOD_HEAD, OK "Transfer-Encoding: chunked\r\n" END);
	ck_assert(h->body == BODY_NONE && !h->has_length && got.wire.keep_alive);
	response(METHOD_HEAD, OK END);
	ck_assert(h->body == BODY_NONE && !h->has_length && got.wire.keep_alive);
	response(METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" END);
	ck_assert(h->body == BODY_NONE && h->has_length && h->length == 5);
	response(METHOD_GET, "HTTP/1.1 204 No Content\r\n" END);
	ck_assert(h->body == BODY_NONE && !h->has_length && got.wire.keep_alive);
	response(METHOD_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n" END);
	ck_assert(h->body == BODY_NONE && !h->has_length && !got.wire.keep_alive);
	response(METHOD_GET, "HTTP/1.1 100 Continue\r\n" END "HTTP/1.1 200 OK\r\n");
	ck_assert(h->body == BODY_NONE && !h->upgrade && got.wire.keep_alive);
	ck_assert_uint_eq(got.len, strlen("HTTP/1.1 100 Continue\r\n" END));
	response(METHOD_GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" END);
	ck_assert(h->upgrade && h->body == BODY_NONE && !got.wire.keep_alive);
	ck_span_eq(h->upgrade_to, "websocket");
	response(METHOD_CONNECT, OK END);
	ck_assert(h->body == BODY_NONE && !got.wire.keep_alive);
	response(METHOD_CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n" END);
	ck_assert(h->body == BODY_LENGTH);
}
END_TEST

static const struct bad_case bad_responses[] = {
	B("\r\n" OK END, STATUS_LINE), B(" " OK END, START), B("\r\n\r\n" OK END, LEADING_LINES),
	B("\0\0\0\0", START), B("\x15\x03\x01\x00\x02\x02\x28", START), B("SSH-2.0-x\r\n\r\n", STATUS_LINE),
	B("ICY 200 OK\r\n\r\n", STATUS_LINE), B("<html>\r\n\r\n", START), B("HTTP/1.1\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 \r\n\r\n", STATUS_LINE), B("HTTP/1.1 20\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 2000 OK\r\n\r\n", STATUS_LINE), B("HTTP/1.1 20x OK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1  200 OK\r\n\r\n", STATUS_LINE), B("HTTP/1.1\t200 OK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 200\tOK\r\n\r\n", STATUS_LINE), B("HTTP/1.1 099 OK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 600 OK\r\n\r\n", STATUS_LINE), B("HTTP/1.1 000 OK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 -20 OK\r\n\r\n", STATUS_LINE), B("HTTP/1.2 200 OK\r\n\r\n", STATUS_LINE),
	B("HTTP/2.0 200 OK\r\n\r\n", STATUS_LINE), B("HTTP/2 200\r\n\r\n", STATUS_LINE),
	B("http/1.1 200 OK\r\n\r\n", STATUS_LINE), B("HTTP/1.1 200 O\rK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 200 O\0K\r\n\r\n", STATUS_LINE), B("HTTP/1.1 200 O\x1bK\r\n\r\n", STATUS_LINE),
	B("HTTP/1.1 200 OK\n\n", BARE_LF), B("HTTP/1.1 200 OK\r\n\n", BARE_LF),
	B("HTTP/1.1 200 \x7f\r\n\r\n", STATUS_LINE), B("GET / HTTP/1.1\r\n\r\n", STATUS_LINE),
	B(OK "X: a\nSet-Cookie: b\r\n" END, BARE_LF), B(OK "X: a\rSet-Cookie: b\r\n" END, BARE_CR),
	B(OK "X: a\0\r\n" END, VALUE), B(OK "X: a\r\n b\r\n" END, FOLD), B(OK " X: a\r\n" END, FOLD),
	B(OK "X : a\r\n" END, NAME_BLANK), B(OK ": a\r\n" END, NAME), B(OK "X\r\n" END, NAME),
	B(OK "X y: a\r\n" END, NAME_BLANK), B(OK "X\x80: a\r\n" END, NAME),
	B(OK "Content-Length: 5\r\nContent-Length: 5\r\n" END, LENGTH_TWICE),
	B(OK "Content-Length: 5\r\nContent-Length: 6\r\n" END, LENGTH_TWICE),
	B(OK "Content-Length: 5, 5\r\n" END, LENGTH), B(OK "Content-Length: -5\r\n" END, LENGTH),
	B(OK "Content-Length: \r\n" END, LENGTH), B(OK "Content-Length: 5x\r\n" END, LENGTH),
	B(OK "Content-Length: 18446744073709551616\r\n" END, LENGTH),
	B(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, LENGTH_AND_CODING),
	B(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, CODING),
	B(OK "Transfer-Encoding: gzip, chunked\r\n" END, CODING_UNKNOWN),
	B(OK "Transfer-Encoding: identity\r\n" END, CODING_UNKNOWN),
	B(OK "Transfer-Encoding:\tchunked\r\n" END, CODING),
	B("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" END, CODING_10),
	B("HTTP/1.1 204 No\r\nTransfer-Encoding: x\r\n" END, CODING_UNKNOWN),
	B("HTTP/1.1 304 No\r\nContent-Length: a\r\n" END, LENGTH),
};

static void told_idle(const char *value, bool has, unsigned seconds)
{
	char text[256];

	snprintf(text, sizeof(text), OK "Content-Length: 0\r\n%s\r\n", value);
	response(METHOD_GET, text);
	ck_assert_msg(got.wire.has_idle == has && got.wire.idle_s == seconds, "%s: %d %u", value, got.wire.has_idle,
		      got.wire.idle_s);
	ck_assert_str_eq(fields(), "");
}

START_TEST(reads_how_long_an_idle_connection_is_kept)
{
	told_idle("", false, 0);
	told_idle("Keep-Alive: timeout=5, max=100\r\n", true, 5);
	told_idle("Keep-Alive: max=100 , Timeout = 5\r\nConnection: keep-alive\r\n", true, 5);
	told_idle("Keep-Alive: timeout=0\r\n", true, 0);
	told_idle("Keep-Alive: timeout=4000000000\r\n", true, 86400);
	told_idle("Keep-Alive: 300\r\n", false, 0);
	told_idle("Keep-Alive: timeout, timeout=, timeout=-1, timeout=5s, timeout=99999999999999999999\r\n", false, 0);
	told_idle("Keep-Alive:\r\n", false, 0);
}
END_TEST

START_TEST(refuses_responses)
{
	check_bad(CODEC_RESPONSE, bad_responses, sizeof(bad_responses) / sizeof(bad_responses[0]));
}
END_TEST

START_TEST(trailers)
{
	static const struct bad_case bad[] = {
		B("X: a\r\n", HEAD_END), B("", HEAD_END), B("X: a\r\n b\r\n\r\n", FOLD), B(" X: a\r\n\r\n", FOLD),
		B("X : a\r\n\r\n", NAME_BLANK), B("X: \0\r\n\r\n", VALUE), B("X: a\rb\r\n\r\n", BARE_CR),
		B(": a\r\n\r\n", NAME), B("X\r\n\r\n", NAME), B("X: a\r\n\r\nY: b\r\n\r\n", HEAD_END),
	};
	const char *text = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAuthorization: c\r\n"
			   "X-Forwarded-For: d\r\nCookie: e\r\nETag: \"f\"\r\nX_Real_IP: g\r\nConnection: x\r\n"
			   "Content-Type: h\r\nX-Sum: 2\r\n\r\n";

	ck_assert(read_all_ways(CODEC_TRAILERS, METHOD_GET, text, strlen(text)) == H1_GOOD);
	ck_assert_str_eq(fields(), "X-Sum: 1|ETag: \"f\"|X-Sum: 2|");
	ck_assert(read_all_ways(CODEC_TRAILERS, METHOD_GET, "\r\n", 2) == H1_GOOD);
	check_bad(CODEC_TRAILERS, bad, sizeof(bad) / sizeof(bad[0]));
}
END_TEST

UNIT("h1_parse", reads_a_request, stops_at_the_end_of_the_head, waits_for_the_rest, decides_the_request_body,
     reads_the_connection, reads_expectations, target_wins_over_host, drops_disguised_fields, refuses_requests,
     refuses_every_control_byte, limits, long_field_past_the_scan, survives_no_memory, reads_a_response,
     responses_without_body, reads_how_long_an_idle_connection_is_kept, refuses_responses, trailers)
