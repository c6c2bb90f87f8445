/*
 * group.c - the servers of each upstream, and the one way to one of them.
 *
 * Called by the proxy handler. Asks health.c who may be used and balance.c who
 * shall be, and keeps this worker's counts of use in its row of shared memory.
 * Allocates when a worker starts, never for a request. Speaks to no server.
 */
#include "worker/upstream/group.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "worker/upstream/balance.h"
#include "worker/upstream/group_parts.h"
#include "worker/upstream/health.h"
#include "worker/upstream/pool.h"

/* Candidates that fit on the stack. */
#define STACK_CANDIDATES 256
/* With more servers than the first, a pick is made among as many as the second says. */
#define MANY_SERVERS 16
#define WINDOW 8
/* How often a place is tried for again when another worker was after it in the same instant. */
#define CLAIM_TRIES 3

static void server_init(struct server *s, struct group *g, const struct conf_server *c, unsigned cell)
{
	OBJ_CHECK(c, CONF_SERVER_MAGIC);
	*s = (struct server){ .magic = SERVER_MAGIC, .group = g, .conf = c, .cell = cell, .index = cell - g->conf->cell,
			      .addr = c->addr, .name = c->name };
	list_init(&s->idle);
	list_init(&s->links);
}

/* What the operator asked for. Kept here, so that a pick sees one weight from its beginning to its end. */
static void read_admin(struct group *g)
{
	const struct shm *shm = g->all->shm;

	unsigned weight = 0;

	g->admin_gen = atomic_load_explicit(&shm->upstreams[g->conf->id].admin_gen, memory_order_acquire);
	g->even = g->conf->slow_start == 0;
	for (unsigned i = 0; i < g->nservers; i++) {
		struct server *s = &g->servers[i];
		struct shm_admin a = shm_admin(atomic_load_explicit(&shm->servers[s->cell].admin, memory_order_relaxed));

		s->held = a.held != HELD_NO;
		s->weight = a.has_weight ? a.weight : s->conf->weight;
		g->even = g->even && (s->weight == 0 || weight == 0 || s->weight == weight);
		weight = s->weight ? s->weight : weight;
	}
}

static bool group_init(struct group *g, struct groups *all, const struct conf_upstream *u)
{
	OBJ_CHECK(u, CONF_UPSTREAM_MAGIC);
	*g = (struct group){ .magic = GROUP_MAGIC, .conf = u, .all = all, .nservers = u->ncells };
	group_queue_init(g);
	if (u->tls && (g->tls = tls_client_new(u, tls_on_session)) == NULL)
		return false;
	g->servers = calloc(u->ncells > 0 ? u->ncells : 1, sizeof(*g->servers));
	if (g->servers == NULL)
		return false;
	for (unsigned i = 0; i < u->nservers; i++) {
		const struct conf_server *c = &u->servers[i];

		must(c->cell >= u->cell && c->cell + c->ncells <= u->cell + u->ncells);
		for (unsigned k = 0; k < c->ncells; k++)
			server_init(&g->servers[c->cell - u->cell + k], g, c, c->cell + k);
		g->has_hosts = g->has_hosts || c->addr.family == ADDR_NONE;
		g->limited = g->limited || c->max_conns > 0;
		g->has_backups = g->has_backups || c->backup;
	}
	if (u->ncells > STACK_CANDIDATES && (g->cand = calloc(u->ncells, sizeof(*g->cand))) == NULL)
		return false;
	read_admin(g);
	return balance_prepare(g);
}

static void group_fini(struct group *g)
{
	group_queue_fini(g);
	balance_forget(g);
	for (unsigned i = 0; g->servers != NULL && i < g->nservers; i++)
		tls_peer_forget(&g->servers[i].tls);
	if (g->tls != NULL)
		tls_client_free(g->tls);
	free(g->cand);
	free(g->servers);
	g->magic = 0;
}

