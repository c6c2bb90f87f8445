/*
 * grpc.h - what weir knows of gRPC: which requests are calls, how long they may take, and how its own errors are told to them.
 *
 * Pure but for the exchange's arena. Calls are otherwise requests like any other: streams both ways with trailers.
 */
#ifndef WORKER_EXCHANGE_GRPC_H
#define WORKER_EXCHANGE_GRPC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/reason.h"
#include "worker/http/head.h"

/* The request is a call: its content type says so. */
bool grpc_is(const struct head *req);
/* The deadline that the caller set, in ms, rounded up; 0: none, or not a valid one. */
uint64_t grpc_timeout(const struct head *req);
/* The status of gRPC for an answer of ours: by the reason where that says more than the HTTP status. */
unsigned grpc_status(enum reason why, unsigned status);
/* Makes of h, an error answer of ours with its fields, one that a caller understands: 200 with nothing but trailers. False: no
 * memory, h is as it was. */
bool grpc_answer(struct head *h, const struct head *req, enum reason why);
/* The trailer section that ends an answer which has begun and cannot be completed; NULL: no memory. */
struct head *grpc_trailers(struct arena *a, enum reason why);

#endif
