/*
 * h1_gather.h - a batch of message body out of HTTP/1 bytes.
 *
 * Between h1_body.h and the two HTTP/1 codecs: collects runs of body into one
 * batch that points into the caller's buffer, and parses trailers into the
 * caller's arena.
 */
#ifndef WORKER_HTTP_H1_GATHER_H
#define WORKER_HTTP_H1_GATHER_H

#include "worker/http/batch.h"
#include "worker/http/h1_body.h"

/* Fills *b from `in`; *used is what may be dropped once the batch was taken. An empty batch that is not the last means that more
 * bytes are needed. False: the bytes are bad, or there is no memory for trailers. */
bool h1_gather(struct h1_body *body, struct span in, size_t max_trailer, struct arena *a, struct batch *b,
	       size_t *used);

#endif
