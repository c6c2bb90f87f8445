/*
 * vars.h - values of variables for one exchange, and templates filled in.
 */
#ifndef WORKER_EXCHANGE_VARS_H
#define WORKER_EXCHANGE_VARS_H

#include "common/tmpl.h"
#include "worker/exchange/exchange.h"

#define VARS_SCRATCH 64

/* The value of a part: text in the exchange, the configuration or `scratch`. Absent is empty. `groups` (20 offsets into
 * `subject`) are for VAR_GROUP; NULL: those of the route's path_regex. */
struct span vars_get(struct exchange *x, const struct tmpl_part *p, char scratch[VARS_SCRATCH], const int *groups,
		     struct span subject);

/* The template filled in, in the arena. False when the arena is full or when a value holds CR, LF or NUL (which never pass). */
bool vars_expand(struct exchange *x, const struct tmpl *t, struct span *out);
/* The same with the groups of a rewrite. */
bool vars_expand_groups(struct exchange *x, const struct tmpl *t, const int groups[20], struct span subject,
			struct span *out);

/* Content-Length, Transfer-Encoding and Upgrade never stand among a head's fields; conditions and ${header:} see them as the peer
 * sent them. {NULL,0}: none of these names, or not sent. */
struct span vars_framing(const struct head *h, struct span name, char scratch[VARS_SCRATCH]);
/* The first cookie of that name in any Cookie field; false when there is none. */
bool vars_cookie(const struct head *req, struct span name, struct span *value);

/* A length of time in seconds, "1.234". Returns the length of the text. */
size_t vars_seconds(uint64_t us, char out[VARS_SCRATCH]);
/* Wall time in the common log format, local: "10/Oct/2026:13:55:36 +0200". */
size_t vars_time_local(uint64_t wall_ms, char out[VARS_SCRATCH]);

#endif
