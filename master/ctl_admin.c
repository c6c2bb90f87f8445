/*
 * ctl_admin.c - what the operator changes while weir runs.
 *
 * Called by ctl_server.c. One word in shared memory for each server says what
 * was asked for; workers read it at their next pick. The master alone writes
 * it, in every generation, and a reload carries it over. It touches no
 * connection: what is under way ends by itself.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/ctl_server.h"
#include "master/master.h"

#define WEIGHT_MAX 1000

static struct shm_admin changed(struct shm_admin a, enum ctl_verb verb, unsigned weight, uint64_t now_ms)
{
	const enum shm_held was = a.held;

	switch (verb) {
	case CTL_DRAIN:
		a.held = HELD_DRAIN;
		break;
	case CTL_DOWN:
		a.held = HELD_DOWN;
		break;
	case CTL_WEIGHT:
		a.has_weight = true;
		a.weight = weight;
		break;
	default:
		a.held = HELD_NO;
	}
	if (a.held != was)
		a.since_s = (uint32_t)(now_ms / 1000);
	return a;
}

/* In every generation that has this server: old ones still pick for clients that they kept. */
static void apply(struct master *m, const struct conf_upstream *u, const struct conf_server *s, enum ctl_verb verb,
		  unsigned weight)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		int cell = w->shm.magic == SHM_MAGIC ? shm_find_cell(w->conf, u, s) : -1;

		if (cell < 0)
			continue;
		for (unsigned k = 0; k < s->ncells; k++) {
			_Atomic uint64_t *word = &w->shm.servers[(unsigned)cell + k].admin;

			atomic_store(word, shm_admin_word(changed(shm_admin(atomic_load(word)), verb, weight, m->now_ms)));
		}
		atomic_fetch_add(&w->shm.upstreams[shm_find_upstream(w->conf, u)].admin_gen, 1);
	}
}

/* All processes look at it now, not when the next request comes. */
static void wake_workers(const struct master *m)
{
	const uint64_t one = 1;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			if (w->children[i].role == PROCESS_WORKER && write(w->wake_fds[i], &one, sizeof(one)) < 0)
				continue;	/* the counter is full: it is awake already */
		}
	}
}

static uint64_t active_on(const struct master *m, const struct conf_upstream *u, const struct conf_server *s)
{
	uint64_t active = 0;

	for (unsigned k = 0; k < s->ncells; k++)
		active += crews_use(m, u, s, k).active;
	return active;
}

static void say_done(const struct ctl_request *r, FILE *out, uint64_t active, uint64_t waited_ms)
{
	if (r->option) {
		fputs("{\"server\": ", out);
		ctl_json(out, span_of(r->words[0]));
		fprintf(out, ", \"verb\": \"%s\", \"active\": %llu, \"waited_ms\": %llu}\n", r->def->name,
			(unsigned long long)active, (unsigned long long)waited_ms);
		return;
	}
	fprintf(out, "%s: %s%s%s, %llu requests under way", r->words[0], r->def->name, r->nwords > 1 ? " " : "",
		r->nwords > 1 ? r->words[1] : "", (unsigned long long)active);
	if (waited_ms > 0)
		fprintf(out, " after %.1f s", (double)waited_ms / 1000);
	fputc('\n', out);
}

/* ---- waiting until a server has nothing left ---- */

/* Every worker, those of an earlier master too, has begun a turn since the change: none is still on its way to the server by what
 * it read before. A worker that starts reads the change itself. */
static bool all_know(const struct master *m, uint64_t since_ms)
{
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		/* Behind the workers' rows come others. */
		for (unsigned i = 0; w->shm.magic == SHM_MAGIC && i < w->conf->workers && i < w->shm.nslots; i++) {
			const struct shm_row *row = shm_row(&w->shm, i);

			if (atomic_load(&row->state) == SLOT_LIVE && atomic_load(&row->beat_ms) <= since_ms)
				return false;
		}
	}
	return true;
}

static void answer_wait(struct master *m, struct ctl_client *c, enum ctl_status status, uint64_t active)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out != NULL) {
		say_done(&c->request, out, active, m->now_ms - c->begun_ms);
		fclose(out);
	}
	ctl_answer(m, c, status, text != NULL ? text : "");
	free(text);
}

static void tend_wait(struct master *m, struct ctl_client *c)
{
	const struct conf_upstream *u;
	char *why = NULL;
	size_t size;
	FILE *out = open_memstream(&why, &size);

	if (out == NULL)
		return;
	/* Looked up anew each time: a reload may have come between. */
	const struct conf_server *s = ctl_find_server(m->crew->conf, c->request.words[0], &u, out);
	fclose(out);
	uint64_t active = s != NULL ? active_on(m, u, s) : 0;
	if (s == NULL)
		ctl_answer(m, c, CTL_FAILED, why);
	else if (active == 0 && all_know(m, c->begun_ms))
		answer_wait(m, c, CTL_OK, 0);
	else if (m->now_ms >= c->due_ms)
		answer_wait(m, c, CTL_TIMED_OUT, active);
	else if (!all_know(m, c->begun_ms))
		wake_workers(m);
	free(why);
}

static const struct ctl_job wait_job = { .tend = tend_wait };

/* ---- the verbs ---- */

/* True when what was asked makes sense. */
static bool check(const struct ctl_request *r, const struct conf_upstream *u, const struct conf_server *s, FILE *out,
		  unsigned *weight, uint64_t *wait_ms, enum ctl_status *status)
{
	const char *wait = ctl_value(r, "--wait");
	uint64_t number;

	*status = CTL_USAGE;
	if (wait != NULL && !ctl_duration(wait, wait_ms)) {
		fprintf(out, "--wait takes a time such as 30s or 5m, a week at most\n");
		return false;
	}
	if (r->def->verb == CTL_WEIGHT) {
		if (!span_u64(span_of(r->words[1]), &number) || number > WEIGHT_MAX) {
			fprintf(out, "a weight is a number from 0 to %u\n", WEIGHT_MAX);
			return false;
		}
		*weight = (unsigned)number;
	}
	*status = CTL_FAILED;
	if (s->disabled && r->def->verb == CTL_READY) {
		fprintf(out, "server %.*s of upstream %.*s is disabled in the configuration\n", SPAN_FMT(s->name),
			SPAN_FMT(u->name));
		return false;
	}
	*status = CTL_OK;
	return true;
}

bool admin_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status)
{
	const struct ctl_request *r = &c->request;
	const struct conf_upstream *u;
	const struct conf_server *s = ctl_find_server(m->crew->conf, r->words[0], &u, out);
	uint64_t wait_ms = 0;
	unsigned weight = 0;

	*status = CTL_FAILED;
	if (s == NULL || !check(r, u, s, out, &weight, &wait_ms, status))
		return true;
	apply(m, u, s, r->def->verb, weight);
	wake_workers(m);
	log_notice("weirctl asks: %s%s%s for server %.*s of upstream %.*s", r->def->name, r->nwords > 1 ? " " : "",
		   r->nwords > 1 ? r->words[1] : "", SPAN_FMT(s->name), SPAN_FMT(u->name));
	if (wait_ms > 0) {
		ctl_job_start(m, c, &wait_job, wait_ms);
		c->begun_ms = clock_mono_ms();	/* this turn may have begun long ago */
		return false;
	}
	say_done(r, out, active_on(m, u, s), 0);
	return true;
}
