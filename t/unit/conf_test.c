/*
 * conf_test.c - what a configuration comes to: the defaults, every key of every
 * section, log formats, regexes, the two files that everybody starts from.
 */
#include "t/unit/confbed.h"

static struct bed bed;

static const char services[] =
	"; Two services behind one address, by path; anything else gets a greeting.\n[listen http]\nbind = *:80\n\n"
	"[route service1]\npath = /service1\nstrip_prefix = yes\nupstream = service1\n\n"
	"[route service2]\npath = /service2\nstrip_prefix = yes\nupstream = service2\n\n"
	"[route welcome]\nrespond = 200 Welcome to the reverse proxy!\n\n"
	"[upstream service1]\nserver = service1:5000\n\n[upstream service2]\nserver = service2:5000\n";

START_TEST(two_services)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, services);
	ck_assert_uint_eq(bed.msgs.n, 0);
	ck_assert_uint_eq(c->nroutes, 3);
	ck_assert_uint_eq(c->nbinds, 1);
	const struct conf_bind *b = &c->listens[0]->binds[0];
	ck_assert(b->addr.family == ADDR_V6 && b->addr.port == 80 && !b->v6only);
	const struct conf_route *r = bed_route(&bed, "service1");
	ck_assert(r->path_kind == CONF_PATH_PREFIX && r->strip_matched && r->rewrite_location && r->enabled);
	ck_span_eq(r->paths[0], "/service1");
	ck_assert_ptr_eq(r->split[0].upstream, c->upstreams[0]);
	ck_assert_uint_eq(r->retries, 2);
	ck_assert_uint_eq(r->retry_on, CONF_RETRY_CONNECT | CONF_RETRY_RESET);
	ck_assert_int_eq(r->timeout, 0);
	ck_assert(r->max_body_size == CONF_UNSET && r->timeouts[CONF_T_READ] == CONF_UNSET && r->access_log == NULL);
	r = bed_route(&bed, "welcome");
	ck_assert(r->action == CONF_RESPOND && r->status == 200 && r->npaths == 0 && r->nhosts == 0);
	ck_span_eq(r->text->source, "Welcome to the reverse proxy!");
	const struct conf_server *s = &c->upstreams[1]->servers[0];
	ck_span_eq(s->host, "service2");
	ck_assert(s->port == 5000 && s->addr.family == ADDR_NONE && s->ncells == CONF_HOST_ADDRS &&
		  s->cell == CONF_HOST_ADDRS);
	ck_assert_uint_eq(c->ncells, 2 * CONF_HOST_ADDRS);
	bed_fini(&bed);
}
END_TEST

START_TEST(load_balancer)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed,
					"; A load balancer: least connections over three servers, with active checks.\n"
		"[listen http]\nbind = *:80\n\n[route app]\nupstream = app\n\n[upstream app]\nbalance = least_conn\n"
		"server = 192.168.1.101:80\nserver = 192.168.1.102:80 weight=2\nserver = 192.168.1.103:80 backup\n"
		"check = http\ncheck_path = /healthz\n");
	const struct conf_upstream *u = c->upstreams[0];
	ck_assert_uint_eq(bed.msgs.n, 0);
	ck_assert(u->balance == CONF_LEAST_CONN && u->check == CONF_CHECK_HTTP && u->nservers == 3);
	ck_span_eq(u->check_path, "/healthz");
	ck_span_eq(u->servers[1].name, "192.168.1.102:80");
	ck_assert(u->servers[1].weight == 2 && u->servers[2].backup && u->servers[2].addr.family == ADDR_V4);
	ck_assert_uint_eq(c->ncells, 3);
	bed_fini(&bed);
}
END_TEST

