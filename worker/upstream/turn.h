/*
 * turn.h - whose turn it is, agreed by all workers without a lock.
 *
 * Each server has a virtual time, each pick moves it on by a step inverse to
 * its weight, and the server whose time is lowest is next: picks come out as
 * evenly as weights allow (5:1 gives aaabaa, not aaaaab). The upstream's
 * virtual time is that of the latest pick. A server that stood aside takes up
 * there, half a step on, so that it neither catches up in a burst nor starves.
 */
#ifndef WORKER_UPSTREAM_TURN_H
#define WORKER_UPSTREAM_TURN_H

#include "worker/upstream/group.h"

/* One look at the state of turns; valid for one pick. */
struct turns {
	struct group *group;
	uint64_t now;			/* the upstream's virtual time */
	uint64_t slack;			/* how far behind a server may be because picks overlap */
};
/* weights: the sum of the candidates' turn_weight(). */
void turns_read(struct turns *t, struct group *g, uint64_t weights);

/* Weight in thousandths, slow start counted in. */
uint64_t turn_weight(const struct server *s, uint64_t now_ms);

struct turn {
	uint64_t time;			/* the server's virtual time */
	uint64_t step;
	int64_t lead;			/* time, seen from the upstream's: the lowest is next */
};
void turn_read(const struct turns *t, unsigned index, uint64_t weight, struct turn *out);
/* True when it got less than its share for a whole step. */
bool turn_overdue(const struct turn *t);
/* Moves the server on. False when another worker picked it meanwhile. */
bool turn_take(const struct turns *t, unsigned index, const struct turn *turn);

#endif
