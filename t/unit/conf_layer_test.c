/*
 * conf_layer_test.c - sharing: policies, defaults, and that the nearest wins, as
 * the manual says it.
 */
#include "t/unit/confbed.h"

static struct bed bed;

#define UPSTREAM "[upstream u]\nserver = a\n"

START_TEST(nearest_wins)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed,
		"[route own]\nuse = p\nupstream = u\ntimeout = 1s\n[route policy]\nuse = p\nupstream = u\npath = /p\n"
		"[route default]\nupstream = u\npath = /d\n[route none]\nuse = p\nupstream = u\npath = /o\ntimeout = off\n"
		"allow = off\n"
		"[policy p]\ntimeout = 2s\nallow = 10.0.0.0/8\nretries = 0\n[defaults route]\ntimeout = 3s\n"
		"allow = ::1, ::2\nretries = 1\n"
		UPSTREAM LISTEN);
	ck_assert_int_eq(bed_route(&bed, "own")->timeout, 1000);
	ck_assert_int_eq(bed_route(&bed, "policy")->timeout, 2000);
	ck_assert_int_eq(bed_route(&bed, "default")->timeout, 3000);
	ck_assert_int_eq(bed_route(&bed, "none")->timeout, 0);
	/* Lists are replaced whole. */
	ck_assert_uint_eq(bed_route(&bed, "own")->nallow, 1);
	ck_assert_uint_eq(bed_route(&bed, "default")->nallow, 2);
	ck_assert(!bed_route(&bed, "none")->has_allow);
	ck_assert_uint_eq(bed_route(&bed, "own")->retries, 0);
	ck_assert_uint_eq(bed_route(&bed, "default")->retries, 1);
	ck_assert_uint_eq(c->nroutes, 4);
	bed_fini(&bed);
}
END_TEST

START_TEST(listeners_and_upstreams)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed,
		"[listen a]\nuse = lp\nbind = 127.0.0.1:1\n[listen b]\nbind = 127.0.0.1:2\nidle_timeout = 9s\n"
		"[policy lp]\nidle_timeout = 1s\ntrusted_proxies = private\nmax_body_size = 5k\n[defaults listen]\n"
		"idle_timeout = 2s\n"
		"header_timeout = 3s\nmax_body_size = 6k\n[upstream u]\nserver = a\nuse = up\n[upstream v]\nserver = b\n"
		"[policy up]\nkeepalive = 1\nread_timeout = 4s\n[defaults upstream]\nkeepalive = 2\nread_timeout = 5s\n"
		"max_fails = 7\n"
		"[route r]\nupstream = u\nfallback = v\n");
	ck_assert(c->listens[0]->idle_timeout == 1000 && c->listens[1]->idle_timeout == 9000);
	ck_assert(c->listens[0]->header_timeout == 3000 && c->listens[0]->ntrusted == 8 && c->listens[1]->ntrusted == 0);
	ck_assert(c->listens[0]->max_body_size == 5120 && c->listens[1]->max_body_size == CONF_UNSET);
	ck_assert_int_eq(c->general.max_body_size, 6144);
	ck_assert(c->upstreams[0]->keepalive == 1 && c->upstreams[1]->keepalive == 2 && c->upstreams[0]->max_fails == 7);
	ck_assert(c->upstreams[0]->timeouts[CONF_T_READ] == 4000 && c->upstreams[1]->timeouts[CONF_T_READ] == CONF_UNSET);
	ck_assert_int_eq(c->general.timeouts[CONF_T_READ], 5000);
	bed_fini(&bed);
}
END_TEST

/* What is written for one thing beats what is written for all, however near the all is. */
START_TEST(layers_that_a_request_decides)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed,
		"[weir]\naccess_log = w.log\nlog_format = json\n[defaults route]\nread_timeout = 1s\naccess_log = r.log\n"
		"[defaults upstream]\nread_timeout = 2s\nwrite_timeout = 3s\n[defaults listen]\naccess_log = l.log\n"
		"max_body_size = 1k\n"
		"[upstream u]\nserver = a\nread_timeout = 4s\n[route r]\nupstream = u\n[route s]\nuse = p\nupstream = u\n"
		"path = /s\n"
		"[policy p]\nread_timeout = 6s\n" LISTEN "[listen m]\nbind = 127.0.0.1:2\naccess_log = m.log\n");
	const struct conf_route *r = bed_route(&bed, "r"), *s = bed_route(&bed, "s");
	const struct conf_upstream *u = c->upstreams[0];

	ck_assert_int_eq(conf_pick(r->timeouts[CONF_T_READ], u->timeouts[CONF_T_READ],
				   c->general.timeouts[CONF_T_READ]), 4000);
	ck_assert_int_eq(conf_pick(s->timeouts[CONF_T_READ], u->timeouts[CONF_T_READ],
				   c->general.timeouts[CONF_T_READ]), 6000);
	ck_assert_int_eq(c->general.timeouts[CONF_T_READ], 1000);
	ck_assert_int_eq(c->general.timeouts[CONF_T_WRITE], 3000);
	ck_assert_int_eq(c->general.max_body_size, 1024);
	const struct conf_access_log *log = conf_access_log(c, r, c->listens[0]);
	ck_assert_ptr_nonnull(strstr(log->to[0]->path, "r.log"));
	ck_assert_int_eq(log->escape, CONF_ESC_JSON);
	ck_assert_ptr_nonnull(strstr(conf_access_log(c, r, c->listens[1])->to[0]->path, "m.log"));
	bed_fini(&bed);
}
END_TEST

