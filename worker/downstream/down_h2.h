/*
 * down_h2.h - one HTTP/2 client connection and its streams, shared by the
 * files of worker/downstream: down_h2.c (life, work), down_h2_in.c (what came),
 * down_h2_stream.c (streams and their exchanges), down_h2_out.c (what goes out).
 *
 * Callbacks of the library only record and mark streams dirty; exchanges are
 * called from h2_work() alone, never below the library. What an exchange asks
 * of its stream is written down and done in the same turn.
 */
#ifndef WORKER_DOWNSTREAM_DOWN_H2_H
#define WORKER_DOWNSTREAM_DOWN_H2_H

#include <nghttp2/nghttp2.h>

#include "common/fold.h"
#include "worker/downstream/client_conn.h"
#include "worker/downstream/h2_calm.h"
#include "worker/downstream/h2_past.h"
#include "worker/http/h2_map.h"

#define H2_MAGIC 0xc11e2702u
#define H2_STREAM_MAGIC 0xc11e2703u

#define H2_STREAMS 100			/* at a time */
#define H2_STREAM_WINDOW 65536		/* bytes of request body that a stream may hold here */
#define H2_CONN_WINDOW (1 << 20)	/* and all streams together */
#define H2_HEADS_MAX (1u << 20)		/* decoded heads of all streams together; beyond it streams are refused */
#define H2_MEM_MAX (3u << 20)		/* what the library may take for one connection */
#define H2_OUT_MAX 65536		/* output that waits; beyond it nothing is produced and nothing read */
#define H2_SLEEP_MS 1000		/* without a stream until it falls asleep */
#define H2_CONTINUATIONS 8		/* frames of one header block */
#define H2_FRAME_MAX 16384		/* payload of a frame that comes, SETTINGS_MAX_FRAME_SIZE */
#define H2_TRAILERS_MAX 8192

enum h2_leave {
	H2_STAY,
	H2_NOTICE,			/* the client was told to begin no more; streams that are on their way still count */
	H2_LEAVING			/* the last stream was named */
};

/* A header block that is coming in: fields one behind the other, each with its two lengths before it. */
struct h2_block {
	struct buf *text;		/* NULL: empty */
	size_t bytes;			/* decoded, by RFC 9113 6.5.2 */
	unsigned fields, frames;
	bool open, over;		/* between HEADERS and its end; larger than allowed */
};

struct h2 {
	uint32_t magic;
	struct client *client;
	nghttp2_session *session;	/* NULL while it sleeps: see h2_wake() */
	nghttp2_session *asleep;
	struct fold fold;		/* what is large and lives as long as the session */
	struct grave grave;
	struct list streams, dirty;
	unsigned nstreams;
	uint8_t leave;			/* enum h2_leave */
	bool working;			/* inside h2_work() */
	bool greeted;			/* the client's first SETTINGS came */
	bool failed;			/* the session may not be touched any more */
	bool failed_told;		/* and streams and client know it */
	bool gone;			/* with failed: nobody is there to be told */
	uint32_t error;			/* with failed: what the client is told */
	enum reason why;		/* and what the log is */
	struct h2_block block;
	struct h2_calm calm;
	struct h2_past past;
	uint8_t head[9];		/* of the frame that is coming in, as far as it came */
	uint8_t head_have;
	uint32_t frame_left;		/* bytes of its payload still to come */
	struct buf *out;		/* whole frames, ready to be written */
	struct timer leave_timer;
	uint64_t out_ms;		/* since when output waits without progress */
	uint64_t quiet_ms;		/* since when it has no stream */
	uint64_t woken_ms;		/* when it last woke */
	uint64_t block_ms;		/* since when a header block is open */
	size_t unread;			/* body bytes that nobody wants, to be given back to the window */
	size_t head_bytes;		/* of the heads of its streams */
	size_t mem;			/* the library's */
};

