/*
 * conf_cover.c - what two routes have to do with each other: does one hold wherever
 * the other does, do they meet at all, and who wins there.
 *
 * Called by conf_reach.c. Sound, not complete: "covers" and "meets" are said
 * only when certain; what regexes hold for is asked of single paths alone.
 */
#include "common/conf_parts.h"

/* ---- hosts ---- */

/* Rank of a route at a host: exact, then wildcards by length, then none. */
#define RANK_EXACT INT32_MAX
#define RANK_ANY (-1)

static int host_rank(const struct conf_host *h)
{
	return h == NULL ? RANK_ANY : h->wildcard ? (int)h->name.n : RANK_EXACT;
}

/* name lies below *.domain */
static bool below(struct span name, struct span domain)
{
	return name.n > domain.n + 1 && span_ends(name, domain) && name.p[name.n - domain.n - 1] == '.';
}

/* h holds for all that `for_host` stands for. */
static bool host_covers(const struct conf_host *h, const struct conf_host *for_host)
{
	if (h == NULL)
		return true;
	if (for_host == NULL)
		return false;
	if (!h->wildcard)
		return !for_host->wildcard && span_eq(h->name, for_host->name);
	return (for_host->wildcard && span_eq(h->name, for_host->name)) || below(for_host->name, h->name);
}

