/*
 * up_codec.h - what a version of HTTP towards servers is to up.c: a table of operations, and what its code may call back.
 *
 * Nobody outside worker/upstream includes it.
 */
#ifndef WORKER_UPSTREAM_UP_CODEC_H
#define WORKER_UPSTREAM_UP_CODEC_H

#include "worker/io/conn.h"
#include "worker/upstream/up.h"

struct up_codec {
	const char *name;
	bool switches;			/* see up_switches() */
	/* As up_open(); ops and owner are set by the caller, in the same turn and before anything is called back. */
	struct up *(*open)(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_times *times,
			   const struct span *preface);
	bool (*send_head)(struct up *u, const struct head *req, struct head *resp);
	enum take (*send_body)(struct up *u, const struct batch *b);
	void (*more)(struct up *u);
	/* The owner has let go; u is not touched again. */
	void (*close)(struct up *u);
};
extern const struct up_codec up_h1_codec, up_h2_codec;

/* Tells the owner, once. The owner lets go with up_close(). */
void up_fail(struct up *u, enum reason why);
/* The TLS handshake with s failed; said once, until it goes well again: what is wrong is most often a setting. */
void up_tls_failed(struct server *s, const char *why);
/* A new connection to s; TLS is under way where the upstream speaks it. False with errno: there is none. */
bool up_dial(struct pool *p, struct server *s, struct conn *c, const struct conn_ops *ops, const struct span *preface);

#endif
