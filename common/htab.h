/*
 * htab.h - a hash table from byte strings to pointers.
 *
 * Open addressing, grows at load 1/2, keys are borrowed (the caller keeps them
 * alive), iteration in insertion order is not promised. For configuration-time
 * and per-worker tables, not for shared memory.
 */
#ifndef COMMON_HTAB_H
#define COMMON_HTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

struct htab_slot {
	struct span key;		/* .p == NULL: free */
	uint64_t hash;
	void *value;
};

struct htab {
	struct htab_slot *slots;
	size_t cap, n;
};

void htab_init(struct htab *t);
void htab_fini(struct htab *t);
/* NULL when absent. */
void *htab_get(const struct htab *t, struct span key);
/* Adds or replaces; the old value comes back, NULL for none. */
void *htab_put(struct htab *t, struct span key, void *value);

#endif
