/*
 * checker_test.c - what the checker makes of checks and of answers to its
 * look-ups: rise and fall, the pace, cells of a name, probes of real sockets.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/sock.h"
#include "worker/checker.h"

/* ---- rise and fall ---- */

START_TEST(rise_and_fall)
{
	struct judge j = { .up = true };

	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, true, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert(j.up);
	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_DOWN);
	ck_assert(!j.up);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, true, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, false, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, true, 2, 3), VERDICT_SAME);
	ck_assert_int_eq(judge_take(&j, true, 2, 3), VERDICT_UP);
	ck_assert(j.up);
	ck_assert_int_eq(judge_take(&j, false, 1, 1), VERDICT_DOWN);
	ck_assert_int_eq(judge_take(&j, true, 1, 1), VERDICT_UP);
}
END_TEST

START_TEST(pace)
{
	struct judge j = { .up = true };

	ck_assert_uint_eq(judge_interval(&j, 5000, 0), 4000);
	ck_assert_uint_eq(judge_interval(&j, 5000, 500), 5000);
	ck_assert_uint_le(judge_interval(&j, 5000, 999), 6000);
	ck_assert_uint_gt(judge_interval(&j, 5000, 999), 5990);
	/* While it seems to change: a second, or the interval where that is shorter. */
	judge_take(&j, false, 2, 3);
	ck_assert_uint_eq(judge_interval(&j, 5000, 500), 1000);
	ck_assert_uint_eq(judge_interval(&j, 200, 500), 200);
	judge_take(&j, true, 2, 3);
	ck_assert_uint_eq(judge_interval(&j, 5000, 500), 5000);
}
END_TEST

/* ---- names ---- */

struct bench {
	struct conf conf;
	struct conf_upstream up, *ups[1];
	struct conf_server server;
	struct conf_range range;
	struct shm shm;
	struct process process;
	struct checker c;
	struct target targets[CONF_HOST_ADDRS];
	struct name name;
};

static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->server = (struct conf_server){ .magic = CONF_SERVER_MAGIC, .name = SPAN("app.test"), .text = SPAN("app.test"),
					  .host = SPAN("app.test"), .port = 8080, .weight = 1, .ncells = CONF_HOST_ADDRS };
	b->range = (struct conf_range){ 200, 399 };
	b->up = (struct conf_upstream){ .magic = CONF_UPSTREAM_MAGIC, .name = SPAN("app"), .servers = &b->server,
					.nservers = 1, .ncells = CONF_HOST_ADDRS, .check_path = SPAN("/"), .check_status = &b->range,
					.ncheck_status = 1, .check_interval = 5000, .check_timeout = 300, .check_rise = 2,
					.check_fall = 3, .resolve_min = 5000, .resolve_max = 60000 };
	b->ups[0] = &b->up;
	b->conf = (struct conf){ .magic = CONF_MAGIC, .upstreams = b->ups, .nupstreams = 1, .ncells = CONF_HOST_ADDRS };
	ck_assert(shm_init(&b->shm, &(struct shm_size){ .nslots = 2, .ncells = CONF_HOST_ADDRS, .nupstreams = 1,
							.nservers = 1 }));
	shm_init_health(&b->shm, &b->conf);
	b->process = (struct process){ .magic = PROCESS_MAGIC };
	b->c = (struct checker){ .magic = CHECKER_MAGIC, .process = &b->process, .shm = &b->shm, .conf = &b->conf,
				.seed = 1 };
	ck_assert(loop_init(&b->c.loop, &b->c));
	for (unsigned i = 0; i < CONF_HOST_ADDRS; i++)
		target_init(&b->targets[i], &b->c, &b->up, &b->server, i);
	name_init(&b->name, &b->c, &b->up, &b->server, b->targets);
	return b;
}

static void bench_free(struct bench *b)
{
	loop_fini(&b->c.loop);
	shm_fini(&b->shm);
	free(b);
}

