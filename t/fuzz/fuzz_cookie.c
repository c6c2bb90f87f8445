/*
 * fuzz_cookie.c - look-ups in text that clients wrote: cookies, query
 * parameters, dates.
 *
 * The first byte is the length of the name. What is found lies inside what was
 * searched, right behind its name; a date that is read and written is the same
 * date.
 */
#include "t/unit/codec.h"
#include "worker/http/date.h"
#include "worker/http/uri.h"

static void inside(struct span value, struct span text, struct span name, bool cookie)
{
	const char *p = value.p;

	if (p < text.p || p + value.n > text.p + text.n)
		abort();
	if (memchr(p, cookie ? ';' : '&', value.n))
		abort();
	while (cookie && p > text.p && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	if (p > text.p && p[-1] == '=')
		p--;
	else if (value.n || cookie)
		abort();
	while (cookie && p > text.p && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	if ((size_t)(p - text.p) < name.n || memcmp(p - name.n, name.p, name.n) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text, name, value;
	int64_t t, back;

	if (size < 1 || size > 20000)
		return 0;
	text = span_make(guarded(data + 1, size - 1), size - 1);
	name.n = data[0] % 16u < text.n ? data[0] % 16u : text.n;
	name.p = text.p;
	text = span_make(text.p + name.n, text.n - name.n);
	if (cookie_get(text, name, &value) && span_eq(span_trim(name), name))
		inside(value, text, name, true);
	if (uri_query_get(text, name, &value))
		inside(value, text, name, false);
	if (date_parse(text, 0, &t) && t >= 0) {
		char out[DATE_LEN + 1];

		if (!date_parse(date_format(out, (uint64_t)t * 1000), 0, &back) || back != t)
			abort();
	}
	return 0;
}
