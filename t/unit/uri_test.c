/*
 * uri_test.c - request targets, paths, hosts, queries and cookies.
 */
#include "t/unit/unit.h"

#include "t/unit/codec.h"
#include "worker/http/uri.h"

static const char *normal(const char *path)
{
	static char out[4096];
	size_t n = strlen(path);
	size_t len = uri_normalise(span_make(guarded(path, n), n), out);

	out[len] = '\0';
	return len ? out : "(bad)";
}

START_TEST(normalises)
{
	static const char *const cases[][2] = {
		{ "/", "/" }, { "/a/b", "/a/b" }, { "/a/b/", "/a/b/" }, { "//", "//" }, { "//host/x", "//host/x" },
		{ "/a//b", "/a//b" }, { "/.", "/" }, { "/./", "/" }, { "/./a", "/a" }, { "/a/.", "/a/" },
		{ "/a/./b", "/a/b" }, { "/a/..", "/" }, { "/a/../", "/" }, { "/a/../b", "/b" }, { "/a/b/../..", "/" },
		{ "/a/b/../../c", "/c" }, { "/a//../b", "/a/b" }, { "//..", "/" }, { "/...", "/..." }, { "/..a", "/..a" },
		{ "/a..", "/a.." }, { "/.a", "/.a" }, { "/a./b", "/a./b" }, { "/.well-known/x", "/.well-known/x" },
		{ "/%61%2D%5f%7E", "/a-_~" }, { "/%2e", "/" }, { "/a/%2e%2E/b", "/b" }, { "/a/.%2e/b", "/b" },
		{ "/%2f", "/%2F" }, { "/a%5cb", "/a%5Cb" }, { "/%e4%f6", "/%E4%F6" }, { "/%252e", "/%252e" },
		{ "/%252f%2a", "/%252f%2A" }, { "/a%0d%0ab", "/a%0D%0Ab" }, { "/%3f%23%20", "/%3F%23%20" },
		{ "/a;b=c/d", "/a;b=c/d" }, { "/a..;x", "/a..;x" }, { "/.;x", "/.;x" }, { "/a%2Fb/../c", "/c" },
		{ "/a%2F.b", "/a%2F.b" }, { "/%2F..a", "/%2F..a" }, { "/a!$&'()*+,=:@", "/a!$&'()*+,=:@" },
		{ "/a;..%2fb", "/a;..%2Fb" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(strcmp(normal(cases[i][0]), cases[i][1]) == 0, "%s became %s", cases[i][0],
			      normal(cases[i][0]));
		/* What is normal stays as it is. */
		ck_assert_str_eq(normal(cases[i][1]), cases[i][1]);
	}
}
END_TEST

START_TEST(refuses_paths)
{
	static const char *const bad[] = {
		"", "a", "*", "/..", "/../", "/../a", "/a/../..", "/a/../../b", "/%2e%2e", "/./..", "/%", "/%2", "/%zz",
		"/%2g", "/%g2", "/a%", "/%00", "/a%00b", "/a b", "/a#b", "/a\\b", "/a\tb", "/a\nb", "/a\x7f", "/a\xc3\xa4",
		"/a?b", "/\x01", "/a/..%2fb", "/a/..%5Cb", "/a%2f..", "/a%2f../b", "/a/b%2F..%2F..%2Fc", "/a/..;/b",
		"/a/..;x", "/a/%2e%2e;x=1/b", "/a%5c..%5cb", "/a/x;y%2f..", "/..%2f",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(strcmp(normal(bad[i]), "(bad)") == 0, "%s became %s", bad[i], normal(bad[i]));
	/* Every byte that may not stand in a path. */
	for (int c = 1; c < 256; c++) {
		char path[4] = { '/', 'a', (char)c, '\0' };
		bool good = c > 32 && c < 127 && !strchr("#%?\\", c);

		ck_assert_msg((strcmp(normal(path), "(bad)") != 0) == good, "byte %d", c);
	}
}
END_TEST

START_TEST(long_paths_are_linear)
{
	static char path[60000], out[60001];
	size_t n = 0;

	path[n++] = '/';
	while (n + 4 < sizeof(path)) {
		memcpy(path + n, n < sizeof(path) / 2 ? "a/b/" : "../.", 4);
		n += n < sizeof(path) / 2 ? 4 : 3;
	}
	for (int i = 0; i < 200; i++)
		uri_normalise(span_make(path, n), out);
}
END_TEST

static const char *host(const char *s)
{
	static char out[512];
	uint16_t port;
	size_t len = strlen(s), n = uri_host(span_make(guarded(s, len), len), out, &port);

	if (!n)
		return "(bad)";
	snprintf(out + n, sizeof(out) - n, "|%u", port);
	return out;
}

START_TEST(hosts)
{
	static const char *const cases[][2] = {
		{ "a", "a|0" }, { "A.Example", "a.example|0" }, { "a.example.", "a.example|0" },
		{ "a.example:80", "a.example|80" }, { "a.example.:8080", "a.example|8080" }, { "a:", "a|0" },
		{ "10.0.0.1:65535", "10.0.0.1|65535" }, { "x_y-z~", "x_y-z~|0" }, { "[::1]", "[::1]|0" },
		{ "[2001:DB8::A]:443", "[2001:db8::a]|443" }, { "[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]|1" },
		{ "[::1]:", "[::1]|0" }, { "[0:0:0:0:0:0:0:1]", "[::1]|0" }, { "[1:0::0:2]:8", "[1::2]|8" },
	};
	static const char *const bad[] = {
		"", ".", "..", ".a", "a..b", "a..", ":", ":80", "a:0", "a:65536", "a:99999", "a:123456", "a:x", "a:+1", "a: 1",
		"a:1:2", "a b", "a,b", "a/b", "a?b", "a#b", "a@b", "u:p@a", "a\tb", "a\x7f", "a\xc3", "a%41", "[", "[]", "[:]",
		"[::1", "[::1]x", "[::1]80", "[::1%eth0]", "[::1%25eth0]", "[v1.x]", "[1.2.3.4]", "::1", "[::1]:0", "[::g]",
		"[1:2:3:4:5:6:7:8:9]", "a*", "*", "a\\b", "a\"", "<a>", "[[::1]]",
	};
	char longest[300];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(strcmp(host(cases[i][0]), cases[i][1]) == 0, "%s became %s", cases[i][0],
			      host(cases[i][0]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(strcmp(host(bad[i]), "(bad)") == 0, "%s became %s", bad[i], host(bad[i]));
	memset(longest, 'a', sizeof(longest));
	longest[256] = '\0';
	ck_assert_str_eq(host(longest), "(bad)");
	longest[255] = '\0';
	ck_assert_str_ne(host(longest), "(bad)");
}
END_TEST

/* "path|query|scheme|host|port" of a target, "(bad)". */
static const char *target(enum method m, const char *s)
{
	static char out[1024];
	struct arena a;
	struct head h;

	arena_init(&a, NULL, 1 << 20);
	head_init(&h, &a);
	h.method = m;
	h.authority = SPAN("old.example:1");
	h.target = span_make(guarded(s, strlen(s)), strlen(s));
	if (!uri_parse_authority(&h))
		ck_abort();
	if (uri_parse_target(&h))
		snprintf(out, sizeof(out), "%.*s|%s%.*s|%.*s|%.*s|%u", SPAN_FMT(h.path), h.has_query ? "?" : "",
			 SPAN_FMT(h.query), SPAN_FMT(h.scheme), SPAN_FMT(h.host), h.port);
	else
		strcpy(out, "(bad)");
	arena_fini(&a);
	return out;
}

START_TEST(targets)
{
	ck_assert_str_eq(target(METHOD_GET, "/a?b"), "/a|?b||old.example|1");
	ck_assert_str_eq(target(METHOD_GET, "/a?"), "/a|?||old.example|1");
	ck_assert_str_eq(target(METHOD_GET, "/a/../b?c=/../d?e"), "/b|?c=/../d?e||old.example|1");
	ck_assert_str_eq(target(METHOD_GET, "//h/a"), "//h/a|||old.example|1");
	ck_assert_str_eq(target(METHOD_GET, "http://new.example"), "/||http|new.example|0");
	ck_assert_str_eq(target(METHOD_GET, "HTTPS://New.Example.:8443/x/./y?z"), "/x/y|?z|https|new.example|8443");
	ck_assert_str_eq(target(METHOD_GET, "http://new?q/x"), "/|?q/x|http|new|0");
	ck_assert_str_eq(target(METHOD_GET, "http://[::1]:80/"), "/||http|[::1]|80");
	ck_assert_str_eq(target(METHOD_OPTIONS, "*"), "*|||old.example|1");
	ck_assert_str_eq(target(METHOD_OPTIONS, "http://new"), "*||http|new|0");
	ck_assert_str_eq(target(METHOD_OPTIONS, "http://new/"), "/||http|new|0");
	ck_assert_str_eq(target(METHOD_OPTIONS, "http://new?q"), "/|?q|http|new|0");
	ck_assert_str_eq(target(METHOD_CONNECT, "new:443"), "||" "|new|443");
}
END_TEST

START_TEST(refuses_targets)
{
	static const char *const bad[] = {
		"", "*", "a", "a/b", "?q", "#", "/#", "/a#b", "/a?b#c", "http:", "http:/", "http://", "http:///x",
		"http://?q", "http:/a", "http:a", "ftp://a/", "file:///etc", "ws://a/", "httpx://a/", "://a/", "http//a/",
		"http://u@a/", "http://u:p@a/", "http://a:0/", "http://a:b/", "http://a b/", "http://a/ b", "http://a\\b/",
		"http://a/%", "http://a/..", "http://[::1/", "/a b", "/a?b c", "/a?\x01", "/a?\x7f", "/a?\x80", "/a\x80",
		"a:80",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(strcmp(target(METHOD_GET, bad[i]), "(bad)") == 0, "%s became %s", bad[i],
			      target(METHOD_GET, bad[i]));
	ck_assert_str_eq(target(METHOD_CONNECT, "a"), "(bad)");
	ck_assert_str_eq(target(METHOD_CONNECT, "/"), "(bad)");
	ck_assert_str_eq(target(METHOD_CONNECT, "http://a:80/"), "(bad)");
	ck_assert_str_eq(target(METHOD_CONNECT, ":80"), "(bad)");
}
END_TEST

START_TEST(prefixes)
{
	ck_assert(uri_below(SPAN("/api"), SPAN("/api")) && uri_below(SPAN("/api/"), SPAN("/api")));
	ck_assert(uri_below(SPAN("/api/x"), SPAN("/api")) && uri_below(SPAN("/api/x"), SPAN("/api/")));
	ck_assert(uri_below(SPAN("/api"), SPAN("/api/")) && uri_below(SPAN("/"), SPAN("/")));
	ck_assert(uri_below(SPAN("/x"), SPAN("/")) && uri_below(SPAN("//x"), SPAN("/")));
	ck_assert(!uri_below(SPAN("/apix"), SPAN("/api")) && !uri_below(SPAN("/ap"), SPAN("/api")));
	ck_assert(!uri_below(SPAN("/API"), SPAN("/api")) && !uri_below(SPAN("*"), SPAN("/")));
	ck_assert(!uri_below(SPAN(""), SPAN("/")));
}
END_TEST

START_TEST(queries)
{
	struct span v;

	ck_assert(uri_query_get(SPAN("a=1&b=2&a=3"), SPAN("a"), &v));
	ck_span_eq(v, "1");
	ck_assert(uri_query_get(SPAN("a=1&b=x=y&c"), SPAN("b"), &v));
	ck_span_eq(v, "x=y");
	ck_assert(uri_query_get(SPAN("a=1&b=x=y&c"), SPAN("c"), &v));
	ck_span_eq(v, "");
	ck_assert(uri_query_get(SPAN("&&a=%41&"), SPAN("a"), &v));
	ck_span_eq(v, "%41");
	ck_assert(!uri_query_get(SPAN("ab=1&ba=2"), SPAN("a"), &v));
	ck_assert(!uri_query_get(SPAN(""), SPAN("a"), &v) && !uri_query_get(span_make(NULL, 0), SPAN("a"), &v));
}
END_TEST

START_TEST(cookies)
{
	struct span v;

	ck_assert(cookie_get(SPAN("a=1; b=2; a=3"), SPAN("a"), &v));
	ck_span_eq(v, "1");
	ck_assert(cookie_get(SPAN("a=1;b=x=y ;c=\"q\""), SPAN("b"), &v));
	ck_span_eq(v, "x=y");
	ck_assert(cookie_get(SPAN("a=1;b=2;\tc=\"q\""), SPAN("c"), &v));
	ck_span_eq(v, "\"q\"");
	ck_assert(cookie_get(SPAN("a="), SPAN("a"), &v));
	ck_span_eq(v, "");
	ck_assert(!cookie_get(SPAN("a; b"), SPAN("a"), &v) && !cookie_get(SPAN("A=1"), SPAN("a"), &v));
	ck_assert(!cookie_get(SPAN("aa=1; ba=2"), SPAN("a"), &v) && !cookie_get(SPAN("x=a=1"), SPAN("a"), &v));
	ck_assert(!cookie_get(SPAN(";;= ;"), SPAN("a"), &v) && !cookie_get(span_make(NULL, 0), SPAN("a"), &v));
}
END_TEST

UNIT("uri", normalises, refuses_paths, long_paths_are_linear, hosts, targets, refuses_targets, prefixes, queries,
     cookies)
