/*
 * history.c - samples of the last minutes, for rates and charts.
 *
 * Owns the two rings. Called by the admin process every few seconds, and by the
 * pages. Samples are sums over generations, so that a reload shows in none of
 * them.
 */
#include "worker/admin/history.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/obj.h"

#define RING_MAGIC 0x4157041u

struct history_ring {
	uint32_t magic, points;		/* another layout begins anew */
	uint64_t n;			/* points written */
	struct history_point v[HISTORY_POINTS];
};
_Static_assert(sizeof(struct history_ring) <= SHM_HISTORY, "what the master makes has room");

static struct history_ring *map_ring(int fd)
{
	struct history_ring *r;

	if (fd < 0)
		return NULL;
	r = mmap(NULL, SHM_HISTORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (r == MAP_FAILED)
		return NULL;
	if (r->magic != RING_MAGIC || r->points != HISTORY_POINTS)
		*r = (struct history_ring){ .magic = RING_MAGIC, .points = HISTORY_POINTS };
	return r;
}

bool history_init(struct history *h, const struct conf *c, int fd)
{
	*h = (struct history){ .ring = map_ring(fd) };
	for (unsigned i = 0; i < HISTORY_RECENT; i++) {
		h->servers[i] = calloc(c->nservers + 1, sizeof(struct history_item));
		h->routes[i] = calloc(c->nroutes + 1, sizeof(struct history_item));
		if (h->servers[i] == NULL || h->routes[i] == NULL)
			return false;
	}
	return true;
}

void history_fini(struct history *h)
{
	for (unsigned i = 0; i < HISTORY_RECENT; i++) {
		free(h->servers[i]);
		free(h->routes[i]);
	}
	if (h->ring != NULL)
		munmap(h->ring, SHM_HISTORY);
}

/* ---- taking ---- */

static uint64_t class_sum(struct tally *t, unsigned series, unsigned class)
{
	return tally_sum(t, TALLY_SERIES, series,
			 offsetof(struct meter_series, answers) + class * sizeof(uint64_t));
}

static void add_series(struct tally *t, unsigned series, struct history_item *route, struct history_item *server)
{
	for (unsigned class = 0; class < METER_CLASSES; class++) {
		uint64_t n = class_sum(t, series, class);
		bool bad = class == 0 || class == 5;

		route->answers += n;
		route->errors += bad ? n : 0;
		if (server != NULL) {
			server->answers += n;
			server->errors += bad ? n : 0;
		}
	}
}

static void take_route(struct tally *t, const struct conf_route *r, struct history_item *routes,
		       struct history_item *servers)
{
	struct history_item *item = &routes[r->id];

	add_series(t, r->series, item, NULL);
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct conf_upstream *u = r->targets[i].upstream;

		for (unsigned j = 0; j < u->nservers; j++)
			add_series(t, r->targets[i].series + j, item, &servers[u->servers[j].id]);
	}
	tally_hist(t, TALLY_ROUTE, r->id, 0, &item->latency);
}

static void take_items(struct history *h, struct tally *t, uint64_t now_ms)
{
	const struct conf *c = t->conf;
	const unsigned at = (unsigned)(h->nrecent % HISTORY_RECENT);
	struct history_item *routes = h->routes[at], *servers = h->servers[at];

	memset(routes, 0, (c->nroutes + 1) * sizeof(*routes));
	memset(servers, 0, (c->nservers + 1) * sizeof(*servers));
	/* Behind the routes: requests that met none. */
	add_series(t, 0, &routes[c->nroutes], NULL);
	tally_hist(t, TALLY_ROUTE, c->nroutes, 0, &routes[c->nroutes].latency);
	for (unsigned i = 0; i < c->nroutes; i++)
		take_route(t, c->routes[i], routes, servers);
	for (unsigned i = 0; i < c->nservers; i++)
		tally_hist(t, TALLY_SERVER, i, offsetof(struct meter_server, first_byte), &servers[i].latency);
	h->taken_ms[at] = now_ms;
	h->nrecent++;
}

void history_sample(struct history *h, struct tally *t, uint64_t now_ms)
{
	const unsigned at = (unsigned)(h->nrecent % HISTORY_RECENT);
	struct history_point p = {
		.mono_ms = now_ms, .errors = tally_stat(t, STAT_STATUS_5XX),
		.bytes_in = tally_stat(t, STAT_BYTES_IN), .bytes_out = tally_stat(t, STAT_BYTES_OUT),
		.clients = tally_gauge(t, STAT_ACTIVE_CONNS), .active = tally_gauge(t, STAT_ACTIVE_EXCHANGES),
	};

	take_items(h, t, now_ms);
	for (enum stat_id s = STAT_STATUS_2XX; s <= STAT_STATUS_5XX; s++)
		p.answers += tally_stat(t, s);
	for (unsigned i = 0; i <= t->conf->nroutes; i++)
		tally_hist_add(&p.latency, &h->routes[at][i].latency);
	if (h->ring == NULL)
		return;
	h->ring->v[h->ring->n % HISTORY_POINTS] = p;
	h->ring->n++;
}

/* ---- showing ---- */

unsigned history_points(const struct history *h, uint64_t now_ms, struct history_point *out)
{
	uint64_t written = h->ring != NULL ? h->ring->n : 0;
	const uint64_t span_ms = (uint64_t)HISTORY_EVERY_MS * HISTORY_POINTS;
	unsigned have = written < HISTORY_POINTS ? (unsigned)written : HISTORY_POINTS, n = 0;

	for (unsigned i = 0; i < have; i++) {
		struct history_point p = h->ring->v[(written - have + i) % HISTORY_POINTS];
		const uint64_t last = n > 0 ? out[n - 1].mono_ms : 0;

		if (p.mono_ms > last && p.mono_ms <= now_ms && now_ms - p.mono_ms <= span_ms)
			out[n++] = p;
	}
	return n;
}

static struct history_rate rate(const struct history *h, struct history_item *const *samples, unsigned id)
{
	struct history_rate r = { .answers = 0 };

	if (h->nrecent < 2)
		return r;
	const unsigned have = h->nrecent < HISTORY_RECENT ? (unsigned)h->nrecent : HISTORY_RECENT;
	const unsigned last = (unsigned)((h->nrecent - 1) % HISTORY_RECENT);
	const unsigned first = (unsigned)((h->nrecent - have) % HISTORY_RECENT);
	const struct history_item *a = &samples[first][id], *b = &samples[last][id];
	double seconds = (double)(h->taken_ms[last] - h->taken_ms[first]) / 1000;

	if (seconds <= 0)
		return r;
	r.answers = b->answers > a->answers ? (double)(b->answers - a->answers) / seconds : 0;
	r.errors = b->errors > a->errors ? (double)(b->errors - a->errors) / seconds : 0;
	r.latency = tally_hist_since(&b->latency, &a->latency);
	return r;
}

struct history_rate history_server(const struct history *h, unsigned id)
{
	return rate(h, h->servers, id);
}

struct history_rate history_route(const struct history *h, unsigned id)
{
	return rate(h, h->routes, id);
}
