/*
 * health_test.c - passive ejection by a clock that the test turns, its limits
 * with several workers at it, and slow start.
 */
#include "t/unit/unit.h"

#include "common/log.h"
#include "common/shm_eject.h"
#include "t/unit/bed.h"

static bool usable(struct bed *b, unsigned i)
{
	bool pending;

	return health_usable(&b->g->servers[i], b->loop.now_ms, &pending);
}

static void go_wrong(struct bed *b, unsigned i, unsigned times)
{
	while (times-- > 0)
		health_report(&b->g->servers[i], false, b->loop.now_ms);
}

static void go_well(struct bed *b, unsigned i)
{
	health_report(&b->g->servers[i], true, b->loop.now_ms);
}

START_TEST(three_failures_eject)
{
	struct bed *b = bed_new(4, CONF_LEAST_CONN);

	bed_open(b);
	go_wrong(b, 0, 2);
	ck_assert(usable(b, 0));
	go_wrong(b, 0, 1);
	ck_assert(!usable(b, 0));
	ck_assert(health_ejected(&b->g->servers[0], b->loop.now_ms));
	ck_assert(usable(b, 1));
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_ne(bed_pick(b)->index, 0);
	bed_pass(b, 9999);
	ck_assert(!usable(b, 0));
	bed_pass(b, 1);
	ck_assert(usable(b, 0));
	ck_assert_uint_eq(shm_fails(&b->shm, 0), 3);
	bed_close(b);
}
END_TEST

START_TEST(failures_count_within_the_window)
{
	struct bed *b = bed_new(4, CONF_LEAST_CONN);

	bed_open(b);
	go_wrong(b, 0, 2);
	bed_pass(b, 10001);
	go_wrong(b, 0, 2);
	ck_assert(usable(b, 0));
	/* Successes between do not make a flaky server a good one. */
	go_well(b, 0);
	bed_pass(b, 5000);
	go_wrong(b, 0, 1);
	ck_assert(!usable(b, 0));
	bed_close(b);
}
END_TEST

START_TEST(ejections_double_up_to_five_minutes)
{
	struct bed *b = bed_new(4, CONF_LEAST_CONN);

	bed_open(b);
	go_wrong(b, 0, 3);
	for (uint64_t length = 10000, round = 0; round < 9; round++) {
		bed_pass(b, length - 1);
		ck_assert(!usable(b, 0));
		go_wrong(b, 0, 1);			/* late answers change nothing */
		go_well(b, 0);
		bed_pass(b, 1);
		ck_assert(usable(b, 0));
		go_wrong(b, 0, 1);
		ck_assert(!usable(b, 0));
		length = length * 2 < SHM_EJECT_MOST_MS ? length * 2 : SHM_EJECT_MOST_MS;
	}
	bed_pass(b, SHM_EJECT_MOST_MS);
	ck_assert(usable(b, 0));
	go_well(b, 0);
	go_wrong(b, 0, 2);
	ck_assert(usable(b, 0));
	go_wrong(b, 0, 1);
	bed_pass(b, 10000);
	ck_assert(usable(b, 0));
	bed_close(b);
}
END_TEST

START_TEST(never_more_than_the_share)
{
	static const struct { unsigned servers, percent, most; } cases[] = {
		{ 1, 50, 0 }, { 1, 100, 0 }, { 2, 50, 1 }, { 3, 50, 1 }, { 4, 50, 2 }, { 10, 50, 5 }, { 10, 100, 10 },
		{ 10, 5, 1 }, { 10, 0, 0 },
	};

	for (unsigned c = 0; c < ARRAY_LEN(cases); c++) {
		struct bed *b = bed_new(cases[c].servers, CONF_LEAST_CONN);
		unsigned out = 0;

		b->up.max_ejected = cases[c].percent;
		bed_open(b);
		for (unsigned i = 0; i < cases[c].servers; i++)
			go_wrong(b, i, 10);
		for (unsigned i = 0; i < cases[c].servers; i++)
			out += !usable(b, i);
		ck_assert_uint_eq(out, cases[c].most);
		bed_close(b);
	}
}
END_TEST

START_TEST(the_last_one_up_is_not_ejected)
{
	struct bed *b = bed_new(3, CONF_LEAST_CONN);

	b->servers[1].disabled = true;
	bed_open(b);
	bed_health(b, 2, HEALTH_DOWN);
	go_wrong(b, 0, 20);
	ck_assert(usable(b, 0));
	bed_health(b, 2, HEALTH_UP);
	go_wrong(b, 0, 1);
	ck_assert(!usable(b, 0));
	bed_close(b);
}
END_TEST

