/*
 * admin_test.c - the pages' parts that need no process: text and its escapes,
 * who may ask, sums over generations, quantiles.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "worker/admin/gate.h"
#include "worker/admin/pages.h"
#include "worker/http/h1_parse.h"

/* ---- text ---- */

static struct text text;
static char room[256];

static struct text *fresh(size_t n)
{
	text = (struct text){ .p = room, .room = n };
	return &text;
}

#define SAYS(lit)										\
	do {										\
		ck_assert(!text.over);							\
		ck_span_eq(span_make(text.p, text.n), lit);				\
	} while (0)

START_TEST(escapes)
{
	const struct span evil = SPAN("a<b>&\"'\\\n\x01\x7f\xc3\xa9\xff\xed\xa0\x80z");

	text_html(fresh(sizeof(room)), evil);
	SAYS("a&lt;b&gt;&amp;&quot;&#39;\\\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
	     "\xef\xbf\xbdz");
	text_label(fresh(sizeof(room)), "route", SPAN("a\"b\\c\nd\x01"));
	SAYS("route=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\"");
	text_json(fresh(sizeof(room)), SPAN("a\"b\\c\nd\t\x01</script>"));
	SAYS("\"a\\\"b\\\\c\\nd\\t\xef\xbf\xbd</script>\"");
	text_label(fresh(sizeof(room)), "x", span_make("\xf0\x9f", 2));
	SAYS("x=\"\xef\xbf\xbd\xef\xbf\xbd\"");
}
END_TEST

START_TEST(numbers)
{
	static const struct {
		uint64_t us;
		const char *text;
	} seconds[] = { { 0, "0" }, { 1, "0.000001" }, { 2500, "0.0025" }, { 1000000, "1" }, { 10250000, "10.25" } };
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		text_seconds(fresh(sizeof(room)), seconds[i].us);
		SAYS(seconds[i].text);
	}
	text_u64(fresh(sizeof(room)), UINT64_MAX);
	SAYS("18446744073709551615");
	text_count(fresh(sizeof(room)), 4);
	SAYS("4");
	text_count(fresh(sizeof(room)), 1.25);
	SAYS("1.2");
	text_count(fresh(sizeof(room)), 12345);
	SAYS("12.3k");
	text_bytes(fresh(sizeof(room)), 1536);
	SAYS("1.5 KiB");
	text_age(fresh(sizeof(room)), 3725000);
	SAYS("1h 2m");
	text_latency(fresh(sizeof(room)), 1234);
	SAYS("1.2 ms");
}
END_TEST

/* What does not fit leaves nothing behind but the flag. */
START_TEST(room_ends)
{
	struct text *t = fresh(4);

	text_str(t, "abcd");
	SAYS("abcd");
	text_str(t, "");
	ck_assert(!t->over);
	text_u64(t, 1);
	ck_assert(t->over);
	ck_assert_uint_eq(t->n, 4);
	t = fresh(4);
	text_html(t, SPAN("a<b"));
	ck_assert(t->over);
	text_str(t, "x");
	ck_assert_uint_eq(t->n, 1);
}
END_TEST

/* ---- the gate ---- */

static unsigned ask(const struct conf_admin *a, const char *peer, const char *request)
{
	struct arena arena;
	struct head h;
	struct h1_wire w;
	struct addr from;
	const char *why;

	arena_init(&arena, NULL, 0);
	head_init(&h, &arena);
	char *copy = arena_str(&arena, span_of(request));
	enum h1_bad bad = h1_parse_request(&h, &w, copy, strlen(copy));
	ck_assert_msg(bad == H1_GOOD, "%s: %s", request, h1_bad_text(bad));
	ck_assert(addr_parse_ip(span_of(peer), &from));
	unsigned status = gate_check(a, &h, &from, &why);
	ck_assert((why == NULL) == (status == 0));
	arena_fini(&arena);
	return status;
}

#define GET "GET /status HTTP/1.1\r\n"

START_TEST(hosts)
{
	struct span names[] = { SPAN("web1.internal") };
	const struct conf_admin a = { .hosts = names, .nhosts = 1 };

	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: 127.0.0.1:9080\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: [::1]:9080\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: LocalHost\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: Web1.internal.:9080\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: rebound.example\r\n\r\n"), 421);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: localhost.example\r\n\r\n"), 421);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: 127.0.0.1.example\r\n\r\n"), 421);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", "GET / HTTP/1.0\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
}
END_TEST

