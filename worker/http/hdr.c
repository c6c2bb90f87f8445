/*
 * hdr.c - the table of known field names (hdr.def) and the look-up in it.
 *
 * One hash over five values of the name and one comparison: no name is compared with more than one other. Called once per
 * field by the parsers, and by whoever reads names from the configuration.
 */
#include "common/obj.h"
#include "worker/http/byte_class.h"
#include "worker/http/hdr_hash.h"
#include "worker/http/head.h"

struct hdr_info {
	char name[40];
	uint8_t len, flags;
};

static const struct hdr_info hdr_table[HDR__N] = {
#define HDR(id, text, fl) [HDR_##id] = { .name = text, .len = sizeof(text) - 1, .flags = fl },
#include "worker/http/hdr.def"
#undef HDR
};

/* Slot numbers are bytes. */
_Static_assert(HDR__N <= 256, "hdr_slots needs a wider type");

static unsigned hdr_slot(const char *p, size_t n)
{
	uint64_t key = n | (uint64_t)((unsigned char)p[0] | 0x20) << 8 | (uint64_t)((unsigned char)p[n / 2] | 0x20) << 16 |
		       (uint64_t)((unsigned char)p[n * 3 / 4] | 0x20) << 24 |
		       (uint64_t)((unsigned char)p[n - 1] | 0x20) << 32;

	return (unsigned)(key * HDR_HASH_MUL >> (64 - HDR_HASH_BITS));
}

/* Both are tokens and b has only letters, digits and "-": then bit 5 tells letter case and nothing else. */
static bool same_token(const char *a, const char *b, size_t n)
{
	const uint64_t fold = 0x2020202020202020u;
	uint64_t x, y;

	if (n < 8) {
		for (; n > 0; a++, b++, n--)
			if ((*a | 0x20) != (*b | 0x20))
				return false;
		return true;
	}
	for (; n > 8; a += 8, b += 8, n -= 8) {
		memcpy(&x, a, 8);
		memcpy(&y, b, 8);
		if ((x | fold) != (y | fold))
			return false;
	}
	/* The last eight, some of them a second time. */
	memcpy(&x, a + n - 8, 8);
	memcpy(&y, b + n - 8, 8);
	return (x | fold) == (y | fold);
}

enum hdr_id hdr_find_token(struct span name)
{
	const struct hdr_info *k;
	unsigned id;

	if (name.n == 0 || name.n >= sizeof(k->name))
		return HDR_OTHER;
	id = hdr_slots[hdr_slot(name.p, name.n)];
	k = &hdr_table[id];
	return k->len == name.n && same_token(name.p, k->name, name.n) ? (enum hdr_id)id : HDR_OTHER;
}

enum hdr_id hdr_find(struct span name)
{
	return field_name_ok(name) ? hdr_find_token(name) : HDR_OTHER;
}

struct span hdr_name(enum hdr_id id)
{
	must((unsigned)id < HDR__N);
	return span_make(hdr_table[id].name, hdr_table[id].len);
}

unsigned hdr_flags(enum hdr_id id)
{
	must((unsigned)id < HDR__N);
	return hdr_table[id].flags;
}

bool hdr_disguised(struct span name)
{
	char plain[sizeof(hdr_table[0].name)];
	bool under = false;

	if (name.n >= sizeof(plain))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		under |= name.p[i] == '_';
		plain[i] = name.p[i] == '_' ? '-' : name.p[i];
	}
	if (!under)
		return false;
	return hdr_flags(hdr_find(span_make(plain, name.n))) & (HDR_OURS | HDR_FRAMING | HDR_HOP);
}

bool field_name_ok(struct span name)
{
	size_t i = 0;

	while (i < name.n && byte_is(name.p[i], BYTE_TOKEN))
		i++;
	return i == name.n && name.n > 0;
}

bool field_value_ok(struct span value)
{
	return byte_value_end(value.p, value.p + value.n) == value.p + value.n;
}
