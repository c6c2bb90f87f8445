/*
 * shm_test.c - shared memory: who may write what, and that the sums stay true
 * whoever dies when.
 */
#include "t/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/shm.h"

static void start(struct shm *s)
{
	ck_assert(shm_init(s, &(struct shm_size){ .nslots = 3, .ncells = 40, .nupstreams = 4, .nservers = 5, .nroutes = 2,
						 .nseries = 7, .nlistens = 2 }));
	ck_assert_ptr_null(shm_verify(s));
}

/* Runs `body` as a child of the given role (slot, or -1 for the checker) and returns its wait status. */
static pid_t spawn(struct shm *s, int slot, void (*body)(struct shm *s))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid != 0)
		return pid;
	signal(SIGSEGV, SIG_DFL);
	if (!(slot < 0 ? shm_become_checker(s, s->nslots - 1) : shm_become_worker(s, (unsigned)slot)))
		_exit(99);
	body(s);
	_exit(0);
}

static int finish(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int run(struct shm *s, int slot, void (*body)(struct shm *s))
{
	return finish(spawn(s, slot, body));
}

START_TEST(layout)
{
	struct shm s;

	start(&s);
	ck_assert_uint_eq(s.row_size % 4096, 0);
	ck_assert_uint_eq((uintptr_t)s.upstreams % 64, 0);
	ck_assert_uint_eq((uintptr_t)s.health % 64, 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_ptr_eq(shm_row(&s, i), s.rows + i * s.row_size);
		ck_assert((char *)shm_use(&s, i) >= (char *)(shm_row(&s, i) + 1));
		ck_assert((char *)shm_queued(&s, i) >= (char *)(shm_use(&s, i) + 40));
		ck_assert((char *)(shm_queued(&s, i) + 4) <= s.rows + (i + 1) * s.row_size);
	}
	/* Whoever holds a descriptor cannot pull the floor away. */
	ck_assert_int_eq(ftruncate(s.rows_fd[0], 0), -1);
	ck_assert_int_eq(ftruncate(s.health_fd[0], 1 << 24), -1);
	ck_assert_ptr_eq(mmap(NULL, s.rows_size, PROT_READ | PROT_WRITE, MAP_SHARED, s.rows_fd[1], 0), MAP_FAILED);
	ck_assert_ptr_eq(mmap(NULL, s.health_size, PROT_READ | PROT_WRITE, MAP_SHARED, s.health_fd[1], 0), MAP_FAILED);
	shm_fini(&s);
	ck_assert_int_eq(s.health_fd[0], -1);

	ck_assert(shm_init(&s, &(struct shm_size){ .nslots = 1 }));
	ck_assert_ptr_null(shm_verify(&s));
	shm_fini(&s);
}
END_TEST

static void own_row(struct shm *s)
{
	shm_count(s, STAT_REQUESTS, 7);
	shm_use(s, s->slot)[3].active = 2;
	shm_queued(s, s->slot)[1] = 5;
	s->servers[39].vtime = 9;
	s->upstreams[3].vtime = 8;
	if (s->rows_fd[0] != -1 || s->rows_fd[1] != -1 || s->health_fd[0] != -1 || s->shared_fd != -1)
		_exit(1);
}

static void other_row(struct shm *s)
{
	shm_row(s, 1)->beat_ms = 1;
}

static void base_row(struct shm *s)
{
	shm_row(s, 3)->beat_ms = 1;
}

static void health_cell(struct shm *s)
{
	s->health[0].checks = 1;
}

static void make_writable(struct shm *s)
{
	if (mprotect(s->health, s->health_size, PROT_READ | PROT_WRITE) == 0)
		_exit(1);
	if (mprotect(shm_row(s, 1), s->row_size, PROT_READ | PROT_WRITE) == 0)
		_exit(2);
}

START_TEST(each_writes_its_own)
{
	struct shm s;

	start(&s);
	ck_assert_int_eq(run(&s, 0, own_row), 0);
	ck_assert_int_eq(run(&s, -1, own_row), 0);
	ck_assert_int_eq(run(&s, -1, health_cell), 0);
	ck_assert_int_eq(run(&s, 0, make_writable), 0);
	ck_assert_int_eq(WTERMSIG(run(&s, 0, other_row)), SIGSEGV);
	ck_assert_int_eq(WTERMSIG(run(&s, 0, base_row)), SIGSEGV);
	ck_assert_int_eq(WTERMSIG(run(&s, 0, health_cell)), SIGSEGV);
	ck_assert_int_eq(WTERMSIG(run(&s, -1, other_row)), SIGSEGV);

	ck_assert_uint_eq(shm_stat(&s, STAT_REQUESTS), 14);
	ck_assert_uint_eq(shm_active(&s, 3), 4);
	ck_assert_uint_eq(shm_queue_len(&s, 1), 10);
	ck_assert_uint_eq(s.servers[39].vtime, 9);
	ck_assert_uint_eq(s.upstreams[3].vtime, 8);
	ck_assert_uint_eq(s.health[0].checks, 1);
	ck_assert_uint_eq(shm_row(&s, 1)->beat_ms, 0);
	shm_fini(&s);
}
END_TEST

static void busy(struct shm *s)
{
	struct shm_use *use = shm_use(s, s->slot);

	shm_count(s, STAT_REQUESTS, 10);
	shm_gauge(s, STAT_ACTIVE_CONNS, 4);
	shm_count_reason(s, REASON_NO_ROUTE);
	use[5].active = 3;
	use[5].requests = 20;
	use[5].fails = 2;
	shm_queued(s, s->slot)[2] = 6;
	shm_own(s)->beat_ms = 1234;
}

static void live(struct shm *s, unsigned slot)
{
	shm_row(s, slot)->gen++;
	shm_row(s, slot)->state = SLOT_LIVE;
}

static void check_counters(const struct shm *s, unsigned times)
{
	ck_assert_uint_eq(shm_stat(s, STAT_REQUESTS), 10 * times);
	ck_assert_uint_eq(shm_reason(s, REASON_NO_ROUTE), times);
	ck_assert_uint_eq(shm_requests(s, 5), 20 * times);
	ck_assert_uint_eq(shm_fails(s, 5), 2 * times);
}

START_TEST(reaping_keeps_counters_and_drops_levels)
{
	struct shm s;

	start(&s);
	for (unsigned slot = 0; slot < 2; slot++) {
		live(&s, slot);
		ck_assert_int_eq(run(&s, (int)slot, busy), 0);
	}
	check_counters(&s, 2);
	ck_assert_uint_eq(shm_stat(&s, STAT_ACTIVE_CONNS), 8);
	ck_assert_uint_eq(shm_active(&s, 5), 6);
	ck_assert_uint_eq(shm_queue_len(&s, 2), 12);

	uint32_t gen = shm_row(&s, 0)->gen;
	for (unsigned i = 0; i < 3; i++) {
		shm_reap_row(&s, 0);
		check_counters(&s, 2);
		ck_assert_uint_eq(shm_stat(&s, STAT_ACTIVE_CONNS), 4);
		ck_assert_uint_eq(shm_active(&s, 5), 3);
		ck_assert_uint_eq(shm_queue_len(&s, 2), 6);
		ck_assert_uint_eq(shm_row(&s, 0)->state, SLOT_FREE);
		ck_assert_uint_gt(shm_row(&s, 0)->gen, gen);
		ck_assert_ptr_null(shm_verify(&s));
	}
	shm_reap_row(&s, 1);
	check_counters(&s, 2);
	ck_assert_uint_eq(shm_active(&s, 5), 0);

	/* The next tenant starts from nothing and adds up. */
	live(&s, 0);
	ck_assert_int_eq(run(&s, 0, busy), 0);
	check_counters(&s, 3);
	shm_reap_row(&s, 0);
	check_counters(&s, 3);
	shm_fini(&s);
}
END_TEST

START_TEST(a_fold_cut_short_counts_once)
{
	struct shm s;
	unsigned folded = 0;

	start(&s);
	char *copy = malloc(s.row_size);
	for (unsigned round = 0; round < 6; round++) {
		live(&s, 1);
		ck_assert_int_eq(run(&s, 1, busy), 0);
		memcpy(copy, shm_row(&s, 1), s.row_size);
		folded++;
		shm_reap_row(&s, 1);
		check_counters(&s, folded);
		/* As if the master had died between publishing the fold and zeroing the row. */
		memcpy(shm_row(&s, 1), copy, s.row_size);
		check_counters(&s, folded);
		shm_reap_row(&s, 1);
		check_counters(&s, folded);
		/* As if it had died before publishing: the spare copy holds rubbish. */
		char *spare = shm_row(&s, 3) == (void *)(s.rows + 3 * s.row_size) ? s.rows + 4 * s.row_size : NULL;
		if (spare != NULL)
			memset(spare + offsetof(struct shm_row, beat_ms), 0x5a, s.row_size - offsetof(struct shm_row, beat_ms));
		shm_reap_row(&s, 0);
		check_counters(&s, folded);
	}
	free(copy);
	shm_fini(&s);
}
END_TEST

static void count_for_ever(struct shm *s)
{
	for (;;) {
		shm_count(s, STAT_REQUESTS, 1);
		shm_use(s, s->slot)[0].active = 1;
	}
}

static void watch_sum(struct shm *s)
{
	uint64_t last = 0;

	for (uint64_t until = clock_mono_ms() + 600; clock_mono_ms() < until;) {
		uint64_t sum = shm_stat(s, STAT_REQUESTS);

		if (sum < last)
			_exit(1);
		last = sum;
	}
	_exit(last > 0 ? 0 : 2);
}

START_TEST(sums_hold_while_workers_die)
{
	struct shm s;
	int status;

	start(&s);
	pid_t watcher = spawn(&s, -1, watch_sum);
	while (waitpid(watcher, &status, WNOHANG) == 0) {
		live(&s, 0);
		pid_t worker = spawn(&s, 0, count_for_ever);
		usleep(3000);
		kill(worker, SIGKILL);
		finish(worker);
		uint64_t before = shm_stat(&s, STAT_REQUESTS);
		shm_reap_row(&s, 0);
		ck_assert_uint_eq(shm_stat(&s, STAT_REQUESTS), before);
		ck_assert_uint_eq(shm_active(&s, 0), 0);
	}
	ck_assert_int_eq(status, 0);
	shm_fini(&s);
}
END_TEST

START_TEST(verify_finds_what_is_wrong)
{
	struct shm s;

	start(&s);
	shm_row(&s, 1)->state = 77;
	ck_assert_ptr_nonnull(shm_verify(&s));
	shm_row(&s, 1)->state = SLOT_FREE;
	shm_use(&s, 1)[2].active = 1;
	ck_assert_ptr_nonnull(shm_verify(&s));
	shm_row(&s, 1)->state = SLOT_LIVE;
	ck_assert_ptr_null(shm_verify(&s));
	shm_use(&s, 1)[2].active = UINT32_MAX;
	ck_assert_ptr_nonnull(shm_verify(&s));
	shm_reap_row(&s, 1);
	ck_assert_ptr_null(shm_verify(&s));
	shm_set_health(&s.health[4], (enum health_state)9, HEALTH_WHY_NONE, 0);
	ck_assert_ptr_nonnull(shm_verify(&s));
	shm_fini(&s);
}
END_TEST

START_TEST(first_health)
{
	struct conf_server servers[2] = { { .cell = 2, .ncells = 1, .addr = { .family = ADDR_V4 } },
					  { .cell = 3, .ncells = CONF_HOST_ADDRS, .host = SPAN("name.test") } };
	struct conf_upstream up = { .servers = servers, .nservers = 2 }, *ups[] = { &up };
	struct conf c = { .magic = CONF_MAGIC, .upstreams = ups, .nupstreams = 1 };
	struct shm s;

	start(&s);
	shm_init_health(&s, &c);
	ck_assert_int_eq(health_state_of(shm_health_word(&s, 2)), HEALTH_UP);
	ck_assert_int_eq(health_state_of(shm_health_word(&s, 3)), HEALTH_PENDING);
	ck_assert_int_eq(health_state_of(shm_health_word(&s, 4)), HEALTH_UNUSED);
	ck_assert_int_eq(health_state_of(shm_health_word(&s, 34)), HEALTH_UNUSED);

	uint64_t word = health_word(HEALTH_DOWN, HEALTH_WHY_GONE, 123456789012);
	ck_assert_int_eq(health_state_of(word), HEALTH_DOWN);
	ck_assert_int_eq(health_why_of(word), HEALTH_WHY_GONE);
	ck_assert_uint_eq(health_since_of(word), 123456789012);
	shm_fini(&s);
}
END_TEST

static void flip_addresses(struct shm *s)
{
	struct addr a = { .family = ADDR_V6, .port = 1111, .scope = 7 };
	struct addr b = { .family = ADDR_V6, .port = 2222, .scope = 9 };

	memset(a.v6, 0x11, sizeof(a.v6));
	memset(b.v6, 0x22, sizeof(b.v6));
	for (;;) {
		shm_put_addr(&s->health[1], &a);
		shm_put_addr(&s->health[1], &b);
	}
}

START_TEST(addresses_are_whole)
{
	struct addr a = { .family = ADDR_V4, .port = 80, .v4 = { 127, 0, 0, 1 } }, out;
	unsigned seen[2] = { 0, 0 };
	struct shm s;

	start(&s);
	ck_assert(!shm_get_addr(&s.health[0], &out));
	shm_put_addr(&s.health[0], &a);
	ck_assert(shm_get_addr(&s.health[0], &out));
	ck_assert(addr_eq(&a, &out));
	uint32_t gen = s.health[0].addr_gen;
	shm_put_addr(&s.health[0], &a);
	ck_assert_uint_eq(s.health[0].addr_gen, gen);
	/* A writer died half way: nothing to read, until the next write. */
	s.health[0].seq |= 1;
	ck_assert(!shm_get_addr(&s.health[0], &out));
	shm_put_addr(&s.health[0], &a);
	ck_assert(shm_get_addr(&s.health[0], &out));

	pid_t writer = spawn(&s, -1, flip_addresses);
	for (uint64_t until = clock_mono_ms() + 300; clock_mono_ms() < until;) {
		if (!shm_get_addr(&s.health[1], &out))
			continue;
		unsigned which = out.port == 2222;

		seen[which]++;
		ck_assert_uint_eq(out.port, which ? 2222 : 1111);
		ck_assert_uint_eq(out.scope, which ? 9 : 7);
		for (unsigned i = 0; i < 16; i++)
			ck_assert_uint_eq(out.v6[i], which ? 0x22 : 0x11);
	}
	kill(writer, SIGKILL);
	finish(writer);
	ck_assert_uint_gt(seen[0] + seen[1], 0);
	shm_fini(&s);
}
END_TEST

START_TEST(names)
{
	ck_assert_str_eq(stat_name(STAT_REQUESTS), "requests");
	ck_assert_str_eq(stat_name(STAT_IDLE_UP), "upstream_idle");
	ck_assert(stat_is_gauge(STAT_ACTIVE_CONNS));
	ck_assert(!stat_is_gauge(STAT_CONNS));
	for (unsigned i = 0; i < STAT__N; i++)
		ck_assert_uint_gt(strlen(stat_prose((enum stat_id)i)), 0);
}
END_TEST

START_TEST(staples_are_whole)
{
	static struct shm_answer a, got;
	struct shm s;

	ck_assert(shm_init(&s, &(struct shm_size){ .nslots = 2, .ncells = 40, .nupstreams = 4, .nstaples = 3 }));
	ck_assert((char *)(s.staples + 3) <= (char *)s.health + s.health_size);
	ck_assert((char *)s.staples >= (char *)(s.health + 40));
	ck_assert(!shm_get_staple(&s, 1, &got));
	for (unsigned i = 1; i <= 5; i++) {
		a = (struct shm_answer){ .expires = i, .refresh = -(int)i, .len = i < 5 ? STAPLE_MAX - i : 0 };
		memset(a.bytes, (int)i, a.len);
		shm_put_staple(&s, 1, &a);
		ck_assert(shm_get_staple(&s, 1, &got) == (i < 5));
		ck_assert(i == 5 || memcmp(&a, &got, offsetof(struct shm_answer, bytes) + a.len) == 0);
		/* Whoever is killed while it writes the next one has touched the other half alone. */
		memset(&s.staples[1].half[!(s.staples[1].word & 1)], 0xff, 100);
		ck_assert(shm_get_staple(&s, 1, &got) == (i < 5));
		ck_assert(i == 5 || memcmp(&a, &got, offsetof(struct shm_answer, bytes) + a.len) == 0);
	}
	ck_assert(!shm_get_staple(&s, 0, &got) && !shm_get_staple(&s, 2, &got));
	shm_fini(&s);
}
END_TEST

UNIT("shm", layout, each_writes_its_own, reaping_keeps_counters_and_drops_levels, a_fold_cut_short_counts_once,
     sums_hold_while_workers_die, verify_finds_what_is_wrong, first_health, addresses_are_whole, staples_are_whole,
     names)
