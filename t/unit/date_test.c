/*
 * date_test.c - HTTP dates: out in one form, in from three.
 */
#include "t/unit/unit.h"

#include <time.h>

#include "worker/http/date.h"

START_TEST(formats)
{
	char out[DATE_LEN + 1];

	ck_span_eq(date_format(out, 784111777000), "Sun, 06 Nov 1994 08:49:37 GMT");
	ck_span_eq(date_format(out, 784111777999), "Sun, 06 Nov 1994 08:49:37 GMT");
	ck_span_eq(date_format(out, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
	ck_span_eq(date_format(out, 951782400000), "Tue, 29 Feb 2000 00:00:00 GMT");
	ck_span_eq(date_format(out, UINT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
	ck_assert_uint_eq(strlen(out), DATE_LEN);
}
END_TEST

START_TEST(agrees_with_the_c_library)
{
	/* A step that meets every month, weekday and hour, up to the year 2500. */
	for (int64_t t = 0; t < 16725225600; t += 86400 * 17 + 4321) {
		char want[64], out[DATE_LEN + 1];
		time_t clock = (time_t)t;
		struct tm tm;
		int64_t back;

		ck_assert(gmtime_r(&clock, &tm) && strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm));
		ck_span_eq(date_format(out, (uint64_t)t * 1000), want);
		ck_assert(date_parse(span_of(want), 0, &back) && back == t);
		ck_assert(strftime(want, sizeof(want), "%a %b %e %H:%M:%S %Y", &tm));
		ck_assert(date_parse(span_of(want), 0, &back) && back == t);
		ck_assert(strftime(want, sizeof(want), "%A, %d-%b-%y %H:%M:%S GMT", &tm));
		ck_assert(date_parse(span_of(want), t, &back) && back == t);
	}
}
END_TEST

START_TEST(settles_two_digit_years)
{
	int64_t t, now = 1767225600;	/* 2026 */

	ck_assert(date_parse(SPAN("Sunday, 06-Nov-94 08:49:37 GMT"), now, &t) && t == 784111777);
	ck_assert(date_parse(SPAN("Friday, 01-Jan-76 00:00:00 GMT"), now, &t) && t == 3345062400);
	ck_assert(date_parse(SPAN("Saturday, 01-Jan-77 00:00:00 GMT"), now, &t) && t == 220924800);
	ck_assert(date_parse(SPAN("Saturday, 01-Jan-05 00:00:00 GMT"), 915148800, &t) && t == 1104537600);
}
END_TEST

START_TEST(takes_old_dates)
{
	int64_t t;

	ck_assert(date_parse(SPAN("Mon, 01 Jan 0001 00:00:00 GMT"), 0, &t) && t == -62135596800);
	ck_assert(date_parse(SPAN("Wed, 31 Dec 1969 23:59:59 GMT"), 0, &t) && t == -1);
	ck_assert(date_parse(SPAN("Sat, 31 Dec 2016 23:59:60 GMT"), 0, &t) && t == 1483228800);
}
END_TEST

START_TEST(refuses)
{
	static const char *const bad[] = {
		"", "0", "-1", "Sun", "Sun,", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 GMT ", " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
		"Sun, 29 Feb 1900 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 94", "Xyz, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06-Nov-94 08:49:37 GMT", "Sunday 06-Nov-94 08:49:37 GMT", "Sun, -6 Nov 1994 08:49:37 GMT",
	};
	int64_t t;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!date_parse(span_of(bad[i]), 0, &t), "\"%s\" was taken", bad[i]);
	/* Cut short anywhere. */
	for (size_t n = 0; n < DATE_LEN; n++)
		ck_assert(!date_parse(span_make("Sun, 06 Nov 1994 08:49:37 GMT", n), 0, &t));
}
END_TEST

UNIT("date", formats, agrees_with_the_c_library, settles_two_digit_years, takes_old_dates, refuses)
