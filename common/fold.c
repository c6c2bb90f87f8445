/*
 * fold.c - memory of objects that sleep for long.
 *
 * Called by owners of library objects that are large and mostly empty. Slots
 * come from private mappings that are never moved, so that pointers into them
 * stay good over a sleep. Knows nothing of what lies in them.
 */
#include "common/fold.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/obj.h"

#define CHUNK_SLOTS 16			/* slots of one mapping */
#define WARM_MAX 32			/* free slots that keep their pages */
#define HEAD 16				/* before each piece: its size */
#define WORD sizeof(uint64_t)
#define RUN_MAX UINT16_MAX

struct fold_slot {
	struct fold_slot *next;		/* when free */
	char *base;
	bool warm;			/* when free: it has pages */
};

struct fold_chunk {
	struct fold_chunk *next;
	char *base;
	struct fold_slot slots[CHUNK_SLOTS];
};

_Static_assert(FOLD_SIZE % 4096 == 0 && FOLD_SIZE / WORD <= RUN_MAX, "a run counts in 16 bits");

void fold_pool_init(struct fold_pool *p)
{
	*p = (struct fold_pool){ 0 };
}

void fold_pool_fini(struct fold_pool *p)
{
	struct fold_chunk *c;

	while ((c = p->chunks) != NULL) {
		p->chunks = c->next;
		munmap(c->base, (size_t)CHUNK_SLOTS * FOLD_SIZE);
		free(c);
	}
	p->free = NULL;
}

static void add_chunk(struct fold_pool *p)
{
	struct fold_chunk *c = malloc(sizeof(*c));

	if (c == NULL)
		return;
	c->base = mmap(NULL, (size_t)CHUNK_SLOTS * FOLD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->base == MAP_FAILED) {
		free(c);
		return;
	}
	c->next = p->chunks;
	p->chunks = c;
	for (unsigned i = CHUNK_SLOTS; i-- > 0;) {
		c->slots[i] = (struct fold_slot){ .next = p->free, .base = c->base + (size_t)i * FOLD_SIZE };
		p->free = &c->slots[i];
	}
}

void fold_init(struct fold *f, struct fold_pool *p)
{
	*f = (struct fold){ .magic = FOLD_MAGIC, .pool = p };
	if (p->free == NULL)
		add_chunk(p);
	f->slot = p->free;
	if (f->slot == NULL)
		return;
	p->free = f->slot->next;
	p->nwarm -= f->slot->warm;
	p->used++;
}

static void give_back(char *base)
{
	/* It cannot fail for a mapping of ours; if it did, the pages would merely stay. */
	(void)madvise(base, FOLD_SIZE, MADV_DONTNEED);
}

void fold_fini(struct fold *f)
{
	struct fold_pool *p = f->pool;

	OBJ_CHECK(f, FOLD_MAGIC);
	if (f->slot != NULL) {
		f->slot->warm = f->packed == NULL && p->nwarm < WARM_MAX;
		p->nwarm += f->slot->warm;
		if (f->packed == NULL && !f->slot->warm)
			give_back(f->slot->base);
		f->slot->next = p->free;
		p->free = f->slot;
		p->used--;
	}
	free(f->packed);
	*f = (struct fold){ .magic = 0 };
}

/* ---- pieces ---- */

static bool is_inside(const struct fold *f, const void *p)
{
	return f->slot != NULL && (const char *)p >= f->slot->base && (const char *)p < f->slot->base + FOLD_SIZE;
}

void *fold_get(struct fold *f, size_t n)
{
	char *p;

	OBJ_CHECK(f, FOLD_MAGIC);
	must(!fold_is_shut(f));
	if (f->slot == NULL || n > FOLD_SIZE)
		return NULL;
	n = (n + HEAD - 1) & ~(size_t)(HEAD - 1);
	if (n + HEAD > FOLD_SIZE - f->used)
		return NULL;
	p = f->slot->base + f->used;
	memcpy(p, &n, sizeof(n));
	f->used += (uint32_t)(n + HEAD);
	return p + HEAD;
}

size_t fold_size(const struct fold *f, const void *p)
{
	size_t n;

	OBJ_CHECK(f, FOLD_MAGIC);
	if (!is_inside(f, p))
		return 0;
	must(!fold_is_shut(f));
	memcpy(&n, (const char *)p - HEAD, sizeof(n));
	return n;
}

bool fold_put(struct fold *f, void *p)
{
	size_t n = fold_size(f, p);

	if (n == 0)
		return false;
	if ((char *)p + n == f->slot->base + f->used)
		f->used -= (uint32_t)(n + HEAD);
	else
		memset(p, 0, n);	/* costs nothing while asleep */
	return true;
}

/* ---- sleep ---- */

/* From word *at on: words that are zero, then words that are copied. Single zeros among others are copied, too: a new run
 * costs as much. False: that was all. */
static bool next_run(const uint64_t *w, size_t n, size_t *at, uint16_t run[2])
{
	size_t i = *at, from;

	if (i == n)
		return false;
	while (i < n && w[i] == 0)
		i++;
	run[0] = (uint16_t)(i - *at);
	from = i;
	while (i < n && (w[i] != 0 || (i + 1 < n && w[i + 1] != 0)))
		i++;
	run[1] = (uint16_t)(i - from);
	*at = i;
	return true;
}

bool fold_shut(struct fold *f)
{
	const uint64_t *w;
	size_t n, bytes = 0;
	uint16_t run[2];
	char *out;

	OBJ_CHECK(f, FOLD_MAGIC);
	if (f->slot == NULL || fold_is_shut(f) || f->used == 0)
		return false;
	w = (const uint64_t *)(const void *)f->slot->base;
	n = f->used / WORD;
	for (size_t at = 0; next_run(w, n, &at, run);)
		bytes += sizeof(run) + run[1] * WORD;
	out = malloc(bytes);
	if (out == NULL)
		return false;
	f->packed = out;
	for (size_t at = 0; next_run(w, n, &at, run);) {
		memcpy(out, run, sizeof(run));
		memcpy(out + sizeof(run), w + at - run[1], run[1] * WORD);
		out += sizeof(run) + run[1] * WORD;
	}
	give_back(f->slot->base);
	return true;
}

void fold_open(struct fold *f)
{
	const char *in = f->packed;
	char *out, *end;
	uint16_t run[2];

	OBJ_CHECK(f, FOLD_MAGIC);
	must(fold_is_shut(f));
	out = f->slot->base;
	for (end = out + f->used; out < end; out += run[1] * WORD) {
		memcpy(run, in, sizeof(run));
		in += sizeof(run);
		out += run[0] * WORD;	/* pages that come back are zeros */
		must(out + run[1] * WORD <= end);
		memcpy(out, in, run[1] * WORD);
		in += run[1] * WORD;
	}
	free(f->packed);
	f->packed = NULL;
}
