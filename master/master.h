/*
 * master.h - the master process: what it owns and the states it goes through.
 *
 * One struct master lives for the whole run and is handed to every part of
 * master/. The master reads signals, child messages, control requests and its
 * clock in one loop; it never speaks HTTP, never looks a name up while it
 * runs, and never follows a value that a child wrote.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/shm.h"
#include "common/ticket.h"
#include "master/child.h"
#include "master/ctl_server.h"
#include "master/listen.h"
#include "master/lock.h"
#include "master/plan.h"
#include "master/priv.h"
#include "master/reload.h"
#include "master/store.h"
#include "master/upgrade.h"

#define MASTER_MAGIC 0x3a57e200u

/* Exit statuses of weir, as weir.8 tells them. */
enum {
	EXIT_ORDERLY = 0,
	EXIT_BAD_CONF = 1,
	EXIT_USAGE = 2,
	EXIT_CANNOT_START = 3,		/* a port, a permission, another instance; also a child that could not drop privileges */
};

enum master_state {
	MASTER_STARTING,		/* not every child has been ready once */
	MASTER_RUNNING,
	MASTER_DRAINING,		/* workers end what is under way; nothing is started any more */
	MASTER_STOPPING,		/* everything is told to go */
	MASTER_GONE			/* no child is left */
};

struct crew;

/* What main() knows; lives as long as the master. */
struct master_given {
	struct conf *conf;
	int ready_fd;			/* tells a waiting parent how the start went; -1: nobody waits */
	bool daemon;			/* -D: no terminal, and nothing that belongs to the starter is kept open */
	const char *program;		/* where the file of this program is looked for at an upgrade; NULL: not known */
	char *const *argv;
	struct estate *estate;		/* of the master that this one is to replace; NULL: an ordinary start */
	struct store store;		/* sockets that a supervisor kept for us */
};

struct master {
	uint32_t magic;
	enum master_state state;
	int exit_status;
	const struct master_given *given;
	const char *conf_file;		/* what a reload reads */
	struct crew *crews;		/* the youngest first */
	struct crew *crew;		/* the one in force; the first one from its making on */
	unsigned last_crew;		/* number of the youngest that ever was */
	struct reload reload;
	struct upgrade upgrade;
	struct plan plan;
	uint64_t lost_conns, lost_requests;	/* of old crews that were ended */
	uint64_t worker_restarts, other_restarts;
	uint64_t begun_wall_ms;
	int history_fd;			/* memory that admin processes hand on to each other; -1 */
	struct ticket_keys tickets;	/* as of the last fork */
	struct slots slots;
	int signal_fd;
	int ready_fd;			/* tells a waiting parent how the start went; -1: nobody waits */
	bool daemon;			/* -D: no terminal, and nothing that belongs to the starter is kept open */
	uint32_t signals;		/* received and not yet handled, one bit each */
	struct lock control_lock, pid_lock;
	struct ctl_server ctl;
	uint64_t now_ms;		/* read once per turn of the loop */
	uint64_t begun_ms;
	uint64_t store_ms;		/* not before then are sockets given to the supervisor */
	uint64_t stop_ms;		/* when MASTER_STOPPING began */
	uint64_t tick_ms;		/* last turn of the watchdog */
	uint64_t ping_every_ms;		/* how often a supervisor is told that this loop turns; 0: never */
	uint64_t ping_ms;		/* the last time */
	uint64_t syslog_seen;		/* which socket the logs were connected to; see logs.c */
	uint64_t syslog_try_ms;		/* last attempt to reach the syslog */
	uint32_t orders;		/* given to workers through shared memory, ever: numbers them */
	bool tracing, listing;		/* one client each at a time */
	unsigned logs_round;		/* raised each time the logs are reopened */
};

/* Runs until told to stop; returns the exit status. */
int master_run(const struct master_given *given);

const char *master_state_name(enum master_state s);
/* One setter. Never goes back. */
void master_set_state(struct master *m, enum master_state state);
/* Begins an orderly end: now, or after what is under way within shutdown_timeout. */
void master_stop(struct master *m, int exit_status);
void master_drain(struct master *m);

/* Says on stderr and in the error log why weir cannot start. */
void master_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
