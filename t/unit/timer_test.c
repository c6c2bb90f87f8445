/*
 * timer_test.c - the timer wheel: never early, at most a tick late, in order,
 * at every distance, whatever callbacks do.
 */
#include "t/unit/unit.h"

#include "common/obj.h"
#include "worker/io/timer.h"

#define MANY 10000

struct alarm {
	struct timer timer;
	uint64_t want;			/* deadline */
	unsigned fired;
};

static struct timer_wheel wheel;
static struct alarm alarms[MANY];
static uint64_t now, last_tick;
static unsigned fired;

/* Small, fast, the same in every run. */
static uint64_t dice(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static void on_alarm(struct timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);

	ck_assert(!timer_is_set(t));
	ck_assert_msg(a->want <= now, "early: %lu at %lu", (unsigned long)a->want, (unsigned long)now);
	uint64_t tick = (a->want + TIMER_TICK_MS - 1) / TIMER_TICK_MS;
	ck_assert_msg(tick >= last_tick, "tick %lu after tick %lu", (unsigned long)tick, (unsigned long)last_tick);
	last_tick = tick;
	a->fired++;
	fired++;
}

static void start_at(uint64_t ms)
{
	now = ms;
	last_tick = fired = 0;
	memset(alarms, 0, sizeof(alarms));
	timer_wheel_init(&wheel, now);
	for (unsigned i = 0; i < MANY; i++)
		timer_init(&alarms[i].timer, on_alarm);
}

static void set(struct alarm *a, uint64_t deadline)
{
	a->want = deadline;
	timer_set(&wheel, &a->timer, deadline);
}

static void ck_nothing_is_overdue(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		const struct alarm *a = &alarms[i];

		if (timer_is_set(&a->timer))
			ck_assert_msg(a->want > now || now - a->want < TIMER_TICK_MS, "late: %lu at %lu", (unsigned long)a->want,
				      (unsigned long)now);
	}
}

/* Distances from nothing to weeks; the clock goes in steps of any size. */
START_TEST(random_timers_fire_in_order)
{
	start_at(123456789);
	const uint64_t start = now;
	for (unsigned i = 0; i < MANY; i++)
		set(&alarms[i], start + 1 + dice() % ((uint64_t)1 << (4 + i % 18)));
	ck_assert_uint_eq(wheel.count, MANY);
	for (unsigned turn = 0; fired < MANY; turn++) {
		now += turn % 100 == 99 ? dice() % 5000 : dice() % 20;
		timer_run(&wheel, now);
		if (turn % 64 == 0)
			ck_nothing_is_overdue();
		ck_assert_uint_lt(now - start, (uint64_t)1 << 22);
	}
	ck_assert_uint_eq(wheel.count, 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(alarms[i].fired, 1);
}
END_TEST

/* Sleeping exactly as long as the wheel says never misses a tick and never takes forever. */
START_TEST(told_sleep_is_right)
{
	unsigned turns = 0;

	start_at(1000001);
	const uint64_t start = now;
	for (unsigned i = 0; i < 200; i++)
		set(&alarms[i], start + 1 + dice() % 3600000);
	while (fired < 200) {
		unsigned wait = timer_wait_ms(&wheel, now, 3600000);

		ck_assert_uint_gt(wait, 0);
		now += wait;
		timer_run(&wheel, now);
		ck_nothing_is_overdue();
		turns++;
	}
	/* A few look-ins per timer on its way down the levels at most. */
	ck_assert_uint_lt(turns, 200 * TIMER_LEVELS);
	ck_assert_uint_eq(timer_wait_ms(&wheel, now, 77), 77);
}
END_TEST

/* Every power of two and its neighbours, from wheels that start at odd places. */
START_TEST(level_borders)
{
	for (unsigned offset = 0; offset < 300; offset += 37) {
		start_at(1000 + offset * TIMER_TICK_MS);
		const uint64_t start = now;
		unsigned n = 0;

		for (unsigned bit = 0; bit < 30; bit++) {
			for (int d = -1; d <= 1; d++) {
				uint64_t distance = ((uint64_t)1 << bit) + (uint64_t)(int64_t)d;

				set(&alarms[n++], start + (distance > 0 ? distance : 1));
			}
		}
		while (fired < n) {
			now += timer_wait_ms(&wheel, now, 100000000);
			timer_run(&wheel, now);
			ck_nothing_is_overdue();
		}
	}
}
END_TEST

/* Farther than the wheel reaches. */
START_TEST(beyond_the_last_level)
{
	const uint64_t year = (uint64_t)365 * 86400 * 1000;

	start_at(5000);
	set(&alarms[0], now + year);
	set(&alarms[1], UINT64_MAX);
	while (fired == 0) {
		now += timer_wait_ms(&wheel, now, 1000000000);
		timer_run(&wheel, now);
		ck_nothing_is_overdue();
	}
	ck_assert_uint_eq(alarms[0].fired, 1);
	ck_assert(timer_is_set(&alarms[1].timer));
	timer_stop(&wheel, &alarms[1].timer);
	ck_assert_uint_eq(wheel.count, 0);
}
END_TEST

START_TEST(moving)
{
	start_at(10000);
	/* Later, many times: it stays where it is filed and still fires once, in time. */
	set(&alarms[0], now + 100);
	for (unsigned i = 0; i < 1000; i++) {
		set(&alarms[0], now + 100);
		now += 10;
		timer_run(&wheel, now);
	}
	ck_assert_uint_eq(fired, 0);
	now += 100;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 1);
	/* Earlier. */
	last_tick = 0;
	set(&alarms[0], now + 100000);
	set(&alarms[0], now + 8);
	now += 12;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 2);
	/* In the past: the next tick. */
	last_tick = 0;
	set(&alarms[0], 1);
	now += TIMER_TICK_MS;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 3);
	ck_assert_uint_eq(wheel.count, 0);
}
END_TEST