START_TEST(origins)
{
	const struct conf_admin a = { .nhosts = 0 };
	static const struct {
		const char *fields;
		unsigned status;
	} asks[] = {
		{ "Origin: http://127.0.0.1:9080\r\n", 0 }, { "Origin: null\r\n", 403 },
		{ "Origin: http://evil.example\r\n", 403 }, { "Origin: http://127.0.0.1:9081\r\n", 403 },
		{ "Origin: https://127.0.0.1:9080\r\n", 403 }, { "Origin: http://127.0.0.1:9080.evil.example\r\n", 403 },
		{ "Sec-Fetch-Site: none\r\n", 0 }, { "Sec-Fetch-Site: same-origin\r\n", 0 },
		{ "Sec-Fetch-Site: same-site\r\n", 403 }, { "Sec-Fetch-Site: cross-site\r\n", 403 },
		{ "sec-fetch-site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", 403 }, { "Sec-Fetch-Site:\r\n", 403 },
	};
	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
		char request[256];

		snprintf(request, sizeof(request), GET "Host: 127.0.0.1:9080\r\n%s\r\n", asks[i].fields);
		unsigned status = ask(&a, "127.0.0.1", request);
		ck_assert_msg(status == asks[i].status, "%s: %u", asks[i].fields, status);
	}
	ck_assert_uint_eq(ask(&a, "127.0.0.1", "POST /status HTTP/1.1\r\nHost: localhost\r\n\r\n"), 405);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", "OPTIONS /status HTTP/1.1\r\nHost: localhost\r\n\r\n"), 405);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: localhost\r\nContent-Length: 1\r\n\r\n"), 400);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: localhost\r\nContent-Length: 0\r\n\r\n"), 0);
}
END_TEST

START_TEST(networks)
{
	struct net nets[1];
	bool host_bits;
	struct conf_admin a = { .allow = nets, .nallow = 1, .has_allow = true };

	ck_assert(net_parse(SPAN("10.1.0.0/16"), &nets[0], &host_bits));
	ck_assert_uint_eq(ask(&a, "10.1.2.3", GET "Host: localhost\r\n\r\n"), 0);
	ck_assert_uint_eq(ask(&a, "10.2.2.3", GET "Host: localhost\r\n\r\n"), 403);
	ck_assert_uint_eq(ask(&a, "127.0.0.1", GET "Host: localhost\r\n\r\n"), 403);
	a.nallow = 0;
	ck_assert_uint_eq(ask(&a, "10.1.2.3", GET "Host: localhost\r\n\r\n"), 403);
}
END_TEST

/* ---- generations ---- */

/* One route to one server; `pad` routes before it, so that numbers differ. */
struct made {
	struct conf conf;
	struct conf_route routes[3], *routes_list[3];
	struct conf_target target;
	struct conf_upstream up, *ups[1];
	struct conf_server server;
	struct conf_listen listen, *listens[1];
	struct shm shm;
};

static void make(struct made *m, unsigned pad)
{
	memset(m, 0, sizeof(*m));
	m->server = (struct conf_server){ .magic = CONF_SERVER_MAGIC, .name = SPAN("s"), .text = SPAN("s"), .ncells = 1,
					  .addr = { .family = ADDR_V4 } };
	m->up = (struct conf_upstream){ .magic = CONF_UPSTREAM_MAGIC, .name = SPAN("app"), .servers = &m->server,
					.nservers = 1, .ncells = 1 };
	m->listen = (struct conf_listen){ .magic = CONF_LISTEN_MAGIC, .name = SPAN("http") };
	m->ups[0] = &m->up;
	m->listens[0] = &m->listen;
	m->conf = (struct conf){ .magic = CONF_MAGIC, .upstreams = m->ups, .nupstreams = 1, .ncells = 1, .nservers = 1,
				 .routes = m->routes_list, .nroutes = pad + 1, .listens = m->listens, .nlistens = 1,
				 .nseries = pad + 3, .workers = 1 };
	for (unsigned i = 0; i <= pad; i++) {
		m->routes_list[i] = &m->routes[i];
		m->routes[i] = (struct conf_route){ .magic = CONF_ROUTE_MAGIC, .id = i, .series = 1 + i,
						    .name = i == pad ? SPAN("r") : SPAN("pad") };
	}
	m->target = (struct conf_target){ &m->up, pad + 2 };
	m->routes[pad].targets = &m->target;
	m->routes[pad].ntargets = 1;
	const struct shm_size size = shm_size_of(&m->conf, 1);
	ck_assert(shm_init(&m->shm, &size));
	shm_init_health(&m->shm, &m->conf);
}

static struct made olds[2], now;

static uint64_t answers(struct tally *t)
{
	return tally_sum(t, TALLY_SERIES, now.target.series, offsetof(struct meter_series, answers) + 2 * sizeof(uint64_t));
}

static void count(struct made *m, uint64_t n)
{
	struct meter_series *s = meter_in(shm_row(&m->shm, 0), meter_series_at(&m->shm, m->target.series));
	struct shm_row *row = shm_row(&m->shm, 0);

	meter_add(&s->answers[2], n);
	meter_add(&row->stats[STAT_REQUESTS], n);
	meter_add(&row->stats[STAT_ACTIVE_CONNS], 1);
}

