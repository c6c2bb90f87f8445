/*
 * panic_test.c - dying processes: what they say, how they end, and that they
 * end at all.
 */
#include "t/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/panic.h"
#include "common/poison.h"

static char said[1 << 16];

/* Runs `body` in a child; its crash text is in `said`, its wait status the answer. */
static int die_by(void (*body)(void), int fd, int read_fd)
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		alarm(20);
		panic_set_fd(fd);
		body();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	fcntl(read_fd, F_SETFL, O_NONBLOCK);
	ssize_t n = read(read_fd, said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	return status;
}

static int die_by_pipe(void (*body)(void))
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	int status = die_by(body, p[1], p[0]);
	close(p[0]);
	close(p[1]);
	return status;
}

static void be_busy(void)
{
	struct panic_note *note = panic_note();

	note->role = "worker 3";
	note->conn = 17;
	note->exchange = 4;
	strcpy(note->request_id, "abc-123");
}

static void fail_a_check(void)
{
	panic_catch_signals();
	be_busy();
	must(1 + 1 == 3);
}

/* What it saves may be broken, too. */
static void save(void *owner)
{
	*(char *)owner = 1;
	raise(SIGABRT);
}

static char *saved;

static void fail_with_something_to_save(void)
{
	panic_last_words(save, saved);
	fail_a_check();
}

START_TEST(something_is_saved_after_the_note)
{
	saved = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(saved, MAP_FAILED);
	int status = die_by_pipe(fail_with_something_to_save);

	ck_assert(WIFSIGNALED(status));
	ck_assert_ptr_nonnull(strstr(said, "\"1 + 1 == 3\" does not hold in fail_a_check(), "));
	ck_assert_int_eq(saved[0], 1);
	munmap(saved, 4096);
}
END_TEST

START_TEST(failed_check_tells_all)
{
	int status = die_by_pipe(fail_a_check);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_msg(strstr(said, "panic: worker 3[") == said, "%s", said);
	ck_assert_ptr_nonnull(strstr(said, "\"1 + 1 == 3\" does not hold in fail_a_check(), "));
	ck_assert_ptr_nonnull(strstr(said, "panic_test.c:"));
	ck_assert_ptr_nonnull(strstr(said, "panic: busy with connection 17, exchange 4, request id abc-123\n"));
	ck_assert_ptr_nonnull(strstr(said, "panic: weir "));
	/* Frames of this very program, each on a line with the prefix. */
	ck_assert_msg(strstr(said, "panic_test") != NULL || strstr(said, "/panic.") != NULL, "%s", said);
	for (const char *line = said; *line != '\0'; line = strchr(line, '\n') + 1)
		ck_assert_msg(strncmp(line, "panic: ", 7) == 0, "%s", line);
}
END_TEST

/* An early failure, before anything was set up. */
static void fail_unprepared(void)
{
	must_not_reach("nothing is set up");
}

START_TEST(failed_check_without_handlers)
{
	int status = die_by_pipe(fail_unprepared);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(said, "\"nothing is set up\""));
	ck_assert_ptr_null(strstr(said, "busy with"));
}
END_TEST

struct thing {
	uint32_t magic;
};
#define THING_MAGIC 0x7417u

static void check_stale_object(void)
{
	struct thing thing = { 0 }, *t = &thing;

	OBJ_CHECK(t, THING_MAGIC);
}

START_TEST(stale_object_is_caught)
{
	int status = die_by_pipe(check_stale_object);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_ptr_nonnull(strstr(said, "\"t is a THING_MAGIC\" does not hold in check_stale_object()"));
}
END_TEST

static void be_aborted(void)
{
	panic_catch_signals();
	be_busy();
	kill(getpid(), SIGABRT);
}

START_TEST(abort_from_outside_tells_who)
{
	char want[64];
	int status = die_by_pipe(be_aborted);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	snprintf(want, sizeof(want), "]: SIGABRT sent by process ");
	ck_assert_msg(strstr(said, want) != NULL, "%s", said);
	ck_assert_ptr_nonnull(strstr(said, "connection 17"));
}
END_TEST

#ifndef POISON_ASAN
static char *volatile bad_address = (char *)0x10;

static void touch_nothing(void)
{
	panic_catch_signals();
	be_busy();
	*bad_address = 1;
}

START_TEST(bad_pointer)
{
	int status = die_by_pipe(touch_nothing);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_msg(strstr(said, "]: SIGSEGV at address 0x10\n") != NULL, "%s", said);
	ck_assert_ptr_nonnull(strstr(said, "request id abc-123"));
}
END_TEST

static volatile unsigned depth;

/* Not a tail call, whatever the optimizer thinks. */
static __attribute__((noinline)) unsigned dig(volatile char *above)
{
	volatile char here[4096];

	here[0] = above[0];
	if (++depth > 1u << 30)
		return 0;
	return dig(here) + (unsigned)here[0];
}

static void overflow_the_stack(void)
{
	volatile char top = 1;

	panic_catch_signals();
	dig(&top);
}

START_TEST(stack_overflow)
{
	int status = die_by_pipe(overflow_the_stack);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_msg(strstr(said, "SIGSEGV at address") != NULL, "%s", said);
}
END_TEST
#endif

static char *page;

static void fail_with_page(void)
{
	panic_set_page(page, 4096);
	fail_a_check();
}

static void fail_with_tiny_page(void)
{
	panic_set_page(page, 16);
	fail_a_check();
}

START_TEST(page_gets_the_text)
{
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	die_by_pipe(fail_with_page);
	ck_assert_ptr_nonnull(memchr(page, '\0', 4096));
	ck_assert_int_eq(strncmp(page, said, strlen(page)), 0);
	ck_assert_ptr_nonnull(strstr(page, "request id abc-123"));
	memset(page, '#', 4096);
	die_by_pipe(fail_with_tiny_page);
	ck_assert_str_eq(page, "panic: worker 3");
	ck_assert_int_eq(page[16], '#');
}
END_TEST

/* Nobody reads the log; the process must die all the same. */
START_TEST(full_pipe_does_not_keep_it_alive)
{
	static const char fill[4096];
	int p[2];

	ck_assert_int_eq(pipe2(p, O_NONBLOCK), 0);
	while (write(p[1], fill, sizeof(fill)) > 0)
		;
	fcntl(p[1], F_SETFL, 0);
	int status = die_by(fail_a_check, p[1], p[0]);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

#ifdef POISON_ASAN
UNIT("panic", something_is_saved_after_the_note, failed_check_tells_all, failed_check_without_handlers,
     stale_object_is_caught,
     abort_from_outside_tells_who, page_gets_the_text, full_pipe_does_not_keep_it_alive)
#else
UNIT("panic", something_is_saved_after_the_note, failed_check_tells_all,
     failed_check_without_handlers, stale_object_is_caught,
     abort_from_outside_tells_who, bad_pointer, stack_overflow, page_gets_the_text,
     full_pipe_does_not_keep_it_alive)
#endif
