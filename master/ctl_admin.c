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

#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/ctl_server.h"
#include "master/master.h"

#define WEIGHT_MAX 1000
#define NAMES_MAX 256

static const struct conf_upstream *find_upstream(const struct conf *c, struct span name)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		if (span_eq(c->upstreams[i]->name, name))
			return c->upstreams[i];
	}
	return NULL;
}

static const struct conf_server *find_server(const struct conf_upstream *u, struct span name)
{
	for (unsigned i = 0; i < u->nservers; i++) {
		if (span_eq(u->servers[i].name, name))
			return &u->servers[i];
	}
	return NULL;
}

/* "; did you mean ..." among the names given, which are copied for the purpose. */
static void print_nearest(FILE *out, struct span word, const struct span *names, unsigned n, const char *prefix)
{
	const char *copies[NAMES_MAX] = { NULL };
	unsigned ncopies = 0;

	for (; ncopies < n && ncopies < NAMES_MAX; ncopies++) {
		if ((copies[ncopies] = strndup(names[ncopies].p, names[ncopies].n)) == NULL)
			break;
	}
	const char *near = conf_nearest(word, copies, ncopies);
	if (near != NULL)
		fprintf(out, "; did you mean \"%s%s\"?", prefix, near);
	fputc('\n', out);
	while (ncopies > 0)
		free((char *)copies[--ncopies]);
}

static void no_upstream(const struct conf *c, struct span name, FILE *out)
{
	struct span names[NAMES_MAX];
	unsigned n = 0;
	char safe[64];

	for (; n < c->nupstreams && n < NAMES_MAX; n++)
		names[n] = c->upstreams[n]->name;
	fprintf(out, "there is no upstream \"%s\"", log_esc(safe, sizeof(safe), name));
	print_nearest(out, name, names, n, "");
}

static void no_server(const struct conf_upstream *u, struct span name, FILE *out)
{
	struct span names[NAMES_MAX];
	unsigned n = 0;
	char safe[64], prefix[64];

	for (; n < u->nservers && n < NAMES_MAX; n++)
		names[n] = u->servers[n].name;
	snprintf(prefix, sizeof(prefix), "%.*s/", SPAN_FMT(u->name));
	fprintf(out, "there is no server \"%s\" in upstream %.*s", log_esc(safe, sizeof(safe), name), SPAN_FMT(u->name));
	print_nearest(out, name, names, n, prefix);
}

/* UPSTREAM/SERVER; names of upstreams hold no slash. */
static const struct conf_server *find(const struct conf *c, const char *word, const struct conf_upstream **u, FILE *out)
{
	const char *slash = strchr(word, '/');

	if (slash == NULL) {
		fprintf(out, "name the server as UPSTREAM/SERVER; weirctl servers lists them\n");
		return NULL;
	}
	struct span upstream = span_make(word, (size_t)(slash - word)), server = span_of(slash + 1);
	*u = find_upstream(c, upstream);
	if (*u == NULL) {
		no_upstream(c, upstream, out);
		return NULL;
	}
	const struct conf_server *s = find_server(*u, server);
	if (s == NULL)
		no_server(*u, server, out);
	return s;
}

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

enum ctl_status admin_act(struct master *m, const struct ctl_request *r, FILE *out)
{
	const struct conf_upstream *u;
	const struct conf_server *s = find(m->crew->conf, r->words[0], &u, out);
	unsigned long weight = 0;
	unsigned long long active = 0;
	char *end, number[16] = "";

	if (s == NULL)
		return CTL_FAILED;
	if (r->def->verb == CTL_WEIGHT) {
		weight = strtoul(r->words[1], &end, 10);
		if (r->words[1][0] < '0' || r->words[1][0] > '9' || *end != '\0' || weight > WEIGHT_MAX) {
			fprintf(out, "a weight is a number from 0 to %u\n", WEIGHT_MAX);
			return CTL_USAGE;
		}
		snprintf(number, sizeof(number), " %lu", weight);
	}
	if (s->disabled && r->def->verb == CTL_READY) {
		fprintf(out, "server %.*s of upstream %.*s is disabled in the configuration\n", SPAN_FMT(s->name),
			SPAN_FMT(u->name));
		return CTL_FAILED;
	}
	apply(m, u, s, r->def->verb, (unsigned)weight);
	log_notice("weirctl asks: %s%s for server %.*s of upstream %.*s", r->def->name, number, SPAN_FMT(s->name),
		   SPAN_FMT(u->name));
	for (unsigned k = 0; k < s->ncells; k++)
		active += crews_use(m, u, s, k).active;
	fprintf(out, "%.*s/%.*s: %s%s, %llu requests under way\n", SPAN_FMT(u->name), SPAN_FMT(s->name), r->def->name,
		number, active);
	return CTL_OK;
}
