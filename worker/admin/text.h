/*
 * text.h - text into a buffer that never overflows: what does not fit sets a
 * flag, and the writer takes back the unit that it was in.
 *
 * Pure. Whatever comes from a configuration or from the network goes through
 * one of the escaping functions, never through text_fmt().
 */
#ifndef WORKER_ADMIN_TEXT_H
#define WORKER_ADMIN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

struct text {
	char *p;
	size_t n, room;
	bool over;			/* something did not fit */
};

void text_put(struct text *t, struct span s);
static inline void text_str(struct text *t, const char *s)
{
	text_put(t, span_of(s));
}
void text_u64(struct text *t, uint64_t v);
/* For our own words and numbers alone. */
void text_fmt(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Seconds with as many digits as it takes: "0.0025". */
void text_seconds(struct text *t, uint64_t us);

/* As text or as the value of a quoted attribute. Control bytes and what is no UTF-8 come out as U+FFFD. */
void text_html(struct text *t, struct span s);
/* With quotes. */
void text_json(struct text *t, struct span s);
/* NAME="VALUE" of a Prometheus label. */
void text_label(struct text *t, const char *name, struct span value);

/* For people: "3d 4h", "1.4 MiB", "12.3k". */
void text_age(struct text *t, uint64_t ms);
void text_bytes(struct text *t, double v);
void text_count(struct text *t, double v);
/* "1.25 ms", "3.4 s"; v in microseconds. */
void text_latency(struct text *t, double us);

#endif
