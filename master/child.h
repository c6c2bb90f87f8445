/*
 * child.h - one process slot of the master: a worker or the checker.
 *
 * Slots are made with their crew and live as long as it; processes come and go in
 * them. child.c holds the only fork() of weir. What a child does between the
 * fork and worker_main() is in become.c.
 */
#ifndef MASTER_CHILD_H
#define MASTER_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/process.h"
#include "master/watchdog.h"

struct crew;
struct master;

#define CHILD_MAGIC 0xc411d000u
#define CHILD_EXIT_SETUP 3		/* a child that could not become what it should be; never worth another try at start */

enum child_state {
	CHILD_DOWN,			/* no process; due_ms says when the next one starts */
	CHILD_STARTING,			/* forked, IPC_READY has not come */
	CHILD_LIVE,
	CHILD_DRAINING,			/* ends what is under way, then exits */
	CHILD_STOPPING,			/* told to exit now */
	CHILD_STUCK			/* the watchdog gave up on it; only its death is awaited */
};

struct child {
	uint32_t magic;
	enum child_state state;
	enum process_role role;
	struct crew *crew;		/* whose it is */
	unsigned slot;
	char name[24];			/* "worker 3", "checker" */
	pid_t pid;			/* 0: none */
	int control;			/* -1: none, or closed by the other side */
	uint32_t gen;			/* raised at each start; the master's own copy is the one that counts */
	bool told;			/* that it may accept */
	bool away;			/* it said that it accepts nothing more */
	unsigned restarts;		/* deaths nobody asked for */
	unsigned quick_deaths;		/* in a row */
	uint64_t born_ms, ready_ms;	/* of this process; ready_ms 0: not yet */
	uint64_t due_ms;		/* CHILD_DOWN: when to start it */
	uint64_t kill_ms;		/* when SIGKILL follows; 0: no such plan */
	unsigned logs_round, logs_sent;	/* reopened logs: which round, how many of them it has */
	struct watch watch;
};

/* All slots, workers first, the checker last; nothing is started yet. False with errno. */
bool children_init(struct crew *w);
void children_fini(struct crew *w);

/* Makes it so: starts what is due, kills what is overdue, passes on what waits to be sent. Called once per turn. */
void children_tend(struct master *m);
/* Earliest time at which children_tend() has something to do; UINT64_MAX: none. */
uint64_t children_next(const struct master *m);
/* Collects every dead process. */
void children_reap(struct master *m);
/* Reads what a child sent; its descriptor was reported readable. */
void child_on_message(struct master *m, struct child *c);

void child_stop(struct master *m, struct child *c);
/* Idle clients are kept for `grace_ms`. retire: another generation serves, tunnels may take longer. */
void child_drain(struct master *m, struct child *c, uint64_t grace_ms, bool retire);
/* weir stops: one that drains has no more time than the others from now on. */
void child_hurry(struct master *m, struct child *c);
/* Sends `sig` and, if the process is still there after `patience_ms`, SIGKILL; 0: no plan. */
void child_signal(struct master *m, struct child *c, int sig, uint64_t patience_ms);
void child_set_state(struct child *c, enum child_state state);
const char *child_state_name(enum child_state s);

unsigned children_count(const struct master *m);		/* processes that exist */
unsigned children_workers(const struct master *m);		/* of them workers */

/* Pause before the next start after that many deaths in a row without useful work: 0, then 100 ms doubling to 10 s. */
uint64_t child_backoff_ms(unsigned quick_deaths);

/* fork(), for the trial process of a reload and the program of an upgrade. */
pid_t child_fork(void);

/* Forks into the background for -D. In the parent: false, and *pipe_fd is where the child reports. In the child: true, and
 * *pipe_fd is where it writes. Ends the process when it cannot. */
bool child_detach(int *pipe_fd);

/* become.c: the way from fork() to worker_main(); `control` is the child's end. */
_Noreturn void become_child(struct master *m, struct child *c, int control);

#endif
