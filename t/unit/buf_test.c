/*
 * buf_test.c - bufs: growing, consuming, compacting, and the pool behind them.
 */
#include "t/unit/unit.h"

#include "common/buf.h"

static struct buf_pool pool;

START_TEST(adds_and_consumes)
{
	buf_pool_init(&pool, 2);
	struct buf *b = buf_get(&pool, 0);

	ck_assert_uint_eq(b->cap, BUF_SIZE);
	ck_assert_uint_eq(buf_len(b), 0);
	ck_assert(buf_add(b, SPAN("hello ")) && buf_add(b, SPAN("world")) && buf_add(b, SPAN("")));
	ck_span_eq(buf_span(b), "hello world");
	buf_consume(b, 6);
	ck_span_eq(buf_span(b), "world");
	ck_assert_uint_eq(buf_room(b), BUF_SIZE - 11);
	buf_compact(b);
	ck_span_eq(buf_span(b), "world");
	ck_assert_uint_eq(buf_room(b), BUF_SIZE - 5);
	/* Emptied means starting over, so that no room is lost. */
	buf_consume(b, 5);
	ck_assert_uint_eq(buf_room(b), BUF_SIZE);
	buf_put(&pool, &b);
	ck_assert_ptr_null(b);
	buf_put(&pool, &b);
	buf_pool_fini(&pool);
}
END_TEST

START_TEST(refuses_what_does_not_fit)
{
	static char bytes[BUF_SIZE + 1];

	buf_pool_init(&pool, 2);
	struct buf *b = buf_get(&pool, 0);
	ck_assert(!buf_add(b, span_make(bytes, BUF_SIZE + 1)));
	ck_assert_uint_eq(buf_len(b), 0);
	ck_assert(buf_add(b, span_make(bytes, BUF_SIZE)));
	ck_assert(!buf_add(b, SPAN("x")));
	ck_assert(buf_get(&pool, SIZE_MAX) == NULL);
	ck_assert(!buf_grow(&pool, &b, SIZE_MAX));
	ck_assert_uint_eq(buf_len(b), BUF_SIZE);
	buf_put(&pool, &b);
	buf_pool_fini(&pool);
}
END_TEST

START_TEST(grows_with_its_bytes)
{
	buf_pool_init(&pool, 2);
	struct buf *b = buf_get(&pool, 10);

	ck_assert(buf_add(b, SPAN("0123456789")));
	buf_consume(b, 4);
	/* Within its capacity the readable part only moves to the front. */
	struct buf *same = b;
	ck_assert(buf_grow(&pool, &b, BUF_SIZE));
	ck_assert_ptr_eq(b, same);
	ck_assert_uint_eq(b->start, 0);
	ck_assert(buf_grow(&pool, &b, 100000));
	ck_span_eq(buf_span(b), "456789");
	ck_assert_uint_ge(b->cap, 100000);
	ck_assert_uint_eq(buf_room(b), b->cap - 6);
	ck_assert_uint_eq(pool.used, 1);
	ck_assert_uint_eq(pool.n, 1);
	/* A large one is not kept. */
	buf_put(&pool, &b);
	ck_assert_uint_eq(pool.n, 1);
	ck_assert_uint_eq(pool.used, 0);
	buf_pool_fini(&pool);
}
END_TEST

START_TEST(pool_recycles_up_to_its_limit)
{
	struct buf *b[4];

	buf_pool_init(&pool, 2);
	for (unsigned i = 0; i < 4; i++)
		b[i] = buf_get(&pool, 0);
	ck_assert_uint_eq(pool.used, 4);
	const struct buf *second = b[1];
	for (unsigned i = 0; i < 4; i++)
		buf_put(&pool, &b[i]);
	ck_assert_uint_eq(pool.n, 2);
	struct buf *again = buf_get(&pool, 1);
	ck_assert_ptr_eq(again, second);
	memset(buf_tail(again), 1, buf_room(again));
	ck_assert_uint_eq(pool.n, 1);
	buf_put(&pool, &again);
	buf_pool_fini(&pool);
	ck_assert_uint_eq(pool.n, 0);
}
END_TEST

START_TEST(big_ones_are_few)
{
	static struct buf *b[BUF_BIG_MAX + 1];

	buf_pool_init(&pool, 2);
	for (unsigned i = 0; i <= BUF_BIG_MAX; i++) {
		ck_assert(buf_for_reading(&pool, &b[i], true));
		ck_assert_uint_eq(b[i]->cap, i < BUF_BIG_MAX ? BUF_BIG : BUF_SIZE);
		ck_assert_uint_eq(buf_len(b[i]), 0);
	}
	ck_assert_uint_eq(pool.big_used, BUF_BIG_MAX);
	/* None is left for who has a small one, and that stays; then one is. */
	const struct buf *same = b[BUF_BIG_MAX];
	ck_assert(buf_for_reading(&pool, &b[BUF_BIG_MAX], true));
	ck_assert_ptr_eq(b[BUF_BIG_MAX], same);
	for (unsigned i = 0; i < BUF_BIG_MAX; i++)
		buf_put(&pool, &b[i]);
	ck_assert_uint_eq(pool.nbig, BUF_BIG_KEPT);
	ck_assert_uint_eq(pool.big_used, 0);
	ck_assert(buf_add(b[BUF_BIG_MAX], SPAN("bytes")));
	ck_assert(buf_for_reading(&pool, &b[BUF_BIG_MAX], true));
	ck_assert_ptr_eq(b[BUF_BIG_MAX], same);
	buf_consume(b[BUF_BIG_MAX], 5);
	ck_assert(buf_for_reading(&pool, &b[BUF_BIG_MAX], false));
	ck_assert_ptr_eq(b[BUF_BIG_MAX], same);
	ck_assert(buf_for_reading(&pool, &b[BUF_BIG_MAX], true));
	ck_assert_uint_eq(b[BUF_BIG_MAX]->cap, BUF_BIG);
	ck_assert_uint_eq(pool.nbig, BUF_BIG_KEPT - 1);
	buf_put(&pool, &b[BUF_BIG_MAX]);
	/* Who asks for as many bytes is given as many, but none of those. */
	b[0] = buf_get(&pool, BUF_BIG);
	ck_assert_uint_gt(b[0]->cap, BUF_BIG);
	buf_put(&pool, &b[0]);
	ck_assert_uint_eq(pool.used, 0);
	buf_pool_fini(&pool);
}
END_TEST

UNIT("buf", big_ones_are_few, adds_and_consumes, refuses_what_does_not_fit,
     grows_with_its_bytes, pool_recycles_up_to_its_limit)
