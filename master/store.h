/*
 * store.h - listening sockets that a supervisor keeps for us.
 *
 * A supervisor that speaks systemd's protocol can hold descriptors while no
 * weir runs: whoever connects meanwhile waits in their queues for the next one.
 * Ours are sent to it once they are in force, under names of address and slot,
 * and come back at a start in LISTEN_FDS, as do sockets that it opened itself.
 */
#ifndef MASTER_STORE_H
#define MASTER_STORE_H

#include <stdbool.h>

#include "master/listen.h"

struct master;

#define STORE_WAIT_MS 1000		/* after an upgrade: until the supervisor knows who is the master */

/* What came with the start. */
struct store {
	unsigned n;			/* descriptors from 3 on */
	char *names;			/* one for each, divided by colons; NULL: none */
};

/* From the environment, which is cleared of it. Called by main() before descriptors are tidied up. */
struct store store_take(void);
/* Takes what came into the groups of listening sockets, before slots_plan(). */
void store_adopt(const struct store *st, struct slots *s);
/* Makes it so: what is in force is with the supervisor. Once per turn; does nothing without one. */
void store_tend(struct master *m);
/* An address is no longer named. */
void store_drop(const struct slot_group *g);

#endif
