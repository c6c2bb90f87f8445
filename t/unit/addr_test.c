/*
 * addr_test.c - addresses and networks: text both ways, mapped ones, scopes,
 * host bits, matching at every prefix length.
 */
#include "t/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

#include "common/addr.h"

#define ck_ip(in, out)									\
	do {										\
		struct addr ck_a_;							\
		char ck_text_[ADDR_TEXT];						\
		ck_assert_msg(addr_parse_ip(span_of(in), &ck_a_), "\"%s\" was refused", in);	\
		ck_assert_uint_eq(addr_ip_text(&ck_a_, ck_text_, sizeof(ck_text_)), strlen(out));	\
		ck_assert_str_eq(ck_text_, out);					\
	} while (0)

START_TEST(ip_text_round_trip)
{
	ck_ip("1.2.3.4", "1.2.3.4");
	ck_ip("255.255.255.255", "255.255.255.255");
	ck_ip("::1", "::1");
	ck_ip("[::1]", "::1");
	ck_ip("::", "::");
	ck_ip("2001:DB8:0:0:0::1", "2001:db8::1");
	ck_ip("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
	ck_ip("::ffff:1.2.3.4", "1.2.3.4");
	ck_ip("[::FFFF:102:304]", "1.2.3.4");
	ck_ip("fe80::1%7", "fe80::1%7");
	ck_ip("[fe80::1%4294967295]", "fe80::1%4294967295");
}
END_TEST

START_TEST(refuses_bad_ips)
{
	static const char *const bad[] = {
		"", " ", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:80",
		"0x1.2.3.4", "localhost", "[1.2.3.4]", "[]", "[", "]", "[::1", "::1]", ":", ":::", "1::2::3", "12345::",
		"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1.2.3", "fe80::1%", "fe80::1%0", "fe80::1%eth0",
		"fe80::1%4294967296", "fe80::1%-1", "%1", "::ffff:1.2.3.4%1", "1.2.3.4%1", "[[::1]]", "::1/128",
		"0000000000000000000000000000000000000000000000000000000000000000000000000000000000::1",
	};
	struct addr a = { .family = ADDR_NONE };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!addr_parse_ip(span_of(bad[i]), &a), "\"%s\" was taken", bad[i]);
	ck_assert(!addr_parse_ip(span_make("1.2.3.4\0", 8), &a));
	ck_assert(!addr_parse_ip(span_make("::1\0x", 5), &a));
	ck_assert(!addr_parse_ip(span_make(NULL, 0), &a));
	ck_assert_uint_eq(a.family, ADDR_NONE);
	/* The text behind the span is not part of it. */
	ck_assert(addr_parse_ip(span_make("1.2.3.45", 7), &a) && a.v4[3] == 4);
}
END_TEST

START_TEST(ports)
{
	static const char *const bad[] = {
		"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:+1", "1.2.3.4: 1", "1.2.3.4:80 ",
		"::1:80", "::1", "[::1]", "[::1]80", "[::1]:", "[::1:80", ":80", "[]:80", "*:80", "1.2.3.4:000080",
		"1.2.3.4:99999999999999999999", "[1.2.3.4]:80", "[fe80::1%lo]:80",
	};
	struct addr a;
	char text[ADDR_TEXT];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!addr_parse(span_of(bad[i]), &a), "\"%s\" was taken", bad[i]);
	ck_assert(addr_parse(SPAN("10.0.0.1:65535"), &a) && a.port == 65535 && a.family == ADDR_V4);
	addr_text(&a, text, sizeof(text));
	ck_assert_str_eq(text, "10.0.0.1:65535");
	ck_assert(addr_parse(SPAN("[::ffff:9.8.7.6]:1"), &a) && a.port == 1);
	addr_text(&a, text, sizeof(text));
	ck_assert_str_eq(text, "9.8.7.6:1");
	ck_assert(addr_parse(SPAN("[fe80::1%3]:80"), &a) && a.scope == 3);
	ck_assert_uint_eq(addr_text(&a, text, sizeof(text)), strlen("[fe80::1%3]:80"));
	ck_assert_str_eq(text, "[fe80::1%3]:80");
	ck_assert(addr_parse_named_scope(SPAN("[fe80::1%lo]:80"), &a) && a.scope == 1);
	ck_assert(!addr_parse_named_scope(SPAN("[fe80::1%nosuchlink]:80"), &a));
	/* The longest text there is fits. */
	ck_assert(addr_parse(SPAN("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"), &a));
	ck_assert_uint_eq(addr_text(&a, text, sizeof(text)), 58);
}
END_TEST

