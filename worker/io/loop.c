/*
 * loop.c - one epoll loop: events, timers, deferred work, deferred death.
 *
 * Owns the epoll descriptor and the clock that everybody in the process reads.
 * Run by a worker or the checker. Knows nothing of what is watched; never
 * closes a watched descriptor.
 */
#include "worker/io/loop.h"

#include <errno.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"

/* How often work that queues work is followed within one turn. */
#define TASK_ROUNDS 8

static void read_clocks(struct loop *l)
{
	l->now_us = clock_mono_us();
	l->now_ms = l->now_us / 1000;
	l->wall_ms = clock_wall_ms();
}

bool loop_init(struct loop *l, void *owner)
{
	*l = (struct loop){ .magic = LOOP_MAGIC, .owner = owner };
	list_init(&l->tasks);
	list_init(&l->dead);
	read_clocks(l);
	timer_wheel_init(&l->wheel, l->now_ms);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd >= 0)
		return true;
	l->magic = 0;
	return false;
}

static void bury_dead(struct loop *l)
{
	struct list *n;

	while ((n = list_first(&l->dead)) != NULL) {
		struct grave *g = list_entry(n, struct grave, node);

		list_del(n);
		g->bury(g);
	}
}

void loop_fini(struct loop *l)
{
	struct list *n;

	OBJ_CHECK(l, LOOP_MAGIC);
	while ((n = list_first(&l->tasks)) != NULL)
		list_del(n);
	bury_dead(l);
	close(l->epfd);
	l->epfd = -1;
	l->magic = 0;
}

static void run_tasks(struct loop *l)
{
	for (unsigned round = 0; round < TASK_ROUNDS && !list_empty(&l->tasks); round++) {
		struct list end, *n;

		/* What is queued from here on stands behind the mark: the next round's. */
		list_append(&l->tasks, &end);
		while ((n = list_first(&l->tasks)) != &end) {
			list_del(n);
			struct task *t = list_entry(n, struct task, node);
			t->run(t);
		}
		list_del(&end);
	}
}

void loop_turn(struct loop *l, unsigned max_ms)
{
	OBJ_CHECK(l, LOOP_MAGIC);
	unsigned wait = list_empty(&l->tasks) ? timer_wait_ms(&l->wheel, l->now_ms, max_ms) : 0;
	int n = epoll_wait(l->epfd, l->events, LOOP_BATCH, (int)wait);

	must(n >= 0 || errno == EINTR);
	read_clocks(l);
	for (int i = 0; i < n; i++) {
		struct watch *w = l->events[i].data.ptr;

		if (w->on_event != NULL)
			w->on_event(w, l->events[i].events);
	}
	timer_run(&l->wheel, l->now_ms);
	run_tasks(l);
	if (l->on_turn != NULL)
		l->on_turn(l);
	bury_dead(l);
}

void loop_run(struct loop *l)
{
	while (!l->stop)
		loop_turn(l, LOOP_IDLE_MS);
}

static bool add(struct loop *l, int fd, struct watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data = { .ptr = w } };

	OBJ_CHECK(l, LOOP_MAGIC);
	must(w->on_event != NULL);
	return epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

bool loop_watch(struct loop *l, int fd, struct watch *w)
{
	return add(l, fd, w, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

bool loop_watch_input(struct loop *l, int fd, struct watch *w, bool exclusive)
{
	return add(l, fd, w, EPOLLIN | (exclusive ? EPOLLEXCLUSIVE : 0));
}

/*
 * Off means out of the set: an exclusive entry cannot be modified, and one that
 * asks for nothing would still report a hangup in every turn.
 */
void loop_pause_input(struct loop *l, int fd, struct watch *w, bool pause, bool exclusive)
{
	OBJ_CHECK(l, LOOP_MAGIC);
	if (pause)
		must(epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL) == 0 || errno == ENOENT);
	else
		must(loop_watch_input(l, fd, w, exclusive) || errno == EEXIST);
}

void task_init(struct task *t, task_fn *run)
{
	list_init(&t->node);
	t->run = run;
}

void loop_defer(struct loop *l, struct task *t)
{
	OBJ_CHECK(l, LOOP_MAGIC);
	if (!list_linked(&t->node))
		list_append(&l->tasks, &t->node);
}

void loop_cancel(struct task *t)
{
	list_del(&t->node);
}

void loop_bury(struct loop *l, struct grave *g, grave_fn *bury)
{
	OBJ_CHECK(l, LOOP_MAGIC);
	g->bury = bury;
	list_append(&l->dead, &g->node);
}
