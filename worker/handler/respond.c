/*
 * respond.c - the actions `respond` and `redirect`: answers from the
 * configuration.
 *
 * Done within start(); the request body is left to the client side, which
 * reads it off or closes.
 */
#include "common/obj.h"
#include "worker/exchange/vars.h"
#include "worker/handler/handlers.h"

static void respond_start(struct exchange *x)
{
	const struct conf_route *r = x->route;
	struct span text;

	if (r->text == NULL)
		text = exchange_error_text(x, r->status);
	else if (!vars_expand(x, r->text, &text)) {
		exchange_fail(x, REASON_INTERNAL);
		return;
	}
	exchange_reply(x, r->status, text, r->text ? "text/plain; charset=utf-8" : NULL);
}

static void redirect_start(struct exchange *x)
{
	struct span url;

	if (!vars_expand(x, x->route->text, &url) || url.n == 0 || !field_value_ok(url) ||
	    !head_add_id(&x->resp, HDR_LOCATION, url)) {
		exchange_fail(x, REASON_INTERNAL);
		return;
	}
	exchange_reply(x, x->route->status, SPAN(""), NULL);
}

static enum take no_body(struct exchange *x, const struct batch *b)
{
	(void)x;
	(void)b;
	must_not_reach("a body that was not asked for");
}

static void nothing(struct exchange *x)
{
	(void)x;
}

const struct handler handler_respond = { "respond", respond_start, no_body, nothing, nothing };
const struct handler handler_redirect = { "redirect", redirect_start, no_body, nothing, nothing };
