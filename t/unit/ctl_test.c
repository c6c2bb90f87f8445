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
	static const char *const later[] = { "purge", "enable r", "disable r", "split r a=1" };

	for (unsigned i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		ck_assert_int_eq(parse(later[i]), CTL_NOT_BUILT);
		ck_assert_ptr_nonnull(strstr(why, "not built yet"));
	}
}
END_TEST

START_TEST(reads_options_with_values)
{
	uint64_t ms;

	ck_assert_int_eq(parse("drain app/a --wait 30s"), CTL_OK);
	ck_assert_str_eq(ctl_value(&r, "--wait"), "30s");
	ck_assert_int_eq(parse("drain --wait=5m app/a --json"), CTL_OK);
	ck_assert_str_eq(ctl_value(&r, "--wait"), "5m");
	ck_assert_str_eq(r.words[0], "app/a");
	ck_assert(r.option);
	ck_assert_ptr_null(ctl_value(&r, "--last"));
	ck_assert_int_eq(parse("drain app/a --wait"), CTL_USAGE);
	ck_assert_ptr_nonnull(strstr(why, "needs a value"));
	ck_assert_int_eq(parse("ready app/a --wait 3"), CTL_USAGE);
	ck_assert(ctl_duration("250ms", &ms) && ms == 250);
	ck_assert(ctl_duration("3", &ms) && ms == 3000);
	ck_assert(ctl_duration("2h", &ms) && ms == 7200000);
	ck_assert(!ctl_duration("", &ms) && !ctl_duration("-1s", &ms) && !ctl_duration("8d", &ms));
	ck_assert(!ctl_duration("3 s", &ms) && !ctl_duration("99999999999999999999s", &ms));
}
END_TEST

START_TEST(carries_blanks_and_percent_signs)
{
	char *const words[] = { "trace", "header=X-A: 100% of it", "a%20b" };
	char *bad[] = { "trace", "a\nb" }, *empty[] = { "drain", "" };
	char line[64], *got[4];

	size_t n = ctl_join(line, sizeof(line), 3, words);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(line[n - 1], '\n');
	line[n - 1] = '\0';
	ck_assert_int_eq(ctl_split(line, got, 4), 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_str_eq(got[i], words[i]);
	ck_assert_uint_eq(ctl_join(line, sizeof(line), 2, bad), 0);
	ck_assert_uint_eq(ctl_join(line, sizeof(line), 2, empty), 0);
	ck_assert_uint_eq(ctl_join(line, 12, 3, words), 0);
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

UNIT("ctl", reads_requests, tells_mistakes, knows_what_is_to_come, reads_options_with_values,
     carries_blanks_and_percent_signs, splits_no_more_than_fits)
