/*
 * cookie.c - one cookie out of a Cookie field (RFC 6265 4.2, read as 5.4 has user agents write it).
 *
 * For routing, stickiness and logs. Values are handed out as they stand, quotes included; nothing is decoded.
 */
#include "worker/http/uri.h"

bool cookie_get(struct span cookies, struct span name, struct span *value)
{
	while (cookies.n > 0) {
		struct span pair = span_trim(span_cut(&cookies, ';'));
		const char *eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;

		if (eq && span_eq(span_trim(span_make(pair.p, (size_t)(eq - pair.p))), name)) {
			*value = span_trim(span_make(eq + 1, (size_t)(pair.p + pair.n - eq - 1)));
			return true;
		}
	}
	return false;
}
