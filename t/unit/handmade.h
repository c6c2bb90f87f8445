/*
 * handmade.h - configurations and request heads put together by hand, for unit
 * tests of what reads them.
 *
 * Everything lies in the world's arena. Names given as C strings must be literals where they are not copied.
 */
#ifndef HANDMADE_H
#define HANDMADE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/conf.h"
#include "t/unit/unit.h"
#include "worker/exchange/exchange.h"
#include "worker/exchange/route.h"
#include "worker/http/h1_parse.h"

#define HANDMADE __attribute__((unused))

struct world {
	struct arena arena;
	struct conf conf;
	struct router *router;
	struct conf_regex *regexes[64];
	unsigned nregexes;
	uint64_t dice;
	struct loop loop;		/* only its clocks */
	struct env env;
};

HANDMADE static unsigned roll(struct world *w, unsigned n)
{
	w->dice ^= w->dice << 13;
	w->dice ^= w->dice >> 7;
	w->dice ^= w->dice << 17;
	return (unsigned)(w->dice % n);
}

HANDMADE static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	arena_init(&w->arena, NULL, 0);
	w->conf.magic = CONF_MAGIC;
	w->dice = seed * 0x9e3779b97f4a7c15u + 1;
	w->env.magic = ENV_MAGIC;
	w->env.conf = &w->conf;
	w->env.loop = &w->loop;
}

HANDMADE static void world_fini(struct world *w)
{
	if (w->router)
		router_free(&w->router);
	for (unsigned i = 0; i < w->nregexes; i++) {
		pcre2_match_data_free(w->regexes[i]->match);
		pcre2_code_free(w->regexes[i]->code);
	}
	arena_fini(&w->arena);
}

HANDMADE static struct conf_regex *regex(struct world *w, const char *source)
{
	struct conf_regex *r;
	int error;
	size_t at;

	for (unsigned i = 0; i < w->nregexes; i++)
		if (span_eq(w->regexes[i]->source, span_of(source)))
			return w->regexes[i];
	ck_assert_uint_lt(w->nregexes, 64);
	r = arena_zalloc(&w->arena, sizeof(*r));
	r->source = span_of(source);
	r->code = pcre2_compile((PCRE2_SPTR)source, strlen(source), 0, &error, &at, NULL);
	ck_assert_ptr_nonnull(r->code);
	r->match = pcre2_match_data_create(10, NULL);
	w->regexes[w->nregexes++] = r;
	return r;
}

HANDMADE static struct conf_listen *add_listen(struct world *w, const char *name, bool exclusive)
{
	struct conf_listen *l = arena_zalloc(&w->arena, sizeof(*l));

	l->magic = CONF_LISTEN_MAGIC;
	l->name = span_of(name);
	l->exclusive = exclusive;
	l->id = w->conf.nlistens;
	if (w->conf.listens == NULL)
		w->conf.listens = arena_zalloc(&w->arena, 8 * sizeof(*w->conf.listens));
	w->conf.listens[w->conf.nlistens++] = l;
	return l;
}

HANDMADE static struct conf_route *add_route(struct world *w, const char *name)
{
	struct conf_route *r = arena_zalloc(&w->arena, sizeof(*r));

	r->magic = CONF_ROUTE_MAGIC;
	r->name = arena_span(&w->arena, span_of(name));
	r->enabled = true;
	r->id = w->conf.nroutes;
	if (w->conf.routes == NULL)
		w->conf.routes = arena_zalloc(&w->arena, 2000 * sizeof(*w->conf.routes));
	w->conf.routes[w->conf.nroutes++] = r;
	return r;
}

HANDMADE static void add_host(struct world *w, struct conf_route *r, const char *name)
{
	if (r->hosts == NULL)
		r->hosts = arena_zalloc(&w->arena, 8 * sizeof(*r->hosts));
	r->hosts[r->nhosts].wildcard = name[0] == '*';
	r->hosts[r->nhosts++].name = arena_span(&w->arena, span_of(name[0] == '*' ? name + 2 : name));
}

HANDMADE static void add_path(struct world *w, struct conf_route *r, enum conf_path_kind kind, const char *path)
{
	r->path_kind = kind;
	if (r->paths == NULL) {
		r->paths = arena_zalloc(&w->arena, 8 * sizeof(*r->paths));
		r->path_regexes = arena_zalloc(&w->arena, 8 * sizeof(*r->path_regexes));
	}
	if (kind == CONF_PATH_REGEX)
		r->path_regexes[r->npaths++] = regex(w, path);
	else
		r->paths[r->npaths++] = arena_span(&w->arena, span_of(path));
}

HANDMADE static struct conf_cond cond(struct world *w, const char *name, enum conf_match how, const char *value)
{
	struct conf_cond c = { .how = how, .name = span_of(name) };

	if (how == CONF_M_EQUAL)
		c.value = span_of(value);
	if (how == CONF_M_REGEX)
		c.regex = regex(w, value);
	return c;
}

HANDMADE static struct conf_cond *conds(struct world *w, unsigned n, const struct conf_cond *v)
{
	struct conf_cond *copy = arena_alloc(&w->arena, n * sizeof(*copy) + 1);

	memcpy(copy, v, n * sizeof(*copy));
	return copy;
}

/* An exchange whose head came as `raw`, on a listener and a route that the caller may change. It lies in the world's arena
 * but has one of its own. */
HANDMADE static struct exchange *make_exchange(struct world *w, const char *raw)
{
	struct exchange *x = arena_zalloc(&w->arena, sizeof(*x));
	struct h1_scan scan = { .seen = 0 };
	struct h1_wire wire;
	enum h1_bad bad;
	struct span text;
	size_t len;

	x->magic = EXCHANGE_MAGIC;
	x->env = &w->env;
	arena_init(&x->arena, NULL, EXCHANGE_ARENA_MAX);
	head_init(&x->req, &x->arena);
	head_init(&x->resp, &x->arena);
	text = arena_span(&x->arena, span_of(raw));
	ck_assert_int_eq(h1_scan_head(&scan, text.p, text.n, 32768, &len, &bad), H1_DONE);
	x->request_line = arena_span(&x->arena, span_make(text.p, strcspn(raw, "\r")));
	bad = h1_parse_request(&x->req, &wire, (char *)text.p, len);
	ck_assert_msg(bad == H1_GOOD, "%s: %s", raw, h1_bad_text(bad));
	x->req.scheme = SPAN("http");
	x->orig_path = x->orig_uri = x->req.path;
	if (x->req.has_query)
		x->orig_uri = arena_join(&x->arena, (struct span[]){ x->req.path, SPAN("?"), x->req.query }, 3);
	for (unsigned i = 0; i < 20; i++)
		x->match.groups[i] = -1;
	x->listen = add_listen(w, "web", false);
	x->route = add_route(w, "shop");
	ck_assert(addr_parse(SPAN("192.0.2.7:4711"), &x->peer));
	x->client = x->peer;
	x->request_id_span = SPAN("0123456789abcdef0123456789abcdef");
	return x;
}

HANDMADE static void exchange_gone(struct exchange *x)
{
	arena_fini(&x->arena);
}

/* The route of an exchange that was made here. */
HANDMADE static struct conf_route *route_of(struct exchange *x)
{
	return (struct conf_route *)x->route;
}

HANDMADE static struct tmpl *template(struct world *w, const char *source)
{
	const char *err = NULL;
	struct tmpl *t = tmpl_compile(&w->arena, span_of(source), true, &err);

	ck_assert_msg(t != NULL, "%s: %s", source, err);
	return t;
}

#endif