static void make_addrs(struct addr *v, unsigned from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		v[i] = (struct addr){ .family = ADDR_V4, .v4 = { 10, 0, 0, (uint8_t)(from + i) } };
}

/* Bit i: 10.0.0.i is the address of a cell that is up. */
static uint64_t up_addrs(struct bench *b)
{
	uint64_t set = 0;

	for (unsigned i = 0; i < CONF_HOST_ADDRS; i++) {
		struct addr a;

		if (health_state_of(shm_health_word(&b->shm, i)) != HEALTH_UP)
			continue;
		ck_assert(shm_get_addr(&b->shm.health[i], &a));
		ck_assert_uint_eq(a.port, 8080);
		ck_assert_uint_eq(set >> a.v4[3] & 1, 0);
		set |= (uint64_t)1 << a.v4[3];
	}
	return set;
}

static void tell(struct bench *b, enum resolve_rc rc, const struct addr *v, unsigned n, uint32_t ttl_s)
{
	struct answer a = { .addrs = v, .n = n, .ttl_s = ttl_s, .text = "it went wrong" };

	name_on_answer(&b->name.query, rc, &a);
}

START_TEST(addresses_keep_their_cells)
{
	struct bench *b = bench_new();
	struct addr v[40];

	ck_assert_int_eq(health_state_of(shm_health_word(&b->shm, 0)), HEALTH_PENDING);
	make_addrs(v, 1, 3);
	tell(b, RESOLVE_OK, v, 3, 30);
	ck_assert_uint_eq(up_addrs(b), 0xe);
	ck_assert(b->c.news);
	ck_assert_int_eq(health_why_of(shm_health_word(&b->shm, 0)), HEALTH_WHY_NONE);
	/* 1 goes, 4 comes; 2 and 3 stay where they are. */
	make_addrs(v, 2, 3);
	tell(b, RESOLVE_OK, v, 3, 30);
	ck_assert_uint_eq(up_addrs(b), 0x1c);
	ck_assert_uint_eq(b->targets[1].addr.v4[3], 2);
	ck_assert_uint_eq(b->targets[2].addr.v4[3], 3);
	ck_assert_uint_eq(b->targets[3].addr.v4[3], 4);
	ck_assert_uint_eq(shm_health_word(&b->shm, 0) & 0xffff, health_word(HEALTH_UNUSED, HEALTH_WHY_GONE, 0));
	ck_assert_int_eq(health_why_of(shm_health_word(&b->shm, 3)), HEALTH_WHY_GONE);
	/* The same again in another order changes nothing. */
	b->c.news = false;
	struct addr turned[3] = { v[2], v[0], v[1] };
	tell(b, RESOLVE_OK, turned, 3, 30);
	ck_assert(!b->c.news);
	bench_free(b);
}
END_TEST

START_TEST(there_are_only_so_many_cells)
{
	struct bench *b = bench_new();
	struct addr v[40];

	make_addrs(v, 1, 40);
	tell(b, RESOLVE_OK, v, 40, 30);
	ck_assert_uint_eq(up_addrs(b), 0x1fffffffe);
	/* All others: the full cells are emptied first. */
	make_addrs(v, 20, 40);
	tell(b, RESOLVE_OK, v, 40, 30);
	uint64_t now = up_addrs(b);
	ck_assert_int_eq(__builtin_popcountll(now), CONF_HOST_ADDRS);
	ck_assert_uint_eq(now & 0x1fff00000, 0x1fff00000);
	ck_assert_uint_eq(now & 0xffffe, 0);
	bench_free(b);
}
END_TEST

