/*
 * h2_past_test.c - what a frame of a stream means that is gone.
 */
#include "t/unit/unit.h"

#include "worker/downstream/h2_past.h"

START_TEST(streams_that_are_not_the_past)
{
	struct h2_past p = { 0 };

	ck_assert_int_eq(h2_past_late(&p, 0), H2_LATE_NOT);
	ck_assert_int_eq(h2_past_late(&p, 1), H2_LATE_NOT);
	h2_past_begin(&p, 5);
	ck_assert_int_eq(h2_past_late(&p, 2), H2_LATE_NOT);
	ck_assert_int_eq(h2_past_late(&p, 7), H2_LATE_NOT);
	ck_assert_int_eq(h2_past_late(&p, INT32_MAX), H2_LATE_NOT);
}
END_TEST

START_TEST(ended_cut_and_left_out)
{
	struct h2_past p = { 0 };

	h2_past_begin(&p, 3);
	h2_past_begin(&p, 9);
	h2_past_cut(&p, 3);
	h2_past_cut(&p, 2);
	h2_past_cut(&p, 11);
	ck_assert_int_eq(h2_past_late(&p, 9), H2_LATE_CLOSED);
	ck_assert_int_eq(h2_past_late(&p, 3), H2_LATE_FINE);
	ck_assert_int_eq(h2_past_late(&p, 5), H2_LATE_SKIPPED);
	ck_assert_int_eq(h2_past_late(&p, 1), H2_LATE_SKIPPED);
	h2_past_begin(&p, 3);
	ck_assert_int_eq(p.last, 9);
}
END_TEST

START_TEST(what_is_long_ago_is_fine)
{
	struct h2_past p = { 0 };

	for (int32_t id = 1; id <= 1001; id += 2)
		h2_past_begin(&p, id);
	ck_assert_int_eq(h2_past_late(&p, 1001 - 2 * 63), H2_LATE_CLOSED);
	ck_assert_int_eq(h2_past_late(&p, 1001 - 2 * 64), H2_LATE_FINE);
	h2_past_begin(&p, INT32_MAX);
	ck_assert_int_eq(h2_past_late(&p, 1001), H2_LATE_FINE);
	ck_assert_int_eq(h2_past_late(&p, INT32_MAX - 126), H2_LATE_SKIPPED);
	ck_assert_int_eq(h2_past_late(&p, INT32_MAX), H2_LATE_CLOSED);
	h2_past_cut(&p, 1);
}
END_TEST

UNIT("h2_past", streams_that_are_not_the_past, ended_cut_and_left_out, what_is_long_ago_is_fine)
