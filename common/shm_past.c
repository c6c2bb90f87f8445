/*
 * shm_past.c - what older generations have under way while they drain.
 *
 * Called by a fresh worker, and by its loop until the last of them is gone.
 * Their rows are mapped to be read; servers are the same by their names. So
 * least_conn and max_conns of the generation in force see all requests of a
 * server, and only those that drain see no more than their own.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "common/conf.h"
#include "common/obj.h"
#include "common/shm_row.h"

#define SILENCE_MS 10000		/* longer than the watchdog would bear */

struct shm_past {
	struct shm rows;		/* nothing else of it is mapped */
	int *cells;			/* by our cell: theirs, -1: none */
};

static void forget(struct shm_past *p)
{
	if (p->rows.rows != NULL)
		munmap(p->rows.rows, p->rows.rows_size);
	free(p->cells);
	free(p);
}

static void pair_cells(struct shm_past *p, const struct shm *s, const struct conf *c, const struct conf *oc)
{
	for (unsigned i = 0; i < s->ncells; i++)
		p->cells[i] = -1;
	for (unsigned i = 0; i < c->nupstreams; i++) {
		for (unsigned k = 0; k < c->upstreams[i]->nservers; k++) {
			const struct conf_server *v = &c->upstreams[i]->servers[k];
			int cell = shm_find_cell(oc, c->upstreams[i], v);

			for (unsigned n = 0; n < v->ncells && cell >= 0; n++)
				p->cells[v->cell + n] = cell + (int)n;
		}
	}
}

void shm_add_past(struct shm *s, const struct conf *c, const struct shm *old, const struct conf *oc)
{
	struct shm_past *p = s->npast < SHM_PAST ? calloc(1, sizeof(*p)) : NULL;

	OBJ_CHECK(s, SHM_MAGIC);
	if (p == NULL)
		return;
	p->rows = *old;
	p->rows.npast = 0;
	p->cells = calloc(s->ncells + 1, sizeof(*p->cells));
	void *rows = mmap(NULL, old->rows_size, PROT_READ, MAP_SHARED, old->rows_fd[1], 0);
	p->rows.rows = rows == MAP_FAILED ? NULL : rows;
	if (p->cells == NULL || p->rows.rows == NULL) {
		forget(p);
		return;
	}
	pair_cells(p, s, c, oc);
	s->past[s->npast++] = p;
}

uint32_t shm_past_active(const struct shm *s, unsigned cell)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < s->npast; i++) {
		int theirs = s->past[i]->cells[cell];

		sum += theirs >= 0 ? shm_active(&s->past[i]->rows, (unsigned)theirs) : 0;
	}
	return sum;
}

/* Where the master is dead nobody clears a row. */
static bool lives(const struct shm *s, uint64_t now_ms)
{
	for (unsigned i = 0; i < s->nslots; i++) {
		const struct shm_row *row = shm_row(s, i);
		uint32_t state = atomic_load_explicit(&row->state, memory_order_relaxed);

		if ((state == SLOT_LIVE || state == SLOT_STARTING) &&
		    atomic_load_explicit(&row->beat_ms, memory_order_relaxed) + SILENCE_MS > now_ms)
			return true;
	}
	return false;
}

unsigned shm_past_left(struct shm *s, uint64_t now_ms)
{
	for (unsigned i = s->npast; i-- > 0;) {
		if (lives(&s->past[i]->rows, now_ms))
			continue;
		forget(s->past[i]);
		s->past[i] = s->past[--s->npast];
	}
	return s->npast;
}
