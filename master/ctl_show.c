/*
 * ctl_show.c - the answers of the control socket that list things.
 *
 * Tables for people, JSON for scripts, from the same rows of shared memory
 * that the workers count in. Called by ctl_server.c. What children wrote is
 * copied, range-checked and printed, never used as an index or an address.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "common/reason.h"
#include "common/shm_eject.h"
#include "master/crew.h"
#include "master/ctl_server.h"
#include "master/master.h"
#include "master/version.h"

/* Since a time that a child may have written: never before the beginning of things. */
static uint64_t since(const struct master *m, uint64_t ms)
{
	return ms <= m->now_ms ? m->now_ms - ms : 0;
}

/* ---- servers ---- */

const char *show_state(const struct shown *s)
{
	if (s->server->disabled)
		return "disabled";
	if (s->admin.held != HELD_NO)
		return s->admin.held == HELD_DRAIN ? "drained" : "held down";
	if (s->state == HEALTH_UP && s->ejected_ms > 0)
		return "ejected";
	switch (s->state) {
	case HEALTH_UP:
		return "up";
	case HEALTH_PENDING:
		return "pending";
	case HEALTH_DOWN:
		return s->why == HEALTH_WHY_UNRESOLVED ? "unresolved" : s->why == HEALTH_WHY_GONE ? "gone" : "down";
	default:
		return "unused";
	}
}

/* How a try failed last, in any generation. */
static void look_at_last(const struct master *m, struct shown *out, unsigned k)
{
	uint64_t age_s, least_s = UINT64_MAX, when_s;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		int cell = w->shm.magic == SHM_MAGIC && !w->failed ? shm_find_cell(w->conf, out->upstream, out->server) : -1;
		enum reason why = cell >= 0 ? shm_last_fail(&w->shm, (unsigned)cell + k, &when_s) : REASON_NONE;

		if (why == REASON_NONE)
			continue;
		age_s = (m->now_ms / 1000 - when_s) & 0xffffff;
		if (age_s >= least_s)
			continue;
		least_s = age_s;
		out->last_fail = why;
		out->last_fail_ms = age_s * 1000;
	}
}

/* What workers found out by themselves. */
static void look_at_failures(const struct master *m, struct shown *out, unsigned k)
{
	const struct shm *shm = &m->crew->shm;
	struct shm_eject mark = shm_eject(atomic_load(&shm->servers[out->cell].eject));

	if (shm_ejected(mark, shm_health_word(shm, out->cell), out->upstream->fail_timeout, m->now_ms))
		out->ejected_ms = mark.stamp - m->now_ms;
	look_at_last(m, out, k);
}

/* False for a spare cell of a host name; the first one is shown all the same while there is none. */
static bool look_at(const struct master *m, const struct conf_upstream *u, const struct conf_server *s, unsigned i,
		    struct shown *out)
{
	*out = (struct shown){ .upstream = u, .server = s, .cell = s->cell + i };
	must(out->cell < m->crew->shm.ncells);
	const struct shm_health *h = &m->crew->shm.health[out->cell];
	uint64_t word = atomic_load_explicit(&h->word, memory_order_acquire);
	struct addr a = s->addr;

	out->state = health_state_of(word);
	out->why = health_why_of(word);
	out->for_ms = since(m, health_since_of(word));
	snprintf(out->name, sizeof(out->name), "%.*s", SPAN_FMT(s->name));
	out->admin = shm_admin(atomic_load(&m->crew->shm.servers[out->cell].admin));
	out->weight = out->admin.has_weight ? out->admin.weight : s->weight;
	out->use = crews_use(m, u, s, i);
	look_at_failures(m, out, i);
	bool named = s->addr.family == ADDR_NONE;
	if (named && shm_get_addr(h, &a) && a.family != ADDR_UNIX) {
		char ip[ADDR_TEXT];

		addr_ip_text(&a, ip, sizeof(ip));
		snprintf(out->name, sizeof(out->name), "%.*s@%s", SPAN_FMT(s->name), ip);
	} else if (named) {
		a.family = ADDR_NONE;
	}
	if (a.family != ADDR_NONE)
		addr_text(&a, out->address, sizeof(out->address));
	else
		snprintf(out->address, sizeof(out->address), "-");
	return out->state != HEALTH_UNUSED || i == 0;
}

void show_each(const struct master *m, const struct conf_upstream *u, void *arg,
	       void (*show)(const struct master *m, const struct shown *s, void *arg))
{
	for (unsigned i = 0; i < u->nservers; i++) {
		const struct conf_server *s = &u->servers[i];

		for (unsigned cell = 0; cell < s->ncells; cell++) {
			struct shown shown;

			if (look_at(m, u, s, cell, &shown))
				show(m, &shown, arg);
		}
	}
}

