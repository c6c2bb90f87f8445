/*
 * conf_page.c - reads error_page, which adds up over layers, status by status.
 *
 * Called by conf_route.c. The result is in the order in which it is to be
 * searched: nearer layers first, and in each the narrower statuses first.
 */
#include "common/conf_parts.h"

struct page {
	struct conf_error_page out;
	struct value *v;
	struct span code;
};

struct pages {
	struct scope *sc;
	struct page *v;
	unsigned n;
};

static bool covers(const struct conf_error_page *a, const struct conf_error_page *b)
{
	return a->from <= b->from && b->to <= a->to;
}

/* False: hidden by a nearer one, or wrong. */
static bool fits(const struct pages *ps, const struct page *p)
{
	struct load *ld = ps->sc->ld;
	const struct entry *e = p->v->e;

	for (unsigned i = 0; i < ps->n; i++) {
		const struct page *old = &ps->v[i];
		const struct entry *o = old->v->e;

		if (old->v->layer < p->v->layer && covers(&old->out, &p->out))
			return false;
		if (old->v->layer != p->v->layer || old->out.from != p->out.from || old->out.to != p->out.to)
			continue;
		if (o->sect == e->sect)
			conf_error(ld, e, "%.*s stands twice; the first is at %s", SPAN_FMT(p->code),
				   conf_where(ld->arena, o->file, o->line));
		else if (!span_eq(old->out.text, p->out.text))
			conf_sect_error(ld, ps->sc->sect,
					"the policies %.*s and %.*s differ on error_page %.*s (%s and %s): set it in this section",
					SPAN_FMT(o->sect->name), SPAN_FMT(e->sect->name), SPAN_FMT(p->code),
					conf_where(ld->arena, o->file, o->line), conf_where(ld->arena, e->file, e->line));
		return false;
	}
	return true;
}

static void take(struct pages *ps, struct value *v)
{
	struct load *ld = ps->sc->ld;
	const struct entry *e = v->e;
	struct span rest = e->words[0].s;
	const char *left = "", *quote = e->text.quoted ? "\"" : "";
	bool all = true;

	if (!e->has_text) {
		conf_error(ld, e, "expected CODES and then the text, got no text");
		return;
	}
	while (rest.n > 0) {
		struct page p = { .v = v, .code = span_cut(&rest, ',') };

		if (!conf_status(p.code, &p.out.from, &p.out.to) || p.out.from < 200) {
			conf_expected(ld, e, "statuses such as 502,503 or 4xx and then the text", &e->words[0], NULL);
			return;
		}
		p.out.text = e->text.s;
		if (fits(ps, &p)) {
			ps->v[ps->n++] = p;
			left = arena_printf(ld->arena, "%s%s%.*s", left, *left ? "," : "", SPAN_FMT(p.code));
		} else {
			all = false;
		}
	}
	v->hidden = *left == '\0';
	if (!all)
		v->shown = span_of(arena_printf(ld->arena, "%s %s%.*s%s", left, quote, SPAN_FMT(e->text.shown), quote));
}

static int by_search(const void *a, const void *b)
{
	const struct page *x = a, *y = b;
	int wx = x->out.to - x->out.from, wy = y->out.to - y->out.from;

	if (x->v->layer != y->v->layer)
		return x->v->layer < y->v->layer ? -1 : 1;
	return wx != wy ? wx - wy : x->out.from - y->out.from;
}

void conf_route_error_pages(struct scope *sc, struct conf_route *r)
{
	struct pages ps = { .sc = sc };
	enum layer off = LAYER_BUILT_IN;
	size_t room = 0;

	for (struct value *v = sc->values; v != NULL; v = v->next) {
		if (v->e->opt->id != OPT_route_error_page)
			continue;
		if (v->e->is_off && v->layer < off)
			off = v->layer;
		/* No more codes than commas allow. */
		for (size_t i = 0; i < v->e->words[0].s.n; i++)
			room += v->e->words[0].s.p[i] == ',';
		room++;
	}
	ps.v = CONF_NEW(sc->ld, struct page, room);
	for (struct value *v = sc->values; v != NULL; v = v->next) {
		if (v->e->opt->id != OPT_route_error_page)
			continue;
		v->hidden = v->e->is_off ? v->layer > off : v->layer >= off;
		if (!v->hidden && !v->e->is_off)
			take(&ps, v);
	}
	qsort(ps.v, ps.n, sizeof(*ps.v), by_search);
	r->nerror_pages = ps.n;
	r->error_pages = CONF_NEW(sc->ld, struct conf_error_page, ps.n);
	for (unsigned i = 0; i < ps.n; i++)
		r->error_pages[i] = ps.v[i].out;
}
