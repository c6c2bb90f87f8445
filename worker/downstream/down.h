/*
 * down.h - client connections: taking them from the acceptors, ending them on a drain.
 *
 * The only header of worker/downstream that worker.c sees; which version a
 * connection speaks is found out behind it.
 */
#ifndef WORKER_DOWNSTREAM_DOWN_H
#define WORKER_DOWNSTREAM_DOWN_H

#include "common/fold.h"
#include "common/slab.h"
#include "worker/downstream/sessions.h"
#include "worker/exchange/env.h"
#include "worker/io/conn.h"

struct h2_shared;

/* Pools of this folder; owned by the worker, one per process. */
struct down {
	struct env *env;
	struct slab clients;
	struct slab h2s, h2_streams;
	struct fold_pool h2_folds;
	struct h2_shared *h2;		/* NULL until a client speaks it */
	uint64_t next_id;
	struct sessions sessions;
	bool ask_local;			/* some server is told where clients connected to */
};

void down_init(struct down *d, struct env *e);
void down_fini(struct down *d);
/* Takes over an accepted descriptor. False: no memory, or not wanted; the descriptor is still the caller's. */
bool down_accept(struct down *d, int fd, const struct addr *peer, const struct addr *local,
		 const struct conf_listen *listen);
/* env->draining was set: idle connections get `grace_ms` for a request that is on its way, busy ones close after their
 * answer. */
void down_drain(struct down *d, uint64_t grace_ms);
/* The same as down_stop() for all but connections with a tunnel; how many are left. */
unsigned down_stop_others(struct down *d, enum reason why);
/* Ends every connection now, as if each client had left; their exchanges end with `why`. */
void down_stop(struct down *d, enum reason why);

#endif
