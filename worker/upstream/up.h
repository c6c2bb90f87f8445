/*
 * up.h - one request to one server over one connection, whatever the version.
 *
 * Knows no exchange: events go to a small table. The head written is the
 * caller's, final. Owned by the caller from up_open() until up_close(); a callback may call up_close(), the memory
 * lives until the end of the turn.
 */
#ifndef WORKER_UPSTREAM_UP_H
#define WORKER_UPSTREAM_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/reason.h"
#include "worker/http/batch.h"
#include "worker/http/h1_body.h"
#include "worker/http/h1_send.h"
#include "worker/http/head.h"
#include "worker/io/conn.h"
#include "worker/upstream/group.h"

#define UP_MAGIC 0x0b5e0001u

struct pool;
struct up;

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
	 * byte of an answer. */
	void (*on_fail)(struct up *u, enum reason why);
};

struct up_times { int64_t connect, response, read, write; };	/* ms, 0: none */

struct up {
	uint32_t magic;
	struct conn conn;
	struct grave grave;
	struct list node;		/* in server->idle while pooled */
	struct pool *pool;
	struct server *server;
	const struct up_ops *ops;
	void *owner;			/* the handler's try */
	struct up_times times;

	enum up_state {
		UP_CONNECTING, UP_BUSY, UP_IDLE, UP_DEAD
	} state;
	bool reused;			/* came from the pool for this request */
	bool stale;			/* see on_fail */
	bool req_written;		/* any byte of this request may have left */
	bool req_done;			/* the whole request is out */
	bool resp_head;			/* the answer's head came */
	bool resp_done;			/* the answer is whole */
	bool resp_bytes;		/* any byte of an answer came */
	bool filled;			/* the last read took all the room there was, or much of it */
	bool keep;			/* the server lets us use the connection again */
	bool held;			/* the owner holds a body batch */
	bool running;			/* inside up_run(), guards recursion */
	bool chunked;			/* request body goes chunked */
	bool body_open;			/* the request's last batch was not given yet */
	bool sent_held;			/* up_send_body() said HELD: on_sent() is owed */
	bool once;			/* it opened with a preface: for this request only */
	bool tunnel;			/* behind a 101 */
	bool write_failed;		/* nothing more can be sent; an answer may still be there to read */
	uint64_t idle_ms;		/* how long the connection may rest in the pool as far as the server said, 0: it did not */
	unsigned serial;		/* counts requests on this connection */
	unsigned interims;		/* seen for this request; bounded */
	uint64_t wait_ms;		/* since when an answer's head is waited for; 0: not yet */
	uint64_t start_us;		/* connecting began */
	uint64_t connect_us;		/* how long it took; 0 when reused */

	/* input */
	struct buf *in;
	struct h1_scan scan;
	struct h1_body body;
	enum method method;		/* of the request: decides what body the answer has */
	struct span asked;		/* protocols that the request offers to switch to; empty: none */
	struct span ws_accept;		/* what proves that our own WebSocket key was read; empty: not ours */
	struct head *resp;		/* the owner's */
	struct batch batch;		/* points into `in` */
	size_t batch_used;		/* bytes of `in` to drop when the owner took the batch */

	/* output */
	struct h1_send send;
	struct task later;		/* writes a head that no body batch took along; reads on after a long run */
};

/* How much to trust pooled connections. */
enum up_reuse {
	UP_REUSE,			/* the request can be replayed: take one as it is */
	UP_REUSE_PROBED,		/* it can not: ask the kernel first whether the server hung up */
	UP_FRESH			/* never a pooled one */
};
/* Takes a pooled connection or starts a new one. `preface`: bytes that open a new one, kept by the caller until on_head or
 * on_fail; with them it is never a pooled one, nor will it be; may be NULL. NULL: no descriptor, port or memory, or refused at
 * once; errno says. */
struct up *up_open(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_ops *ops, void *owner,
		   const struct up_times *times, const struct span *preface);
/* Sends the head (req->body tells the framing); the answer's head will be parsed into resp. Written when connected. With a body,
 * the first batch goes out with the head if given now by up_send_body() in the same turn. */
bool up_send_head(struct up *u, const struct head *req, struct head *resp);
/* More request body; HELD: on_sent() follows. The batch itself (not only its bytes) must stay until then. */
enum take up_send_body(struct up *u, const struct batch *b);
/* The held answer batch is used up. */
void up_more(struct up *u);
/* Lets go: back to the pool when request and answer are both whole and the server agrees, else closed. Clears *u. No callback. */
void up_close(struct up **u);

#endif
