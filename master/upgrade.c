/*
 * upgrade.c - the master that is replaced: starts the new program, watches it,
 * hands over, and drains.
 *
 * Called by the master's loop. Nothing that serves is touched before the new
 * one serves; from then on nothing that has a name (socket files, pid file,
 * locks, control socket) is this one's any more. Whatever the new program does
 * before that, or does not do in time, ends the attempt and it.
 */
#include "master/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/notify.h"

#define EXIT_NO_PROGRAM 127

void upgrade_init(struct upgrade *u)
{
	*u = (struct upgrade){ .state = UPGRADE_NONE, .channel = -1, .pipe = -1 };
	for (unsigned i = 0; i < ESTATE_ELDERS; i++)
		u->elders[i].channel = -1;
}

static void set_state(struct master *m, enum upgrade_state state, uint64_t ms)
{
	m->upgrade.state = state;
	m->upgrade.until_ms = ms > 0 ? m->now_ms + ms : 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the end of an attempt ---- */

static void log_lines(enum log_level lv, char *text)
{
	for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next = '\0';
		log_at(lv, "The new program says: %s", line);
		if (next != NULL)
			*next++ = '\n';
	}
}

static void forget(struct upgrade *u)
{
	close_one(&u->pipe);
	free(u->text);
	u->text = NULL;
	u->have = 0;
}

/* It is gone, and everything is as it was. */
__attribute__((format(printf, 2, 3))) static void give_up(struct master *m, const char *fmt, ...)
{
	struct upgrade *u = &m->upgrade;
	char why[512], *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_lines(LOG_LV_ERROR, u->text);
	log_error("Upgrade failed, process %d serves on: %s", (int)getpid(), why);
	if (asprintf(&text, "%supgrade failed, process %d serves on: %s\n", u->text != NULL ? u->text : "", (int)getpid(),
		     why) < 0)
		text = NULL;
	u->bad++;
	close_one(&u->channel);
	forget(u);
	/* It may have moved them already. */
	lock_renew(&m->pid_lock);
	lock_renew(&m->control_lock);
	set_state(m, UPGRADE_NONE, 0);
	ctl_server_upgraded(m, false, text != NULL ? text : "upgrade failed: out of memory\n");
	free(text);
}

/* Told to end; what follows comes with its death. */
__attribute__((format(printf, 2, 3))) static void end_it(struct master *m, const char *fmt, ...)
{
	struct upgrade *u = &m->upgrade;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(u->why, sizeof(u->why), fmt, ap);
	va_end(ap);
	kill(u->pid, SIGTERM);
	set_state(m, UPGRADE_FAILING, UPGRADE_END_MS);
}

void upgrade_cancel(struct master *m)
{
	switch (m->upgrade.state) {
	case UPGRADE_ASKED:
		give_up(m, "weir ends");
		break;
	case UPGRADE_STARTING:
	case UPGRADE_OPENING:
	case UPGRADE_TAKING:
		end_it(m, "weir ends");
		break;
	default:
		break;
	}
}

/* ---- the beginning ---- */

const char *upgrade_ask(struct master *m)
{
	if (m->state != MASTER_RUNNING)
		return m->state == MASTER_STARTING ? "weir is still starting" : "weir is ending";
	if (m->upgrade.state != UPGRADE_NONE)
		return "an upgrade is under way already";
	if (getpid() == 1)
		return "weir is process 1 here, and its end would be that of the container: start a new container instead";
	if (m->given->program == NULL)
		return "the path of the program is not known: /proc is missing";
	set_state(m, UPGRADE_ASKED, 0);
	return NULL;
}

