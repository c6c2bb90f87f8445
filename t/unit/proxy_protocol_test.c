/*
 * proxy_protocol_test.c - headers of the PROXY protocol: what is read, what is
 * refused, what is written, and that the one reads the other.
 */
#include "t/unit/unit.h"

#include "common/addr.h"
#include "t/unit/codec.h"
#include "worker/io/proxy_protocol.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x01\x02\x03\x04\x05\x06\x07\x08\x12\x34\x00\x50"

static struct proxy_hello hello;
static size_t used;

/* The answer to the whole; every shorter part must want more, and bytes behind must not count. */
static enum proxy_rc parse(const char *p, size_t n)
{
	char more[PROXY_PROTOCOL_IN_MAX + 64];
	struct proxy_hello h;
	enum proxy_rc rc;
	size_t len;

	ck_assert_uint_le(n + 16, sizeof(more));
	memset(more, 'x', sizeof(more));
	memcpy(more, p, n);
	rc = proxy_protocol_parse(guarded(p, n), n, &hello, &used);
	if (rc == PROXY_DONE) {
		ck_assert_uint_eq(used, n);
		for (size_t i = 0; i < n; i++)
			ck_assert_int_eq(proxy_protocol_parse(guarded(p, i), i, &h, &len), PROXY_MORE);
		ck_assert_int_eq(proxy_protocol_parse(more, n + 16, &h, &len), PROXY_DONE);
		ck_assert_uint_eq(len, n);
	}
	return rc;
}

#define PARSE(text) parse(text, sizeof(text) - 1)

static const char *said(void)
{
	static char out[2 * ADDR_TEXT + 2];
	char src[ADDR_TEXT], dst[ADDR_TEXT];

	if (!hello.told)
		return "nothing";
	addr_text(&hello.src, src, sizeof(src));
	addr_text(&hello.dst, dst, sizeof(dst));
	snprintf(out, sizeof(out), "%s %s", src, dst);
	return out;
}

START_TEST(lines)
{
	static const char *const bad[] = {
		"PROXY \r\n", "PROXY\t\r\n", "PROXY TCP4\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "PROXY TCP4 ::1 ::2 1 2\r\n",
		"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP6 [::1] ::2 1 2\r\n", "PROXY TCP6 fe80::1%1 ::2 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY UNKNOWN\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "PROXY UNKNOWNS\r\n"
	};
	char text[PROXY_PROTOCOL_IN_MAX];

	ck_assert_int_eq(PARSE("PROXY TCP4 1.2.3.4 5.6.7.8 65535 0\r\n"), PROXY_DONE);
	ck_assert_str_eq(said(), "1.2.3.4:65535 5.6.7.8:0");
	ck_assert_int_eq(PARSE("PROXY TCP6 2001:db8::1 ::1 1 80\r\n"), PROXY_DONE);
	ck_assert_str_eq(said(), "[2001:db8::1]:1 [::1]:80");
	ck_assert_int_eq(PARSE("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 80\r\n"), PROXY_DONE);
	ck_assert_str_eq(said(), "1.2.3.4:1 [::1]:80");
	ck_assert_int_eq(PARSE("PROXY UNKNOWN\r\n"), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	ck_assert_int_eq(PARSE("PROXY UNKNOWN 1.2.3.4 what ever\r\n"), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		enum proxy_rc rc = parse(bad[i], strlen(bad[i]));

		ck_assert_msg(rc == (bad[i][5] == ' ' ? PROXY_BAD : PROXY_NONE), "%s", bad[i]);
	}
	/* 107 bytes with the line's end are the most. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "PROXY UNKNOWN ", 14);
	memcpy(text + 105, "\r\n", 2);
	ck_assert_int_eq(parse(text, 107), PROXY_DONE);
	memcpy(text + 105, "x\r\n", 3);
	ck_assert_int_eq(parse(text, 106), PROXY_MORE);
	ck_assert_int_eq(parse(text, 108), PROXY_BAD);
}
END_TEST

START_TEST(bytes)
{
	static char large[PROXY_PROTOCOL_IN_MAX] = SIG "\x20\x00\x0f\xf0";

	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x0c" V4), PROXY_DONE);
	ck_assert_str_eq(said(), "1.2.3.4:4660 5.6.7.8:80");
	ck_assert_int_eq(PARSE(SIG "\x21\x21\x00\x24" "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
			       "\0\0\0\0\0\0\0\0\0\0\xff\xff\x05\x06\x07\x08" "\x00\x01\x00\x50"), PROXY_DONE);
	ck_assert_str_eq(said(), "[2001:db8::1]:1 5.6.7.8:80");
	ck_assert_int_eq(PARSE(SIG "\x20\x00\x00\x00"), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	ck_assert_int_eq(PARSE(SIG "\x20\x11\x00\x0c" V4), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	ck_assert_int_eq(PARSE(SIG "\x21\x00\x00\x03" "abc"), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	ck_assert_int_eq(PARSE(SIG "\x21\x31\x00\x00"), PROXY_DONE);
	ck_assert_int_eq(PARSE(SIG "\x21\x12\x00\x0c" V4), PROXY_DONE);
	ck_assert_str_eq(said(), "nothing");
	ck_assert_int_eq(parse(large, sizeof(large)), PROXY_DONE);
	/* extras */
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x14" V4 "\x04\x00\x00" "\x01\x00\x02" "h2"), PROXY_DONE);
	ck_assert_str_eq(said(), "1.2.3.4:4660 5.6.7.8:80");
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x0d" V4 "\x04"), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x01"), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x0f" V4 "\x04\xff\xff"), PROXY_BAD);
	/* wrong */
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x00\x0b" "12345678901"), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x21\x00\x0c" V4), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x11\x11\x00\x0c" V4), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x22\x11\x00\x0c" V4), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x41\x00\x0c" V4), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x11\x0f\xf1" V4), PROXY_BAD);
	ck_assert_int_eq(PARSE(SIG "\x21\x11\xff\xff" V4), PROXY_BAD);
}
END_TEST

