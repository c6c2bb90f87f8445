/*
 * ctl_server.c - the master's end of the control socket.
 *
 * Owns the listening socket and a few clients. Called by the master's loop. It
 * reads a line, answers it from memory, and drops whoever is slow; a client
 * can make the master wait for nothing.
 */
#include "master/ctl_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/sock.h"
#include "master/master.h"

#define CTL_MODE 0600
#define CTL_BACKLOG 16

static void init(struct ctl_server *s, const char *path)
{
	*s = (struct ctl_server){ .path = path };
	for (unsigned i = 0; i < CTL_CLIENTS; i++)
		s->clients[i].fd = -1;
}

bool ctl_server_start(struct ctl_server *s, const char *path)
{
	init(s, path);
	s->fd = sock_listen_unix(path, CTL_BACKLOG, CTL_MODE);
	return s->fd >= 0;
}

void ctl_server_adopt(struct ctl_server *s, int fd, const char *path)
{
	init(s, path);
	s->fd = fd;
	s->lent = true;
}

void ctl_server_leave(struct ctl_server *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void end_job(struct master *m, struct ctl_client *c)
{
	const struct ctl_job *job = c->job;

	c->job = NULL;
	if (job != NULL && job->stop != NULL)
		job->stop(m, c);
}

static void drop(struct master *m, struct ctl_client *c)
{
	end_job(m, c);
	if (c->fd >= 0)
		close(c->fd);
	free(c->answer);
	*c = (struct ctl_client){ .fd = -1 };
}

void ctl_server_stop(struct master *m)
{
	struct ctl_server *s = &m->ctl;

	for (unsigned i = 0; s->path != NULL && i < CTL_CLIENTS; i++)
		drop(m, &s->clients[i]);
	if (s->fd >= 0 && !s->lent)
		unlink(s->path);
	ctl_server_leave(s);
}

/* For something that takes its time. */
static bool waits(const struct ctl_client *c)
{
	return c->ticket != 0 || c->upgrade || c->plan;
}

static short wanted_events(const struct ctl_client *c)
{
	short out = c->answer != NULL && c->sent < c->size ? POLLOUT : 0;

	if (c->job != NULL)
		return (short)(out | (c->eof ? 0 : POLLIN));
	return c->answer != NULL ? POLLOUT : waits(c) ? 0 : POLLIN;
}

unsigned ctl_server_fds(const struct ctl_server *s, struct pollfd *out)
{
	bool room = false;

	if (s->path == NULL)
		return 0;
	for (unsigned i = 0; i < CTL_CLIENTS; i++) {
		const struct ctl_client *c = &s->clients[i];

		out[1 + i] = (struct pollfd){ .fd = c->fd, .events = wanted_events(c) };
		room |= c->fd < 0;
	}
	/* With all places taken the others wait in the queue. */
	out[0] = (struct pollfd){ .fd = room && !s->lent ? s->fd : -1, .events = POLLIN };
	return 1 + CTL_CLIENTS;
}

uint64_t ctl_server_next(const struct master *m)
{
	const struct ctl_server *s = &m->ctl;
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; s->path != NULL && i < CTL_CLIENTS; i++) {
		const struct ctl_client *c = &s->clients[i];

		if (c->fd >= 0 && c->until_ms < next)
			next = c->until_ms;
		if (c->fd >= 0 && c->job != NULL && m->now_ms + CTL_JOB_MS < next)
			next = m->now_ms + CTL_JOB_MS;
	}
	return next;
}

/* ---- answers ---- */

/* What came of an order that has no answer but that. */
static void tell_outcome(FILE *out, const char *text, bool good, bool json)
{
	size_t n = strlen(text);

	if (!json) {
		fputs(text, out);
		return;
	}
	fprintf(out, "{\n  \"ok\": %s,\n  \"message\": ", good ? "true" : "false");
	ctl_json(out, span_make(text, n > 0 && text[n - 1] == '\n' ? n - 1 : n));
	fputs("\n}\n", out);
}

static void do_stop(struct master *m, const struct ctl_request *r, FILE *out)
{
	char text[80];

	log_notice("weirctl asks to stop%s", r->option ? " now" : "");
	snprintf(text, sizeof(text), "weir (process %d) %s.\n", (int)getpid(),
		 r->option ? "stops" : "ends what is under way, then stops");
	tell_outcome(out, text, true, r->second);
	if (r->option)
		master_stop(m, EXIT_ORDERLY);
	else
		master_drain(m);
}

