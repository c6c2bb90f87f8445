/*
 * listen.h - permanent listener slots.
 *
 * For each address one SO_REUSEPORT socket per worker slot, opened before the
 * first fork that needs it and held as long as any configuration in force names
 * the address: a worker that dies leaves its queue to its successor, a reload
 * hands the sockets to the next generation. Groups are known by their address,
 * not by their place in a configuration. There may be more slots than workers,
 * never less. A UNIX address has one socket, shared by all.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include <stdbool.h>

#include "common/conf.h"

#define LISTEN_BACKLOG 4096

struct slot_group {			/* one address */
	struct addr addr;		/* what is bound; a path is our own copy */
	bool v6only;
	bool fenceable;			/* position in the kernel's group is the slot: see listen.c */
	bool broken;			/* the kernel refused a fence, and that was said */
	bool single;			/* one socket: of [admin], or for all workers: a UNIX address, or one that was given to us alone */
	bool lent;			/* another master has it, too, and a UNIX address's file is that one's */
	bool stale;			/* what is fenced now is not known */
	bool past;			/* sockets of workers without a master are kept out; see open_shared() */
	unsigned n;			/* slots that are open */
	unsigned firm;			/* of them in force; those behind go when the plan that opened them fails */
	unsigned stored;		/* of those in force, that a supervisor was given to keep */
	int *fds;
	bool *in;			/* by slot: in rotation, as fence.c last made it so */
};

struct slots {
	struct slot_group **groups;
	unsigned n;
	char *dropped;			/* names by which a supervisor keeps sockets of ours that we have closed, a line each; NULL: none */
};

/* Opens what this configuration needs and is not there yet; new slots of an old group stay fenced. Says why not in the error
 * log and returns false with everything as it was. Then slots_firm() or slots_undo(). */
bool slots_plan(struct slots *s, const struct conf *c);
/* The plan is in force: addresses that this configuration does not name are closed. */
void slots_firm(struct slots *s, const struct conf *c);
void slots_undo(struct slots *s);
/* NULL: not open. */
struct slot_group *slots_find(const struct slots *s, const struct conf_bind *b);
/* Closes all and removes the files of UNIX addresses that are not lent; idempotent. */
void slots_fini(struct slots *s);

/* A group of listening sockets that somebody else opened, in the order of their slots; the descriptors are the group's from
 * here. They are in force, and lent. `path`: of a UNIX address. False where one does not listen on the others' address. */
bool slots_adopt(struct slots *s, const int *fds, unsigned n, const char *path, bool fenceable, bool single);
/* The other master shares them no more, or (lent) begins to. */
void slots_lend(struct slots *s, bool lent);

/* Could slots_plan() bind what is not there yet? Complains as it does, opens nothing for good. */
bool slots_check(const struct slots *s, const struct conf *c);
/* Can every address be bound just now? The same. */
bool slots_probe(const struct conf *c);

#endif
