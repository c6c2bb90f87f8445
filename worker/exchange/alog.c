/*
 * alog.c - access logs of one worker.
 *
 * Owns a buffer for each log target and writes it out in whole lines, many at
 * a time where there are many. Called at the end of every exchange. A target that takes
 * nothing keeps its bytes until there is room again; lines that no longer fit
 * are dropped and counted. Never waits, never prints with printf on the way of a line.
 */
#include "worker/exchange/alog.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/sink.h"
#include "worker/exchange/alog_text.h"
#include "worker/exchange/vars.h"

#define ALOG_MAGIC 0xa109a101u
#define RETRY_MS 100			/* after a write that failed */
#define WARN_MS 60000
#define SYSLOG_PRIORITY 30		/* daemon, info */

struct target {
	const struct conf_log *conf;
	struct sink sink;
	char *buf;			/* ALOG_BUF bytes; NULL until the first line */
	size_t start, end;		/* waiting bytes: whole lines, but for the rest of a torn one in front */
	bool torn;
	uint64_t retry_ms;		/* no write before; 0: the last one went well */
	int error;			/* of the last write that failed */
	uint64_t lost;			/* lines since the last warning */
	uint64_t warned_ms;
};

struct alog {
	uint32_t magic;
	struct env *env;
	struct target *targets;		/* by conf_log->id */
	unsigned ntargets;
	bool waiting;			/* some target holds bytes */
	size_t gathered;		/* bytes since the last round of writing */
	uint64_t window_ms;		/* when the lines below began to be counted */
	unsigned lines;
	struct timer timer;		/* begins the turn in which the window is over */
	char tag[32];			/* in front of each datagram to the syslog */
	size_t tag_len;
	uint64_t local_second;		/* what `local` was made for */
	char local[VARS_SCRATCH];
	size_t local_len;
};

/* ---- targets ---- */

static int target_fd(const struct conf_log *l)
{
	if (l->fd >= 0)
		return l->fd;
	return l->kind == CONF_LOG_STDOUT ? STDOUT_FILENO : l->kind == CONF_LOG_STDERR ? STDERR_FILENO : -1;
}

/* The turn that it begins is all that is wanted. */
static void on_timer(struct timer *t)
{
	(void)t;
}

struct alog *alog_new(struct env *e)
{
	const struct conf *c = e->conf;
	struct alog *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->targets = calloc(c->nlogs + 1, sizeof(*a->targets));
	if (a->targets == NULL) {
		free(a);
		return NULL;
	}
	a->magic = ALOG_MAGIC;
	a->env = e;
	a->ntargets = c->nlogs;
	timer_init(&a->timer, on_timer);
	for (unsigned i = 0; i < c->nlogs; i++) {
		must(c->logs[i]->id == i);
		a->targets[i].conf = c->logs[i];
		sink_init(&a->targets[i].sink, target_fd(c->logs[i]), c->logs[i]->kind == CONF_LOG_SYSLOG);
	}
	a->tag_len = (size_t)snprintf(a->tag, sizeof(a->tag), "<%d>weir[%d]: ", SYSLOG_PRIORITY, (int)getpid());
	return a;
}

static const char *target_name(const struct target *t)
{
	static const char *const names[] = {
		[CONF_LOG_FILE] = "(file)", [CONF_LOG_STDOUT] = "stdout", [CONF_LOG_STDERR] = "stderr",
		[CONF_LOG_SYSLOG] = "syslog",
	};

	return t->conf->path != NULL ? t->conf->path : names[t->conf->kind];
}

static void drop(struct alog *a, struct target *t, unsigned lines)
{
	uint64_t now = a->env->loop->now_ms;

	t->lost += lines;
	if (a->env->shm != NULL)
		shm_count(a->env->shm, STAT_LOG_DROPS, lines);
	if (t->warned_ms != 0 && now - t->warned_ms < WARN_MS)
		return;
	log_warn("Access log %s cannot be written%s%s: %llu lines were lost. Look at its disk or its reader.",
		 target_name(t), t->error ? ", " : "", t->error ? strerror(t->error) : "", (unsigned long long)t->lost);
	t->warned_ms = now ? now : 1;
	t->lost = 0;
}

/* ---- writing out ---- */

