/*
 * chart.c - a small chart of the last minutes, as inline SVG.
 *
 * Called by the status page. Numbers only, no text from outside. It scales with
 * the page; lines keep their width. Pure.
 */
#include "worker/admin/chart.h"

static double largest(const struct chart_line *lines, unsigned nlines, unsigned n)
{
	double most = 0;

	for (unsigned i = 0; i < nlines; i++) {
		for (unsigned j = 0; j < n; j++)
			most = lines[i].y[j] > most ? lines[i].y[j] : most;
	}
	return most;
}

static void points(struct text *out, const double *x, const double *y, unsigned n, double most)
{
	for (unsigned i = 0; i < n; i++) {
		double up = most > 0 ? y[i] / most : 0;

		text_fmt(out, "%.1f,%.1f ", x[i] * CHART_WIDTH, (CHART_HEIGHT - 1) - up * (CHART_HEIGHT - 3));
	}
}

void chart(struct text *out, const double *x, unsigned n, const struct chart_line *lines, unsigned nlines,
	   const char *title)
{
	double most = largest(lines, nlines, n);

	text_fmt(out, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\"><title>", CHART_WIDTH,
		 CHART_HEIGHT);
	text_str(out, title);
	text_fmt(out, "</title><path class=\"base\" d=\"M0 %d H%d\"/>", CHART_HEIGHT - 1, CHART_WIDTH);
	for (unsigned i = 0; i < nlines && n > 1; i++) {
		/* The first one stands for the whole: its area is filled. */
		if (i == 0) {
			text_fmt(out, "<polygon class=\"%s area\" points=\"%.1f,%d ", lines[i].class, x[0] * CHART_WIDTH,
				 CHART_HEIGHT - 1);
			points(out, x, lines[i].y, n, most);
			text_fmt(out, "%.1f,%d\"/>", x[n - 1] * CHART_WIDTH, CHART_HEIGHT - 1);
		}
		text_fmt(out, "<polyline class=\"%s\" points=\"", lines[i].class);
		points(out, x, lines[i].y, n, most);
		text_str(out, "\"/>");
	}
	text_str(out, "</svg>");
}
