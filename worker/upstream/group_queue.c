/*
 * group_queue.c - those who wait for a server with room, and the retry budget.
 *
 * First come, first served, within a worker; between workers a place that
 * comes free goes to each side by the length of its queue. Waiters are served
 * at the end of a turn, never from within the call that made room, so that no
 * caller is called back while it holds half a request. Whatever news gets
 * lost, everybody is looked at again within RECHECK_MS.
 */
#include "common/obj.h"
#include "worker/upstream/group_parts.h"

#define RECHECK_MS 50
/* Waiters looked at in one go; the rest has its turn in the next. */
#define SERVE_MAX 256

static _Atomic uint32_t *own_queued(const struct group *g)
{
	struct shm *shm = g->all->shm;

	return &shm_queued(shm, shm->slot)[g->conf->id];
}

static void set_queued(struct group *g, unsigned n)
{
	g->nqueued = n;
	atomic_store_explicit(own_queued(g), n, memory_order_seq_cst);
}

static unsigned queued_elsewhere(const struct group *g)
{
	return shm_queue_len(g->all->shm, g->conf->id) - g->nqueued;
}

static void look_again(struct group *g, uint64_t ms)
{
	uint64_t at = g->all->loop->now_ms + ms;
	struct list *first = list_first(&g->queue);

	if (first != NULL && list_entry(first, struct waiter, node)->deadline < at)
		at = list_entry(first, struct waiter, node)->deadline;
	timer_set(&g->all->loop->wheel, &g->queue_timer, at);
}

static void leave(struct waiter *w)
{
	struct group *g = w->group;

	list_del(&w->node);
	w->group = NULL;
	set_queued(g, g->nqueued - 1);
}

/* Answers who can be answered, from the head on. The mark keeps our place whatever a callback does to the queue. */
static void serve(struct group *g)
{
	struct waiter mark = { .deadline = UINT64_MAX };
	unsigned looked = 0;
	struct list *n;

	list_push(&g->queue, &mark.node);
	while ((n = mark.node.next) != &g->queue && looked++ < SERVE_MAX) {
		struct waiter *w = list_entry(n, struct waiter, node);
		struct server *s = NULL;
		enum pick_rc rc = group_try(g, w->ask, &s);

		list_del(&mark.node);
		list_add_between(&mark.node, n, n->next);
		/* Who has tried nothing finds room if anybody does. */
		if (rc == PICK_FULL && w->ask->ntried == 0)
			break;
		if (rc == PICK_FULL)
			continue;
		leave(w);
		w->on_server(w, rc, s);
	}
	list_del(&mark.node);
	if (g->nqueued > 0)
		look_again(g, looked > SERVE_MAX ? TIMER_TICK_MS : RECHECK_MS);
	else
		timer_stop(&g->all->loop->wheel, &g->queue_timer);
}

static void on_serve(struct task *t)
{
	struct group *g = container_of(t, struct group, serve);

	OBJ_CHECK(g, GROUP_MAGIC);
	serve(g);
}

/* All wait equally long, so that the first in line is the first to give up. */
static void on_queue_timer(struct timer *t)
{
	struct group *g = container_of(t, struct group, queue_timer);
	struct list *n;

	OBJ_CHECK(g, GROUP_MAGIC);
	while ((n = list_first(&g->queue)) != NULL) {
		struct waiter *w = list_entry(n, struct waiter, node);

		if (w->deadline > g->all->loop->now_ms)
			break;
		leave(w);
		note_clear(g);
		w->on_server(w, PICK_FULL, NULL);
	}
	serve(g);
}

void group_queue_init(struct group *g)
{
	list_init(&g->queue);
	timer_init(&g->queue_timer, on_queue_timer);
	task_init(&g->serve, on_serve);
}

void group_queue_fini(struct group *g)
{
	struct list *n;

	while ((n = list_first(&g->queue)) != NULL)
		leave(list_entry(n, struct waiter, node));
	timer_stop(&g->all->loop->wheel, &g->queue_timer);
	loop_cancel(&g->serve);
}

