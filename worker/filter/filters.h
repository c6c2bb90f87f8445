/*
 * filters.h - what an exchange passes on its way, one const table each.
 *
 * worker/wire.c lists them in request order: access, size, path, forward, edit,
 * hsts, location; answers meet them in reverse. The functions beside the tables are
 * the same work without an answer to the client, for `weir -e`.
 */
#ifndef WORKER_FILTER_FILTERS_H
#define WORKER_FILTER_FILTERS_H

#include "worker/exchange/exchange.h"

extern const struct filter filter_access;	/* allow, deny */
extern const struct filter filter_size;		/* a declared length over max_body_size; what streams is counted by the exchange */
extern const struct filter filter_path;		/* strip_prefix, rewrite, add_prefix */
extern const struct filter filter_forward;	/* Host, X-Forwarded-*, X-Real-IP, X-Request-ID */
extern const struct filter filter_edit;		/* request_header*, response_header* */
extern const struct filter filter_hsts;		/* hsts */
extern const struct filter filter_location;	/* rewrite_location */

/* Whether allow and deny let the client in. */
bool access_allows(const struct exchange *x);

bool size_fits(const struct exchange *x);

/* Edits x->req's path and query. REASON_NONE, or why the result cannot be sent. */
enum reason path_edit(struct exchange *x);
/* What strip_prefix takes off the request's path: without a slash at its end, empty for nothing. */
struct span path_stripped(const struct exchange *x);

/* A trusted proxy's X-Request-ID becomes the request's own, in logs too. */
void forward_take_id(struct exchange *x);
/* Says to the server who asked. False: no memory. host_header = upstream is left to who knows the server. */
bool forward_tell(struct exchange *x);

/* Carries out edits on a head; a value that comes out empty, or with bytes no field may hold, removes the field. False: no
 * memory; the edits before have been made. */
bool edit_apply(struct exchange *x, struct head *h, const struct conf_edit *edits, unsigned n);

/* The reference as the client must see it; *out may be `value` itself. False: no memory. */
bool location_map(struct exchange *x, struct span value, struct span *out);

#endif