static size_t line_length(const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n);

	return end != NULL ? (size_t)(end - p) + 1 : n;
}

/* As many whole lines as go out in one piece; one line at least, however long. */
static size_t portion(const struct target *t)
{
	const char *p = t->buf + t->start;
	size_t n = t->end - t->start, atom = sink_atom(&t->sink);

	if (n <= atom)
		return n;
	const char *last = memrchr(p, '\n', atom);

	return last != NULL ? (size_t)(last - p) + 1 : line_length(p, n);
}

static void target_failed(struct alog *a, struct target *t)
{
	t->error = errno;
	t->retry_ms = a->env->loop->now_ms + RETRY_MS;
}

static void flush_stream(struct alog *a, struct target *t)
{
	while (t->start < t->end) {
		ssize_t put = sink_write(&t->sink, t->buf + t->start, portion(t));

		if (put <= 0) {
			target_failed(a, t);
			return;
		}
		t->start += (size_t)put;
		t->torn = t->buf[t->start - 1] != '\n';
	}
	t->retry_ms = 0;
}

static void flush_syslog(struct alog *a, struct target *t)
{
	while (t->start < t->end) {
		char *p = t->buf + t->start;
		size_t n = line_length(p, t->end - t->start);
		struct iovec parts[2] = {
			{ .iov_base = a->tag, .iov_len = a->tag_len }, { .iov_base = p, .iov_len = n - 1 },
		};

		if (sink_send(&t->sink, parts, 2) != 0) {
			target_failed(a, t);
			if (errno != EMSGSIZE)
				return;
			drop(a, t, 1);
		}
		t->start += n;
	}
	t->retry_ms = 0;
}

static void target_flush(struct alog *a, struct target *t)
{
	if (t->start == t->end)
		return;
	if (t->sink.way == SINK_SYSLOG)
		flush_syslog(a, t);
	else
		flush_stream(a, t);
	if (t->start == t->end)
		t->start = t->end = 0;
}

static bool may_try(const struct alog *a, const struct target *t)
{
	return t->retry_ms == 0 || a->env->loop->now_ms >= t->retry_ms;
}

void alog_flush(struct alog *a)
{
	OBJ_CHECK(a, ALOG_MAGIC);
	if (!a->waiting)
		return;
	a->waiting = false;
	a->gathered = 0;
	for (unsigned i = 0; i < a->ntargets; i++) {
		struct target *t = &a->targets[i];

		if (may_try(a, t))
			target_flush(a, t);
		if (t->start < t->end)
			a->waiting = true;
	}
}

void alog_turn(struct alog *a)
{
	struct loop *l = a->env->loop;

	OBJ_CHECK(a, ALOG_MAGIC);
	if (!a->waiting)
		return;
	if (l->now_ms >= a->window_ms + ALOG_GAP_MS) {
		a->window_ms = l->now_ms;
		a->lines = 0;
	}
	if (a->lines <= ALOG_FEW || a->gathered >= ALOG_GATHER)
		alog_flush(a);
	else if (!timer_is_set(&a->timer))
		timer_set(&l->wheel, &a->timer, a->window_ms + ALOG_GAP_MS);
}

void alog_last_words(void *alog)
{
	struct alog *a = alog;

	if (a->magic != ALOG_MAGIC)
		return;
	for (unsigned i = 0; i < a->ntargets; i++) {
		struct target *t = &a->targets[i];

		if (t->start < t->end && t->sink.way != SINK_SYSLOG)
			(void)sink_write(&t->sink, t->buf + t->start, portion(t));
	}
}

/* ---- lines ---- */

static struct span local_time(struct alog *a, uint64_t wall_ms)
{
	if (a->local_len == 0 || a->local_second != wall_ms / 1000) {
		a->local_second = wall_ms / 1000;
		a->local_len = vars_time_local(wall_ms, a->local);
	}
	return span_make(a->local, a->local_len);
}

