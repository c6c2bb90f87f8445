/*
 * lock_test.c - one instance: who comes second, what is left behind, a file that changes under the lock.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/lock.h"

static char dir[] = "/tmp/weir-lock-XXXXXX", path[64];
static pid_t holder;

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pid", dir);
}

static void remove_dir(void)
{
	unlink(path);
	rmdir(dir);
}

static bool exists(void)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

START_TEST(second_one_learns_who_holds_it)
{
	struct lock a, b;

	make_dir();
	ck_assert_int_eq(lock_take(&a, path, &holder), LOCK_TAKEN);
	ck_assert_int_eq(lock_take(&b, path, &holder), LOCK_BUSY);
	ck_assert_int_eq(holder, 0);
	ck_assert(lock_write_pid(&a));
	ck_assert_int_eq(lock_take(&b, path, &holder), LOCK_BUSY);
	ck_assert_int_eq(holder, getpid());
	lock_drop(&a);
	ck_assert(!exists());
	ck_assert_int_eq(lock_take(&b, path, &holder), LOCK_TAKEN);
	lock_drop(&b);
	lock_drop(&b);
	remove_dir();
}
END_TEST

/* A file of a master that was killed: the lock went with it, its pid means nothing. */
START_TEST(stale_file_is_taken_over)
{
	struct lock a;
	struct stat st;

	make_dir();
	FILE *f = fopen(path, "w");
	fputs("1\n", f);
	fclose(f);
	ck_assert_int_eq(lock_take(&a, path, &holder), LOCK_TAKEN);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	lock_drop(&a);
	remove_dir();
}
END_TEST

/* Somebody removed ours and another made a new one: that is not ours to remove. */
START_TEST(never_removes_anothers_file)
{
	struct lock a, b;

	make_dir();
	ck_assert_int_eq(lock_take(&a, path, &holder), LOCK_TAKEN);
	unlink(path);
	ck_assert_int_eq(lock_take(&b, path, &holder), LOCK_TAKEN);
	lock_drop(&a);
	ck_assert(exists());
	lock_drop(&b);
	ck_assert(!exists());
	remove_dir();
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
	struct lock a;

	make_dir();
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	ck_assert_int_eq(lock_take(&a, path, &holder), LOCK_ERROR);
	ck_assert_int_eq(a.fd, -1);
	unlink(path);
	ck_assert_int_eq(lock_take(&a, "/nonexistent/dir/pid", &holder), LOCK_ERROR);
	ck_assert_int_eq(errno, ENOENT);
	remove_dir();
}
END_TEST

UNIT("lock", second_one_learns_who_holds_it, stale_file_is_taken_over, never_removes_anothers_file,
     refuses_what_is_no_file)