/* The child: becomes the new program. */
_Noreturn static void be_new(const struct master *m, const struct estate_fds *fds, int out)
{
	const struct sigaction sa = { .sa_handler = SIG_DFL };
	char where[16];
	sigset_t none;

	for (unsigned i = 0; i < fds->n; i++)
		fcntl(fds->v[i], F_SETFD, 0);
	fcntl(fds->text, F_SETFD, 0);
	dup2(out, STDERR_FILENO);
	snprintf(where, sizeof(where), "%d", fds->text);
	setenv(ESTATE_ENV, where, 1);
	sigaction(SIGPIPE, &sa, NULL);
	sigaction(SIGXFSZ, &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(m->given->program, m->given->argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", m->given->program, strerror(errno));
	_exit(EXIT_NO_PROGRAM);
}

/* False with errno. */
static bool start(struct master *m, int channel, int out)
{
	struct estate_fds fds;
	bool good = false;
	int err_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	ticket_advance(&m->tickets, m->now_ms);
	if (estate_write(m, channel, err_fd, &fds)) {
		pid_t pid = child_fork();

		if (pid == 0)
			be_new(m, &fds, out);
		good = pid > 0;
		m->upgrade.pid = good ? pid : 0;
		int why = errno;
		estate_fds_free(&fds);
		errno = why;
	}
	close_one(&err_fd);
	return good;
}

static void begin(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int pair[2] = { -1, -1 }, ends[2] = { -1, -1 };

	u->dead = false;
	u->have = 0;
	u->text = calloc(1, UPGRADE_TEXT);
	bool good = u->text != NULL && pipe2(ends, O_CLOEXEC) == 0 &&
		    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0;
	u->pipe = ends[0];
	u->channel = pair[0];
	good = good && fcntl(u->pipe, F_SETFL, O_NONBLOCK) == 0 && start(m, pair[1], ends[1]);
	int why = errno;
	close_one(&ends[1]);
	close_one(&pair[1]);
	if (!good) {
		give_up(m, "cannot start %s: %s", m->given->program, strerror(why));
		return;
	}
	set_state(m, UPGRADE_STARTING, UPGRADE_HELLO_MS);
	log_notice("Upgrading: process %d runs %s", (int)u->pid, m->given->program);
}

/* ---- handing over ---- */

/* Generations of other masters are the new one's now. */
static void drop_elders(struct master *m)
{
	for (struct crew **at = &m->crews; *at != NULL;) {
		struct crew *w = *at;

		if (w->elder == NULL) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		crew_free(w);
	}
	for (unsigned i = 0; i < ESTATE_ELDERS; i++)
		close_one(&m->upgrade.elders[i].channel);
}

/* A reload that was asked for: the new one may have read the configuration before that. */
static void pass_reload(struct master *m)
{
	if (m->reload.asked == m->reload.done)
		return;
	kill(m->upgrade.pid, SIGHUP);
	reload_cancel(m);
}

static void hand_over(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char text[128];

	u->good++;
	u->heir = u->pid;
	set_state(m, UPGRADE_HANDED, RELOAD_HAND_MS);
	snprintf(text, sizeof(text), "MAINPID=%d", (int)u->pid);
	notify_systemd(text);
	slots_lend(&m->slots, true);
	slots_fini(&m->slots);
	ctl_server_leave(&m->ctl);
	lock_leave(&m->pid_lock);
	lock_leave(&m->control_lock);
	drop_elders(m);
	m->exit_status = EXIT_ORDERLY;
	master_set_state(m, MASTER_DRAINING);
	crew_drain(m, m->crew);
	log_lines(LOG_LV_WARN, u->text);
	log_notice("Upgraded: process %d serves, process %d drains generation %u", (int)u->pid, (int)getpid(),
		   m->crew->number);
	pass_reload(m);
	forget(u);
}

/* Whoever asked is answered when every new client meets the new one. */
static void look_at_last(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char text[128];

	if (u->until_ms == 0 || (crew_accepts(m->crew) && m->now_ms < u->until_ms))
		return;
	u->until_ms = 0;
	snprintf(text, sizeof(text), "process %d serves, process %d drains generation %u\n", (int)u->heir, (int)getpid(),
		 m->crew->number);
	ctl_server_upgraded(m, true, text);
}

void upgrade_tell_gone(struct master *m, const struct crew *w)
{
	if (m->upgrade.state == UPGRADE_HANDED && m->upgrade.channel >= 0 &&
	    !ipc_send(m->upgrade.channel, IPC_HEIR_GONE, 0, w->number, -1))
		log_debug("the new master cannot be told that generation %u is gone: %m", w->number);
}

/* ---- what it says ---- */

static void end_crew(struct master *m, uint64_t number)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->number != number)
			continue;
		crew_end(m, w);
		if (w->state == CREW_GONE)
			upgrade_tell_gone(m, w);
		return;
	}
}

static void on_handed(struct master *m, const struct ipc_msg *msg)
{
	switch (msg->kind) {
	case IPC_HEIR_LOGS:
		logs_reopen(m);
		break;
	case IPC_HEIR_END:
		end_crew(m, msg->arg);
		break;
	case IPC_HEIR_HURRY:
		crews_hurry(m);
		break;
	case IPC_HEIR_STOP:
		master_stop(m, EXIT_ORDERLY);
		break;
	default:
		break;
	}
}

/* The pages first: from the moment the new workers begin, the new admin process alone knows all counters. */
static void let_take(struct master *m)
{
	if (!ipc_send(m->upgrade.channel, IPC_HEIR_GO, 0, 0, -1))
		return;
	crew_drain_admin(m, m->crew);
	set_state(m, UPGRADE_TAKING, UPGRADE_TAKE_MS);
}