START_TEST(defaults_are_those_of_the_contract)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, services);
	const struct conf_listen *l = c->listens[0];
	const struct conf_upstream *u = c->upstreams[0];

	ck_assert(c->workers >= 1 && c->user == NULL && c->group == NULL && c->pid_file == NULL);
	ck_assert(c->error_log->kind == CONF_LOG_STDERR && c->max_connections == 0 && c->shutdown_timeout == 30000);
	ck_assert(!l->exclusive && l->redirect_https == 0 && l->ntrusted == 0);
	ck_span_eq(l->client_ip_header, "X-Forwarded-For");
	ck_assert(l->header_timeout == 15000 && l->body_timeout == 60000 && l->idle_timeout == 75000 &&
		  l->send_timeout == 60000);
	ck_assert(l->max_header_size == 32768 && l->max_requests == 1000 && l->max_body_size == CONF_UNSET);
	ck_assert(c->general.max_body_size == 16 << 20 && c->general.access_log->nto == 0);
	ck_assert(c->general.timeouts[CONF_T_CONNECT] == 3000 && c->general.timeouts[CONF_T_RESPONSE] == 60000);
	ck_assert(c->general.timeouts[CONF_T_READ] == 60000 && c->general.timeouts[CONF_T_WRITE] == 60000);
	ck_assert(c->general.timeouts[CONF_T_TUNNEL] == 3600000);
	ck_assert(u->balance == CONF_LEAST_CONN && u->check == CONF_CHECK_OFF && u->check_interval == 5000);
	ck_assert(u->check_timeout == 2000 && u->check_rise == 2 && u->check_fall == 3 && u->check_port == 0);
	ck_assert(u->ncheck_status == 1 && u->check_status[0].from == 200 && u->check_status[0].to == 399);
	ck_assert(u->max_fails == 3 && u->fail_timeout == 10000 && u->max_ejected == 50 && u->slow_start == 0);
	ck_assert(u->keepalive == 32 && u->keepalive_timeout == 50000 && u->max_queue == 1024 && u->queue_timeout == 5000);
	ck_assert(u->resolve_min == 5000 && u->resolve_max == 60000);
	bed_fini(&bed);
}
END_TEST

START_TEST(weir_keys)
{
	char want[200];

	bed_init(&bed);
	const struct conf *c = bed_good(&bed, "[weir]\nworkers = 7\nuser = www\ngroup = web\npid_file = run/weir.pid\n"
		"control = /tmp/weir.sock\nerror_log = ./error.log\nlog_level = debug\nmax_connections = 500\n"
		"shutdown_timeout = 1m\nresolver = 10.0.0.2, [::1]:5353 127.0.0.1:54\n" LISTEN);
	ck_assert(c->workers == 7 && c->max_connections == 500 && c->shutdown_timeout == 60000 &&
		  c->log_level == LOG_LV_DEBUG);
	ck_assert_str_eq(c->user, "www");
	ck_assert_str_eq(c->group, "web");
	ck_assert_str_eq(c->control, "/tmp/weir.sock");
	snprintf(want, sizeof(want), "%s/run/weir.pid", bed.dir);
	ck_assert_str_eq(c->pid_file, want);
	snprintf(want, sizeof(want), "%s/error.log", bed.dir);
	ck_assert_str_eq(c->error_log->path, want);
	ck_assert_uint_eq(c->nresolvers, 3);
	ck_assert(c->resolvers[0].port == 53 && c->resolvers[1].port == 5353 && c->resolvers[1].family == ADDR_V6);
	c = bed_good(&bed, "[weir]\ncontrol = off\npid_file = off\nerror_log = off\nshutdown_timeout = off\n" LISTEN);
	ck_assert(c->control == NULL && c->pid_file == NULL && c->shutdown_timeout == 0);
	ck_assert_str_eq(c->error_log->path, "/dev/null");
	c = bed_good(&bed, "[weir]\nerror_log = syslog\n" LISTEN);
	ck_assert_int_eq(c->error_log->kind, CONF_LOG_SYSLOG);
	bed_fini(&bed);
}
END_TEST

