/*
 * conn_test.c - connections over socket pairs and loopback TCP: short reads,
 * ends, resets, full sockets, and edges that must not get lost.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "common/sock.h"
#include "worker/io/conn.h"

static struct loop loop;
static struct conn conn;
static int far = -1;
static unsigned readies, deadlines;

static void on_ready(struct conn *c)
{
	ck_assert_ptr_eq(c, &conn);
	readies++;
}

static void on_deadline(struct conn *c)
{
	(void)c;
	deadlines++;
}

static const struct conn_ops ops = { .on_ready = on_ready, .on_deadline = on_deadline };

static void start_with(int fd, bool connecting)
{
	readies = deadlines = 0;
	ck_assert(loop_init(&loop, NULL));
	ck_assert(conn_init(&conn, &loop, fd, connecting, &ops));
}

static void start_pair(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	far = pair[1];
	start_with(pair[0], false);
}

/* A loopback TCP connection; ours is the accepted side. */
static void start_tcp(void)
{
	struct addr a;
	bool done;

	ck_assert(addr_parse_ip(SPAN("127.0.0.1"), &a));
	int l = sock_listen(&a, 1, false, false);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&ss, len);
	far = sock_connect(&a, &done);
	int fd;
	do {
		fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fd < 0 && errno == EAGAIN);
	close(l);
	ck_assert(far >= 0 && fd >= 0);
	start_with(fd, false);
}

static void finish(void)
{
	conn_close(&conn);
	conn_close(&conn);
	if (far >= 0)
		close(far);
	loop_fini(&loop);
}

/* Turns until the callback came, 2 s at most. */
static void await_ready(void)
{
	unsigned before = readies;
	uint64_t end = clock_mono_ms() + 2000;

	while (readies == before && clock_mono_ms() < end)
		loop_turn(&loop, 100);
	ck_assert_msg(readies > before, "no event came");
}

static enum io_rc send_text(const char *text, size_t *put)
{
	struct iovec iov = { .iov_base = (void *)text, .iov_len = strlen(text) };

	return conn_sendv(&conn, &iov, 1, put);
}

START_TEST(short_read_means_drained)
{
	char in[16];
	size_t got;

	start_pair();
	ck_assert(conn.can_write && !conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_AGAIN);
	ck_assert_int_eq(write(far, "hello", 5), 5);
	await_ready();
	ck_assert(conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_OK);
	ck_span_eq(span_make(in, got), "hello");
	ck_assert(!conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_AGAIN);
	ck_assert_uint_eq(got, 0);
	/* A full read may have left something. */
	ck_assert_int_eq(write(far, "12345678", 8), 8);
	await_ready();
	ck_assert_int_eq(conn_recv(&conn, in, 4, &got), IO_OK);
	ck_assert(conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, 4, &got), IO_OK);
	ck_span_eq(span_make(in, got), "5678");
	ck_assert(conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, 4, &got), IO_AGAIN);
	ck_assert(!conn.can_read);
	/* And the next byte is told again. */
	ck_assert_int_eq(write(far, "x", 1), 1);
	await_ready();
	ck_assert_int_eq(conn_recv(&conn, in, 4, &got), IO_OK);
	finish();
}
END_TEST

START_TEST(unread_bytes_are_told_once)
{
	char in[16];
	size_t got;

	start_pair();
	ck_assert_int_eq(write(far, "a", 1), 1);
	await_ready();
	unsigned before = readies;
	ck_assert_int_eq(write(far, "b", 1), 1);
	loop_turn(&loop, 20);
	ck_assert_uint_eq(readies, before);
	ck_assert(conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_OK);
	ck_span_eq(span_make(in, got), "ab");
	finish();
}
END_TEST

/* The last bytes and the end come together: the short read must not hide the end, for which no other edge comes. */
START_TEST(end_behind_the_last_bytes)
{
	char in[16];
	size_t got;

	start_tcp();
	ck_assert_int_eq(write(far, "last", 4), 4);
	ck_assert_int_eq(shutdown(far, SHUT_WR), 0);
	usleep(5000);
	await_ready();
	ck_assert(conn.hup && !conn.broken);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_OK);
	ck_assert(conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_EOF);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_EOF);
	/* Half-closed: our direction is alive. */
	ck_assert_int_eq(send_text("answer", &got), IO_OK);
	ck_assert_int_eq(read(far, in, sizeof(in)), 6);
	ck_assert_int_eq(conn.error, 0);
	finish();
}
END_TEST

