/*
 * up_h1.c - HTTP/1.1 to a server: one request out, one answer in (RFC 9112).
 *
 * Called by up.c on readiness and by handlers through up.h. The answer is
 * delivered in batches that point into the input buffer; while the owner holds
 * one, nothing is read. What is not certainly one answer fails the request, and
 * the connection is never used again.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#include "common/obj.h"
#include "worker/http/h1_gather.h"
#include "worker/http/ws_key.h"
#include "worker/upstream/pool.h"
#include "worker/upstream/up_conn.h"

#define UP_HEAD_MAX 32768	/* of an answer */
#define IDLE_MARGIN_MAX_MS 1000	/* given up of the time that a server keeps an idle connection */
#define UP_INTERIM_MAX 16	/* 1xx answers to one request */
#define UP_RUN_MAX 16		/* batches in one go, so that one fast server does not starve the others */

void up_h1_reset(struct up *u)
{
	u->stale = u->req_written = u->req_done = u->resp_head = u->resp_done = u->resp_bytes = false;
	u->keep = u->held = u->running = u->chunked = u->body_open = u->sent_held = u->write_failed = u->tunnel = false;
	u->filled = false;
	u->interims = 0;
	u->wait_ms = 0;
	u->serial++;
	memset(&u->scan, 0, sizeof(u->scan));
	memset(&u->send, 0, sizeof(u->send));
	u->batch_used = 0;
	u->resp = NULL;
}

/* ---- output ---- */

static void request_written(struct up *u)
{
	if (!u->body_open && !u->req_done) {
		u->req_done = true;
		if (u->tunnel)
			conn_shut(&u->conn);
	}
	if (u->sent_held) {
		u->sent_held = false;
		u->ops->on_sent(u);
	}
}

void up_h1_flush(struct up *u)
{
	struct iovec iov[H1_SEND_IOV];
	bool moved = false;
	size_t put;

	loop_cancel(&u->later);
	while (!h1_send_empty(&u->send) && !u->write_failed && u->conn.can_write) {
		unsigned n = h1_send_iov(&u->send, iov);
		enum io_rc rc = conn_sendv(&u->conn, iov, n, &put);

		if (rc == IO_AGAIN)
			break;
		u->req_written = true;
		if (rc != IO_OK) {
			/* An answer may have come before the server stopped reading. */
			u->write_failed = true;
			u->conn.can_read = true;
			if (u->tunnel)
				loop_defer(u->pool->loop, &u->later);
			break;
		}
		h1_send_wrote(&u->send, put, u->pool->bufs);
		moved = true;
	}
	up_set_deadline(u);
	if (moved && h1_send_empty(&u->send))
		request_written(u);
	if (u->state == UP_BUSY && u->req_done)
		up_set_deadline(u);
}

/* A key for a request that has none; what answers it is kept with the request. False: no memory. */
static bool make_ws_key(struct up *u, const struct head *req, struct span *key)
{
	unsigned char random[WS_KEY_RANDOM];
	char *p;

	u->ws_accept = *key = SPAN("");
	if (!ws_key_missing(req))
		return true;
	p = arena_bytes(req->arena, WS_KEY_LEN + 1 + WS_ACCEPT_LEN + 1);
	if (p == NULL || RAND_bytes(random, sizeof(random)) != 1)
		return false;
	ws_key_make(random, p);
	ws_key_accept(p, p + WS_KEY_LEN + 1);
	*key = span_make(p, WS_KEY_LEN);
	u->ws_accept = span_make(p + WS_KEY_LEN + 1, WS_ACCEPT_LEN);
	return true;
}

bool up_send_head(struct up *u, const struct head *req, struct head *resp)
{
	struct h1_out o = { .proto = PROTO_HTTP11, .chunked = req->body == BODY_STREAM, .upgrade = req->tunnel };
	struct buf *b = h1_send_room(&u->send, u->pool->bufs, h1_head_size(req));
	size_t n;

	OBJ_CHECK(u, UP_MAGIC);
	must(!u->req_written && u->resp == NULL);
	if (b == NULL || !make_ws_key(u, req, &o.ws_key))
		return false;
	n = h1_write_request(req, &o, buf_tail(b), buf_room(b));
	must(n > 0);
	b->end += (uint32_t)n;
	u->method = req->method;
	u->asked = req->tunnel ? req->upgrade_to : SPAN("");
	u->resp = resp;
	u->chunked = o.chunked;
	u->body_open = req->body != BODY_NONE && !(req->body == BODY_LENGTH && req->length == 0);
	if (u->state == UP_CONNECTING)
		return true;
	if (u->body_open || u->running)
		loop_defer(u->pool->loop, &u->later);
	else
		up_h1_flush(u);
	return true;
}

