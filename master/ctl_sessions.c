/*
 * ctl_sessions.c - "weirctl sessions": what clients have under way.
 *
 * Called by ctl_server.c for the one client that may ask at a time. Each worker
 * is asked by a message and answers into its own area of shared memory; one
 * that does not within ANSWER_MS is told as silent, and nobody waits for it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "master/ctl_server.h"
#include "master/ctl_tell.h"
#include "master/master.h"

#define ANSWER_MS 2000
#define LIMIT 200
#define LIMIT_MOST 100000
#define SESSION_WISHES "client=NET, listen=NAME, route=NAME, server=UPSTREAM/SERVER"

/* Is asked, and can answer. */
static bool is_asked(const struct crew *w, const struct child *c, uint32_t gen)
{
	return crew_takes_orders(w) && c->role == PROCESS_WORKER && c->pid > 0 &&
	       (c->state == CHILD_LIVE || c->state == CHILD_DRAINING || c->state == CHILD_STUCK) &&
	       atomic_load(&w->records.orders->sessions_gen) == gen;
}

static bool has_answered(const struct crew *w, const struct child *c, uint32_t gen)
{
	return atomic_load_explicit(&records_area(&w->records, c->slot)->sessions_gen, memory_order_acquire) == gen;
}

/* ---- one session ---- */

static void session_text(FILE *out, const struct crew *w, const struct child *c, const struct shm_session *s)
{
	const struct conf *conf = w->conf;
	char client[ADDR_TEXT], listen[96], age[32], conn[32], route[96], server[160], in[32], sent[32], text[200];
	char proto[16];

	snprintf(proto, sizeof(proto), "%s%s", session_proto_text((enum session_proto)s->proto), s->tls ? "+tls" : "");
	fprintf(out, "%4u %-21s %-10s %-8s %-12s %-8s %-8s %-14s %-18s %9s %9s %s\n", c->slot,
		tell_client(client, sizeof(client), s->family, s->ip, s->port),
		tell_listen(listen, sizeof(listen), conf, s->listen), proto,
		session_state_text((enum session_state)s->state), ctl_age(age, sizeof(age), s->age_ms),
		ctl_age(conn, sizeof(conn), s->conn_ms), tell_route(route, sizeof(route), conf, s->route),
		tell_server(server, sizeof(server), conf, s->cell), ctl_size(in, sizeof(in), s->bytes_in),
		ctl_size(sent, sizeof(sent), s->bytes_out), log_esc(text, sizeof(text), span_make(s->text, s->text_len)));
}

static void session_json(FILE *out, const struct crew *w, const struct child *c, const struct shm_session *s)
{
	const struct conf *conf = w->conf;
	char name[160];

	fprintf(out, "{\"worker\": %u, \"generation\": %u, \"process\": %d, \"connection\": %" PRIu64 ", \"stream\": %u, "
		"\"client\": ", c->slot, w->number, (int)c->pid, s->conn, s->stream);
	ctl_json(out, span_of(tell_client(name, sizeof(name), s->family, s->ip, s->port)));
	fputs(", \"listener\": ", out);
	ctl_json(out, span_of(tell_listen(name, sizeof(name), conf, s->listen)));
	fprintf(out, ", \"protocol\": \"%s\", \"tls\": %s, \"state\": \"%s\", \"age_ms\": %" PRIu64
		", \"connection_ms\": %" PRIu64 ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64 ", \"route\": ",
		session_proto_text((enum session_proto)s->proto), s->tls ? "true" : "false",
		session_state_text((enum session_state)s->state), s->age_ms, s->conn_ms, s->bytes_in, s->bytes_out);
	ctl_json(out, span_of(tell_route(name, sizeof(name), conf, s->route)));
	fputs(", \"server\": ", out);
	ctl_json(out, span_of(tell_server(name, sizeof(name), conf, s->cell)));
	fputs(", \"id\": ", out);
	tell_bytes(out, span_make(s->id, s->id_len));
	fputs(", \"path\": ", out);
	tell_bytes(out, span_make(s->text, s->text_len));
	fputc('}', out);
}

/* ---- the list ---- */

struct list_of {
	FILE *out;
	bool json;
	uint32_t gen;
	uint64_t limit, told, more;
	unsigned silent;
};

static void tell_worker(struct list_of *l, const struct crew *w, const struct child *c)
{
	const struct shm_area *area = records_area(&w->records, c->slot);
	uint32_t n = atomic_load(&area->sessions);
	struct shm_session s;

	l->more += atomic_load(&area->sessions_more);
	for (uint32_t i = 0; i < n && i < SESSIONS_MAX; i++) {
		if (l->told >= l->limit) {
			l->more++;
			continue;
		}
		sessions_copy(&w->records, c->slot, i, &s);
		if (l->json)
			fputs(l->told > 0 ? ",\n  " : "\n  ", l->out);
		if (l->json)
			session_json(l->out, w, c, &s);
		else
			session_text(l->out, w, c, &s);
		l->told++;
	}
}

