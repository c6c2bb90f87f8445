/*
 * notify.c - tells a supervisor that speaks systemd's protocol how we are.
 *
 * One datagram to the socket in NOTIFY_SOCKET. Called by the master as it gets
 * ready and stops, and by its loop where the supervisor has a watchdog. It never waits and needs no library.
 */
#include "master/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_systemd(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, strlen(path));
	if (path[0] == '@')
		to.sun_path[0] = '\0';	/* an abstract name */
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	close(fd);
}

uint64_t notify_ping_ms(void)
{
	/* WATCHDOG_PID is not looked at: a master that takes the place of another inherits the wrong one, and the
	 * supervisor itself knows whom it listens to. */
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t usec = text != NULL && getenv("NOTIFY_SOCKET") != NULL ? strtoull(text, NULL, 10) : 0;

	return usec / 2000 > 0 || usec == 0 ? usec / 2000 : 1;
}
