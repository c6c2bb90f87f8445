/*
 * page_parts.c - what stands above and below the tables of the status page.
 *
 * Called by page.c, one unit each: style and headline, charts, processes and
 * listeners, how exchanges ended. Colour never says alone what is wrong: the
 * words do.
 */
#include <stdio.h>
#include <time.h>

#include "common/cert.h"
#include "common/obj.h"
#include "worker/admin/chart.h"
#include "worker/admin/pages.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "unknown"
#endif

#define REFRESH_S 5
#define EXPIRES_SOON_DAYS 14

static const char style[] =
	":root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1b2126;--dim:#626d78;--line:#e2e5e9;"
	"--good:#1c7a43;--warn:#93600b;--bad:#b3261e;--off:#626d78;--a:#2563b8;--b:#b3261e;--c:#8e959d}"
	"@media(prefers-color-scheme:dark){:root{--bg:#12161a;--card:#1a2026;--ink:#e3e7eb;--dim:#94a0ac;"
	"--line:#2b333b;--good:#5fc98a;--warn:#e3ad4b;--bad:#f28b82;--off:#94a0ac;--a:#74a9f0;--b:#f28b82;"
	"--c:#77828d}}*{box-sizing:border-box}body{margin:0;padding:1rem;background:var(--bg);color:var(--ink);"
	"font:14px/1.45 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;font-variant-numeric:tabular-nums}"
	"main{max-width:74rem;margin:0 auto}header{display:flex;flex-wrap:wrap;gap:.2rem 1rem;"
	"align-items:baseline}h1{font-size:1.35rem;margin:0;letter-spacing:-.01em}h2{font-size:1rem;margin:0;"
	"padding:.7rem .9rem .5rem}h2 small{font-weight:400;color:var(--dim);margin-left:.3rem}small{"
	"font-size:.86em;color:var(--dim)}i{font-style:normal;color:var(--dim);font-size:.86em}header p{margin:0;"
	"color:var(--dim)}.state{display:inline-block;font-weight:600;padding:0 .5em;"
	"border:1px solid currentColor;border-radius:.7em;font-size:.86em;white-space:nowrap}.good{"
	"color:var(--good)}.warn{color:var(--warn)}.bad,h2 .bad{color:var(--bad)}h2 .warn{color:var(--warn)}.off{"
	"color:var(--off)}tr.good,tr.bad,tr.warn{color:inherit}tr.off{color:var(--off)}section,.tile{"
	"background:var(--card);border:1px solid var(--line);border-radius:.5rem}section{margin-top:1rem;"
	"overflow:hidden}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:1rem;"
	"margin-top:1rem}.tile{padding:.7rem .9rem;min-width:0}.tile h3{display:flex;"
	"justify-content:space-between;margin:0;font-size:.86rem;font-weight:500;color:var(--dim)}.tile p{"
	"margin:0;font-size:1.4rem;font-weight:600;letter-spacing:-.01em}.tile p small{font-size:.82rem;"
	"font-weight:400;letter-spacing:0}svg{display:block;width:100%;height:3.75rem;margin-top:.4rem}polyline,"
	".base{fill:none;vector-effect:non-scaling-stroke;stroke-width:1.5;stroke-linejoin:round}.base{"
	"stroke:var(--line);stroke-width:1}.a{stroke:var(--a)}.b{stroke:var(--b)}.c{stroke:var(--c)}.area{"
	"stroke:none;fill-opacity:.13}.a.area{fill:var(--a)}.b.area{fill:var(--b)}.c.area{fill:var(--c)}table{"
	"width:100%;border-collapse:collapse}th{text-align:left;font-weight:500;color:var(--dim);font-size:.86em;"
	"white-space:nowrap}th,td{padding:.32rem .9rem;vertical-align:top}tbody tr{"
	"border-top:1px solid var(--line)}thead tr{border-top:1px solid var(--line)}.n{text-align:right;"
	"white-space:nowrap}.none{color:var(--dim)}td.name{font-weight:500;overflow-wrap:anywhere}.why{"
	"display:block;color:var(--dim);font-size:.86em}ul{list-style:none;margin:1rem 0 0;padding:.6rem .9rem;"
	"background:var(--card);border:1px solid var(--line);border-left:3px solid var(--warn);"
	"border-radius:.5rem}ul.bad{border-left-color:var(--bad);color:inherit}dl{display:grid;"
	"grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.2rem 1.6rem;margin:0;"
	"padding:.1rem .9rem .8rem}dl div{display:flex;justify-content:space-between;gap:1rem;"
	"border-top:1px solid var(--line);padding:.2rem 0}dt{color:var(--dim);overflow-wrap:anywhere}dd{margin:0;"
	"white-space:nowrap}footer{margin:1rem 0;color:var(--dim);font-size:.86em}a{color:var(--a)}"
	"@media(min-width:46rem){table{table-layout:fixed}th:first-child{width:25%}th:nth-child(2):not(.n){"
	"width:27%}}@media(max-width:46rem){body{padding:.6rem}.tiles{grid-template-columns:1fr 1fr;gap:.6rem}"
	".tile{padding:.5rem .6rem}.tile p{font-size:1.15rem}thead{display:none}table,tbody{display:block}tr{"
	"display:grid;grid-template-columns:repeat(4,1fr);padding:.4rem .7rem;gap:.1rem .6rem}td{padding:0;"
	"display:block}td.name,td[data-l=state],td[data-l=to]{grid-column:1/-1}.n{text-align:left}td.n::before{"
	"content:attr(data-l) ' ';color:var(--dim);font-size:.86em}td[colspan]{display:none}section{"
	"margin-top:.6rem}.tile h3 span{display:none}.tile p small{display:block}svg{height:2.6rem}}";

