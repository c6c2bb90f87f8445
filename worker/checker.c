/*
 * checker.c - the checker process: its loop, its targets and names, and its
 * conversation with the master.
 *
 * Called once by the master's child, privileges already dropped. The only
 * writer of health cells. Serves no clients; looks after servers and names
 * until it is told to stop, or, when the master is gone, for as long as a
 * worker lives.
 */
#include "worker/checker.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "worker/worker.h"

#define ORPHAN_TICK_MS 1000		/* without a master: how often we look whether a worker is left */
#define ORPHAN_SILENCE_MS 3000		/* of a worker: it is no more */

uint64_t checker_random(struct checker *c, uint64_t n)
{
	c->seed ^= c->seed << 13;
	c->seed ^= c->seed >> 7;
	c->seed ^= c->seed << 17;
	return n > 0 ? (c->seed >> 11) % n : 0;
}

void checker_publish(struct checker *c, unsigned cell, enum health_state st, enum health_why why)
{
	must(cell < c->shm->ncells);
	shm_set_health(&c->shm->health[cell], st, why, c->loop.now_ms);
	c->news = true;
}

/* ---- each turn ---- */

static void wake_workers(struct checker *c)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < c->process->nwake; i++) {
		/* A full counter belongs to somebody who will wake anyway. */
		if (i != c->process->slot && write(c->process->wake_fds[i], &one, sizeof(one)) < 0)
			continue;
	}
}

static void on_turn(struct loop *l)
{
	struct checker *c = l->owner;
	struct shm_row *row = shm_own(c->shm);

	if (c->news)
		wake_workers(c);
	c->news = false;
	atomic_store_explicit(&row->beat_ms, l->now_ms, memory_order_relaxed);
	atomic_store_explicit(&row->turns, ++c->turns, memory_order_relaxed);
}

/* ---- the master ---- */

static void take_log(struct checker *c, uint64_t id, int fd)
{
	const struct conf_log *log = c->conf->error_log;

	if (fd < 0)
		return;
	if (log == NULL || id >= c->conf->nlogs || c->conf->logs[id] != log) {
		close(fd);
		return;
	}
	int old = log_fd();
	log_set_fd(fd, log->kind == CONF_LOG_SYSLOG);
	panic_set_fd(fd);
	if (old > STDERR_FILENO && old != fd)
		close(old);
}

/* Nobody clears the row of a dead one any more, but it does not beat. */
static bool has_workers(const struct checker *c)
{
	for (unsigned i = 0; i < c->conf->workers; i++) {
		uint64_t beat = atomic_load_explicit(&shm_row(c->shm, i)->beat_ms, memory_order_relaxed);

		if (beat + ORPHAN_SILENCE_MS > c->loop.now_ms)
			return true;
	}
	return false;
}

static void on_orphan(struct timer *t)
{
	struct checker *c = container_of(t, struct checker, orphan);

	if (has_workers(c))
		timer_set(&c->loop.wheel, &c->orphan, c->loop.now_ms + ORPHAN_TICK_MS);
	else
		c->loop.stop = true;
}

static void on_control(struct watch *w, uint32_t events)
{
	struct checker *c = container_of(w, struct checker, control);
	struct ipc_msg m;
	int fd, rc;

	(void)events;
	while ((rc = ipc_recv(c->process->control, &m, &fd)) > 0) {
		if (m.kind == IPC_STOP)
			c->loop.stop = true;
		if (m.kind == IPC_LOG)
			take_log(c, m.arg, fd);
		else if (fd >= 0)
			close(fd);
	}
	if (rc == 0)
		return;
	loop_pause_input(&c->loop, c->process->control, w, true, false);
	timer_set(&c->loop.wheel, &c->orphan, c->loop.now_ms + ORPHAN_TICK_MS);
}

static void on_wake(struct watch *w, uint32_t events)
{
	struct checker *c = container_of(w, struct checker, wake);
	uint64_t n;

	(void)events;
	/* Nobody has anything to tell us yet. */
	if (read(c->process->wake_fds[c->process->slot], &n, sizeof(n)) < 0)
		return;
}

/* ---- what is watched ---- */