enum take up_send_body(struct up *u, const struct batch *b)
{
	OBJ_CHECK(u, UP_MAGIC);
	must(u->body_open && !u->sent_held);
	if (u->write_failed) {
		u->sent_held = true;	/* for good: the answer or the failure decides */
		return HELD;
	}
	if (!h1_send_batch(&u->send, b, u->chunked, u->pool->bufs)) {
		u->write_failed = u->sent_held = true;
		return HELD;
	}
	if (b->last)
		u->body_open = false;
	if (u->state == UP_BUSY)
		up_h1_flush(u);
	if (h1_send_empty(&u->send)) {
		if (u->tunnel && b->last)
			request_written(u);
		return TAKEN;
	}
	u->sent_held = true;
	return HELD;
}

/* ---- input ---- */

/* Room to read into; false: the limit is reached or there is no memory. */
static bool input_room(struct up *u)
{
	struct buf_pool *p = u->pool->bufs;

	/* What filled its buffer to the brim is likely to be long. */
	if (u->in == NULL || (u->filled && buf_len(u->in) == 0))
		return buf_for_reading(p, &u->in, u->filled && u->resp_head);
	if (buf_room(u->in) > 0)
		return true;
	if (u->in->start > 0) {
		buf_compact(u->in);
		return true;
	}
	return u->in->cap < UP_HEAD_MAX && buf_grow(p, &u->in, UP_HEAD_MAX + 1024);
}

/* The transport ended: in order where the body may end there, else a failure. */
static void input_end(struct up *u, bool in_order)
{
	if (!u->resp_head) {
		up_fail(u, REASON_SERVER_RESET);
		return;
	}
	if (!in_order || !h1_body_eof(&u->body)) {
		up_fail(u, u->tunnel ? REASON_SERVER_RESET : REASON_TRUNCATED);
		return;
	}
	u->keep = false;
	u->resp_done = true;
	batch_init(&u->batch);
	u->batch.last = true;
	u->batch_used = 0;
	conn_deadline(&u->conn, 0);
	u->ops->on_body(u, &u->batch);
}

/* True when bytes came. */
static bool input_read(struct up *u)
{
	enum io_rc rc;
	size_t got;

	if (!u->conn.can_read && !u->conn.hup && !u->conn.broken)
		return false;
	if (!input_room(u)) {
		up_fail(u, u->in ? REASON_SERVER_GARBAGE : REASON_NO_MEMORY);
		return false;
	}
	rc = conn_recv(&u->conn, buf_tail(u->in), buf_room(u->in), &got);
	if (rc == IO_AGAIN)
		return false;
	if (rc != IO_OK) {
		input_end(u, rc == IO_EOF);
		return false;
	}
	u->filled = got == buf_room(u->in) || (u->filled && got >= BUF_SIZE);
	u->in->end += (uint32_t)got;
	u->resp_bytes = true;
	up_set_deadline(u);
	return true;
}

/* A request must not meet a server that is just hanging up: one that may not be repeated would be lost. */
static uint64_t idle_ms(const struct h1_wire *w)
{
	uint64_t ms = (uint64_t)w->idle_s * 1000;

	return ms - (ms / 4 < IDLE_MARGIN_MAX_MS ? ms / 4 : IDLE_MARGIN_MAX_MS);
}

static void head_came(struct up *u, const struct h1_wire *w)
{
	struct head *h = u->resp;

	u->resp_head = true;
	if (h->status == 101) {
		h->body = BODY_TUNNEL;
		u->tunnel = u->body_open = true;
		u->req_done = u->chunked = false;
	}
	u->idle_ms = w->has_idle ? idle_ms(w) : 0;
	u->keep = w->keep_alive && h->body != BODY_CLOSE && !(w->has_idle && w->idle_s == 0);
	if (h->body == BODY_NONE)
		u->resp_done = true;
	else
		h1_body_init(&u->body, h->body, h->length);
	if (u->resp_done)
		conn_deadline(&u->conn, 0);
	else
		up_set_deadline(u);
	u->ops->on_head(u);
}

/* A switch of protocols (RFC 9110 7.8) answers a request that is out and offered just that. */
static bool switch_asked(const struct up *u)
{
	if (u->ws_accept.n && !ws_key_proven(u->resp, u->ws_accept))
		return false;
	return u->req_done && u->resp->proto == PROTO_HTTP11 && head_upgrade_matches(u->asked, u->resp->upgrade_to);
}

