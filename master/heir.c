/*
 * heir.c - the master that takes the place of another.
 *
 * Called by the start and the loop of a master that came by an upgrade. Until
 * it is told to take over it only gets ready beside the other; then it moves
 * the names (pid file, lock, control socket) to itself and serves. It keeps the
 * channels to all masters that still drain, and maps their shared memory, so
 * that counts go on without a gap: their generations are in the list of crews
 * like its own.
 */
#include "master/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/master.h"
#include "master/version.h"

/* ---- before ---- */

static bool take_crews(struct master *m, struct estate *e, struct elder *const *elders)
{
	for (unsigned i = e->ncrews; i-- > 0;) {
		struct estate_crew *w = &e->crews[i];

		if (w->elder >= e->nelders || elders[w->elder] == NULL) {
			master_complain("cannot take over: generation %u belongs to nobody", w->number);
			return false;
		}
		if (!shm_adopt(&w->shm)) {
			master_complain("cannot take over the shared memory of generation %u: %s", w->number,
					errno == EPROTO ? "it has another form in this program; restart weir instead" :
					strerror(errno));
			return false;
		}
		crew_adopt(m, w, elders[w->elder]);
	}
	return true;
}

/* The old one reads our standard error and says it on; what our processes say belongs where it always went. */
static void split_stderr(struct upgrade *u)
{
	int said = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	if (u->estate->err_fd < 0 || said < 0)
		return;
	dup2(u->estate->err_fd, STDERR_FILENO);
	close(u->estate->err_fd);
	u->estate->err_fd = -1;
	u->said = fdopen(said, "w");
	if (u->said != NULL)
		setvbuf(u->said, NULL, _IOLBF, 0);
	log_tee(u->said);
}

bool heir_begin(struct master *m, struct estate *e)
{
	struct upgrade *u = &m->upgrade;
	struct elder *elders[ESTATE_ELDERS + 1] = { NULL };
	unsigned n = 0;

	OBJ_CHECK(e, ESTATE_MAGIC);
	u->state = UPGRADE_HEIR;
	u->estate = e;
	u->good = e->upgrades + 1;
	u->bad = e->bad_upgrades;
	m->reload.good = e->good;
	m->reload.bad = e->bad_reloads;
	m->lost_conns = e->lost_conns;
	m->lost_requests = e->lost_requests;
	m->worker_restarts = e->worker_restarts;
	m->other_restarts = e->other_restarts;
	m->reload.good_ms = e->good_ms;
	m->reload.bad_ms = e->bad_ms;
	m->history_fd = e->history_fd;
	m->slots = e->slots;
	e->slots = (struct slots){ .n = 0 };
	for (unsigned i = 0; i < e->nelders && n < ESTATE_ELDERS; i++) {
		if (e->elders[i].channel < 0)
			continue;
		u->elders[n] = (struct elder){ e->elders[i].pid, e->elders[i].channel };
		elders[i] = &u->elders[n++];
	}
	split_stderr(u);
	if (!ipc_send(u->elders[0].channel, IPC_HEIR_HELLO, 0, ESTATE_VERSION, -1)) {
		master_complain("cannot take over: the master before this one is gone");
		return false;
	}
	if (!take_crews(m, e, elders))
		return false;
	m->last_crew = e->last_crew;
	return true;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void inherit(struct lock *l, int fd, const char *path, const char *tail)
{
	*l = (struct lock){ .fd = fd, .lent = true };
	if (fd >= 0 && asprintf(&l->path, "%s%s", path, tail) < 0)
		log_no_memory(strlen(path));
}

bool heir_take_files(struct master *m)
{
	const struct estate *e = m->upgrade.estate;
	const struct conf *c = m->crew->conf;
	const char *key = !same_text(e->user, c->user) ? "user" : !same_text(e->group, c->group) ? "group"
			  : !same_text(e->pid_file, c->pid_file) ? "pid_file"
			  : !same_text(e->control, c->control) ? "control" : NULL;

	if (key != NULL) {
		master_complain("%s: [weir] %s has changed, and that takes a restart", c->file, key);
		return false;
	}
	if (c->pid_file != NULL)
		inherit(&m->pid_lock, e->pid_lock_fd, c->pid_file, "");
	if (c->control != NULL && e->control_fd >= 0) {
		inherit(&m->control_lock, e->control_lock_fd, c->control, ".lock");
		ctl_server_adopt(&m->ctl, e->control_fd, c->control);
	}
	return true;
}

/* ---- the change ---- */

/* WEIR_FAULT=heir-crash: dies as it gets ready; heir-late-crash: dies while it takes over. */
static void fault_point(const char *name)
{
#ifdef WEIR_FAULT_POINTS
	if (getenv("WEIR_FAULT") != NULL && strcmp(getenv("WEIR_FAULT"), name) == 0)
		abort();
#else
	(void)name;
#endif
}

static void stop_telling(struct upgrade *u)
{
	log_tee(NULL);
	if (u->said != NULL)
		fclose(u->said);
	u->said = NULL;
}

void heir_tend(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	const struct child *lost = crew_lost_child(m->crew);

	fault_point("heir-crash");
	if (lost != NULL && heir_waits(u)) {
		master_complain("%s could not start; the error log says why", lost->name);
		master_stop(m, EXIT_CANNOT_START);
	} else if (u->state == UPGRADE_HEIR && crew_is_ready(m->crew) &&
		   ipc_send(u->elders[0].channel, IPC_HEIR_READY, 0, 0, -1)) {
		u->state = UPGRADE_HEIR_READY;
	}
}

static void move_lock(struct lock *l)
{
	if (l->fd < 0)
		return;
	l->lent = false;
	if (!lock_renew(l))
		log_warn("Cannot write the new process id to %s: %s", l->path, strerror(errno));
}

/* Nothing here may fail. */
static void take_over(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	stop_telling(u);
	u->state = UPGRADE_NONE;
	m->store_ms = m->now_ms + STORE_WAIT_MS;
	master_set_state(m, MASTER_RUNNING);
	crew_set_state(m, m->crew, CREW_LIVE);
	slots_lend(&m->slots, false);
	/* Our workers begin, before the others stop. */
	children_tend(m);
	slots_firm(&m->slots, m->crew->conf);
	m->ctl.lent = false;
	move_lock(&m->pid_lock);
	move_lock(&m->control_lock);
	fault_point("heir-late-crash");
	if (!ipc_send(u->elders[0].channel, IPC_HEIR_SERVING, 0, 0, -1))
		log_warn("The master before this one, process %d, cannot be told to drain: %s", (int)u->elders[0].pid,
			 strerror(errno));
	log_notice("weir %s serves in place of process %d: generation %u, %u workers, process %d, after %llu ms",
		   WEIR_VERSION, (int)u->elders[0].pid, m->crew->number, m->crew->conf->workers, (int)getpid(),
		   (unsigned long long)(m->now_ms - m->begun_ms));
}

/* ---- after ---- */

static void bury(struct master *m, const struct elder *e, uint64_t number, bool all)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->elder == e && (all || w->number == number))
			w->gone = true;
	}
}

