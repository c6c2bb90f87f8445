/*
 * codec.h - how tests and fuzzers drive the HTTP/1 codecs.
 *
 * Input always ends right before a page that cannot be read, so that a parser
 * that looks too far dies. A message comes whole or in steps; what came of it
 * is written down as text, so that two ways to read it compare in one line.
 */
#ifndef CODEC_H
#define CODEC_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/arena.h"
#include "worker/http/h1_body.h"
#include "worker/http/h1_parse.h"

#define CODEC_ROOM (1u << 18)		/* longest input */
#define CODEC_MAX 32768			/* head limit used */
#define CODEC_UNUSED __attribute__((unused))

enum codec_kind { CODEC_REQUEST, CODEC_RESPONSE, CODEC_TRAILERS };

/* n bytes that end at the end of what can be read. One at a time: the next call moves them. */
CODEC_UNUSED static char *guarded(const void *bytes, size_t n)
{
	static char *end;

	if (!end) {
		char *p = mmap(NULL, CODEC_ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || mprotect(p + CODEC_ROOM, 4096, PROT_NONE) != 0)
			abort();
		end = p + CODEC_ROOM;
	}
	if (n > CODEC_ROOM)
		abort();
	if (n)
		memmove(end - n, bytes, n);
	return end - n;
}

struct text {
	char *p;
	size_t n;
};

CODEC_UNUSED static void text_span(struct text *t, const char *label, struct span s)
{
	t->p = realloc(t->p, t->n + strlen(label) + s.n + 4);
	if (!t->p)
		abort();
	t->n += (size_t)sprintf(t->p + t->n, "%s=", label);
	if (s.n)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
	t->p[t->n++] = '\n';
	t->p[t->n] = '\0';
}

CODEC_UNUSED static void text_number(struct text *t, const char *label, uint64_t v)
{
	char digits[24];

	text_span(t, label, span_make(digits, (size_t)sprintf(digits, "%llu", (unsigned long long)v)));
}

/* What a head says. `wire`: with what only the first hop knows (target as sent, TE, expectations). */
CODEC_UNUSED static void text_head(struct text *t, const struct head *h, bool wire)
{
	text_span(t, "method", h->method_text);
	text_number(t, "method_id", h->method);
	text_span(t, "authority", h->authority);
	text_span(t, "host", h->host);
	text_number(t, "port", h->port);
	text_span(t, "path", h->path);
	text_number(t, "has_query", h->has_query);
	text_span(t, "query", h->query);
	text_number(t, "status", h->status);
	text_span(t, "reason", h->reason);
	text_number(t, "body", h->body);
	text_number(t, "has_length", h->has_length);
	text_number(t, "length", h->length);
	if (wire) {
		text_span(t, "target", h->target);
		text_span(t, "scheme", h->scheme);
		text_number(t, "proto", h->proto);
		text_number(t, "expect", h->expect_continue);
		text_number(t, "te", h->te_trailers);
		text_number(t, "upgrade", h->upgrade);
		text_span(t, "upgrade_to", h->upgrade_to);
	}
}

CODEC_UNUSED static void text_fields(struct text *t, const struct head *h, bool host)
{
	for (unsigned i = 0; i < h->nfields; i++) {
		const struct field *f = &h->fields[i];

		if (f->id == HDR_HOST && !host)
			continue;
		text_span(t, "name", f->name);
		text_span(t, "value", f->value);
		text_number(t, "id", f->id);
	}
}

/* Every chain leads through the fields of its id, all of them, in order. */
CODEC_UNUSED static bool chains_whole(const struct head *h)
{
	for (unsigned id = 1; id < HDR__N; id++) {
		unsigned link = h->known[id];

		for (unsigned i = 0; i < h->nfields; i++) {
			if (h->fields[i].id != id)
				continue;
			if (link != i + 1)
				return false;
			link = h->fields[i].next;
		}
		if (link)
			return false;
	}
	return true;
}

struct parsed {
	enum h1_rc scan;
	enum h1_bad bad;
	size_t len;			/* of the head */
	struct arena arena;
	struct head head;
	struct h1_wire wire;
	struct text text;
	char *bytes;			/* the head's own copy */
};

CODEC_UNUSED static void parsed_fini(struct parsed *r)
{
	if (r->arena.magic)
		arena_fini(&r->arena);
	free(r->text.p);
	free(r->bytes);
	memset(r, 0, sizeof(*r));
}

