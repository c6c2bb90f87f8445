/*
 * reply.c - whole answers that weir makes itself: error pages, fixed texts.
 *
 * Called by handlers, filters and exchange_fail(). The text must live as long
 * as the exchange: it comes from the configuration or the exchange's arena.
 */
#include "common/obj.h"
#include "worker/exchange/exchange.h"
#include "worker/exchange/grpc.h"

struct span exchange_error_text(struct exchange *x, unsigned status)
{
	const struct conf_route *r = x->route;
	struct span reason = status_reason(status);
	char num[8];

	for (unsigned i = 0; r && i < r->nerror_pages; i++) {
		if (status >= r->error_pages[i].from && status <= r->error_pages[i].to)
			return r->error_pages[i].text;
	}
	if (x->reason == REASON_PLAIN_HTTP)
		return SPAN("400 Bad Request: this port speaks TLS. Use https:// in the address.\n");
	if (status < 200 || status > 999)
		return SPAN("");
	num[0] = (char)('0' + status / 100);
	num[1] = (char)('0' + status / 10 % 10);
	num[2] = (char)('0' + status % 10);
	return arena_join(&x->arena, (struct span[]){ span_make(num, 3), SPAN(" "), reason, SPAN("\n") }, 4);
}

/* A page that begins with a tag is HTML; anything else is plain text. */
static struct span guess_type(struct span text)
{
	struct span t = span_trim(text);

	while (t.n && (*t.p == '\n' || *t.p == '\r'))
		t = span_trim(span_make(t.p + 1, t.n - 1));
	if (t.n && *t.p == '<')
		return SPAN("text/html; charset=utf-8");
	return SPAN("text/plain; charset=utf-8");
}

void exchange_reply(struct exchange *x, unsigned status, struct span text, const char *type)
{
	struct head *h = &x->resp;
	struct batch *b = arena_alloc(&x->arena, sizeof(*b));
	bool no_body = status == 204 || status == 304 || status < 200;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	h->status = (uint16_t)status;
	h->reason = status_reason(status);
	h->proto = PROTO_HTTP11;
	if (text.p == NULL || b == NULL)
		text = SPAN("");
	if (text.n && !no_body && head_get(h, HDR_CONTENT_TYPE).p == NULL)
		head_add_id(h, HDR_CONTENT_TYPE, type ? span_of(type) : guess_type(text));
	h->length = text.n;
	h->has_length = !no_body;
	h->body = no_body || text.n == 0 || x->req.method == METHOD_HEAD ? BODY_NONE : BODY_LENGTH;
	if (status >= 400 && grpc_is(&x->req))
		grpc_answer(h, &x->req, x->reason);
	exchange_send_head(x, true);
	if (x->ended || h->body == BODY_NONE)
		return;
	batch_init(b);
	batch_add(b, text);
	b->last = true;
	exchange_send_body(x, b);
}