START_TEST(binds)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, "[listen a]\nbind = 0.0.0.0:80, [::]:80 unix:run/s.sock\nbind = [::1]:81\n"
		"[listen b]\nbind = *:82\nbind = 127.0.0.1:82\n[listen c]\nbind = unix:/x.sock\nredirect_https = 8443\n"
		"[listen d]\nbind = 1.2.3.4:1\nredirect_https = yes\n[listen e]\nbind = 1.2.3.4:2\nexclusive = yes\n");
	const struct conf_bind *b = c->listens[0]->binds;
	char want[200];

	ck_assert(b[0].addr.family == ADDR_V4 && b[1].addr.family == ADDR_V6 && b[1].v6only);
	snprintf(want, sizeof(want), "%s/run/s.sock", bed.dir);
	ck_assert(b[2].addr.family == ADDR_UNIX && b[3].addr.port == 81);
	ck_assert_str_eq(b[2].addr.path, want);
	ck_assert(!c->listens[1]->binds[0].v6only && c->listens[1]->binds[0].id == 4);
	ck_assert_uint_eq(c->nbinds, 9);
	ck_assert(c->listens[2]->redirect_https == 8443 && c->listens[2]->exclusive);
	ck_assert(c->listens[3]->redirect_https == 443 && c->listens[4]->exclusive && !c->listens[1]->exclusive);

	bed_bad(&bed, "[listen a]\nbind = *:80 0.0.0.0:80\n", 2, "0.0.0.0:80 shares addresses with the bind at");
	bed_bad(&bed, "[listen a]\nbind = [::]:80\n[listen b]\nbind = *:80\n", 4, "*:80 shares addresses");
	bed_bad(&bed, "[listen a]\nbind = [::1]:80\n[listen b]\nbind = [0::1]:80\n", 4, "shares addresses");
	bed_bad(&bed, "[listen a]\nbind = 1.2.3.4:80\nbind = 1.2.3.4:80\n", 3, "stands twice");
	bed_bad(&bed, "[listen a]\nbind = unix:x\nbind = unix:./x\n", 3, "shares addresses");
	bed_bad(&bed, "[listen a]\n", 1, "at least one bind");
	bed_bad(&bed, "[listen a]\nbind = off\n", 1, "at least one bind");
	bed_bad(&bed, "[route a]\nrespond = 200\n", 0, "at least one [listen NAME]");
	bed_bad(&bed, "", 0, "at least one [listen NAME]");
	bed_fini(&bed);
}
END_TEST

START_TEST(listen_keys)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "trusted_proxies = private, 1.2.3.0/24 unix\n"
					"client_ip_header = X-Real-IP\n"
		"header_timeout = 500ms\nbody_timeout = 0\nidle_timeout = off\nsend_timeout = 1d\nmax_header_size = 1k\n"
		"max_requests = off\nmax_body_size = 0\n");
	const struct conf_listen *l = c->listens[0];
	struct addr a;

	ck_assert_uint_eq(l->ntrusted, 10);
	ck_assert(addr_parse_ip(SPAN("172.31.0.1"), &a) && nets_have(l->trusted, l->ntrusted, &a));
	ck_assert(addr_parse_ip(SPAN("fd00::1"), &a) && nets_have(l->trusted, l->ntrusted, &a));
	ck_assert(addr_parse_ip(SPAN("172.32.0.1"), &a) && !nets_have(l->trusted, l->ntrusted, &a));
	ck_assert(l->header_timeout == 500 && l->body_timeout == 0 && l->idle_timeout == 0 && l->send_timeout == 86400000);
	ck_assert(l->max_header_size == 1024 && l->max_requests == 0 && l->max_body_size == 0);
	ck_span_eq(l->client_ip_header, "X-Real-IP");
	bed_fini(&bed);
}
END_TEST

START_TEST(servers)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = 10.0.0.1\n"
					"server = [::1]\n"
		"server = [::1]:81\nserver = a.example.\nserver = a_b.example:81 name=x\nserver = unix:s.sock\n"
		"server = 1a:2 weight=0\n");
	const struct conf_server *s = c->upstreams[0]->servers;

	ck_assert(s[0].addr.port == 80 && s[1].addr.family == ADDR_V6 && s[1].addr.port == 80 && s[2].addr.port == 81);
	ck_span_eq(s[3].host, "a.example");
	ck_span_eq(s[3].name, "a.example.");
	ck_span_eq(s[4].host, "a_b.example");
	ck_span_eq(s[4].name, "x");
	ck_assert(s[4].port == 81 && s[5].addr.family == ADDR_UNIX && s[6].weight == 0 && s[6].port == 2);
	ck_assert_uint_eq(c->ncells, 4 + 3 * CONF_HOST_ADDRS);
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\n", 5, "at least one server");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a\nserver = a\n", 7, "\"a\" stands twice");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = srv:_http._tcp.x\n", 6,
		"srv: is not built yet");
	bed_fini(&bed);
}
END_TEST

