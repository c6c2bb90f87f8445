/*
 * h2_map.c - HTTP/2 field sections to heads and back (RFC 9113 8).
 *
 * Called by the HTTP/2 codecs with text that outlives the head. What one recipient could read otherwise than another is bad; a
 * section is read to its end all the same, since the compression of the connection depends on it.
 */
#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/h1_parse.h"
#include "worker/http/h2_map.h"
#include "worker/http/uri.h"

enum { PS_METHOD, PS_SCHEME, PS_AUTHORITY, PS_PATH, PS_PROTOCOL, PS__N };

static const struct span pseudo_names[PS__N] = {
	{ ":method", 7 }, { ":scheme", 7 }, { ":authority", 10 }, { ":path", 5 }, { ":protocol", 9 },
};

struct bad_info {
	uint16_t status;
	const char *text;
};

static const struct bad_info bads[H2_BAD__N] = {
	[H2_GOOD] = { 200, "good" },
#define H2_BAD(id, status, text) [H2_BAD_##id] = { status, text },
#include "worker/http/h2_bad.def"
#undef H2_BAD
};

unsigned h2_bad_status(enum h2_bad b)
{
	must((unsigned)b < H2_BAD__N);
	return bads[b].status;
}

const char *h2_bad_text(enum h2_bad b)
{
	must((unsigned)b < H2_BAD__N);
	return bads[b].text;
}

bool h2_bad_malformed(enum h2_bad b)
{
	return h2_bad_status(b) == 400 && b != H2_BAD_PATH;
}

void h2_map_init(struct h2_map *m, struct head *h, bool trailers, size_t max)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	*m = (struct h2_map){ .h = h, .trailers = trailers, .max = max };
	h->proto = PROTO_HTTP2;
}

static enum h2_bad check_value(struct span v)
{
	const char *end = v.p + v.n;

	if (v.n == 0)
		return H2_GOOD;
	if (*v.p == ' ' || *v.p == '\t' || end[-1] == ' ' || end[-1] == '\t')
		return H2_BAD_VALUE_BLANK;
	return byte_value_end(v.p, end) == end ? H2_GOOD : H2_BAD_VALUE;
}

static enum h2_bad pseudo(struct h2_map *m, struct span name, struct span value)
{
	enum h2_bad bad = check_value(value);
	unsigned i = 0;

	if (m->trailers)
		return H2_BAD_PSEUDO_TRAILER;
	while (i < PS__N && !span_eq(name, pseudo_names[i]))
		i++;
	if (i == PS__N)
		return H2_BAD_PSEUDO;
	if (m->regular)
		return H2_BAD_PSEUDO_LATE;
	if (m->pseudo[i].p)
		return H2_BAD_PSEUDO_TWICE;
	m->pseudo[i] = value.p ? value : SPAN("");
	return bad;
}

/* Bytes of the name, and whether "_" is among them. */
static enum h2_bad check_name(struct span name, bool *under)
{
	unsigned seen = 0, class;

	for (size_t i = 0; i < name.n; i++) {
		class = byte_is(name.p[i], BYTE_TOKEN | BYTE_UNDER);
		if (class == 0)
			return H2_BAD_NAME;
		if ((unsigned)(name.p[i] - 'A') < 26u)
			return H2_BAD_NAME_CASE;
		seen |= class;
	}
	*under = seen & BYTE_UNDER;
	return name.n ? H2_GOOD : H2_BAD_NAME;
}

static enum h2_bad wire_field(struct h2_map *m, enum hdr_id id, struct span value)
{
	switch (id) {
	case HDR_CONNECTION:
	case HDR_PROXY_CONNECTION:
	case HDR_KEEP_ALIVE:
	case HDR_TRANSFER_ENCODING:
	case HDR_UPGRADE:
		return H2_BAD_CONNECTION;
	case HDR_TE:
		if (!span_caseeq(value, SPAN("trailers")))
			return H2_BAD_TE;
		m->h->te_trailers = true;
		return H2_GOOD;
	case HDR_CONTENT_LENGTH:
		if (m->has_length || !span_u64(value, &m->length) || m->length > INT64_MAX)
			return H2_BAD_LENGTH;
		m->has_length = true;
		return H2_GOOD;
	default:
		return H2_GOOD;
	}
}

static enum h2_bad regular(struct h2_map *m, struct span name, struct span value)
{
	bool under = false;
	enum h2_bad bad;
	enum hdr_id id;
	unsigned flags;