/* Two old generations of another shape; the first goes into the second, and that into the one in force. */
START_TEST(generations_add_up)
{
	struct process_past past[2];
	struct process p = { .magic = PROCESS_MAGIC, .conf = &now.conf, .generation = 3, .past = past, .npast = 2 };
	struct tally t;

	make(&now, 0);
	make(&olds[0], 2);
	make(&olds[1], 1);
	p.shm = now.shm;
	past[0] = (struct process_past){ 2, &olds[1].conf, olds[1].shm };
	past[1] = (struct process_past){ 1, &olds[0].conf, olds[0].shm };
	ck_assert(tally_init(&t, &p));
	count(&olds[0], 100);
	count(&olds[1], 10);
	count(&now, 1);
	ck_assert_uint_eq(answers(&t), 111);
	ck_assert_uint_eq(tally_stat(&t, STAT_REQUESTS), 111);
	ck_assert_uint_eq(tally_gauge(&t, STAT_ACTIVE_CONNS), 3);
	/* What a route of theirs alone counted has no name any more. */
	ck_assert_uint_eq(tally_sum(&t, TALLY_ROUTE, 0, 0), 0);
	shm_reap_row(&olds[0].shm, 0);
	ck_assert_uint_eq(answers(&t), 111);
	ck_assert_uint_eq(tally_gauge(&t, STAT_ACTIVE_CONNS), 2);
	shm_carry_counts(&olds[1].shm, &olds[1].conf, &olds[0].shm, &olds[0].conf, 1);
	ck_assert_uint_eq(answers(&t), 111);
	shm_reap_row(&olds[1].shm, 0);
	shm_carry_counts(&now.shm, &now.conf, &olds[1].shm, &olds[1].conf, 2);
	ck_assert_uint_eq(answers(&t), 111);
	ck_assert_uint_eq(tally_stat(&t, STAT_REQUESTS), 111);
	count(&now, 1);
	ck_assert_uint_eq(answers(&t), 112);
	tally_fini(&t);
}
END_TEST

START_TEST(quantiles)
{
	struct tally_hist h = { .count = 0 }, then;

	ck_assert(tally_quantile(&h, 0.5) == 0);
	h.n[0] = 50;			/* up to 1 ms */
	h.n[2] = 50;			/* 2.5 to 5 ms */
	h.count = 100;
	ck_assert(tally_quantile(&h, 0.25) == 500);
	ck_assert(tally_quantile(&h, 0.5) == 1000);
	ck_assert(tally_quantile(&h, 0.75) == 3750);
	ck_assert(tally_quantile(&h, 1) == 5000);
	then = h;
	h.n[METER_BOUNDS] += 10;
	h.count += 10;
	struct tally_hist d = tally_hist_since(&h, &then);
	ck_assert_uint_eq(d.count, 10);
	ck_assert(tally_quantile(&d, 0.5) == meter_bounds[METER_BOUNDS - 1]);
	ck_assert_uint_eq(tally_hist_since(&then, &h).count, 0);
}
END_TEST

/* ---- pages through a small buffer ---- */

static size_t write_page(struct admin_view *v, page_fn *page, char *out, size_t size, size_t step)
{
	struct cursor c = { .nonce = "n" };
	size_t n = 0;

	for (bool more = true; more;) {
		struct text t = { .p = out + n, .room = step < size - n ? step : size - n };
		struct cursor before = c;
		size_t units = 0, mark = 0;

		while (more && !t.over) {
			before = c;
			mark = t.n;
			more = page(v, &c, &t);
			units += !t.over;
		}
		ck_assert_msg(units > 0 || !more, "a unit does not fit into %zu bytes", step);
		if (t.over) {
			c = before;
			t.n = mark;
			more = true;
		}
		n += t.n;
	}
	return n;
}

/* The same bytes, whatever the buffer. */
START_TEST(pages_in_pieces)
{
	static page_fn *const pages[] = { metrics_page, status_page, status_json_page };
	static char whole[1 << 18], pieces[1 << 18];
	struct process p = { .magic = PROCESS_MAGIC, .conf = &now.conf, .generation = 1 };
	struct admin_view v = { .conf = &now.conf, .shm = &now.shm, .process = &p, .now_ms = 1, .wall_ms = 1 };

	make(&now, 2);
	p.shm = now.shm;
	count(&now, 5);
	ck_assert(tally_init(&v.tally, &p));
	ck_assert(history_init(&v.history, &now.conf, -1));
	for (uint64_t i = 1; i < 40; i++)
		history_sample(&v.history, &v.tally, i * 5000);
	for (unsigned i = 0; i < 3; i++) {
		size_t n = write_page(&v, pages[i], whole, sizeof(whole), sizeof(whole));

		ck_assert_uint_gt(n, 1000);
		for (size_t step = 16384; step < 17000; step += 97) {
			ck_assert_uint_eq(write_page(&v, pages[i], pieces, sizeof(pieces), step), n);
			ck_assert_mem_eq(whole, pieces, n);
		}
	}
	history_fini(&v.history);
	tally_fini(&v.tally);
}
END_TEST

UNIT("admin", escapes, numbers, room_ends, hosts, origins, networks, generations_add_up, quantiles, pages_in_pieces)
