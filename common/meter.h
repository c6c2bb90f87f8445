/*
 * meter.h - what workers count for metrics: latencies, answers by route and
 * server, bytes, clients by listener, checks.
 *
 * Behind the other cells of each row lies one block of 64-bit counters and
 * nothing else: struct meter_hist for each route and one for requests without,
 * struct meter_server for each server, struct meter_series for each pair that
 * conf.h numbers, one counter for each listener. A row's process alone writes
 * its own; counting costs a load and a store on one cache line or two. All of
 * it is folded and carried with the row (shm.c, shm_carry.c).
 */
#ifndef COMMON_METER_H
#define COMMON_METER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct shm_row;

/* Upper bounds in microseconds; what is beyond the last counts behind it. */
#define METER_BOUNDS 13
extern const uint32_t meter_bounds[METER_BOUNDS];

struct meter_hist {
	_Atomic uint64_t n[METER_BOUNDS + 1];	/* not cumulative */
	_Atomic uint64_t sum_us;
	_Atomic uint64_t spare;
};
_Static_assert(sizeof(struct meter_hist) == 128, "two cache lines");

struct meter_server {			/* all addresses of a host name together */
	struct meter_hist connect;	/* of new connections, TLS included */
	struct meter_hist first_byte;	/* from the beginning of a try to the answer's head */
	_Atomic uint64_t ejections;
	_Atomic uint64_t checks, check_fails;	/* the checker's */
	_Atomic uint64_t spare[5];
};
_Static_assert(sizeof(struct meter_server) == 320, "whole cache lines");

#define METER_CLASSES 6			/* of answers: none sent, then 1xx to 5xx */
struct meter_series {			/* a route and a server, or a route and none, or neither */
	_Atomic uint64_t answers[METER_CLASSES];
	_Atomic uint64_t bytes_in, bytes_out;	/* of bodies, as clients sent and got them */
};
_Static_assert(sizeof(struct meter_series) == 64, "one cache line");

/* The first bound that `us` does not exceed; METER_BOUNDS: none. */
unsigned meter_bucket(uint64_t us);

/* Single writer: no locked instruction. */
static inline void meter_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void meter_observe(struct meter_hist *h, uint64_t us)
{
	meter_add(&h->n[meter_bucket(us)], 1);
	meter_add(&h->sum_us, us);
}

/* Of a row. */
static inline void *meter_in(struct shm_row *row, size_t at)
{
	return (char *)row + at;
}

#endif
