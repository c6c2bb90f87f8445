/*
 * group_parts.h - between group.c, group_queue.c, health.c and balance.c.
 * Nobody outside worker/upstream includes it.
 */
#ifndef WORKER_UPSTREAM_GROUP_PARTS_H
#define WORKER_UPSTREAM_GROUP_PARTS_H

#include "worker/upstream/group.h"

/* group_pick() without standing in line. */
enum pick_rc group_try(struct group *g, const struct pick_ask *ask, struct server **out);

/* Nothing is known of a pick. */
static inline void note_clear(struct group *g)
{
	g->all->note.n = g->all->note.passed = 0;
	g->all->note.load = RECORD_LOAD_UNKNOWN;
}
/* A server was passed over. */
static inline void note_other(struct group *g, unsigned index, enum pass_why why, uint32_t load)
{
	struct pick_note *n = &g->all->note;

	n->passed++;
	if (n->n < n->limit)
		n->others[n->n++] = (struct shm_other){ .cell = (uint16_t)g->servers[index].cell, .why = (uint8_t)why,
						       .load = load };
}

void group_queue_init(struct group *g);
void group_queue_fini(struct group *g);
/* A server took less, or can take more: waiters here or in other workers may have their turn. */
void group_has_room(struct group *g);
/* Something else changed for those who wait here; costs nothing when nobody does. */
void group_recheck(struct group *g);

uint64_t groups_random(struct groups *gs);

/* True for a cell of a host name that stands for no address just now. */
bool server_unused(const struct server *s);

static inline uint64_t mix64(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

#endif
