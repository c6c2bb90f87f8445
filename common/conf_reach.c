/*
 * conf_reach.c - warns of routes that no request can reach, and of those that name a
 * listener yet lose there to one that does not.
 *
 * Called by conf.c for a configuration without errors. Routes are looked up by
 * host, so that thousands of sites do not take minutes; past a budget of
 * comparisons nothing more is found.
 */
#include "common/conf_parts.h"

#define BUDGET 30000000

/* Routes that may hold for a host, a chain per name. */
struct link {
	const struct conf_route *route;
	struct link *next;
};

struct reach {
	struct load *ld;
	struct htab exact;		/* host -> struct link */
	struct link *wide;		/* with a wildcard, or without any host */
	uint64_t budget;
};

static bool spend(struct reach *rc)
{
	rc->budget -= rc->budget > 0;
	return rc->budget > 0;
}

static struct link *link_new(struct reach *rc, const struct conf_route *r, struct link *next)
{
	struct link *l = CONF_NEW(rc->ld, struct link, 1);

	*l = (struct link){ r, next };
	return l;
}

static void index_route(struct reach *rc, const struct conf_route *r)
{
	bool wide = r->nhosts == 0;

	for (unsigned i = 0; i < r->nhosts; i++) {
		const struct conf_host *h = &r->hosts[i];

		wide = wide || h->wildcard;
		if (!h->wildcard)
			htab_put(&rc->exact, h->name, link_new(rc, r, htab_get(&rc->exact, h->name)));
	}
	if (wide)
		rc->wide = link_new(rc, r, rc->wide);
}

static bool stands_on(const struct conf_route *r, const struct conf_listen *l)
{
	for (unsigned i = 0; i < r->nlistens; i++) {
		if (r->listens[i] == l)
			return true;
	}
	return r->nlistens == 0 && !l->exclusive;
}

static const char *where(struct reach *rc, const struct conf_route *r)
{
	return arena_printf(rc->ld->arena, "[route %.*s] (%s:%u)", SPAN_FMT(r->name), r->at.file, r->at.line);
}

/* ---- hidden altogether ---- */
static const struct conf_route *hider_in(struct reach *rc, const struct link *l, const struct conf_route *a,
					 const struct conf_listen *on, const struct conf_host *ah, unsigned ap, const char **why)
{
	for (; l != NULL && spend(rc); l = l->next) {
		const struct conf_route *b = l->route;

		if (b == a || !stands_on(b, on) || b->priority < a->priority)
			continue;
		*why = conf_route_hides(b, a, ah, ap);
		if (*why != NULL && conf_rest_covers(b, a))
			return b;
	}
	return NULL;
}

static const struct conf_route *hider(struct reach *rc, const struct conf_route *a, const struct conf_listen *on,
				      const struct conf_host *ah, unsigned ap, const char **why)
{
	const struct conf_route *b = NULL;

	if (ah != NULL && !ah->wildcard)
		b = hider_in(rc, htab_get(&rc->exact, ah->name), a, on, ah, ap, why);
	return b != NULL ? b : hider_in(rc, rc->wide, a, on, ah, ap, why);
}

/* NULL: something is left for it; else the last route that takes something away. */
static const struct conf_route *hidden_on(struct reach *rc, const struct conf_route *a, const struct conf_listen *on,
					  const char **why)
{
	const struct conf_route *by = NULL;

	for (unsigned h = 0; h < (a->nhosts > 0 ? a->nhosts : 1); h++) {
		for (unsigned p = 0; p < (a->npaths > 0 ? a->npaths : 1); p++) {
			by = hider(rc, a, on, a->nhosts > 0 ? &a->hosts[h] : NULL, p, why);
			if (by == NULL)
				return NULL;
		}
	}
	return by;
}

/* True when a warning was given. */
static bool check_hidden(struct reach *rc, const struct sect *s, const struct conf_route *a)
{
	const struct conf *c = rc->ld->conf;
	const struct conf_route *by = NULL;
	const char *why = "";
	unsigned stands = 0;

	for (unsigned i = 0; i < c->nlistens; i++) {
		if (!stands_on(a, c->listens[i]))
			continue;
		stands++;
		by = hidden_on(rc, a, c->listens[i], &why);
		if (by == NULL)
			return false;
	}
	if (stands == 0)
		conf_sect_warn(rc->ld, s, "no request can reach this route: every listener is exclusive, and it names none");
	else
		conf_sect_warn(rc->ld, s, "no request can reach this route: %s holds wherever it does and wins, since %s",
			       where(rc, by), why);
	return true;
}

/* Conditions of its own that cannot hold together. */
static bool check_self(struct reach *rc, const struct sect *s, const struct conf_route *a)
{
	if (conf_rest_meets(a, a))
		return false;
	conf_sect_warn(rc->ld, s, "no request can reach this route: its conditions exclude each other");
	return true;
}

/* ---- beaten on a listener it names ---- */
static bool beaten_by(struct reach *rc, const struct sect *s, const struct conf_route *a, const struct conf_route *b)
{
	const struct conf_listen *on = NULL;

	if (b == a || !b->enabled || b->nlistens > 0 || b->priority < a->priority)
		return false;
	for (unsigned i = 0; i < a->nlistens && on == NULL; i++)
		on = stands_on(b, a->listens[i]) ? a->listens[i] : NULL;
	const char *why = on != NULL && conf_rest_meets(b, a) ? conf_route_beats(b, a) : NULL;
	if (why == NULL)
		return false;
	conf_sect_warn(rc->ld, s,
		       "names [listen %.*s], yet loses there to %s where both hold, since %s; a higher priority, "
		       "or exclusive = yes in the listener, would let it win", SPAN_FMT(on->name), where(rc, b), why);
	return true;
}

static void check_beaten(struct reach *rc, const struct sect *s, const struct conf_route *a)
{
	const struct conf *c = rc->ld->conf;

	if (a->nlistens == 0)
		return;
	for (unsigned i = 0; i < c->nroutes && spend(rc); i++) {
		if (beaten_by(rc, s, a, c->routes[i]))
			return;
	}
}

void conf_reach(struct load *ld)
{
	struct reach rc = { .ld = ld, .budget = BUDGET };

	htab_init(&rc.exact);
	for (unsigned i = ld->conf->nroutes; i-- > 0;) {
		if (ld->conf->routes[i]->enabled)
			index_route(&rc, ld->conf->routes[i]);
	}
	for (struct sect *s = ld->first; s != NULL && spend(&rc); s = s->next) {
		const struct conf_route *a = s->kind == SECT_route ? s->object : NULL;

		if (a == NULL || !a->enabled)
			continue;
		if (!check_self(&rc, s, a) && !check_hidden(&rc, s, a))
			check_beaten(&rc, s, a);
	}
	htab_fini(&rc.exact);
}