static bool make_targets(struct checker *c)
{
	unsigned nnames = 0;

	for (unsigned u = 0; u < c->conf->nupstreams; u++) {
		for (unsigned i = 0; i < c->conf->upstreams[u]->nservers; i++)
			nnames += c->conf->upstreams[u]->servers[i].addr.family == ADDR_NONE;
	}
	c->targets = calloc(c->conf->ncells > 0 ? c->conf->ncells : 1, sizeof(*c->targets));
	c->names = calloc(nnames > 0 ? nnames : 1, sizeof(*c->names));
	return c->targets != NULL && c->names != NULL;
}

static bool make_tls(struct checker *c)
{
	c->tls_clients = calloc(c->conf->nupstreams > 0 ? c->conf->nupstreams : 1, sizeof(*c->tls_clients));
	buf_pool_init(&c->bufs, 4);
	if (c->tls_clients == NULL || !tls_pool_init(&c->tls, &c->bufs))
		return false;
	for (unsigned u = 0; u < c->conf->nupstreams; u++) {
		const struct conf_upstream *up = c->conf->upstreams[u];

		if (up->tls && (c->tls_clients[u] = tls_client_new(up, tls_on_session)) == NULL)
			return false;
	}
	return true;
}

static void watch_server(struct checker *c, const struct conf_upstream *u, const struct conf_server *s)
{
	OBJ_CHECK(s, CONF_SERVER_MAGIC);
	must(s->cell + s->ncells <= c->shm->ncells);
	for (unsigned k = 0; k < s->ncells; k++)
		target_init(&c->targets[s->cell + k], c, u, s, s->cell + k);
	if (s->addr.family != ADDR_NONE) {
		target_adopt(&c->targets[s->cell]);
		return;
	}
	struct name *n = &c->names[c->nnames++];
	name_init(n, c, u, s, &c->targets[s->cell]);
	if (!s->disabled)
		name_start(n);
}

static void watch_all(struct checker *c)
{
	for (unsigned u = 0; u < c->conf->nupstreams; u++) {
		const struct conf_upstream *up = c->conf->upstreams[u];

		OBJ_CHECK(up, CONF_UPSTREAM_MAGIC);
		for (unsigned i = 0; i < up->nservers; i++)
			watch_server(c, up, &up->servers[i]);
	}
}

/* ---- start ---- */

static _Noreturn void cannot_start(const char *why)
{
	log_error("The checker cannot start: %s.", why);
	_exit(1);
}

static void start(struct checker *c)
{
	struct process *p = c->process;
	const char *why;

	if (getrandom(&c->seed, sizeof(c->seed), 0) != sizeof(c->seed))
		cannot_start("no random numbers");
	c->seed |= 1;
	/* What c-ares falls back on for the numbers of its queries. */
	srand((unsigned)(c->seed >> 32));
	if (!loop_init(&c->loop, c))
		cannot_start(strerror(errno));
	if (!make_targets(c) || !make_tls(c))
		cannot_start("out of memory");
	if (!resolver_init(&c->resolver, &c->loop, c->conf, &why))
		cannot_start(why);
	c->loop.on_turn = on_turn;
	timer_init(&c->orphan, on_orphan);
	c->control.on_event = on_control;
	c->wake.on_event = on_wake;
	if (!loop_watch_input(&c->loop, p->control, &c->control, false)
	    || !loop_watch_input(&c->loop, p->wake_fds[p->slot], &c->wake, false))
		cannot_start(strerror(errno));
}

void checker_main(struct process *p)
{
	static struct checker checker;	/* one per process; handed down from here, never named elsewhere */
	struct checker *c = &checker;

	OBJ_CHECK(p, PROCESS_MAGIC);
	must(p->role == PROCESS_CHECKER && p->slot == p->shm.slot);
	c->magic = CHECKER_MAGIC;
	c->process = p;
	c->conf = p->conf;
	c->shm = &p->shm;
	start(c);
	on_turn(&c->loop);
	ipc_send(p->control, IPC_READY, atomic_load(&shm_own(c->shm)->gen), 0, -1);
	watch_all(c);
	expiry_start(&c->expiry, c);
	if (!staples_start(c))
		log_warn("No memory for OCSP stapling.");
	loop_run(&c->loop);
	_exit(0);
}
