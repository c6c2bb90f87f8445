/*
 * ipc_test.c - messages between master and child: whole, garbage, with descriptors, after the end.
 */
#include "t/unit/unit.h"

#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/sock.h"

static int ends[2];

static void open_pair(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

START_TEST(arrives_as_sent)
{
	struct ipc_msg m;
	int fd;

	open_pair();
	ck_assert(ipc_send(ends[0], IPC_DRAIN, 7, 1ull << 40, -1));
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 1);
	ck_assert_uint_eq(m.kind, IPC_DRAIN);
	ck_assert_uint_eq(m.gen, 7);
	ck_assert_uint_eq(m.arg, 1ull << 40);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 0);
}
END_TEST

START_TEST(carries_a_descriptor)
{
	struct ipc_msg m;
	int fd, pipe_ends[2];
	char byte;

	open_pair();
	ck_assert_int_eq(pipe(pipe_ends), 0);
	ck_assert(ipc_send(ends[0], IPC_LOG, 1, 3, pipe_ends[1]));
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 1);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(fd, pipe_ends[1]);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert_int_eq(read(pipe_ends[0], &byte, 1), 1);
}
END_TEST

/* A descriptor where none belongs, none where one does, and all that is not one message: dropped, and nothing is left open. */
START_TEST(drops_garbage)
{
	const struct ipc_msg bad[] = {
		{ .magic = 1, .kind = IPC_READY }, { .magic = IPC_MAGIC, .kind = 0 },
		{ .magic = IPC_MAGIC, .kind = IPC_HEIR_HELLO - 1 }, { .magic = IPC_MAGIC, .kind = IPC_LOG },
	};
	struct ipc_msg m;
	char big[4096] = { 0 };
	int fd, zero = STDIN_FILENO;

	open_pair();
	log_set_fd(-1, false);		/* what it keeps open does not count */
	unsigned before = count_fds();
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_gt(sock_send_fds(ends[0], &bad[i], sizeof(bad[i]), NULL, 0), 0);
		ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 0);
	}
	ck_assert(ipc_send(ends[0], IPC_READY, 1, 0, zero));
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 0);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_gt(sock_send_fds(ends[0], &bad[0], 3, NULL, 0), 0);
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 0);
	ck_assert_int_gt(sock_send_fds(ends[0], big, sizeof(big), &zero, 1), 0);
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 0);
	ck_assert_uint_eq(count_fds(), before);
	/* And the next one is read as if nothing had been. */
	ck_assert(ipc_send(ends[0], IPC_STOP, 2, 0, -1));
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 1);
	ck_assert_uint_eq(m.kind, IPC_STOP);
}
END_TEST

START_TEST(tells_the_end)
{
	struct ipc_msg m;
	int fd;

	open_pair();
	ck_assert(ipc_send(ends[0], IPC_READY, 1, 0, -1));
	close(ends[0]);
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), 1);
	ck_assert_int_eq(ipc_recv(ends[1], &m, &fd), -1);
	ck_assert(!ipc_send(ends[1], IPC_READY, 1, 0, -1));
}
END_TEST

/* A reader that does not read makes sending fail, never wait. */
START_TEST(never_waits)
{
	unsigned sent = 0;

	open_pair();
	while (ipc_send(ends[0], IPC_LOG, 1, 0, STDIN_FILENO))
		sent++;
	ck_assert_uint_gt(sent, 4);
}
END_TEST

START_TEST(drain_carries_two_times)
{
	uint64_t arg = ipc_drain_arg(30000, 5000);

	ck_assert_uint_eq(ipc_drain_limit(arg), 30000);
	ck_assert_uint_eq(ipc_drain_grace(arg), 5000);
	arg = ipc_drain_arg(UINT64_MAX, 1000);
	ck_assert_uint_eq(ipc_drain_grace(arg), 1000);
	ck_assert_uint_eq(ipc_drain_limit(arg), (1ull << IPC_LIMIT_BITS) - 1);
	ck_assert_uint_eq(ipc_drain_limit(ipc_drain_arg(0, 5000)), 0);
}
END_TEST

UNIT("ipc", drain_carries_two_times, arrives_as_sent, carries_a_descriptor, drops_garbage, tells_the_end, never_waits)
