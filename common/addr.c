/*
 * addr.c - socket addresses and networks: text, comparison, kernel form.
 *
 * Called by the configuration, by whoever accepts or connects, and by filters
 * that read addresses out of headers. Never asks a resolver, never allocates.
 */
#include "common/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "common/obj.h"

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const uint8_t v6[16])
{
	return memcmp(v6, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* Fills the address part of *a; a mapped one becomes IPv4. */
static void set_v6(struct addr *a, const uint8_t v6[16], uint32_t scope)
{
	if (is_mapped(v6)) {
		a->family = ADDR_V4;
		memcpy(a->v4, v6 + 12, sizeof(a->v4));
		return;
	}
	a->family = ADDR_V6;
	a->scope = scope;
	memcpy(a->v6, v6, sizeof(a->v6));
}

/* inet_pton wants a C string; a NUL inside would hide what follows it. */
static bool to_cstr(struct span s, char *out, size_t size)
{
	if (s.n == 0 || s.n >= size || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static bool parse_scope(struct span s, bool names, uint32_t *out)
{
	char name[IF_NAMESIZE];
	uint64_t number;

	if (span_u64(s, &number)) {
		*out = (uint32_t)number;
		return number > 0 && number <= UINT32_MAX;
	}
	if (!names || !to_cstr(s, name, sizeof(name)))
		return false;
	*out = if_nametoindex(name);
	return *out != 0;
}

static bool parse_v6(struct span s, bool names, struct addr *out)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t v6[16];
	uint32_t scope = 0;
	bool scoped = memchr(s.p, '%', s.n) != NULL;
	struct span ip = span_cut(&s, '%');

	if (scoped && !parse_scope(s, names, &scope))
		return false;
	if (!to_cstr(ip, text, sizeof(text)) || inet_pton(AF_INET6, text, v6) != 1)
		return false;
	if (scoped && is_mapped(v6))
		return false;
	set_v6(out, v6, scope);
	return true;
}

static bool parse_ip(struct span s, bool names, struct addr *out)
{
	struct addr a = { .family = ADDR_NONE };
	char text[INET_ADDRSTRLEN];
	bool ok;

	if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']') {
		ok = parse_v6(span_make(s.p + 1, s.n - 2), names, &a);
	} else if (s.n > 0 && memchr(s.p, ':', s.n) != NULL) {
		ok = parse_v6(s, names, &a);
	} else {
		ok = to_cstr(s, text, sizeof(text)) && inet_pton(AF_INET, text, a.v4) == 1;
		a.family = ADDR_V4;
	}
	if (ok)
		*out = a;
	return ok;
}

bool addr_parse_ip(struct span s, struct addr *out)
{
	return parse_ip(s, false, out);
}

static bool parse_with_port(struct span s, bool names, struct addr *out)
{
	const char *colon = s.n > 0 ? memrchr(s.p, ':', s.n) : NULL;
	struct addr a;
	uint64_t port;

	if (colon == NULL)
		return false;
	struct span ip = span_make(s.p, (size_t)(colon - s.p));
	/* A bare IPv6 address ends in digits that look like a port, so that brackets are demanded. */
	if (ip.n == 0 || (ip.p[0] != '[' && memchr(ip.p, ':', ip.n) != NULL))
		return false;
	struct span digits = span_make(colon + 1, s.n - ip.n - 1);
	if (digits.n > 5 || !span_u64(digits, &port) || port == 0 || port > UINT16_MAX)
		return false;
	if (!parse_ip(ip, names, &a))
		return false;
	a.port = (uint16_t)port;
	*out = a;
	return true;
}

bool addr_parse(struct span s, struct addr *out)
{
	return parse_with_port(s, false, out);
}

bool addr_parse_named_scope(struct span s, struct addr *out)
{
	return parse_with_port(s, true, out);
}

/* snprintf's answer made a length that is really there. */
static size_t cut(int n, size_t size)
{
	must(n >= 0);
	return (size_t)n < size ? (size_t)n : size - 1;
}

/* By hand: an address is written several times for each request. */
static size_t put_v4(const uint8_t v4[4], char *out)
{
	char *p = out;

	for (unsigned i = 0; i < 4; i++) {
		unsigned v = v4[i];

		if (i > 0)
			*p++ = '.';
		if (v >= 100)
			*p++ = (char)('0' + v / 100);
		if (v >= 10)
			*p++ = (char)('0' + v / 10 % 10);
		*p++ = (char)('0' + v % 10);
	}
	*p = '\0';
	return (size_t)(p - out);
}

size_t addr_ip_text(const struct addr *a, char *out, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	must(size >= ADDR_TEXT);
	switch ((enum addr_family)a->family) {
	case ADDR_V4:
		return put_v4(a->v4, out);
	case ADDR_V6:
		must(inet_ntop(AF_INET6, a->v6, text, sizeof(text)) != NULL);
		if (a->scope == 0)
			return cut(snprintf(out, size, "%s", text), size);
		return cut(snprintf(out, size, "%s%%%u", text, a->scope), size);
	case ADDR_UNIX:
		return cut(snprintf(out, size, "unix"), size);
	case ADDR_NONE:
		break;
	}
	return cut(snprintf(out, size, "-"), size);
}

size_t addr_text(const struct addr *a, char *out, size_t size)
{
	char ip[ADDR_TEXT];

	must(size >= ADDR_TEXT);
	addr_ip_text(a, ip, sizeof(ip));
	if (a->family == ADDR_V4)
		return cut(snprintf(out, size, "%s:%u", ip, a->port), size);
	if (a->family == ADDR_V6)
		return cut(snprintf(out, size, "[%s]:%u", ip, a->port), size);
	if (a->family == ADDR_UNIX)
		return cut(snprintf(out, size, "unix:%s", a->path != NULL ? a->path : ""), size);
	return cut(snprintf(out, size, "%s", ip), size);
}

static bool same_path(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return false;
	switch ((enum addr_family)a->family) {
	case ADDR_V4:
		return memcmp(a->v4, b->v4, sizeof(a->v4)) == 0;
	case ADDR_V6:
		return a->scope == b->scope && memcmp(a->v6, b->v6, sizeof(a->v6)) == 0;
	case ADDR_UNIX:
		return same_path(a->path, b->path);
	case ADDR_NONE:
		break;
	}
	return true;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_eq_ip(a, b) && (a->port == b->port || a->family == ADDR_UNIX);
}

uint64_t addr_hash_ip(const struct addr *a, uint64_t seed)
{
	uint64_t h = seed ^ (uint64_t)a->family << 56;

	switch ((enum addr_family)a->family) {
	case ADDR_V4:
		return span_hash(span_make((const char *)a->v4, sizeof(a->v4)), h);
	case ADDR_V6:
		return span_hash(span_make((const char *)a->v6, sizeof(a->v6)), h ^ a->scope);
	case ADDR_UNIX:
		return span_hash(span_of(a->path), h);
	case ADDR_NONE:
		break;
	}
	return span_hash(span_make(NULL, 0), h);
}

static socklen_t unix_to_sockaddr(const char *path, struct sockaddr_storage *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)out;
	size_t n = path != NULL ? strlen(path) : 0;

	if (n == 0 || n >= sizeof(un->sun_path))
		return 0;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	switch ((enum addr_family)a->family) {
	case ADDR_V4:
		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->v4, sizeof(a->v4));
		return sizeof(*in);
	case ADDR_V6:
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		in6->sin6_scope_id = a->scope;
		memcpy(&in6->sin6_addr, a->v6, sizeof(a->v6));
		return sizeof(*in6);
	case ADDR_UNIX:
		return unix_to_sockaddr(a->path, out);
	case ADDR_NONE:
		break;
	}
	return 0;
}