bool groups_init(struct groups *gs, const struct conf *conf, struct shm *shm, struct loop *loop)
{
	*gs = (struct groups){ .conf = conf, .shm = shm, .loop = loop };
	gs->seed = mix64(clock_mono_us() ^ (uint64_t)getpid() << 40 ^ shm->slot);
	gs->v = calloc(conf->nupstreams > 0 ? conf->nupstreams : 1, sizeof(*gs->v));
	if (gs->v == NULL)
		return false;
	for (; gs->n < conf->nupstreams; gs->n++) {
		must(conf->upstreams[gs->n]->id == gs->n);
		if (!group_init(&gs->v[gs->n], gs, conf->upstreams[gs->n])) {
			gs->n++;
			groups_fini(gs);
			return false;
		}
	}
	return true;
}

void groups_fini(struct groups *gs)
{
	for (unsigned i = 0; i < gs->n; i++)
		group_fini(&gs->v[i]);
	free(gs->v);
	*gs = (struct groups){ .v = NULL };
}

struct group *groups_find(struct groups *gs, const struct conf_upstream *u)
{
	OBJ_CHECK(u, CONF_UPSTREAM_MAGIC);
	must(u->id < gs->n);
	return &gs->v[u->id];
}

uint64_t groups_random(struct groups *gs)
{
	gs->seed += 0x9e3779b97f4a7c15u;
	return mix64(gs->seed);
}

/* ---- host names ---- */

bool server_unused(const struct server *s)
{
	enum health_state st = health_state_of(shm_health_word(s->group->all->shm, s->cell));

	return s->conf->addr.family == ADDR_NONE && (st == HEALTH_UNUSED || s->addr.family == ADDR_NONE);
}

/* The address that the checker published last, if it is another one than we know. */
static void server_refresh(struct server *s)
{
	const struct shm_health *h = &s->group->all->shm->health[s->cell];
	uint32_t gen = atomic_load_explicit(&h->addr_gen, memory_order_acquire);
	char ip[ADDR_TEXT];
	struct addr a;

	if (gen == s->addr_gen || !shm_get_addr(h, &a))
		return;
	s->addr_gen = gen;
	s->addr = a;
	addr_ip_text(&a, ip, sizeof(ip));
	int n = snprintf(s->name_buf, sizeof(s->name_buf), "%.*s@%s", SPAN_FMT(s->conf->name), ip);
	s->name = span_make(s->name_buf, n < (int)sizeof(s->name_buf) ? (size_t)n : sizeof(s->name_buf) - 1);
	pool_drop(s);
}

static void group_refresh(struct group *g)
{
	uint64_t members = 0;

	for (unsigned i = 0; i < g->nservers; i++) {
		struct server *s = &g->servers[i];

		if (s->conf->addr.family != ADDR_NONE)
			continue;
		server_refresh(s);
		if (!server_unused(s))
			members += mix64((uint64_t)i << 32 | s->addr_gen);
	}
	if (members == g->members)
		return;
	g->members = members;
	/* Without memory for a new ring the old one serves on: it names cells, and those are asked for their health. */
	balance_prepare(g);
}

/* ---- picking ---- */

static bool was_tried(const struct pick_ask *ask, unsigned index)
{
	unsigned bit = index % (GROUP_TRIED_WORDS * 64);

	return (ask->tried[bit / 64] >> (bit % 64) & 1) != 0;
}

void pick_tried(struct pick_ask *ask, const struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	unsigned bit = s->index % (GROUP_TRIED_WORDS * 64);

	ask->tried[bit / 64] |= (uint64_t)1 << (bit % 64);
	ask->ntried++;
}

/* One that is no candidate. Spare cells of host names are nobody. */
static __attribute__((noinline, cold)) void note_unfit(struct group *g, const struct pick_ask *ask, unsigned i)
{
	const struct server *s = &g->servers[i];

	if (server_unused(s))
		return;
	note_other(g, i, s->weight == 0 ? PASS_WEIGHT : ask->ntried > 0 && was_tried(ask, i) ? PASS_TRIED :
		   health_why_not(s, g->all->loop->now_ms), RECORD_LOAD_UNKNOWN);
}

