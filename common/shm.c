/*
 * shm.c - making, mapping and sweeping the shared segments.
 *
 * The master makes them and gives each child its view: everything to read,
 * only what is its own to write. Owns the layout of rows and the folding of
 * dead ones. What the words of HEALTH mean is in shm_health.c, sums over rows
 * are in shm_sum.c. Never waits for anybody, never follows a value it reads.
 */
#include "common/shm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/shm_row.h"
#include "common/shm_seg.h"

static size_t staples_offset(const struct shm *s)
{
	return shm_seg_pages(s->ncells * sizeof(struct shm_health));
}

static size_t queued_offset(const struct shm *s)
{
	return sizeof(struct shm_row) + s->ncells * sizeof(struct shm_use);
}

static void forget_fds(struct shm *s)
{
	int *fds[] = { &s->health_fd[0], &s->health_fd[1], &s->rows_fd[0], &s->rows_fd[1], &s->shared_fd };

	for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static bool open_segments(struct shm *s)
{
	s->health_fd[0] = shm_seg_make("weir-health", s->health_size);
	if (s->health_fd[0] < 0)
		return false;
	s->rows_fd[0] = shm_seg_make("weir-rows", s->rows_size);
	if (s->rows_fd[0] < 0)
		return false;
	s->shared_fd = shm_seg_make("weir-shared", s->shared_size);
	if (s->shared_fd < 0)
		return false;
	s->health_fd[1] = shm_seg_readonly(s->health_fd[0]);
	s->rows_fd[1] = shm_seg_readonly(s->rows_fd[0]);
	return s->health_fd[1] >= 0 && s->rows_fd[1] >= 0;
}

/* Upstreams first: they are as long as a cache line. */
static bool map_shared(struct shm *s)
{
	s->upstreams = shm_seg_map(s->shared_fd, s->shared_size, PROT_READ | PROT_WRITE);
	if (s->upstreams == NULL)
		return false;
	s->servers = (struct shm_server *)(void *)(s->upstreams + s->nupstreams);
	return true;
}

static void find_staples(struct shm *s)
{
	if (s->health != NULL)
		s->staples = (struct shm_staple *)(void *)((char *)s->health + staples_offset(s));
}

static bool keep_from_children(const struct shm *s)
{
	return madvise(s->health, s->health_size, MADV_DONTFORK) == 0
	       && madvise(s->rows, s->rows_size, MADV_DONTFORK) == 0
	       && madvise(s->upstreams, s->shared_size, MADV_DONTFORK) == 0;
}

static bool map_as_master(struct shm *s)
{
	s->health = shm_seg_map(s->health_fd[0], s->health_size, PROT_READ | PROT_WRITE);
	s->rows = shm_seg_map(s->rows_fd[0], s->rows_size, PROT_READ | PROT_WRITE);
	find_staples(s);
	return s->health != NULL && s->rows != NULL && map_shared(s) && keep_from_children(s);
}

static void set_sizes(struct shm *s)
{
	s->row_size = shm_seg_pages(queued_offset(s) + s->nupstreams * sizeof(_Atomic uint32_t));
	s->rows_size = s->row_size * (s->nslots + 2);
	s->health_size = staples_offset(s) + shm_seg_pages(s->nstaples * sizeof(struct shm_staple));
	s->shared_size = shm_seg_pages(s->nupstreams * sizeof(struct shm_upstream) + s->ncells * sizeof(struct shm_server));
}

bool shm_init(struct shm *s, unsigned nslots, unsigned ncells, unsigned nupstreams, unsigned nstaples)
{
	must(nslots > 0);
	*s = (struct shm){ .magic = SHM_MAGIC, .nslots = nslots, .ncells = ncells, .nupstreams = nupstreams,
			   .nstaples = nstaples, .slot = nslots, .health_fd = { -1, -1 }, .rows_fd = { -1, -1 },
			   .shared_fd = -1 };
	set_sizes(s);
	if (open_segments(s) && map_as_master(s))
		return true;
	int why = errno;
	shm_fini(s);
	errno = why;
	return false;
}

static void forget_maps(struct shm *s)
{
	s->health = NULL;
	s->staples = NULL;
	s->rows = NULL;
	s->servers = NULL;
	s->upstreams = NULL;
}

/* ---- another master's ---- */

bool shm_adopt(struct shm *s)
{
	s->magic = SHM_MAGIC;
	s->slot = s->nslots;
	s->health_fd[0] = s->rows_fd[0] = -1;
	set_sizes(s);
	forget_maps(s);
	if (shm_seg_is(s->health_fd[1], s->health_size) && shm_seg_is(s->rows_fd[1], s->rows_size) &&
	    shm_seg_is(s->shared_fd, s->shared_size)) {
		s->health = shm_seg_map(s->health_fd[1], s->health_size, PROT_READ);
		s->rows = shm_seg_map(s->rows_fd[1], s->rows_size, PROT_READ);
		find_staples(s);
		if (s->health != NULL && s->rows != NULL && map_shared(s) && keep_from_children(s))
			return true;
	}
	int why = errno;
	shm_fini(s);
	errno = why;
	return false;
}

void shm_form(const struct shm *s, unsigned out[SHM_FORM])
{
	out[0] = s->nslots;
	out[1] = s->ncells;
	out[2] = s->nupstreams;
	out[3] = s->nstaples;
}

void shm_set_form(struct shm *s, const unsigned form[SHM_FORM])
{
	s->nslots = form[0];
	s->ncells = form[1];
	s->nupstreams = form[2];
	s->nstaples = form[3];
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	return span_hash(span_make(p, n), h);
}

uint64_t shm_layout(void)
{
	const uint64_t sizes[] = { sizeof(struct shm_row), sizeof(struct shm_use), sizeof(struct shm_health),
				   sizeof(struct shm_server), sizeof(struct shm_upstream), sizeof(struct shm_staple),
				   STAT__N, REASON__N };
	uint64_t h = mix(1, sizes, sizeof(sizes));

	for (unsigned i = 0; i < STAT__N; i++)
		h = mix(h, stat_name((enum stat_id)i), strlen(stat_name((enum stat_id)i)));
	for (unsigned i = 0; i < REASON__N; i++)
		h = mix(h, reason_token((enum reason)i), strlen(reason_token((enum reason)i)));
	return h;
}

/* ---- in a child ---- */

static bool map_as_child(struct shm *s, unsigned slot, bool checker)
{
	OBJ_CHECK(s, SHM_MAGIC);
	must(slot < s->nslots);
	/* The master's mappings did not come along; what is at those addresses now is not ours. */
	forget_maps(s);
	s->slot = slot;
	s->rows = shm_seg_map(s->rows_fd[1], s->rows_size, PROT_READ);
	s->health = checker ? shm_seg_map(s->health_fd[0], s->health_size, PROT_READ | PROT_WRITE)
			    : shm_seg_map(s->health_fd[1], s->health_size, PROT_READ);
	find_staples(s);
	if (s->rows == NULL || s->health == NULL || !map_shared(s))
		return false;
	size_t at = slot * s->row_size;
	if (mmap(s->rows + at, s->row_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->rows_fd[0], (off_t)at)
	    == MAP_FAILED)
		return false;
	forget_fds(s);
	return true;
}

bool shm_become_worker(struct shm *s, unsigned slot)
{
	return map_as_child(s, slot, false);
}

bool shm_become_checker(struct shm *s)
{
	return map_as_child(s, s->nslots - 1, true);
}

void shm_fini(struct shm *s)
{
	OBJ_CHECK(s, SHM_MAGIC);
	if (s->health != NULL)
		munmap(s->health, s->health_size);
	if (s->rows != NULL)
		munmap(s->rows, s->rows_size);
	if (s->upstreams != NULL)
		munmap(s->upstreams, s->shared_size);
	forget_maps(s);
	forget_fds(s);
	s->magic = 0;
}

/* ---- rows ---- */

static struct shm_row *row_at(const struct shm *s, unsigned n)
{
	return (struct shm_row *)(void *)(s->rows + n * s->row_size);
}

/*
 * The base row exists twice. Which copy counts, and whose counters it took in
 * last, is one word in the header of the first:
 *   copy:1 at bit 63 | slot:31 | gen:32, where gen 0 stands for "nobody yet".
 * So a fold is published by one store, and a row that the word names is never
 * folded again.
 */
static unsigned fold_copy(uint64_t fold)
{
	return (unsigned)(fold >> 63);
}

static uint64_t fold_word(unsigned copy, unsigned slot, uint32_t gen)
{
	return (uint64_t)copy << 63 | (uint64_t)slot << 32 | gen;
}

uint64_t shm_fold(const struct shm *s)
{
	return atomic_load_explicit(&row_at(s, s->nslots)->fold, memory_order_acquire);
}

struct shm_row *shm_base(const struct shm *s, uint64_t fold)
{
	return row_at(s, s->nslots + fold_copy(fold));
}

bool shm_is_folded(const struct shm *s, uint64_t fold, unsigned slot)
{
	uint32_t gen = atomic_load_explicit(&row_at(s, slot)->gen, memory_order_acquire);

	return fold << 1 == fold_word(0, slot, gen) << 1 && (uint32_t)fold != 0;
}

struct shm_row *shm_row(const struct shm *s, unsigned slot)
{
	must(slot <= s->nslots);
	return slot < s->nslots ? row_at(s, slot) : shm_base(s, shm_fold(s));
}

struct shm_use *shm_use(const struct shm *s, unsigned slot)
{
	return (struct shm_use *)(void *)(shm_row(s, slot) + 1);
}

_Atomic uint32_t *shm_queued(const struct shm *s, unsigned slot)
{
	return (_Atomic uint32_t *)(void *)((char *)shm_row(s, slot) + queued_offset(s));
}

static uint64_t get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static void set(_Atomic uint64_t *c, uint64_t v)
{
	atomic_store_explicit(c, v, memory_order_relaxed);
}

/* to = from + dead, counters only. */
static void fold_counters(const struct shm *s, struct shm_row *to, const struct shm_row *from,
			  const struct shm_row *dead)
{
	struct shm_use *to_use = (void *)(to + 1);
	const struct shm_use *from_use = (const void *)(from + 1), *dead_use = (const void *)(dead + 1);

	for (unsigned i = 0; i < STAT__N; i++)
		set(&to->stats[i], stat_is_gauge((enum stat_id)i) ? 0 : get(&from->stats[i]) + get(&dead->stats[i]));
	for (unsigned i = 0; i < REASON__N; i++)
		set(&to->reasons[i], get(&from->reasons[i]) + get(&dead->reasons[i]));
	for (unsigned i = 0; i < s->ncells; i++) {
		set(&to_use[i].requests, get(&from_use[i].requests) + get(&dead_use[i].requests));
		set(&to_use[i].fails, get(&from_use[i].fails) + get(&dead_use[i].fails));
	}
}

static void zero_row(const struct shm *s, unsigned slot)
{
	struct shm_row *row = row_at(s, slot);
	struct shm_use *use = shm_use(s, slot);
	_Atomic uint32_t *queued = shm_queued(s, slot);

	set(&row->beat_ms, 0);
	set(&row->turns, 0);
	for (unsigned i = 0; i < STAT__N; i++)
		set(&row->stats[i], 0);
	for (unsigned i = 0; i < REASON__N; i++)
		set(&row->reasons[i], 0);
	for (unsigned i = 0; i < s->ncells; i++) {
		atomic_store_explicit(&use[i].active, 0, memory_order_relaxed);
		atomic_store_explicit(&use[i].last_fail, 0, memory_order_relaxed);
		set(&use[i].requests, 0);
		set(&use[i].fails, 0);
	}
	for (unsigned i = 0; i < s->nupstreams; i++)
		atomic_store_explicit(&queued[i], 0, memory_order_relaxed);
}

void shm_reap_row(struct shm *s, unsigned slot)
{
	OBJ_CHECK(s, SHM_MAGIC);
	must(slot < s->nslots && s->slot == s->nslots);
	struct shm_row *row = row_at(s, slot);
	uint64_t fold = shm_fold(s);
	uint32_t gen = atomic_load_explicit(&row->gen, memory_order_relaxed);

	if (gen == 0) {			/* the word could not name it */
		gen = 1;
		atomic_store_explicit(&row->gen, gen, memory_order_relaxed);
	}
	atomic_store_explicit(&row->state, SLOT_DEAD, memory_order_release);
	if (!shm_is_folded(s, fold, slot)) {
		unsigned copy = !fold_copy(fold);

		fold_counters(s, row_at(s, s->nslots + copy), shm_base(s, fold), row);
		atomic_store_explicit(&row_at(s, s->nslots)->fold, fold_word(copy, slot, gen), memory_order_seq_cst);
	}
	zero_row(s, slot);
	/* Readers pass the row over until they see this; by then it reads zero. */
	atomic_store_explicit(&row->gen, gen + 1, memory_order_release);
	atomic_store_explicit(&row->pid, 0, memory_order_relaxed);
	atomic_store_explicit(&row->state, SLOT_FREE, memory_order_release);
}
