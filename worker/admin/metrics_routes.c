/*
 * metrics_routes.c - the families of metrics that have a sample for each route,
 * each server, or each pair of them.
 *
 * Called by metrics.c through its table. A thousand servers behind a hundred
 * routes go through here line by line; what has counted nothing yet is left out
 * where there may be very many.
 */
#include "common/obj.h"
#include "worker/admin/metrics.h"

/* ---- routes and servers: requests ---- */

/*
 * The series of route c->i that comes next: c->j is 0 for the one without server, else the target, c->k its server. Behind the last
 * route there is the one without route.
 */
struct series {
	unsigned id;
	struct span route, upstream, server;
};

static bool series_at(const struct admin_view *v, const struct cursor *c, struct series *s)
{
	if (c->i > v->conf->nroutes)
		return false;
	if (c->i == v->conf->nroutes) {
		*s = (struct series){ 0, SPAN(""), SPAN(""), SPAN("") };
		return true;
	}
	const struct conf_route *r = v->conf->routes[c->i];
	*s = (struct series){ r->series, r->name, SPAN(""), SPAN("") };
	if (c->j > 0) {
		const struct conf_target *t = &r->targets[c->j - 1];

		s->id = t->series + c->k;
		s->upstream = t->upstream->name;
		s->server = t->upstream->servers[c->k].name;
	}
	return true;
}

static void series_step(const struct admin_view *v, struct cursor *c)
{
	const struct conf_route *r = c->i < v->conf->nroutes ? v->conf->routes[c->i] : NULL;

	if (r != NULL && c->j > 0 && c->k + 1 < r->targets[c->j - 1].upstream->nservers) {
		c->k++;
		return;
	}
	c->k = 0;
	/* An upstream has one server at least. */
	if (r != NULL && c->j < r->ntargets) {
		c->j++;
		return;
	}
	c->j = 0;
	c->i++;
}

static void series_labels(struct text *out, const struct series *s)
{
	text_label(out, "route", s->route);
	text_str(out, ",");
	text_label(out, "upstream", s->upstream);
	text_str(out, ",");
	text_label(out, "server", s->server);
}

/* Pairs of route and server that have not met yet are left out: there may be very many. */
bool metrics_route_answers(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	static const char *const classes[METER_CLASSES] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
	struct series s;

	for (; series_at(v, c, &s); series_step(v, c)) {
		bool any = false;

		for (unsigned class = 0; class < METER_CLASSES; class++) {
			uint64_t n = tally_sum(&v->tally, TALLY_SERIES, s.id, f->within + class * sizeof(uint64_t));

			if (n == 0)
				continue;
			any = true;
			metrics_sample(out, f, "{");
			series_labels(out, &s);
			text_str(out, ",");
			text_label(out, "class", span_of(classes[class]));
			text_str(out, "}");
			metrics_value(out, n);
		}
		if (any) {
			series_step(v, c);
			return true;
		}
	}
	return false;
}

bool metrics_route_bytes(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	struct series s;

	for (; series_at(v, c, &s); series_step(v, c)) {
		uint64_t n = tally_sum(&v->tally, TALLY_SERIES, s.id, f->within);

		if (n == 0)
			continue;
		metrics_sample(out, f, "{");
		series_labels(out, &s);
		text_str(out, "}");
		metrics_value(out, n);
		series_step(v, c);
		return true;
	}
	return false;
}

/* ---- histograms ---- */

/* All lines of one, whose labels `labels` holds. */
static void histogram(struct text *out, const struct family *f, const struct tally_hist *h, struct span labels)
{
	uint64_t below = 0;

	for (unsigned i = 0; i <= METER_BOUNDS; i++) {
		below += h->n[i];
		metrics_sample(out, f, "_bucket{");
		text_put(out, labels);
		text_str(out, ",le=\"");
		if (i < METER_BOUNDS)
			text_seconds(out, meter_bounds[i]);
		else
			text_str(out, "+Inf");
		text_str(out, "\"}");
		metrics_value(out, below);
	}
	metrics_sample(out, f, "_sum{");
	text_put(out, labels);
	text_str(out, "} ");
	text_seconds(out, h->sum_us);
	text_str(out, "\n");
	metrics_sample(out, f, "_count{");
	text_put(out, labels);
	text_str(out, "}");
	metrics_value(out, h->count);
}

