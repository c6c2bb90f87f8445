/*
 * h1_send.c - output of an HTTP/1 connection, gathered.
 *
 * The virtual line of bytes is: head buffer, chunk size line, the batch's
 * spans, tail. The head is consumed in its buffer; the rest is counted in
 * `done`, so that a short write needs no copying.
 */
#include "worker/http/h1_send.h"

#include <string.h>

#include "common/obj.h"

#define SHORT_BODY 1024

static const char last_chunk[] = "\r\n0\r\n\r\n";

void h1_send_fini(struct h1_send *s, struct buf_pool *p)
{
	buf_put(p, &s->head);
	buf_put(p, &s->tail_buf);
	memset(s, 0, sizeof(*s));
}

struct buf *h1_send_room(struct h1_send *s, struct buf_pool *p, size_t n)
{
	if (s->head == NULL)
		s->head = buf_get(p, n > BUF_SIZE ? n : 0);
	else if (buf_room(s->head) < n && !buf_grow(p, &s->head, buf_len(s->head) + n))
		return NULL;
	return s->head;
}

/* The trailer section needs bytes of its own. */
static bool send_trailers(struct h1_send *s, const struct batch *b, struct buf_pool *p)
{
	size_t need = h1_head_size(b->trailers) + 16;
	size_t n = b->bytes ? 2 : 0;

	s->tail_buf = buf_get(p, need > BUF_SIZE ? need : 0);
	if (s->tail_buf == NULL)
		return false;
	memcpy(buf_tail(s->tail_buf), "\r\n", n);
	s->tail_buf->end += (uint32_t)n;
	n = h1_write_last_chunk(b->trailers, buf_tail(s->tail_buf), buf_room(s->tail_buf));
	must(n > 0);
	s->tail_buf->end += (uint32_t)n;
	s->tail = buf_span(s->tail_buf);
	return true;
}

/* A short body goes into the head's buffer: one run of bytes is cheaper to send than several. */
static void join_short(struct h1_send *s, struct buf_pool *p)
{
	const struct batch *b = s->batch;

	if (b == NULL || s->head == NULL || s->nframe + b->bytes + s->tail.n > SHORT_BODY ||
	    buf_room(s->head) < s->nframe + b->bytes + s->tail.n)
		return;
	must(buf_add(s->head, span_make(s->frame, s->nframe)));
	for (unsigned i = 0; i < b->n; i++)
		must(buf_add(s->head, b->v[i]));
	must(buf_add(s->head, s->tail));
	s->batch = NULL;
	buf_put(p, &s->tail_buf);
}

bool h1_send_batch(struct h1_send *s, const struct batch *b, bool chunked, struct buf_pool *p)
{
	must(s->batch == NULL);
	s->nframe = 0;
	s->tail = SPAN("");
	s->done = 0;
	if (chunked && b->bytes) {
		s->nframe = (unsigned char)h1_write_chunk_head(b->bytes, s->frame);
		s->tail = span_make(last_chunk, 2);
	}
	if (chunked && b->last) {
		if (b->trailers && b->trailers->nfields) {
			if (!send_trailers(s, b, p))
				return false;
		} else {
			s->tail = b->bytes ? span_of(last_chunk) : span_of(last_chunk + 2);
		}
	}
	if (s->nframe + b->bytes + s->tail.n)
		s->batch = b;
	join_short(s, p);
	return true;
}

/* Adds a part less the `skip` bytes of it that are out already. */
static unsigned add_part(struct iovec *iov, unsigned n, const char *p, size_t len, size_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return n;
	}
	iov[n].iov_base = (char *)p + *skip;
	iov[n].iov_len = len - *skip;
	*skip = 0;
	return n + 1;
}

unsigned h1_send_iov(const struct h1_send *s, struct iovec *iov)
{
	unsigned n = 0;
	size_t skip = s->done;

	if (s->head) {
		iov[n].iov_base = s->head->data + s->head->start;
		iov[n++].iov_len = buf_len(s->head);
	}
	if (s->batch == NULL)
		return n;
	n = add_part(iov, n, s->frame, s->nframe, &skip);
	for (unsigned i = 0; i < s->batch->n; i++)
		n = add_part(iov, n, s->batch->v[i].p, s->batch->v[i].n, &skip);
	return add_part(iov, n, s->tail.p, s->tail.n, &skip);
}

void h1_send_wrote(struct h1_send *s, size_t n, struct buf_pool *p)
{
	if (s->head) {
		size_t m = n < buf_len(s->head) ? n : buf_len(s->head);

		buf_consume(s->head, m);
		n -= m;
		if (buf_len(s->head) == 0)
			buf_put(p, &s->head);
	}
	if (s->batch == NULL) {
		must(n == 0);
		return;
	}
	s->done += n;
	must(s->done <= s->nframe + s->batch->bytes + s->tail.n);
	if (s->done == s->nframe + s->batch->bytes + s->tail.n) {
		s->batch = NULL;
		buf_put(p, &s->tail_buf);
	}
}
