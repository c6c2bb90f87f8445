/*
 * head.c - message heads: fields in wire order with chains of the known ones.
 *
 * Parsers fill a head, filters edit it, writers read it. Removal closes the gap and renews the chains, so that whoever loops
 * over h->fields sees live fields only. Nothing here knows how a head looks on a wire.
 */
#include "common/obj.h"
#include "worker/http/head.h"

#define FIELDS_START 32
#define FIELDS_LIMIT 16384		/* fits the 16-bit chains with room */

void head_init(struct head *h, struct arena *a)
{
	memset(h, 0, sizeof(*h));
	h->magic = HEAD_MAGIC;
	h->arena = a;
}

static bool fields_grow(struct head *h)
{
	unsigned cap = h->cap ? h->cap * 2u : FIELDS_START;
	struct field *f;

	if (cap > FIELDS_LIMIT)
		return false;
	f = arena_alloc(h->arena, cap * sizeof(*f));
	if (!f)
		return false;
	if (h->nfields)
		memcpy(f, h->fields, h->nfields * sizeof(*f));
	h->fields = f;
	h->cap = (uint16_t)cap;
	return true;
}

static void chain(struct head *h, unsigned id, unsigned index)
{
	uint16_t *link = &h->known[id];

	while (*link)
		link = &h->fields[*link - 1].next;
	*link = (uint16_t)(index + 1);
}

static bool field_push(struct head *h, enum hdr_id id, struct span name, struct span value)
{
	struct field *f;

	OBJ_CHECK(h, HEAD_MAGIC);
	if (h->nfields == h->cap && !fields_grow(h))
		return false;
	f = &h->fields[h->nfields];
	f->name = name;
	f->value = value;
	f->id = (uint16_t)id;
	f->next = 0;
	if (id != HDR_OTHER)
		chain(h, id, h->nfields);
	h->nfields++;
	return true;
}

bool head_add(struct head *h, struct span name, struct span value)
{
	return field_push(h, hdr_find(name), name, value);
}

bool head_add_known(struct head *h, enum hdr_id id, struct span name, struct span value)
{
	return field_push(h, id, name, value);
}

bool head_add_id(struct head *h, enum hdr_id id, struct span value)
{
	must(id != HDR_OTHER);
	return field_push(h, id, hdr_name(id), value);
}

struct span head_get(const struct head *h, enum hdr_id id)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	must(id != HDR_OTHER);
	return h->known[id] ? h->fields[h->known[id] - 1].value : span_make(NULL, 0);
}

int head_index(const struct head *h, struct span name, unsigned from)
{
	enum hdr_id id = hdr_find(name);

	OBJ_CHECK(h, HEAD_MAGIC);
	if (id != HDR_OTHER) {
		for (unsigned i = h->known[id]; i; i = h->fields[i - 1].next)
			if (i - 1 >= from)
				return (int)i - 1;
		return -1;
	}
	for (unsigned i = from; i < h->nfields; i++)
		if (h->fields[i].id == HDR_OTHER && span_caseeq(h->fields[i].name, name))
			return (int)i;
	return -1;
}

struct span head_find(const struct head *h, struct span name)
{
	int i = head_index(h, name, 0);

	return i < 0 ? span_make(NULL, 0) : h->fields[i].value;
}

/* Closes the gaps of fields whose name was emptied (no live field has an empty name) and makes the chains anew. */
static unsigned compact(struct head *h)
{
	unsigned n = 0, gone;

	for (unsigned i = 0; i < h->nfields; i++)
		if (h->fields[i].name.n)
			h->fields[n++] = h->fields[i];
	gone = h->nfields - n;
	h->nfields = (uint16_t)n;
	if (!gone)
		return 0;
	memset(h->known, 0, sizeof(h->known));
	while (n-- > 0) {
		struct field *f = &h->fields[n];

		if (f->id == HDR_OTHER)
			continue;
		f->next = h->known[f->id];
		h->known[f->id] = (uint16_t)(n + 1);
	}
	return gone;
}

unsigned head_remove_id(struct head *h, enum hdr_id id)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	must(id != HDR_OTHER);
	if (!h->known[id])
		return 0;
	for (unsigned i = h->known[id]; i; i = h->fields[i - 1].next)
		h->fields[i - 1].name.n = 0;
	return compact(h);
}

/* Empties the names of unknown fields called `name` from index `from` on. */
static bool mark_other(struct head *h, struct span name, unsigned from)
{
	bool any = false;

	for (unsigned i = from; i < h->nfields; i++) {
		struct field *f = &h->fields[i];

		if (f->id == HDR_OTHER && f->name.n == name.n && span_caseeq(f->name, name)) {
			f->name.n = 0;
			any = true;
		}
	}
	return any;
}

