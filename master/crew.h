/*
 * crew.h - a generation: one configuration and the processes that run it.
 *
 * A reload makes a new crew beside the one in force. Each has its own
 * configuration, shared memory and children; they share the listening sockets
 * alone. The master's list has at most one that is being made, the one in
 * force, and two old ones that end what they have under way.
 */
#ifndef MASTER_CREW_H
#define MASTER_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "common/shm.h"
#include "common/shm_record.h"
#include "master/child.h"
#include "master/priv.h"

struct elder;
struct estate_crew;
struct master;

#define CREW_MAGIC 0xc4e30001u
#define CREWS_OLD 2			/* that may live beside the one in force */
#define CREW_GRACE_MS 5000		/* an old one has at least so long, and so long idle clients are kept */

enum crew_state {
	CREW_STARTING,			/* its children get ready; they accept nobody yet */
	CREW_LIVE,			/* in force */
	CREW_OLD,			/* drains */
	CREW_ENDING,			/* told to go now, or never came into force */
	CREW_GONE			/* no process is left */
};

struct crew {
	uint32_t magic;
	enum crew_state state;
	struct crew *next;		/* older ones behind younger ones */
	unsigned number;		/* 1, 2, ...: "generation" in what people read */
	uint64_t since_ms;		/* of the state */
	struct arena arena;
	struct conf *conf;
	bool borrowed;			/* conf is main()'s */
	bool failed;			/* never came into force */
	struct elder *elder;		/* of a master before this one, whose processes they are; NULL: ours */
	bool gone;			/* that says that no process is left */
	struct shm shm;			/* magic 0: none yet */
	struct records records;		/* the same */
	struct priv priv;
	struct child *children;		/* conf->workers workers, the checker, and the admin process where there are pages */
	unsigned nchildren;
	int *wake_fds;			/* one event counter per child */
};

/* Adds one to the master's list. conf NULL: to be read into its arena. */
struct crew *crew_new(struct master *m, struct conf *conf);
/* Another master's, whose shared memory has been mapped; old from the beginning. */
struct crew *crew_adopt(struct master *m, struct estate_crew *from, struct elder *elder);
/* Shared memory and child slots, state carried over from `from` (NULL: none). False after a complaint. */
bool crew_open(struct crew *w, const struct crew *from);
void crew_set_state(struct master *m, struct crew *w, enum crew_state state);
const char *crew_state_name(enum crew_state s);
/* Lets go of everything; no child may be left. */
void crew_free(struct crew *w);

bool crew_is_ready(const struct crew *w);
/* One that died before it came to that, or was given up; NULL: none. */
const struct child *crew_lost_child(const struct crew *w);
/* Some worker of it, or its admin process, may still take a client. */
bool crew_accepts(const struct crew *w);
/* Its workers drain; the checker follows when they are gone. */
void crew_drain(struct master *m, struct crew *w);
void crew_drain_admin(struct master *m, struct crew *w);
/* weir stops: those that drain have shutdown_timeout from now, tunnels too. */
void crews_hurry(struct master *m);
/* Its processes go now. What an old one loses by that is counted and logged. */
void crew_end(struct master *m, struct crew *w);
unsigned crew_processes(const struct crew *w);
/* Its workers are ours, and take orders through shared memory. */
static inline bool crew_takes_orders(const struct crew *w)
{
	return w->records.magic == RECORDS_MAGIC && w->elder == NULL && !w->failed;
}
unsigned crews_old(const struct master *m);

/* How many processes a configuration takes. */
unsigned crew_slots(const struct conf *c);
/* What the master tells the admin processes. */
void crews_publish(struct master *m);

/* Makes it so: checkers of old crews go with the last worker; crews without processes hand on their counters and are freed. */
void crews_tend(struct master *m);

/* Totals over all crews. u, s, cell: of the crew in force; of a host name `k` says which of its cells. */
uint64_t crews_stat(const struct master *m, enum stat_id id);
uint64_t crews_reason(const struct master *m, enum reason r);
uint64_t crews_queued(const struct master *m, const struct conf_upstream *u);
struct crew_use {
	uint64_t requests, fails, active;
};
struct crew_use crews_use(const struct master *m, const struct conf_upstream *u, const struct conf_server *s,
			  unsigned k);

#endif
