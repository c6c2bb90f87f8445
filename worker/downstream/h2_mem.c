/*
 * h2_mem.c - what the HTTP/2 library allocates for one connection: counted,
 * bounded, and folded up while the connection sleeps.
 *
 * Called by the library, and by down_h2.c when a connection falls asleep or
 * wakes. The few large pieces that live as long as the session, its tables and
 * its output buffer, lie in a fold; all others in the heap.
 */
#include <malloc.h>
#include <string.h>

#include "common/obj.h"
#include "worker/downstream/down_h2.h"

#define FOLD_FROM 1000			/* bytes of a piece from which on it goes into the fold */

static size_t size_of(const struct h2 *h, void *p)
{
	size_t n = p ? fold_size(&h->fold, p) : 0;

	return n || p == NULL ? n : malloc_usable_size(p);
}

static void *h2_malloc(size_t n, void *owner)
{
	struct h2 *h = owner;
	void *p = NULL;

	if (h->mem + n > H2_MEM_MAX)
		return NULL;
	if (n >= FOLD_FROM)
		p = fold_get(&h->fold, n);
	if (p == NULL)
		p = malloc(n);
	h->mem += size_of(h, p);
	return p;
}

static void h2_mem_free(void *p, void *owner)
{
	struct h2 *h = owner;

	h->mem -= size_of(h, p);
	if (p && !fold_put(&h->fold, p))
		free(p);
}

static void *h2_calloc(size_t n, size_t size, void *owner)
{
	void *p = size && n > H2_MEM_MAX / size ? NULL : h2_malloc(n * size, owner);

	return p ? memset(p, 0, n * size) : NULL;
}

static void *h2_realloc(void *p, size_t n, void *owner)
{
	struct h2 *h = owner;
	size_t old = size_of(h, p);
	void *q;

	if (p == NULL)
		return h2_malloc(n, owner);
	if (h->mem - old + n > H2_MEM_MAX)
		return NULL;
	if (fold_size(&h->fold, p) == 0) {
		q = realloc(p, n);
		if (q)
			h->mem += malloc_usable_size(q) - old;
		return q;
	}
	q = h2_malloc(n, owner);
	if (q) {
		memcpy(q, p, n < old ? n : old);
		h2_mem_free(p, owner);
	}
	return q;
}

nghttp2_mem h2_mem(struct h2 *h)
{
	return (nghttp2_mem){ h, h2_malloc, h2_mem_free, h2_calloc, h2_realloc };
}

/* ---- sleep ---- */

void h2_sleep(struct h2 *h)
{
	OBJ_CHECK(h, H2_MAGIC);
	must(h->session != NULL && h->nstreams == 0 && !h->working);
	h->woken_ms = h->client->env->loop->now_ms;	/* where there is no memory, it is tried again */
	if (!fold_shut(&h->fold))
		return;
	/* Whoever forgets to wake it falls over at once, and not over bytes that are gone. */
	h->asleep = h->session;
	h->session = NULL;
}

void h2_wake(struct h2 *h)
{
	OBJ_CHECK(h, H2_MAGIC);
	if (h->asleep == NULL)
		return;
	fold_open(&h->fold);
	h->session = h->asleep;
	h->asleep = NULL;
	h->woken_ms = h->client->env->loop->now_ms;
}
