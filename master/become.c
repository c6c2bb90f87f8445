/*
 * become.c - the way of a fresh child from fork() to worker_main().
 *
 * Runs in the child alone and never returns. Owns the order: shared memory
 * mapped for the role, everything closed that is another's, crash handlers and
 * log of its own, signals as they were, privileges dropped, and only then the
 * worker or checker. It never touches a network socket.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "common/title.h"
#include "master/master.h"
#include "master/start.h"
#include "worker/worker.h"

_Noreturn __attribute__((format(printf, 1, 2))) static void give_up(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s", text);
	_exit(CHILD_EXIT_SETUP);
}

/* ---- descriptors ---- */

struct keep {
	int *v;
	unsigned n;
};

static void keep_fd(struct keep *k, int fd)
{
	if (fd >= 0)
		k->v[k->n++] = fd;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void close_between(unsigned first, unsigned last)
{
	if (first <= last && syscall(SYS_close_range, first, last, 0) != 0) {
		/* Kernels before 5.9. */
		long top = sysconf(_SC_OPEN_MAX);

		for (unsigned fd = first; fd <= last && (long)fd < top; fd++)
			close((int)fd);
	}
}

static void close_others(struct keep *k)
{
	unsigned first = 0;

	qsort(k->v, k->n, sizeof(*k->v), by_number);
	for (unsigned i = 0; i < k->n; i++) {
		unsigned fd = (unsigned)k->v[i];

		if (fd > first)
			close_between(first, fd - 1);
		first = fd + 1;
	}
	close_between(first, ~0u);
}

static void close_foreign(struct master *m, const struct child *c, int control)
{
	const struct conf *conf = m->conf;
	int panic[2];
	struct keep k = { .v = malloc((16 + conf->nlogs + m->slots.nbinds + m->nchildren) * sizeof(int)) };

	if (k.v == NULL)
		give_up("Out of memory while closing descriptors");
	panic_fds(panic);
	for (int fd = 0; fd <= 2; fd++)
		keep_fd(&k, fd);
	keep_fd(&k, control);
	keep_fd(&k, log_fd());
	keep_fd(&k, log_own_fd());
	keep_fd(&k, panic[0]);
	keep_fd(&k, panic[1]);
	keep_fd(&k, m->priv.jail_fd);
	for (unsigned i = 0; i < conf->nlogs; i++)
		keep_fd(&k, conf->logs[i]->fd);
	for (unsigned i = 0; i < m->nchildren; i++)
		keep_fd(&k, m->wake_fds[i]);
	for (unsigned i = 0; c->role == PROCESS_WORKER && i < m->slots.nbinds; i++)
		keep_fd(&k, slots_fd(&m->slots, c->slot, i));
	close_others(&k);
	free(k.v);
}

/* ---- the rest ---- */

static void reset_signals(void)
{
	/* Orders come from the master alone: a terminal or a supervisor signals the whole group, `kill` by name everybody. */
	static const int masters[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ };
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;

	sigaction(SIGCHLD, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	for (unsigned i = 0; i < ARRAY_LEN(masters); i++)
		sigaction(masters[i], &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

#ifdef WEIR_FAULT_POINTS
/* WEIR_FAULT=start-crash or start-hang: what a child does instead of starting. */
static void fault_point(const struct child *c)
{
	const char *fault = getenv("WEIR_FAULT");

	if (fault == NULL || c->role != PROCESS_WORKER)
		return;
	if (strcmp(fault, "start-crash") == 0)
		abort();
	while (strcmp(fault, "start-hang") == 0)
		pause();
}
#endif

static void name_process(const struct child *c, char *title, size_t size)
{
	snprintf(title, size, "weir: %s", c->name);
	title_set(title);
	log_set_role(c->name);
	panic_note()->role = c->name;
}

void become_child(struct master *m, struct child *c, int control)
{
	const bool worker = c->role == PROCESS_WORKER;
	struct process p = {
		.magic = PROCESS_MAGIC, .role = c->role, .conf = m->conf, .shm = m->shm, .slot = c->slot,
		.control = control, .wake_fds = m->wake_fds, .nwake = m->nchildren,
		.listen_fds = worker ? slots_of(&m->slots, c->slot) : NULL,
	};
	char title[64];

	name_process(c, title, sizeof(title));
	if (!(worker ? shm_become_worker(&p.shm, c->slot) : shm_become_checker(&p.shm)))
		give_up("Cannot map shared memory: %s", strerror(errno));
	if (m->daemon)
		start_leave_terminal();
	close_foreign(m, c, control);
	panic_catch_signals();
	panic_set_page(shm_own(&p.shm)->note, SHM_NOTE);
	log_set_fd(log_fd(), m->conf->error_log != NULL && m->conf->error_log->kind == CONF_LOG_SYSLOG);
	panic_set_fd(log_own_fd() >= 0 ? log_own_fd() : log_fd());
	reset_signals();
#ifdef WEIR_FAULT_POINTS
	fault_point(c);
#endif
	priv_drop(&m->priv, m->conf, c->role);
	if (worker)
		worker_main(&p);
	checker_main(&p);
}
