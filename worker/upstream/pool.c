/*
 * pool.c - idle connections to servers.
 *
 * The pooled state of a connection is its membership in server->idle; nobody
 * but pool_put(), pool_get() and the closing of an idle one changes it.
 */
#include "worker/upstream/pool.h"

#include "common/obj.h"
#include "worker/upstream/link.h"
#include "worker/upstream/up_h1.h"

void pool_init(struct pool *p, struct loop *l, struct shm *shm, struct buf_pool *bufs)
{
	p->loop = l;
	p->shm = shm;
	p->bufs = bufs;
	p->tls = NULL;
	slab_init(&p->ups, "up", sizeof(struct up_h1));
	slab_init(&p->up_h2s, "up_h2", sizeof(struct up_h2));
	slab_init(&p->links, "link", sizeof(struct link));
	list_init(&p->all_links);
	p->link_shared = NULL;
	p->next_id = 0;
	p->nidle = p->nbusy = 0;
}

void pool_fini(struct pool *p)
{
	list_each(n, &p->all_links)
		link_destroy(list_entry(n, struct link, all));
	slab_fini(&p->ups);
	slab_fini(&p->up_h2s);
	slab_fini(&p->links);
	link_shared_free(p->link_shared);
}

struct up_h1 *pool_get(struct pool *p, struct server *s, bool probe)
{
	struct list *n;

	while ((n = list_first(&s->idle)) != NULL) {
		struct up_h1 *u = list_entry(n, struct up_h1, node);

		OBJ_CHECK(&u->up, UP_MAGIC);
		if (conn_quiet(&u->conn, probe)) {
			up_set_state(u, UP_BUSY);
			shm_count(p->shm, STAT_UP_REUSED, 1);
			return u;
		}
		up_destroy(u);
	}
	return NULL;
}

/* How long it may rest, 0: for ever. */
static uint64_t idle_limit(const struct up_h1 *u)
{
	uint64_t ms = (uint64_t)u->up.server->group->conf->keepalive_timeout;

	return u->idle_ms != 0 && (ms == 0 || u->idle_ms < ms) ? u->idle_ms : ms;
}

void pool_put(struct pool *p, struct up_h1 *u)
{
	struct server *s = u->up.server;
	unsigned most = s->group->conf->keepalive;
	uint64_t ms = idle_limit(u);

	(void)p;
	up_set_state(u, UP_IDLE);
	if (most == 0) {
		up_destroy(u);
		return;
	}
	if (s->nidle > most && (ms == 0 || ms > POOL_SPARE_MS))
		ms = POOL_SPARE_MS;
	conn_deadline(&u->conn, ms);
}

void pool_drop(struct server *s)
{
	list_each(n, &s->idle)
		up_destroy(list_entry(n, struct up_h1, node));
	list_each(n, &s->links)
		link_retire(list_entry(n, struct link, node));
}