struct tally {
	unsigned servers, up, ejected;
	uint64_t active;
};

static void add_up(const struct master *m, const struct shown *s, void *arg)
{
	struct tally *t = arg;

	(void)m;
	t->servers++;
	t->up += s->state == HEALTH_UP && !s->server->disabled && s->admin.held == HELD_NO;
	t->ejected += s->ejected_ms > 0;
	t->active += s->use.active;
}

struct printer {
	FILE *out;
	bool first;
};

static void print_server(const struct master *m, const struct shown *s, void *arg)
{
	const struct shm_health *h = &m->crew->shm.health[s->cell];
	struct printer *p = arg;
	char age[32], weight[16];

	snprintf(weight, sizeof(weight), "%u%s", s->weight, s->server->backup ? " backup" : "");
	fprintf(p->out,
		"%-16.*s %-28s %-24s %-10s %-8s %-10s %7" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8u",
		SPAN_FMT(s->upstream->name), s->name, s->address, show_state(s),
		ctl_age(age, sizeof(age), s->for_ms), weight, s->use.active,
		s->use.requests, s->use.fails, atomic_load(&h->checks));
	if (s->ejected_ms > 0)
		fprintf(p->out, "  <- %s, used again in %s", s->last_fail ? reason_token(s->last_fail) : "tries failed",
			ctl_age(age, sizeof(age), s->ejected_ms + 999));
	fputc('\n', p->out);
}

static void print_server_json(const struct master *m, const struct shown *s, void *arg)
{
	const struct shm_health *h = &m->crew->shm.health[s->cell];
	struct printer *p = arg;

	fputs(p->first ? "\n" : ",\n", p->out);
	p->first = false;
	fputs("  {\"upstream\": ", p->out);
	ctl_json(p->out, s->upstream->name);
	fputs(", \"server\": ", p->out);
	ctl_json(p->out, span_of(s->name));
	fputs(", \"address\": ", p->out);
	ctl_json(p->out, span_of(s->address));
	fprintf(p->out, ", \"state\": \"%s\", \"state_ms\": %" PRIu64 ", \"weight\": %u, \"backup\": %s, "
		"\"max_conns\": %u, \"active\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"failures\": %" PRIu64 ", "
		"\"checks\": %u, \"check_failures\": %u, \"check_ms\": %u",
		show_state(s), s->for_ms, s->weight, s->server->backup ? "true" : "false", s->server->max_conns,
		s->use.active, s->use.requests, s->use.fails,
		atomic_load(&h->checks), atomic_load(&h->fails), atomic_load(&h->last_ms));
	fprintf(p->out, ", \"ejected_ms\": %" PRIu64, s->ejected_ms);
	if (s->last_fail != REASON_NONE)
		fprintf(p->out, ", \"last_failure\": \"%s\", \"last_failure_ms\": %" PRIu64, reason_token(s->last_fail),
			s->last_fail_ms);
	fputs("}", p->out);
}

bool show_servers(const struct master *m, const char *upstream, FILE *out, bool json)
{
	struct printer p = { .out = out, .first = true };

	if (upstream != NULL && ctl_find_upstream(m->crew->conf, span_of(upstream), out) == NULL)
		return false;
	if (json)
		fputs("[", out);
	else
		fprintf(out, "%-16s %-28s %-24s %-10s %-8s %-10s %7s %10s %8s %8s\n", "UPSTREAM", "SERVER", "ADDRESS", "STATE",
			"FOR", "WEIGHT", "ACTIVE", "REQUESTS", "FAILED", "CHECKS");
	for (unsigned i = 0; i < m->crew->conf->nupstreams; i++) {
		const struct conf_upstream *u = m->crew->conf->upstreams[i];

		if (upstream == NULL || span_eq(u->name, span_of(upstream)))
			show_each(m, u, &p, json ? print_server_json : print_server);
	}
	if (json)
		fputs(p.first ? "]\n" : "\n]\n", out);
	return true;
}

/* ---- workers ---- */

static uint64_t row_stat(const struct child *c, enum stat_id id)
{
	return atomic_load_explicit(&shm_row(&c->crew->shm, c->slot)->stats[id], memory_order_relaxed);
}

/* Since the last heartbeat, by what the watchdog saw. */
static uint64_t silent_ms(const struct master *m, const struct child *c)
{
	return c->pid != 0 ? since(m, c->watch.changed_ms) : 0;
}

