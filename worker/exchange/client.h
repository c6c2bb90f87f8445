/*
 * client.h - who the client is: the rightmost address that is not a trusted proxy.
 */
#ifndef WORKER_EXCHANGE_CLIENT_H
#define WORKER_EXCHANGE_CLIENT_H

#include "worker/exchange/exchange.h"

/* Fills x->client and x->peer_trusted from x->peer and, when that is trusted, the listener's client_ip_header. */
void client_find(struct exchange *x);
/* That address without its port, in the arena; empty: no memory. */
struct span client_text(struct exchange *x);

#endif
