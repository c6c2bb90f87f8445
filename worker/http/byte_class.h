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
	while (p < end && byte_is(*p, BYTE_VALUE))
		p++;
	return p;
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
