/*
 * worker.h - the entry points of the worker side that the master may call.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdio.h>

#include "common/process.h"

_Noreturn void worker_main(struct process *p);
_Noreturn void checker_main(struct process *p);
_Noreturn void admin_main(struct process *p);

/* weir -e: prints what a request would meet, with the matcher the workers run. `request` is "GET http://host/path", headers are
 * "Name: value". Returns the exit status: 0 a route takes it, 1 none does, 2 the request is no request. */
int explain_main(const struct conf *c, const char *request, const char *const *headers, unsigned nheaders, FILE *out);

#endif
