/*
 * side.h - the three small tables that cut the circle: what an exchange asks of
 * its client side, of a filter and of a handler.
 *
 * Codecs, filters and handlers never include each other; they know this file
 * and exchange.h. Body goes in batches: spans borrowed from the buffer they
 * were read into. A receiver answers TAKEN (the bytes are its own business now, the
 * next batch may come) or HELD (the spans must stay as they are until it asks
 * for more). At most one batch is in flight each way.
 *
 * An answer of status 101 whose body is BODY_TUNNEL opens a tunnel: from then on both bodies are opaque bytes, and the
 * exchange ends when both have had their last batch. Until then a request that asks for one is as any other without body.
 */
#ifndef WORKER_EXCHANGE_SIDE_H
#define WORKER_EXCHANGE_SIDE_H

#include <stdbool.h>

#include "common/reason.h"
#include "worker/http/batch.h"
#include "worker/http/head.h"

struct exchange;

/* The client side: worker/downstream. */
struct side_ops {
	const char *name;
	/* Sends an interim answer (1xx) now. */
	void (*interim)(struct exchange *x, const struct head *h);
	/* Takes x->resp as the final head. It may wait in the output until a body batch or the end of the turn. With BODY_NONE the
	 * answer is whole now. With BODY_TUNNEL the request gets a body from here on, which comes when it is wanted. */
	void (*head)(struct exchange *x);
	/* More body; b->last ends it, with b->trailers if any. HELD: the batch must stay until exchange_on_sent(). */
	enum take (*body)(struct exchange *x, const struct batch *b);
	/* The exchange can take the next batch of request body; it comes by exchange_on_body(), now or later. */
	void (*want_body)(struct exchange *x);
	/* The answer cannot be completed: the client must see that it is not whole. */
	void (*abort)(struct exchange *x);
	/* Both directions are over for the exchange; it dies after this call. */
	void (*done)(struct exchange *x);
};

/* A filter: worker/filter. Filters see requests in the order of wire.c's table, answers in reverse. */
enum filter_rc {
	FILTER_NEXT,			/* go on */
	FILTER_REPLIED			/* it answered (exchange_reply, exchange_fail); nothing further runs */
};
struct filter {
	const char *name;
	enum filter_rc (*request)(struct exchange *x);	/* may be NULL */
	void (*response)(struct exchange *x);		/* edits x->resp before it is sent, x->route may be NULL; may be NULL */
};

/* A handler: worker/handler. Gives the answer. */
struct handler {
	const char *name;
	/* The request's head is final. Body comes after exchange_want_body(). */
	void (*start)(struct exchange *x);
	/* A batch of request body; the handler asked for it. */
	enum take (*body)(struct exchange *x, const struct batch *b);
	/* The client side took the batch that it held. */
	void (*resume)(struct exchange *x);
	/* The exchange is over, in order or not: let go of everything. No call about x after this. Idempotent. */
	void (*cancel)(struct exchange *x);
};

#endif
