/*
 * conf_diff.c - what differs between two configurations, as they count.
 *
 * Called for weirctl reload --plan. Compares what conf_dump() would print, by
 * the option table and nothing else: comments, places in files, how a number is
 * written and which layer a value comes from make no difference. Of what came
 * from outside it tells that it differs, never what it is.
 */
#include <stdio.h>

#include "common/conf_parts.h"

#define ORDER_BUDGET 1000000

struct item {
	const struct entry *e;
	struct span shown;		/* for people */
	struct span means;		/* what is compared */
	bool taken;			/* it has its like on the other side */
};

struct part {
	const char *label;		/* "[route api]" */
	const struct sect *s;		/* NULL: [weir] */
	struct item *items;
	unsigned n;
};

struct side {
	const struct conf *c;
	struct part *parts;
	unsigned n;
	struct htab by_label;
};

struct differ {
	struct arena *a;
	struct conf_diff *out;
	unsigned room;
};

/* ---- what counts ---- */

/* Words and text with what came from outside in their place; numbers in one form. */
static struct span meaning(struct arena *a, const struct value *v)
{
	const struct entry *e = v->e;
	struct span parts[2] = { SPAN(""), SPAN("") };
	int64_t number;

	if (v->shown.p != NULL)
		return v->shown;
	if (e->nwords == 1 && !e->has_text && e->opt->type <= OPT_SHARE &&
	    conf_parse_number(e->opt->type, e->words[0].s, &number))
		return span_of(arena_printf(a, "%lld", (long long)number));
	for (unsigned i = 0; i < e->nwords; i++) {
		const struct word *w = &e->words[i];

		parts[1] = span_of(arena_printf(a, "%s%.*s%s%.*s", i > 0 ? "\n" : "", SPAN_FMT(w->attr),
						w->attr.n > 0 ? "=" : "", SPAN_FMT(w->s)));
		parts[0] = arena_join(a, parts, 2);
	}
	if (!e->has_text)
		return parts[0];
	parts[1] = span_of(arena_printf(a, "%s%.*s", e->nwords > 0 ? "\n" : "", SPAN_FMT(e->text.s)));
	return arena_join(a, parts, 2);
}

/* A list is one item for each of its words: places in it mean nothing. */
static unsigned items_of(struct arena *a, const struct value *v, struct item *out)
{
	const struct entry *e = v->e;

	if ((e->opt->flags & F_LIST) == 0 || e->has_text || v->shown.p != NULL) {
		if (out != NULL)
			*out = (struct item){ .e = e, .shown = v->shown.p != NULL ? v->shown : e->shown, .means = meaning(a, v) };
		return 1;
	}
	for (unsigned i = 0; i < e->nwords && out != NULL; i++)
		out[i] = (struct item){ .e = e, .shown = e->words[i].shown, .means = e->words[i].s };
	return e->nwords;
}

static void collect(struct arena *a, struct part *p, const struct value *values)
{
	unsigned room = 0;

	for (const struct value *v = values; v != NULL; v = v->next)
		room += items_of(a, v, NULL);
	p->items = arena_zalloc(a, (room + 1) * sizeof(*p->items));
	for (const struct value *v = values; v != NULL; v = v->next) {
		if (conf_value_counts(p->s, v))
			p->n += items_of(a, v, p->items + p->n);
	}
}

/* [defaults KIND] decides where a request's own sections are not known before. */
static const struct value *as_values(struct arena *a, const struct sect *s)
{
	struct value *first = NULL, **tail = &first;

	for (const struct entry *e = s->first; e != NULL; e = e->next) {
		if (e->opt == NULL || !opt_layered(e->opt))
			continue;
		*tail = arena_zalloc(a, sizeof(**tail));
		(*tail)->e = e;
		tail = &(*tail)->next;
	}
	return first;
}

