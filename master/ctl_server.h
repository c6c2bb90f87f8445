/*
 * ctl_server.h - the master's end of the control socket.
 *
 * One request line per connection, one answer, then the connection is closed.
 * Only root and the master's own user get an answer. Answers are made whole in
 * memory and sent as the client takes them; the loop never waits for a client.
 */
#ifndef MASTER_CTL_SERVER_H
#define MASTER_CTL_SERVER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/conf.h"
#include "common/ctl.h"
#include "common/shm_record.h"
#include "master/crew.h"

struct master;

#define CTL_CLIENTS 32			/* some may wait long: drain --wait, trace */
#define CTL_RELOAD_MS 100000		/* one that waits for a reload */
#define CTL_UPGRADE_MS 100000		/* for an upgrade */
#define CTL_CLIENT_MS 5000		/* a client has so long for all of it */
#define CTL_JOB_MS 50			/* between two looks at what a client waits for */
#define CTL_STREAM_MAX (1u << 20)	/* of an answer that comes bit by bit and waits to be taken */

struct ctl_client;

/* An answer that takes its time. The master's loop calls; nothing here may wait. */
struct ctl_job {
	/* Every CTL_JOB_MS: looks, and may answer. */
	void (*tend)(struct master *m, struct ctl_client *c);
	/* The client has ended its direction and wants no more than what there is. NULL: it is dropped. */
	void (*on_eof)(struct master *m, struct ctl_client *c);
	/* The answer is whole, or the client gone: lets go of what it held. May be NULL. */
	void (*stop)(struct master *m, struct ctl_client *c);
};

struct ctl_client {
	int fd;				/* -1: free */
	uint64_t until_ms;
	char line[CTL_LINE];
	unsigned have;			/* bytes of the request */
	char *answer;			/* NULL: still reading, or at work */
	size_t size, sent;
	unsigned ticket;		/* of the reload that it waits for; 0: none */
	struct ctl_request request;	/* points into `line` */
	const struct ctl_job *job;	/* at work; NULL: no job */
	bool stream;			/* the answer comes bit by bit, and its end has not come */
	bool eof;			/* of a job's client, seen */
	uint64_t begun_ms, due_ms;	/* of the job */
	uint64_t job_count;		/* the job's own */
	uint32_t job_order;		/* number of what workers were told, likewise */
	void *job_state;		/* the job's own */
	bool upgrade, plan;		/* it waits for that */
};

struct ctl_server {
	int fd;				/* -1: no control socket, or another master has it */
	bool lent;			/* another master listens on it */
	const char *path;
	struct ctl_client clients[CTL_CLIENTS];
};

/* False with errno. */
bool ctl_server_start(struct ctl_server *s, const char *path);
/* The listening socket of another master, who still uses it. */
void ctl_server_adopt(struct ctl_server *s, int fd, const char *path);
/* Another master listens from now on; who is connected gets an answer. */
void ctl_server_leave(struct ctl_server *s);
void ctl_server_stop(struct master *m);
/* What to poll for: up to 1 + CTL_CLIENTS entries; returns how many. */
unsigned ctl_server_fds(const struct ctl_server *s, struct pollfd *out);
/* The same entries after poll(). */
void ctl_server_tend(struct master *m, const struct pollfd *fds, unsigned n);
/* When the slowest client is given up; UINT64_MAX: none. */
uint64_t ctl_server_next(const struct master *m);

/* A reload has ended: whoever waited for it is answered. */
void ctl_server_reloaded(struct master *m, bool good, const char *text);
/* The same for an upgrade and for a plan. */
void ctl_server_upgraded(struct master *m, bool good, const char *text);
void ctl_server_planned(struct master *m, bool good, const char *text);

/* For jobs: begins one; it ends after `patience_ms` at the latest by its own doing, and a little later by force. */
void ctl_job_start(struct master *m, struct ctl_client *c, const struct ctl_job *job, uint64_t patience_ms);
/* The whole answer; ends the job. */
void ctl_answer(struct master *m, struct ctl_client *c, enum ctl_status status, const char *text);
/* More of an answer that comes bit by bit. False: the client does not keep up, nothing was added. */
bool ctl_stream(struct ctl_client *c, const char *text, size_t n);
/* Its end; ends the job. */
void ctl_stream_end(struct master *m, struct ctl_client *c, enum ctl_status status);

/* ctl_admin.c: drain, ready, down and weight. False: no answer yet, a job was begun. */
bool admin_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status);
/* ctl_find.c: by the names that users give; NULL and a sentence when there is none. UPSTREAM/SERVER; names of upstreams hold
 * no slash. */
const struct conf_upstream *ctl_find_upstream(const struct conf *c, struct span name, FILE *out);
const struct conf_server *ctl_find_server(const struct conf *c, const char *word, const struct conf_upstream **u,
					  FILE *out);
const struct conf_route *ctl_find_route(const struct conf *c, const char *name, FILE *out);

/* Bits of text, ctl_find.c. */
void ctl_json(FILE *out, struct span s);
/* "3d 4h", "5m 6s": the two largest units. */
const char *ctl_age(char *out, size_t size, uint64_t ms);
/* "1.5 MiB". */
const char *ctl_size(char *out, size_t size, uint64_t bytes);

/* ctl_why.c: what became of a request. */
enum ctl_status why_show(const struct master *m, const struct ctl_request *r, FILE *out);

/* ctl_trace.c: the next requests in full. The same as for admin_act(). */
bool trace_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status);
/* ctl_sessions.c: what clients have under way. The same. */
bool sessions_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status);
/* ctl_filter.c: "client=NET", "route=NAME", "listen=NAME", "server=UPSTREAM/SERVER" and "header=Name: value" among the words, for a
 * generation's configuration. False after a sentence (out NULL: without). Numbers of things that are not there match nothing. */
bool ctl_filter(const struct conf *c, const struct ctl_request *r, const char *allowed, struct shm_filter *f,
		FILE *out);

/* One server as it is shown: a cell of shared memory and what it belongs to. */
struct shown {
	const struct conf_upstream *upstream;
	const struct conf_server *server;
	unsigned cell;
	enum health_state state;
	enum health_why why;
	uint64_t for_ms;
	struct shm_admin admin;
	uint64_t ejected_ms;		/* how much longer; 0: it is not */
	enum reason last_fail;		/* NONE: no try failed here yet */
	uint64_t last_fail_ms;		/* so long ago */
	unsigned weight;
	struct crew_use use;		/* all generations together */
	char name[128], address[ADDR_TEXT];
};
/* ctl_show.c: calls `show` for each server of the upstream that is there. */
void show_each(const struct master *m, const struct conf_upstream *u, void *arg,
	       void (*show)(const struct master *m, const struct shown *s, void *arg));
const char *show_state(const struct shown *s);
unsigned show_live_workers(const struct master *m, unsigned *restarts);

/* ctl_show.c: the answers that list things. */
void show_status(const struct master *m, FILE *out, bool json);
void show_workers(const struct master *m, FILE *out, bool json);
/* ctl_show_top.c: numbers for top. The same as show_servers(). */
bool show_sample(const struct master *m, const char *upstream, FILE *out);
/* False after a sentence when there is no such upstream. upstream NULL: all. */
bool show_servers(const struct master *m, const char *upstream, FILE *out, bool json);

#endif
