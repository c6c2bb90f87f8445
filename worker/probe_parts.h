/*
 * probe_parts.h - between probe.c, a check as such, and probe_h2.c, the same question over HTTP/2. Nobody else includes it.
 */
#ifndef WORKER_PROBE_PARTS_H
#define WORKER_PROBE_PARTS_H

#include "worker/probe.h"

/* --- probe.c: the outcome; the probe has ended when they return --- */
void probe_done_well(struct probe *p, unsigned status);
/* `error`: an errno, or 0. */
void probe_done_badly(struct probe *p, int error, const char *text);
void probe_done_status(struct probe *p, unsigned status);
/* The Host that is asked for. */
struct span probe_host(const struct probe *p);

/* --- probe_h2.c --- */
/* Makes the request; false: no memory. */
bool probe_h2_start(struct probe *p);
/* Writes and reads what there is. The connection is up. */
void probe_h2_go_on(struct probe *p);
/* Idempotent. */
void probe_h2_stop(struct probe *p);
/* What gRPC's health service said: the message of one answer, its prefix included. NULL: the server is well; else what is
 * wrong, as the end of a sentence. */
const char *probe_grpc_answer(const unsigned char *p, size_t n);

#endif
