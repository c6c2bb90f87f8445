/*
 * conf_layer.c - which entries count for a section: nearest wins.
 *
 * Called by the section readers. Own keys, then policies, then [defaults],
 * then the built-in. Keys that a request's listener or upstream may also have
 * (opt_layered) stop at the policies; what is general about them is a scope of
 * its own. Keys that add up keep the entries of all layers; their reader
 * chooses name by name.
 */
#include "common/conf_parts.h"

static void scope_init(struct scope *sc, struct load *ld, struct sect *s)
{
	*sc = (struct scope){ .ld = ld, .sect = s };
	sc->tail = &sc->values;
}

static void add(struct scope *sc, const struct entry *e, enum layer layer)
{
	if (conf_full(sc->ld))
		return;
	struct value *v = CONF_NEW(sc->ld, struct value, 1);
	v->e = e;
	v->layer = layer;
	*sc->tail = v;
	sc->tail = &v->next;
}

static bool counts(const struct entry *e)
{
	return e->opt != NULL && e->lexed && !e->bad;
}

/* ---- do two policies say the same? ---- */
static bool same_word(const struct opt *o, const struct word *a, const struct word *b)
{
	int64_t x, y;

	if (conf_parse_number(o->type, a->s, &x) && conf_parse_number(o->type, b->s, &y))
		return x == y;
	return span_eq(a->s, b->s) && span_eq(a->t, b->t) && span_eq(a->attr, b->attr);
}

static const struct entry *next_in_slot(const struct entry *e, unsigned slot)
{
	while (e != NULL && !(counts(e) && opt_slot(e->opt) == slot))
		e = e->next;
	return e;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
	if (a->opt != b->opt || a->nwords != b->nwords || a->has_text != b->has_text)
		return false;
	for (unsigned i = 0; i < a->nwords; i++) {
		if (!same_word(a->opt, &a->words[i], &b->words[i]))
			return false;
	}
	return !a->has_text || same_word(a->opt, &a->text, &b->text);
}

static bool same_slot(const struct sect *a, const struct sect *b, unsigned slot, const struct entry **at)
{
	const struct entry *x = next_in_slot(a->first, slot), *y = next_in_slot(b->first, slot);

	*at = x;
	while (x != NULL && y != NULL && same_entry(x, y)) {
		x = next_in_slot(x->next, slot);
		y = next_in_slot(y->next, slot);
	}
	return x == NULL && y == NULL;
}

/* ---- layers ---- */
static void note_broken(struct scope *sc, const struct entry *e)
{
	sc->broken_action = sc->broken_action || (e->opt != NULL && (e->opt->flags & F_ACTION));
}

static void add_own(struct scope *sc, bool have[OPT_SLOTS])
{
	for (const struct entry *e = sc->sect->first; e != NULL; e = e->next) {
		/* A key that cannot be read still hides what is farther away. */
		if (e->opt != NULL)
			have[opt_slot(e->opt)] = true;
		if (counts(e))
			add(sc, e, LAYER_OWN);
		else
			note_broken(sc, e);
	}
}

static void add_policy(struct scope *sc, const struct entry *use, struct sect *p, const bool own[OPT_SLOTS],
		       struct sect *from[OPT_SLOTS])
{
	struct load *ld = sc->ld;

	for (const struct entry *e = p->first; e != NULL; e = e->next) {
		const struct entry *other;
		unsigned slot = e->opt != NULL ? opt_slot(e->opt) : 0;

		if (!counts(e)) {
			note_broken(sc, e);
			continue;
		}
		if (e->opt->flags & F_ADDS) {
			add(sc, e, LAYER_POLICY);
			continue;
		}
		if (own[slot])
			continue;
		if (from[slot] == NULL)
			from[slot] = p;
		if (from[slot] == p)
			add(sc, e, LAYER_POLICY);
		else if (!same_slot(from[slot], p, slot, &other))
			conf_error(ld, use, "the policies %.*s and %.*s differ on %s (%s and %s): set it in this section",
				   SPAN_FMT(from[slot]->name),
				   SPAN_FMT(p->name), e->opt->key, conf_where(ld->arena, other->file, other->line),
				   conf_where(ld->arena, e->file, e->line));
	}
}

static enum opt_id use_of(enum sect_kind kind)
{
	return kind == SECT_route ? OPT_route_use : kind == SECT_listen ? OPT_listen_use : OPT_upstream_use;
}

static void add_policies(struct scope *sc, bool have[OPT_SLOTS])
{
	struct sect *from[OPT_SLOTS] = { NULL }, *done[64];
	const struct sect_def *def = sect_def(sc->sect->kind);
	struct cursor c = { 0 };
	const struct word *w;
	unsigned n = 0;

	while ((w = conf_next_word(sc, use_of(sc->sect->kind), &c)) != NULL) {
		const struct entry *use = c.v->e;
		struct sect *p = conf_refer(sc->ld, use, SECT_policy, w);
		bool twice = false;

		for (unsigned i = 0; i < n; i++)
			twice = twice || done[i] == p;
		if (p == NULL || twice)
			continue;
		if (n == ARRAY_LEN(done)) {
			conf_error(sc->ld, use, "expected up to %zu policies, got more", ARRAY_LEN(done));
			return;
		}
		done[n++] = p;
		if (!(p->kinds & 1u << sc->sect->kind)) {
			conf_error(sc->ld, use, "[policy %.*s] holds keys that do not stand in a [%s]", SPAN_FMT(p->name),
				   def->kind);
			continue;
		}
		add_policy(sc, use, p, have, from);
	}
	for (unsigned i = 0; i < OPT_SLOTS; i++)
		have[i] = have[i] || from[i] != NULL;
}

