/*
 * h1_send.h - what an HTTP/1 connection still has to write: heads, then one
 * body batch with its framing, gathered for one writev.
 *
 * Pure but for the buffers that it takes from the pool. Both HTTP/1 codecs, client and
 * server side, own one each per message in flight. Body bytes are borrowed and never
 * copied; the batch must stay until h1_send_empty().
 */
#ifndef WORKER_HTTP_H1_SEND_H
#define WORKER_HTTP_H1_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "common/buf.h"
#include "worker/http/batch.h"
#include "worker/http/h1_write.h"

#define H1_SEND_IOV (BATCH_SPANS + 3)

struct h1_send {
	struct buf *head;		/* serialised heads, owned; NULL when all is out */
	char frame[H1_CHUNK_HEAD + 2];	/* chunk size line */
	unsigned char nframe;
	const struct batch *batch;	/* borrowed; NULL: none in flight */
	struct span tail;		/* behind the spans: constant text or in tail_buf */
	struct buf *tail_buf;		/* a trailer section, owned */
	size_t done;			/* bytes of frame, spans and tail that are out */
};

/* Gives the buffers back and forgets the batch. A zeroed struct is a fresh one. */
void h1_send_fini(struct h1_send *s, struct buf_pool *p);
/* Room for `n` more bytes of head text; NULL: no memory. */
struct buf *h1_send_room(struct h1_send *s, struct buf_pool *p, size_t n);
/* Puts a batch in flight; none may be. False: no memory for trailers. */
bool h1_send_batch(struct h1_send *s, const struct batch *b, bool chunked, struct buf_pool *p);
/* What is to be written now, at most H1_SEND_IOV parts; 0: nothing. */
unsigned h1_send_iov(const struct h1_send *s, struct iovec *iov);
/* n bytes of that are out. Buffers that are empty go back. */
void h1_send_wrote(struct h1_send *s, size_t n, struct buf_pool *p);
static inline bool h1_send_empty(const struct h1_send *s)
{
	return s->head == NULL && s->batch == NULL;
}

#endif