static void print_worker(const struct master *m, const struct child *c, FILE *out)
{
	char age[32];

	fprintf(out, "%-10s %8d %-9s %10s %10u %9u %9" PRIu64 " %12" PRIu64 " %9" PRIu64 "\n", c->name, (int)c->pid,
		child_state_name(c->state), c->pid != 0 ? ctl_age(age, sizeof(age), since(m, c->born_ms)) : "-",
		c->crew->number, c->restarts, row_stat(c, STAT_ACTIVE_CONNS), row_stat(c, STAT_REQUESTS), silent_ms(m, c));
}

static void print_worker_json(const struct master *m, const struct child *c, FILE *out)
{
	const char *role = c->role == PROCESS_WORKER ? "worker" : c->role == PROCESS_CHECKER ? "checker" : "admin";

	fprintf(out, "  {\"name\": \"%s\", \"role\": \"%s\", \"slot\": %u, \"pid\": %d, \"state\": \"%s\", "
		"\"up_ms\": %" PRIu64 ", \"generation\": %u, \"starts\": %u, \"restarts\": %u, \"silent_ms\": %" PRIu64,
		c->name, role, c->slot, (int)c->pid, child_state_name(c->state),
		c->pid != 0 ? since(m, c->born_ms) : 0, c->crew->number, c->gen, c->restarts, silent_ms(m, c));
	for (unsigned i = 0; i < STAT__N; i++)
		fprintf(out, ", \"%s\": %" PRIu64, stat_name((enum stat_id)i), row_stat(c, (enum stat_id)i));
	fputs("}", out);
}

void show_workers(const struct master *m, FILE *out, bool json)
{
	const char *between = "";

	if (json)
		fputs("[\n", out);
	else
		fprintf(out, "%-10s %8s %-9s %10s %10s %9s %9s %12s %9s\n", "PROCESS", "PID", "STATE", "UP",
			"GENERATION", "RESTARTS", "CLIENTS", "REQUESTS", "SILENT/MS");
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			const struct child *c = &w->children[i];

			if (c->pid == 0 && w != m->crew)
				continue;
			fputs(between, out);
			if (json)
				print_worker_json(m, c, out);
			else
				print_worker(m, c, out);
			between = json ? ",\n" : "";
		}
	}
	fputs(json ? "\n]\n" : "", out);
}

/* ---- status ---- */

unsigned show_live_workers(const struct master *m, unsigned *restarts)
{
	unsigned live = 0;

	*restarts = 0;
	for (unsigned i = 0; i < m->crew->nchildren; i++) {
		const struct child *c = &m->crew->children[i];

		*restarts += c->restarts;
		live += c->role == PROCESS_WORKER && c->state == CHILD_LIVE;
	}
	return live;
}

static uint64_t stat_of(const struct master *m, enum stat_id id)
{
	return crews_stat(m, id);
}

static void print_upstreams(const struct master *m, FILE *out)
{
	for (unsigned i = 0; i < m->crew->conf->nupstreams; i++) {
		const struct conf_upstream *u = m->crew->conf->upstreams[i];
		struct tally t = { 0 };

		show_each(m, u, &t, add_up);
		fprintf(out, "%-12s %.*s: %u of %u servers up, %u ejected, %" PRIu64 " requests under way, %" PRIu64
			" queued%s\n", i == 0 ? "upstreams" : "", SPAN_FMT(u->name), t.up, t.servers, t.ejected, t.active,
			crews_queued(m, u), t.up == 0 ? "  <- none is up" : "");
	}
}

static void print_generations(const struct master *m, FILE *out)
{
	char age[32];

	fprintf(out, "%-12s %u in force", "generation", m->crew->number);
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w != m->crew)
			fprintf(out, ", %u %s for %s", w->number, crew_state_name(w->state),
				ctl_age(age, sizeof(age), since(m, w->since_ms)));
	}
	fprintf(out, "; %u reloads, %u failed", m->reload.good, m->reload.bad);
	if (m->upgrade.good + m->upgrade.bad > 0)
		fprintf(out, "; %u upgrades, %u failed", m->upgrade.good, m->upgrade.bad);
	if (m->lost_conns > 0)
		fprintf(out, "; %" PRIu64 " clients with %" PRIu64 " requests lost by ending old generations",
			m->lost_conns, m->lost_requests);
	fputc('\n', out);
}