static void add_defaults(struct scope *sc, const struct sect *d, bool have[OPT_SLOTS])
{
	bool here[OPT_SLOTS] = { false };

	for (const struct entry *e = d != NULL ? d->first : NULL; e != NULL; e = e->next) {
		if (!counts(e) || opt_layered(e->opt))
			continue;
		unsigned slot = opt_slot(e->opt);
		if (!have[slot] || (e->opt->flags & F_ADDS))
			add(sc, e, LAYER_DEFAULTS);
		here[slot] = true;
	}
	for (unsigned i = 0; i < OPT_SLOTS; i++)
		have[i] = have[i] || here[i];
}

static const struct entry *built_in(struct load *ld, const struct opt *o)
{
	struct entry *e = ld->defaults[o->id];

	if (e == NULL) {
		e = CONF_NEW(ld, struct entry, 1);
		e->opt = o;
		e->key = span_of(o->key);
		e->raw = span_of(o->def);
		e->file = ld->built_in;
		ld->defaults[o->id] = e;
		must(conf_lex(ld, e));
	}
	return e;
}

static void add_built_in(struct scope *sc, enum sect_kind kind, const bool have[OPT_SLOTS])
{
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);

		if (o->section == kind && !opt_layered(o) && o->def[0] != '\0' && !have[opt_slot(o)])
			add(sc, built_in(sc->ld, o), LAYER_BUILT_IN);
	}
}

void conf_scope(struct load *ld, struct sect *s, struct scope *out)
{
	bool have[OPT_SLOTS] = { false };

	scope_init(out, ld, s);
	add_own(out, have);
	add_policies(out, have);
	add_defaults(out, conf_sect_named(ld, SECT_defaults, span_of(sect_def(s->kind)->kind)), have);
	add_built_in(out, s->kind, have);
	s->values = out->values;
}

void conf_scope_alone(struct load *ld, struct sect *s, struct scope *out)
{
	bool have[OPT_SLOTS] = { false };

	scope_init(out, ld, s);
	out->trial = true;
	add_own(out, have);
}

void conf_scope_weir(struct load *ld)
{
	struct sect *s = conf_sect_named(ld, SECT_weir, span_make(NULL, 0));
	bool have[OPT_SLOTS] = { false };

	if (s == NULL) {
		s = ld->implicit = CONF_NEW(ld, struct sect, 1);
		s->kind = SECT_weir;
		s->file = ld->files[0];
	}
	scope_init(&ld->weir, ld, s);
	add_own(&ld->weir, have);
	add_built_in(&ld->weir, SECT_weir, have);
	s->values = ld->weir.values;
}

/* All lines of one key in a section; false when there are none. */
static bool add_key(struct scope *sc, const struct sect *s, const struct opt *o, enum layer layer)
{
	bool any = false;

	for (const struct entry *e = s != NULL ? s->first : NULL; e != NULL; e = e->next) {
		if (counts(e) && e->opt == o) {
			add(sc, e, layer);
			any = true;
		}
	}
	return any;
}

void conf_scope_general(struct load *ld)
{
	struct sect *route = conf_sect_named(ld, SECT_defaults, SPAN("route"));
	struct sect *listen = conf_sect_named(ld, SECT_defaults, SPAN("listen"));
	struct sect *upstream = conf_sect_named(ld, SECT_defaults, SPAN("upstream"));
	struct scope *sc = &ld->general;

	scope_init(sc, ld, ld->weir.sect);
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		const struct sect *other = o->section == SECT_upstream ? upstream : listen;

		if (!opt_layered(o) || o->area[0] != '\0')
			continue;
		if (((o->flags & F_ROUTE) && add_key(sc, route, o, LAYER_DEFAULTS)) || add_key(sc, other, o, LAYER_DEFAULTS) ||
		    (o->section == SECT_weir && add_key(sc, ld->weir.sect, o, LAYER_WEIR)))
			continue;
		add(sc, built_in(ld, o), LAYER_BUILT_IN);
	}
}

/* ---- asking ---- */
const struct value *conf_value(const struct scope *sc, enum opt_id id)
{
	const struct value *v = sc->values;

	while (v != NULL && v->e->opt->id != id)
		v = v->next;
	return v;
}

const struct value *conf_value_next(const struct value *v)
{
	enum opt_id id = v->e->opt->id;

	do {
		v = v->next;
	} while (v != NULL && v->e->opt->id != id);
	return v;
}

const struct entry *conf_first(const struct scope *sc, enum opt_id id)
{
	const struct value *v = conf_value(sc, id);

	return v != NULL && !v->e->is_off ? v->e : NULL;
}

bool conf_is_off(const struct scope *sc, enum opt_id id)
{
	const struct value *v = conf_value(sc, id);

	return v != NULL && v->e->is_off;
}

bool conf_is_own(const struct scope *sc, enum opt_id id)
{
	const struct value *v = conf_value(sc, id);

	return v != NULL && v->layer == LAYER_OWN;
}

const struct word *conf_next_word(const struct scope *sc, enum opt_id id, struct cursor *c)
{
	if (!c->started) {
		c->started = true;
		c->v = conf_value(sc, id);
	}
	while (c->v != NULL) {
		if (!c->v->e->is_off && c->i < c->v->e->nwords)
			return &c->v->e->words[c->i++];
		c->v = conf_value_next(c->v);
		c->i = 0;
	}
	return NULL;
}

unsigned conf_count_words(const struct scope *sc, enum opt_id id)
{
	struct cursor c = { 0 };
	unsigned n = 0;

	while (conf_next_word(sc, id, &c) != NULL)
		n++;
	return n;
}