#define LABELS 2048			/* names have 40 bytes, addresses of servers at most some hundred */

bool metrics_route_latency(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	char some[LABELS];
	struct text labels = { .p = some, .room = sizeof(some) };

	if (c->i > v->conf->nroutes)
		return false;
	tally_hist(&v->tally, TALLY_ROUTE, c->i, 0, &c->hist);
	text_label(&labels, "route", c->i < v->conf->nroutes ? v->conf->routes[c->i]->name : SPAN(""));
	out->over |= labels.over;
	histogram(out, f, &c->hist, span_make(some, labels.n));
	c->i++;
	return true;
}

/* ---- servers as the configuration has them ---- */

/* The server at upstream c->i, c->j; moves on. NULL: none. */
static const struct conf_server *server_next(struct admin_view *v, struct cursor *c, const struct conf_upstream **u)
{
	while (c->i < v->conf->nupstreams) {
		*u = v->conf->upstreams[c->i];
		if (c->j < (*u)->nservers)
			return &(*u)->servers[c->j++];
		c->i++;
		c->j = 0;
	}
	return NULL;
}

static void server_labels(struct text *out, const struct conf_upstream *u, const struct conf_server *s)
{
	text_label(out, "upstream", u->name);
	text_str(out, ",");
	text_label(out, "server", s->name);
}

bool metrics_server_latency(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const struct conf_upstream *u;
	const struct conf_server *s = server_next(v, c, &u);
	char some[LABELS];
	struct text labels = { .p = some, .room = sizeof(some) };

	if (s == NULL)
		return false;
	tally_hist(&v->tally, TALLY_SERVER, s->id, f->within, &c->hist);
	server_labels(&labels, u, s);
	out->over |= labels.over;
	histogram(out, f, &c->hist, span_make(some, labels.n));
	return true;
}

bool metrics_server_meter_of(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const struct conf_upstream *u;
	const struct conf_server *s = server_next(v, c, &u);

	if (s == NULL)
		return false;
	metrics_sample(out, f, "{");
	server_labels(out, u, s);
	text_str(out, "}");
	metrics_value(out, tally_sum(&v->tally, TALLY_SERVER, s->id, f->within));
	return true;
}

/* Of struct shm_use: all addresses of a host name together. */
bool metrics_server_use(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const struct conf_upstream *u;
	const struct conf_server *s = server_next(v, c, &u);
	uint64_t sum = 0;

	if (s == NULL)
		return false;
	for (unsigned k = 0; k < s->ncells; k++)
		sum += tally_sum(&v->tally, TALLY_CELL, s->cell + k, f->within);
	metrics_sample(out, f, "{");
	server_labels(out, u, s);
	text_str(out, "}");
	metrics_value(out, sum);
	return true;
}

/* ---- servers as they are: one for each address of a host name ---- */


static bool cell_next(struct admin_view *v, struct cursor *c, struct look *l)
{
	while (c->i < v->conf->nupstreams) {
		if (look_next(v, c, l))
			return true;
		c->i++;
		c->j = c->k = 0;
	}
	return false;
}

static uint64_t cell_value(const struct admin_view *v, const struct look *l, enum cell_word what)
{
	switch (what) {
	case CELL_UP:
		return l->state == LOOK_UP;
	case CELL_EJECTED:
		return l->state == LOOK_EJECTED;
	case CELL_HELD:
		return l->state == LOOK_DRAINED || l->state == LOOK_HELD || l->state == LOOK_DISABLED;
	case CELL_WEIGHT:
		return l->weight;
	case CELL_ACTIVE:
		return l->active;
	case CELL_CHECK:
		return (uint64_t)atomic_load(&v->shm->health[l->cell].last_ms);
	}
	return 0;
}

bool metrics_cell(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	struct look l;

	if (!cell_next(v, c, &l))
		return false;
	metrics_sample(out, f, "{");
	server_labels(out, l.upstream, l.server);
	text_str(out, ",");
	text_label(out, "address", l.address);
	text_str(out, "}");
	uint64_t n = cell_value(v, &l, (enum cell_word)f->within);
	if (f->within == CELL_CHECK)
		metrics_seconds(out, n);
	else
		metrics_value(out, n);
	return true;
}
