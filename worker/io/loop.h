/*
 * loop.h - one epoll loop: events, timers, deferred work, deferred death.
 *
 * The only caller of epoll_ctl. A descriptor is registered once, edge-triggered
 * for both directions, and forgotten by close(). The clock is read once per
 * turn. Order within a turn: events, due timers, deferred tasks (those queued
 * while running run in the same turn, up to a cap), on_turn, then the dead
 * list is freed: so nothing is freed under a callback of the same batch.
 */
#ifndef WORKER_IO_LOOP_H
#define WORKER_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "common/list.h"
#include "worker/io/timer.h"

#define LOOP_MAGIC 0x10010b01u
#define LOOP_BATCH 256
#define LOOP_IDLE_MS 500		/* longest sleep, so that the heartbeat ticks */

/* What epoll's data.ptr points to. Embedded first in a watcher's owner or anywhere in it. */
struct watch;
typedef void watch_fn(struct watch *w, uint32_t events);	/* EPOLL* bits */
struct watch {
	watch_fn *on_event;		/* NULL: dead, late events are ignored */
};

/* Work put off to the end of the turn. Embedded; queued at most once. */
struct task;
typedef void task_fn(struct task *t);
struct task {
	struct list node;
	task_fn *run;
};

/* Memory that outlives the turn. Embedded; freed through the callback. */
struct grave;
typedef void grave_fn(struct grave *g);
struct grave {
	struct list node;
	grave_fn *bury;
};

struct loop {
	uint32_t magic;
	int epfd;
	uint64_t now_ms, now_us;	/* monotonic */
	uint64_t wall_ms;		/* UTC */
	struct timer_wheel wheel;
	struct list tasks;
	struct list dead;
	bool stop;			/* loop_run() returns at the end of the turn */
	void (*on_turn)(struct loop *l);/* once per turn, before sleeping; may be NULL */
	void *owner;			/* struct worker or checker */
	struct epoll_event events[LOOP_BATCH];
};

/* False with errno when the kernel gives no epoll descriptor. */
bool loop_init(struct loop *l, void *owner);
void loop_fini(struct loop *l);
void loop_run(struct loop *l);
/* One turn: waits up to max_ms for events. For tests and for loop_run(). */
void loop_turn(struct loop *l, unsigned max_ms);

/* Registers fd edge-triggered for in, out and peer close. False with errno. */
bool loop_watch(struct loop *l, int fd, struct watch *w);
/* Level-triggered input only, for listeners and pipes; `exclusive` wakes one of several processes on a shared fd. */
bool loop_watch_input(struct loop *l, int fd, struct watch *w, bool exclusive);
/* Turns input interest of such a watch off and on again (accept paused). Idempotent. */
void loop_pause_input(struct loop *l, int fd, struct watch *w, bool pause, bool exclusive);

void task_init(struct task *t, task_fn *run);
void loop_defer(struct loop *l, struct task *t);
void loop_cancel(struct task *t);

/* The object dies at the end of this turn; said once. Its watch must have on_event NULL, its timers stopped, its tasks
 * cancelled. */
void loop_bury(struct loop *l, struct grave *g, grave_fn *bury);

#endif
