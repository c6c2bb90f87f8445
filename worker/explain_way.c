/*
 * explain_way.c - weir -e: what a request meets behind its route, filter by filter.
 *
 * Carries out the filters' own functions on a request that nobody sent, and
 * prints what they made of it. Called by explain.c alone.
 */
#include "common/obj.h"
#include "worker/exchange/vars.h"
#include "worker/explain.h"
#include "worker/filter/filters.h"

#define AMOUNT 32

/* As it would be written: the largest unit that leaves no rest. */
static const char *amount(char out[AMOUNT], int64_t v, const char *const *units, const int64_t *sizes, unsigned n)
{
	unsigned best = 0;

	if (v == 0)
		return "no limit";
	for (unsigned i = 1; i < n; i++)
		if (v % sizes[i] == 0)
			best = i;
	snprintf(out, AMOUNT, "%lld%s", (long long)(v / sizes[best]), units[best]);
	return out;
}

static const char *time_text(char out[AMOUNT], int64_t ms)
{
	static const char *const units[] = { "ms", "s", "m", "h", "d" };
	static const int64_t sizes[] = { 1, 1000, 60000, 3600000, 86400000 };

	return amount(out, ms, units, sizes, ARRAY_LEN(sizes));
}

static const char *size_text(char out[AMOUNT], int64_t bytes)
{
	static const char *const units[] = { " bytes", "k", "m", "g" };
	static const int64_t sizes[] = { 1, 1 << 10, 1 << 20, 1 << 30 };

	return amount(out, bytes, units, sizes, ARRAY_LEN(sizes));
}

static bool tell_access(FILE *out, const struct exchange *x)
{
	const struct conf_route *r = x->route;
	bool in = access_allows(x);

	if (r->ndeny == 0 && !r->has_allow)
		return true;
	explain_line(out, "allow, deny", "%s", in ? "this client may pass" : nets_have(r->deny, r->ndeny, &x->client) ?
		     "this client is in deny" : "this client is not in allow");
	if (!in)
		explain_line(out, "answer", "%u: %s", reason_status(REASON_DENIED), reason_prose(REASON_DENIED));
	return in;
}

static bool tell_size(FILE *out, struct exchange *x)
{
	char text[AMOUNT];

	x->max_body = (uint64_t)conf_pick(x->route->max_body_size, x->listen->max_body_size,
					  x->env->conf->general.max_body_size);
	explain_line(out, "max_body_size", "%s", size_text(text, (int64_t)x->max_body));
	if (size_fits(x))
		return true;
	explain_line(out, "answer", "%u: %s", reason_status(REASON_BODY_TOO_LARGE), reason_prose(REASON_BODY_TOO_LARGE));
	return false;
}

static bool tell_path(FILE *out, struct exchange *x)
{
	enum reason why = path_edit(x);

	if (why != REASON_NONE) {
		explain_line(out, "answer", "%u: the path edits give no valid path", reason_status(why));
		return false;
	}
	explain_line(out, "path as forwarded", "%s%s%s", explain_safe(x, x->req.path), x->req.has_query ? "?" : "",
		     explain_safe(x, x->req.query));
	return true;
}

/* Names under which the field stands in the request that came. */
static bool came_so(const struct head *before, const struct field *f)
{
	for (int i = head_index(before, f->name, 0); i >= 0; i = head_index(before, f->name, (unsigned)i + 1))
		if (span_eq(before->fields[i].value, f->value))
			return true;
	return false;
}

static bool tell_head(FILE *out, struct exchange *x)
{
	const struct conf_route *r = x->route;
	struct head before;
	bool upstream_host = r->host_header_kind == CONF_HOST_UPSTREAM;

	head_init(&before, &x->arena);
	for (unsigned i = 0; i < x->req.nfields; i++)
		head_add(&before, x->req.fields[i].name, x->req.fields[i].value);
	forward_take_id(x);
	if (!forward_tell(x) || !edit_apply(x, &x->req, r->request_edits, r->nrequest_edits)) {
		explain_line(out, "answer", "%u: the head is too large", reason_status(REASON_NO_MEMORY));
		return false;
	}
	explain_line(out, "Host", "%s", upstream_host ? "the server's own (host_header = upstream)" :
		     explain_safe(x, head_get(&x->req, HDR_HOST)));
	for (unsigned i = 0; i < before.nfields; i++)
		if (head_index(&x->req, before.fields[i].name, 0) < 0)
			explain_line(out, "header removed", "%s", explain_safe(x, before.fields[i].name));
	for (unsigned i = 0; i < x->req.nfields; i++) {
		const struct field *f = &x->req.fields[i];
		bool id = f->id == HDR_X_REQUEST_ID && !came_so(&before, f) && span_eq(f->value, x->request_id_span);

		if (f->id != HDR_HOST)
			explain_line(out, came_so(&before, f) ? "header as it came" : "header set", "%s: %s",
				     explain_safe(x, f->name), id ? "(made for each request)" : explain_safe(x, f->value));
	}
	return true;
}

static void tell_server(FILE *out, const char *label, const struct conf_server *s)
{
	char more[64] = "";
	size_t n = 0;

	if (s->weight != 1)
		n += (size_t)snprintf(more + n, sizeof(more) - n, " weight=%u", s->weight);
	if (s->max_conns != 0)
		n += (size_t)snprintf(more + n, sizeof(more) - n, " max_conns=%u", s->max_conns);
	explain_line(out, label, "%.*s%s%s%s", SPAN_FMT(s->name), more, s->backup ? " backup" : "",
		     s->disabled ? " disabled" : "");
}