static void on_elder_gone(struct master *m, struct elder *e)
{
	close(e->channel);
	e->channel = -1;
	bury(m, e, 0, true);
	if (!heir_waits(&m->upgrade))
		return;
	master_complain("the master that began this upgrade is gone");
	master_stop(m, EXIT_CANNOT_START);
}

void heir_on_input(struct master *m, struct elder *e)
{
	struct ipc_msg msg;
	int fd, got = 0;

	while (e->channel >= 0 && (got = ipc_recv(e->channel, &msg, &fd)) > 0) {
		if (fd >= 0)
			close(fd);
		if (msg.kind == IPC_HEIR_GO && m->upgrade.state == UPGRADE_HEIR_READY && m->state == MASTER_STARTING)
			take_over(m);
		else if (msg.kind == IPC_HEIR_GONE)
			bury(m, e, msg.arg, false);
	}
	if (got < 0)
		on_elder_gone(m, e);
}

void heir_tell(struct master *m, int kind)
{
	/* Before we serve they are not ours to tell. */
	for (unsigned i = 0; i < ESTATE_ELDERS && !heir_waits(&m->upgrade); i++) {
		if (m->upgrade.elders[i].channel >= 0)
			ipc_send(m->upgrade.elders[i].channel, (enum ipc_kind)kind, 0, 0, -1);
	}
}

void heir_end_crew(struct master *m, const struct crew *w)
{
	OBJ_CHECK(m, MASTER_MAGIC);
	if (!heir_waits(&m->upgrade) && w->elder->channel >= 0)
		ipc_send(w->elder->channel, IPC_HEIR_END, 0, w->number, -1);
}

unsigned heir_elders(const struct master *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ESTATE_ELDERS; i++)
		n += m->upgrade.elders[i].channel >= 0;
	return n;
}

void heir_fini(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	stop_telling(u);
	for (unsigned i = 0; i < ESTATE_ELDERS; i++) {
		if (u->elders[i].channel >= 0)
			close(u->elders[i].channel);
		u->elders[i].channel = -1;
	}
	if (u->estate != NULL)
		estate_free(u->estate);
	u->estate = NULL;
}
