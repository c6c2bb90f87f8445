/*
 * ring.c - a consistent-hash ring over the servers of a group.
 *
 * Made by balance.c when a worker starts, and again when the addresses of a
 * host name change. Looking a key up allocates nothing and writes nothing.
 */
#include "worker/upstream/ring.h"

#include <stdlib.h>

#include "common/obj.h"
#include "worker/upstream/group_parts.h"

/* Points of a server of the least weight: shares come out even to about a twelfth. */
#define POINTS_PER_UNIT 160
/* Points of all; beyond that every server gets fewer. */
#define POINTS_MAX 65536
#define SEED 0x77656972u

static unsigned gcd(unsigned a, unsigned b)
{
	while (b != 0) {
		unsigned rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static bool is_member(const struct server *s)
{
	return s->weight > 0 && !server_unused(s);
}

static unsigned weight_unit(const struct group *g)
{
	unsigned unit = 0;

	for (unsigned i = 0; i < g->nservers; i++)
		unit = gcd(unit, g->servers[i].weight);
	return unit > 0 ? unit : 1;
}

static uint64_t points_wanted(const struct server *s, unsigned unit)
{
	return is_member(s) ? (uint64_t)POINTS_PER_UNIT * (s->weight / unit) : 0;
}

static unsigned points_of(const struct server *s, unsigned unit, uint64_t total)
{
	uint64_t wanted = points_wanted(s, unit);

	if (total <= POINTS_MAX || wanted == 0)
		return (unsigned)wanted;
	uint64_t got = (uint64_t)((double)wanted * POINTS_MAX / (double)total);
	return got > 0 ? (unsigned)got : 1;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

struct ring *ring_new(const struct group *g)
{
	unsigned unit = weight_unit(g);
	uint64_t total = 0;
	size_t room = 0;

	must(g->nservers < 1u << RING_INDEX_BITS);
	for (unsigned i = 0; i < g->nservers; i++)
		total += points_wanted(&g->servers[i], unit);
	for (unsigned i = 0; i < g->nservers; i++)
		room += points_of(&g->servers[i], unit, total);
	struct ring *r = malloc(sizeof(*r) + room * sizeof(r->points[0]));
	if (r == NULL)
		return NULL;
	r->n = 0;
	for (unsigned i = 0; i < g->nservers; i++) {
		const struct server *s = &g->servers[i];
		uint64_t base = span_hash(s->name, SEED);

		for (unsigned k = points_of(s, unit, total); k > 0; k--) {
			uint64_t at = mix64(base + k * 0x9e3779b97f4a7c15u);

			r->points[r->n++] = at >> RING_INDEX_BITS << RING_INDEX_BITS | i;
		}
	}
	must(r->n == room);
	qsort(r->points, r->n, sizeof(r->points[0]), ascending);
	return r;
}

void ring_free(struct ring **r)
{
	free(*r);
	*r = NULL;
}

unsigned ring_start(const struct ring *r, uint64_t hash)
{
	uint64_t key = mix64(hash) >> RING_INDEX_BITS << RING_INDEX_BITS;
	unsigned low = 0, high = r->n;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (r->points[mid] < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low < r->n ? low : 0;
}
