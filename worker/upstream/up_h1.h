/*
 * up_h1.h - an HTTP/1 connection to a server, shared by up_h1_conn.c (its life), up_h1.c (its bytes) and pool.c (where it rests).
 *
 * Serves one request at a time. Nobody outside worker/upstream includes it.
 */
#ifndef WORKER_UPSTREAM_UP_H1_H
#define WORKER_UPSTREAM_UP_H1_H

#include "common/buf.h"
#include "worker/http/h1_body.h"
#include "worker/http/h1_send.h"
#include "worker/io/conn.h"
#include "worker/upstream/up_codec.h"

struct up_h1 {
	struct up up;			/* first: its magic is ours */
	struct conn conn;
	struct list node;		/* in server->idle while pooled */
	enum up_state {
		UP_CONNECTING, UP_BUSY, UP_IDLE, UP_DEAD
	} state;
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

	/* input */
	struct buf *in;
	struct h1_scan scan;
	struct h1_body body;
	struct span asked;		/* protocols that the request offers to switch to; empty: none */
	struct span ws_accept;		/* what proves that our own WebSocket key was read; empty: not ours */
	struct batch batch;		/* points into `in` */
	size_t batch_used;		/* bytes of `in` to drop when the owner took the batch */

	/* output */
	struct h1_send send;
	struct task later;		/* writes a head that no body batch took along; reads on after a long run */
};

static inline struct up_h1 *up_h1_of(struct up *u)
{
	return container_of(u, struct up_h1, up);
}

/* --- up_h1_conn.c --- */
/* The one setter: list membership, counts. */
void up_set_state(struct up_h1 *u, enum up_state state);
/* Closes and buries; no callback. */
void up_destroy(struct up_h1 *u);
/* As up_fail(), and the connection is of no more use. */
void up_h1_fail(struct up_h1 *u, enum reason why);
/* Make it so: the deadline that the state of both directions asks for. */
void up_set_deadline(struct up_h1 *u);

/* The server took its end of a tunnel away while bytes for it may still come. */
static inline bool up_tunnel_broken(const struct up_h1 *u)
{
	return u->tunnel && u->resp_done && !u->req_done && (u->write_failed || u->conn.broken);
}

/* --- up_h1.c --- */
/* A request on this connection begins; forget the last one. */
void up_h1_reset(struct up_h1 *u);
bool up_h1_send_head(struct up *up, const struct head *req, struct head *resp);
enum take up_h1_send_body(struct up *up, const struct batch *b);
void up_h1_more(struct up *up);
/* Writes what there is to write. */
void up_h1_flush(struct up_h1 *u);
/* The held batch is used up: drops its bytes. */
void up_h1_taken(struct up_h1 *u);
/* Reads and delivers until there is nothing more, or the owner holds a batch, or the answer is whole. */
void up_h1_run(struct up_h1 *u);

#endif
