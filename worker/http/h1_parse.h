/*
 * h1_parse.h - HTTP/1 message heads from bytes (RFC 9112).
 *
 * Pure: bytes in; used, more, or bad(reason) out. Two steps, so that heads are
 * scanned once however they arrive: h1_scan_head() finds the end and can be
 * called again as bytes come; then the caller copies the head into the arena
 * and h1_parse_request/response() tokenises it there in one pass, spans pointing
 * into it. What is not certainly one message is bad.
 */
#ifndef WORKER_HTTP_H1_PARSE_H
#define WORKER_HTTP_H1_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/http/head.h"

#define H1_LINE_MAX 8192		/* start line */
#define H1_FIELDS_MAX 100

enum h1_bad {
	H1_GOOD,
#define H1_BAD(id, status, text) H1_BAD_##id,
#include "worker/http/h1_bad.def"
#undef H1_BAD
	H1_BAD__N
};
unsigned h1_bad_status(enum h1_bad b);	/* 400, 414, 431, 501, 505 ... for a request */
const char *h1_bad_text(enum h1_bad b);	/* a sentence for the log */

struct h1_scan {
	uint32_t seen;			/* bytes already looked at; buffers are shorter than that goes */
	uint32_t line;			/* length of the start line so far / when known */
};

enum h1_rc { H1_MORE, H1_DONE, H1_BROKEN };

/* Looks for the empty line. H1_DONE: *len is the head's length with the empty line. H1_BROKEN: *bad (too long, bare CR or
 * LF, a byte that cannot start a head). `max`: limit of the whole head. One CRLF before a request line is passed over
 * and counted in *len. */
enum h1_rc h1_scan_head(struct h1_scan *s, const char *p, size_t n, size_t max, size_t *len, enum h1_bad *bad);

/* What the wire said about the connection, for the codec alone. */
struct h1_wire {
	bool keep_alive;		/* may be used again after this message */
	bool close;			/* "Connection: close" stood there */
	bool has_idle;			/* the peer said how long it keeps an idle connection ("Keep-Alive: timeout=N") */
	uint32_t idle_s;		/* that, in seconds; cut to a day */
};

/* head: the bytes h1_scan_head measured, already in h->arena, writable. On H1_GOOD h is filled: target parsed, host set, framing
 * decided, hop-by-hop fields gone. */
enum h1_bad h1_parse_request(struct head *h, struct h1_wire *w, char *p, size_t n);
/* `method`: of the request that this answers (HEAD and CONNECT decide the body, RFC 9112 6.3). */
enum h1_bad h1_parse_response(struct head *h, struct h1_wire *w, enum method method, char *p, size_t n);

/* A trailer section (without chunked's last line), the empty line included; adds good fields to h, leaves forbidden ones
 * (framing, routing, auth: RFC 9110 6.5.1) out. */
enum h1_bad h1_parse_trailers(struct head *h, char *p, size_t n);

#endif
