/*
 * date.c - HTTP dates: IMF-fixdate out, that and the two obsolete forms in.
 *
 * Called for Date fields, by conditional requests and by freshness rules. Calendar arithmetic is done here in 64-bit days, so
 * that no clock setting, zone or year is beyond it.
 */
#include "worker/http/date.h"

#define LAST_SECOND 253402300799	/* 9999-12-31 23:59:59 */

static const char weekdays[7][10] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char months[12][4] = {
	"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
};

struct civil {
	int64_t year;
	unsigned month, day;		/* from 1 */
	unsigned hour, minute, second;
};

/* Days since 1970-01-01 of a Gregorian date. Years start in March here, so that the leap day is the last one. */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* The inverse, for days from 1970 on. */
static void civil_of(int64_t days, struct civil *c)
{
	int64_t z = days + 719468, era = z / 146097, of_era = z - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;

	c->day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
	c->month = (unsigned)(m < 10 ? m + 3 : m - 9);
	c->year = y + era * 400 + (c->month <= 2);
}

static char *put_number(char *p, unsigned v, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + digits;
}

struct span date_format(char out[DATE_LEN + 1], uint64_t wall_ms)
{
	uint64_t s = wall_ms / 1000 > LAST_SECOND ? LAST_SECOND : wall_ms / 1000;
	unsigned of_day = (unsigned)(s % 86400);
	struct civil c;
	char *p = out;

	civil_of((int64_t)(s / 86400), &c);
	memcpy(p, weekdays[(s / 86400 + 4) % 7], 3);
	memcpy(p + 3, ", ", 2);
	p = put_number(p + 5, c.day, 2);
	*p++ = ' ';
	memcpy(p, months[c.month - 1], 3);
	p[3] = ' ';
	p = put_number(p + 4, (unsigned)c.year, 4);
	*p++ = ' ';
	p = put_number(p, of_day / 3600, 2);
	*p++ = ':';
	p = put_number(p, of_day / 60 % 60, 2);
	*p++ = ':';
	p = put_number(p, of_day % 60, 2);
	memcpy(p, " GMT", 5);
	return span_make(out, DATE_LEN);
}

/* Takes a fixed text off the front. */
static bool eat(struct span *s, const char *text)
{
	struct span t = span_of(text);

	if (!span_starts(*s, t))
		return false;
	*s = span_make(s->p + t.n, s->n - t.n);
	return true;
}

static bool eat_number(struct span *s, unsigned digits, unsigned *out)
{
	if (s->n < digits)
		return false;
	*out = 0;
	for (unsigned i = 0; i < digits; i++) {
		unsigned d = (unsigned)(unsigned char)s->p[i] - '0';

		if (d > 9)
			return false;
		*out = *out * 10 + d;
	}
	*s = span_make(s->p + digits, s->n - digits);
	return true;
}

static bool eat_month(struct span *s, unsigned *month)
{
	for (*month = 1; *month <= 12; ++*month)
		if (eat(s, months[*month - 1]))
			return true;
	return false;
}

static bool eat_time(struct span *s, struct civil *c)
{
	return eat_number(s, 2, &c->hour) && eat(s, ":") && eat_number(s, 2, &c->minute) && eat(s, ":") &&
	       eat_number(s, 2, &c->second);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", behind the comma. */
static bool imf(struct span s, struct civil *c)
{
	unsigned year;

	if (!(eat(&s, " ") && eat_number(&s, 2, &c->day) && eat(&s, " ") && eat_month(&s, &c->month) && eat(&s, " ") &&
	      eat_number(&s, 4, &year) && eat(&s, " ") && eat_time(&s, c) && eat(&s, " GMT")))
		return false;
	c->year = year;
	return s.n == 0;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT", behind the comma. */
static bool rfc850(struct span s, int64_t now_s, struct civil *c)
{
	struct civil now;
	unsigned year;

	if (!(eat(&s, " ") && eat_number(&s, 2, &c->day) && eat(&s, "-") && eat_month(&s, &c->month) && eat(&s, "-") &&
	      eat_number(&s, 2, &year) && eat(&s, " ") && eat_time(&s, c) && eat(&s, " GMT")))
		return false;
	civil_of((now_s > 0 ? now_s : 0) / 86400, &now);
	c->year = now.year - now.year % 100 + year;
	if (c->year > now.year + 50)
		c->year -= 100;
	else if (c->year <= now.year - 50)
		c->year += 100;
	return s.n == 0;
}

/* "Sun Nov  6 08:49:37 1994", behind the day name. */
static bool asctime_form(struct span s, struct civil *c)
{
	unsigned year;

	if (!(eat(&s, " ") && eat_month(&s, &c->month) && eat(&s, " ") &&
	      (eat(&s, " ") ? eat_number(&s, 1, &c->day) : eat_number(&s, 2, &c->day)) && eat(&s, " ") &&
	      eat_time(&s, c) && eat(&s, " ") && eat_number(&s, 4, &year)))
		return false;
	c->year = year;
	return s.n == 0;
}

static bool any_form(struct span s, int64_t now_s, struct civil *c)
{
	for (unsigned d = 0; d < 7; d++) {
		const char brief[4] = { weekdays[d][0], weekdays[d][1], weekdays[d][2], '\0' };

		if (eat(&s, weekdays[d]))
			return eat(&s, ",") && rfc850(s, now_s, c);
		if (eat(&s, brief))
			return eat(&s, ",") ? imf(s, c) : asctime_form(s, c);
	}
	return false;
}

static bool in_calendar(const struct civil *c)
{
	static const uint8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = c->year % 4 == 0 && (c->year % 100 != 0 || c->year % 400 == 0);

	/* Second 60 is a leap second. */
	return c->day >= 1 && c->day <= days[c->month - 1] + (unsigned)(leap && c->month == 2) && c->hour < 24 &&
	       c->minute < 60 && c->second <= 60;
}

bool date_parse(struct span s, int64_t now_s, int64_t *out_s)
{
	struct civil c;

	if (!any_form(s, now_s, &c) || !in_calendar(&c))
		return false;
	*out_s = days_of(c.year, c.month, c.day) * 86400 + c.hour * 3600 + c.minute * 60 + c.second;
	return true;
}
