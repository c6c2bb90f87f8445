/*
 * loop_test.c - one turn of the loop: events, timers, tasks, then the dead; and
 * that nothing is freed or called out of this order.
 */
#include "t/unit/unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "worker/io/loop.h"

static struct loop loop;
static struct peer *killer;
static char story[256];

static void note(const char *what)
{
	strcat(story, what);
}

static void setup(void)
{
	story[0] = '\0';
	ck_assert(loop_init(&loop, NULL));
}

struct peer {
	struct watch watch;
	struct grave grave;
	int fd, far;
	unsigned events;
	uint32_t last;
	struct peer *victim;
};

static void bury_peer(struct grave *g)
{
	struct peer *p = container_of(g, struct peer, grave);

	note("bury ");
	memset(p, 0xdb, sizeof(*p));
	free(p);
}

static void kill_peer(struct peer *p)
{
	p->watch.on_event = NULL;
	close(p->fd);
	loop_bury(&loop, &p->grave, bury_peer);
}

static void on_peer(struct watch *w, uint32_t events)
{
	struct peer *p = container_of(w, struct peer, watch);

	p->events++;
	p->last = events;
	if (p->victim == NULL)
		return;
	note("kill ");
	killer = p;
	kill_peer(p->victim);
	p->victim->victim = NULL;
	p->victim = NULL;
}

static struct peer *peer_new(bool input_only)
{
	struct peer *p = calloc(1, sizeof(*p));
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	p->fd = pair[0];
	p->far = pair[1];
	p->watch.on_event = on_peer;
	ck_assert(input_only ? loop_watch_input(&loop, p->fd, &p->watch, false) : loop_watch(&loop, p->fd, &p->watch));
	return p;
}

/* Two are ready in one batch, and whichever comes first kills the other: the late event finds it dead, not freed. */
START_TEST(dead_objects_outlive_the_batch)
{
	setup();
	struct peer *a = peer_new(true), *b = peer_new(true);
	int far_a = a->far, far_b = b->far;

	a->victim = b;
	b->victim = a;
	ck_assert_int_eq(write(far_a, "x", 1), 1);
	ck_assert_int_eq(write(far_b, "x", 1), 1);
	loop_turn(&loop, 1000);
	ck_assert_str_eq(story, "kill bury ");
	ck_assert(list_empty(&loop.dead));
	kill_peer(killer);
	loop_fini(&loop);
	ck_assert_str_eq(story, "kill bury bury ");
	close(far_a);
	close(far_b);
}
END_TEST

START_TEST(edges_come_once)
{
	setup();
	struct peer *p = peer_new(false);

	loop_turn(&loop, 1000);
	ck_assert_uint_eq(p->events, 1);
	ck_assert_uint_eq(p->last, EPOLLOUT);
	loop_turn(&loop, 0);
	ck_assert_uint_eq(p->events, 1);
	ck_assert_int_eq(write(p->far, "x", 1), 1);
	loop_turn(&loop, 1000);
	ck_assert_uint_eq(p->events, 2);
	ck_assert(p->last & EPOLLIN);
	/* Not read, not told again. */
	loop_turn(&loop, 0);
	ck_assert_uint_eq(p->events, 2);
	close(p->far);
	loop_turn(&loop, 1000);
	ck_assert(p->last & EPOLLRDHUP);
	kill_peer(p);
	loop_fini(&loop);
	ck_assert_str_eq(story, "bury ");
}
END_TEST

