/*
 * master.c - the loop of the master.
 *
 * Owns the order of things: what is opened at start, which signal comes before
 * which, what an end means. Called by main() once. Signals become flags that
 * are handled here in a fixed order; everything else follows from states, made
 * so by child.c. It does nothing that could take long.
 */
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "common/title.h"
#include "master/crew.h"
#include "master/logs.h"
#include "master/notify.h"
#include "master/start.h"
#include "master/version.h"

#define STOP_GRACE_MS 1000		/* for a request that is already on its way to an idle connection */
#define OTHERS_MS 5000			/* for other masters to end when they were told to */
#define START_MS 20000			/* for all children to be ready once */

static const char *const state_names[] = {
	[MASTER_STARTING] = "starting", [MASTER_RUNNING] = "running", [MASTER_DRAINING] = "draining",
	[MASTER_STOPPING] = "stopping", [MASTER_GONE] = "gone",
};

const char *master_state_name(enum master_state s)
{
	must(s < ARRAY_LEN(state_names));
	return state_names[s];
}

void master_set_state(struct master *m, enum master_state state)
{
	OBJ_CHECK(m, MASTER_MAGIC);
	must(state >= m->state);
	m->state = state;
}

void master_complain(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "weir: %s\n", text);
	/* Who starts weir reads stderr, who wonders later reads the log; where they are one, once is enough. */
	if (!logs_on_stderr())
		log_error("%s", text);
	else
		log_tell(text);
}

/* ---- ends ---- */

/* Not of a service that goes on with another master. */
static void tell_supervisor(const struct master *m)
{
	if (m->upgrade.state != UPGRADE_HANDED && !heir_waits(&m->upgrade))
		notify_systemd("STOPPING=1");
}

void master_stop(struct master *m, int exit_status)
{
	if (m->state >= MASTER_STOPPING)
		return;
	m->exit_status = exit_status;
	m->stop_ms = m->now_ms;
	master_set_state(m, MASTER_STOPPING);
	tell_supervisor(m);
	reload_cancel(m);
	upgrade_cancel(m);
	heir_tell(m, IPC_HEIR_STOP);
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++)
			child_stop(m, &w->children[i]);
	}
}

void master_drain(struct master *m)
{
	if (m->state >= MASTER_DRAINING)
		return;
	m->exit_status = EXIT_ORDERLY;
	master_set_state(m, MASTER_DRAINING);
	tell_supervisor(m);
	reload_cancel(m);
	upgrade_cancel(m);
	crews_hurry(m);
	heir_tell(m, IPC_HEIR_HURRY);
	/* The checker stays until the last worker is gone: they still choose among servers. */
	for (unsigned i = 0; i < m->crew->nchildren; i++) {
		if (m->crew->children[i].role == PROCESS_WORKER)
			child_drain(m, &m->crew->children[i], STOP_GRACE_MS, false);
	}
	/* Workers empty their queues and close; then the port is free for a successor. */
	slots_fini(&m->slots);
}

/* ---- signals ---- */

static void on_stop(struct master *m, int sig)
{
	log_notice("Signal %d (%s): stopping", sig, strsignal(sig));
	master_stop(m, EXIT_ORDERLY);
}

static void on_drain(struct master *m, int sig)
{
	if (m->state >= MASTER_DRAINING)
		return;
	log_notice("Signal %d (%s): ending what is under way, then stopping", sig, strsignal(sig));
	master_drain(m);
}

static void on_reopen(struct master *m, int sig)
{
	(void)sig;
	logs_reopen(m);
}

static void on_reload(struct master *m, int sig)
{
	(void)sig;
	if (m->state <= MASTER_RUNNING)
		reload_ask(m);
}

static void on_upgrade(struct master *m, int sig)
{
	const char *why = upgrade_ask(m);

	if (why != NULL)
		log_warn("Signal %d (%s) asks to upgrade, but %s", sig, strsignal(sig), why);
}

static void on_child(struct master *m, int sig)
{
	(void)sig;
	children_reap(m);
}

