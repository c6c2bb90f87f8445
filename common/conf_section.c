/*
 * conf_section.c - which sections there are, and which keys may stand in them.
 *
 * Called by conf.c once everything is read. Finds what is unknown, doubled, in
 * the wrong place or not built yet, and has each value cut into words. What
 * the values mean is not looked at here.
 */
#include "common/conf_parts.h"

#define POLICY_KINDS 3

static const enum sect_kind policy_kinds[POLICY_KINDS] = { SECT_route, SECT_upstream, SECT_listen };

struct sect *conf_sect_named(const struct load *ld, enum sect_kind kind, struct span name)
{
	return htab_get(&ld->names[kind], name.n > 0 ? name : SPAN("-"));
}

struct sect *conf_refer(struct load *ld, const struct entry *e, enum sect_kind kind, const struct word *w)
{
	struct sect *s = w->s.n > 0 ? conf_sect_named(ld, kind, w->s) : NULL;

	if (s != NULL) {
		s->used = true;
		return s;
	}
	const char *names[256];
	unsigned n = 0;
	for (s = ld->first; s != NULL && n < ARRAY_LEN(names); s = s->next) {
		if (s->kind == kind && !s->bad && s->name.n > 0)
			names[n++] = arena_str(ld->arena, s->name);
	}
	const char *near = conf_nearest(w->s, names, n), *known = sect_def(kind)->kind;
	conf_error(ld, e, "there is no [%s %s]%s%s%s", known, conf_show(ld->arena, w->shown),
		   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return NULL;
}

/* ---- sections ---- */
static bool defaults_kind(struct load *ld, struct sect *s)
{
	static const char *const words[] = { "route", "listen", "upstream" };

	if (sect_find(s->name, &s->of) && (s->of == SECT_route || s->of == SECT_listen || s->of == SECT_upstream))
		return true;
	const char *near = conf_nearest(s->name, words, ARRAY_LEN(words));
	conf_line_error(ld, s->file, s->line,
			"expected [defaults route], [defaults listen] or [defaults upstream], got \"%s\"%s%s%s",
			conf_show(ld->arena, s->name), near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	return false;
}

static void check_sect(struct load *ld, struct sect *s)
{
	const struct sect_def *def = sect_def(s->kind);

	if (s->kind == SECT_defaults && !defaults_kind(ld, s)) {
		s->bad = true;
		return;
	}
	if (!s->file->main && (s->kind == SECT_weir || s->kind == SECT_admin || s->kind == SECT_defaults)) {
		conf_sect_error(ld, s, "stands only in the main file, %s, not in included ones", ld->files[0]->name);
		s->bad = true;
		return;
	}
	if (def->area[0] != '\0')
		conf_sect_error(ld, s, "not built yet: it comes with %s", def->area);
	struct span key = s->name.n > 0 ? s->name : SPAN("-");
	struct sect *old = htab_get(&ld->names[s->kind], key);
	if (old != NULL) {
		conf_sect_error(ld, s, "stands twice; the first is at %s", conf_where(ld->arena, old->file, old->line));
		return;
	}
	htab_put(&ld->names[s->kind], key, s);
}

/* ---- keys ---- */
static enum sect_kind kind_of(const struct sect *s)
{
	return s->kind == SECT_defaults ? s->of : s->kind;
}

/* Every key known in sections of that kind; policies know those of all three. */
static unsigned known_keys(const struct sect *s, const char **out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		bool here = opt_stands_in(o, kind_of(s));

		for (unsigned k = 0; s->kind == SECT_policy && k < POLICY_KINDS; k++)
			here = here || opt_stands_in(o, policy_kinds[k]);
		if (here)
			out[n++] = o->key;
	}
	return n;
}

static void unknown_key(struct load *ld, const struct sect *s, const struct entry *e)
{
	const char *words[OPT__N];
	unsigned n = known_keys(s, words);
	const char *near = conf_nearest(e->key, words, n);

	for (unsigned k = 0; near == NULL && k < SECT__N; k++) {
		const struct opt *o = opt_find((enum sect_kind)k, e->key);

		if (o == NULL || (o->flags & F_PREFIX))
			continue;
		conf_error(ld, e, "this key does not stand in [%s] but in [%s]", sect_def(s->kind)->kind,
			   sect_def((enum sect_kind)k)->kind);
		return;
	}
	conf_error(ld, e, "unknown key%s%s%s", near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* In a policy a key may mean something in several kinds; the policy as a whole must fit one. */
static const struct opt *policy_opt(struct load *ld, struct sect *s, const struct entry *e)
{
	const struct opt *found = NULL;
	unsigned kinds = 0;

	for (unsigned k = 0; k < POLICY_KINDS; k++) {
		const struct opt *o = opt_find(policy_kinds[k], e->key);

		if (o == NULL)
			continue;
		if (found == NULL || !(s->kinds & kinds))
			found = o;
		kinds |= 1u << policy_kinds[k];
	}
	if (found == NULL)
		return NULL;
	if (found->flags & F_HERE) {
		conf_error(ld, e, "does not stand in a policy, only in the section itself");
		return found;
	}
	if ((s->kinds & kinds) == 0)
		conf_error(ld, e,
			   "a policy holds keys of routes, or of listeners, or of upstreams; this key is of another kind "
			   "than those above");
	else
		s->kinds &= kinds;
	return found;
}

/* NULL or a bad entry: refused, and said so. */
static const struct opt *find_opt(struct load *ld, struct sect *s, struct entry *e)
{
	const struct opt *o = s->kind == SECT_policy ? policy_opt(ld, s, e) : opt_find(kind_of(s), e->key);

	if (o == NULL) {
		unknown_key(ld, s, e);
		return NULL;
	}
	if (sect_def(s->kind)->area[0] != '\0')
		return NULL;
	if (o->id == OPT_listen_upstream) {
		conf_error(ld, e, "means nothing in mode http, and tcp and udp are not built yet");
		return NULL;
	}
	if (o->area[0] != '\0') {
		conf_error(ld, e, "not built yet: it comes with %s", o->area);
		e->lexed = e->bad = true;
		return o;
	}
	if (s->kind == SECT_defaults && (o->flags & (F_HERE | F_COND | F_ACTION))) {
		conf_error(ld, e,
			   "does not stand in [defaults %.*s]: it holds no conditions, no actions, and no bind, server or use",
			   SPAN_FMT(s->name));
		return NULL;
	}
	if (s->kind == SECT_policy && (o->flags & F_HERE))
		return NULL;
	return o;
}

/* `old` is the first of the same key, or of one that excludes it. */
static void check_doubles(struct load *ld, const struct entry *old, const struct entry *e)
{
	const char *where = conf_where(ld->arena, old->file, old->line);

	if (old->opt != e->opt)
		conf_error(ld, e, "at most one of %s stands in a section; there is %.*s at %s",
			   (e->opt->flags & F_PATH) ? "path, path_exact and path_regex" : "upstream, respond, redirect and root",
			   SPAN_FMT(old->key), where);
	else if (!(e->opt->flags & (F_LIST | F_MANY)))
		conf_error(ld, e, "is set twice; the first is at %s", where);
	else if (old->is_off || e->is_off)
		conf_error(ld, e, "off stands alone, but there is another line of this key at %s", where);
}

static void check_keys(struct load *ld, struct sect *s)
{
	const struct entry *seen[OPT_SLOTS] = { NULL };

	s->kinds = 1u << SECT_route | 1u << SECT_upstream | 1u << SECT_listen;
	for (struct entry *e = s->first; e != NULL; e = e->next) {
		if (ld->msgs->nerrors >= CONF_ERRORS_MAX)
			return;
		e->opt = find_opt(ld, s, e);
		if (e->opt == NULL || !conf_lex(ld, e))
			continue;
		const struct entry **first = &seen[opt_slot(e->opt)];
		if (*first != NULL)
			check_doubles(ld, *first, e);
		else
			*first = e;
	}
}

void conf_sections(struct load *ld)
{
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		if (!s->bad)
			check_sect(ld, s);
	}
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		if (!s->bad)
			check_keys(ld, s);
	}
}
