/*
 * clock_test.c - the clocks run, in their units, and only forward.
 */
#include "t/unit/unit.h"

#include <time.h>
#include <unistd.h>

#include "common/clock.h"

START_TEST(units_agree)
{
	uint64_t us = clock_mono_us(), ms = clock_mono_ms();

	ck_assert_uint_le(us / 1000, ms);
	ck_assert_uint_lt(ms - us / 1000, 5000);
	uint64_t wall = clock_wall_ms() / 1000;
	ck_assert_uint_le((uint64_t)time(NULL) - wall, 5);
}
END_TEST

START_TEST(runs_forward)
{
	uint64_t before = clock_mono_us();

	usleep(2000);
	ck_assert_uint_ge(clock_mono_us() - before, 2000);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now = clock_mono_us();

		ck_assert_uint_ge(now, before);
		before = now;
	}
}
END_TEST

UNIT("clock", units_agree, runs_forward)
