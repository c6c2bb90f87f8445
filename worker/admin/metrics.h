/*
 * metrics.h - between metrics.c, which has the table of families, and the
 * functions that write their samples.
 */
#ifndef WORKER_ADMIN_METRICS_H
#define WORKER_ADMIN_METRICS_H

#include "worker/admin/pages.h"

struct family;
/* Writes the sample at the cursor and moves it on; false: there is none. */
typedef bool family_fn(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f);

struct family {
	const char *name, *type, *help;
	family_fn *next;
	size_t within;			/* of the counter in its thing */
};

/* The family's name; a blank, the value and the end of the line. */
void metrics_sample(struct text *out, const struct family *f, const char *suffix);
void metrics_value(struct text *out, uint64_t v);
void metrics_seconds(struct text *out, uint64_t ms);

/* ---- metrics_routes.c ---- */
family_fn metrics_route_answers, metrics_route_bytes, metrics_route_latency;
family_fn metrics_server_latency, metrics_server_meter_of, metrics_server_use, metrics_cell;
enum cell_word { CELL_UP, CELL_EJECTED, CELL_HELD, CELL_WEIGHT, CELL_ACTIVE, CELL_CHECK };

#endif
