/*
 * uri.c - request targets, paths and hosts (RFC 3986, RFC 9112 3.2).
 *
 * Called once per request by the parsers, and for configured paths and hosts. A path without anything to resolve stays where
 * it is; another is written anew into the head's arena.
 */
#include <arpa/inet.h>

#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/uri.h"

enum path_look { PATH_BAD, PATH_PLAIN, PATH_WORK };

/* Whether a path is normal as it stands, which nearly all are. */
static enum path_look path_look(struct span s)
{
	enum path_look look = PATH_PLAIN;

	if (s.n == 0 || s.p[0] != '/')
		return PATH_BAD;
	for (size_t i = 1; i < s.n; i++) {
		if (byte_is(s.p[i], BYTE_PATH))
			continue;
		if (s.p[i] == '%' || (s.p[i] == '.' && s.p[i - 1] == '/'))
			look = PATH_WORK;
		else if (s.p[i] != '.')
			return PATH_BAD;
	}
	return look;
}

static bool unreserved(unsigned c)
{
	return byte_is((char)c, BYTE_HOST);
}

/* Undoes needless escapes and puts the others in upper case. 0: bad. */
static size_t unescape(struct span s, char *out)
{
	static const char digits[16] = "0123456789ABCDEF";
	size_t w = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned c;

		if (s.p[i] != '%') {
			if (!byte_is(s.p[i], BYTE_PATH) && s.p[i] != '.')
				return 0;
			out[w++] = s.p[i];
			continue;
		}
		if (s.n - i < 3 || !byte_is(s.p[i + 1], BYTE_HEX) || !byte_is(s.p[i + 2], BYTE_HEX))
			return 0;
		c = byte_hex(s.p[i + 1]) << 4 | byte_hex(s.p[i + 2]);
		i += 2;
		if (c == 0)
			return 0;
		if (unreserved(c)) {
			out[w++] = (char)c;
			continue;
		}
		out[w++] = '%';
		out[w++] = digits[c >> 4];
		out[w++] = digits[c & 15];
	}
	return w;
}

static bool escaped_slash(const char *p, size_t n)
{
	return n >= 3 && p[0] == '%' && ((p[1] == '2' && p[2] == 'F') || (p[1] == '5' && p[2] == 'C'));
}

/*
 * A ".." that an application may see and we would not: next to an escaped slash or backslash, or with path parameters, as in
 * "..%2Fadmin" or "..;x". It names nothing legitimate and is how routes are walked around.
 */
static bool hides_parent(const char *p, size_t n)
{
	for (size_t i = 0;; i += 3) {
		size_t start = i;

		while (i < n && p[i] != ';' && !escaped_slash(p + i, n - i))
			i++;
		if (i - start == 2 && p[start] == '.' && p[start + 1] == '.')
			return true;
		while (i < n && !escaped_slash(p + i, n - i))
			i++;
		if (i == n)
			return false;
	}
}

/* Resolves dot segments in place (RFC 3986 5.2.4). 0: one led above the root, or hides. */
static size_t resolve_dots(char *path, size_t n)
{
	size_t w = 1;

	for (size_t r = 1; r < n;) {
		char *slash = memchr(path + r, '/', n - r);
		size_t len = slash ? (size_t)(slash - (path + r)) : n - r;
		size_t step = slash ? len + 1 : len;

		if (len == 2 && path[r] == '.' && path[r + 1] == '.') {
			if (w == 1)
				return 0;
			for (w--; path[w - 1] != '/'; w--)
				;
		} else if (len != 1 || path[r] != '.') {
			if (hides_parent(path + r, len))
				return 0;
			memmove(path + w, path + r, step);
			w += step;
		}
		r += step;
	}
	return w;
}

size_t uri_normalise(struct span path, char *out)
{
	size_t n;

	switch (path_look(path)) {
	case PATH_BAD:
		return 0;
	case PATH_PLAIN:
		memcpy(out, path.p, path.n);
		return path.n;
	case PATH_WORK:
		break;
	}
	n = unescape(path, out);
	return n ? resolve_dots(out, n) : 0;
}

static bool port_parse(struct span s, uint16_t *port)
{
	uint64_t v;

	*port = 0;
	if (s.n == 0)
		return true;		/* "host:" is "host", RFC 3986 6.2.3 */
	if (s.n > 5 || !span_u64(s, &v) || v == 0 || v > 65535)
		return false;
	*port = (uint16_t)v;
	return true;
}

/* "[v6]", port in *port; nothing else may stand in brackets. */
static size_t host_v6(struct span s, char *out, uint16_t *port)
{
	const char *close = memchr(s.p, ']', s.n);
	size_t n = close ? (size_t)(close + 1 - s.p) : 0;
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (n < 4 || n - 2 >= sizeof(text))
		return 0;
	if (n < s.n && (s.p[n] != ':' || !port_parse(span_make(s.p + n + 1, s.n - n - 1), port)))
		return 0;
	for (size_t i = 1; i < n - 1; i++)
		if (!byte_is(s.p[i], BYTE_HEX) && s.p[i] != ':' && s.p[i] != '.')
			return 0;
	memcpy(text, s.p + 1, n - 2);
	text[n - 2] = '\0';
	if (inet_pton(AF_INET6, text, &addr) != 1)
		return 0;
	/* One spelling, whatever the client's: routes name the canonical one. */
	if (inet_ntop(AF_INET6, &addr, text, sizeof(text)) == NULL)
		return 0;
	n = strlen(text);
	out[0] = '[';
	memcpy(out + 1, text, n);
	out[n + 1] = ']';
	return n + 2;
}

