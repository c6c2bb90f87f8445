/*
 * link.h - an HTTP/2 connection to a server and the streams on it, shared by link.c (its life), link_in.c (what came),
 * link_out.c (what goes out), pool.c (where it rests) and up_h2.c (a stream is one struct up).
 *
 * Callbacks of the library only record and wake streams. Owners are called from a stream's own task or timer alone, never below
 * the library and never by the link, so that nothing of a link is freed under its feet. Nobody outside worker/upstream includes
 * this.
 */
#ifndef WORKER_UPSTREAM_LINK_H
#define WORKER_UPSTREAM_LINK_H

#include <nghttp2/nghttp2.h>

#include "common/buf.h"
#include "worker/http/h2_calm.h"
#include "worker/http/h2_map.h"
#include "worker/http/h2_alloc.h"
#include "worker/upstream/up_codec.h"

#define LINK_MAGIC 0x0b5e0002u

#define LINK_STREAMS 100		/* at a time, also where the server allows more */
#define LINK_STREAM_WINDOW 131072	/* bytes of answer that a stream may hold here */
#define LINK_WINDOW (1 << 24)		/* more than all streams together: none of them can stop the others */
#define LINK_MEM_MAX (3u << 20)		/* what the library may take for one link */
#define LINK_OUT_MAX 65536		/* output that waits; beyond it nothing is produced */
#define LINK_HEAD_MAX 32768		/* of an answer, and of its trailers */
#define LINK_CONTINUATIONS 8		/* frames of one header block */

