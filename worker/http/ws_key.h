/*
 * ws_key.h - the handshake of WebSocket over HTTP/1.1 (RFC 6455 4.1), for requests that came without one of their own.
 *
 * A client that opens a WebSocket over HTTP/2 sends no key (RFC 8441 5); a server that is asked over HTTP/1.1 needs one, and
 * proves by its answer that it read it. Pure; the random bytes are the caller's.
 */
#ifndef WORKER_HTTP_WS_KEY_H
#define WORKER_HTTP_WS_KEY_H

#include <stdbool.h>

#include "worker/http/head.h"

#define WS_KEY_RANDOM 16
#define WS_KEY_LEN 24
#define WS_ACCEPT_LEN 28

/* A request to switch to WebSocket that has no key. */
bool ws_key_missing(const struct head *req);
void ws_key_make(const unsigned char random[WS_KEY_RANDOM], char key[WS_KEY_LEN + 1]);
/* What Sec-WebSocket-Accept must say to that key. */
void ws_key_accept(const char key[WS_KEY_LEN], char accept[WS_ACCEPT_LEN + 1]);
/* The answer proves that its sender read the request. */
bool ws_key_proven(const struct head *resp, struct span accept);

#endif
