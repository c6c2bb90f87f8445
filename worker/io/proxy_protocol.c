/*
 * proxy_protocol.c - reads and writes headers of the PROXY protocol.
 *
 * Called by the client side with the first bytes of a connection, and by who
 * opens connections to servers that want one. Strict: a header is whole and
 * right, or the connection is of no use. Never touches a descriptor.
 */
#include "worker/io/proxy_protocol.h"

#include <stdio.h>
#include <string.h>

#include "common/obj.h"

#define V1_MAX 107			/* with its CRLF */
#define V2_HEAD 16

static const char v1_start[6] = "PROXY ";
static const char v2_start[12] = "\r\n\r\n\0\r\nQUIT\n";

/* The first bytes are those of `start`, as far as there are any. */
static bool begins(const char *p, size_t n, const char *start, size_t len)
{
	return memcmp(p, start, n < len ? n : len) == 0;
}

/* ---- version 1: one line of text ---- */

static bool v1_address(struct span text, enum addr_family family, struct addr *a)
{
	if (text.n == 0 || text.p[0] == '[' || memchr(text.p, '%', text.n) != NULL || !addr_parse_ip(text, a))
		return false;
	/* A mapped address is written as IPv6 and is an IPv4 one. */
	return a->family == family || (family == ADDR_V6 && memchr(text.p, ':', text.n) != NULL);
}

static bool v1_port(struct span text, uint16_t *port)
{
	uint64_t v;

	if (text.n > 5 || (text.n > 1 && text.p[0] == '0') || !span_u64(text, &v) || v > UINT16_MAX)
		return false;
	*port = (uint16_t)v;
	return true;
}

/* What stands between "PROXY " and CRLF. */
static bool v1_line(struct span line, struct proxy_hello *hello)
{
	struct span word = span_cut(&line, ' ');
	enum addr_family family = span_eq(word, SPAN("TCP4")) ? ADDR_V4 : ADDR_V6;
	struct span src, dst, sport;

	if (span_eq(word, SPAN("UNKNOWN")))
		return true;		/* whatever follows */
	if (family == ADDR_V6 && !span_eq(word, SPAN("TCP6")))
		return false;
	src = span_cut(&line, ' ');
	dst = span_cut(&line, ' ');
	sport = span_cut(&line, ' ');
	hello->told = true;
	return v1_address(src, family, &hello->src) && v1_address(dst, family, &hello->dst) &&
	       v1_port(sport, &hello->src.port) && v1_port(line, &hello->dst.port);
}

static enum proxy_rc v1_parse(const char *p, size_t n, struct proxy_hello *hello, size_t *len)
{
	size_t max = n < V1_MAX ? n : V1_MAX;
	const char *lf = memchr(p, '\n', max);

	if (lf == NULL)
		return n < V1_MAX ? PROXY_MORE : PROXY_BAD;
	if (lf - p < (ptrdiff_t)sizeof(v1_start) || lf[-1] != '\r')
		return PROXY_BAD;
	*len = (size_t)(lf + 1 - p);
	return v1_line(span_make(p + sizeof(v1_start), *len - 2 - sizeof(v1_start)), hello) ? PROXY_DONE : PROXY_BAD;
}

/* ---- version 2: bytes ---- */

