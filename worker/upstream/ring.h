/*
 * ring.h - a consistent-hash ring over the servers of a group.
 *
 * Each server has points on a circle in proportion to its weight, placed by
 * its name alone, so that the same names give the same ring in every worker and
 * after every restart, and a server that comes or goes moves its own share of
 * keys only.
 */
#ifndef WORKER_UPSTREAM_RING_H
#define WORKER_UPSTREAM_RING_H

#include "worker/upstream/group.h"

struct ring {
	unsigned n;
	uint64_t points[];		/* position:44 | server index:20, ascending */
};

#define RING_INDEX_BITS 20

/* NULL when there is no memory. */
struct ring *ring_new(const struct group *g);
void ring_free(struct ring **r);
/* Where the walk for a key begins; r->n > 0. */
unsigned ring_start(const struct ring *r, uint64_t hash);
static inline unsigned ring_server(const struct ring *r, unsigned at)
{
	return (unsigned)(r->points[at] & ((1u << RING_INDEX_BITS) - 1));
}

#endif
