/*
 * timer.c - timers in a hierarchical wheel, in memory.
 *
 * Owns the order in which deadlines come up; the timers belong to whoever
 * embeds them. Run by the loop once per turn; never reads a clock itself.
 *
 * A slot of level 0 is one tick, a slot of level n as long as all of level
 * n - 1. When the wheel enters a slot of a higher level, its timers are filed
 * anew, nearer to the ground. Deadlines behind the last level wait in its
 * farthest slot and are filed again when that comes up.
 */
#include "worker/io/timer.h"

#include "common/obj.h"

#define SLOT_BITS 6
#define SLOT_MASK (TIMER_SLOTS - 1)
#define SPAN_TICKS ((uint64_t)1 << (SLOT_BITS * TIMER_LEVELS))
#define NEVER UINT64_MAX

_Static_assert(TIMER_SLOTS == 1 << SLOT_BITS, "a bitmap word has a bit for each slot");

/* The first tick at which `ms` has passed. */
static uint64_t tick_of(uint64_t ms)
{
	return ms / TIMER_TICK_MS + (ms % TIMER_TICK_MS != 0);
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms)
{
	*w = (struct timer_wheel){ .now_tick = now_ms / TIMER_TICK_MS };
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		for (unsigned i = 0; i < TIMER_SLOTS; i++)
			list_init(&w->slot[level][i]);
	}
}

void timer_init(struct timer *t, timer_fn *on_expire)
{
	*t = (struct timer){ .on_expire = on_expire };
	list_init(&t->node);
}

/* Puts an unlinked timer into the slot of its deadline, which is at `earliest` or later. */
static void file(struct timer_wheel *w, struct timer *t, uint64_t earliest)
{
	uint64_t tick = tick_of(t->deadline);
	unsigned level = 0;

	t->filed = t->deadline;
	if (tick < earliest)
		tick = earliest;
	uint64_t distance = tick - w->now_tick;
	if (distance >= SPAN_TICKS) {
		distance = SPAN_TICKS - 1;
		tick = w->now_tick + distance;
		t->filed = tick * TIMER_TICK_MS;
	}
	while (distance >> (SLOT_BITS * (level + 1)) != 0)
		level++;
	unsigned i = (tick >> (SLOT_BITS * level)) & SLOT_MASK;
	list_append(&w->slot[level][i], &t->node);
	w->used[level] |= (uint64_t)1 << i;
}

void timer_set(struct timer_wheel *w, struct timer *t, uint64_t deadline)
{
	must(deadline != 0);
	must(t->on_expire != NULL);
	bool was_set = timer_is_set(t);

	t->deadline = deadline;
	if (was_set) {
		/* Later than filed: the slot finds out when it comes up. */
		if (deadline >= t->filed)
			return;
		list_del(&t->node);
	} else {
		w->count++;
	}
	file(w, t, w->now_tick + 1);
}

void timer_stop(struct timer_wheel *w, struct timer *t)
{
	if (!timer_is_set(t))
		return;
	list_del(&t->node);
	t->deadline = 0;
	w->count--;
}

/* The next tick at which a slot that may hold timers comes up. */
static uint64_t next_tick(const struct timer_wheel *w)
{
	uint64_t next = NEVER;

	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		unsigned shift = SLOT_BITS * level;
		uint64_t here = w->now_tick >> shift, used = w->used[level];
		unsigned turn = (unsigned)(here + 1) & SLOT_MASK;

		if (used == 0)
			continue;
		/* Bit 0 is the slot after this one; this one itself is a whole round away. */
		used = used >> turn | used << (-turn & SLOT_MASK);
		uint64_t tick = (here + 1 + (unsigned)__builtin_ctzll(used)) << shift;
		if (tick < next)
			next = tick;
	}
	return next;
}

/* Moves all timers of a slot to `out`. */
static void take_slot(struct timer_wheel *w, unsigned level, uint64_t tick, struct list *out)
{
	unsigned i = (tick >> (SLOT_BITS * level)) & SLOT_MASK;
	struct list *slot = &w->slot[level][i], *n;

	list_init(out);
	w->used[level] &= ~((uint64_t)1 << i);
	if ((n = list_first(slot)) == NULL)
		return;
	out->next = n;
	out->prev = slot->prev;
	n->prev = slot->prev->next = out;
	list_init(slot);
}

/* Enters a tick: files anew what its higher slots hold, then fires what is due. */
static void enter(struct timer_wheel *w, uint64_t tick)
{
	struct list taken, *n;

	w->now_tick = tick;
	for (unsigned level = TIMER_LEVELS - 1; level > 0; level--) {
		if ((tick & (((uint64_t)1 << (SLOT_BITS * level)) - 1)) != 0)
			continue;
		take_slot(w, level, tick, &taken);
		while ((n = list_first(&taken)) != NULL) {
			list_del(n);
			file(w, list_entry(n, struct timer, node), tick);
		}
	}
	take_slot(w, 0, tick, &taken);
	/* From the front each time: a callback may stop any of the others. */
	while ((n = list_first(&taken)) != NULL) {
		struct timer *t = list_entry(n, struct timer, node);

		list_del(n);
		if (tick_of(t->deadline) > tick) {
			file(w, t, tick + 1);
			continue;
		}
		t->deadline = 0;
		w->count--;
		t->on_expire(t);
	}
}

void timer_run(struct timer_wheel *w, uint64_t now_ms)
{
	uint64_t target = now_ms / TIMER_TICK_MS;

	while (w->now_tick < target) {
		uint64_t next = next_tick(w);

		if (next > target)
			w->now_tick = target;
		else
			enter(w, next);
	}
}

unsigned timer_wait_ms(const struct timer_wheel *w, uint64_t now_ms, unsigned max)
{
	uint64_t next = w->count > 0 ? next_tick(w) : NEVER;

	if (next == NEVER || next * TIMER_TICK_MS >= now_ms + max)
		return max;
	return next * TIMER_TICK_MS > now_ms ? (unsigned)(next * TIMER_TICK_MS - now_ms) : 0;
}
