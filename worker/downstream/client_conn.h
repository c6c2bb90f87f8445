/*
 * client_conn.h - one client connection, shared by the files of worker/downstream:
 * down_h1.c (input), down_h1_out.c (output), down.c (life), down_h2*.c.
 *
 * Idle, it holds no buffer and no exchange. What belongs to one message in
 * flight lives in struct message, in the exchange's arena.
 */
#ifndef WORKER_DOWNSTREAM_CLIENT_CONN_H
#define WORKER_DOWNSTREAM_CLIENT_CONN_H

#include "common/buf.h"
#include "worker/downstream/down.h"
#include "worker/exchange/exchange.h"
#include "worker/http/h1_body.h"
#include "worker/http/h1_send.h"
#include "worker/io/conn.h"

#define CLIENT_MAGIC 0xc11e2701u

#define LINGER_MS 5000			/* how long a closed connection is read on, in all */
#define LINGER_BYTES (16u << 20)	/* and how much */
#define DRAIN_BYTES 65536		/* unread request body that is read off to keep the connection */

enum client_state {
	CLIENT_PROXY,			/* a PROXY header is to come first */
	CLIENT_IDLE,			/* between requests, no byte of the next one yet */
	CLIENT_HEAD,			/* a head is coming in */
	CLIENT_BUSY,			/* an exchange is under way */
	CLIENT_DRAIN,			/* answered; the rest of a short request body is read off */
	CLIENT_H2,			/* speaks HTTP/2: see down_h2.h */
	CLIENT_LINGER,			/* answered and shut; reading until the client has seen it */
	CLIENT_DEAD
};

/* What one request and its answer need on the wire. */
struct message {
	struct h1_send send;
	struct batch batch;		/* request body, points into client->in */
	size_t batch_used;		/* bytes of `in` to drop when it was taken */
	struct h1_wire wire;
	bool chunked;			/* the answer is chunked */
	bool framed;			/* its end can be told without closing */
	bool tunnel;			/* behind a 101 */
	bool no_body;			/* answers HEAD: body batches are dropped */
	bool sent_held;			/* exchange_on_sent() is owed */
	bool continued;			/* 100 Continue was sent, or body came without it */
};

struct client {
	uint32_t magic;
	uint32_t requests;		/* begun on this connection */
	struct conn conn;
	union {				/* by state: an idle connection is to be small */
		struct grave grave;	/* CLIENT_DEAD */
		struct task later;	/* else: runs on in this turn */
	};
	struct list node;		/* in env->conns */
	struct down *down;
	struct env *env;
	const struct conf_listen *listen;
	struct addr peer;
	struct addr local;		/* where the client connected to, as far as we are told */
	uint16_t local_port;
	uint8_t state;			/* enum client_state */
	bool keep;			/* another request may follow */
	bool running;			/* inside client_run() */
	bool held;			/* the exchange holds a batch of request body */
	bool body_open;			/* the request body was not read whole */
	bool securing;			/* a TLS handshake is under way */
	bool eof;			/* the client ended its direction */
	bool filled;			/* the last read took all the room there was, or much of it */
	uint32_t discarded;		/* bytes read off in DRAIN and LINGER */
	uint64_t since_ms;		/* of the state; for absolute deadlines */
	uint64_t born_ms;
	struct buf *in;			/* NULL while it holds nothing */
	struct h1_scan scan;
	struct h1_body body;
	struct exchange *x;
	struct message *msg;		/* in x->arena */
	struct h2 *h2;			/* CLIENT_H2; else NULL */
};

extern const struct side_ops client_side;

/* The one setter. */
void client_set_state(struct client *c, enum client_state s);
/* An exchange for a request that came over this connection, whichever version: what it must know of the transport is filled in.
 * NULL: no memory. */
struct exchange *client_exchange(struct client *c, const struct side_ops *side, void *side_owner);
/* Of the transport, whatever a request says. */
struct span client_scheme(const struct client *c);
/* Make it so: the deadline that the state asks for. */
void client_set_deadline(struct client *c);
/* Closes and buries. No exchange may be left. */
void client_close(struct client *c);
/* Reads and acts until there is nothing more to do now. */
void client_run(struct client *c);
/* The head did not come in time: 408 and the end. */
void client_head_timeout(struct client *c);
/* It spoke in clear where TLS is spoken: 400 and the end. */
void client_was_clear(struct client *c);
/* down_proxy.c: reads the PROXY header. True: the state is another; false: wait, or the connection is over. */
bool client_proxy_run(struct client *c);
void client_proxy_late(struct client *c);
/* down.c: begins TLS where the listener speaks it. False: no memory. */
bool client_secure(struct client *c);
/* Writes what there is to write. */
void client_flush(struct client *c);
/* Drops the bytes of a request batch that the exchange took. */
void client_batch_taken(struct client *c);

/* --- down_h2.c --- */
struct h2;
/* This connection speaks HTTP/2 from its first byte; bytes that were read already are still in c->in. Acts later in the turn.
 * False: no memory, and nothing changed. */
bool h2_start(struct client *c);
/* Reads and acts until there is nothing more to do now. The client may be closed after it. */
void h2_run(struct client *c);
/* Acts on what is recorded, and writes. The same holds. */
void h2_work(struct h2 *h);
/* Milliseconds until h2_on_deadline() is due; 0: never. */
uint64_t h2_deadline(const struct h2 *h);
void h2_on_deadline(struct h2 *h);
/* Tells the client in two steps to begin nothing more here; the connection ends with its last stream. */
void h2_leave(struct h2 *h);
/* Ends all streams for that reason and frees everything of HTTP/2; the client stays. */
void h2_free(struct client *c, enum reason why);
bool h2_has_tunnel(const struct h2 *h);
/* What connections share, made by the first of them. */
void h2_shared_free(struct down *d);

#endif
