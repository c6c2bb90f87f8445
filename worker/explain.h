/*
 * explain.h - the two halves of `weir -e`: explain.c finds listener and route,
 * explain_way.c tells what happens on the way.
 */
#ifndef WORKER_EXPLAIN_H
#define WORKER_EXPLAIN_H

#include <stdio.h>

#include "worker/exchange/exchange.h"

#define EXPLAIN_LABEL 24		/* width of the left column */

/* One line: label, then text. An empty label continues the one above. */
void explain_line(FILE *out, const char *label, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Text from outside, safe to print; in x's arena. */
const char *explain_safe(struct exchange *x, struct span s);

/* x has its route: prints filters, limits and action in order, carrying out the edits on x->req. */
void explain_way(FILE *out, struct exchange *x);

#endif
