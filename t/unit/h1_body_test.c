/*
 * h1_body_test.c - message bodies: by length, chunked, until the end; good and
 * bad framing, trailers, limits, and the cost of tiny chunks.
 */
#include "t/unit/unit.h"

#include <time.h>

#include "t/unit/codec.h"

static struct unbodied got;

/* Whole, then in steps of 1, 2 and 5; the last reading stays in `got`. */
static enum h1_body_rc unbody(enum body_kind kind, uint64_t length, const char *bytes, size_t n)
{
	struct unbodied whole;

	codec_unbody(&whole, kind, length, bytes, n, 0, 256);
	for (size_t step = 1; step <= 5; step += step) {
		unbodied_fini(&got);
		codec_unbody(&got, kind, length, bytes, n, n > 4096 ? step * 61 : step, 256);
		ck_assert_msg(unbodied_same(&whole, &got), "split by %zu differs: %.100s: %d %d", step, bytes, whole.rc,
			      got.rc);
	}
	unbodied_fini(&whole);
	return got.rc;
}

static enum h1_body_rc chunked(const char *text)
{
	return unbody(BODY_STREAM, 0, text, strlen(text));
}

static struct span data(void)
{
	return span_make(got.data.p, got.data.n);
}

START_TEST(by_length)
{
	ck_assert(unbody(BODY_LENGTH, 5, "helloGET", 8) == H1B_RC_END);
	ck_span_eq(data(), "hello");
	ck_assert_uint_eq(got.used, 5);
	ck_assert(unbody(BODY_LENGTH, 5, "hell", 4) == H1B_RC_MORE);
	ck_assert(unbody(BODY_LENGTH, 0, "GET", 3) == H1B_RC_END);
	ck_assert(unbody(BODY_NONE, 5, "GET", 3) == H1B_RC_END);
	ck_assert_uint_eq(got.used, 0);
	ck_assert(unbody(BODY_LENGTH, UINT64_MAX, "hello", 5) == H1B_RC_MORE);
	ck_span_eq(data(), "hello");
}
END_TEST

START_TEST(whole_as_soon_as_it_is)
{
	struct h1_body b;
	struct span run;
	size_t used;

	/* With the last byte handed out, without another call: the connection may go on. */
	h1_body_init(&b, BODY_LENGTH, 2);
	ck_assert(!h1_body_whole(&b));
	ck_assert(h1_body_feed(&b, "ab", 2, 0, &used, &run) == H1B_RC_DATA && h1_body_whole(&b));
	h1_body_init(&b, BODY_NONE, 0);
	ck_assert(h1_body_whole(&b) && h1_body_eof(&b));
	h1_body_init(&b, BODY_STREAM, 0);
	ck_assert(h1_body_feed(&b, "1\r\na\r\n0\r\n", 9, 99, &used, &run) == H1B_RC_DATA && used == 4);
	ck_span_eq(run, "a");
	ck_assert(h1_body_feed(&b, "\r\n0\r\n\r", 6, 99, &used, &run) == H1B_RC_MORE && used == 5);
	ck_assert(!h1_body_whole(&b));
	ck_assert(h1_body_feed(&b, "\r\nGET", 5, 99, &used, &run) == H1B_RC_END && used == 2 && h1_body_whole(&b));
}
END_TEST

START_TEST(until_the_end)
{
	struct h1_body b;
	struct span run;
	size_t used;

	ck_assert(unbody(BODY_CLOSE, 0, "hello", 5) == H1B_RC_MORE);
	ck_span_eq(data(), "hello");
	h1_body_init(&b, BODY_CLOSE, 0);
	ck_assert(h1_body_feed(&b, "hello", 5, 0, &used, &run) == H1B_RC_DATA && !h1_body_whole(&b));
	ck_assert(h1_body_eof(&b) && h1_body_whole(&b));
	/* Anywhere else an end of the transport is a cut. */
	h1_body_init(&b, BODY_LENGTH, 9);
	h1_body_feed(&b, "hello", 5, 0, &used, &run);
	ck_assert(!h1_body_eof(&b));
	h1_body_init(&b, BODY_STREAM, 0);
	h1_body_feed(&b, "0\r\n", 3, 99, &used, &run);
	ck_assert(!h1_body_eof(&b));
}
END_TEST

