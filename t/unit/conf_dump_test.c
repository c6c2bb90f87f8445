/*
 * conf_dump_test.c - what is printed from a configuration and from the table: -T that
 * loads again, the sample and the manual that are in the tree, the table itself.
 *
 * UPDATE=1 in the environment writes etc/weir.ini and the option part of
 * man/weir.ini.5 anew instead of comparing them.
 */
#include "common/conf_parts.h"
#include "t/unit/confbed.h"

static struct bed bed;

static char *dump(const struct conf *c)
{
	char *out = NULL;
	size_t n;
	FILE *f = open_memstream(&out, &n);

	conf_dump(c, f);
	fclose(f);
	return out;
}

/* Without comments: those say where a value comes from, and that changes when -T is read again. */
static char *bare(const char *text)
{
	char *out = calloc(1, strlen(text) + 1), *to = out;

	while (*text != '\0') {
		const char *end = strchr(text, '\n');
		const char *stop = memmem(text, (size_t)(end - text), "  ; ", 4);
		size_t n = (size_t)((stop ? stop : end) - text);

		if (*text != ';') {
			memcpy(to, text, n);
			to += n;
			*to++ = '\n';
		}
		text = end + 1;
	}
	return out;
}

/* Dumped, loaded and dumped again it is the same; gives the first dump, to be freed. */
static char *round_trip(const char *text)
{
	bed_good(&bed, text);
	unsigned warnings = bed.msgs.n;
	char *first = dump(bed.conf), *first_bare = bare(first);
	bed_good(&bed, first);
	ck_assert_uint_le(bed.msgs.n, warnings);
	char *second = dump(bed.conf), *second_bare = bare(second);

	if (strcmp(first_bare, second_bare) != 0)
		fprintf(stderr, "---- first\n%s---- second\n%s", first, second);
	ck_assert(strcmp(first_bare, second_bare) == 0);
	free(second);
	free(first_bare);
	free(second_bare);
	return first;
}

static void ck_line(const char *text, const char *line)
{
	if (strstr(text, line) == NULL)
		fputs(text, stderr);
	ck_assert_msg(strstr(text, line) != NULL, "no \"%s\"", line);
}

static const char everything[] =
	"[weir]\nworkers = auto\npid_file = run/weir.pid\nerror_log = \"log dir/e.log\"\naccess_log = a.log, stdout\n"
	"log_format = \"$client_ip\\t${header:User-Agent} \\\"x\\\"\"\ninclude = none/*.ini\nresolver = 127.0.0.1\n"
	"[defaults route]\nretries = 1\nconnect_timeout = 2s\nresponse_header = X-A: default\n"
	"response_header_add = Vary: x\n"
	"error_page = 4xx default 4xx\nerror_page = 502 \"default ; 502\"\naccess_log = r.log\n[defaults listen]\n"
	"header_timeout = 5s\n"
	"max_body_size = 3m\n[defaults upstream]\nmax_fails = 9\nread_timeout = 7s\n"
	"[policy p1]\nhost = a.example, *.b.example\ntimeout = 10s\nrequest_header = X-P: $host\nrequest_header = X-Q: p1\n"
	"response_header_remove = Server, X-Powered-By\nerror_page = 502,404 from p1\n[policy p2]\ntimeout = 10s\n"
	"request_header = X-P: $host\n"
	"[policy up]\nkeepalive = 5\ncheck = http\n[listen http]\nbind = 127.0.0.1:8080, [::1]:8080\n"
	"bind = unix:run/s.sock\n"
	"trusted_proxies = private\nmax_body_size = 0\nlog_format = json\n[listen r]\nbind = *:81\nredirect_https = 8443\n"
	"[route a]\nuse = p1 p2\npath = /api/ /v1/%7euser/x\nupstream = app weight=3\nupstream = other weight=0\n"
	"split_by = ${cookie:id}\n"
	"strip_prefix = yes\nrewrite = ^/(\\d+)$ \"/n/$1?x=$host\"\n"
	"request_header = X-Q: own; with \"quotes\" and ${env:CONF_SECRET}\n"
	"request_header_add = \"X-R: a ; b\"\nerror_page = 404 own ${file:oops.html}\n"
	"allow = ${env:CONF_NETS:-10.0.0.0/8, ::1}\n"
	"access_log = off\nresponse_header = X-Powered-By: me\nmethod = GET !HEAD\nheader = X-Version: ~^v[0-9]+$\n"
	"cookie = a=b\n"
	"query = !debug\nclient = !192.168.0.0/16\nretry_on = connect 503 5xx\nread_timeout = 8s\n"
	"[route b]\nrespond = 404\nerror_page = off\n[route c]\npath_regex =;^/x/(\\w+)\\.html$\n"
	"redirect = 301 https://$host/$1\n"
	"response_header = off\n[route d]\nenabled = no\nrespond = \"200\" \"a\\nb\"\nheader =#: x\nuse = p2\n"
	"[upstream app]\nuse = up\nserver = app:81 name=one weight=2 max_conns=10\nserver = [::1] backup\n"
	"server = unix:s.sock disabled\n"
	"server = \"${env:CONF_SERVER:-b}\"\nbalance = hash $request_uri\nslow_start = off\n[upstream other]\n"
	"server = 10.0.0.1\n";

