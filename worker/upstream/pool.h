/*
 * pool.h - idle connections to servers, per worker and server.
 *
 * Most recently used first; at rest at most `keepalive` per server, each for
 * keepalive_timeout. An idle connection that turns readable is closed: a server
 * has nothing to say there (RFC 9112 9.5), and bytes of nobody's answer must
 * never meet the next request. HTTP/2 connections (link.h) are shared while they are busy, and rest where they are.
 */
#ifndef WORKER_UPSTREAM_POOL_H
#define WORKER_UPSTREAM_POOL_H

#include "common/arena.h"
#include "common/buf.h"
#include "common/shm.h"
#include "common/slab.h"
#include "worker/io/loop.h"

struct up_h1;
struct server;
struct tls_pool;
struct link_shared;

struct pool {
	struct loop *loop;
	struct shm *shm;
	struct buf_pool *bufs;
	struct tls_pool *tls;		/* set by the worker; NULL: no upstream speaks TLS */
	struct slab ups, up_h2s, links;
	struct list all_links;		/* struct link: HTTP/2, shared by many requests */
	struct link_shared *link_shared;	/* made with the first of them */
	uint64_t next_id;
	unsigned nidle, nbusy;
};

void pool_init(struct pool *p, struct loop *l, struct shm *shm, struct buf_pool *bufs);
void pool_fini(struct pool *p);
/* The idle connection of s used last, NULL for none. It leaves the pool. `probe`: each is asked by one peek whether the server
 * closed it meanwhile. */
struct up_h1 *pool_get(struct pool *p, struct server *s, bool probe);
/* Takes an idle connection. One beyond `keepalive` is kept for POOL_SPARE_MS only: a load that goes up and down keeps its
 * connections, and at rest there are no more than that. */
#define POOL_SPARE_MS 1000
void pool_put(struct pool *p, struct up_h1 *u);
/* Closes every idle connection of the server (its address changed); those that serve somebody take no more requests. */
void pool_drop(struct server *s);

#endif
