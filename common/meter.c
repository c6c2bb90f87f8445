/*
 * meter.c - what workers count for metrics: where it lies, and the buckets.
 *
 * Owns the layout of the block of counters at the end of each row. Called by
 * whoever counts and by those who sum, fold and carry. Pure.
 */
#include "common/meter.h"

#include "common/shm.h"

/* From a kilometre of wire to a page that nobody waits for. */
const uint32_t meter_bounds[METER_BOUNDS] = {
	1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000
};

unsigned meter_bucket(uint64_t us)
{
	/* Most answers are quick: the first compares decide. */
	unsigned i = 0;

	while (i < METER_BOUNDS && us > meter_bounds[i])
		i++;
	return i;
}

void shm_set_meters(struct shm *s)
{
	size_t n = sizeof(struct shm_row) + s->ncells * sizeof(struct shm_use) +
		   ((size_t)s->nupstreams + s->nlistens) * sizeof(uint32_t);

	s->meters_at = (n + 63) / 64 * 64;
	s->servers_at = s->meters_at + ((size_t)s->nroutes + 1) * sizeof(struct meter_hist);
	s->series_at = s->servers_at + s->nservers * sizeof(struct meter_server);
	s->listens_at = s->series_at + s->nseries * sizeof(struct meter_series);
	s->meters_end = s->listens_at + s->nlistens * sizeof(uint64_t);
}
