/*
 * down.c - life of client connections: accept, events, deadlines, end.
 *
 * Called by the acceptors (down_accept), the loop (readiness, deadlines) and the
 * worker (drain, stop). What the bytes mean is the business of down_h1*.c and
 * down_h2*.c.
 */
#include "worker/downstream/down.h"

#include <sys/socket.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "worker/downstream/client_conn.h"
#include "worker/downstream/down_h2.h"

void down_init(struct down *d, struct env *e)
{
	d->env = e;
	d->next_id = 0;
	d->ask_local = false;
	for (unsigned i = 0; i < e->conf->nupstreams; i++)
		d->ask_local |= e->conf->upstreams[i]->send_proxy != 0;
	d->h2 = NULL;
	sessions_init(&d->sessions);
	slab_init(&d->clients, "client", sizeof(struct client));
	slab_init(&d->h2s, "h2", sizeof(struct h2));
	slab_init(&d->h2_streams, "h2_stream", sizeof(struct h2_stream));
	fold_pool_init(&d->h2_folds);
}

void down_fini(struct down *d)
{
	slab_fini(&d->clients);
	slab_fini(&d->h2s);
	slab_fini(&d->h2_streams);
	fold_pool_fini(&d->h2_folds);
	h2_shared_free(d);
}

void client_set_state(struct client *c, enum client_state s)
{
	OBJ_CHECK(c, CLIENT_MAGIC);
	must(c->state != CLIENT_DEAD);
	c->state = (uint8_t)s;
	c->since_ms = c->env->loop->now_ms;
}

struct exchange *client_exchange(struct client *c, const struct side_ops *side, void *side_owner)
{
	struct exchange *x = exchange_new(c->env, side, side_owner);

	if (x == NULL)
		return NULL;
	c->requests++;
	x->listen = c->listen;
	x->tls = tls_of(&c->conn);
	x->peer = c->peer;
	x->local = &c->local;
	x->local_port = c->local_port;
	return x;
}

struct span client_scheme(const struct client *c)
{
	return c->listen->tls ? SPAN("https") : SPAN("http");
}

/* Milliseconds left of an absolute limit that began with the state; 0 means none, so never 0. */
static uint64_t left_of(const struct client *c, int64_t limit)
{
	uint64_t spent = c->env->loop->now_ms - c->since_ms;

	if (limit == 0)
		return 0;
	return spent < (uint64_t)limit ? (uint64_t)limit - spent : 1;
}

/* Draining, an idle connection is kept a little: a request may be on its way already. */
static uint64_t in_grace(const struct client *c, uint64_t ms)
{
	const struct env *e = c->env;

	return e->draining && (ms == 0 || ms > e->drain_grace_ms) ? e->drain_grace_ms : ms;
}

void client_set_deadline(struct client *c)
{
	const struct conf_listen *l = c->listen;
	uint64_t ms = 0;

	switch ((enum client_state)c->state) {
	case CLIENT_IDLE:
		ms = in_grace(c, left_of(c, c->requests ? l->idle_timeout : l->header_timeout));
		break;
	case CLIENT_PROXY:
		ms = in_grace(c, left_of(c, l->header_timeout));
		break;
	case CLIENT_HEAD:
		ms = left_of(c, l->header_timeout);
		break;
	case CLIENT_BUSY:
		if (c->msg && c->msg->tunnel)
			break;		/* the exchange knows both directions */
		if (c->msg && !h1_send_empty(&c->msg->send))
			ms = (uint64_t)l->send_timeout;
		else if (c->x->body_wanted && !c->held)
			ms = (uint64_t)l->body_timeout;
		break;
	case CLIENT_H2:
		ms = h2_deadline(c->h2);
		break;
	case CLIENT_DRAIN:
	case CLIENT_LINGER:
		ms = left_of(c, LINGER_MS);
		break;
	case CLIENT_DEAD:
		return;
	}
	conn_deadline(&c->conn, ms);
}

static void client_bury(struct grave *g)
{
	struct client *c = container_of(g, struct client, grave);
	struct client *dead = c;
	struct down *d = c->down;

	OBJ_CLEAR(dead);
	slab_put(&d->clients, c);
}

static void count_listen(struct shm *shm, unsigned listen, int by)
{
	_Atomic uint32_t *open = &shm_open_conns(shm, shm->slot)[listen];

	atomic_store_explicit(open, atomic_load_explicit(open, memory_order_relaxed) + (uint32_t)by, memory_order_relaxed);
}

