/*
 * process.h - what the master hands to a child that it forked.
 *
 * By the time worker_main(), checker_main() or admin_main() is called the child has closed
 * what is not its own, mapped shared memory for its role, dropped privileges
 * and set its title; from then on it talks to the master only through
 * `control` and shared memory. End of file on `control` means that the master
 * is gone.
 */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/shm.h"
#include "common/shm_record.h"
#include "common/ticket.h"

#define PROCESS_MAGIC 0x940ce550u

enum process_role { PROCESS_WORKER, PROCESS_CHECKER, PROCESS_ADMIN };

/* Of an older generation that still lives, or whose counters are still on their way: for the admin process, to read. */
struct process_past {
	unsigned generation;
	const struct conf *conf;
	struct shm shm;
};

struct process_listen {
	unsigned bind;			/* conf_bind->id */
	int fd;
	bool shared;			/* all workers accept from it */
};

struct process {
	uint32_t magic;
	enum process_role role;
	const struct conf *conf;
	struct ticket_keys *tickets;	/* our own copy: it moves on with the time */
	struct shm shm;
	struct records records;		/* a worker's */
	unsigned slot;			/* row of this process; the checker's is conf->workers, the admin process's the next */
	unsigned generation;
	int control;			/* SOCK_SEQPACKET to the master; see ipc.h */
	/* Workers: the listening sockets to accept from. An address may have several: a slot's own, and those of slots that have no
	 * worker any more. A UNIX address has one, which all workers share. */
	const struct process_listen *listens;
	unsigned nlistens;
	bool wait;			/* accept nobody before IPC_GO */
	/* The admin process. */
	struct process_past *past;	/* the youngest first */
	unsigned npast;
	int history_fd;			/* what outlives a generation; -1 */
	/* Event counters, one per slot, the checker's last: writing 1 wakes that process. wake_fds[slot] is our own. */
	int *wake_fds;
	unsigned nwake;
};

#endif
