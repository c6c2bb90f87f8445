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

#include "common/ctl.h"

struct master;

#define CTL_CLIENTS 8
#define CTL_RELOAD_MS 100000		/* one that waits for a reload */
#define CTL_UPGRADE_MS 100000		/* for an upgrade */
#define CTL_CLIENT_MS 5000		/* a client has so long for all of it */

struct ctl_client {
	int fd;				/* -1: free */
	uint64_t until_ms;
	char line[CTL_LINE];
	unsigned have;			/* bytes of the request */
	char *answer;			/* NULL: still reading */
	size_t size, sent;
	unsigned ticket;		/* of the reload that it waits for; 0: none */
	bool upgrade;			/* it waits for an upgrade */
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
void ctl_server_stop(struct ctl_server *s);
/* What to poll for: up to 1 + CTL_CLIENTS entries; returns how many. */
unsigned ctl_server_fds(const struct ctl_server *s, struct pollfd *out);
/* The same entries after poll(). */
void ctl_server_tend(struct master *m, const struct pollfd *fds, unsigned n);
/* When the slowest client is given up; UINT64_MAX: none. */
uint64_t ctl_server_next(const struct ctl_server *s);

/* A reload has ended: whoever waited for it is answered. */
void ctl_server_reloaded(struct master *m, bool good, const char *text);
/* The same for an upgrade. */
void ctl_server_upgraded(struct master *m, bool good, const char *text);

/* ctl_admin.c: drain, ready, down and weight. */
enum ctl_status admin_act(struct master *m, const struct ctl_request *r, FILE *out);

/* ctl_show.c: the answers that list things. */
void show_status(const struct master *m, FILE *out, bool json);
void show_workers(const struct master *m, FILE *out, bool json);
/* False when there is no such upstream. upstream NULL: all. */
bool show_servers(const struct master *m, const char *upstream, FILE *out, bool json);

#endif
