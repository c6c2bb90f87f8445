/*
 * h1_write.h - HTTP/1 message heads to bytes.
 *
 * Pure. Writes into a caller's buffer and returns the length; 0 when the room
 * is too small (nothing useful was written; h1_head_size() tells the need).
 * Adds framing fields from head->body and the connection fields it is told to;
 * fields flagged HDR_FRAMING or HDR_HOP in the head are skipped.
 */
#ifndef WORKER_HTTP_H1_WRITE_H
#define WORKER_HTTP_H1_WRITE_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/http/head.h"

struct h1_out {
	enum proto proto;		/* of the message to write: PROTO_HTTP10 or PROTO_HTTP11 */
	bool close;			/* write Connection: close */
	bool keep_alive;		/* write Connection: keep-alive (to an HTTP/1.0 peer that asked) */
	bool chunked;			/* write Transfer-Encoding: chunked (body is BODY_STREAM) */
	struct span date;		/* Date to add when the response has none; .n == 0: leave */
};

/* An upper bound. */
size_t h1_head_size(const struct head *h);
/* Request line with h->path and h->query (they are what is forwarded), Host first, from the HDR_HOST field. */
size_t h1_write_request(const struct head *h, const struct h1_out *o, char *out, size_t room);
/* A status below 200 or 204/304 gets no framing fields, except Content-Length as given for HEAD and 304 (h->body BODY_NONE and a
 * kept h->length: see head.h). */
size_t h1_write_response(const struct head *h, const struct h1_out *o, char *out, size_t room);

#define H1_CHUNK_HEAD 18		/* "\r\n"-less size line of 16 digits and CRLF */
/* "SIZE\r\n"; returns its length. */
size_t h1_write_chunk_head(size_t n, char *out);
/* The end of a chunked body with trailers (h may be NULL): "0\r\n" fields "\r\n". 0: no room. */
size_t h1_write_last_chunk(const struct head *trailers, char *out, size_t room);

#endif
