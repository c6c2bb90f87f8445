/*
 * pool.c - idle connections to servers.
 *
 * The pooled state of a connection is its membership in server->idle; nobody
 * but pool_put(), pool_get() and the closing of an idle one changes it.
 */
#include "worker/upstream/pool.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/obj.h"
#include "worker/upstream/up.h"
#include "worker/upstream/up_conn.h"

void pool_init(struct pool *p, struct loop *l, struct shm *shm, struct buf_pool *bufs)
{
	p->loop = l;
	p->shm = shm;
	p->bufs = bufs;
	slab_init(&p->ups, "up", sizeof(struct up));
	p->next_id = 0;
	p->nidle = p->nbusy = 0;
}

void pool_fini(struct pool *p)
{
	slab_fini(&p->ups);
}

/* True when the server has nothing to say and has not hung up. */
static bool pool_alive(struct up *u, bool probe)
{
	char c;
	ssize_t n;

	if (u->conn.hup || u->conn.broken)
		return false;
	if (!probe && !u->conn.can_read)
		return true;
	n = recv(u->conn.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

struct up *pool_get(struct pool *p, struct server *s, bool probe)
{
	struct list *n;

	while ((n = list_first(&s->idle)) != NULL) {
		struct up *u = list_entry(n, struct up, node);

		OBJ_CHECK(u, UP_MAGIC);
		if (pool_alive(u, probe)) {
			up_set_state(u, UP_BUSY);
			shm_count(p->shm, STAT_UP_REUSED, 1);
			return u;
		}
		up_destroy(u);
	}
	return NULL;
}

/* How long it may rest, 0: for ever. */
static uint64_t idle_limit(const struct up *u)
{
	uint64_t ms = (uint64_t)u->server->group->conf->keepalive_timeout;

	return u->idle_ms != 0 && (ms == 0 || u->idle_ms < ms) ? u->idle_ms : ms;
}

void pool_put(struct pool *p, struct up *u)
{
	struct server *s = u->server;

	(void)p;
	up_set_state(u, UP_IDLE);
	conn_deadline(&u->conn, idle_limit(u));
	if (s->nidle > s->group->conf->keepalive)
		up_destroy(list_entry(list_last(&s->idle), struct up, node));
}

void pool_drop(struct pool *p, struct server *s)
{
	(void)p;
	list_each(n, &s->idle)
		up_destroy(list_entry(n, struct up, node));
}
