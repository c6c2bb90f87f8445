/*
 * record.h - what a request leaves behind for "weirctl why".
 *
 * The handler tells of each try as it goes; the exchange puts everything into
 * this worker's ring when it ends. Copies of numbers and cut text only: no
 * system call, no memory, no printing. A request that "weirctl trace" asks for
 * keeps more, in its arena.
 */
#ifndef WORKER_EXCHANGE_RECORD_H
#define WORKER_EXCHANGE_RECORD_H

#include "worker/exchange/exchange.h"

/* The request is known, and its route, if any: traces it if that is asked for. One branch where it is not. */
void record_match(struct exchange *x);
static inline void record_begin(struct exchange *x)
{
	const struct records *r = x->env->records;

	if (r != NULL && __builtin_expect(atomic_load_explicit(&r->orders->trace_gen, memory_order_relaxed) != 0, 0))
		record_match(x);
}
/* The parts of a filter that any request and any connection can be asked for. Numbers may be RECORD_NONE. */
bool record_filter(const struct shm_filter *f, const struct addr *client, unsigned route, unsigned listen);

/* A try begins. The note of the pick that led to it is taken over. */
void record_try(struct exchange *x, const struct server *s, bool fallback);
/* No server could be had. */
void record_no_server(struct exchange *x, enum reason why, bool fallback);
/* How the try under way went. */
void record_try_answered(struct exchange *x, uint64_t try_us, uint64_t connect_us, bool reused);
void record_try_failed(struct exchange *x, uint64_t try_us, uint64_t connect_us, enum reason why, unsigned flags);
/* It has ended: into the ring. */
void record_exchange(struct exchange *x);

#endif