static void read_side(struct arena *a, const struct conf *c, struct side *out)
{
	unsigned n = 1;

	*out = (struct side){ .c = c };
	for (const struct sect *s = c->text->first; s != NULL; s = s->next)
		n++;
	out->parts = arena_zalloc(a, n * sizeof(*out->parts));
	htab_init(&out->by_label);
	out->parts[0].label = "[weir]";
	collect(a, &out->parts[out->n++], c->text->weir);
	for (const struct sect *s = c->text->first; s != NULL; s = s->next) {
		struct part *p = &out->parts[out->n];

		if (s->bad || s->kind == SECT_weir || s->kind == SECT_policy || (s->kind != SECT_defaults && s->values == NULL))
			continue;
		p->label = conf_sect_label(a, s);
		p->s = s;
		collect(a, p, s->kind == SECT_defaults ? as_values(a, s) : s->values);
		out->n++;
	}
	for (unsigned i = 0; i < out->n; i++)
		htab_put(&out->by_label, span_of(out->parts[i].label), &out->parts[i]);
}

/* ---- what differs ---- */

static struct conf_change *add(struct differ *d, enum conf_change_kind what, const struct part *p)
{
	struct conf_diff *out = d->out;

	if (out->n == d->room) {
		struct conf_change *more = arena_zalloc(d->a, (2 * d->room + 16) * sizeof(*more));

		if (out->n > 0)
			memcpy(more, out->v, out->n * sizeof(*more));
		out->v = more;
		d->room = 2 * d->room + 16;
	}
	out->v[out->n] = (struct conf_change){ .what = what, .section = p->label };
	return &out->v[out->n++];
}

static void tell(struct differ *d, const struct part *p, const struct item *from, const struct item *to)
{
	struct conf_change *c = add(d, from == NULL ? CONF_ADDED : to == NULL ? CONF_REMOVED : CONF_CHANGED, p);

	c->key = (from != NULL ? from : to)->e->opt->key;
	if (from != NULL) {
		c->from = arena_str(d->a, from->shown);
		c->from_at = conf_where(d->a, from->e->file, from->e->line);
	}
	if (to != NULL) {
		c->to = arena_str(d->a, to->shown);
		c->to_at = conf_where(d->a, to->e->file, to->e->line);
	}
	c->outside = from != NULL && to != NULL && span_eq(from->shown, to->shown);
}

static struct item *next_of(const struct part *p, const struct opt *o, struct item *after, bool left_only)
{
	unsigned i = after == NULL ? 0 : (unsigned)(after - p->items) + 1;

	while (i < p->n && (p->items[i].e->opt != o || (left_only && p->items[i].taken)))
		i++;
	return i < p->n ? &p->items[i] : NULL;
}

/* Pairs equal values; true when the pairs stand in the same order. */
static bool pair(struct part *from, struct part *to, const struct opt *o)
{
	const struct item *last = NULL;
	bool same = true;

	for (struct item *x = NULL; (x = next_of(to, o, x, false)) != NULL;) {
		struct item *y = NULL;

		while ((y = next_of(from, o, y, true)) != NULL && !span_eq(y->means, x->means))
			;
		if (y == NULL)
			continue;
		x->taken = y->taken = true;
		same = same && (last == NULL || y > last);
		last = y;
	}
	return same;
}

/* What a value is about: a server's address, a header's name. */
static struct span first_word(const struct item *x)
{
	struct span s = span_trim(x->means);
	size_t n = 0;

	while (n < s.n && s.p[n] != '\n' && s.p[n] != ' ')
		n++;
	return span_make(s.p, n);
}

/* Values of a key that may have several: one of the same first word is the same thing, changed. */
static void tell_left(struct differ *d, struct part *from, struct part *to, const struct opt *o)
{
	const bool many = (o->flags & F_MANY) != 0;

	for (struct item *y = NULL; (y = next_of(to, o, y, true)) != NULL;) {
		struct item *x = NULL;

		while ((x = next_of(from, o, x, true)) != NULL && !(many && span_eq(first_word(x), first_word(y))))
			;
		tell(d, to, x, y);
		if (x != NULL)
			x->taken = true;
	}
	for (struct item *x = NULL; (x = next_of(from, o, x, true)) != NULL;)
		tell(d, to, x, NULL);
}

