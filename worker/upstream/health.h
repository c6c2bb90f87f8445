/*
 * health.h - may this server be used, as seen by a worker.
 *
 * Two sources: the checker's word in HEALTH, and the passive ejection mark in
 * SHARED that workers update by compare-and-swap: ejected flag, level of
 * doubling, failures in the window, and the time stamp, all in one word.
 * max_fails in fail_timeout ejects for fail_timeout, doubling up to five
 * minutes, never more than max_ejected percent of an upstream. After an
 * ejection ends the first failure ejects again at once, a success clears all.
 */
#ifndef WORKER_UPSTREAM_HEALTH_H
#define WORKER_UPSTREAM_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/upstream/group.h"

/* Configured on, checked up, not ejected at now_ms. *pending is set when it is only not looked up yet. */
bool health_usable(const struct server *s, uint64_t now_ms, bool *pending);
/* Why health_usable() said no. */
enum pass_why health_why_not(const struct server *s, uint64_t now_ms);
bool health_ejected(const struct server *s, uint64_t now_ms);
/* 1..1000: share of its weight that a server in slow start takes; 1000 outside of it. */
unsigned health_share(const struct server *s, uint64_t now_ms);

/* A try ended well (a whole answer head came), or failed by the server's fault. */
void health_report(struct server *s, bool good, uint64_t now_ms);
/* How a try failed by the server's fault, for people to read. */
void health_blame(struct server *s, enum reason why);
/* Time to first byte of a good answer, for ewma. */
void health_latency(struct server *s, uint64_t us, uint64_t now_us);

#endif
