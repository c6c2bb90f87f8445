/*
 * tmpl.c - compiles text with variables into parts.
 *
 * Called while the configuration is read; the values are worker/exchange's
 * business. Knows var.def and nothing of requests.
 */
#include "common/tmpl.h"

#include "common/conf.h"
#include "common/obj.h"

struct var {
	const char *name;
	enum var_kind kind;
};

static const struct var vars[VAR__N] = {
#define VAR(id, name, kind, prose) [VAR_##id] = { name, kind },
#include "common/var.def"
#undef VAR
};

struct compiler {
	struct arena *a;
	struct tmpl *t;
	struct tmpl_part *parts;	/* as many as the text could need */
	unsigned n;
	char *text;			/* literals, one behind the other */
	struct span rest;
	bool groups;
	const char **err;
};

static bool name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static enum var_id find(struct span name, enum var_kind kind)
{
	for (unsigned i = VAR_GROUP + 1; i < VAR__N; i++) {
		if (vars[i].kind == kind && span_eq(name, span_of(vars[i].name)))
			return (enum var_id)i;
	}
	return VAR_NONE;
}

static bool fail(struct compiler *c, const char *sentence)
{
	*c->err = sentence;
	return false;
}

static bool unknown(struct compiler *c, struct span name, enum var_kind kind)
{
	const char *words[VAR__N], *near;
	unsigned n = 0;

	for (unsigned i = VAR_GROUP + 1; i < VAR__N; i++) {
		if (vars[i].kind == kind)
			words[n++] = vars[i].name;
	}
	near = conf_nearest(name, words, n);
	const char *open = kind == VAR_ARG ? "${" : "$", *close = kind == VAR_ARG ? ":...}" : "";
	return fail(c, arena_printf(c->a, "unknown variable %s%.*s%s%s%s%s%s%s", open, SPAN_FMT(name), close,
				    near ? "; did you mean " : "", near ? open : "", near ? near : "", near ? close : "",
				    near ? "?" : ""));
}

/* Adjacent literals become one: they are neighbours in c->text. */
static void literal(struct compiler *c, struct span s)
{
	if (s.n == 0)
		return;
	if (c->n == 0 || c->parts[c->n - 1].var != VAR_NONE)
		c->parts[c->n++] = (struct tmpl_part){ .var = VAR_NONE, .text = span_make(c->text, 0) };
	memcpy(c->text, s.p, s.n);
	c->text += s.n;
	c->parts[c->n - 1].text.n += s.n;
}

static bool variable(struct compiler *c, enum var_id id, struct span arg)
{
	c->parts[c->n++] = (struct tmpl_part){ .var = id, .text = arg };
	c->t->has_vars = true;
	return true;
}

static bool group(struct compiler *c, char digit)
{
	if (!c->groups)
		return fail(c, arena_printf(c->a, "$%c means nothing here: there is no regex whose group it could be", digit));
	if (digit == '0')
		return fail(c, "there is no $0: groups are $1 to $9");
	c->parts[c->n++] = (struct tmpl_part){ .var = VAR_GROUP, .group = (uint8_t)(digit - '0') };
	c->t->has_vars = c->t->has_groups = true;
	return true;
}

/* `name`, as in $name and ${name}. */
static bool plain(struct compiler *c, struct span name)
{
	enum var_id id = find(name, VAR_PLAIN);

	if (id == VAR_NONE && find(name, VAR_ARG) != VAR_NONE)
		return fail(c, arena_printf(c->a, "$%.*s needs a name: ${%.*s:NAME}", SPAN_FMT(name), SPAN_FMT(name)));
	return id != VAR_NONE ? variable(c, id, span_make(NULL, 0)) : unknown(c, name, VAR_PLAIN);
}

static bool arg_ok(enum var_id id, struct span arg)
{
	for (size_t i = 0; i < arg.n; i++) {
		unsigned char ch = (unsigned char)arg.p[i];
		bool token = name_byte(arg.p[i]) || (ch != 0 && strchr("!#$%&'*+-.^`|~", ch) != NULL);

		if (ch < 32 || ch == 127 || ((id == VAR_HEADER || id == VAR_RESPONSE || id == VAR_COOKIE) && !token))
			return false;
	}
	return arg.n > 0;
}

