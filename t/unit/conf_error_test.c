/*
 * conf_error_test.c - what is refused, in which line, with which words; that all
 * errors come at once; and that no input is too hostile for an error.
 */
#include <time.h>

#include "common/conf_parts.h"
#include "t/unit/confbed.h"

static struct bed bed;

#define UPSTREAM "[upstream u]\nserver = a\n"

/* One line in a section of that kind, and what is said of it. */
static const struct { enum sect_kind kind; const char *line, *part; } cases[] = {
	{ SECT_weir, "workers = 0", "auto or 1 to 256, got \"0\"" },
	{ SECT_weir, "workers = many", "auto or 1 to 256" },
	{ SECT_weir, "worker = 1", "unknown key; did you mean \"workers\"?" },
	{ SECT_weir, "Workers = 1", "did you mean \"workers\"?" },
	{ SECT_weir, "log_level = warning", "did you mean \"warn\"?" },
	{ SECT_weir, "header_timeout = 5s", "does not stand in [weir] but in [listen]" },
	{ SECT_weir, "max_connections = -1", "a plain number, got \"-1\"" },
	{ SECT_weir, "max_connections = 1000000000", "0 or 1 to 10000000" },
	{ SECT_weir, "shutdown_timeout = 30", "did you mean \"30s\"?" },
	{ SECT_weir, "resolver = dns.example", "an address such as" },
	{ SECT_weir, "user = a b", "expected NAME, got \"a b\"" },
	{ SECT_weir,
	 "control = /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "up to 107 bytes" },
	{ SECT_listen, "bind = 80", "did you mean \"*:80\"?" },
	{ SECT_listen, "bind = :80", "did you mean \"*:80\"?" },
	{ SECT_listen, "bind = ::1", "did you mean \"[::1]:80\"?" },
	{ SECT_listen, "bind = 1.2.3.4", "did you mean \"1.2.3.4:80\"?" },
	{ SECT_listen, "bind = localhost:80", "did you mean \"127.0.0.1:80\"?" },
	{ SECT_listen, "bind = /run/x.sock", "did you mean \"unix:/run/x.sock\"?" },
	{ SECT_listen, "bind = *:0", "expected ADDRESS:PORT" },
	{ SECT_listen, "bind = *:65536", "expected ADDRESS:PORT" },
	{ SECT_listen, "bind = unix:", "expected unix:PATH" },
	{ SECT_listen, "mode = tcp", "not built yet" },
	{ SECT_listen, "mode = htpp", "did you mean \"http\"?" },
	{ SECT_listen, "upstream = u", "means nothing in mode http" },
	{ SECT_listen, "exclusive = maybe", "yes or no, got \"maybe\"" },
	{ SECT_listen, "redirect_https = 99999", "yes, no or a port" },
	{ SECT_listen, "header_timeout = 5", "a time such as 500ms, 30s, 5m, 1h or 1d, got \"5\"; did you mean \"5s\"?" },
	{ SECT_listen, "header_timeout = 5sec", "did you mean \"5s\"?" },
	{ SECT_listen, "header_timeout = 5min", "did you mean \"5m\"?" },
	{ SECT_listen, "header_timeout = 5M", "did you mean \"5m\"?" },
	{ SECT_listen, "header_timeout = 5msec", "did you mean \"5ms\"?" },
	{ SECT_listen, "header_timeout = 1.5s", "a time such as" },
	{ SECT_listen, "header_timeout = -5s", "a time such as" },
	{ SECT_listen, "header_timeout = 99999999999999999999s", "a time such as" },
	{ SECT_listen, "header_timeout = 9223372036854775807d", "a time such as" },
	{ SECT_listen, "header_timeout = 8d", "0 or 1ms to 7d, got \"8d\"" },
	{ SECT_listen, "header_timeout = 5 s", "expected TIME, got \"5 s\"" },
	{ SECT_listen, "max_header_size = 0", "1k to 1m, got \"0\"" },
	{ SECT_listen, "max_header_size = 16K", "did you mean \"16k\"?" },
	{ SECT_listen, "max_body_size = 16mb", "did you mean \"16m\"?" },
	{ SECT_listen, "max_body_size = 100", "did you mean \"100k\"?" },
	{ SECT_listen, "max_requests = 10s", "a plain number, got \"10s\"; did you mean \"10\"?" },
	{ SECT_listen, "trusted_proxies = 10.0.0.1/8",
	 "without host bits, got \"10.0.0.1/8\"; did you mean \"10.0.0.0/8\"?" },
	{ SECT_listen, "trusted_proxies = ::1/64", "did you mean \"::/64\"?" },
	{ SECT_listen, "trusted_proxies = 10.0.0.0/33", "a network such as" },
	{ SECT_listen, "trusted_proxies = privat", "did you mean \"private\"?" },
	{ SECT_listen, "trusted_proxies = a.example", "a network such as" },
	{ SECT_listen, "client_ip_header = X Y", "expected HEADER" },
	{ SECT_listen, "client_ip_header = X:", "the name of a header" },
	{ SECT_listen, "tls = yes", "there is no certificate for it" },
	{ SECT_listen, "certificate = a b", "cannot read" },
	{ SECT_listen, "tls_min = 1.1", "expected 1.2 or 1.3" },
	{ SECT_listen, "client_verify = required", "needs a client_ca" },
	{ SECT_listen, "sni_strict = maybe", "expected yes or no" },
	{ SECT_listen, "http2 = perhaps", "expected yes or no" },
	{ SECT_listen, "http3 = no", "not built yet" },
	{ SECT_listen, "proxy_protocol = on", "off | optional | required" },
	{ SECT_listen, "path = /x", "does not stand in [listen] but in [route]" },
	{ SECT_route, "host = a:80",
	 "without port such as www.example.com, or *.example.com, got \"a:80\"; did you mean \"a\"?" },
	{ SECT_route, "host = *", "a host without port" },
	{ SECT_route, "host = a.*", "a host without port" },
	{ SECT_route, "host = *.*.a", "a host without port" },
	{ SECT_route, "host = *.1.2.3.4", "a host without port" },
	{ SECT_route, "host = caf\xc3\xa9.example", "a host without port" },
	{ SECT_route, "host = a..b", "a host without port" },
	{ SECT_route, "host = 300.1.1.1", "a host without port" },
	{ SECT_route, "path = api", "begins with /, got \"api\"; did you mean \"/api\"?" },
	{ SECT_route, "path = /a/../b", "without the segments . and .." },
	{ SECT_route, "path = /a/%2e", "without the segments . and .." },
	{ SECT_route, "path = /a?b", "without ? and #" },
	{ SECT_route, "path = /%zz", "begins an escape" },
	{ SECT_route, "path = /%00", "begins an escape" },
	{ SECT_route, "path = /%2", "begins an escape" },
	{ SECT_route, "path_regex = (", "not a regex: missing closing parenthesis" },
	{ SECT_route, "path_regex = a b", "expected REGEX, got \"a b\"" },
	{ SECT_route, "path_regex = \\C", "not a regex" },
	{ SECT_route, "method = get", "did you mean \"GET\"?" },
	{ SECT_route, "method = !get", "did you mean \"!GET\"?" },
	{ SECT_route, "method = G/T", "a method such as GET" },
	{ SECT_route, "header = a b", "Name | Name: value" },
	{ SECT_route, "header = !A: b", "Name | Name: value" },
	{ SECT_route, "header = A: ~[", "not a regex" },
	{ SECT_route, "cookie = !a=b", "name | name=value" },
	{ SECT_route, "query = a&b", "name | name=value" },
	{ SECT_route, "client = !x", "a network such as" },
	{ SECT_route, "listen = nope", "there is no [listen nope]" },
	{ SECT_route, "priority = high", "a whole number" },
	{ SECT_route, "priority = 1000001", "-1000000 to 1000000" },
	{ SECT_route, "root = /srv", "not built yet" },
	{ SECT_route, "redirect = 301 /x", "at most one of upstream, respond, redirect and root" },
	{ SECT_route, "upstream = u", "at most one of upstream, respond, redirect and root" },
	{ SECT_route, "split_by = $hots", "did you mean $host?" },
	{ SECT_route, "strip_prefix = yes", "this route has no path" },
	{ SECT_route, "strip_prefix = api", "begins with /" },
	{ SECT_route, "rewrite = a", "expected REGEX REPLACEMENT, got \"a\"" },
	{ SECT_route, "rewrite = ( b", "not a regex" },
	{ SECT_route, "rewrite = a $nope", "unknown variable $nope" },
	{ SECT_route, "add_prefix = x", "begins with /" },
	{ SECT_route, "host_header = upstrem", "did you mean \"upstream\"?" },
	{ SECT_route, "host_header = $1", "$1 means nothing here" },
	{ SECT_route, "request_header = X", "expected Name: value" },
	{ SECT_route, "request_header = : x", "expected Name: value" },
	{ SECT_route, "request_header = X Y: z", "expected Name: value" },
	{ SECT_route, "request_header = Host: x", "Host is set by host_header" },
	{ SECT_route, "request_header = Connection: close", "weir alone sets it" },
	{ SECT_route, "request_header = transfer-encoding: x", "weir alone sets it" },
	{ SECT_route, "request_header_add = Content-Length: 1", "weir alone sets it" },
	{ SECT_route, "request_header_remove = TE", "weir alone sets it" },
	{ SECT_route, "response_header = Keep-Alive: 1", "weir alone sets it" },
	{ SECT_route, "response_header = Trailer: X", "weir alone sets it" },
	{ SECT_route, "response_header_add = Upgrade: x", "weir alone sets it" },
	{ SECT_route, "response_header = X: $1", "$1 means nothing here" },
	{ SECT_route, "response_header = X: 5$", "a dollar sign is written $$" },
	{ SECT_route, "response_header = X: $header", "$header needs a name: ${header:NAME}" },
	{ SECT_route, "response_header = X: ${headr:A}", "did you mean ${header:...}?" },
	{ SECT_route, "response_header = X: ${header:A B}", "is no name" },
	{ SECT_route, "response_header = X: ${host", "expected a }" },
	{ SECT_route, "allow = all, off", "a network such as" },
	{ SECT_route, "fallback = nope", "there is no [upstream nope]" },
	{ SECT_route, "retries = 21", "0 or 1 to 20" },
	{ SECT_route, "retry_on = conect", "did you mean \"connect\"?" },
	{ SECT_route, "retry_on = 200", "a status such as 503" },
	{ SECT_route, "error_page = 404", "got no text" },
	{ SECT_route, "error_page = 99 x", "statuses such as" },
	{ SECT_route, "error_page = 502,,503 x", "statuses such as" },
	{ SECT_route, "error_page = 404,404 x", "404 stands twice" },
	{ SECT_route, "use = nope", "there is no [policy nope]" },
	{ SECT_route, "auth = x", "not built yet" },
	{ SECT_route, "satisfy = any", "not built yet" },
	{ SECT_route, "rate_limit = 10/s", "not built yet" },
	{ SECT_route, "cors = x", "not built yet" },
	{ SECT_route, "cache = x", "not built yet" },
	{ SECT_route, "waf = x", "not built yet" },
	{ SECT_route, "compress = yes", "not built yet" },
	{ SECT_route, "compress_level = 4", "not built yet" },
	{ SECT_route, "mirror = u", "not built yet" },
	{ SECT_route, "buffer_request = yes", "not built yet" },
	{ SECT_route, "bandwidth = 1m/s", "not built yet" },
	{ SECT_route, "log_sample = 1%", "not built yet" },
	{ SECT_route, "bind = *:80", "does not stand in [route] but in [listen]" },
	{ SECT_route, "idle_timeout = 1s", "does not stand in [route] but in [listen]" },
	{ SECT_upstream, "server = http://a:80", "did you mean \"a:80\"?" },
	{ SECT_upstream, "server = ::1", "did you mean \"[::1]\"?" },
	{ SECT_upstream, "server = a:99999", "ADDRESS[:PORT]" },
	{ SECT_upstream, "server = a:b:c", "ADDRESS[:PORT]" },
	{ SECT_upstream, "server = 300.1.1.1", "ADDRESS[:PORT]" },
	{ SECT_upstream, "server = a/b", "ADDRESS[:PORT]" },
	{ SECT_upstream, "server = b weight=-1", "weight=0 to weight=1000" },
	{ SECT_upstream, "server = b max_conns=x", "max_conns=0" },
	{ SECT_upstream, "server = b \"backup\"", "unknown attribute \"backup\"" },
	{ SECT_upstream, "balance = least", "did you mean \"least_conn\"?" },
	{ SECT_upstream, "balance = hash", "got no key" },
	{ SECT_upstream, "balance = hash $a b", "expected least_conn" },
	{ SECT_upstream, "balance = random 2", "expected least_conn" },
	{ SECT_upstream, "check = grpc", "needs protocol = http2" },
	{ SECT_upstream, "check = htp", "did you mean \"http\"?" },
	{ SECT_upstream, "check_path = x", "begins with /" },
	{ SECT_upstream, "check_status = 399-200", "statuses such as" },
	{ SECT_upstream, "check_status = 99", "statuses such as" },
	{ SECT_upstream, "check_status = off", "no server would ever be up" },
	{ SECT_upstream, "check_interval = 1ms", "100ms to 1d" },
	{ SECT_upstream, "check_interval = 0", "100ms to 1d" },
	{ SECT_upstream, "check_rise = off", "a plain number" },
	{ SECT_upstream, "max_ejected = 50", "a share such as 50%, got \"50\"; did you mean \"50%\"?" },
	{ SECT_upstream, "max_ejected = 101%", "0 or 1% to 100%" },
	{ SECT_upstream, "resolve = 5s", "expected auto" },
	{ SECT_upstream, "sticky = client", "not built yet" },
	{ SECT_upstream, "protocol = http3", "expected http1 | http2" },
	{ SECT_upstream, "send_proxy = v3", "off | v1 | v2" },
	{ SECT_upstream, "tls = perhaps", "expected yes or no" },
	{ SECT_upstream, "breaker_limit = 1", "not built yet" },
	{ SECT_upstream, "close_on_down = yes", "not built yet" },
	{ SECT_upstream, "host = a", "does not stand in [upstream] but in [" },
};

START_TEST(single_lines)
{
	static const char *const around[SECT__N] = {
		[SECT_weir] = LISTEN "[weir]\n%s\n", [SECT_listen] = LISTEN "%s\n",
		[SECT_route] = LISTEN UPSTREAM "[route r]\nrespond = 200 a\n%s\n",
		[SECT_upstream] = LISTEN "[route r]\nupstream = u\n[upstream u]\nserver = a\n%s\n"
	};
	char text[600];

	bed_init(&bed);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned line = 1;

		snprintf(text, sizeof(text), around[cases[i].kind], cases[i].line);
		for (const char *p = text; p < strstr(text, cases[i].line); p++)
			line += *p == '\n';
		bed_bad(&bed, text, line, cases[i].part);
	}
	bed_fini(&bed);
}
END_TEST

