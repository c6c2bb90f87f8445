/*
 * metrics.c - /metrics in the text format of Prometheus.
 *
 * Owns the table of families, their names and labels: all of them are in
 * weir-metrics(7), and none changes without an entry in NEWS. Called by web.c,
 * one line or one histogram at a time. Labels are names of the configuration
 * and words of our own tables, so that their number is bounded by it.
 */
#include <inttypes.h>

#include "common/cert.h"
#include "common/obj.h"
#include "worker/admin/metrics.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "unknown"
#endif

#define WITHIN(type, member) offsetof(struct type, member)

void metrics_sample(struct text *out, const struct family *f, const char *suffix)
{
	text_str(out, f->name);
	text_str(out, suffix);
}

void metrics_value(struct text *out, uint64_t v)
{
	text_str(out, " ");
	text_u64(out, v);
	text_str(out, "\n");
}

void metrics_seconds(struct text *out, uint64_t ms)
{
	text_str(out, " ");
	text_seconds(out, ms * 1000);
	text_str(out, "\n");
}

/* A family of one sample without labels. */
static bool single(struct cursor *c, struct text *out, const struct family *f, uint64_t v)
{
	if (c->i++ > 0)
		return false;
	metrics_sample(out, f, "");
	metrics_value(out, v);
	return true;
}

/* ---- weir as a whole ---- */

static bool build_info(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	(void)v;
	if (c->i++ > 0)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "version", SPAN(WEIR_VERSION));
	text_str(out, "}");
	metrics_value(out, 1);
	return true;
}

static bool start_time(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	if (c->i++ > 0)
		return false;
	metrics_sample(out, f, "");
	metrics_seconds(out, atomic_load(&shm_master(v->shm)->begun_ms));
	return true;
}

static bool master_word(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const _Atomic uint64_t *word = (const void *)((const char *)shm_master(v->shm) + f->within);

	return single(c, out, f, atomic_load(word));
}

static bool generation(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return single(c, out, f, atomic_load(&shm_master(v->shm)->generation));
}

static bool generations(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return single(c, out, f, atomic_load(&shm_master(v->shm)->generations));
}

static bool workers(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return single(c, out, f, v->conf->workers);
}

static bool workers_live(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return single(c, out, f, look_workers_live(v));
}

/* Two words of the master, told apart by a label. */
static bool pair(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f, const char *label,
		 const char *const names[2])
{
	const _Atomic uint64_t *word = (const void *)((const char *)shm_master(v->shm) + f->within);

	if (c->i >= 2)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, label, span_of(names[c->i]));
	text_str(out, "}");
	metrics_value(out, atomic_load(&word[c->i++]));
	return true;
}

static const char *const results[] = { "good", "failed" };

static bool reloads(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return pair(v, c, out, f, "result", results);
}

static bool reload_times(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const struct shm_master *m = shm_master(v->shm);

	if (c->i >= 2)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "result", span_of(results[c->i]));
	text_str(out, "}");
	metrics_seconds(out, atomic_load(c->i++ == 0 ? &m->reloaded_ms : &m->reload_failed_ms));
	return true;
}

static bool restarts(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	static const char *const names[] = { "worker", "other" };

	return pair(v, c, out, f, "process", names);
}

static bool memory(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	static const char *const names[] = { "health", "rows", "shared" };
	const size_t sizes[] = { v->shm->health_size, v->shm->rows_size, v->shm->shared_size };

	if (c->i >= ARRAY_LEN(names))
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "segment", span_of(names[c->i]));
	text_str(out, "}");
	metrics_value(out, sizes[c->i++]);
	return true;
}

static bool certificates(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	const struct cert *cert = v->conf->certs;

	for (unsigned i = 0; i < c->i && cert != NULL; i++)
		cert = cert->next;
	if (cert == NULL)
		return false;
	c->i++;
	metrics_sample(out, f, "{");
	text_label(out, "file", span_of(cert->file));
	text_str(out, ",");
	text_label(out, "name", cert->nnames > 0 ? cert->names[0] : SPAN(""));
	text_str(out, "}");
	text_fmt(out, " %" PRId64 "\n", cert->not_after);
	return true;
}

