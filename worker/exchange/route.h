/*
 * route.h - which route takes a request (the precedence rules of weir.ini.5).
 *
 * Built once per worker from the configuration; looked up once per request
 * without allocation. The same code runs in workers and in `weir -e`, which
 * passes a trace to learn why each route lost.
 */
#ifndef WORKER_EXCHANGE_ROUTE_H
#define WORKER_EXCHANGE_ROUTE_H

#include "common/conf.h"
#include "worker/exchange/exchange.h"

struct router;

struct route_ask {
	const struct conf_listen *listen;
	const struct head *req;		/* method, host, path, query, fields */
	const struct addr *client;
};

/* For -e: called for each route looked at, in the order of precedence; `why` names the condition that failed, or "won",
 * "a better one won". */
struct route_trace {
	void (*on_route)(struct route_trace *t, const struct conf_route *r, const char *why);
};

struct router *router_new(const struct conf *c);
void router_free(struct router **r);
/* NULL: no route. *m is filled for the winner; its spans point into ask and conf. */
const struct conf_route *router_find(const struct router *r, const struct route_ask *ask, struct route_match *m,
				     struct route_trace *trace);

#endif
