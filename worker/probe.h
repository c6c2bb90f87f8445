/*
 * probe.h - one look at one server: does it accept, does it answer well?
 *
 * A probe lives in its owner and is used again and again. It ends by itself,
 * by its deadline or by probe_stop(), and tells the outcome once.
 */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/conf.h"
#include "worker/http/h1_parse.h"
#include "worker/io/tls.h"

#define PROBE_MAGIC 0x940be001u
#define PROBE_HEAD_MAX 32768		/* bytes of an answer that are looked at */

enum probe_rc {
	PROBE_GOOD,
	PROBE_BAD,
	PROBE_UNKNOWN			/* this process lacked something; says nothing of the server */
};
struct probe_result {
	enum probe_rc rc;
	unsigned error;			/* errno; 0: none */
	unsigned status;		/* of the HTTP answer; 0: none came */
	uint32_t ms;
	char text[120];			/* what was wrong, as the end of a sentence */
};

struct probe;
typedef void probe_fn(struct probe *p, const struct probe_result *r);

struct probe {
	uint32_t magic;
	struct loop *loop;
	struct conn conn;
	probe_fn *on_done;
	const struct conf_upstream *up;	/* says what to do */
	const struct conf_server *server;
	struct tls_pool *tls;		/* set by the owner where the server speaks TLS */
	struct tls_client *tls_client;
	uint64_t begun_us;
	bool running;
	char *out;			/* the request */
	size_t out_len, out_sent;
	char *in;			/* the answer so far */
	size_t in_len, in_cap;
	struct h1_scan scan;
	struct probe_h2 *h2;		/* instead of these, where servers speak HTTP/2 */
	unsigned interims;
};

void probe_init(struct probe *p, struct loop *l, const struct conf_upstream *u, const struct conf_server *s,
		probe_fn *on_done);
/* Looks at the server at this address by u->check. The outcome may come before the call returns. */
void probe_start(struct probe *p, const struct addr *a);
/* Idempotent; no callback. */
void probe_stop(struct probe *p);

/* Is this status within the configured ranges? */
bool probe_status_good(const struct conf_upstream *u, unsigned status);

#endif
