/*
 * shm_record.h - what became of the last requests: one more shared segment.
 *
 * The master makes one for each generation, before it forks. First a page that
 * the master alone writes and workers only read: what is to be traced, which
 * sessions are asked for. Behind it one area for each worker slot, which that
 * worker alone writes: a ring of decision records, a ring of traces, a table of
 * sessions. An area outlives the process that wrote it and lasts as long as its
 * generation. Nothing here is counted on by anybody: it is for people to read.
 *
 * A record is whole when its sequence word is even, not 0, and the same before
 * and after it was copied; one whose writer died within stays odd and is passed
 * over. The master copies first and looks then, and trusts no number in a copy.
 */
#ifndef COMMON_SHM_RECORD_H
#define COMMON_SHM_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/reason.h"

#define RECORDS_MAGIC 0x53e3a0d7u

#define RECORDS_KEPT 1024u		/* per worker; a power of two */
#define RECORD_TRIES 4u			/* of more the first ones and the last are kept */
#define RECORD_OTHERS 5u		/* servers passed over that a try names */
#define RECORD_ID 40u
#define RECORD_TEXT 88u
#define RECORD_NONE 0xffffu		/* no such thing, where a number is asked for */
#define RECORD_LOAD_UNKNOWN UINT32_MAX

/* Why a server was not the one. */
enum pass_why {
	PASS_LOST,			/* it could have been */
	PASS_TRIED, PASS_FULL, PASS_DOWN, PASS_EJECTED, PASS_HELD, PASS_DISABLED, PASS_WEIGHT, PASS_BACKUP, PASS_PENDING,
	PASS__N
};
const char *pass_why_text(enum pass_why w);

struct shm_other {
	uint16_t cell;
	uint8_t why;			/* enum pass_why */
	uint8_t try;			/* traces only: index of the try */
	uint32_t load;			/* requests under way there */
};

enum {
	TRY_REUSED = 1,			/* over a pooled connection */
	TRY_STALE = 2,			/* which turned out dead */
	TRY_FALLBACK = 4,		/* in the route's fallback upstream */
	TRY_ANSWERED = 8
};
struct shm_try {
	uint16_t cell;			/* RECORD_NONE: no server could be had */
	uint16_t upstream;
	uint16_t status;		/* of the server's answer; 0: none */
	uint8_t result;			/* enum reason; NONE: answered, or given up by others */
	uint8_t flags;
	uint32_t begin_us;		/* since the request's first byte */
	uint32_t load;			/* requests under way there when it was picked, this one not counted */
	uint32_t connect_us;
	uint32_t header_us;		/* since the try began */
	uint32_t took_us;		/* until it failed; 0: it did not */
	uint16_t passed;		/* servers passed over in all */
	uint8_t nothers;
	uint8_t pad;
	struct shm_other others[RECORD_OTHERS];
};
_Static_assert(sizeof(struct shm_try) == 72, "four of them fit");

enum record_closed { CLOSED_NOBODY, CLOSED_CLIENT, CLOSED_SERVER, CLOSED_WEIR };

enum {
	RECORD_OWN = 1,			/* answered by weir itself */
	RECORD_TUNNEL = 2,
	RECORD_TLS = 4,
	RECORD_STREAM = 8		/* HTTP/2 */
};
struct shm_record {
	_Atomic uint64_t seq;
	uint64_t wall_ms;		/* when its first byte came */
	uint64_t total_us;
	uint64_t bytes_in, bytes_out;	/* bodies */
	uint64_t id_hash;		/* of an id longer than RECORD_ID; else 0 */
	uint32_t queue_us, header_us;	/* header_us since the first byte */
	uint16_t route, listen;
	uint16_t status;
	uint16_t port;			/* of the client; 0: not known */
	uint8_t family;			/* of the client's address */
	uint8_t reason, flags, closed;
	uint8_t ntries;			/* kept */
	uint8_t id_len;
	uint8_t text_len;
	uint8_t pad;
	uint16_t tries;			/* in all */
	uint16_t pad2;
	uint8_t ip[16];
	char id[RECORD_ID];
	char text[RECORD_TEXT];		/* the request line, cut */
	uint32_t pad3;
	struct shm_try try[RECORD_TRIES];
};
_Static_assert(sizeof(struct shm_record) == 512, "eight cache lines");

/* ---- traces: the same at full length ---- */
#define TRACES_KEPT 16u			/* per worker, until the master took them; a power of two */
#define TRACE_TRIES 16u
#define TRACE_OTHERS 200u
#define TRACE_TARGET 256u
#define TRACE_HOST 96u

struct shm_trace {
	struct shm_record record;
	uint64_t end_us;		/* by the clock that all processes share */
	uint32_t gen;			/* of the order that it answers */
	uint16_t ntries, nothers;
	uint16_t target_len, host_len;
	uint16_t others_lost;		/* did not fit */
	uint16_t pad;
	char target[TRACE_TARGET];
	char host[TRACE_HOST];
	struct shm_try try[TRACE_TRIES];
	struct shm_other others[TRACE_OTHERS];
};

/* ---- sessions ---- */
#define SESSIONS_MAX 2048u		/* per worker */
#define SESSION_TEXT 40u

