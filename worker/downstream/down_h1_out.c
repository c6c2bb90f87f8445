/*
 * down_h1_out.c - HTTP/1 answers to a client: the side table of an exchange
 * (RFC 9112).
 *
 * Called by the exchange. A head waits in the output until a body batch goes
 * with it, or the turn ends. Decides how the answer is framed and whether the
 * connection lives on; both are said in the head.
 */
#include "common/obj.h"
#include "worker/downstream/client_conn.h"

/* Everything that was given is out. */
static void client_drained(struct client *c)
{
	if (c->msg->sent_held) {
		c->msg->sent_held = false;
		if (c->msg->tunnel && c->x->resp_last)
			conn_shut(&c->conn);
		exchange_on_sent(c->x);
	}
}

void client_flush(struct client *c)
{
	struct iovec iov[H1_SEND_IOV];
	struct message *m = c->msg;
	bool moved = false;
	size_t put;

	OBJ_CHECK(c, CLIENT_MAGIC);
	must(c->x != NULL);
	loop_cancel(&c->later);
	while (m && !h1_send_empty(&m->send) && c->conn.can_write) {
		unsigned n = h1_send_iov(&m->send, iov);
		enum io_rc rc = conn_sendv(&c->conn, iov, n, &put);

		if (rc == IO_AGAIN)
			break;
		if (rc != IO_OK) {
			exchange_on_client_gone(c->x, REASON_CLIENT_ABORT);
			return;
		}
		shm_count(c->env->shm, STAT_BYTES_OUT, put);
		h1_send_wrote(&m->send, put, &c->env->bufs);
		moved = true;
	}
	client_set_deadline(c);
	if (moved && h1_send_empty(&m->send))
		client_drained(c);
}

static void side_interim(struct exchange *x, const struct head *h)
{
	struct client *c = x->side_owner;
	struct h1_out o = { .proto = PROTO_HTTP11 };
	struct buf *b;

	if (x->req.proto == PROTO_HTTP10)
		return;			/* RFC 9110 15.2: never to a 1.0 client */
	b = h1_send_room(&c->msg->send, &c->env->bufs, h1_head_size(h));
	if (b == NULL)
		return;
	b->end += (uint32_t)h1_write_response(h, &o, buf_tail(b), buf_room(b));
	client_flush(c);
}

/* Answered without leave to send the body: the client may send it or not (RFC 9110 10.1.1), so what follows is uncertain. */
static bool body_unasked(const struct client *c)
{
	return c->body_open && c->x->req.expect_continue && !c->msg->continued;
}

/* The rest of the request body can be read off and the connection kept. */
static bool body_is_short(const struct client *c)
{
	const struct exchange *x = c->x;

	if (!c->body_open)
		return true;
	if (body_unasked(c))
		return false;
	return x->req.body == BODY_LENGTH && c->body.left <= DRAIN_BYTES;
}

static bool may_keep(const struct client *c)
{
	const struct exchange *x = c->x;

	if (c->env->draining || x->tunnel || !c->msg->wire.keep_alive || !c->msg->framed || c->eof)
		return false;
	if (c->listen->max_requests && c->requests >= (uint64_t)c->listen->max_requests)
		return false;
	if (x->req_state == REQ_FAILED || body_unasked(c))
		return false;
	/* A handler that is still reading may finish the body; one that answers by itself will not. */
	return x->req_state == REQ_DONE || (x->handler && !x->own_answer) || body_is_short(c);
}

