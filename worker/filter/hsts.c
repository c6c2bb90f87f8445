/*
 * hsts.c - tells clients that came by TLS to come by nothing else (RFC 6797).
 *
 * A filter of answers, those without a route included. What the server says
 * itself stands; the operator's edits come after and win over both.
 */
#include "common/obj.h"
#include "worker/filter/filters.h"

static void on_response(struct exchange *x)
{
	struct span value = x->listen->hsts;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	/* RFC 6797 7.2: never over an insecure transport, which anybody could have written to. */
	if (value.n == 0 || x->tls == NULL || head_get(&x->resp, HDR_STRICT_TRANSPORT_SECURITY).p != NULL)
		return;
	if (!head_add_id(&x->resp, HDR_STRICT_TRANSPORT_SECURITY, value))
		log_debug("An answer left without Strict-Transport-Security: its head is too large.");
}

const struct filter filter_hsts = { .name = "hsts", .response = on_response };
