/*
 * watchdog_test.c - who is stuck: stopped, asleep, spinning or only waiting for a processor.
 */
#include "t/unit/unit.h"

#include <unistd.h>

#include "master/watchdog.h"

static struct watch w;
static uint64_t now;

static enum watch_verdict judge(uint64_t beat, char state, uint64_t cpu_ms)
{
	const struct watch_proc p = { .state = state, .cpu_ms = cpu_ms };

	now += WATCHDOG_TICK_MS;
	return watch_judge(&w, beat, now, &p);
}

static void begin(void)
{
	now = 1000000;
	w = (struct watch){ .changed_ms = now };
	ck_assert_int_eq(judge(1, 'S', 100), WATCH_FINE);
}

/* Ticks without a heartbeat until there is something to say, at most n. */
static enum watch_verdict silent(unsigned n, char state, uint64_t cpu_from, uint64_t cpu_step)
{
	enum watch_verdict v = WATCH_FINE;

	for (unsigned i = 0; i < n && (v == WATCH_FINE || v == WATCH_WAITING); i++)
		v = judge(w.beat, state, cpu_from += cpu_step);
	return v;
}

START_TEST(reads_proc)
{
	struct watch_proc p;

	ck_assert(watch_parse_proc("12 (we) ir (x) T 1 2 3 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1", 100, &p));
	ck_assert_int_eq(p.state, 'T');
	ck_assert_uint_eq(p.cpu_ms, 2000);
	ck_assert(!watch_parse_proc("", 100, &p));
	ck_assert(!watch_parse_proc("12 (weir) S 1 2", 100, &p));
	ck_assert(watch_read_proc(getpid(), &p));
	ck_assert_int_eq(p.state, 'R');
	ck_assert(!watch_read_proc(0x3fffffff, &p));
}
END_TEST

START_TEST(beats_are_fine)
{
	begin();
	for (unsigned i = 2; i < 100; i++)
		ck_assert_int_eq(judge(i, i % 2 == 0 ? 'S' : 'R', i * 240), WATCH_FINE);
	/* Backwards, huge: only change counts. */
	ck_assert_int_eq(judge(0, 'S', 0), WATCH_FINE);
	ck_assert_int_eq(judge(UINT64_MAX, 'S', 0), WATCH_FINE);
}
END_TEST

START_TEST(stopped_is_found_after_two_seconds)
{
	begin();
	uint64_t from = now;
	ck_assert_int_eq(silent(100, 'T', 100, 0), WATCH_STOPPED);
	ck_assert_uint_eq(now - from, WATCHDOG_STALE_MS);
}
END_TEST

START_TEST(asleep_is_found_at_the_second_look)
{
	begin();
	uint64_t from = now;
	ck_assert_int_eq(silent(100, 'S', 100, 0), WATCH_ASLEEP);
	ck_assert_uint_eq(now - from, WATCHDOG_STALE_MS + WATCHDOG_TICK_MS);
	begin();
	ck_assert_int_eq(silent(100, 'D', 100, 0), WATCH_ASLEEP);
}
END_TEST

START_TEST(spinning_takes_its_time)
{
	begin();
	uint64_t from = now;
	ck_assert_int_eq(silent(100, 'R', 100, WATCHDOG_TICK_MS), WATCH_SPINNING);
	ck_assert_uint_eq(now - from, WATCHDOG_STALE_MS);
	/* With a tenth of a processor it takes ten seconds to have spun for one. */
	begin();
	from = now;
	ck_assert_int_eq(silent(100, 'R', 100, WATCHDOG_TICK_MS / 10), WATCH_SPINNING);
	ck_assert_uint_ge(now - from, 9000);
}
END_TEST

START_TEST(waiting_for_a_processor_is_left_alone)
{
	begin();
	ck_assert_int_eq(silent(1000, 'R', 100, 0), WATCH_WAITING);
	/* One look that finds it asleep between two that do not is no proof. */
	ck_assert_int_eq(judge(w.beat, 'S', 100), WATCH_WAITING);
	ck_assert_int_eq(judge(w.beat, 'R', 100), WATCH_WAITING);
	ck_assert_int_eq(judge(w.beat, 'S', 100), WATCH_WAITING);
	ck_assert_int_eq(judge(w.beat + 1, 'R', 100), WATCH_FINE);
}
END_TEST

START_TEST(a_debugger_is_respected)
{
	begin();
	ck_assert_int_eq(silent(100, 't', 100, 0), WATCH_TRACED);
}
END_TEST

START_TEST(restart_gives_new_time)
{
	begin();
	now += 60000;
	watch_restart(&w, now);
	uint64_t from = now;
	ck_assert_int_eq(silent(100, 'T', 100, 0), WATCH_STOPPED);
	ck_assert_uint_eq(now - from, WATCHDOG_STALE_MS);
}
END_TEST

UNIT("watchdog", reads_proc, beats_are_fine, stopped_is_found_after_two_seconds, asleep_is_found_at_the_second_look,
     spinning_takes_its_time, waiting_for_a_processor_is_left_alone, a_debugger_is_respected, restart_gives_new_time)
