/*
 * path.c - the path as it is forwarded: strip_prefix, rewrite, add_prefix.
 *
 * A filter of requests that go to a server or a directory. What comes out is
 * judged like a path off the wire: a rewrite or a captured group can introduce
 * neither dot segments nor bytes that end a request line. x->orig_path keeps
 * what the client asked for.
 */
#include "common/obj.h"
#include "worker/exchange/vars.h"
#include "worker/filter/filters.h"
#include "worker/http/byte_class.h"
#include "worker/http/uri.h"

static bool path_matters(const struct exchange *x)
{
	enum conf_action a = x->route->action;

	/* OPTIONS * has no path to edit. */
	return (a == CONF_UPSTREAM || a == CONF_ROOT) && x->orig_path.n > 0 && x->orig_path.p[0] == '/';
}

static struct span without_slash(struct span s)
{
	if (s.n > 0 && s.p[s.n - 1] == '/')
		s.n--;
	return s;
}

struct span path_stripped(const struct exchange *x)
{
	struct span prefix = x->route->strip_matched ? x->match.prefix : x->route->strip_prefix;

	prefix = without_slash(prefix);
	if (prefix.n == 0 || !path_matters(x) || !uri_below(x->orig_path, prefix))
		return span_make("", 0);
	return prefix;
}

/* Puts a new path in place if it is one. */
static enum reason take_path(struct exchange *x, struct span path, enum reason bad)
{
	char *out;
	size_t n;

	if (path.n == 0 || path.p[0] != '/')
		return bad;
	out = arena_bytes(&x->arena, path.n + 1);
	if (out == NULL)
		return REASON_NO_MEMORY;
	n = uri_normalise(path, out);
	if (n == 0)
		return bad;
	x->req.path = span_make(out, n);
	return REASON_NONE;
}

static enum reason take_query(struct exchange *x, struct span query, enum reason bad)
{
	for (size_t i = 0; i < query.n; i++)
		if (!byte_is(query.p[i], BYTE_TARGET))
			return bad;
	x->req.query = query;
	x->req.has_query = query.n > 0;
	return REASON_NONE;
}

/* Cuts a template at the first question mark of its literal text, so that one in a value never divides. */
static bool cut_template(struct arena *a, const struct tmpl *t, struct tmpl *path, struct tmpl *query)
{
	for (unsigned i = 0; i < t->nparts; i++) {
		const struct tmpl_part *p = &t->parts[i];
		const char *mark = p->var == VAR_NONE && p->text.n ? memchr(p->text.p, '?', p->text.n) : NULL;
		struct tmpl_part *parts;
		size_t before;

		if (mark == NULL)
			continue;
		parts = arena_alloc(a, (t->nparts + 1) * sizeof(*parts));
		if (parts == NULL)
			return false;
		before = (size_t)(mark - p->text.p);
		memcpy(parts, t->parts, (i + 1) * sizeof(*parts));
		memcpy(parts + i + 1, t->parts + i, (t->nparts - i) * sizeof(*parts));
		parts[i].text.n = before;
		parts[i + 1].text = span_make(mark + 1, p->text.n - before - 1);
		*path = (struct tmpl){ .parts = parts, .nparts = i + 1, .has_vars = t->has_vars };
		*query = (struct tmpl){ .parts = parts + i + 1, .nparts = t->nparts - i, .has_vars = t->has_vars };
		return true;
	}
	*path = *t;
	query->nparts = 0;
	return true;
}

/* A matching path is replaced whole. */
static enum reason rewrite(struct exchange *x, const struct conf_rewrite *w)
{
	enum reason bad = w->to->has_vars ? REASON_BAD_REQUEST : REASON_INTERNAL;
	struct span subject = x->req.path, path, query;
	struct tmpl path_tmpl, query_tmpl;
	int groups[20];
	enum reason why;

	if (!conf_regex_match(w->regex, subject, groups))
		return REASON_NONE;
	if (!w->has_query) {
		if (!vars_expand_groups(x, w->to, groups, subject, &path))
			return REASON_NO_MEMORY;
		return take_path(x, path, bad);
	}
	if (!cut_template(&x->arena, w->to, &path_tmpl, &query_tmpl) ||
	    !vars_expand_groups(x, &path_tmpl, groups, subject, &path))
		return REASON_NO_MEMORY;
	why = take_path(x, path, bad);
	if (why != REASON_NONE || query_tmpl.nparts == 0)
		return why;
	if (!vars_expand_groups(x, &query_tmpl, groups, subject, &query))
		return REASON_NO_MEMORY;
	return take_query(x, query, bad);
}

enum reason path_edit(struct exchange *x)
{
	const struct conf_route *r = x->route;
	size_t cut;
	struct span add = without_slash(r->add_prefix), joined;

	if (!path_matters(x))
		return REASON_NONE;
	cut = path_stripped(x).n;
	if (cut == x->req.path.n)
		x->req.path = SPAN("/");
	else if (cut > 0)
		x->req.path = span_make(x->req.path.p + cut, x->req.path.n - cut);
	for (unsigned i = 0; i < r->nrewrites; i++) {
		enum reason why = rewrite(x, &r->rewrites[i]);

		if (why != REASON_NONE)
			return why;
	}
	if (add.n == 0)
		return REASON_NONE;
	joined = arena_join(&x->arena, (struct span[]){ add, x->req.path }, 2);
	return joined.p != NULL ? take_path(x, joined, REASON_INTERNAL) : REASON_NO_MEMORY;
}

static enum filter_rc on_request(struct exchange *x)
{
	enum reason why;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	why = path_edit(x);
	if (why == REASON_NONE)
		return FILTER_NEXT;
	exchange_fail(x, why);
	return FILTER_REPLIED;
}

const struct filter filter_path = { .name = "path", .request = on_request };
