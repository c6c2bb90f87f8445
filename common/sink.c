/*
 * sink.c - writing to a log descriptor without ever waiting for it.
 *
 * Called by whoever keeps a log. Knows nothing of lines, buffers and what to do
 * about bytes that found no room.
 */
#include "common/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/obj.h"

static int open_anew(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_APPEND | O_CLOEXEC | O_NOCTTY);
}

void sink_init(struct sink *s, int fd, bool syslog)
{
	int saved = errno;
	struct stat st;

	*s = (struct sink){ .way = SINK_POLL, .given = fd, .own = -1 };
	if (fd < 0)
		return;
	if (syslog) {
		s->way = SINK_SYSLOG;
		s->peer_len = sizeof(s->peer);
		if (getpeername(fd, (struct sockaddr *)&s->peer, &s->peer_len) != 0)
			s->peer_len = 0;
	} else if (fstat(fd, &st) == 0) {
		if (S_ISREG(st.st_mode)) {
			s->way = SINK_FILE;
		} else if (S_ISSOCK(st.st_mode)) {
			s->way = SINK_STREAM;
		} else {
			s->own = open_anew(fd);
			if (s->own >= 0)
				s->way = SINK_OWN;
		}
	}
	errno = saved;
}

void sink_fini(struct sink *s)
{
	if (s->own >= 0)
		close(s->own);
	s->own = s->given = -1;
}

size_t sink_atom(const struct sink *s)
{
	return s->way == SINK_OWN || s->way == SINK_POLL ? PIPE_BUF : SIZE_MAX;
}

/* Where the kernel can promise not to wait, it must. */
static ssize_t write_polled(int fd, const char *p, size_t n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	struct iovec iov = { .iov_base = (void *)p, .iov_len = n };
	ssize_t put;

	if (poll(&pfd, 1, 0) != 1 || (pfd.revents & POLLOUT) == 0) {
		errno = EAGAIN;
		return -1;
	}
	put = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
	if (put < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
		put = write(fd, p, n < PIPE_BUF ? n : PIPE_BUF);
	return put;
}

ssize_t sink_write(struct sink *s, const char *p, size_t n)
{
	ssize_t put = -1;

	must(s->way != SINK_SYSLOG);
	if (s->given < 0) {
		errno = EBADF;
		return -1;
	}
	do {
		switch (s->way) {
		case SINK_FILE:
			put = write(s->given, p, n);
			break;
		case SINK_OWN:
			put = write(s->own, p, n);
			break;
		case SINK_STREAM:
			put = send(s->given, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
			break;
		case SINK_POLL:
		case SINK_SYSLOG:
			put = write_polled(s->given, p, n);
			break;
		}
	} while (put < 0 && errno == EINTR);
	return put;
}

int sink_send(struct sink *s, struct iovec *parts, unsigned n)
{
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = n };

	must(s->way == SINK_SYSLOG);
	if (sendmsg(s->given, &msg, flags) >= 0)
		return 0;
	if (errno == EAGAIN || errno == EMSGSIZE || s->peer_len == 0)
		return -1;
	/* A restarted daemon has a new socket at the old address. */
	if (connect(s->given, (struct sockaddr *)&s->peer, s->peer_len) != 0)
		return -1;
	return sendmsg(s->given, &msg, flags) >= 0 ? 0 : -1;
}
