/*
 * bed.h - a test bed for the upstream side: an upstream of made-up servers, its
 * shared memory and a loop whose clock the test turns by hand.
 *
 * Used as worker 0 in the test's own process, or by forked workers that call
 * bed_worker() first.
 */
#ifndef BED_H
#define BED_H

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/obj.h"
#include "common/shm.h"
#include "worker/upstream/group.h"
#include "worker/upstream/health.h"

#define BED_SLOTS 5			/* four workers and the checker */
#define BED_MAX 1200

struct bed {
	struct conf conf;
	struct conf_upstream up, *ups[1];
	struct conf_server servers[BED_MAX];
	char names[BED_MAX][24];
	struct shm shm;
	struct loop loop;
	struct groups gs;
	struct group *g;
};

/* n servers of weight 1; change b->up and b->servers before bed_open(). */
static inline struct bed *bed_new(unsigned n, enum conf_balance balance)
{
	struct bed *b = calloc(1, sizeof(*b));

	ck_assert_ptr_nonnull(b);
	ck_assert_uint_le(n, BED_MAX);
	b->up = (struct conf_upstream){
		.magic = CONF_UPSTREAM_MAGIC, .name = SPAN("app"), .servers = b->servers, .nservers = n, .balance = balance,
		.max_fails = 3, .fail_timeout = 10000, .max_ejected = 50, .max_queue = 1024, .queue_timeout = 5000,
	};
	for (unsigned i = 0; i < n; i++) {
		int len = snprintf(b->names[i], sizeof(b->names[i]), "10.0.%u.%u:80", i / 250, i % 250);

		b->servers[i] = (struct conf_server){
			.magic = CONF_SERVER_MAGIC, .name = span_make(b->names[i], (size_t)len), .weight = 1, .port = 80,
			.addr = { .family = ADDR_V4, .port = 80, .v4 = { 10, 0, i / 250, i % 250 } },
		};
	}
	return b;
}

/* Makes server i a host name. */
static inline void bed_host(struct bed *b, unsigned i, const char *name)
{
	b->servers[i].name = b->servers[i].host = span_of(name);
	b->servers[i].addr = (struct addr){ .family = ADDR_NONE };
}

static inline void bed_shm(struct bed *b)
{
	for (unsigned i = 0; i < b->up.nservers; i++) {
		struct conf_server *s = &b->servers[i];

		s->ncells = s->addr.family == ADDR_NONE ? CONF_HOST_ADDRS : 1;
		s->id = i;
		s->cell = b->up.ncells;
		b->up.ncells += s->ncells;
	}
	b->ups[0] = &b->up;
	b->conf = (struct conf){ .magic = CONF_MAGIC, .upstreams = b->ups, .nupstreams = 1, .ncells = b->up.ncells };
	ck_assert(shm_init(&b->shm, &(struct shm_size){ .nslots = BED_SLOTS, .ncells = b->up.ncells, .nupstreams = 1,
							.nservers = b->up.nservers }));
	shm_init_health(&b->shm, &b->conf);
}

static inline void bed_groups(struct bed *b)
{
	ck_assert(loop_init(&b->loop, b));
	ck_assert(groups_init(&b->gs, &b->conf, &b->shm, &b->loop));
	b->g = groups_find(&b->gs, &b->up);
}

/* Ready in this process. */
static inline void bed_open(struct bed *b)
{
	bed_shm(b);
	b->shm.slot = 0;
	bed_groups(b);
}

static inline void bed_close(struct bed *b)
{
	if (b->g != NULL) {
		groups_fini(&b->gs);
		loop_fini(&b->loop);
	}
	shm_fini(&b->shm);
	free(b);
}

/* Becomes worker `slot` in a forked child. */
static inline void bed_worker(struct bed *b, unsigned slot)
{
	if (!shm_become_worker(&b->shm, slot))
		_exit(99);
	bed_groups(b);
}

/* Runs `body` as each of n workers at once; all must end well. */
static inline void bed_fork(struct bed *b, unsigned n, void (*body)(struct bed *b))
{
	pid_t pids[BED_SLOTS];
	int status;

	for (unsigned i = 0; i < n; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0) {
			bed_worker(b, i);
			body(b);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
}

/* Memory that forked workers share beside ours. */
static inline void *bed_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

/* Moves the clock, then runs what is due. */
static inline void bed_pass(struct bed *b, uint64_t ms)
{
	uint64_t now = b->loop.now_ms + ms;
	struct list *n;

	b->loop.now_ms = now;
	b->loop.now_us = now * 1000;
	timer_run(&b->loop.wheel, now);
	while ((n = list_first(&b->loop.tasks)) != NULL) {
		struct task *t = list_entry(n, struct task, node);

		list_del(n);
		t->run(t);
	}
}

/* One pick that must succeed. */
static inline struct server *bed_pick(struct bed *b)
{
	struct pick_ask ask = { .hash = 0 };
	struct server *s = NULL;

	ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
	return s;
}

static inline enum pick_rc bed_rc(struct bed *b)
{
	struct pick_ask ask = { .hash = 0 };
	struct server *s = NULL;
	enum pick_rc rc = group_pick(b->g, &ask, &s);

	if (rc == PICK_OK)
		server_put(s);
	return rc;
}

static inline void bed_health(struct bed *b, unsigned server, enum health_state st)
{
	shm_set_health(&b->shm.health[b->servers[server].cell], st, HEALTH_WHY_NONE, 1);
}

#endif
