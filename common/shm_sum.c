/*
 * shm_sum.c - what the rows say together, and whether they are sound.
 *
 * Called by workers on the request path (shm_active), by the master and by
 * whoever shows numbers. Reads only; every index comes from the layout, none
 * from shared memory.
 */
#include "common/obj.h"
#include "common/shm_row.h"

/* A fold that is published while we sum makes us start again; they are as rare as deaths. */
#define TRIES 4

/* A level above this was written by nobody in their right mind. */
#define SANE_LEVEL (1u << 28)

static uint64_t counter_at(const struct shm_row *row, size_t offset)
{
	const _Atomic uint64_t *c = (const void *)((const char *)row + offset);

	return atomic_load_explicit(c, memory_order_relaxed);
}

struct shm_version shm_version(const struct shm *s)
{
	struct shm_version v = { .epoch = atomic_load_explicit(&shm_base(s, 0)->epoch, memory_order_acquire) };

	v.fold = shm_fold(s);
	return v;
}

bool shm_has_taken(const struct shm *s, unsigned generation)
{
	const struct shm_row *base = shm_base(s, shm_fold(s));

	for (unsigned i = 0; i < SHM_TAKEN; i++) {
		if (atomic_load_explicit(&base->taken[i], memory_order_relaxed) == generation)
			return true;
	}
	return false;
}

uint64_t shm_sum(const struct shm *s, size_t offset)
{
	uint64_t sum = 0;

	OBJ_CHECK(s, SHM_MAGIC);
	for (unsigned try = 0; try < TRIES; try++) {
		struct shm_version before = shm_version(s);

		sum = counter_at(shm_base(s, before.fold), offset);
		for (unsigned i = 0; i < s->nslots; i++) {
			if (!shm_is_folded(s, before.fold, i))
				sum += counter_at(shm_row(s, i), offset);
		}
		atomic_thread_fence(memory_order_acquire);
		if (shm_same_version(shm_version(s), before))
			break;
	}
	return sum;
}

static uint64_t sum_gauge(const struct shm *s, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->nslots; i++)
		sum += counter_at(shm_row(s, i), offset);
	return sum;
}

unsigned shm_live_rows(const struct shm *s, bool workers_only)
{
	unsigned n = 0;

	for (unsigned i = 0; i < (workers_only ? s->nworkers : s->nslots); i++) {
		uint32_t state = atomic_load_explicit(&shm_row(s, i)->state, memory_order_relaxed);

		n += state == SLOT_STARTING || state == SLOT_LIVE;
	}
	return n;
}

size_t shm_stat_at(enum stat_id id)
{
	must(id < STAT__N);
	return offsetof(struct shm_row, stats) + id * sizeof(uint64_t);
}

uint64_t shm_stat(const struct shm *s, enum stat_id id)
{
	return stat_is_gauge(id) ? sum_gauge(s, shm_stat_at(id)) : shm_sum(s, shm_stat_at(id));
}

size_t shm_reason_at(enum reason r)
{
	must(r < REASON__N);
	return offsetof(struct shm_row, reasons) + r * sizeof(uint64_t);
}

uint64_t shm_reason(const struct shm *s, enum reason r)
{
	return shm_sum(s, shm_reason_at(r));
}

static size_t use_offset(const struct shm *s, unsigned cell)
{
	must(cell < s->ncells);
	return sizeof(struct shm_row) + cell * sizeof(struct shm_use);
}

size_t shm_requests_at(const struct shm *s, unsigned cell)
{
	return use_offset(s, cell) + offsetof(struct shm_use, requests);
}

size_t shm_fails_at(const struct shm *s, unsigned cell)
{
	return use_offset(s, cell) + offsetof(struct shm_use, fails);
}

uint64_t shm_requests(const struct shm *s, unsigned cell)
{
	return shm_sum(s, shm_requests_at(s, cell));
}

uint64_t shm_fails(const struct shm *s, unsigned cell)
{
	return shm_sum(s, shm_fails_at(s, cell));
}