START_TEST(dump_loads_again)
{
	char want[200];

	bed_init(&bed);
	setenv("CONF_SECRET", "do-not-tell", 1);
	bed_put(&bed, "oops.html", SPAN("oops"));
	char *text = round_trip(everything);
	ck_assert_ptr_null(strstr(text, "do-not-tell"));
	ck_line(text, "workers = auto  ; ");
	ck_line(text, "connect_timeout = 2s  ; [defaults route], ");
	ck_line(text, "timeout = 10s  ; policy p1, ");
	ck_line(text, "keepalive = 5  ; policy up, ");
	ck_line(text, "keepalive_timeout = 50s  ; built-in\n");
	ck_line(text, "allow = ${env:CONF_NETS:-10.0.0.0/8, ::1}  ; ");
	ck_line(text, "request_header = X-Q: own; with \"quotes\" and ${env:CONF_SECRET}\n");
	ck_line(text, "request_header_add = \"X-R: a ; b\"  ; ");
	ck_line(text, "response_header_remove = Server  ; policy p1, ");
	ck_line(text, "error_page = 502 from p1\n");
	ck_line(text, "path_regex = \";^/x/(\\\\w+)\\\\.html$\"  ; ");
	ck_line(text, "rewrite_location = yes  ; built-in, since the path is changed\n");
	snprintf(want, sizeof(want), "error_log = \"%s/log dir/e.log\"  ; ", bed.dir);
	ck_line(text, want);
	snprintf(want, sizeof(want), "access_log = %s/a.log, stdout  ; ", bed.dir);
	ck_line(text, want);
	snprintf(want, sizeof(want), "bind = unix:%s/run/s.sock  ; ", bed.dir);
	ck_line(text, want);
	snprintf(want, sizeof(want), "error_page = 404 own ${file:%s/oops.html}\n", bed.dir);
	ck_line(text, want);
	free(text);
	free(round_trip(LISTEN));
	bed_fini(&bed);
}
END_TEST

START_TEST(included_files_are_worked_in)
{
	bed_init(&bed);
	mkdir(arena_printf(&bed.arena, "%s/conf.d", bed.dir), 0755);
	bed_put(&bed, "conf.d/a.ini", SPAN("[route a]\nrespond = 200 ${file:a.txt}\naccess_log = a.log\n"));
	bed_put(&bed, "conf.d/a.txt", SPAN("x"));
	char want[200];
	snprintf(want, sizeof(want), "access_log = %s/conf.d/a.log  ; ", bed.dir);
	char *text = round_trip("[weir]\ninclude = conf.d/*.ini\n" LISTEN);
	ck_line(text, want);
	snprintf(want, sizeof(want), "respond = 200 ${file:%s/conf.d/a.txt}\n", bed.dir);
	ck_line(text, want);
	free(text);
	bed_fini(&bed);
}
END_TEST