START_TEST(stopping)
{
	start_at(10000);
	timer_stop(&wheel, &alarms[0].timer);
	for (unsigned i = 0; i < 100; i++)
		set(&alarms[i], now + 1 + i);
	for (unsigned i = 0; i < 100; i += 2) {
		timer_stop(&wheel, &alarms[i].timer);
		timer_stop(&wheel, &alarms[i].timer);
	}
	ck_assert_uint_eq(wheel.count, 50);
	now += 1000;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 50);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(alarms[i].fired, i % 2);
}
END_TEST

/* The first of a tick stops the second, moves the third away and sets itself again. */
static void on_meddle(struct timer *t)
{
	fired++;
	timer_stop(&wheel, &alarms[1].timer);
	timer_set(&wheel, &alarms[2].timer, now + 1000);
	if (fired < 3)
		timer_set(&wheel, t, now + 40);
}

START_TEST(callbacks_may_meddle)
{
	start_at(10000);
	timer_init(&alarms[0].timer, on_meddle);
	for (unsigned i = 0; i < 4; i++)
		set(&alarms[i], now + 20);
	now += 20;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 2);
	ck_assert_uint_eq(alarms[1].fired + alarms[2].fired, 0);
	ck_assert_uint_eq(alarms[3].fired, 1);
	ck_assert_uint_eq(wheel.count, 2);
	now += 40;
	timer_run(&wheel, now);
	ck_assert_uint_eq(fired, 3);
	ck_assert_uint_eq(wheel.count, 1);
}
END_TEST

/* A callback that wants to run at once, for ever, gets one go per tick. */
static void on_greedy(struct timer *t)
{
	fired++;
	timer_set(&wheel, t, 1);
}

START_TEST(greedy_timer_does_not_hang_the_wheel)
{
	start_at(10000);
	timer_init(&alarms[0].timer, on_greedy);
	set(&alarms[0], now + 1);
	now += 100 * TIMER_TICK_MS;
	timer_run(&wheel, now);
	ck_assert_uint_le(fired, 100);
	ck_assert_uint_ge(fired, 99);
}
END_TEST

UNIT("timer", random_timers_fire_in_order, told_sleep_is_right, level_borders, beyond_the_last_level, moving, stopping,
     callbacks_may_meddle, greedy_timer_does_not_hang_the_wheel)
