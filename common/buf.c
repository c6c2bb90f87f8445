/*
 * buf.c - byte buffers that are held only while they hold bytes.
 *
 * Owns the free list of standard bufs of one worker. Called by whoever reads
 * from or writes to a connection. Never shrinks or moves a buf behind its
 * owner's back.
 */
#include "common/buf.h"

#include "common/obj.h"
#include "common/poison.h"

/* Offsets are 32 bits wide; no message part in weir comes near. */
#define CAP_MAX (1u << 30)

void buf_pool_init(struct buf_pool *p, unsigned max)
{
	*p = (struct buf_pool){ .max = max };
}

static void free_all(struct buf **list)
{
	while (*list != NULL) {
		struct buf *b = *list;

		*list = b->next;
		unpoison(b->data, b->cap);
		free(b);
	}
}

void buf_pool_fini(struct buf_pool *p)
{
	free_all(&p->free);
	free_all(&p->big);
	p->n = p->nbig = 0;
}

static struct buf *take_free(struct buf_pool *p)
{
	struct buf *b = p->free;

	if (b == NULL)
		return NULL;
	p->free = b->next;
	p->n--;
	unpoison(b->data, b->cap);
	return b;
}

struct buf *buf_get(struct buf_pool *p, size_t cap)
{
	struct buf *b = NULL;

	if (cap > CAP_MAX)
		return NULL;
	/* Of that very size only bufs that are counted as big. */
	cap += cap == BUF_BIG;
	if (cap <= BUF_SIZE) {
		cap = BUF_SIZE;
		b = take_free(p);
	}
	if (b == NULL)
		b = malloc(sizeof(*b) + cap);
	if (b == NULL)
		return NULL;
	b->magic = BUF_MAGIC;
	b->start = b->end = 0;
	b->cap = (uint32_t)cap;
	b->next = NULL;
	p->used++;
	return b;
}

static struct buf *get_big(struct buf_pool *p)
{
	struct buf *b = p->big;

	if (p->big_used >= BUF_BIG_MAX)
		return NULL;
	if (b == NULL)
		b = malloc(sizeof(*b) + BUF_BIG);
	if (b == NULL)
		return NULL;
	if (b == p->big) {
		p->big = b->next;
		p->nbig--;
		unpoison(b->data, BUF_BIG);
	}
	*b = (struct buf){ .magic = BUF_MAGIC, .cap = BUF_BIG };
	p->used++;
	p->big_used++;
	return b;
}

static void put_big(struct buf_pool *p, struct buf *b)
{
	must(p->big_used > 0);
	p->big_used--;
	if (p->nbig >= BUF_BIG_KEPT) {
		free(b);
		return;
	}
	b->next = p->big;
	p->big = b;
	p->nbig++;
	poison(b->data, b->cap);
}

bool buf_for_reading(struct buf_pool *p, struct buf **bp, bool big)
{
	struct buf *b = NULL;

	if (*bp != NULL && (buf_len(*bp) > 0 || !big || (*bp)->cap >= BUF_BIG))
		return true;
	if (big)
		b = get_big(p);
	if (b == NULL && *bp == NULL)
		b = buf_get(p, 0);
	if (b != NULL) {
		buf_put(p, bp);
		*bp = b;
	}
	return *bp != NULL;
}

void buf_put(struct buf_pool *p, struct buf **bp)
{
	struct buf *b = *bp;

	if (b == NULL)
		return;
	OBJ_CHECK(b, BUF_MAGIC);
	must(p->used > 0);
	p->used--;
	OBJ_CLEAR(*bp);
	if (b->cap == BUF_BIG) {
		put_big(p, b);
		return;
	}
	if (b->cap != BUF_SIZE || p->n >= p->max) {
		free(b);
		return;
	}
	b->next = p->free;
	p->free = b;
	p->n++;
	poison(b->data, b->cap);
}

bool buf_grow(struct buf_pool *p, struct buf **bp, size_t cap)
{
	struct buf *old = *bp;

	OBJ_CHECK(old, BUF_MAGIC);
	if (cap <= old->cap) {
		buf_compact(old);
		return true;
	}
	struct buf *b = buf_get(p, cap);
	if (b == NULL)
		return false;
	must(buf_add(b, buf_span(old)));
	buf_put(p, bp);
	*bp = b;
	return true;
}

void buf_compact(struct buf *b)
{
	OBJ_CHECK(b, BUF_MAGIC);
	if (b->start == 0)
		return;
	memmove(b->data, b->data + b->start, buf_len(b));
	b->end -= b->start;
	b->start = 0;
}

bool buf_add(struct buf *b, struct span s)
{
	OBJ_CHECK(b, BUF_MAGIC);
	if (s.n > buf_room(b))
		return false;
	if (s.n > 0)
		memcpy(buf_tail(b), s.p, s.n);
	b->end += (uint32_t)s.n;
	return true;
}
