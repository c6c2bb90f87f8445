/*
 * clock.c - the two clocks.
 *
 * Read by the loop once per turn, and by processes that have no loop. Keeps
 * nothing and converts nothing between the two.
 */
#include "common/clock.h"

#include <time.h>

#include "common/obj.h"

static struct timespec now(clockid_t id)
{
	struct timespec ts;

	must(clock_gettime(id, &ts) == 0);
	return ts;
}

uint64_t clock_mono_us(void)
{
	struct timespec ts = now(CLOCK_MONOTONIC);

	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000u;
}

uint64_t clock_wall_ms(void)
{
	struct timespec ts = now(CLOCK_REALTIME);

	/* A machine that booted before 1970 by its clock is told 1970. */
	if (ts.tv_sec < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}
