/*
 * span_test.c - borrowed byte runs: comparison, cutting, numbers, hashes.
 */
#include "t/unit/unit.h"

#include <stdio.h>

START_TEST(compares)
{
	ck_assert(span_eq(SPAN("a"), SPAN("a")));
	ck_assert(!span_eq(SPAN("a"), SPAN("A")));
	ck_assert(span_eq(span_make(NULL, 0), SPAN("")));
	ck_assert(span_caseeq(SPAN("Content-LENGTH"), SPAN("content-length")));
	ck_assert(!span_caseeq(SPAN("ab"), SPAN("abc")));
	/* Only letters fold: '@' and '`', '[' and '{' differ by the same bit. */
	ck_assert(!span_caseeq(SPAN("@["), SPAN("`{")));
	ck_assert(!span_caseeq(SPAN("\xc4"), SPAN("\xe4")));
	ck_assert(span_starts(SPAN("abc"), SPAN("ab")) && span_starts(SPAN("abc"), SPAN("")));
	ck_assert(!span_starts(SPAN("a"), SPAN("ab")));
	ck_assert(span_ends(SPAN("abc"), SPAN("bc")) && !span_ends(SPAN("c"), SPAN("bc")));
}
END_TEST

START_TEST(trims)
{
	ck_span_eq(span_trim(SPAN(" \t a b\t ")), "a b");
	ck_span_eq(span_trim(SPAN(" \t ")), "");
	ck_span_eq(span_trim(SPAN("")), "");
	/* Only blanks: a line end is content. */
	ck_span_eq(span_trim(SPAN(" \r\n")), "\r\n");
	ck_assert_uint_eq(span_trim(span_make(NULL, 0)).n, 0);
}
END_TEST

START_TEST(cuts)
{
	struct span rest = SPAN("a,,b");

	ck_span_eq(span_cut(&rest, ','), "a");
	ck_span_eq(span_cut(&rest, ','), "");
	ck_span_eq(span_cut(&rest, ','), "b");
	ck_assert_uint_eq(rest.n, 0);
	ck_span_eq(span_cut(&rest, ','), "");
	rest = span_make(NULL, 0);
	ck_assert_uint_eq(span_cut(&rest, ',').n, 0);
}
END_TEST

START_TEST(numbers)
{
	static const char *const bad[] = {
		"", " ", "-1", "+1", "1 ", " 1", "0x1", "1,2", "1.0", "18446744073709551616",
		"18446744073709551620", "99999999999999999999", "184467440737095516150",
	};
	uint64_t v = 7;

	ck_assert(span_u64(SPAN("0"), &v) && v == 0);
	ck_assert(span_u64(SPAN("00012"), &v) && v == 12);
	ck_assert(span_u64(SPAN("18446744073709551615"), &v) && v == UINT64_MAX);
	ck_assert(span_u64(SPAN("000000000000000000000000000001"), &v) && v == 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!span_u64(span_of(bad[i]), &v), "\"%s\" was taken", bad[i]);
	ck_assert_uint_eq(v, 1);
	ck_assert(!span_u64(span_make("1\0", 2), &v));
}
END_TEST

/* 64 buckets share 64,000 similar keys fairly, and the seed matters. */
START_TEST(hash_spreads)
{
	unsigned bucket[64] = { 0 };

	for (unsigned i = 0; i < 64000; i++) {
		char key[32];
		size_t n = (size_t)snprintf(key, sizeof(key), "10.0.%u.%u:80", i >> 8, i & 255);

		bucket[span_hash(span_make(key, n), 0) & 63]++;
	}
	for (unsigned i = 0; i < 64; i++)
		ck_assert_msg(bucket[i] > 850 && bucket[i] < 1150, "bucket %u has %u keys", i, bucket[i]);
	ck_assert(span_hash(SPAN("a"), 1) != span_hash(SPAN("a"), 2));
	ck_assert(span_hash(SPAN("a"), 1) == span_hash(SPAN("a"), 1));
	ck_assert(span_hash(SPAN(""), 0) != span_hash(span_make("\0", 1), 0));
	ck_assert(span_hash(span_make("\0\0", 2), 0) != span_hash(span_make("\0", 1), 0));
}
END_TEST

UNIT("span", compares, trims, cuts, numbers, hash_spreads)
