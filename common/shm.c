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

static size_t master_offset(const struct shm *s)
{
	return s->row_size * (s->nslots + 2);
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
static bool map_shared(struct shm *s, int fd, bool write)
{
	s->upstreams = shm_seg_map(fd, s->shared_size, write ? PROT_READ | PROT_WRITE : PROT_READ);
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
	return s->health != NULL && s->rows != NULL && map_shared(s, s->shared_fd, true) && keep_from_children(s);
}

static void set_sizes(struct shm *s)
{
	shm_set_meters(s);
	s->row_size = shm_seg_pages(s->meters_end);
	s->rows_size = master_offset(s) + shm_seg_pages(sizeof(struct shm_master));
	s->health_size = staples_offset(s) + shm_seg_pages(s->nstaples * sizeof(struct shm_staple));
	s->shared_size = shm_seg_pages(s->nupstreams * sizeof(struct shm_upstream) + s->ncells * sizeof(struct shm_server));
}

bool shm_init(struct shm *s, const struct shm_size *z)
{
	must(z->nslots > 0);
	*s = (struct shm){ .magic = SHM_MAGIC, .nslots = z->nslots, .nworkers = z->nworkers, .ncells = z->ncells,
			   .nupstreams = z->nupstreams, .nservers = z->nservers, .nroutes = z->nroutes,
			   .nseries = z->nseries, .nlistens = z->nlistens, .nstaples = z->nstaples, .slot = z->nslots,
			   .health_fd = { -1, -1 }, .rows_fd = { -1, -1 }, .shared_fd = -1 };
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
		if (s->health != NULL && s->rows != NULL && map_shared(s, s->shared_fd, true) && keep_from_children(s))
			return true;
	}
	int why = errno;
	shm_fini(s);
	errno = why;
	return false;
}

void shm_form(const struct shm *s, unsigned out[SHM_FORM])
{
	const unsigned form[SHM_FORM] = { s->nslots, s->nworkers, s->ncells, s->nupstreams, s->nservers, s->nroutes,
					  s->nseries, s->nlistens, s->nstaples };

	memcpy(out, form, sizeof(form));
}

void shm_set_form(struct shm *s, const unsigned form[SHM_FORM])
{
	s->nslots = form[0];
	s->nworkers = form[1];
	s->ncells = form[2];
	s->nupstreams = form[3];
	s->nservers = form[4];
	s->nroutes = form[5];
	s->nseries = form[6];
	s->nlistens = form[7];
	s->nstaples = form[8];
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	return span_hash(span_make(p, n), h);
}

uint64_t shm_layout(void)
{
	const uint64_t sizes[] = { sizeof(struct shm_row), sizeof(struct shm_use), sizeof(struct shm_health),
				   sizeof(struct shm_server), sizeof(struct shm_upstream), sizeof(struct shm_staple),
				   STAT__N, REASON__N,
				   sizeof(struct meter_hist), sizeof(struct meter_server), sizeof(struct meter_series),
				   METER_BOUNDS, meter_bounds[0], meter_bounds[METER_BOUNDS - 1],
				   sizeof(struct shm_master), SHM_TAKEN };
	uint64_t h = mix(1, sizes, sizeof(sizes));

	for (unsigned i = 0; i < STAT__N; i++)
		h = mix(h, stat_name((enum stat_id)i), strlen(stat_name((enum stat_id)i)));
	for (unsigned i = 0; i < REASON__N; i++)
		h = mix(h, reason_token((enum reason)i), strlen(reason_token((enum reason)i)));
	return h;
}

/* ---- in a child ---- */

/* False with errno. The master's mappings did not come along; what is at those addresses now is not ours. */
static bool map_to_read(struct shm *s)
{
	OBJ_CHECK(s, SHM_MAGIC);
	forget_maps(s);
	s->rows = shm_seg_map(s->rows_fd[1], s->rows_size, PROT_READ);
	return s->rows != NULL;
}

static bool map_own_row(struct shm *s, unsigned slot)
{
	size_t at = slot * s->row_size;

	must(slot < s->nslots);
	s->slot = slot;
	return mmap(s->rows + at, s->row_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->rows_fd[0], (off_t)at)
	       != MAP_FAILED;
}

static bool map_health(struct shm *s, bool write)
{
	s->health = write ? shm_seg_map(s->health_fd[0], s->health_size, PROT_READ | PROT_WRITE)
			  : shm_seg_map(s->health_fd[1], s->health_size, PROT_READ);
	find_staples(s);
	return s->health != NULL;
}

bool shm_become_worker(struct shm *s, unsigned slot)
{
	if (!map_to_read(s) || !map_own_row(s, slot) || !map_health(s, false) || !map_shared(s, s->shared_fd, true))
		return false;
	forget_fds(s);
	return true;
}

bool shm_become_checker(struct shm *s, unsigned slot)
{
	if (!map_to_read(s) || !map_own_row(s, slot) || !map_health(s, true) || !map_shared(s, s->shared_fd, true))
		return false;
	forget_fds(s);
	return true;
}