/*
 * Of many servers of one weight a few are as good as all: the next ones behind
 * the last pick. Then round robin is what it was, and the least busy of eight is
 * seldom busier than the least busy of all. Unequal weights need all servers in
 * view, limits all that have room, and hashing walks its ring.
 */
static unsigned window(const struct group *g)
{
	const bool hashed = g->conf->balance == CONF_HASH || g->conf->balance == CONF_IP_HASH;

	return g->nservers > MANY_SERVERS && g->even && !g->limited && !hashed ? WINDOW : g->nservers;
}

static unsigned window_start(const struct group *g)
{
	return g->conf->balance == CONF_RANDOM ? (unsigned)(groups_random(g->all) % g->nservers) : g->next;
}

/* Usable servers, primaries or backups, that this request has not tried; all of them in ascending order, or the first of those
 * behind the last pick. `note`: the others are noted. */
static unsigned candidates(struct group *g, const struct pick_ask *ask, bool backup, unsigned *cand, bool *pending,
			   bool note)
{
	uint64_t now = g->all->loop->now_ms;
	unsigned n = 0, most = window(g), i = most < g->nservers ? window_start(g) : 0;

	for (unsigned looked = 0; looked < g->nservers && n < most; looked++, i++) {
		i = i < g->nservers ? i : 0;
		const struct server *s = &g->servers[i];
		bool wait = false;

		if (s->conf->backup != backup)
			continue;
		if (s->weight > 0 && !(ask->ntried > 0 && was_tried(ask, i)) && health_usable(s, now, &wait)) {
			cand[n++] = i;
			continue;
		}
		*pending = *pending || wait;
		if (note)
			note_unfit(g, ask, i);
	}
	return n;
}

static bool server_is_full(const struct server *s)
{
	return s->conf->max_conns > 0 && shm_active(s->group->all->shm, s->cell) >= s->conf->max_conns;
}

static struct shm_use *use_of(const struct server *s)
{
	struct shm *shm = s->group->all->shm;

	return &shm_use(shm, shm->slot)[s->cell];
}

/*
 * Ours first, then the sum: of all who reach for the last place at most one
 * sees a sum within the limit, because stores and loads here have one order in
 * which everybody sees them.
 */
static bool server_claim(struct server *s)
{
	struct shm_use *use = use_of(s);
	uint32_t active = atomic_load_explicit(&use->active, memory_order_relaxed);

	for (unsigned try = 0; try < CLAIM_TRIES && !server_is_full(s); try++) {
		atomic_store_explicit(&use->active, active + 1,
				      s->conf->max_conns > 0 ? memory_order_seq_cst : memory_order_relaxed);
		if (s->conf->max_conns == 0 || shm_active(s->group->all->shm, s->cell) <= s->conf->max_conns) {
			uint64_t requests = atomic_load_explicit(&use->requests, memory_order_relaxed);

			atomic_store_explicit(&use->requests, requests + 1, memory_order_relaxed);
			return true;
		}
		atomic_store_explicit(&use->active, active, memory_order_seq_cst);
	}
	return false;
}

static unsigned without_full(struct group *g, unsigned *cand, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!server_is_full(&g->servers[cand[i]]))
			cand[kept++] = cand[i];
		else
			note_other(g, cand[i], PASS_FULL, g->servers[cand[i]].conf->max_conns);
	}
	return kept;
}

