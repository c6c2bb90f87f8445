/*
 * conf_route.c - reads [route NAME]: its conditions, and what is simple about the rest.
 *
 * Called by conf.c after listeners and upstreams, which routes refer to. Which
 * route wins is worker/exchange/route.c's business; whether one can win at all
 * is conf_reach.c's.
 */
#include "common/conf_parts.h"

/* ---- where: listen, host, path ---- */
static void read_listens(const struct scope *sc, struct conf_route *r)
{
	struct cursor at = { 0 };
	const struct word *w;

	r->listens = CONF_NEW(sc->ld, const struct conf_listen *, conf_count_words(sc, OPT_route_listen));
	while ((w = conf_next_word(sc, OPT_route_listen, &at)) != NULL) {
		const struct sect *s = conf_refer(sc->ld, at.v->e, SECT_listen, w);
		bool twice = s == NULL;

		for (unsigned i = 0; i < r->nlistens; i++)
			twice = twice || r->listens[i] == s->object;
		if (!twice)
			r->listens[r->nlistens++] = s->object;
	}
}

static bool read_host(struct load *ld, const struct entry *e, const struct word *w, struct conf_host *h)
{
	struct span s = w->s;
	char *p = arena_bytes(ld->arena, s.n + 1);
	struct addr ip;

	h->wildcard = span_starts(s, SPAN("*."));
	if (h->wildcard)
		s = span_make(s.p + 2, s.n - 2);
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)ascii_lower((unsigned char)s.p[i]);
	h->name = span_make(p, s.n);
	bool numeric = !h->wildcard && s.n > 0 && addr_parse_ip(s, &ip);
	if (numeric && ip.family == ADDR_V6 && s.p[0] == '[') {
		char text[ADDR_TEXT];

		/* One way to write an address, as requests have it. */
		addr_ip_text(&ip, text, sizeof(text));
		h->name = span_of(arena_printf(ld->arena, "[%s]", text));
		return true;
	}
	if (conf_host_ok(s) || (numeric && ip.family == ADDR_V4 && s.p[0] != '['))
		return true;
	const char *colon = s.n > 0 ? memchr(s.p, ':', s.n) : NULL;
	const char *near = NULL;
	if (colon != NULL && !w->outside && conf_host_ok(span_make(s.p, (size_t)(colon - s.p))))
		near = arena_printf(ld->arena, "%s%.*s", h->wildcard ? "*." : "", (int)(colon - s.p), s.p);
	return conf_expected(ld, e, "a host without port such as www.example.com, or *.example.com", w, near);
}

static void read_hosts(const struct scope *sc, struct conf_route *r)
{
	struct cursor at = { 0 };
	const struct word *w;

	r->hosts = CONF_NEW(sc->ld, struct conf_host, conf_count_words(sc, OPT_route_host));
	while ((w = conf_next_word(sc, OPT_route_host, &at)) != NULL)
		r->nhosts += read_host(sc->ld, at.v->e, w, &r->hosts[r->nhosts]);
}

static void read_paths(const struct scope *sc, struct conf_route *r, bool exact)
{
	enum opt_id id = exact ? OPT_route_path_exact : OPT_route_path;
	struct cursor at = { 0 };
	const struct word *w;

	if (conf_first(sc, id) == NULL)
		return;
	r->path_kind = exact ? CONF_PATH_EXACT : CONF_PATH_PREFIX;
	r->npaths = 0;
	r->paths = CONF_NEW(sc->ld, struct span, conf_count_words(sc, id));
	while ((w = conf_next_word(sc, id, &at)) != NULL)
		r->npaths += conf_path(sc->ld, at.v->e, w, !exact, &r->paths[r->npaths]);
}

static void read_path_regexes(const struct scope *sc, struct conf_route *r)
{
	const struct value *v = conf_first(sc, OPT_route_path_regex) ? conf_value(sc, OPT_route_path_regex) : NULL;
	unsigned n = 0;

	for (const struct value *i = v; i != NULL; i = conf_value_next(i))
		n++;
	if (n == 0)
		return;
	r->path_kind = CONF_PATH_REGEX;
	r->npaths = 0;
	r->path_regexes = CONF_NEW(sc->ld, struct conf_regex *, n);
	for (; v != NULL; v = conf_value_next(v)) {
		struct conf_regex *re = conf_nwords(sc->ld, v->e, 1, 1) ? conf_regex(sc->ld, v->e, v->e->words[0].s) : NULL;

		if (re != NULL)
			r->path_regexes[r->npaths++] = re;
	}
}

/* ---- who: method, client ---- */
static bool take_not(struct span *s)
{
	bool not = s->n > 0 && s->p[0] == '!';

	if (not)
		*s = span_make(s->p + 1, s->n - 1);
	return not;
}

