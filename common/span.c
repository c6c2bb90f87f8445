/*
 * span.c - the parts of spans that are too long to be inline.
 *
 * Called from everywhere; allocates nothing, keeps nothing, knows no locale.
 */
#include "common/span.h"

bool span_caseeq(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (ascii_lower((unsigned char)a.p[i]) != ascii_lower((unsigned char)b.p[i]))
			return false;
	}
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

struct span span_cut(struct span *rest, char sep)
{
	struct span whole = *rest;
	const char *at = whole.n > 0 ? memchr(whole.p, sep, whole.n) : NULL;

	if (at == NULL) {
		*rest = span_make(whole.n > 0 ? whole.p + whole.n : whole.p, 0);
		return whole;
	}
	size_t n = (size_t)(at - whole.p);
	*rest = span_make(at + 1, whole.n - n - 1);
	return span_make(whole.p, n);
}

bool span_u64(struct span s, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
			return false;
	}
	*out = v;
	return true;
}

/* Both halves of the 128-bit product, so that every input bit reaches every output bit. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t span_hash(struct span s, uint64_t seed)
{
	const uint64_t k1 = 0x9e3779b97f4a7c15u, k2 = 0xd6e8feb86659fd93u, k3 = 0xa0761d6478bd642fu;
	uint64_t h = fold(seed ^ k1, s.n ^ k3);
	uint64_t word;

	for (; s.n >= sizeof(word); s.p += sizeof(word), s.n -= sizeof(word)) {
		memcpy(&word, s.p, sizeof(word));
		h = fold(h ^ word, k2) + k1;
	}
	word = 0;
	if (s.n > 0)
		memcpy(&word, s.p, s.n);
	h = fold(h ^ word, k3);
	return fold(h ^ k1, k2);
}