size_t uri_host(struct span s, char *out, uint16_t *port)
{
	size_t n = 0;

	*port = 0;
	if (s.n > 0 && s.p[0] == '[')
		return host_v6(s, out, port);
	while (n < s.n && byte_is(s.p[n], BYTE_HOST)) {
		if (s.p[n] == '.' && (n == 0 || s.p[n - 1] == '.'))
			return 0;
		out[n] = (char)ascii_lower((unsigned char)s.p[n]);
		n++;
	}
	if (n < s.n && (s.p[n] != ':' || !port_parse(span_make(s.p + n + 1, s.n - n - 1), port)))
		return 0;
	if (n > 0 && out[n - 1] == '.')
		n--;
	return n <= 255 ? n : 0;
}

bool uri_parse_authority(struct head *h)
{
	struct span a = h->authority;
	char *out;
	size_t n;

	h->port = 0;
	h->host = span_make(NULL, 0);
	if (a.n == 0)
		return true;
	out = arena_bytes(h->arena, a.n + URI_V6_ROOM);
	if (!out)
		return false;
	n = uri_host(a, out, &h->port);
	if (n == 0)
		return false;
	h->host = span_make(out, n);
	return true;
}

static bool set_path(struct head *h, struct span path)
{
	char *out;
	size_t n;

	h->path = path;
	switch (path_look(path)) {
	case PATH_BAD:
		return false;
	case PATH_PLAIN:
		return true;
	case PATH_WORK:
		break;
	}
	out = arena_bytes(h->arena, path.n + 1);
	if (!out)
		return false;
	n = uri_normalise(path, out);
	h->path = span_make(out, n);
	return n > 0;
}

/* Cuts the query off *s and keeps it. */
static bool cut_query(struct head *h, struct span *s)
{
	const char *mark = s->n ? memchr(s->p, '?', s->n) : NULL;

	if (!mark)
		return true;
	h->has_query = true;
	h->query = span_make(mark + 1, (size_t)(s->p + s->n - mark - 1));
	s->n = (size_t)(mark - s->p);
	for (size_t i = 0; i < h->query.n; i++)
		if (!byte_is(h->query.p[i], BYTE_TARGET))
			return false;
	return true;
}

/* absolute-form: "http://authority/path?query". */
static bool absolute_form(struct head *h, struct span t)
{
	struct span scheme = span_cut(&t, ':'), old = h->authority;
	size_t n = 0;

	if (span_caseeq(scheme, SPAN("http")))
		h->scheme = SPAN("http");
	else if (span_caseeq(scheme, SPAN("https")))
		h->scheme = SPAN("https");
	else
		return false;
	if (!span_starts(t, SPAN("//")))
		return false;
	t = span_make(t.p + 2, t.n - 2);
	while (n < t.n && t.p[n] != '/' && t.p[n] != '?')
		n++;
	h->authority = span_make(t.p, n);
	if (n == 0 || !uri_parse_authority(h)) {
		h->authority = old;
		return false;
	}
	t = span_make(t.p + n, t.n - n);
	if (!cut_query(h, &t))
		return false;
	if (t.n > 0)
		return set_path(h, t);
	/* An empty path is "/" (RFC 3986 6.2.3), and "*" for OPTIONS without a query (RFC 9112 3.2.4). */
	h->path = h->method == METHOD_OPTIONS && !h->has_query ? SPAN("*") : SPAN("/");
	return true;
}

bool uri_parse_target(struct head *h)
{
	struct span t = h->target;

	OBJ_CHECK(h, HEAD_MAGIC);
	h->has_query = false;
	h->query = span_make(NULL, 0);
	if (h->method == METHOD_CONNECT) {	/* authority-form: the port is a must, RFC 9112 3.2.3 */
		h->authority = t;
		h->path = span_make(NULL, 0);
		return t.n > 0 && uri_parse_authority(h) && h->port != 0;
	}
	if (t.n > 0 && t.p[0] == '/')
		return cut_query(h, &t) && set_path(h, t);
	if (span_eq(t, SPAN("*"))) {
		h->path = t;
		return h->method == METHOD_OPTIONS;
	}
	return absolute_form(h, t);
}

bool uri_below(struct span path, struct span prefix)
{
	if (prefix.n > 0 && prefix.p[prefix.n - 1] == '/')
		prefix.n--;
	if (path.n == 0 || path.p[0] != '/' || !span_starts(path, prefix))
		return false;
	return path.n == prefix.n || path.p[prefix.n] == '/';
}

bool uri_query_get(struct span query, struct span name, struct span *value)
{
	while (query.n > 0) {
		struct span v = span_cut(&query, '&'), k = span_cut(&v, '=');

		if (span_eq(k, name)) {
			*value = v;
			return true;
		}
	}
	return false;
}
