/*
 * lock.h - one instance per control socket and per pid file.
 *
 * A lock is flock() on a file: it goes with its holder, however that dies, and
 * a pid in the file is only for people and scripts. Children must not keep the
 * descriptor.
 */
#ifndef MASTER_LOCK_H
#define MASTER_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

struct lock {
	int fd;				/* -1: not held */
	char *path;
	bool lent;			/* the file is another master's to remove */
};

enum lock_result { LOCK_TAKEN, LOCK_BUSY, LOCK_ERROR };
/* BUSY: *holder is the pid found in the file, 0 when there is none. ERROR: errno. The file is emptied when taken. */
enum lock_result lock_take(struct lock *l, const char *path, pid_t *holder);
bool lock_write_pid(struct lock *l);
/* A new file with our pid, locked by us, in the place of the old one. False with errno: there is no way to make one, and the pid
 * is in the old one if that was possible. Does nothing where nothing is held. */
bool lock_renew(struct lock *l);
/* Another master holds it now. */
void lock_leave(struct lock *l);
/* Removes the file, unless it is lent, and lets go; idempotent. */
void lock_drop(struct lock *l);

#endif
