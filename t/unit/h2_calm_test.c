/*
 * h2_calm_test.c - token buckets against floods of HTTP/2 frames.
 */
#include "t/unit/unit.h"

#include "worker/http/h2_calm.h"

static unsigned drain(struct h2_calm *c, enum h2_kind k, uint64_t now)
{
	unsigned n = 0;

	while (h2_calm_take(c, k, now))
		ck_assert_uint_lt(++n, 100000);
	return n;
}

START_TEST(each_kind_ends)
{
	struct h2_calm c;

	h2_calm_init(&c, 1000);
	for (unsigned k = 0; k < H2_KIND__N; k++) {
		unsigned n = drain(&c, (enum h2_kind)k, 1000);

		ck_assert_uint_ge(n, 30);
		ck_assert_uint_le(n, 1000);
		ck_assert(!h2_calm_take(&c, (enum h2_kind)k, 1999));
		ck_assert(h2_calm_take(&c, (enum h2_kind)k, 2000 + 1000 * k));
		h2_calm_init(&c, 1000);
	}
}
END_TEST

START_TEST(time_fills_up_to_the_burst)
{
	struct h2_calm c;
	unsigned burst;

	h2_calm_init(&c, 0);
	burst = drain(&c, H2_KIND_PING, 0);
	ck_assert_uint_eq(drain(&c, H2_KIND_PING, 2500), 40);
	ck_assert_uint_eq(drain(&c, H2_KIND_PING, 3000), 20);
	ck_assert_uint_eq(drain(&c, H2_KIND_PING, UINT64_MAX / 2), burst);
}
END_TEST

START_TEST(use_pays_beyond_it_and_within_bounds)
{
	struct h2_calm c;

	h2_calm_init(&c, 0);
	drain(&c, H2_KIND_RESET, 0);
	h2_calm_pay(&c, H2_KIND_RESET, 7);
	ck_assert_uint_eq(drain(&c, H2_KIND_RESET, 0), 7);
	for (unsigned i = 0; i < 100000; i++)
		h2_calm_pay(&c, H2_KIND_WINDOW, 4);
	ck_assert(h2_calm_take(&c, H2_KIND_WINDOW, 5000));
	ck_assert_uint_eq(drain(&c, H2_KIND_WINDOW, 5000), 7999);
}
END_TEST

UNIT("h2_calm", each_kind_ends, time_fills_up_to_the_burst, use_pays_beyond_it_and_within_bounds)
