/*
 * group_test.c - the one way to a server: who is asked, who has room, who waits
 * and in what order, also with several workers at it and some of them dying.
 */
#include "t/unit/unit.h"

#include "common/clock.h"
#include "t/unit/bed.h"

START_TEST(use_is_counted)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);

	bed_open(b);
	struct server *one = bed_pick(b), *two = bed_pick(b);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 2);
	ck_assert_uint_eq(shm_requests(&b->shm, 0), 2);
	server_put(one);
	server_put(two);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 0);
	ck_assert_uint_eq(shm_requests(&b->shm, 0), 2);
	ck_assert_ptr_eq(groups_find(&b->gs, &b->up), b->g);
	bed_close(b);
}
END_TEST

START_TEST(who_may_be_picked)
{
	struct bed *b = bed_new(4, CONF_ROUND_ROBIN);

	b->servers[1].weight = 0;
	b->servers[2].disabled = true;
	b->servers[3].backup = true;
	bed_open(b);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(bed_pick(b)->index, 0);
	bed_health(b, 0, HEALTH_DOWN);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(bed_pick(b)->index, 3);
	bed_health(b, 3, HEALTH_DOWN);
	ck_assert_int_eq(bed_rc(b), PICK_NONE);
	bed_health(b, 0, HEALTH_UP);
	ck_assert_uint_eq(bed_pick(b)->index, 0);
	bed_close(b);
}
END_TEST

START_TEST(full_primaries_do_not_wake_the_backup)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);
	struct pick_ask ask = { .hash = 0 };
	struct server *s;

	b->servers[0].max_conns = 1;
	b->servers[1].backup = true;
	bed_open(b);
	struct server *held = bed_pick(b);
	ck_assert_int_eq(bed_rc(b), PICK_FULL);
	/* But a request that failed on the primary may go there. */
	pick_tried(&ask, held);
	ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
	ck_assert_uint_eq(s->index, 1);
	bed_close(b);
}
END_TEST

START_TEST(max_conns_is_a_limit)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);
	struct server *held[5];

	b->servers[0].max_conns = 2;
	b->servers[1].max_conns = 3;
	bed_open(b);
	for (unsigned i = 0; i < 5; i++)
		held[i] = bed_pick(b);
	ck_assert_int_eq(bed_rc(b), PICK_FULL);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 2);
	server_put(held[4]);
	ck_assert_int_eq(bed_rc(b), PICK_OK);
	/* Other workers' use counts. */
	shm_use(&b->shm, 2)[held[4]->cell].active = 1;
	ck_assert_int_eq(bed_rc(b), PICK_FULL);
	bed_close(b);
}
END_TEST

/* ---- the queue ---- */

struct guest {
	struct waiter w;
	struct pick_ask ask;
	struct server *s;
	enum pick_rc rc;
	unsigned called;		/* running number of the call; 0: not yet */
	struct guest *then_unwait;
	bool then_wait;
};
static unsigned calls;

static void on_server(struct waiter *w, enum pick_rc rc, struct server *s)
{
	struct guest *x = container_of(w, struct guest, w);
	struct group *g = s != NULL ? s->group : NULL;

	ck_assert_ptr_null(w->group);
	ck_assert_uint_eq(x->called, 0);
	x->rc = rc;
	x->s = s;
	x->called = ++calls;
	if (x->then_unwait != NULL)
		group_unwait(&x->then_unwait->w);
	if (x->then_wait) {
		x->then_wait = false;
		x->called = 0;
		server_put(s);
		ck_assert(group_wait(g, &x->w, &x->ask, on_server));
	}
}

static void wait_here(struct bed *b, struct guest *x)
{
	ck_assert(group_wait(b->g, &x->w, &x->ask, on_server));
}