START_TEST(chunks)
{
	ck_assert(chunked("5\r\nhello\r\n0\r\n\r\nGET") == H1B_RC_END);
	ck_span_eq(data(), "hello");
	ck_assert_uint_eq(got.used, strlen("5\r\nhello\r\n0\r\n\r\n"));
	ck_assert(chunked("0\r\n\r\n") == H1B_RC_END);
	ck_assert(chunked("00000005;a=b;c=\"d e\"\r\nhello\r\n1;\r\n!\r\n000;x\r\n\r\n") == H1B_RC_END);
	ck_span_eq(data(), "hello!");
	ck_assert(chunked("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n") == H1B_RC_END);
	ck_assert_uint_eq(got.data.n, 21);
	ck_assert(chunked("0000000000000001\r\nx\r\n0\r\n\r\n") == H1B_RC_END);
	ck_assert(chunked("7fffffffffffffff\r\nx") == H1B_RC_MORE);
	ck_assert(chunked("2\r\n\r\n\r\n0\r\n\r\n") == H1B_RC_END);
	ck_span_eq(data(), "\r\n");
}
END_TEST

START_TEST(trailers)
{
	ck_assert(chunked("1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nGET") == H1B_RC_END);
	ck_assert_str_eq(got.trailers.p, "X-Sum: 1\r\nY: 2\r\n\r\n");
	ck_assert_uint_eq(got.used, strlen("1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"));
	ck_assert(chunked("0\r\nX: y\n\r\n") == H1B_RC_BAD && got.bad == H1_BAD_BARE_LF);
	ck_assert(chunked("0\r\n\n") == H1B_RC_BAD && got.bad == H1_BAD_BARE_LF);
	ck_assert(chunked("0\r\nX: y\r\n\n") == H1B_RC_BAD && got.bad == H1_BAD_BARE_LF);
}
END_TEST

START_TEST(bad_chunks)
{
	static const struct { const char *bytes; size_t n; enum h1_bad bad; } cases[] = {
#define B(text, id) { text, sizeof(text) - 1, H1_BAD_##id }
		B("\r\n", CHUNK_SIZE), B("\n", CHUNK_SIZE), B(";a\r\n", CHUNK_SIZE), B("g\r\n", CHUNK_SIZE),
		B("-1\r\n", CHUNK_SIZE), B("+1\r\n", CHUNK_SIZE), B(" 1\r\n", CHUNK_SIZE), B("1 \r\n", CHUNK_SIZE),
		B("1\t\r\n", CHUNK_SIZE), B("0x1\r\n", CHUNK_SIZE), B("1,\r\n", CHUNK_SIZE), B("1h\r\n", CHUNK_SIZE),
		B("1\n", CHUNK_SIZE), B("1\r1", CHUNK_SIZE), B("1\r\r\n", CHUNK_SIZE), B("1\0\r\n", CHUNK_SIZE),
		B("1_0\r\n", CHUNK_SIZE), B("\"1\"\r\n", CHUNK_SIZE), B("\xb2\r\n", CHUNK_SIZE),
		B("8000000000000000\r\n", CHUNK_LARGE), B("ffffffffffffffff\r\n", CHUNK_LARGE),
		B("10000000000000000\r\n", CHUNK_LARGE), B("100000000000000001\r\n", CHUNK_LARGE),
		B("00000000000000001\r\n", CHUNK_LARGE), B("fffffffffffffffffffffffffffffffff\r\n", CHUNK_LARGE),
		B("1;a\n", CHUNK_EXT), B("1;a\0b\r\n", CHUNK_EXT), B("1;a=\"b\nc\"\r\n", CHUNK_EXT), B("1;\x7f\r\n", CHUNK_EXT),
		B("1;a\rb\r\n", CHUNK_SIZE), B("1;a=\"\r\r\n", CHUNK_SIZE), B("1;\x01\r\n", CHUNK_EXT),
		B("1\r\nab\r\n", CHUNK_END), B("1\r\na0\r\n\r\n", CHUNK_END), B("1\r\na\n", CHUNK_END),
		B("1\r\na\r0", CHUNK_END), B("1\r\na\r\r\n", CHUNK_END), B("1\r\na\r\n\r\n", CHUNK_SIZE),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum h1_body_rc rc = unbody(BODY_STREAM, 0, cases[i].bytes, cases[i].n);

		ck_assert_msg(rc == H1B_RC_BAD && got.bad == cases[i].bad, "case %zu, \"%s\": rc %d, %s", i, cases[i].bytes,
			      rc, h1_bad_text(got.bad));
	}
	/* Bad once is bad for good. */
	struct h1_body b;
	struct span run;
	size_t used;

	h1_body_init(&b, BODY_STREAM, 0);
	ck_assert(h1_body_feed(&b, "x", 1, 9, &used, &run) == H1B_RC_BAD);
	ck_assert(h1_body_feed(&b, "0\r\n\r\n", 5, 9, &used, &run) == H1B_RC_BAD && !h1_body_eof(&b));
}
END_TEST

