/*
 * date.h - HTTP dates (RFC 9110 5.6.7). Pure; no locale, no time zone, no system clock.
 */
#ifndef WORKER_HTTP_DATE_H
#define WORKER_HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

#define DATE_LEN 29			/* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* The IMF-fixdate of a wall time, NUL-terminated; returns a span of it. Whoever needs it often keeps it for the second. Times
 * behind the year 9999 are written as its end. */
struct span date_format(char out[DATE_LEN + 1], uint64_t wall_ms);

/* Any of the three forms, to seconds since 1970, which may be negative. now_s settles RFC 850's two-digit year: a date more
 * than 50 years ahead is one in the past. False: not a date. */
bool date_parse(struct span s, int64_t now_s, int64_t *out_s);

#endif
