/*
 * sock.c - sockets made ready: non-blocking, close-on-exec, options set.
 *
 * Called by the master for listeners and child pipes, by workers for upstream
 * connections, by the checker for probes. Never blocks, never logs, keeps no
 * state; on failure nothing is left open.
 */
#include "common/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/obj.h"

#define FDS_MAX 4

/* Closes fd and answers -1 with the errno from before. */
static int give_up(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

static int fail(int error)
{
	errno = error;
	return -1;
}

static bool set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

static int make_stream(int family)
{
	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int sock_listen(const struct addr *a, int backlog, bool reuseport, bool v6only)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);

	if (len == 0 || a->family == ADDR_UNIX)
		return fail(EAFNOSUPPORT);
	int fd = make_stream(ss.ss_family);
	if (fd < 0)
		return -1;
	if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1))
		return give_up(fd);
	if (reuseport && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1))
		return give_up(fd);
	if (a->family == ADDR_V6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only))
		return give_up(fd);
	/* Accepted sockets inherit it: no system call for each connection. */
	if (!set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1))
		return give_up(fd);
	if (bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, backlog) != 0)
		return give_up(fd);
	return fd;
}

/* Removes a socket file that nobody accepts on; 0 when the path is free now, else -1 with errno. */
static int clear_stale(const char *path, const struct sockaddr_storage *ss, socklen_t len)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISSOCK(st.st_mode))
		return fail(EEXIST);
	int probe = make_stream(AF_UNIX);
	if (probe < 0)
		return -1;
	/* A full queue or a foreign socket type is as alive as an accepted connection. */
	int error = connect(probe, (const struct sockaddr *)ss, len) == 0 ? 0 : errno;
	close(probe);
	if (error != ECONNREFUSED)
		return fail(error == EACCES ? EACCES : EADDRINUSE);
	return unlink(path) == 0 || errno == ENOENT ? 0 : -1;
}

int sock_listen_unix(const char *path, int backlog, unsigned mode)
{
	const struct addr a = { .family = ADDR_UNIX, .path = path };
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&a, &ss);

	if (len == 0)
		return fail(path[0] == '\0' ? EINVAL : ENAMETOOLONG);
	if (clear_stale(path, &ss, len) != 0)
		return -1;
	int fd = make_stream(AF_UNIX);
	if (fd < 0)
		return -1;
	/* Before bind, so that the file is never open to more than `mode`; after it, since the umask may have cut it. */
	if (fchmod(fd, mode) != 0 || bind(fd, (struct sockaddr *)&ss, len) != 0)
		return give_up(fd);
	if (chmod(path, mode) != 0 || listen(fd, backlog) != 0) {
		int saved = errno;

		unlink(path);
		errno = saved;
		return give_up(fd);
	}
	return fd;
}

int sock_connect(const struct addr *a, bool *done)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);

	*done = false;
	if (len == 0)
		return fail(EAFNOSUPPORT);
	int fd = make_stream(ss.ss_family);
	if (fd < 0)
		return -1;
	if (a->family != ADDR_UNIX && !set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1))
		return give_up(fd);
	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		*done = true;
	else if (errno != EINPROGRESS)
		return give_up(fd);
	return fd;
}

int sock_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		return errno;
	return error;
}

int sock_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	return (flags & O_NONBLOCK) != 0 ? 0 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

int sock_send_fds(int sock, const void *msg, unsigned len, const int *fds, unsigned nfds)
{
	struct iovec iov = { .iov_base = (void *)msg, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;

	must(nfds <= FDS_MAX);
	if (nfds > 0) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
	}
	return (int)sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Keeps up to `room` received descriptors, closes the others; returns how many are kept. */
static unsigned keep_fds(struct msghdr *mh, int *fds, unsigned room)
{
	unsigned kept = 0;

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm != NULL; cm = CMSG_NXTHDR(mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned count = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (kept < room)
				fds[kept++] = fd;
			else
				close(fd);
		}
	}
	return kept;
}

int sock_recv_fds(int sock, void *msg, unsigned len, int *fds, unsigned *nfds)
{
	struct iovec iov = { .iov_base = msg, .iov_len = len };
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
	};
	unsigned room = *nfds;

	*nfds = 0;
	int n = (int)recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -1;
	*nfds = keep_fds(&mh, fds, room);
	if ((mh.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0)
		return n;
	/* Half a message is none: what was lost cannot be asked for again. */
	while (*nfds > 0)
		close(fds[--*nfds]);
	return fail(EMSGSIZE);
}