static unsigned number16(const char *p)
{
	return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* An address of `size` bytes, by way of the kernel's form, which knows the mapped ones. */
static void v2_address(const char *p, size_t size, const char *port, struct addr *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (size == 4) {
		memcpy(&in.sin_addr, p, 4);
		addr_from_sockaddr(a, (struct sockaddr *)&in, sizeof(in));
	} else {
		memcpy(&in6.sin6_addr, p, 16);
		addr_from_sockaddr(a, (struct sockaddr *)&in6, sizeof(in6));
	}
	a->port = (uint16_t)number16(port);
}

/* Type, length, value; the lengths must add up. */
static bool v2_extras(const char *p, size_t n)
{
	while (n >= 3 && number16(p + 1) <= n - 3) {
		size_t used = 3 + number16(p + 1);

		p += used;
		n -= used;
	}
	return n == 0;
}

static enum proxy_rc v2_body(unsigned family, const char *p, size_t n, struct proxy_hello *hello)
{
	size_t size = family == 0x11 ? 4 : 16;

	switch (family) {
	case 0x11:
	case 0x21:
		break;
	case 0x00:
	case 0x12:
	case 0x22:
	case 0x31:
	case 0x32:
		return PROXY_DONE;	/* no address of a TCP client */
	default:
		return PROXY_BAD;
	}
	if (n < 2 * size + 4 || !v2_extras(p + 2 * size + 4, n - 2 * size - 4))
		return PROXY_BAD;
	v2_address(p, size, p + 2 * size, &hello->src);
	v2_address(p + size, size, p + 2 * size + 2, &hello->dst);
	hello->told = true;
	return PROXY_DONE;
}

static enum proxy_rc v2_parse(const char *p, size_t n, struct proxy_hello *hello, size_t *len)
{
	unsigned size, command;

	if (n < V2_HEAD)
		return PROXY_MORE;
	size = number16(p + 14);
	command = (unsigned char)p[12];
	if ((command != 0x20 && command != 0x21) || V2_HEAD + size > PROXY_PROTOCOL_IN_MAX)
		return PROXY_BAD;
	if (n < V2_HEAD + size)
		return PROXY_MORE;
	*len = V2_HEAD + size;
	if (command == 0x20)
		return PROXY_DONE;	/* LOCAL: the proxy itself, a check perhaps */
	return v2_body((unsigned char)p[13], p + V2_HEAD, size, hello);
}

enum proxy_rc proxy_protocol_parse(const char *p, size_t n, struct proxy_hello *hello, size_t *len)
{
	*hello = (struct proxy_hello){ 0 };
	*len = 0;
	if (n == 0)
		return PROXY_MORE;
	if (begins(p, n, v1_start, sizeof(v1_start)))
		return n < sizeof(v1_start) ? PROXY_MORE : v1_parse(p, n, hello, len);
	if (begins(p, n, v2_start, sizeof(v2_start)))
		return v2_parse(p, n, hello, len);
	return PROXY_NONE;
}

/* ---- out ---- */

static bool is_ip(const struct addr *a)
{
	return a->family == ADDR_V4 || a->family == ADDR_V6;
}

static void to_v6(const struct addr *a, unsigned char out[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family == ADDR_V6) {
		memcpy(out, a->v6, 16);
		return;
	}
	memcpy(out, mapped, 12);
	memcpy(out + 12, a->v4, 4);
}

static void v1_text(const struct addr *a, bool v6, char out[ADDR_TEXT + 8])
{
	static const char mapped[] = "::ffff:";
	size_t n = v6 && a->family == ADDR_V4 ? sizeof(mapped) - 1 : 0;
	struct addr bare = *a;

	memcpy(out, mapped, n);
	bare.scope = 0;
	addr_ip_text(&bare, out + n, ADDR_TEXT);
}

static size_t v2_write(const struct addr *src, const struct addr *dst, bool v6, char *out)
{
	size_t size = v6 ? 16 : 4;
	const struct addr *both[2] = { src, dst };
	char *p = out + V2_HEAD;

	memcpy(out, v2_start, sizeof(v2_start));
	out[12] = 0x21;
	out[13] = v6 ? 0x21 : 0x11;
	out[14] = 0;
	out[15] = (char)(2 * size + 4);
	for (unsigned i = 0; i < 2; i++, p += size) {
		if (v6)
			to_v6(both[i], (unsigned char *)p);
		else
			memcpy(p, both[i]->v4, 4);
	}
	for (unsigned i = 0; i < 2; i++) {
		*p++ = (char)(both[i]->port >> 8);
		*p++ = (char)(both[i]->port & 255);
	}
	return (size_t)(p - out);
}

const struct span *proxy_protocol_own(unsigned version)
{
	static const char v2_local[V2_HEAD] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
	static const struct span v1 = { "PROXY UNKNOWN\r\n", 15 };
	static const struct span v2 = { v2_local, V2_HEAD };

	return version == 1 ? &v1 : &v2;
}

static size_t v1_write(const struct addr *src, const struct addr *dst, bool v6, char *out)
{
	char from[ADDR_TEXT + 8], to[ADDR_TEXT + 8], line[2 * ADDR_TEXT + 64];
	int n;

	v1_text(src, v6, from);
	v1_text(dst, v6, to);
	n = snprintf(line, sizeof(line), "PROXY TCP%c %s %s %u %u\r\n", v6 ? '6' : '4', from, to, src->port, dst->port);
	must(n > 0 && n <= V1_MAX);
	memcpy(out, line, (size_t)n);
	return (size_t)n;
}

size_t proxy_protocol_write(unsigned version, const struct addr *src, const struct addr *dst, char *out)
{
	bool v6 = src->family == ADDR_V6 || dst->family == ADDR_V6;
	const struct span *own = proxy_protocol_own(version);

	must(version == 1 || version == 2);
	if (is_ip(src) && is_ip(dst))
		return version == 1 ? v1_write(src, dst, v6, out) : v2_write(src, dst, v6, out);
	memcpy(out, own->p, own->n);
	if (version == 2)
		out[12] = 0x21;		/* a client's connection, of no family that can be told */
	return own->n;
}
