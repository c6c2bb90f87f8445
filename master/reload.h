/*
 * reload.h - a new configuration takes the place of the one in force, or
 * nothing happens at all.
 *
 * One reload runs at a time. Whoever asks while one runs is served by the next,
 * however many ask. Each request has a ticket; a reload answers all tickets up
 * to its own.
 */
#ifndef MASTER_RELOAD_H
#define MASTER_RELOAD_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct conf;
struct crew;
struct master;

#define RELOAD_CHECK_MS 20000		/* for the configuration to be read by the trial process */
#define RELOAD_START_MS 20000		/* for all new processes to be ready */
#define RELOAD_HAND_MS 2000		/* for the old ones to say that they accept nothing more; a stopped one never does */
#define RELOAD_TEXT 16384		/* of what is wrong, that is kept for whoever asked */

enum reload_state {
	RELOAD_NONE,
	RELOAD_CHECKING,		/* a trial process reads the configuration */
	RELOAD_STARTING,		/* the new crew gets ready */
	RELOAD_HANDING			/* it serves; the old one lets go of the listeners */
};

struct reload {
	enum reload_state state;
	unsigned asked, done;		/* last ticket given, last one answered */
	unsigned ticket;		/* of the reload that runs: it answers all up to this one */
	uint64_t began_ms;
	pid_t pid;			/* of the trial process; 0: none */
	int status;			/* of its end */
	bool dead;
	int pipe;			/* what it says; -1 */
	char *text;			/* that, NUL-terminated; of the size RELOAD_TEXT once it is there */
	size_t have;
	struct crew *next;		/* being made */
	unsigned last;			/* RELOAD_HANDING: number of the crew that it took over from */
	unsigned good, bad;		/* how many there were */
	uint64_t good_ms, bad_ms;	/* wall clock, of the last */
};

/* Asks for a reload; the ticket. */
unsigned reload_ask(struct master *m);
/* Makes it so, once per turn. */
void reload_tend(struct master *m);
/* Earliest time at which reload_tend() has something to do; UINT64_MAX: none. */
uint64_t reload_next(const struct master *m);
/* Two old generations are the most: is there room for one more? Ends the oldest when they had their grace. */
bool reload_has_room(struct master *m);
/* When there will be; 0: there is. */
uint64_t reload_room_at(const struct master *m);
/* What to poll for. */
struct pollfd reload_fd(const struct master *m);
void reload_on_input(struct master *m);
/* A child of the master has ended; it may be none of ours. */
void reload_on_death(struct master *m, pid_t pid, int status);
/* The key of [weir] that only a new start can change and that differs; NULL: none does. */
const char *reload_cannot_change(const struct conf *a, const struct conf *b);
/* weir ends: what has begun is given up. */
void reload_cancel(struct master *m);

#endif
