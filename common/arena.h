/*
 * arena.h - bump allocation with one lifetime.
 *
 * What dies with an exchange (or with a configuration) comes from its arena.
 * Blocks go back to the worker's block cache on reset, so a warm worker
 * allocates nothing per request. Memory is not zeroed unless said. Allocation
 * failure returns NULL on a bounded arena (limit != 0) and is the caller's to
 * turn into a 503; an unbounded arena (configuration) ends the process with a
 * sentence.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

#define ARENA_MAGIC 0x41a11a41u
#define ARENA_BLOCK 4096		/* size of a cached block, header included */

struct arena_block {
	struct arena_block *next;
	size_t size;			/* usable bytes */
	char data[];
};

/* Free blocks shared by the arenas of one process; bounded to `max` blocks. */
struct arena_cache {
	struct arena_block *free;
	unsigned n, max;
};

struct arena {
	uint32_t magic;
	struct arena_cache *cache;	/* NULL: malloc and free */
	struct arena_block *blocks;	/* newest first */
	size_t used;			/* in the newest block */
	size_t total;			/* bytes in all blocks */
	size_t limit;			/* 0: none */
};

void arena_init(struct arena *a, struct arena_cache *cache, size_t limit);
void arena_fini(struct arena *a);	/* gives every block back; may be init'ed anew */
void arena_reset(struct arena *a);	/* the same, ready for use at once */

void arena_cache_fini(struct arena_cache *c);

/* Aligned for any object. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
/* Unaligned bytes, for text. */
char *arena_bytes(struct arena *a, size_t n);

/* A copy; NUL-terminated behind its end for the convenience of C interfaces. .p is NULL on failure. */
struct span arena_span(struct arena *a, struct span s);
char *arena_str(struct arena *a, struct span s);
/* printf into the arena; NULL on failure. Never on the request path. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The concatenation of n spans. */
struct span arena_join(struct arena *a, const struct span *parts, unsigned n);

#endif