CODEC_UNUSED static enum h1_bad codec_tokenise(struct parsed *r, enum codec_kind kind, enum method method, char *p)
{
	switch (kind) {
	case CODEC_REQUEST:
		return h1_parse_request(&r->head, &r->wire, p, r->len);
	case CODEC_RESPONSE:
		return h1_parse_response(&r->head, &r->wire, method, p, r->len);
	case CODEC_TRAILERS:
		return h1_parse_trailers(&r->head, p, r->len);
	}
	abort();
}

/* Scans `step` bytes at a time (0: all at once), then parses. Trailers are taken to be n long. */
CODEC_UNUSED static void codec_parse(struct parsed *r, enum codec_kind kind, enum method method, const void *bytes,
				     size_t n, size_t step)
{
	struct h1_scan scan = { 0, 0 };
	size_t have = step && step < n ? step : n;

	memset(r, 0, sizeof(*r));
	r->scan = H1_DONE;
	r->len = n;
	while (kind != CODEC_TRAILERS) {
		r->scan = h1_scan_head(&scan, guarded(bytes, have), have, CODEC_MAX, &r->len, &r->bad);
		if (r->scan != H1_MORE || have == n)
			break;
		have = n - have > step ? have + step : n;
	}
	arena_init(&r->arena, NULL, 1 << 20);
	head_init(&r->head, &r->arena);
	if (r->scan != H1_DONE)
		return;
	/* First against the guard page, then for keeps in memory of its own. */
	r->bad = codec_tokenise(r, kind, method, guarded(bytes, r->len));
	arena_reset(&r->arena);
	head_init(&r->head, &r->arena);
	r->bytes = malloc(r->len + 1);
	if (!r->bytes)
		abort();
	memcpy(r->bytes, bytes, r->len);
	r->bad = codec_tokenise(r, kind, method, r->bytes);
	if (r->bad)
		return;
	if (!chains_whole(&r->head))
		abort();
	text_head(&r->text, &r->head, true);
	text_fields(&r->text, &r->head, true);
	text_number(&r->text, "keep_alive", r->wire.keep_alive);
	text_number(&r->text, "close", r->wire.close);
}

CODEC_UNUSED static bool parsed_same(const struct parsed *a, const struct parsed *b)
{
	return a->scan == b->scan && a->bad == b->bad && (a->scan != H1_DONE || a->len == b->len) &&
	       a->text.n == b->text.n && (!a->text.n || memcmp(a->text.p, b->text.p, a->text.n) == 0);
}

struct unbodied {
	enum h1_body_rc rc;		/* MORE: the input did not end it */
	enum h1_bad bad;
	size_t used;
	unsigned runs;			/* times DATA was returned */
	struct text data, trailers;
};

CODEC_UNUSED static void unbodied_fini(struct unbodied *r)
{
	free(r->data.p);
	free(r->trailers.p);
	memset(r, 0, sizeof(*r));
}

CODEC_UNUSED static void text_bytes(struct text *t, struct span s)
{
	t->p = realloc(t->p, t->n + s.n + 1);
	if (!t->p)
		abort();
	if (s.n)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
	t->p[t->n] = '\0';
}

/* Feeds a body `step` bytes at a time (0: all at once), as a connection would: unused bytes are offered again. */
CODEC_UNUSED static void codec_unbody(struct unbodied *r, enum body_kind kind, uint64_t length, const char *bytes,
				      size_t n, size_t step, size_t max_trailer)
{
	struct h1_body b;
	size_t have = step && step < n ? step : n;

	memset(r, 0, sizeof(*r));
	h1_body_init(&b, kind, length);
	for (;;) {
		size_t used = 0, room = have - r->used;
		struct span data;

		r->rc = h1_body_feed(&b, guarded(bytes + r->used, room), room, max_trailer, &used, &data);
		if (used > room)
			abort();
		r->used += used;
		r->bad = b.bad;
		if (r->rc == H1B_RC_DATA) {
			text_bytes(&r->data, data);
			r->runs++;
		} else if (r->rc == H1B_RC_TRAILERS) {
			text_bytes(&r->trailers, data);
		} else if (r->rc != H1B_RC_MORE || have == n) {
			break;
		} else {
			have = n - have > step ? have + step : n;
		}
	}
}

CODEC_UNUSED static bool unbodied_same(const struct unbodied *a, const struct unbodied *b)
{
	return a->rc == b->rc && a->bad == b->bad && (a->rc == H1B_RC_BAD || a->used == b->used) &&
	       a->data.n == b->data.n && (!a->data.n || memcmp(a->data.p, b->data.p, a->data.n) == 0) &&
	       a->trailers.n == b->trailers.n &&
	       (!a->trailers.n || memcmp(a->trailers.p, b->trailers.p, a->trailers.n) == 0);
}

#endif
