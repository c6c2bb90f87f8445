/*
 * ctl_top.c - "weirctl top": what goes on, renewed each second.
 *
 * Called by ctl_tool.c. Owns the terminal while it runs and gives it back as it
 * was, however it ends. Needs no more of a terminal than ANSI escapes; where
 * output is no terminal it prints plain text, once unless told otherwise.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/shm.h"
#include "master/ctl_client.h"

#define COLUMNS_LEAST 40
#define COLUMNS_MOST 512
#define NAME_LEAST 12
#define FIXED 52			/* columns of a server's line beside its name, and the last one */

struct top {
	const char *path, *upstream;
	bool screen, json;
	unsigned frames;		/* left; 0: no limit */
	unsigned interval_ms;
	unsigned rows, columns;
	struct termios before;
	struct top_sample last, now;
	char why[160];			/* the last question had no answer; empty: it had */
};

/* ---- numbers ---- */

static double rate(const struct top *t, double before, double now)
{
	double ms = t->now.now_ms - t->last.now_ms;

	return ms > 0 && now > before ? (now - before) * 1000 / ms : 0;
}

static double stat_rate(const struct top *t, enum stat_id id)
{
	return rate(t, t->last.stats[id], t->now.stats[id]);
}

/* Rates of a server go by its name: others may have come or gone since. */
static double server_rate(const struct top *t, unsigned i, bool fails)
{
	const struct top_server *s = &t->now.servers[i];

	for (unsigned k = 0; k < t->last.nservers; k++) {
		const struct top_server *was = &t->last.servers[(i + k) % t->last.nservers];

		if (strcmp(was->name, s->name) == 0)
			return fails ? rate(t, was->fails, s->fails) : rate(t, was->requests, s->requests);
	}
	return 0;
}

static const char *short_number(char *out, size_t size, double v)
{
	static const char units[] = " kMGT";
	unsigned u = 0;

	while (v >= 99999.5 && u + 2 < sizeof(units)) {
		v /= 1000;
		u++;
	}
	snprintf(out, size, v < 1000 && u == 0 ? "%.1f" : "%.0f", v);
	if (u > 0)
		snprintf(out + strlen(out), size - strlen(out), "%c", units[u]);
	return out;
}

static const char *short_us(char *out, size_t size, double us)
{
	if (us <= 0)
		snprintf(out, size, "-");
	else if (us < 10000)
		snprintf(out, size, "%.1fms", us / 1000);
	else if (us < 1000000)
		snprintf(out, size, "%.0fms", us / 1000);
	else
		snprintf(out, size, "%.1fs", us / 1000000);
	return out;
}

static const char *short_bytes(char *out, size_t size, double v)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	unsigned u = 0;

	for (; v >= 1024 && u + 1 < ARRAY_LEN(units); u++)
		v /= 1024;
	snprintf(out, size, "%.*f %s/s", u > 0, v, units[u]);
	return out;
}

/* ---- one frame ---- */

/* Ends a line: cut one short of the width, where terminals differ in what comes next, and what an older frame left behind it is
 * wiped away. */
static void put_line(const struct top *t, FILE *out, const char *text, bool head)
{
	int width = t->screen ? (int)t->columns - 1 : COLUMNS_MOST;

	if (t->screen)
		fprintf(out, "%s%-*.*s%s\033[K\r\n", head ? "\033[7m" : "", head ? width : 0, width, text,
			head ? "\033[0m" : "");
	else
		fprintf(out, "%.*s\n", width, text);
}

static void put_summary(const struct top *t, FILE *out)
{
	const struct top_sample *s = &t->now;
	char line[256], a[24], b[24], c[24], d[24], clock[16] = "";
	time_t now = time(NULL);
	struct tm tm;
	double all = stat_rate(t, STAT_REQUESTS), bad = stat_rate(t, STAT_STATUS_5XX);
	unsigned long up_s = (unsigned long)(s->up_ms / 1000);

	if (localtime_r(&now, &tm) != NULL)
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	snprintf(line, sizeof(line), "weir %s  up %lud %02lu:%02lu:%02lu  generation %.0f  workers %.0f/%.0f  %s",
		 s->version, up_s / 86400, up_s / 3600 % 24, up_s / 60 % 60, up_s % 60, s->generation, s->live, s->workers,
		 clock);
	put_line(t, out, line, false);
	snprintf(line, sizeof(line), "requests %8s/s   under way %-6.0f queued %-6.0f clients %.0f",
		 short_number(a, sizeof(a), all), s->stats[STAT_ACTIVE_EXCHANGES], s->queued, s->stats[STAT_ACTIVE_CONNS]);
	put_line(t, out, line, false);
	snprintf(line, sizeof(line), "answers  2xx %s/s  3xx %s/s  4xx %s/s  5xx %s/s  errors %.2f %%",
		 short_number(a, sizeof(a), stat_rate(t, STAT_STATUS_2XX)),
		 short_number(b, sizeof(b), stat_rate(t, STAT_STATUS_3XX)),
		 short_number(c, sizeof(c), stat_rate(t, STAT_STATUS_4XX)), short_number(d, sizeof(d), bad),
		 all > 0 ? bad * 100 / all : 0);
	put_line(t, out, line, false);
	snprintf(line, sizeof(line), "traffic  in %s  out %s   latency p50 %s  p99 %s",
		 short_bytes(a, sizeof(a), stat_rate(t, STAT_BYTES_IN)),
		 short_bytes(b, sizeof(b), stat_rate(t, STAT_BYTES_OUT)), short_us(c, sizeof(c), s->p50_us),
		 short_us(d, sizeof(d), s->p99_us));
	put_line(t, out, line, false);
}

