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

#define HEALTH_EJECT_MAX_MS 300000

/* Configured on, checked up, not ejected at now_ms. *pending is set when it is only not looked up yet. */
bool health_usable(const struct server *s, uint64_t now_ms, bool *pending);
bool health_ejected(const struct server *s, uint64_t now_ms);
/* For who only looks: of the two words of a server's cell, when its ejection ends (0: it is not ejected), and when it began. */
uint64_t health_ejected_until(const struct conf_upstream *u, uint64_t eject, uint64_t health, uint64_t now_ms,
			      uint64_t *since_ms);
/* 1..1000: share of its weight that a server in slow start takes; 1000 outside of it. */
unsigned health_share(const struct server *s, uint64_t now_ms);

/* A try ended well (a whole answer head came), or failed by the server's fault. */
void health_report(struct server *s, bool good, uint64_t now_ms);
/* Time to first byte of a good answer, for ewma. */
void health_latency(struct server *s, uint64_t us, uint64_t now_us);

#endif
