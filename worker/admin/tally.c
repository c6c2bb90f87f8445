/*
 * tally.c - what all living generations counted, under the names of the one in
 * force.
 *
 * Owns the maps from today's numbers to those of older generations, made once.
 * Reads shared memory only; every index comes from a configuration.
 */
#include "worker/admin/tally.h"

#include <stdlib.h>

#include "common/obj.h"

/* Folds and carries are as rare as deaths and reloads; they take microseconds. */
#define TRIES 100

/* ---- maps ---- */

static int32_t *map_new(unsigned n)
{
	int32_t *v = malloc((n > 0 ? n : 1) * sizeof(*v));

	for (unsigned i = 0; v != NULL && i < n; i++)
		v[i] = -1;
	return v;
}

static const struct conf_server *same_server(const struct conf *in, const struct conf_upstream *u,
					     const struct conf_server *s)
{
	int id = shm_find_upstream(in, u), cell = shm_find_cell(in, u, s);

	for (unsigned i = 0; id >= 0 && cell >= 0 && i < in->upstreams[id]->nservers; i++) {
		if (in->upstreams[id]->servers[i].cell == (unsigned)cell)
			return &in->upstreams[id]->servers[i];
	}
	return NULL;
}

static void map_servers(struct tally_part *p, const struct conf *now)
{
	for (unsigned u = 0; u < now->nupstreams; u++) {
		const struct conf_upstream *up = now->upstreams[u];

		p->upstreams[u] = shm_find_upstream(p->conf, up);
		for (unsigned i = 0; i < up->nservers; i++) {
			const struct conf_server *s = &up->servers[i], *old = same_server(p->conf, up, s);

			if (old == NULL)
				continue;
			p->servers[s->id] = (int32_t)old->id;
			for (unsigned k = 0; k < s->ncells; k++)
				p->cells[s->cell + k] = (int32_t)(old->cell + k);
		}
	}
}

static void map_route(struct tally_part *p, const struct conf_route *r)
{
	const struct conf_route *old = shm_find_route(p->conf, r);

	if (old == NULL)
		return;
	p->routes[r->id] = (int32_t)old->id;
	p->series[r->series] = (int32_t)old->series;
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct conf_upstream *u = r->targets[i].upstream;

		for (unsigned j = 0; j < u->nservers; j++)
			p->series[r->targets[i].series + j] = shm_find_series(old, u, &u->servers[j]);
	}
}

static bool map_part(struct tally_part *p, const struct conf *now)
{
	p->routes = map_new(now->nroutes + 1);
	p->servers = map_new(now->nservers);
	p->series = map_new(now->nseries);
	p->listens = map_new(now->nlistens);
	p->cells = map_new(now->ncells);
	p->upstreams = map_new(now->nupstreams);
	if (!p->routes || !p->servers || !p->series || !p->listens || !p->cells || !p->upstreams)
		return false;
	map_servers(p, now);
	p->series[0] = 0;
	p->routes[now->nroutes] = (int32_t)p->conf->nroutes;
	for (unsigned i = 0; i < now->nroutes; i++)
		map_route(p, now->routes[i]);
	for (unsigned i = 0; i < now->nlistens; i++)
		p->listens[i] = shm_find_listen(p->conf, now->listens[i]);
	return true;
}

bool tally_init(struct tally *t, const struct process *p)
{
	*t = (struct tally){ .conf = p->conf, .shm = &p->shm, .nparts = 1 + p->npast };
	t->parts = calloc(t->nparts, sizeof(*t->parts));
	if (t->parts == NULL)
		return false;
	t->parts[0] = (struct tally_part){ .generation = p->generation, .conf = p->conf, .shm = &p->shm };
	for (unsigned i = 0; i < p->npast; i++) {
		struct tally_part *part = &t->parts[1 + i];

		*part = (struct tally_part){ .generation = p->past[i].generation, .conf = p->past[i].conf,
					     .shm = &p->past[i].shm };
		if (!map_part(part, p->conf))
			return false;
	}
	for (unsigned i = 0; i < t->nparts; i++)
		t->parts[i].version.epoch = UINT64_MAX;
	return true;
}

void tally_fini(struct tally *t)
{
	for (unsigned i = 0; t->parts != NULL && i < t->nparts; i++) {
		struct tally_part *p = &t->parts[i];

		free(p->routes);
		free(p->servers);
		free(p->series);
		free(p->listens);
		free(p->cells);
		free(p->upstreams);
	}
	free(t->parts);
	t->parts = NULL;
}

/* ---- sums ---- */

/* Looks again who has taken whom, where something moved since the last time. */
static void look(struct tally *t)
{
	bool same = true;

	for (unsigned i = 0; i < t->nparts; i++) {
		struct shm_version v = shm_version(t->parts[i].shm);

		same = same && shm_same_version(v, t->parts[i].version);
		t->parts[i].version = v;
	}
	for (unsigned i = 0; !same && i < t->nparts; i++) {
		struct tally_part *p = &t->parts[i];

		p->taken = false;
		for (unsigned j = 0; j < t->nparts; j++)
			p->taken = p->taken || (j != i && shm_has_taken(t->parts[j].shm, p->generation));
	}
}

