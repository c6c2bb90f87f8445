/*
 * ctl_client.c - weirctl's end of the control socket.
 *
 * Connects, asks, and reads whole answers. Called by ctl_tool.c and ctl_top.c.
 * Waits no longer than it is told to.
 */
#include "master/ctl_client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ASK_PATIENCE_S 10
#define ANSWER_MAX ((size_t)64 << 20)

int ctl_client_connect(const char *path, time_t patience_s)
{
	const struct timeval patience = { .tv_sec = patience_s };
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

int ctl_client_fail(const char *path, const char *what)
{
	const char *hint = errno == ENOENT || errno == ECONNREFUSED ? "is weir running, and is this its control socket?"
			   : errno == EACCES ? "only root and the account of the master may ask" : strerror(errno);

	fprintf(stderr, "weirctl: %s %s: %s\n", what, path, hint);
	return CTL_FAILED;
}

int ctl_client_signals(const int *others)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	for (; *others != 0; others++)
		sigaddset(&set, *others);
	return sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
}

static char *read_whole(int fd)
{
	size_t n = 0, room = 0;
	char *text = NULL;

	for (;;) {
		if (n + 4096 + 1 > room) {
			char *more = room < ANSWER_MAX ? realloc(text, room = 2 * room + 8192) : NULL;

			if (more == NULL)
				break;
			text = more;
		}
		ssize_t got = recv(fd, text + n, room - n - 1, 0);
		if (got == 0) {
			text[n] = '\0';
			return text;
		}
		if (got < 0)
			break;
		n += (size_t)got;
	}
	free(text);
	return NULL;
}

char *ctl_client_ask(const char *path, const char *line, enum ctl_status *status)
{
	int fd = ctl_client_connect(path, ASK_PATIENCE_S);
	char *text = NULL;

	if (fd < 0)
		return NULL;
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line))
		text = read_whole(fd);
	int error = errno;
	close(fd);
	errno = error;
	if (text == NULL || text[0] < '0' || text[0] > '9' || text[1] != '\n') {
		if (text != NULL)
			errno = EACCES;	/* it closes without a word on whom it does not know */
		free(text);
		return NULL;
	}
	*status = (enum ctl_status)(text[0] - '0');
	memmove(text, text + 2, strlen(text + 2) + 1);
	return text;
}