static bool responses(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };

	if (c->i >= ARRAY_LEN(classes))
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "class", span_of(classes[c->i]));
	text_str(out, "}");
	metrics_value(out, tally_stat(&v->tally, (enum stat_id)(STAT_STATUS_1XX + c->i)));
	c->i++;
	return true;
}

static bool reasons(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	if (c->i >= REASON__N)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "reason", c->i == REASON_NONE ? SPAN("none") : span_of(reason_token((enum reason)c->i)));
	text_str(out, "}");
	metrics_value(out, tally_sum(&v->tally, TALLY_ROW, 0, shm_reason_at((enum reason)c->i)));
	c->i++;
	return true;
}

/* ---- listeners and upstreams ---- */

static bool listener(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f, bool open)
{
	if (c->i >= v->conf->nlistens)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "listener", v->conf->listens[c->i]->name);
	text_str(out, "}");
	metrics_value(out, open ? tally_open(&v->tally, c->i) : tally_sum(&v->tally, TALLY_LISTEN, c->i, 0));
	c->i++;
	return true;
}

static bool listener_conns(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return listener(v, c, out, f, false);
}

static bool listener_open(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	return listener(v, c, out, f, true);
}

static bool queued(struct admin_view *v, struct cursor *c, struct text *out, const struct family *f)
{
	if (c->i >= v->conf->nupstreams)
		return false;
	metrics_sample(out, f, "{");
	text_label(out, "upstream", v->conf->upstreams[c->i]->name);
	text_str(out, "}");
	metrics_value(out, tally_queued(&v->tally, c->i));
	c->i++;
	return true;
}

/* ---- the table ---- */

#define COUNTER "counter"
#define GAUGE "gauge"
#define HISTOGRAM "histogram"

static const struct family families[] = {
	{ "weir_build_info", GAUGE, "The version that runs; always 1.", build_info, 0 },
	{ "process_start_time_seconds", GAUGE, "When weir was started, in seconds since 1970.", start_time, 0 },
	{ "weir_generation", GAUGE, "Number of the configuration in force; each good reload raises it.", generation, 0 },
	{ "weir_generations", GAUGE, "Configurations that still have processes, the one in force included.",
	  generations, 0 },
	{ "weir_reloads_total", COUNTER, "Reloads by result.", reloads, WITHIN(shm_master, reloads) },
	{ "weir_last_reload_timestamp_seconds", GAUGE, "When the last reload of each result ended; 0: never.",
	  reload_times, 0 },
	{ "weir_upgrades_total", COUNTER, "Changes to another program while serving, by result.", reloads,
	  WITHIN(shm_master, upgrades) },
	{ "weir_workers", GAUGE, "Workers as configured.", workers, 0 },
	{ "weir_workers_live", GAUGE, "Workers that said within three seconds that they are well.", workers_live, 0 },
	{ "weir_restarts_total", COUNTER, "Processes that died and were replaced.",
	  restarts, WITHIN(shm_master, worker_restarts) },
	{ "weir_lost_connections_total", COUNTER,
	  "Client connections closed because a third old configuration would have lived on.",
	  master_word, WITHIN(shm_master, lost_conns) },
	{ "weir_lost_requests_total", COUNTER, "Requests under way on those.",
	  master_word, WITHIN(shm_master, lost_requests) },
	{ "weir_shared_memory_bytes", GAUGE, "Size of the segments of shared memory.", memory, 0 },
	{ "weir_certificate_expiry_timestamp_seconds", GAUGE, "When a certificate ends, in seconds since 1970.",
	  certificates, 0 },
	{ "weir_responses_total", COUNTER, "Answers by class of status.", responses, 0 },
	{ "weir_ends_total", COUNTER, "Exchanges and connections by why they ended; none: in order.", reasons, 0 },
	{ "weir_listener_connections_total", COUNTER, "Client connections accepted.", listener_conns, 0 },
	{ "weir_listener_open_connections", GAUGE, "Client connections open now.", listener_open, 0 },
	{ "weir_route_responses_total", COUNTER,
	  "Requests that ended, by route, server that answered or was tried last, and class of status.",
	  metrics_route_answers,
	  WITHIN(meter_series, answers) },
	{ "weir_route_request_bytes_total", COUNTER, "Bytes of request bodies.",
	  metrics_route_bytes, WITHIN(meter_series, bytes_in) },
	{ "weir_route_response_bytes_total", COUNTER, "Bytes of response bodies.",
	  metrics_route_bytes, WITHIN(meter_series, bytes_out) },
	{ "weir_request_duration_seconds", HISTOGRAM,
	  "From the first byte of a request to the end of its answer; tunnels apart.",
	  metrics_route_latency, 0 },
	{ "weir_upstream_queued_requests", GAUGE, "Requests that wait for a server.", queued, 0 },
	{ "weir_server_connect_duration_seconds", HISTOGRAM, "Time to connect to a server, TLS included.",
	  metrics_server_latency,
	  WITHIN(meter_server, connect) },
	{ "weir_server_first_byte_duration_seconds", HISTOGRAM, "From the beginning of a try to the head of the answer.",
	  metrics_server_latency, WITHIN(meter_server, first_byte) },
	{ "weir_server_tries_total", COUNTER, "Tries begun.", metrics_server_use, WITHIN(shm_use, requests) },
	{ "weir_server_failures_total", COUNTER, "Tries that failed by the server's fault.",
	  metrics_server_use, WITHIN(shm_use, fails) },
	{ "weir_server_ejections_total", COUNTER, "How often a server was left alone because requests failed.",
	  metrics_server_meter_of,
	  WITHIN(meter_server, ejections) },
	{ "weir_server_checks_total", COUNTER, "Health checks made.", metrics_server_meter_of, WITHIN(meter_server,
	  checks) },
	{ "weir_server_check_failures_total", COUNTER, "Health checks that failed.", metrics_server_meter_of,
	  WITHIN(meter_server, check_fails) },
	{ "weir_server_up", GAUGE, "1: takes requests; 0: down, ejected, drained or not known yet.", metrics_cell,
	  CELL_UP },
	{ "weir_server_ejected", GAUGE, "1: left alone because requests failed.", metrics_cell, CELL_EJECTED },
	{ "weir_server_held", GAUGE, "1: kept without new requests by the operator.", metrics_cell, CELL_HELD },
	{ "weir_server_weight", GAUGE, "Weight in force.", metrics_cell, CELL_WEIGHT },
	{ "weir_server_active_requests", GAUGE, "Requests on the server now.", metrics_cell, CELL_ACTIVE },
	{ "weir_server_last_check_duration_seconds", GAUGE, "How long the last health check took.", metrics_cell,
	  CELL_CHECK },
};

