/*
 * alog.h - access logs of one worker.
 *
 * Lines are formatted without printf into one buffer per target and written
 * once per turn of the loop or when the buffer is full, in whole lines. A target that cannot be
 * written never blocks: its lines are dropped and counted, one warning a
 * minute. Text from outside is escaped.
 */
#ifndef WORKER_EXCHANGE_ALOG_H
#define WORKER_EXCHANGE_ALOG_H

#include "worker/exchange/exchange.h"

#define ALOG_BUF 65536

/* fds come from conf->logs. NULL: no memory. */
struct alog *alog_new(struct env *e);
void alog_free(struct alog **a);
/* The master reopened conf->logs[id]: flush to the old one, then use fd (owned from now on). The old descriptor is closed, but
 * for stdout and stderr: an error log on the same target must have been switched before. */
void alog_reopen(struct alog *a, unsigned id, int fd);
/* One line for an ended exchange to each target of the nearest access_log (route, listener, general). */
void alog_exchange(struct alog *a, struct exchange *x);
/* Writes what is buffered. Called once per turn and at the end. */
void alog_flush(struct alog *a);

#endif
