/*
 * accept.h - listening sockets of one worker.
 *
 * Accepts in batches and hands each descriptor with its peer address to a
 * callback. Pauses when the worker is at max_connections or the process is out
 * of descriptors (EMFILE, ENFILE, ENOBUFS, ENOMEM), and tries again after a
 * back-off or as soon as a connection ends; never spins. ECONNABORTED and the
 * like are passed over.
 */
#ifndef WORKER_IO_ACCEPT_H
#define WORKER_IO_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "worker/io/loop.h"

#define ACCEPT_MAGIC 0xacce9701u
#define ACCEPT_BATCH 32

struct acceptor;
/* Takes fd over. Returns false when it could not (the acceptor closes fd). `local` is the bound address. */
typedef bool accept_fn(struct acceptor *a, int fd, const struct addr *peer);

struct acceptor {
	uint32_t magic;
	int fd;
	struct watch watch;
	struct loop *loop;
	struct timer retry;
	accept_fn *on_conn;
	bool (*may_accept)(struct acceptor *a);	/* asked before each accept; NULL: always */
	void *owner;
	const void *tag;		/* the owner's: which listener this is */
	struct addr local;
	bool shared;			/* several processes hold this one descriptor: EPOLLEXCLUSIVE */
	bool paused;
	bool off;			/* draining: never again */
	uint64_t errors;		/* accept failures for want of resources */
	uint64_t warned_ms;		/* when the log last heard of them */
};

/* may_accept and tag are the caller's to set afterwards. False with errno. */
bool acceptor_init(struct acceptor *a, struct loop *l, int fd, bool shared, accept_fn *on_conn, void *owner);
void acceptor_fini(struct acceptor *a);	/* the descriptor stays open: it is the master's slot */
/* Make it so: pauses or resumes according to may_accept. Call when a connection ended. */
void acceptor_update(struct acceptor *a);
/* Stops accepting for good. */
void acceptor_stop(struct acceptor *a);
/* Takes what is queued, stops for good and closes this process's descriptor, so that the kernel refuses whom nobody would
 * serve. */
void acceptor_close(struct acceptor *a);

#endif
