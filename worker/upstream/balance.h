/*
 * balance.h - the schedulers: which of the usable servers takes the next request.
 *
 * One function per method in a const table; each is given the group, the
 * request's ask and the set of candidates (usable, not tried, with room) and
 * gives one of them. Weights count in every method. Ties in least_conn go round
 * robin by shared virtual time, so an idle server is never starved and
 * round robin is even across workers. hash and ip_hash use a consistent ring
 * over all configured servers (names, not indexes), walking on where the owner
 * is no candidate.
 */
#ifndef WORKER_UPSTREAM_BALANCE_H
#define WORKER_UPSTREAM_BALANCE_H

#include "worker/upstream/group.h"

/* n >= 1 candidates as indexes into g->servers, ascending. Returns one of them. */
unsigned balance_pick(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n);
/* Prepares and frees g->ring. False when there is no memory. */
bool balance_prepare(struct group *g);
void balance_forget(struct group *g);

#endif
