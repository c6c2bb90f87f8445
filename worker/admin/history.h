/*
 * history.h - samples of the last minutes, for rates and charts.
 *
 * Two of them. What weir as a whole did lies in memory that the admin process
 * of one generation leaves to that of the next; whatever is in it may be shown,
 * nothing in it is believed. What each server and route did in the last minute
 * is the process's own.
 */
#ifndef WORKER_ADMIN_HISTORY_H
#define WORKER_ADMIN_HISTORY_H

#include "worker/admin/tally.h"

#define HISTORY_EVERY_MS 5000
#define HISTORY_POINTS 121		/* ten minutes, both ends */
#define HISTORY_RECENT 13		/* a minute, both ends */

struct history_point {
	uint64_t mono_ms;
	uint64_t answers, errors;	/* counters: all with a final status, and those with 5xx */
	uint64_t bytes_in, bytes_out;
	uint64_t clients, active;	/* levels */
	struct tally_hist latency;
};

struct history_ring;

struct history_item {			/* of a server or route */
	uint64_t answers, errors;
	struct tally_hist latency;
};

struct history {
	struct history_ring *ring;	/* shared; NULL: none */
	struct history_item *servers[HISTORY_RECENT], *routes[HISTORY_RECENT];
	uint64_t taken_ms[HISTORY_RECENT];
	uint64_t nrecent;		/* samples taken; the last one is at nrecent - 1 modulo HISTORY_RECENT */
};

/* fd: that memory, -1 none; closed. False: no memory. */
bool history_init(struct history *h, const struct conf *c, int fd);
void history_fini(struct history *h);
void history_sample(struct history *h, struct tally *t, uint64_t now_ms);

/* Points from the oldest to the youngest, at most HISTORY_POINTS; those that are not older than ten minutes. */
unsigned history_points(const struct history *h, uint64_t now_ms, struct history_point *out);

/* What an item did in the last minute, or since there are samples. */
struct history_rate {
	double answers, errors;		/* per second */
	struct tally_hist latency;
};
struct history_rate history_server(const struct history *h, unsigned id);
struct history_rate history_route(const struct history *h, unsigned id);

#endif
