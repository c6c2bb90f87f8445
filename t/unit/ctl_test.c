/*
 * ctl_test.c - requests to the master: verbs, words, options, mistakes.
 */
#include "t/unit/unit.h"

#include "common/ctl.h"

static char why[256];
static struct ctl_request r;

static enum ctl_status parse(const char *line)
{
	static char copy[CTL_LINE];
	char *words[CTL_WORDS + 2];

	snprintf(copy, sizeof(copy), "%s", line);
	why[0] = '\0';
	return ctl_parse(ctl_split(copy, words, CTL_WORDS + 2), words, &r, why, sizeof(why));
}

START_TEST(reads_requests)
{
	ck_assert_int_eq(parse("status"), CTL_OK);
	ck_assert_int_eq(r.def->verb, CTL_STATUS);
	ck_assert(!r.option);
	ck_assert_int_eq(parse("status --json"), CTL_OK);
	ck_assert(r.option);
	ck_assert_int_eq(parse("  servers   app  --json "), CTL_OK);
	ck_assert(r.option);
	ck_assert_uint_eq(r.nwords, 1);
	ck_assert_str_eq(r.words[0], "app");
	ck_assert_int_eq(parse("stop --now"), CTL_OK);
	ck_assert(r.option);
}
END_TEST

START_TEST(tells_mistakes)
{
	ck_assert_int_eq(parse(""), CTL_USAGE);
	ck_assert_int_eq(parse("stauts"), CTL_USAGE);
	ck_assert_ptr_nonnull(strstr(why, "did you mean \"status\""));
	ck_assert_int_eq(parse("frobnicate-it"), CTL_USAGE);
	ck_assert_ptr_nonnull(strstr(why, "weirctl -h"));
	ck_assert_int_eq(parse("status --now"), CTL_USAGE);
	ck_assert_int_eq(parse("status please"), CTL_USAGE);
	ck_assert_int_eq(parse("servers a b"), CTL_USAGE);
	ck_assert_ptr_nonnull(strstr(why, "usage: weirctl servers"));
	/* What a terminal would act on is shown, not sent. */
	ck_assert_int_eq(parse("\033[2J"), CTL_USAGE);
	ck_assert_ptr_null(strchr(why, '\033'));
}
END_TEST

START_TEST(knows_what_is_to_come)
{
	static const char *const later[] = { "top", "purge", "sessions", "enable r", "disable r", "split r a=1" };

	for (unsigned i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		ck_assert_int_eq(parse(later[i]), CTL_NOT_BUILT);
		ck_assert_ptr_nonnull(strstr(why, "not built yet"));
	}
}
END_TEST

START_TEST(splits_no_more_than_fits)
{
	char line[] = "a b c", *words[3], more[] = "a b c d";

	ck_assert_int_eq(ctl_split(line, words, 3), 3);
	ck_assert_str_eq(words[2], "c");
	ck_assert_int_eq(ctl_split(more, words, 3), -1);
}
END_TEST

UNIT("ctl", reads_requests, tells_mistakes, knows_what_is_to_come, splits_no_more_than_fits)
