/*
 * byte_class.h - what each byte may be in HTTP text, and the scans that need more than one byte at a time.
 *
 * For the codecs of this directory. Classes follow RFC 9110 5.6.2 and 5.5, RFC 3986 2 and 3.2.2.
 */
#ifndef WORKER_HTTP_BYTE_CLASS_H
#define WORKER_HTTP_BYTE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BYTE_TOKEN  1u			/* in a token */
#define BYTE_UNDER  2u			/* "_" */
#define BYTE_TARGET 4u			/* may stand in a request target */
#define BYTE_PATH   8u			/* in a path, and needs no look: BYTE_TARGET without . % ? \ */
#define BYTE_HEX    16u
#define BYTE_HOST   32u			/* in a host name: letters, digits, - . _ ~ */
#define BYTE_VALUE  64u			/* in a field value or reason */
#define BYTE_PLAIN  128u		/* stands for itself in a log: printable ASCII without quote and backslash */

extern const uint8_t byte_class[256];

static inline unsigned byte_is(char c, unsigned class)
{
	return byte_class[(unsigned char)c] & class;
}

/* Of a byte that is BYTE_HEX. */
static inline unsigned byte_hex(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/*
 * Scans. Each has a twin that looks at one byte at a time; it takes what is left behind the last whole vector, and everything
 * where there is no SSE2. SSE2 is part of x86-64, so nothing is chosen at run time; text in heads is too short for wider vectors
 * to gain anything.
 */
static inline const char *byte_class_end(const char *p, const char *end, unsigned class)
{
	while (p < end && byte_is(*p, class))
		p++;
	return p;
}

/* The first byte that is not BYTE_VALUE, end when there is none. */
static inline const char *byte_value_end(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i low = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);

	for (; end - p >= 16; p += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i ctl = _mm_cmpeq_epi8(_mm_min_epu8(x, low), x);
		__m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(x, tab), ctl), _mm_cmpeq_epi8(x, del));
		unsigned mask = (unsigned)_mm_movemask_epi8(bad);

		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	return byte_class_end(p, end, BYTE_VALUE);
}

#define BYTE_VECTOR 16

#ifdef __SSE2__
/* A bit for each of 16 bytes that is not BYTE_PLAIN. */
static inline unsigned byte_not_plain(__m128i x)
{
	const __m128i low = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), quote = _mm_set1_epi8('"'),
		      back = _mm_set1_epi8('\\');
	__m128i ctl = _mm_cmpeq_epi8(_mm_min_epu8(x, low), x), high = _mm_cmpeq_epi8(_mm_max_epu8(x, del), x);
	__m128i mark = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, back));

	return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(ctl, high), mark));
}
#endif

/* The first byte that is not BYTE_PLAIN, end when there is none. */
static inline const char *byte_plain_end(const char *p, const char *end)
{
	return byte_class_end(p, end, BYTE_PLAIN);
}

/* Copies bytes up to the first that is not BYTE_PLAIN, and says how many. `out` has room for n + BYTE_VECTOR. */
static inline size_t byte_copy_plain(char *out, const char *p, size_t n)
{
	size_t at = 0;

#ifdef __SSE2__
	for (; n - at >= BYTE_VECTOR; at += BYTE_VECTOR) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
		unsigned mask = byte_not_plain(x);

		_mm_storeu_si128((__m128i *)(void *)(out + at), x);
		if (mask)
			return at + (size_t)__builtin_ctz(mask);
	}
#endif
	for (; at < n && byte_is(p[at], BYTE_PLAIN); at++)
		out[at] = p[at];
	return at;
}

/* The first LF, end when there is none. */
static inline const char *byte_find_lf(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i lf = _mm_set1_epi8('\n');

	for (; end - p >= 16; p += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, lf));

		if (mask)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && *p != '\n')
		p++;
	return p;
}

#endif