static void tell_upstream(FILE *out, const struct exchange *x, const struct conf_upstream *u)
{
	static const char *const balance[] = {
		[CONF_LEAST_CONN] = "least_conn", [CONF_ROUND_ROBIN] = "round_robin", [CONF_IP_HASH] = "ip_hash",
		[CONF_HASH] = "hash", [CONF_RANDOM] = "random", [CONF_EWMA] = "ewma",
	};
	static const char *const times[CONF_T__N] = {
		[CONF_T_CONNECT] = "connect_timeout", [CONF_T_RESPONSE] = "response_timeout",
		[CONF_T_READ] = "read_timeout", [CONF_T_WRITE] = "write_timeout", [CONF_T_TUNNEL] = "tunnel_timeout",
	};
	char text[AMOUNT];

	explain_line(out, "  balance", "%s%s%.*s", balance[u->balance], u->hash_key ? " " : "",
		     SPAN_FMT(u->hash_key ? u->hash_key->source : SPAN("")));
	for (unsigned i = 0; i < u->nservers; i++)
		tell_server(out, i ? "" : "  servers", &u->servers[i]);
	for (unsigned i = 0; i < CONF_T__N; i++) {
		char label[EXPLAIN_LABEL];

		if (i == CONF_T_TUNNEL)
			continue;
		snprintf(label, sizeof(label), "  %s", times[i]);
		explain_line(out, label, "%s", time_text(text, conf_pick(x->route->timeouts[i], u->timeouts[i],
									 x->env->conf->general.timeouts[i])));
	}
}

static void tell_retries(FILE *out, const struct conf_route *r)
{
	static const char *const words[] = { "connect", "reset", "timeout", "non_idempotent" };
	bool any = false;

	fprintf(out, "%-*s%u on other servers, on:", EXPLAIN_LABEL, "retries", r->retries);
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (r->retry_on >> i & 1) {
			fprintf(out, " %s", words[i]);
			any = true;
		}
	for (unsigned s = 100; s < 640; s++)
		if (r->retry_status[s / 64] >> (s % 64) & 1) {
			fprintf(out, " %u", s);
			any = true;
		}
	fprintf(out, "%s\n", any ? "" : " nothing");
}

static void tell_proxy(FILE *out, struct exchange *x)
{
	const struct conf_route *r = x->route;
	unsigned sum = 0;
	char text[AMOUNT];

	for (unsigned i = 0; i < r->nsplit; i++)
		sum += r->split[i].weight;
	for (unsigned i = 0; i < r->nsplit; i++) {
		const struct conf_upstream *u = r->split[i].upstream;

		if (r->nsplit > 1)
			explain_line(out, "upstream", "%.*s (%s:%u), %u of %u requests", SPAN_FMT(u->name), u->at.file,
				     u->at.line, r->split[i].weight, sum);
		else
			explain_line(out, "upstream", "%.*s (%s:%u)", SPAN_FMT(u->name), u->at.file, u->at.line);
		tell_upstream(out, x, u);
	}
	if (r->nsplit > 1)
		explain_line(out, "split_by", "%.*s", SPAN_FMT(r->split_by ? r->split_by->source : SPAN("chance")));
	if (r->fallback != NULL) {
		explain_line(out, "fallback", "%.*s (%s:%u)", SPAN_FMT(r->fallback->name), r->fallback->at.file,
			     r->fallback->at.line);
		tell_upstream(out, x, r->fallback);
	}
	tell_retries(out, r);
	if (r->timeout != 0)
		explain_line(out, "timeout", "%s for the whole request", time_text(text, r->timeout));
}

static void tell_action(FILE *out, struct exchange *x)
{
	const struct conf_route *r = x->route;
	struct span text = SPAN("");

	if (r->action == CONF_UPSTREAM) {
		tell_proxy(out, x);
		return;
	}
	if (r->action == CONF_ROOT) {
		explain_line(out, "root", "files of a directory");
		return;
	}
	if (r->text != NULL && !vars_expand(x, r->text, &text))
		text = SPAN("(a value that cannot be sent)");
	explain_line(out, r->action == CONF_RESPOND ? "respond" : "redirect", "%u %s", r->status, explain_safe(x, text));
}

static void tell_answer(FILE *out, const struct exchange *x)
{
	static const char *const kinds[] = {
		[CONF_EDIT_REMOVE] = "remove", [CONF_EDIT_SET] = "set", [CONF_EDIT_ADD] = "add",
	};
	const struct conf_route *r = x->route;

	if (r->action == CONF_UPSTREAM && r->rewrite_location)
		explain_line(out, "rewrite_location", "yes: the server's redirects to itself are put right");
	for (unsigned i = 0; i < r->nresponse_edits; i++) {
		const struct conf_edit *e = &r->response_edits[i];

		/* The source of a header's value is the line as written, name and all. */
		explain_line(out, "answer's header", "%s %.*s", kinds[e->kind],
			     SPAN_FMT(e->value ? e->value->source : e->name));
	}
}

void explain_way(FILE *out, struct exchange *x)
{
	bool forwarded = x->route->action == CONF_UPSTREAM || x->route->action == CONF_ROOT;

	if (x->req.method == METHOD_TRACE) {
		explain_line(out, "answer", "%u: TRACE is not offered", reason_status(REASON_NOT_IMPLEMENTED));
		return;
	}
	if (!tell_access(out, x) || !tell_size(out, x))
		return;
	if (forwarded && !tell_path(out, x))
		return;
	if (x->route->action == CONF_UPSTREAM && !tell_head(out, x))
		return;
	tell_action(out, x);
	tell_answer(out, x);
}
