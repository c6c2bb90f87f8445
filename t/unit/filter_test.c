/*
 * filter_test.c - what the filters make of requests and answers.
 *
 * The exchange is made by hand; exchange_fail() is this file's own and only notes why.
 */
#include "t/unit/handmade.h"
#include "worker/filter/filters.h"

struct stage {
	struct world w;
	struct exchange *x;
	struct conf_route *r;
};

void exchange_fail(struct exchange *x, enum reason why)
{
	x->reason = why;
}

static void stage_init(struct stage *s, const char *raw)
{
	world_init(&s->w, 1);
	s->x = make_exchange(&s->w, raw);
	s->r = route_of(s->x);
	s->r->action = CONF_UPSTREAM;
}

static void stage_fini(struct stage *s)
{
	exchange_gone(s->x);
	world_fini(&s->w);
}

static struct span name_of(const char *s)
{
	return span_of(s);
}

/* ---- access, size ---- */

static struct net *nets(struct world *w, const char *a, const char *b)
{
	struct net *n = arena_zalloc(&w->arena, 2 * sizeof(*n));
	bool host_bits;

	ck_assert(net_parse(span_of(a), &n[0], &host_bits));
	if (b)
		ck_assert(net_parse(span_of(b), &n[1], &host_bits));
	return n;
}

static bool passes(struct stage *s)
{
	s->x->reason = REASON_NONE;
	return filter_access.request(s->x) == FILTER_NEXT;
}

