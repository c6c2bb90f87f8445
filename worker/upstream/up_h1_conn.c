/*
 * up_h1_conn.c - life of an HTTP/1 connection to a server: open, events, deadlines, close.
 *
 * Called by up.c and by the loop; what the bytes mean is up_h1.c's business. Never knows an exchange.
 */
#include <errno.h>

#include "common/obj.h"
#include "worker/upstream/pool.h"
#include "worker/upstream/up_h1.h"

void up_set_state(struct up_h1 *u, enum up_state state)
{
	struct pool *p = u->up.pool;

	OBJ_CHECK(&u->up, UP_MAGIC);
	must(u->state != UP_DEAD);
	if (u->state == UP_IDLE) {
		list_del(&u->node);
		u->up.server->nidle--;
		p->nidle--;
		shm_gauge(p->shm, STAT_IDLE_UP, -1);
	}
	if (state == UP_IDLE) {
		list_push(&u->up.server->idle, &u->node);
		u->up.server->nidle++;
		p->nidle++;
		shm_gauge(p->shm, STAT_IDLE_UP, 1);
	}
	u->state = state;
}

static void up_bury(struct grave *g)
{
	struct up_h1 *u = container_of(g, struct up_h1, up.grave);
	struct pool *p = u->up.pool;
	struct up *dead = &u->up;

	OBJ_CLEAR(dead);
	slab_put(&p->ups, u);
}

void up_destroy(struct up_h1 *u)
{
	up_set_state(u, UP_DEAD);
	loop_cancel(&u->later);
	conn_close(&u->conn);
	h1_send_fini(&u->send, u->up.pool->bufs);
	buf_put(u->up.pool->bufs, &u->in);
	loop_bury(u->up.pool->loop, &u->up.grave, up_bury);
}

void up_h1_fail(struct up_h1 *u, enum reason why)
{
	conn_deadline(&u->conn, 0);
	u->up.stale = u->up.reused && !u->resp_bytes && why == REASON_SERVER_RESET;
	u->keep = false;
	up_fail(&u->up, why);
}

/* The whole head has to come in time: a byte now and then wins nothing. */
static int64_t response_left(struct up_h1 *u)
{
	uint64_t now = u->up.pool->loop->now_ms;

	if (u->wait_ms == 0)
		u->wait_ms = now;
	if (u->up.times.response == 0)
		return 0;
	return now - u->wait_ms < (uint64_t)u->up.times.response ? u->up.times.response - (int64_t)(now - u->wait_ms) : 1;
}

void up_set_deadline(struct up_h1 *u)
{
	int64_t ms = 0;

	if (u->state == UP_CONNECTING)
		return;			/* set once, absolute */
	if (u->tunnel) {
		conn_deadline(&u->conn, 0);	/* the owner knows both directions */
		return;
	}
	if (!h1_send_empty(&u->send) && !u->write_failed)
		ms = u->up.times.write;
	else if (u->held)
		ms = 0;
	else if (u->resp_head)
		ms = u->up.times.read;
	else if (u->req_done || u->write_failed)
		ms = response_left(u);
	conn_deadline(&u->conn, (uint64_t)ms);
}

static enum reason deadline_reason(const struct up_h1 *u)
{
	if (u->state == UP_CONNECTING)
		return REASON_CONNECT_TIMEOUT;
	if (!h1_send_empty(&u->send) && !u->write_failed)
		return REASON_WRITE_TIMEOUT;
	return u->resp_head ? REASON_READ_TIMEOUT : REASON_RESPONSE_TIMEOUT;
}

static void up_on_deadline(struct conn *c)
{
	struct up_h1 *u = container_of(c, struct up_h1, conn);

	OBJ_CHECK(&u->up, UP_MAGIC);
	if (u->state == UP_IDLE)
		up_destroy(u);
	else
		up_h1_fail(u, deadline_reason(u));
}