void client_close(struct client *c)
{
	struct env *e = c->env;

	must(c->x == NULL);
	if (c->h2)
		h2_free(c, REASON_CLIENT_ABORT);
	client_set_state(c, CLIENT_DEAD);
	loop_cancel(&c->later);
	conn_close(&c->conn);
	buf_put(&e->bufs, &c->in);
	sessions_pass(&c->down->sessions, &c->node);
	list_del(&c->node);
	e->nconns--;
	shm_gauge(e->shm, STAT_ACTIVE_CONNS, -1);
	count_listen(e->shm, c->listen->id, -1);
	loop_bury(e->loop, &c->grave, client_bury);
	if (e->on_conn_gone)
		e->on_conn_gone(e);
}

static void client_on_deadline(struct conn *conn)
{
	struct client *c = container_of(conn, struct client, conn);

	OBJ_CHECK(c, CLIENT_MAGIC);
	switch ((enum client_state)c->state) {
	case CLIENT_PROXY:
		client_proxy_late(c);
		break;
	case CLIENT_HEAD:
		client_head_timeout(c);
		break;
	case CLIENT_BUSY:
		if (c->msg && !h1_send_empty(&c->msg->send))
			exchange_on_client_gone(c->x, REASON_SEND_TIMEOUT);
		else if (c->x->body_wanted) {
			c->msg->wire.keep_alive = false;
			exchange_fail(c->x, REASON_BODY_TIMEOUT);
		}
		break;
	case CLIENT_IDLE:
		if (c->requests)
			shm_count_reason(c->env->shm, REASON_IDLE_TIMEOUT);
		client_close(c);
		break;
	case CLIENT_H2:
		h2_on_deadline(c->h2);
		break;
	case CLIENT_DRAIN:
	case CLIENT_LINGER:
		client_close(c);
		break;
	case CLIENT_DEAD:
		break;
	}
}

bool client_secure(struct client *c)
{
	struct env *e = c->env;

	if (!c->listen->tls)
		return true;
	c->securing = tls_accept(&c->conn, &e->tls, e->tls_servers[c->listen->id]);
	return c->securing;
}

/* The handshake is over. False: and so is the connection. */
static bool client_secured(struct client *c)
{
	const struct tls *t = tls_of(&c->conn);
	struct shm *shm = c->env->shm;
	char ip[ADDR_TEXT];

	c->securing = false;
	if (tls_was_clear(&c->conn)) {
		shm_count(shm, STAT_TLS_FAILURES, 1);
		client_was_clear(c);
		return false;
	}
	if (c->conn.error != 0 || t == NULL) {
		addr_ip_text(&c->peer, ip, sizeof(ip));
		log_info("client %s: the TLS handshake failed: %s", ip, t && tls_why(t) ? tls_why(t) : "the client left");
		shm_count(shm, STAT_TLS_FAILURES, 1);
		client_close(c);
		return false;
	}
	shm_count(shm, STAT_TLS_HANDSHAKES, 1);
	if (tls_resumed(t))
		shm_count(shm, STAT_TLS_RESUMED, 1);
	if (tls_chose_h2(t) && !h2_start(c)) {
		client_close(c);
		return false;
	}
	c->since_ms = c->env->loop->now_ms;
	client_set_deadline(c);
	return true;
}

/* Its connection is lost and the exchange with it. In a tunnel that has had its last bytes from the server, both ends being
 * closed looks the same; there only reading tells. */
static bool client_left(const struct client *c)
{
	if (!c->conn.broken || c->state != CLIENT_BUSY)
		return false;
	return !c->msg->tunnel || c->x->resp_state != RESP_DONE;
}

static void client_on_ready(struct conn *conn)
{
	struct client *c = container_of(conn, struct client, conn);

	OBJ_CHECK(c, CLIENT_MAGIC);
	panic_note()->conn = conn->id;
	if (c->securing && !client_secured(c))
		return;
	if (client_left(c)) {
		exchange_on_client_gone(c->x, REASON_CLIENT_ABORT);
		return;
	}
	if (c->state == CLIENT_BUSY)
		client_flush(c);
	if (c->state == CLIENT_H2)
		h2_run(c);
	else if (c->state != CLIENT_DEAD)
		client_run(c);
	panic_note()->conn = 0;
}