static void put_server(const struct top *t, FILE *out, unsigned i, int width)
{
	const struct top_server *s = &t->now.servers[i];
	char line[256], a[24], b[24], c[24], d[24];

	snprintf(line, sizeof(line), "%-*.*s %-10.10s %6.0f %8s %7s %7s %7s", width, width, s->name, s->state, s->active,
		 short_number(a, sizeof(a), server_rate(t, i, false)), short_number(b, sizeof(b), server_rate(t, i, true)),
		 short_us(c, sizeof(c), s->p50_us), short_us(d, sizeof(d), s->p99_us));
	put_line(t, out, line, false);
}

struct ranked {
	unsigned index;
	double rate;
};

static int busiest_first(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return x->rate < y->rate ? 1 : x->rate > y->rate ? -1 : x->index < y->index ? -1 : 1;
}

static int in_order(const void *a, const void *b)
{
	return ((const struct ranked *)a)->index < ((const struct ranked *)b)->index ? -1 : 1;
}

/* All in the configuration's order; where they do not fit the busiest ones, in that order too. */
static void put_servers(const struct top *t, FILE *out, unsigned room)
{
	unsigned n = t->now.nservers, shown = n <= room ? n : room > 0 ? room - 1 : 0;
	int width = t->screen ? (int)t->columns - FIXED : 28;
	struct ranked *v = calloc(n + 1, sizeof(*v));
	char line[256];

	width = width < NAME_LEAST ? NAME_LEAST : width > 90 ? 90 : width;
	snprintf(line, sizeof(line), "%-*s %-10s %6s %8s %7s %7s %7s", width, "SERVER", "STATE", "ACTIVE", "REQ/S",
		 "FAIL/S", "P50", "P99");
	put_line(t, out, line, true);
	for (unsigned i = 0; v != NULL && i < n; i++)
		v[i] = (struct ranked){ .index = i, .rate = server_rate(t, i, false) };
	if (v != NULL && shown < n) {
		qsort(v, n, sizeof(*v), busiest_first);
		qsort(v, shown, sizeof(*v), in_order);
	}
	for (unsigned i = 0; v != NULL && i < shown; i++)
		put_server(t, out, v[i].index, width);
	if (shown < n) {
		snprintf(line, sizeof(line), "%u servers more, less busy", n - shown);
		put_line(t, out, line, false);
	}
	free(v);
}

/* Names of the configuration: no control characters, but quotes perhaps. */
static void top_json(FILE *out, const char *name)
{
	fputc('"', out);
	for (; *name != '\0'; name++)
		fprintf(out, *name == '"' || *name == '\\' ? "\\%c" : "%c", *name);
	fputc('"', out);
}

static void put_json(const struct top *t, FILE *out)
{
	const struct top_sample *s = &t->now;

	fprintf(out, "{\"requests_per_s\": %.2f, \"errors_per_s\": %.2f, \"bytes_in_per_s\": %.0f, "
		"\"bytes_out_per_s\": %.0f, ", stat_rate(t, STAT_REQUESTS), stat_rate(t, STAT_STATUS_5XX),
		stat_rate(t, STAT_BYTES_IN), stat_rate(t, STAT_BYTES_OUT));
	fprintf(out, "\"active_requests\": %.0f, \"active_connections\": %.0f, \"queued\": %.0f, \"p50_us\": %.0f, "
		"\"p99_us\": %.0f, \"servers\": [", s->stats[STAT_ACTIVE_EXCHANGES], s->stats[STAT_ACTIVE_CONNS], s->queued,
		s->p50_us, s->p99_us);
	for (unsigned i = 0; i < s->nservers; i++) {
		const struct top_server *v = &s->servers[i];

		fprintf(out, "%s{\"server\": ", i > 0 ? ", " : "");
		top_json(out, v->name);
		fprintf(out, ", \"state\": \"%s\", \"active\": %.0f, \"requests_per_s\": %.2f, \"failures_per_s\": %.2f, "
			"\"p50_us\": %.0f, \"p99_us\": %.0f}", v->state, v->active, server_rate(t, i, false),
			server_rate(t, i, true), v->p50_us, v->p99_us);
	}
	fputs("]}\n", out);
}

