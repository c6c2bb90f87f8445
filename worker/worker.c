/*
 * worker.c - one worker process: its loop, what all its connections share, and
 * its conversation with the master.
 *
 * Called once by the master's child, privileges already dropped. Builds the
 * environment, takes the slot's listening sockets, serves until told to drain
 * or stop, or until the master is gone. Never forks, never opens a file.
 */
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "worker/downstream/down.h"
#include "worker/exchange/alog.h"
#include "worker/exchange/route.h"
#include "worker/io/accept.h"
#include "worker/wire.h"

#define WORKER_MAGIC 0x304ce401u

#define FREE_BUFS 256			/* kept for the next taker */
#define FREE_BLOCKS 1024
#define RESERVED_FDS 64			/* logs, listeners, pipes */
#define TUNNELS_STAY UINT64_MAX		/* without a limit */
#define PAST_MS 100			/* how often we look for what older generations have under way */
#define ORPHAN_GRACE_MS 1000		/* for a request that is already on its way to an idle connection */

struct worker {
	uint32_t magic;
	struct process *process;
	struct loop loop;
	struct env env;
	struct down down;
	struct acceptor *acceptors;
	unsigned nacceptors;
	struct watch control, wake, signals;
	int signal_fd;			/* of an orphan */
	struct timer drain_end;
	uint64_t tunnels_until_ms;	/* drain_end leaves tunnels alone before that; 0: it does not */
	bool crowded;			/* clients are not accepted since so many handshakes wait */
	struct timer past;		/* older generations are there still */
	struct timer orphan_end;	/* without a master: no longer than this */
	uint64_t turns;
};

static struct worker *worker_of(struct env *e)
{
	return container_of(e, struct worker, env);
}

/* ---- each turn ---- */

static void end_crowd(struct worker *w)
{
	if (!w->crowded || w->env.tls.nwaiting > TLS_WAITING_MAX / 2)
		return;
	w->crowded = false;
	for (unsigned i = 0; i < w->nacceptors; i++)
		acceptor_update(&w->acceptors[i]);
}

static void on_turn(struct loop *l)
{
	struct worker *w = l->owner;
	struct shm_row *row = shm_own(&w->process->shm);
	uint64_t accept_fails = 0;

	for (unsigned i = 0; i < w->nacceptors; i++)
		accept_fails += w->acceptors[i].errors;
	atomic_store_explicit(&row->stats[STAT_ACCEPT_FAILS], accept_fails, memory_order_relaxed);
	atomic_store_explicit(&row->stats[STAT_TLS_WAITS], w->env.tls.put_off, memory_order_relaxed);
	end_crowd(w);
	alog_turn(w->env.alog);
	atomic_store_explicit(&row->beat_ms, l->now_ms, memory_order_relaxed);
	atomic_store_explicit(&row->turns, ++w->turns, memory_order_relaxed);
}

/* ---- listening ---- */

static bool on_conn(struct acceptor *a, int fd, const struct addr *peer)
{
	struct worker *w = a->owner;

	return down_accept(&w->down, fd, peer, &a->local, a->tag);
}

static bool may_accept(struct acceptor *a)
{
	struct worker *w = a->owner;
	const struct conf_listen *l = a->tag;

	if (l->tls && tls_crowded(&w->env.tls)) {
		w->crowded = true;
		return false;
	}
	return w->env.nconns < w->env.max_conns;
}

static _Noreturn void worker_end(struct worker *w, int status)
{
	alog_flush(w->env.alog);
	_exit(status);
}

static void on_conn_gone(struct env *e)
{
	struct worker *w = worker_of(e);

	if (e->draining) {
		if (e->nconns == 0)
			w->loop.stop = true;
		return;
	}
	for (unsigned i = 0; i < w->nacceptors; i++)
		acceptor_update(&w->acceptors[i]);
}

