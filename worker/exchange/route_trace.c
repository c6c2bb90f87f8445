/*
 * route_trace.c - why each route won or lost, for `weir -e`.
 *
 * Runs behind a look-up, over every route of the configuration; the winner is
 * the look-up's, never found anew. Allocates and prints as it likes: no worker
 * comes here.
 */
#include <stdio.h>

#include "common/obj.h"
#include "worker/exchange/route_table.h"

#define WHY 256

struct verdict {
	const struct conf_route *route;
	unsigned rank;			/* of its best entry; routes that cannot be chosen come last */
	bool holds;
	char why[WHY];
};

struct text {
	char *p;
	size_t n;
};

static void text_add(struct text *t, struct span s)
{
	size_t room = WHY - 1 - t->n, n = s.n < room ? s.n : room;

	memcpy(t->p + t->n, s.p != NULL ? s.p : "", n);
	t->n += n;
	t->p[t->n] = '\0';
	if (n < s.n)
		memcpy(t->p + WHY - 4, "...", 4);
}

/* The request's side of a comparison is outside text. */
static void text_add_outside(struct text *t, struct span s)
{
	char safe[96];

	log_esc(safe, sizeof(safe), s);
	text_add(t, span_of(safe));
}

static void why_host(struct text *t, const struct conf_route *r, struct span host)
{
	text_add(t, SPAN("host: "));
	text_add_outside(t, host.n ? host : SPAN("(none)"));
	text_add(t, SPAN(" is not "));
	for (unsigned i = 0; i < r->nhosts; i++) {
		text_add(t, i ? SPAN(", ") : SPAN(""));
		text_add(t, r->hosts[i].wildcard ? SPAN("*.") : SPAN(""));
		text_add(t, r->hosts[i].name);
	}
}

static void why_path(struct text *t, const struct conf_route *r, struct span path)
{
	static const char *const keys[] = {
		[CONF_PATH_NONE] = "path", [CONF_PATH_EXACT] = "path_exact", [CONF_PATH_REGEX] = "path_regex",
		[CONF_PATH_PREFIX] = "path",
	};
	static const char *const verbs[] = {
		[CONF_PATH_NONE] = " is not ", [CONF_PATH_EXACT] = " is not ", [CONF_PATH_REGEX] = " does not match ",
		[CONF_PATH_PREFIX] = " is not at or below ",
	};

	text_add(t, span_of(keys[r->path_kind]));
	text_add(t, SPAN(": "));
	text_add_outside(t, path);
	text_add(t, span_of(verbs[r->path_kind]));
	for (unsigned i = 0; i < r->npaths; i++) {
		struct span word = r->path_kind == CONF_PATH_REGEX ? r->path_regexes[i]->source : r->paths[i];

		text_add(t, i ? SPAN(", ") : SPAN(""));
		text_add(t, word.n ? word : SPAN("/"));
	}
}

static void why_cond(struct text *t, const char *key, const struct conf_cond *c)
{
	static const char *const ends[] = {
		[CONF_M_PRESENT] = " is not there", [CONF_M_ABSENT] = " is there", [CONF_M_EQUAL] = " is not ",
		[CONF_M_REGEX] = " does not match ",
	};

	text_add(t, span_of(key));
	text_add(t, SPAN(": "));
	text_add(t, c->name);
	text_add(t, span_of(ends[c->how]));
	if (c->how == CONF_M_EQUAL)
		text_add(t, c->value);
	else if (c->how == CONF_M_REGEX)
		text_add(t, c->regex->source);
}

static void why_method(struct text *t, const struct conf_route *r, const struct head *req)
{
	text_add(t, SPAN("method: "));
	text_add_outside(t, req->method_text);
	text_add(t, SPAN(" is outside "));
	for (unsigned i = 0; i < r->nmethods; i++) {
		text_add(t, i ? SPAN(", ") : SPAN(""));
		text_add(t, r->methods[i].not ? SPAN("!") : SPAN(""));
		text_add(t, r->methods[i].name);
	}
}

