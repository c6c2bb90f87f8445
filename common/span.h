/*
 * span.h - a run of bytes somebody else owns: pointer and length.
 *
 * Spans are passed by value, never own memory and are never NUL-terminated by
 * promise. Case-blind comparison is ASCII only, whatever the locale.
 */
#ifndef COMMON_SPAN_H
#define COMMON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(lit) ((struct span){ "" lit, sizeof(lit) - 1 })
#define SPAN_FMT(s) (int)(s).n, (s).p		/* for "%.*s" */

static inline struct span span_of(const char *cstr)
{
	return (struct span){ cstr, cstr ? strlen(cstr) : 0 };
}

static inline struct span span_make(const char *p, size_t n)
{
	return (struct span){ p, n };
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool span_ends(struct span s, struct span tail)
{
	return s.n >= tail.n && (tail.n == 0 || memcmp(s.p + s.n - tail.n, tail.p, tail.n) == 0);
}

static inline unsigned char ascii_lower(unsigned char c)
{
	return (unsigned)(c - 'A') < 26u ? (unsigned char)(c | 0x20) : c;
}

bool span_caseeq(struct span a, struct span b);

/* Without blanks (space, tab) at either end. */
struct span span_trim(struct span s);

/* Cuts the part before the first `sep` off *rest and returns it; the whole rest when there is none. */
struct span span_cut(struct span *rest, char sep);

/* True and *out when s is decimal digits only and fits; false on anything else, empty and overflow included. */
bool span_u64(struct span s, uint64_t *out);

/* FNV-like or better 64-bit hash; not for hostile keys unless seeded. */
uint64_t span_hash(struct span s, uint64_t seed);

#endif
