/*
 * child.c - the only fork: starts, collects and restarts processes.
 *
 * Owns the child slots. Called by the master's loop, the watchdog and the
 * control server. What should be follows from the states and is made so by
 * children_tend(); a child that dies before it did useful work waits longer
 * and longer for its successor. It never reads a child's memory but its
 * heartbeat and crash note, and those only to compare and to print.
 */
#include "master/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "master/crew.h"
#include "master/fence.h"
#include "master/logs.h"
#include "master/master.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define USEFUL_MS 1000			/* a child that lived so long after IPC_READY did useful work */
#define FORK_RETRY_MS 1000
#define STOP_PATIENCE_MS 2000		/* from IPC_STOP to SIGKILL */
#define MESSAGES_PER_TURN 16

static const char *const state_names[] = {
	[CHILD_DOWN] = "down", [CHILD_STARTING] = "starting", [CHILD_LIVE] = "live", [CHILD_DRAINING] = "draining",
	[CHILD_STOPPING] = "stopping", [CHILD_STUCK] = "stuck",
};

const char *child_state_name(enum child_state s)
{
	must(s < ARRAY_LEN(state_names));
	return state_names[s];
}

void child_set_state(struct child *c, enum child_state state)
{
	OBJ_CHECK(c, CHILD_MAGIC);
	if (c->state != state)
		log_debug("%s: %s, was %s", c->name, child_state_name(state), child_state_name(c->state));
	c->state = state;
}

static void set_row(const struct child *c, enum slot_state state)
{
	struct shm_row *row = shm_row(&c->crew->shm, c->slot);

	atomic_store(&row->pid, c->pid);
	atomic_store(&row->gen, c->gen);
	atomic_store(&row->state, (uint32_t)state);
}

bool children_init(struct crew *w)
{
	const unsigned workers = w->conf->workers;

	w->nchildren = crew_slots(w->conf);
	w->children = calloc(w->nchildren, sizeof(*w->children));
	w->wake_fds = calloc(w->nchildren, sizeof(*w->wake_fds));
	if (w->children == NULL || w->wake_fds == NULL)
		return false;
	for (unsigned i = 0; i < w->nchildren; i++) {
		struct child *c = &w->children[i];

		*c = (struct child){ .magic = CHILD_MAGIC, .state = CHILD_DOWN, .crew = w, .slot = i, .control = -1,
				     .role = i < workers ? PROCESS_WORKER : i == workers ? PROCESS_CHECKER : PROCESS_ADMIN };
		if (c->role == PROCESS_WORKER)
			snprintf(c->name, sizeof(c->name), "worker %u", i);
		else
			snprintf(c->name, sizeof(c->name), "%s", c->role == PROCESS_CHECKER ? "checker" : "admin");
		w->wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (w->wake_fds[i] < 0)
			return false;
	}
	return true;
}

void children_fini(struct crew *w)
{
	for (unsigned i = 0; i < w->nchildren && w->children != NULL; i++) {
		if (w->children[i].control >= 0)
			close(w->children[i].control);
		if (w->wake_fds != NULL && w->wake_fds[i] > 0)
			close(w->wake_fds[i]);
	}
	free(w->children);
	free(w->wake_fds);
	w->children = NULL;
	w->wake_fds = NULL;
	w->nchildren = 0;
}

uint64_t child_backoff_ms(unsigned quick_deaths)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	if (quick_deaths == 0)
		return 0;
	while (--quick_deaths > 0 && ms < BACKOFF_MAX_MS)
		ms *= 2;
	return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* ---- starting ---- */

static void prepare_row(struct child *c)
{
	struct shm_row *row = shm_row(&c->crew->shm, c->slot);

	atomic_store(&row->beat_ms, 0);
	memset(row->note, 0, sizeof(row->note));
	set_row(c, SLOT_STARTING);
}