unsigned head_remove(struct head *h, struct span name)
{
	enum hdr_id id = hdr_find(name);

	OBJ_CHECK(h, HEAD_MAGIC);
	if (id != HDR_OTHER)
		return head_remove_id(h, id);
	return name.n && mark_other(h, name, 0) ? compact(h) : 0;
}

bool head_set_id(struct head *h, enum hdr_id id, struct span value)
{
	struct field *f;

	OBJ_CHECK(h, HEAD_MAGIC);
	must(id != HDR_OTHER);
	if (value.n == 0) {
		head_remove_id(h, id);
		return true;
	}
	if (!h->known[id])
		return head_add_id(h, id, value);
	f = &h->fields[h->known[id] - 1];
	f->name = hdr_name(id);
	f->value = value;
	if (f->next) {
		for (unsigned i = f->next; i; i = h->fields[i - 1].next)
			h->fields[i - 1].name.n = 0;
		compact(h);
	}
	return true;
}

bool head_set(struct head *h, struct span name, struct span value)
{
	enum hdr_id id = hdr_find(name);
	int i;

	if (id != HDR_OTHER)
		return head_set_id(h, id, value);
	if (value.n == 0) {
		head_remove(h, name);
		return true;
	}
	i = head_index(h, name, 0);
	if (i < 0)
		return field_push(h, HDR_OTHER, name, value);
	h->fields[i].name = name;
	h->fields[i].value = value;
	if (mark_other(h, name, (unsigned)i + 1))
		compact(h);
	return true;
}

bool head_has_token(const struct head *h, enum hdr_id id, struct span token)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	must(id != HDR_OTHER);
	for (unsigned i = h->known[id]; i; i = h->fields[i - 1].next) {
		struct span rest = h->fields[i - 1].value;

		while (rest.n > 0)
			if (span_caseeq(span_trim(span_cut(&rest, ',')), token))
				return true;
	}
	return false;
}

void head_strip_hop(struct head *h)
{
	OBJ_CHECK(h, HEAD_MAGIC);
	for (unsigned i = h->known[HDR_CONNECTION]; i; i = h->fields[i - 1].next) {
		struct span rest = h->fields[i - 1].value;

		while (rest.n > 0) {
			struct span option = span_trim(span_cut(&rest, ','));

			if (option.n > 0 && hdr_find(option) == HDR_OTHER)
				mark_other(h, option, 0);
		}
	}
	for (unsigned i = 0; i < h->nfields; i++)
		if (hdr_flags(h->fields[i].id) & HDR_HOP)
			h->fields[i].name.n = 0;
	compact(h);
}

struct method_info {
	struct span name;
	bool safe, idempotent;
};

/* RFC 9110 9.2, RFC 5789. */
static const struct method_info methods[METHOD__N] = {
	[METHOD_OTHER] = { { "", 0 }, false, false },
	[METHOD_GET] = { { "GET", 3 }, true, true },
	[METHOD_HEAD] = { { "HEAD", 4 }, true, true },
	[METHOD_POST] = { { "POST", 4 }, false, false },
	[METHOD_PUT] = { { "PUT", 3 }, false, true },
	[METHOD_DELETE] = { { "DELETE", 6 }, false, true },
	[METHOD_OPTIONS] = { { "OPTIONS", 7 }, true, true },
	[METHOD_PATCH] = { { "PATCH", 5 }, false, false },
	[METHOD_TRACE] = { { "TRACE", 5 }, true, true },
	[METHOD_CONNECT] = { { "CONNECT", 7 }, false, false },
};

enum method method_find(struct span s)
{
	for (unsigned m = METHOD_OTHER + 1; m < METHOD__N; m++)
		if (span_eq(methods[m].name, s))
			return (enum method)m;
	return METHOD_OTHER;
}

struct span method_name(enum method m)
{
	must((unsigned)m < METHOD__N);
	return methods[m].name;
}

bool method_safe(enum method m)
{
	must((unsigned)m < METHOD__N);
	return methods[m].safe;
}

bool method_idempotent(enum method m)
{
	must((unsigned)m < METHOD__N);
	return methods[m].idempotent;
}

const char *proto_name(enum proto p)
{
	switch (p) {
	case PROTO_HTTP10:
		return "HTTP/1.0";
	case PROTO_HTTP11:
		return "HTTP/1.1";
	case PROTO_HTTP2:
		return "HTTP/2";
	}
	must_not_reach("unknown protocol");
}

bool head_upgrade_matches(struct span asked, struct span offer)
{
	while (asked.n > 0 && offer.n > 0) {
		if (span_caseeq(span_trim(span_cut(&asked, ',')), offer))
			return true;
	}
	return false;
}
