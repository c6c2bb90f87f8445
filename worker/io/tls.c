/*
 * tls.c - the TLS transport of a connection.
 *
 * Called through conn.c alone, once it is in place. The library reads straight
 * from the socket and writes into scratch memory, which goes out in one send at
 * the end of each call; what the socket does not take is kept. Never logs, never
 * calls the conn's owner.
 */
#include "worker/io/tls_parts.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/obj.h"

#define OUT_MAX (1u << 20)		/* of what a peer does not take; a flight of a handshake fits in */
#define TALK_MAX 32			/* handshake messages after the handshake, within TALK_MS */
#define TALK_MS 60000u

/* ---- the socket ---- */

static int bio_read(BIO *b, char *p, size_t n, size_t *got)
{
	struct tls *t = BIO_get_data(b);
	struct conn *c = t->c;
	ssize_t r;

	BIO_clear_retry_flags(b);
	*got = 0;
	if (c == NULL || t->raw_eof || t->flood)
		return 0;
	if (!t->raw_in) {
		BIO_set_retry_read(b);
		return 0;
	}
	do {
		r = recv(c->fd, p, n, MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	if (r > 0) {
		if ((size_t)r < n && !c->hup && !c->broken)
			t->raw_in = false;
		/* A record of a handshake begins with 22; a method in capitals is somebody who took this port for another. */
		if (!t->begun && t->server && p[0] >= 'A' && p[0] <= 'Z') {
			t->clear = true;
			return 0;
		}
		t->begun = true;
		*got = (size_t)r;
		return 1;
	}
	t->raw_in = false;
	if (r < 0 && errno == EAGAIN) {
		BIO_set_retry_read(b);
		return 0;
	}
	if (r < 0 && c->error == 0)
		c->error = errno;
	t->raw_eof = true;
	return 0;
}

/* What the library wrote in this call goes behind what is still waiting. */
static bool keep_sealed(struct tls *t)
{
	struct tls_pool *p = t->pool;
	size_t have = t->out != NULL ? buf_len(t->out) : 0;

	if (p->nsealed == 0)
		return true;
	if (have + p->nsealed > OUT_MAX)
		return false;
	if (t->out == NULL)
		t->out = buf_get(p->bufs, p->nsealed);
	else if (buf_room(t->out) < p->nsealed && !buf_grow(p->bufs, &t->out, have + p->nsealed))
		return false;
	if (t->out == NULL || !buf_add(t->out, span_make(p->sealed, p->nsealed)))
		return false;
	p->nsealed = 0;
	return true;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *put)
{
	struct tls *t = BIO_get_data(b);
	struct tls_pool *pool = t->pool;

	BIO_clear_retry_flags(b);
	*put = 0;
	if (t->c == NULL)
		return 0;
	if (n > TLS_SEALED_MAX - pool->nsealed && !keep_sealed(t))
		return 0;
	if (n > TLS_SEALED_MAX)
		n = TLS_SEALED_MAX;
	memcpy(pool->sealed + pool->nsealed, p, n);
	pool->nsealed += n;
	*put = n;
	return 1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	const struct tls *t = BIO_get_data(b);

	(void)num;
	(void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return t->raw_eof && t->c != NULL && t->c->error == 0;
	default:
		return 0;
	}
}

static void go_mute(struct tls *t, int error)
{
	struct conn *c = t->c;

	t->mute = true;
	if (c->error == 0)
		c->error = error;
	c->broken = true;
	c->can_write = false;
}

static void fail(struct tls *t, int error)
{
	t->failed = true;
	go_mute(t, error);
}

/* Sends some; the number that left, 0 when the socket is full. False: broken. */
static bool push(struct tls *t, const char *p, size_t n, size_t *put)
{
	ssize_t r;

	do {
		r = send(t->c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	*put = r > 0 ? (size_t)r : 0;
	if (r >= 0 || errno == EAGAIN)
		return true;
	/* What the peer sent before it broke off may be there. */
	t->c->can_read = t->raw_in = true;
	go_mute(t, errno);
	return false;
}

static void end_fd(struct tls *t)
{
	t->shut_fd = false;
	(void)shutdown(t->c->fd, SHUT_WR);
}

/* All that is sealed, as far as the socket takes it; the rest is kept. False: broken. */
static bool flush(struct tls *t)
{
	struct tls_pool *p = t->pool;
	size_t put;

	if (t->mute) {
		p->nsealed = 0;
		return false;
	}
	if (t->out != NULL) {
		if (!keep_sealed(t)) {
			p->nsealed = 0;
			fail(t, ENOBUFS);
			return false;
		}
		if (!push(t, t->out->data + t->out->start, buf_len(t->out), &put))
			return false;
		buf_consume(t->out, put);
		if (buf_len(t->out) == 0)
			buf_put(p->bufs, &t->out);
	} else if (p->nsealed > 0) {
		if (!push(t, p->sealed, p->nsealed, &put)) {
			p->nsealed = 0;
			return false;
		}
		memmove(p->sealed, p->sealed + put, p->nsealed - put);
		p->nsealed -= put;
		if (!keep_sealed(t)) {
			p->nsealed = 0;
			fail(t, ENOMEM);
			return false;
		}
	}
	if (t->out != NULL)
		t->c->can_write = false;
	else if (t->shut_fd)
		end_fd(t);
	return true;
}

/* ---- handshakes ---- */

static const char *library_reason(const SSL *ssl)
{
	unsigned long e = ERR_peek_error();
	long verify = SSL_get_verify_result(ssl);
	const char *text = NULL;

	if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
		text = X509_verify_cert_error_string(verify);
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CALLBACK_FAILED)
		text = "the name that was asked for is unknown or malformed";
	else if (e != 0)
		text = ERR_reason_error_string(e);
	return text != NULL ? text : "the peer closed the connection";
}

/* Renegotiation is refused, key updates and tickets are answered: each costs us more than the peer, so they are counted. */
void tls_on_message(int write_p, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
	struct tls *t = arg;

	(void)version;
	/* TLS 1.2 shows its kind of record outside, TLS 1.3 inside. */
	if (write_p || len == 0 || (type != SSL3_RT_HEADER && type != SSL3_RT_INNER_CONTENT_TYPE))
		return;
	type = *(const unsigned char *)buf;
	if ( type != SSL3_RT_HANDSHAKE || !SSL_is_init_finished(ssl) || t->c == NULL)
		return;
	if (t->c->loop->now_ms - t->talk_ms > TALK_MS) {
		t->talk_ms = t->c->loop->now_ms;
		t->talk = 0;
	}
	if (++t->talk > TALK_MAX)
		t->flood = true;
}

static void hand_over(struct tls *t)
{
	struct conn *c = t->c;

	c->connecting = false;
	/* The library may have read on. */
	c->can_read = true;
	c->can_write = t->out == NULL && !t->mute;
}

/* The bytes are gone, but who sent them can still be told in clear. */
static void become_clear(struct tls *t)
{
	struct conn *c = t->c;

	t->pool->nsealed = 0;
	t->failed = t->mute = true;
	c->tp->close(c);
	c->connecting = false;
	c->tp = &transport_plain;
	c->tp_state = NULL;
	c->was_clear = true;
	c->can_read = c->can_write = true;
}

/* True when it is over, one way or the other. */
static bool shake(struct tls *t)
{
	int r, error;

	ERR_clear_error();
	r = SSL_do_handshake(t->ssl);
	error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
	if (t->clear) {
		become_clear(t);
		return true;
	}
	if (r != 1 && error != SSL_ERROR_WANT_READ) {
		t->why = library_reason(t->ssl);
		if (t->peer != NULL)
			tls_peer_forget(t->peer);
		(void)flush(t);		/* an alert that says why */
		fail(t, EPROTO);
		ERR_clear_error();
		hand_over(t);
		return true;
	}
	if (!flush(t) || error == SSL_ERROR_NONE) {
		if (t->mute) {
			t->why = "the peer closed the connection";
			t->failed = true;
		}
		hand_over(t);
		return true;
	}
	return false;
}

/* ---- whose turn it is ---- */

static void wait_for_step(struct tls *t)
{
	struct tls_pool *p = t->pool;

	if (list_linked(&t->waiting))
		return;
	list_append(&p->waiting, &t->waiting);
	p->put_off += p->nwaiting++ >= TLS_STEPS;
	loop_defer(t->c->loop, &p->steps);
}

static void stop_waiting(struct tls *t)
{
	if (!list_linked(&t->waiting))
		return;
	list_del(&t->waiting);
	t->pool->nwaiting--;
}

void tls_on_steps(struct task *task)
{
	struct tls_pool *p = container_of(task, struct tls_pool, steps);
	struct list *n;

	while ((n = list_first(&p->waiting)) != NULL) {
		struct tls *t = container_of(n, struct tls, waiting);
		struct conn *c = t->c;

		OBJ_CHECK(t, TLS_MAGIC);
		if (p->turn_us != c->loop->now_us)
			p->nsteps = 0;
		p->turn_us = c->loop->now_us;
		if (p->nsteps++ >= TLS_STEPS) {
			loop_defer(c->loop, task);
			return;
		}
		stop_waiting(t);
		if (shake(t))
			c->ops->on_ready(c);
	}
}

/* ---- the table ---- */

static bool tls_event(struct conn *c, bool in, bool out)
{
	struct tls *t = c->tp_state;

	OBJ_CHECK(t, TLS_MAGIC);
	t->raw_in |= in;
	if (c->connecting && !t->server)
		return shake(t);
	if (c->connecting) {
		wait_for_step(t);
		return false;
	}
	/* Ours to write, not the owner's. */
	if (out && t->out != NULL && t->owed == 0 && !t->mute) {
		c->can_write = true;
		return !flush(t);
	}
	return false;
}

static void tls_ask(struct conn *c)
{
	((struct tls *)c->tp_state)->raw_in = true;
}

/* The stream ended without a close_notify: to a server nothing is lost that the framing of requests would not show; from a
 * server an answer may have been cut off by anybody on the way. */
static enum io_rc raw_end(struct tls *t)
{
	struct conn *c = t->c;

	c->hup = true;
	if (c->error != 0 || !t->server) {
		fail(t, ECONNRESET);
		return IO_FAIL;
	}
	return IO_EOF;
}

static enum io_rc recv_ended(struct tls *t, int r)
{
	struct conn *c = t->c;

	c->can_read = false;
	switch (t->flood ? SSL_ERROR_SSL : SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		c->hup = true;
		return IO_EOF;
	default:
		break;
	}
	ERR_clear_error();
	if (t->raw_eof && !t->flood)
		return raw_end(t);
	fail(t, EPROTO);
	return IO_FAIL;
}

static enum io_rc tls_recv(struct conn *c, void *p, size_t n, size_t *got)
{
	struct tls *t = c->tp_state;
	bool sound;
	int r;

	OBJ_CHECK(t, TLS_MAGIC);
	if (t->failed) {
		c->can_read = false;
		return IO_FAIL;
	}
	ERR_clear_error();
	r = SSL_read_ex(t->ssl, p, n, got);
	sound = t->pool->nsealed == 0 || flush(t);
	if (r != 1 || t->flood) {
		*got = 0;
		return recv_ended(t, r);
	}
	if (!sound)
		c->can_read = true;	/* the failure shows when what came before it is read */
	else if (!t->raw_in && !SSL_has_pending(t->ssl)) {
		c->can_read = false;
		SSL_free_buffers(t->ssl);
	}
	return IO_OK;
}

static size_t iov_bytes(const struct iovec *iov, unsigned n)
{
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

/* Up to TLS_PLAIN_MAX bytes of them in one piece. */
static const char *gather(struct tls_pool *p, const struct iovec *iov, unsigned n, size_t *total)
{
	size_t have = 0;

	if (n == 1 || iov[0].iov_len >= TLS_PLAIN_MAX) {
		*total = iov[0].iov_len < TLS_PLAIN_MAX ? iov[0].iov_len : TLS_PLAIN_MAX;
		return iov[0].iov_base;
	}
	for (unsigned i = 0; i < n && have < TLS_PLAIN_MAX; i++) {
		size_t part = iov[i].iov_len < TLS_PLAIN_MAX - have ? iov[i].iov_len : TLS_PLAIN_MAX - have;

		if (part > 0)
			memcpy(p->plain + have, iov[i].iov_base, part);
		have += part;
	}
	*total = have;
	return p->plain;
}

/* Bytes count as sent when their records have left, so that nobody closes over them. */
static enum io_rc tls_sendv(struct conn *c, const struct iovec *iov, unsigned n, size_t *put)
{
	struct tls *t = c->tp_state;
	size_t total, done = 0;
	const char *p;

	OBJ_CHECK(t, TLS_MAGIC);
	if (t->mute)
		return IO_FAIL;
	if (t->out != NULL && !flush(t))
		return IO_FAIL;
	if (t->out != NULL)
		return IO_OK;
	if (t->owed > 0) {
		must(t->owed <= iov_bytes(iov, n));
		*put = t->owed;
		t->owed = 0;
		return IO_OK;
	}
	p = gather(t->pool, iov, n, &total);
	if (total == 0)
		return IO_OK;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, p, total, &done) != 1 || done != total) {
		ERR_clear_error();
		t->pool->nsealed = 0;
		fail(t, EPROTO);
		return IO_FAIL;
	}
	if (!flush(t))
		return IO_FAIL;
	if (t->out != NULL)
		t->owed = (uint32_t)total;
	else
		*put = total;
	return IO_OK;
}

static void say_goodbye(struct tls *t)
{
	if (t->shut || t->mute || t->c->connecting)
		return;
	t->shut = true;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
}

static void tls_shut(struct conn *c)
{
	struct tls *t = c->tp_state;

	OBJ_CHECK(t, TLS_MAGIC);
	say_goodbye(t);
	t->shut_fd = true;
	if (!flush(t))
		end_fd(t);
}

static void tls_bury(struct grave *g)
{
	struct tls *t = container_of(g, struct tls, grave), *dead = t;
	struct tls_pool *p = t->pool;

	SSL_free(t->ssl);
	free(t->sni);
	OBJ_CLEAR(dead);
	slab_put(&p->tls, t);
}

static void tls_close(struct conn *c)
{
	struct tls *t = c->tp_state;

	OBJ_CHECK(t, TLS_MAGIC);
	stop_waiting(t);
	if (!c->broken) {
		say_goodbye(t);
		(void)flush(t);
	}
	t->pool->nsealed = 0;
	buf_put(t->pool->bufs, &t->out);
	t->peer = NULL;
	t->c = NULL;
	loop_bury(c->loop, &t->grave, tls_bury);
}

const struct transport transport_tls = {
	.name = "tls",
	.recv = tls_recv,
	.sendv = tls_sendv,
	.shut = tls_shut,
	.close = tls_close,
	.event = tls_event,
	.ask = tls_ask,
};

BIO_METHOD *tls_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");

	if (m == NULL)
		return NULL;
	BIO_meth_set_read_ex(m, bio_read);
	BIO_meth_set_write_ex(m, bio_write);
	BIO_meth_set_ctrl(m, bio_ctrl);
	return m;
}
