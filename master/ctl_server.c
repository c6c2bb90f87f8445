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

static void drop(struct ctl_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->answer);
	*c = (struct ctl_client){ .fd = -1 };
}

void ctl_server_stop(struct ctl_server *s)
{
	for (unsigned i = 0; s->path != NULL && i < CTL_CLIENTS; i++)
		drop(&s->clients[i]);
	if (s->fd >= 0 && !s->lent)
		unlink(s->path);
	ctl_server_leave(s);
}

/* For something that takes its time. */
static bool waits(const struct ctl_client *c)
{
	return c->ticket != 0 || c->upgrade;
}

unsigned ctl_server_fds(const struct ctl_server *s, struct pollfd *out)
{
	bool room = false;

	if (s->path == NULL)
		return 0;
	for (unsigned i = 0; i < CTL_CLIENTS; i++) {
		const struct ctl_client *c = &s->clients[i];

		out[1 + i] = (struct pollfd){ .fd = c->fd,
					    .events = c->answer != NULL ? POLLOUT : waits(c) ? 0 : POLLIN };
		room |= c->fd < 0;
	}
	/* With all places taken the others wait in the queue. */
	out[0] = (struct pollfd){ .fd = room && !s->lent ? s->fd : -1, .events = POLLIN };
	return 1 + CTL_CLIENTS;
}

uint64_t ctl_server_next(const struct ctl_server *s)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; s->path != NULL && i < CTL_CLIENTS; i++) {
		if (s->clients[i].fd >= 0 && s->clients[i].until_ms < next)
			next = s->clients[i].until_ms;
	}
	return next;
}

/* ---- answers ---- */

static void do_stop(struct master *m, const struct ctl_request *r, FILE *out)
{
	log_notice("weirctl asks to stop%s", r->option ? " now" : "");
	if (r->option) {
		fprintf(out, "weir (process %d) stops.\n", (int)getpid());
		master_stop(m, EXIT_ORDERLY);
		return;
	}
	fprintf(out, "weir (process %d) ends what is under way, then stops.\n", (int)getpid());
	master_drain(m);
}

static enum ctl_status carry_out(struct master *m, const struct ctl_request *r, FILE *out)
{
	char safe[64];

	switch (r->def->verb) {
	case CTL_STATUS:
		show_status(m, out, r->option);
		return CTL_OK;
	case CTL_WORKERS:
		show_workers(m, out, r->option);
		return CTL_OK;
	case CTL_SERVERS:
		if (show_servers(m, r->nwords > 0 ? r->words[0] : NULL, out, r->option))
			return CTL_OK;
		fprintf(out, "there is no upstream \"%s\"\n", log_esc(safe, sizeof(safe), span_of(r->words[0])));
		return CTL_FAILED;
	case CTL_STOP:
		do_stop(m, r, out);
		return CTL_OK;
	case CTL_DRAIN:
	case CTL_READY:
	case CTL_DOWN:
	case CTL_WEIGHT:
		return admin_act(m, r, out);
	case CTL_RELOAD:
	case CTL_UPGRADE:
	case CTL_LATER:
	case CTL_UNKNOWN:
		break;
	}
	must_not_reach("ctl_parse() lets only verbs that are built pass");
}

static void set_answer(struct ctl_client *c, enum ctl_status status, const char *text)
{
	int n = asprintf(&c->answer, "%d\n%s", (int)status, text);

	if (n < 0) {
		c->answer = NULL;
		drop(c);
		return;
	}
	c->size = (size_t)n;
}

/* The answer comes when the reload has ended. */
static void ask_reload(struct master *m, struct ctl_client *c)
{
	if (m->state > MASTER_RUNNING) {
		set_answer(c, CTL_FAILED, "weir is ending\n");
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
		c->until_ms = m->now_ms + CTL_CLIENT_MS;
		set_answer(c, good ? CTL_OK : CTL_FAILED, text);
	}
}

static void ask_upgrade(struct master *m, struct ctl_client *c)
{
	const char *why = upgrade_ask(m);
	char text[256];

	if (why != NULL) {
		log_warn("weirctl asks to upgrade, but %s", why);
		snprintf(text, sizeof(text), "%s\n", why);
		set_answer(c, CTL_FAILED, text);
		return;
	}
	c->upgrade = true;
	c->until_ms = m->now_ms + CTL_UPGRADE_MS;
	log_notice("weirctl asks to upgrade");
}

static void send_answer(struct ctl_client *c);

void ctl_server_upgraded(struct master *m, bool good, const char *text)
{
	for (unsigned i = 0; m->ctl.path != NULL && i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &m->ctl.clients[i];

		if (c->fd < 0 || !c->upgrade)
			continue;
		c->upgrade = false;
		c->until_ms = m->now_ms + CTL_CLIENT_MS;
		set_answer(c, good ? CTL_OK : CTL_FAILED, text);
		/* At once: this master may end soon. */
		if (c->fd >= 0)
			send_answer(c);
	}
}

/* The status line needs the outcome, so the body is written first, behind room for it. */
static void answer(struct master *m, struct ctl_client *c)
{
	struct ctl_request r;
	char *words[2 + CTL_WORDS];
	char why[256] = "the request has too many words";
	int n = ctl_split(c->line, words, ARRAY_LEN(words));
	enum ctl_status status = n < 0 ? CTL_USAGE : ctl_parse(n, words, &r, why, sizeof(why));
	if (status == CTL_OK && r.def->verb == CTL_RELOAD) {
		ask_reload(m, c);
		return;
	}
	if (status == CTL_OK && r.def->verb == CTL_UPGRADE) {
		ask_upgrade(m, c);
		return;
	}
	FILE *out = open_memstream(&c->answer, &c->size);
	if (out == NULL) {
		drop(c);
		return;
	}
	fputs("?\n", out);
	if (status == CTL_OK)
		status = carry_out(m, &r, out);
	else
		fprintf(out, "%s\n", why);
	if (fclose(out) != 0 || c->answer == NULL || c->size < 2) {
		drop(c);
		return;
	}
	c->answer[0] = (char)('0' + status);
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
			drop(c);
		return;
	}
	*end = '\0';
	answer(m, c);
}

static void send_answer(struct ctl_client *c)
{
	ssize_t n = send(c->fd, c->answer + c->sent, c->size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n <= 0 || c->sent == c->size)
		drop(c);
}

void ctl_server_tend(struct master *m, const struct pollfd *fds, unsigned n)
{
	struct ctl_server *s = &m->ctl;

	if (n == 0)
		return;
	for (unsigned i = 0; i < CTL_CLIENTS; i++) {
		struct ctl_client *c = &s->clients[i];

		if (c->fd < 0)
			continue;
		if (fds[1 + i].revents != 0 && waits(c))
			drop(c);
		else if (fds[1 + i].revents != 0 && c->answer == NULL)
			read_request(m, c);
		if (c->fd >= 0 && c->answer != NULL)
			send_answer(c);
		if (c->fd >= 0 && m->now_ms >= c->until_ms)
			drop(c);
	}
	if (fds[0].revents != 0)
		accept_one(m, s);
}
