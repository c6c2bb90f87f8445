/*
 * log.c - the error log.
 *
 * Owns how a line is made, that it goes out whole or is counted as lost, and
 * that a torn one is ended. Called by every process, never by a signal handler
 * (panic.c writes for itself). How bytes reach the descriptor without ever
 * waiting is sink.c's; the descriptor itself stays the caller's.
 */
#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "common/sink.h"

/* What a pipe takes whole or not at all. */
#define LINE_MAX_BYTES PIPE_BUF
#define LOST_REPORT_MS 60000
#define FACILITY_DAEMON (3 << 3)

static struct {
	struct sink sink;
	bool ready;			/* log_set_fd() was called, or its default taken */
	enum log_level level;
	char role[32];
	FILE *tee;			/* borrowed; NULL: none */
	bool torn;			/* the last line went out in part: begin with a line end */
	uint64_t lost;			/* lines since the last report */
	uint64_t last_report_ms;
	time_t second;			/* the one that `stamp` and `zone` were made for */
	char stamp[24], zone[8];
} the_log = { .sink = { .way = SINK_POLL, .given = STDERR_FILENO, .own = -1 }, .level = LOG_LV_INFO, .role = "weir" };

static const char *const level_names[LOG_LV__N] = { "debug", "info", "notice", "warn", "error" };
static const int level_priority[LOG_LV__N] = { 7, 6, 5, 4, 3 };

const char *log_level_name(enum log_level lv)
{
	must(lv < LOG_LV__N);
	return level_names[lv];
}

void log_set_fd(int fd, bool syslog)
{
	int saved = errno;

	sink_fini(&the_log.sink);
	sink_init(&the_log.sink, fd >= 0 ? fd : STDERR_FILENO, fd >= 0 && syslog);
	the_log.ready = true;
	the_log.torn = false;
	/* The zone file may be out of reach later, behind a chroot. */
	tzset();
	errno = saved;
}

void log_set_level(enum log_level lv)
{
	must(lv < LOG_LV__N);
	the_log.level = lv;
}

void log_set_role(const char *role)
{
	snprintf(the_log.role, sizeof(the_log.role), "%s", role);
}

int log_fd(void)
{
	return the_log.sink.given;
}

int log_own_fd(void)
{
	return the_log.sink.own;
}

bool log_enabled(enum log_level lv)
{
	return lv >= the_log.level;
}

/* How many bytes went out, -1: none. */
static ssize_t put_bytes(const char *p, size_t n)
{
	struct iovec iov = { .iov_base = (void *)p, .iov_len = n };

	if (the_log.sink.way != SINK_SYSLOG)
		return sink_write(&the_log.sink, p, n);
	return sink_send(&the_log.sink, &iov, 1) == 0 ? (ssize_t)n : -1;
}

/* One line, which has a spare byte in front of it for the line end that a torn one lacks. */
static bool put_line(char *line, size_t n)
{
	if (the_log.torn) {
		*--line = '\n';
		n++;
	}
	ssize_t put = put_bytes(line, n);
	if (put == (ssize_t)n) {
		the_log.torn = false;
		return true;
	}
	if (put > 0)
		the_log.torn = line[put - 1] != '\n';
	return false;
}

