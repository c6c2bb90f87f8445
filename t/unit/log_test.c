/*
 * log_test.c - the error log: whole lines, escapes, and never waiting for who
 * reads it, whatever kind of descriptor it goes to.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

static char said[1 << 17];

/* What there is to read now. */
static const char *drain(int fd)
{
	size_t n = 0;
	ssize_t got;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	while (n < sizeof(said) - 1 && (got = read(fd, said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	return said;
}

static unsigned count(const char *hay, const char *needle)
{
	unsigned n = 0;

	while ((hay = strstr(hay, needle)) != NULL) {
		hay++;
		n++;
	}
	return n;
}

static int temp_file(void)
{
	char path[] = "/tmp/weir-log-XXXXXX";
	int fd = mkostemp(path, O_APPEND);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

static const char *content(int fd)
{
	ssize_t n = pread(fd, said, sizeof(said) - 1, 0);

	ck_assert_int_ge(n, 0);
	said[n] = '\0';
	return said;
}

START_TEST(lines_have_their_parts)
{
	int fd = temp_file(), year, ms, zone, pid, end = 0;

	log_set_fd(fd, false);
	ck_assert_int_eq(log_fd(), fd);
	log_set_role("worker 3");
	errno = ENOENT;
	log_warn("cannot open %s: %m", "x");
	ck_assert_int_eq(errno, ENOENT);
	int n = sscanf(content(fd), "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3d%*1[+-]%2d:%*2d warn worker 3[%d]: %n", &year, &ms,
		       &zone, &pid, &end);
	ck_assert_msg(n == 4 && end > 0, "%s", said);
	ck_assert_int_eq(pid, getpid());
	ck_assert_str_eq(said + end, "cannot open x: No such file or directory\n");
}
END_TEST

START_TEST(levels_filter)
{
	int fd = temp_file();

	log_set_fd(fd, false);
	log_set_level(LOG_LV_WARN);
	ck_assert(!log_enabled(LOG_LV_NOTICE) && log_enabled(LOG_LV_ERROR));
	log_debug("no");
	log_info("no");
	log_notice("no");
	log_warn("yes");
	log_error("yes");
	log_set_level(LOG_LV_DEBUG);
	log_debug("yes");
	ck_assert_uint_eq(count(content(fd), "\n"), 3);
	ck_assert_uint_eq(count(said, ": yes\n"), 3);
	ck_assert_str_eq(log_level_name(LOG_LV_DEBUG), "debug");
	ck_assert_str_eq(log_level_name(LOG_LV_ERROR), "error");
}
END_TEST

START_TEST(one_line_stays_one_line)
{
	static char longer[20000];
	int fd = temp_file();

	log_set_fd(fd, false);
	log_info("a\nb\rc\x1b[31md\te");
	ck_assert_uint_eq(count(content(fd), "\n"), 1);
	ck_assert_ptr_nonnull(strstr(said, ": a b c [31md e\n"));
	memset(longer, 'x', sizeof(longer) - 1);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	log_info("%s", longer);
	ck_assert_uint_le(strlen(content(fd)), 4096);
	ck_assert_str_eq(said + strlen(said) - 5, "x...\n");
}
END_TEST

static void ck_pipe_never_blocks(int pipe_fd[2])
{
	uint64_t start = clock_mono_ms();

	for (unsigned i = 0; i < 5000; i++)
		log_info("line %u ................................................................", i);
	ck_assert_uint_lt(clock_mono_ms() - start, 5000);
	unsigned first = count(drain(pipe_fd[0]), "\n");
	ck_assert_uint_gt(first, 100);
	ck_assert_uint_lt(first, 5000);
	/* It works again: the loss is owned up to, once, before the next line. */
	log_info("back");
	log_info("again");
	drain(pipe_fd[0]);
	char want[64];
	snprintf(want, sizeof(want), ": %u log lines were lost", 5000 - first);
	ck_assert_msg(strstr(said, want) != NULL && strstr(said, want) < strstr(said, ": back\n"), "%s in %s", want, said);
	ck_assert_uint_eq(count(said, "were lost"), 1);
	ck_assert_uint_eq(count(said, "\n"), 3);
}

START_TEST(full_pipe_never_blocks)
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	log_set_fd(p[1], false);
	ck_pipe_never_blocks(p);
	/* The description that others share was left as it was. */
	ck_assert_int_eq(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

/* Where /proc cannot be used the shared description has to do. */
START_TEST(full_shared_pipe_never_blocks)
{
	int p[2];
	struct rlimit limit;

	ck_assert_int_eq(pipe(p), 0);
	/* No descriptor is left for one of our own. */
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	rlim_t soft = limit.rlim_cur;
	limit.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	log_set_fd(p[1], false);
	limit.rlim_cur = soft;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_pipe_never_blocks(p);
	ck_assert_int_eq(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(dead_pipe_is_harmless)
{
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(p), 0);
	log_set_fd(p[1], false);
	close(p[0]);
	log_info("nobody hears this");
	log_info("nor this");
	int fd = temp_file();
	log_set_fd(fd, false);
	log_info("moved");
	ck_assert_ptr_nonnull(strstr(content(fd), ": 2 log lines were lost"));
}
END_TEST

/* A service manager may give a socket as stderr. It must not send SIGPIPE either, which nobody ignores here. */
START_TEST(stream_socket_never_blocks)
{
	int s[2];

	signal(SIGPIPE, SIG_DFL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	log_set_fd(s[1], false);
	for (unsigned i = 0; i < 20000; i++)
		log_info("line %u", i);
	drain(s[0]);
	log_info("back");
	drain(s[0]);
	ck_assert_ptr_nonnull(strstr(said, "log lines were lost"));
	ck_assert_ptr_nonnull(strstr(said, ": back\n"));
	close(s[0]);
	log_info("nobody hears this");
}
END_TEST

/* In a process of its own: Check writes files, too. */
static void fill_the_disk(int fd)
{
	struct rlimit limit = { .rlim_cur = 100, .rlim_max = RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	log_set_fd(fd, false);
	setrlimit(RLIMIT_FSIZE, &limit);
	log_info("%s", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890");
	log_info("lost whole");
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	log_info("next");
	_exit(0);
}

/* What went out in part to a full disk is ended before the next line begins. */
START_TEST(torn_line_does_not_swallow_the_next)
{
	int fd = temp_file(), status;
	pid_t pid = fork();

	if (pid == 0)
		fill_the_disk(fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	content(fd);
	ck_assert_int_eq(said[100], '\n');
	ck_assert_ptr_nonnull(strstr(said, ": 2 log lines were lost"));
	ck_assert_ptr_nonnull(strstr(said, ": next\n"));
	ck_assert_uint_eq(count(said, "\n"), 3);
}
END_TEST

static int syslog_daemon(struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	unlink(un->sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)un, sizeof(*un)), 0);
	return fd;
}

START_TEST(syslog_survives_a_restart_of_the_daemon)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char want[64];

	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/weir-log-%d.sock", (int)getpid());
	int daemon = syslog_daemon(&un), fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	log_set_fd(fd, true);
	log_set_role("master");
	log_error("first");
	ssize_t n = recv(daemon, said, sizeof(said), 0);
	snprintf(want, sizeof(want), "<27>weir[%d]: error master: first", (int)getpid());
	ck_span_eq(span_make(said, (size_t)n), want);
	/* A daemon that does not read. */
	for (unsigned i = 0; i < 1000; i++)
		log_info("unread");
	close(daemon);
	log_info("gone");
	daemon = syslog_daemon(&un);
	log_info("back");
	n = recv(daemon, said, sizeof(said) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	said[n] = '\0';
	ck_assert_ptr_nonnull(strstr(said, "log lines were lost"));
	ck_assert_uint_eq(strncmp(said, "<28>", 4), 0);
	n = recv(daemon, said, sizeof(said) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	said[n] = '\0';
	ck_assert_ptr_nonnull(strstr(said, ": back"));
	ck_assert_ptr_null(strchr(said, '\n'));
	unlink(un.sun_path);
}
END_TEST

START_TEST(escapes)
{
	char out[64];

	ck_assert_str_eq(log_esc(out, sizeof(out), SPAN("plain text/~")), "plain text/~");
	ck_assert_str_eq(log_esc(out, sizeof(out), SPAN("a\"b'c\\d")), "a\\x22b\\x27c\\x5cd");
	ck_assert_str_eq(log_esc(out, sizeof(out), span_make("\0\n\x1b\x7f\xff", 5)), "\\x00\\x0a\\x1b\\x7f\\xff");
	ck_assert_str_eq(log_esc(out, sizeof(out), span_make(NULL, 0)), "");
}
END_TEST

/* For every size: fits, ends properly, and never in the middle of an escape. */
START_TEST(escapes_are_cut_whole)
{
	const struct span text = span_make("ab\n\ncd\xff", 7);
	const char *whole = "ab\\x0a\\x0acd\\xff";
	char out[64];

	ck_assert_str_eq(log_esc(out, strlen(whole) + 1, text), whole);
	for (size_t size = 4; size <= strlen(whole); size++) {
		memset(out, '#', sizeof(out));
		log_esc(out, size, text);
		size_t n = strlen(out);

		ck_assert_uint_lt(n, size);
		ck_assert_int_eq(out[size], '#');
		ck_assert_str_eq(out + n - 3, "...");
		ck_assert_int_eq(strncmp(out, whole, n - 3), 0);
		ck_assert_msg(n - 3 <= 2 || n - 3 == 6 || n - 3 >= 10, "size %zu gives %s", size, out);
	}
}
END_TEST

UNIT("log", lines_have_their_parts, levels_filter, one_line_stays_one_line, full_pipe_never_blocks,
     full_shared_pipe_never_blocks, dead_pipe_is_harmless, stream_socket_never_blocks,
     torn_line_does_not_swallow_the_next, syslog_survives_a_restart_of_the_daemon, escapes, escapes_are_cut_whole)
