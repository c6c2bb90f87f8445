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
	bool upgrade;			/* write Connection: upgrade and Upgrade, from h->upgrade_to */
	bool chunked;			/* a BODY_STREAM or BODY_CLOSE body goes out chunked: write Transfer-Encoding */
	struct span ws_key;		/* with upgrade: Sec-WebSocket-Key to add; .n == 0: none */
	bool to_head;			/* the response answers HEAD: no Content-Length but one that was given */
	struct span date;		/* Date to add when the response has none; .n == 0: leave */
};

/* An upper bound, with a Date of up to 64 bytes. */
size_t h1_head_size(const struct head *h);
/* Request line with h->path and h->query (they are what is forwarded), Host first, from the HDR_HOST field. */
size_t h1_write_request(const struct head *h, const struct h1_out *o, char *out, size_t room);
/* Framing by h->body, has_length and length as head.h has them. A status below 200 or 204 gets none; BODY_NONE without
 * has_length gets "Content-Length: 0" unless the status is 304 or to_head is set, so that a keep-alive peer never waits. */
size_t h1_write_response(const struct head *h, const struct h1_out *o, char *out, size_t room);

#define H1_CHUNK_HEAD 18		/* "\r\n"-less size line of 16 digits and CRLF */
/* "SIZE\r\n"; returns its length. */
size_t h1_write_chunk_head(size_t n, char *out);
/* The end of a chunked body with trailers (h may be NULL): "0\r\n" fields "\r\n". 0: no room. */
size_t h1_write_last_chunk(const struct head *trailers, char *out, size_t room);

#endif
