/*
 * chart.h - a small chart of the last minutes, as inline SVG.
 */
#ifndef WORKER_ADMIN_CHART_H
#define WORKER_ADMIN_CHART_H

#include "worker/admin/text.h"

#define CHART_WIDTH 300
#define CHART_HEIGHT 60

struct chart_line {
	const double *y;
	const char *class;		/* of the style: its colour */
};

/* n values of each line at the times x (0: the left edge .. 1: now), from 0 up to the largest. `title` is for those who cannot see
 * it. Our own words alone. */
void chart(struct text *out, const double *x, unsigned n, const struct chart_line *lines, unsigned nlines,
	   const char *title);

#endif
