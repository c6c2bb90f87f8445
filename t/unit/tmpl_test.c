/*
 * tmpl_test.c - templates: parts, long and short forms, dollar signs, groups, and
 * the sentences about what is wrong.
 */
#include <stdio.h>

#include "common/tmpl.h"
#include "t/unit/unit.h"

static struct arena arena;
static const char *err;

static struct tmpl *compile(const char *text, bool groups)
{
	err = NULL;
	return tmpl_compile(&arena, span_of(text), groups, &err);
}

static void is_part(const struct tmpl *t, unsigned i, enum var_id var, const char *text)
{
	ck_assert_ptr_nonnull(t);
	ck_assert_uint_lt(i, t->nparts);
	ck_assert_int_eq(t->parts[i].var, var);
	ck_span_eq(t->parts[i].text, text);
}

START_TEST(literals)
{
	arena_init(&arena, NULL, 0);
	struct tmpl *t = compile("plain text, {braces} and 5%", false);
	is_part(t, 0, VAR_NONE, "plain text, {braces} and 5%");
	ck_assert(t->nparts == 1 && !t->has_vars && !t->has_groups);
	t = compile("", false);
	ck_assert(t != NULL && t->nparts == 0 && !t->has_vars);
	t = compile("5$$ and $$$$host", false);
	is_part(t, 0, VAR_NONE, "5$ and $$host");
	ck_assert_uint_eq(t->nparts, 1);
	t = tmpl_literal(&arena, SPAN("$host"));
	is_part(t, 0, VAR_NONE, "$host");
	ck_assert_uint_eq(tmpl_literal(&arena, SPAN(""))->nparts, 0);
	t = tmpl_compile(&arena, span_make("a\0b", 3), false, &err);
	ck_assert_uint_eq(t->parts[0].text.n, 3);
	arena_fini(&arena);
}
END_TEST

START_TEST(variables)
{
	arena_init(&arena, NULL, 0);
	struct tmpl *t = compile("a$host.b${path}c$query?${query:id}${header:X-A}$$x", false);
	is_part(t, 0, VAR_NONE, "a");
	is_part(t, 1, VAR_HOST, "");
	is_part(t, 2, VAR_NONE, ".b");
	is_part(t, 3, VAR_PATH, "");
	is_part(t, 5, VAR_QUERY, "");
	is_part(t, 7, VAR_QUERY_ARG, "id");
	is_part(t, 8, VAR_HEADER, "X-A");
	is_part(t, 9, VAR_NONE, "$x");
	ck_assert(t->nparts == 10 && t->has_vars && !t->has_groups);
	ck_assert(tmpl_uses(t, VAR_HOST) && !tmpl_uses(t, VAR_STATUS));
	ck_span_eq(t->source, "a$host.b${path}c$query?${query:id}${header:X-A}$$x");
	arena_fini(&arena);
}
END_TEST

/* Each name of the table, in both forms. */
START_TEST(every_variable)
{
	static const struct { const char *name; enum var_id id; enum var_kind kind; } vars[] = {
#define VAR(id, name, kind, prose) { name, VAR_##id, kind },
#include "common/var.def"
#undef VAR
	};
	char text[80];

	arena_init(&arena, NULL, 0);
	for (size_t i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {
		snprintf(text, sizeof(text), vars[i].kind == VAR_ARG ? "${%s:name}" : "$%s", vars[i].name);
		is_part(compile(text, false), 0, vars[i].id, vars[i].kind == VAR_ARG ? "name" : "");
		snprintf(text, sizeof(text), "${%s}x", vars[i].name);
		if (vars[i].kind == VAR_PLAIN)
			is_part(compile(text, false), 0, vars[i].id, "");
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(groups)
{
	arena_init(&arena, NULL, 0);
	struct tmpl *t = compile("/$1/${2}3$9x", true);
	ck_assert(t != NULL && t->has_groups && t->has_vars);
	is_part(t, 1, VAR_GROUP, "");
	ck_assert(t->parts[1].group == 1 && t->parts[3].group == 2 && t->parts[5].group == 9);
	is_part(t, 4, VAR_NONE, "3");
	ck_assert_ptr_null(compile("$1", false));
	ck_assert_ptr_nonnull(strstr(err, "means nothing here"));
	ck_assert_ptr_null(compile("$0", true));
	ck_assert_ptr_nonnull(strstr(err, "$1 to $9"));
	arena_fini(&arena);
}
END_TEST

START_TEST(wrong_ones)
{
	static const struct { const char *text, *part; } bad[] = {
		{ "$", "written $$" }, { "a$ b", "written $$" }, { "$.", "written $$" }, { "$hots", "did you mean $host?" },
		{ "$Host", "did you mean $host?" }, { "$xyzzyplugh", "unknown variable $xyzzyplugh" }, { "${host",
													"expected a }" },
		{ "${}", "unknown variable" }, { "${headr:A}", "did you mean ${header:...}?" }, { "${header:}", "is no name" },
		{ "${header:A B}", "is no name" }, { "${header:A\nB}", "is no name" }, { "${query:a\x01}", "is no name" },
		{ "$header", "${header:NAME}" }, { "${cookie}", "${cookie:NAME}" }, { "${host:x}",
										     "unknown variable ${host:...}" },
		{ "$$$", "written $$" }, { "${env:X}", "unknown variable" }, { "${10}", "unknown variable" },
	};

	arena_init(&arena, NULL, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(compile(bad[i].text, true) == NULL, "taken: %s", bad[i].text);
		ck_assert_msg(strstr(err, bad[i].part) != NULL, "%s: %s", bad[i].text, err);
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(long_ones)
{
	size_t n = 1 << 20;
	char *text = malloc(n);

	arena_init(&arena, NULL, 0);
	memset(text, '$', n);
	struct tmpl *t = tmpl_compile(&arena, span_make(text, n), false, &err);
	ck_assert(t != NULL && t->nparts == 1 && t->parts[0].text.n == n / 2);
	ck_assert_uint_lt(arena.total, 4 * n);
	free(text);
	arena_fini(&arena);
}
END_TEST

UNIT("tmpl", literals, variables, every_variable, groups, wrong_ones, long_ones)
