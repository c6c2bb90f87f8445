/*
 * vars.c - values of variables for one exchange.
 *
 * Called by filters, handlers, the scheduler's hash key and the access log. Reads the exchange and changes nothing in
 * it but its arena. What a feature that is not configured would know comes out empty. $path, $query and $request_uri
 * are those of the request before any edit.
 */
#include "worker/exchange/vars.h"

#include <time.h>

#include "common/obj.h"
#include "worker/http/uri.h"

/* ---- numbers and times, without printf: the access log comes here for every line ---- */

static size_t put_u64(uint64_t v, char *out)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	for (size_t i = 0; i < n; i++)
		out[i] = digits[n - 1 - i];
	return n;
}

/* Exactly `width` digits. */
static char *put_fixed(char *out, unsigned v, unsigned width)
{
	for (unsigned i = width; i > 0; i--, v /= 10)
		out[i - 1] = (char)('0' + v % 10);
	return out + width;
}

static struct span number(uint64_t v, char scratch[VARS_SCRATCH])
{
	return span_make(scratch, put_u64(v, scratch));
}

size_t vars_seconds(uint64_t us, char out[VARS_SCRATCH])
{
	size_t n = 1;

	out[0] = '0';			/* most take less than a second */
	if (us >= 1000000)
		n = put_u64(us / 1000000, out);
	out[n] = '.';
	put_fixed(out + n + 1, (unsigned)(us / 1000 % 1000), 3);
	return n + 4;
}

static struct span seconds(uint64_t us, char scratch[VARS_SCRATCH])
{
	return span_make(scratch, vars_seconds(us, scratch));
}

/* "2026-10-10T13:55:36.123Z" */
static struct span time_iso(uint64_t wall_ms, char scratch[VARS_SCRATCH])
{
	time_t second = (time_t)(wall_ms / 1000);
	struct tm tm;
	char *p = scratch;

	if (gmtime_r(&second, &tm) == NULL)
		return span_make(NULL, 0);
	p = put_fixed(p, (unsigned)tm.tm_year + 1900u, 4);
	*p++ = '-';
	p = put_fixed(p, (unsigned)tm.tm_mon + 1u, 2);
	*p++ = '-';
	p = put_fixed(p, (unsigned)tm.tm_mday, 2);
	*p++ = 'T';
	p = put_fixed(p, (unsigned)tm.tm_hour, 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)tm.tm_min, 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)tm.tm_sec, 2);
	*p++ = '.';
	p = put_fixed(p, (unsigned)(wall_ms % 1000), 3);
	*p++ = 'Z';
	return span_make(scratch, (size_t)(p - scratch));
}

size_t vars_time_local(uint64_t wall_ms, char out[VARS_SCRATCH])
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t second = (time_t)(wall_ms / 1000);
	struct tm tm;
	char *p = out;

	if (localtime_r(&second, &tm) == NULL)
		return 0;
	long offset = (tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff) / 60;

	p = put_fixed(p, (unsigned)tm.tm_mday, 2);
	*p++ = '/';
	memcpy(p, months + 3 * tm.tm_mon, 3);
	p += 3;
	*p++ = '/';
	p = put_fixed(p, (unsigned)tm.tm_year + 1900u, 4);
	*p++ = ':';
	p = put_fixed(p, (unsigned)tm.tm_hour, 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)tm.tm_min, 2);
	*p++ = ':';
	p = put_fixed(p, (unsigned)tm.tm_sec, 2);
	*p++ = ' ';
	*p++ = tm.tm_gmtoff < 0 ? '-' : '+';
	p = put_fixed(p, (unsigned)(offset / 60), 2);
	p = put_fixed(p, (unsigned)(offset % 60), 2);
	return (size_t)(p - out);
}

/* ---- fields of the request ---- */

static struct span framing(const struct head *h, enum hdr_id id, char scratch[VARS_SCRATCH])
{
	switch (id) {
	case HDR_CONTENT_LENGTH:
		return h->has_length ? number(h->length, scratch) : span_make(NULL, 0);
	case HDR_TRANSFER_ENCODING:
		return h->body == BODY_STREAM && h->proto != PROTO_HTTP2 ? SPAN("chunked") : span_make(NULL, 0);
	case HDR_UPGRADE:
		return h->upgrade ? h->upgrade_to : span_make(NULL, 0);
	default:
		return span_make(NULL, 0);
	}
}

