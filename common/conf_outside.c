/*
 * conf_outside.c - values from outside: ${env:NAME}, ${env:NAME:-default}, ${file:PATH}.
 *
 * Called by conf_lex.c, which puts the value in place without looking at it
 * again. Messages and -T show the reference, never the value.
 */
#include "common/conf_parts.h"

static const struct span env_open = { "${env:", 6 }, file_open = { "${file:", 7 };

size_t conf_outside_len(struct span s)
{
	if (!span_starts(s, env_open) && !span_starts(s, file_open))
		return 0;
	const char *close = memchr(s.p, '}', s.n);
	return close != NULL ? (size_t)(close + 1 - s.p) : SIZE_MAX;
}

static bool env_name_ok(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = ascii_lower((unsigned char)s.p[i]);

		if (!(c >= 'a' && c <= 'z') && c != '_' && !(i > 0 && c >= '0' && c <= '9'))
			return false;
	}
	return s.n > 0;
}

static bool from_env(struct load *ld, const struct entry *e, struct span inner, struct span *value)
{
	const char *colon = memmem(inner.p, inner.n, ":-", 2);
	struct span name = colon ? span_make(inner.p, (size_t)(colon - inner.p)) : inner;

	if (!env_name_ok(name)) {
		conf_error(ld, e, "expected ${env:NAME} or ${env:NAME:-default}, got \"${env:%s}\"",
			   conf_show(ld->arena, inner));
		return false;
	}
	const char *found = getenv(arena_str(ld->arena, name));
	if (found != NULL && (*found != '\0' || colon == NULL)) {
		*value = arena_span(ld->arena, span_of(found));
		return true;
	}
	if (colon != NULL) {
		*value = span_make(colon + 2, (size_t)(inner.p + inner.n - colon - 2));
		return true;
	}
	conf_error(ld, e, "the environment variable %.*s is not set; ${env:%.*s:-default} would do without", SPAN_FMT(name),
		   SPAN_FMT(name));
	return false;
}

static bool from_file(struct load *ld, const struct entry *e, struct span inner, struct span *value, struct span *shown)
{
	const char *why, *path, *text;
	size_t n;

	inner = span_trim(inner);
	if (inner.n == 0) {
		conf_error(ld, e, "expected ${file:PATH}, got no path");
		return false;
	}
	path = conf_abs_path(ld->arena, e->file->dir, inner);
	text = conf_slurp(ld, path, &n, &why);
	if (text == NULL) {
		conf_error(ld, e, "cannot read %s: %s", path, why);
		return false;
	}
	*value = span_make(text, n);
	*shown = span_of(arena_printf(ld->arena, "${file:%s}", path));
	return true;
}

bool conf_outside(struct load *ld, const struct entry *e, struct span ref, struct span *value, struct span *shown)
{
	bool ok;

	*shown = ref;
	if (span_starts(ref, env_open)) {
		ok = from_env(ld, e, span_make(ref.p + env_open.n, ref.n - env_open.n - 1), value);
		ld->total += ok ? value->n : 0;
		if (ld->total > CONF_TOTAL_MAX) {
			ld->total = CONF_TOTAL_MAX;
			conf_error(ld, e, "files and values from outside are larger than %u MiB in all", CONF_TOTAL_MAX >> 20);
			return false;
		}
	} else {
		ok = from_file(ld, e, span_make(ref.p + file_open.n, ref.n - file_open.n - 1), value, shown);
	}
	if (ok && value->n > 0 && value->p[value->n - 1] == '\n') {
		value->n--;
		if (value->n > 0 && value->p[value->n - 1] == '\r')
			value->n--;
	}
	return ok;
}
