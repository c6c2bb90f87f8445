/*
 * conf_value.c - single values: booleans, numbers with units, choices, words.
 *
 * Called by the section readers. A value that cannot be read is an error that
 * says what was expected and offers the nearest right spelling; what comes back
 * then is harmless, since nothing is built from a configuration with errors.
 */
#include <stdio.h>

#include "common/conf_parts.h"

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit times[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
static const struct unit sizes[] = { { "k", 1 << 10 }, { "m", 1 << 20 }, { "g", 1 << 30 } };
static const struct unit shares[] = { { "%", 1 } };

static unsigned units_of(enum opt_type type, const struct unit **out)
{
	*out = type == OPT_TIME ? times : type == OPT_SIZE ? sizes : shares;
	return type == OPT_TIME ? ARRAY_LEN(times) : type == OPT_SIZE ? ARRAY_LEN(sizes) : type == OPT_SHARE;
}

static size_t digits(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	return n;
}

bool conf_uint(struct span s, int64_t min, int64_t max, int64_t *out)
{
	uint64_t v;

	if (!span_u64(s, &v) || v > INT64_MAX || (int64_t)v < min || (int64_t)v > max)
		return false;
	*out = (int64_t)v;
	return true;
}

static bool parse_int(struct span s, int64_t *out)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	int64_t v;

	if (minus)
		s = span_make(s.p + 1, s.n - 1);
	if (!conf_uint(s, 0, INT64_MAX, &v))
		return false;
	*out = minus ? -v : v;
	return true;
}

static bool parse_bool(struct span s, int64_t *out)
{
	static const char *const yes[] = { "yes", "on", "true" }, *const no[] = { "no", "off", "false" };

	for (unsigned i = 0; i < ARRAY_LEN(yes); i++) {
		if (span_eq(s, span_of(yes[i])) || span_eq(s, span_of(no[i]))) {
			*out = span_eq(s, span_of(yes[i]));
			return true;
		}
	}
	return false;
}

bool conf_parse_number(enum opt_type type, struct span s, int64_t *out)
{
	const struct unit *u;
	unsigned n = units_of(type, &u);
	size_t d = digits(s);
	int64_t v;

	if (type == OPT_BOOL)
		return parse_bool(s, out);
	if (type == OPT_INT)
		return parse_int(s, out);
	if (type == OPT_COUNT)
		return conf_uint(s, 0, INT64_MAX, out);
	if (!conf_uint(span_make(s.p, d), 0, INT64_MAX, &v))
		return false;
	if (v == 0 && d == s.n) {
		*out = 0;
		return true;
	}
	for (unsigned i = 0; i < n; i++) {
		if (span_eq(span_make(s.p + d, s.n - d), span_of(u[i].name)))
			return !__builtin_mul_overflow(v, u[i].factor, out);
	}
	return false;
}

/* As an operator would write it. */
static const char *number_text(struct arena *a, enum opt_type type, int64_t v)
{
	const struct unit *u;
	unsigned n = units_of(type, &u);

	for (unsigned i = n; i-- > 0;) {
		if (v != 0 && v % u[i].factor == 0)
			return arena_printf(a, "%lld%s", (long long)(v / u[i].factor), u[i].name);
	}
	return arena_printf(a, "%lld", (long long)v);
}

static const char *type_text(enum opt_type type)
{
	switch (type) {
	case OPT_TIME:
		return "a time such as 500ms, 30s, 5m, 1h or 1d";
	case OPT_SIZE:
		return "a size such as 16k, 10m or 2g";
	case OPT_SHARE:
		return "a share such as 50%";
	case OPT_INT:
		return "a whole number, which may be negative";
	default:
		return "a plain number";
	}
}

