/*
 * timer.h - timers in a hierarchical wheel, in memory.
 *
 * A timer is embedded in its owner and costs no system call. Setting, moving
 * and stopping are O(1). A timer never fires early and fires at most one tick
 * (TIMER_TICK_MS) plus the length of a loop turn late. Moving a deadline later
 * is lazy: the wheel entry stays and is re-filed when it comes up, so that
 * pushing a deadline forward on every read costs one store.
 */
#ifndef WORKER_IO_TIMER_H
#define WORKER_IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"

#define TIMER_TICK_MS 4

struct timer;
typedef void timer_fn(struct timer *t);

struct timer {
	struct list node;		/* in a wheel slot, or alone */
	uint64_t deadline;		/* monotonic ms; 0: not set */
	uint64_t filed;			/* deadline that its slot stands for */
	timer_fn *on_expire;		/* called with the timer unset; may set it again, may free the owner later */
};

#define TIMER_LEVELS 5
#define TIMER_SLOTS 64

struct timer_wheel {
	uint64_t now_tick;
	struct list slot[TIMER_LEVELS][TIMER_SLOTS];
	uint64_t used[TIMER_LEVELS];	/* bit per slot that may hold timers */
	unsigned count;
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms);
void timer_init(struct timer *t, timer_fn *on_expire);
/* Sets or moves; deadline is absolute monotonic ms. */
void timer_set(struct timer_wheel *w, struct timer *t, uint64_t deadline);
/* Idempotent. Must be called before the owner is freed. */
void timer_stop(struct timer_wheel *w, struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
	return t->deadline != 0;
}
/* Fires all that is due at now_ms. A callback may set and stop any timer. */
void timer_run(struct timer_wheel *w, uint64_t now_ms);
/* Milliseconds until the next slot comes up, at most `max`. */
unsigned timer_wait_ms(const struct timer_wheel *w, uint64_t now_ms, unsigned max);

#endif
