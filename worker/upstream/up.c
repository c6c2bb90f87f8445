/*
 * up.c - life of a connection to a server: open, events, deadlines, close.
 *
 * Called by handlers (through up.h) and by the loop; what the bytes mean is
 * up_h1.c's business. Never knows an exchange.
 */
#include "worker/upstream/up.h"

#include <errno.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/sock.h"
#include "worker/upstream/pool.h"
#include "worker/upstream/up_conn.h"

void up_set_state(struct up *u, enum up_state state)
{
	struct pool *p = u->pool;

	OBJ_CHECK(u, UP_MAGIC);
	must(u->state != UP_DEAD);
	if (u->state == UP_IDLE) {
		list_del(&u->node);
		u->server->nidle--;
		p->nidle--;
		shm_gauge(p->shm, STAT_IDLE_UP, -1);
	}
	if (state == UP_IDLE) {
		list_push(&u->server->idle, &u->node);
		u->server->nidle++;
		p->nidle++;
		shm_gauge(p->shm, STAT_IDLE_UP, 1);
	}
	u->state = state;
}

static void up_bury(struct grave *g)
{
	struct up *u = container_of(g, struct up, grave);
	struct pool *p = u->pool;
	struct up *dead = u;

	OBJ_CLEAR(dead);
	slab_put(&p->ups, u);
}

void up_destroy(struct up *u)
{
	up_set_state(u, UP_DEAD);
	loop_cancel(&u->later);
	conn_close(&u->conn);
	h1_send_fini(&u->send, u->pool->bufs);
	buf_put(u->pool->bufs, &u->in);
	u->ops = NULL;
	u->owner = NULL;
	loop_bury(u->pool->loop, &u->grave, up_bury);
}

void up_fail(struct up *u, enum reason why)
{
	const struct up_ops *ops = u->ops;

	must(ops != NULL);
	conn_deadline(&u->conn, 0);
	u->stale = u->reused && !u->resp_bytes && why == REASON_SERVER_RESET;
	u->keep = false;
	ops->on_fail(u, why);
}

/* The whole head has to come in time: a byte now and then wins nothing. */
static int64_t response_left(struct up *u)
{
	uint64_t now = u->pool->loop->now_ms;

	if (u->wait_ms == 0)
		u->wait_ms = now;
	if (u->times.response == 0)
		return 0;
	return now - u->wait_ms < (uint64_t)u->times.response ? u->times.response - (int64_t)(now - u->wait_ms) : 1;
}

void up_set_deadline(struct up *u)
{
	int64_t ms = 0;

	if (u->state == UP_CONNECTING)
		return;			/* set once, absolute */
	if (u->tunnel) {
		conn_deadline(&u->conn, 0);	/* the owner knows both directions */
		return;
	}
	if (!h1_send_empty(&u->send) && !u->write_failed)
		ms = u->times.write;
	else if (u->held)
		ms = 0;
	else if (u->resp_head)
		ms = u->times.read;
	else if (u->req_done || u->write_failed)
		ms = response_left(u);
	conn_deadline(&u->conn, (uint64_t)ms);
}

static enum reason deadline_reason(const struct up *u)
{
	if (u->state == UP_CONNECTING)
		return REASON_CONNECT_TIMEOUT;
	if (!h1_send_empty(&u->send) && !u->write_failed)
		return REASON_WRITE_TIMEOUT;
	return u->resp_head ? REASON_READ_TIMEOUT : REASON_RESPONSE_TIMEOUT;
}

static void up_on_deadline(struct conn *c)
{
	struct up *u = container_of(c, struct up, conn);

	OBJ_CHECK(u, UP_MAGIC);
	if (u->state == UP_IDLE)
		up_destroy(u);
	else
		up_fail(u, deadline_reason(u));
}

/* Said once, until it goes well again: what is wrong is most often a setting. */
static void up_tls_failed(struct up *u, const char *why)
{
	struct server *s = u->server;

	if (!s->tls_said)
		log_warn("upstream %.*s, server %.*s: the TLS handshake failed: %s", SPAN_FMT(s->group->conf->name),
			 SPAN_FMT(s->name), why);
	s->tls_said = true;
	up_fail(u, REASON_SERVER_TLS);
}

static void up_connected(struct up *u)
{
	const struct tls *t = tls_of(&u->conn);

	if (u->conn.error && t != NULL && tls_why(t) != NULL) {
		up_tls_failed(u, tls_why(t));
		return;
	}
	if (u->conn.error) {
		up_fail(u, REASON_CONNECT_REFUSED);
		return;
	}
	u->server->tls_said = false;
	u->connect_us = u->pool->loop->now_us - u->start_us;
	meter_observe(&server_meter(u->server)->connect, u->connect_us);
	up_set_state(u, UP_BUSY);
	up_set_deadline(u);
}