/* ${...}; `inside` is what stands between the braces. */
static bool braces(struct compiler *c, struct span inside)
{
	const char *colon = memchr(inside.p, ':', inside.n);

	if (inside.n == 1 && inside.p[0] >= '0' && inside.p[0] <= '9')
		return group(c, inside.p[0]);
	if (colon == NULL)
		return plain(c, inside);
	struct span arg = inside;
	struct span kind = span_cut(&arg, ':');
	enum var_id id = find(kind, VAR_ARG);
	if (id == VAR_NONE)
		return unknown(c, kind, VAR_ARG);
	if (!arg_ok(id, arg))
		return fail(c, arena_printf(c->a, "\"%.*s\" is no name for ${%.*s:NAME}", SPAN_FMT(arg), SPAN_FMT(kind)));
	return variable(c, id, arg);
}

/* Behind a dollar sign. */
static bool dollar(struct compiler *c)
{
	struct span *r = &c->rest;
	size_t n = 0;

	if (r->n > 0 && r->p[0] == '$') {
		literal(c, span_make(r->p, 1));
		n = 1;
	} else if (r->n > 0 && r->p[0] == '{') {
		const char *close = memchr(r->p, '}', r->n);

		if (close == NULL)
			return fail(c, "expected a } after ${");
		n = (size_t)(close + 1 - r->p);
		if (!braces(c, span_make(r->p + 1, n - 2)))
			return false;
	} else if (r->n > 0 && r->p[0] >= '0' && r->p[0] <= '9') {
		n = 1;
		if (!group(c, r->p[0]))
			return false;
	} else {
		while (n < r->n && name_byte(r->p[n]))
			n++;
		if (n == 0)
			return fail(c, "a $ that begins no variable: a dollar sign is written $$");
		if (!plain(c, span_make(r->p, n)))
			return false;
	}
	*r = span_make(r->p + n, r->n - n);
	return true;
}

struct tmpl *tmpl_compile(struct arena *a, struct span s, bool groups, const char **err)
{
	size_t most = 1;

	for (size_t i = 0; i < s.n; i++) {
		bool escape = i + 1 < s.n && s.p[i] == '$' && s.p[i + 1] == '$';

		most += s.p[i] == '$' && !escape ? 2 : 0;
		i += escape;
	}
	struct tmpl *t = arena_zalloc(a, sizeof(*t));
	struct compiler c = { .a = a, .t = t, .groups = groups, .err = err };
	c.parts = arena_alloc(a, sizeof(*c.parts) * most);
	c.text = arena_bytes(a, s.n + 1);
	t->source = arena_span(a, s);
	c.rest = t->source;
	while (c.rest.n > 0) {
		const char *at = memchr(c.rest.p, '$', c.rest.n);
		size_t n = at != NULL ? (size_t)(at - c.rest.p) : c.rest.n;

		literal(&c, span_make(c.rest.p, n));
		c.rest = span_make(c.rest.p + n, c.rest.n - n);
		if (at == NULL)
			break;
		c.rest = span_make(c.rest.p + 1, c.rest.n - 1);
		if (!dollar(&c))
			return NULL;
	}
	t->parts = c.parts;
	t->nparts = c.n;
	return t;
}

struct tmpl *tmpl_literal(struct arena *a, struct span s)
{
	struct tmpl *t = arena_zalloc(a, sizeof(*t));
	struct tmpl_part *p = arena_zalloc(a, sizeof(*p));

	t->source = p->text = arena_span(a, s);
	t->parts = p;
	t->nparts = s.n > 0;
	return t;
}

bool tmpl_uses(const struct tmpl *t, enum var_id id)
{
	for (unsigned i = 0; i < t->nparts; i++) {
		if (t->parts[i].var == id)
			return true;
	}
	return false;
}