static void side_head(struct exchange *x)
{
	struct client *c = x->side_owner;
	struct message *m = c->msg;
	const struct head *h = &x->resp;
	bool old = x->req.proto == PROTO_HTTP10;
	bool unsized = h->body == BODY_STREAM || h->body == BODY_CLOSE;
	struct h1_out o = { .proto = PROTO_HTTP11, .date = env_date(c->env) };
	struct buf *b;

	m->no_body = x->req.method == METHOD_HEAD;
	m->chunked = unsized && !old && !m->no_body;
	m->tunnel = h->body == BODY_TUNNEL;
	m->framed = (!unsized || m->chunked || m->no_body) && !m->tunnel;
	c->keep = may_keep(c);
	o.chunked = m->chunked;
	o.to_head = m->no_body;
	o.close = !c->keep;
	o.upgrade = m->tunnel;
	o.keep_alive = c->keep && old;
	b = h1_send_room(&m->send, &c->env->bufs, h1_head_size(h));
	if (b == NULL) {
		exchange_on_client_gone(x, REASON_NO_MEMORY);
		return;
	}
	b->end += (uint32_t)h1_write_response(h, &o, buf_tail(b), buf_room(b));
	if (m->tunnel) {
		h1_body_init(&c->body, BODY_TUNNEL, 0);
		c->body_open = m->continued = true;
	}
	if (h->body == BODY_NONE || m->tunnel)
		client_flush(c);
	else
		loop_defer(c->env->loop, &c->later);
}

static enum take side_body(struct exchange *x, const struct batch *b)
{
	struct client *c = x->side_owner;
	struct message *m = c->msg;

	if (!m->no_body && !h1_send_batch(&m->send, b, m->chunked, &c->env->bufs)) {
		exchange_on_client_gone(x, REASON_NO_MEMORY);
		return TAKEN;
	}
	client_flush(c);
	if (x->ended)
		return TAKEN;
	if (h1_send_empty(&m->send)) {
		if (m->tunnel && b->last)
			conn_shut(&c->conn);
		return TAKEN;
	}
	m->sent_held = true;
	return HELD;
}

/* A client that waits for leave to send its body gets it (RFC 9110 10.1.1). */
static void send_continue(struct client *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct buf *b;

	if (c->msg->continued)
		return;
	c->msg->continued = true;
	if (!c->x->req.expect_continue || c->x->req.proto == PROTO_HTTP10 || (c->in && buf_len(c->in)))
		return;
	b = h1_send_room(&c->msg->send, &c->env->bufs, sizeof(text));
	if (b && buf_add(b, span_of(text)))
		client_flush(c);
}

static void side_want_body(struct exchange *x)
{
	struct client *c = x->side_owner;

	if (c->held) {
		client_batch_taken(c);
	} else if (c->body_open) {
		send_continue(c);
		if (x->ended)
			return;
	}
	client_set_deadline(c);
	if (!c->running)
		client_run(c);
}

static void side_abort(struct exchange *x)
{
	struct client *c = x->side_owner;

	c->keep = false;
	/* Only a reset tells the client that an answer ended by the close is not whole. */
	if (!c->msg->framed)
		conn_reset(&c->conn);
}

static void side_done(struct exchange *x)
{
	struct client *c = x->side_owner;
	bool failed = x->resp_state == RESP_FAILED;

	h1_send_fini(&c->msg->send, &c->env->bufs);
	if (c->held)
		client_batch_taken(c);
	if (!body_is_short(c))
		c->keep = false;
	c->x = NULL;
	c->msg = NULL;
	loop_cancel(&c->later);
	if (failed || x->tunnel || c->conn.fd < 0) {
		client_close(c);
		return;
	}
	if (c->keep) {
		client_set_state(c, c->body_open ? CLIENT_DRAIN : CLIENT_IDLE);
	} else if (!c->body_open && !c->eof && !c->conn.can_read && (c->in == NULL || buf_len(c->in) == 0)) {
		client_close(c);	/* nothing unread: the close cannot become a reset */
		return;
	} else {
		conn_shut(&c->conn);
		client_set_state(c, CLIENT_LINGER);
	}
	c->discarded = 0;
	client_set_deadline(c);
	if (!c->running && (c->in || c->conn.can_read || c->conn.hup))
		loop_defer(c->env->loop, &c->later);
}

const struct side_ops client_side = {
	.name = "h1",
	.interim = side_interim,
	.head = side_head,
	.body = side_body,
	.want_body = side_want_body,
	.abort = side_abort,
	.done = side_done,
};