START_TEST(first_come_first_served)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x[4] = { { .rc = PICK_NONE } };

	b->servers[0].max_conns = 1;
	bed_open(b);
	struct server *held = bed_pick(b);
	for (unsigned i = 0; i < 4; i++)
		wait_here(b, &x[i]);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 4);
	bed_pass(b, 10);
	ck_assert_uint_eq(x[0].called, 0);
	group_unwait(&x[1].w);
	group_unwait(&x[1].w);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 3);

	server_put(held);
	ck_assert_uint_eq(x[0].called, 0);	/* not from within the call */
	/* Nobody overtakes those who wait. */
	ck_assert_int_eq(bed_rc(b), PICK_FULL);
	bed_pass(b, 0);
	ck_assert_uint_eq(x[0].called, 1);
	ck_assert_int_eq(x[0].rc, PICK_OK);
	server_put(x[0].s);
	bed_pass(b, 0);
	ck_assert_uint_eq(x[2].called, 2);
	server_put(x[2].s);
	bed_pass(b, 0);
	ck_assert_uint_eq(x[3].called, 3);
	ck_assert_uint_eq(x[1].called, 0);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 0);
	server_put(x[3].s);
	ck_assert_int_eq(bed_rc(b), PICK_OK);
	bed_close(b);
}
END_TEST

START_TEST(waiting_ends_in_time)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x[2] = { { .rc = PICK_NONE } };

	b->servers[0].max_conns = 1;
	b->up.queue_timeout = 1000;
	bed_open(b);
	bed_pick(b);
	wait_here(b, &x[0]);
	bed_pass(b, 600);
	wait_here(b, &x[1]);
	for (unsigned i = 0; i < 7; i++)
		bed_pass(b, 50);
	ck_assert_uint_eq(x[0].called, 0);
	bed_pass(b, 54);
	ck_assert_uint_eq(x[0].called, 1);
	ck_assert_int_eq(x[0].rc, PICK_FULL);
	ck_assert_uint_eq(x[1].called, 0);
	for (unsigned i = 0; i < 13; i++)
		bed_pass(b, 50);
	ck_assert_uint_eq(x[1].called, 2);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 0);
	ck_assert(!timer_is_set(&b->g->queue_timer));
	bed_close(b);
}
END_TEST

START_TEST(the_queue_is_bounded_over_workers)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x[4] = { { .rc = PICK_NONE } };

	b->servers[0].max_conns = 1;
	b->up.max_queue = 5;
	bed_open(b);
	bed_pick(b);
	shm_queued(&b->shm, 1)[0] = 2;
	for (unsigned i = 0; i < 3; i++)
		wait_here(b, &x[i]);
	ck_assert(!group_wait(b->g, &x[3].w, &x[3].ask, on_server));
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 5);
	shm_queued(&b->shm, 1)[0] = 0;
	wait_here(b, &x[3]);

	struct bed *none = bed_new(1, CONF_LEAST_CONN);
	none->up.max_queue = 0;
	bed_open(none);
	ck_assert(!group_wait(none->g, &x[3].w, &x[3].ask, on_server));
	bed_close(none);
	bed_close(b);
}
END_TEST

START_TEST(all_down_ends_waiting)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x[3] = { { .rc = PICK_OK } };

	b->servers[0].max_conns = 1;
	bed_open(b);
	bed_pick(b);
	for (unsigned i = 0; i < 3; i++)
		wait_here(b, &x[i]);
	bed_pass(b, 1);
	bed_health(b, 0, HEALTH_DOWN);
	bed_pass(b, 54);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_ne(x[i].called, 0);
		ck_assert_int_eq(x[i].rc, PICK_NONE);
	}
	bed_close(b);
}
END_TEST

