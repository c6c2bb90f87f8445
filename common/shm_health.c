/*
 * shm_health.c - the HEALTH cells: their first state, and addresses in them.
 *
 * The master calls shm_init_health() once; from then on the checker alone
 * writes. An address is longer than a word and goes under a sequence count; a
 * reader never waits for a writer: it tries a few times and else keeps what it
 * had. A checker that dies while writing leaves an odd count, which its
 * successor's next write mends.
 */
#include "common/shm.h"

#include <string.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/obj.h"

#define READ_TRIES 3
#define ADDR_WORDS 6

static void init_server(struct shm *s, const struct conf_server *c, uint64_t now_ms)
{
	enum health_state first = c->addr.family == ADDR_NONE ? HEALTH_PENDING : HEALTH_UP;

	must(c->cell + c->ncells <= s->ncells);
	for (unsigned i = 0; i < c->ncells; i++)
		shm_set_health(&s->health[c->cell + i], i == 0 ? first : HEALTH_UNUSED, HEALTH_WHY_NONE, now_ms);
}

struct shm_size shm_size_of(const struct conf *c, unsigned nslots)
{
	return (struct shm_size){ .nslots = nslots, .nworkers = c->workers, .ncells = c->ncells,
				  .nupstreams = c->nupstreams, .nservers = c->nservers, .nroutes = c->nroutes, .nseries = c->nseries,
				  .nlistens = c->nlistens, .nstaples = c->nstaples };
}

void shm_init_health(struct shm *s, const struct conf *c)
{
	OBJ_CHECK(s, SHM_MAGIC);
	OBJ_CHECK(c, CONF_MAGIC);
	uint64_t now_ms = clock_mono_ms();

	for (unsigned u = 0; u < c->nupstreams; u++) {
		for (unsigned i = 0; i < c->upstreams[u]->nservers; i++)
			init_server(s, &c->upstreams[u]->servers[i], now_ms);
	}
}

static void pack(uint32_t words[ADDR_WORDS], const struct addr *a)
{
	memset(words, 0, ADDR_WORDS * sizeof(words[0]));
	words[0] = (uint32_t)a->family | (uint32_t)a->port << 16;
	words[1] = a->scope;
	memcpy(&words[2], a->v6, a->family == ADDR_V4 ? sizeof(a->v4) : sizeof(a->v6));
}

static void unpack(struct addr *a, const uint32_t words[ADDR_WORDS])
{
	*a = (struct addr){ .family = (uint8_t)words[0], .port = (uint16_t)(words[0] >> 16), .scope = words[1] };
	memcpy(a->v6, &words[2], sizeof(a->v6));
}

void shm_put_addr(struct shm_health *h, const struct addr *a)
{
	uint32_t words[ADDR_WORDS];
	uint32_t seq = atomic_load_explicit(&h->seq, memory_order_relaxed);
	bool same = (seq & 1) == 0;

	must(a->family == ADDR_V4 || a->family == ADDR_V6);
	pack(words, a);
	for (unsigned i = 0; i < ADDR_WORDS; i++)
		same = same && atomic_load_explicit(&h->addr_words[i], memory_order_relaxed) == words[i];
	if (same)
		return;
	seq |= 1;
	atomic_store_explicit(&h->seq, seq, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < ADDR_WORDS; i++)
		atomic_store_explicit(&h->addr_words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&h->seq, seq + 1, memory_order_release);
	uint32_t gen = atomic_load_explicit(&h->addr_gen, memory_order_relaxed) + 1;
	/* 0 means that there never was one. */
	atomic_store_explicit(&h->addr_gen, gen == 0 ? 1 : gen, memory_order_release);
}

bool shm_get_addr(const struct shm_health *h, struct addr *out)
{
	uint32_t words[ADDR_WORDS];

	if (atomic_load_explicit(&h->addr_gen, memory_order_acquire) == 0)
		return false;
	for (unsigned try = 0; try < READ_TRIES; try++) {
		uint32_t seq = atomic_load_explicit(&h->seq, memory_order_acquire);

		for (unsigned i = 0; i < ADDR_WORDS; i++)
			words[i] = atomic_load_explicit(&h->addr_words[i], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if ((seq & 1) != 0 || atomic_load_explicit(&h->seq, memory_order_relaxed) != seq)
			continue;
		unpack(out, words);
		return out->family == ADDR_V4 || out->family == ADDR_V6;
	}
	return false;
}