/* The end arrives after the event and before the read. */
START_TEST(end_in_the_gap)
{
	char in[16];
	size_t got;

	start_tcp();
	ck_assert_int_eq(write(far, "x", 1), 1);
	await_ready();
	ck_assert(!conn.hup);
	shutdown(far, SHUT_WR);
	usleep(5000);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_OK);
	await_ready();
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_EOF);
	finish();
}
END_TEST

START_TEST(both_ends_closed_still_delivers)
{
	char in[16];
	size_t got;

	start_pair();
	ck_assert_int_eq(write(far, "bye", 3), 3);
	close(far);
	far = -1;
	await_ready();
	ck_assert(conn.broken);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_OK);
	ck_span_eq(span_make(in, got), "bye");
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_EOF);
	ck_assert_int_eq(send_text("x", &got), IO_FAIL);
	ck_assert_int_eq(conn.error, EPIPE);
	ck_assert_int_eq(send_text("x", &got), IO_FAIL);
	finish();
}
END_TEST

static void reset_far(void)
{
	const struct linger at_once = { .l_onoff = 1 };

	ck_assert_int_eq(setsockopt(far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(far);
	far = -1;
}

START_TEST(reset_is_a_failure)
{
	char in[16];
	size_t got;

	start_tcp();
	reset_far();
	await_ready();
	ck_assert(conn.broken && conn.can_read);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_FAIL);
	ck_assert_int_eq(conn.error, ECONNRESET);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_FAIL);
	ck_assert_int_eq(send_text("x", &got), IO_FAIL);
	ck_assert_int_eq(conn.error, ECONNRESET);
	finish();
}
END_TEST

/* The write hears of the reset first: what was sent before may be read, but no end may follow it. */
START_TEST(reset_told_to_a_write_is_no_end)
{
	char in[16];
	size_t got;
	enum io_rc rc;

	start_tcp();
	ck_assert_int_eq(write(far, "early", 5), 5);
	reset_far();
	usleep(5000);
	ck_assert_int_eq(send_text("x", &got), IO_FAIL);
	ck_assert(conn.can_read);
	while ((rc = conn_recv(&conn, in, sizeof(in), &got)) == IO_OK)
		ck_span_eq(span_make(in, got), "early");
	ck_assert_int_eq(rc, IO_FAIL);
	finish();
}
END_TEST

static size_t read_all(size_t want)
{
	static char sink[65536];
	size_t total = 0;
	ssize_t n;

	while (total < want && (n = read(far, sink, sizeof(sink))) > 0)
		total += (size_t)n;
	return total;
}

static void ck_backpressure(void)
{
	static char block[262144];
	const struct iovec iov[2] = { { block, sizeof(block) }, { block, 100 } };
	size_t put, total = 0, read_back = 0;

	while (conn_sendv(&conn, iov, 2, &put) == IO_OK && total < ((size_t)64 << 20))
		total += put;
	ck_assert(!conn.can_write);
	ck_assert_uint_lt(total, (size_t)64 << 20);
	loop_turn(&loop, 0);
	ck_assert(!conn.can_write);
	ck_assert_int_eq(conn_sendv(&conn, iov, 2, &put), IO_AGAIN);
	/* Room comes back once the peer reads, and is told once. */
	for (unsigned i = 0; i < 1000 && !conn.can_write; i++) {
		read_back += read_all(total - read_back);
		loop_turn(&loop, 10);
	}
	ck_assert(conn.can_write);
	ck_assert_int_eq(conn_sendv(&conn, iov, 2, &put), IO_OK);
	finish();
}

START_TEST(full_unix_socket_waits)
{
	start_pair();
	ck_backpressure();
}
END_TEST

START_TEST(full_tcp_socket_waits)
{
	start_tcp();
	ck_backpressure();
}
END_TEST

START_TEST(sends_gather_and_cap)
{
	static struct iovec iov[IOV_MAX + 10];
	size_t put;

	start_pair();
	for (unsigned i = 0; i < IOV_MAX + 10; i++)
		iov[i] = (struct iovec){ .iov_base = "ab", .iov_len = 2 };
	ck_assert_int_eq(conn_sendv(&conn, iov, IOV_MAX + 10, &put), IO_OK);
	/* More pieces than the kernel takes is no full socket. */
	ck_assert_uint_eq(put, 2 * IOV_MAX);
	ck_assert(conn.can_write);
	ck_assert_int_eq(conn_sendv(&conn, iov, 0, &put), IO_OK);
	ck_assert_uint_eq(put, 0);
	finish();
}
END_TEST