START_TEST(upstream_keys)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a\n"
					"balance = hash $request_uri\n"
		"check = http\ncheck_path = /x?y=1\ncheck_host = a.example\ncheck_status = 200, 204-206 4xx\n"
		"check_interval = 100ms\n"
		"check_timeout = 1s\ncheck_rise = 1\ncheck_fall = 100\ncheck_port = 8081\nmax_fails = 0\nmax_ejected = 100%\n"
		"slow_start = 30s\nkeepalive = 0\nkeepalive_timeout = 1m\nconnect_timeout = 1s\nresponse_timeout = 2s\n"
		"read_timeout = 3s\nwrite_timeout = off\ntunnel_timeout = 5s\nmax_queue = 0\nqueue_timeout = 1s\n"
		"resolve = auto\n");
	const struct conf_upstream *u = c->upstreams[0];

	ck_assert(u->balance == CONF_HASH && tmpl_uses(u->hash_key, VAR_REQUEST_URI) && u->check == CONF_CHECK_HTTP);
	ck_span_eq(u->check_path, "/x?y=1");
	ck_span_eq(u->check_host, "a.example");
	ck_assert_uint_eq(u->ncheck_status, 3);
	ck_assert(u->check_status[1].from == 204 && u->check_status[1].to == 206 && u->check_status[2].to == 499);
	ck_assert(u->check_interval == 100 && u->check_timeout == 1000 && u->check_rise == 1 && u->check_fall == 100);
	ck_assert(u->check_port == 8081 && u->max_fails == 0 && u->max_ejected == 100 && u->slow_start == 30000);
	ck_assert(u->keepalive == 0 && u->keepalive_timeout == 60000 && u->max_queue == 0 && u->queue_timeout == 1000);
	ck_assert(u->timeouts[CONF_T_CONNECT] == 1000 && u->timeouts[CONF_T_RESPONSE] == 2000 &&
		  u->timeouts[CONF_T_READ] == 3000);
	ck_assert(u->timeouts[CONF_T_WRITE] == 0 && u->timeouts[CONF_T_TUNNEL] == 5000);
	bed_fini(&bed);
}
END_TEST

START_TEST(conditions)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[listen m]\nbind = 127.0.0.1:2\n[route r]\nrespond = 200\n"
					"listen = l m l\n"
		"host = A.Example. *.B.example 1.2.3.4 [0:0::01]\npath = /api/ / /caf\xc3\xa9/%7eu%2f%c3\n"
		"method = GET, !HEAD PURGE\n"
		"header = X-A\nheader = X-B: b c\nheader = X-C: ~^d: e$\nheader = !X-D\ncookie = a=b=c\nquery = x\n"
		"query = y=~^1\n"
		"query = !z\nclient = 10.0.0.0/8 !private all\npriority = -5\nenabled = no\n");
	const struct conf_route *r = c->routes[0];

	ck_assert(r->nlistens == 2 && r->nhosts == 4 && r->hosts[1].wildcard && r->priority == -5 && !r->enabled);
	ck_span_eq(r->hosts[0].name, "a.example");
	ck_span_eq(r->hosts[1].name, "b.example");
	ck_span_eq(r->hosts[3].name, "[::1]");
	ck_span_eq(r->paths[0], "/api");
	ck_span_eq(r->paths[1], "");
	ck_span_eq(r->paths[2], "/caf%C3%A9/~u%2F%C3");
	ck_assert(r->nmethods == 3 && r->methods[1].not && !r->methods[2].not);
	ck_span_eq(r->methods[1].name, "HEAD");
	ck_assert(r->headers[0].how == CONF_M_PRESENT && r->headers[1].how == CONF_M_EQUAL &&
		  r->headers[2].how == CONF_M_REGEX);
	ck_assert(r->headers[3].how == CONF_M_ABSENT && r->nheaders == 4 && r->ncookies == 1 && r->nqueries == 3);
	ck_span_eq(r->headers[1].value, "b c");
	ck_assert(conf_regex_match(r->headers[2].regex, SPAN("d: e"), NULL));
	ck_span_eq(r->cookies[0].value, "b=c");
	ck_span_eq(r->queries[2].name, "z");
	ck_assert(r->nclients == 10 && !r->clients[0].not && r->clients[1].not && !r->clients[9].not);
	c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\npath_exact = /a/ /b%20c\n");
	ck_span_eq(c->routes[0]->paths[0], "/a/");
	ck_span_eq(c->routes[0]->paths[1], "/b%20c");
	bed_fini(&bed);
}
END_TEST