struct span vars_framing(const struct head *h, struct span name, char scratch[VARS_SCRATCH])
{
	return framing(h, hdr_find(name), scratch);
}

static struct span field(const struct head *h, struct span name, char scratch[VARS_SCRATCH])
{
	struct span value;
	enum hdr_id id;

	if (h->magic != HEAD_MAGIC)
		return span_make(NULL, 0);
	id = hdr_find(name);
	value = framing(h, id, scratch);
	if (value.p != NULL)
		return value;
	return id != HDR_OTHER ? head_get(h, id) : head_find(h, name);
}

bool vars_cookie(const struct head *req, struct span name, struct span *value)
{
	for (unsigned i = req->known[HDR_COOKIE]; i; i = req->fields[i - 1].next)
		if (cookie_get(req->fields[i - 1].value, name, value))
			return true;
	return false;
}

static struct span cookie(const struct exchange *x, struct span name)
{
	struct span value;

	return vars_cookie(&x->req, name, &value) ? value : span_make(NULL, 0);
}

/* A raw question mark cannot stand in a path. */
static struct span query(const struct exchange *x)
{
	const char *mark = x->orig_uri.n ? memchr(x->orig_uri.p, '?', x->orig_uri.n) : NULL;

	return mark ? span_make(mark + 1, (size_t)(x->orig_uri.p + x->orig_uri.n - mark - 1)) : span_make(NULL, 0);
}

static struct span query_arg(const struct exchange *x, struct span name)
{
	struct span value;

	return uri_query_get(query(x), name, &value) ? value : span_make(NULL, 0);
}

/* ---- one value ---- */

static struct span group(const struct exchange *x, unsigned n, const int *groups, struct span subject)
{
	if (groups == NULL) {
		groups = x->match.groups;
		subject = x->match.subject;
	}
	if (n > 9 || groups[2 * n] < 0 || groups[2 * n + 1] < groups[2 * n] || (size_t)groups[2 * n + 1] > subject.n)
		return span_make(NULL, 0);
	return span_make(subject.p + groups[2 * n], (size_t)(groups[2 * n + 1] - groups[2 * n]));
}

/* Who asked, where and for what. */
static struct span of_request(const struct exchange *x, enum var_id var, char scratch[VARS_SCRATCH])
{
	switch (var) {
	case VAR_CLIENT_IP:
		return x->client_text.n ? x->client_text : span_make(scratch, addr_ip_text(&x->client, scratch, VARS_SCRATCH));
	case VAR_CLIENT_PORT:
		return x->client.port ? number(x->client.port, scratch) : span_make(NULL, 0);
	case VAR_LISTEN:
		return x->listen ? x->listen->name : span_make(NULL, 0);
	case VAR_SCHEME:
		return x->req.scheme.n ? x->req.scheme : x->tls ? SPAN("https") : SPAN("http");
	case VAR_HOST:
		return x->req.host;
	case VAR_PORT:
		return x->local_port ? number(x->local_port, scratch) : span_make(NULL, 0);
	case VAR_METHOD:
		return x->req.method_text;
	case VAR_PATH:
		return x->orig_path;
	case VAR_QUERY:
		return query(x);
	case VAR_REQUEST_URI:
		return x->orig_uri;
	case VAR_PROTOCOL:
		return x->req.method_text.n ? span_of(proto_name(x->req.proto)) : span_make(NULL, 0);
	case VAR_REQUEST_ID:
		return x->request_id_span;
	case VAR_REQUEST_LINE:
		return x->request_line;
	case VAR_TIME:
		return time_iso(x->start_wall_ms, scratch);
	case VAR_TIME_LOCAL:
		return span_make(scratch, vars_time_local(x->start_wall_ms, scratch));
	default:
		return span_make(NULL, 0);
	}
}

/* An answer's own headers are made before it is sent. */
static unsigned status(const struct exchange *x)
{
	return x->status || x->ended || x->resp_state != RESP_WAIT ? x->status : x->resp.status;
}

