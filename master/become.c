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
#include "master/crew.h"
#include "master/master.h"
#include "master/logs.h"
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

/* Zeroed; never 0 bytes. */
static void *some(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);

	if (p == NULL)
		give_up("Out of memory while starting");
	return p;
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

static void close_foreign(const struct child *c, const struct process *p)
{
	const struct crew *w = c->crew;
	const struct conf *conf = w->conf;
	int panic[2];
	struct keep k = { .v = malloc((16 + conf->nlogs + p->nlistens + w->nchildren) * sizeof(int)) };

	if (k.v == NULL)
		give_up("Out of memory while closing descriptors");
	panic_fds(panic);
	for (int fd = 0; fd <= 2; fd++)
		keep_fd(&k, fd);
	keep_fd(&k, p->control);
	keep_fd(&k, log_fd());
	keep_fd(&k, log_own_fd());
	keep_fd(&k, panic[0]);
	keep_fd(&k, panic[1]);
	keep_fd(&k, w->priv.jail_fd);
	keep_fd(&k, p->history_fd);
	for (unsigned i = 0; i < conf->nlogs; i++)
		keep_fd(&k, conf->logs[i]->fd);
	for (unsigned i = 0; i < w->nchildren; i++)
		keep_fd(&k, w->wake_fds[i]);
	for (unsigned i = 0; i < p->nlistens; i++)
		keep_fd(&k, p->listens[i].fd);
	close_others(&k);
	free(k.v);
}

/* ---- listening sockets ---- */

/* Of each address our own slot, and of the slots beyond the number of workers every n-th: nobody waits there unheard. */
static unsigned slots_of(const struct slot_group *g, const struct child *c, unsigned bind, struct process_listen *out)
{
	const unsigned open = c->crew->state == CREW_LIVE ? g->firm : g->n, workers = c->crew->conf->workers;
	unsigned n = 0;

	if (g->single) {
		out[0] = (struct process_listen){ .bind = bind, .fd = g->fds[0], .shared = true };
		return 1;
	}
	for (unsigned slot = c->slot; slot < open; slot += workers)
		out[n++] = (struct process_listen){ .bind = bind, .fd = g->fds[slot] };
	return n;
}

static void take_listens(struct master *m, const struct child *c, struct process *p)
{
	const struct conf *conf = c->crew->conf;
	size_t most = 1;

	for (unsigned i = 0; i < m->slots.n; i++)
		most += m->slots.groups[i]->n / conf->workers + 1;
	struct process_listen *v = some(most, sizeof(*v));
	for (unsigned i = 0; i < conf->nlistens; i++) {
		for (unsigned j = 0; j < conf->listens[i]->nbinds; j++) {
			const struct conf_bind *b = &conf->listens[i]->binds[j];
			const struct slot_group *g = slots_find(&m->slots, b);

			if (g != NULL)
				p->nlistens += slots_of(g, c, b->id, v + p->nlistens);
		}
	}
	p->listens = v;
}

/* ---- the admin process ---- */

static void take_admin_listens(struct master *m, const struct conf_admin *a, struct process *p)
{
	struct process_listen *v = some(a->nbinds, sizeof(*v));

	for (unsigned i = 0; i < a->nbinds; i++) {
		const struct slot_group *g = slots_find(&m->slots, &a->binds[i]);

		if (g != NULL && g->n > 0)
			v[p->nlistens++] = (struct process_listen){ .bind = a->binds[i].id, .fd = g->fds[0] };
	}
	p->listens = v;
}

/* Counters of generations before its own: as long as they live they are counted there. */
static void take_elders(struct master *m, const struct child *c, struct process *p)
{
	unsigned n = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next)
		n++;
	p->past = some(n, sizeof(*p->past));
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		struct process_past *past = &p->past[p->npast];

		if (w->number >= c->crew->number || w->failed || w->shm.magic != SHM_MAGIC)
			continue;
		*past = (struct process_past){ .generation = w->number, .conf = w->conf, .shm = w->shm };
		if (!shm_become_reader(&past->shm))
			give_up("Cannot map shared memory: %s", strerror(errno));
		p->npast++;
	}
}

/* ---- older generations ---- */

/* Behind ours in the list. Those that were given up never had a client. */
static void take_past(const struct master *m, const struct child *c, struct process *p)
{
	const struct crew *w = m->crews;

	while (w != NULL && w != c->crew)
		w = w->next;
	for (w = w != NULL ? w->next : NULL; w != NULL; w = w->next) {
		if (w->shm.magic == SHM_MAGIC && !w->failed && w->state < CREW_GONE)
			shm_add_past(&p->shm, p->conf, &w->shm, w->conf);
	}
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
/* WEIR_FAULT=start-crash, start-hang, or reload-crash (later generations only): what a child does instead of starting. */
static void fault_point(const struct child *c)
{
	const char *fault = getenv("WEIR_FAULT");

	if (fault == NULL || c->role != PROCESS_WORKER)
		return;
	if (strcmp(fault, "start-crash") == 0 || (strcmp(fault, "reload-crash") == 0 && c->crew->number > 1))
		abort();
	while (strcmp(fault, "start-hang") == 0)
		pause();
}
#endif

static void name_process(const struct child *c, char *title, size_t size)
{
	snprintf(title, size, c->crew->number > 1 ? "weir: %s (generation %u)" : "weir: %s", c->name, c->crew->number);
	title_set(title);
	log_set_role(c->name);
	panic_note()->role = c->name;
}

void become_child(struct master *m, struct child *c, int control)
{
	const bool worker = c->role == PROCESS_WORKER, admin = c->role == PROCESS_ADMIN;
	const struct conf *conf = c->crew->conf;
	struct process p = {
		.magic = PROCESS_MAGIC, .role = c->role, .conf = conf, .tickets = &m->tickets, .shm = c->crew->shm,
		.records = c->crew->records, .slot = c->slot, .generation = c->crew->number,
		.history_fd = admin ? m->history_fd : -1,
		.control = control, .wake_fds = c->crew->wake_fds, .nwake = c->crew->nchildren, .wait = !c->told,
	};
	char title[64];

	log_tee(NULL);
	name_process(c, title, sizeof(title));
	if (!(worker ? shm_become_worker(&p.shm, c->slot) : admin ? shm_become_admin(&p.shm, c->slot)
	      : shm_become_checker(&p.shm, c->slot)))
		give_up("Cannot map shared memory: %s", strerror(errno));
	if (p.records.magic == RECORDS_MAGIC && !worker)
		records_forget(&p.records);
	else if (p.records.magic == RECORDS_MAGIC && !records_become_worker(&p.records, c->slot))
		give_up("Cannot map shared memory: %s", strerror(errno));
	if (m->daemon)
		start_leave_terminal();
	if (worker) {
		take_past(m, c, &p);
		take_listens(m, c, &p);
	}
	if (admin) {
		take_admin_listens(m, &conf->admin, &p);
		take_elders(m, c, &p);
	}
	if (c->crew != m->crew)
		logs_use(conf);
	close_foreign(c, &p);
	panic_catch_signals();
	panic_set_page(shm_own(&p.shm)->note, SHM_NOTE);
	logs_use(conf);
	reset_signals();
#ifdef WEIR_FAULT_POINTS
	fault_point(c);
#endif
	priv_drop(&c->crew->priv, conf, c->role);
	if (worker)
		worker_main(&p);
	if (admin)
		admin_main(&p);
	checker_main(&p);
}
