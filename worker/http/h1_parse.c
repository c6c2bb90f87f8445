/*
 * h1_parse.c - HTTP/1 message heads: their end, their start lines, and what they decide (RFC 9112 2 to 6).
 *
 * Called by the two HTTP/1 codecs with bytes they own. Strict: whatever two recipients could read in two ways is bad, and the
 * connection with it. Never looks at a byte behind those it was given.
 */
#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/h1_fields.h"
#include "worker/http/uri.h"

struct bad_info {
	uint16_t status;
	const char *text;
};

static const struct bad_info bads[H1_BAD__N] = {
	[H1_GOOD] = { 200, "good" },
#define H1_BAD(id, status, text) [H1_BAD_##id] = { status, text },
#include "worker/http/h1_bad.def"
#undef H1_BAD
};

unsigned h1_bad_status(enum h1_bad b)
{
	must((unsigned)b < H1_BAD__N);
	return bads[b].status;
}

const char *h1_bad_text(enum h1_bad b)
{
	must((unsigned)b < H1_BAD__N);
	return bads[b].text;
}

static enum h1_rc broken(enum h1_bad *bad, enum h1_bad what)
{
	*bad = what;
	return H1_BROKEN;
}

/* H1_DONE: the first bytes can start a message. One CRLF in front is passed over (RFC 9112 2.2). */
static enum h1_rc scan_start(const char *p, size_t n, enum h1_bad *bad)
{
	size_t skip = 0;

	if (n > 0 && p[0] == '\r') {
		if (n > 1 && p[1] != '\n')
			return broken(bad, H1_BAD_BARE_CR);
		skip = 2;
	}
	if (n <= skip)
		return H1_MORE;
	if (byte_is(p[skip], BYTE_TOKEN))
		return H1_DONE;
	if (p[skip] == '\r' && skip > 0)
		return broken(bad, H1_BAD_LEADING_LINES);
	return broken(bad, p[skip] == '\n' ? H1_BAD_BARE_LF : H1_BAD_START);
}

/* The start line alone fills `n`. */
static enum h1_rc line_large(const char *p, size_t n, enum h1_bad *bad)
{
	return broken(bad, memchr(p, ' ', n) ? H1_BAD_TARGET_LARGE : H1_BAD_LINE_LARGE);
}

enum h1_rc h1_scan_head(struct h1_scan *s, const char *p, size_t n, size_t max, size_t *len, enum h1_bad *bad)
{
	bool full = n >= max;		/* more bytes will not help */
	const char *q, *end;
	size_t skip;

	if (full)
		n = max;
	if (s->seen == 0) {
		enum h1_rc rc = scan_start(p, n, bad);

		if (rc == H1_MORE && full)
			return broken(bad, H1_BAD_HEAD_LARGE);
		if (rc != H1_DONE)
			return rc;
	}
	skip = p[0] == '\r' ? 2 : 0;
	end = p + n;
	for (q = p + (s->seen > skip ? s->seen : skip); (q = byte_find_lf(q, end)) < end; q++) {
		size_t i = (size_t)(q - p);

		if (!s->line && i + 1 - skip > H1_LINE_MAX)
			return line_large(p + skip, H1_LINE_MAX, bad);
		if (q[-1] != '\r')
			return broken(bad, H1_BAD_BARE_LF);
		if (s->line && q[-2] == '\n') {
			*len = i + 1;
			return H1_DONE;
		}
		if (!s->line)
			s->line = (uint32_t)(i + 1 - skip);
	}
	s->seen = (uint32_t)n;
	if (!s->line && n - skip > H1_LINE_MAX)
		return line_large(p + skip, H1_LINE_MAX, bad);
	if (!full)
		return H1_MORE;
	return s->line ? broken(bad, H1_BAD_HEAD_LARGE) : line_large(p + skip, n - skip, bad);
}

static bool whole_head(const char *p, size_t n)
{
	return n >= 4 && memcmp(p + n - 4, "\r\n\r\n", 4) == 0;
}

