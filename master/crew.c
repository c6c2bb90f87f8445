/*
 * crew.c - a generation: one configuration and the processes that run it.
 *
 * Owns the list of crews and how one of them comes and goes. Called by the
 * master's start, by reload.c and by the loop. Counters of old crews stay where
 * they are until their last process is gone and are added to the crew in force
 * then, so that a sum over all crews is exact at any time.
 */
#include "master/crew.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/logs.h"
#include "master/master.h"

static const char *const state_names[] = {
	[CREW_STARTING] = "starting", [CREW_LIVE] = "live", [CREW_OLD] = "draining", [CREW_ENDING] = "ending",
	[CREW_GONE] = "gone",
};

const char *crew_state_name(enum crew_state s)
{
	must(s < ARRAY_LEN(state_names));
	return state_names[s];
}

void crew_set_state(struct master *m, struct crew *w, enum crew_state state)
{
	OBJ_CHECK(w, CREW_MAGIC);
	must(state >= w->state);
	if (w->state != state)
		w->since_ms = m->now_ms;
	w->state = state;
}

struct crew *crew_new(struct master *m, struct conf *conf)
{
	struct crew *w = calloc(1, sizeof(*w));

	if (w == NULL)
		log_no_memory(sizeof(*w));
	*w = (struct crew){ .magic = CREW_MAGIC, .state = CREW_STARTING, .number = ++m->last_crew, .since_ms = m->now_ms,
			    .conf = conf, .borrowed = conf != NULL, .next = m->crews, .priv = { .jail_fd = -1 } };
	arena_init(&w->arena, NULL, 0);
	m->crews = w;
	return w;
}

unsigned crew_slots(const struct conf *c)
{
	return c->workers + 1 + (c->admin.nbinds > 0);
}

struct crew *crew_adopt(struct master *m, struct estate_crew *from, struct elder *elder)
{
	struct crew *w = crew_new(m, from->conf);

	w->number = from->number;
	w->since_ms = from->since_ms;
	w->state = CREW_OLD;
	w->elder = elder;
	w->shm = from->shm;
	if (from->records_fd >= 0 && !records_adopt(&w->records, from->records_slots, from->records_fd))
		close(from->records_fd);
	return w;
}

bool crew_open(struct crew *w, const struct crew *from)
{
	const struct conf *c = w->conf;
	const struct shm_size size = shm_size_of(c, crew_slots(c));

	OBJ_CHECK(w, CREW_MAGIC);
	if (!shm_init(&w->shm, &size)) {
		w->shm.magic = 0;
		master_complain("cannot make the shared memory: %s", strerror(errno));
		return false;
	}
	/* For people to read; weir serves without as well. */
	if (!records_init(&w->records, c->workers)) {
		w->records.magic = 0;
		log_warn("There is no shared memory for decision records: %s. "
			 "weirctl why, trace and sessions have nothing to tell.", strerror(errno));
	}
	shm_init_health(&w->shm, c);
	if (from != NULL) {
		shm_carry(&w->shm, c, &from->shm, from->conf);
		shm_carry_staples(&w->shm, c, &from->shm, from->conf);
	}
	if (children_init(w))
		return true;
	master_complain("cannot set up %u workers: %s", c->workers, strerror(errno));
	return false;
}

void crew_free(struct crew *w)
{
	OBJ_CHECK(w, CREW_MAGIC);
	children_fini(w);
	priv_fini(&w->priv);
	if (w->shm.magic == SHM_MAGIC)
		shm_fini(&w->shm);
	if (w->records.magic == RECORDS_MAGIC)
		records_fini(&w->records);
	if (w->conf != NULL)
		logs_close(w->conf);
	if (w->conf != NULL && !w->borrowed)
		conf_free(w->conf);
	arena_fini(&w->arena);
	w->magic = 0;
	free(w);
}

static unsigned processes(const struct crew *w, bool workers_only)
{
	unsigned n = 0;

	if (w->elder != NULL)
		return w->gone ? 0 : shm_live_rows(&w->shm, workers_only);
	for (unsigned i = 0; i < w->nchildren; i++)
		n += w->children[i].pid > 0 && (!workers_only || w->children[i].role == PROCESS_WORKER);
	return n;
}

unsigned crew_processes(const struct crew *w)
{
	return processes(w, false);
}

bool crew_is_ready(const struct crew *w)
{
	for (unsigned i = 0; i < w->nchildren; i++) {
		if (w->children[i].state != CHILD_LIVE)
			return false;
	}
	return w->nchildren > 0;
}

const struct child *crew_lost_child(const struct crew *w)
{
	for (unsigned i = 0; i < w->nchildren; i++) {
		if (w->children[i].restarts > 0 || w->children[i].state == CHILD_STUCK)
			return &w->children[i];
	}
	return NULL;
}

unsigned crews_old(const struct master *m)
{
	unsigned n = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		n += w != m->crew && w != m->reload.next && w->state != CREW_GONE && !w->failed;
	return n;
}

bool crew_accepts(const struct crew *w)
{
	for (unsigned i = 0; i < w->nchildren; i++) {
		const struct child *c = &w->children[i];

		if (c->role != PROCESS_CHECKER && c->pid > 0 && !c->away)
			return true;
	}
	return false;
}

void crew_drain(struct master *m, struct crew *w)
{
	crew_set_state(m, w, CREW_OLD);
	for (unsigned i = 0; i < w->nchildren; i++) {
		if (w->children[i].role == PROCESS_WORKER)
			child_drain(m, &w->children[i], CREW_GRACE_MS, true);
	}
}

void crews_hurry(struct master *m)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++)
			child_hurry(m, &w->children[i]);
	}
}