START_TEST(groups_count_as_one_key)
{
	bed_init(&bed);
	bed_good(&bed, LISTEN UPSTREAM "[policy p]\npath = /p\nhost = a.example\nupstream = u\n"
		"[route a]\nuse = p\npath_exact = /a\nrespond = 200\n[route b]\nuse = p\n[route c]\nuse = p\npath = off\n"
		"priority = 1\n");
	const struct conf_route *r = bed_route(&bed, "a");
	ck_assert(r->path_kind == CONF_PATH_EXACT && r->npaths == 1 && r->action == CONF_RESPOND && r->nsplit == 0);
	ck_assert_uint_eq(r->nhosts, 1);
	r = bed_route(&bed, "b");
	ck_assert(r->path_kind == CONF_PATH_PREFIX && r->action == CONF_UPSTREAM);
	ck_assert_int_eq(bed_route(&bed, "c")->path_kind, CONF_PATH_NONE);
	bed_fini(&bed);
}
END_TEST

START_TEST(policies_that_differ)
{
#define TWO(p, q, own) LISTEN UPSTREAM "[policy p]\n" p "\n[policy q]\n" q "\n[route r]\nuse = p q\nupstream = u\n" own
	bed_init(&bed);
	bed_bad(&bed, TWO("timeout = 1s", "timeout = 2s", ""), 10, "the policies p and q differ on timeout (");
	bed_good(&bed, TWO("timeout = 1s", "timeout = 2s", "timeout = 3s\n"));
	bed_good(&bed, TWO("timeout = 60s", "timeout = 1m", ""));
	ck_assert_int_eq(bed_route(&bed, "r")->timeout, 60000);
	bed_good(&bed, TWO("allow = ::1, ::2", "allow = ::1 ::2", ""));
	ck_assert_uint_eq(bed_route(&bed, "r")->nallow, 2);
	bed_bad(&bed, TWO("allow = ::1", "allow = ::2", ""), 10, "differ on allow");
	bed_bad(&bed, TWO("path = /a", "path_exact = /a", ""), 10, "differ on path");
	bed_good(&bed, TWO("path = /a", "path_exact = /a", "path = /b\n"));
	bed_bad(&bed, TWO("response_header = A: 1", "response_header = a: 2", ""), 9, "differ on the header a");
	bed_good(&bed, TWO("response_header = A: 1", "response_header = a: 2", "response_header_remove = A\n"));
	bed_good(&bed, TWO("response_header = A: 1", "response_header = A: 1", ""));
	ck_assert_uint_eq(bed_route(&bed, "r")->nresponse_edits, 1);
	bed_good(&bed, TWO("response_header_add = A: 1", "response_header_add = A: 2", ""));
	ck_assert_uint_eq(bed_route(&bed, "r")->nresponse_edits, 2);
	bed_bad(&bed, TWO("error_page = 404 a", "error_page = 404 b", ""), 9, "differ on error_page 404");
	bed_good(&bed, TWO("error_page = 404 a", "error_page = 404 b", "error_page = 404 c\n"));
	bed_good(&bed, TWO("retries = 0", "timeout = 1s", ""));
	bed_fini(&bed);
#undef TWO
}
END_TEST

START_TEST(what_adds_up)
{
	bed_init(&bed);
	bed_good(&bed, LISTEN "[defaults route]\nresponse_header = A: d\nresponse_header = B: d\n"
		 "response_header_remove = Server, C\n"
		"error_page = 404,502 d\nerror_page = 5xx d5\n[policy p]\nresponse_header = B: p\nresponse_header_add = C: p\n"
		"error_page = 502 p\nerror_page = 4xx p4\n[route r]\nuse = p\nrespond = 200\nresponse_header = D: own\n"
		"error_page = 503 own\n"
		"[route s]\nrespond = 200\npath = /s\nresponse_header = off\nerror_page = off\n");
	const struct conf_route *r = bed_route(&bed, "r");
	const struct conf_edit *e = r->response_edits;

	ck_assert_uint_eq(r->nresponse_edits, 5);
	ck_span_eq(e[0].name, "Server");
	ck_assert_int_eq(e[0].kind, CONF_EDIT_REMOVE);
	ck_span_eq(e[1].name, "D");
	ck_span_eq(e[2].value->source, "B: p");
	ck_span_eq(e[3].name, "A");
	ck_assert(e[4].kind == CONF_EDIT_ADD);
	ck_span_eq(e[4].name, "C");
	/* By status: the first that covers it counts. */
	static const struct { unsigned status; const char *text; } pages[] = {
		{ 503, "own" }, { 502, "p" }, { 404, "p4" }, { 403, "p4" }, { 500, "d5" }, { 301, "" }
	};
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct span got = SPAN("");

		for (unsigned k = 0; k < r->nerror_pages && got.n == 0; k++) {
			if (r->error_pages[k].from <= pages[i].status && pages[i].status <= r->error_pages[k].to)
				got = r->error_pages[k].text;
		}
		ck_span_eq(got, pages[i].text);
	}
	/* off ends what comes from farther away, key by key. */
	r = bed_route(&bed, "s");
	ck_assert_uint_eq(r->nerror_pages, 0);
	ck_assert_uint_eq(r->nresponse_edits, 2);
	ck_assert_int_eq(r->response_edits[0].kind, CONF_EDIT_REMOVE);
	bed_fini(&bed);
}
END_TEST

