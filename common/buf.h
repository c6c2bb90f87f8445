/*
 * buf.h - byte buffers that are held only while they hold bytes.
 *
 * A buf has a readable part [start, end) and room [end, cap). Standard bufs
 * (BUF_SIZE) come from and go back to the worker's pool; larger ones are
 * malloc'ed and freed. An idle connection holds none. A buf has exactly one
 * owner at any time.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

#define BUF_MAGIC 0xb0ffb0ffu
#define BUF_SIZE 16384			/* capacity of a standard buf */
#define BUF_BIG 262144			/* of one for long bodies */
#define BUF_BIG_MAX 64			/* big ones handed out at a time */
#define BUF_BIG_KEPT 4			/* and kept free */

struct buf {
	uint32_t magic;
	uint32_t start, end;		/* readable bytes */
	uint32_t cap;
	struct buf *next;		/* in the pool's free list */
	char data[];
};

struct buf_pool {
	struct buf *free;
	unsigned n, max;		/* free ones kept */
	unsigned used;			/* handed out */
	struct buf *big;		/* free big ones */
	unsigned nbig, big_used;
};

void buf_pool_init(struct buf_pool *p, unsigned max);
void buf_pool_fini(struct buf_pool *p);

/* At least `cap` bytes of room (0: BUF_SIZE); NULL when the system has none. */
struct buf *buf_get(struct buf_pool *p, size_t cap);
/* An empty buf for reading into, big where many bytes are expected and big ones are left. May replace *b, which is empty or NULL.
 * False when the system has no memory. */
bool buf_for_reading(struct buf_pool *p, struct buf **b, bool big);
/* Gives it back and clears the caller's pointer; NULL inside is fine. */
void buf_put(struct buf_pool *p, struct buf **b);

/* Moves the readable part to a buf of at least `cap`; false (and *b untouched) when the system has no memory. */
bool buf_grow(struct buf_pool *p, struct buf **b, size_t cap);

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline size_t buf_room(const struct buf *b)
{
	return b->cap - b->end;
}

static inline struct span buf_span(const struct buf *b)
{
	return span_make(b->data + b->start, b->end - b->start);
}

static inline char *buf_tail(struct buf *b)
{
	return b->data + b->end;
}

/* Drops n readable bytes; an emptied buf starts over at 0. */
static inline void buf_consume(struct buf *b, size_t n)
{
	b->start += (uint32_t)n;
	if (b->start == b->end)
		b->start = b->end = 0;
}

/* Moves the readable bytes to the front. */
void buf_compact(struct buf *b);

/* Appends; false and nothing written when the room is too small. */
bool buf_add(struct buf *b, struct span s);

#endif