/* SHARED through a description of its own, since who may write through one may make a mapping of it writable later. */
bool shm_become_reader(struct shm *s)
{
	if (!map_to_read(s) || !map_health(s, false))
		return false;
	int fd = shm_seg_readonly(s->shared_fd);
	bool good = fd >= 0 && map_shared(s, fd, false);
	int why = errno;

	if (fd >= 0)
		close(fd);
	errno = why;
	return good;
}

bool shm_become_admin(struct shm *s, unsigned slot)
{
	if (!shm_become_reader(s) || !map_own_row(s, slot))
		return false;
	forget_fds(s);
	return true;
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

_Atomic uint32_t *shm_open_conns(const struct shm *s, unsigned slot)
{
	return shm_queued(s, slot) + s->nupstreams;
}

struct shm_master *shm_master(const struct shm *s)
{
	return (struct shm_master *)(void *)(s->rows + master_offset(s));
}

static uint64_t get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static void set(_Atomic uint64_t *c, uint64_t v)
{
	atomic_store_explicit(c, v, memory_order_relaxed);
}

static uint64_t sum(const _Atomic uint64_t *a, const _Atomic uint64_t *b)
{
	return get(a) + (b != NULL ? get(b) : 0);
}

static _Atomic uint64_t *meters(const struct shm *s, const struct shm_row *row)
{
	return (_Atomic uint64_t *)(void *)((char *)(uintptr_t)row + s->meters_at);
}

/* to = from + dead, counters only. dead NULL: to = from. */
void shm_add_rows(const struct shm *s, struct shm_row *to, const struct shm_row *from, const struct shm_row *dead)
{
	struct shm_use *to_use = (void *)(to + 1);
	const struct shm_use *from_use = (const void *)(from + 1);
	const struct shm_use *dead_use = dead != NULL ? (const void *)(dead + 1) : NULL;
	_Atomic uint64_t *to_meter = meters(s, to), *from_meter = meters(s, from);
	_Atomic uint64_t *dead_meter = dead != NULL ? meters(s, dead) : NULL;
	const size_t n = (s->meters_end - s->meters_at) / sizeof(uint64_t);

	for (unsigned i = 0; i < SHM_TAKEN; i++)
		atomic_store_explicit(&to->taken[i], atomic_load(&from->taken[i]), memory_order_relaxed);
	for (unsigned i = 0; i < STAT__N; i++)
		set(&to->stats[i], stat_is_gauge((enum stat_id)i) ? 0 : sum(&from->stats[i], dead ? &dead->stats[i] : NULL));
	for (unsigned i = 0; i < REASON__N; i++)
		set(&to->reasons[i], sum(&from->reasons[i], dead ? &dead->reasons[i] : NULL));
	for (unsigned i = 0; i < s->ncells; i++) {
		set(&to_use[i].requests, sum(&from_use[i].requests, dead ? &dead_use[i].requests : NULL));
		set(&to_use[i].fails, sum(&from_use[i].fails, dead ? &dead_use[i].fails : NULL));
	}
	for (size_t i = 0; i < n; i++)
		set(&to_meter[i], sum(&from_meter[i], dead ? &dead_meter[i] : NULL));
}

struct shm_row *shm_spare_base(const struct shm *s, uint64_t fold)
{
	return row_at(s, s->nslots + !fold_copy(fold));
}

static void publish(struct shm *s, uint64_t fold)
{
	struct shm_row *head = row_at(s, s->nslots);

	/* First: a reader that meets the new word and the old epoch would take both for unchanged. */
	atomic_store_explicit(&head->epoch, get(&head->epoch) + 1, memory_order_seq_cst);
	atomic_store_explicit(&head->fold, fold, memory_order_seq_cst);
}

void shm_publish_spare(struct shm *s)
{
	publish(s, shm_fold(s) ^ (uint64_t)1 << 63);
}

static void zero_row(const struct shm *s, unsigned slot)
{
	_Atomic uint64_t *meter = meters(s, row_at(s, slot));
	const size_t n = (s->meters_end - s->meters_at) / sizeof(uint64_t);
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
	/* The open connections of each listener lie behind. */
	for (unsigned i = 0; i < s->nupstreams + s->nlistens; i++)
		atomic_store_explicit(&queued[i], 0, memory_order_relaxed);
	for (size_t i = 0; i < n; i++) {
		if (get(&meter[i]) != 0)
			set(&meter[i], 0);	/* untouched pages stay untouched */
	}
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

		shm_add_rows(s, row_at(s, s->nslots + copy), shm_base(s, fold), row);
		publish(s, fold_word(copy, slot, gen));
	}
	zero_row(s, slot);
	/* Readers pass the row over until they see this; by then it reads zero. */
	atomic_store_explicit(&row->gen, gen + 1, memory_order_release);
	atomic_store_explicit(&row->pid, 0, memory_order_relaxed);
	atomic_store_explicit(&row->state, SLOT_FREE, memory_order_release);
}