	m->regular = true;
	if (++m->count > H1_FIELDS_MAX)
		return H2_BAD_FIELDS;
	if ((bad = check_name(name, &under)) || (bad = check_value(value)))
		return bad;
	id = hdr_find_token(name);
	if (id == HDR_OTHER) {
		if (under && hdr_disguised(name))
			return H2_GOOD;
		return head_add_known(m->h, id, name, value) ? H2_GOOD : H2_BAD_MEMORY;
	}
	flags = hdr_flags(id);
	if (m->trailers && !(flags & (HDR_LATE | HDR_HOP)))
		return H2_GOOD;
	if (flags & (HDR_HOP | HDR_FRAMING))
		return wire_field(m, id, value);
	if ((flags & HDR_SINGLE) && m->h->known[id])
		return H2_BAD_DUPLICATE;
	m->cookies += id == HDR_COOKIE;
	return head_add_known(m->h, id, hdr_name(id), value) ? H2_GOOD : H2_BAD_MEMORY;
}

enum h2_bad h2_map_field(struct h2_map *m, struct span name, struct span value)
{
	enum h2_bad bad;

	m->bytes += name.n + value.n + H2_FIELD_COST;
	if (m->bad)
		return m->bad;
	if (m->bytes > m->max)
		bad = H2_BAD_LARGE;
	else if (name.n > 0 && name.p[0] == ':')
		bad = pseudo(m, name, value);
	else
		bad = regular(m, name, value);
	m->bad = bad;
	return bad;
}

/* Crumbs of one cookie string (RFC 9113 8.2.3). */
static bool join_cookies(struct h2_map *m)
{
	struct head *h = m->h;
	struct span whole = { NULL, 0 };
	char *p;

	if (m->cookies < 2)
		return true;
	for (unsigned i = h->known[HDR_COOKIE]; i; i = h->fields[i - 1].next)
		whole.n += h->fields[i - 1].value.n + 2;
	whole.p = p = arena_bytes(h->arena, whole.n);
	if (p == NULL)
		return false;
	for (unsigned i = h->known[HDR_COOKIE]; i; i = h->fields[i - 1].next) {
		struct span v = h->fields[i - 1].value;

		if (p != whole.p) {
			memcpy(p, "; ", 2);
			p += 2;
		}
		if (v.n)
			memcpy(p, v.p, v.n);
		p += v.n;
	}
	whole.n = (size_t)(p - whole.p);
	return head_set_id(h, HDR_COOKIE, whole);
}

/* :authority and Host name the same host (RFC 9113 8.3.1); it stands among the fields as in HTTP/1. */
static enum h2_bad authority(struct h2_map *m)
{
	struct head *h = m->h;
	struct span host = head_get(h, HDR_HOST), a = m->pseudo[PS_AUTHORITY];

	if (a.p && h->known[HDR_HOST] && !span_caseeq(a, host))
		return H2_BAD_AUTHORITY_TWO;
	h->authority = a.p ? a : host;
	if (h->authority.n == 0 || !uri_parse_authority(h))
		return H2_BAD_AUTHORITY;
	if (!h->known[HDR_HOST] && !head_add_id(h, HDR_HOST, h->authority))
		return H2_BAD_MEMORY;
	return H2_GOOD;
}

/* RFC 9113 8.5, RFC 8441 4. What comes later is no body, and no length is told of it. */
static enum h2_bad tunnel(struct h2_map *m)
{
	struct head *h = m->h;
	struct span protocol = m->pseudo[PS_PROTOCOL];

	if (protocol.p == NULL) {
		if (m->pseudo[PS_SCHEME].p || m->pseudo[PS_PATH].p)
			return H2_BAD_PSEUDO;
		return m->pseudo[PS_AUTHORITY].n ? H2_BAD_CONNECT : H2_BAD_PSEUDO_MISSING;
	}
	if (h->method != METHOD_CONNECT || !field_name_ok(protocol))
		return H2_BAD_PSEUDO;
	if (m->has_length)
		return H2_BAD_LENGTH;
	if (!span_caseeq(protocol, SPAN("websocket")))
		return m->pseudo[PS_SCHEME].p && m->pseudo[PS_PATH].p ? H2_BAD_PROTOCOL : H2_BAD_PSEUDO_MISSING;
	h->method = METHOD_GET;
	h->method_text = method_name(METHOD_GET);
	h->upgrade = h->tunnel = true;
	h->upgrade_to = SPAN("websocket");
	head_remove(h, SPAN("sec-websocket-key"));	/* of no meaning here; whoever speaks HTTP/1.1 to the server makes one */
	return H2_GOOD;
}

static enum h2_bad method(struct h2_map *m)
{
	struct head *h = m->h;
	struct span s = m->pseudo[PS_METHOD];

	if (s.p == NULL)
		return H2_BAD_PSEUDO_MISSING;
	if (!field_name_ok(s))
		return H2_BAD_METHOD;
	h->method_text = s;
	h->method = method_find(s);
	return h->method == METHOD_CONNECT || m->pseudo[PS_PROTOCOL].p ? tunnel(m) : H2_GOOD;
}

