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

/* Makes it so for every group: the slots below n for which `live` holds are in rotation; with none of them, all are. Does
 * nothing where nothing changed. */
void fence_set(struct slots *s, const bool *live, unsigned n);
/* Slots up to n are about to be opened: they will be out of rotation from their first instant. */
void fence_ahead(struct slot_group *g, unsigned n);

/* Of a group that others have sockets in, too: only those from `first` on, n of them, get new connections. n 0: the kernel
 * chooses among all again. */
void fence_past(struct slot_group *g, unsigned first, unsigned n);

/* The program for these slots, in `out` with room for FENCE_INSNS(nslots); its length, 0 when none is needed. */
#define FENCE_INSNS(nslots) (2 * (nslots) + 4)
unsigned fence_program(struct sock_filter *out, const bool *in, unsigned nslots);

#endif
