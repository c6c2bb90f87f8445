/*
 * proxy.h - one request on its way through an upstream: shared by proxy.c (the
 * tries), proxy_body.c (request body, kept for a retry) and proxy_retry.c (what
 * may be tried again, and when).
 */
#ifndef WORKER_HANDLER_PROXY_H
#define WORKER_HANDLER_PROXY_H

#include "worker/exchange/exchange.h"
#include "worker/upstream/up.h"

#define PROXY_MAGIC 0x940ca901u

#define PROXY_KEEP 65536		/* of a request body, kept for a retry */
#define PROXY_EXPECT_MS 1000		/* how long a server is given to say 100 Continue */

struct proxy {
	uint32_t magic;
	struct exchange *x;
	const struct conf_upstream *conf;
	struct group *group;
	struct pick_ask ask;
	struct waiter waiter;
	uint64_t wait_us;		/* when waiting began */
	uint64_t try_us;		/* when the try began */
	struct server *server;		/* picked: its active count is ours to give back */
	struct span hello;		/* the PROXY header that servers get; empty: none */
	struct up *up;			/* NULL between tries */
	struct timer timer;		/* back-off before a retry, or patience for 100 Continue */
	enum { PROXY_TIMER_RETRY, PROXY_TIMER_EXPECT } timer_for;

	unsigned retries;		/* left */
	bool tried_fallback;
	unsigned returned;		/* how often a server gave the request back untouched */
	bool free_retry;		/* the one for a stale pooled connection is used up */
	bool fresh;			/* the next connection must not come from the pool */
	enum reason failed;		/* of the last try */

	/* request body */
	struct buf *keep;		/* the bytes so far; NULL: none yet or given up */
	bool keep_lost;			/* more came than is kept: no retry any more */
	bool body_whole;		/* the last batch came */
	bool body_asked;		/* the client side was asked for body */
	const struct head *trailers;
	struct batch replay;		/* kept bytes on their way to another server */
	bool replaying;
};

/* proxy.c */
void proxy_pick(struct proxy *p);
/* Lets go of the connection and the server, if any. */
void proxy_release(struct proxy *p);

/* proxy_body.c */
/* The head is out: sends what is kept, then asks for more. */
void proxy_body_start(struct proxy *p);
/* The batch in flight is out. */
void proxy_body_sent(struct proxy *p);
/* The tunnel is open: asks the client for its bytes, and keeps none. */
void proxy_body_tunnel(struct proxy *p);
enum take proxy_body(struct exchange *x, const struct batch *b);
/* Every byte of body received so far could be sent again. */
bool proxy_body_replayable(const struct proxy *p);

/* proxy_retry.c */
/* The try failed: tries again, falls back, or fails the exchange. The try's connection is released already. */
void proxy_try_failed(struct proxy *p, enum reason why, bool stale, bool maybe_arrived);
/* The server gave the request back untouched: it is sent again, whatever its method. As above where that was tried too often. */
void proxy_returned(struct proxy *p, enum reason why);
/* The server's answer has a status that the route retries: true when another try was begun. */
bool proxy_retry_status(struct proxy *p, unsigned status);
/* True when the whole matter went to the route's fallback upstream. */
bool proxy_fall_back(struct proxy *p);

#endif
