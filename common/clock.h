/*
 * clock.h - the two clocks.
 *
 * Timers, limits and everything in shared memory use CLOCK_MONOTONIC in
 * milliseconds or microseconds; wall time is for people and HTTP dates and is
 * converted at the edge. The loop reads both once per turn; others read the
 * loop's copy, not these.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void);
uint64_t clock_mono_ms(void);
uint64_t clock_wall_ms(void);		/* since 1970, UTC */

#endif
