/*
 * exchange.h - one request and its answer.
 *
 * Made by a client-side codec when a request head is whole, ended when the
 * answer is out or impossible. Two small machines, request and response, each with
 * one setter; message complete, transport ended and failed are three facts.
 * Everything of an exchange lives in its arena. It never touches a descriptor
 * and never asks which version either side speaks.
 */
#ifndef WORKER_EXCHANGE_EXCHANGE_H
#define WORKER_EXCHANGE_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/reason.h"
#include "common/shm_record.h"
#include "worker/exchange/env.h"
#include "worker/exchange/side.h"

#define EXCHANGE_MAGIC 0xe8c4a901u
#define EXCHANGE_ARENA_MAX (1u << 20)	/* of memory for heads and edits; beyond it 503 */

enum req_state { REQ_HEAD, REQ_BODY, REQ_DONE, REQ_FAILED };
enum resp_state { RESP_WAIT, RESP_HEAD, RESP_BODY, RESP_DONE, RESP_FAILED };

/* What the router found out; see route.h. */
struct route_match {
	struct span prefix;		/* the `path` word that matched */
	struct span subject;		/* what the groups index into: the normalised path */
	int groups[20];			/* of path_regex; -1 unset */
};

struct exchange {
	uint32_t magic;
	struct env *env;
	struct arena arena;
	struct grave grave;
	uint64_t id;			/* running number in this worker */

	enum req_state req_state;
	enum resp_state resp_state;
	bool ended;			/* over; only its memory is left until the turn ends */
	bool body_wanted;		/* the handler asked for a batch */
	bool resp_held;			/* the side holds a response batch */
	bool resp_last;			/* it is the last one */
	bool handler_started;
	bool tunnel;			/* it became one */
	bool tunnel_sent;		/* the handler has done with the client's last batch */

	const struct side_ops *side;
	void *side_owner;		/* the client connection or stream */
	const struct handler *handler;
	void *handler_state;		/* in the arena */

	/* who and what */
	const struct conf_listen *listen;
	const struct tls *tls;		/* what its connection met; NULL: in clear */
	const struct conf_route *route;	/* NULL: none */
	struct route_match match;
	struct addr peer;		/* the transport's, or whom a PROXY header named */
	struct addr client;		/* rightmost address that is not a trusted proxy; port 0 when told by a proxy */
	struct span client_text;	/* see client_text() */
	const struct addr *local;	/* where the client connected to; NULL: not known */
	uint16_t local_port;
	bool peer_trusted;
	struct head req, resp;
	struct span request_line;	/* as sent, for the log */
	struct span orig_uri;		/* path and query before any edit, for $request_uri, the log and X-Forwarded-* */
	struct span orig_path;
	char request_id[33];		/* NUL-terminated; our own, or taken from a trusted proxy */
	struct span request_id_span;

	/* what became of it */
	enum reason reason;
	unsigned status;		/* sent to the client, 0: none */
	bool own_answer;		/* made by weir, not by a server */
	const struct conf_upstream *upstream;
	struct span server;		/* name of the last server tried */
	const struct conf_server *to;	/* the same; NULL: none */
	unsigned tries;
	uint64_t t_start_us;		/* first byte of the request */
	uint64_t start_wall_ms;
	uint64_t queue_us, connect_us, header_us;	/* phase times; header_us from t_start_us */
	uint64_t bytes_in, bytes_out;	/* bodies */
	uint64_t max_body;		/* 0: no limit */
	struct timer timer;		/* route's timeout for the whole request; of a tunnel, its silence */
	uint64_t tunnel_ms;		/* tunnel_timeout; 0: none */

	/* for the record; see record.h */
	struct shm_try kept[RECORD_TRIES];
	uint8_t nkept;
	uint8_t first_end;		/* of a tunnel: enum record_closed, which side ended its direction first */
	struct shm_try *try;		/* the one under way, in `kept`; NULL: none */
	struct shm_trace *trace;	/* NULL: not traced */
};

/* --- for the client side --- */

/* A new exchange with empty heads in its arena. NULL: no memory. The side fills req, listen, peer, local, local_port,
 * request_line, then calls exchange_start(). */
struct exchange *exchange_new(struct env *e, const struct side_ops *side, void *side_owner);
/* The request head is whole: finds the client address and the route, runs filters, starts the handler. The answer may be
 * complete when this returns (x->ended). */
void exchange_start(struct exchange *x);
/* The head was bad: answers with the reason's status as far as that is possible, then ends. */
void exchange_refuse(struct exchange *x, enum reason why);
/* A batch of request body that was wanted. b->last ends the request. HELD: side->want_body() comes when it is used up. */
enum take exchange_on_body(struct exchange *x, const struct batch *b);
/* The side has written out the batch that it held. */
void exchange_on_sent(struct exchange *x);
/* The client is gone or its transport failed or it was too slow: ends at once; side->done() is called. */
void exchange_on_client_gone(struct exchange *x, enum reason why);

/* --- for handlers and filters --- */

void exchange_want_body(struct exchange *x);
/* Nobody is there to take body: what comes waits until exchange_want_body() is called again. */
void exchange_hold_body(struct exchange *x);
void exchange_interim(struct exchange *x, const struct head *h);
/* x->resp is filled: runs response filters, sends the head. `own`: weir made it. */
void exchange_send_head(struct exchange *x, bool own);
enum take exchange_send_body(struct exchange *x, const struct batch *b);
/* The exchange failed: an error page if nothing was sent yet, an abort otherwise. */
void exchange_fail(struct exchange *x, enum reason why);
/* A whole answer of our own: text may be empty; content type NULL: text/plain; charset=utf-8. Headers already in x->resp
 * stay (head_init'ed and status unset before). */
void exchange_reply(struct exchange *x, unsigned status, struct span text, const char *type);
/* The error page of the route for a status, or the built-in one-line text. */
struct span exchange_error_text(struct exchange *x, unsigned status);
static inline bool exchange_head_sent(const struct exchange *x)
{
	return x->resp_state != RESP_WAIT;
}

#endif
