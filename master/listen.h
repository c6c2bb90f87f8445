/*
 * listen.h - permanent listener slots.
 *
 * For each `bind` of the configuration one SO_REUSEPORT socket per worker slot,
 * opened before the first fork and held for the master's life: a worker that
 * dies leaves its queue to its successor. A UNIX address has one socket, shared
 * by all slots.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include <stdbool.h>

#include "common/conf.h"

#define LISTEN_BACKLOG 4096

struct slot_group {			/* one bind */
	const struct conf_bind *bind;
	bool fenceable;			/* position in the kernel's group is the slot: see listen.c */
};

struct slots {
	unsigned nbinds, nslots;
	struct slot_group *groups;	/* by conf_bind->id */
	int *fds;			/* [slot * nbinds + bind id], -1: not open */
};

/* Opens all, or says why not in the error log and returns false with nothing left open. */
bool slots_init(struct slots *s, const struct conf *c);
/* The sockets of one worker slot, by conf_bind->id. */
int *slots_of(const struct slots *s, unsigned slot);
int slots_fd(const struct slots *s, unsigned slot, unsigned bind);
/* Closes all and removes the files of UNIX addresses; idempotent. */
void slots_fini(struct slots *s);

/* Can every address be bound just now? Complains as slots_init() does, opens nothing for good. */
bool slots_probe(const struct conf *c);

#endif
