/*
 * lock.c - one instance per control socket and per pid file.
 *
 * Owns the locked descriptors. Called by the master at its start and end. A
 * file that was removed or replaced between open and flock is not the one that
 * the next instance will look at, so it is looked up again.
 */
#include "master/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 16

static pid_t read_pid(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	long pid = strtol(text, NULL, 10);
	return pid > 0 && pid < (1 << 30) ? (pid_t)pid : 0;
}

static bool is_still(int fd, const char *path)
{
	struct stat mine, named;

	return fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev &&
	       mine.st_ino == named.st_ino;
}

enum lock_result lock_take(struct lock *l, const char *path, pid_t *holder)
{
	*holder = 0;
	*l = (struct lock){ .fd = -1 };
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);

		if (fd < 0)
			return LOCK_ERROR;
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			int error = errno;

			*holder = read_pid(fd);
			close(fd);
			errno = error;
			return error == EWOULDBLOCK ? LOCK_BUSY : LOCK_ERROR;
		}
		if (is_still(fd, path)) {
			l->fd = fd;
			l->path = strdup(path);
			/* What an earlier holder left would be taken for ours. */
			return ftruncate(fd, 0) == 0 ? LOCK_TAKEN : LOCK_ERROR;
		}
		close(fd);
	}
	errno = EAGAIN;
	return LOCK_ERROR;
}

bool lock_write_pid(struct lock *l)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	return pwrite(l->fd, text, (size_t)n, 0) == n && ftruncate(l->fd, n) == 0;
}

/* Whoever looks at the path finds the old file or the new one, each with a pid and locked. */
static bool replace(struct lock *l, const char *fresh)
{
	struct lock new = { .path = l->path };

	new.fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (new.fd < 0)
		return false;
	if (flock(new.fd, LOCK_EX | LOCK_NB) == 0 && lock_write_pid(&new) && rename(fresh, l->path) == 0) {
		close(l->fd);
		l->fd = new.fd;
		return true;
	}
	int why = errno;
	unlink(fresh);
	close(new.fd);
	errno = why;
	return false;
}

bool lock_renew(struct lock *l)
{
	char fresh[4096];

	if (l->fd < 0 || l->path == NULL)
		return true;
	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", l->path) < sizeof(fresh) && replace(l, fresh))
		return true;
	int why = errno;
	bool good = lock_write_pid(l);
	errno = why;
	return good;
}

void lock_leave(struct lock *l)
{
	l->lent = true;
	lock_drop(l);
}

void lock_drop(struct lock *l)
{
	if (l->fd < 0)
		return;
	if (l->path != NULL && !l->lent && is_still(l->fd, l->path))
		unlink(l->path);
	close(l->fd);
	free(l->path);
	*l = (struct lock){ .fd = -1 };
}