static const struct conf_bind *find_bind(const struct conf *c, unsigned id, const struct conf_listen **listen)
{
	for (unsigned i = 0; i < c->nlistens; i++) {
		const struct conf_listen *l = *listen = c->listens[i];

		for (unsigned j = 0; j < l->nbinds; j++) {
			if (l->binds[j].id == id)
				return &l->binds[j];
		}
	}
	must_not_reach("the master hands out sockets of this configuration");
}

static void listen_all(struct worker *w)
{
	const struct process *p = w->process;

	w->acceptors = calloc(p->nlistens ? p->nlistens : 1, sizeof(*w->acceptors));
	if (w->acceptors == NULL)
		_exit(1);
	for (unsigned i = 0; i < p->nlistens; i++) {
		struct acceptor *a = &w->acceptors[i];
		const struct conf_listen *l;
		const struct conf_bind *b = find_bind(p->conf, p->listens[i].bind, &l);

		/* Until they have closed it, workers of an older generation watch it too. */
		if (!acceptor_init(a, &w->loop, p->listens[i].fd, p->listens[i].shared, on_conn, w)) {
			log_error("cannot watch %.*s: %s", SPAN_FMT(b->text), strerror(errno));
			_exit(1);
		}
		a->may_accept = may_accept;
		a->tag = l;
		a->local = b->addr;
		w->nacceptors = i + 1;
	}
}

/* ---- draining and stopping ---- */

/* They wake nobody of ours when room comes free, so we look. */
static void on_past(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, past);

	if (shm_past_left(&w->process->shm, w->loop.now_ms) > 0)
		timer_set(&w->loop.wheel, &w->past, w->loop.now_ms + PAST_MS);
	groups_woken(&w->env.groups);
}

static void on_drain_end(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, drain_end);

	if (w->env.nconns && w->tunnels_until_ms > w->loop.now_ms && down_stop_others(&w->down, REASON_SHUTDOWN) > 0) {
		if (w->tunnels_until_ms != TUNNELS_STAY)
			timer_set(&w->loop.wheel, t, w->tunnels_until_ms);
		return;
	}
	if (w->env.nconns)
		log_warn("%s passed: closing %u connections", w->tunnels_until_ms > 0 ? "tunnel_shutdown_timeout" :
			 "shutdown_timeout", w->env.nconns);
	down_stop(&w->down, REASON_SHUTDOWN);
	w->loop.stop = true;
}

/* A newer generation serves, and a tunnel cannot move there: it has more time than a request. */
static void let_tunnels_be(struct worker *w)
{
	const int64_t ms = w->process->conf->tunnel_shutdown_timeout;

	w->tunnels_until_ms = ms == 0 ? TUNNELS_STAY : w->loop.now_ms + (uint64_t)ms;
}

/* weir itself stops now: tunnels have no more time than anything else. */
static void hurry(struct worker *w, uint64_t ms)
{
	if (w->tunnels_until_ms == 0 || ms == 0)
		return;
	w->tunnels_until_ms = 0;
	timer_set(&w->loop.wheel, &w->drain_end, w->loop.now_ms + ms);
}

/* ms: 0 no limit. */
static void worker_drain(struct worker *w, uint64_t ms, uint64_t grace_ms)
{
	if (w->env.draining) {
		hurry(w, ms);
		return;
	}
	w->env.draining = true;
	for (unsigned i = 0; i < w->nacceptors; i++)
		acceptor_close(&w->acceptors[i]);
	ipc_send(w->process->control, IPC_AWAY, atomic_load(&shm_own(&w->process->shm)->gen), 0, -1);
	down_drain(&w->down, ms && ms < grace_ms ? ms : grace_ms);
	if (ms)
		timer_set(&w->loop.wheel, &w->drain_end, w->loop.now_ms + ms);
	if (w->env.nconns == 0)
		w->loop.stop = true;
}

/* ---- the master ---- */