/* In the order in which they are handled when several came: an end beats all else. */
static const struct {
	int sig;
	void (*handle)(struct master *m, int sig);
} handlers[] = {
	{ SIGCHLD, on_child }, { SIGTERM, on_stop }, { SIGINT, on_stop }, { SIGQUIT, on_drain },
	{ SIGUSR1, on_reopen }, { SIGHUP, on_reload }, { SIGUSR2, on_upgrade },
};

static int open_signals(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_LEN(handlers); i++) {
		sigaddset(&set, handlers[i].sig);
		/* An ignored one would never be read, and nohup and its like leave some ignored. */
		sigaction(handlers[i].sig, &sa, NULL);
	}
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
	/* A log that reaches the limit on file sizes is a log that cannot be written, no more. */
	sigaction(SIGXFSZ, &sa, NULL);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void read_signals(struct master *m)
{
	struct signalfd_siginfo info[16];
	ssize_t n;

	while ((n = read(m->signal_fd, info, sizeof(info))) > 0) {
		for (size_t i = 0; i < (size_t)n / sizeof(info[0]); i++)
			m->signals |= 1u << info[i].ssi_signo;
	}
}

static void handle_signals(struct master *m)
{
	uint32_t got = m->signals;

	m->signals = 0;
	for (unsigned i = 0; i < ARRAY_LEN(handlers); i++) {
		if ((got >> handlers[i].sig & 1) != 0 && m->state < MASTER_GONE)
			handlers[i].handle(m, handlers[i].sig);
	}
}

/* ---- the loop ---- */

static void on_ready(struct master *m)
{
	master_set_state(m, MASTER_RUNNING);
	if (!start_announce(m)) {
		master_stop(m, EXIT_CANNOT_START);
		return;
	}
	crew_set_state(m, m->crew, CREW_LIVE);
	log_notice("weir %s is ready: %u workers, process %d, after %llu ms", WEIR_VERSION, m->crew->conf->workers,
		   (int)getpid(), (unsigned long long)(m->now_ms - m->begun_ms));
}

/* Other masters that were told to end, and a program that is to take our place. */
static bool others_left(const struct master *m)
{
	return (heir_elders(m) > 0 && !heir_waits(&m->upgrade) && m->now_ms < m->stop_ms + OTHERS_MS) ||
	       (m->upgrade.pid > 0 && m->upgrade.state != UPGRADE_HANDED);
}

/* What follows for the master from the states of its children. */
static void move_on(struct master *m)
{
	if (m->state == MASTER_STARTING && heir_waits(&m->upgrade))
		heir_tend(m);
	else if (m->state == MASTER_STARTING && crew_is_ready(m->crew))
		on_ready(m);
	if (m->state == MASTER_STARTING && m->now_ms - m->begun_ms > START_MS) {
		master_complain("not every worker was ready within %u s; the error log says why", START_MS / 1000);
		master_stop(m, EXIT_CANNOT_START);
	}
	if (m->state == MASTER_DRAINING && children_workers(m) == 0 && heir_elders(m) == 0)
		master_stop(m, m->exit_status);
	if (m->state == MASTER_STOPPING && children_count(m) == 0 && !others_left(m))
		master_set_state(m, MASTER_GONE);
}

/* A turn is never longer than a tick of our own watchdog, which is often enough for any other. Until we are ready nobody
 * listens to us, least of all while another master is in office. */
static void ping_supervisor(struct master *m)
{
	if (m->ping_every_ms == 0 || m->state < MASTER_RUNNING || m->now_ms - m->ping_ms < m->ping_every_ms)
		return;
	m->ping_ms = m->now_ms;
	notify_systemd("WATCHDOG=1");
}

static int wait_ms(const struct master *m)
{
	uint64_t next = m->tick_ms + WATCHDOG_TICK_MS;
	const uint64_t others[] = { children_next(m), ctl_server_next(m), reload_next(m),
				    upgrade_next(m), plan_next(m) };

	for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
		if (others[i] < next)
			next = others[i];
	}
	return next > m->now_ms ? (int)(next - m->now_ms) : 0;
}

/* What is polled for: the signals, the trial of a reload, the children, the control socket, other masters. */
struct polled {
	struct pollfd *fds;
	struct child **children;	/* of fds[2] and on */
	unsigned nchildren, room;
};