START_TEST(routes_and_their_actions)
{
	bed_init(&bed);
	bed_bad(&bed, LISTEN "[route r]\n", 3, "expected an action");
	bed_bad(&bed, LISTEN "[route r]\nrespond = off\n", 3, "expected an action");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 199\n", 4, "a status from 200 to 599");
	bed_bad(&bed, LISTEN "[route r]\nrespond = hello\n", 4, "a status from 200 to 599");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 204 x\n", 4, "status 204 has no text");
	bed_bad(&bed, LISTEN "[route r]\nredirect = 300 /x\n", 4, "301, 302, 303, 307 or 308");
	bed_bad(&bed, LISTEN "[route r]\nredirect = 301\n", 4, "expected STATUS URL");
	bed_bad(&bed, LISTEN "[route r]\nredirect = 301 a.example/x\n", 4, "a URL that begins with");
	bed_bad(&bed, LISTEN "[route r]\nredirect = 301 \"/a b\"\n", 4, "a URL that begins with");
	bed_bad(&bed, LISTEN "[route r]\nupstream = v\n" UPSTREAM, 4, "there is no [upstream v]");
	bed_bad(&bed, LISTEN "[route r]\nupstream = apq\n[upstream app]\nserver = a\n", 4, "did you mean \"app\"?");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u weight=0\n" UPSTREAM, 4, "at least one weight above 0");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\nupstream = u\n" UPSTREAM, 5, "the same upstream");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u v\n" UPSTREAM, 4, "a line of its own");
	bed_bad(&bed, LISTEN "[route r]\nupstream = u\nfallback = u\n" UPSTREAM, 5, "stand in for");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\npath = /a\npath_exact = /b\n", 6, "at most one of path");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\npath = /a\npath_regex = ^/b\n", 6, "at most one of path");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\ntimeout = 1s\ntimeout = 2s\n", 6, "is set twice; the first is at");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nallow = all\nallow = off\n", 6, "off stands alone");
	bed_bad(&bed, LISTEN "[route r]\nrespond = 200\nresponse_header = A: 1\nresponse_header = a: 2\n", 6,
		"a is set twice");
	bed_bad(&bed, LISTEN "[auth x]\ntype = basic\n", 3, "not built yet");
	bed_fini(&bed);
}
END_TEST

