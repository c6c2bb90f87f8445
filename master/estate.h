/*
 * estate.h - what a master leaves to the one that takes its place.
 *
 * A text in a sealed memory file that a new program inherits together with the
 * descriptors that it names: listening sockets, the control socket, locks, the
 * shared memory of every generation, the keys of TLS tickets. State goes by
 * names, so that it needs no common memory layout but that of the shared memory
 * itself, which is compared. Lines of a kind that the reader does not know are
 * passed over. The environment says where the text is.
 */
#ifndef MASTER_ESTATE_H
#define MASTER_ESTATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/arena.h"
#include "common/conf.h"
#include "common/shm.h"
#include "common/ticket.h"
#include "master/listen.h"

struct master;

#define ESTATE_MAGIC 0xe57a7e01u
#define ESTATE_VERSION 1		/* raised when an older reader would go wrong */
#define ESTATE_ENV "WEIR_UPGRADE"
#define ESTATE_ELDERS 4			/* earlier masters that may still drain */
#define ESTATE_CREWS 8

/* What goes along. */
struct estate_fds {
	int *v;				/* every descriptor that the new program needs, most of them in use here */
	unsigned n;
	int text, secret;		/* of them those that are only for it; -1: none */
};

struct estate_crew {
	unsigned elder;			/* whose, in elders[] */
	unsigned number;
	uint64_t since_ms;
	struct shm shm;			/* descriptors and numbers, not mapped yet */
	struct conf *conf;		/* names and places alone */
	int records_fd;			/* -1: none, or of another layout */
	unsigned records_slots;
};

struct estate {
	uint32_t magic;
	struct arena arena;
	const char *bad;		/* why it cannot be used; NULL: it can */
	const char *program;		/* path that weir was started by */
	const char *conf_path;
	const char *user, *group, *pid_file, *control;	/* what only a restart can change; NULL: not set */
	int err_fd;			/* the real standard error: while weir starts, the old one reads that */
	int control_fd, control_lock_fd, pid_lock_fd;	/* -1: none */
	unsigned last_crew, good, bad_reloads, upgrades, bad_upgrades;
	uint64_t lost_conns, lost_requests;
	uint64_t worker_restarts, other_restarts, good_ms, bad_ms;
	int history_fd;
	struct ticket_keys tickets;
	bool has_tickets;
	struct slots slots;
	/* The first is the master that is replaced, others drain already; channel -1: gone. */
	struct { pid_t pid; int channel; } elders[ESTATE_ELDERS + 1];
	unsigned nelders;
	struct estate_crew crews[ESTATE_CREWS];	/* the youngest first */
	unsigned ncrews;
};

/* False with errno. `channel` is the new one's end, `err_fd` the real standard error. */
bool estate_write(const struct master *m, int channel, int err_fd, struct estate_fds *fds);
void estate_fds_free(struct estate_fds *fds);
/* In a new program: NULL when nobody left anything. What is there but cannot be used has `bad` set. */
struct estate *estate_read(void);
void estate_free(struct estate *e);

#endif