/* ---- headline ---- */

static unsigned state_of(const struct admin_view *v, const char **word)
{
	const uint32_t state = atomic_load(&shm_master(v->shm)->state);

	*word = state > 1 ? "draining" : look_workers_live(v) == 0 ? "no worker answers" : "serving";
	return state > 1 ? 1 : look_workers_live(v) == 0 ? 2 : 0;
}

static void age_since(struct text *out, const struct admin_view *v, uint64_t wall_ms)
{
	text_age(out, v->wall_ms > wall_ms ? v->wall_ms - wall_ms : 0);
}

struct trouble {
	unsigned n;
	bool bad;
};

static void trouble(struct text *out, struct trouble *t, bool bad)
{
	if (t->n++ == 0)
		text_str(out, bad ? "<ul class=bad>" : "<ul>");
	t->bad = t->bad || bad;
	text_str(out, "<li>");
}

static void upstreams_down(struct admin_view *v, struct text *out, struct trouble *t)
{
	for (unsigned i = 0; i < v->conf->nupstreams && t->n < 20; i++) {
		struct cursor c = { .i = i };
		unsigned up = 0;
		struct look l;

		while (look_next(v, &c, &l))
			up += l.state == LOOK_UP;
		if (up > 0)
			continue;
		trouble(out, t, true);
		text_str(out, "No server of upstream <b>");
		text_html(out, v->conf->upstreams[i]->name);
		text_str(out, "</b> takes requests.");
	}
}

static void certificates_end(struct admin_view *v, struct text *out, struct trouble *t)
{
	for (const struct cert *c = v->conf->certs; c != NULL && t->n < 30; c = c->next) {
		int64_t days = cert_days_left(c, (int64_t)(v->wall_ms / 1000));

		if (days >= EXPIRES_SOON_DAYS)
			continue;
		trouble(out, t, false);
		text_str(out, "The certificate in ");
		text_html(out, span_of(c->file));
		text_fmt(out, days < 0 ? " has expired." : " ends in %lld days.", (long long)days);
	}
}

/* What needs somebody's eye, before all else. */
static void troubles(struct admin_view *v, struct text *out)
{
	const struct shm_master *m = shm_master(v->shm);
	uint64_t good_ms = atomic_load(&m->reloaded_ms), bad_ms = atomic_load(&m->reload_failed_ms);
	struct trouble t = { .n = 0 };

	upstreams_down(v, out, &t);
	if (bad_ms > good_ms) {
		trouble(out, &t, false);
		text_str(out, "The last reload failed ");
		age_since(out, v, bad_ms);
		text_str(out, " ago; the configuration before it serves on. The error log says why.");
	}
	certificates_end(v, out, &t);
	if (t.n > 0)
		text_str(out, "</ul>");
}

void page_top(struct admin_view *v, struct cursor *c, struct text *out)
{
	static const char *const classes[] = { "good", "warn", "bad" };
	const struct shm_master *m = shm_master(v->shm);
	const char *word;
	unsigned state = state_of(v, &word);
	uint64_t begun = atomic_load(&m->begun_ms), reloaded = atomic_load(&m->reloaded_ms);

	text_fmt(out, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
		 "<meta http-equiv=refresh content=%d><title>weir: %s</title><style nonce=\"%s\">", REFRESH_S, word, c->nonce);
	text_str(out, style);
	text_fmt(out, "</style><main><header><h1>weir</h1><b class=\"state %s\">%s</b><p>", classes[state], word);
	text_str(out, "version " WEIR_VERSION ", up ");
	age_since(out, v, begun);
	text_fmt(out, ", process %d, %u of %u workers, configuration %u", (int)atomic_load(&m->pid), look_workers_live(v),
		 v->conf->workers, (unsigned)atomic_load(&m->generation));
	if (reloaded > 0) {
		text_str(out, " for ");
		age_since(out, v, reloaded);
	}
	if (atomic_load(&m->generations) > 1)
		text_fmt(out, ", %u older ending", (unsigned)atomic_load(&m->generations) - 1);
	text_str(out, "</p></header>\n");
	troubles(v, out);
}

