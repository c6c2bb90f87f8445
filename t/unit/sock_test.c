/*
 * sock_test.c - listeners, connects, stale socket files, descriptors by mail.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sock.h"

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static struct addr bound_to(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr a;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&ss, len);
	return a;
}

static void ck_flags(int fd)
{
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int listen_any(bool reuseport)
{
	struct addr a;

	ck_assert(addr_parse_ip(SPAN("127.0.0.1"), &a));
	int fd = sock_listen(&a, 16, reuseport, true);
	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(tcp_listen_and_connect)
{
	int l = listen_any(false);
	struct addr at = bound_to(l);
	bool done;
	struct pollfd pfd = { .events = POLLOUT };

	ck_flags(l);
	ck_assert_int_eq(option(l, SOL_SOCKET, SO_REUSEADDR), 1);
	ck_assert_int_eq(option(l, SOL_SOCKET, SO_REUSEPORT), 0);
	int c = pfd.fd = sock_connect(&at, &done);
	ck_assert_int_ge(c, 0);
	ck_flags(c);
	ck_assert_int_eq(option(c, IPPROTO_TCP, TCP_NODELAY), 1);
	ck_assert_int_eq(poll(&pfd, 1, 5000), 1);
	ck_assert_int_eq(sock_error(c), 0);
	close(c);
	close(l);
	/* Nobody listens there now. */
	c = sock_connect(&at, &done);
	if (c >= 0) {
		pfd.fd = c;
		ck_assert(!done);
		ck_assert_int_eq(poll(&pfd, 1, 5000), 1);
		ck_assert_int_eq(sock_error(c), ECONNREFUSED);
		ck_assert_int_eq(sock_error(c), 0);
		close(c);
	} else {
		ck_assert_int_eq(errno, ECONNREFUSED);
	}
	ck_assert_int_eq(sock_error(-1), EBADF);
}
END_TEST

START_TEST(reuseport_is_asked_for)
{
	int first = listen_any(true);
	struct addr at = bound_to(first);

	int second = sock_listen(&at, 16, true, true);
	ck_assert_int_ge(second, 0);
	ck_assert_int_eq(sock_listen(&at, 16, false, true), -1);
	ck_assert_int_eq(errno, EADDRINUSE);
	close(first);
	close(second);
}
END_TEST

START_TEST(refuses_addresses_without_form)
{
	struct addr none = { .family = ADDR_NONE }, un = { .family = ADDR_UNIX, .path = "/tmp/x" };
	bool done;

	ck_assert_int_eq(sock_listen(&none, 1, false, false), -1);
	ck_assert_int_eq(sock_listen(&un, 1, false, false), -1);
	ck_assert_int_eq(sock_connect(&none, &done), -1);
	un.path = NULL;
	ck_assert_int_eq(sock_connect(&un, &done), -1);
}
END_TEST

static char dir[] = "/tmp/weir-sock-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

START_TEST(unix_listener_and_stale_file)
{
	struct stat st;
	bool done;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	const char *path = in_dir("s");
	struct addr at = { .family = ADDR_UNIX, .path = path };

	umask(077);
	int l = sock_listen_unix(path, 4, 0660);
	ck_assert_int_ge(l, 0);
	ck_flags(l);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	int c = sock_connect(&at, &done);
	ck_assert(c >= 0 && done);
	close(c);
	/* Alive: stays. */
	ck_assert_int_eq(sock_listen_unix(path, 4, 0600), -1);
	ck_assert_int_eq(errno, EADDRINUSE);
	close(l);
	/* Left behind by the dead: replaced. */
	ck_assert_int_eq(lstat(path, &st), 0);
	l = sock_listen_unix(path, 4, 0600);
	ck_assert_int_ge(l, 0);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	close(l);
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(unix_listener_spares_other_files)
{
	char longer[200];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	const char *path = in_dir("file");
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(sock_listen_unix(path, 4, 0600), -1);
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_int_eq(unlink(path), 0);
	memset(longer, 'x', sizeof(longer));
	longer[199] = '\0';
	ck_assert_int_eq(sock_listen_unix(longer, 4, 0600), -1);
	ck_assert_int_eq(errno, ENAMETOOLONG);
	ck_assert_int_eq(sock_listen_unix(in_dir("no/such"), 4, 0600), -1);
	ck_assert_int_eq(errno, ENOENT);
	rmdir(dir);
}
END_TEST

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(descriptors_travel)
{
	int pair[2], sent[4], got[4];
	char msg[16];
	unsigned n = 4;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	for (unsigned i = 0; i < 4; i++)
		sent[i] = open("/dev/null", O_RDWR);
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, sizeof(msg), got, &n), -1);
	ck_assert(errno == EAGAIN && n == 0);
	ck_assert_int_eq(sock_send_fds(pair[0], "four", 4, sent, 4), 4);
	n = 4;
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, sizeof(msg), got, &n), 4);
	ck_assert_uint_eq(n, 4);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		close(got[i]);
	}
	/* None sent, none wanted. */
	n = 0;
	ck_assert_int_eq(sock_send_fds(pair[0], "none", 4, NULL, 0), 4);
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, sizeof(msg), NULL, &n), 4);
	ck_assert_uint_eq(n, 0);
	/* More than there is room for: the surplus does not leak. */
	unsigned before = open_fds();
	n = 1;
	ck_assert_int_eq(sock_send_fds(pair[0], "surplus", 7, sent, 3), 7);
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, sizeof(msg), got, &n), 7);
	ck_assert_uint_eq(n, 1);
	close(got[0]);
	ck_assert_uint_eq(open_fds(), before);
	/* A cut message is refused whole. */
	n = 4;
	ck_assert_int_eq(sock_send_fds(pair[0], "0123456789", 10, sent, 2), 10);
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, 5, got, &n), -1);
	ck_assert(errno == EMSGSIZE && n == 0);
	ck_assert_uint_eq(open_fds(), before);
	close(pair[0]);
	n = 4;
	ck_assert_int_eq(sock_recv_fds(pair[1], msg, sizeof(msg), got, &n), 0);
	ck_assert_int_eq(sock_send_fds(pair[1], "x", 1, NULL, 0), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

UNIT("sock", tcp_listen_and_connect, reuseport_is_asked_for, refuses_addresses_without_form,
     unix_listener_and_stale_file, unix_listener_spares_other_files, descriptors_travel)