static void client_later(struct task *t)
{
	struct client *c = container_of(t, struct client, later);

	OBJ_CHECK(c, CLIENT_MAGIC);
	if (c->state == CLIENT_BUSY)
		client_flush(c);
	if (c->state == CLIENT_H2)
		h2_run(c);
	else if (c->state != CLIENT_DEAD)
		client_run(c);
}

/* Only who is trusted may tell whose connection it is. False: nobody else may come at all. */
static bool first_state(struct client *c)
{
	const struct conf_listen *l = c->listen;
	char ip[ADDR_TEXT];

	c->state = CLIENT_IDLE;
	if (l->proxy_protocol == CONF_PROXY_OFF)
		return true;
	if (nets_have(l->trusted, l->ntrusted, &c->peer)) {
		c->state = CLIENT_PROXY;
		return true;
	}
	if (l->proxy_protocol == CONF_PROXY_OPTIONAL)
		return true;
	addr_ip_text(&c->peer, ip, sizeof(ip));
	log_info("client %s: not one of trusted_proxies, where a PROXY header is required", ip);
	shm_count_reason(c->env->shm, REASON_DENIED);
	return false;
}

/* A listener on every address does not know on which of them a client came. */
static void find_local(struct client *c, int fd, const struct addr *listens)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	c->local = *listens;
	c->local_port = listens->port;
	if (c->down->ask_local && getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		addr_from_sockaddr(&c->local, (struct sockaddr *)&ss, len);
}

static const struct conn_ops client_conn_ops = { client_on_ready, client_on_deadline };

bool down_accept(struct down *d, int fd, const struct addr *peer, const struct addr *local,
		 const struct conf_listen *listen)
{
	struct env *e = d->env;
	struct client *c = slab_get(&d->clients);

	if (c == NULL)
		return false;
	c->magic = CLIENT_MAGIC;
	c->down = d;
	c->env = e;
	c->listen = listen;
	c->peer = *peer;
	find_local(c, fd, local);
	if (!first_state(c) || !conn_init(&c->conn, e->loop, fd, false, &client_conn_ops)) {
		slab_put(&d->clients, c);
		return false;
	}
	if (c->state != CLIENT_PROXY && !client_secure(c)) {
		conn_close(&c->conn);
		slab_put(&d->clients, c);
		return true;
	}
	c->conn.id = ++d->next_id;
	task_init(&c->later, client_later);
	list_init(&c->node);
	list_append(&e->conns, &c->node);
	e->nconns++;
	shm_count(e->shm, STAT_CONNS, 1);
	shm_gauge(e->shm, STAT_ACTIVE_CONNS, 1);
	meter_add(meter_in(shm_own(e->shm), meter_listen_at(e->shm, listen->id)), 1);
	count_listen(e->shm, listen->id, 1);
	c->born_ms = c->since_ms = e->loop->now_ms;
	client_set_deadline(c);
	return true;
}

void down_drain(struct down *d, uint64_t grace_ms)
{
	d->env->drain_grace_ms = grace_ms ? grace_ms : 1;
	list_each(n, &d->env->conns) {
		struct client *c = list_entry(n, struct client, node);

		if (c->state == CLIENT_IDLE || c->state == CLIENT_PROXY)
			client_set_deadline(c);
		else if (c->state == CLIENT_H2)
			h2_leave(c->h2);
	}
}

static bool has_tunnel(const struct client *c)
{
	return c->h2 ? h2_has_tunnel(c->h2) : c->state == CLIENT_BUSY && c->x->tunnel;
}

static void stop_one(struct client *c, enum reason why)
{
	if (c->state == CLIENT_BUSY)
		exchange_on_client_gone(c->x, why);
	if (c->h2)
		h2_free(c, why);
	if (c->state != CLIENT_DEAD)
		client_close(c);
}

unsigned down_stop_others(struct down *d, enum reason why)
{
	unsigned left = 0;

	list_each(n, &d->env->conns) {
		struct client *c = list_entry(n, struct client, node);

		if (has_tunnel(c))
			left++;
		else
			stop_one(c, why);
	}
	return left;
}

void down_stop(struct down *d, enum reason why)
{
	list_each(n, &d->env->conns)
		stop_one(list_entry(n, struct client, node), why);
}
