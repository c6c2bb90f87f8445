/*
 * upgrade.h - another program takes the place of this master, without a pause.
 *
 * The running master starts the new program and leaves it everything by
 * estate.h. The new one gets all ready and says so; then it is told to take
 * over, and when it serves, the old one drains as at a reload and ends. Until
 * it serves, whatever happens to the new one leaves the old one as it was.
 *
 * upgrade.c is the side of the old master, heir.c that of the new one, which
 * keeps a channel to every master that still drains ("elders").
 */
#ifndef MASTER_UPGRADE_H
#define MASTER_UPGRADE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "master/estate.h"

struct crew;
struct master;

#define UPGRADE_HELLO_MS 10000		/* for the new program to show that it is weir */
#define UPGRADE_READY_MS 40000		/* for it to read its configuration and start its processes */
#define UPGRADE_TAKE_MS 10000		/* to serve, once it was told to */
#define UPGRADE_END_MS 2000		/* from SIGTERM to SIGKILL */
#define UPGRADE_TEXT 16384		/* of what it says, that is kept */
#define UPGRADE_FDS (2 + ESTATE_ELDERS)

enum upgrade_state {
	UPGRADE_NONE,
	UPGRADE_ASKED,			/* waits for a reload to end, or for an old generation to make room */
	UPGRADE_STARTING,		/* the new program was started and has said nothing */
	UPGRADE_OPENING,		/* it gets ready */
	UPGRADE_TAKING,			/* it was told to take over */
	UPGRADE_FAILING,		/* it is told to end */
	UPGRADE_HANDED,			/* all is the new one's; this one drains */
	UPGRADE_HEIR,			/* we are the new one, and get ready */
	UPGRADE_HEIR_READY		/* we wait to be told */
};

struct elder {
	pid_t pid;
	int channel;			/* -1: none */
};

struct upgrade {
	enum upgrade_state state;
	pid_t pid;			/* of the new program; 0: none */
	pid_t heir;			/* of the one that serves now */
	int channel, pipe;		/* to it, and what it says on its standard error; -1 */
	char *text;			/* that, NUL-terminated, of the size UPGRADE_TEXT once it is there */
	size_t have;
	uint64_t until_ms;		/* when the state's time is over; 0: never */
	bool dead;
	int status;			/* of its end */
	char why[256];			/* it is told to end */
	unsigned good, bad;		/* how many there were */
	struct elder elders[ESTATE_ELDERS];
	struct estate *estate;		/* that we came by; its names live as long as this process */
	FILE *said;			/* to the old one, until we serve */
};

void upgrade_init(struct upgrade *u);

/* ---- the old one's side ---- */

/* NULL: it begins; else why not. */
const char *upgrade_ask(struct master *m);
/* Makes it so, once per turn. */
void upgrade_tend(struct master *m);
/* Earliest time at which upgrade_tend() has something to do; UINT64_MAX: none. */
uint64_t upgrade_next(const struct master *m);
/* What to poll for: UPGRADE_FDS entries, and the same after poll(). */
void upgrade_fds(const struct master *m, struct pollfd *out);
void upgrade_on_input(struct master *m, const struct pollfd *fds);
/* A child of the master has ended; it may be none of ours. */
void upgrade_on_death(struct master *m, pid_t pid, int status);
/* weir ends: the new one ends, too. */
void upgrade_cancel(struct master *m);
/* No process of a generation that was handed on is left. */
void upgrade_tell_gone(struct master *m, const struct crew *w);

/* ---- the new one's side ---- */

/* Takes over what was left, but touches nothing of it. False after a complaint. */
bool heir_begin(struct master *m, struct estate *e);
/* Locks and control socket, not used yet. False after a complaint. */
bool heir_take_files(struct master *m);
/* We are the new one and do not serve yet. */
static inline bool heir_waits(const struct upgrade *u)
{
	return u->state == UPGRADE_HEIR || u->state == UPGRADE_HEIR_READY;
}
/* Before we serve: are we ready, or was somebody lost? */
void heir_tend(struct master *m);
void heir_on_input(struct master *m, struct elder *e);
/* To every master that still drains. */
void heir_tell(struct master *m, int kind);
void heir_end_crew(struct master *m, const struct crew *w);
unsigned heir_elders(const struct master *m);
/* Everything is closed. */
void heir_fini(struct master *m);

/* program.c: the path that this program was started by, to be found again when the file was replaced. */
char *program_path(const char *argv0);

#endif
