/*
 * conf_log.c - where logs go and what their lines look like.
 *
 * Called by the section readers. Each distinct target is one struct conf_log,
 * opened by the master later; target and format of an access log are looked up
 * each for itself, so that a route may change one of them.
 */
#include <stdio.h>

#include "common/conf_parts.h"

#define TIMES "time_queue=$time_queue time_connect=$time_connect time_header=$time_header"
static const char combined[] =
	"$client_ip - - [$time_local] \"$request_line\" $status $bytes_out \"${header:Referer}\" \"${header:User-Agent}\" "
	"request_id=$request_id route=$route upstream=$upstream server=$server tries=$tries duration=$duration " TIMES
	" reason=$reason";
/* Numbers stand without quotes: those variables are never absent. */
static const char json[] =
	"{\"time\":\"$time\",\"client_ip\":\"$client_ip\",\"method\":\"$method\",\"host\":\"$host\","
	"\"request_uri\":\"$request_uri\",\"protocol\":\"$protocol\",\"status\":$status,\"bytes_in\":$bytes_in,"
	"\"bytes_out\":$bytes_out,\"duration\":$duration,\"request_id\":\"$request_id\",\"listen\":\"$listen\","
	"\"route\":\"$route\",\"upstream\":\"$upstream\",\"server\":\"$server\",\"tries\":$tries,"
	"\"time_queue\":$time_queue,\"time_connect\":$time_connect,\"time_header\":$time_header,"
	"\"reason\":\"$reason\",\"user_agent\":\"${header:User-Agent}\",\"referer\":\"${header:Referer}\"}";

static const struct conf_log *target(struct load *ld, enum conf_log_kind kind, const char *path)
{
	struct conf *c = ld->conf;
	char *key = arena_printf(ld->arena, "%d%s", kind, path ? path : "");
	struct conf_log *log = htab_get(&ld->logs, span_of(key));

	if (log != NULL)
		return log;
	if (c->nlogs == ld->cap_logs) {
		unsigned cap = ld->cap_logs ? ld->cap_logs * 2 : 4;
		struct conf_log **v = CONF_NEW(ld, struct conf_log *, cap);

		if (c->nlogs > 0)
			memcpy(v, c->logs, sizeof(*v) * c->nlogs);
		c->logs = v;
		ld->cap_logs = cap;
	}
	log = CONF_NEW(ld, struct conf_log, 1);
	*log = (struct conf_log){ .kind = kind, .path = path, .id = c->nlogs, .fd = -1 };
	c->logs[c->nlogs++] = log;
	htab_put(&ld->logs, span_of(key), log);
	return log;
}

const struct conf_log *conf_log_target(struct load *ld, const struct entry *e, const struct word *w, bool access)
{
	static const char *const words[] = { "stdout", "stderr", "syslog", "off" };
	const char *near = conf_nearest(w->s, words, ARRAY_LEN(words));
	const char *path;

	if (span_eq(w->s, SPAN("syslog")))
		return target(ld, CONF_LOG_SYSLOG, NULL);
	if (access && span_eq(w->s, SPAN("stdout")))
		return target(ld, CONF_LOG_STDOUT, NULL);
	if (!access && span_eq(w->s, SPAN("stderr")))
		return target(ld, CONF_LOG_STDERR, NULL);
	/* A slip of the finger is no file name. */
	if (near != NULL && memchr(w->s.p, '/', w->s.n) == NULL && memchr(w->s.p, '.', w->s.n) == NULL) {
		near = strcmp(near, access ? "stderr" : "stdout") == 0 ? access ? "stdout" : "stderr" : near;
		conf_expected(ld, e, e->opt->form, w, near);
		return NULL;
	}
	path = conf_file_word(ld, e, w);
	return path != NULL ? target(ld, CONF_LOG_FILE, path) : NULL;
}

static void read_format(const struct scope *sc, const struct entry *e, struct logging *out)
{
	static const char *const words[] = { "combined", "json" };
	struct load *ld = sc->ld;
	const struct word *w = &e->text;
	const char *err;

	if (e->is_off) {
		conf_expected(ld, e, "combined, json or a template (access_log = off is what stops a log)", w, NULL);
		return;
	}
	if (span_eq(w->s, SPAN("combined")) || span_eq(w->s, SPAN("json"))) {
		bool is_json = w->s.n == 4;

		out->format = tmpl_compile(ld->arena, span_of(is_json ? json : combined), false, &err);
		must(out->format != NULL);
		out->escape = is_json ? CONF_ESC_JSON : CONF_ESC_LOG;
		return;
	}
	if (memchr(w->s.p, '$', w->s.n) == NULL) {
		conf_expected(ld, e, "combined, json or a template with variables", w,
			      conf_nearest(w->s, words, ARRAY_LEN(words)));
		return;
	}
	if (memchr(w->s.p, '\n', w->s.n) != NULL || memchr(w->s.p, '\r', w->s.n) != NULL) {
		conf_expected(ld, e, "a template of one line", w, NULL);
		return;
	}
	out->format = conf_tmpl(ld, e, w, false);
	out->escape = CONF_ESC_LOG;
}

