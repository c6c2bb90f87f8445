/*
 * vars_test.c - every variable, in an exchange made by hand.
 *
 * What is absent is empty; what a value may not hold never passes; $path and its like stay those of the client whatever was
 * edited since.
 */
#include <time.h>

#include "t/unit/handmade.h"
#include "worker/exchange/vars.h"

static const char raw[] =
	"GET /a%7Eb/./c?x=1&y=two&flag HTTP/1.1\r\n"
	"Host: Shop.Example:8080\r\n"
	"User-Agent: test \"one\"\r\n"
	"Cookie: a=1; session=\"s 1\"\r\n"
	"Cookie: late=9; a=2\r\n"
	"Accept: one\r\n"
	"Accept: two\r\n"
	"Content-Length: 12\r\n"
	"\r\n";

static void is(struct world *w, struct exchange *x, const char *source, const char *want)
{
	struct span got = { NULL, 0 };

	ck_assert_msg(vars_expand(x, template(w, source), &got), "%s could not be filled in", source);
	ck_assert_msg(span_eq(got, span_of(want)), "%s gives \"%.*s\", not \"%s\"", source, SPAN_FMT(got), want);
}

START_TEST(of_the_request)
{
	struct world w;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);

	x->local_port = 8080;
	is(&w, x, "$client_ip $client_port", "192.0.2.7 4711");
	is(&w, x, "$listen $scheme $host $port", "web http shop.example 8080");
	is(&w, x, "$method $path $query $protocol", "GET /a~b/c x=1&y=two&flag HTTP/1.1");
	is(&w, x, "$request_uri", "/a~b/c?x=1&y=two&flag");
	is(&w, x, "$request_line", "GET /a%7Eb/./c?x=1&y=two&flag HTTP/1.1");
	is(&w, x, "$request_id", "0123456789abcdef0123456789abcdef");
	is(&w, x, "${header:user-agent}", "test \"one\"");
	is(&w, x, "${header:Host}", "Shop.Example:8080");
	is(&w, x, "${header:Accept}", "one");
	is(&w, x, "${header:content-length}", "12");
	is(&w, x, "[${header:None}]", "[]");
	is(&w, x, "${cookie:a}+${cookie:late}+${cookie:session}+${cookie:none}", "1+9+\"s 1\"+");
	is(&w, x, "${query:x}+${query:y}+${query:flag}+${query:z}", "1+two++");
	is(&w, x, "$$5 ${host}name", "$5 shop.examplename");
	is(&w, x, "", "");
	is(&w, x, "plain", "plain");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(of_the_outcome)
{
	struct world w;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);
	struct conf_upstream up = { .magic = CONF_UPSTREAM_MAGIC, .name = SPAN("app") };

	is(&w, x, "[$upstream][$server][$status][$reason]", "[][][][-]");
	is(&w, x, "[$port]", "[]");
	x->resp.status = 201;
	is(&w, x, "$status", "201");
	x->ended = true;
	is(&w, x, "[$status]", "[]");
	x->upstream = &up;
	x->server = SPAN("a:80");
	x->status = 204;
	x->reason = REASON_CLIENT_ABORT;
	x->bytes_in = 18446744073709551615u;
	x->tries = 3;
	x->t_start_us = 1000000;
	w.loop.now_us = 3007999;
	x->queue_us = 1500;
	x->connect_us = 999;
	x->header_us = 61000000;
	is(&w, x, "$route $upstream $server $status $reason", "shop app a:80 204 client_abort");
	is(&w, x, "$bytes_in $bytes_out $tries", "18446744073709551615 0 3");
	is(&w, x, "$duration $time_queue $time_connect $time_header", "2.007 0.001 0.000 61.000");
	w.loop.now_us = 0;
	is(&w, x, "$duration", "0.000");
	head_add(&x->resp, SPAN("X-Cache"), SPAN("hit"));
	is(&w, x, "${response:x-cache}${response:none}", "hit");
	is(&w, x, "$auth_user$tls_version$tls_cipher$tls_sni$tls_client_subject$tls_client_verify${claim:sub}", "");
	x->route = NULL;
	x->listen = NULL;
	is(&w, x, "[$route][$listen]", "[][]");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(of_time)
{
	struct world w;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);

	x->start_wall_ms = 951827696007u;
	is(&w, x, "$time", "2000-02-29T12:34:56.007Z");
	setenv("TZ", "IST-5:30", 1);
	tzset();
	is(&w, x, "$time_local", "29/Feb/2000:18:04:56 +0530");
	setenv("TZ", "PST8", 1);
	tzset();
	is(&w, x, "$time_local", "29/Feb/2000:04:34:56 -0800");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(edits_do_not_show)
{
	struct world w;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);

	x->req.path = SPAN("/edited");
	x->req.query = SPAN("q=9");
	is(&w, x, "$path $query ${query:x} $request_uri", "/a~b/c x=1&y=two&flag 1 /a~b/c?x=1&y=two&flag");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(groups)
{
	struct world w;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);
	int own[20] = { 0, 5, 1, 3, -1, -1, 4, 5 };
	struct span out;

	for (unsigned i = 8; i < 20; i++)
		own[i] = -1;
	x->match.subject = x->req.path;
	x->match.groups[2] = 1;
	x->match.groups[3] = 4;
	is(&w, x, "$1-$2-$9", "a~b--");
	ck_assert(vars_expand_groups(x, template(&w, "$1|$2|$3|$path"), own, SPAN("hello"), &out));
	ck_span_eq(out, "el||o|/a~b/c");
	/* Offsets that do not fit the subject are no group. */
	own[3] = 6;
	ck_assert(vars_expand_groups(x, template(&w, "<$1>"), own, SPAN("hello"), &out));
	ck_span_eq(out, "<>");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(line_ends_never_pass)
{
	static const struct span bad[] = { SPAN("a\nb"), SPAN("a\rb"), SPAN("a\0b"), SPAN("\n") };
	struct world w;
	struct span out;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		x->req.host = bad[i];
		ck_assert(!vars_expand(x, template(&w, "$host"), &out));
		ck_assert(!vars_expand(x, template(&w, "to $host and on"), &out));
	}
	/* The operator's own text may have them. */
	ck_assert(vars_expand(x, template(&w, "a\nb $scheme"), &out));
	ck_span_eq(out, "a\nb http");
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

START_TEST(a_full_arena_is_told)
{
	struct world w;
	struct span out;

	world_init(&w, 1);
	struct exchange *x = make_exchange(&w, raw);
	struct tmpl *t = template(&w, "a $client_ip b $host");

	while (arena_bytes(&x->arena, 64) != NULL)
		;
	while (arena_bytes(&x->arena, 1) != NULL)
		;
	ck_assert(!vars_expand(x, t, &out));
	exchange_gone(x);
	world_fini(&w);
}
END_TEST

UNIT("vars", of_the_request, of_the_outcome, of_time, edits_do_not_show, groups, line_ends_never_pass,
     a_full_arena_is_told)