/* False: no answer yet. */
static bool carry_out(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status)
{
	const struct ctl_request *r = &c->request;

	switch (r->def->verb) {
	case CTL_STATUS:
		show_status(m, out, r->option);
		return true;
	case CTL_WORKERS:
		show_workers(m, out, r->option);
		return true;
	case CTL_SERVERS:
		if (!show_servers(m, r->nwords > 0 ? r->words[0] : NULL, out, r->option))
			*status = CTL_FAILED;
		return true;
	case CTL_STOP:
		do_stop(m, r, out);
		return true;
	case CTL_DRAIN:
	case CTL_READY:
	case CTL_DOWN:
	case CTL_WEIGHT:
		return admin_act(m, c, out, status);
	case CTL_WHY:
		*status = why_show(m, r, out);
		return true;
	case CTL_TRACE:
		return trace_act(m, c, out, status);
	case CTL_SESSIONS:
		return sessions_act(m, c, out, status);
	case CTL_SAMPLE:
		if (!show_sample(m, r->nwords > 0 ? r->words[0] : NULL, out))
			*status = CTL_FAILED;
		return true;
	case CTL_TOP:
		fprintf(out, "top is weirctl's own\n");
		*status = CTL_USAGE;
		return true;
	case CTL_RELOAD:
	case CTL_UPGRADE:
	case CTL_LATER:
	case CTL_UNKNOWN:
		break;
	}
	must_not_reach("ctl_parse() lets only verbs that are built pass");
}

void ctl_answer(struct master *m, struct ctl_client *c, enum ctl_status status, const char *text)
{
	int n = asprintf(&c->answer, "%d\n%s", (int)status, text);

	end_job(m, c);
	if (n < 0) {
		c->answer = NULL;
		drop(m, c);
		return;
	}
	c->size = (size_t)n;
	c->until_ms = m->now_ms + CTL_CLIENT_MS;
}

static void answer_outcome(struct master *m, struct ctl_client *c, bool good, const char *text)
{
	const bool json = c->request.option;	/* of reload and upgrade */
	char *whole = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&whole, &size);

	if (out != NULL) {
		tell_outcome(out, text, good, json);
		fclose(out);
	}
	ctl_answer(m, c, good ? CTL_OK : CTL_FAILED, whole != NULL ? whole : text);
	free(whole);
}

/* The answer comes when the reload has ended. */
static void ask_reload(struct master *m, struct ctl_client *c)
{
	if (m->state > MASTER_RUNNING) {
		answer_outcome(m, c, false, "weir is ending\n");
		return;
	}
	c->ticket = reload_ask(m);
	c->until_ms = m->now_ms + CTL_RELOAD_MS;
	log_notice("weirctl asks to reload");
}

void ctl_server_reloaded(struct master *m, bool good, const char *text)
{
	for (unsigned i = 0; m->ctl.path != NULL && i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &m->ctl.clients[i];

		if (c->fd < 0 || c->ticket == 0 || c->ticket > m->reload.done)
			continue;
		c->ticket = 0;
		answer_outcome(m, c, good, text);
	}
}

static void ask_upgrade(struct master *m, struct ctl_client *c)
{
	const char *why = upgrade_ask(m);
	char text[256];

	if (why != NULL) {
		log_warn("weirctl asks to upgrade, but %s", why);
		snprintf(text, sizeof(text), "%s\n", why);
		answer_outcome(m, c, false, text);
		return;
	}
	c->upgrade = true;
	c->until_ms = m->now_ms + CTL_UPGRADE_MS;
	log_notice("weirctl asks to upgrade");
}

static void ask_plan(struct master *m, struct ctl_client *c, bool json)
{
	const char *why = plan_ask(m, json);
	char text[256];

	if (why != NULL) {
		snprintf(text, sizeof(text), "%s\n", why);
		ctl_answer(m, c, CTL_FAILED, text);
		return;
	}
	c->plan = true;
	c->until_ms = m->now_ms + 2 * PLAN_MS;
}

static void send_answer(struct master *m, struct ctl_client *c);

void ctl_server_upgraded(struct master *m, bool good, const char *text)
{
	for (unsigned i = 0; m->ctl.path != NULL && i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &m->ctl.clients[i];

		if (c->fd < 0 || !c->upgrade)
			continue;
		c->upgrade = false;
		answer_outcome(m, c, good, text);
		/* At once: this master may end soon. */
		if (c->fd >= 0)
			send_answer(m, c);
	}
}

void ctl_server_planned(struct master *m, bool good, const char *text)
{
	for (unsigned i = 0; m->ctl.path != NULL && i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &m->ctl.clients[i];

		if (c->fd < 0 || !c->plan)
			continue;
		c->plan = false;
		c->until_ms = m->now_ms + CTL_CLIENT_MS;
		ctl_answer(m, c, good ? CTL_OK : CTL_FAILED, text);
	}
}