START_TEST(failures_keep_the_last_good_answer)
{
	struct bench *b = bench_new();
	struct addr v[2];

	tell(b, RESOLVE_NONE, NULL, 0, 0);
	ck_assert_uint_eq(shm_health_word(&b->shm, 0) & 0xffff, health_word(HEALTH_DOWN, HEALTH_WHY_UNRESOLVED, 0));
	make_addrs(v, 1, 2);
	tell(b, RESOLVE_OK, v, 2, 30);
	ck_assert_uint_eq(up_addrs(b), 6);
	tell(b, RESOLVE_FAILED, NULL, 0, 0);
	tell(b, RESOLVE_NONE, NULL, 0, 0);
	ck_assert_uint_eq(up_addrs(b), 6);
	bench_free(b);
}
END_TEST

static uint64_t next_in(struct bench *b)
{
	return b->name.timer.deadline - b->c.loop.now_ms;
}

START_TEST(when_to_ask_again)
{
	struct bench *b = bench_new();
	struct addr v[1];

	/* Never resolved: 1, 2, 4 and then every resolve_min. */
	static const uint64_t eager[] = { 1000, 2000, 4000, 5000, 5000 };
	for (unsigned i = 0; i < ARRAY_LEN(eager); i++) {
		tell(b, RESOLVE_FAILED, NULL, 0, 0);
		ck_assert_uint_eq(next_in(b), eager[i]);
	}
	make_addrs(v, 1, 1);
	tell(b, RESOLVE_OK, v, 1, 0);
	ck_assert_uint_eq(next_in(b), 5000);
	tell(b, RESOLVE_OK, v, 1, 17);
	ck_assert_uint_eq(next_in(b), 17000);
	tell(b, RESOLVE_OK, v, 1, 2000000000);
	ck_assert_uint_eq(next_in(b), 60000);
	for (unsigned i = 0; i < 40; i++)
		tell(b, RESOLVE_FAILED, NULL, 0, 0);
	ck_assert_uint_eq(next_in(b), 60000);
	bench_free(b);
}
END_TEST

START_TEST(a_successor_takes_up_what_it_finds)
{
	struct bench *b = bench_new();
	struct addr v[3];

	make_addrs(v, 1, 3);
	tell(b, RESOLVE_OK, v, 3, 30);
	shm_set_health(&b->shm.health[1], HEALTH_DOWN, HEALTH_WHY_CHECK, 5);
	b->shm.health[2].seq |= 1;		/* died while writing */
	b->up.check = CONF_CHECK_TCP;
	for (unsigned i = 0; i < CONF_HOST_ADDRS; i++) {
		timer_stop(&b->c.loop.wheel, &b->targets[i].timer);
		target_init(&b->targets[i], &b->c, &b->up, &b->server, i);
	}
	for (unsigned i = 0; i < 3; i++)
		target_adopt(&b->targets[i]);
	ck_assert(b->targets[0].judge.up);
	ck_assert(!b->targets[1].judge.up);
	ck_assert_uint_eq(b->targets[1].addr.v4[3], 2);
	ck_assert_uint_eq(b->targets[2].addr.family, ADDR_NONE);
	ck_assert(timer_is_set(&b->targets[0].timer));
	ck_assert_uint_le(b->targets[0].timer.deadline, b->c.loop.now_ms + 1000);
	for (unsigned i = 0; i < 3; i++)
		timer_stop(&b->c.loop.wheel, &b->targets[i].timer);
	bench_free(b);
}
END_TEST

/* ---- probes ---- */

struct trial {
	struct probe probe;
	struct probe_result result;
	unsigned told;
};

static void on_told(struct probe *p, const struct probe_result *r)
{
	struct trial *t = container_of(p, struct trial, probe);

	t->result = *r;
	t->told++;
}