/* ---- paths ---- */
static bool path_below(struct span path, struct span prefix)
{
	return span_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

static bool path_covers(const struct conf_route *r, unsigned i, const struct conf_route *a, unsigned k)
{
	switch (r->path_kind) {
	case CONF_PATH_NONE:
		return true;
	case CONF_PATH_PREFIX:
		return r->paths[i].n == 0 || ((a->path_kind == CONF_PATH_EXACT || a->path_kind == CONF_PATH_PREFIX) &&
					      path_below(a->paths[k], r->paths[i]));
	case CONF_PATH_EXACT:
		return a->path_kind == CONF_PATH_EXACT && span_eq(r->paths[i], a->paths[k]);
	case CONF_PATH_REGEX:
		return (a->path_kind == CONF_PATH_EXACT && conf_regex_match(r->path_regexes[i], a->paths[k], NULL)) ||
		       (a->path_kind == CONF_PATH_REGEX && span_eq(r->path_regexes[i]->source, a->path_regexes[k]->source));
	}
	return false;
}

static int path_rank(const struct conf_route *r, unsigned i)
{
	switch (r->path_kind) {
	case CONF_PATH_EXACT:
		return INT32_MAX;
	case CONF_PATH_REGEX:
		return INT32_MAX - 1;
	case CONF_PATH_PREFIX:
		return (int)r->paths[i].n;
	default:
		return -1;
	}
}

/* ---- methods and clients: words with and without ! ---- */
static bool method_is(const struct conf_method *m, struct span name)
{
	return span_eq(m->name, name) || (span_eq(m->name, SPAN("GET")) && span_eq(name, SPAN("HEAD")));
}

static bool takes_method(const struct conf_route *r, struct span name)
{
	bool plain = false, found = false;

	for (unsigned i = 0; i < r->nmethods; i++) {
		bool is = method_is(&r->methods[i], name);

		if (r->methods[i].not && is)
			return false;
		plain = plain || !r->methods[i].not;
		found = found || (!r->methods[i].not && is);
	}
	return found || !plain;
}

static bool plain_methods(const struct conf_route *r)
{
	for (unsigned i = 0; i < r->nmethods; i++) {
		if (!r->methods[i].not)
			return true;
	}
	return false;
}

static bool methods_cover(const struct conf_route *b, const struct conf_route *a)
{
	if (b->nmethods == 0)
		return true;
	if (!plain_methods(a)) {
		for (unsigned i = 0; i < b->nmethods; i++) {
			if (!b->methods[i].not || takes_method(a, b->methods[i].name))
				return false;
		}
		return true;
	}
	for (unsigned i = 0; i < a->nmethods; i++) {
		struct span name = a->methods[i].name;

		if (a->methods[i].not)
			continue;
		if ((takes_method(a, name) && !takes_method(b, name)) ||
		    (span_eq(name, SPAN("GET")) && takes_method(a, SPAN("HEAD")) && !takes_method(b, SPAN("HEAD"))))
			return false;
	}
	return true;
}

static bool net_covers(const struct net *n, const struct net *other)
{
	if (n->base.family == ADDR_NONE)
		return true;
	return n->base.family == other->base.family &&
	       (n->base.family == ADDR_UNIX || (n->bits <= other->bits && net_has(n, &other->base)));
}

/* Some client line of r with this `not` covers the network. */
static bool client_covers(const struct conf_route *r, bool not, const struct net *n, bool *any)
{
	bool found = false;

	*any = false;
	for (unsigned i = 0; i < r->nclients; i++) {
		*any = *any || r->clients[i].not == not;
		found = found || (r->clients[i].not == not && net_covers(&r->clients[i].net, n));
	}
	return found;
}

static bool clients_cover(const struct conf_route *b, const struct conf_route *a)
{
	static const struct net all = { .base = { .family = ADDR_NONE } };
	bool any, plain = false;

	for (unsigned i = 0; i < b->nclients; i++) {
		if (b->clients[i].not && !client_covers(a, true, &b->clients[i].net, &any))
			return false;
	}
	for (unsigned i = 0; i < a->nclients; i++) {
		plain = plain || !a->clients[i].not;
		if (!a->clients[i].not && !client_covers(b, false, &a->clients[i].net, &any) && any)
			return false;
	}
	return plain || client_covers(b, false, &all, &any) || !any;
}

/* ---- header, cookie, query lines ---- */
static bool same_name(const struct conf_cond *x, const struct conf_cond *y, bool ignore_case)
{
	return ignore_case ? span_caseeq(x->name, y->name) : span_eq(x->name, y->name);
}

/* Where x holds, y holds. */
static bool implies(const struct conf_cond *x, const struct conf_cond *y)
{
	if (y->how == CONF_M_PRESENT)
		return x->how != CONF_M_ABSENT;
	return x->how == y->how && span_eq(x->value, y->value);
}

static bool excludes(const struct conf_cond *x, const struct conf_cond *y)
{
	if ((x->how == CONF_M_ABSENT) != (y->how == CONF_M_ABSENT))
		return true;
	return x->how == CONF_M_EQUAL && y->how == CONF_M_EQUAL && !span_eq(x->value, y->value);
}

static bool conds_cover(const struct conf_cond *b, unsigned nb, const struct conf_cond *a, unsigned na,
			bool ignore_case)
{
	for (unsigned i = 0; i < nb; i++) {
		bool found = false;

		for (unsigned k = 0; k < na && !found; k++)
			found = same_name(&b[i], &a[k], ignore_case) && implies(&a[k], &b[i]);
		if (!found)
			return false;
	}
	return true;
}

static bool conds_meet(const struct conf_cond *b, unsigned nb, const struct conf_cond *a, unsigned na, bool ignore_case)
{
	for (unsigned i = 0; i < nb; i++) {
		for (unsigned k = 0; k < na; k++) {
			if (same_name(&b[i], &a[k], ignore_case) && excludes(&b[i], &a[k]))
				return false;
		}
	}
	return true;
}

bool conf_rest_covers(const struct conf_route *b, const struct conf_route *a)
{
	return methods_cover(b, a) && clients_cover(b, a) &&
	       conds_cover(b->headers, b->nheaders, a->headers, a->nheaders, true) &&
	       conds_cover(b->cookies, b->ncookies, a->cookies, a->ncookies, false) &&
	       conds_cover(b->queries, b->nqueries, a->queries, a->nqueries, false);
}

static bool methods_meet(const struct conf_route *b, const struct conf_route *a)
{
	if (!plain_methods(a) || !plain_methods(b))
		return true;
	for (unsigned i = 0; i < a->nmethods; i++) {
		if (!a->methods[i].not && takes_method(a, a->methods[i].name) && takes_method(b, a->methods[i].name))
			return true;
	}
	for (unsigned i = 0; i < b->nmethods; i++) {
		if (!b->methods[i].not && takes_method(a, b->methods[i].name) && takes_method(b, b->methods[i].name))
			return true;
	}
	return false;
}

static bool clients_meet(const struct conf_route *b, const struct conf_route *a)
{
	bool plain_a = false, plain_b = false;

	for (unsigned i = 0; i < b->nclients; i++)
		plain_b = plain_b || !b->clients[i].not;
	for (unsigned i = 0; i < a->nclients; i++) {
		if (a->clients[i].not)
			continue;
		plain_a = true;
		for (unsigned k = 0; k < b->nclients; k++) {
			if (!b->clients[k].not && (net_covers(&a->clients[i].net, &b->clients[k].net) ||
						   net_covers(&b->clients[k].net, &a->clients[i].net)))
				return true;
		}
	}
	return !plain_a || !plain_b;
}

bool conf_rest_meets(const struct conf_route *b, const struct conf_route *a)
{
	return methods_meet(b, a) && clients_meet(b, a) &&
	       conds_meet(b->headers, b->nheaders, a->headers, a->nheaders, true) &&
	       conds_meet(b->cookies, b->ncookies, a->cookies, a->ncookies, false) &&
	       conds_meet(b->queries, b->nqueries, a->queries, a->nqueries, false);
}

/* ---- who wins ---- */
static unsigned rest(const struct conf_route *r)
{
	return (r->nlistens > 0) + (r->nmethods > 0) + (r->nclients > 0) + r->nheaders + r->ncookies + r->nqueries;
}

/* Why b wins over a where they meet at these hosts and paths; NULL: a wins. */
static const char *wins(const struct conf_route *b, const struct conf_host *bh, unsigned bp, const struct conf_route *a,
			const struct conf_host *ah, unsigned ap)
{
	int path = path_rank(b, bp) - path_rank(a, ap);

	if (b->priority != a->priority)
		return b->priority > a->priority ? "its priority is higher" : NULL;
	if (host_rank(bh) != host_rank(ah))
		return host_rank(bh) > host_rank(ah) ? "its host is more exact" : NULL;
	if (path != 0)
		return path > 0 ? "its path is more exact" : NULL;
	if (rest(b) != rest(a))
		return rest(b) > rest(a) ? "it has more conditions" : NULL;
	return b->id < a->id ? "it stands first" : NULL;
}

/* Hosts and paths of a route, with one NULL or 0 in place of none. */
static unsigned hosts_of(const struct conf_route *r)
{
	return r->nhosts > 0 ? r->nhosts : 1;
}

static const struct conf_host *host_at(const struct conf_route *r, unsigned i)
{
	return r->nhosts > 0 ? &r->hosts[i] : NULL;
}

static unsigned paths_of(const struct conf_route *r)
{
	return r->npaths > 0 ? r->npaths : 1;
}

const char *conf_route_hides(const struct conf_route *b, const struct conf_route *a, const struct conf_host *ah,
			     unsigned ap)
{
	for (unsigned i = 0; i < hosts_of(b); i++) {
		if (!host_covers(host_at(b, i), ah))
			continue;
		for (unsigned k = 0; k < paths_of(b); k++) {
			const char *why = path_covers(b, k, a, ap) ? wins(b, host_at(b, i), k, a, ah, ap) : NULL;

			if (why != NULL)
				return why;
		}
	}
	return NULL;
}

const char *conf_route_beats(const struct conf_route *b, const struct conf_route *a)
{
	for (unsigned i = 0; i < hosts_of(b) * hosts_of(a) && i < 10000; i++) {
		const struct conf_host *bh = host_at(b, i / hosts_of(a)), *ah = host_at(a, i % hosts_of(a));

		if (!host_covers(bh, ah) && !host_covers(ah, bh))
			continue;
		for (unsigned k = 0; k < paths_of(b) * paths_of(a) && k < 10000; k++) {
			unsigned bp = k / paths_of(a), ap = k % paths_of(a);
			bool meet = path_covers(b, bp, a, ap) || path_covers(a, ap, b, bp);
			const char *why = meet ? wins(b, bh, bp, a, ah, ap) : NULL;

			if (why != NULL)
				return why;
		}
	}
	return NULL;
}

bool conf_route_ties(const struct conf_route *b, const struct conf_route *a)
{
	const bool regex = a->path_kind == CONF_PATH_REGEX && b->path_kind == CONF_PATH_REGEX;

	if (b->priority != a->priority || rest(b) != rest(a) || !conf_rest_meets(b, a))
		return false;
	for (unsigned i = 0; i < hosts_of(b) * hosts_of(a) && i < 10000; i++) {
		const struct conf_host *bh = host_at(b, i / hosts_of(a)), *ah = host_at(a, i % hosts_of(a));

		if (host_rank(bh) != host_rank(ah) || !host_covers(bh, ah))
			continue;
		for (unsigned k = 0; k < paths_of(b) * paths_of(a) && k < 10000; k++) {
			unsigned bp = k / paths_of(a), ap = k % paths_of(a);

			if (path_rank(b, bp) == path_rank(a, ap) && (regex || path_covers(b, bp, a, ap)))
				return true;
		}
	}
	return false;
}