/* ---- charts ---- */

struct series {
	unsigned n;			/* intervals */
	double x[HISTORY_POINTS];
	double requests[HISTORY_POINTS], errors[HISTORY_POINTS], in[HISTORY_POINTS], sent[HISTORY_POINTS];
	double clients[HISTORY_POINTS], active[HISTORY_POINTS];
	double p50[HISTORY_POINTS], p95[HISTORY_POINTS], p99[HISTORY_POINTS];
};

static double grown(uint64_t now, uint64_t then, double seconds)
{
	return now > then ? (double)(now - then) / seconds : 0;
}

static void between(struct series *s, const struct history_point *a, const struct history_point *b, uint64_t now_ms)
{
	const double seconds = (double)(b->mono_ms - a->mono_ms) / 1000, span_ms = HISTORY_EVERY_MS * (HISTORY_POINTS - 1);
	struct tally_hist h = tally_hist_since(&b->latency, &a->latency);
	const unsigned i = s->n++;

	s->x[i] = 1 - (double)(now_ms - b->mono_ms) / span_ms;
	s->requests[i] = grown(b->answers, a->answers, seconds);
	s->errors[i] = grown(b->errors, a->errors, seconds);
	s->in[i] = grown(b->bytes_in, a->bytes_in, seconds);
	s->sent[i] = grown(b->bytes_out, a->bytes_out, seconds);
	s->clients[i] = (double)b->clients;
	s->active[i] = (double)b->active;
	s->p50[i] = tally_quantile(&h, 0.5);
	s->p95[i] = tally_quantile(&h, 0.95);
	s->p99[i] = tally_quantile(&h, 0.99);
}

static void fill_series(struct admin_view *v, struct series *s)
{
	struct history_point p[HISTORY_POINTS];
	unsigned n = history_points(&v->history, v->now_ms, p);

	s->n = 0;
	for (unsigned i = 1; i < n; i++)
		between(s, &p[i - 1], &p[i], p[n - 1].mono_ms);
}

static double last(const struct series *s, const double *y)
{
	return s->n > 0 ? y[s->n - 1] : 0;
}

static double peak(const struct series *s, const double *y)
{
	double most = 0;

	for (unsigned i = 0; i < s->n; i++)
		most = y[i] > most ? y[i] : most;
	return most;
}

/* The peak is that of the line whose top is the chart's. */
static void tile(struct text *out, const char *title, void (*show)(struct text *out, double v), double most,
		 const char *unit)
{
	text_fmt(out, "<div class=tile><h3>%s <span>peak ", title);
	show(out, most);
	text_fmt(out, "%s</span></h3><p>", unit);
}

static void tile_requests(struct text *out, const struct series *s)
{
	const struct chart_line lines[] = { { s->requests, "a" }, { s->errors, "b" } };
	double now = last(s, s->requests), bad = last(s, s->errors);

	tile(out, "Requests", text_count, peak(s, s->requests), "/s");
	text_count(out, now);
	text_str(out, bad > 0 ? "/s <small class=bad>" : "/s <small>");
	text_count(out, bad);
	text_str(out, "/s failed</small></p>");
	chart(out, s->x, s->n, lines, 2, "Requests and failed requests a second over the last ten minutes");
	text_str(out, "</div>");
}

static void tile_latency(struct text *out, const struct series *s)
{
	const struct chart_line lines[] = { { s->p50, "a" }, { s->p95, "c" }, { s->p99, "b" } };

	tile(out, "Latency", text_latency, peak(s, s->p99), "");
	if (last(s, s->p99) > 0) {
		text_latency(out, last(s, s->p50));
		text_str(out, " <small>p95 ");
		text_latency(out, last(s, s->p95));
		text_str(out, ", p99 ");
		text_latency(out, last(s, s->p99));
		text_str(out, "</small></p>");
	} else {
		text_str(out, "\xe2\x80\x93 <small>no requests</small></p>");
	}
	chart(out, s->x, s->n, lines, 3, "Median, 95th and 99th percentile of latency over the last ten minutes");
	text_str(out, "</div>");
}