static void why_client(struct text *t, const struct addr *client)
{
	char ip[ADDR_TEXT];

	addr_ip_text(client, ip, sizeof(ip));
	text_add(t, SPAN("client: "));
	text_add(t, span_of(ip));
	text_add(t, SPAN(" is in none of its networks, or in one it must not be in"));
}

/* The first of the remaining conditions that fails; false when all hold. */
static bool why_rest(struct text *t, const struct conf_route *r, const struct route_ask *ask)
{
	if (!route_methods_hold(r, ask->req)) {
		why_method(t, r, ask->req);
		return true;
	}
	if (!route_clients_hold(r, ask->client)) {
		why_client(t, ask->client);
		return true;
	}
	for (unsigned i = 0; i < r->nheaders; i++)
		if (!route_header_holds(&r->headers[i], ask->req)) {
			why_cond(t, "header", &r->headers[i]);
			return true;
		}
	for (unsigned i = 0; i < r->ncookies; i++)
		if (!route_cookie_holds(&r->cookies[i], ask->req)) {
			why_cond(t, "cookie", &r->cookies[i]);
			return true;
		}
	for (unsigned i = 0; i < r->nqueries; i++)
		if (!route_query_holds(&r->queries[i], ask->req)) {
			why_cond(t, "query", &r->queries[i]);
			return true;
		}
	return false;
}

/* Fills in rank, and whether host and path hold for any entry of the route. */
static void find_rank(const struct router *r, const struct route_ask *ask, struct verdict *v, bool *host, bool *path)
{
	unsigned first = UINT32_MAX;

	*host = *path = false;
	for (unsigned i = 0; i < r->nentries; i++) {
		const struct route_entry *e = &r->entries[i];

		if (e->route != v->route)
			continue;
		if (first == UINT32_MAX)
			first = i;
		if (e->host != NULL && !route_host_holds(e->host, ask->req->host))
			continue;
		*host = true;
		if (!route_path_holds(e->route, e->path_index, ask->req->path))
			continue;
		*path = true;
		v->rank = i;
		return;
	}
	v->rank = first;
}

static void judge(const struct router *r, const struct route_ask *ask, struct verdict *v)
{
	struct text t = { .p = v->why };
	bool host, path;

	v->rank = UINT32_MAX;
	if (!v->route->enabled) {
		text_add(&t, SPAN("enabled = no"));
		return;
	}
	if (!route_stands_on(v->route, ask->listen)) {
		text_add(&t, SPAN("listen: it does not stand on listener "));
		text_add(&t, ask->listen->name);
		return;
	}
	find_rank(r, ask, v, &host, &path);
	if (!host)
		why_host(&t, v->route, ask->req->host);
	else if (!path)
		why_path(&t, v->route, ask->req->path);
	else
		v->holds = !why_rest(&t, v->route, ask);
}

static int by_precedence(const void *a, const void *b)
{
	const struct verdict *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->route->id < y->route->id ? -1 : x->route->id > y->route->id;
}

void route_trace_all(const struct router *r, const struct route_ask *ask, const struct route_entry *best,
		     struct route_trace *t)
{
	unsigned n = r->conf->nroutes;
	struct verdict *all = calloc(n + 1, sizeof(*all));

	if (all == NULL)
		log_no_memory((n + 1) * sizeof(*all));
	for (unsigned i = 0; i < n; i++) {
		all[i].route = r->conf->routes[i];
		judge(r, ask, &all[i]);
	}
	qsort(all, n, sizeof(*all), by_precedence);
	for (unsigned i = 0; i < n; i++) {
		const struct verdict *v = &all[i];
		bool won = best != NULL && v->route == best->route;

		must(!won || v->holds);
		t->on_route(t, v->route, won ? "won" : v->holds ? "a better one won" : v->why);
	}
	free(all);
}
