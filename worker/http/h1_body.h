/*
 * h1_body.h - message bodies out of an HTTP/1 byte stream (RFC 9112 6, 7).
 *
 * Pure. Feed it bytes; it says how many it used and which run of them is body.
 * Chunk sizes and extensions are checked and dropped: we always frame anew.
 */
#ifndef WORKER_HTTP_H1_BODY_H
#define WORKER_HTTP_H1_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/http/h1_parse.h"

enum h1_body_state {
	H1B_LENGTH, H1B_CLOSE,
	H1B_SIZE, H1B_SIZE_CR, H1B_EXT, H1B_SIZE_LF, H1B_DATA, H1B_DATA_CR, H1B_DATA_LF, H1B_TRAILER,
	H1B_END, H1B_BAD
};

struct h1_body {
	enum h1_body_state state;
	enum h1_bad bad;
	uint64_t left;			/* of the length or of this chunk */
	uint32_t ext;			/* bytes of extension seen, bounded over the whole body */
	uint32_t digits;
	struct h1_scan scan;		/* of the trailer section */
};

void h1_body_init(struct h1_body *b, enum body_kind kind, uint64_t length);

enum h1_body_rc {
	H1B_RC_DATA,			/* *data is a run of body, used counts all up to its end */
	H1B_RC_MORE,			/* all used that can be used; feed more */
	H1B_RC_TRAILERS,		/* [p + *used, + data->n) is a trailer section, in *data, counted in *used */
	H1B_RC_END,			/* the body is whole */
	H1B_RC_BAD			/* b->bad */
};
/* Call again with the rest after DATA. max_trailer bounds the trailer section, which must arrive contiguous: on MORE in
 * state H1B_TRAILER keep unused bytes and feed them again with more. */
enum h1_body_rc h1_body_feed(struct h1_body *b, const char *p, size_t n, size_t max_trailer, size_t *used,
			     struct span *data);
/* The transport ended. True when that is where this body may end (BODY_CLOSE, or already whole). */
bool h1_body_eof(struct h1_body *b);
static inline bool h1_body_whole(const struct h1_body *b)
{
	return b->state == H1B_END;
}

#endif
