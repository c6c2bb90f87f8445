/*
 * slab_test.c - equal objects, recycled: zeroed, aligned, told apart when stale.
 */
#include "t/unit/unit.h"

#include <stdalign.h>

#include "common/obj.h"
#include "common/poison.h"
#include "common/slab.h"

struct thing {
	uint32_t magic;
	char text[93];
};

START_TEST(hands_out_zeroed)
{
	struct slab s;
	struct thing *things[1000];

	slab_init(&s, "thing", sizeof(struct thing));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 1000; i++) {
			struct thing *t = things[i] = slab_get(&s);

			ck_assert_uint_eq((uintptr_t)t % alignof(max_align_t), 0);
			ck_assert_uint_eq(t->magic, 0);
			for (unsigned k = 0; k < sizeof(t->text); k++)
				ck_assert_int_eq(t->text[k], 0);
			memset(t, (int)i, sizeof(*t));
		}
		ck_assert_uint_eq(s.used, 1000);
		for (unsigned i = 0; i < 1000; i++) {
			ck_assert_int_eq(things[i]->text[92], (char)i);
			slab_put(&s, things[i]);
		}
		ck_assert_uint_eq(s.used, 0);
	}
	ck_assert_uint_lt(s.total, 1300);
	slab_fini(&s);
}
END_TEST

START_TEST(last_freed_is_first_reused)
{
	struct slab s;

	slab_init(&s, "thing", sizeof(struct thing));
	void *a = slab_get(&s), *b = slab_get(&s);
	slab_put(&s, a);
	slab_put(&s, b);
	ck_assert_ptr_eq(slab_get(&s), b);
	ck_assert_ptr_eq(slab_get(&s), a);
	slab_fini(&s);
}
END_TEST

/* Whatever links free objects must not overwrite the cleared magic. */
START_TEST(stale_magic_stays_cleared)
{
	struct slab s;

	slab_init(&s, "thing", sizeof(struct thing));
	struct thing *t = slab_get(&s), *stale = t;
	slab_put(&s, slab_get(&s));
	t->magic = 7;
	OBJ_CLEAR(t);
	slab_put(&s, stale);
#ifndef POISON_ASAN
	ck_assert_uint_eq(stale->magic, 0);
#endif
	slab_fini(&s);
}
END_TEST

START_TEST(tiny_and_huge)
{
	struct slab s;

	slab_init(&s, "tiny", 1);
	void *a = slab_get(&s), *b = slab_get(&s);
	ck_assert(a != b);
	slab_fini(&s);
	slab_init(&s, "huge", 100000);
	memset(slab_get(&s), 1, 100000);
	ck_assert_uint_ge(s.total, 1);
	slab_fini(&s);
}
END_TEST

UNIT("slab", hands_out_zeroed, last_freed_is_first_reused, stale_magic_stays_cleared, tiny_and_huge)
