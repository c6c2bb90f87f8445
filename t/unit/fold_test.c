/*
 * fold_test.c - memory that sleeps: every byte comes back where it was.
 */
#include "t/unit/unit.h"

#include "common/fold.h"

#define PIECES 6

static const size_t sizes[PIECES] = { 2928, 1024, 1, 4096, 1024, 16394 };

START_TEST(comes_back)
{
	struct fold_pool pool;
	struct fold f;
	char *piece[PIECES], *copy[PIECES];

	fold_pool_init(&pool);
	fold_init(&f, &pool);
	for (unsigned i = 0; i < PIECES; i++) {
		piece[i] = fold_get(&f, sizes[i]);
		ck_assert_ptr_nonnull(piece[i]);
		ck_assert_uint_ge(fold_size(&f, piece[i]), sizes[i]);
		memset(piece[i], 0, sizes[i]);
		copy[i] = malloc(sizes[i]);
	}
	ck_assert_ptr_null(fold_get(&f, 4096));
	srand(1);
	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < PIECES; i++) {
			/* From nothing to everything, in places and in rows. */
			for (unsigned k = 0; k < round % 50; k++)
				piece[i][(size_t)rand() % sizes[i]] = (char)rand();
			if (round % 7 == 0)
				memset(piece[i], round % 2, sizes[i] / (1 + (unsigned)rand() % 8));
			memcpy(copy[i], piece[i], sizes[i]);
		}
		ck_assert(fold_shut(&f));
		ck_assert(fold_is_shut(&f));
		ck_assert(!fold_shut(&f));
		fold_open(&f);
		for (unsigned i = 0; i < PIECES; i++)
			ck_assert_int_eq(memcmp(copy[i], piece[i], sizes[i]), 0);
	}
	for (unsigned i = 0; i < PIECES; i++)
		free(copy[i]);
	fold_fini(&f);
	fold_pool_fini(&pool);
}
END_TEST

START_TEST(gives_out)
{
	struct fold_pool pool;
	struct fold f;
	char other, *a, *b;

	fold_pool_init(&pool);
	fold_init(&f, &pool);
	ck_assert(!fold_shut(&f));
	a = fold_get(&f, 100);
	b = fold_get(&f, 200);
	ck_assert(!fold_put(&f, &other));
	ck_assert_uint_eq(fold_size(&f, &other), 0);
	ck_assert(fold_put(&f, b));
	ck_assert_ptr_eq(fold_get(&f, 300), b);
	memset(a, 1, 100);
	ck_assert(fold_put(&f, a));
	ck_assert_int_eq(a[0], 0);
	ck_assert_ptr_null(fold_get(&f, FOLD_SIZE));
	ck_assert_ptr_null(fold_get(&f, SIZE_MAX));
	fold_fini(&f);
	fold_pool_fini(&pool);
}
END_TEST

START_TEST(many)
{
	static struct fold f[200];
	char *pieces[200];
	struct fold_pool pool;

	fold_pool_init(&pool);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 200; i++) {
			fold_init(&f[i], &pool);
			pieces[i] = memset(fold_get(&f[i], 5000), (int)i, 5000);
			ck_assert(fold_shut(&f[i]));
		}
		ck_assert_uint_eq(pool.used, 200);
		for (unsigned i = 0; i < 200; i++) {
			if (i % 3 > 0) {
				fold_open(&f[i]);
				ck_assert_int_eq(pieces[i][0], (char)i);
				ck_assert_int_eq(pieces[i][4999], (char)i);
			}
			fold_fini(&f[i]);
		}
		ck_assert_uint_eq(pool.used, 0);
	}
	fold_pool_fini(&pool);
}
END_TEST

UNIT("fold", comes_back, gives_out, many)