/* The status line needs the outcome, so the body is written first, behind room for it. */
static void answer(struct master *m, struct ctl_client *c)
{
	char *words[CTL_ARGS], *text = NULL;
	char why[256] = "the request has too many words";
	size_t size = 0;
	int n = ctl_split(c->line, words, ARRAY_LEN(words));
	enum ctl_status status = n < 0 ? CTL_USAGE : ctl_parse(n, words, &c->request, why, sizeof(why));
	if (status == CTL_OK && c->request.def->verb == CTL_RELOAD) {
		if (c->request.second)
			ask_plan(m, c, c->request.option);
		else
			ask_reload(m, c);
		return;
	}
	if (status == CTL_OK && c->request.def->verb == CTL_UPGRADE) {
		ask_upgrade(m, c);
		return;
	}
	FILE *out = open_memstream(&text, &size);
	if (out == NULL) {
		drop(m, c);
		return;
	}
	bool whole = true;
	fputs("?\n", out);
	if (status == CTL_OK)
		whole = carry_out(m, c, out, &status);
	else
		fprintf(out, "%s\n", why);
	if (fclose(out) != 0 || text == NULL || size < 2) {
		free(text);
		drop(m, c);
	} else if (whole) {
		text[0] = (char)('0' + status);
		c->answer = text;
		c->size = size;
	} else {
		free(text);
	}
}

/* ---- jobs ---- */

void ctl_job_start(struct master *m, struct ctl_client *c, const struct ctl_job *job, uint64_t patience_ms)
{
	must(c->job == NULL && c->answer == NULL);
	c->job = job;
	c->begun_ms = m->now_ms;
	c->due_ms = m->now_ms + patience_ms;
	c->until_ms = c->due_ms + CTL_CLIENT_MS;
}

static bool append(struct ctl_client *c, const char *text, size_t n)
{
	/* What was sent makes room. */
	if (c->sent > 0) {
		memmove(c->answer, c->answer + c->sent, c->size - c->sent);
		c->size -= c->sent;
		c->sent = 0;
	}
	char *more = realloc(c->answer, c->size + n + 1);
	if (more == NULL)
		return false;
	memcpy(more + c->size, text, n);
	c->answer = more;
	c->size += n;
	return true;
}

bool ctl_stream(struct ctl_client *c, const char *text, size_t n)
{
	if (!c->stream && !append(c, ">\n", 2))
		return false;
	c->stream = true;
	return c->size - c->sent + n <= CTL_STREAM_MAX && append(c, text, n);
}

void ctl_stream_end(struct master *m, struct ctl_client *c, enum ctl_status status)
{
	const char end[2] = { '\0', (char)('0' + status) };

	if ((c->stream || ctl_stream(c, "", 0)) && append(c, end, sizeof(end))) {
		c->stream = false;
		c->until_ms = m->now_ms + CTL_CLIENT_MS;
		end_job(m, c);
	} else {
		drop(m, c);
	}
}

/* ---- clients ---- */

static bool is_welcome(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_one(struct master *m, struct ctl_server *s)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (unsigned i = 0; i < CTL_CLIENTS && is_welcome(fd); i++) {
		if (s->clients[i].fd < 0) {
			s->clients[i] = (struct ctl_client){ .fd = fd, .until_ms = m->now_ms + CTL_CLIENT_MS };
			return;
		}
	}
	close(fd);
}

static void read_request(struct master *m, struct ctl_client *c)
{
	ssize_t n = recv(c->fd, c->line + c->have, sizeof(c->line) - c->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->have += (unsigned)n;
	char *end = memchr(c->line, '\n', c->have);
	if (end == NULL) {
		if (n <= 0 || c->have == sizeof(c->line))
			drop(m, c);
		return;
	}
	*end = '\0';
	answer(m, c);
}

/* Nobody has more to say while a job is at work, unless that he has heard enough. */
static void read_end(struct master *m, struct ctl_client *c)
{
	char more[64];
	ssize_t n = recv(c->fd, more, sizeof(more), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	c->eof = true;
	if (n == 0 && c->job->on_eof != NULL)
		c->job->on_eof(m, c);
	else
		drop(m, c);
}

static void send_answer(struct master *m, struct ctl_client *c)
{
	if (c->sent < c->size) {
		ssize_t n = send(c->fd, c->answer + c->sent, c->size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			drop(m, c);
			return;
		}
		c->sent += (size_t)n;
	}
	if (c->sent == c->size && !c->stream)
		drop(m, c);
}

static void tend_one(struct master *m, struct ctl_client *c, short revents)
{
	if (c->job != NULL && (revents & POLLERR) != 0)
		drop(m, c);
	else if (c->job != NULL && (revents & (POLLIN | POLLHUP)) != 0 && !c->eof)
		read_end(m, c);
	else if (revents != 0 && waits(c))
		drop(m, c);
	else if (revents != 0 && c->job == NULL && c->answer == NULL)
		read_request(m, c);
	if (c->fd >= 0 && c->job != NULL)
		c->job->tend(m, c);
	if (c->fd >= 0 && c->answer != NULL)
		send_answer(m, c);
	if (c->fd >= 0 && m->now_ms >= c->until_ms)
		drop(m, c);
}

void ctl_server_tend(struct master *m, const struct pollfd *fds, unsigned n)
{
	struct ctl_server *s = &m->ctl;

	if (n == 0)
		return;
	for (unsigned i = 0; i < CTL_CLIENTS; i++) {
		if (s->clients[i].fd >= 0)
			tend_one(m, &s->clients[i], fds[1 + i].revents);
	}
	if (fds[0].revents != 0)
		accept_one(m, s);
}
