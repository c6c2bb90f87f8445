/*
 * shm_staple.c - answers of OCSP responders in shared memory.
 *
 * Written by the checker, read by workers while they shake hands. Each slot has
 * two halves and a word that says which one counts, stored when that half is
 * whole: a checker killed at any instruction leaves the last whole answer.
 */
#include <string.h>

#include "common/cert.h"
#include "common/conf.h"
#include "common/obj.h"
#include "common/shm.h"

#define TRIES 4

static struct shm_staple *slot_of(const struct shm *s, unsigned i)
{
	OBJ_CHECK(s, SHM_MAGIC);
	must(i < s->nstaples);
	return &s->staples[i];
}

void shm_put_staple(struct shm *s, unsigned i, const struct shm_answer *a)
{
	struct shm_staple *st = slot_of(s, i);
	uint64_t word = atomic_load_explicit(&st->word, memory_order_relaxed);
	unsigned half = !(word & 1);

	must(a->len <= STAPLE_MAX);
	/* What a slow reader still takes from there, it finds out by the word. */
	memcpy(&st->half[half], a, offsetof(struct shm_answer, bytes) + a->len);
	atomic_store_explicit(&st->word, ((word >> 1) + 1) << 1 | half, memory_order_seq_cst);
}

bool shm_get_staple(const struct shm *s, unsigned i, struct shm_answer *out)
{
	struct shm_staple *st = slot_of(s, i);

	for (unsigned n = 0; n < TRIES; n++) {
		uint64_t word = atomic_load_explicit(&st->word, memory_order_acquire);
		const struct shm_answer *a = &st->half[word & 1];
		uint32_t len = a->len;

		if (word == 0)
			return false;
		if (len <= STAPLE_MAX)
			memcpy(out, a, offsetof(struct shm_answer, bytes) + len);
		atomic_thread_fence(memory_order_acquire);
		if (len <= STAPLE_MAX && atomic_load_explicit(&st->word, memory_order_relaxed) == word) {
			out->len = len;
			return len > 0;
		}
	}
	return false;
}

void shm_carry_staples(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc)
{
	struct shm_answer a;

	for (const struct cert *c = tc->certs; c != NULL; c = c->next) {
		for (const struct cert *o = fc->certs; c->ocsp.on && o != NULL; o = o->next) {
			if (o->ocsp.on && memcmp(o->digest, c->digest, CERT_DIGEST) == 0 &&
			    shm_get_staple(from, o->ocsp.slot, &a)) {
				shm_put_staple(to, c->ocsp.slot, &a);
				break;
			}
		}
	}
}
