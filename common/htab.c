/*
 * htab.c - a hash table from byte strings to pointers.
 *
 * Linear probing over a power of two of slots, never more than half full.
 * Called while a configuration is built and for look-ups in workers. Entries
 * are never removed one by one; keys and values belong to the caller.
 */
#include "common/htab.h"

#include "common/log.h"
#include "common/obj.h"

#define CAP_FIRST 16

void htab_init(struct htab *t)
{
	*t = (struct htab){ .slots = NULL };
}

void htab_fini(struct htab *t)
{
	free(t->slots);
	htab_init(t);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct htab_slot *find(const struct htab *t, struct span key, uint64_t hash)
{
	for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
		struct htab_slot *slot = &t->slots[i];

		if (slot->key.p == NULL || (slot->hash == hash && span_eq(slot->key, key)))
			return slot;
	}
}

static void grow(struct htab *t)
{
	struct htab bigger = { .cap = t->cap > 0 ? t->cap * 2 : CAP_FIRST, .n = t->n };

	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (bigger.slots == NULL)
		log_no_memory(bigger.cap * sizeof(*bigger.slots));
	for (size_t i = 0; i < t->cap; i++) {
		const struct htab_slot *slot = &t->slots[i];

		if (slot->key.p != NULL)
			*find(&bigger, slot->key, slot->hash) = *slot;
	}
	free(t->slots);
	*t = bigger;
}

void *htab_get(const struct htab *t, struct span key)
{
	if (t->n == 0)
		return NULL;
	return find(t, key, span_hash(key, 0))->value;
}

void *htab_put(struct htab *t, struct span key, void *value)
{
	must(key.p != NULL);
	if (t->n >= t->cap / 2)
		grow(t);
	uint64_t hash = span_hash(key, 0);
	struct htab_slot *slot = find(t, key, hash);
	void *old = slot->value;

	if (slot->key.p == NULL)
		t->n++;
	*slot = (struct htab_slot){ .key = key, .hash = hash, .value = value };
	return old;
}