START_TEST(callbacks_may_change_the_queue)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x[5] = { { .rc = PICK_NONE } };

	b->servers[0].max_conns = 1;
	bed_open(b);
	struct server *held = bed_pick(b);
	for (unsigned i = 0; i < 5; i++)
		wait_here(b, &x[i]);
	x[0].then_unwait = &x[1];
	x[0].then_wait = true;
	x[2].then_unwait = &x[3];
	server_put(held);
	bed_pass(b, 0);
	/* 0 was served, sent 1 away and joined anew behind 4; 2 was next. */
	ck_assert_uint_eq(x[1].called, 0);
	ck_assert_ptr_nonnull(x[2].s);
	ck_assert_uint_eq(x[3].called, 0);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 2);
	x[0].then_unwait = NULL;
	server_put(x[2].s);
	bed_pass(b, 0);
	ck_assert_ptr_nonnull(x[4].s);
	server_put(x[4].s);
	bed_pass(b, 0);
	ck_assert_uint_gt(x[0].called, x[4].called);
	bed_close(b);
}
END_TEST

START_TEST(one_who_tried_much_holds_up_nobody)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);
	struct guest x[2] = { { .rc = PICK_NONE } };

	b->servers[0].max_conns = b->servers[1].max_conns = 1;
	bed_open(b);
	struct server *one = bed_pick(b);
	bed_pick(b);
	pick_tried(&x[0].ask, one);
	wait_here(b, &x[0]);
	wait_here(b, &x[1]);
	server_put(one);
	bed_pass(b, 0);
	ck_assert_uint_eq(x[0].called, 0);
	ck_assert_uint_ne(x[1].called, 0);
	ck_assert_ptr_eq(x[1].s, one);
	bed_close(b);
}
END_TEST

static void count_wakes(struct groups *gs)
{
	++*(unsigned *)gs->owner;
}

START_TEST(peers_are_woken_only_when_they_wait)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x = { .rc = PICK_NONE };
	unsigned wakes = 0;

	b->servers[0].max_conns = 1;
	bed_open(b);
	b->gs.wake_peers = count_wakes;
	b->gs.owner = &wakes;
	for (unsigned i = 0; i < 10; i++)
		server_put(bed_pick(b));
	ck_assert_uint_eq(wakes, 0);
	shm_queued(&b->shm, 1)[0] = 1;
	server_put(bed_pick(b));
	ck_assert_uint_eq(wakes, 1);

	/* With waiters on both sides each side gets its part, and what the other side leaves is not lost. */
	unsigned given = 0;
	for (unsigned i = 0; i < 200; i++) {
		struct server *s = bed_pick(b);
		unsigned before = wakes;

		x = (struct guest){ .rc = PICK_NONE };
		wait_here(b, &x);
		server_put(s);
		given += wakes > before;
		bed_pass(b, 0);
		bed_pass(b, 2 * TIMER_TICK_MS);
		ck_assert_uint_ne(x.called, 0);
		server_put(x.s);
	}
	ck_assert_uint_gt(given, 60);
	ck_assert_uint_lt(given, 140);
	bed_close(b);
}
END_TEST

START_TEST(woken_serves)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x = { .rc = PICK_NONE };

	b->servers[0].max_conns = 1;
	bed_open(b);
	shm_use(&b->shm, 1)[0].active = 1;
	wait_here(b, &x);
	bed_pass(b, 0);
	ck_assert_uint_eq(x.called, 0);
	shm_use(&b->shm, 1)[0].active = 0;
	groups_woken(&b->gs);
	bed_pass(b, 0);
	ck_assert_int_eq(x.rc, PICK_OK);
	bed_close(b);
}
END_TEST

/* ---- host names ---- */

static void resolve(struct bed *b, unsigned cell, unsigned last, enum health_state st)
{
	struct addr a = { .family = ADDR_V4, .port = 80, .v4 = { 127, 0, 0, (uint8_t)last } };

	shm_put_addr(&b->shm.health[cell], &a);
	shm_set_health(&b->shm.health[cell], st, HEALTH_WHY_NONE, 1);
}