/* Counters of stat.def have a rule instead of a table, but for those whose unit or label is better told otherwise. */
static bool is_elsewhere(enum stat_id s)
{
	return s >= STAT_STATUS_1XX && s <= STAT_STATUS_5XX;
}

static void stat_family(struct text *out, enum stat_id s)
{
	const char *name = s == STAT_BYTES_IN ? "received_bytes" : s == STAT_BYTES_OUT ? "sent_bytes" : stat_name(s);
	const bool gauge = stat_is_gauge(s);
	const char *end = gauge ? "" : "_total";

	text_fmt(out, "# HELP weir_%s%s ", name, end);
	text_str(out, stat_prose(s));
	text_fmt(out, "\n# TYPE weir_%s%s %s\nweir_%s%s ", name, end, gauge ? GAUGE : COUNTER, name, end);
}

static bool stat_page(struct admin_view *v, struct cursor *c, struct text *out)
{
	enum stat_id s = (enum stat_id)(c->part - ARRAY_LEN(families));

	while (s < STAT__N && is_elsewhere(s))
		s++;
	if (s >= STAT__N)
		return false;
	stat_family(out, s);
	text_u64(out, stat_is_gauge(s) ? tally_gauge(&v->tally, s) : tally_stat(&v->tally, s));
	text_str(out, "\n");
	c->part = ARRAY_LEN(families) + s + 1;
	return true;
}

bool metrics_page(struct admin_view *v, struct cursor *c, struct text *out)
{
	while (c->part < ARRAY_LEN(families)) {
		const struct family *f = &families[c->part];

		if (!c->begun) {
			text_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
			c->begun = true;
			return true;
		}
		if (f->next(v, c, out, f))
			return true;
		c->part++;
		c->begun = false;
		c->i = c->j = c->k = 0;
	}
	return stat_page(v, c, out);
}