START_TEST(the_way)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nupstream = u weight=9\nupstream = v weight=0\n"
		"path_regex = ^/(a)\nsplit_by = ${cookie:id}\nstrip_prefix = /a/\nrewrite = ^/(\\d+)$ /n/$1?x=1\n"
		"rewrite = b /$host\n"
		"add_prefix = /p/\nhost_header = $1.example\nrewrite_location = no\nfallback = v\nretries = off\n"
		"retry_on = timeout, 503 non_idempotent 5xx\ntimeout = 1m\nerror_page = 502,503 gone\n"
		"error_page = 4xx ${env:CONF_E:-e}\n"
		"error_page = 404 none\nintercept_errors = yes\nmax_body_size = 1k\nconnect_timeout = 1s\nallow = private\n"
		"deny = all\n"
		"[route s]\nredirect = 301 https://$host$request_uri ; comment\n[upstream u]\nserver = a\n[upstream v]\n"
		"server = b\n");
	const struct conf_route *r = c->routes[0];

	ck_assert(r->nsplit == 2 && r->split[0].weight == 9 && tmpl_uses(r->split_by, VAR_COOKIE));
	ck_span_eq(r->strip_prefix, "/a");
	ck_span_eq(r->add_prefix, "/p");
	ck_assert(!r->strip_matched && r->nrewrites == 2 && r->rewrites[0].has_query && !r->rewrites[1].has_query);
	ck_assert(r->host_header_kind == CONF_HOST_VALUE && r->host_header->has_groups && !r->rewrite_location);
	ck_assert(r->fallback == c->upstreams[1] && r->retries == 0 && r->timeout == 60000 && r->intercept_errors);
	ck_assert_uint_eq(r->retry_on, CONF_RETRY_TIMEOUT | CONF_RETRY_NON_IDEMPOTENT);
	ck_assert((r->retry_status[503 / 64] >> (503 % 64)) & 1);
	ck_assert((r->retry_status[599 / 64] >> (599 % 64)) & 1);
	ck_assert(!((r->retry_status[499 / 64] >> (499 % 64)) & 1));
	ck_assert_uint_eq(r->nerror_pages, 4);
	ck_assert(r->error_pages[0].from == 404 && r->error_pages[3].from == 400 && r->error_pages[3].to == 499);
	ck_span_eq(r->error_pages[3].text, "e");
	ck_assert(r->max_body_size == 1024 && r->timeouts[CONF_T_CONNECT] == 1000 &&
		  r->timeouts[CONF_T_READ] == CONF_UNSET);
	ck_assert(r->has_allow && r->nallow == 8 && r->ndeny == 1);
	ck_assert(c->routes[1]->action == CONF_REDIRECT && c->routes[1]->status == 301);
	bed_fini(&bed);
}
END_TEST

START_TEST(header_edits)
{
	static const char text[] = LISTEN "[route r]\nrespond = 200\nresponse_header_add = X-A: 2\n"
		"response_header = x-a: 1 $host\n"
		"response_header_remove = X-A, Server\nresponse_header_add = X-A: 3\nresponse_header = X-Empty:\n";

	bed_init(&bed);
	const struct conf *c = bed_good(&bed, text);
	const struct conf_edit *e = c->routes[0]->response_edits;

	ck_assert_uint_eq(c->routes[0]->nresponse_edits, 6);
	ck_assert(e[0].kind == CONF_EDIT_REMOVE && e[1].kind == CONF_EDIT_REMOVE && e[2].kind == CONF_EDIT_SET);
	ck_assert(e[3].kind == CONF_EDIT_SET && e[4].kind == CONF_EDIT_ADD && e[5].kind == CONF_EDIT_ADD);
	ck_span_eq(e[2].name, "x-a");
	ck_span_eq(e[2].value->parts[0].text, "1 ");
	ck_assert_uint_eq(e[3].value->nparts, 0);
	ck_span_eq(e[5].value->parts[0].text, "3");
	ck_assert_uint_eq(c->routes[0]->nrequest_edits, 0);
	bed_fini(&bed);
}
END_TEST

