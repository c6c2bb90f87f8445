/*
 * unit.h - what every unit test has in common: one binary per file, one suite,
 * results as TAP on stdout, exit status 1 when something failed.
 *
 * A test file defines cases with START_TEST/END_TEST and ends with
 * UNIT("module", case_a, case_b, ...).
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/span.h"

#define UNIT_SECONDS 30			/* a case that takes longer has hung */

/* The span holds exactly these bytes. */
#define ck_span_eq(s, lit)								\
	do {										\
		struct span ck_span_ = (s);						\
		ck_assert_msg(span_eq(ck_span_, span_of(lit)), "%s is \"%.*s\", not \"%s\"",	\
			      #s, SPAN_FMT(ck_span_), lit);				\
	} while (0)

static inline int unit_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	tcase_set_timeout(tc, UNIT_SECONDS);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT(name, ...)									\
	int main(void)									\
	{										\
		const TTest *const tests[] = { __VA_ARGS__ };				\
		return unit_run(name, tests, sizeof(tests) / sizeof(tests[0]));		\
	}

#endif