static void on_message(struct master *m, const struct ipc_msg *msg)
{
	struct upgrade *u = &m->upgrade;

	if (u->state == UPGRADE_HANDED)
		on_handed(m, msg);
	else if (u->state == UPGRADE_STARTING && msg->kind == IPC_HEIR_HELLO)
		set_state(m, UPGRADE_OPENING, UPGRADE_READY_MS);
	else if (u->state == UPGRADE_OPENING && msg->kind == IPC_HEIR_READY)
		let_take(m);
	else if (u->state == UPGRADE_TAKING && msg->kind == IPC_HEIR_SERVING)
		hand_over(m);
}

static void read_channel(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	struct ipc_msg msg;
	int fd, got = 0;

	while (u->channel >= 0 && (got = ipc_recv(u->channel, &msg, &fd)) > 0) {
		if (fd >= 0)
			close(fd);
		on_message(m, &msg);
	}
	/* Its death tells the rest. */
	if (got < 0)
		close_one(&u->channel);
}

/* What is too long is read and dropped: it must not wait for us. */
static void read_pipe(struct upgrade *u)
{
	char rest[4096];

	while (u->pipe >= 0) {
		size_t room = u->text != NULL ? UPGRADE_TEXT - 1 - u->have : 0;
		ssize_t n = read(u->pipe, room > 0 ? u->text + u->have : rest, room > 0 ? room : sizeof(rest));

		if (n < 0)
			return;
		if (n == 0)
			close_one(&u->pipe);
		else if (room > 0)
			u->have += (size_t)n;
	}
}

void upgrade_fds(const struct master *m, struct pollfd *out)
{
	const struct upgrade *u = &m->upgrade;

	/* poll() passes over descriptors below zero. While we wait to serve, other masters' words are not for us. */
	out[0] = (struct pollfd){ .fd = u->pipe, .events = POLLIN };
	out[1] = (struct pollfd){ .fd = u->channel, .events = POLLIN };
	for (unsigned i = 0; i < ESTATE_ELDERS; i++)
		out[2 + i] = (struct pollfd){ .fd = i == 0 || !heir_waits(u) ? u->elders[i].channel : -1, .events = POLLIN };
}

void upgrade_on_input(struct master *m, const struct pollfd *fds)
{
	if (fds[0].revents != 0)
		read_pipe(&m->upgrade);
	if (fds[1].revents != 0)
		read_channel(m);
	for (unsigned i = 0; i < ESTATE_ELDERS; i++) {
		if (fds[2 + i].revents != 0 && fds[2 + i].fd == m->upgrade.elders[i].channel)
			heir_on_input(m, &m->upgrade.elders[i]);
	}
}

void upgrade_on_death(struct master *m, pid_t pid, int status)
{
	struct upgrade *u = &m->upgrade;

	if (u->pid == 0 || pid != u->pid)
		return;
	u->pid = 0;
	u->dead = true;
	u->status = status;
}

/* ---- make it so ---- */

static void on_dead(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	const char *program = m->given->program;

	u->dead = false;
	read_pipe(u);
	if (u->state == UPGRADE_FAILING)
		give_up(m, "%s", u->why);
	else if (WIFSIGNALED(u->status))
		give_up(m, "the new program %s was killed by signal %d (%s)", program, WTERMSIG(u->status),
			strsignal(WTERMSIG(u->status)));
	else
		give_up(m, "the new program %s ended with status %d", program, WEXITSTATUS(u->status));
}

static void on_overdue(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->state == UPGRADE_FAILING) {
		kill(u->pid, SIGKILL);
		u->until_ms = 0;
	} else if (u->state == UPGRADE_STARTING) {
		end_it(m, "%s did not say within %u s that it takes over: is it weir?", m->given->program,
		       UPGRADE_HELLO_MS / 1000);
	} else {
		end_it(m, "%s was not ready within %u s", m->given->program,
		       (u->state == UPGRADE_TAKING ? UPGRADE_TAKE_MS : UPGRADE_READY_MS) / 1000);
	}
}

static bool may_begin(struct master *m)
{
	return m->reload.state == RELOAD_NONE && heir_elders(m) < ESTATE_ELDERS && reload_has_room(m);
}

void upgrade_tend(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->state == UPGRADE_ASKED && may_begin(m))
		begin(m);
	if (u->dead && u->state != UPGRADE_HANDED)
		on_dead(m);
	if (u->state == UPGRADE_HANDED)
		look_at_last(m);
	else if (u->until_ms != 0 && m->now_ms >= u->until_ms)
		on_overdue(m);
}

uint64_t upgrade_next(const struct master *m)
{
	const struct upgrade *u = &m->upgrade;

	if (u->state == UPGRADE_ASKED && m->reload.state == RELOAD_NONE)
		return reload_room_at(m);
	return u->until_ms != 0 ? u->until_ms : UINT64_MAX;
}