START_TEST(a_host_name_is_many_servers)
{
	struct bed *b = bed_new(1, CONF_ROUND_ROBIN);
	unsigned count[CONF_HOST_ADDRS] = { 0 };

	bed_host(b, 0, "app.test:80");
	bed_open(b);
	ck_assert_uint_eq(b->g->nservers, CONF_HOST_ADDRS);
	ck_assert_int_eq(bed_rc(b), PICK_FULL);
	resolve(b, 0, 1, HEALTH_UP);
	resolve(b, 1, 2, HEALTH_UP);
	for (unsigned i = 0; i < 10; i++)
		count[bed_pick(b)->index]++;
	ck_assert_uint_eq(count[0], 5);
	ck_assert_uint_eq(count[1], 5);
	ck_span_eq(b->g->servers[0].name, "app.test:80@127.0.0.1");
	ck_span_eq(b->g->servers[1].name, "app.test:80@127.0.0.2");
	ck_assert_uint_eq(b->g->servers[1].addr.v4[3], 2);

	resolve(b, 1, 77, HEALTH_UP);
	shm_set_health(&b->shm.health[0], HEALTH_UNUSED, HEALTH_WHY_GONE, 1);
	struct server *s = bed_pick(b);
	ck_span_eq(s->name, "app.test:80@127.0.0.77");
	ck_assert_uint_eq(s->addr.v4[3], 77);
	shm_set_health(&b->shm.health[1], HEALTH_DOWN, HEALTH_WHY_UNRESOLVED, 1);
	ck_assert_int_eq(bed_rc(b), PICK_NONE);
	bed_close(b);
}
END_TEST

START_TEST(a_ring_follows_the_addresses)
{
	struct bed *b = bed_new(1, CONF_HASH);
	unsigned moved = 0;
	uint8_t before[2000];

	bed_host(b, 0, "app.test:80");
	bed_open(b);
	for (unsigned i = 0; i < 5; i++)
		resolve(b, i, i + 1, HEALTH_UP);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t key = 0; key < 2000; key++) {
			struct pick_ask ask = { .hash = key };
			struct server *s;

			ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
			if (round == 1 && before[key] != s->addr.v4[3]) {
				ck_assert_uint_eq(s->addr.v4[3], 6);
				moved++;
			}
			before[key] = s->addr.v4[3];
			server_put(s);
		}
		resolve(b, 20, 6, HEALTH_UP);
	}
	ck_assert_msg(moved > 200 && moved < 500, "%u of 2000 moved", moved);
	bed_close(b);
}
END_TEST

START_TEST(waiting_for_a_name)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);
	struct guest x = { .rc = PICK_NONE }, y = { .rc = PICK_OK };

	bed_host(b, 0, "app.test:80");
	bed_open(b);
	wait_here(b, &x);
	bed_pass(b, 100);
	ck_assert_uint_eq(x.called, 0);
	resolve(b, 0, 1, HEALTH_UP);
	groups_woken(&b->gs);
	bed_pass(b, 0);
	ck_assert_int_eq(x.rc, PICK_OK);
	server_put(x.s);

	shm_set_health(&b->shm.health[0], HEALTH_PENDING, HEALTH_WHY_NONE, 1);
	wait_here(b, &y);
	bed_pass(b, 1);
	shm_set_health(&b->shm.health[0], HEALTH_DOWN, HEALTH_WHY_UNRESOLVED, 1);
	bed_pass(b, 54);
	ck_assert_int_eq(y.rc, PICK_NONE);
	ck_assert_uint_ne(y.called, 0);
	bed_close(b);
}
END_TEST

/* ---- the retry budget ---- */

static unsigned retries(struct bed *b)
{
	unsigned n = 0;

	while (n < 100000 && group_take_retry(b->g))
		n++;
	return n;
}

