/*
 * proxy_protocol.h - the PROXY protocol, versions 1 and 2: a few bytes at the
 * very beginning of a connection in which a proxy says whose connection it is.
 *
 * Pure: bytes in and out. Whether a peer may say such things is the caller's
 * business.
 */
#ifndef WORKER_IO_PROXY_PROTOCOL_H
#define WORKER_IO_PROXY_PROTOCOL_H

#include "common/addr.h"
#include "common/span.h"

#define PROXY_PROTOCOL_IN_MAX 4096	/* a header we read, its TLVs included */
#define PROXY_PROTOCOL_OUT_MAX 108	/* a header we write */

struct proxy_hello {
	bool told;			/* the addresses are; else the peer speaks for itself (LOCAL, UNKNOWN, other families) */
	struct addr src, dst;
};

enum proxy_rc {
	PROXY_MORE,			/* might become one; with n >= PROXY_PROTOCOL_IN_MAX never said */
	PROXY_DONE,			/* *hello is filled, *len bytes belong to it */
	PROXY_NONE,			/* these bytes begin something else */
	PROXY_BAD			/* begun, and wrong */
};

/* Looks at the first n bytes of a connection. Reads none behind them; may be called again with more. */
enum proxy_rc proxy_protocol_parse(const char *p, size_t n, struct proxy_hello *hello, size_t *len);

/* A header of version 1 or 2 into out[PROXY_PROTOCOL_OUT_MAX]; returns its length. An address that is no IP address makes it say
 * that the client is unknown; of two families both become IPv6. */
size_t proxy_protocol_write(unsigned version, const struct addr *src, const struct addr *dst, char *out);
/* What opens a connection of weir's own, a health check's. Lives as long as the program. */
const struct span *proxy_protocol_own(unsigned version);

#endif
