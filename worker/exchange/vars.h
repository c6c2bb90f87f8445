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

#endif