static bool all_of(struct span s, unsigned class)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!byte_is(s.p[i], class))
			return false;
	}
	return true;
}

static enum h2_bad target(struct h2_map *m)
{
	struct head *h = m->h;
	struct span path = m->pseudo[PS_PATH], scheme = m->pseudo[PS_SCHEME];

	if (path.p == NULL || scheme.p == NULL)
		return H2_BAD_PSEUDO_MISSING;
	if (span_caseeq(scheme, SPAN("http")))
		h->scheme = SPAN("http");
	else if (span_caseeq(scheme, SPAN("https")))
		h->scheme = SPAN("https");
	else
		return H2_BAD_SCHEME;
	h->target = path;
	if (path.n > H1_LINE_MAX)
		return H2_BAD_TARGET_LARGE;
	/* Neither absolute-form nor an empty path (8.3.1). */
	if (path.n == 0 || (path.p[0] != '/' && !span_eq(path, SPAN("*"))) || !all_of(path, BYTE_TARGET))
		return H2_BAD_TARGET;
	if (uri_parse_target(h))
		return H2_GOOD;
	return path.p[0] == '/' ? H2_BAD_PATH : H2_BAD_TARGET;
}

static enum h2_bad framing(struct h2_map *m, bool end)
{
	struct head *h = m->h;

	h->has_length = m->has_length;
	h->length = m->length;
	if (end && m->length > 0)
		return H2_BAD_LENGTH_BODY;
	if (h->tunnel)
		h->body = BODY_NONE;
	else if (m->has_length)
		h->body = m->length ? BODY_LENGTH : BODY_NONE;
	else
		h->body = end ? BODY_NONE : BODY_STREAM;
	return H2_GOOD;
}

static enum h2_bad request_end(struct h2_map *m, bool end)
{
	struct head *h = m->h;
	enum h2_bad bad;

	if ((bad = method(m)) || (bad = target(m)) || (bad = authority(m)) || (bad = framing(m, end)))
		return bad;
	if (!join_cookies(m))
		return H2_BAD_MEMORY;
	if (h->known[HDR_EXPECT]) {
		if (!span_caseeq(head_get(h, HDR_EXPECT), SPAN("100-continue")))
			return H2_BAD_EXPECT;
		h->expect_continue = h->body != BODY_NONE;
	}
	return H2_GOOD;
}

enum h2_bad h2_map_end(struct h2_map *m, bool end)
{
	if (!m->bad)
		m->bad = !m->trailers ? request_end(m, end) : end ? H2_GOOD : H2_BAD_TRAILER_OPEN;
	return m->bad;
}

/* ---- answers ---- */

static struct span decimal(uint64_t v, char *end)
{
	char *p = end;

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return span_make(p, (size_t)(end - p));
}

/* The proof of a handshake that HTTP/2 does without. */
static bool is_proof(const struct head *h, const struct field *f)
{
	return h->body == BODY_TUNNEL && span_caseeq(f->name, SPAN("sec-websocket-accept"));
}

static unsigned add_fields(const struct head *h, struct h2_field *out, unsigned n)
{
	for (unsigned i = 0; i < h->nfields; i++) {
		const struct field *f = &h->fields[i];

		if (is_proof(h, f))
			continue;
		if (f->id == HDR_OTHER || !(hdr_flags(f->id) & (HDR_HOP | HDR_FRAMING)))
			out[n++] = (struct h2_field){ f->name, f->value };
	}
	return n;
}

/* Whether a length is told, as HTTP/1 would tell it. */
static bool length_told(const struct head *h, bool to_head)
{
	if (h->status < 200 || h->status == 204)
		return false;
	if (h->body == BODY_LENGTH || h->has_length)
		return true;
	return h->body == BODY_NONE && !to_head && h->status != 304;
}

unsigned h2_map_response(const struct head *h, struct span date, bool to_head, struct h2_field *out,
			 char scratch[H2_MAP_SCRATCH])
{
	unsigned status = h->body == BODY_TUNNEL ? 200 : h->status, n = 0;

	OBJ_CHECK(h, HEAD_MAGIC);
	must(h->status >= 100 && h->status <= 999);
	out[n++] = (struct h2_field){ SPAN(":status"), decimal(status, scratch + 3) };
	if (date.n && status >= 200 && !h->known[HDR_DATE])
		out[n++] = (struct h2_field){ SPAN("date"), date };
	n = add_fields(h, out, n);
	if (length_told(h, to_head))
		out[n++] = (struct h2_field){ SPAN("content-length"), decimal(h->length, scratch + H2_MAP_SCRATCH) };
	return n;
}

unsigned h2_map_trailers(const struct head *h, struct h2_field *out)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	return add_fields(h, out, 0);
}