/* ---- the table ---- */
START_TEST(table)
{
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		int64_t v;

		ck_assert_uint_eq(o->id, i);
		ck_assert_msg(o->prose[0] != '\0' && o->prose[strlen(o->prose) - 1] == '.', "%s", o->key);
		ck_assert_ptr_eq(opt_find(o->section, span_of(o->key)), o);
		ck_assert_msg(o->form[0] != '\0' || (o->flags & F_PREFIX), "%s", o->key);
		ck_assert_msg(o->min <= o->max || o->max == 0, "%s", o->key);
		ck_assert_msg((o->type == OPT_TEXT) == ((o->flags & F_TEXT) != 0), "%s", o->key);
		if (o->area[0] != '\0' || o->def[0] == '\0' || o->type == OPT_WORDS || o->type == OPT_TEXT ||
		    o->type == OPT_CHOICE)
			continue;
		ck_assert_msg(conf_parse_number(o->type, span_of(o->def), &v), "%s", o->key);
		ck_assert_msg((v == 0 && (o->flags & F_ZERO)) || o->type == OPT_BOOL || (v >= o->min && (o->max == 0 ||
													 v <= o->max)), "%s",
			      o->key);
	}
	ck_assert_ptr_eq(opt_find(SECT_route, SPAN("read_timeout")), opt_get(OPT_upstream_read_timeout));
	ck_assert_ptr_eq(opt_find(SECT_listen, SPAN("access_log")), opt_get(OPT_weir_access_log));
	ck_assert_ptr_null(opt_find(SECT_upstream, SPAN("access_log")));
	ck_assert_ptr_eq(opt_find(SECT_upstream, SPAN("breaker_x")), opt_get(OPT_upstream_breaker_));
	ck_assert_ptr_null(opt_find(SECT_route, SPAN("")));
}
END_TEST

/* Every key of config.md's sections is known in its section, built or not. */
START_TEST(contract)
{
	static const struct { enum sect_kind kind; const char *keys; } all[] = {
		{ SECT_weir, "workers user group pid_file control error_log log_level access_log log_format max_connections "
		  "shutdown_timeout resolver include log_sample" },
		{ SECT_listen,
		 "use bind mode exclusive redirect_https certificate tls sni_strict tls_min tls_ciphers "
		 "client_ca client_verify "
		  "http2 http3 proxy_protocol trusted_proxies client_ip_header header_timeout body_timeout "
		  "idle_timeout send_timeout "
		  "max_header_size max_body_size max_requests access_log log_format upstream" },
		{ SECT_tls, "host listen certificate acme client_ca client_verify" },
		{ SECT_route,
		 "use listen host path path_exact path_regex method header cookie query client priority "
		 "enabled upstream respond "
		  "redirect root index missing listing hidden split_by strip_prefix rewrite add_prefix "
		  "host_header rewrite_location "
		  "request_header request_header_add request_header_remove response_header "
		  "response_header_add response_header_remove "
		  "allow deny auth satisfy rate_limit cors cache waf compress mirror fallback retries "
		  "retry_on timeout error_page "
		  "intercept_errors buffer_request access_log log_format max_body_size connect_timeout "
		  "response_timeout read_timeout "
		  "write_timeout tunnel_timeout compress_x bandwidth redirect_file" },
		{ SECT_upstream,
		 "use server balance check check_path check_host check_status check_interval check_timeout "
		 "check_rise check_fall "
		  "check_port max_fails fail_timeout max_ejected slow_start sticky keepalive keepalive_timeout connect_timeout "
		  "response_timeout read_timeout write_timeout tunnel_timeout max_queue queue_timeout tls "
		  "tls_verify tls_name tls_ca "
		  "client_certificate protocol send_proxy resolve breaker_x close_on_down" },
		{ SECT_admin, "bind allow auth host" },
		{ SECT_auth, "type users realm keys issuer audience claim upstream path copy_header" },
		{ SECT_limit, "rate burst concurrent key except status" },
		{ SECT_cache,
		 "storage size max_object key ttl stale_if_error stale_while_revalidate bypass ignore purge_allow" },
		{ SECT_cors, "origin methods headers expose credentials max_age" },
	};
	enum sect_kind kind;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct span rest = span_of(all[i].keys);

		while (rest.n > 0) {
			struct span key = span_cut(&rest, ' ');

			ck_assert_msg(opt_find(all[i].kind, key) != NULL, "[%s] %.*s", sect_def(all[i].kind)->kind, SPAN_FMT(key));
		}
	}
	ck_assert(sect_find(SPAN("acme"), &kind) && sect_find(SPAN("waf"), &kind) && sect_find(SPAN("map"), &kind));
	ck_assert(sect_find(SPAN("overload"), &kind) && sect_find(SPAN("policy"), &kind) && sect_find(SPAN("defaults"),
												      &kind));
}
END_TEST

