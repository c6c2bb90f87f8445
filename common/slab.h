/*
 * slab.h - objects of one size, recycled.
 *
 * A slab hands out zeroed-on-first-use objects of one size and keeps freed ones
 * for the next taker. Freed objects are scribbled in sanitizer builds. Pages go
 * back to the system only at slab_fini(). For pooled things: connections,
 * exchanges, upstream connections, timers' owners.
 */
#ifndef COMMON_SLAB_H
#define COMMON_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_MAGIC 0x51ab51abu

struct slab {
	uint32_t magic;
	const char *name;
	size_t size;			/* of one object, rounded up */
	void *free;			/* singly linked through the objects */
	void *pages;
	unsigned used, total;
};

void slab_init(struct slab *s, const char *name, size_t size);
void slab_fini(struct slab *s);
/* Zeroed memory, aligned for any object; NULL when the system has none. */
void *slab_get(struct slab *s);
void slab_put(struct slab *s, void *obj);

#endif
