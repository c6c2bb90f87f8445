/*
 * uri.h - request targets and hosts, parsed once.
 *
 * What routes match and what is forwarded come from this one parse. A path is
 * normalised: dot segments resolved, needless escapes undone (unreserved
 * characters), other escapes with upper-case digits; %2F, %5C and // are kept.
 * Nothing is guessed: what is not a valid target is bad.
 */
#ifndef WORKER_HTTP_URI_H
#define WORKER_HTTP_URI_H

#include <stdbool.h>

#include "worker/http/head.h"

/* Fills target's parts of h (scheme if absolute-form, authority, path, query) from h->target and h->method, RFC 9112 3.2.
 * absolute-form: its authority replaces h->authority (RFC 9112 3.2.2). Writes into the head's arena. False: bad target. */
bool uri_parse_target(struct head *h);

/* Fills h->host and h->port from h->authority. False: bad. An empty authority is good (HTTP/1.0). */
bool uri_parse_authority(struct head *h);

/* Normalises a path (starts with "/"). out needs path.n + 1 bytes. Returns the length, 0 when bad: escapes that are not
 * %HH, NUL or control bytes (raw or escaped %00), a dot segment above the root, bytes above 126. */
size_t uri_normalise(struct span path, char *out);

#define URI_V6_ROOM 48
/* Normalises a host: lower case, no final dot, IPv6 in its canonical spelling; `port` gets the number, 0 for none. out needs
 * s.n + URI_V6_ROOM bytes. 0: bad. */
size_t uri_host(struct span s, char *out, uint16_t *port);

/* True when path lies at or below prefix on a segment border: /api has /api and /api/x, not /apix. "/api/" means "/api". */
bool uri_below(struct span path, struct span prefix);

/* A query parameter's first value, undecoded bytes as sent; false when absent. "name" alone has an empty value. */
bool uri_query_get(struct span query, struct span name, struct span *value);
/* The same for a cookie in one Cookie field value (RFC 6265 4.2). */
bool cookie_get(struct span cookies, struct span name, struct span *value);

#endif