void crew_drain_admin(struct master *m, struct crew *w)
{
	for (unsigned i = 0; i < w->nchildren; i++) {
		if (w->children[i].role == PROCESS_ADMIN)
			child_drain(m, &w->children[i], 0, false);
	}
}

/* What goes with its workers; they are told, not asked, so that these are the numbers of a moment ago. */
static void count_losses(struct master *m, const struct crew *w)
{
	uint64_t conns = shm_stat(&w->shm, STAT_ACTIVE_CONNS), requests = shm_stat(&w->shm, STAT_ACTIVE_EXCHANGES);

	m->lost_conns += conns;
	m->lost_requests += requests;
	log_warn("Generation %u is ended after %llu s of draining, because %u old ones are the most: %llu connections with "
		 "%llu requests under way are closed", w->number, (unsigned long long)(m->now_ms - w->since_ms) / 1000,
		 CREWS_OLD, (unsigned long long)conns, (unsigned long long)requests);
}

void crew_end(struct master *m, struct crew *w)
{
	if (w->state >= CREW_ENDING)
		return;
	if (w->state == CREW_OLD && m->state == MASTER_RUNNING && processes(w, true) > 0)
		count_losses(m, w);
	crew_set_state(m, w, CREW_ENDING);
	if (w->elder != NULL)
		heir_end_crew(m, w);
	for (unsigned i = 0; i < w->nchildren; i++)
		child_stop(m, &w->children[i]);
}

/* Its counters are added to those in force before anybody can ask again. */
static void bury(struct master *m, struct crew **at)
{
	struct crew *w = *at;

	*at = w->next;
	if (w->shm.magic == SHM_MAGIC && !w->failed) {
		shm_carry_counts(&m->crew->shm, m->crew->conf, &w->shm, w->conf, w->number);
		log_info("Generation %u has ended", w->number);
	}
	crew_free(w);
}

/* The end of another master's is that one's to tell. */
static void move_on(struct master *m, struct crew *w)
{
	if (w->elder != NULL) {
		if (w->gone)
			crew_set_state(m, w, CREW_GONE);
		return;
	}
	if (w->state == CREW_OLD && processes(w, true) == 0)
		crew_end(m, w);
	if (w->state == CREW_ENDING && processes(w, false) == 0) {
		crew_set_state(m, w, CREW_GONE);
		upgrade_tell_gone(m, w);
	}
}

void crews_tend(struct master *m)
{
	for (struct crew **at = &m->crews; *at != NULL;) {
		struct crew *w = *at;

		OBJ_CHECK(w, CREW_MAGIC);
		move_on(m, w);
		/* In an upgrade another master counts on what each of them has counted. */
		if (w->state == CREW_GONE && w != m->crew && m->state == MASTER_RUNNING &&
		    m->upgrade.state <= UPGRADE_ASKED)
			bury(m, at);
		else
			at = &w->next;
	}
}

/* ---- what is told ---- */

static void tell(struct shm_master *to, const struct master *m)
{
	const struct reload *r = &m->reload;

	atomic_store(&to->state, (uint32_t)m->state);
	atomic_store(&to->generation, m->crew->number);
	atomic_store(&to->generations, crews_old(m) + 1);
	atomic_store(&to->pid, getpid());
	atomic_store(&to->begun_ms, m->begun_wall_ms);
	atomic_store(&to->reloads, r->good);
	atomic_store(&to->reloads_failed, r->bad);
	atomic_store(&to->reloaded_ms, r->good_ms);
	atomic_store(&to->reload_failed_ms, r->bad_ms);
	atomic_store(&to->upgrades, m->upgrade.good);
	atomic_store(&to->upgrades_failed, m->upgrade.bad);
	atomic_store(&to->worker_restarts, m->worker_restarts);
	atomic_store(&to->other_restarts, m->other_restarts);
	atomic_store(&to->lost_conns, m->lost_conns);
	atomic_store(&to->lost_requests, m->lost_requests);
}

void crews_publish(struct master *m)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		/* What another master made is that one's to write. */
		if (w->shm.magic == SHM_MAGIC && w->elder == NULL)
			tell(shm_master(&w->shm), m);
	}
}

/* ---- totals ---- */

/* One that never came into force has counted nothing that counts. */
static bool counts(const struct crew *w)
{
	return w->shm.magic == SHM_MAGIC && !w->failed;
}

uint64_t crews_stat(const struct master *m, enum stat_id id)
{
	uint64_t sum = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		sum += counts(w) ? shm_stat(&w->shm, id) : 0;
	return sum;
}

uint64_t crews_reason(const struct master *m, enum reason r)
{
	uint64_t sum = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		sum += counts(w) ? shm_reason(&w->shm, r) : 0;
	return sum;
}

uint64_t crews_queued(const struct master *m, const struct conf_upstream *u)
{
	uint64_t sum = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		int id = counts(w) ? shm_find_upstream(w->conf, u) : -1;

		sum += id >= 0 ? shm_queue_len(&w->shm, (unsigned)id) : 0;
	}
	return sum;
}

struct crew_use crews_use(const struct master *m, const struct conf_upstream *u, const struct conf_server *s,
			  unsigned k)
{
	struct crew_use sum = { 0 };

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		int cell = counts(w) ? shm_find_cell(w->conf, u, s) : -1;

		if (cell < 0)
			continue;
		sum.requests += shm_requests(&w->shm, (unsigned)cell + k);
		sum.fails += shm_fails(&w->shm, (unsigned)cell + k);
		sum.active += shm_active(&w->shm, (unsigned)cell + k);
	}
	return sum;
}