/* The zone's offset as "+01:00"; strftime gives it without the colon. */
static void make_stamp(time_t second)
{
	struct tm tm;
	char offset[8];

	if (localtime_r(&second, &tm) == NULL)
		gmtime_r(&(time_t){ 0 }, &tm);
	strftime(the_log.stamp, sizeof(the_log.stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(offset, sizeof(offset), "%z", &tm);
	snprintf(the_log.zone, sizeof(the_log.zone), "%.3s:%.2s", offset, offset + 3);
	the_log.second = second;
}

/* Everything before the message; returns its length. */
static size_t make_head(char *out, size_t size, enum log_level lv)
{
	uint64_t now = clock_wall_ms();
	int n;

	if (the_log.sink.way == SINK_SYSLOG) {
		n = snprintf(out, size, "<%d>weir[%d]: %s %s: ", FACILITY_DAEMON | level_priority[lv], (int)getpid(),
			     level_names[lv], the_log.role);
	} else {
		if ((time_t)(now / 1000) != the_log.second || the_log.stamp[0] == '\0')
			make_stamp((time_t)(now / 1000));
		n = snprintf(out, size, "%s.%03u%s %s %s[%d]: ", the_log.stamp, (unsigned)(now % 1000), the_log.zone,
			     level_names[lv], the_log.role, (int)getpid());
	}
	must(n > 0 && (size_t)n < size);
	return (size_t)n;
}

/* Whatever slipped into the message must not look like another line, nor speak to a terminal. */
static void flatten(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
			p[i] = ' ';
	}
}

static bool say(enum log_level lv, int saved_errno, const char *fmt, va_list ap)
{
	char text[1 + LINE_MAX_BYTES];
	char *line = text + 1;
	/* Less one for the line end, and one for the front of a torn line. */
	const size_t size = LINE_MAX_BYTES - 1;

	size_t head = make_head(line, size, lv);
	errno = saved_errno;
	int n = vsnprintf(line + head, size - head, fmt, ap);
	must(n >= 0);
	size_t len = head + (size_t)n;
	if (len >= size) {
		len = size - 1;
		memcpy(line + len - 3, "...", 3);
	}
	flatten(line + head, len - head);
	if (the_log.sink.way != SINK_SYSLOG)
		line[len++] = '\n';
	return put_line(line, len);
}

__attribute__((format(printf, 3, 4)))
static bool say_now(enum log_level lv, int saved_errno, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bool ok = say(lv, saved_errno, fmt, ap);
	va_end(ap);
	return ok;
}

/* Owns up to lines that were lost, as soon as one gets through again. */
static void report_lost(void)
{
	uint64_t now = clock_mono_ms();

	if (the_log.lost == 0 || (the_log.last_report_ms != 0 && now - the_log.last_report_ms < LOST_REPORT_MS))
		return;
	if (!say_now(LOG_LV_WARN, 0, "%llu log lines were lost because the log could not be written: look at its disk "
		     "or its reader", (unsigned long long)the_log.lost))
		return;
	the_log.lost = 0;
	the_log.last_report_ms = now;
}

void log_tee(FILE *f)
{
	the_log.tee = f;
}

void log_tell(const char *text)
{
	if (the_log.tee != NULL)
		fprintf(the_log.tee, "%s\n", text);
}

void log_at(enum log_level lv, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	must(lv < LOG_LV__N);
	if (the_log.tee != NULL && lv == LOG_LV_ERROR) {
		va_start(ap, fmt);
		vfprintf(the_log.tee, fmt, ap);
		va_end(ap);
		fputc('\n', the_log.tee);
		errno = saved;
	}
	if (!log_enabled(lv))
		return;
	if (!the_log.ready)
		log_set_fd(-1, false);
	report_lost();
	va_start(ap, fmt);
	if (!say(lv, saved, fmt, ap))
		the_log.lost++;
	va_end(ap);
	errno = saved;
}

_Noreturn void log_no_memory(size_t wanted)
{
	log_error("Out of memory: the system refused %zu bytes. Give this machine or the service's memory limit more.",
		  wanted);
	exit(EXIT_FAILURE);
}

static bool is_plain(unsigned char c)
{
	return c >= ' ' && c <= 126 && c != '"' && c != '\'' && c != '\\';
}

const char *log_esc(char *out, size_t size, struct span s)
{
	static const char hex[] = "0123456789abcdef";
	static const char dots[] = "...";
	size_t len = 0;			/* written so far */
	size_t safe = 0;		/* the last border behind which the dots fit */

	must(size >= sizeof(dots));
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		size_t need = is_plain(c) ? 1 : 4;

		if (len + need >= size) {
			memcpy(out + safe, dots, sizeof(dots));
			return out;
		}
		if (need == 1)
			out[len] = (char)c;
		else
			memcpy(out + len, (char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
		len += need;
		if (len + sizeof(dots) <= size)
			safe = len;
	}
	out[len] = '\0';
	return out;
}
