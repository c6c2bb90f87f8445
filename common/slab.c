/*
 * slab.c - objects of one size, recycled.
 *
 * Owns pages of equal objects; connections, exchanges and the like are taken
 * from here and put back. Memory returns to the system only when the slab ends.
 * The link of a free object sits at its end, so that the cleared magic at its
 * front still convicts whoever uses it after it was put back.
 */
#include "common/slab.h"

#include <stdalign.h>
#include <stdbool.h>
#include <string.h>

#include "common/obj.h"
#include "common/poison.h"

#define PAGE_BYTES 16384
#define PAGE_MIN_OBJS 8
#define ALIGN alignof(max_align_t)

struct slab_page {
	alignas(max_align_t) struct slab_page *next;
	size_t bytes;			/* of data */
	char data[];
};

static void **link_of(const struct slab *s, void *obj)
{
	return (void **)((char *)obj + s->size - sizeof(void *));
}

void slab_init(struct slab *s, const char *name, size_t size)
{
	must(size > 0);
	/* A page must stay far from overflow, whatever sizeof was given. */
	must(size < SIZE_MAX / (4 * PAGE_MIN_OBJS));
	size = (size + ALIGN - 1) & ~(ALIGN - 1);
	*s = (struct slab){ .magic = SLAB_MAGIC, .name = name, .size = size };
}

void slab_fini(struct slab *s)
{
	OBJ_CHECK(s, SLAB_MAGIC);
	while (s->pages != NULL) {
		struct slab_page *page = s->pages;

		s->pages = page->next;
		unpoison(page->data, page->bytes);
		free(page);
	}
	*s = (struct slab){ .magic = 0 };
}

static void push_free(struct slab *s, void *obj)
{
	*link_of(s, obj) = s->free;
	s->free = obj;
	poison(obj, s->size);
}

static bool add_page(struct slab *s)
{
	size_t count = (PAGE_BYTES - sizeof(struct slab_page)) / s->size;

	if (count < PAGE_MIN_OBJS)
		count = PAGE_MIN_OBJS;
	struct slab_page *page = malloc(sizeof(*page) + count * s->size);
	if (page == NULL)
		return false;
	page->bytes = count * s->size;
	page->next = s->pages;
	s->pages = page;
	s->total += (unsigned)count;
	/* From the last to the first, so that they are handed out in address order. */
	while (count-- > 0)
		push_free(s, page->data + count * s->size);
	return true;
}

void *slab_get(struct slab *s)
{
	OBJ_CHECK(s, SLAB_MAGIC);
	if (s->free == NULL && !add_page(s))
		return NULL;
	void *obj = s->free;
	unpoison(obj, s->size);
	s->free = *link_of(s, obj);
	s->used++;
	memset(obj, 0, s->size);
	return obj;
}

void slab_put(struct slab *s, void *obj)
{
	OBJ_CHECK(s, SLAB_MAGIC);
	must(obj != NULL);
	must(s->used > 0);
	s->used--;
#ifdef POISON_ASAN
	memset(obj, 0xdb, s->size);
#endif
	push_free(s, obj);
}