static void json_generations(const struct master *m, FILE *out)
{
	fprintf(out, ",\n  \"generation\": %u, \"reloads\": %u, \"reloads_failed\": %u, \"upgrades\": %u, "
		"\"upgrades_failed\": %u, \"lost_connections\": %" PRIu64 ", \"lost_requests\": %" PRIu64
		", \"generations\": [", m->crew->number, m->reload.good, m->reload.bad, m->upgrade.good, m->upgrade.bad,
		m->lost_conns, m->lost_requests);
	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		fprintf(out, "%s{\"generation\": %u, \"state\": \"%s\", \"state_ms\": %" PRIu64 ", \"processes\": %u}",
			w != m->crews ? ", " : "", w->number, crew_state_name(w->state), since(m, w->since_ms),
			crew_processes(w));
	fputs("]", out);
}

static void status_text(const struct master *m, FILE *out)
{
	char age[32], in[32], sent[32];
	unsigned restarts, live = show_live_workers(m, &restarts);

	fprintf(out, "weir %s is %s: process %d, up %s, configuration %s\n", WEIR_VERSION, master_state_name(m->state),
		(int)getpid(), ctl_age(age, sizeof(age), since(m, m->begun_ms)), m->crew->conf->path);
	fprintf(out, "%-12s %u of %u live, %u restarts\n", "workers", live, m->crew->conf->workers, restarts);
	print_generations(m, out);
	fprintf(out, "%-12s %" PRIu64 " open, %" PRIu64 " in all\n", "clients", stat_of(m, STAT_ACTIVE_CONNS),
		stat_of(m, STAT_CONNS));
	fprintf(out, "%-12s %" PRIu64 " under way, %" PRIu64 " in all\n", "requests", stat_of(m, STAT_ACTIVE_EXCHANGES),
		stat_of(m, STAT_REQUESTS));
	fprintf(out, "%-12s %" PRIu64 " 2xx, %" PRIu64 " 3xx, %" PRIu64 " 4xx, %" PRIu64 " 5xx\n", "answers",
		stat_of(m, STAT_STATUS_2XX), stat_of(m, STAT_STATUS_3XX), stat_of(m, STAT_STATUS_4XX),
		stat_of(m, STAT_STATUS_5XX));
	fprintf(out, "%-12s %s in, %s out\n", "traffic", ctl_size(in, sizeof(in), stat_of(m, STAT_BYTES_IN)),
		ctl_size(sent, sizeof(sent), stat_of(m, STAT_BYTES_OUT)));
	print_upstreams(m, out);
}

static void json_upstreams(const struct master *m, FILE *out)
{
	fputs("  \"upstreams\": [", out);
	for (unsigned i = 0; i < m->crew->conf->nupstreams; i++) {
		const struct conf_upstream *u = m->crew->conf->upstreams[i];
		struct tally t = { 0 };

		show_each(m, u, &t, add_up);
		fputs(i > 0 ? ",\n    {\"name\": " : "\n    {\"name\": ", out);
		ctl_json(out, u->name);
		fprintf(out, ", \"servers\": %u, \"up\": %u, \"ejected\": %u, \"active\": %" PRIu64 ", \"queued\": %" PRIu64
			"}", t.servers, t.up, t.ejected, t.active, crews_queued(m, u));
	}
	fputs(m->crew->conf->nupstreams > 0 ? "\n  ]\n" : "]\n", out);
}

static void status_json(const struct master *m, FILE *out)
{
	unsigned restarts, live = show_live_workers(m, &restarts);

	fprintf(out, "{\n  \"version\": \"%s\", \"state\": \"%s\", \"pid\": %d, \"up_ms\": %" PRIu64
		",\n  \"configuration\": ",
		WEIR_VERSION, master_state_name(m->state), (int)getpid(), since(m, m->begun_ms));
	ctl_json(out, span_of(m->crew->conf->path));
	fprintf(out, ",\n  \"workers\": %u, \"workers_live\": %u, \"restarts\": %u", m->crew->conf->workers, live,
		restarts);
	json_generations(m, out);
	fputs(",\n  \"totals\": {", out);
	for (unsigned i = 0; i < STAT__N; i++)
		fprintf(out, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", stat_name((enum stat_id)i), stat_of(m, (enum stat_id)i));
	fputs("},\n  \"reasons\": {", out);
	for (unsigned i = 1; i < REASON__N; i++)
		fprintf(out, "%s\"%s\": %" PRIu64, i > 1 ? ", " : "", reason_token((enum reason)i),
			crews_reason(m, (enum reason)i));
	fputs("},\n", out);
	json_upstreams(m, out);
	fputs("}\n", out);
}

void show_status(const struct master *m, FILE *out, bool json)
{
	if (json)
		status_json(m, out);
	else
		status_text(m, out);
}
