/*
 * h2_alloc.c - memory for the HTTP/2 library, counted and bounded for each connection.
 *
 * Called by the library alone. What counts is what the C library gives, not what was asked for.
 */
#include "worker/http/h2_alloc.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void *mem_malloc(size_t n, void *owner)
{
	struct h2_alloc *m = owner;
	void *p = m->used + n > m->max ? NULL : malloc(n);

	if (p)
		m->used += malloc_usable_size(p);
	return p;
}

static void mem_free(void *p, void *owner)
{
	struct h2_alloc *m = owner;

	if (p)
		m->used -= malloc_usable_size(p);
	free(p);
}

static void *mem_calloc(size_t n, size_t size, void *owner)
{
	struct h2_alloc *m = owner;
	void *p = size && n > m->max / size ? NULL : mem_malloc(n * size, owner);

	return p ? memset(p, 0, n * size) : NULL;
}

static void *mem_realloc(void *p, size_t n, void *owner)
{
	struct h2_alloc *m = owner;
	size_t old = p ? malloc_usable_size(p) : 0;
	void *q = m->used - old + n > m->max ? NULL : realloc(p, n);

	if (q)
		m->used += malloc_usable_size(q) - old;
	return q;
}

nghttp2_mem h2_alloc_hooks(struct h2_alloc *m)
{
	return (nghttp2_mem){ m, mem_malloc, mem_free, mem_calloc, mem_realloc };
}
