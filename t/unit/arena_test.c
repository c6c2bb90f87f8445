/*
 * arena_test.c - arenas: alignment, limits, the block cache.
 *
 * malloc is counted, so that "a warm worker allocates nothing" is a test.
 */
#include "t/unit/unit.h"

#include <stdalign.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned mallocs;
static bool malloc_fails;

static void *counted_malloc(size_t n)
{
	mallocs++;
	return malloc_fails ? NULL : malloc(n);
}

#define malloc counted_malloc
#include "common/arena.c"
#undef malloc

static struct arena_cache cache = { .max = 8 };

START_TEST(aligned_and_disjoint)
{
	struct arena a;
	char *last = NULL;

	arena_init(&a, &cache, 0);
	for (size_t n = 1; n < 300; n++) {
		char *text = arena_bytes(&a, n);
		char *p = arena_alloc(&a, n);

		memset(text, 1, n);
		memset(p, (int)n, n);
		ck_assert_uint_eq((uintptr_t)p % alignof(max_align_t), 0);
		ck_assert(text[n - 1] == 1);
		ck_assert(last == NULL || last[n - 2] == (char)(n - 1));
		last = p;
	}
	ck_assert(arena_alloc(&a, 0) != NULL);
	arena_fini(&a);
	arena_cache_fini(&cache);
}
END_TEST

START_TEST(limit_holds)
{
	struct arena a;

	arena_init(&a, &cache, 2 * ARENA_BLOCK);
	ck_assert(arena_alloc(&a, BLOCK_ROOM) != NULL);
	ck_assert(arena_alloc(&a, BLOCK_ROOM) != NULL);
	ck_assert(arena_alloc(&a, 1) == NULL);
	ck_assert(arena_printf(&a, "x") == NULL);
	ck_assert(arena_span(&a, SPAN("x")).p == NULL);
	ck_assert(arena_str(&a, SPAN("x")) == NULL);
	ck_assert_uint_eq(a.total, 2 * ARENA_BLOCK);
	arena_reset(&a);
	/* Oversized blocks count whole, and absurd sizes do not wrap around. */
	ck_assert(arena_alloc(&a, 2 * ARENA_BLOCK - sizeof(struct arena_block)) != NULL);
	ck_assert(arena_alloc(&a, 1) == NULL);
	arena_reset(&a);
	ck_assert(arena_alloc(&a, 2 * ARENA_BLOCK) == NULL);
	ck_assert(arena_alloc(&a, SIZE_MAX) == NULL);
	ck_assert(arena_alloc(&a, SIZE_MAX - 8) == NULL);
	ck_assert(arena_alloc(&a, 1) != NULL);
	arena_fini(&a);
	ck_assert_uint_eq(a.magic, 0);
	arena_cache_fini(&cache);
}
END_TEST

START_TEST(failure_is_null_when_bounded)
{
	struct arena a;

	arena_init(&a, &cache, 1 << 20);
	malloc_fails = true;
	ck_assert(arena_alloc(&a, 1) == NULL);
	ck_assert(arena_zalloc(&a, 10000) == NULL);
	malloc_fails = false;
	ck_assert(arena_alloc(&a, 1) != NULL);
	arena_fini(&a);
	arena_cache_fini(&cache);
}
END_TEST

/* An unbounded arena has nobody to tell: it ends the process with a sentence. */
START_TEST(failure_ends_when_unbounded)
{
	char said[512];
	int out[2], status;

	ck_assert_int_eq(pipe(out), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct arena a;

		log_set_fd(out[1], false);
		arena_init(&a, NULL, 0);
		malloc_fails = true;
		arena_alloc(&a, 1);
		_exit(0);
	}
	close(out[1]);
	ssize_t n = read(out[0], said, sizeof(said) - 1);
	ck_assert_int_gt(n, 0);
	said[n] = '\0';
	ck_assert_ptr_nonnull(strstr(said, "Out of memory"));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	close(out[0]);
}
END_TEST

START_TEST(warm_allocates_nothing)
{
	struct arena a;

	arena_init(&a, &cache, 64 * 1024);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 100; i++)
			ck_assert(arena_alloc(&a, 200) != NULL);
		arena_reset(&a);
		if (round == 0)
			mallocs = 0;
	}
	ck_assert_uint_eq(mallocs, 0);
	arena_fini(&a);
	ck_assert_uint_gt(cache.n, 0);
	arena_cache_fini(&cache);
	ck_assert_uint_eq(cache.n, 0);
}
END_TEST

START_TEST(cache_is_bounded)
{
	struct arena a;

	arena_init(&a, &cache, 0);
	for (unsigned i = 0; i < 20; i++)
		arena_alloc(&a, BLOCK_ROOM);
	arena_alloc(&a, 100000);
	arena_fini(&a);
	ck_assert_uint_eq(cache.n, cache.max);
	arena_cache_fini(&cache);
}
END_TEST

/* A block made to measure leaves the rest of the current one in use. */
START_TEST(big_ones_waste_nothing)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	char *first = arena_alloc(&a, 16);
	char *big = arena_alloc(&a, 3 * ARENA_BLOCK);
	memset(big, 1, 3 * ARENA_BLOCK);
	ck_assert(arena_alloc(&a, 16) == (void *)(first + 16));
	arena_reset(&a);
	/* As the first of all it must not be mistaken for one with room. */
	arena_alloc(&a, 3 * ARENA_BLOCK);
	ck_assert(arena_alloc(&a, 16) != NULL);
	arena_fini(&a);
}
END_TEST

START_TEST(text)
{
	struct arena a;
	const struct span parts[] = { SPAN("ab"), SPAN(""), { NULL, 0 }, SPAN("c") };

	arena_init(&a, NULL, 0);
	struct span joined = arena_join(&a, parts, 4);
	ck_span_eq(joined, "abc");
	ck_assert_int_eq(joined.p[3], '\0');
	ck_assert_str_eq(arena_printf(&a, "%s-%d", "x", 42), "x-42");
	ck_assert_str_eq(arena_str(&a, SPAN("text")), "text");
	ck_span_eq(arena_span(&a, SPAN("")), "");
	ck_assert(arena_span(&a, span_make(NULL, 0)).p != NULL);
	const unsigned char *zero = arena_zalloc(&a, 1000);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(zero[i], 0);
	arena_fini(&a);
}
END_TEST

UNIT("arena", aligned_and_disjoint, limit_holds, failure_is_null_when_bounded, failure_ends_when_unbounded,
     warm_allocates_nothing, cache_is_bounded, big_ones_waste_nothing, text)
