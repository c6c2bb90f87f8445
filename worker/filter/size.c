/*
 * size.c - refuses a request body that says it is too large, before any byte of it is read.
 *
 * A filter of requests. Bodies of unknown length are counted by the exchange as
 * they come.
 */
#include "common/obj.h"
#include "worker/filter/filters.h"

bool size_fits(const struct exchange *x)
{
	return x->max_body == 0 || !x->req.has_length || x->req.length <= x->max_body;
}

static enum filter_rc on_request(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (size_fits(x))
		return FILTER_NEXT;
	exchange_fail(x, REASON_BODY_TOO_LARGE);
	return FILTER_REPLIED;
}

const struct filter filter_size = { .name = "size", .request = on_request };
