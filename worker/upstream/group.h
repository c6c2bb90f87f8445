/*
 * group.h - the servers of an upstream as one worker sees them, and the choice
 * among them.
 *
 * group_pick() is the only way to a server: it asks health (health.h), room
 * (max_conns over all workers) and the scheduler (balance.h), and raises the
 * server's active count; server_put() lowers it. When nothing has room the
 * caller waits in the group's bounded queue. All shared state is in shm; a
 * group holds only this worker's pools, queue and prepared tables.
 */
#ifndef WORKER_UPSTREAM_GROUP_H
#define WORKER_UPSTREAM_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/list.h"
#include "common/shm.h"
#include "common/shm_record.h"
#include "worker/io/loop.h"
#include "worker/io/tls.h"

#define GROUP_MAGIC  0x96009001u
#define SERVER_MAGIC 0x5e4e4001u

struct server {
	uint32_t magic;
	struct group *group;
	const struct conf_server *conf;
	unsigned cell;			/* in shared memory */
	unsigned index;			/* in group->servers; bit in pick_ask.tried */
	unsigned weight;		/* configured, or set by the operator meanwhile; as of group->admin_gen */
	bool held;			/* the operator wants no new requests here */
	struct addr addr;		/* where to connect; refreshed from HEALTH for host names */
	uint32_t addr_gen;
	struct span name;		/* "a:80", or "NAME@IP" for a host name's address; kept in name_buf for those */
	char name_buf[128];
	struct list idle;		/* pooled connections, most recently used first (pool.h) */
	struct list links;		/* HTTP/2 connections that take new streams (link.h) */
	unsigned streams;		/* how many a new link is expected to take; 0: not known yet */
	unsigned nidle;
	struct tls_peer tls;		/* the session to resume with */
	bool tls_said, h2_said;		/* that its handshake fails, that it does not speak HTTP/2, was logged */
};

/* In this worker's row. */
struct meter_server;
struct meter_server *server_meter(const struct server *s);

struct group {
	uint32_t magic;
	const struct conf_upstream *conf;
	struct groups *all;
	struct tls_client *tls;		/* NULL: in clear */
	struct server *servers;		/* ncells of them, spare cells included */
	unsigned nservers;
	struct list queue;		/* struct waiter, first come first served */
	unsigned nqueued;
	void *ring;			/* prepared by balance.c for hash and ip_hash; NULL elsewhere */
	struct timer queue_timer;	/* set while somebody waits: the next deadline or the next look */
	struct task serve;		/* looks whether waiters can be served, at the end of this turn */
	bool has_hosts;			/* some servers are addresses of host names */
	bool limited;			/* some servers have max_conns */
	bool has_backups;
	bool even;			/* all weights are equal, and stay so; see candidates() */
	unsigned next;			/* index behind the last pick */
	uint64_t admin_gen;		/* of the operator's words that were read last */
	uint64_t members;		/* stands for the set of addresses that the ring was made of */
	unsigned *cand;			/* room for candidates where the stack has too little; else NULL */
	unsigned noted;			/* requests not yet added to the shared retry budget */
};

/* How the last pick went, for the record: kept until the next one. */
#define NOTE_LOADS 4
struct pick_note {
	unsigned limit;			/* others that are wanted */
	unsigned n;			/* and that there are */
	unsigned passed;		/* in all */
	uint32_t load;			/* of the server that was picked, before */
	uint32_t loads[NOTE_LOADS];	/* as the balancer saw them, by candidate; where it set `load` */
	struct shm_other others[TRACE_OTHERS];
};

/* All groups of a worker. */
struct groups {
	const struct conf *conf;
	struct shm *shm;
	struct loop *loop;
	struct group *v;		/* by conf_upstream->id */
	unsigned n;
	uint64_t seed;			/* of this worker's random choices */
	struct pick_note note;
	void (*wake_peers)(struct groups *gs);	/* set by the worker: tells other workers that room came free; may be NULL */
	void *owner;
};

bool groups_init(struct groups *gs, const struct conf *conf, struct shm *shm, struct loop *loop);
void groups_fini(struct groups *gs);
struct group *groups_find(struct groups *gs, const struct conf_upstream *u);
/* Another worker or the checker said that room may have come free, or a host name got addresses: serves waiters. */
void groups_woken(struct groups *gs);

/* What a pick may depend on. `tried` has a bit for each server index already tried for this request. In upstreams of more than
 * 1024 servers some share a bit: one that was not tried may be passed over for one that was. */
#define GROUP_TRIED_WORDS 16
struct pick_ask {
	uint64_t hash;			/* of the client address or the hash key; unused by other methods */
	uint64_t tried[GROUP_TRIED_WORDS];
	unsigned ntried;
	bool traced;			/* everything about the pick is wanted in the note */
};

enum pick_rc {
	PICK_OK,			/* *out is ours: active raised; server_put() it */
	PICK_FULL,			/* every usable server is at max_conns, host names are still being looked up, or others are
					 * waiting already: wait */
	PICK_NONE			/* no usable server that was not tried */
};
enum pick_rc group_pick(struct group *g, const struct pick_ask *ask, struct server **out);
/* Some usable server was not tried yet. */
bool group_has_other(struct group *g, const struct pick_ask *ask);
/* Marks s in ask->tried. */
void pick_tried(struct pick_ask *ask, const struct server *s);

/* Ends the use of a picked server: lowers active, serves waiters here and in other workers. */
void server_put(struct server *s);

/* A place in the queue. Embedded in the caller's object. */
struct waiter;
typedef void waiter_fn(struct waiter *w, enum pick_rc rc, struct server *s);
struct waiter {
	struct list node;
	struct group *group;		/* NULL: not waiting */
	uint64_t deadline;
	const struct pick_ask *ask;
	waiter_fn *on_server;		/* PICK_OK with a server; PICK_FULL: queue_timeout passed; PICK_NONE: all went down */
};
/* False when the queue is full (max_queue over all workers). */
bool group_wait(struct group *g, struct waiter *w, const struct pick_ask *ask, waiter_fn *on_server);
/* Idempotent; no callback. */
void group_unwait(struct waiter *w);

/* Retry budget of the upstream, shared by all workers: 20 % of recent requests, at least 3 at once (per second). Takes one, or says no. */
bool group_take_retry(struct group *g);
/* Called once per request that goes to the upstream, so that the budget grows. */
void group_note_request(struct group *g);

#endif