START_TEST(all_at_once_and_in_order)
{
	bed_init(&bed);
	bed_put(&bed, "z.inc", SPAN("[route z]\nrespnd = 200\nrespond = 200\n"));
	bed_load(&bed, "[weir]\ninclude = z.inc\nworkers = 0\n" LISTEN "x = 1\n[route a]\nrespond = 1\npath = b\n"
		 "[upstream c]\n");
	ck_assert_uint_eq(bed.msgs.nerrors, 6);
	for (unsigned i = 1; i < 5; i++)
		ck_assert_uint_gt(bed.msgs.v[i].at.line, bed.msgs.v[i - 1].at.line);
	ck_assert_uint_eq(bed.msgs.v[5].at.line, 2);
	ck_assert_ptr_nonnull(strstr(bed.msgs.v[5].at.file, "z.inc"));
	ck_assert_str_eq(bed.msgs.v[1].section, "[listen l]");
	ck_assert_str_eq(bed.msgs.v[1].key, "x");
	bed_fini(&bed);
}
END_TEST

START_TEST(printed)
{
	char *out = NULL;
	size_t n;

	bed_init(&bed);
	bed_load(&bed, LISTEN "[route r]\nrespond = 200\ntimeout = 5\n[upstream u]\n");
	FILE *f = open_memstream(&out, &n);
	conf_print_msgs(f, &bed.msgs);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(out,
				     "weir.ini:5: error: [route r] timeout: expected a time such as 500ms, 30s, 5m, 1h or 1d, "
				     "got \"5\"; did you mean \"5s\"?\n"));
	ck_assert_ptr_nonnull(strstr(out, "weir.ini:6: error: [upstream u]: expected at least one server"));
	free(out);
	bed_fini(&bed);
}
END_TEST

