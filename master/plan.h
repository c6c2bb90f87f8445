/*
 * plan.h - what a reload would do, without doing it.
 *
 * For weirctl reload --plan. A process of its own reads the configuration,
 * compares it with the one in force and says what would become of listeners,
 * workers, connections and servers. One at a time; it stands in nobody's way.
 */
#ifndef MASTER_PLAN_H
#define MASTER_PLAN_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/conf.h"

struct master;

#define PLAN_MS 20000			/* for the whole of it */
#define PLAN_TEXT (4u << 20)		/* the longest answer */

struct plan {
	pid_t pid;			/* 0: none is made */
	int pipe;
	char *text;			/* what it says */
	size_t have, room;
	uint64_t until_ms;
	bool late, dead;
	int status;
};

/* NULL: the answer comes by ctl_server_planned(); else why not. */
const char *plan_ask(struct master *m, bool json);
void plan_tend(struct master *m);
uint64_t plan_next(const struct master *m);
struct pollfd plan_fd(const struct master *m);
void plan_on_input(struct master *m);
void plan_on_death(struct master *m, pid_t pid, int status);

/* plan_show.c: what the process knows, as it was when it was asked for. */
struct plan_facts {
	unsigned generation, workers, old, oldest;	/* oldest: number of the one that would be ended first; 0: none */
	uint64_t connections, requests;
	uint64_t *active;		/* by cell of the configuration in force */
	bool *down;
};
void plan_show(FILE *out, const struct conf *from, const struct conf *to, const struct plan_facts *f, bool json);

#endif
