/*
 * conf_opt.c - the option table as data, and look-ups in it.
 *
 * Called by everything that reads or prints configurations. Holds no state and
 * knows no value; what a key means is its reader's business.
 */
#include "common/conf_parts.h"

static const struct sect_def sects[] = {
#define SECTION(kind, naming, area, prose) { #kind, naming, area, prose },
#include "common/opt.def"
};

static const struct opt opts[] = {
#define OPT(section, key, type, flags, def, min, max, form, area, prose) \
	{ OPT_##section##_##key, SECT_##section, #key, type, flags, def, min, max, form, area, prose },
#include "common/opt.def"
};

const struct sect_def *sect_def(enum sect_kind kind)
{
	must(kind < SECT__N);
	return &sects[kind];
}

bool sect_find(struct span word, enum sect_kind *out)
{
	for (unsigned i = 0; i < SECT__N; i++) {
		if (span_eq(word, span_of(sects[i].kind))) {
			*out = (enum sect_kind)i;
			return true;
		}
	}
	return false;
}

const char *sect_nearest(struct span word)
{
	const char *words[SECT__N];

	for (unsigned i = 0; i < SECT__N; i++)
		words[i] = sects[i].kind;
	return conf_nearest(word, words, SECT__N);
}

const struct opt *opt_get(enum opt_id id)
{
	must(id < OPT__N);
	return &opts[id];
}

bool opt_stands_in(const struct opt *o, enum sect_kind kind)
{
	return o->section == kind || (kind == SECT_route && (o->flags & F_ROUTE)) ||
	       (kind == SECT_listen && (o->flags & F_LISTEN));
}

static bool is_key(const struct opt *o, struct span key)
{
	if (o->flags & F_PREFIX)
		return span_starts(key, span_of(o->key));
	return span_eq(key, span_of(o->key));
}

const struct opt *opt_find(enum sect_kind kind, struct span key)
{
	for (unsigned i = 0; i < OPT__N; i++) {
		if (opt_stands_in(&opts[i], kind) && is_key(&opts[i], key))
			return &opts[i];
	}
	return NULL;
}

bool opt_layered(const struct opt *o)
{
	return (o->flags & (F_ROUTE | F_LISTEN)) != 0;
}

unsigned opt_slot(const struct opt *o)
{
	return (o->flags & F_PATH) ? OPT__N : (o->flags & F_ACTION) ? OPT__N + 1 : o->id;
}

struct span opt_choice(struct span *rest)
{
	return span_trim(span_cut(rest, '|'));
}
