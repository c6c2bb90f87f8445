/*
 * h2_map.h - HTTP/2 field sections to heads and back (RFC 9113 8).
 *
 * Pure: decoded names and values in, a struct head or the reason why not out. As
 * strict as the HTTP/1 parser, so that what comes in by one version and leaves
 * by the other is the same message. Knows no frame and no compression.
 */
#ifndef WORKER_HTTP_H2_MAP_H
#define WORKER_HTTP_H2_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/http/head.h"

#define H2_FIELD_COST 32		/* what a field counts on top of its bytes, RFC 9113 6.5.2 */

enum h2_bad {
	H2_GOOD,
#define H2_BAD(id, status, text) H2_BAD_##id,
#include "worker/http/h2_bad.def"
#undef H2_BAD
	H2_BAD__N
};
unsigned h2_bad_status(enum h2_bad b);
const char *h2_bad_text(enum h2_bad b);
/* Malformed by the rules of HTTP/2 itself: no answer, the stream is reset. */
bool h2_bad_malformed(enum h2_bad b);

struct h2_map {
	struct head *h;
	bool trailers;			/* a trailer section */
	bool regular;			/* a field was seen: no pseudo-header may follow */
	bool has_length;
	uint16_t cookies;		/* crumbs */
	unsigned count;
	size_t bytes, max;		/* by the reckoning of RFC 9113 6.5.2 */
	uint64_t length;
	struct span pseudo[5];		/* method, scheme, authority, path, protocol; p NULL: not seen */
	enum h2_bad bad;		/* the first that was found; it stays */
};

/* h is head_init'ed. */
void h2_map_init(struct h2_map *m, struct head *h, bool trailers, size_t max);
/* One field as decoded; its text is borrowed and must live as long as the head. */
enum h2_bad h2_map_field(struct h2_map *m, struct span name, struct span value);
/* The section is whole; `end`: the stream ended with it. Fills the head, framing included. The scheme is as the client said
 * it. A CONNECT to the protocol websocket (RFC 8441 4) becomes what it is in HTTP/1: a GET that asks for an upgrade. */
enum h2_bad h2_map_end(struct h2_map *m, bool end);

struct h2_field {
	struct span name, value;	/* names in any letter case */
};
#define H2_MAP_EXTRA 3			/* :status, date, content-length */
#define H2_MAP_SCRATCH 32
/* An answer's fields in order; a 101 whose body is BODY_TUNNEL is 200 here. `out` has room for h->nfields + H2_MAP_EXTRA, `scratch`
 * must live as long as they. `to_head`: it answers HEAD. Returns how many there are. */
unsigned h2_map_response(const struct head *h, struct span date, bool to_head, struct h2_field *out,
			 char scratch[H2_MAP_SCRATCH]);
/* A trailer section's; room for h->nfields. */
unsigned h2_map_trailers(const struct head *h, struct h2_field *out);

#endif