struct h2_stream {
	uint32_t magic;
	struct h2 *h2;
	struct list node, dirty;
	struct grave grave;
	struct timer timer;
	struct exchange *x;
	int32_t id;
	uint32_t reset;			/* code to end it with; 0: by how it went */
	enum h2_bad bad;		/* the head, or with `spoilt` the body, is none */
	bool fresh;			/* its exchange is not started yet */
	bool spoilt;			/* the request body is not what it said it would be */
	bool ended;			/* the client's direction is whole */
	bool closed;			/* the library has forgotten it */
	bool answered;			/* our direction is */
	bool drained;			/* exchange_on_sent() is owed */
	bool held;			/* the exchange holds `given` */
	bool continued;			/* 100 Continue was sent, or body came without it */
	bool no_body;			/* answers HEAD, or what it cannot answer */
	bool tunnel;			/* an extended CONNECT, RFC 8441 */
	uint64_t got;			/* bytes of body that came */
	size_t head_bytes;
	struct buf *in;			/* body that came and was not given yet */
	struct buf *given;
	struct batch batch;		/* of `given` */
	const struct head *trailers;
	const struct batch *out;	/* the batch that the exchange wants sent */
	unsigned out_span;		/* the first span of it with bytes left */
	size_t out_skip, out_left;
};

/* --- down_h2.c --- */
/* Queues h2_work() for this turn. */
void h2_later(struct h2 *h);
/* The connection cannot go on. Only records, so callbacks may call it. */
void h2_fail(struct h2 *h, uint32_t error, enum reason why);
/* The client is gone. Only records, too. */
void h2_gone(struct h2 *h, enum reason why);
void h2_dirty(struct h2_stream *s);
/* The second step of h2_leave(). */
void h2_leave_now(struct h2 *h);

/* --- h2_mem.c --- */
/* Where the library gets its memory for one connection. */
nghttp2_mem h2_mem(struct h2 *h);
/* Nothing is under way: gives back what memory it can. The session is not there until h2_wake(), which everybody calls first who
 * is not called by the library, and which does nothing when it is awake. */
void h2_sleep(struct h2 *h);
void h2_wake(struct h2 *h);

/* --- down_h2_in.c --- */
nghttp2_session_callbacks *h2_callbacks_new(void);
/* How many of the bytes that came may go to the library now, that is up to the next DATA frame's payload. 0: the frame that
 * begins here is one that fails the connection. */
size_t h2_frames_span(struct h2 *h, struct span in);
void h2_block_fini(struct h2 *h);

/* --- down_h2_stream.c --- */
extern const struct side_ops h2_side;
/* NULL: no memory or no room for another one. */
struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
/* Makes an exchange of a whole header block; it is not started yet. */
void h2_stream_head(struct h2_stream *s, bool end);
/* The same for a trailer section. */
void h2_stream_trailers(struct h2_stream *s, bool end);
void h2_stream_data(struct h2_stream *s, const void *p, size_t n);
void h2_stream_end(struct h2_stream *s);
/* Does what was recorded. */
void h2_stream_step(struct h2_stream *s);
/* Makes it so: the deadline that its state asks for. Called on progress. */
void h2_stream_timer(struct h2_stream *s);
/* The exchange ends as if the client had left. */
void h2_stream_gone(struct h2_stream *s, enum reason why);
/* The exchange is over; the memory goes at the end of the turn. */
void h2_stream_free(struct h2_stream *s);

/* --- down_h2_out.c --- */
void h2_out_callbacks(nghttp2_session_callbacks *cb);
/* Makes frames as far as there is room in the output. */
void h2_produce(struct h2 *h);
/* Writes. False: the connection is of no more use. */
bool h2_write(struct h2 *h);
/* Output waits that the client does not take. */
bool h2_out_full(const struct h2 *h);
bool h2_submit_head(struct h2_stream *s, const struct head *resp, bool body);
void h2_write_goaway(struct h2 *h);

#endif
