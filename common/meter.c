/*
 * meter.c - what workers count for metrics: where it lies, and the buckets.
 *
 * Owns the layout of the block of counters at the end of each row. Called by
 * whoever counts and by those who sum, fold and carry. Pure.
 */
#include "common/meter.h"

#include "common/obj.h"
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

size_t meter_at(const struct shm *s)
{
	size_t n = sizeof(struct shm_row) + s->ncells * sizeof(struct shm_use) +
		   ((size_t)s->nupstreams + s->nlistens) * sizeof(uint32_t);

	return (n + 63) / 64 * 64;
}

static size_t servers_at(const struct shm *s)
{
	return meter_at(s) + ((size_t)s->nroutes + 1) * sizeof(struct meter_hist);
}

static size_t series_at(const struct shm *s)
{
	return servers_at(s) + s->nservers * sizeof(struct meter_server);
}

static size_t listens_at(const struct shm *s)
{
	return series_at(s) + s->nseries * sizeof(struct meter_series);
}

size_t meter_count(const struct shm *s)
{
	return (listens_at(s) + s->nlistens * sizeof(uint64_t) - meter_at(s)) / sizeof(uint64_t);
}

size_t meter_route_at(const struct shm *s, unsigned route)
{
	must(route <= s->nroutes);
	return meter_at(s) + route * sizeof(struct meter_hist);
}

size_t meter_server_at(const struct shm *s, unsigned server)
{
	must(server < s->nservers);
	return servers_at(s) + server * sizeof(struct meter_server);
}

size_t meter_series_at(const struct shm *s, unsigned series)
{
	must(series < s->nseries);
	return series_at(s) + series * sizeof(struct meter_series);
}

size_t meter_listen_at(const struct shm *s, unsigned listen)
{
	must(listen < s->nlistens);
	return listens_at(s) + listen * sizeof(uint64_t);
}
