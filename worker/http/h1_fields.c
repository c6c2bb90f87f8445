/*
 * h1_fields.c - field lines of HTTP/1 heads and trailers, in one pass.
 *
 * Called by h1_parse.c. Spans point into the given bytes. The wire's own fields (Connection, Content-Length,
 * Transfer-Encoding ...) end here: their meaning goes into struct h1_fields, they do not become fields of the head. Every
 * loop over bytes stops at the CR of the empty line at the latest, which the callers have made sure of.
 */
#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/h1_fields.h"

#define OPTIONS_MAX 32			/* connection options: what they cost is options times fields */
#define IDLE_MAX 86400			/* seconds */

static enum h1_bad connection(struct h1_fields *x, struct span name, struct span value)
{
	struct span rest = value;
	bool names = false;

	while (rest.n > 0) {
		struct span option = span_trim(span_cut(&rest, ','));

		if (option.n == 0)
			continue;
		if (++x->options > OPTIONS_MAX)
			return H1_BAD_CONNECTION;
		if (span_caseeq(option, SPAN("close")))
			x->close = true;
		else if (span_caseeq(option, SPAN("keep-alive")))
			x->keep_alive = true;
		else if (span_caseeq(option, SPAN("upgrade")))
			x->upgrade = true;
		else if (hdr_find(option) == HDR_OTHER)
			names = true;
	}
	if (!names)
		return H1_GOOD;
	x->strip = true;		/* head_strip_hop() takes it out again */
	return head_add_known(x->h, HDR_CONNECTION, name, value) ? H1_GOOD : H1_BAD_MEMORY;
}

/* "timeout=5, max=100" (RFC 2068 19.7.1.1). Advice: what is not understood is passed over. */
static void keep_alive(struct h1_fields *x, struct span value)
{
	while (value.n > 0) {
		struct span param = span_cut(&value, ','), name = span_trim(span_cut(&param, '='));
		uint64_t s;

		if (!span_caseeq(name, SPAN("timeout")) || !span_u64(span_trim(param), &s))
			continue;
		x->has_idle = true;
		x->idle_s = s < IDLE_MAX ? (uint32_t)s : IDLE_MAX;
	}
}

static enum h1_bad content_length(struct h1_fields *x, struct span value)
{
	if (x->has_length)
		return H1_BAD_LENGTH_TWICE;
	x->has_length = true;
	return span_u64(value, &x->length) && x->length <= INT64_MAX ? H1_GOOD : H1_BAD_LENGTH;
}

/* `raw`: the value with its blanks. */
static enum h1_bad wire_field(struct h1_fields *x, enum hdr_id id, struct span name, struct span value, struct span raw)
{
	struct span rest = value;

	switch (id) {
	case HDR_CONNECTION:
		return connection(x, name, value);
	case HDR_CONTENT_LENGTH:
		return content_length(x, value);
	case HDR_TRANSFER_ENCODING:
		if (x->has_coding)
			return H1_BAD_CODING;
		x->has_coding = true;
		x->coding = raw;
		return H1_GOOD;
	case HDR_KEEP_ALIVE:
		keep_alive(x, value);
		return H1_GOOD;
	case HDR_UPGRADE:
		if (x->h->upgrade_to.n == 0)
			x->h->upgrade_to = value;
		return H1_GOOD;
	case HDR_TE:
		while (rest.n > 0)
			if (span_caseeq(span_trim(span_cut(&rest, ',')), SPAN("trailers")))
				x->h->te_trailers = true;
		return H1_GOOD;
	default:
		return H1_GOOD;
	}
}

static enum h1_bad take(struct h1_fields *x, struct span name, struct span raw, bool under)
{
	enum hdr_id id = hdr_find_token(name);
	struct span value = span_trim(raw);
	unsigned flags;

	if (id == HDR_OTHER) {
		if (under && hdr_disguised(name))
			return H1_GOOD;
		return head_add_known(x->h, id, name, value) ? H1_GOOD : H1_BAD_MEMORY;
	}
	flags = hdr_flags(id);
	if (x->trailers && !(flags & HDR_LATE))
		return H1_GOOD;
	if (flags & (HDR_HOP | HDR_FRAMING))
		return wire_field(x, id, name, value, raw);
	if ((flags & HDR_SINGLE) && x->h->known[id])
		return id == HDR_HOST ? H1_BAD_HOST_TWICE : H1_BAD_DUPLICATE;
	return head_add_known(x->h, id, name, value) ? H1_GOOD : H1_BAD_MEMORY;
}

static enum h1_bad bad_name(const char *start, const char *p)
{
	if (*p != ' ' && *p != '\t')
		return H1_BAD_NAME;
	return p == start ? H1_BAD_FOLD : H1_BAD_NAME_BLANK;
}

static enum h1_bad bad_value(const char *p)
{
	return *p == '\r' ? H1_BAD_BARE_CR : *p == '\n' ? H1_BAD_BARE_LF : H1_BAD_VALUE;
}

enum h1_bad h1_fields_parse(struct h1_fields *x, const char *p, const char *end)
{
	while (p < end && *p != '\r') {
		const char *start = p, *colon;
		unsigned class, seen = 0;
		enum h1_bad bad;

		while ((class = byte_is(*p, BYTE_TOKEN | BYTE_UNDER))) {
			seen |= class;
			p++;
		}
		if (p == start || *p != ':')
			return bad_name(start, p);
		colon = p++;
		p = byte_value_end(p, end);
		if (*p != '\r' || p[1] != '\n')
			return bad_value(p);
		if (++x->count > H1_FIELDS_MAX)
			return H1_BAD_FIELDS;
		bad = take(x, span_make(start, (size_t)(colon - start)), span_make(colon + 1, (size_t)(p - colon - 1)),
			   seen & BYTE_UNDER);
		if (bad)
			return bad;
		p += 2;
	}
	if (end - p != 2 || p[1] != '\n')
		return p < end && p[1] != '\n' ? H1_BAD_BARE_CR : H1_BAD_HEAD_END;
	if (x->strip)
		head_strip_hop(x->h);
	return H1_GOOD;
}

/* Exactly one "chunked" is known (RFC 9112 7.1). What only looks like it is an attack, not a coding. */
static enum h1_bad coding_check(struct span raw)
{
	struct span rest = raw;

	while (rest.n > 0 && rest.p[0] == ' ')
		rest = span_make(rest.p + 1, rest.n - 1);
	while (rest.n > 0 && rest.p[rest.n - 1] == ' ')
		rest.n--;
	if (span_caseeq(rest, SPAN("chunked")))
		return H1_GOOD;
	if (rest.n == 0 || memchr(rest.p, '\t', rest.n) || rest.p[rest.n - 1] == ',')
		return H1_BAD_CODING;
	while (rest.n > 0) {
		struct span coding = span_trim(span_cut(&rest, ','));

		if (!field_name_ok(coding) || (rest.n > 0 && span_caseeq(coding, SPAN("chunked"))))
			return H1_BAD_CODING;
	}
	return H1_BAD_CODING_UNKNOWN;
}

enum h1_bad h1_fields_framing(const struct h1_fields *x)
{
	if (!x->has_coding)
		return H1_GOOD;
	if (x->has_length)
		return H1_BAD_LENGTH_AND_CODING;
	if (x->h->proto == PROTO_HTTP10)
		return H1_BAD_CODING_10;
	return coding_check(x->coding);
}