START_TEST(unix_text_is_cut)
{
	struct addr a = { .family = ADDR_UNIX, .path = "/run/app.sock" };
	char text[ADDR_TEXT], longer[200];

	ck_assert_uint_eq(addr_text(&a, text, sizeof(text)), 18);
	ck_assert_str_eq(text, "unix:/run/app.sock");
	addr_ip_text(&a, text, sizeof(text));
	ck_assert_str_eq(text, "unix");
	memset(longer, 'x', sizeof(longer));
	longer[199] = '\0';
	a.path = longer;
	ck_assert_uint_eq(addr_text(&a, text, sizeof(text)), ADDR_TEXT - 1);
	a.path = NULL;
	addr_text(&a, text, sizeof(text));
	ck_assert_str_eq(text, "unix:");
	a.family = ADDR_NONE;
	addr_text(&a, text, sizeof(text));
	ck_assert_str_eq(text, "-");
}
END_TEST

static struct addr ip(const char *text)
{
	struct addr a;

	ck_assert_msg(addr_parse_ip(span_of(text), &a), "\"%s\" was refused", text);
	return a;
}

START_TEST(equality_and_hash)
{
	struct addr a = ip("10.0.0.1"), b = ip("::ffff:10.0.0.1"), c = ip("fe80::1%1"), d = ip("fe80::1%2");

	ck_assert(addr_eq_ip(&a, &b) && addr_eq(&a, &b));
	ck_assert_uint_eq(addr_hash_ip(&a, 5), addr_hash_ip(&b, 5));
	b.port = 80;
	ck_assert(addr_eq_ip(&a, &b) && !addr_eq(&a, &b));
	ck_assert_uint_eq(addr_hash_ip(&a, 5), addr_hash_ip(&b, 5));
	ck_assert(addr_hash_ip(&a, 5) != addr_hash_ip(&a, 6));
	ck_assert(!addr_eq_ip(&c, &d) && !addr_eq_ip(&a, &c));
	struct addr u = { .family = ADDR_UNIX, .path = "/a" }, v = { .family = ADDR_UNIX };
	ck_assert(addr_eq(&u, &u) && addr_eq(&v, &v) && !addr_eq(&u, &v));
}
END_TEST

START_TEST(kernel_form)
{
	struct sockaddr_storage ss;
	struct addr a, b;

	ck_assert(addr_parse(SPAN("10.1.2.3:8080"), &a));
	ck_assert_uint_eq(addr_to_sockaddr(&a, &ss), sizeof(struct sockaddr_in));
	addr_from_sockaddr(&b, (struct sockaddr *)&ss, sizeof(struct sockaddr_in));
	ck_assert(addr_eq(&a, &b));
	ck_assert(addr_parse(SPAN("[fe80::9%5]:81"), &a));
	ck_assert_uint_eq(addr_to_sockaddr(&a, &ss), sizeof(struct sockaddr_in6));
	addr_from_sockaddr(&b, (struct sockaddr *)&ss, sizeof(struct sockaddr_in6));
	ck_assert(addr_eq(&a, &b) && b.scope == 5);
	/* What accept() on a dual-stack listener gives for an IPv4 client. */
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(99) };
	ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:1.2.3.4", &mapped.sin6_addr), 1);
	addr_from_sockaddr(&b, (struct sockaddr *)&mapped, sizeof(mapped));
	ck_assert(b.family == ADDR_V4 && b.port == 99 && b.v4[0] == 1 && b.v4[3] == 4);
	/* Lengths that lie. */
	addr_from_sockaddr(&b, (struct sockaddr *)&mapped, sizeof(mapped) - 1);
	ck_assert_uint_eq(b.family, ADDR_NONE);
	addr_from_sockaddr(&b, (struct sockaddr *)&mapped, 0);
	ck_assert_uint_eq(b.family, ADDR_NONE);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	addr_from_sockaddr(&b, (struct sockaddr *)&un, sizeof(sa_family_t));
	ck_assert(b.family == ADDR_UNIX && b.path == NULL);
	ck_assert_uint_eq(addr_to_sockaddr(&b, &ss), 0);
	char path[sizeof(un.sun_path) + 1];
	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	b.path = path;
	ck_assert_uint_eq(addr_to_sockaddr(&b, &ss), 0);
	path[sizeof(path) - 2] = '\0';
	ck_assert_uint_eq(addr_to_sockaddr(&b, &ss), sizeof(un));
	b.family = ADDR_NONE;
	ck_assert_uint_eq(addr_to_sockaddr(&b, &ss), 0);
}
END_TEST

static bool in(const char *net, const char *text)
{
	struct net n;
	struct addr a = ip(text);
	bool host_bits;

	ck_assert_msg(net_parse(span_of(net), &n, &host_bits), "\"%s\" was refused", net);
	return net_has(&n, &a);
}