static void up_connected(struct up_h1 *u)
{
	const struct tls *t = tls_of(&u->conn);

	if (u->conn.error && t != NULL && tls_why(t) != NULL) {
		up_tls_failed(u->up.server, tls_why(t));
		up_h1_fail(u, REASON_SERVER_TLS);
		return;
	}
	if (u->conn.error) {
		up_h1_fail(u, REASON_CONNECT_REFUSED);
		return;
	}
	u->up.server->tls_said = false;
	u->up.connect_us = u->up.pool->loop->now_us - u->start_us;
	meter_observe(&server_meter(u->up.server)->connect, u->up.connect_us);
	up_set_state(u, UP_BUSY);
	up_set_deadline(u);
}

static void up_go_on(struct up_h1 *u)
{
	if (u->state == UP_BUSY)
		up_h1_flush(u);
	if (u->state == UP_BUSY)
		up_h1_run(u);
	if (u->state == UP_BUSY && up_tunnel_broken(u))
		up_h1_fail(u, REASON_SERVER_RESET);
}

static void up_on_ready(struct conn *c)
{
	struct up_h1 *u = container_of(c, struct up_h1, conn);

	OBJ_CHECK(&u->up, UP_MAGIC);
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
	struct up_h1 *u = container_of(t, struct up_h1, later);

	OBJ_CHECK(&u->up, UP_MAGIC);
	up_go_on(u);
}

static struct up_h1 *up_connect(struct pool *p, struct server *s, const struct span *preface)
{
	struct up_h1 *u = slab_get(&p->ups);

	if (u == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	*u = (struct up_h1){ .up = { .magic = UP_MAGIC, .codec = &up_h1_codec, .pool = p, .server = s },
			     .once = preface != NULL };
	list_init(&u->node);
	task_init(&u->later, up_later);
	u->start_us = p->loop->now_us;
	if (!up_dial(p, s, &u->conn, &up_conn_ops, preface)) {
		int e = errno;

		slab_put(&p->ups, u);
		errno = e;
		return NULL;
	}
	u->state = u->conn.connecting ? UP_CONNECTING : UP_BUSY;
	if (u->state == UP_BUSY)
		meter_observe(&server_meter(s)->connect, 0);
	return u;
}

static struct up *up_h1_open(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_times *times,
			     const struct span *preface)
{
	struct up_h1 *u = NULL;
	bool reused;

	if (reuse != UP_FRESH && preface == NULL)
		u = pool_get(p, s, reuse == UP_REUSE_PROBED);
	reused = u != NULL;
	if (u == NULL)
		u = up_connect(p, s, preface);
	if (u == NULL)
		return NULL;
	up_h1_reset(u);
	u->up.reused = reused;
	u->up.connect_us = 0;
	u->up.times = *times;
	if (u->state == UP_CONNECTING)
		conn_deadline(&u->conn, (uint64_t)times->connect);
	return &u->up;
}

/* Request and answer are whole, nothing is left over, and nobody asked to close. */
static bool up_reusable(struct up_h1 *u)
{
	return u->state == UP_BUSY && !u->once && u->req_done && u->resp_done && u->keep && !u->write_failed &&
	       (u->in == NULL || buf_len(u->in) == 0) && u->up.server->group->conf->keepalive > 0 &&
	       conn_quiet(&u->conn, false);
}

static void up_h1_close(struct up *up)
{
	struct up_h1 *u = up_h1_of(up);

	must(u->state == UP_CONNECTING || u->state == UP_BUSY);
	if (u->held)
		up_h1_taken(u);
	/* What ends in the middle must not look whole. */
	if (u->tunnel && !(u->req_done && u->resp_done))
		conn_reset(&u->conn);
	if (!up_reusable(u)) {
		up_destroy(u);
		return;
	}
	buf_put(u->up.pool->bufs, &u->in);
	loop_cancel(&u->later);
	u->up.resp = NULL;
	pool_put(u->up.pool, u);
}

const struct up_codec up_h1_codec = {
	"http1", true, up_h1_open, up_h1_send_head, up_h1_send_body, up_h1_more, up_h1_close,
};