/* The line at p, its end included; 0 when there is not enough room. */
static size_t format(struct alog *a, struct exchange *x, const struct conf_access_log *log, char *p, size_t room)
{
	struct alog_line l = { .p = p, .end = p + room };
	char scratch[VARS_SCRATCH], *at;
	struct span value;

	for (unsigned i = 0; i < log->format->nparts && !l.full; i++) {
		const struct tmpl_part *part = &log->format->parts[i];

		if (part->var == VAR_NONE)
			alog_literal(&l, part->text, log->escape);
		else if (part->var == VAR_TIME_LOCAL)
			alog_value(&l, local_time(a, x->start_wall_ms), log->escape);
		else {
			/* What is made of numbers, times and addresses needs no escape, and is made in its place. */
			at = l.end - l.p >= VARS_SCRATCH ? l.p : scratch;
			value = vars_get(x, part, at, NULL, span_make(NULL, 0));
			if (value.p == l.p && value.n)
				l.p += value.n;
			else
				alog_value(&l, value, log->escape);
		}
	}
	if (l.full || l.p == l.end)
		return 0;
	*l.p++ = '\n';
	return (size_t)(l.p - p);
}

/* Moves what waits to the front, where that makes room. */
static void target_compact(struct target *t)
{
	if (t->start == 0)
		return;
	memmove(t->buf, t->buf + t->start, t->end - t->start);
	t->end -= t->start;
	t->start = 0;
}

static bool target_ready(struct target *t)
{
	if (t->buf == NULL)
		t->buf = malloc(ALOG_BUF);
	return t->buf != NULL;
}

static void target_line(struct alog *a, struct target *t, struct exchange *x, const struct conf_access_log *log)
{
	size_t n;

	if (!target_ready(t)) {
		t->error = ENOMEM;
		drop(a, t, 1);
		return;
	}
	n = format(a, x, log, t->buf + t->end, ALOG_BUF - t->end);
	if (n == 0) {
		if (may_try(a, t))
			target_flush(a, t);
		target_compact(t);
		n = format(a, x, log, t->buf + t->end, ALOG_BUF - t->end);
	}
	if (n == 0) {
		drop(a, t, 1);
		return;
	}
	t->end += n;
	a->gathered += n;
	a->lines++;
	a->waiting = true;
}

static const struct conf_access_log *nearest(const struct exchange *x)
{
	const struct conf *c = x->env->conf;

	return x->listen != NULL ? conf_access_log(c, x->route, x->listen) : c->general.access_log;
}

void alog_exchange(struct alog *a, struct exchange *x)
{
	const struct conf_access_log *log;

	OBJ_CHECK(a, ALOG_MAGIC);
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	log = nearest(x);
	for (unsigned i = 0; log != NULL && i < log->nto; i++) {
		must(log->to[i]->id < a->ntargets);
		target_line(a, &a->targets[log->to[i]->id], x, log);
	}
}

/* ---- change and end ---- */

/* The rest of a line whose front went elsewhere is of no use to anybody. */
static void drop_torn(struct alog *a, struct target *t)
{
	if (!t->torn || t->start == t->end)
		return;
	t->start += line_length(t->buf + t->start, t->end - t->start);
	t->torn = false;
	drop(a, t, 1);
}

void alog_reopen(struct alog *a, unsigned id, int fd)
{
	struct target *t;
	int old;

	OBJ_CHECK(a, ALOG_MAGIC);
	must(id < a->ntargets);
	t = &a->targets[id];
	target_flush(a, t);
	drop_torn(a, t);
	old = t->sink.given;
	sink_fini(&t->sink);
	if (old > STDERR_FILENO && old != fd)
		close(old);
	sink_init(&t->sink, fd, t->conf->kind == CONF_LOG_SYSLOG);
	t->retry_ms = 0;
}

static unsigned count_lines(const struct target *t)
{
	unsigned lines = 0;

	for (size_t at = t->start; at < t->end; at += line_length(t->buf + at, t->end - at))
		lines++;
	return lines;
}

void alog_free(struct alog **ap)
{
	struct alog *a = *ap;

	OBJ_CHECK(a, ALOG_MAGIC);
	for (unsigned i = 0; i < a->ntargets; i++) {
		struct target *t = &a->targets[i];

		target_flush(a, t);
		if (t->start < t->end)
			drop(a, t, count_lines(t));
		sink_fini(&t->sink);
		free(t->buf);
	}
	timer_stop(&a->env->loop->wheel, &a->timer);
	free(a->targets);
	a->magic = 0;
	free(a);
	*ap = NULL;
}
