/*
 * turn.c - virtual time of servers in shared memory.
 *
 * Called by balance.c. Every word is moved by compare-and-swap, and any value
 * found is good: one that makes no sense (rows of zeros, a server that was away,
 * a wrapped count) is taken for a newcomer's. Times wrap; only differences count.
 */
#include "worker/upstream/turn.h"

#include "worker/upstream/health.h"

/* Step of weight 1. With it 2^36 picks go into a word. */
#define STEP_ONE ((uint64_t)1 << 28)
/* Picks by other workers that may overlap with one of ours. */
#define OVERLAP 16

uint64_t turn_weight(const struct server *s, uint64_t now_ms)
{
	return (uint64_t)s->weight * health_share(s, now_ms);
}

static uint64_t step_of(uint64_t weight)
{
	return STEP_ONE * 1000 / weight + 1;
}

void turns_read(struct turns *t, struct group *g, uint64_t weights)
{
	t->group = g;
	t->now = atomic_load_explicit(&g->all->shm->upstreams[g->conf->id].vtime, memory_order_relaxed);
	t->slack = OVERLAP * step_of(weights);
}

static _Atomic uint64_t *word_of(const struct turns *t, unsigned index)
{
	return &t->group->all->shm->servers[t->group->servers[index].cell].vtime;
}

void turn_read(const struct turns *t, unsigned index, uint64_t weight, struct turn *out)
{
	_Atomic uint64_t *word = word_of(t, index);
	uint64_t time = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t step = step_of(weight);
	int64_t lead = (int64_t)(time - t->now);

	if (time == 0 || lead < -(int64_t)(step + t->slack) || lead > (int64_t)(2 * step + t->slack)) {
		uint64_t joined = t->now + step / 2;

		/* Kept, or it would be half a step away for ever. */
		if (atomic_compare_exchange_strong_explicit(word, &time, joined, memory_order_relaxed, memory_order_relaxed))
			time = joined;
		lead = (int64_t)(time - t->now);
	}
	*out = (struct turn){ .time = time, .step = step, .lead = lead };
}

bool turn_overdue(const struct turn *t)
{
	return t->lead + (int64_t)t->step <= 0;
}

bool turn_take(const struct turns *t, unsigned index, const struct turn *turn)
{
	_Atomic uint64_t *now = &t->group->all->shm->upstreams[t->group->conf->id].vtime;
	uint64_t time = turn->time, was = t->now;

	if (!atomic_compare_exchange_strong_explicit(word_of(t, index), &time, time + turn->step, memory_order_relaxed,
						     memory_order_relaxed))
		return false;
	while ((int64_t)(turn->time - was) > 0
	       && !atomic_compare_exchange_weak_explicit(now, &was, turn->time, memory_order_relaxed, memory_order_relaxed))
		continue;
	return true;
}