/* Written in one go, so that no half of a frame is seen. */
static void put_frame(const struct top *t)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return;
	if (t->screen)
		fputs("\033[H", out);
	if (t->json) {
		put_json(t, out);
	} else {
		put_summary(t, out);
		put_line(t, out, t->why, false);
		put_servers(t, out, t->screen ? (t->rows > 7 ? t->rows - 7 : 0) : t->now.nservers);
	}
	if (t->screen)
		fputs("\033[J", out);
	fclose(out);
	if (text != NULL)
		fwrite(text, 1, size, stdout);
	fflush(stdout);
	free(text);
}

/* ---- the terminal ---- */

static void measure(struct top *t)
{
	struct winsize size;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;

	t->rows = known && size.ws_row > 0 ? size.ws_row : 24;
	t->columns = known && size.ws_col > 0 ? size.ws_col : 80;
	if (t->columns < COLUMNS_LEAST)
		t->columns = COLUMNS_LEAST;
	if (t->columns > COLUMNS_MOST)
		t->columns = COLUMNS_MOST;
}

static void take_screen(struct top *t)
{
	const char *kind = getenv("TERM");
	struct termios raw;

	t->screen = !t->json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && kind != NULL &&
		    strcmp(kind, "dumb") != 0 && tcgetattr(STDIN_FILENO, &t->before) == 0;
	if (!t->screen)
		return;
	raw = t->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	measure(t);
	fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void give_back(const struct top *t)
{
	if (!t->screen)
		return;
	fputs("\033[0m\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &t->before);
}

/* ---- the loop ---- */

/* False: the user has seen enough. */
static bool read_key(void)
{
	char keys[16];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 3)
			return false;
	}
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Until the next frame is due. False: the end. */
static bool wait_frame(struct top *t, int signals)
{
	struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
				{ .fd = t->screen ? STDIN_FILENO : -1, .events = POLLIN } };
	uint64_t due = now_ms() + t->interval_ms, now;
	struct signalfd_siginfo info;

	while ((now = now_ms()) < due) {
		if (poll(fds, ARRAY_LEN(fds), (int)(due - now)) <= 0)
			continue;
		if (fds[1].revents != 0 && !read_key())
			return false;
		if (fds[0].revents == 0 || read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGWINCH)
			return false;
		if (t->screen) {
			measure(t);
			fputs("\033[2J", stdout);
			put_frame(t);
		}
	}
	return true;
}

static bool next_sample(struct top *t)
{
	struct top_sample s;

	if (!top_sample(t->path, t->upstream, &s, t->why, sizeof(t->why)))
		return false;
	t->why[0] = '\0';
	top_sample_free(&t->last);
	t->last = t->now;
	t->now = s;
	return true;
}

static int run(struct top *t, int signals)
{
	while (wait_frame(t, signals)) {
		bool good = next_sample(t);

		/* Whoever looks on may see it come back; whoever counts frames will not. */
		if (!good && !t->screen)
			return CTL_FAILED;
		put_frame(t);
		if (t->frames > 0 && --t->frames == 0)
			break;
	}
	return CTL_OK;
}

static bool read_options(struct top *t, const struct ctl_request *r)
{
	const char *frames = ctl_value(r, "-n"), *interval = ctl_value(r, "-d");
	uint64_t n = 0, ms = 1000;

	if (frames != NULL && (!span_u64(span_of(frames), &n) || n == 0 || n > 1000000)) {
		fprintf(stderr, "weirctl: -n takes a number of frames from 1 on\n");
		return false;
	}
	if (interval != NULL && (!ctl_duration(interval, &ms) || ms < 100 || ms > 3600000)) {
		fprintf(stderr, "weirctl: -d takes seconds, or a time such as 500ms\n");
		return false;
	}
	t->frames = (unsigned)n;
	t->interval_ms = (unsigned)ms;
	return true;
}

int top_run(const char *path, const struct ctl_request *r)
{
	static const int others[] = { SIGHUP, SIGWINCH, SIGTSTP, 0 };
	struct top t = { .path = path, .upstream = r->nwords > 0 ? r->words[0] : NULL, .json = r->option };

	if (!read_options(&t, r))
		return CTL_USAGE;
	if (!next_sample(&t)) {
		fprintf(stderr, "weirctl: %s: %s\n", path, t.why);
		return CTL_FAILED;
	}
	int signals = ctl_client_signals(others);
	take_screen(&t);
	if (!t.screen && t.frames == 0)
		t.frames = 1;
	if (t.screen)
		put_frame(&t);
	int status = run(&t, signals);
	give_back(&t);
	if (status != CTL_OK)
		fprintf(stderr, "weirctl: %s: %s\n", path, t.why);
	top_sample_free(&t.last);
	top_sample_free(&t.now);
	return status;
}
