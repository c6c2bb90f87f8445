/*
 * admin.c - the admin process: its loop, its listening sockets, and its
 * conversation with the master.
 *
 * Called once by the master's child, privileges already dropped. Serves the
 * pages of [admin] off the request path: it reads what others wrote to shared
 * memory and asks nobody, so that it answers when every worker hangs, and no
 * worker ever waits for it. When another generation takes over it leaves the
 * listening sockets to that one and ends when its last answer is out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "worker/admin/web.h"
#include "worker/io/accept.h"
#include "worker/worker.h"

#define ADMIN_MAGIC 0xad3190e5u
#define LEAVE_MS 10000			/* for answers under way when it drains */
#define STOP_MS 1000			/* and when it is told to go */

struct admin {
	uint32_t magic;
	struct process *process;
	struct loop loop;
	struct admin_view view;
	struct web web;
	struct acceptor *acceptors;
	unsigned nacceptors;
	struct watch control;
	struct timer sample, leave;
	uint64_t turns;
};

static void on_turn(struct loop *l)
{
	struct admin *a = l->owner;
	struct shm_row *row = shm_own(&a->process->shm);

	atomic_store_explicit(&row->beat_ms, l->now_ms, memory_order_relaxed);
	atomic_store_explicit(&row->turns, ++a->turns, memory_order_relaxed);
}

/* ---- samples ---- */

static void on_sample(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, sample);

	if (a->web.draining)
		return;
	a->view.now_ms = a->loop.now_ms;
	history_sample(&a->view.history, &a->view.tally, a->loop.now_ms);
	timer_set(&a->loop.wheel, &a->sample, a->loop.now_ms + HISTORY_EVERY_MS);
}

/* ---- coming and going ---- */

static void hear_master(struct admin *a);

static bool on_conn(struct acceptor *acceptor, int fd, const struct addr *peer)
{
	struct admin *a = acceptor->owner;

	return web_accept(&a->web, fd, peer);
}

/* Asked before each accept: from the moment the next generation is in force, its admin process alone knows all counters. */
static bool may_accept(struct acceptor *acceptor)
{
	struct admin *a = acceptor->owner;

	hear_master(a);
	return !a->web.draining;
}

static void listen_all(struct admin *a)
{
	const struct process *p = a->process;

	a->acceptors = calloc(p->nlistens > 0 ? p->nlistens : 1, sizeof(*a->acceptors));
	if (a->acceptors == NULL)
		_exit(1);
	for (unsigned i = 0; i < p->nlistens; i++) {
		if (!acceptor_init(&a->acceptors[i], &a->loop, p->listens[i].fd, false, on_conn, a)) {
			log_error("The admin process cannot watch its address: %s", strerror(errno));
			_exit(1);
		}
		a->acceptors[i].may_accept = may_accept;
		a->nacceptors = i + 1;
	}
	/* Not before it is in force: one process writes the ring of samples at a time. */
	timer_set(&a->loop.wheel, &a->sample, a->loop.now_ms + 1);
}

static void on_empty(struct web *w)
{
	struct admin *a = w->owner;

	a->loop.stop = true;
}

static void on_leave(struct timer *t)
{
	struct admin *a = container_of(t, struct admin, leave);

	a->loop.stop = true;
}

/* Who is in the queue waits for the next generation; the sockets are the master's. */
static void drain(struct admin *a)
{
	if (a->web.draining)
		return;
	a->web.draining = true;
	for (unsigned i = 0; i < a->nacceptors; i++) {
		acceptor_stop(&a->acceptors[i]);
		close(a->acceptors[i].fd);
	}
	ipc_send(a->process->control, IPC_AWAY, atomic_load(&shm_own(&a->process->shm)->gen), 0, -1);
	timer_set(&a->loop.wheel, &a->leave, a->loop.now_ms + LEAVE_MS);
	if (a->web.nconns == 0)
		a->loop.stop = true;
}

/* The last worker of an old generation is gone, or weir ends: an answer under way has a moment more, within what the master's
 * patience lasts. */
static void stop(struct admin *a)
{
	drain(a);
	timer_set(&a->loop.wheel, &a->leave, a->loop.now_ms + STOP_MS);
}

/* ---- the master ---- */

static void take_log(struct admin *a, uint64_t id, int fd)
{
	const struct conf *c = a->process->conf;
	const struct conf_log *log = c->error_log;

	if (log == NULL || id >= c->nlogs || c->logs[id] != log) {
		close(fd);
		return;
	}
	int old = log_fd();
	log_set_fd(fd, log->kind == CONF_LOG_SYSLOG);
	panic_set_fd(fd);
	if (old > STDERR_FILENO && old != fd)
		close(old);
}

static void on_message(struct admin *a, const struct ipc_msg *m, int fd)
{
	if (m->kind == IPC_STOP)
		stop(a);
	if (m->kind == IPC_DRAIN)
		drain(a);
	if (m->kind == IPC_GO && a->acceptors == NULL && !a->web.draining)
		listen_all(a);
	if (m->kind == IPC_LOG && fd >= 0)
		take_log(a, m->arg, fd);
	else if (fd >= 0)
		close(fd);
}

static void hear_master(struct admin *a)
{
	struct ipc_msg m;
	int fd, rc;

	if (a->control.on_event == NULL)
		return;
	while ((rc = ipc_recv(a->process->control, &m, &fd)) > 0)
		on_message(a, &m, fd);
	if (rc == 0)
		return;
	/* The master is gone: whoever takes its place counts anew, and two tales on one address help nobody. */
	loop_pause_input(&a->loop, a->process->control, &a->control, true, false);
	a->control.on_event = NULL;
	drain(a);
}

static void on_control(struct watch *w, uint32_t events)
{
	struct admin *a = container_of(w, struct admin, control);

	(void)events;
	hear_master(a);
}

/* ---- start ---- */

static _Noreturn void cannot_start(const char *why)
{
	log_error("The admin process cannot start: %s.", why);
	_exit(1);
}

static void start(struct admin *a)
{
	struct process *p = a->process;

	if (!loop_init(&a->loop, a))
		cannot_start(strerror(errno));
	a->view = (struct admin_view){ .conf = p->conf, .shm = &p->shm, .process = p };
	if (!tally_init(&a->view.tally, p) || !history_init(&a->view.history, p->conf, p->history_fd))
		cannot_start("out of memory");
	web_init(&a->web, &a->loop, &a->view);
	a->web.owner = a;
	a->web.on_empty = on_empty;
	a->loop.on_turn = on_turn;
	timer_init(&a->sample, on_sample);
	timer_init(&a->leave, on_leave);
	a->control.on_event = on_control;
	if (!loop_watch_input(&a->loop, p->control, &a->control, false))
		cannot_start(strerror(errno));
}

void admin_main(struct process *p)
{
	static struct admin admin;	/* one per process; handed down from here, never named elsewhere */
	struct admin *a = &admin;

	OBJ_CHECK(p, PROCESS_MAGIC);
	must(p->role == PROCESS_ADMIN && p->slot == p->shm.slot);
	a->magic = ADMIN_MAGIC;
	a->process = p;
	start(a);
	if (!p->wait)
		listen_all(a);
	on_turn(&a->loop);
	ipc_send(p->control, IPC_READY, atomic_load(&shm_own(&p->shm)->gen), 0, -1);
	loop_run(&a->loop);
	_exit(0);
}