static struct span of_tls(struct exchange *x, enum var_id var)
{
	if (x->tls == NULL)
		return span_make(NULL, 0);
	switch (var) {
	case VAR_TLS_VERSION:
		return span_of(tls_version(x->tls));
	case VAR_TLS_CIPHER:
		return span_of(tls_cipher(x->tls));
	case VAR_TLS_SNI:
		return tls_sni(x->tls);
	case VAR_TLS_CLIENT_SUBJECT:
		return tls_client_subject(x->tls, &x->arena);
	case VAR_TLS_CLIENT_FINGERPRINT:
		return tls_client_digest(x->tls, &x->arena);
	case VAR_TLS_CLIENT_VERIFY:
		return tls_has_client(x->tls) ? SPAN("ok") : SPAN("none");
	default:
		return span_make(NULL, 0);
	}
}

/* What became of it. */
static struct span of_outcome(const struct exchange *x, enum var_id var, char scratch[VARS_SCRATCH])
{
	uint64_t now;

	switch (var) {
	case VAR_ROUTE:
		return x->route ? x->route->name : span_make(NULL, 0);
	case VAR_UPSTREAM:
		return x->upstream ? x->upstream->name : span_make(NULL, 0);
	case VAR_SERVER:
		return x->server;
	case VAR_STATUS:
		return status(x) ? number(status(x), scratch) : span_make(NULL, 0);
	case VAR_REASON:
		return span_of(reason_token(x->reason));
	case VAR_DURATION:
		now = x->env->loop->now_us;
		return seconds(now > x->t_start_us ? now - x->t_start_us : 0, scratch);
	case VAR_BYTES_IN:
		return number(x->bytes_in, scratch);
	case VAR_BYTES_OUT:
		return number(x->bytes_out, scratch);
	case VAR_TRIES:
		return number(x->tries, scratch);
	case VAR_TIME_QUEUE:
		return seconds(x->queue_us, scratch);
	case VAR_TIME_CONNECT:
		return seconds(x->connect_us, scratch);
	case VAR_TIME_HEADER:
		return seconds(x->header_us, scratch);
	default:
		return of_request(x, var, scratch);
	}
}

struct span vars_get(struct exchange *x, const struct tmpl_part *p, char scratch[VARS_SCRATCH], const int *groups,
		     struct span subject)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	switch (p->var) {
	case VAR_NONE:
		return p->text;
	case VAR_GROUP:
		return group(x, p->group, groups, subject);
	case VAR_HEADER:
		return field(&x->req, p->text, scratch);
	case VAR_COOKIE:
		return cookie(x, p->text);
	case VAR_QUERY_ARG:
		return query_arg(x, p->text);
	case VAR_TLS_VERSION:
	case VAR_TLS_CIPHER:
	case VAR_TLS_SNI:
	case VAR_TLS_CLIENT_SUBJECT:
	case VAR_TLS_CLIENT_VERIFY:
	case VAR_TLS_CLIENT_FINGERPRINT:
		return of_tls(x, p->var);
	case VAR_RESPONSE:
		return field(&x->resp, p->text, scratch);
	default:
		return of_outcome(x, p->var, scratch);
	}
}

/* ---- templates ---- */

static bool passes(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
			return false;
	return true;
}

bool vars_expand_groups(struct exchange *x, const struct tmpl *t, const int groups[20], struct span subject,
			struct span *out)
{
	char scratch[VARS_SCRATCH];
	struct span *values;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	if (!t->has_vars) {
		*out = t->nparts ? t->parts[0].text : SPAN("");
		return true;
	}
	values = arena_alloc(&x->arena, t->nparts * sizeof(*values));
	if (values == NULL)
		return false;
	for (unsigned i = 0; i < t->nparts; i++) {
		values[i] = vars_get(x, &t->parts[i], scratch, groups, subject);
		if (t->parts[i].var != VAR_NONE && !passes(values[i]))
			return false;
		if (values[i].p == scratch) {
			values[i] = arena_span(&x->arena, values[i]);
			if (values[i].p == NULL)
				return false;
		}
	}
	*out = t->nparts == 1 ? values[0] : arena_join(&x->arena, values, t->nparts);
	return t->nparts == 1 || out->p != NULL;
}

bool vars_expand(struct exchange *x, const struct tmpl *t, struct span *out)
{
	return vars_expand_groups(x, t, NULL, span_make(NULL, 0), out);
}
