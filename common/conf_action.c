/*
 * conf_action.c - reads what a route does: its action, path changes, access, retries.
 *
 * Called by conf_route.c once the conditions are known, since $1 needs a
 * path_regex and strip_prefix = yes a path.
 */
#include <ctype.h>

#include "common/conf_parts.h"

static bool groups(const struct scope *sc, const struct conf_route *r)
{
	return r->path_kind == CONF_PATH_REGEX || sc->trial;
}

static unsigned lines(const struct value *v)
{
	unsigned n = 0;

	for (; v != NULL; v = conf_value_next(v))
		n++;
	return n;
}

/* ---- upstream ---- */
static bool read_split(const struct scope *sc, const struct entry *e, struct conf_split *out)
{
	static const char *const attrs[] = { "weight" };
	const struct sect *s = conf_refer(sc->ld, e, SECT_upstream, &e->words[0]);
	int64_t weight = 1;

	for (unsigned i = 1; i < e->nwords; i++) {
		const struct word *w = &e->words[i];
		struct span key = w->attr.n > 0 ? w->attr : w->s;
		const char *near = conf_nearest(key, attrs, ARRAY_LEN(attrs));

		if (!span_eq(w->attr, SPAN("weight"))) {
			conf_error(sc->ld, e, "unknown attribute \"%s\"%s%s", conf_show(sc->ld->arena, key),
				   near ? "; did you mean weight=N?" : "",
				   near || w->attr.n > 0 ? "" : "; each upstream has a line of its own");
			return false;
		}
		if (i > 1) {
			conf_error(sc->ld, e, "weight stands twice");
			return false;
		}
		if (!conf_uint(w->s, 0, 1000000, &weight))
			return conf_expected(sc->ld, e, "weight=0 to weight=1000000", w, NULL);
	}
	*out = (struct conf_split){ s != NULL ? s->object : NULL, (unsigned)weight };
	return s != NULL;
}

static void read_upstreams(const struct scope *sc, struct conf_route *r)
{
	const struct value *v = conf_value(sc, OPT_route_upstream);
	const struct entry *last = NULL;
	uint64_t sum = 0;
	bool ok = true;

	r->action = CONF_UPSTREAM;
	r->split = CONF_NEW(sc->ld, struct conf_split, lines(v));
	for (; v != NULL; v = conf_value_next(v)) {
		struct conf_split *part = &r->split[r->nsplit];

		last = v->e;
		if (!read_split(sc, v->e, part)) {
			ok = false;
			continue;
		}
		for (unsigned i = 0; i < r->nsplit && i < 1000; i++) {
			if (r->split[i].upstream == part->upstream)
				conf_error(sc->ld, v->e, "names the same upstream as a line above");
		}
		sum += part->weight;
		r->nsplit++;
	}
	if (ok && sum == 0 && last != NULL)
		conf_error(sc->ld, last, "expected at least one weight above 0");
}

/* ---- respond, redirect ---- */
static void read_respond(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e = conf_first(sc, OPT_route_respond);
	int64_t status;

	r->action = CONF_RESPOND;
	if (!conf_uint(e->words[0].s, e->opt->min, e->opt->max, &status)) {
		conf_expected(sc->ld, e, "a status from 200 to 599 and then the text", &e->words[0], NULL);
		return;
	}
	r->status = (uint16_t)status;
	if (e->has_text && (status == 204 || status == 205 || status == 304))
		conf_error(sc->ld, e, "an answer with status %d has no text", (int)status);
	if (e->has_text)
		r->text = conf_tmpl(sc->ld, e, &e->text, groups(sc, r));
}

static bool url_ok(const struct word *w, const struct tmpl *t)
{
	struct span start = t->nparts > 0 ? t->parts[0].text : SPAN("");
	size_t n = 0;

	for (size_t i = 0; i < w->s.n; i++) {
		if ((unsigned char)w->s.p[i] <= ' ' || w->s.p[i] == 127)
			return false;
	}
	if (t->nparts > 0 && t->parts[0].var != VAR_NONE)
		return true;
	while (n < start.n && isalpha((unsigned char)start.p[n]))
		n++;
	if (start.n > 0 && start.p[0] == '/')
		return true;
	return n > 0 && span_starts(span_make(start.p + n, start.n - n), SPAN("://"));
}

static void read_redirect(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e = conf_first(sc, OPT_route_redirect);
	int64_t status;

	r->action = CONF_REDIRECT;
	if (!conf_nwords(sc->ld, e, 2, 2))
		return;
	if (!conf_uint(e->words[0].s, 301, 308, &status) || (status > 303 && status < 307)) {
		conf_expected(sc->ld, e, "301, 302, 303, 307 or 308 and then the URL", &e->words[0], NULL);
		return;
	}
	r->status = (uint16_t)status;
	struct tmpl *t = conf_tmpl(sc->ld, e, &e->words[1], groups(sc, r));
	if (t != NULL && !url_ok(&e->words[1], t))
		conf_expected(sc->ld, e, "a URL that begins with https://, http:// or /", &e->words[1], NULL);
	r->text = t;
}

void conf_route_action(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e;

	if (conf_first(sc, OPT_route_upstream) != NULL)
		read_upstreams(sc, r);
	else if (conf_first(sc, OPT_route_respond) != NULL)
		read_respond(sc, r);
	else if (conf_first(sc, OPT_route_redirect) != NULL)
		read_redirect(sc, r);
	else if (!sc->trial && !sc->broken_action)
		conf_sect_error(sc->ld, sc->sect, "expected an action (upstream, respond or redirect), got none");
	const struct word *w = conf_word(sc, OPT_route_split_by, &e);
	if (w != NULL)
		r->split_by = conf_tmpl(sc->ld, e, w, groups(sc, r));
}