static void spawn(struct master *m, struct child *c)
{
	int pair[2];

	c->due_ms = m->now_ms + FORK_RETRY_MS;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
		log_error("Cannot start %s: %s", c->name, strerror(errno));
		return;
	}
	c->gen++;
	c->pid = 0;
	c->away = false;
	c->told = c->crew == m->crew && !heir_waits(&m->upgrade);
	prepare_row(c);
	ticket_advance(&m->tickets, m->now_ms);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		become_child(m, c, pair[1]);
	}
	close(pair[1]);
	if (pid < 0) {
		log_error("Cannot start %s: %s", c->name, strerror(errno));
		close(pair[0]);
		return;
	}
	c->pid = pid;
	c->control = pair[0];
	c->born_ms = m->now_ms;
	c->ready_ms = c->kill_ms = 0;
	c->logs_round = m->logs_round;
	c->logs_sent = 0;
	c->watch = (struct watch){ .changed_ms = m->now_ms };
	atomic_store(&shm_row(&c->crew->shm, c->slot)->pid, pid);
	child_set_state(c, CHILD_STARTING);
}

/* ---- collecting ---- */

/* What it said itself, if it could, without the stack, which stands in the log already. `out` is safe for a log line. */
static void read_note(const struct shm_row *row, char *out, size_t size)
{
	static const char prefix[] = "panic: ";
	char note[SHM_NOTE + 1], said[SHM_NOTE + 1] = "";
	size_t n = 0;

	/* The child may have written anything, and no end. */
	memcpy(note, row->note, SHM_NOTE);
	note[SHM_NOTE] = '\0';
	for (char *line = note, *next; line != NULL && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (strstr(line, "[0x") != NULL)
			break;
		if (strncmp(line, prefix, sizeof(prefix) - 1) == 0)
			line += sizeof(prefix) - 1;
		n += (size_t)snprintf(said + n, sizeof(said) - n, "%s%s", n > 0 ? "; " : "", line);
		if (n >= sizeof(said))
			break;
	}
	log_esc(out, size, span_of(said));
}

/* One line that says how it ended. */
static void tell_death(const struct master *m, const struct child *c, int status, bool wanted)
{
	char note[2 * SHM_NOTE], how[96];

	if (WIFEXITED(status))
		snprintf(how, sizeof(how), "exited with status %d", WEXITSTATUS(status));
	else
		snprintf(how, sizeof(how), "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (wanted && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("%s (pid %d) has ended", c->name, (int)c->pid);
		return;
	}
	read_note(shm_row(&c->crew->shm, c->slot), note, sizeof(note));
	log_error("%s (pid %d, slot %u, generation %u) %s after %llu ms, build %s%s%s%s", c->name, (int)c->pid, c->slot,
		  c->crew->number, how, (unsigned long long)(m->now_ms - c->born_ms), panic_build_id(),
		  note[0] != '\0' ? "; it said: " : "", note,
		  WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ?
		  "; it made a system call that is not allowed: the kernel's log names it" : "");
}

static void plan_restart(struct master *m, struct child *c, int status)
{
	bool useful = c->ready_ms != 0 && m->now_ms - c->ready_ms >= USEFUL_MS;

	c->restarts++;
	*(c->role == PROCESS_WORKER ? &m->worker_restarts : &m->other_restarts) += 1;
	c->quick_deaths = useful ? 0 : c->quick_deaths + 1;
	c->due_ms = m->now_ms + child_backoff_ms(c->quick_deaths);
	if (c->quick_deaths > 1)
		log_warn("%s died %u times in a row before it could work: next start in %llu ms", c->name,
			 c->quick_deaths, (unsigned long long)(c->due_ms - m->now_ms));
	/* What failed at the first start would fail again; a running weir lives on with the others. */
	if (m->state == MASTER_STARTING && WIFEXITED(status) && WEXITSTATUS(status) == CHILD_EXIT_SETUP) {
		master_complain("%s could not start; the error log says why", c->name);
		master_stop(m, EXIT_CANNOT_START);
	}
}

static void on_death(struct master *m, struct child *c, int status)
{
	bool wanted = c->state == CHILD_STOPPING || c->state == CHILD_DRAINING;
	bool needed = c->crew->state <= CREW_LIVE && m->state <= MASTER_RUNNING;

	tell_death(m, c, status, wanted);
	/* It could write all of its row; pid and generation are ours again before they are used. */
	set_row(c, SLOT_DEAD);
	shm_reap_row(&c->crew->shm, c->slot);
	if (c->control >= 0)
		close(c->control);
	c->control = -1;
	c->pid = 0;
	c->kill_ms = 0;
	child_set_state(c, CHILD_DOWN);
	if (!wanted && needed)
		plan_restart(m, c, status);
}

