/*
 * title_test.c - titles in the memory of a command line that the test lays out itself.
 */
#include "t/unit/unit.h"

#include <unistd.h>

#include "common/title.h"

/* As the kernel lays it out: arguments, then the environment, without a gap. */
static char area[] = "./weir\0-c\0file\0A=1\0PATH=/bin\0#";
#define AREA_TEXT (sizeof(area) - 2)

static char **lay_out(void)
{
	static char *argv[4], *env[3];

	argv[0] = area;
	argv[1] = area + 7;
	argv[2] = area + 10;
	env[0] = area + 15;
	env[1] = area + 19;
	environ = env;
	return argv;
}

static char **args;		/* lives as long as the process, as in main() */

START_TEST(keeps_arguments_and_environment)
{
	args = title_init(3, lay_out());

	title_set("weir: master");
	ck_assert_str_eq(area, "weir: master");
	for (size_t i = strlen("weir: master"); i < AREA_TEXT; i++)
		ck_assert_int_eq(area[i], '\0');
	ck_assert_str_eq(args[0], "./weir");
	ck_assert_str_eq(args[2], "file");
	ck_assert_ptr_null(args[3]);
	ck_assert_str_eq(getenv("A"), "1");
	ck_assert_str_eq(getenv("PATH"), "/bin");
}
END_TEST

START_TEST(cuts_what_does_not_fit)
{
	args = title_init(3, lay_out());
	title_set("weir: a title that is much longer than the memory of this command line");
	ck_assert_int_eq(area[AREA_TEXT - 1], '\0');
	ck_assert_int_eq(area[AREA_TEXT], '#');
	title_set("short");
	ck_assert_str_eq(area, "short");
	ck_assert_int_eq(area[6], '\0');
}
END_TEST

START_TEST(does_nothing_before_its_time)
{
	title_set("nobody gave us a place");
	ck_assert_int_eq(area[0], '.');
}
END_TEST

UNIT("title", keeps_arguments_and_environment, cuts_what_does_not_fit, does_nothing_before_its_time)
