/*
 * h2_calm.h - how much of what costs nothing to send an HTTP/2 peer may send.
 *
 * Token buckets of one connection, one for each kind of frame that floods are
 * made of. They fill with time, and with the use that makes such frames
 * reasonable: answered requests pay for resets, sent data for window updates.
 * Pure; the clock is the caller's.
 */
#ifndef WORKER_HTTP_H2_CALM_H
#define WORKER_HTTP_H2_CALM_H

#include <stdbool.h>
#include <stdint.h>

enum h2_kind {
	H2_KIND_RESET,			/* of a stream, by either side, for an error or a change of mind */
	H2_KIND_SETTINGS,
	H2_KIND_PING,
	H2_KIND_EMPTY,			/* DATA or CONTINUATION without a byte that does not end anything */
	H2_KIND_WINDOW,
	H2_KIND_PRIORITY,		/* and frames of unknown types */
	H2_KIND__N
};

struct h2_calm {
	uint64_t since_ms;
	uint32_t left[H2_KIND__N];
};

void h2_calm_init(struct h2_calm *c, uint64_t now_ms);
/* One more of that kind came. False: too many. */
bool h2_calm_take(struct h2_calm *c, enum h2_kind k, uint64_t now_ms);
/* Something happened that pays for n of that kind. */
void h2_calm_pay(struct h2_calm *c, enum h2_kind k, unsigned n);

#endif