static void up_go_on(struct up *u)
{
	if (u->state == UP_BUSY)
		up_h1_flush(u);
	if (u->state == UP_BUSY)
		up_h1_run(u);
	if (u->state == UP_BUSY && up_tunnel_broken(u))
		up_fail(u, REASON_SERVER_RESET);
}

static void up_on_ready(struct conn *c)
{
	struct up *u = container_of(c, struct up, conn);

	OBJ_CHECK(u, UP_MAGIC);
	if (u->state == UP_IDLE) {
		/* A server has nothing to say on an idle connection (RFC 9112 9.5). */
		if (!conn_quiet(c, false))
			up_destroy(u);
		return;
	}
	if (u->state == UP_CONNECTING && !c->connecting)
		up_connected(u);
	up_go_on(u);
}

static const struct conn_ops up_conn_ops = { up_on_ready, up_on_deadline };

static void up_later(struct task *t)
{
	struct up *u = container_of(t, struct up, later);

	OBJ_CHECK(u, UP_MAGIC);
	up_go_on(u);
}

static bool up_start_tls(struct up *u)
{
	struct server *s = u->server;
	char name[256];

	must(u->pool->tls != NULL);
	tls_client_name(s->group->tls, s->conf, name);
	u->state = UP_CONNECTING;
	return tls_connect(&u->conn, u->pool->tls, s->group->tls, &s->tls, name);
}

static struct up *up_connect(struct pool *p, struct server *s, const struct span *preface)
{
	bool done;
	int fd = sock_connect(&s->addr, &done);
	struct up *u;

	if (fd < 0)
		return NULL;
	u = slab_get(&p->ups);
	if (u == NULL) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	*u = (struct up){ .magic = UP_MAGIC, .pool = p, .server = s, .state = done ? UP_BUSY : UP_CONNECTING };
	list_init(&u->node);
	task_init(&u->later, up_later);
	u->start_us = p->loop->now_us;
	if (!conn_init(&u->conn, p->loop, fd, !done, &up_conn_ops)) {
		int e = errno;

		close(fd);
		slab_put(&p->ups, u);
		errno = e;
		return NULL;
	}
	u->conn.id = ++p->next_id;
	u->once = preface != NULL;
	if (preface)
		conn_preface(&u->conn, preface);
	if (s->group->tls != NULL && !up_start_tls(u)) {
		conn_close(&u->conn);
		slab_put(&p->ups, u);
		errno = ENOMEM;
		return NULL;
	}
	if (done && s->group->tls == NULL) {
		u->conn.can_write = true;
		meter_observe(&server_meter(s)->connect, 0);
	}
	shm_count(p->shm, STAT_UP_CONNS, 1);
	return u;
}

struct up *up_open(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_ops *ops, void *owner,
		   const struct up_times *times, const struct span *preface)
{
	struct up *u = NULL;

	if (reuse != UP_FRESH && preface == NULL)
		u = pool_get(p, s, reuse == UP_REUSE_PROBED);
	if (u) {
		up_h1_reset(u);
		u->reused = true;
		u->connect_us = 0;
	} else {
		u = up_connect(p, s, preface);
		if (u == NULL)
			return NULL;
		up_h1_reset(u);
		u->reused = false;
	}
	u->ops = ops;
	u->owner = owner;
	u->times = *times;
	p->nbusy++;
	if (u->state == UP_CONNECTING)
		conn_deadline(&u->conn, (uint64_t)times->connect);
	return u;
}

/* Request and answer are whole, nothing is left over, and nobody asked to close. */
static bool up_reusable(struct up *u)
{
	return u->state == UP_BUSY && !u->once && u->req_done && u->resp_done && u->keep && !u->write_failed &&
	       (u->in == NULL || buf_len(u->in) == 0) && u->server->group->conf->keepalive > 0 &&
	       conn_quiet(&u->conn, false);
}

void up_close(struct up **up)
{
	struct up *u = *up;

	OBJ_CHECK(u, UP_MAGIC);
	*up = NULL;
	must(u->state == UP_CONNECTING || u->state == UP_BUSY);
	u->pool->nbusy--;
	if (u->held)
		up_h1_taken(u);
	/* What ends in the middle must not look whole. */
	if (u->tunnel && !(u->req_done && u->resp_done))
		conn_reset(&u->conn);
	if (!up_reusable(u)) {
		up_destroy(u);
		return;
	}
	buf_put(u->pool->bufs, &u->in);
	loop_cancel(&u->later);
	u->ops = NULL;
	u->owner = NULL;
	u->resp = NULL;
	pool_put(u->pool, u);
}
