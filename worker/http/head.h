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
#define HDR_OURS   8u			/* tells who asked; peers that spell it with "_" for "-" lose the field */
#define HDR_LATE   16u			/* known, and may stand in a trailer section */

/* Id of a name, letter case ignored; HDR_OTHER. */
enum hdr_id hdr_find(struct span name);
/* The same for a name that is known to be a token. */
enum hdr_id hdr_find_token(struct span name);
/* True for names such as X_Forwarded_For, which applications take for the real one: fields that must not pass. */
bool hdr_disguised(struct span name);
struct span hdr_name(enum hdr_id id);	/* canonical spelling */
unsigned hdr_flags(enum hdr_id id);

enum method {
	METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_OPTIONS, METHOD_PATCH,
	METHOD_TRACE, METHOD_CONNECT, METHOD__N
};
enum method method_find(struct span s);	/* case counts, RFC 9110 9.1 */
struct span method_name(enum method m);	/* "" for METHOD_OTHER */
bool method_safe(enum method m);
bool method_idempotent(enum method m);	/* RFC 9110 9.2.2; METHOD_OTHER is not */

enum proto { PROTO_HTTP10, PROTO_HTTP11, PROTO_HTTP2 };
const char *proto_name(enum proto p);	/* "HTTP/1.1" */

enum body_kind {
	BODY_NONE,			/* no body at all */
	BODY_LENGTH,			/* `length` bytes */
	BODY_STREAM,			/* unknown length, with its own end mark (chunked, END_STREAM) */
	BODY_CLOSE,			/* until the transport ends (responses only) */
	BODY_TUNNEL			/* behind a 101: opaque bytes, each way until its sender ends it */
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
	/*
	 * Framing. Content-Length and Transfer-Encoding never stand among the fields; these members are all there is.
	 *   BODY_LENGTH               length > 0 from a parser (handlers may say 0)
	 *   BODY_NONE, has_length     no byte of body follows, yet Content-Length stood there: 0, or in the answer to HEAD
	 *                             and in a 304 the length that a GET would have had. It is written as it came.
	 *   BODY_NONE, !has_length    nothing follows and nothing was said
	 * has_length is true for BODY_LENGTH too, never for BODY_STREAM and BODY_CLOSE.
	 */
	enum body_kind body;
	bool has_length;
	uint64_t length;
	bool expect_continue;		/* the Expect field stays among the fields */
	bool te_trailers;		/* the peer takes trailers (TE: trailers) */
	bool upgrade;			/* asked to switch protocols; a response: 101 */
	bool tunnel;			/* a request that may become one: a GET without body, to protocols that are not HTTP */
	struct span upgrade_to;		/* the Upgrade field's first value */

	struct field *fields;
	uint16_t nfields, cap;
	uint16_t known[HDR__N];		/* index + 1 of the first field of that id, 0: none */
};

void head_init(struct head *h, struct arena *a);

/* Adds at the end; name and value are borrowed (arena or constant). False when the arena is full. */
bool head_add(struct head *h, struct span name, struct span value);
bool head_add_id(struct head *h, enum hdr_id id, struct span value);
/* For who has looked the name up already; keeps the spelling of `name`. */
bool head_add_known(struct head *h, enum hdr_id id, struct span name, struct span value);
/* First value of a known name, {NULL,0} when absent. */
struct span head_get(const struct head *h, enum hdr_id id);
/* First value of any name, letter case ignored. */
struct span head_find(const struct head *h, struct span name);
/* Index of the first field called name at or after `from`; -1 when there is none. */
int head_index(const struct head *h, struct span name, unsigned from);
/* Removes every field of that name; returns how many went. */
unsigned head_remove(struct head *h, struct span name);
unsigned head_remove_id(struct head *h, enum hdr_id id);
/* Leaves one field of that name, where the first one stood, else at the end; an empty value only removes. False when the
 * arena is full. */
bool head_set(struct head *h, struct span name, struct span value);
bool head_set_id(struct head *h, enum hdr_id id, struct span value);

/* True when the comma list in any field of this id holds the token (letter case ignored). */
bool head_has_token(const struct head *h, enum hdr_id id, struct span token);
/* Removes hop-by-hop fields and those that Connection names (RFC 9110 7.6.1), except names of hdr.def without HDR_HOP (Host,
 * Cookie, forwarding and identity fields ... : those are end-to-end, a peer cannot strip them by naming them). The HTTP/1
 * parser has done it already. */
void head_strip_hop(struct head *h);

/* True when `offer`, the protocol a server switched to, is one of those that stand in `asked`. */
bool head_upgrade_matches(struct span asked, struct span offer);

/* "CODE" phrase of a status, "" when unknown. */
struct span status_reason(unsigned status);

/* Name and value bytes that may stand in a field (RFC 9110 5.1, 5.5). */
bool field_name_ok(struct span name);
bool field_value_ok(struct span value);

#endif
