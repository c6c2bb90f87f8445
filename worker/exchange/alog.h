/*
 * alog.h - access logs of one worker.
 *
 * Lines are formatted without printf into one buffer per target and written in
 * whole lines: at the end of the turn while there are few, and gathered for up
 * to ALOG_GAP_MS or ALOG_GATHER bytes where more than ALOG_FEW came within that
 * time, because a write costs as much as many lines. A target that cannot be written never blocks:
 * its lines are dropped and counted, one warning a minute. Text from outside is
 * escaped.
 */
#ifndef WORKER_EXCHANGE_ALOG_H
#define WORKER_EXCHANGE_ALOG_H

#include "worker/exchange/exchange.h"

#define ALOG_BUF 65536
#define ALOG_GATHER 32768		/* bytes that are not kept waiting */
#define ALOG_GAP_MS 100			/* nor is any for longer */
#define ALOG_FEW 32

/* fds come from conf->logs. NULL: no memory. */
struct alog *alog_new(struct env *e);
void alog_free(struct alog **a);
/* The master reopened conf->logs[id]: flush to the old one, then use fd (owned from now on). The old descriptor is closed, but
 * for stdout and stderr: an error log on the same target must have been switched before. */
void alog_reopen(struct alog *a, unsigned id, int fd);
/* One line for an ended exchange to each target of the nearest access_log (route, listener, general). */
void alog_exchange(struct alog *a, struct exchange *x);
/* Once per turn: writes what has waited long enough. */
void alog_turn(struct alog *a);
/* Writes what is buffered. */
void alog_flush(struct alog *a);
/* From a signal handler, in a process that dies: writes the whole lines that wait, as far as that goes at once. */
void alog_last_words(void *alog);

#endif
