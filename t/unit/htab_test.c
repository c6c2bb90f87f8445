/*
 * htab_test.c - the hash table: add, replace, miss, grow.
 */
#include "t/unit/unit.h"

#include <stdio.h>

#include "common/htab.h"

START_TEST(empty_has_nothing)
{
	struct htab t;

	htab_init(&t);
	ck_assert_ptr_null(htab_get(&t, SPAN("x")));
	ck_assert_ptr_null(htab_get(&t, span_make(NULL, 0)));
	htab_fini(&t);
}
END_TEST

START_TEST(adds_and_replaces)
{
	struct htab t;
	int a, b;

	htab_init(&t);
	ck_assert_ptr_null(htab_put(&t, SPAN("k"), &a));
	ck_assert_ptr_eq(htab_put(&t, SPAN("k"), &b), &a);
	ck_assert_ptr_eq(htab_get(&t, SPAN("k")), &b);
	ck_assert_uint_eq(t.n, 1);
	/* The empty key is a key; case and length matter. */
	ck_assert_ptr_null(htab_get(&t, SPAN("")));
	htab_put(&t, SPAN(""), &a);
	ck_assert_ptr_eq(htab_get(&t, SPAN("")), &a);
	ck_assert_ptr_null(htab_get(&t, SPAN("K")));
	ck_assert_ptr_null(htab_get(&t, SPAN("k2")));
	htab_fini(&t);
	ck_assert_uint_eq(t.n, 0);
}
END_TEST

START_TEST(grows)
{
	static char keys[5000][12];
	struct htab t;

	htab_init(&t);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(keys[i], sizeof(keys[i]), "key%u", i);
		ck_assert_ptr_null(htab_put(&t, span_of(keys[i]), keys[i]));
		ck_assert_uint_le(t.n * 2, t.cap);
	}
	for (unsigned i = 0; i < 5000; i++)
		ck_assert_ptr_eq(htab_get(&t, span_of(keys[i])), keys[i]);
	ck_assert_ptr_null(htab_get(&t, SPAN("key5000")));
	ck_assert_uint_eq(t.n, 5000);
	htab_fini(&t);
}
END_TEST

UNIT("htab", empty_has_nothing, adds_and_replaces, grows)
