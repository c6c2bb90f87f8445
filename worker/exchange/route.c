/*
 * route.c - which route takes a request.
 *
 * Owns the tables and the look-up. Exact hosts and paths are one hash look-up, wildcards and prefixes one for each
 * distinct length in the configuration that ends on a border of the request's host or path; only regexes and routes with
 * the very same host and path are tried one after another. Called by the exchange and by `weir -e`. Never allocates
 * while looking up.
 */
#include "worker/exchange/route.h"

#include "common/obj.h"
#include "worker/exchange/route_table.h"

/* ---- order ---- */

static int by_number(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

/* Smaller is better. */
static int64_t host_class(const struct conf_host *h)
{
	if (h == NULL)
		return INT64_MAX;
	return h->wildcard ? INT64_MAX / 2 - (int64_t)h->name.n : 0;
}

static int64_t path_class(const struct route_entry *e)
{
	switch (e->route->path_kind) {
	case CONF_PATH_EXACT:
		return 0;
	case CONF_PATH_REGEX:
		return 1;
	case CONF_PATH_PREFIX:
		return INT64_MAX / 2 - (int64_t)e->path.n;
	case CONF_PATH_NONE:
		break;
	}
	return INT64_MAX;
}

static int64_t conditions(const struct conf_route *r)
{
	return (int64_t)(r->nlistens > 0) + (r->nmethods > 0) + (r->nclients > 0) + r->nheaders + r->ncookies + r->nqueries;
}

static int by_rank(const void *a, const void *b)
{
	const struct route_entry *x = a, *y = b;
	int d = by_number(y->route->priority, x->route->priority);

	if (d == 0)
		d = by_number(host_class(x->host), host_class(y->host));
	if (d == 0)
		d = by_number(path_class(x), path_class(y));
	if (d == 0)
		d = by_number(conditions(y->route), conditions(x->route));
	if (d == 0)
		d = by_number(x->route->id, y->route->id);
	if (d == 0)
		d = by_number(x->path_index, y->path_index);
	return d;
}

/* ---- tables ---- */

static void bucket_add(struct arena *a, struct route_bucket *b, const struct route_entry *e)
{
	if (b->n == b->cap) {
		unsigned cap = b->cap ? b->cap * 2 : 2;
		const struct route_entry **v = arena_alloc(a, cap * sizeof(const struct route_entry *));

		if (b->n)
			memcpy(v, b->v, b->n * sizeof(const struct route_entry *));
		b->v = v;
		b->cap = cap;
	}
	b->v[b->n++] = e;
}

static void cuts_add(struct arena *a, struct route_cuts *c, size_t length)
{
	unsigned at = 0;

	while (at < c->n && c->v[at] > length)
		at++;
	if (at < c->n && c->v[at] == length)
		return;
	if (c->n == c->cap) {
		unsigned cap = c->cap ? c->cap * 2 : 4;
		size_t *v = arena_alloc(a, cap * sizeof(*v));

		if (c->n)
			memcpy(v, c->v, c->n * sizeof(*v));
		c->v = v;
		c->cap = cap;
	}
	memmove(c->v + at + 1, c->v + at, (c->n - at) * sizeof(*c->v));
	c->v[at] = length;
	c->n++;
}

/* An empty key is a key too. */
static struct span key_of(struct span s)
{
	return s.p != NULL ? s : SPAN("");
}

static struct route_bucket *bucket_of(struct arena *a, struct htab *t, struct span path)
{
	struct route_bucket *b = htab_get(t, key_of(path));

	if (b == NULL) {
		b = arena_zalloc(a, sizeof(*b));
		htab_put(t, key_of(path), b);
	}
	return b;
}

static struct route_paths *paths_new(struct router *r)
{
	struct route_paths *p = arena_zalloc(&r->arena, sizeof(*p));

	htab_init(&p->exact);
	htab_init(&p->prefix);
	p->next = r->all;
	r->all = p;
	return p;
}

static struct route_paths *paths_of(struct router *r, struct route_hosts *hosts, const struct conf_host *h)
{
	struct htab *t;
	struct route_paths *p;

	if (h == NULL) {
		if (hosts->any == NULL)
			hosts->any = paths_new(r);
		return hosts->any;
	}
	t = h->wildcard ? &hosts->wildcard : &hosts->exact;
	p = htab_get(t, h->name);
	if (p == NULL) {
		p = paths_new(r);
		htab_put(t, h->name, p);
		if (h->wildcard)
			cuts_add(&r->arena, &hosts->cuts, h->name.n);
	}
	return p;
}

/* Entries come by rank, so buckets are in order by themselves. */
static void entry_place(struct router *r, struct route_hosts *hosts, const struct route_entry *e)
{
	struct route_paths *p = paths_of(r, hosts, e->host);

	switch (e->route->path_kind) {
	case CONF_PATH_EXACT:
		bucket_add(&r->arena, bucket_of(&r->arena, &p->exact, e->path), e);
		break;
	case CONF_PATH_REGEX:
		bucket_add(&r->arena, &p->regexes, e);
		break;
	case CONF_PATH_PREFIX:
		bucket_add(&r->arena, bucket_of(&r->arena, &p->prefix, e->path), e);
		cuts_add(&r->arena, &p->cuts, e->path.n);
		break;
	case CONF_PATH_NONE:
		bucket_add(&r->arena, &p->any, e);
		break;
	}
}

static void entries_of(struct router *r, const struct conf_route *route)
{
	unsigned nhosts = route->nhosts ? route->nhosts : 1;
	unsigned npaths = route->path_kind == CONF_PATH_NONE ? 1 : route->npaths;

	for (unsigned h = 0; h < nhosts; h++) {
		for (unsigned p = 0; p < npaths; p++) {
			struct route_entry *e = &r->entries[r->nentries++];

			e->route = route;
			e->host = route->nhosts ? &route->hosts[h] : NULL;
			e->path_index = p;
			if (route->path_kind == CONF_PATH_REGEX)
				e->regex = route->path_regexes[p];
			else if (route->path_kind != CONF_PATH_NONE)
				e->path = route->paths[p];
		}
	}
}

static void entries_make(struct router *r)
{
	const struct conf *c = r->conf;
	size_t n = 0;

	for (unsigned i = 0; i < c->nroutes; i++) {
		const struct conf_route *route = c->routes[i];

		OBJ_CHECK(route, CONF_ROUTE_MAGIC);
		n += (size_t)(route->nhosts ? route->nhosts : 1) * (route->npaths ? route->npaths : 1);
	}
	r->entries = arena_zalloc(&r->arena, n * sizeof(*r->entries) + 1);
	for (unsigned i = 0; i < c->nroutes; i++)
		if (c->routes[i]->enabled)
			entries_of(r, c->routes[i]);
	if (r->nentries > 1)
		qsort(r->entries, r->nentries, sizeof(*r->entries), by_rank);
	for (unsigned i = 0; i < r->nentries; i++)
		r->entries[i].rank = i;
}

struct router *router_new(const struct conf *c)
{
	struct router *r = calloc(1, sizeof(*r));

	OBJ_CHECK(c, CONF_MAGIC);
	if (r == NULL)
		log_no_memory(sizeof(*r));
	r->magic = ROUTER_MAGIC;
	r->conf = c;
	arena_init(&r->arena, NULL, 0);
	entries_make(r);
	r->listens = arena_zalloc(&r->arena, c->nlistens * sizeof(*r->listens) + 1);
	for (unsigned l = 0; l < c->nlistens; l++) {
		struct route_hosts *hosts = &r->listens[l];

		must(c->listens[l]->id == l);
		htab_init(&hosts->exact);
		htab_init(&hosts->wildcard);
		for (unsigned i = 0; i < r->nentries; i++)
			if (route_stands_on(r->entries[i].route, c->listens[l]))
				entry_place(r, hosts, &r->entries[i]);
	}
	return r;
}

void router_free(struct router **rp)
{
	struct router *r = *rp;

	OBJ_CHECK(r, ROUTER_MAGIC);
	for (struct route_paths *p = r->all; p != NULL; p = p->next) {
		htab_fini(&p->exact);
		htab_fini(&p->prefix);
	}
	for (unsigned l = 0; l < r->conf->nlistens; l++) {
		htab_fini(&r->listens[l].exact);
		htab_fini(&r->listens[l].wildcard);
	}
	arena_fini(&r->arena);
	r->magic = 0;
	free(r);
	*rp = NULL;
}

/* ---- look-up ---- */

struct look {
	const struct route_ask *ask;
	const struct route_entry *best;
	int *groups;			/* of the best */
};

/* Entries behind the best so far cannot win any more, so that most buckets cost one comparison. */
static void look_into(struct look *l, const struct route_bucket *b)
{
	int groups[20];

	for (unsigned i = 0; i < b->n; i++) {
		const struct route_entry *e = b->v[i];

		if (l->best != NULL && e->rank >= l->best->rank)
			return;
		if (!route_rest_holds(e->route, l->ask))
			continue;
		if (e->regex != NULL) {
			if (!conf_regex_match(e->regex, l->ask->req->path, groups))
				continue;
			memcpy(l->groups, groups, sizeof(groups));
		}
		l->best = e;
		return;
	}
}

static void look_by_key(struct look *l, const struct htab *t, struct span key)
{
	const struct route_bucket *b = htab_get(t, key_of(key));

	if (b != NULL)
		look_into(l, b);
}

static void look_prefixes(struct look *l, const struct route_paths *p)
{
	struct span path = l->ask->req->path;

	for (unsigned i = 0; i < p->cuts.n; i++) {
		size_t n = p->cuts.v[i];

		if (n > path.n || path.n == 0 || (n < path.n && path.p[n] != '/'))
			continue;
		look_by_key(l, &p->prefix, span_make(path.p, n));
	}
}

static void look_paths(struct look *l, const struct route_paths *p)
{
	if (p == NULL)
		return;
	look_by_key(l, &p->exact, l->ask->req->path);
	look_into(l, &p->regexes);
	look_prefixes(l, p);
	look_into(l, &p->any);
}

static void look_hosts(struct look *l, const struct route_hosts *hosts)
{
	struct span host = l->ask->req->host;

	if (host.n > 0)
		look_paths(l, htab_get(&hosts->exact, host));
	for (unsigned i = 0; i < hosts->cuts.n; i++) {
		size_t n = hosts->cuts.v[i];

		if (host.n <= n + 1 || host.p[host.n - n - 1] != '.')
			continue;
		look_paths(l, htab_get(&hosts->wildcard, span_make(host.p + host.n - n, n)));
	}
	look_paths(l, hosts->any);
}

const struct conf_route *router_find(const struct router *r, const struct route_ask *ask, struct route_match *m,
				     struct route_trace *trace)
{
	struct look l = { .ask = ask, .groups = m->groups };

	OBJ_CHECK(r, ROUTER_MAGIC);
	OBJ_CHECK(ask->req, HEAD_MAGIC);
	must(ask->listen->id < r->conf->nlistens);
	look_hosts(&l, &r->listens[ask->listen->id]);
	if (trace != NULL)
		route_trace_all(r, ask, l.best, trace);
	m->subject = ask->req->path;
	m->prefix = span_make(NULL, 0);
	if (l.best == NULL || l.best->regex == NULL)
		for (unsigned i = 0; i < ARRAY_LEN(m->groups); i++)
			m->groups[i] = -1;
	if (l.best == NULL)
		return NULL;
	if (l.best->route->path_kind == CONF_PATH_PREFIX)
		m->prefix = l.best->path;
	return l.best->route;
}
