/*
 * count.h - what the end of an exchange adds to the counters.
 */
#ifndef WORKER_EXCHANGE_COUNT_H
#define WORKER_EXCHANGE_COUNT_H

#include "worker/exchange/exchange.h"

void count_exchange(const struct exchange *x);

#endif
