/*
 * shm_carry.c - what one configuration's shared memory hands on to the next.
 *
 * Called by the master alone, while it makes a new generation (shm_carry) and
 * when the last process of an old one is gone (shm_carry_counts). Names carry
 * the state: a server that keeps its upstream, its name and its address is the
 * same server, whatever its place. A value that a child wrote is copied after a
 * look at its range and never used as an index.
 */
#include "common/conf.h"
#include "common/obj.h"
#include "common/shm_row.h"

static const struct conf_upstream *find_upstream(const struct conf *c, struct span name)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		if (span_eq(c->upstreams[i]->name, name))
			return c->upstreams[i];
	}
	return NULL;
}

static const struct conf_server *find_server(const struct conf_upstream *u, const struct conf_server *like)
{
	for (unsigned i = 0; i < u->nservers; i++) {
		const struct conf_server *s = &u->servers[i];

		if (span_eq(s->name, like->name) && span_eq(s->text, like->text) && s->ncells == like->ncells)
			return s;
	}
	return NULL;
}

int shm_find_cell(const struct conf *in, const struct conf_upstream *u, const struct conf_server *s)
{
	const struct conf_upstream *there = find_upstream(in, u->name);
	const struct conf_server *found = there != NULL ? find_server(there, s) : NULL;

	return found != NULL ? (int)found->cell : -1;
}

int shm_find_upstream(const struct conf *in, const struct conf_upstream *u)
{
	const struct conf_upstream *there = find_upstream(in, u->name);

	return there != NULL ? (int)there->id : -1;
}

const struct conf_route *shm_find_route(const struct conf *in, const struct conf_route *r)
{
	for (unsigned i = 0; i < in->nroutes; i++) {
		if (span_eq(in->routes[i]->name, r->name))
			return in->routes[i];
	}
	return NULL;
}

int shm_find_listen(const struct conf *in, const struct conf_listen *l)
{
	for (unsigned i = 0; i < in->nlistens; i++) {
		if (span_eq(in->listens[i]->name, l->name))
			return (int)i;
	}
	return -1;
}

int shm_find_series(const struct conf_route *r, const struct conf_upstream *u, const struct conf_server *s)
{
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct conf_upstream *there = r->targets[i].upstream;

		if (!span_eq(there->name, u->name))
			continue;
		const struct conf_server *found = find_server(there, s);

		return found != NULL ? (int)(r->targets[i].series + (found->id - there->servers[0].id)) : -1;
	}
	return -1;
}

static void copy64(_Atomic uint64_t *to, const _Atomic uint64_t *from)
{
	atomic_store(to, atomic_load(from));
}

static void copy32(_Atomic uint32_t *to, const _Atomic uint32_t *from)
{
	atomic_store(to, atomic_load(from));
}

static void carry_health(struct shm_health *to, const struct shm_health *from)
{
	uint64_t word = atomic_load_explicit(&from->word, memory_order_acquire);
	struct addr a;

	if (health_state_of(word) > HEALTH_DOWN || health_why_of(word) > HEALTH_WHY_GONE)
		return;
	if (shm_get_addr(from, &a))
		shm_put_addr(to, &a);
	copy32(&to->checks, &from->checks);
	copy32(&to->fails, &from->fails);
	copy32(&to->last_ms, &from->last_ms);
	copy32(&to->last_error, &from->last_error);
	copy32(&to->judge, &from->judge);
	atomic_store_explicit(&to->word, word, memory_order_release);
}

static void carry_server(struct shm *to, unsigned cell, const struct shm *from, unsigned old)
{
	carry_health(&to->health[cell], &from->health[old]);
	copy64(&to->servers[cell].eject, &from->servers[old].eject);
	copy64(&to->servers[cell].vtime, &from->servers[old].vtime);
	copy64(&to->servers[cell].ewma, &from->servers[old].ewma);
	copy64(&to->servers[cell].admin, &from->servers[old].admin);
}

static void carry_upstream(struct shm *to, unsigned id, const struct shm *from, unsigned old)
{
	copy64(&to->upstreams[id].vtime, &from->upstreams[old].vtime);
	copy64(&to->upstreams[id].budget, &from->upstreams[old].budget);
}

/* Calls `each` with the cells that the two have in common. */
typedef void pair_fn(struct shm *to, unsigned cell, const struct shm *from, unsigned old);

static void each_pair(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc,
		      pair_fn *each)
{
	for (unsigned i = 0; i < tc->nupstreams; i++) {
		const struct conf_upstream *u = tc->upstreams[i], *there = find_upstream(fc, u->name);

		for (unsigned j = 0; there != NULL && j < u->nservers; j++) {
			const struct conf_server *s = &u->servers[j], *old = find_server(there, s);

			for (unsigned k = 0; old != NULL && k < s->ncells; k++) {
				must(s->cell + k < to->ncells && old->cell + k < from->ncells);
				each(to, s->cell + k, from, old->cell + k);
			}
		}
	}
}