START_TEST(logs)
{
	bed_init(&bed);
	const struct conf *c = bed_good(&bed, "[weir]\naccess_log = a.log stdout\nlog_format = json\n"
					"error_log = a.log\n" LISTEN
		"[listen m]\nbind = 127.0.0.1:2\nlog_format = \"$client_ip\\t$status\"\n[listen n]\nbind = 127.0.0.1:3\n"
		"access_log = off\n"
		"[route r]\nrespond = 200\naccess_log = b.log\n[route s]\nrespond = 200\npath = /s\n[route t]\n"
		"respond = 200\npath = /t\n"
		"log_format = $host\n");
	const struct conf_listen *l = c->listens[0], *m = c->listens[1], *n = c->listens[2];
	const struct conf_access_log *log = conf_access_log(c, c->routes[1], l);

	ck_assert_uint_eq(c->nlogs, 3);
	ck_assert(log == conf_access_log(c, NULL, l) && log == c->general.access_log && log->nto == 2);
	ck_assert(log->to[0] == c->error_log && log->escape == CONF_ESC_JSON);
	log = conf_access_log(c, c->routes[1], m);
	ck_assert(log->nto == 2 && log->escape == CONF_ESC_LOG);
	ck_span_eq(log->format->parts[1].text, "\t");
	ck_assert_uint_eq(conf_access_log(c, c->routes[1], n)->nto, 0);
	/* A route's target with the listener's format, and the other way round. */
	log = conf_access_log(c, c->routes[0], m);
	ck_assert(log->nto == 1 && log->to[0]->kind == CONF_LOG_FILE && log->escape == CONF_ESC_LOG);
	ck_assert_int_eq(conf_access_log(c, c->routes[0], l)->escape, CONF_ESC_JSON);
	log = conf_access_log(c, c->routes[2], n);
	ck_assert(log->nto == 0 && tmpl_uses(log->format, VAR_HOST));
	ck_assert_uint_eq(conf_access_log(c, c->routes[2], l)->nto, 2);
	bed_bad(&bed, "[weir]\naccess_log = stderr\n" LISTEN, 2, "did you mean \"stdout\"?");
	bed_bad(&bed, "[weir]\nlog_format = jsn\n" LISTEN, 2, "did you mean \"json\"?");
	bed_bad(&bed, "[weir]\nlog_format = $hots\n" LISTEN, 2, "did you mean $host?");
	bed_bad(&bed, "[weir]\nlog_format = off\n" LISTEN, 2, "access_log = off");
	bed_fini(&bed);
}
END_TEST

START_TEST(regexes_are_bounded)
{
	static char a[65536];
	int groups[20];

	bed_init(&bed);
	const struct conf *c = bed_good(&bed, LISTEN "[route r]\nrespond = 200\npath_regex = (a+)+$\n"
					"path_regex = ^/(x)|(y)(z)$\n"
		"path_regex = (?i)abc\n");
	memset(a, 'a', sizeof(a));
	a[sizeof(a) - 1] = 'b';
	/* It would take ages; a limit that is hit is no match. */
	for (int i = 0; i < 20; i++)
		ck_assert(!conf_regex_match(c->routes[0]->path_regexes[0], span_make(a, sizeof(a)), groups));
	ck_assert(conf_regex_match(c->routes[0]->path_regexes[1], SPAN("yz"), groups));
	ck_assert(groups[0] == 0 && groups[1] == 2 && groups[2] == -1 && groups[3] == -1 && groups[4] == 0 &&
		  groups[7] == 2);
	ck_assert(groups[8] == -1 && groups[19] == -1);
	ck_assert(conf_regex_match(c->routes[0]->path_regexes[2], SPAN("xABCx"), NULL));
	ck_assert(!conf_regex_match(c->routes[0]->path_regexes[1], span_make(NULL, 0), groups));
	bed_fini(&bed);
}
END_TEST

