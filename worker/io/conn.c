/*
 * conn.c - a stream connection: one descriptor, its readiness, one deadline.
 *
 * Owns the descriptor from conn_init() to conn_close(). Called by the codecs on
 * either side, the checker and layer 4. Turns edges of epoll into flags that
 * stay true until the kernel says otherwise. Never holds bytes, never logs,
 * never frees its own memory.
 */
#include "worker/io/conn.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/sock.h"

/* ---- plain transport ---- */

/* The first failure is the true one; those that follow from it say EPIPE. */
static enum io_rc failed(struct conn *c)
{
	if (c->error == 0)
		c->error = errno;
	c->broken = true;
	c->can_write = false;
	return IO_FAIL;
}

static enum io_rc plain_recv(struct conn *c, void *p, size_t n, size_t *got)
{
	ssize_t r;

	do {
		r = recv(c->fd, p, n, MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	if (r > 0) {
		*got = (size_t)r;
		/* Drained; the next byte makes a new edge. After a hangup no edge comes any more. */
		if ((size_t)r < n && !c->hup && !c->broken)
			c->can_read = false;
		return IO_OK;
	}
	c->can_read = false;
	if (r < 0)
		return errno == EAGAIN ? IO_AGAIN : failed(c);
	c->hup = true;
	/* The kernel tells of a reset once; if a write was told, what looks like an end here is none. */
	return c->error != 0 ? IO_FAIL : IO_EOF;
}

static size_t iov_bytes(const struct iovec *iov, unsigned n)
{
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

static enum io_rc plain_sendv(struct conn *c, const struct iovec *iov, unsigned n, size_t *put)
{
	struct msghdr mh = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n < IOV_MAX ? n : IOV_MAX };
	ssize_t r;

	do {
		/* One run of bytes is the usual case, and spares the kernel a message header. */
		r = n == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
			   : sendmsg(c->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		c->can_write = false;
		if (errno == EAGAIN)
			return IO_AGAIN;
		/* What the peer sent before it broke off may be there, its event still on the way. */
		c->can_read = true;
		return failed(c);
	}
	*put = (size_t)r;
	if ((size_t)r < iov_bytes(iov, (unsigned)mh.msg_iovlen))
		c->can_write = false;
	return IO_OK;
}

static void plain_shut(struct conn *c)
{
	/* A connection that is gone already has nothing to end. */
	(void)shutdown(c->fd, SHUT_WR);
}

static void plain_close(struct conn *c)
{
	(void)c;
}

const struct transport transport_plain = {
	.name = "plain",
	.recv = plain_recv,
	.sendv = plain_sendv,
	.shut = plain_shut,
	.close = plain_close,
};

/* ---- events ---- */

/* A new socket has room for them. What follows goes along in the same packet. */
static void send_preface(struct conn *c)
{
	const struct span *s = c->preface;

	c->preface = NULL;
	if (s == NULL || c->error != 0)
		return;
	if (send(c->fd, s->p, s->n, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE) == (ssize_t)s->n)
		return;
	c->error = errno ? errno : EPIPE;
	c->broken = true;
}

void conn_preface(struct conn *c, const struct span *bytes)
{
	OBJ_CHECK(c, CONN_MAGIC);
	c->preface = bytes;
	if (!c->dialing)
		send_preface(c);
}

/* True when dialing ended, one way or the other. A transport may have a handshake to make before the owner hears of it. */
static bool end_dialing(struct conn *c, uint32_t events)
{
	if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)
		return false;
	c->dialing = false;
	c->error = sock_error(c->fd);
	if (c->error == 0 && (events & (EPOLLERR | EPOLLHUP)) != 0)
		c->error = ECONNRESET;
	if (c->error != 0)
		c->broken = true;
	send_preface(c);
	if (c->error != 0 || c->tp->event == NULL)
		c->connecting = false;
	return true;
}

static void on_event(struct watch *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);
	bool changed = false;

	OBJ_CHECK(c, CONN_MAGIC);
	if (c->dialing) {
		if (!end_dialing(c, events))
			return;
		changed = true;
	}
	const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
	const bool hup = (events & EPOLLRDHUP) != 0;
	/* Only a call to the kernel tells what a hangup means, so both directions count as ready. */
	const bool ended = c->hup && !c->can_read;	/* IO_EOF was given */
	const bool in = (broken && !c->broken) || (!ended && (broken || hup || (events & EPOLLIN) != 0));
	const bool out = broken || (events & EPOLLOUT) != 0;

	changed |= (in && !c->can_read) || (out && !c->can_write) || (hup && !c->hup) || (broken && !c->broken);
	c->can_read |= in;
	c->can_write |= out;
	c->hup |= hup;
	c->broken |= broken;
	if (c->tp->event != NULL && c->error == 0)
		changed |= c->tp->event(c, in, out);
	if (changed && !c->connecting)
		c->ops->on_ready(c);
}

static void on_expire(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);