START_TEST(deny_wins_over_allow)
{
	struct stage s;

	stage_init(&s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	ck_assert(passes(&s));
	s.r->has_allow = true;
	ck_assert(!passes(&s));
	ck_assert_int_eq(s.x->reason, REASON_DENIED);
	s.r->allow = nets(&s.w, "10.0.0.0/8", "192.0.2.0/24");
	s.r->nallow = 2;
	ck_assert(passes(&s));
	s.r->deny = nets(&s.w, "192.0.2.7", NULL);
	s.r->ndeny = 1;
	ck_assert(!passes(&s));
	ck_assert(addr_parse_ip(SPAN("192.0.2.8"), &s.x->client));
	ck_assert(passes(&s));
	/* It is the client that counts, not the peer. */
	ck_assert(addr_parse_ip(SPAN("203.0.113.1"), &s.x->client));
	ck_assert(!passes(&s));
	stage_fini(&s);
}
END_TEST

START_TEST(declared_lengths)
{
	struct stage s;

	stage_init(&s, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
	s.x->max_body = 99;
	ck_assert_int_eq(filter_size.request(s.x), FILTER_REPLIED);
	ck_assert_int_eq(s.x->reason, REASON_BODY_TOO_LARGE);
	s.x->max_body = 100;
	ck_assert_int_eq(filter_size.request(s.x), FILTER_NEXT);
	s.x->max_body = 0;
	ck_assert_int_eq(filter_size.request(s.x), FILTER_NEXT);
	stage_fini(&s);
}
END_TEST

/* ---- path ---- */

struct path_case {
	const char *target, *strip, *regex, *to, *regex2, *to2, *add;
	const char *want;		/* NULL: refused */
	enum reason why;
};

static void set_rewrite(struct stage *s, unsigned i, const char *re, const char *to)
{
	if (re == NULL)
		return;
	s->r->rewrites[i].regex = regex(&s->w, re);
	s->r->rewrites[i].to = template(&s->w, to);
	s->r->rewrites[i].has_query = strchr(to, '?') != NULL;
	s->r->nrewrites = i + 1;
}

static void path_case(const struct path_case *c)
{
	struct stage s;
	char raw[256], got[256];

	snprintf(raw, sizeof(raw), "GET %s HTTP/1.1\r\nHost: a\r\nX-Evil: /x?y#z q\r\n\r\n", c->target);
	stage_init(&s, raw);
	s.r->rewrites = arena_zalloc(&s.w.arena, 2 * sizeof(*s.r->rewrites));
	s.r->strip_prefix = name_of(c->strip ? c->strip : "");
	s.r->add_prefix = name_of(c->add ? c->add : "");
	set_rewrite(&s, 0, c->regex, c->to);
	set_rewrite(&s, 1, c->regex2, c->to2);
	if (filter_path.request(s.x) == FILTER_REPLIED) {
		ck_assert_msg(c->want == NULL, "%s was refused", c->target);
		ck_assert_int_eq(s.x->reason, c->why);
	} else {
		snprintf(got, sizeof(got), "%.*s%s%.*s", SPAN_FMT(s.x->req.path), s.x->req.has_query ? "?" : "",
			 SPAN_FMT(s.x->req.query));
		ck_assert_msg(c->want && strcmp(got, c->want) == 0, "%s became %s, not %s", c->target, got,
			      c->want ? c->want : "refused");
	}
	stage_fini(&s);
}

START_TEST(paths)
{
	static const struct path_case cases[] = {
		{ "/api/x?q=1", .want = "/api/x?q=1" },
		{ "/api/x?q=1", .strip = "/api", .want = "/x?q=1" },
		{ "/api/x", .strip = "/api/", .want = "/x" },
		{ "/api", .strip = "/api", .want = "/" },
		{ "/api/", .strip = "/api", .want = "/" },
		{ "/api?q", .strip = "/api", .want = "/?q" },
		{ "/apix/y", .strip = "/api", .want = "/apix/y" },
		{ "/api/x", .strip = "/", .want = "/api/x" },
		{ "/api%2Fx/y", .strip = "/api", .want = "/api%2Fx/y" },
		{ "/api/x", .add = "/v2", .want = "/v2/api/x" },
		{ "/api/x", .strip = "/api", .add = "/v2/", .want = "/v2/x" },
		{ "/old/5", .regex = "^/old/(\\d+)$", .to = "/new/$1", .want = "/new/5" },
		{ "/old/5?a=b", .regex = "^/old/(\\d+)$", .to = "/new/$1", .want = "/new/5?a=b" },
		{ "/old/5?a=b", .regex = "^/old/(\\d+)$", .to = "/new?id=$1", .want = "/new?id=5" },
		{ "/old/5?a=b", .regex = "^/old/(\\d+)$", .to = "/new?id=$1&$query", .want = "/new?id=5&a=b" },
		{ "/old/5?a=b", .regex = "^/old", .to = "/new?", .want = "/new" },
		{ "/other", .regex = "^/old", .to = "/new", .want = "/other" },
		{ "/a", .regex = "^/a$", .to = "/b", .regex2 = "^/b$", .to2 = "/c", .want = "/c" },
		{ "/api/old/x", .strip = "/api", .regex = "^/old(.*)", .to = "/new$1", .add = "/v2", .want = "/v2/new/x" },
		{ "/a%0Ab", .regex = "^(.*)$", .to = "/x$1", .want = "/x/a%0Ab" },
		/* Dots out of groups are resolved, and never climb out. */
		{ "/a/x..", .regex = "^/a/x(.*)$", .to = "/b/$1/c", .want = "/c" },
		{ "/a/x..", .regex = "^/a/x(.*)$", .to = "/$1/etc", .why = REASON_BAD_REQUEST },
		/* What no path may hold. */
		{ "/a", .regex = "^/a", .to = "no-slash", .why = REASON_INTERNAL },
		{ "/a/b", .regex = "^/a/(.)", .to = "$1", .why = REASON_BAD_REQUEST },
		{ "/a", .regex = "^/a", .to = "/${header:X-Evil}", .why = REASON_BAD_REQUEST },
		{ "/a", .regex = "^/a", .to = "/b?${header:X-Evil}", .why = REASON_BAD_REQUEST },
		{ "/a?x?y", .regex = "^/a", .to = "/b/$query", .why = REASON_BAD_REQUEST },
		{ "/a?x?y", .regex = "^/a", .to = "/b?z&$query", .want = "/b?z&x?y" },
		{ "/a", .regex = "^/a", .to = "/b c", .why = REASON_INTERNAL },
		{ "/a", .regex = "^/a", .to = "/b#c", .why = REASON_INTERNAL },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		path_case(&cases[i]);
}
END_TEST

START_TEST(the_path_that_matched_is_stripped)
{
	struct stage s;

	stage_init(&s, "GET /api/v1/x HTTP/1.1\r\nHost: a\r\n\r\n");
	s.r->strip_matched = true;
	s.x->match.prefix = SPAN("/api/v1");
	ck_assert_int_eq(path_edit(s.x), REASON_NONE);
	ck_span_eq(s.x->req.path, "/x");
	ck_span_eq(path_stripped(s.x), "/api/v1");
	stage_fini(&s);
	stage_init(&s, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
	s.r->add_prefix = SPAN("/x");
	ck_assert_int_eq(path_edit(s.x), REASON_NONE);
	ck_span_eq(s.x->req.path, "*");
	stage_fini(&s);
}
END_TEST

/* ---- forward ---- */

static void has_field(struct stage *s, const char *name, const char *want)
{
	struct span got = head_find(&s->x->req, span_of(name));
	int first = head_index(&s->x->req, span_of(name), 0);

	ck_assert_msg(want ? got.p != NULL && span_eq(got, span_of(want)) : got.p == NULL,
		      "%s is \"%.*s\", not \"%s\"", name, SPAN_FMT(got), want ? want : "(absent)");
	if (want)
		ck_assert_int_eq(head_index(&s->x->req, span_of(name), (unsigned)first + 1), -1);
}

static const char spoofed[] =
	"GET /api/x HTTP/1.1\r\n"
	"Host: Shop.example:8080\r\n"
	"X-Forwarded-For: 10.9.9.9\r\n"
	"x-forwarded-for: 10.8.8.8, 10.7.7.7\r\n"
	"X-Forwarded-Proto: https\r\n"
	"X-Forwarded-Host: public.example\r\n"
	"X-Forwarded-Prefix: /outer/\r\n"
	"X-Forwarded-Port: 1\r\n"
	"Forwarded: for=1.2.3.4\r\n"
	"X-Real-IP: 10.9.9.9\r\n"
	"X-Request-ID: theirs\r\n"
	"X-Original-URL: /admin\r\n"
	"CF-Connecting-IP: 10.9.9.9\r\n"
	"\r\n";

START_TEST(an_untrusted_peer_is_not_believed)
{
	struct stage s;

	stage_init(&s, spoofed);
	((struct conf_listen *)s.x->listen)->ntrusted = 1;
	((struct conf_listen *)s.x->listen)->client_ip_header = SPAN("CF-Connecting-IP");
	s.r->strip_prefix = SPAN("/api");
	ck_assert_int_eq(filter_path.request(s.x), FILTER_NEXT);
	ck_assert_int_eq(filter_forward.request(s.x), FILTER_NEXT);
	has_field(&s, "X-Forwarded-For", "192.0.2.7");
	has_field(&s, "X-Forwarded-Proto", "http");
	has_field(&s, "X-Forwarded-Host", "Shop.example:8080");
	has_field(&s, "X-Forwarded-Prefix", "/api");
	has_field(&s, "X-Forwarded-Port", NULL);
	has_field(&s, "Forwarded", NULL);
	has_field(&s, "X-Real-IP", "192.0.2.7");
	has_field(&s, "X-Request-ID", "0123456789abcdef0123456789abcdef");
	has_field(&s, "X-Original-URL", NULL);
	has_field(&s, "CF-Connecting-IP", NULL);
	has_field(&s, "Host", "Shop.example:8080");
	stage_fini(&s);
}
END_TEST

START_TEST(a_trusted_proxy_is_extended)
{
	struct stage s;

	stage_init(&s, spoofed);
	s.x->peer_trusted = true;
	ck_assert(addr_parse_ip(SPAN("10.7.7.7"), &s.x->client));
	s.r->strip_prefix = SPAN("/api");
	ck_assert_int_eq(filter_forward.request(s.x), FILTER_NEXT);
	has_field(&s, "X-Forwarded-For", "10.9.9.9, 10.8.8.8, 10.7.7.7, 192.0.2.7");
	has_field(&s, "X-Forwarded-Proto", "https");
	has_field(&s, "X-Forwarded-Host", "public.example");
	has_field(&s, "X-Forwarded-Prefix", "/outer/api");
	has_field(&s, "X-Real-IP", "10.7.7.7");
	has_field(&s, "X-Request-ID", "theirs");
	ck_span_eq(s.x->request_id_span, "theirs");
	has_field(&s, "Forwarded", "for=1.2.3.4");
	stage_fini(&s);
	/* It said nothing, or nothing that could be a request id. */
	stage_init(&s, "GET / HTTP/1.0\r\nX-Request-ID: a \"b\"\r\n\r\n");
	s.x->peer_trusted = true;
	s.x->peer = s.x->client = (struct addr){ .family = ADDR_UNIX };
	ck_assert_int_eq(filter_forward.request(s.x), FILTER_NEXT);
	has_field(&s, "X-Forwarded-For", "unknown");
	has_field(&s, "X-Forwarded-Proto", "http");
	has_field(&s, "X-Forwarded-Host", NULL);
	has_field(&s, "X-Request-ID", "0123456789abcdef0123456789abcdef");
	has_field(&s, "X-Forwarded-Prefix", NULL);
	stage_fini(&s);
}
END_TEST

START_TEST(the_host_header)
{
	struct stage s;

	stage_init(&s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	s.r->host_header_kind = CONF_HOST_VALUE;
	s.r->host_header = template(&s.w, "${host}.internal:81");
	ck_assert_int_eq(filter_forward.request(s.x), FILTER_NEXT);
	has_field(&s, "Host", "a.internal:81");
	has_field(&s, "X-Forwarded-Host", "a");
	stage_fini(&s);
}
END_TEST

/* ---- edit ---- */

START_TEST(edits)
{
	struct stage s;

	stage_init(&s, "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\nX-B: 1\r\nX-C: 1\r\n\r\n");
	struct conf_edit v[] = {
		{ CONF_EDIT_REMOVE, SPAN("x-b"), NULL },
		{ CONF_EDIT_SET, SPAN("X-A"), template(&s.w, "$host") },
		{ CONF_EDIT_SET, SPAN("X-C"), template(&s.w, "$auth_user") },
		{ CONF_EDIT_SET, SPAN("X-Bad"), template(&s.w, "a\nb") },
		{ CONF_EDIT_SET, SPAN("Connection"), template(&s.w, "X-A") },
		{ CONF_EDIT_SET, SPAN("Transfer-Encoding"), template(&s.w, "chunked") },
		{ CONF_EDIT_ADD, SPAN("X-D"), template(&s.w, "1") },
		{ CONF_EDIT_ADD, SPAN("X-D"), template(&s.w, "2") },
		{ CONF_EDIT_ADD, SPAN("X-E"), template(&s.w, "${header:none}") },
		{ CONF_EDIT_ADD, SPAN("Host"), template(&s.w, "b") },
	};
	s.r->request_edits = v;
	s.r->nrequest_edits = sizeof(v) / sizeof(v[0]);
	ck_assert_int_eq(filter_edit.request(s.x), FILTER_NEXT);
	has_field(&s, "X-A", "a");
	has_field(&s, "X-B", NULL);
	has_field(&s, "X-C", NULL);
	has_field(&s, "X-Bad", NULL);
	has_field(&s, "X-E", NULL);
	has_field(&s, "Connection", NULL);
	has_field(&s, "Transfer-Encoding", NULL);
	has_field(&s, "Host", "b");
	ck_span_eq(head_find(&s.x->req, SPAN("X-D")), "1");
	ck_assert_int_gt(head_index(&s.x->req, SPAN("X-D"), (unsigned)head_index(&s.x->req, SPAN("X-D"), 0) + 1), 0);
	stage_fini(&s);
	/* On the way back, own answers too. */
	stage_init(&s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	struct conf_edit back[] = { { CONF_EDIT_SET, SPAN("X-Id"), template(&s.w, "$request_id") } };
	s.r->action = CONF_RESPOND;
	s.r->response_edits = back;
	s.r->nresponse_edits = 1;
	s.x->own_answer = true;
	filter_edit.response(s.x);
	ck_span_eq(head_find(&s.x->resp, SPAN("X-Id")), "0123456789abcdef0123456789abcdef");
	stage_fini(&s);
}
END_TEST

/* ---- location ---- */

struct location_case {
	const char *strip, *add, *in, *want;
};

static void location_case(const struct location_case *c, enum hdr_id id)
{
	struct stage s;
	struct conf_server server = { .magic = CONF_SERVER_MAGIC, .text = SPAN("app1:5000") };
	struct conf_upstream up = { .magic = CONF_UPSTREAM_MAGIC, .servers = &server, .nservers = 1 };

	stage_init(&s, "GET /svc/x HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n");
	s.r->rewrite_location = true;
	s.r->strip_prefix = name_of(c->strip);
	s.r->add_prefix = name_of(c->add);
	s.x->upstream = &up;
	s.x->server = SPAN("app1:5000@10.0.0.2");
	ck_assert_int_eq(filter_path.request(s.x), FILTER_NEXT);
	ck_assert_int_eq(filter_forward.request(s.x), FILTER_NEXT);
	ck_assert(head_add_id(&s.x->resp, id, span_of(c->in)));
	filter_location.response(s.x);
	struct span got = head_get(&s.x->resp, id);
	ck_assert_msg(span_eq(got, span_of(c->want)), "-%s +%s: %s became %.*s, not %s", c->strip, c->add, c->in,
		      SPAN_FMT(got), c->want);
	stage_fini(&s);
}

START_TEST(locations)
{
	static const struct location_case cases[] = {
		{ "/svc", "", "/login", "/svc/login" },
		{ "/svc", "", "/", "/svc/" },
		{ "/svc", "", "/login?next=/svc/x#top", "/svc/login?next=/svc/x#top" },
		{ "/svc", "", "/svc/login", "/svc/login" },
		{ "/svc", "", "/svcx", "/svc/svcx" },
		{ "/svc", "", "login", "login" },
		{ "/svc", "", "?page=2", "?page=2" },
		{ "/svc", "", "../up", "../up" },
		{ "/svc", "", "http://shop.example:8080/login", "http://shop.example:8080/svc/login" },
		{ "/svc", "", "http://SHOP.example:8080/login", "http://shop.example:8080/svc/login" },
		{ "/svc", "", "http://shop.example:8080", "http://shop.example:8080/svc/" },
		{ "/svc", "", "http://app1:5000/login", "http://shop.example:8080/svc/login" },
		{ "/svc", "", "//app1:5000/login", "http://shop.example:8080/svc/login" },
		{ "/svc", "", "http://shop.example/login", "http://shop.example/login" },
		{ "/svc", "", "https://shop.example:8080/login", "https://shop.example:8080/login" },
		{ "/svc", "", "http://elsewhere.example/login", "http://elsewhere.example/login" },
		{ "/svc", "", "http://app1:5000.evil.example/", "http://app1:5000.evil.example/" },
		{ "/svc", "", "mailto:a@b", "mailto:a@b" },
		{ "", "/app", "/app/login", "/login" },
		{ "", "/app", "/app", "/" },
		{ "", "/app", "/app?x", "/?x" },
		{ "", "/app", "/other", "/other" },
		{ "", "/app", "/app//evil.example/", "/.//evil.example/" },
		{ "/svc", "/app", "/app/login", "/svc/login" },
		{ "/svc", "/app", "http://app1:5000/app/login", "http://shop.example:8080/svc/login" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		location_case(&cases[i], HDR_LOCATION);
		location_case(&cases[i], HDR_CONTENT_LOCATION);
	}
	location_case(&(struct location_case){ "/svc", "", "5; url=/login", "5; url=/svc/login" }, HDR_REFRESH);
	location_case(&(struct location_case){ "/svc", "", "5;URL='/login'", "5;URL='/svc/login'" }, HDR_REFRESH);
	location_case(&(struct location_case){ "/svc", "", "5", "5" }, HDR_REFRESH);
}
END_TEST

UNIT("filter", deny_wins_over_allow, declared_lengths, paths, the_path_that_matched_is_stripped,
     an_untrusted_peer_is_not_believed, a_trusted_proxy_is_extended, the_host_header, edits, locations)
