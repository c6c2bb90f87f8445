/*
 * route_table.h - the router's tables, for route*.c alone.
 *
 * Each route becomes one entry for every pair of its host words and path words.
 * All but the longest match and the conditions that look at the request is known beforehand, so entries are
 * sorted once and their rank decides; a look-up only collects the few buckets a request can fall into.
 */
#ifndef WORKER_EXCHANGE_ROUTE_TABLE_H
#define WORKER_EXCHANGE_ROUTE_TABLE_H

#include "worker/exchange/route.h"

#define ROUTER_MAGIC 0x40c7e401u

struct route_entry {
	const struct conf_route *route;
	const struct conf_host *host;	/* NULL: any host */
	struct span path;		/* exact or prefix; of the configuration */
	const struct conf_regex *regex;
	unsigned path_index;		/* which word of the route it is */
	unsigned rank;			/* 0 wins over 1 */
};

/* Entries by rank, best first. */
struct route_bucket {
	const struct route_entry **v;
	unsigned n, cap;
};

/* Distinct lengths, longest first: where a host or path may be cut. */
struct route_cuts {
	size_t *v;
	unsigned n, cap;
};

/* What is written for one host word on one listener. */
struct route_paths {
	struct htab exact, prefix;	/* path word to struct route_bucket */
	struct route_cuts cuts;		/* of the prefixes */
	struct route_bucket regexes, any;
	struct route_paths *next;	/* of all, to free them */
};

struct route_hosts {			/* one listener */
	struct htab exact, wildcard;	/* host to struct route_paths */
	struct route_cuts cuts;		/* of the wildcards */
	struct route_paths *any;
};

struct router {
	uint32_t magic;
	const struct conf *conf;
	struct arena arena;
	struct route_entry *entries;	/* of enabled routes, by rank */
	unsigned nentries;
	struct route_hosts *listens;	/* by conf_listen->id */
	struct route_paths *all;
};

/* Whether a route stands on a listener at all. */
bool route_stands_on(const struct conf_route *r, const struct conf_listen *l);

/* Conditions but listen, host and path. */
bool route_methods_hold(const struct conf_route *r, const struct head *req);
bool route_clients_hold(const struct conf_route *r, const struct addr *client);
bool route_header_holds(const struct conf_cond *c, const struct head *req);
bool route_cookie_holds(const struct conf_cond *c, const struct head *req);
bool route_query_holds(const struct conf_cond *c, const struct head *req);
bool route_rest_holds(const struct conf_route *r, const struct route_ask *ask);

/* One word each, for the trace. */
bool route_host_holds(const struct conf_host *h, struct span host);
bool route_path_holds(const struct conf_route *r, unsigned index, struct span path);

void route_trace_all(const struct router *r, const struct route_ask *ask, const struct route_entry *best,
		     struct route_trace *t);

#endif
