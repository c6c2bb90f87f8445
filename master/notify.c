/*
 * notify.c - tells a supervisor that speaks systemd's protocol how we are.
 *
 * One datagram to the socket in NOTIFY_SOCKET. Called by the master as it gets
 * ready and stops, with sockets to be kept, and by its loop where the supervisor
 * has a watchdog. It never waits and needs no library.
 */
#include "master/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool notify_is_wanted(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un;

	return path != NULL && (path[0] == '/' || path[0] == '@') && strlen(path) < sizeof(un.sun_path);
}

bool notify_fd(const char *state, int fd_too)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control = { .bytes = "" };
	struct iovec iov = { .iov_base = (void *)state, .iov_len = strlen(state) };
	struct msghdr mh = { .msg_name = &to, .msg_iov = &iov, .msg_iovlen = 1 };

	if (!notify_is_wanted())
		return true;
	memcpy(to.sun_path, path, strlen(path));
	if (path[0] == '@')
		to.sun_path[0] = '\0';	/* an abstract name */
	mh.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd_too >= 0) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd_too, sizeof(int));
	}
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool sent = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN;
	close(fd);
	return sent;
}

void notify_systemd(const char *state)
{
	notify_fd(state, -1);
}

uint64_t notify_ping_ms(void)
{
	/* WATCHDOG_PID is not looked at: a master that takes the place of another inherits the wrong one, and the
	 * supervisor itself knows whom it listens to. */
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t usec = text != NULL && getenv("NOTIFY_SOCKET") != NULL ? strtoull(text, NULL, 10) : 0;

	return usec / 2000 > 0 || usec == 0 ? usec / 2000 : 1;
}
