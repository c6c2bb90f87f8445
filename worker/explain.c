/*
 * explain.c - weir -e: which listener and route a request would meet, and why not the others.
 *
 * Called by the master's command line with a configuration, in a process of its
 * own. Reads the request with the codec of the workers and asks their router;
 * opens no socket and serves nobody.
 */
#include "worker/explain.h"

#include <stdarg.h>

#include "common/obj.h"
#include "worker/exchange/client.h"
#include "worker/exchange/route.h"
#include "worker/http/h1_parse.h"
#include "worker/http/uri.h"
#include "worker/worker.h"

enum { EXIT_ROUTED, EXIT_NO_ROUTE, EXIT_NO_REQUEST };

#define HEAD_MAX (1u << 18)

/* The words of the command line. */
struct ask {
	struct span method, scheme, authority, target;
	bool host_given;		/* by a header */
	uint16_t port;
};

void explain_line(FILE *out, const char *label, const char *fmt, ...)
{
	va_list ap;

	must(fmt != NULL);
	fprintf(out, "%-*s", EXPLAIN_LABEL, label);
	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
	fputc('\n', out);
}

const char *explain_safe(struct exchange *x, struct span s)
{
	size_t size = s.n * 4 + 4;
	char *out = arena_bytes(&x->arena, size);

	return out != NULL ? log_esc(out, size, s) : "(too long)";
}

static int no_request(FILE *out, const char *why)
{
	fprintf(out, "This is no request: %s.\n"
		     "Write it as 'GET http://host/path', and each further header as -H 'Name: value'.\n", why);
	return EXIT_NO_REQUEST;
}

/* ---- the request ---- */

/* "METHOD SCHEME://AUTHORITY/PATH"; NULL, or what is wrong. */
static const char *cut_ask(const char *request, struct ask *a)
{
	struct span rest = span_trim(span_of(request)), url;
	char host[256 + URI_V6_ROOM];
	size_t n = 0;

	a->method = span_cut(&rest, ' ');
	url = span_trim(rest);
	if (url.n == 0 || memchr(url.p, ' ', url.n) != NULL)
		return "it takes a method and a URL";
	if (url.n > 7 && span_caseeq(span_make(url.p, 7), SPAN("http://")))
		a->scheme = SPAN("http");
	else if (url.n > 8 && span_caseeq(span_make(url.p, 8), SPAN("https://")))
		a->scheme = SPAN("https");
	else
		return "the URL does not begin with http:// or https://";
	url.p += a->scheme.n + 3;
	url.n -= a->scheme.n + 3;
	while (n < url.n && url.p[n] != '/' && url.p[n] != '?' && url.p[n] != '#')
		n++;
	a->authority = span_make(url.p, n);
	a->target = span_make(url.p + n, url.n - n);
	if (n == 0 || n > sizeof(host) - URI_V6_ROOM || uri_host(a->authority, host, &a->port) == 0)
		return "the URL has no valid host";
	if (a->port == 0)
		a->port = a->scheme.n == 5 ? 443 : 80;
	return NULL;
}

static const char *check_header(const char *line, struct ask *a)
{
	const char *colon = strchr(line, ':');

	if (strpbrk(line, "\r\n") != NULL)
		return "a header holds a line end";
	if (colon == NULL)
		return "a header has no colon";
	if (span_caseeq(span_make(line, (size_t)(colon - line)), SPAN("Host")))
		a->host_given = true;
	return NULL;
}

/* As a client would write it. */
static struct span wire_text(struct arena *a, const struct ask *ask, const char *const *headers, unsigned n)
{
	struct span slash = ask->target.n == 0 || ask->target.p[0] != '/' ? SPAN("/") : SPAN("");
	struct span text = arena_join(a, (struct span[]){ ask->method, SPAN(" "), slash, ask->target,
							   SPAN(" HTTP/1.1\r\n") }, 5);

	if (!ask->host_given)
		text = arena_join(a, (struct span[]){ text, SPAN("Host: "), ask->authority, SPAN("\r\n") }, 4);
	for (unsigned i = 0; i < n; i++)
		text = arena_join(a, (struct span[]){ text, span_of(headers[i]), SPAN("\r\n") }, 3);
	return arena_join(a, (struct span[]){ text, SPAN("\r\n") }, 2);
}