static void tile_clients(struct text *out, const struct series *s, struct admin_view *v)
{
	const struct chart_line lines[] = { { s->clients, "a" }, { s->active, "c" } };

	tile(out, "Clients", text_count, peak(s, s->clients), "");
	text_count(out, (double)tally_gauge(&v->tally, STAT_ACTIVE_CONNS));
	text_str(out, " <small>");
	text_count(out, (double)tally_gauge(&v->tally, STAT_ACTIVE_EXCHANGES));
	text_str(out, " requests under way</small></p>");
	chart(out, s->x, s->n, lines, 2, "Open connections and requests under way over the last ten minutes");
	text_str(out, "</div>");
}

static void tile_traffic(struct text *out, const struct series *s)
{
	const struct chart_line lines[] = { { s->sent, "a" }, { s->in, "c" } };

	tile(out, "Traffic", text_bytes, peak(s, s->sent), "/s");
	text_bytes(out, last(s, s->sent));
	text_str(out, "/s <small>out, ");
	text_bytes(out, last(s, s->in));
	text_str(out, "/s in</small></p>");
	chart(out, s->x, s->n, lines, 2, "Bytes sent and received a second over the last ten minutes");
	text_str(out, "</div>");
}

void page_charts(struct admin_view *v, struct text *out)
{
	struct series s;

	fill_series(v, &s);
	text_str(out, "<div class=tiles>");
	tile_requests(out, &s);
	tile_latency(out, &s);
	tile_clients(out, &s, v);
	tile_traffic(out, &s);
	text_str(out, "</div>\n");
}

/* ---- below the tables ---- */

static void item(struct text *out, struct span name)
{
	text_str(out, "<div><dt>");
	text_html(out, name);
	text_str(out, "</dt><dd>");
}

static void number_item(struct text *out, const char *name, uint64_t n)
{
	item(out, span_of(name));
	text_u64(out, n);
	text_str(out, "</dd></div>");
}

void page_processes(struct admin_view *v, struct text *out)
{
	const struct shm_master *m = shm_master(v->shm);

	text_str(out, "<section><h2>Processes</h2><dl>");
	for (unsigned i = 0; i < v->conf->workers && i < 64; i++) {
		const struct shm_row *row = shm_row(v->shm, i);
		char name[32];

		snprintf(name, sizeof(name), "worker %u", i);
		item(out, span_of(name));
		text_u64(out, atomic_load(&row->stats[STAT_ACTIVE_CONNS]));
		text_str(out, " clients</dd></div>");
	}
	number_item(out, "workers replaced", atomic_load(&m->worker_restarts));
	number_item(out, "other processes replaced", atomic_load(&m->other_restarts));
	number_item(out, "reloads", atomic_load(&m->reloads));
	number_item(out, "reloads that failed", atomic_load(&m->reloads_failed));
	number_item(out, "log lines lost", tally_stat(&v->tally, STAT_LOG_DROPS));
	text_str(out, "</dl></section><section><h2>Listeners</h2><dl>");
	for (unsigned i = 0; i < v->conf->nlistens && i < 200; i++) {
		item(out, v->conf->listens[i]->name);
		text_u64(out, tally_open(&v->tally, i));
		text_str(out, " open, ");
		text_count(out, (double)tally_sum(&v->tally, TALLY_LISTEN, i, 0));
		text_str(out, " in all</dd></div>");
	}
	text_str(out, "</dl></section>\n");
}

void page_reasons(struct admin_view *v, struct text *out)
{
	bool any = false;

	for (unsigned i = 1; i < REASON__N; i++) {
		uint64_t n = tally_sum(&v->tally, TALLY_ROW, 0, shm_reason_at((enum reason)i));

		if (n == 0)
			continue;
		if (!any)
			text_str(out, "<section><h2>What did not end in order <small>since the start</small></h2><dl>");
		any = true;
		text_str(out, "<div><dt title=\"");
		text_html(out, span_of(reason_prose((enum reason)i)));
		text_str(out, "\">");
		text_html(out, span_of(reason_token((enum reason)i)));
		text_str(out, "</dt><dd>");
		text_u64(out, n);
		text_str(out, "</dd></div>");
	}
	if (any)
		text_str(out, "</dl></section>");
	text_str(out, "<footer>Rates and latencies are those of the last minute, charts of the last ten. "
		 "<a href=\"/status.json\">JSON</a> <a href=\"/metrics\">Metrics</a></footer></main></html>\n");
}