static void read_methods(const struct scope *sc, struct conf_route *r)
{
	static const char *const known[] = {
		"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"
	};
	struct cursor at = { 0 };
	const struct word *w;

	r->methods = CONF_NEW(sc->ld, struct conf_method, conf_count_words(sc, OPT_route_method));
	while ((w = conf_next_word(sc, OPT_route_method, &at)) != NULL) {
		struct span name = w->s;
		bool not = take_not(&name), ok = conf_is_token(name);
		const char *near = conf_nearest(name, known, ARRAY_LEN(known));

		/* Methods tell case apart; get would never be seen. */
		ok = ok && (near == NULL || span_eq(name, span_of(near)) || !span_caseeq(name, span_of(near)));
		if (ok)
			r->methods[r->nmethods++] = (struct conf_method){ name, not };
		else
			conf_expected(sc->ld, at.v->e, "a method such as GET or !POST", w,
				      near ? arena_printf(sc->ld->arena, "%s%s", not ? "!" : "", near) : NULL);
	}
}

static void read_clients(const struct scope *sc, struct conf_route *r)
{
	struct cursor at = { 0 };
	const struct word *w;
	struct net nets[CONF_NET_WORD];

	r->clients = CONF_NEW(sc->ld, struct conf_client, (size_t)conf_count_words(sc, OPT_route_client) * CONF_NET_WORD);
	while ((w = conf_next_word(sc, OPT_route_client, &at)) != NULL) {
		struct span s = w->s;
		bool not = take_not(&s);
		unsigned n = conf_net_word(sc->ld, at.v->e, w, s, nets);

		for (unsigned i = 0; i < n; i++)
			r->clients[r->nclients++] = (struct conf_client){ nets[i], not };
	}
}

/* ---- header, cookie, query ---- */
static bool name_fits(enum opt_id id, struct span name)
{
	if (id != OPT_route_query)
		return conf_is_token(name);
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c <= ' ' || c > 126 || c == '&' || c == '=' || c == '#')
			return false;
	}
	return name.n > 0;
}

static bool read_cond(const struct scope *sc, const struct entry *e, enum opt_id id, struct conf_cond *c)
{
	char sep = id == OPT_route_header ? ':' : '=';
	struct span rest = e->text.s;
	bool not = take_not(&rest), has_value = rest.n > 0 && memchr(rest.p, sep, rest.n) != NULL;

	c->name = span_cut(&rest, sep);
	c->value = id == OPT_route_header ? span_trim(rest) : rest;
	c->how = not ? CONF_M_ABSENT : !has_value ? CONF_M_PRESENT : CONF_M_EQUAL;
	if (!name_fits(id, c->name) || (not && has_value))
		return conf_expected(sc->ld, e, e->opt->form, &e->text, NULL);
	if (c->how == CONF_M_EQUAL && c->value.n > 0 && c->value.p[0] == '~') {
		c->how = CONF_M_REGEX;
		c->regex = conf_regex(sc->ld, e, span_make(c->value.p + 1, c->value.n - 1));
		return c->regex != NULL;
	}
	return true;
}

static struct conf_cond *read_conds(const struct scope *sc, enum opt_id id, unsigned *n)
{
	const struct value *v = conf_first(sc, id) ? conf_value(sc, id) : NULL;
	unsigned room = 0;

	for (const struct value *i = v; i != NULL; i = conf_value_next(i))
		room++;
	struct conf_cond *conds = CONF_NEW(sc->ld, struct conf_cond, room);
	for (*n = 0; v != NULL; v = conf_value_next(v))
		*n += read_cond(sc, v->e, id, &conds[*n]);
	return conds;
}

void conf_route_conditions(const struct scope *sc, struct conf_route *r)
{
	read_listens(sc, r);
	read_hosts(sc, r);
	read_paths(sc, r, false);
	read_paths(sc, r, true);
	read_path_regexes(sc, r);
	read_methods(sc, r);
	read_clients(sc, r);
	r->headers = read_conds(sc, OPT_route_header, &r->nheaders);
	r->cookies = read_conds(sc, OPT_route_cookie, &r->ncookies);
	r->queries = read_conds(sc, OPT_route_query, &r->nqueries);
}

void conf_fill_route(struct scope *sc, struct conf_route *r)
{
	int64_t priority = conf_number(sc, OPT_route_priority);

	r->priority = priority == CONF_UNSET ? 0 : (int)priority;
	r->enabled = conf_bool(sc, OPT_route_enabled);
	conf_route_conditions(sc, r);
	conf_route_action(sc, r);
	conf_route_way(sc, r);
	conf_route_edits(sc, r);
	conf_route_error_pages(sc, r);
	r->max_body_size = conf_number(sc, OPT_listen_max_body_size);
	r->timeouts[CONF_T_CONNECT] = conf_number(sc, OPT_upstream_connect_timeout);
	r->timeouts[CONF_T_RESPONSE] = conf_number(sc, OPT_upstream_response_timeout);
	r->timeouts[CONF_T_READ] = conf_number(sc, OPT_upstream_read_timeout);
	r->timeouts[CONF_T_WRITE] = conf_number(sc, OPT_upstream_write_timeout);
	r->timeouts[CONF_T_TUNNEL] = conf_number(sc, OPT_upstream_tunnel_timeout);
}

void conf_read_route(struct load *ld, struct sect *s)
{
	struct conf_route *r = s->object;
	struct scope sc;

	conf_scope(ld, s, &sc);
	conf_fill_route(&sc, r);
	conf_logging(&sc, &ld->route_logs[r->id]);
}
