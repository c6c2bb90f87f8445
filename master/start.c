/*
 * start.c - what the master opens before its first fork, and closes at its end.
 *
 * Owns the order: logs first, so that everything else can be said; locks, so
 * that a second instance leaves before it touches anything; then ports, shared
 * memory and the control socket. Called by master_run() and, for the waiting
 * parent of a daemon, by main(). Each failure is one sentence for the operator.
 */
#include "master/start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cert.h"
#include "common/clock.h"
#include "common/ctl.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "common/shm_seg.h"
#include "master/crew.h"
#include "master/logs.h"
#include "master/master.h"
#include "master/notify.h"

static bool take(struct lock *l, const char *path, const char *what)
{
	pid_t holder;

	switch (lock_take(l, path, &holder)) {
	case LOCK_TAKEN:
		return true;
	case LOCK_BUSY:
		if (holder > 0)
			master_complain("weir is running already: process %d holds the %s %s", (int)holder, what, path);
		else
			master_complain("weir is running already: another process holds the %s %s", what, path);
		return false;
	case LOCK_ERROR:
		break;
	}
	master_complain("cannot make the %s %s: %s", what, path, strerror(errno));
	return false;
}

static bool take_pid_file(struct master *m)
{
	return m->crew->conf->pid_file == NULL || take(&m->pid_lock, m->crew->conf->pid_file, "pid file");
}

/* ---- the control socket ---- */

static bool is_default(const char *path)
{
	return strcmp(path, CTL_DEFAULT_SOCKET) == 0;
}

/* Nobody asked for the default by name: several weirs side by side need no line each to go without. */
static bool take_default_control(struct master *m, char *lock)
{
	pid_t holder;

	mkdir(CTL_DEFAULT_DIR, 0755);
	enum lock_result got = lock_take(&m->control_lock, lock, &holder);
	if (got == LOCK_TAKEN)
		return true;
	if (got == LOCK_BUSY)
		log_warn("Another weir (process %d) has the control socket " CTL_DEFAULT_SOCKET ": weirctl cannot reach "
			 "this one; set control in [weir]", (int)holder);
	else
		log_warn("No control socket: cannot make %s: %s", lock, strerror(errno));
	return false;
}

static bool open_control(struct master *m)
{
	const char *path = m->crew->conf->control;
	char lock[4096];

	if (path == NULL)
		return true;
	snprintf(lock, sizeof(lock), "%s.lock", path);
	if (is_default(path)) {
		if (!take_default_control(m, lock))
			return true;
	} else if (!take(&m->control_lock, lock, "lock")) {
		return false;
	}
	lock_write_pid(&m->control_lock);
	if (ctl_server_start(&m->ctl, path))
		return true;
	master_complain("cannot listen on the control socket %s: %s", path, strerror(errno));
	return false;
}

/* Before the first fork and before privileges go: whatever the library opens, it opens now. */
static bool open_tls(struct master *m)
{
	const struct estate *e = m->upgrade.estate;

	cert_init();
	if (e != NULL && e->has_tickets) {
		m->tickets = e->tickets;
		return true;
	}
	if (ticket_init(&m->tickets, clock_mono_us() / 1000))
		return true;
	master_complain("cannot get random bytes for TLS session tickets");
	return false;
}

/* ---- the whole ---- */

bool start_open(struct master *m)
{
	const bool heir = heir_waits(&m->upgrade);
	struct crew *w = m->crew;
	char why[256];

	if (!logs_open(w->conf, m->daemon))
		return false;
	logs_use(w->conf);
	if (heir ? !heir_take_files(m) : !take_pid_file(m) || !open_control(m))
		return false;
	if (!priv_find_user(&w->priv, w->conf, why, sizeof(why)) || !priv_prepare(&w->priv, w->conf, why, sizeof(why))) {
		master_complain("%s", why);
		return false;
	}
	if (!heir)
		store_adopt(&m->given->store, &m->slots);
	if (!slots_plan(&m->slots, w->conf) || !open_tls(m))
		return false;
	if (!heir)
		slots_firm(&m->slots, w->conf);
	/* Without it charts begin anew with each generation; no more than that. */
	if (m->history_fd < 0)
		m->history_fd = shm_seg_make("weir-history", SHM_HISTORY);
	/* Behind our own in the list is the one that we replace. */
	if (!crew_open(w, heir ? w->next : NULL))
		return false;
	priv_trim_master(&w->priv);
	return true;
}

static void tell_parent(struct master *m, int status)
{
	unsigned char byte = (unsigned char)status;

	if (m->ready_fd < 0)
		return;
	if (write(m->ready_fd, &byte, 1) != 1)
		log_debug("nobody waits for the start any more");
	close(m->ready_fd);
	m->ready_fd = -1;
}

void start_leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i <= 2; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

bool start_announce(struct master *m)
{
	if (m->pid_lock.fd >= 0 && !lock_write_pid(&m->pid_lock)) {
		master_complain("cannot write the pid file %s: %s", m->crew->conf->pid_file, strerror(errno));
		return false;
	}
	notify_systemd("READY=1");
	if (m->ready_fd >= 0) {
		start_leave_terminal();
		tell_parent(m, EXIT_ORDERLY);
	}
	return true;
}

void start_close(struct master *m)
{
	slots_fini(&m->slots);
	ctl_server_stop(m);
	if (m->history_fd >= 0)
		close(m->history_fd);
	m->history_fd = -1;
	lock_drop(&m->pid_lock);
	lock_drop(&m->control_lock);
	log_tee(NULL);
	log_set_fd(-1, false);
	panic_set_fd(-1);
	for (struct crew *w; (w = m->crews) != NULL;) {
		m->crews = w->next;
		crew_free(w);
	}
	heir_fini(m);
	/* Only one that never was ready still has somebody to tell. */
	tell_parent(m, m->exit_status != EXIT_ORDERLY ? m->exit_status : EXIT_CANNOT_START);
}

int start_wait(int pipe_fd)
{
	unsigned char status;
	ssize_t n;

	do {
		n = read(pipe_fd, &status, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return status;
	fprintf(stderr, "weir: the master died before it was ready\n");
	return EXIT_CANNOT_START;
}