static void list_children(struct master *m, struct polled *p)
{
	unsigned n = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		n += w->nchildren;
	if (n >= p->room) {
		p->room = n + 16;
		p->fds = realloc(p->fds, (2 + p->room + 1 + CTL_CLIENTS + UPGRADE_FDS + 1) * sizeof(*p->fds));
		p->children = realloc(p->children, p->room * sizeof(struct child *));
		if (p->fds == NULL || p->children == NULL)
			log_no_memory(p->room * sizeof(*p->fds));
	}
	p->nchildren = 0;
	/* poll() passes over descriptors below zero. */
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			p->fds[2 + p->nchildren] = (struct pollfd){ .fd = w->children[i].control, .events = POLLIN };
			p->children[p->nchildren++] = &w->children[i];
		}
	}
}

/* Crews are freed at the end of a turn alone, so that the children listed here are there until then. */
static void take_turn(struct master *m, struct polled *p)
{
	list_children(m, p);
	p->fds[0] = (struct pollfd){ .fd = m->signal_fd, .events = POLLIN };
	p->fds[1] = reload_fd(m);
	struct pollfd *ctl = p->fds + 2 + p->nchildren;
	unsigned nctl = ctl_server_fds(&m->ctl, ctl);
	upgrade_fds(m, ctl + nctl);
	struct pollfd *plan = ctl + nctl + UPGRADE_FDS;
	*plan = plan_fd(m);

	int n = poll(p->fds, 2 + p->nchildren + nctl + UPGRADE_FDS + 1, wait_ms(m));
	m->now_ms = clock_mono_ms();
	if (n > 0)
		read_signals(m);
	if (n > 0 && p->fds[1].revents != 0)
		reload_on_input(m);
	for (unsigned i = 0; n > 0 && i < p->nchildren; i++) {
		if (p->fds[2 + i].revents != 0 && p->fds[2 + i].fd == p->children[i]->control)
			child_on_message(m, p->children[i]);
	}
	ctl_server_tend(m, ctl, nctl);
	if (n > 0)
		upgrade_on_input(m, ctl + nctl);
	if (n > 0 && plan->revents != 0)
		plan_on_input(m);
	handle_signals(m);
	watchdog_tick(m);
	ping_supervisor(m);
	logs_reconnect(m, false);
	move_on(m);
	store_tend(m);
	reload_tend(m);
	plan_tend(m);
	crews_tend(m);
	crews_publish(m);
	/* Behind it: what another master inherits holds no crew that has ended. */
	upgrade_tend(m);
	children_tend(m);
}

static int loop(struct master *m)
{
	struct polled p = { .fds = NULL };

	children_tend(m);
	while (m->state != MASTER_GONE)
		take_turn(m, &p);
	free(p.fds);
	free(p.children);
	log_notice("weir has stopped");
	return m->exit_status;
}

int master_run(const struct master_given *given)
{
	struct conf *c = given->conf;
	struct master m = {
		.magic = MASTER_MAGIC, .state = MASTER_STARTING, .given = given, .ready_fd = given->ready_fd,
		.daemon = given->daemon, .signal_fd = -1, .history_fd = -1,
		.control_lock = { .fd = -1 }, .pid_lock = { .fd = -1 }, .ctl = { .fd = -1 }, .reload = { .pipe = -1 },
		.plan = { .pipe = -1 },
	};
	int status = EXIT_CANNOT_START;

	m.now_ms = m.begun_ms = m.tick_ms = clock_mono_ms();
	m.begun_wall_ms = clock_wall_ms();
	m.ping_every_ms = notify_ping_ms();
	m.conf_file = m.daemon ? c->path : c->file;
	title_set("weir: master");
	log_set_role("master");
	upgrade_init(&m.upgrade);
	bool good = given->estate == NULL || heir_begin(&m, given->estate);
	m.crew = crew_new(&m, c);
	panic_note()->role = "master";
	panic_catch_signals();
	m.signal_fd = open_signals();
	if (m.signal_fd < 0)
		master_complain("cannot receive signals: %s", strerror(errno));
	else if (good && start_open(&m))
		status = loop(&m);
	start_close(&m);
	if (m.signal_fd >= 0)
		close(m.signal_fd);
	return status;
}
