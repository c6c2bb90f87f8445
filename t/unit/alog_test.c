/*
 * alog_test.c - access logs onto files, pipes and a syslog that do not always take them.
 *
 * Lines come out whole and in order or not at all, nothing outside text can do breaks one, and no call ever waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t/unit/handmade.h"
#include "worker/exchange/alog.h"

static const char raw[] = "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n";
static const char combined[] = "$client_ip - $auth_user [$time_local] \"$request_line\" $status $bytes_out "
			       "\"${header:Referer}\" \"${header:User-Agent}\"";

struct stage {
	struct world w;
	struct exchange *x;
	struct alog *a;
	struct conf_log logs[2], *list[2];
	const struct conf_log *to[2];
	struct conf_access_log log;
};

static void stage_init(struct stage *s, enum conf_log_kind kind, int fd, const char *format, enum conf_escape how)
{
	memset(s, 0, sizeof(*s));
	world_init(&s->w, 1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	/* What is lost is told in the error log; not here. */
	log_set_level(LOG_LV_ERROR);
	s->logs[0] = (struct conf_log){ .kind = kind, .path = "access.log", .id = 0, .fd = fd };
	s->logs[1] = (struct conf_log){ .kind = kind, .path = "other.log", .id = 1, .fd = -1 };
	s->list[0] = &s->logs[0];
	s->list[1] = &s->logs[1];
	s->w.conf.logs = s->list;
	s->w.conf.nlogs = 2;
	s->to[0] = &s->logs[0];
	s->log = (struct conf_access_log){ .to = s->to, .nto = 1, .format = template(&s->w, format), .escape = how };
	s->w.conf.general.access_log = &s->log;
	s->w.loop.now_ms = 1000;
	timer_wheel_init(&s->w.loop.wheel, s->w.loop.now_ms);
	s->x = make_exchange(&s->w, raw);
	s->a = alog_new(&s->w.env);
	ck_assert_ptr_nonnull(s->a);
}

static void stage_fini(struct stage *s)
{
	if (s->a)
		alog_free(&s->a);
	exchange_gone(s->x);
	world_fini(&s->w);
}

/* Whole content of a file by its descriptor. */
static struct span content(int fd)
{
	static char text[1 << 20];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	ck_assert_int_ge(n, 0);
	return span_make(text, (size_t)n);
}

