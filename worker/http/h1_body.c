/*
 * h1_body.c - message bodies out of HTTP/1 bytes: by length, chunked, or until the end (RFC 9112 6.3, 7.1).
 *
 * Called by the HTTP/1 codecs. Works through framing bytes until it meets body; then hands out the run without copying. Each
 * byte is looked at once, however it arrives. Sizes, extensions and the rest of the framing are checked and forgotten.
 */
#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/h1_body.h"

#define EXT_MAX 16384			/* bytes of chunk extensions in one body */
#define DIGITS_MAX 16

void h1_body_init(struct h1_body *b, enum body_kind kind, uint64_t length)
{
	memset(b, 0, sizeof(*b));
	b->left = length;
	switch (kind) {
	case BODY_NONE:
		b->state = H1B_END;
		break;
	case BODY_LENGTH:
		b->state = length ? H1B_LENGTH : H1B_END;
		break;
	case BODY_STREAM:
		b->state = H1B_SIZE;
		b->left = 0;
		break;
	case BODY_CLOSE:
	case BODY_TUNNEL:
		b->state = H1B_CLOSE;
		break;
	}
}

static enum h1_body_rc bad(struct h1_body *b, enum h1_bad what)
{
	b->state = H1B_BAD;
	b->bad = what;
	return H1B_RC_BAD;
}

/* One byte of a chunk's size. */
static enum h1_bad size_byte(struct h1_body *b, char c)
{
	if (byte_is(c, BYTE_HEX)) {
		if (++b->digits > DIGITS_MAX || b->left > (uint64_t)INT64_MAX >> 4)
			return H1_BAD_CHUNK_LARGE;
		b->left = b->left << 4 | byte_hex(c);
		return H1_GOOD;
	}
	if (b->digits == 0 || (c != '\r' && c != ';'))
		return H1_BAD_CHUNK_SIZE;
	b->digits = 0;
	if (c == '\r') {
		b->state = H1B_SIZE_LF;
		return H1_GOOD;
	}
	b->state = H1B_EXT;
	return ++b->ext > EXT_MAX ? H1_BAD_CHUNK_EXT_LARGE : H1_GOOD;
}

/* A byte of framing in any state but data and trailers. */
static enum h1_bad framing_byte(struct h1_body *b, char c)
{
	switch (b->state) {
	case H1B_SIZE:
		return size_byte(b, c);
	case H1B_EXT:
		if (c == '\r')
			b->state = H1B_SIZE_LF;
		else if (!byte_is(c, BYTE_VALUE))
			return H1_BAD_CHUNK_EXT;
		else if (++b->ext > EXT_MAX)
			return H1_BAD_CHUNK_EXT_LARGE;
		return H1_GOOD;
	case H1B_SIZE_LF:
		if (c != '\n')
			return H1_BAD_CHUNK_SIZE;
		b->state = b->left ? H1B_DATA : H1B_TRAILER;
		return H1_GOOD;
	case H1B_DATA_CR:
		b->state = H1B_DATA_LF;
		return c == '\r' ? H1_GOOD : H1_BAD_CHUNK_END;
	case H1B_DATA_LF:
		b->state = H1B_SIZE;
		return c == '\n' ? H1_GOOD : H1_BAD_CHUNK_END;
	default:
		must_not_reach("no framing in this state");
	}
}

/* Hands out what there is of a run of `left` bytes. */
static enum h1_body_rc run(struct h1_body *b, const char *p, size_t n, size_t at, enum h1_body_state then, size_t *used,
			   struct span *data)
{
	size_t take = n - at;

	if (take > b->left)
		take = (size_t)b->left;
	*data = span_make(p + at, take);
	*used = at + take;
	b->left -= take;
	if (b->left == 0)
		b->state = then;
	return H1B_RC_DATA;
}

/* The section after the last chunk; p is where it starts. */
static enum h1_body_rc trailer(struct h1_body *b, const char *p, size_t n, size_t max, size_t *len)
{
	const char *q = p + b->scan.seen, *end = p + (n > max ? max : n);

	for (; (q = byte_find_lf(q, end)) < end; q++) {
		if (q == p || q[-1] != '\r')
			return bad(b, H1_BAD_BARE_LF);
		if (q == p + 1 || q[-2] == '\n') {
			*len = (size_t)(q + 1 - p);
			b->state = H1B_END;
			return *len == 2 ? H1B_RC_END : H1B_RC_TRAILERS;
		}
	}
	b->scan.seen = (uint32_t)(end - p);
	return n >= max ? bad(b, H1_BAD_TRAILER_LARGE) : H1B_RC_MORE;
}

enum h1_body_rc h1_body_feed(struct h1_body *b, const char *p, size_t n, size_t max_trailer, size_t *used,
			     struct span *data)
{
	size_t len = 0;
	enum h1_body_rc rc;
	enum h1_bad what;

	*data = span_make(NULL, 0);
	for (size_t i = 0;; i++) {
		*used = i;
		switch (b->state) {
		case H1B_END:
			return H1B_RC_END;
		case H1B_BAD:
			return H1B_RC_BAD;
		case H1B_TRAILER:
			rc = trailer(b, p + i, n - i, max_trailer, &len);
			*used = i + len;
			if (rc == H1B_RC_TRAILERS)
				*data = span_make(p + i, len);
			return rc;
		default:
			break;
		}
		if (i == n)
			return H1B_RC_MORE;
		switch (b->state) {
		case H1B_CLOSE:
			*data = span_make(p + i, n - i);
			*used = n;
			return H1B_RC_DATA;
		case H1B_LENGTH:
			return run(b, p, n, i, H1B_END, used, data);
		case H1B_DATA:
			return run(b, p, n, i, H1B_DATA_CR, used, data);
		default:
			break;
		}
		what = framing_byte(b, p[i]);
		if (what)
			return bad(b, what);
	}
}

bool h1_body_eof(struct h1_body *b)
{
	if (b->state == H1B_CLOSE)
		b->state = H1B_END;
	return b->state == H1B_END;
}