enum session_state {
	SESSION_PROXY, SESSION_TLS, SESSION_IDLE, SESSION_HEAD, SESSION_WAIT, SESSION_REQUEST, SESSION_RESPONSE,
	SESSION_TUNNEL, SESSION_CLOSING, SESSION_OPEN, SESSION__N
};
const char *session_state_text(enum session_state s);
enum session_proto { SESSION_NONE, SESSION_HTTP1, SESSION_HTTP2, SESSION_WEBSOCKET, SESSION_UPGRADED, SESSION__PROTOS };
const char *session_proto_text(enum session_proto p);

struct shm_session {
	uint64_t conn;			/* running number in its worker */
	uint64_t conn_ms, age_ms;	/* since it was accepted; since the request began, or since the connection is in its state */
	uint64_t bytes_in, bytes_out;	/* of the request under way */
	uint32_t stream;		/* of HTTP/2; 0: the connection itself */
	uint16_t listen, route, upstream, cell;
	uint16_t port;
	uint8_t family, state, proto, tls, id_len, text_len;
	uint8_t ip[16];
	char id[RECORD_ID];
	char text[SESSION_TEXT];
};

/* ---- orders: one page, written by the master ---- */
#define ORDER_NAME 64u
#define ORDER_VALUE 256u

struct shm_filter {
	struct net client;		/* ADDR_NONE: any */
	uint16_t route, listen, upstream, cell;	/* RECORD_NONE: any */
	uint16_t ncells;
	uint8_t none;			/* what was named is not in this configuration: nothing matches */
	uint8_t header_any;		/* whatever its value */
	char header[ORDER_NAME];	/* empty: any */
	char value[ORDER_VALUE];
};

struct shm_orders {
	_Atomic uint32_t trace_gen;	/* 0: nothing is traced. Changes with each order, and is 0 while that changes. */
	uint32_t trace_count;		/* each worker traces so many at the most */
	struct shm_filter trace;
	_Atomic uint32_t sessions_gen;	/* the same for sessions; IPC_SESSIONS follows */
	struct shm_filter sessions;
	_Atomic uint32_t traces_taken[];	/* by slot: how many traces the master has taken out of the ring */
};

/* In front of a worker's area. */
struct shm_area {
	_Atomic uint64_t records;	/* written in all, by all processes of the slot */
	_Atomic uint32_t traces;	/* put into the ring in all */
	_Atomic uint64_t traces_lost;	/* gen:32 | how many of that order found the ring full:32 */
	_Atomic uint32_t sessions_gen;	/* of the order that is answered whole */
	_Atomic uint32_t sessions;	/* entries written for it */
	_Atomic uint32_t sessions_more;	/* matched, but found no room */
};

/* What a process holds of it. */
struct records {
	uint32_t magic;
	unsigned nslots, slot;		/* a worker has one, its own */
	size_t orders_size, area_size, size;
	int fd[2];			/* [0] read-write, [1] read-only; -1 when closed */
	struct shm_orders *orders;
	char *areas;			/* the master: all; a worker: its own */
	uint64_t next;			/* a worker: number of its next record */
	struct shm_area *own;		/* a worker's; else NULL */
	struct shm_record *ring;
};

/* Makes and maps it, zeroed. False with errno. */
bool records_init(struct records *r, unsigned nslots);
/* In a fresh child: its own area to write, the orders to read; closes the descriptors. False with errno. */
bool records_become_worker(struct records *r, unsigned slot);
/* In a child that has nothing to do with it. */
void records_forget(struct records *r);
void records_fini(struct records *r);
/* Those of a master before this one, through a read-only descriptor that is the caller's again on false. Only to be read. */
bool records_adopt(struct records *r, unsigned nslots, int fd);
/* Stands for the layout: what another program made is only read where it is the same. */
uint64_t records_layout(void);

/* A worker's own area; the master's of any slot. */
struct shm_area *records_area(const struct records *r, unsigned slot);
struct shm_record *records_ring(const struct records *r, unsigned slot);
struct shm_trace *records_traces(const struct records *r, unsigned slot);
struct shm_session *records_sessions(const struct records *r, unsigned slot);

/* A worker: the place of its next record, marked as being written; and its end, after which it can be read. */
static inline struct shm_record *records_begin(struct records *r)
{
	struct shm_record *rec = &r->ring[r->next % RECORDS_KEPT];

	atomic_store_explicit(&rec->seq, 2 * r->next + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	return rec;
}
static inline void records_end(struct records *r, struct shm_record *rec)
{
	atomic_store_explicit(&rec->seq, 2 * ++r->next, memory_order_release);
	atomic_store_explicit(&r->own->records, r->next, memory_order_relaxed);
}
/* A reader: copies record `i` of the ring; false when there is none or it is not whole. Numbers in it are within their bounds. */
bool records_copy(const struct shm_record *ring, unsigned i, struct shm_record *out);
/* The same for what a trace holds in addition. */
void trace_sane(struct shm_trace *t);

/* A worker: the place of its next trace, NULL when the ring is full (counted as lost for the order); and its end. */
struct shm_trace *traces_begin(struct records *r, uint32_t gen);
void traces_end(struct records *r);
/* The master: when the oldest trace of a slot that was not taken yet ended; UINT64_MAX: there is none. And takes it. */
uint64_t traces_head(const struct records *r, unsigned slot);
bool traces_take(struct records *r, unsigned slot, struct shm_trace *out);
/* A reader: copies session `i` of a slot, numbers within their bounds. */
void sessions_copy(const struct records *r, unsigned slot, unsigned i, struct shm_session *out);
/* The master: gives an order of its own number to all workers; filter NULL: none any more. */
void traces_order(struct records *r, uint32_t gen, uint32_t count, const struct shm_filter *f);

#endif