static void take_log(struct worker *w, uint64_t id, int fd)
{
	const struct conf *c = w->process->conf;

	if (id >= c->nlogs || fd < 0) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (c->logs[id] == c->error_log) {
		log_set_fd(fd, c->error_log->kind == CONF_LOG_SYSLOG);
		panic_set_fd(fd);
	}
	/* Owns fd from here and closes the old one. */
	alog_reopen(w->env.alog, (unsigned)id, fd);
}

static void on_orphan_end(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, orphan_end);

	log_warn("orphan_timeout passed without a master: ending what is under way");
	worker_drain(w, (uint64_t)w->process->conf->shutdown_timeout, ORPHAN_GRACE_MS);
}

static void on_signal(struct watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(w->signal_fd, &info, sizeof(info)) != sizeof(info) || w->env.draining)
		return;
	log_notice("Told to end, without a master: ending what is under way");
	worker_drain(w, (uint64_t)w->process->conf->shutdown_timeout, ORPHAN_GRACE_MS);
}

/* Signals are the master's business; when it is gone, they are the one way left to have an orphan end in order. */
static void take_signals(struct worker *w)
{
	const struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	w->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	w->signals.on_event = on_signal;
	if (w->signal_fd < 0 || !loop_watch_input(&w->loop, w->signal_fd, &w->signals, false)) {
		log_warn("cannot take signals (%s): only SIGKILL ends this process early", strerror(errno));
		return;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGQUIT, &sa, NULL);
}

/* The master is gone. Who has begun to serve goes on for a while: a supervisor may start another one in a moment. */
static void become_orphan(struct worker *w)
{
	const int64_t limit = w->process->conf->orphan_timeout;

	loop_pause_input(&w->loop, w->process->control, &w->control, true, false);
	if (w->env.draining)
		return;
	if (w->acceptors == NULL) {
		w->loop.stop = true;
		return;
	}
	take_signals(w);
	if (limit == 0) {
		log_error("the master is gone: serving on without it; start weir again");
		return;
	}
	log_error("the master is gone: serving on without it for %lld s; start weir again", (long long)limit / 1000);
	timer_set(&w->loop.wheel, &w->orphan_end, w->loop.now_ms + (uint64_t)limit);
}

static void on_control(struct watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, control);
	struct ipc_msg m;
	int fd, rc;

	(void)events;
	while ((rc = ipc_recv(w->process->control, &m, &fd)) > 0) {
		switch (m.kind) {
		case IPC_RETIRE:
			let_tunnels_be(w);
			/* fall through */
		case IPC_DRAIN:
			worker_drain(w, ipc_drain_limit(m.arg), ipc_drain_grace(m.arg));
			break;
		case IPC_GO:
			if (w->acceptors == NULL && !w->env.draining)
				listen_all(w);
			break;
		case IPC_SESSIONS:
			sessions_start(&w->down, (uint32_t)m.arg);
			break;
		case IPC_STOP:
			down_stop(&w->down, REASON_SHUTDOWN);
			worker_end(w, 0);
			break;
		case IPC_LOG:
			take_log(w, m.arg, fd);
			fd = -1;
			break;
		default:
			break;
		}
		if (fd >= 0)
			close(fd);
	}
	if (rc < 0)
		become_orphan(w);
}

static void on_wake(struct watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, wake);
	uint64_t n;

	(void)events;
	if (read(w->process->wake_fds[w->process->slot], &n, sizeof(n)) > 0)
		groups_woken(&w->env.groups);
}

/* Room came free that another worker's queue may be waiting for. */
static void wake_peers(struct groups *gs)
{
	const struct worker *w = gs->owner;
	uint64_t one = 1;

	for (unsigned i = 0; i < w->process->conf->workers; i++) {
		if (i != w->process->slot && write(w->process->wake_fds[i], &one, sizeof(one)) < 0)
			continue;	/* the counter is full: it is awake already */
	}
}

/* ---- start ---- */