START_TEST(wrong_policies)
{
	bed_init(&bed);
	bed_bad(&bed, LISTEN "[policy p]\nbind = *:80\n", 4, "does not stand in a policy");
	bed_bad(&bed, LISTEN "[policy p]\nserver = a\n", 4, "does not stand in a policy");
	bed_bad(&bed, LISTEN "[policy p]\nuse = q\n", 4, "does not stand in a policy");
	bed_bad(&bed, LISTEN "[policy p]\nworkers = 3\n", 4, "does not stand in [policy] but in [weir]");
	bed_bad(&bed, LISTEN "[policy p]\ntimout = 3s\n", 4, "did you mean \"timeout\"?");
	bed_bad(&bed, LISTEN "[policy p]\nidle_timeout = 3s\nkeepalive = 2\n", 5, "of another kind");
	bed_bad(&bed, LISTEN "[policy p]\nkeepalive = 2\n[route r]\nuse = p\nrespond = 200\n", 6,
		"holds keys that do not stand in a [route]");
	bed_bad(&bed, LISTEN "use = p\n[policy p]\nkeepalive = 2\n", 3, "holds keys that do not stand in a [listen]");
	/* Nobody uses them, and still their values are looked at. */
	bed_bad(&bed, LISTEN "[policy p]\ntimeout = 3\n", 4, "did you mean \"3s\"?");
	bed_bad(&bed, LISTEN "[policy p]\nkeepalive = x\n", 4, "a plain number");
	bed_bad(&bed, LISTEN "[policy p]\nidle_timeout = x\n", 4, "a time such as");
	bed_bad(&bed, LISTEN "[defaults upstream]\nkeepalive = x\n", 4, "a plain number");
	bed_bad(&bed, LISTEN "[policy p]\naccess_log = stdot\n", 4, "did you mean \"stdout\"?");
	bed_bad(&bed, LISTEN "[policy p]\nupstream = x\n", 4, "there is no [upstream x]");
	/* Used ten times, wrong once. */
	bed_bad(&bed, LISTEN "[policy p]\ntimeout = 3\n[route a]\nuse = p\nrespond = 200\n[route b]\nuse = p\n"
		"respond = 200\n", 4, "3s");
	bed_good(&bed, LISTEN "[policy p]\ntimeout = 3s\n");
	ck_said(&bed, true, 3, NULL, "no section uses this policy");
	bed_fini(&bed);
}
END_TEST

START_TEST(wrong_defaults)
{
	bed_init(&bed);
	bed_bad(&bed, LISTEN "[defaults route]\nhost = a\n", 4, "holds no conditions, no actions");
	bed_bad(&bed, LISTEN "[defaults route]\nrespond = 200\n", 4, "holds no conditions, no actions");
	bed_bad(&bed, LISTEN "[defaults route]\nuse = p\n", 4, "holds no conditions, no actions");
	bed_bad(&bed, LISTEN "[defaults listen]\nbind = *:80\n", 4, "holds no conditions, no actions");
	bed_bad(&bed, LISTEN "[defaults upstream]\nserver = a\n", 4, "holds no conditions, no actions");
	bed_bad(&bed, LISTEN "[defaults upstream]\nidle_timeout = 1s\n", 4, "but in [listen]");
	bed_bad(&bed, LISTEN "[defaults route]\n[defaults route]\n", 4, "stands twice");
	bed_bad(&bed, LISTEN "[defaults]\n", 3, "expected [defaults route]");
	bed_bad(&bed, LISTEN "[defaults policy]\n", 3, "expected [defaults route]");
	/* $1 has to have a regex in each route that gets it. */
	bed_bad(&bed, LISTEN "[defaults route]\nresponse_header = A: $1\n[route r]\nrespond = 200\n", 4,
		"$1 means nothing here");
	bed_good(&bed, LISTEN "[defaults route]\nresponse_header = A: $1\n[route r]\nrespond = 200\npath_regex = (a)\n");
	bed_fini(&bed);
}
END_TEST

UNIT("conf_layer", nearest_wins, listeners_and_upstreams, layers_that_a_request_decides, groups_count_as_one_key,
     policies_that_differ,
     what_adds_up, wrong_policies, wrong_defaults)
