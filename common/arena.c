/*
 * arena.c - bump allocation with one lifetime.
 *
 * Owns the blocks of an arena until they go back to the process's block cache.
 * Called by the configuration reader and by everything that belongs to an
 * exchange. Blocks of the standard size are cached; a request that does not fit
 * in one gets a block of its own, which is never cached. Never gives memory
 * back piecemeal.
 */
#include "common/arena.h"

#include <stdalign.h>
#include <stdio.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/poison.h"

#define BLOCK_ROOM (ARENA_BLOCK - sizeof(struct arena_block))
#define ALIGN alignof(max_align_t)

/* A block's data must start aligned, as malloc's does. */
_Static_assert(sizeof(struct arena_block) % ALIGN == 0, "arena blocks are aligned");

void arena_init(struct arena *a, struct arena_cache *cache, size_t limit)
{
	*a = (struct arena){ .magic = ARENA_MAGIC, .cache = cache, .limit = limit };
}

static void block_release(struct arena_cache *cache, struct arena_block *b)
{
	if (cache != NULL && b->size == BLOCK_ROOM && cache->n < cache->max) {
		poison(b->data, b->size);
		b->next = cache->free;
		cache->free = b;
		cache->n++;
		return;
	}
	unpoison(b->data, b->size);
	free(b);
}

void arena_reset(struct arena *a)
{
	OBJ_CHECK(a, ARENA_MAGIC);
	while (a->blocks != NULL) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		block_release(a->cache, b);
	}
	a->used = 0;
	a->total = 0;
}

void arena_fini(struct arena *a)
{
	arena_reset(a);
	a->magic = 0;
}

void arena_cache_fini(struct arena_cache *c)
{
	while (c->free != NULL) {
		struct arena_block *b = c->free;

		c->free = b->next;
		unpoison(b->data, b->size);
		free(b);
	}
	c->n = 0;
}

static struct arena_block *block_take(struct arena *a, size_t room)
{
	struct arena_cache *cache = a->cache;
	struct arena_block *b;

	if (room == BLOCK_ROOM && cache != NULL && cache->free != NULL) {
		b = cache->free;
		cache->free = b->next;
		cache->n--;
		return b;
	}
	b = malloc(sizeof(*b) + room);
	if (b == NULL)
		return NULL;
	b->size = room;
	poison(b->data, room);
	return b;
}

static void *refuse(const struct arena *a, size_t n)
{
	if (a->limit == 0)
		log_no_memory(n);
	return NULL;
}

/* The first n bytes of a new block. One made to measure goes behind the newest, whose rest stays in use. */
static void *alloc_in_new_block(struct arena *a, size_t n)
{
	size_t room = n > BLOCK_ROOM ? n : BLOCK_ROOM;
	size_t whole;

	if (__builtin_add_overflow(room, sizeof(struct arena_block), &whole))
		return refuse(a, n);
	if (a->limit != 0 && (whole > a->limit || a->total > a->limit - whole))
		return NULL;
	struct arena_block *b = block_take(a, room);
	if (b == NULL)
		return refuse(a, n);
	if (n > BLOCK_ROOM && a->blocks != NULL) {
		b->next = a->blocks->next;
		a->blocks->next = b;
	} else {
		b->next = a->blocks;
		a->blocks = b;
		a->used = n;
	}
	a->total += whole;
	unpoison(b->data, n);
	return b->data;
}

static void *alloc_aligned(struct arena *a, size_t n, size_t align)
{
	OBJ_CHECK(a, ARENA_MAGIC);
	size_t at = (a->used + align - 1) & ~(align - 1);

	if (a->blocks == NULL || at > a->blocks->size || n > a->blocks->size - at)
		return alloc_in_new_block(a, n);
	a->used = at + n;
	unpoison(a->blocks->data + at, n);
	return a->blocks->data + at;
}

void *arena_alloc(struct arena *a, size_t n)
{
	return alloc_aligned(a, n, ALIGN);
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = alloc_aligned(a, n, ALIGN);

	if (p != NULL)
		memset(p, 0, n);
	return p;
}

char *arena_bytes(struct arena *a, size_t n)
{
	return alloc_aligned(a, n, 1);
}

struct span arena_span(struct arena *a, struct span s)
{
	return arena_join(a, &s, 1);
}

char *arena_str(struct arena *a, struct span s)
{
	return (char *)arena_join(a, &s, 1).p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	must(n >= 0);
	char *out = arena_bytes(a, (size_t)n + 1);
	if (out == NULL)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(out, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return out;
}

struct span arena_join(struct arena *a, const struct span *parts, unsigned n)
{
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += parts[i].n;
	char *out = arena_bytes(a, len + 1);
	if (out == NULL)
		return span_make(NULL, 0);
	char *at = out;
	for (unsigned i = 0; i < n; i++) {
		if (parts[i].n > 0)
			memcpy(at, parts[i].p, parts[i].n);
		at += parts[i].n;
	}
	*at = '\0';
	return span_make(out, len);
}
