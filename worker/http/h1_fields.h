/*
 * h1_fields.h - the field section of an HTTP/1 message (RFC 9112 5) and what it says about framing and connection.
 *
 * Between h1_parse.c, which reads start lines and decides, and h1_fields.c, which reads lines. Nobody else needs it.
 */
#ifndef WORKER_HTTP_H1_FIELDS_H
#define WORKER_HTTP_H1_FIELDS_H

#include "worker/http/h1_parse.h"

struct h1_fields {
	struct head *h;
	bool trailers;			/* a trailer section: other rules on what may stand there */
	bool has_length, has_coding;
	bool close, keep_alive, upgrade;	/* connection options seen */
	bool strip;			/* Connection named fields that must go */
	bool has_idle;			/* Keep-Alive told a timeout */
	uint32_t idle_s;
	unsigned count, options;
	uint64_t length;
	struct span coding;		/* Transfer-Encoding's value with its blanks */
};

/* [p, end) ends with the empty line. Fills x and adds the end-to-end fields to x->h. */
enum h1_bad h1_fields_parse(struct h1_fields *x, const char *p, const char *end);
/* What Content-Length and Transfer-Encoding add up to; good only when at most one of them is there and is valid. */
enum h1_bad h1_fields_framing(const struct h1_fields *x);

#endif
