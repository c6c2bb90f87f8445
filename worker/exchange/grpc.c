/*
 * grpc.c - what weir knows of gRPC over HTTP/2: deadlines and statuses.
 *
 * Called by exchange.c and reply.c. The mapping is the one that callers use for answers of HTTP without a grpc-status; where weir
 * knows better what happened it says so.
 */
#include "worker/exchange/grpc.h"

#include "common/obj.h"

/* Statuses of gRPC. */
enum {
	CODE_UNKNOWN = 2, CODE_DEADLINE = 4, CODE_DENIED = 7, CODE_EXHAUSTED = 8, CODE_UNIMPLEMENTED = 12,
	CODE_INTERNAL = 13, CODE_UNAVAILABLE = 14, CODE_UNAUTHENTICATED = 16
};

static const char *const digits[] = {
	"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"
};

bool grpc_is(const struct head *req)
{
	static const struct span want = { "application/grpc", 16 };
	struct span type = head_get(req, HDR_CONTENT_TYPE);

	if (type.n < want.n || !span_caseeq(span_make(type.p, want.n), want))
		return false;
	return type.n == want.n || type.p[want.n] == '+' || type.p[want.n] == ';' || type.p[want.n] == '-';
}

/* Nanoseconds in one unit; 0: there is no such unit. */
static uint64_t unit(char c)
{
	switch (c) {
	case 'H': return 3600000000000u;
	case 'M': return 60000000000u;
	case 'S': return 1000000000u;
	case 'm': return 1000000u;
	case 'u': return 1000u;
	case 'n': return 1u;
	default:  return 0;
	}
}

uint64_t grpc_timeout(const struct head *req)
{
	struct span v = head_find(req, SPAN("grpc-timeout"));
	uint64_t n, ns;

	/* At most eight digits and a unit: no product overflows. */
	if (v.n < 2 || v.n > 9 || !span_u64(span_make(v.p, v.n - 1), &n) || (ns = unit(v.p[v.n - 1])) == 0)
		return 0;
	n = n > UINT64_MAX / ns ? UINT64_MAX : n * ns;
	return n < 1000000 ? 1 : n / 1000000 + (n % 1000000 != 0);
}

unsigned grpc_status(enum reason why, unsigned status)
{
	if (why == REASON_REQUEST_TIMEOUT)
		return CODE_DEADLINE;
	switch (status) {
	case 400: return CODE_INTERNAL;
	case 401: return CODE_UNAUTHENTICATED;
	case 403: return CODE_DENIED;
	case 404: return CODE_UNIMPLEMENTED;
	case 501: return CODE_UNIMPLEMENTED;
	case 413: return CODE_EXHAUSTED;
	case 431: return CODE_EXHAUSTED;
	case 429: return CODE_UNAVAILABLE;
	case 502: return CODE_UNAVAILABLE;
	case 503: return CODE_UNAVAILABLE;
	case 504: return CODE_UNAVAILABLE;
	default:  return CODE_UNKNOWN;
	}
}

/* The phrase needs no percent-encoding. */
static bool add_status(struct head *h, enum reason why, unsigned status)
{
	return head_set(h, SPAN("grpc-status"), span_of(digits[grpc_status(why, status)])) &&
	       head_set(h, SPAN("grpc-message"), status_reason(status));
}

bool grpc_answer(struct head *h, const struct head *req, enum reason why)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	if (!head_set_id(h, HDR_CONTENT_TYPE, head_get(req, HDR_CONTENT_TYPE)) || !add_status(h, why, h->status))
		return false;
	h->status = 200;
	h->reason = status_reason(200);
	h->proto = PROTO_HTTP2;		/* as if a server had sent it */
	h->body = BODY_NONE;
	h->has_length = false;
	h->length = 0;
	return true;
}

struct head *grpc_trailers(struct arena *a, enum reason why)
{
	unsigned status = reason_status(why);
	struct head *t = arena_alloc(a, sizeof(*t));

	if (t == NULL)
		return NULL;
	head_init(t, a);
	return add_status(t, why, status ? status : 502) ? t : NULL;
}