/* Rows that nobody lives in read zero, so that no row's state need be asked. */
static uint32_t sum_words(const struct shm *s, size_t offset)
{
	const char *at = s->rows + offset;
	uint32_t sum = 0;

	for (unsigned i = 0; i < s->nslots; i++, at += s->row_size)
		sum += atomic_load_explicit((const _Atomic uint32_t *)(const void *)at, memory_order_seq_cst);
	return sum;
}

uint32_t shm_active(const struct shm *s, unsigned cell)
{
	uint32_t sum = sum_words(s, use_offset(s, cell) + offsetof(struct shm_use, active));

	return s->npast == 0 ? sum : sum + shm_past_active(s, cell);
}

enum reason shm_last_fail(const struct shm *s, unsigned cell, uint64_t *when_s)
{
	uint32_t newest = 0;

	must(cell < s->ncells);
	for (unsigned i = 0; i < s->nslots; i++) {
		uint32_t word = atomic_load_explicit(&shm_use(s, i)[cell].last_fail, memory_order_relaxed);

		if ((word & 0xff) < REASON__N && word >> 8 >= newest >> 8 && word != 0)
			newest = word;
	}
	*when_s = newest >> 8;
	return (enum reason)(newest & 0xff);
}

uint32_t shm_queue_len(const struct shm *s, unsigned upstream)
{
	must(upstream < s->nupstreams);
	return sum_words(s, (size_t)((char *)(shm_queued(s, 0) + upstream) - s->rows));
}

uint32_t shm_open_len(const struct shm *s, unsigned listen)
{
	must(listen < s->nlistens);
	return sum_words(s, (size_t)((char *)(shm_open_conns(s, 0) + listen) - s->rows));
}

static const char *verify_row(const struct shm *s, unsigned slot)
{
	const struct shm_row *row = shm_row(s, slot);
	const struct shm_use *use = shm_use(s, slot);
	const _Atomic uint32_t *queued = shm_queued(s, slot);
	uint32_t state = atomic_load(&row->state);
	bool lived_in = state == SLOT_STARTING || state == SLOT_LIVE;
	uint64_t bound = lived_in ? SANE_LEVEL : 0;

	if (state > SLOT_DEAD)
		return "a row's state is none";
	if (state == SLOT_DEAD)
		return "a dead row was not swept";
	if (!lived_in && atomic_load(&row->pid) != 0)
		return "a free row has a process";
	for (unsigned i = 0; i < STAT__N; i++) {
		if (stat_is_gauge((enum stat_id)i) && atomic_load(&row->stats[i]) > bound)
			return lived_in ? "a level is below zero" : "a free row has a level";
	}
	for (unsigned i = 0; i < s->ncells; i++) {
		if (atomic_load(&use[i].active) > bound)
			return lived_in ? "a server's active count is below zero" : "a free row has active requests";
	}
	/* The open connections of each listener lie behind. */
	for (unsigned i = 0; i < s->nupstreams + s->nlistens; i++) {
		if (atomic_load(&queued[i]) > bound)
			return lived_in ? "a queue length is below zero" : "a free row has a queue";
	}
	return NULL;
}

static const char *verify_health(const struct shm_health *h)
{
	uint64_t word = atomic_load(&h->word);
	uint32_t family = atomic_load(&h->addr_words[0]) & 0xffff;

	if (health_state_of(word) > HEALTH_DOWN)
		return "a server's health is none";
	if (health_why_of(word) > HEALTH_WHY_GONE)
		return "a server's reason for its health is none";
	if (family != ADDR_NONE && family != ADDR_V4 && family != ADDR_V6)
		return "a server's address is none";
	if (family != ADDR_NONE && atomic_load(&h->addr_gen) == 0)
		return "a server's address came from nowhere";
	return NULL;
}

const char *shm_verify(const struct shm *s)
{
	uint64_t fold = shm_fold(s);
	const char *bad = NULL;

	OBJ_CHECK(s, SHM_MAGIC);
	if ((fold << 1 >> 33) >= s->nslots)
		return "the base row took in a row that does not exist";
	for (unsigned i = 0; i < s->nslots && bad == NULL; i++)
		bad = verify_row(s, i);
	for (unsigned i = 0; i < s->ncells && bad == NULL; i++)
		bad = verify_health(&s->health[i]);
	return bad;
}