START_TEST(includes)
{
	bed_init(&bed);
	mkdir(arena_printf(&bed.arena, "%s/conf.d", bed.dir), 0755);
	bed_put(&bed, "conf.d/b.ini", SPAN("[route b]\nrespond = 200 ${file:b.txt}\n"));
	bed_put(&bed, "conf.d/a.ini", SPAN("[route a]\npath = /a\nrespond = 200\n[upstream u]\nserver = x\n"));
	bed_put(&bed, "conf.d/B.ini", SPAN("[route B]\npath = /B\nupstream = u\n"));
	bed_put(&bed, "conf.d/b.txt", SPAN("text\n"));
	bed_put(&bed, "other.inc", SPAN("[route other]\npath = /o\nrespond = 200\n"));
	const struct conf *c = bed_good(&bed, "[weir]\ninclude = none/*.ini conf.d/*.ini, other.inc ./conf.d/a.ini\n" LISTEN
		"[route main]\npath = /m\nrespond = 200\n");
	ck_assert_uint_eq(c->nroutes, 5);
	ck_span_eq(c->routes[0]->name, "main");
	ck_span_eq(c->routes[1]->name, "B");
	ck_span_eq(c->routes[2]->name, "a");
	ck_span_eq(c->routes[3]->name, "b");
	ck_span_eq(c->routes[4]->name, "other");
	ck_span_eq(c->routes[3]->text->parts[0].text, "text");

	bed_bad(&bed, "[weir]\ninclude = none.ini\n" LISTEN, 2, "No such file");
	bed_bad(&bed, "[weir]\ninclude = weir.ini\n" LISTEN, 2, "would include itself");
	bed_bad(&bed, "[weir]\ninclude = *.ini\n" LISTEN, 2, "would include itself");
	bed_bad(&bed, "[weir]\ninclude = conf.d\n" LISTEN, 2, "not a regular file");
	bed_put(&bed, "other.inc", SPAN("[weir]\nworkers = 2\n"));
	bed_bad(&bed, "[weir]\ninclude = other.inc\n" LISTEN, 1, "only in the main file");
	bed_put(&bed, "other.inc", SPAN("[defaults route]\nretries = 2\n"));
	bed_bad(&bed, "[weir]\ninclude = other.inc\n" LISTEN, 1, "only in the main file");
	bed_put(&bed, "other.inc", SPAN("workers = 2\n"));
	bed_bad(&bed, "[weir]\ninclude = other.inc\n" LISTEN "[route r]\nrespond = 200\n", 1, "before the first [section]");
	bed_put(&bed, "other.inc", SPAN("[route r]\ninclude = other.inc\nrespond = 200\n"));
	bed_bad(&bed, "[weir]\ninclude = other.inc\n" LISTEN, 2, "does not stand in [route] but in [weir]");
	bed_put(&bed, "other.inc", SPAN("[listen l]\nbind = 127.0.0.1:9\n"));
	bed_bad(&bed, "[weir]\ninclude = other.inc\n" LISTEN, 1, "stands twice; the first is at");
	bed_fini(&bed);
}
END_TEST

START_TEST(no_file)
{
	bed_init(&bed);
	ck_assert_ptr_null(conf_load(&bed.arena, "/nonexistent/weir.ini", &bed.msgs));
	ck_said(&bed, false, 0, NULL, "cannot be read: No such file");
	ck_assert_ptr_null(conf_load(&bed.arena, "/tmp", &bed.msgs));
	ck_said(&bed, false, 0, NULL, "not a regular file");
	ck_assert_ptr_null(conf_load(&bed.arena, "/dev/zero", &bed.msgs));
	ck_said(&bed, false, 0, NULL, "not a regular file");
	bed_fini(&bed);
}
END_TEST

UNIT("conf", two_services, load_balancer, defaults_are_those_of_the_contract, weir_keys, binds, listen_keys, servers,
     upstream_keys, conditions, the_way, header_edits, logs, regexes_are_bounded, includes, no_file)
