/*
 * h2_past.h - what became of the last streams of an HTTP/2 client, for frames that come too late (RFC 9113 5.1).
 *
 * The library forgets a stream with its end. A frame that was on its way when we ended a stream is nobody's fault; one that
 * follows an end by the client is. Pure; 64 stream ids back, older ones are taken for the former.
 */
#ifndef WORKER_DOWNSTREAM_H2_PAST_H
#define WORKER_DOWNSTREAM_H2_PAST_H

#include <stdbool.h>
#include <stdint.h>

struct h2_past {
	int32_t last;			/* the highest id that a request began with */
	uint64_t begun, cut;		/* bit n: the id 2 * n below it */
};

enum h2_late {
	H2_LATE_NOT,			/* above the last one, or not the client's to use */
	H2_LATE_FINE,			/* may have been on its way */
	H2_LATE_CLOSED,			/* the client had ended the stream */
	H2_LATE_SKIPPED			/* it left that id out */
};

/* A request's HEADERS came. */
void h2_past_begin(struct h2_past *p, int32_t id);
/* We reset that stream. */
void h2_past_cut(struct h2_past *p, int32_t id);
/* What a frame of a stream means that is not there. */
enum h2_late h2_past_late(const struct h2_past *p, int32_t id);

#endif