void conf_logging(const struct scope *sc, struct logging *out)
{
	const struct value *format = conf_value(sc, OPT_weir_log_format);
	struct cursor c = { 0 };
	const struct word *w;

	*out = (struct logging){ .has_to = conf_value(sc, OPT_weir_access_log) != NULL };
	out->to = CONF_NEW(sc->ld, const struct conf_log *, conf_count_words(sc, OPT_weir_access_log));
	while ((w = conf_next_word(sc, OPT_weir_access_log, &c)) != NULL) {
		const struct conf_log *log = conf_log_target(sc->ld, c.v->e, w, true);
		bool twice = log == NULL;

		for (unsigned i = 0; i < out->nto; i++)
			twice = twice || out->to[i] == log;
		if (!twice)
			out->to[out->nto++] = log;
	}
	if (format != NULL)
		read_format(sc, format->e, out);
}

/* ---- putting them together ---- */
static const struct conf_access_log *join(struct load *ld, const struct logging *near, const struct logging *mid,
					  const struct logging *far)
{
	const struct logging *all[] = { near, mid, far };
	struct conf_access_log *log = CONF_NEW(ld, struct conf_access_log, 1);
	bool to = false;

	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i] == NULL)
			continue;
		if (!to && all[i]->has_to) {
			log->to = all[i]->to;
			log->nto = all[i]->nto;
			to = true;
		}
		if (log->format == NULL && all[i]->format != NULL) {
			log->format = all[i]->format;
			log->escape = all[i]->escape;
		}
	}
	return log;
}

static bool any(const struct logging *l)
{
	return l->has_to || l->format != NULL;
}

static bool all(const struct logging *l)
{
	return l->has_to && l->format != NULL;
}

/* A route that sets one of the two keys, on each listener that sets any. */
static const struct conf_access_log **join_row(struct load *ld, const struct logging *route)
{
	unsigned n = ld->conf->nlistens;
	const struct conf_access_log **row = CONF_NEW(ld, const struct conf_access_log *, n);

	for (unsigned k = 0; k < n; k++) {
		if (any(&ld->listen_logs[k]))
			row[k] = join(ld, route, &ld->listen_logs[k], &ld->general_log);
	}
	return row;
}

void conf_access_logs(struct load *ld)
{
	struct conf *c = ld->conf;
	const struct logging *far = &ld->general_log;
	bool mixed = false;

	c->general.access_log = join(ld, far, NULL, NULL);
	for (unsigned i = 0; i < c->nlistens; i++) {
		if (any(&ld->listen_logs[i]))
			c->listens[i]->access_log = join(ld, &ld->listen_logs[i], far, NULL);
	}
	for (unsigned i = 0; i < c->nroutes; i++) {
		if (any(&ld->route_logs[i]))
			c->routes[i]->access_log = join(ld, &ld->route_logs[i], far, NULL);
		for (unsigned k = 0; k < c->nlistens && !mixed; k++)
			mixed = any(&ld->route_logs[i]) && !all(&ld->route_logs[i]) && any(&ld->listen_logs[k]);
	}
	if (!mixed)
		return;
	c->access_logs = CONF_NEW(ld, const struct conf_access_log **, c->nroutes);
	for (unsigned i = 0; i < c->nroutes && !conf_full(ld); i++) {
		if (any(&ld->route_logs[i]) && !all(&ld->route_logs[i]))
			c->access_logs[i] = join_row(ld, &ld->route_logs[i]);
	}
}

const struct conf_access_log *conf_access_log(const struct conf *c, const struct conf_route *r,
					      const struct conf_listen *l)
{
	const struct conf_access_log **row = r != NULL && c->access_logs != NULL ? c->access_logs[r->id] : NULL;

	if (r == NULL || r->access_log == NULL)
		return l->access_log != NULL ? l->access_log : c->general.access_log;
	return row != NULL && row[l->id] != NULL ? row[l->id] : r->access_log;
}