/* What all links of a process share. */
struct link_shared {
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

/* A header block that is coming in: fields one behind the other, each with its two lengths before it. */
struct link_block {
	struct buf *text;		/* NULL: empty */
	size_t bytes;			/* decoded, by RFC 9113 6.5.2 */
	unsigned fields, frames;
	bool open, over;		/* between HEADERS and its end; larger than allowed */
};

struct link {
	uint32_t magic;
	struct conn conn;
	struct pool *pool;
	struct server *server;
	struct list node;		/* in server->links while it takes new streams */
	struct list all;		/* in pool->links */
	struct grave grave;
	struct task later;
	nghttp2_session *session;
	struct h2_alloc mem;
	enum link_state {
		LINK_CONNECTING,	/* until the server's SETTINGS came: before that it may not be one of HTTP/2 */
		LINK_READY,
		LINK_LEAVING,		/* takes no new streams; ends with the last one */
		LINK_DEAD
	} state;
	struct list streams;		/* struct up_h2 */
	unsigned nstreams;
	unsigned limit;			/* streams at a time, as far as it is known */
	bool once;			/* it opened with a preface: for one request */
	bool idle;			/* counted as such */
	bool greeted;			/* the server's first SETTINGS came */
	bool settled;			/* its SETTINGS changed since link_work() looked */
	bool goaway;			/* it begins no more */
	bool cut;			/* nothing more can be sent; answers may still be there to read */
	bool failed;			/* the session may not be touched any more */
	uint32_t error;			/* with failed: what the server is told */
	enum reason why;		/* and the streams */
	struct link_block block;
	struct h2_calm calm;
	struct buf *in, *out;
	uint64_t made, written;		/* bytes of output so far */
	uint64_t came;			/* bytes of input so far */
	uint64_t came_ms;		/* when the last of them did */
	uint64_t start_us;		/* connecting began */
	uint64_t connect_us;		/* how long it took */
	size_t unread;			/* body bytes that came, to be given back to the connection's window */
};

struct interim {			/* in the exchange's arena */
	struct interim *next;
	struct head head;
};

/* One request. It leaves its link as soon as the link has no more to do with it; what is left of the answer is here then. */
struct up_h2 {
	struct up up;			/* first: its magic is ours */
	struct link *link;		/* NULL: over as far as the link knows */
	struct list node;		/* in link->streams */
	struct task later;
	struct timer timer;
	int32_t id;			/* 0: not begun */
	bool gone;			/* its owner let go */
	bool closed;			/* the library has forgotten it */
	bool unsent;			/* its head never left */
	bool failing;			/* `why` is to be told when all that came is delivered */
	bool failed;			/* it was told */
	bool drained;			/* on_sent() is owed */
	bool sent_held;			/* up_send_body() said HELD */
	bool body_open;			/* the request's last batch was not given yet */
	bool req_done;			/* the whole request is in the output */
	bool resp_head, resp_told;	/* the answer's head came; the owner knows */
	bool ended;			/* the answer came to its end */
	bool resp_done;			/* and the owner has it */
	bool held;			/* the owner holds `given` */
	bool marked;			/* `mark` is set */
	enum reason why;
	uint32_t error;			/* with closed */
	uint32_t reset;			/* what the server is told if it goes early; 0: CANCEL */
	uint64_t mark;			/* link->made before its head */
	uint64_t came;			/* link->came when it began */
	uint64_t open_us, wait_ms;	/* opened; since when an answer's head is waited for */
	uint64_t timer_ms;		/* what the timer was set for */
	uint64_t got;			/* bytes of body that came */
	const struct head *req;		/* the owner's, until it is begun */
	struct interim *interims;	/* to be told, in order */
	unsigned ninterims;		/* seen; bounded */
	struct buf *in;			/* body that came and was not given yet */
	struct buf *given;
	struct batch batch;		/* of `given` */
	const struct head *trailers;
	const struct batch *out;	/* the batch that the owner wants sent */
	unsigned out_span;		/* the first span of it with bytes left */
	size_t out_skip, out_left;
};

/* --- link.c --- */
/* A link with room for one more stream; a new one if need be. NULL with errno: there is none. */
struct link *link_get(struct pool *p, struct server *s, enum up_reuse reuse, const struct span *preface);
/* Takes no new streams, whoever is on it may finish. */
void link_retire(struct link *l);
/* Queues link_work() for this turn. */
void link_later(struct link *l);
/* The connection cannot go on. Only records, so callbacks may call it. */
void link_fail(struct link *l, uint32_t error, enum reason why);
void link_attach(struct link *l, struct up_h2 *s);
void link_detach(struct up_h2 *s);
/* At once, without a word to its streams: there must be none. */
void link_destroy(struct link *l);
void link_shared_free(struct link_shared *s);

/* --- link_in.c --- */
nghttp2_session_callbacks *link_callbacks_new(void);
void link_block_fini(struct link *l);
/* The next field of a recorded block. */
struct span link_block_next(const char **p);

/* --- link_out.c --- */
void link_out_callbacks(nghttp2_session_callbacks *cb);
/* Gives the request to the library. False: no memory. */
bool link_submit(struct link *l, struct up_h2 *s);
/* Makes frames as far as there is room in the output. */
void link_produce(struct link *l);
/* Writes. False: nothing more can be sent. */
bool link_write(struct link *l);
/* The last word of a link, as far as it goes out at once. */
void link_goodbye(struct link *l);

/* --- up_h2.c: recorded by callbacks; what follows is done in the stream's task --- */
void up_h2_wake(struct up_h2 *s);
/* A whole header block lies in the link. */
void up_h2_block(struct up_h2 *s, bool end);
void up_h2_data(struct up_h2 *s, const void *p, size_t n);
void up_h2_end(struct up_h2 *s);
void up_h2_closed(struct up_h2 *s, uint32_t error);
/* Its head is about to go into the output; some of its body went. */
void up_h2_head_out(struct up_h2 *s);
void up_h2_body_out(struct up_h2 *s);
/* The link takes it now: sends what there is. */
void up_h2_begin(struct up_h2 *s);
/* The link is dead, or will not take it. */
void up_h2_lost(struct up_h2 *s, enum reason why);

#endif
