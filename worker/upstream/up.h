/*
 * up.h - one request to one server, whatever the version and whoever else is on the connection.
 *
 * Knows no exchange: events go to a small table. The head written is the
 * caller's, final. Owned by the caller from up_open() until up_close(); a callback may call up_close(), the memory
 * lives until the end of the turn. Which codec (up_codec.h) serves it follows from the upstream's `protocol`; nobody above asks.
 */
#ifndef WORKER_UPSTREAM_UP_H
#define WORKER_UPSTREAM_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/reason.h"
#include "worker/http/batch.h"
#include "worker/http/head.h"
#include "worker/io/loop.h"
#include "worker/upstream/group.h"

#define UP_MAGIC 0x0b5e0001u

struct pool;
struct up;
struct up_codec;

struct up_ops {
	/* An interim answer (1xx but 101); h dies with the call. */
	void (*on_interim)(struct up *u, struct head *h);
	/* The answer's head, parsed into the head given to up_send_head(); body batches follow. BODY_NONE: whole now (on_body
	 * is not called). BODY_TUNNEL: the server switched to a protocol that was asked for, and takes bytes by up_send_body()
	 * until the last batch. */
	void (*on_head)(struct up *u);
	/* A batch of answer body. HELD: call up_more() when it is used up. */
	enum take (*on_body)(struct up *u, const struct batch *b);
	/* The request batch that was HELD by up_send_body() is out. */
	void (*on_sent)(struct up *u);
	/* Over, badly. `why` is REASON_CONNECT_*, SERVER_*, *_TIMEOUT, TRUNCATED. u->stale: a pooled connection that died before any
	 * byte of an answer. u->unprocessed: the server told that it did nothing with the request, which can be sent again. */
	void (*on_fail)(struct up *u, enum reason why);
};

struct up_times { int64_t connect, response, read, write; };	/* ms, 0: none */

/* What is the same for every version; the codec's own object is built around it. */
struct up {
	uint32_t magic;
	const struct up_codec *codec;
	struct grave grave;
	struct pool *pool;
	struct server *server;
	const struct up_ops *ops;	/* NULL: nobody's */
	void *owner;			/* the handler's try */
	struct up_times times;
	struct head *resp;		/* the owner's; the answer's head goes there */
	enum method method;		/* of the request: decides what body the answer has */
	uint64_t connect_us;		/* how long connecting took; 0 when reused */
	bool reused;			/* the connection was there before this request */
	bool req_written;		/* any byte of this request may have left */
	bool stale, unprocessed;	/* see on_fail */
	bool echo;			/* with on_fail: another request told of the same failure of their connection */
};

/* How much to trust connections that are there already. */
enum up_reuse {
	UP_REUSE,			/* the request can be replayed: take one as it is */
	UP_REUSE_PROBED,		/* it can not: ask the kernel first whether the server hung up */
	UP_FRESH			/* never one that was of use before */
};
/* Takes a connection or starts a new one. `preface`: bytes that open a new one, kept by the caller until on_head or
 * on_fail; with them it is for this request alone; may be NULL. NULL: no descriptor, port or memory, or refused at
 * once; errno says. */
struct up *up_open(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_ops *ops, void *owner,
		   const struct up_times *times, const struct span *preface);
/* Its servers can be asked to switch to another protocol, which makes a tunnel. */
bool up_switches(const struct conf_upstream *u);
/* Sends the head (req->body tells the framing); the answer's head will be parsed into resp. Written when connected. With a body,
 * the first batch goes out with the head if given now by up_send_body() in the same turn. */
bool up_send_head(struct up *u, const struct head *req, struct head *resp);
/* More request body; HELD: on_sent() follows. The batch itself (not only its bytes) must stay until then. */
enum take up_send_body(struct up *u, const struct batch *b);
/* The held answer batch is used up. */
void up_more(struct up *u);
/* Lets go: the connection stays for others when request and answer are both whole and the server agrees. Clears *u. No
 * callback. */
void up_close(struct up **u);

#endif
