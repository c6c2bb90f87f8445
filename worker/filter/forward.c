/*
 * forward.c - tells the server who asked: Host, X-Forwarded-*, X-Real-IP, X-Request-ID.
 *
 * A filter of requests that go to an upstream, before the operator's own edits.
 * Nothing of this kind that an untrusted peer sent gets through; a trusted
 * proxy's is kept and extended.
 */
#include "common/obj.h"
#include "worker/exchange/client.h"
#include "worker/exchange/vars.h"
#include "worker/filter/filters.h"

/* What only a trusted proxy may say. */
static const enum hdr_id told[] = {
	HDR_FORWARDED, HDR_X_FORWARDED_FOR, HDR_X_FORWARDED_PROTO, HDR_X_FORWARDED_HOST, HDR_X_FORWARDED_PREFIX,
	HDR_X_FORWARDED_PORT, HDR_X_FORWARDED_SERVER, HDR_X_FORWARDED_SSL, HDR_X_FORWARDED_URI, HDR_X_FORWARDED_METHOD,
	HDR_X_REAL_IP, HDR_X_REQUEST_ID, HDR_X_CLIENT_IP, HDR_X_ORIGINAL_URL, HDR_X_REWRITE_URL,
};

static void drop_told(struct exchange *x)
{
	for (unsigned i = 0; i < ARRAY_LEN(told); i++)
		if (x->req.known[told[i]])
			head_remove_id(&x->req, told[i]);
	/* Where the operator takes the client's address from another field, servers may too. */
	if (x->listen->ntrusted > 0)
		head_remove(&x->req, x->listen->client_ip_header);
}

/* A peer on a UNIX socket has no address (RFC 7239 6 has the word). */
static struct span address(struct exchange *x, const struct addr *a)
{
	char text[ADDR_TEXT];

	if (a->family == ADDR_UNIX || a->family == ADDR_NONE)
		return SPAN("unknown");
	if (a == &x->client || addr_eq_ip(a, &x->client))
		return client_text(x);
	return arena_span(&x->arena, span_make(text, addr_ip_text(a, text, sizeof(text))));
}

/* Every field's list in one, and the peer at its end. */
static bool append_peer(struct exchange *x)
{
	struct head *h = &x->req;
	struct span peer = address(x, &x->peer);
	struct span list = peer;

	for (unsigned i = h->known[HDR_X_FORWARDED_FOR]; i; i = h->fields[i - 1].next) {
		struct span field = h->fields[i - 1].value;

		if (field.n == 0)
			continue;
		if (list.p == peer.p)
			list = field;
		else
			list = arena_join(&x->arena, (struct span[]){ list, SPAN(", "), field }, 3);
		if (list.p == NULL)
			return false;
	}
	if (list.p != peer.p)
		list = arena_join(&x->arena, (struct span[]){ list, SPAN(", "), peer }, 3);
	return list.p != NULL && head_set_id(h, HDR_X_FORWARDED_FOR, list);
}

/* The prefix that this route strips, behind those that were stripped on the way here. */
static bool tell_prefix(struct exchange *x)
{
	struct span given = head_get(&x->req, HDR_X_FORWARDED_PREFIX);
	struct span stripped = path_stripped(x);

	if (stripped.n == 0)
		return true;
	if (given.n > 0 && given.p[given.n - 1] == '/')
		given.n--;
	if (given.n > 0)
		stripped = arena_join(&x->arena, (struct span[]){ given, stripped }, 2);
	return stripped.p != NULL && head_set_id(&x->req, HDR_X_FORWARDED_PREFIX, stripped);
}

/* What a trusted proxy said stands. */
static bool tell(struct exchange *x, enum hdr_id id, struct span value)
{
	return value.n == 0 || head_get(&x->req, id).n > 0 || head_set_id(&x->req, id, value);
}

static bool set_host(struct exchange *x)
{
	const struct conf_route *r = x->route;
	struct span value;

	if (r->host_header_kind != CONF_HOST_VALUE)
		return true;
	if (!vars_expand(x, r->host_header, &value))
		return false;
	/* Without one the server is told its own name, as with `upstream`. */
	if (value.n == 0 || !field_value_ok(value)) {
		head_remove_id(&x->req, HDR_HOST);
		return true;
	}
	return head_set_id(&x->req, HDR_HOST, value);
}

bool forward_tell(struct exchange *x)
{
	struct span client;

	if (!x->peer_trusted)
		drop_told(x);
	client = address(x, &x->client);
	return client.p != NULL && append_peer(x) && tell_prefix(x) &&
	       tell(x, HDR_X_FORWARDED_PROTO, x->req.scheme.n ? x->req.scheme : SPAN("http")) &&
	       tell(x, HDR_X_FORWARDED_HOST, x->req.authority) &&
	       head_set_id(&x->req, HDR_X_REAL_IP, client) &&
	       head_set_id(&x->req, HDR_X_REQUEST_ID, x->request_id_span) && set_host(x);
}

#define ID_MAX 128

static bool id_sane(struct span id)
{
	for (size_t i = 0; i < id.n; i++) {
		unsigned char c = ascii_lower((unsigned char)id.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-_.:+/=@", c) != NULL)))
			return false;
	}
	return id.n > 0 && id.n <= ID_MAX;
}

void forward_take_id(struct exchange *x)
{
	struct span id = head_get(&x->req, HDR_X_REQUEST_ID);

	if (x->peer_trusted && id_sane(id))
		x->request_id_span = id;
}

static enum filter_rc on_request(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	forward_take_id(x);
	if (x->route->action != CONF_UPSTREAM || forward_tell(x))
		return FILTER_NEXT;
	exchange_fail(x, REASON_NO_MEMORY);
	return FILTER_REPLIED;
}

const struct filter filter_forward = { .name = "forward", .request = on_request };