/* `unit` n times behind `before`. */
static enum h1_body_rc repeated(const char *before, const char *unit, size_t n, const char *after)
{
	size_t len = strlen(before), each = strlen(unit), rest = strlen(after);
	char *text = malloc(len + n * each + rest + 1);
	enum h1_body_rc rc;

	memcpy(text, before, len + 1);
	for (size_t i = 0; i < n; i++, len += each)
		memcpy(text + len, unit, each);
	memcpy(text + len, after, rest + 1);
	rc = chunked(text);
	free(text);
	return rc;
}

START_TEST(limits)
{
	ck_assert(repeated("1", ";a", 8192, "\r\nx\r\n0\r\n\r\n") == H1B_RC_END);
	ck_assert(repeated("1", ";a", 8193, "\r\nx\r\n0\r\n\r\n") == H1B_RC_BAD && got.bad == H1_BAD_CHUNK_EXT_LARGE);
	/* The bound is over the whole body. */
	ck_assert(repeated("", "1;abcdefg\r\nx\r\n", 2049, "0\r\n\r\n") == H1B_RC_BAD);
	ck_assert(got.bad == H1_BAD_CHUNK_EXT_LARGE);
	ck_assert(repeated("", "1;abcdefg\r\nx\r\n", 2048, "0\r\n\r\n") == H1B_RC_END);
	ck_assert(repeated("0\r\nX: ", "y", 256 - 7, "\r\n\r\n") == H1B_RC_END);
	ck_assert_uint_eq(got.trailers.n, 256);
	ck_assert(repeated("0\r\nX: ", "y", 256 - 6, "\r\n\r\n") == H1B_RC_BAD && got.bad == H1_BAD_TRAILER_LARGE);
	ck_assert(repeated("0\r\n", "X: y\r\n", 1000, "\r\n") == H1B_RC_BAD && got.bad == H1_BAD_TRAILER_LARGE);
}
END_TEST

START_TEST(a_million_tiny_chunks)
{
	enum { N = 1000000, BATCH = 16384 };
	static char text[BATCH * 6];
	struct h1_body b;
	struct span run;
	clock_t start = clock();
	size_t bytes = 0;

	for (size_t i = 0; i < BATCH; i++)
		memcpy(text + i * 6, "1\r\nx\r\n", 6);
	h1_body_init(&b, BODY_STREAM, 0);
	while (bytes < N) {
		size_t at = 0, used;

		while (h1_body_feed(&b, text + at, sizeof(text) - at, 99, &used, &run) == H1B_RC_DATA) {
			ck_assert_uint_eq(run.n, 1);
			at += used;
			bytes++;
		}
		ck_assert_uint_eq(at + used, sizeof(text));
	}
	/* Far above what it takes, far below what quadratic cost would. */
	ck_assert_msg(clock() - start < 5 * CLOCKS_PER_SEC, "%zu chunks took %ld ms", bytes,
		      (long)((clock() - start) * 1000 / CLOCKS_PER_SEC));
}
END_TEST

UNIT("h1_body", by_length, whole_as_soon_as_it_is, until_the_end, chunks, trailers, bad_chunks, limits,
     a_million_tiny_chunks)
