/*
 * h1_write.c - HTTP/1 message heads to bytes (RFC 9112 3, 4, 6).
 *
 * Called by the HTTP/1 codecs with room in a send buffer; each message is serialised once. Trusts names and values: parsers
 * and field_value_ok() have looked at them.
 */
#include "common/obj.h"
#include "worker/http/h1_write.h"

/* Start line words, framing, connection and Date fields, the empty line. */
#define FIXED_SIZE 336

/* A cursor; `full` stays once something did not fit. */
struct out {
	char *p, *end;
	bool full;
};

static void put(struct out *o, struct span s)
{
	if ((size_t)(o->end - o->p) < s.n) {
		o->full = true;
		o->end = o->p;
		return;
	}
	if (s.n) {
		memcpy(o->p, s.p, s.n);
		o->p += s.n;
	}
}

static void put_field(struct out *o, struct span name, struct span value)
{
	char *p = o->p;

	if ((size_t)(o->end - p) < name.n + value.n + 4) {
		o->full = true;
		o->end = p;
		return;
	}
	memcpy(p, name.p, name.n);
	p += name.n;
	*p++ = ':';
	*p++ = ' ';
	if (value.n)
		memcpy(p, value.p, value.n);
	p += value.n;
	*p++ = '\r';
	*p++ = '\n';
	o->p = p;
}

static void put_length(struct out *o, uint64_t v)
{
	char text[20];
	unsigned at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	put_field(o, SPAN("Content-Length"), span_make(text + at, sizeof(text) - at));
}

/* All end-to-end fields but one. */
static void put_fields(struct out *o, const struct head *h, enum hdr_id except)
{
	for (unsigned i = 0; i < h->nfields; i++) {
		const struct field *f = &h->fields[i];

		if (f->id != HDR_OTHER && (f->id == except || hdr_flags(f->id) & (HDR_HOP | HDR_FRAMING)))
			continue;
		put_field(o, f->name, f->value);
	}
}

static void put_connection(struct out *o, const struct head *h, const struct h1_out *how)
{
	if (how->upgrade) {
		put(o, SPAN("Connection: upgrade\r\n"));
		put_field(o, SPAN("Upgrade"), h->upgrade_to);
		if (how->ws_key.n)
			put_field(o, SPAN("Sec-WebSocket-Key"), how->ws_key);
	} else if (how->close) {
		put(o, SPAN("Connection: close\r\n"));
	} else if (how->keep_alive) {
		put(o, SPAN("Connection: keep-alive\r\n"));
	}
}

static size_t finish(struct out *o, const char *start)
{
	put(o, SPAN("\r\n"));
	return o->full ? 0 : (size_t)(o->p - start);
}

static struct span version(const struct h1_out *how)
{
	must(how->proto != PROTO_HTTP2);
	return how->proto == PROTO_HTTP11 ? SPAN("HTTP/1.1") : SPAN("HTTP/1.0");
}

size_t h1_head_size(const struct head *h)
{
	size_t n = FIXED_SIZE + h->method_text.n + h->path.n + h->query.n + h->reason.n + h->upgrade_to.n;

	OBJ_CHECK(h, HEAD_MAGIC);
	for (unsigned i = 0; i < h->nfields; i++)
		n += h->fields[i].name.n + h->fields[i].value.n + 4;
	return n;
}

size_t h1_write_request(const struct head *h, const struct h1_out *how, char *out, size_t room)
{
	struct out o = { out, out + room, false };

	OBJ_CHECK(h, HEAD_MAGIC);
	put(&o, h->method_text.n ? h->method_text : method_name(h->method));
	put(&o, SPAN(" "));
	put(&o, h->path.n ? h->path : SPAN("/"));
	if (h->has_query) {
		put(&o, SPAN("?"));
		put(&o, h->query);
	}
	put(&o, SPAN(" "));
	put(&o, version(how));
	put(&o, SPAN("\r\n"));
	if (how->proto == PROTO_HTTP11 || h->known[HDR_HOST])
		put_field(&o, SPAN("Host"), head_get(h, HDR_HOST));
	put_fields(&o, h, HDR_HOST);
	if (h->body == BODY_LENGTH || (h->body == BODY_NONE && h->has_length))
		put_length(&o, h->length);
	else if (h->body != BODY_NONE && how->chunked)
		put(&o, SPAN("Transfer-Encoding: chunked\r\n"));
	put_connection(&o, h, how);
	return finish(&o, out);
}

static void response_framing(struct out *o, const struct head *h, const struct h1_out *how)
{
	if (h->status < 200 || h->status == 204)
		return;			/* RFC 9110 8.6, RFC 9112 6.1 */
	switch (h->body) {
	case BODY_LENGTH:
		put_length(o, h->length);
		break;
	case BODY_NONE:
		if (h->has_length)
			put_length(o, h->length);
		else if (!how->to_head && h->status != 304)
			put_length(o, 0);
		break;
	case BODY_STREAM:
	case BODY_CLOSE:
	case BODY_TUNNEL:
		if (how->chunked)
			put(o, SPAN("Transfer-Encoding: chunked\r\n"));
		break;
	}
}

size_t h1_write_response(const struct head *h, const struct h1_out *how, char *out, size_t room)
{
	struct out o = { out, out + room, false };
	char status[5] = { ' ', (char)('0' + h->status / 100), (char)('0' + h->status / 10 % 10),
			   (char)('0' + h->status % 10), ' ' };

	OBJ_CHECK(h, HEAD_MAGIC);
	must(h->status >= 100 && h->status <= 999);
	put(&o, version(how));
	put(&o, span_make(status, sizeof(status)));
	put(&o, h->reason.n ? h->reason : status_reason(h->status));
	put(&o, SPAN("\r\n"));
	if (how->date.n && h->status >= 200 && !h->known[HDR_DATE])
		put_field(&o, SPAN("Date"), how->date);
	put_fields(&o, h, HDR_OTHER);
	response_framing(&o, h, how);
	put_connection(&o, h, how);
	return finish(&o, out);
}

size_t h1_write_chunk_head(size_t n, char *out)
{
	static const char digits[16] = "0123456789abcdef";
	char *p = out;
	int shift = n ? (63 - __builtin_clzll(n)) & ~3 : 0;

	for (; shift >= 0; shift -= 4)
		*p++ = digits[n >> shift & 15];
	*p++ = '\r';
	*p++ = '\n';
	return (size_t)(p - out);
}

size_t h1_write_last_chunk(const struct head *trailers, char *out, size_t room)
{
	struct out o = { out, out + room, false };

	put(&o, SPAN("0\r\n"));
	if (trailers)
		put_fields(&o, trailers, HDR_HOST);
	return finish(&o, out);
}