static bool unchanged(const struct tally *t)
{
	atomic_thread_fence(memory_order_acquire);
	for (unsigned i = 0; i < t->nparts; i++) {
		if (!shm_same_version(shm_version(t->parts[i].shm), t->parts[i].version))
			return false;
	}
	return true;
}

static int number_in(const int32_t *map, unsigned id)
{
	return map != NULL ? map[id] : (int)id;
}

/* Where it lies in that part's rows; false: it is not there. */
static bool find(const struct tally_part *p, enum tally_kind kind, unsigned id, size_t *at)
{
	const int32_t *const maps[] = { [TALLY_ROW] = NULL, [TALLY_ROUTE] = p->routes, [TALLY_SERVER] = p->servers,
					[TALLY_SERIES] = p->series, [TALLY_LISTEN] = p->listens, [TALLY_CELL] = p->cells };
	int there = number_in(maps[kind], id);

	if (there < 0)
		return false;
	switch (kind) {
	case TALLY_ROW:
		*at = 0;
		break;
	case TALLY_ROUTE:
		*at = meter_route_at(p->shm, (unsigned)there);
		break;
	case TALLY_SERVER:
		*at = meter_server_at(p->shm, (unsigned)there);
		break;
	case TALLY_SERIES:
		*at = meter_series_at(p->shm, (unsigned)there);
		break;
	case TALLY_LISTEN:
		*at = meter_listen_at(p->shm, (unsigned)there);
		break;
	case TALLY_CELL:
		*at = shm_requests_at(p->shm, (unsigned)there) - offsetof(struct shm_use, requests);
		break;
	}
	return true;
}

uint64_t tally_sum(struct tally *t, enum tally_kind kind, unsigned id, size_t within)
{
	uint64_t sum = 0;
	size_t at = 0;

	for (unsigned try = 0; try < TRIES; try++) {
		sum = 0;
		look(t);
		for (unsigned i = 0; i < t->nparts; i++) {
			const struct tally_part *p = &t->parts[i];

			if (!p->taken && find(p, kind, id, &at))
				sum += shm_sum(p->shm, at + within);
		}
		if (unchanged(t))
			break;
	}
	return sum;
}

/* ---- levels: rows that nobody lives in read zero ---- */

uint64_t tally_gauge(const struct tally *t, enum stat_id id)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->nparts; i++)
		sum += shm_stat(t->parts[i].shm, id);
	return sum;
}

uint64_t tally_active(const struct tally *t, unsigned cell)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->nparts; i++) {
		int there = number_in(t->parts[i].cells, cell);

		sum += there >= 0 ? shm_active(t->parts[i].shm, (unsigned)there) : 0;
	}
	return sum;
}

uint64_t tally_queued(const struct tally *t, unsigned upstream)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->nparts; i++) {
		int there = number_in(t->parts[i].upstreams, upstream);

		sum += there >= 0 ? shm_queue_len(t->parts[i].shm, (unsigned)there) : 0;
	}
	return sum;
}

uint64_t tally_open(const struct tally *t, unsigned listen)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->nparts; i++) {
		int there = number_in(t->parts[i].listens, listen);

		sum += there >= 0 ? shm_open_len(t->parts[i].shm, (unsigned)there) : 0;
	}
	return sum;
}

/* ---- histograms ---- */

void tally_hist(struct tally *t, enum tally_kind kind, unsigned id, size_t within, struct tally_hist *out)
{
	*out = (struct tally_hist){ .count = 0 };
	for (unsigned i = 0; i <= METER_BOUNDS; i++) {
		out->n[i] = tally_sum(t, kind, id, within + offsetof(struct meter_hist, n) + i * sizeof(uint64_t));
		out->count += out->n[i];
	}
	out->sum_us = tally_sum(t, kind, id, within + offsetof(struct meter_hist, sum_us));
}

void tally_hist_add(struct tally_hist *to, const struct tally_hist *h)
{
	for (unsigned i = 0; i <= METER_BOUNDS; i++)
		to->n[i] += h->n[i];
	to->count += h->count;
	to->sum_us += h->sum_us;
}

struct tally_hist tally_hist_since(const struct tally_hist *now, const struct tally_hist *then)
{
	struct tally_hist d = { .count = 0 };

	if (now->count < then->count)
		return d;
	for (unsigned i = 0; i <= METER_BOUNDS; i++) {
		d.n[i] = now->n[i] >= then->n[i] ? now->n[i] - then->n[i] : 0;
		d.count += d.n[i];
	}
	d.sum_us = now->sum_us >= then->sum_us ? now->sum_us - then->sum_us : 0;
	return d;
}

double tally_quantile(const struct tally_hist *h, double q)
{
	double rank = q * (double)h->count, below = 0;

	if (h->count == 0)
		return 0;
	for (unsigned i = 0; i < METER_BOUNDS; i++) {
		double from = i > 0 ? meter_bounds[i - 1] : 0, to = meter_bounds[i], n = (double)h->n[i];

		if (n > 0 && below + n >= rank)
			return from + (to - from) * (rank > below ? (rank - below) / n : 0);
		below += n;
	}
	return meter_bounds[METER_BOUNDS - 1];
}
