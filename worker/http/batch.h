/*
 * batch.h - a batch of message body on its way through: a few spans, perhaps
 * the end of the body.
 */
#ifndef WORKER_HTTP_BATCH_H
#define WORKER_HTTP_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"
#include "worker/http/head.h"

#define BATCH_SPANS 14

struct batch {
	struct span v[BATCH_SPANS];
	unsigned n;			/* may be 0 when `last` */
	size_t bytes;			/* sum of the spans */
	bool last;			/* the body is whole with this */
	const struct head *trailers;	/* with `last`; NULL: none */
};

enum take { TAKEN, HELD };

static inline void batch_init(struct batch *b)
{
	b->n = 0;
	b->bytes = 0;
	b->last = false;
	b->trailers = NULL;
}

static inline bool batch_full(const struct batch *b)
{
	return b->n == BATCH_SPANS;
}

/* Empty spans are left out. The batch must not be full. */
static inline void batch_add(struct batch *b, struct span s)
{
	if (s.n == 0)
		return;
	b->v[b->n++] = s;
	b->bytes += s.n;
}

#endif
