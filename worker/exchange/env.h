/*
 * env.h - what all exchanges of one worker share: loop, pools, groups, router,
 * logs, and the wiring tables. Owned by worker.c, handed down; the one place for
 * state that is neither a connection's nor an exchange's.
 */
#ifndef WORKER_EXCHANGE_ENV_H
#define WORKER_EXCHANGE_ENV_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/conf.h"
#include "common/shm.h"
#include "common/shm_record.h"
#include "common/slab.h"
#include "worker/exchange/side.h"
#include "worker/io/loop.h"
#include "worker/io/tls.h"
#include "worker/upstream/group.h"
#include "worker/upstream/pool.h"

#define ENV_MAGIC 0xe2e2e201u

/* The order to trace that this worker follows, copied from shared memory. */
struct tracing {
	uint32_t gen;			/* 0: none yet */
	uint32_t left;			/* requests to trace */
	struct shm_filter filter;
};

struct router;
struct alog;

struct env {
	uint32_t magic;
	const struct conf *conf;
	struct shm *shm;
	struct records *records;	/* NULL: nothing is recorded */
	struct tracing tracing;
	struct loop *loop;
	struct arena_cache arenas;
	struct buf_pool bufs;
	struct slab exchanges;
	struct groups groups;
	struct pool pool;		/* connections to servers */
	struct tls_pool tls;
	struct tls_server **tls_servers;	/* by conf_listen->id; NULL: in clear */
	struct router *router;
	struct alog *alog;
	const struct filter *const *filters;	/* NULL-ended, request order */
	unsigned nfilters;
	const struct handler *const *handlers;	/* by enum conf_action */
	uint64_t id_key[2];		/* makes request ids unique over workers and restarts */
	uint64_t random;		/* not 0 */
	uint64_t next_exchange;		/* running number */
	uint64_t date_sec;
	char date[32];			/* IMF-fixdate of date_sec */
	bool draining;			/* answers say Connection: close */
	uint64_t drain_grace_ms;	/* then: an idle connection is kept so long */
	/* client connections; kept by worker/downstream */
	struct list conns;		/* every client connection, for the drain */
	unsigned nconns, max_conns;
	void (*on_conn_gone)(struct env *e);	/* room for another client connection; or the last one went while draining */
};

/* The next of this worker's pseudo-random numbers; for spreading, never for secrets. */
static inline uint64_t env_random(struct env *e)
{
	uint64_t v = e->random;		/* xorshift64* */

	v ^= v >> 12;
	v ^= v << 25;
	v ^= v >> 27;
	e->random = v;
	return v * 0x2545f4914f6cdd1du;
}

/* The Date value of now. */
struct span env_date(struct env *e);

#endif