START_TEST(ejection_can_be_off)
{
	struct bed *b = bed_new(3, CONF_LEAST_CONN);

	b->up.max_fails = 0;
	bed_open(b);
	go_wrong(b, 0, 100);
	ck_assert(usable(b, 0));
	bed_close(b);
}
END_TEST

static void fail_all(struct bed *b)
{
	for (unsigned round = 0; round < 400; round++) {
		unsigned out = 0;

		for (unsigned i = 0; i < 10; i++)
			go_wrong(b, (i + b->shm.slot * 3 + round) % 10, 1);
		for (unsigned i = 0; i < 10; i++)
			out += !usable(b, i);
		/* One more may be marked for an instant by each other worker, until it counts. */
		if (out > 5 + 3)
			_exit(1);
		bed_pass(b, 100);
	}
}

START_TEST(the_share_holds_over_processes)
{
	struct bed *b = bed_new(10, CONF_LEAST_CONN);
	unsigned out = 0;

	log_set_level(LOG_LV_ERROR);
	b->up.fail_timeout = 1000000;
	bed_shm(b);
	bed_fork(b, 4, fail_all);
	b->shm.slot = 0;
	bed_groups(b);
	for (unsigned i = 0; i < 10; i++)
		out += !usable(b, i);
	ck_assert_uint_le(out, 5);
	ck_assert_uint_ge(out, 3);
	ck_assert_uint_eq(shm_fails(&b->shm, 0), 1600);
	bed_close(b);
}
END_TEST

START_TEST(the_checkers_word_counts)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);
	bool pending;

	bed_open(b);
	bed_health(b, 0, HEALTH_DOWN);
	ck_assert(!usable(b, 0));
	bed_health(b, 0, HEALTH_PENDING);
	ck_assert(!health_usable(&b->g->servers[0], b->loop.now_ms, &pending));
	ck_assert(pending);
	ck_assert(health_usable(&b->g->servers[1], b->loop.now_ms, &pending));
	ck_assert(!pending);
	bed_close(b);
}
END_TEST

START_TEST(slow_start_after_a_check)
{
	struct bed *b = bed_new(2, CONF_ROUND_ROBIN);
	unsigned count[2] = { 0 };

	b->up.slow_start = 10000;
	bed_open(b);
	const struct server *s = &b->g->servers[0];
	/* Up from the start is up. */
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 1000);
	shm_set_health(&b->shm.health[0], HEALTH_UP, HEALTH_WHY_CHECK, b->loop.now_ms);
	ck_assert_uint_le(health_share(s, b->loop.now_ms), 10);
	bed_pass(b, 2500);
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 250);
	for (unsigned i = 0; i < 1000; i++) {
		struct server *got = bed_pick(b);

		count[got->index]++;
		server_put(got);
	}
	ck_assert_msg(count[0] > 180 && count[0] < 220, "%u of 1000", count[0]);
	bed_pass(b, 7500);
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 1000);
	memset(count, 0, sizeof(count));
	for (unsigned i = 0; i < 1000; i++) {
		struct server *got = bed_pick(b);

		count[got->index]++;
		server_put(got);
	}
	ck_assert_msg(count[0] > 480 && count[0] < 520, "%u of 1000", count[0]);
	bed_close(b);
}
END_TEST

START_TEST(slow_start_after_an_ejection)
{
	struct bed *b = bed_new(2, CONF_ROUND_ROBIN);

	b->up.slow_start = 10000;
	bed_open(b);
	const struct server *s = &b->g->servers[0];
	go_wrong(b, 0, 3);
	bed_pass(b, 11000);
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 100);
	go_well(b, 0);
	bed_pass(b, 4000);
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 500);
	bed_pass(b, 6000);
	ck_assert_uint_eq(health_share(s, b->loop.now_ms), 1000);
	bed_close(b);
}
END_TEST

UNIT("health", three_failures_eject, failures_count_within_the_window, ejections_double_up_to_five_minutes,
     never_more_than_the_share, the_last_one_up_is_not_ejected, ejection_can_be_off, the_share_holds_over_processes,
     the_checkers_word_counts, slow_start_after_a_check, slow_start_after_an_ejection)