bool group_wait(struct group *g, struct waiter *w, const struct pick_ask *ask, waiter_fn *on_server)
{
	OBJ_CHECK(g, GROUP_MAGIC);
	/* Ours first, then the sum: see server_claim(). */
	set_queued(g, g->nqueued + 1);
	if (shm_queue_len(g->all->shm, g->conf->id) > g->conf->max_queue) {
		set_queued(g, g->nqueued - 1);
		return false;
	}
	w->group = g;
	w->ask = ask;
	w->on_server = on_server;
	w->deadline = g->conf->queue_timeout > 0 ? g->all->loop->now_ms + (uint64_t)g->conf->queue_timeout : UINT64_MAX;
	list_append(&g->queue, &w->node);
	/* It may have been sent here only because others stood in line. */
	loop_defer(g->all->loop, &g->serve);
	return true;
}

void group_unwait(struct waiter *w)
{
	if (w->group == NULL)
		return;
	OBJ_CHECK(w->group, GROUP_MAGIC);
	leave(w);
}

void group_has_room(struct group *g)
{
	unsigned there = queued_elsewhere(g);

	if (there > 0 && g->all->wake_peers != NULL && groups_random(g->all) % (there + g->nqueued) < there) {
		g->all->wake_peers(g->all);
		if (g->nqueued > 0)
			look_again(g, TIMER_TICK_MS);
		return;
	}
	group_recheck(g);
}

void group_recheck(struct group *g)
{
	if (g->nqueued > 0)
		loop_defer(g->all->loop, &g->serve);
}

void groups_woken(struct groups *gs)
{
	for (unsigned i = 0; i < gs->n; i++)
		group_recheck(&gs->v[i]);
}

/* ---- retry budget: millitries:32 | stamp in ms:32, one word per upstream ---- */

#define BUDGET_SHARE 200		/* millitries a request brings */
#define BUDGET_FLOOR 3000		/* what there always is again after a second */
#define BUDGET_MEMORY_MS 10000		/* what a request brought is forgotten over this long */
#define BUDGET_BATCH 16			/* requests that a worker adds at once */

static uint64_t budget_at(uint64_t word, uint32_t now_ms)
{
	uint64_t tries = word >> 32;
	uint32_t passed = now_ms - (uint32_t)word;

	if (passed > INT32_MAX && word != 0)	/* another worker's clock reading was a little later */
		return tries;
	tries -= passed < BUDGET_MEMORY_MS ? tries * passed / BUDGET_MEMORY_MS : tries;
	uint64_t floor = tries + (uint64_t)passed * BUDGET_FLOOR / 1000;
	if (tries < BUDGET_FLOOR)
		tries = floor < BUDGET_FLOOR ? floor : BUDGET_FLOOR;
	return tries;
}

/* False when there is less than what shall be taken. */
static bool budget_change(struct group *g, uint64_t add, uint64_t take)
{
	_Atomic uint64_t *budget = &g->all->shm->upstreams[g->conf->id].budget;
	uint64_t word = atomic_load_explicit(budget, memory_order_relaxed);
	uint32_t now = (uint32_t)g->all->loop->now_ms;
	uint64_t tries;

	do {
		tries = budget_at(word, now) + add;
		if (tries < take)
			return false;
		tries = tries - take > UINT32_MAX ? UINT32_MAX : tries - take;
	} while (!atomic_compare_exchange_weak_explicit(budget, &word, tries << 32 | now, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

void group_note_request(struct group *g)
{
	OBJ_CHECK(g, GROUP_MAGIC);
	if (++g->noted < BUDGET_BATCH)
		return;
	g->noted = 0;
	budget_change(g, BUDGET_BATCH * BUDGET_SHARE, 0);
}

bool group_take_retry(struct group *g)
{
	unsigned noted = g->noted;

	OBJ_CHECK(g, GROUP_MAGIC);
	g->noted = 0;
	if (budget_change(g, (uint64_t)noted * BUDGET_SHARE, 1000))
		return true;
	g->noted = noted;
	return false;
}