static int temp_file(void)
{
	char path[] = "/tmp/alog_test.XXXXXX";
	int fd = mkostemp(path, O_APPEND);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

START_TEST(the_usual_formats)
{
	struct stage s;
	int fd = temp_file();

	setenv("TZ", "UTC", 1);
	stage_init(&s, CONF_LOG_FILE, fd, combined, CONF_ESC_LOG);
	s.x->start_wall_ms = 951827696007u;
	alog_exchange(s.a, s.x);
	ck_assert_uint_eq(content(fd).n, 0);
	s.x->status = 200;
	s.x->bytes_out = 1234;
	alog_exchange(s.a, s.x);
	alog_flush(s.a);
	ck_span_eq(content(fd),
		   "192.0.2.7 - - [29/Feb/2000:12:34:56 +0000] \"GET /a HTTP/1.1\" - 0 \"-\" \"me\"\n"
		   "192.0.2.7 - - [29/Feb/2000:12:34:56 +0000] \"GET /a HTTP/1.1\" 200 1234 \"-\" \"me\"\n");
	stage_fini(&s);

	fd = temp_file();
	stage_init(&s, CONF_LOG_FILE, fd, "{\"s\":$status,\"u\":\"$upstream\",\"q\":\"$path$query\"}", CONF_ESC_JSON);
	alog_exchange(s.a, s.x);
	s.x->status = 503;
	alog_exchange(s.a, s.x);
	alog_flush(s.a);
	ck_span_eq(content(fd), "{\"s\":null,\"u\":\"\",\"q\":\"/a\"}\n{\"s\":503,\"u\":\"\",\"q\":\"/a\"}\n");
	stage_fini(&s);
	close(fd);
}
END_TEST

START_TEST(the_nearest_log_counts)
{
	struct stage s;
	int fd = temp_file(), other = temp_file();
	struct conf_access_log mine, off = { .nto = 0 };
	const struct conf_log *both[2];

	stage_init(&s, CONF_LOG_FILE, fd, "general", CONF_ESC_LOG);
	alog_free(&s.a);
	s.logs[1].fd = other;
	s.a = alog_new(&s.w.env);
	both[0] = &s.logs[0];
	both[1] = &s.logs[1];
	alog_exchange(s.a, s.x);
	mine = (struct conf_access_log){ .to = both, .nto = 2, .format = template(&s.w, "listener") };
	((struct conf_listen *)s.x->listen)->access_log = &mine;
	alog_exchange(s.a, s.x);
	route_of(s.x)->access_log = &off;
	alog_exchange(s.a, s.x);
	s.x->route = NULL;
	s.x->listen = NULL;
	alog_exchange(s.a, s.x);
	alog_flush(s.a);
	ck_span_eq(content(fd), "general\nlistener\ngeneral\n");
	ck_span_eq(content(other), "listener\n");
	stage_fini(&s);
	close(fd);
	close(other);
}
END_TEST

/* ---- outside text ---- */

static bool json_string_ok(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		unsigned more;

		if (c < ' ' || c == 0x7f)
			return false;
		if (c == '\\') {
			if (i + 1 < s.n && strchr("\"\\", s.p[i + 1]) != NULL) {
				i++;
			} else if (i + 5 < s.n && s.p[i + 1] == 'u' && strspn(s.p + i + 2, "0123456789abcdef") >= 4) {
				i += 5;
			} else {
				return false;
			}
			continue;
		}
		if (c == '"')
			return false;
		if (c < 0x80)
			continue;
		more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		if (c < 0xc2 || c > 0xf4 || i + more >= s.n)
			return false;
		while (more-- > 0)
			if (((unsigned char)s.p[++i] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static struct span random_text(struct world *w, char *text, size_t max)
{
	static const char *const odd[] = {
		"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80",
		"\xe2\x82", "\"}", "\\", "\r\n", "\x1b[2J",
	};
	size_t n = 0, want = roll(w, (unsigned)max);

	while (n < want) {
		const char *piece = odd[roll(w, sizeof(odd) / sizeof(odd[0]))];

		if (roll(w, 2) && n + strlen(piece) <= want) {
			memcpy(text + n, piece, strlen(piece));
			n += strlen(piece);
		} else {
			text[n++] = (char)roll(w, 256);
		}
	}
	return span_make(text, n);
}

static void one_outside_text(struct stage *s, int fd, enum conf_escape how)
{
	char text[300];
	struct span got;

	ck_assert_int_eq(ftruncate(fd, 0), 0);
	s->x->request_line = random_text(&s->w, text, sizeof(text));
	alog_exchange(s->a, s->x);
	alog_flush(s->a);
	got = content(fd);
	ck_assert_uint_ge(got.n, 3);
	ck_assert(got.p[0] == '"' && got.p[got.n - 2] == '"' && got.p[got.n - 1] == '\n');
	got = span_make(got.p + 1, got.n - 3);
	if (how == CONF_ESC_JSON) {
		ck_assert_msg(json_string_ok(got), "no JSON string: %.*s", SPAN_FMT(got));
		return;
	}
	for (size_t i = 0; i < got.n; i++)
		ck_assert(got.p[i] >= ' ' && got.p[i] <= 126 && got.p[i] != '"');
}

START_TEST(outside_text_breaks_nothing)
{
	for (int how = CONF_ESC_LOG; how <= CONF_ESC_JSON; how++) {
		struct stage s;
		int fd = temp_file();

		stage_init(&s, CONF_LOG_FILE, fd, "\"$request_line\"", (enum conf_escape)how);
		for (unsigned i = 0; i < 3000; i++)
			one_outside_text(&s, fd, (enum conf_escape)how);
		stage_fini(&s);
		close(fd);
	}
}
END_TEST

START_TEST(escapes)
{
	static const struct { enum conf_escape how; struct span in; const char *out; } cases[] = {
		{ CONF_ESC_LOG, SPAN("a\"b\\c\n\t\x7f\xc3\xa9"), "a\\x22b\\x5cc\\x0a\\x09\\x7f\\xc3\\xa9\n" },
		{ CONF_ESC_JSON, SPAN("a\"b\\c\n\t\x7f\xc3\xa9"), "a\\\"b\\\\c\\u000a\\u0009\\u007f\xc3\xa9\n" },
		{ CONF_ESC_JSON, SPAN("\xed\xa0\x80\xff\xe2\x82"), "\\u00ed\\u00a0\\u0080\\u00ff\\u00e2\\u0082\n" },
		{ CONF_ESC_JSON, SPAN("\0"), "\\u0000\n" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stage s;
		int fd = temp_file();

		stage_init(&s, CONF_LOG_FILE, fd, "$request_line", cases[i].how);
		s.x->request_line = cases[i].in;
		alog_exchange(s.a, s.x);
		alog_flush(s.a);
		ck_span_eq(content(fd), cases[i].out);
		stage_fini(&s);
		close(fd);
	}
}
END_TEST

START_TEST(long_values_are_cut_and_huge_lines_dropped)
{
	struct stage s;
	int fd = temp_file();
	static char big[20000];

	memset(big, 'x', sizeof(big));
	stage_init(&s, CONF_LOG_FILE, fd, "$request_line", CONF_ESC_LOG);
	s.x->request_line = span_make(big, sizeof(big));
	alog_exchange(s.a, s.x);
	memset(big, '\n', sizeof(big));
	s.log.format = template(&s.w, "$request_line$request_line$request_line$request_line$request_line");
	alog_exchange(s.a, s.x);
	s.x->request_line = SPAN("after");
	alog_exchange(s.a, s.x);
	alog_flush(s.a);
	struct span got = content(fd);
	ck_assert_uint_eq(got.n, 4096 + 3 + 1 + 26);
	ck_assert(span_ends(got, SPAN("xxx...\nafterafterafterafterafter\n")));
	stage_fini(&s);
	close(fd);
}
END_TEST

/* ---- targets that do not take it ---- */

/* Counts numbered lines in text; they must be whole and ascend. */
static unsigned check_lines(struct span text, unsigned long *last)
{
	unsigned n = 0;

	while (text.n > 0) {
		struct span line = span_cut(&text, '\n'), number;
		uint64_t v;

		ck_assert_msg(span_starts(line, SPAN("line ")) && span_ends(line, SPAN(" end")), "torn: %.*s", SPAN_FMT(line));
		number = span_make(line.p + 5, line.n - 9);
		ck_assert(span_u64(number, &v));
		ck_assert_uint_gt(v, *last);
		*last = v;
		n++;
	}
	return n;
}

static void say_number(struct stage *s, unsigned long n)
{
	char text[32];

	s->x->request_line = span_make(text, (size_t)snprintf(text, sizeof(text), "%lu", n));
	alog_exchange(s->a, s->x);
}

static struct span drain(int fd)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)got;
	return span_make(text, n);
}

START_TEST(a_pipe_nobody_reads)
{
	struct stage s;
	int p[2];
	unsigned long last = 0;
	unsigned n;

	ck_assert_int_eq(pipe(p), 0);
	stage_init(&s, CONF_LOG_STDOUT, p[1], "line $request_line end", CONF_ESC_LOG);
	for (unsigned long i = 1; i <= 50000; i++) {
		say_number(&s, i);
		if (i % 10 == 0)
			alog_flush(s.a);
	}
	/* Nobody else's descriptor was changed, and nothing waited. */
	ck_assert_int_eq(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
	n = check_lines(drain(p[0]), &last);
	ck_assert_uint_ge(n, 2000);
	s.w.loop.now_ms += 1000;
	alog_flush(s.a);
	n += check_lines(drain(p[0]), &last);
	ck_assert_uint_ge(n, 5000);
	ck_assert_uint_lt(n, 50000);
	s.w.loop.now_ms += 1000;
	alog_flush(s.a);
	say_number(&s, 50001);
	alog_flush(s.a);
	check_lines(drain(p[0]), &last);
	ck_assert_uint_eq(last, 50001);
	close(p[0]);
	say_number(&s, 50002);
	alog_flush(s.a);
	stage_fini(&s);
	close(p[1]);
}
END_TEST

START_TEST(several_writers_tear_no_line)
{
	struct stage s;
	int p[2];
	pid_t pids[3];
	char buf[65536];
	size_t have = 0;
	unsigned whole = 0;
	ssize_t got;

	ck_assert_int_eq(pipe(p), 0);
	for (unsigned c = 0; c < 3; c++) {
		pids[c] = fork();
		if (pids[c] == 0) {
			stage_init(&s, CONF_LOG_STDOUT, p[1], "line $request_line end", CONF_ESC_LOG);
			for (unsigned long i = 1; i <= 20000; i++) {
				say_number(&s, i);
				s.w.loop.now_ms++;
				if (i % 100 == 0)
					alog_flush(s.a);
			}
			stage_fini(&s);
			_exit(0);
		}
	}
	close(p[1]);
	while ((got = read(p[0], buf + have, sizeof(buf) - have)) > 0) {
		struct span rest = span_make(buf, have + (size_t)got);

		while (memchr(rest.p, '\n', rest.n) != NULL) {
			unsigned long before = 0;

			whole += check_lines(span_cut(&rest, '\n'), &before);
		}
		memmove(buf, rest.p, rest.n);
		have = rest.n;
	}
	ck_assert_uint_eq(have, 0);
	ck_assert_uint_ge(whole, 1000);
	for (unsigned c = 0; c < 3; c++) {
		int status;

		waitpid(pids[c], &status, 0);
		ck_assert_int_eq(status, 0);
	}
	close(p[0]);
}
END_TEST

START_TEST(a_full_disk)
{
	struct stage s;
	int fd = temp_file();
	struct rlimit limit = { .rlim_cur = 1003, .rlim_max = RLIM_INFINITY };
	unsigned long last = 0;
	unsigned n;

	stage_init(&s, CONF_LOG_FILE, fd, "line $request_line end", CONF_ESC_LOG);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = 1003;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned long i = 1; i <= 20000; i++) {
		say_number(&s, i);
		if (i % 7 == 0)
			alog_flush(s.a);
	}
	ck_assert_uint_eq(content(fd).n, 1003);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	s.w.loop.now_ms += 1000;
	say_number(&s, 20001);
	alog_flush(s.a);
	n = check_lines(content(fd), &last);
	ck_assert_uint_ge(n, 2000);
	ck_assert_uint_lt(n, 20001);
	/* The torn line was finished, and new ones come again. */
	say_number(&s, 20002);
	alog_flush(s.a);
	last = 0;
	check_lines(content(fd), &last);
	ck_assert_uint_eq(last, 20002);
	stage_fini(&s);
	close(fd);
}
END_TEST

START_TEST(the_syslog)
{
	struct stage s;
	int p[2];
	char buf[4096];
	unsigned n = 0;
	ssize_t got;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, p), 0);
	stage_init(&s, CONF_LOG_SYSLOG, p[1], "line $request_line end", CONF_ESC_LOG);
	for (unsigned long i = 1; i <= 5000; i++) {
		say_number(&s, i);
		if (i % 3 == 0)
			alog_flush(s.a);
	}
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	while ((got = recv(p[0], buf, sizeof(buf), 0)) > 0) {
		struct span d = span_make(buf, (size_t)got);
		unsigned long last = 0;
		const char *text = memchr(d.p, ' ', d.n);

		ck_assert(span_starts(d, SPAN("<30>weir[")));
		ck_assert(memchr(d.p, '\n', d.n) == NULL);
		check_lines(span_make(text + 1, (size_t)(d.p + d.n - text - 1)), &last);
		n++;
	}
	ck_assert_uint_ge(n, 1);
	close(p[0]);
	say_number(&s, 6000);
	s.w.loop.now_ms += 1000;
	alog_flush(s.a);
	stage_fini(&s);
	close(p[1]);
}
END_TEST

START_TEST(rotation_loses_nothing)
{
	struct stage s;
	int old = temp_file(), keep = dup(old), fresh = temp_file(), look = dup(fresh);
	unsigned long last = 0;

	stage_init(&s, CONF_LOG_FILE, old, "line $request_line end", CONF_ESC_LOG);
	say_number(&s, 1);
	say_number(&s, 2);
	alog_reopen(s.a, 0, fresh);
	ck_assert_int_eq(fcntl(old, F_GETFD), -1);
	ck_assert_int_eq(errno, EBADF);
	say_number(&s, 3);
	alog_flush(s.a);
	ck_assert_uint_eq(check_lines(content(keep), &last), 2);
	ck_assert_uint_eq(check_lines(content(look), &last), 1);
	stage_fini(&s);
	close(keep);
	close(look);
	close(fresh);
}
END_TEST

START_TEST(what_waits_is_written_at_the_end)
{
	struct stage s;
	int fd = temp_file();
	unsigned long last = 0;

	stage_init(&s, CONF_LOG_FILE, fd, "line $request_line end", CONF_ESC_LOG);
	say_number(&s, 1);
	alog_free(&s.a);
	ck_assert_ptr_null(s.a);
	ck_assert_uint_eq(check_lines(content(fd), &last), 1);
	stage_fini(&s);
	close(fd);
}
END_TEST

/* One turn of the loop with so many lines. */
static size_t turn(struct stage *s, unsigned lines, int fd)
{
	while (lines-- > 0)
		say_number(s, 1);
	alog_turn(s->a);
	return content(fd).n;
}

START_TEST(few_lines_go_at_once_many_are_gathered)
{
	struct stage s;
	int fd = temp_file();
	size_t all;

	stage_init(&s, CONF_LOG_FILE, fd, "line $request_line end", CONF_ESC_LOG);
	size_t line = turn(&s, 1, fd);
	ck_assert_uint_gt(line, 0);
	for (unsigned i = 2; i <= ALOG_FEW; i++)
		ck_assert_uint_eq(turn(&s, 1, fd), i * line);
	all = turn(&s, 5, fd);
	ck_assert_uint_eq(all, ALOG_FEW * line);
	/* Not for longer than the window, and the loop is told to wake for it. */
	ck_assert_uint_le(timer_wait_ms(&s.w.loop.wheel, s.w.loop.now_ms, 10000), ALOG_GAP_MS + TIMER_TICK_MS);
	s.w.loop.now_ms += ALOG_GAP_MS;
	timer_run(&s.w.loop.wheel, s.w.loop.now_ms + TIMER_TICK_MS);
	ck_assert_uint_eq(turn(&s, 0, fd), all + 5 * line);
	ck_assert_uint_eq(turn(&s, ALOG_FEW + 1, fd), all + 5 * line);
	/* Nor more than so much. */
	ck_assert_uint_ge(turn(&s, (unsigned)(ALOG_GATHER / line), fd), ALOG_GATHER);
	stage_fini(&s);
	close(fd);
}
END_TEST

START_TEST(what_waits_is_saved_by_a_dying_process)
{
	struct stage s;
	int fd = temp_file();
	size_t line;

	stage_init(&s, CONF_LOG_FILE, fd, "line $request_line end", CONF_ESC_LOG);
	line = turn(&s, 1, fd);
	turn(&s, 2 * ALOG_FEW, fd);
	ck_assert_uint_eq(content(fd).n, line);
	alog_last_words(s.a);
	ck_assert_uint_eq(content(fd).n, (1 + 2 * ALOG_FEW) * line);
	stage_fini(&s);
	close(fd);
}
END_TEST

UNIT("alog", few_lines_go_at_once_many_are_gathered, what_waits_is_saved_by_a_dying_process,
     the_usual_formats, the_nearest_log_counts, outside_text_breaks_nothing, escapes,
     long_values_are_cut_and_huge_lines_dropped, a_pipe_nobody_reads, several_writers_tear_no_line, a_full_disk,
     the_syslog, rotation_loses_nothing, what_waits_is_written_at_the_end)
