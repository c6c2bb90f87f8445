/*
 * start.h - what the master opens before its first fork, and closes at its end.
 */
#ifndef MASTER_START_H
#define MASTER_START_H

#include <stdbool.h>

struct master;

/* Everything that can fail, in the order in which it disturbs least. False after a complaint; start_close() cleans up. */
bool start_open(struct master *m);
/* All children are ready: pid file, supervisor, waiting parent. False when the pid file cannot be written. */
bool start_announce(struct master *m);
void start_close(struct master *m);
/* A daemon, and each of its children, has /dev/null for stdin, stdout and stderr. */
void start_leave_terminal(void);

/* The parent of a daemon waits for start_announce() in its child; returns the exit status of both. */
int start_wait(int pipe_fd);

#endif
