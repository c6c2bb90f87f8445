/*
 * edit.c - the operator's header edits, on requests and on every answer.
 *
 * A filter of both ways. The edits come in the order they are carried out. It
 * never touches what frames a message or belongs to one hop, whatever is written.
 */
#include "common/obj.h"
#include "worker/exchange/vars.h"
#include "worker/filter/filters.h"

static bool edit_one(struct exchange *x, struct head *h, const struct conf_edit *e)
{
	enum hdr_id id = hdr_find(e->name);
	struct span value;

	if (hdr_flags(id) & (HDR_HOP | HDR_FRAMING))
		return true;
	if (e->kind == CONF_EDIT_REMOVE) {
		head_remove(h, e->name);
		return true;
	}
	if (!vars_expand(x, e->value, &value))
		return false;
	value = span_trim(value);
	if (value.n > 0 && !field_value_ok(value))
		value.n = 0;
	if (e->kind == CONF_EDIT_SET || (hdr_flags(id) & HDR_SINGLE))
		return head_set(h, e->name, value);
	return value.n == 0 || head_add(h, e->name, value);
}

bool edit_apply(struct exchange *x, struct head *h, const struct conf_edit *edits, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!edit_one(x, h, &edits[i]))
			return false;
	return true;
}

static enum filter_rc on_request(struct exchange *x)
{
	const struct conf_route *r = x->route;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (r->action != CONF_UPSTREAM || edit_apply(x, &x->req, r->request_edits, r->nrequest_edits))
		return FILTER_NEXT;
	exchange_fail(x, REASON_NO_MEMORY);
	return FILTER_REPLIED;
}

/* An answer that comes without an edit for want of memory is still better than none. */
static void on_response(struct exchange *x)
{
	const struct conf_route *r = x->route;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (r != NULL && !edit_apply(x, &x->resp, r->response_edits, r->nresponse_edits))
		log_debug("An answer of route %.*s left without all of its header edits: its head is too large.",
			  SPAN_FMT(r->name));
}

const struct filter filter_edit = { .name = "edit", .request = on_request, .response = on_response };
