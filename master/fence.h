/*
 * fence.h - keeps new connections away from slots that nobody serves.
 *
 * A small classic BPF program on each SO_REUSEPORT group spreads connections
 * over the slots that are in rotation; with all of them in, the kernel's own
 * choice stands. What already waits in a fenced slot stays for its next worker.
 */
#ifndef MASTER_FENCE_H
#define MASTER_FENCE_H

#include <linux/filter.h>
#include <stdbool.h>

#include "master/listen.h"

struct fence {
	bool *in;			/* by slot: in rotation, as last made so */
	bool *want;			/* by slot: as it should be; whoever calls fence_set() fills it */
	unsigned nslots;
	bool broken;			/* the kernel refused, and that was said */
};

bool fence_init(struct fence *f, unsigned nslots);
void fence_fini(struct fence *f);
/* Makes `want` so; does nothing when nothing changed. With no slot in rotation all are. */
void fence_set(struct fence *f, const struct slots *s);

/* The program for these slots, in `out` with room for FENCE_INSNS(nslots); its length, 0 when none is needed. */
#define FENCE_INSNS(nslots) (2 * (nslots) + 4)
unsigned fence_program(struct sock_filter *out, const bool *in, unsigned nslots);

#endif
