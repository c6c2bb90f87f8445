/*
 * up_conn.h - between pool.c, up.c and the upstream codecs: a connection's
 * state, its death and its wire side. Nobody outside worker/upstream includes it.
 */
#ifndef WORKER_UPSTREAM_UP_CONN_H
#define WORKER_UPSTREAM_UP_CONN_H

#include "worker/upstream/up.h"

/* The one setter: list membership, counts. */
void up_set_state(struct up *u, enum up_state state);
/* Closes and buries; no callback. */
void up_destroy(struct up *u);
/* Tells the owner, once. The owner lets go with up_close(). */
void up_fail(struct up *u, enum reason why);
/* Make it so: the deadline that the state of both directions asks for. */
void up_set_deadline(struct up *u);

/* The server took its end of a tunnel away while bytes for it may still come. */
static inline bool up_tunnel_broken(const struct up *u)
{
	return u->tunnel && u->resp_done && !u->req_done && (u->write_failed || u->conn.broken);
}

/* up_h1.c: a request on this connection begins; forget the last one. */
void up_h1_reset(struct up *u);
/* Writes what there is to write. */
void up_h1_flush(struct up *u);
/* The held batch is used up: drops its bytes. */
void up_h1_taken(struct up *u);
/* Reads and delivers until there is nothing more, or the owner holds a batch, or the answer is whole. */
void up_h1_run(struct up *u);

#endif