/* The protocol at p with CRLF behind it. */
static enum h1_bad version(struct head *h, const char *p, const char *end)
{
	if (end - p < 10 || memcmp(p, "HTTP/", 5) != 0 || (unsigned)(p[5] - '0') > 9 || p[6] != '.' ||
	    (unsigned)(p[7] - '0') > 9 || p[8] != '\r' || p[9] != '\n')
		return H1_BAD_VERSION;
	if (p[5] != '1' || p[7] > '1')
		return H1_BAD_VERSION_UNKNOWN;
	h->proto = p[7] == '1' ? PROTO_HTTP11 : PROTO_HTTP10;
	return H1_GOOD;
}

static enum h1_bad request_line(struct head *h, const char **at, const char *end)
{
	const char *p = *at, *start = p;
	enum h1_bad bad;

	while (byte_is(*p, BYTE_TOKEN))
		p++;
	if (p == start || *p != ' ')
		return H1_BAD_METHOD;
	h->method_text = span_make(start, (size_t)(p - start));
	h->method = method_find(h->method_text);
	start = ++p;
	while (byte_is(*p, BYTE_TARGET))
		p++;
	if (p == start || (*p != ' ' && *p != '\r'))
		return H1_BAD_TARGET;
	h->target = span_make(start, (size_t)(p - start));
	if (*p++ != ' ')
		return H1_BAD_VERSION;	/* HTTP/0.9 had none */
	bad = version(h, p, end);
	*at = p + 10;
	return bad;
}

/* Host, target, and their agreement (RFC 9112 3.2). */
static enum h1_bad request_target(struct head *h)
{
	const char *host;

	if (h->proto == PROTO_HTTP11 && !h->known[HDR_HOST])
		return H1_BAD_HOST_MISSING;
	h->authority = head_get(h, HDR_HOST);
	host = h->authority.p;
	if ((h->proto == PROTO_HTTP11 && h->authority.n == 0) || !uri_parse_authority(h))
		return H1_BAD_HOST;
	if (!uri_parse_target(h))
		return H1_BAD_TARGET;
	if (h->method == METHOD_CONNECT)
		return H1_BAD_CONNECT;
	/* absolute-form: what the target says is the host, whatever Host says (3.2.2). */
	if (h->authority.p != host && !head_set_id(h, HDR_HOST, h->authority))
		return H1_BAD_MEMORY;
	return H1_GOOD;
}

static void set_length(struct head *h, uint64_t length)
{
	h->body = length ? BODY_LENGTH : BODY_NONE;
	h->has_length = true;
	h->length = length;
}

/* Protocols that would bring requests into a tunnel, where no rule sees them. */
static bool is_http(struct span protocol)
{
	struct span name = span_cut(&protocol, '/');

	return span_caseeq(name, SPAN("h2c")) || span_caseeq(name, SPAN("h2")) || span_caseeq(name, SPAN("http")) ||
	       span_caseeq(name, SPAN("tls"));
}

/* Every protocol of the list is a name, perhaps with a version (RFC 9110 7.8), and none is HTTP itself. */
static bool may_tunnel(const struct head *h)
{
	struct span rest = h->upgrade_to;

	if (!h->upgrade || h->method != METHOD_GET || h->body != BODY_NONE || h->has_length)
		return false;
	while (rest.n > 0) {
		struct span version = span_trim(span_cut(&rest, ','));
		struct span all = version;
		struct span name = span_cut(&version, '/');

		if (!field_name_ok(name) || (name.n < all.n && !field_name_ok(version)) || is_http(all))
			return false;
	}
	return true;
}

static void connection_state(const struct h1_fields *x, struct h1_wire *w)
{
	w->close = x->close;
	w->has_idle = x->has_idle;
	w->idle_s = x->idle_s;
	w->keep_alive = !x->close && (x->h->proto == PROTO_HTTP11 || x->keep_alive);
}

enum h1_bad h1_parse_request(struct head *h, struct h1_wire *w, char *head, size_t n)
{
	struct h1_fields x = { .h = h };
	const char *p = head, *end = head + n;
	enum h1_bad bad;