/* ---- path changes ---- */
static void read_strip(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_route_strip_prefix, &e);
	int64_t yes;

	if (w == NULL)
		return;
	if (!conf_parse_number(OPT_BOOL, w->s, &yes)) {
		conf_path(sc->ld, e, w, true, &r->strip_prefix);
		return;
	}
	r->strip_matched = yes;
	if (yes && r->path_kind != CONF_PATH_PREFIX && !sc->trial)
		conf_error(sc->ld, e,
			   "yes takes off the path that matched, but this route has no path; say strip_prefix = /PREFIX");
}

static void read_rewrites(const struct scope *sc, struct conf_route *r)
{
	const struct value *v = conf_first(sc, OPT_route_rewrite) ? conf_value(sc, OPT_route_rewrite) : NULL;

	r->rewrites = CONF_NEW(sc->ld, struct conf_rewrite, lines(v));
	for (; v != NULL; v = conf_value_next(v)) {
		struct conf_rewrite *rw = &r->rewrites[r->nrewrites];

		if (!conf_nwords(sc->ld, v->e, 2, 2))
			continue;
		rw->regex = conf_regex(sc->ld, v->e, v->e->words[0].s);
		rw->to = conf_tmpl(sc->ld, v->e, &v->e->words[1], true);
		for (unsigned i = 0; rw->to != NULL && i < rw->to->nparts; i++) {
			const struct tmpl_part *p = &rw->to->parts[i];

			rw->has_query = rw->has_query || (p->var == VAR_NONE && memchr(p->text.p, '?', p->text.n) != NULL);
		}
		r->nrewrites += rw->regex != NULL && rw->to != NULL;
	}
}

static void read_host_header(const struct scope *sc, struct conf_route *r)
{
	static const char *const words[] = { "preserve", "upstream" };
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_route_host_header, &e);

	if (w == NULL || span_eq(w->s, SPAN("preserve")))
		return;
	if (span_eq(w->s, SPAN("upstream"))) {
		r->host_header_kind = CONF_HOST_UPSTREAM;
		return;
	}
	const char *near = conf_nearest(w->s, words, ARRAY_LEN(words));
	bool ok = w->s.n > 0 && (near == NULL || memchr(w->s.p, '.', w->s.n) != NULL);
	for (size_t i = 0; i < w->s.n; i++)
		ok = ok && w->s.p[i] > ' ' && w->s.p[i] < 127 && w->s.p[i] != '/';
	if (!ok)
		conf_expected(sc->ld, e, "preserve, upstream or a host", w, near);
	r->host_header_kind = CONF_HOST_VALUE;
	r->host_header = conf_tmpl(sc->ld, e, w, groups(sc, r));
}

/* ---- retries ---- */
static void read_retry_on(const struct scope *sc, struct conf_route *r)
{
	static const char *const words[] = { "connect", "reset", "timeout", "non_idempotent" };
	struct cursor at = { 0 };
	const struct word *w;

	while ((w = conf_next_word(sc, OPT_route_retry_on, &at)) != NULL) {
		uint16_t from, to;
		unsigned i = 0;

		while (i < ARRAY_LEN(words) && !span_eq(w->s, span_of(words[i])))
			i++;
		if (i < ARRAY_LEN(words)) {
			r->retry_on |= 1u << i;
		} else if (conf_status(w->s, &from, &to) && from >= 300) {
			for (unsigned s = from; s <= to; s++)
				r->retry_status[s / 64] |= UINT64_C(1) << (s % 64);
		} else {
			conf_expected(sc->ld, at.v->e, "connect, reset, timeout, non_idempotent or a status such as 503", w,
				      conf_nearest(w->s, words, ARRAY_LEN(words)));
		}
	}
}

_Static_assert(CONF_RETRY_CONNECT == 1 && CONF_RETRY_RESET == 2 && CONF_RETRY_TIMEOUT == 4 &&
	       CONF_RETRY_NON_IDEMPOTENT == 8, "bits in the order of the words");

static void read_fallback(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_route_fallback, &e);
	const struct sect *s = w != NULL ? conf_refer(sc->ld, e, SECT_upstream, w) : NULL;

	r->fallback = s != NULL ? s->object : NULL;
	if (r->fallback != NULL && r->nsplit == 1 && r->split[0].upstream == r->fallback)
		conf_error(sc->ld, e, "is the upstream that it is to stand in for");
}

void conf_route_way(const struct scope *sc, struct conf_route *r)
{
	const struct entry *e;
	const struct word *w;

	read_strip(sc, r);
	read_rewrites(sc, r);
	w = conf_word(sc, OPT_route_add_prefix, &e);
	if (w != NULL)
		conf_path(sc->ld, e, w, true, &r->add_prefix);
	read_host_header(sc, r);
	r->rewrite_location = r->strip_matched || r->strip_prefix.n > 0 || r->nrewrites > 0 || r->add_prefix.n > 0;
	if (conf_value(sc, OPT_route_rewrite_location) != NULL)
		r->rewrite_location = conf_bool(sc, OPT_route_rewrite_location);
	r->has_allow = conf_first(sc, OPT_route_allow) != NULL;
	r->allow = conf_nets(sc, OPT_route_allow, &r->nallow);
	r->deny = conf_nets(sc, OPT_route_deny, &r->ndeny);
	read_fallback(sc, r);
	int64_t retries = conf_number(sc, OPT_route_retries);
	r->retries = retries == CONF_UNSET ? 0 : (unsigned)retries;
	read_retry_on(sc, r);
	r->timeout = conf_number(sc, OPT_route_timeout);
	r->intercept_errors = conf_bool(sc, OPT_route_intercept_errors);
}
