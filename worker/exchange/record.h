/*
 * record.h - what a request leaves behind for "weirctl why".
 *
 * The handler tells of each try as it goes; the exchange puts everything into
 * this worker's ring when it ends. Copies of numbers and cut text only: no
 * system call, no memory, no printing.
 */
#ifndef WORKER_EXCHANGE_RECORD_H
#define WORKER_EXCHANGE_RECORD_H

#include "worker/exchange/exchange.h"

/* A try begins. The note of the pick that led to it is taken over. */
void record_try(struct exchange *x, const struct server *s, bool fallback);
/* No server could be had. */
void record_no_server(struct exchange *x, enum reason why, bool fallback);
/* How the try under way went. */
void record_try_answered(struct exchange *x, uint64_t try_us, uint64_t connect_us, bool reused);
void record_try_failed(struct exchange *x, uint64_t try_us, uint64_t connect_us, enum reason why, unsigned flags);
/* It has ended: into the ring. */
void record_exchange(struct exchange *x);

#endif