/* ---- hostile ones ---- */
static char *repeat(const char *head, const char *line, size_t total, size_t *n)
{
	size_t len = strlen(line);
	char *p = malloc(total + len + strlen(head) + 1);

	strcpy(p, head);
	for (*n = strlen(head); *n < total; *n += len)
		memcpy(p + *n, line, len);
	return p;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Ends in an error, within a time that has nothing to do with how clever the input is. */
static void hostile(const char *head, const char *line, size_t total)
{
	size_t n;
	char *text = repeat(head, line, total, &n);
	double start = seconds();

	bed_load_span(&bed, span_make(text, n));
	ck_assert_msg(bed.conf == NULL, "taken: %s", line);
	ck_assert_msg(seconds() - start < 10, "%.1f s of CPU time for %s", seconds() - start, line);
	ck_assert_uint_le(bed.msgs.n, CONF_ERRORS_MAX + 100);
	free(text);
}

START_TEST(a_hundred_megabytes)
{
	char path[128];

	bed_init(&bed);
	bed_put(&bed, "weir.ini", SPAN(LISTEN));
	snprintf(path, sizeof(path), "%s/weir.ini", bed.dir);
	ck_assert_int_eq(truncate(path, 100 << 20), 0);
	ck_assert_ptr_null(conf_load(&bed.arena, path, &bed.msgs));
	ck_said(&bed, false, 0, NULL, "larger than what is left of the 16 MiB");
	bed_fini(&bed);
}
END_TEST

START_TEST(hostile_files)
{
	size_t size = 4 << 20;

	bed_init(&bed);
	hostile("", "x\n", size);
	hostile("", "[\n", size);
	hostile("", "a=b\n", size);
	hostile("", "[a", size);
	hostile(LISTEN, "trusted_proxies = 1\n", size);
	hostile(LISTEN "[route r]\n", "allow = ::1\ndeny = ::1\n", size);
	hostile(LISTEN "[route r]\n", "upstream = u\n", size);
	hostile(LISTEN "[route r]\nrespond = 200\n", "error_page = 404 x\n", size);
	hostile(LISTEN "[route r]\nrespond = 200\n", "response_header = A: b\n", size);
	hostile(LISTEN "[route r]\nrespond = 200\nnope = 1\n", "path_regex = ((((a{1,99}){1,9}){1,9}){1,9})\n", 1 << 20);
	hostile(LISTEN, "[route r]\nrespond = 200\n", size);
	bed_fini(&bed);
}
END_TEST

/* Every route uses all policies, and each policy is long. */
START_TEST(hostile_policies)
{
	char *text = malloc(1 << 20);
	int n = snprintf(text, 1 << 20, LISTEN "[policy p]\n");

	bed_init(&bed);
	for (int i = 0; i < 10000; i++)
		n += snprintf(text + n, (size_t)((1 << 20) - n), "allow = ::1 ::2 ::3\n");
	for (int i = 0; i < 10000; i++)
		n += snprintf(text + n, (size_t)((1 << 20) - n), "[route r%d]\nrespond = 200\nuse = p\n", i);
	double start = seconds();
	bed_load(&bed, text);
	ck_assert_ptr_null(bed.conf);
	ck_said(&bed, false, 0, NULL, "of memory when read in");
	ck_assert_msg(seconds() - start < 20, "%.1f s of CPU time", seconds() - start);
	free(text);
	bed_fini(&bed);
}
END_TEST

START_TEST(ten_thousand_sites)
{
	char *text = malloc(4 << 20);
	int n = snprintf(text, 4 << 20, LISTEN "[policy p]\nresponse_header = A: b\n[upstream u]\nserver = a\n");

	bed_init(&bed);
	for (int i = 0; i < 10000; i++)
		n += snprintf(text + n, (size_t)((4 << 20) - n), "[route r%d]\nhost = s%d.example *.t%d.example\nuse = p\n"
			      "upstream = u\n"
			      "path = /a/%d\n", i, i, i, i);
	double start = seconds();
	bed_good(&bed, text);
	ck_assert_uint_eq(bed.conf->nroutes, 10000);
	ck_assert_uint_eq(bed.msgs.n, 0);
	printf("# 10000 routes: %.2f s of CPU time, %zu MiB\n", seconds() - start, bed.arena.total >> 20);
	ck_assert_msg(seconds() - start < 20, "%.1f s of CPU time", seconds() - start);
	free(text);
	bed_fini(&bed);
}
END_TEST

UNIT("conf_error", single_lines, routes_and_their_actions, all_at_once_and_in_order, printed, a_hundred_megabytes,
     hostile_files,
     hostile_policies, ten_thousand_sites)
