/*
 * tally.h - what all living generations counted, under the names of the one in
 * force.
 *
 * Counters of an older generation are added by the names of routes, servers and
 * listeners until the master has put them into the memory of a younger one;
 * from that store on they are counted there. So a sum neither doubles nor goes
 * back, whenever it is made. Levels are those of all living processes.
 */
#ifndef WORKER_ADMIN_TALLY_H
#define WORKER_ADMIN_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/process.h"

struct tally_part {			/* one generation */
	unsigned generation;
	const struct conf *conf;
	const struct shm *shm;
	struct shm_version version;	/* when `taken` was found out */
	bool taken;			/* its counters are in the memory of another part */
	/* By number in the generation in force: the number here, -1: none. NULL: the same. */
	int32_t *routes, *servers, *series, *listens, *cells, *upstreams;
};

struct tally {
	const struct conf *conf;
	const struct shm *shm;		/* of the generation in force */
	struct tally_part *parts;	/* that one first */
	unsigned nparts;
};

enum tally_kind { TALLY_ROW, TALLY_ROUTE, TALLY_SERVER, TALLY_SERIES, TALLY_LISTEN, TALLY_CELL };

/* False: no memory. */
bool tally_init(struct tally *t, const struct process *p);
void tally_fini(struct tally *t);
/* The counter at `within` of the thing with that number. ROW: anywhere in a row. */
uint64_t tally_sum(struct tally *t, enum tally_kind kind, unsigned id, size_t within);

static inline uint64_t tally_stat(struct tally *t, enum stat_id id)
{
	return tally_sum(t, TALLY_ROW, 0, shm_stat_at(id));
}
uint64_t tally_gauge(const struct tally *t, enum stat_id id);
uint64_t tally_active(const struct tally *t, unsigned cell);
uint64_t tally_queued(const struct tally *t, unsigned upstream);
uint64_t tally_open(const struct tally *t, unsigned listen);

struct tally_hist {
	uint64_t n[METER_BOUNDS + 1], count, sum_us;
};
/* `within`: of the histogram in its thing. */
void tally_hist(struct tally *t, enum tally_kind kind, unsigned id, size_t within, struct tally_hist *out);
/* Adds the buckets of the one to the other. */
void tally_hist_add(struct tally_hist *to, const struct tally_hist *h);
/* What happened between two looks; nothing where a counter went back, since then a route left. */
struct tally_hist tally_hist_since(const struct tally_hist *now, const struct tally_hist *then);
/* The latency, in microseconds, that the share q (0..1) of all did not exceed, within the precision of buckets. 0: nothing. */
double tally_quantile(const struct tally_hist *h, double q);

#endif