	OBJ_CHECK(c, CONN_MAGIC);
	c->ops->on_deadline(c);
}

bool conn_init(struct conn *c, struct loop *l, int fd, bool connecting, const struct conn_ops *ops)
{
	*c = (struct conn){
		.magic = CONN_MAGIC, .fd = fd, .loop = l, .watch = { .on_event = on_event },
		.tp = &transport_plain, .ops = ops,
		.dialing = connecting, .connecting = connecting, .can_write = !connecting,
	};
	timer_init(&c->timer, on_expire);
	if (loop_watch(l, fd, &c->watch))
		return true;
	c->fd = -1;
	c->watch.on_event = NULL;
	return false;
}

void conn_close(struct conn *c)
{
	OBJ_CHECK(c, CONN_MAGIC);
	if (c->fd < 0)
		return;
	timer_stop(&c->loop->wheel, &c->timer);
	c->watch.on_event = NULL;
	c->tp->close(c);
	close(c->fd);
	c->fd = -1;
	c->dialing = c->connecting = c->can_read = c->can_write = false;
}

void conn_reset(struct conn *c)
{
	const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	OBJ_CHECK(c, CONN_MAGIC);
	if (c->fd < 0)
		return;
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	c->broken = true;		/* no goodbye of the transport's either */
	conn_close(c);
}

void conn_shut(struct conn *c)
{
	OBJ_CHECK(c, CONN_MAGIC);
	if (c->fd >= 0)
		c->tp->shut(c);
}

enum io_rc conn_recv(struct conn *c, void *p, size_t n, size_t *got)
{
	OBJ_CHECK(c, CONN_MAGIC);
	must(c->fd >= 0);
	must(n > 0);
	*got = 0;
	if (c->can_read && !c->connecting)
		return c->tp->recv(c, p, n, got);
	if (c->error != 0)
		return IO_FAIL;
	return c->hup ? IO_EOF : IO_AGAIN;
}

enum io_rc conn_sendv(struct conn *c, const struct iovec *iov, unsigned n, size_t *put)
{
	OBJ_CHECK(c, CONN_MAGIC);
	must(c->fd >= 0);
	*put = 0;
	if (c->connecting)
		return IO_AGAIN;
	if (!c->can_write)
		return c->error != 0 ? IO_FAIL : IO_AGAIN;
	if (iov_bytes(iov, n) == 0)
		return IO_OK;
	return c->tp->sendv(c, iov, n, put);
}

void conn_look(struct conn *c)
{
	OBJ_CHECK(c, CONN_MAGIC);
	on_event(&c->watch, EPOLLIN | EPOLLOUT);
}

bool conn_quiet(struct conn *c, bool ask)
{
	char byte;
	size_t got;

	if (c->hup || c->broken)
		return false;
	if (ask) {
		c->can_read = true;
		if (c->tp->ask != NULL)
			c->tp->ask(c);
	}
	return !c->can_read || conn_recv(c, &byte, 1, &got) == IO_AGAIN;
}

void conn_deadline(struct conn *c, uint64_t ms)
{
	OBJ_CHECK(c, CONN_MAGIC);
	if (ms == 0) {
		timer_stop(&c->loop->wheel, &c->timer);
		return;
	}
	must(c->fd >= 0);
	timer_set(&c->loop->wheel, &c->timer, c->loop->now_ms + ms);
}