/* A head of `len` bytes lies in the input. True: go on. */
static bool take_head(struct up *u, size_t len)
{
	struct h1_wire w;
	struct arena *a = u->resp->arena;
	char *p = arena_bytes(a, len);
	enum h1_bad bad;

	if (p == NULL) {
		up_fail(u, REASON_NO_MEMORY);
		return false;
	}
	memcpy(p, u->in->data + u->in->start, len);
	buf_consume(u->in, len);
	memset(&u->scan, 0, sizeof(u->scan));
	bad = h1_parse_response(u->resp, &w, u->method, p, len);
	if (bad != H1_GOOD || (u->resp->status == 101 && !switch_asked(u))) {
		up_fail(u, REASON_SERVER_GARBAGE);
		return false;
	}
	if (u->resp->status >= 200 || u->resp->status == 101) {
		head_came(u, &w);
		return true;
	}
	if (++u->interims > UP_INTERIM_MAX) {
		up_fail(u, REASON_SERVER_GARBAGE);
		return false;
	}
	u->wait_ms = 0;			/* it is still at work */
	u->ops->on_interim(u, u->resp);
	if (u->state == UP_BUSY)
		head_init(u->resp, a);
	return true;
}

/* True: go on; false: more bytes are needed, or it is over. */
static bool run_head(struct up *u)
{
	enum h1_bad bad;
	size_t len;

	if (u->in == NULL || buf_len(u->in) == 0)
		return false;
	switch (h1_scan_head(&u->scan, u->in->data + u->in->start, buf_len(u->in), UP_HEAD_MAX, &len, &bad)) {
	case H1_DONE:
		return take_head(u, len);
	case H1_BROKEN:
		up_fail(u, REASON_SERVER_GARBAGE);
		return false;
	case H1_MORE:
		break;
	}
	return false;
}

void up_h1_taken(struct up *u)
{
	u->held = false;
	if (u->in)
		buf_consume(u->in, u->batch_used);
	u->batch_used = 0;
}

/* True: a batch was delivered and taken; go on. */
static bool run_body(struct up *u)
{
	unsigned serial = u->serial;
	enum take t;

	if (!h1_gather(&u->body, u->in ? buf_span(u->in) : SPAN(""), UP_HEAD_MAX, u->resp->arena, &u->batch,
		       &u->batch_used)) {
		up_fail(u, REASON_SERVER_GARBAGE);
		return false;
	}
	if (u->batch.n == 0 && !u->batch.last) {
		up_h1_taken(u);
		return false;
	}
	if (u->batch.last) {
		u->resp_done = true;
		conn_deadline(&u->conn, 0);
		/* Whatever follows belongs to no request of ours. */
		if (u->in && buf_len(u->in) > u->batch_used)
			u->keep = false;
	}
	u->held = true;
	t = u->ops->on_body(u, &u->batch);
	if (u->state != UP_BUSY || u->serial != serial)
		return false;		/* let go, perhaps already serving another request */
	if (t == HELD) {
		up_set_deadline(u);
		return false;
	}
	up_h1_taken(u);
	return true;
}

/* Still the same request, and the owner can take more of its answer. */
static bool run_on(const struct up *u, unsigned serial)
{
	return u->state == UP_BUSY && u->serial == serial && !u->held && !u->resp_done;
}

void up_h1_run(struct up *u)
{
	unsigned batches = 0, serial = u->serial;

	if (u->running)
		return;
	u->running = true;
	while (run_on(u, serial)) {
		if (batches >= UP_RUN_MAX) {
			loop_defer(u->pool->loop, &u->later);
			break;
		}
		batches += u->in != NULL && u->in->cap == BUF_BIG ? 4 : 1;
		if (!(u->resp_head ? run_body(u) : run_head(u)) && (!run_on(u, serial) || !input_read(u)))
			break;
	}
	if (u->serial != serial)
		return;
	u->running = false;
	if (u->state == UP_BUSY && u->in && buf_len(u->in) == 0 && !u->held)
		buf_put(u->pool->bufs, &u->in);
}

void up_more(struct up *u)
{
	OBJ_CHECK(u, UP_MAGIC);
	must(u->held);
	up_h1_taken(u);
	if (u->state == UP_BUSY && !u->resp_done) {
		up_set_deadline(u);
		up_h1_run(u);
	}
}
