/*
 * page_json.c - /status.json: what the status page shows, for programs.
 *
 * Called by web.c, one object at a time. The names are in weir-metrics(7) and
 * stay; there may come more. Times are seconds.
 */
#include <inttypes.h>

#include "common/cert.h"
#include "common/obj.h"
#include "worker/admin/pages.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "unknown"
#endif

static void number(struct text *out, const char *name, uint64_t v)
{
	text_fmt(out, "\"%s\": %" PRIu64, name, v);
}

static void when(struct text *out, const char *name, uint64_t ms)
{
	text_fmt(out, "\"%s\": ", name);
	text_seconds(out, ms * 1000);
}

static void word(struct text *out, const char *name, struct span s)
{
	text_fmt(out, "\"%s\": ", name);
	text_json(out, s);
}

static void comma(struct text *out)
{
	text_str(out, ", ");
}

static void rates(struct text *out, const struct history_rate *r)
{
	text_fmt(out, ", \"requests_per_second\": %.3f, \"errors_per_second\": %.3f", r->answers, r->errors);
	static const struct {
		const char *name;
		double q;
	} shares[] = { { "p50_seconds", 0.5 }, { "p95_seconds", 0.95 }, { "p99_seconds", 0.99 } };
	for (unsigned i = 0; i < ARRAY_LEN(shares); i++) {
		text_fmt(out, ", \"%s\": ", shares[i].name);
		if (r->latency.count == 0)
			text_str(out, "null");
		else
			text_fmt(out, "%.6f", tally_quantile(&r->latency, shares[i].q) / 1e6);
	}
}

/* ---- weir as a whole ---- */

static void top(struct admin_view *v, struct text *out)
{
	const struct shm_master *m = shm_master(v->shm);
	uint64_t begun = atomic_load(&m->begun_ms);
	const char *why;

	text_str(out, "{\n");
	word(out, "version", SPAN(WEIR_VERSION));
	comma(out);
	word(out, "state", atomic_load(&m->state) > 1 ? SPAN("draining") : healthz(v, &why) == 200 ? SPAN("serving")
	     : SPAN("no worker answers"));
	text_fmt(out, ", \"pid\": %d, ", (int)atomic_load(&m->pid));
	when(out, "started", begun);
	comma(out);
	when(out, "uptime_seconds", v->wall_ms > begun ? v->wall_ms - begun : 0);
	text_str(out, ",\n");
	number(out, "generation", atomic_load(&m->generation));
	comma(out);
	number(out, "generations", atomic_load(&m->generations));
	comma(out);
	number(out, "workers", v->conf->workers);
	comma(out);
	number(out, "workers_live", look_workers_live(v));
	comma(out);
	number(out, "worker_restarts", atomic_load(&m->worker_restarts));
	comma(out);
	number(out, "other_restarts", atomic_load(&m->other_restarts));
	text_str(out, ",\n");
	number(out, "reloads", atomic_load(&m->reloads));
	comma(out);
	number(out, "reloads_failed", atomic_load(&m->reloads_failed));
	comma(out);
	when(out, "last_reload", atomic_load(&m->reloaded_ms));
	comma(out);
	when(out, "last_failed_reload", atomic_load(&m->reload_failed_ms));
	comma(out);
	number(out, "lost_connections", atomic_load(&m->lost_conns));
	comma(out);
	number(out, "lost_requests", atomic_load(&m->lost_requests));
}

static void totals(struct admin_view *v, struct text *out)
{
	text_str(out, ",\n\"totals\": {");
	for (unsigned i = 0; i < STAT__N; i++) {
		enum stat_id s = (enum stat_id)i;

		text_str(out, i > 0 ? ", " : "");
		number(out, stat_name(s), stat_is_gauge(s) ? tally_gauge(&v->tally, s) : tally_stat(&v->tally, s));
	}
	text_str(out, "},\n\"reasons\": {");
	for (unsigned i = 1; i < REASON__N; i++) {
		text_str(out, i > 1 ? ", " : "");
		number(out, reason_token((enum reason)i), tally_sum(&v->tally, TALLY_ROW, 0, shm_reason_at((enum reason)i)));
	}
	text_str(out, "}");
}

/* ---- lists: each unit is one item, the first one with what goes before it ---- */

static void before(struct cursor *c, struct text *out, const char *name)
{
	if (c->begun)
		text_str(out, ",\n  {");
	else
		text_fmt(out, ",\n\"%s\": [\n  {", name);
	c->begun = true;
}

static bool end_list(struct cursor *c, struct text *out, const char *name)
{
	if (c->begun)
		text_str(out, "\n]");
	else
		text_fmt(out, ",\n\"%s\": []", name);
	return false;
}

static bool listeners(struct admin_view *v, struct cursor *c, struct text *out)
{
	if (c->i >= v->conf->nlistens)
		return end_list(c, out, "listeners");
	before(c, out, "listeners");
	word(out, "name", v->conf->listens[c->i]->name);
	comma(out);
	number(out, "open", tally_open(&v->tally, c->i));
	comma(out);
	number(out, "connections", tally_sum(&v->tally, TALLY_LISTEN, c->i, 0));
	text_str(out, "}");
	c->i++;
	return true;
}

