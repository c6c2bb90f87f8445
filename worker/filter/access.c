/*
 * access.c - who may use a route: deny, then allow.
 *
 * A filter of requests. Judges x->client, which is the rightmost address that
 * is no trusted proxy; knows nothing of users and secrets.
 */
#include "common/obj.h"
#include "worker/filter/filters.h"

bool access_allows(const struct exchange *x)
{
	const struct conf_route *r = x->route;

	if (nets_have(r->deny, r->ndeny, &x->client))
		return false;
	return !r->has_allow || nets_have(r->allow, r->nallow, &x->client);
}

static enum filter_rc on_request(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (access_allows(x))
		return FILTER_NEXT;
	exchange_fail(x, REASON_DENIED);
	return FILTER_REPLIED;
}

const struct filter filter_access = { .name = "access", .request = on_request };