START_TEST(others)
{
	ck_assert_int_eq(PARSE("GET / HTTP/1.1\r\n"), PROXY_NONE);
	ck_assert_int_eq(PARSE("POST / HTTP/1.1\r\n"), PROXY_NONE);
	ck_assert_int_eq(PARSE("PROPFIND"), PROXY_NONE);
	ck_assert_int_eq(PARSE("\r\nGET /"), PROXY_NONE);
	ck_assert_int_eq(PARSE("\x16\x03\x01"), PROXY_NONE);
	ck_assert_int_eq(PARSE("PR"), PROXY_MORE);
	ck_assert_int_eq(PARSE("\r\n\r\n"), PROXY_MORE);
	ck_assert_int_eq(PARSE(""), PROXY_MORE);
}
END_TEST

static void there_and_back(unsigned version, const char *src, const char *dst, const char *want)
{
	char out[PROXY_PROTOCOL_OUT_MAX];
	struct addr a, b;
	size_t n;

	ck_assert(addr_parse(span_of(src), &a) && addr_parse(span_of(dst), &b));
	n = proxy_protocol_write(version, &a, &b, out);
	ck_assert_int_eq(parse(out, n), PROXY_DONE);
	ck_assert(addr_eq(&hello.src, &a) && addr_eq(&hello.dst, &b));
	if (want)
		ck_assert_msg(span_eq(span_make(out, n), span_of(want)), "%.*s", (int)n, out);
}

START_TEST(writes)
{
	struct addr v4, none = { .family = ADDR_UNIX };
	char out[PROXY_PROTOCOL_OUT_MAX];
	const char *longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";

	there_and_back(1, "1.2.3.4:5", "6.7.8.9:80", "PROXY TCP4 1.2.3.4 6.7.8.9 5 80\r\n");
	there_and_back(1, "[2001:db8::1]:5", "[::1]:80", "PROXY TCP6 2001:db8::1 ::1 5 80\r\n");
	there_and_back(1, "1.2.3.4:5", "[::1]:80", "PROXY TCP6 ::ffff:1.2.3.4 ::1 5 80\r\n");
	there_and_back(1, longest, longest, NULL);
	there_and_back(2, "1.2.3.4:5", "6.7.8.9:80", NULL);
	there_and_back(2, "[2001:db8::1]:5", "6.7.8.9:80", NULL);
	there_and_back(2, longest, longest, NULL);
	for (unsigned version = 1; version <= 2; version++) {
		const struct span *own = proxy_protocol_own(version);

		ck_assert(addr_parse(SPAN("1.2.3.4:5"), &v4));
		ck_assert_int_eq(parse(out, proxy_protocol_write(version, &none, &v4, out)), PROXY_DONE);
		ck_assert(!hello.told);
		ck_assert_int_eq(parse(own->p, own->n), PROXY_DONE);
		ck_assert(!hello.told);
	}
}
END_TEST

UNIT("proxy_protocol", lines, bytes, others, writes)