	OBJ_CHECK(h, HEAD_MAGIC);
	*w = (struct h1_wire){ 0 };
	if (!whole_head(head, n))
		return H1_BAD_HEAD_END;
	if (p[0] == '\r' && p[1] == '\n')
		p += 2;
	if ((bad = request_line(h, &p, end)) || (bad = h1_fields_parse(&x, p, end)) || (bad = h1_fields_framing(&x)))
		return bad;
	if (x.has_coding)
		h->body = BODY_STREAM;
	else if (x.has_length)
		set_length(h, x.length);
	connection_state(&x, w);
	if ((bad = request_target(h)))
		return bad;
	h->upgrade = x.upgrade && h->upgrade_to.n > 0 && h->proto == PROTO_HTTP11;
	if (!h->upgrade)
		h->upgrade_to = span_make(NULL, 0);
	h->tunnel = may_tunnel(h);
	if (h->known[HDR_EXPECT]) {
		if (!span_caseeq(head_get(h, HDR_EXPECT), SPAN("100-continue")))
			return H1_BAD_EXPECT;
		/* RFC 9110 10.1.1: HTTP/1.0 did not know it; without a body there is nothing to wait for. */
		h->expect_continue = h->proto == PROTO_HTTP11 && h->body != BODY_NONE;
	}
	return H1_GOOD;
}

/* "HTTP/1.1 200 OK"; the reason, and the blank before it, may be missing. */
static enum h1_bad status_line(struct head *h, const char **at, const char *end)
{
	const char *p = *at, *start;

	if (end - p < 16 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ')
		return H1_BAD_STATUS_LINE;
	h->proto = p[7] == '1' ? PROTO_HTTP11 : PROTO_HTTP10;
	h->status = 0;
	for (p += 9, start = p; p < start + 3; p++) {
		if ((unsigned)(*p - '0') > 9)
			return H1_BAD_STATUS_LINE;
		h->status = (uint16_t)(h->status * 10 + (*p - '0'));
	}
	if (h->status < 100 || h->status > 599 || (*p != ' ' && *p != '\r'))
		return H1_BAD_STATUS_LINE;
	start = p;
	p = byte_value_end(p, end);
	if (*p != '\r' || p[1] != '\n')
		return H1_BAD_STATUS_LINE;
	h->reason = span_trim(span_make(start, (size_t)(p - start)));
	*at = p + 2;
	return H1_GOOD;
}

/* RFC 9112 6.3, in its order. */
static void response_body(const struct h1_fields *x, struct h1_wire *w, enum method method)
{
	struct head *h = x->h;

	h->upgrade = h->status == 101;
	if (h->status < 200 || h->status == 204) {
		/* What they announce cannot come; an origin that says so may send it all the same. */
		if (h->upgrade || x->has_coding || x->length > 0)
			w->keep_alive = false;
	} else if (method == METHOD_HEAD || h->status == 304) {
		if (x->has_length) {
			h->has_length = true;
			h->length = x->length;
		}
	} else if (method == METHOD_CONNECT && h->status < 300) {
		w->keep_alive = false;
	} else if (x->has_coding) {
		h->body = BODY_STREAM;
	} else if (x->has_length) {
		set_length(h, x->length);
	} else {
		h->body = BODY_CLOSE;
		w->keep_alive = false;
	}
}

enum h1_bad h1_parse_response(struct head *h, struct h1_wire *w, enum method method, char *head, size_t n)
{
	struct h1_fields x = { .h = h };
	const char *p = head, *end = head + n;
	enum h1_bad bad;

	OBJ_CHECK(h, HEAD_MAGIC);
	*w = (struct h1_wire){ 0 };
	if (!whole_head(head, n))
		return H1_BAD_HEAD_END;
	if ((bad = status_line(h, &p, end)) || (bad = h1_fields_parse(&x, p, end)) || (bad = h1_fields_framing(&x)))
		return bad;
	connection_state(&x, w);
	response_body(&x, w, method);
	if (!h->upgrade)
		h->upgrade_to = span_make(NULL, 0);
	return H1_GOOD;
}

enum h1_bad h1_parse_trailers(struct head *h, char *p, size_t n)
{
	struct h1_fields x = { .h = h, .trailers = true };

	OBJ_CHECK(h, HEAD_MAGIC);
	if (!whole_head(p, n) && !(n == 2 && memcmp(p, "\r\n", 2) == 0))
		return H1_BAD_HEAD_END;
	return h1_fields_parse(&x, p, p + n);
}
