/*
 * ctl_client.h - weirctl's end of the control socket.
 *
 * Between ctl_tool.c, which asks once, and ctl_top.c, which asks again and
 * again.
 */
#ifndef MASTER_CTL_CLIENT_H
#define MASTER_CTL_CLIENT_H

#include <stddef.h>
#include <time.h>

#include "common/ctl.h"

/* A socket to the master, or -1 with errno. */
int ctl_client_connect(const char *path, time_t patience_s);
/* The whole answer to a request line, NUL-terminated, to be freed; its status. NULL with errno: none came. */
char *ctl_client_ask(const char *path, const char *line, enum ctl_status *status);
/* A sentence on stderr from errno; CTL_FAILED. */
int ctl_client_fail(const char *path, const char *what);
/* A descriptor that reads SIGINT, SIGTERM and the others of the list, which is ended by 0; -1: none. */
int ctl_client_signals(const int *others);

/* ctl_top.c: the live view; the exit status. */
int top_run(const char *path, const struct ctl_request *r);

/* ctl_sample.c, in between: numbers of one moment as the master sends them. */
struct top_server {
	char name[96], state[16];
	double active, requests, fails;	/* requests and fails: ever */
	double p50_us, p99_us;		/* to the answer's head, of the last seconds; 0: not known */
};
struct top_sample {
	double now_ms, up_ms, generation, live, workers, queued, p50_us, p99_us, stats[64];
	char version[32];
	struct top_server *servers;
	unsigned nservers;
};
/* Asks for one; upstream NULL: all. False with a sentence in why. */
bool top_sample(const char *path, const char *upstream, struct top_sample *s, char *why, size_t size);
void top_sample_free(struct top_sample *s);

#endif
