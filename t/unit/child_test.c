/*
 * child_test.c - how long a slot waits for its next process.
 */
#include "t/unit/unit.h"

#include "master/child.h"

START_TEST(waits_longer_and_longer_but_not_for_ever)
{
	static const unsigned want[] = { 0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };

	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		ck_assert_uint_eq(child_backoff_ms(i), want[i]);
	ck_assert_uint_eq(child_backoff_ms(1000000), 10000);
	ck_assert_uint_eq(child_backoff_ms(~0u), 10000);
}
END_TEST

START_TEST(states_have_names)
{
	ck_assert_str_eq(child_state_name(CHILD_DOWN), "down");
	ck_assert_str_eq(child_state_name(CHILD_STUCK), "stuck");
}
END_TEST

UNIT("child", waits_longer_and_longer_but_not_for_ever, states_have_names)
