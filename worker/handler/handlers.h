/*
 * handlers.h - every handler, for wire.c's table.
 */
#ifndef WORKER_HANDLER_HANDLERS_H
#define WORKER_HANDLER_HANDLERS_H

#include "worker/exchange/side.h"

extern const struct handler handler_proxy;
extern const struct handler handler_respond;
extern const struct handler handler_redirect;

#endif