/* ---- what is in the tree ---- */
static char *slurp(const char *name)
{
	const char *dir = getenv("srcdir");
	char path[4096], *text = NULL;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", name);
	FILE *f = fopen(path, "r");
	ck_assert_msg(f != NULL, "no %s", path);
	FILE *out = open_memstream(&text, &n);
	for (int c = getc(f); c != EOF; c = getc(f))
		putc(c, out);
	fclose(f);
	fclose(out);
	return text;
}

static void write_file(const char *name, const char *before, const char *text, const char *after)
{
	const char *dir = getenv("srcdir");
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s%s%s", before, text, after);
	fclose(f);
}

static char *generated(void (*print)(FILE *))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	print(f);
	fclose(f);
	return text;
}

START_TEST(sample)
{
	char *text = generated(conf_print_sample);

	if (getenv("UPDATE") != NULL)
		write_file("etc/weir.ini", "", text, "");
	char *there = slurp("etc/weir.ini");
	ck_assert_msg(strcmp(text, there) == 0, "etc/weir.ini is not what the table says: UPDATE=1 writes it anew");
	bed_init(&bed);
	bed_good(&bed, there);
	ck_assert_uint_eq(bed.msgs.n, 0);
	for (unsigned i = 0; i < OPT__N; i++) {
		const struct opt *o = opt_get((enum opt_id)i);
		char line[80];

		snprintf(line, sizeof(line), "\n;%s = ", o->key);
		ck_assert_msg(o->area[0] != '\0' || strstr(there, line) != NULL, "etc/weir.ini lacks %s", o->key);
	}
	free(there);
	free(text);
	bed_fini(&bed);
}
END_TEST

#define BEGIN ".\\\" options: from the table\n"
#define END ".\\\" options end\n"

START_TEST(manual)
{
	char *text = generated(conf_print_man), *there = slurp("man/weir.ini.5");
	char *from = strstr(there, BEGIN), *to = strstr(there, END);

	ck_assert(from != NULL && to != NULL && from < to);
	from += strlen(BEGIN);
	if (getenv("UPDATE") != NULL) {
		char *head = strndup(there, (size_t)(from - there));

		write_file("man/weir.ini.5", head, text, to);
		free(head);
	} else {
		ck_assert_msg(strlen(text) == (size_t)(to - from) && strncmp(from, text, strlen(text)) == 0,
			      "man/weir.ini.5 is not what the table says: UPDATE=1 writes it anew");
	}
	free(there);
	free(text);
}
END_TEST

UNIT("conf_dump", dump_loads_again, included_files_are_worked_in, table, contract, sample, manual)
