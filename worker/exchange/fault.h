/*
 * fault.h - a request that makes its worker fail on purpose, for tests of what
 * the rest of weir does then.
 *
 * Only in builds of configure --enable-fault-points, never in production: any
 * client can ask for it.
 */
#ifndef WORKER_EXCHANGE_FAULT_H
#define WORKER_EXCHANGE_FAULT_H

#include "worker/exchange/exchange.h"

/* Fails as the request's X-Weir-Fault says: crash, spin, stop or exit. Anything else: nothing happens. */
void fault_point(const struct exchange *x);

#endif