static unsigned limit_conns(const struct conf *c)
{
	struct rlimit rl = { 1024, 1024 };
	unsigned most;

	getrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur > 4000000)
		rl.rlim_cur = 4000000;
	/* Each client may need a server. */
	most = rl.rlim_cur > 2 * RESERVED_FDS ? (unsigned)(rl.rlim_cur - RESERVED_FDS) : (unsigned)rl.rlim_cur / 2;
	if (c->max_connections && (uint64_t)c->max_connections < most)
		return (unsigned)c->max_connections;
	return most;
}

static bool env_init_tls(struct worker *w)
{
	const struct conf *c = w->process->conf;
	struct env *e = &w->env;

	e->tls_servers = calloc(c->nlistens ? c->nlistens : 1, sizeof(*e->tls_servers));
	if (e->tls_servers == NULL || !tls_pool_init(&e->tls, &e->bufs))
		return false;
	e->pool.tls = &e->tls;
	for (unsigned i = 0; i < c->nlistens; i++) {
		if (!c->listens[i]->tls)
			continue;
		e->tls_servers[i] = tls_server_new(c, c->listens[i], w->process->tickets);
		if (e->tls_servers[i] == NULL)
			return false;
	}
	return true;
}

static bool env_init(struct worker *w)
{
	struct env *e = &w->env;
	struct process *p = w->process;

	e->magic = ENV_MAGIC;
	e->conf = p->conf;
	e->shm = &p->shm;
	e->records = p->records.magic == RECORDS_MAGIC ? &p->records : NULL;
	e->loop = &w->loop;
	e->arenas.max = FREE_BLOCKS;
	buf_pool_init(&e->bufs, FREE_BUFS);
	slab_init(&e->exchanges, "exchange", sizeof(struct exchange));
	list_init(&e->conns);
	e->max_conns = limit_conns(p->conf);
	e->on_conn_gone = on_conn_gone;
	if (getrandom(e->id_key, sizeof(e->id_key), 0) != sizeof(e->id_key) ||
	    getrandom(&e->random, sizeof(e->random), 0) != sizeof(e->random))
		return false;
	e->random |= 1;
	wire_env(e);
	pool_init(&e->pool, &w->loop, e->shm, &e->bufs);
	if (!env_init_tls(w))
		return false;
	if (!groups_init(&e->groups, p->conf, e->shm, &w->loop))
		return false;
	e->groups.owner = w;
	e->groups.wake_peers = wake_peers;
	e->groups.seed = env_random(e);
	e->router = router_new(p->conf);
	e->alog = alog_new(e);
	return e->router && e->alog;
}

void worker_main(struct process *p)
{
	static struct worker worker;	/* one per process; handed down from here, never named elsewhere */
	struct worker *w = &worker;

	OBJ_CHECK(p, PROCESS_MAGIC);
	w->magic = WORKER_MAGIC;
	w->process = p;
	panic_set_page(shm_own(&p->shm)->note, SHM_NOTE);
	if (!loop_init(&w->loop, w) || !env_init(w)) {
		log_error("cannot start: %s", strerror(errno));
		_exit(1);
	}
	w->loop.on_turn = on_turn;
	panic_last_words(alog_last_words, w->env.alog);
	down_init(&w->down, &w->env);
	timer_init(&w->drain_end, on_drain_end);
	timer_init(&w->orphan_end, on_orphan_end);
	timer_init(&w->past, on_past);
	if (p->shm.npast > 0)
		timer_set(&w->loop.wheel, &w->past, w->loop.now_ms + PAST_MS);
	w->control.on_event = on_control;
	w->wake.on_event = on_wake;
	if (!loop_watch_input(&w->loop, p->control, &w->control, false) ||
	    !loop_watch_input(&w->loop, p->wake_fds[p->slot], &w->wake, false)) {
		log_error("cannot start: %s", strerror(errno));
		_exit(1);
	}
	if (!p->wait)
		listen_all(w);
	on_turn(&w->loop);
	ipc_send(p->control, IPC_READY, atomic_load(&shm_own(&p->shm)->gen), 0, -1);
	loop_run(&w->loop);
	worker_end(w, 0);
}