void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	*a = (struct addr){ .family = ADDR_NONE };
	/* A nameless UNIX peer may come with nothing but its family. */
	if (len < sizeof(sa->sa_family))
		return;
	if (sa->sa_family == AF_UNIX) {
		a->family = ADDR_UNIX;
		a->path = NULL;
	} else if (sa->sa_family == AF_INET && len >= sizeof(in)) {
		memcpy(&in, sa, sizeof(in));
		a->family = ADDR_V4;
		a->port = ntohs(in.sin_port);
		memcpy(a->v4, &in.sin_addr, sizeof(a->v4));
	} else if (sa->sa_family == AF_INET6 && len >= sizeof(in6)) {
		memcpy(&in6, sa, sizeof(in6));
		a->port = ntohs(in6.sin6_port);
		set_v6(a, in6.sin6_addr.s6_addr, in6.sin6_scope_id);
	}
}

static unsigned family_bits(uint8_t family)
{
	return family == ADDR_V4 ? 32 : 128;
}

/* Clears what the mask does not cover; true when there was something to clear. */
static bool clear_host_bits(uint8_t *ip, unsigned total, unsigned bits)
{
	bool found = false;

	for (unsigned i = 0; i < total / 8; i++) {
		unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
		uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00u >> kept);

		found |= (ip[i] & ~mask) != 0;
		ip[i] &= mask;
	}
	return found;
}

bool net_parse(struct span s, struct net *out, bool *host_bits)
{
	struct net net = { .base = { .family = ADDR_NONE } };
	bool slashed = s.n > 0 && memchr(s.p, '/', s.n) != NULL;
	uint64_t bits;

	*host_bits = false;
	if (span_eq(s, SPAN("all")) || span_eq(s, SPAN("unix"))) {
		net.base.family = s.n == 3 ? ADDR_NONE : ADDR_UNIX;
		*out = net;
		return true;
	}
	struct span ip = span_cut(&s, '/');
	if (ip.n == 0 || ip.p[0] == '[' || !addr_parse_ip(ip, &net.base))
		return false;
	unsigned total = family_bits(net.base.family);
	/* "::ffff:10.0.0.0/104" is 10.0.0.0/8; a mask that reaches into the mapping itself names no network of ours. */
	unsigned behind = net.base.family == ADDR_V4 && memchr(ip.p, ':', ip.n) != NULL ? 96 : 0;
	if (!slashed)
		bits = total + behind;
	else if (s.n > 3 || !span_u64(s, &bits) || bits < behind || bits > total + behind)
		return false;
	net.bits = (uint8_t)(bits - behind);
	*host_bits = clear_host_bits(net.base.family == ADDR_V4 ? net.base.v4 : net.base.v6, total, net.bits);
	*out = net;
	return true;
}

bool net_has(const struct net *n, const struct addr *a)
{
	if (n->base.family == ADDR_NONE)
		return true;
	if (n->base.family != a->family)
		return false;
	if (a->family == ADDR_UNIX)
		return true;
	if (a->family == ADDR_V6 && n->base.scope != 0 && n->base.scope != a->scope)
		return false;
	const uint8_t *want = a->family == ADDR_V4 ? n->base.v4 : n->base.v6;
	const uint8_t *have = a->family == ADDR_V4 ? a->v4 : a->v6;
	unsigned whole = n->bits / 8, rest = n->bits % 8;

	must(n->bits <= family_bits(a->family));
	if (memcmp(want, have, whole) != 0)
		return false;
	return rest == 0 || ((want[whole] ^ have[whole]) >> (8 - rest)) == 0;
}

bool nets_have(const struct net *n, unsigned count, const struct addr *a)
{
	for (unsigned i = 0; i < count; i++) {
		if (net_has(&n[i], a))
			return true;
	}
	return false;
}