START_TEST(a_fifth_of_requests_may_be_retried)
{
	struct bed *b = bed_new(1, CONF_LEAST_CONN);

	bed_open(b);
	bed_pass(b, 100000);
	ck_assert_uint_eq(retries(b), 3);
	ck_assert_uint_eq(retries(b), 0);
	bed_pass(b, 400);
	ck_assert_uint_eq(retries(b), 1);
	bed_pass(b, 60000);
	ck_assert_uint_eq(retries(b), 3);

	for (unsigned i = 0; i < 1008; i++)
		group_note_request(b->g);
	unsigned got = retries(b);
	ck_assert_msg(got >= 200 && got <= 205, "%u retries after 1008 requests", got);

	/* What was not used is forgotten. */
	for (unsigned i = 0; i < 1008; i++)
		group_note_request(b->g);
	bed_pass(b, 30000);
	ck_assert_uint_eq(retries(b), 3);
	bed_close(b);
}
END_TEST

/* ---- several workers ---- */

static _Atomic uint32_t *truth;		/* in use by all, counted without weir */
static _Atomic uint32_t *picked;

static void scramble(struct bed *b)
{
	struct server *held[8];
	unsigned n = 0;

	for (uint64_t end = clock_mono_ms() + 700; clock_mono_ms() < end;) {
		struct pick_ask ask = { .hash = 0 };

		if (n < 8 && group_pick(b->g, &ask, &held[n]) == PICK_OK) {
			struct server *s = held[n++];

			++*picked;
			if (atomic_fetch_add(&truth[s->index], 1) >= s->conf->max_conns)
				_exit(1);
		} else if (n > 0) {
			struct server *s = held[--n];

			atomic_fetch_sub(&truth[s->index], 1);
			server_put(s);
		}
	}
	while (n > 0) {
		atomic_fetch_sub(&truth[held[--n]->index], 1);
		server_put(held[n]);
	}
}

START_TEST(max_conns_holds_over_processes)
{
	struct bed *b = bed_new(3, CONF_LEAST_CONN);

	truth = bed_shared(4096);
	picked = truth + 512;
	for (unsigned i = 0; i < 3; i++)
		b->servers[i].max_conns = i + 1;
	bed_shm(b);
	bed_fork(b, 4, scramble);
	ck_assert_uint_gt(*picked, 1000);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(shm_active(&b->shm, i), 0);
	bed_close(b);
}
END_TEST

static void hold_all(struct bed *b)
{
	struct pick_ask ask = { .hash = 0 };
	struct server *s;
	struct guest x = { .rc = PICK_NONE };

	while (group_pick(b->g, &ask, &s) == PICK_OK)
		continue;
	group_wait(b->g, &x.w, &ask, on_server);
	raise(SIGKILL);
}

START_TEST(the_dead_hold_nothing)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);
	int status;

	b->servers[0].max_conns = 5;
	b->servers[1].max_conns = 2;
	bed_shm(b);
	pid_t pid = fork();
	if (pid == 0) {
		bed_worker(b, 2);
		hold_all(b);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 5);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 1);
	shm_reap_row(&b->shm, 2);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 0);
	ck_assert_uint_eq(shm_active(&b->shm, 1), 0);
	ck_assert_uint_eq(shm_queue_len(&b->shm, 0), 0);
	ck_assert_uint_eq(shm_requests(&b->shm, 0), 5);
	ck_assert_ptr_null(shm_verify(&b->shm));
	bed_close(b);
}
END_TEST

UNIT("group", use_is_counted, who_may_be_picked, full_primaries_do_not_wake_the_backup, max_conns_is_a_limit,
     first_come_first_served, waiting_ends_in_time, the_queue_is_bounded_over_workers,
     all_down_ends_waiting, callbacks_may_change_the_queue, one_who_tried_much_holds_up_nobody,
     peers_are_woken_only_when_they_wait, woken_serves, a_host_name_is_many_servers,
     a_ring_follows_the_addresses, waiting_for_a_name, a_fifth_of_requests_may_be_retried,
     max_conns_holds_over_processes, the_dead_hold_nothing)
