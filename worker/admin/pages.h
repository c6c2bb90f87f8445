/*
 * pages.h - what the pages show, and how they are written bit by bit.
 *
 * A page is a function that writes its next small unit and moves its cursor on,
 * so that any number of servers and routes goes through one bounded buffer and
 * a slow reader holds nothing but that.
 */
#ifndef WORKER_ADMIN_PAGES_H
#define WORKER_ADMIN_PAGES_H

#include "worker/admin/history.h"
#include "worker/admin/tally.h"
#include "worker/admin/text.h"

struct admin_view {
	const struct conf *conf;
	const struct shm *shm;		/* of the generation in force */
	const struct process *process;
	struct tally tally;
	struct history history;
	uint64_t now_ms, wall_ms;
};

/* Where a page is; copied and put back where a unit did not fit. Starts zeroed. */
struct cursor {
	unsigned part;
	unsigned i, j, k;
	bool begun;			/* of the part */
	struct tally_hist hist;		/* the one being written, so that its lines agree */
	char nonce[24];			/* of the page's style */
};

/* Writes the next unit; false: there is none, and nothing was written. */
typedef bool page_fn(struct admin_view *v, struct cursor *c, struct text *out);

page_fn metrics_page, status_page, status_json_page;
/* page_parts.c: what stands above and below the tables of the status page. Each is one unit. */
void page_top(struct admin_view *v, struct cursor *c, struct text *out);
void page_charts(struct admin_view *v, struct text *out);
void page_processes(struct admin_view *v, struct text *out);
void page_reasons(struct admin_view *v, struct text *out);
/* 200 or 503, and why. */
unsigned healthz(const struct admin_view *v, const char **why);

/* ---- look.c: one server as it is shown ---- */
enum look_state { LOOK_UP, LOOK_DOWN, LOOK_PENDING, LOOK_EJECTED, LOOK_DRAINED, LOOK_HELD, LOOK_DISABLED, LOOK_UNUSED };
struct look {
	const struct conf_upstream *upstream;
	const struct conf_server *server;
	unsigned cell;
	enum look_state state;
	uint64_t for_ms;		/* in that state; UINT64_MAX: not known */
	struct shm_admin admin;
	unsigned weight;
	uint64_t active;
	struct span name, address;	/* NAME@IP of a host name; address: "" while there is none */
	char why[128];			/* a few words, or "" */
	char name_buf[192], address_buf[128];
};
/* False for a spare cell of a host name; the first one is shown all the same while there is none. */
bool look_at(struct admin_view *v, const struct conf_upstream *u, const struct conf_server *s, unsigned k,
	     struct look *out);
/* "up", "down" ...: stable names. */
const char *look_state_name(enum look_state s);
/* The next cell that is shown, over all servers of upstream c->i from server c->j, cell c->k on; false: none in this one. */
bool look_next(struct admin_view *v, struct cursor *c, struct look *out);
unsigned look_workers_live(const struct admin_view *v);

#endif
