/*
 * byte_class_test.c - the scans by vector find what a look at each byte finds,
 * wherever the text begins, ends and differs.
 */
#include "t/unit/unit.h"

#include "worker/http/byte_class.h"

#define ROOM 96

static uint64_t seed = 1;

static unsigned draw(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

/* What a scan over p[0..n) must give. */
static size_t first_not(const char *p, size_t n, unsigned class)
{
	size_t i = 0;

	while (i < n && byte_is(p[i], class))
		i++;
	return i;
}

static void compare(const char *p, size_t n)
{
	char out[ROOM + BYTE_VECTOR + 1];
	size_t plain = first_not(p, n, BYTE_PLAIN), lf = 0;

	memset(out, '#', sizeof(out));
	ck_assert_uint_eq((size_t)(byte_value_end(p, p + n) - p), first_not(p, n, BYTE_VALUE));
	ck_assert_uint_eq(byte_copy_plain(out, p, n), plain);
	ck_assert(memcmp(out, p, plain) == 0);
	ck_assert_int_eq(out[n + BYTE_VECTOR], '#');
	while (lf < n && p[lf] != '\n')
		lf++;
	ck_assert_uint_eq((size_t)(byte_find_lf(p, p + n) - p), lf);
}

/* Each byte value at each place of texts of each length; the text lies at the end of its block, so that one byte too many is
 * one too many for the sanitizer. */
START_TEST(every_byte_at_every_place)
{
	for (size_t n = 0; n <= 40; n++) {
		char *text = malloc(n + 1);

		ck_assert_ptr_nonnull(text);
		for (size_t at = 0; at < n; at++) {
			for (unsigned c = 0; c < 256; c++) {
				memset(text, 'a', n + 1);
				text[1 + at] = (char)c;
				compare(text + 1, n);
			}
		}
		compare(text + 1, n);
		free(text);
	}
}
END_TEST

START_TEST(any_text)
{
	char text[ROOM];

	for (unsigned round = 0; round < 20000; round++) {
		size_t from = draw(16), n = draw(ROOM - 16);

		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = (char)(draw(8) ? 'a' + (int)draw(26) : (int)draw(256));
		compare(text + from, n);
	}
}
END_TEST

UNIT("byte_class", every_byte_at_every_place, any_text)