START_TEST(networks_match)
{
	ck_assert(in("10.0.0.0/8", "10.255.0.1") && !in("10.0.0.0/8", "11.0.0.0"));
	ck_assert(in("10.0.0.1", "10.0.0.1") && !in("10.0.0.1", "10.0.0.2"));
	ck_assert(in("0.0.0.0/0", "1.2.3.4") && !in("0.0.0.0/0", "::1"));
	ck_assert(in("::/0", "::1") && !in("::/0", "1.2.3.4"));
	ck_assert(in("192.168.128.0/17", "192.168.255.1") && !in("192.168.128.0/17", "192.168.127.255"));
	ck_assert(in("10.0.0.254/31", "10.0.0.255") && !in("10.0.0.254/31", "10.0.0.253"));
	ck_assert(in("2001:db8::/33", "2001:db8:7fff::1") && !in("2001:db8::/33", "2001:db8:8000::1"));
	/* Mapped forms are IPv4 on either side. */
	ck_assert(in("::ffff:10.0.0.0/104", "10.9.9.9") && !in("::ffff:10.0.0.0/104", "11.0.0.1"));
	ck_assert(in("10.0.0.0/8", "::ffff:10.1.1.1") && in("::ffff:0:0/96", "9.9.9.9"));
	ck_assert(in("all", "1.2.3.4") && in("all", "::1") && !in("unix", "1.2.3.4"));
	/* A scope narrows; none takes any. */
	ck_assert(in("fe80::/10", "fe80::1%3") && in("fe80::%3/10", "fe80::1%3") && !in("fe80::%3/10", "fe80::1%4"));
}
END_TEST

START_TEST(networks_at_every_length)
{
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct addr a = ip("5a5a:5a5a:5a5a:5a5a:5a5a:5a5a:5a5a:5a5a"), b;
		struct net n;
		bool host_bits;
		char text[80];
		int len = snprintf(text, sizeof(text), "5a5a:5a5a:5a5a:5a5a:5a5a:5a5a:5a5a:5a5a/%u", bits);

		ck_assert(net_parse(span_make(text, (size_t)len), &n, &host_bits));
		ck_assert_uint_eq(n.bits, bits);
		/* The pattern's last set bit is number 127. */
		ck_assert_int_eq(host_bits, bits < 127);
		ck_assert(net_has(&n, &a));
		for (unsigned i = 0; i < 128; i++) {
			b = a;
			b.v6[i / 8] ^= (uint8_t)(0x80 >> i % 8);
			ck_assert_int_eq(net_has(&n, &b), i >= bits);
		}
	}
}
END_TEST

START_TEST(host_bits_are_told_and_cleared)
{
	struct net n;
	bool host_bits;
	char text[ADDR_TEXT];

	ck_assert(net_parse(SPAN("10.1.2.3/8"), &n, &host_bits) && host_bits);
	addr_ip_text(&n.base, text, sizeof(text));
	ck_assert_str_eq(text, "10.0.0.0");
	ck_assert(net_parse(SPAN("10.0.0.0/8"), &n, &host_bits) && !host_bits);
	ck_assert(net_parse(SPAN("10.0.0.1/32"), &n, &host_bits) && !host_bits && n.bits == 32);
	ck_assert(net_parse(SPAN("10.0.0.1/31"), &n, &host_bits) && host_bits);
	ck_assert(net_parse(SPAN("10.0.0.1/0"), &n, &host_bits) && host_bits);
	ck_assert(net_parse(SPAN("::1/127"), &n, &host_bits) && host_bits);
	ck_assert(net_parse(SPAN("::1"), &n, &host_bits) && !host_bits && n.bits == 128);
	ck_assert(net_parse(SPAN("::ffff:10.0.0.1/104"), &n, &host_bits) && host_bits && n.bits == 8);
	ck_assert(net_parse(SPAN("::ffff:10.0.0.1"), &n, &host_bits) && !host_bits && n.bits == 32);
}
END_TEST

START_TEST(refuses_bad_networks)
{
	static const char *const bad[] = {
		"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8/8",
		"10/8", "10.0.0.0/255.0.0.0", "::/129", "::/1280", "::ffff:0:0/95", "::ffff:10.0.0.0/8", "[::1]",
		"[::1]/128", "ALL", "unix/8", "all/0", "private", "localhost", "10.0.0.0/0x8",
	};
	struct net n;
	bool host_bits;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!net_parse(span_of(bad[i]), &n, &host_bits), "\"%s\" was taken", bad[i]);
}
END_TEST

START_TEST(lists_and_families)
{
	struct net nets[3];
	bool host_bits;
	struct addr none = { .family = ADDR_NONE }, peer = { .family = ADDR_UNIX }, a = ip("10.0.0.1"), b = ip("::1");

	ck_assert(net_parse(SPAN("unix"), &nets[0], &host_bits));
	ck_assert(net_parse(SPAN("10.0.0.0/24"), &nets[1], &host_bits));
	ck_assert(net_parse(SPAN("all"), &nets[2], &host_bits));
	ck_assert(nets_have(nets, 2, &peer) && nets_have(nets, 2, &a));
	ck_assert(!nets_have(nets, 2, &b) && !nets_have(nets, 2, &none) && !nets_have(nets, 0, &a));
	ck_assert(nets_have(nets, 3, &b) && nets_have(nets, 3, &none));
}
END_TEST

UNIT("addr", ip_text_round_trip, refuses_bad_ips, ports, unix_text_is_cut, equality_and_hash, kernel_form,
     networks_match, networks_at_every_length, host_bits_are_told_and_cleared, refuses_bad_networks,
     lists_and_families)