START_TEST(input_pauses_and_resumes)
{
	for (int exclusive = 0; exclusive < 2; exclusive++) {
		setup();
		struct peer *p = peer_new(true);

		loop_pause_input(&loop, p->fd, &p->watch, true, exclusive);
		loop_pause_input(&loop, p->fd, &p->watch, true, exclusive);
		ck_assert_int_eq(write(p->far, "x", 1), 1);
		loop_turn(&loop, 0);
		ck_assert_uint_eq(p->events, 0);
		loop_pause_input(&loop, p->fd, &p->watch, false, exclusive);
		loop_pause_input(&loop, p->fd, &p->watch, false, exclusive);
		/* Level-triggered: told until it is read. */
		loop_turn(&loop, 1000);
		loop_turn(&loop, 1000);
		ck_assert_uint_eq(p->events, 2);
		close(p->far);
		kill_peer(p);
		loop_fini(&loop);
	}
}
END_TEST

static struct timer timer;
static struct task first, second;
static unsigned rounds;

static void on_timer(struct timer *t)
{
	(void)t;
	note("timer ");
	loop_defer(&loop, &first);
	loop_defer(&loop, &first);
}

static void run_second(struct task *t)
{
	(void)t;
	note("second ");
}

static void run_first(struct task *t)
{
	(void)t;
	note("first ");
	loop_defer(&loop, &second);
}

static void on_turn(struct loop *l)
{
	(void)l;
	note("turn ");
}

START_TEST(order_within_a_turn)
{
	setup();
	struct peer *p = peer_new(true);

	loop.on_turn = on_turn;
	timer_init(&timer, on_timer);
	task_init(&first, run_first);
	task_init(&second, run_second);
	p->victim = peer_new(true);
	close(p->victim->far);
	ck_assert_int_eq(write(p->far, "x", 1), 1);
	p->victim->watch.on_event = NULL;
	timer_set(&loop.wheel, &timer, loop.now_ms + 1);
	usleep(10000);
	loop_turn(&loop, 1000);
	ck_assert_str_eq(story, "kill timer first second turn bury ");
	close(p->far);
	kill_peer(p);
	loop_fini(&loop);
}
END_TEST

static void run_again(struct task *t)
{
	rounds++;
	loop_defer(&loop, t);
}

/* A task that queues itself for ever does not hold the turn, nor is it forgotten. */
START_TEST(endless_task_yields)
{
	setup();
	rounds = 0;
	task_init(&first, run_again);
	task_init(&second, run_second);
	loop_defer(&loop, &first);
	loop_defer(&loop, &second);
	uint64_t start = clock_mono_ms();
	loop_turn(&loop, 1000);
	unsigned once = rounds;
	ck_assert_uint_ge(once, 1);
	ck_assert_uint_lt(once, 100);
	ck_assert_str_eq(story, "second ");
	/* Waiting work means no sleep. */
	loop_turn(&loop, 1000);
	ck_assert_uint_lt(clock_mono_ms() - start, 900);
	ck_assert_uint_gt(rounds, once);
	loop_cancel(&first);
	loop_cancel(&first);
	once = rounds;
	loop_turn(&loop, 0);
	ck_assert_uint_eq(rounds, once);
	loop_fini(&loop);
}
END_TEST

static void stop_loop(struct timer *t)
{
	(void)t;
	loop.stop = true;
}

START_TEST(timers_wake_the_loop)
{
	setup();
	timer_init(&timer, stop_loop);
	uint64_t start = clock_mono_ms();
	timer_set(&loop.wheel, &timer, loop.now_ms + 50);
	loop_run(&loop);
	uint64_t took = clock_mono_ms() - start;
	ck_assert_msg(took >= 49 && took < 450, "took %lu ms", (unsigned long)took);
	loop_fini(&loop);
}
END_TEST

START_TEST(bad_descriptor_is_told)
{
	struct watch w = { .on_event = on_peer };

	setup();
	ck_assert(!loop_watch(&loop, -1, &w));
	ck_assert(!loop_watch_input(&loop, -1, &w, true));
	loop_fini(&loop);
}
END_TEST

UNIT("loop", dead_objects_outlive_the_batch, edges_come_once, input_pauses_and_resumes, order_within_a_turn,
     endless_task_yields, timers_wake_the_loop, bad_descriptor_is_told)