/* Who could have been picked but was not. How busy they are is not looked at anew, unless everything is wanted. */
static void note_lost(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n, unsigned picked)
{
	struct pick_note *note = &g->all->note;
	const struct shm *shm = g->all->shm;
	unsigned known = note->load != RECORD_LOAD_UNKNOWN ? NOTE_LOADS : 0, at = note->n;

	if (known == 0)
		note->load = shm_active(shm, g->servers[picked].cell) - 1;
	note->passed += n - 1;
	for (unsigned i = 0; i < n && at < note->limit; i++) {
		unsigned cell = g->servers[cand[i]].cell;

		if (cand[i] == picked)
			continue;
		note->others[at++] = (struct shm_other){
			.cell = (uint16_t)cell, .why = PASS_LOST, .load = i < known ? note->loads[i] :
			ask->traced ? shm_active(shm, cell) : RECORD_LOAD_UNKNOWN };
	}
	note->n = at;
}

static __attribute__((noinline, cold)) void note_backups(struct group *g)
{
	for (unsigned i = 0; i < g->nservers; i++) {
		if (g->servers[i].conf->backup && !server_unused(&g->servers[i]))
			note_other(g, i, PASS_BACKUP, RECORD_LOAD_UNKNOWN);
	}
}

static enum pick_rc take_one(struct group *g, const struct pick_ask *ask, unsigned *cand, unsigned n,
			     struct server **out)
{
	if (g->limited)
		n = without_full(g, cand, n);
	while (n > 0) {
		g->all->note.load = RECORD_LOAD_UNKNOWN;
		unsigned index = balance_pick(g, ask, cand, n), at = 0;

		must(index < g->nservers);
		if (server_claim(&g->servers[index])) {
			note_lost(g, ask, cand, n, index);
			*out = &g->servers[index];
			g->next = index + 1;
			return PICK_OK;
		}
		while (at < n - 1 && cand[at] != index)
			at++;
		note_other(g, index, PASS_FULL, g->servers[index].conf->max_conns);
		memmove(&cand[at], &cand[at + 1], (n - at - 1) * sizeof(*cand));
		n--;
	}
	return PICK_FULL;
}

enum pick_rc group_try(struct group *g, const struct pick_ask *ask, struct server **out)
{
	unsigned stack[STACK_CANDIDATES], *cand = g->cand != NULL ? g->cand : stack;
	bool pending = false;

	if (g->admin_gen != atomic_load_explicit(&g->all->shm->upstreams[g->conf->id].admin_gen, memory_order_acquire)) {
		read_admin(g);
		balance_prepare(g);
	}
	if (g->has_hosts)
		group_refresh(g);
	note_clear(g);
	g->all->note.limit = ask->traced ? TRACE_OTHERS : RECORD_OTHERS;
	for (int backup = 0; backup <= (int)g->has_backups; backup++) {
		unsigned n = candidates(g, ask, backup, cand, &pending, true);

		if (n > 0 && backup == 0 && g->has_backups)
			note_backups(g);
		if (n > 0)
			return take_one(g, ask, cand, n, out);
	}
	return pending ? PICK_FULL : PICK_NONE;
}

enum pick_rc group_pick(struct group *g, const struct pick_ask *ask, struct server **out)
{
	OBJ_CHECK(g, GROUP_MAGIC);
	if (g->nqueued == 0)
		return group_try(g, ask, out);
	note_clear(g);
	return PICK_FULL;
}

bool group_has_other(struct group *g, const struct pick_ask *ask)
{
	unsigned stack[STACK_CANDIDATES], *cand = g->cand != NULL ? g->cand : stack;
	bool pending = false;

	OBJ_CHECK(g, GROUP_MAGIC);
	return candidates(g, ask, false, cand, &pending, false) > 0 || candidates(g, ask, true, cand, &pending, false) > 0;
}

struct meter_server *server_meter(const struct server *s)
{
	struct shm *shm = s->group->all->shm;

	return meter_in(shm_own(shm), meter_server_at(shm, s->conf->id));
}

void server_put(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	struct shm_use *use = use_of(s);
	uint32_t active = atomic_load_explicit(&use->active, memory_order_relaxed);

	must(active > 0);
	atomic_store_explicit(&use->active, active - 1, memory_order_release);
	if (s->group->limited)
		group_has_room(s->group);
}