static void compare_key(struct differ *d, struct part *from, struct part *to, const struct opt *o)
{
	bool same = pair(from, to, o);
	struct item *x = next_of(from, o, NULL, true), *y = next_of(to, o, NULL, true);
	struct item *first = next_of(to, o, NULL, false);

	if (x == NULL && y == NULL && !same && (o->flags & F_MANY) != 0) {
		struct conf_change *c = add(d, CONF_ORDER, to);

		c->key = o->key;
		c->to_at = conf_where(d->a, first->e->file, first->e->line);
	}
	if ((o->flags & F_MANY) == 0 && x != NULL && y != NULL && next_of(from, o, x, true) == NULL &&
	    next_of(to, o, y, true) == NULL) {
		tell(d, to, x, y);
		return;
	}
	tell_left(d, from, to, o);
}

static void compare_part(struct differ *d, struct part *from, struct part *to)
{
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);

		if (next_of(from, o, NULL, false) != NULL || next_of(to, o, NULL, false) != NULL)
			compare_key(d, from, to, o);
	}
}

/* A section that is there on one side alone, with what was written for it. */
static void whole_part(struct differ *d, const struct part *p, bool added)
{
	const char *at = p->s != NULL ? conf_where(d->a, p->s->file, p->s->line) : NULL;
	struct conf_change *c = add(d, added ? CONF_ADDED : CONF_REMOVED, p);

	*(added ? &c->to_at : &c->from_at) = at;
	for (unsigned i = 0; i < p->n; i++) {
		if (p->items[i].e->file->path[1] != '\0')	/* not built in */
			tell(d, p, added ? NULL : &p->items[i], added ? &p->items[i] : NULL);
	}
}

/* ---- the order of routes ---- */

static const struct conf_route *find_route(const struct conf *c, struct span name)
{
	for (unsigned i = 0; i < c->nroutes; i++) {
		if (span_eq(c->routes[i]->name, name))
			return c->routes[i];
	}
	return NULL;
}

static void compare_order(struct differ *d, const struct conf *from, const struct conf *to)
{
	const struct conf_route **old = arena_zalloc(d->a, (to->nroutes + 1) * sizeof(*old));
	unsigned budget = ORDER_BUDGET;

	for (unsigned i = 0; i < to->nroutes; i++)
		old[i] = find_route(from, to->routes[i]->name);
	for (unsigned i = 0; i < to->nroutes; i++) {
		for (unsigned k = i + 1; k < to->nroutes && budget > 0; k++, budget--) {
			const struct conf_route *b = to->routes[i], *a = to->routes[k];

			if (old[i] == NULL || old[k] == NULL || old[i]->id < old[k]->id || !conf_route_ties(b, a))
				continue;
			const struct part p = { .label = arena_printf(d->a, "[route %.*s]", SPAN_FMT(b->name)) };
			struct conf_change *c = add(d, CONF_ORDER, &p);
			c->to = arena_printf(d->a, "before [route %.*s], and wins over it now where both hold",
					     SPAN_FMT(a->name));
			c->to_at = arena_printf(d->a, "%s:%u", b->at.file, b->at.line);
		}
	}
}

void conf_diff(struct arena *a, const struct conf *from, const struct conf *to, struct conf_diff *out)
{
	struct differ d = { .a = a, .out = out };
	struct side x, y;

	OBJ_CHECK(from, CONF_MAGIC);
	OBJ_CHECK(to, CONF_MAGIC);
	*out = (struct conf_diff){ .n = 0 };
	read_side(a, from, &x);
	read_side(a, to, &y);
	for (unsigned i = 0; i < y.n; i++) {
		struct part *old = htab_get(&x.by_label, span_of(y.parts[i].label));

		if (old != NULL)
			compare_part(&d, old, &y.parts[i]);
		else
			whole_part(&d, &y.parts[i], true);
	}
	for (unsigned i = 0; i < x.n; i++) {
		if (htab_get(&y.by_label, span_of(x.parts[i].label)) == NULL)
			whole_part(&d, &x.parts[i], false);
	}
	compare_order(&d, from, to);
	htab_fini(&x.by_label);
	htab_fini(&y.by_label);
}