/* NULL, or what is wrong. */
static const char *read_request(struct exchange *x, const struct ask *ask, const char *const *headers, unsigned n,
				size_t *head_size)
{
	struct span text = wire_text(&x->arena, ask, headers, n);
	struct h1_scan scan = { .seen = 0 };
	struct h1_wire wire;
	enum h1_bad bad = H1_GOOD;
	size_t len;

	if (h1_scan_head(&scan, text.p, text.n, HEAD_MAX, &len, &bad) != H1_DONE)
		return bad != H1_GOOD ? h1_bad_text(bad) : "it has no end";
	x->request_line = arena_span(&x->arena, span_make(text.p, (size_t)((char *)memchr(text.p, '\r', len) - text.p)));
	bad = h1_parse_request(&x->req, &wire, (char *)text.p, len);
	if (bad != H1_GOOD)
		return h1_bad_text(bad);
	x->req.scheme = ask->scheme;
	x->orig_path = x->orig_uri = x->req.path;
	if (x->req.has_query)
		x->orig_uri = arena_join(&x->arena, (struct span[]){ x->req.path, SPAN("?"), x->req.query }, 3);
	*head_size = len;
	return NULL;
}

/* ---- the listener ---- */

static const struct conf_bind *bind_of(const struct conf_listen *l, uint16_t port)
{
	for (unsigned i = 0; i < l->nbinds; i++)
		if (l->binds[i].addr.family != ADDR_UNIX && l->binds[i].addr.port == port)
			return &l->binds[i];
	return NULL;
}

/* A URL that names an address means the listener on that address. */
static bool is_address(const struct conf_bind *b, struct span host)
{
	struct addr a;

	return addr_parse_ip(host, &a) && addr_eq_ip(&a, &b->addr);
}

static const struct conf_listen *pick_listen(const struct conf *c, const struct ask *ask, FILE *out)
{
	const struct conf_listen *first = NULL, *exact = NULL, *l;
	struct span host = ask->authority;
	unsigned n = 0;

	while (host.n > 0 && host.p[host.n - 1] != ':' && host.p[host.n - 1] != ']')
		host.n--;
	host.n = host.n == 0 ? ask->authority.n : host.p[host.n - 1] == ':' ? host.n - 1 : host.n;
	for (unsigned i = 0; i < c->nlistens; i++) {
		const struct conf_bind *b = bind_of(c->listens[i], ask->port);

		if (b == NULL)
			continue;
		n++;
		if (first == NULL)
			first = c->listens[i];
		if (exact == NULL && is_address(b, host))
			exact = c->listens[i];
	}
	l = exact != NULL ? exact : first != NULL ? first : c->nlistens > 0 ? c->listens[0] : NULL;
	if (l == NULL) {
		explain_line(out, "listener", "none: the configuration has no [listen]");
		return NULL;
	}
	explain_line(out, "listener", "%.*s (%s:%u)", SPAN_FMT(l->name), l->at.file, l->at.line);
	if (n == 0)
		explain_line(out, "", "nothing listens on port %u: this is the first listener", ask->port);
	else
		explain_line(out, "", "bind %.*s%s", SPAN_FMT(bind_of(l, ask->port)->text),
			     exact != NULL ? " is the address of the URL" : " has the port of the URL");
	for (unsigned i = 0; n > 1 && i < c->nlistens; i++) {
		const struct conf_bind *b = bind_of(c->listens[i], ask->port);

		if (b != NULL && c->listens[i] != l)
			explain_line(out, "", "not %.*s: bind %.*s has that port too, the address a client reaches decides",
				     SPAN_FMT(c->listens[i]->name), SPAN_FMT(b->text));
	}
	return l;
}

static void tell_client(FILE *out, const struct exchange *x)
{
	char peer[ADDR_TEXT], client[ADDR_TEXT];

	addr_ip_text(&x->peer, peer, sizeof(peer));
	addr_ip_text(&x->client, client, sizeof(client));
	if (!x->peer_trusted)
		explain_line(out, "client", "%s, which is not among trusted_proxies", peer);
	else if (addr_eq_ip(&x->peer, &x->client))
		explain_line(out, "client", "%s, a trusted proxy that names no one else", client);
	else
		explain_line(out, "client", "%s, says %.*s of the trusted proxy %s", client,
			     SPAN_FMT(x->listen->client_ip_header), peer);
}

/* ---- the route ---- */

struct tracer {
	struct route_trace trace;
	FILE *out;
	bool any;
};

