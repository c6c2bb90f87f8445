/*
 * head.h - one HTTP message head, whichever version carried it.
 *
 * A head and all text in it live in an arena and die with it. Field order is
 * the order on the wire; names keep the peer's letter case. Known names carry
 * an id from hdr.def, found once by the parser, and `known` chains to the
 * first field of each id, so that a look-up is one load. Framing is here in
 * version-neutral form; Connection, Transfer-Encoding and the rest of the
 * wire's own fields are the codec's and never reach a filter.
 */
#ifndef WORKER_HTTP_HEAD_H
#define WORKER_HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/span.h"

#define HEAD_MAGIC 0x4ead4eadu

enum hdr_id {
	HDR_OTHER,			/* any name not in the table */
#define HDR(id, name, flags) HDR_##id,
#include "worker/http/hdr.def"
#undef HDR
	HDR__N
};

/* Flags of hdr.def. */
#define HDR_HOP    1u			/* hop-by-hop: never forwarded as it came */
#define HDR_SINGLE 2u			/* may stand once only; a second one makes the message bad */
#define HDR_FRAMING 4u			/* belongs to the codec: content-length, transfer-encoding */

/* Id of a name, letter case ignored; HDR_OTHER. */
enum hdr_id hdr_find(struct span name);
struct span hdr_name(enum hdr_id id);	/* canonical spelling */
unsigned hdr_flags(enum hdr_id id);

enum method {
	METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_OPTIONS, METHOD_PATCH,
	METHOD_TRACE, METHOD_CONNECT, METHOD__N
};
enum method method_find(struct span s);	/* case counts, RFC 9110 9.1 */
bool method_safe(enum method m);
bool method_idempotent(enum method m);	/* RFC 9110 9.2.2; METHOD_OTHER is not */

enum proto { PROTO_HTTP10, PROTO_HTTP11, PROTO_HTTP2 };
const char *proto_name(enum proto p);	/* "HTTP/1.1" */

enum body_kind {
	BODY_NONE,			/* no body at all */
	BODY_LENGTH,			/* `length` bytes */
	BODY_STREAM,			/* unknown length, with its own end mark (chunked, END_STREAM) */
	BODY_CLOSE			/* until the transport ends (responses only) */
};

struct field {
	struct span name, value;	/* value trimmed; may be empty */
	uint16_t id;			/* enum hdr_id */
	uint16_t next;			/* index + 1 of the next field of the same known id, 0: none */
};

struct head {
	uint32_t magic;
	struct arena *arena;

	/* request */
	enum method method;
	struct span method_text;
	struct span scheme;		/* "http" or "https" */
	struct span authority;		/* Host or :authority as sent */
	struct span host;		/* lower case, without port and final dot; [v6] keeps its brackets */
	uint16_t port;			/* from authority, 0: none given */
	struct span target;		/* request-target as sent */
	struct span path;		/* normalised; "*" for OPTIONS * */
	struct span query;		/* without "?" */
	bool has_query;

	/* response */
	uint16_t status;
	struct span reason;

	enum proto proto;
	enum body_kind body;
	uint64_t length;		/* for BODY_LENGTH */
	bool expect_continue;
	bool upgrade;			/* asked to switch protocols */

	struct field *fields;
	uint16_t nfields, cap;
	uint16_t known[HDR__N];		/* index + 1 of the first field of that id, 0: none */
};

void head_init(struct head *h, struct arena *a);

/* Adds at the end; name and value are borrowed (arena or constant). False when the arena is full. */
bool head_add(struct head *h, struct span name, struct span value);
bool head_add_id(struct head *h, enum hdr_id id, struct span value);
/* First value of a known name, {NULL,0} when absent. */
struct span head_get(const struct head *h, enum hdr_id id);
/* First value of any name, letter case ignored. */
struct span head_find(const struct head *h, struct span name);
/* Index of the first field called name at or after `from`; -1 when there is none. */
int head_index(const struct head *h, struct span name, unsigned from);
/* Removes every field of that name; returns how many went. */
unsigned head_remove(struct head *h, struct span name);
unsigned head_remove_id(struct head *h, enum hdr_id id);
/* Removes all of that name and adds one; an empty value only removes. False when the arena is full. */
bool head_set(struct head *h, struct span name, struct span value);
bool head_set_id(struct head *h, enum hdr_id id, struct span value);

/* True when the comma list in any field of this id holds the token (letter case ignored). */
bool head_has_token(const struct head *h, enum hdr_id id, struct span token);
/* Removes hop-by-hop fields and those that Connection names (RFC 9110 7.6.1), except names in the codec's protected set
 * (Host, Cookie, Content-Length, forwarding and identity fields ... : a peer cannot strip those by naming them). */
void head_strip_hop(struct head *h);

/* "CODE" phrase of a status, "" when unknown. */
struct span status_reason(unsigned status);

/* Name and value bytes that may stand in a field (RFC 9110 5.1, 5.5). */
bool field_name_ok(struct span name);
bool field_value_ok(struct span value);

#endif
