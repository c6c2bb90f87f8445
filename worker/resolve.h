/*
 * resolve.h - host names to addresses, through c-ares on our loop.
 *
 * Asks the hosts file first and then name servers: those of the configuration,
 * else the system's. Never blocks. One query is one name, both families.
 */
#ifndef WORKER_RESOLVE_H
#define WORKER_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf.h"
#include "worker/io/loop.h"

struct ares_channeldata;

#define RESOLVER_MAGIC 0x4e501e40u
#define RESOLVE_MAX 1024		/* addresses of one answer that are looked at */

enum resolve_rc {
	RESOLVE_OK,
	RESOLVE_NONE,			/* there is no such name, or it has no address */
	RESOLVE_FAILED			/* nobody could tell */
};

struct answer {
	const struct addr *addrs;	/* distinct, port 0 */
	unsigned n;
	uint32_t ttl_s;			/* the least of all records; 0 for the hosts file */
	const char *text;		/* what went wrong */
};

struct query;
typedef void query_fn(struct query *q, enum resolve_rc rc, const struct answer *a);
struct query {
	struct resolver *resolver;
	query_fn *on_answer;
	bool asked;
};

struct resolver {
	uint32_t magic;
	struct loop *loop;
	const struct conf *conf;
	struct ares_channeldata *channel;
	struct list socks;		/* struct sock_watch: descriptors of c-ares */
	struct timer timer;
	struct task flush;		/* sends what c-ares has queued */
	unsigned nasked;
	uint64_t born_ms;		/* when the system's configuration was read */
	bool renew;			/* read it again before the next question */
	struct addr addrs[RESOLVE_MAX];	/* of the answer being told */
};

/* False with a sentence in *why. */
bool resolver_init(struct resolver *r, struct loop *l, const struct conf *c, const char **why);
void resolver_fini(struct resolver *r);
/* One question at a time per query; the answer may come before the call returns. */
void resolver_ask(struct resolver *r, struct query *q, struct span host, query_fn *on_answer);

#endif
