/*
 * sessions.h - the list of client connections for "weirctl sessions".
 *
 * The master asks; the list is written into this worker's area of shared
 * memory, a slice in each turn of the loop, so that a worker with very many
 * connections is held up by none of it.
 */
#ifndef WORKER_DOWNSTREAM_SESSIONS_H
#define WORKER_DOWNSTREAM_SESSIONS_H

#include "common/list.h"
#include "common/shm_record.h"
#include "worker/io/timer.h"

struct down;

struct sessions {
	struct list *next;		/* the connection to go on with; NULL: nothing is asked */
	uint32_t gen;			/* of the order */
	uint32_t n, more;		/* written; found no room */
	struct shm_filter filter;
	struct timer timer;
};

void sessions_init(struct sessions *s);
/* Begins anew. */
void sessions_start(struct down *d, uint32_t gen);
/* A connection leaves the list of all. */
static inline void sessions_pass(struct sessions *s, const struct list *node)
{
	if (__builtin_expect(s->next == node, 0))
		s->next = node->next;
}

#endif
