/*
 * wire.h - which filters and handlers there are, in which order.
 */
#ifndef WORKER_WIRE_H
#define WORKER_WIRE_H

#include "worker/exchange/env.h"

/* Points the environment at the const tables of wire.c. */
void wire_env(struct env *e);

#endif