void children_reap(struct master *m)
{
	int status;
	pid_t pid;

	/* Any child: as process 1 of a container weir inherits those of others. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		reload_on_death(m, pid, status);
		upgrade_on_death(m, pid, status);
		plan_on_death(m, pid, status);
		for (struct crew *w = m->crews; w != NULL; w = w->next) {
			for (unsigned i = 0; i < w->nchildren; i++) {
				if (w->children[i].pid == pid)
					on_death(m, &w->children[i], status);
			}
		}
	}
}

/* ---- talking ---- */

static void on_ready(struct master *m, struct child *c)
{
	if (c->state != CHILD_STARTING)
		return;
	c->ready_ms = m->now_ms;
	watch_restart(&c->watch, m->now_ms);
	set_row(c, SLOT_LIVE);
	child_set_state(c, CHILD_LIVE);
	log_info("%s (pid %d, generation %u) is ready after %llu ms", c->name, (int)c->pid, c->crew->number,
		 (unsigned long long)(m->now_ms - c->born_ms));
}

static void on_message(struct master *m, struct child *c, const struct ipc_msg *msg)
{
	if (msg->gen != c->gen) {
		log_warn("%s sent a message of another generation: dropped", c->name);
		return;
	}
	switch (msg->kind) {
	case IPC_READY:
		on_ready(m, c);
		return;
	case IPC_AWAY:
		c->away = true;
		return;
	case IPC_LOST_SYSLOG:
		logs_reconnect(m, true);
		return;
	default:
		log_warn("%s sent a message that is not a child's to send: dropped", c->name);
	}
}

void child_on_message(struct master *m, struct child *c)
{
	for (unsigned i = 0; i < MESSAGES_PER_TURN && c->control >= 0; i++) {
		struct ipc_msg msg;
		int fd;
		int got = ipc_recv(c->control, &msg, &fd);

		if (got == 0)
			return;
		if (got < 0) {
			/* It is about to be collected; one that lives on without its control socket does not. */
			close(c->control);
			c->control = -1;
			c->kill_ms = m->now_ms + STOP_PATIENCE_MS;
			return;
		}
		if (fd >= 0)
			close(fd);
		on_message(m, c, &msg);
	}
}

void child_signal(struct master *m, struct child *c, int sig, uint64_t patience_ms)
{
	OBJ_CHECK(c, CHILD_MAGIC);
	if (c->pid <= 0)
		return;
	kill(c->pid, sig);
	c->kill_ms = patience_ms > 0 ? m->now_ms + patience_ms : 0;
}

void child_stop(struct master *m, struct child *c)
{
	if (c->pid == 0 || c->state == CHILD_STOPPING || c->state == CHILD_STUCK)
		return;
	if (c->control < 0 || !ipc_send(c->control, IPC_STOP, c->gen, 0, -1))
		log_debug("%s cannot be told to stop: %s", c->name, strerror(errno));
	c->kill_ms = m->now_ms + STOP_PATIENCE_MS;
	child_set_state(c, CHILD_STOPPING);
}

void child_drain(struct master *m, struct child *c, uint64_t grace_ms, bool retire)
{
	const uint64_t limit = (uint64_t)c->crew->conf->shutdown_timeout;
	const uint64_t tunnels = retire ? (uint64_t)c->crew->conf->tunnel_shutdown_timeout : limit;
	const uint64_t longest = limit == 0 || tunnels == 0 ? 0 : tunnels > limit ? tunnels : limit;

	if (c->state != CHILD_STARTING && c->state != CHILD_LIVE)
		return;
	if (c->control < 0 || !ipc_send(c->control, retire ? IPC_RETIRE : IPC_DRAIN, c->gen,
					ipc_drain_arg(limit, grace_ms), -1)) {
		child_stop(m, c);
		return;
	}
	c->kill_ms = longest > 0 ? m->now_ms + longest + STOP_PATIENCE_MS : 0;
	child_set_state(c, CHILD_DRAINING);
}

void child_hurry(struct master *m, struct child *c)
{
	const uint64_t limit = (uint64_t)c->crew->conf->shutdown_timeout;

	if (c->state != CHILD_DRAINING || c->role != PROCESS_WORKER || limit == 0 || c->control < 0)
		return;
	if (ipc_send(c->control, IPC_DRAIN, c->gen, ipc_drain_arg(limit, 0), -1) &&
	    (c->kill_ms == 0 || c->kill_ms > m->now_ms + limit + STOP_PATIENCE_MS))
		c->kill_ms = m->now_ms + limit + STOP_PATIENCE_MS;
}

/* ---- make it so ---- */

static void kill_overdue(struct master *m, struct child *c)
{
	if (c->pid == 0 || c->kill_ms == 0 || m->now_ms < c->kill_ms)
		return;
	log_warn("%s (pid %d) is still there: killing it", c->name, (int)c->pid);
	child_signal(m, c, SIGKILL, 0);
}

static void send_logs(struct master *m, struct child *c)
{
	if (c->control < 0)
		return;
	if (c->logs_round != m->logs_round) {
		c->logs_round = m->logs_round;
		c->logs_sent = 0;
	} else if (c->logs_sent == c->crew->conf->nlogs || m->logs_round == 0) {
		return;
	}
	while (c->logs_sent < c->crew->conf->nlogs) {
		const struct conf_log *log = c->crew->conf->logs[c->logs_sent];

		if (log->fd >= 0 && !ipc_send(c->control, IPC_LOG, c->gen, log->id, log->fd))
			return;		/* full for now: the next turn goes on here */
		c->logs_sent++;
	}
}

/* In rotation are the slots of the workers in force that live. Those beyond their number are accepted from, not sent to. */
static void set_fence(struct master *m)
{
	const struct crew *w = m->crew;

	/* While two masters have the sockets, both leave it as it is. */
	if (m->upgrade.state > UPGRADE_ASKED)
		return;
	bool *live = calloc(w->nchildren + 1, sizeof(*live));

	for (unsigned i = 0; live != NULL && i < w->nchildren; i++)
		live[i] = w->children[i].state == CHILD_LIVE || w->children[i].state == CHILD_DRAINING;
	if (live != NULL && w->nchildren > 0)
		fence_set(&m->slots, live, w->conf->workers);
	free(live);
}

/* A crew comes into force as a whole: its workers were ready, and now they may begin. */
static void tell_go(struct child *c)
{
	if (c->told || c->crew->state != CREW_LIVE || c->control < 0)
		return;
	c->told = ipc_send(c->control, IPC_GO, c->gen, 0, -1);
}

/* A crew that was given up, or drains, gets no more processes; one that is being made has one try. */
static bool wants_start(const struct master *m, const struct child *c)
{
	const bool again = c->crew == m->crew && !heir_waits(&m->upgrade);

	/* Its successor belongs to the program that takes over. */
	if (c->role == PROCESS_ADMIN && m->upgrade.state == UPGRADE_TAKING)
		return false;
	return c->state == CHILD_DOWN && m->state <= MASTER_RUNNING &&
	       (c->crew->state == CREW_LIVE || (c->crew->state == CREW_STARTING && (again || c->gen == 0)));
}

void children_tend(struct master *m)
{
	/* Before the forks: what a child inherits is up to date. */
	set_fence(m);
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			struct child *c = &w->children[i];

			OBJ_CHECK(c, CHILD_MAGIC);
			kill_overdue(m, c);
			send_logs(m, c);
			tell_go(c);
			if (wants_start(m, c) && m->now_ms >= c->due_ms)
				spawn(m, c);
		}
	}
}

uint64_t children_next(const struct master *m)
{
	uint64_t next = UINT64_MAX;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			const struct child *c = &w->children[i];

			if (wants_start(m, c) && c->due_ms < next)
				next = c->due_ms;
			if (c->kill_ms != 0 && c->kill_ms < next)
				next = c->kill_ms;
		}
	}
	return next;
}

static unsigned count(const struct master *m, bool workers_only)
{
	unsigned n = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++)
			n += w->children[i].pid > 0 && (!workers_only || w->children[i].role == PROCESS_WORKER);
	}
	return n;
}

unsigned children_count(const struct master *m)
{
	return count(m, false);
}

unsigned children_workers(const struct master *m)
{
	return count(m, true);
}

pid_t child_fork(void)
{
	return fork();
}

/* ---- the background ---- */

bool child_detach(int *pipe_fd)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		exit(EXIT_CANNOT_START);
	pid_t pid = fork();
	if (pid < 0) {
		fprintf(stderr, "weir: cannot go to the background: %s\n", strerror(errno));
		exit(EXIT_CANNOT_START);
	}
	close(ends[pid == 0 ? 0 : 1]);
	*pipe_fd = ends[pid == 0 ? 1 : 0];
	if (pid == 0)
		setsid();
	return pid == 0;
}