typedef void each_fn(struct list_of *l, const struct crew *w, const struct child *c);

static void each_worker(const struct master *m, struct list_of *l, bool answered, each_fn *each)
{
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			const struct child *c = &w->children[i];

			if (is_asked(w, c, l->gen) && has_answered(w, c, l->gen) == answered)
				each(l, w, c);
		}
	}
}

static void tell_silent(struct list_of *l, const struct crew *w, const struct child *c)
{
	if (l->json)
		fprintf(l->out, "%s{\"worker\": %u, \"generation\": %u, \"process\": %d}", l->silent > 0 ? ", " : "", c->slot,
			w->number, (int)c->pid);
	else
		fprintf(l->out, "worker %u of generation %u (process %d) did not answer within %u s\n", c->slot, w->number,
			(int)c->pid, ANSWER_MS / 1000);
	l->silent++;
}

static void count_silent(struct list_of *l, const struct crew *w, const struct child *c)
{
	(void)w;
	(void)c;
	l->silent++;
}

static void tell_all(const struct master *m, struct list_of *l)
{
	if (l->json)
		fputs("{\"sessions\": [", l->out);
	else
		fprintf(l->out, "%4s %-21s %-10s %-8s %-12s %-8s %-8s %-14s %-18s %9s %9s %s\n", "WORK", "CLIENT", "LISTENER",
			"PROTOCOL", "STATE", "FOR", "CONN", "ROUTE", "SERVER", "IN", "OUT", "PATH");
	each_worker(m, l, true, tell_worker);
	if (l->json)
		fputs(l->told > 0 ? "\n], \"silent\": [" : "], \"silent\": [", l->out);
	each_worker(m, l, false, tell_silent);
	if (l->json)
		fprintf(l->out, "], \"more\": %" PRIu64 "}\n", l->more);
	else if (l->more > 0)
		fprintf(l->out, "and %" PRIu64 " more; --limit shows more, words such as client=NET fewer\n", l->more);
}

static void sessions_tend(struct master *m, struct ctl_client *c)
{
	struct list_of l = { .json = c->request.option, .gen = c->job_order, .limit = c->job_count };
	char *text = NULL;
	size_t size = 0;

	each_worker(m, &l, false, count_silent);
	if (l.silent > 0 && m->now_ms < c->due_ms)
		return;
	l.silent = 0;
	l.out = open_memstream(&text, &size);
	if (l.out != NULL) {
		tell_all(m, &l);
		fclose(l.out);
	}
	if (text != NULL)
		ctl_stream(c, text, size);
	free(text);
	ctl_stream_end(m, c, l.silent > 0 ? CTL_TIMED_OUT : CTL_OK);
}

static void sessions_stop(struct master *m, struct ctl_client *c)
{
	(void)c;
	m->listing = false;
}

static const struct ctl_job sessions_job = { .tend = sessions_tend, .stop = sessions_stop };

static void ask_workers(struct master *m, const struct ctl_client *c)
{
	struct shm_filter f;

	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (!crew_takes_orders(w))
			continue;
		ctl_filter(w->conf, &c->request, SESSION_WISHES, &f, NULL);
		w->records.orders->sessions = f;
		atomic_store(&w->records.orders->sessions_gen, m->orders);
		for (unsigned i = 0; i < w->nchildren; i++) {
			if (is_asked(w, &w->children[i], m->orders) && w->children[i].control >= 0)
				ipc_send(w->children[i].control, IPC_SESSIONS, w->children[i].gen, m->orders, -1);
		}
	}
}

bool sessions_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status)
{
	const char *limit = ctl_value(&c->request, "--limit");
	uint64_t n = LIMIT;
	struct shm_filter f;

	*status = CTL_USAGE;
	if (limit != NULL && (!span_u64(span_of(limit), &n) || n == 0 || n > LIMIT_MOST)) {
		fprintf(out, "--limit takes a number from 1 to %u\n", LIMIT_MOST);
		return true;
	}
	if (!ctl_filter(m->crew->conf, &c->request, SESSION_WISHES, &f, out))
		return true;
	*status = CTL_FAILED;
	if (m->listing) {
		fprintf(out, "another weirctl lists sessions at this moment\n");
		return true;
	}
	m->listing = true;
	m->orders += m->orders + 1 == 0 ? 2 : 1;
	ctl_job_start(m, c, &sessions_job, ANSWER_MS);
	c->job_count = n;
	c->job_order = m->orders;
	ask_workers(m, c);
	return false;
}