static void on_route(struct route_trace *t, const struct conf_route *r, const char *why)
{
	struct tracer *tr = (struct tracer *)t;
	bool won = strcmp(why, "won") == 0;

	explain_line(tr->out, tr->any ? "" : "routes", "%s %.*s (%s:%u)%s%s", won ? "won " : "lost", SPAN_FMT(r->name),
		     r->at.file, r->at.line, won ? "" : ": ", won ? "" : why);
	tr->any = true;
}

static int find_and_tell(FILE *out, struct exchange *x, struct router *router)
{
	struct tracer tracer = { .trace = { on_route }, .out = out };
	struct route_ask ask = { .listen = x->listen, .req = &x->req, .client = &x->client };
	int https = x->listen->redirect_https;

	x->route = router_find(router, &ask, &x->match, &tracer.trace);
	if (x->route == NULL) {
		if (https != 0 && https != 443)
			explain_line(out, "answer", "308 to https://%s:%d%s (redirect_https)",
				     explain_safe(x, x->req.host), https, explain_safe(x, x->orig_uri));
		else if (https != 0)
			explain_line(out, "answer", "308 to https://%s%s (redirect_https)", explain_safe(x, x->req.host),
				     explain_safe(x, x->orig_uri));
		else
			explain_line(out, "answer", "404: no route holds");
		return EXIT_NO_ROUTE;
	}
	explain_line(out, "route", "%.*s (%s:%u)", SPAN_FMT(x->route->name), x->route->at.file, x->route->at.line);
	if (x->match.prefix.n > 0)
		explain_line(out, "", "by path %.*s", SPAN_FMT(x->match.prefix));
	explain_way(out, x);
	return EXIT_ROUTED;
}

static int explain(struct exchange *x, const struct ask *ask, const char *const *headers, unsigned n, FILE *out)
{
	const struct conf *c = x->env->conf;
	struct router *router;
	size_t head_size = 0;
	const char *wrong = read_request(x, ask, headers, n, &head_size);
	int rc;

	if (wrong != NULL)
		return no_request(out, wrong);
	explain_line(out, "request", "%.*s", SPAN_FMT(x->req.method_text));
	explain_line(out, "host", "%s", explain_safe(x, x->req.host));
	explain_line(out, "path", "%s", explain_safe(x, x->req.path));
	if (x->req.has_query)
		explain_line(out, "query", "%s", explain_safe(x, x->req.query));
	x->listen = pick_listen(c, ask, out);
	if (x->listen == NULL)
		return EXIT_NO_ROUTE;
	if (ask->scheme.n == 5)
		explain_line(out, "", "TLS is not built yet: judged as if it had come in clear");
	if (x->listen->max_header_size && (int64_t)head_size > x->listen->max_header_size) {
		explain_line(out, "answer", "431: the head is larger than max_header_size");
		return EXIT_NO_ROUTE;
	}
	client_find(x);
	x->local_port = ask->port;
	tell_client(out, x);
	router = router_new(c);
	rc = find_and_tell(out, x, router);
	router_free(&router);
	return rc;
}

int explain_main(const struct conf *c, const char *request, const char *const *headers, unsigned nheaders, FILE *out)
{
	struct ask ask = { .host_given = false };
	struct env *e;
	struct exchange *x;
	const char *wrong = cut_ask(request, &ask);
	int rc;

	for (unsigned i = 0; wrong == NULL && i < nheaders; i++)
		wrong = check_header(headers[i], &ask);
	if (wrong != NULL)
		return no_request(out, wrong);
	e = calloc(1, sizeof(*e));
	x = calloc(1, sizeof(*x));
	if (e == NULL || x == NULL || (e->loop = calloc(1, sizeof(*e->loop))) == NULL)
		log_no_memory(sizeof(*x));
	e->magic = ENV_MAGIC;
	e->conf = c;
	x->magic = EXCHANGE_MAGIC;
	x->env = e;
	arena_init(&x->arena, NULL, 0);
	head_init(&x->req, &x->arena);
	head_init(&x->resp, &x->arena);
	x->peer = (struct addr){ .family = ADDR_V4, .port = 50000, .v4 = { 127, 0, 0, 1 } };
	x->request_id_span = SPAN("00000000000000000000000000000000");
	rc = explain(x, &ask, headers, nheaders, out);
	arena_fini(&x->arena);
	free(e->loop);
	free(e);
	free(x);
	return rc;
}