START_TEST(shut_ends_our_direction_only)
{
	char in[16];
	size_t got;

	start_tcp();
	conn_shut(&conn);
	usleep(5000);
	ck_assert_int_eq(read(far, in, sizeof(in)), 0);
	ck_assert_int_eq(write(far, "more", 4), 4);
	await_ready();
	while (conn_recv(&conn, in, sizeof(in), &got) == IO_AGAIN)
		await_ready();
	ck_span_eq(span_make(in, got), "more");
	finish();
	conn_shut(&conn);
}
END_TEST

START_TEST(reset_reaches_the_peer)
{
	char in[16];

	start_tcp();
	conn_reset(&conn);
	conn_reset(&conn);
	usleep(5000);
	ck_assert_int_eq(read(far, in, sizeof(in)), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	finish();
}
END_TEST

START_TEST(connects)
{
	struct addr a;
	bool done;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	size_t put;

	ck_assert(addr_parse_ip(SPAN("127.0.0.1"), &a));
	int l = sock_listen(&a, 1, false, false);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&ss, len);
	start_with(sock_connect(&a, &done), true);
	ck_assert(conn.connecting && !conn.can_write);
	ck_assert_int_eq(send_text("early", &put), IO_AGAIN);
	await_ready();
	ck_assert(!conn.connecting && conn.error == 0 && conn.can_write && !conn.broken);
	ck_assert_int_eq(send_text("x", &put), IO_OK);
	close(l);
	finish();
}
END_TEST

START_TEST(connect_refused)
{
	struct addr a;
	bool done;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char in[4];
	size_t got;

	ck_assert(addr_parse_ip(SPAN("127.0.0.1"), &a));
	int l = sock_listen(&a, 1, false, false);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&ss, len);
	close(l);
	int fd = sock_connect(&a, &done);
	/* Loopback may refuse on the spot. */
	if (fd < 0)
		return;
	start_with(fd, true);
	await_ready();
	ck_assert(!conn.connecting && conn.broken);
	ck_assert_int_eq(conn.error, ECONNREFUSED);
	ck_assert_int_eq(conn_recv(&conn, in, sizeof(in), &got), IO_FAIL);
	ck_assert_int_eq(send_text("x", &got), IO_FAIL);
	ck_assert_int_eq(conn.error, ECONNREFUSED);
	finish();
}
END_TEST

START_TEST(deadline)
{
	start_pair();
	conn_deadline(&conn, 20);
	conn_deadline(&conn, 40);
	uint64_t start = loop.now_ms;
	while (deadlines == 0 && loop.now_ms < start + 2000)
		loop_turn(&loop, 100);
	ck_assert_uint_eq(deadlines, 1);
	ck_assert_uint_ge(loop.now_ms - start, 40);
	conn_deadline(&conn, 10);
	conn_deadline(&conn, 0);
	loop_turn(&loop, 30);
	loop_turn(&loop, 30);
	ck_assert_uint_eq(deadlines, 1);
	/* Closing silences both. */
	conn_deadline(&conn, 1);
	ck_assert_int_eq(write(far, "x", 1), 1);
	conn_close(&conn);
	conn_deadline(&conn, 0);
	unsigned before = readies;
	loop_turn(&loop, 20);
	ck_assert_uint_eq(deadlines, 1);
	ck_assert_uint_eq(readies, before);
	finish();
}
END_TEST

START_TEST(failed_init_leaves_the_descriptor)
{
	/* A file epoll refuses. */
	ck_assert(loop_init(&loop, NULL));
	int file = open("/proc/self/exe", O_RDONLY);
	ck_assert(!conn_init(&conn, &loop, file, false, &ops));
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fcntl(file, F_GETFD), 0);
	conn_close(&conn);
	ck_assert_int_eq(fcntl(file, F_GETFD), 0);
	close(file);
	loop_fini(&loop);
}
END_TEST

UNIT("conn", short_read_means_drained, unread_bytes_are_told_once, end_behind_the_last_bytes, end_in_the_gap,
     both_ends_closed_still_delivers, reset_is_a_failure, reset_told_to_a_write_is_no_end, full_unix_socket_waits,
     full_tcp_socket_waits, sends_gather_and_cap, shut_ends_our_direction_only, reset_reaches_the_peer, connects,
     connect_refused, deadline, failed_init_leaves_the_descriptor)