void shm_carry(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc)
{
	OBJ_CHECK(to, SHM_MAGIC);
	OBJ_CHECK(from, SHM_MAGIC);
	each_pair(to, tc, from, fc, carry_server);
	for (unsigned i = 0; i < tc->nupstreams; i++) {
		int old = shm_find_upstream(fc, tc->upstreams[i]);

		if (old >= 0)
			carry_upstream(to, i, from, (unsigned)old);
	}
}

/* The master is the only writer of the base row, and each counter stands for itself. */
static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

static void add_use(struct shm_row *to, unsigned cell, const struct shm *from, unsigned old)
{
	struct shm_use *use = (struct shm_use *)(void *)(to + 1) + cell;

	add(&use->requests, shm_requests(from, old));
	add(&use->fails, shm_fails(from, old));
}

/* n bytes of counters at `at` in the rows of `to`, and at `old` in those of `from`: all that was counted there is in its base
 * row by now. */
static void add_meters(struct shm_row *to, size_t at, const struct shm *from, size_t old, size_t n)
{
	const char *base = (const char *)shm_base(from, shm_fold(from)) + old;

	for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
		uint64_t v = atomic_load_explicit((const _Atomic uint64_t *)(const void *)(base + i), memory_order_relaxed);

		if (v != 0)
			add(meter_in(to, at + i), v);
	}
}

static void add_server(const struct shm *shm, struct shm_row *to, const struct conf_server *s, const struct shm *from,
		       const struct conf_server *old)
{
	for (unsigned k = 0; k < s->ncells; k++)
		add_use(to, s->cell + k, from, old->cell + k);
	add_meters(to, meter_server_at(shm, s->id), from, meter_server_at(from, old->id), sizeof(struct meter_server));
}

static void add_upstream(const struct shm *shm, struct shm_row *to, const struct conf_upstream *u,
			 const struct shm *from, const struct conf_upstream *there)
{
	for (unsigned j = 0; j < u->nservers; j++) {
		const struct conf_server *old = find_server(there, &u->servers[j]);

		if (old != NULL)
			add_server(shm, to, &u->servers[j], from, old);
	}
}

static void add_series(const struct shm *shm, struct shm_row *to, unsigned series, const struct shm *from, int old)
{
	if (old >= 0)
		add_meters(to, meter_series_at(shm, series), from, meter_series_at(from, (unsigned)old),
			   sizeof(struct meter_series));
}

static void add_route(const struct shm *shm, struct shm_row *to, const struct conf_route *r, const struct shm *from,
		      const struct conf *fc)
{
	const struct conf_route *old = shm_find_route(fc, r);

	if (old == NULL)
		return;
	add_meters(to, meter_route_at(shm, r->id), from, meter_route_at(from, old->id), sizeof(struct meter_hist));
	add_series(shm, to, r->series, from, (int)old->series);
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct conf_upstream *u = r->targets[i].upstream;

		for (unsigned j = 0; j < u->nservers; j++)
			add_series(shm, to, r->targets[i].series + j, from, shm_find_series(old, u, &u->servers[j]));
	}
}

/* In the place of the oldest where there is none free: nobody who still reads that one is left. */
static void note_taken(struct shm_row *base, unsigned number)
{
	_Atomic uint32_t *place = &base->taken[0];

	for (unsigned i = 1; i < SHM_TAKEN; i++) {
		if (atomic_load(&base->taken[i]) < atomic_load(place))
			place = &base->taken[i];
	}
	atomic_store(place, number);
}

void shm_carry_counts(struct shm *to, const struct conf *tc, const struct shm *from, const struct conf *fc,
		      unsigned number)
{
	uint64_t fold = shm_fold(to);
	struct shm_row *base = shm_spare_base(to, fold);

	OBJ_CHECK(to, SHM_MAGIC);
	OBJ_CHECK(from, SHM_MAGIC);
	shm_add_rows(to, base, shm_base(to, fold), NULL);
	for (unsigned i = 0; i < STAT__N; i++) {
		if (!stat_is_gauge((enum stat_id)i))
			add(&base->stats[i], shm_stat(from, (enum stat_id)i));
	}
	for (unsigned i = 0; i < REASON__N; i++)
		add(&base->reasons[i], shm_reason(from, (enum reason)i));
	for (unsigned i = 0; i < tc->nupstreams; i++) {
		const struct conf_upstream *there = find_upstream(fc, tc->upstreams[i]->name);

		if (there != NULL)
			add_upstream(to, base, tc->upstreams[i], from, there);
	}
	for (unsigned i = 0; i < tc->nroutes; i++)
		add_route(to, base, tc->routes[i], from, fc);
	if (to->nseries > 0 && from->nseries > 0)
		add_series(to, base, 0, from, 0);
	add_meters(base, meter_route_at(to, to->nroutes), from, meter_route_at(from, from->nroutes),
		   sizeof(struct meter_hist));
	for (unsigned i = 0; i < tc->nlistens; i++) {
		int old = shm_find_listen(fc, tc->listens[i]);

		if (old >= 0)
			add_meters(base, meter_listen_at(to, i), from, meter_listen_at(from, (unsigned)old),
				   sizeof(uint64_t));
	}
	note_taken(base, number);
	shm_publish_spare(to);
}
