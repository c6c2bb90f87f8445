/*
 * fold.h - memory of objects that sleep for long: most of it is zeros, and what is not fits a small copy.
 *
 * A fold is one slot of a pool: room that is given out piece by piece to a
 * library that keeps pointers into it. While the owner sleeps, fold_shut()
 * keeps a copy without the runs of zeros and gives the pages back to the
 * system; fold_open() puts every byte back where it was. In between nobody may
 * touch it. Never grows: what finds no room is the caller's to get elsewhere.
 */
#ifndef COMMON_FOLD_H
#define COMMON_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOLD_MAGIC 0xf01d0001u
#define FOLD_SIZE 28672			/* of a slot: whole pages */

struct fold_slot;
struct fold_chunk;

struct fold_pool {
	struct fold_slot *free;		/* last one in, first one out */
	struct fold_chunk *chunks;
	unsigned nwarm;			/* free ones whose pages the system has not got back */
	unsigned used;
};

struct fold {
	uint32_t magic;
	uint32_t used;			/* bytes given out */
	struct fold_pool *pool;
	struct fold_slot *slot;		/* NULL: the system had no memory; there is no room then */
	void *packed;			/* not NULL: shut */
};

void fold_pool_init(struct fold_pool *p);
void fold_pool_fini(struct fold_pool *p);

void fold_init(struct fold *f, struct fold_pool *p);
void fold_fini(struct fold *f);
/* Like malloc(); NULL: no room here. */
void *fold_get(struct fold *f, size_t n);
/* False: p is not from here. Only the piece that was given out last makes room again. */
bool fold_put(struct fold *f, void *p);
/* What a piece of this fold holds; 0: p is not from here. */
size_t fold_size(const struct fold *f, const void *p);

static inline bool fold_is_shut(const struct fold *f)
{
	return f->packed != NULL;
}

/* False: nothing to shut, or no memory; it is open as before. */
bool fold_shut(struct fold *f);
void fold_open(struct fold *f);

#endif