/* What was probably meant: 5 for 5s, 16K or 16kb for 16k, 30sec for 30s. */
static const char *number_hint(struct arena *a, enum opt_type type, struct span s)
{
	static const char *const plain[] = { [OPT_TIME] = "s", [OPT_SIZE] = "k", [OPT_SHARE] = "%" };
	const struct unit *u;
	unsigned n = units_of(type, &u);
	size_t d = digits(s);
	struct span tail = span_trim(span_make(s.p + d, s.n - d));

	if (d == 0 || d > 15)
		return NULL;
	if (type == OPT_COUNT)
		return arena_printf(a, "%.*s", (int)d, s.p);
	if (tail.n == 0 && n > 0)
		return arena_printf(a, "%.*s%s", (int)d, s.p, plain[type]);
	for (unsigned i = 0; i < n; i++) {
		if (ascii_lower((unsigned char)tail.p[0]) != (unsigned char)u[i].name[0])
			continue;
		/* m, M and min are minutes. */
		bool milli = tail.n > 1 && strchr("sSiI", tail.p[1]) != NULL && !span_starts(tail, SPAN("min"));
		if (strcmp(u[i].name, "ms") == 0 && !milli)
			continue;
		return arena_printf(a, "%.*s%s", (int)d, s.p, u[i].name);
	}
	return NULL;
}

bool conf_nwords(struct load *ld, const struct entry *e, unsigned from, unsigned to)
{
	if (e->nwords >= from && e->nwords <= to)
		return true;
	conf_error(ld, e, "expected %s, got \"%s\"", e->opt->form, conf_show(ld->arena, e->shown));
	return false;
}

const struct word *conf_word(const struct scope *sc, enum opt_id id, const struct entry **e)
{
	*e = conf_first(sc, id);
	return *e != NULL && conf_nwords(sc->ld, *e, 1, 1) ? &(*e)->words[0] : NULL;
}

bool conf_bool(const struct scope *sc, enum opt_id id)
{
	static const char *const words[] = { "yes", "no", "on", "off", "true", "false" };
	const struct entry *e;
	const struct word *w = conf_word(sc, id, &e);
	int64_t v = 0;

	if (w != NULL && !parse_bool(w->s, &v))
		conf_expected(sc->ld, e, "yes or no", w, conf_nearest(w->s, words, ARRAY_LEN(words)));
	return v != 0;
}

static void out_of_range(struct load *ld, const struct entry *e, const struct word *w)
{
	const struct opt *o = e->opt;
	const char *zero = (o->flags & F_ZERO) ? "0 or " : "";
	const char *least = number_text(ld->arena, o->type, o->min);

	if (o->max == 0)
		conf_expected(ld, e, arena_printf(ld->arena, "%s%s or more", zero, least), w, NULL);
	else
		conf_expected(ld, e, arena_printf(ld->arena, "%s%s to %s", zero, least,
						  number_text(ld->arena, o->type, o->max)), w, NULL);
}

int64_t conf_number(const struct scope *sc, enum opt_id id)
{
	const struct value *v = conf_value(sc, id);
	struct load *ld = sc->ld;
	int64_t n;

	if (v == NULL)
		return CONF_UNSET;
	const struct entry *e = v->e;
	const struct opt *o = e->opt;
	if (e->is_off && (o->flags & F_ZERO))
		return 0;
	if (!conf_nwords(ld, e, 1, 1))
		return o->min;
	if (!conf_parse_number(o->type, e->words[0].s, &n)) {
		conf_expected(ld, e, type_text(o->type), &e->words[0],
			      e->words[0].outside ? NULL : number_hint(ld->arena, o->type, e->words[0].s));
		return o->min;
	}
	if ((n == 0 && (o->flags & F_ZERO)) || (n >= o->min && (o->max == 0 || n <= o->max)))
		return n;
	out_of_range(ld, e, &e->words[0]);
	return o->min;
}

unsigned conf_choice(const struct scope *sc, enum opt_id id)
{
	const struct value *v = conf_value(sc, id);
	struct span rest = span_of(opt_get(id)->form);
	const char *words[16];
	unsigned n = 0;

	if (v == NULL || !conf_nwords(sc->ld, v->e, 1, 1))
		return 0;
	const struct word *w = &v->e->words[0];
	while (rest.n > 0 && n < ARRAY_LEN(words)) {
		struct span one = opt_choice(&rest);

		if (span_eq(one, w->s))
			return n;
		words[n++] = arena_str(sc->ld->arena, one);
	}
	conf_expected(sc->ld, v->e, opt_get(id)->form, w, conf_nearest(w->s, words, n));
	return 0;
}
