/*
 * accept_test.c - acceptors: batches, limits, want of descriptors, draining.
 */
#include "t/unit/unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/sock.h"
#include "worker/io/accept.h"

static struct loop loop;
static struct acceptor acceptor;
static int listener;
static struct addr at;
static int taken[256];
static unsigned ntaken, limit;
static bool refuse, stop_at_first;

static bool on_conn(struct acceptor *a, int fd, const struct addr *peer)
{
	ck_assert_ptr_eq(a, &acceptor);
	ck_assert_uint_eq(peer->family, at.family);
	if (refuse)
		return false;
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	taken[ntaken++] = fd;
	if (stop_at_first)
		acceptor_stop(a);
	return true;
}

static bool may_accept(struct acceptor *a)
{
	(void)a;
	return ntaken < limit;
}

static void start(bool shared)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	ntaken = 0;
	limit = 256;
	refuse = stop_at_first = false;
	ck_assert(loop_init(&loop, NULL));
	ck_assert(addr_parse_ip(SPAN("127.0.0.1"), &at));
	listener = sock_listen(&at, 128, false, false);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&at, (struct sockaddr *)&ss, len);
	ck_assert(acceptor_init(&acceptor, &loop, listener, shared, on_conn, NULL));
	ck_assert(addr_eq(&acceptor.local, &at));
	acceptor.may_accept = may_accept;
}

static void finish(void)
{
	acceptor_fini(&acceptor);
	ck_assert_int_ge(fcntl(listener, F_GETFD), 0);
	close(listener);
	loop_fini(&loop);
}

static void dial(unsigned n)
{
	bool done;

	while (n-- > 0)
		ck_assert_int_ge(sock_connect(&at, &done), 0);
	usleep(5000);
}

static void turn_until(unsigned want)
{
	uint64_t end = clock_mono_ms() + 2000;

	while (ntaken < want && clock_mono_ms() < end)
		loop_turn(&loop, 50);
	ck_assert_uint_eq(ntaken, want);
}

START_TEST(accepts_in_batches)
{
	start(false);
	dial(ACCEPT_BATCH + 8);
	loop_turn(&loop, 1000);
	ck_assert_uint_eq(ntaken, ACCEPT_BATCH);
	turn_until(ACCEPT_BATCH + 8);
	finish();
}
END_TEST

START_TEST(limit_pauses_until_one_ends)
{
	start(true);
	limit = 3;
	dial(5);
	turn_until(3);
	loop_turn(&loop, 1000);
	ck_assert(acceptor.paused);
	/* Paused means asleep: the queue is not empty and the loop does not spin on it. */
	uint64_t before = clock_mono_ms();
	loop_turn(&loop, 60);
	ck_assert_uint_ge(clock_mono_ms() - before, 50);
	ck_assert_uint_eq(ntaken, 3);
	limit = 4;
	acceptor_update(&acceptor);
	acceptor_update(&acceptor);
	turn_until(4);
	limit = 10;
	acceptor_update(&acceptor);
	turn_until(5);
	ck_assert(!acceptor.paused);
	finish();
}
END_TEST

/* No descriptors: the client waits in the queue and is served when there are some again. */
START_TEST(descriptor_exhaustion_backs_off)
{
	struct rlimit limits;
	unsigned turns = 0;

	start(false);
	dial(2);
	log_set_fd(open("/dev/null", O_WRONLY), false);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limits), 0);
	rlim_t soft = limits.rlim_cur;
	limits.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
	uint64_t end = clock_mono_ms() + 500;
	while (clock_mono_ms() < end) {
		loop_turn(&loop, 500);
		turns++;
	}
	limits.rlim_cur = soft;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
	ck_assert_uint_eq(ntaken, 0);
	ck_assert_uint_ge(acceptor.errors, 2);
	ck_assert_uint_lt(turns, 40);
	turn_until(2);
	ck_assert(!acceptor.paused);
	finish();
}
END_TEST

/* The end of a connection is a reason to try at once, without the back-off. */
START_TEST(update_ends_the_back_off)
{
	struct rlimit limits;

	start(false);
	dial(1);
	log_set_fd(open("/dev/null", O_WRONLY), false);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limits), 0);
	rlim_t soft = limits.rlim_cur;
	limits.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
	loop_turn(&loop, 1000);
	limits.rlim_cur = soft;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
	ck_assert(acceptor.paused && timer_is_set(&acceptor.retry));
	acceptor_update(&acceptor);
	ck_assert(!acceptor.paused && !timer_is_set(&acceptor.retry));
	loop_turn(&loop, 20);
	ck_assert_uint_eq(ntaken, 1);
	finish();
}
END_TEST

START_TEST(refused_connections_are_closed)
{
	char in[4];
	bool done;

	start(false);
	refuse = true;
	int c = sock_connect(&at, &done);
	fcntl(c, F_SETFL, 0);
	loop_turn(&loop, 1000);
	ck_assert_int_eq(read(c, in, sizeof(in)), 0);
	finish();
}
END_TEST

START_TEST(stops_for_good)
{
	start(false);
	stop_at_first = true;
	dial(3);
	loop_turn(&loop, 1000);
	ck_assert_uint_eq(ntaken, 1);
	acceptor_update(&acceptor);
	loop_turn(&loop, 20);
	ck_assert_uint_eq(ntaken, 1);
	/* The queue is intact for whoever takes the descriptor over. */
	ck_assert_int_ge(accept4(listener, NULL, NULL, SOCK_NONBLOCK), 0);
	finish();
}
END_TEST

UNIT("accept", accepts_in_batches, limit_pauses_until_one_ends, descriptor_exhaustion_backs_off,
     update_ends_the_back_off, refused_connections_are_closed, stops_for_good)
