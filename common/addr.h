/*
 * addr.h - socket addresses and networks.
 *
 * struct addr is compact (a connection holds two); UNIX paths live elsewhere
 * and are pointed to. Networks match by family; an IPv4-mapped IPv6 address is
 * the IPv4 address everywhere in weir.
 */
#ifndef COMMON_ADDR_H
#define COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/span.h"

enum addr_family { ADDR_NONE, ADDR_V4, ADDR_V6, ADDR_UNIX };

struct addr {
	uint8_t family;			/* enum addr_family */
	uint16_t port;			/* host order */
	uint32_t scope;			/* IPv6 scope id */
	union {
		uint8_t v4[4];
		uint8_t v6[16];
		const char *path;	/* ADDR_UNIX; owned by whoever made it; NULL for a nameless peer */
	};
};

#define ADDR_TEXT 64			/* enough for "[v6%scope]:port" */

/* A numeric address without port, "1.2.3.4", "::1" or "[::1]"; mapped ones come out as IPv4. A scope is a number
 * ("fe80::1%2"). False and *out untouched on anything else. */
bool addr_parse_ip(struct span s, struct addr *out);
/* "1.2.3.4:80", "[::1]:80"; the port is demanded, 1 to 65535. */
bool addr_parse(struct span s, struct addr *out);
/* The same for the operator's text: the scope may name an interface, "[fe80::1%eth0]:80". Asks the kernel, hence
 * never for text from outside. */
bool addr_parse_named_scope(struct span s, struct addr *out);
/* Without port: "10.0.0.1", "::1", "unix". Returns the length; NUL-terminated; `size` >= ADDR_TEXT. */
size_t addr_ip_text(const struct addr *a, char *out, size_t size);
/* With port: "10.0.0.1:80", "[::1]:80", "unix:/path" (cut to size). */
size_t addr_text(const struct addr *a, char *out, size_t size);

bool addr_eq_ip(const struct addr *a, const struct addr *b);
bool addr_eq(const struct addr *a, const struct addr *b);
uint64_t addr_hash_ip(const struct addr *a, uint64_t seed);

/* To and from the kernel's form. to: 0 when it has none (ADDR_NONE, a UNIX path that is missing or too long).
 * from: mapped addresses become IPv4; UNIX paths are not kept (path NULL); other families become ADDR_NONE. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len);

/* A network: the first `bits` bits of the address. ADDR_NONE: all. ADDR_UNIX: every UNIX peer. */
struct net {
	struct addr base;		/* port 0 */
	uint8_t bits;
};

/* "10.0.0.0/8", "::1", "unix", "all"; false when it is none. *host_bits tells that bits behind the mask were not zero;
 * they are cleared in *out. */
bool net_parse(struct span s, struct net *out, bool *host_bits);
bool net_has(const struct net *n, const struct addr *a);
bool nets_have(const struct net *n, unsigned count, const struct addr *a);

#endif