/* A server that answers one connection with these bytes (NULL: none, ever), and the outcome of a probe of it. */
static struct probe_result probe_of(enum conf_check kind, const char *bytes, size_t n)
{
	struct bench *b = bench_new();
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct addr a = { .family = ADDR_V4, .v4 = { 127, 0, 0, 1 } };
	socklen_t len = sizeof(sin);
	struct trial t = { .told = 0 };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), conn = -1;

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
	a.port = ntohs(sin.sin_port);
	if (n > 0)
		ck_assert_int_eq(listen(listener, 5), 0);
	b->up.check = kind;
	probe_init(&t.probe, &b->c.loop, &b->up, &b->server, on_told);
	probe_start(&t.probe, &a);
	for (unsigned i = 0; i < 200 && t.told == 0; i++) {
		loop_turn(&b->c.loop, 10);
		if (conn < 0 && (conn = accept(listener, NULL, NULL)) >= 0 && bytes != NULL) {
			ck_assert_int_eq(send(conn, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
			shutdown(conn, SHUT_WR);
		}
	}
	ck_assert_uint_eq(t.told, 1);
	ck_assert(!t.probe.running);
	probe_stop(&t.probe);
	close(listener);
	if (conn >= 0)
		close(conn);
	bench_free(b);
	return t.result;
}

#define HTTP(text) probe_of(CONF_CHECK_HTTP, text, sizeof(text) - 1)

START_TEST(probes)
{
	ck_assert_int_eq(probe_of(CONF_CHECK_TCP, NULL, 1).rc, PROBE_GOOD);
	struct probe_result r = probe_of(CONF_CHECK_TCP, NULL, 0);
	ck_assert_int_eq(r.rc, PROBE_BAD);
	ck_assert_uint_eq(r.error, ECONNREFUSED);

	ck_assert_int_eq(HTTP("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").rc, PROBE_GOOD);
	ck_assert_int_eq(HTTP("HTTP/1.1 204 No Content\r\n\r\n").rc, PROBE_GOOD);
	ck_assert_int_eq(HTTP("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n").rc, PROBE_GOOD);
	ck_assert_int_eq(HTTP("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").rc, PROBE_GOOD);
	r = HTTP("HTTP/1.1 503 Service Unavailable\r\n\r\n");
	ck_assert_int_eq(r.rc, PROBE_BAD);
	ck_assert_uint_eq(r.status, 503);
	ck_assert_int_eq(HTTP("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").rc, PROBE_BAD);
	ck_assert_int_eq(HTTP("SSH-2.0-OpenSSH\r\n\r\n").rc, PROBE_BAD);
	ck_assert_int_eq(HTTP("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx").rc, PROBE_BAD);
	ck_assert_int_eq(HTTP("HTTP/1.1 200 OK\r\nContent-").rc, PROBE_BAD);
	ck_assert_int_eq(HTTP("\0").rc, PROBE_BAD);
	/* Silence. */
	r = probe_of(CONF_CHECK_HTTP, NULL, 1);
	ck_assert_int_eq(r.rc, PROBE_BAD);
	ck_assert_uint_eq(r.error, ETIMEDOUT);
	ck_assert_uint_ge(r.ms, 299);
}
END_TEST

START_TEST(large_answers_are_bounded)
{
	static char big[PROBE_HEAD_MAX * 2];
	size_t n = (size_t)snprintf(big, sizeof(big), "HTTP/1.1 200 OK\r\nX: ");

	memset(big + n, 'x', sizeof(big) - n);
	ck_assert_int_eq(probe_of(CONF_CHECK_HTTP, big, sizeof(big)).rc, PROBE_BAD);
	n = (size_t)snprintf(big, sizeof(big), "HTTP/1.1 200 OK\r\nX: %08000d\r\n\r\n", 0);
	ck_assert_int_eq(probe_of(CONF_CHECK_HTTP, big, n).rc, PROBE_GOOD);
	for (n = 0; n + 30 < sizeof(big);)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "HTTP/1.1 100 Continue\r\n\r\n");
	ck_assert_int_eq(probe_of(CONF_CHECK_HTTP, big, n).rc, PROBE_BAD);
}
END_TEST

UNIT("checker", rise_and_fall, pace, addresses_keep_their_cells, there_are_only_so_many_cells,
     failures_keep_the_last_good_answer, when_to_ask_again, a_successor_takes_up_what_it_finds, probes,
     large_answers_are_bounded)
