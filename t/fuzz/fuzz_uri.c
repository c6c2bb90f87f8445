/*
 * fuzz_uri.c - request targets, paths and hosts.
 *
 * Normalising twice is normalising once, and nothing is left in a normal path
 * that an application might still resolve.
 */
#include "t/unit/codec.h"
#include "worker/http/uri.h"

static char out[CODEC_ROOM], again[CODEC_ROOM];

static void check_path(struct span s)
{
	size_t n = uri_normalise(s, out);

	if (n == 0)
		return;
	if (n > s.n || out[0] != '/' || uri_normalise(span_make(out, n), again) != n || memcmp(out, again, n) != 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (out[i] <= ' ' || out[i] >= 127)
			abort();
		if (out[i] != '/' || i + 1 == n || out[i + 1] != '.')
			continue;
		if (i + 2 == n || out[i + 2] == '/')
			abort();
		if (out[i + 2] == '.' && (i + 3 == n || strchr("/;", out[i + 3])))
			abort();
	}
	if (!uri_below(span_make(out, n), SPAN("/")) || !uri_below(span_make(out, n), span_make(out, n)))
		abort();
}

static void check_host(struct span s)
{
	uint16_t port, none;
	size_t n = uri_host(s, out, &port);

	if (n == 0)
		return;
	if (n > s.n + URI_V6_ROOM || n > 255 || uri_host(span_make(out, n), again, &none) != n || none != 0 ||
	    memcmp(out, again, n) != 0)
		abort();
}

static void check_target(struct span s, enum method m)
{
	struct arena a;
	struct head h;
	bool good;

	arena_init(&a, NULL, 1 << 20);
	head_init(&h, &a);
	h.method = m;
	h.target = s;
	good = uri_parse_target(&h);
	if (good && m != METHOD_CONNECT && h.path.n == 0)
		abort();
	if (good && h.path.n && h.path.p[0] == '/' &&
	    (uri_normalise(h.path, again) != h.path.n || memcmp(again, h.path.p, h.path.n) != 0))
		abort();
	arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum method methods[] = { METHOD_GET, METHOD_OPTIONS, METHOD_CONNECT };
	struct span s;

	if (size > 20000)
		return 0;
	s = span_make(guarded(data, size), size);
	check_path(s);
	check_host(s);
	for (unsigned i = 0; i < 3; i++)
		check_target(s, methods[i]);
	return 0;
}