static bool upstreams(struct admin_view *v, struct cursor *c, struct text *out)
{
	struct cursor servers = { .i = c->i };
	unsigned all = 0, up = 0;
	struct look l;

	if (c->i >= v->conf->nupstreams)
		return end_list(c, out, "upstreams");
	while (look_next(v, &servers, &l)) {
		all++;
		up += l.state == LOOK_UP;
	}
	before(c, out, "upstreams");
	word(out, "name", v->conf->upstreams[c->i]->name);
	comma(out);
	number(out, "servers", all);
	comma(out);
	number(out, "up", up);
	comma(out);
	number(out, "queued", tally_queued(&v->tally, c->i));
	text_str(out, "}");
	c->i++;
	return true;
}

static void server_counters(struct admin_view *v, const struct look *l, struct text *out)
{
	const unsigned id = l->server->id;

	comma(out);
	number(out, "tries", tally_sum(&v->tally, TALLY_CELL, l->cell, offsetof(struct shm_use, requests)));
	comma(out);
	number(out, "failures", tally_sum(&v->tally, TALLY_CELL, l->cell, offsetof(struct shm_use, fails)));
	comma(out);
	number(out, "ejections", tally_sum(&v->tally, TALLY_SERVER, id, offsetof(struct meter_server, ejections)));
	comma(out);
	number(out, "checks", tally_sum(&v->tally, TALLY_SERVER, id, offsetof(struct meter_server, checks)));
	comma(out);
	number(out, "check_failures", tally_sum(&v->tally, TALLY_SERVER, id, offsetof(struct meter_server, check_fails)));
	comma(out);
	when(out, "last_check_seconds", atomic_load(&v->shm->health[l->cell].last_ms));
}

static void server(struct admin_view *v, const struct look *l, struct text *out)
{
	struct history_rate r = history_server(&v->history, l->server->id);

	word(out, "upstream", l->upstream->name);
	comma(out);
	word(out, "server", l->server->name);
	comma(out);
	word(out, "address", l->address);
	comma(out);
	word(out, "state", span_of(look_state_name(l->state)));
	comma(out);
	if (l->for_ms == UINT64_MAX)
		text_str(out, "\"state_seconds\": null");
	else
		when(out, "state_seconds", l->for_ms);
	comma(out);
	word(out, "why", span_of(l->why));
	comma(out);
	number(out, "weight", l->weight);
	text_str(out, l->server->backup ? ", \"backup\": true, " : ", \"backup\": false, ");
	number(out, "max_conns", l->server->max_conns);
	comma(out);
	number(out, "active", l->active);
	server_counters(v, l, out);
	rates(out, &r);
	text_str(out, "}");
}

static bool servers(struct admin_view *v, struct cursor *c, struct text *out)
{
	struct look l;

	for (; c->i < v->conf->nupstreams; c->i++) {
		if (look_next(v, c, &l)) {
			before(c, out, "servers");
			server(v, &l, out);
			return true;
		}
		c->j = c->k = 0;
	}
	return end_list(c, out, "servers");
}

static bool routes(struct admin_view *v, struct cursor *c, struct text *out)
{
	if (c->i > v->conf->nroutes)
		return end_list(c, out, "routes");
	const struct conf_route *r = c->i < v->conf->nroutes ? v->conf->routes[c->i] : NULL;
	struct history_rate rate = history_route(&v->history, c->i);

	before(c, out, "routes");
	if (r != NULL)
		word(out, "name", r->name);
	else
		text_str(out, "\"name\": null");
	text_str(out, r == NULL || r->enabled ? ", \"enabled\": true" : ", \"enabled\": false");
	rates(out, &rate);
	text_str(out, "}");
	c->i++;
	return true;
}

static bool certificates(struct admin_view *v, struct cursor *c, struct text *out)
{
	const struct cert *cert = v->conf->certs;

	for (unsigned i = 0; i < c->i && cert != NULL; i++)
		cert = cert->next;
	if (cert == NULL)
		return end_list(c, out, "certificates");
	before(c, out, "certificates");
	word(out, "file", span_of(cert->file));
	comma(out);
	word(out, "name", cert->nnames > 0 ? cert->names[0] : SPAN(""));
	text_fmt(out, ", \"expires\": %" PRId64 "}", cert->not_after);
	c->i++;
	return true;
}

/* ---- the whole ---- */

bool status_json_page(struct admin_view *v, struct cursor *c, struct text *out)
{
	static bool (*const lists[])(struct admin_view *v, struct cursor *c, struct text *out) = {
		listeners, upstreams, servers, routes, certificates,
	};

	if (c->part == 0) {
		top(v, out);
	} else if (c->part == 1) {
		totals(v, out);
	} else if (c->part < 2 + ARRAY_LEN(lists)) {
		if (lists[c->part - 2](v, c, out))
			return true;
	} else if (c->part == 2 + ARRAY_LEN(lists)) {
		text_str(out, "\n}\n");
	} else {
		return false;
	}
	c->part++;
	c->begun = false;
	c->i = c->j = c->k = 0;
	return true;
}
