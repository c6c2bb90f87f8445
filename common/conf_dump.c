/*
 * conf_dump.c - prints a configuration whole, each value with where it came from.
 *
 * Called by -T. What it prints loads again to the same configuration: policies
 * and defaults are worked in, includes are resolved, files are named by their
 * whole path. Outside values are shown as references.
 */
#include <stdio.h>

#include "common/conf_parts.h"

struct dump {
	const struct conf *c;
	FILE *out;
};

static const char *origin(const struct dump *d, const struct value *v)
{
	struct arena *a = d->c->arena;
	const struct entry *e = v->e;
	const char *where = conf_where(a, e->file, e->line);

	switch (v->layer) {
	case LAYER_BUILT_IN:
		return "built-in";
	case LAYER_POLICY:
		return arena_printf(a, "policy %.*s, %s", SPAN_FMT(e->sect->name), where);
	case LAYER_DEFAULTS:
		return arena_printf(a, "%s, %s", conf_sect_label(a, e->sect), where);
	default:
		return where;
	}
}

/* Behind a word a comment may stand; in bare text it would be an error, so that it goes on a line of its own. */
static void print(struct dump *d, const char *key, struct span value, bool bare_text, const char *from)
{
	if (bare_text)
		fprintf(d->out, "; %s\n", from);
	fprintf(d->out, "%s = %.*s", key, SPAN_FMT(value));
	if (bare_text)
		fputc('\n', d->out);
	else
		fprintf(d->out, "  ; %s\n", from);
}

static void print_value(struct dump *d, const struct value *v)
{
	const struct entry *e = v->e;
	const char *from = origin(d, v);

	if (e->opt->id == OPT_weir_workers && span_eq(e->shown, SPAN("auto")))
		from = arena_printf(d->c->arena, "%s, here %u", from, d->c->workers);
	print(d, e->opt->key, v->shown.p != NULL ? v->shown : e->shown, e->has_text && !e->text.quoted, from);
}

/* What was said for many and does nothing here is a comment: read again, it must not look as if it was said for this one. */
static bool print_idle(struct dump *d, const struct sect *s, const struct value *v)
{
	const char *why = v->layer != LAYER_OWN && s != NULL ? conf_no_effect(s, v->e->opt->id) : NULL;

	if (why != NULL)
		fprintf(d->out, "; %s = %.*s  ; %s; no effect: %s\n", v->e->opt->key, SPAN_FMT(v->e->shown), origin(d, v), why);
	return why != NULL;
}

static bool is_shown(const struct value *v)
{
	const struct opt *o = v->e->opt;

	return !v->hidden && o->id != OPT_route_use && o->id != OPT_listen_use && o->id != OPT_upstream_use &&
	       o->id != OPT_weir_include;
}

bool conf_value_counts(const struct sect *s, const struct value *v)
{
	return is_shown(v) && (v->layer == LAYER_OWN || s == NULL || conf_no_effect(s, v->e->opt->id) == NULL);
}

static const struct value *find(const struct value *v, enum opt_id id)
{
	while (v != NULL && v->e->opt->id != id)
		v = v->next;
	return v;
}

/* What a route does about Location where nothing is said follows from its path changes. */
static void print_location(struct dump *d, const struct conf_route *r)
{
	if (r->action == CONF_UPSTREAM)
		print(d, "rewrite_location", span_of(r->rewrite_location ? "yes" : "no"), false,
		      r->rewrite_location ? "built-in, since the path is changed" : "built-in, since the path is not changed");
}

/* In the order of the table, so that two dumps can be compared. `else_from`: what counts where there is nothing. */
static void print_values(struct dump *d, const struct value *first, const struct value *else_from, enum sect_kind kind,
			 const struct sect *s)
{
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		const struct value *other = find(else_from, o->id);

		if (!opt_stands_in(o, kind))
			continue;
		for (const struct value *v = first; v != NULL; v = v->next) {
			if (v->e->opt == o && is_shown(v) && !print_idle(d, s, v))
				print_value(d, v);
		}
		if (find(first, o->id) != NULL)
			continue;
		if (s != NULL && o->id == OPT_route_rewrite_location)
			print_location(d, s->object);
		/* Unless [defaults] has it, and then it is printed there. */
		if (other != NULL && other->layer == LAYER_BUILT_IN)
			print_value(d, other);
	}
}

/* ---- sections ---- */
static void print_unset(struct dump *d, const char *key, const char *means)
{
	fprintf(d->out, "; %s is not set: %s\n", key, means);
}

static void print_weir(struct dump *d)
{
	const struct conf_text *t = d->c->text;

	fprintf(d->out, "[weir]\n");
	print_values(d, t->weir, t->general, SECT_weir, NULL);
	for (const struct value *v = t->weir; v != NULL; v = v->next) {
		if (v->e->opt->id == OPT_weir_include)
			fprintf(d->out, "; include = %.*s (%s): what was found is below\n", SPAN_FMT(v->e->shown), origin(d, v));
	}
	if (find(t->weir, OPT_weir_user) == NULL)
		print_unset(d, "user", "weir or nobody when started as root, else the starter");
	if (find(t->weir, OPT_weir_pid_file) == NULL)
		print_unset(d, "pid_file", "none is written");
	if (find(t->weir, OPT_weir_control) == NULL)
		print_unset(d, "control", d->c->control ? d->c->control : "there is none, since weir was not started as root");
	if (find(t->weir, OPT_weir_resolver) == NULL)
		print_unset(d, "resolver", "the system's");
}

static const struct sect *defaults(const struct conf_text *t, enum sect_kind kind)
{
	for (const struct sect *s = t->first; s != NULL; s = s->next) {
		if (s->kind == SECT_defaults && !s->bad && s->of == kind)
			return s;
	}
	return NULL;
}

/* Keys that a request's own listener, upstream or route decides stay in [defaults]; the others are printed where they count. */
static void print_defaults(struct dump *d, enum sect_kind kind)
{
	const struct conf_text *t = d->c->text;
	const struct sect *s = defaults(t, kind);

	fprintf(d->out, "\n[defaults %s]\n", sect_def(kind)->kind);
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		const struct value *general = find(t->general, o->id);
		struct value v = { .layer = LAYER_DEFAULTS };
		bool any = false;

		if (!opt_layered(o) || !opt_stands_in(o, kind))
			continue;
		for (v.e = s != NULL ? s->first : NULL; v.e != NULL; v.e = v.e->next) {
			if (v.e->opt == o) {
				print_value(d, &v);
				any = true;
			}
		}
		if (!any && general != NULL && general->layer == LAYER_BUILT_IN && o->section == kind)
			print_value(d, general);
	}
}

static void print_sect(struct dump *d, const struct sect *s)
{
	fprintf(d->out, "\n%s  ; %s\n", conf_sect_label(d->c->arena, s), conf_where(d->c->arena, s->file, s->line));
	print_values(d, s->values, NULL, s->kind, s);
}

void conf_dump(const struct conf *c, FILE *out)
{
	static const enum sect_kind kinds[] = { SECT_listen, SECT_upstream, SECT_route, SECT_tls, SECT_admin };
	struct dump d = { c, out };

	OBJ_CHECK(c, CONF_MAGIC);
	fprintf(out, "; %s as it is read: every value, and where it comes from.\n\n", c->file);
	print_weir(&d);
	for (unsigned i = 0; kinds[i] != SECT_tls; i++)
		print_defaults(&d, kinds[i]);
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		for (const struct sect *s = c->text->first; s != NULL; s = s->next) {
			if (s->kind == kinds[i] && s->object != NULL)
				print_sect(&d, s);
		}
	}
}
