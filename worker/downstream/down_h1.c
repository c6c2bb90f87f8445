/*
 * down_h1.c - HTTP/1 requests from a client (RFC 9112).
 *
 * client_run() is the one place that reads: heads become exchanges, body goes
 * to the exchange in batches that point into the input buffer, and what is left
 * of an answered request is read off. One request at a time: pipelined ones wait
 * in the buffer. What is not certainly one request is refused and the connection
 * closed.
 */
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/downstream/client_conn.h"
#include "worker/http/h1_gather.h"

#define RUN_MAX 64			/* steps in one go, so that one client does not starve the others */
#define TRAILERS_MAX 8192

/* Room to read into. False: the limit is reached or there is no memory. */
static bool input_room(struct client *c)
{
	size_t max = (size_t)c->listen->max_header_size + 1024;

	/* What filled its buffer to the brim is likely to be long. */
	if (c->in == NULL || (c->filled && buf_len(c->in) == 0))
		return buf_for_reading(&c->env->bufs, &c->in, c->filled && c->state == CLIENT_BUSY);
	if (buf_room(c->in) > 0)
		return true;
	if (c->in->start > 0) {
		buf_compact(c->in);
		return true;
	}
	return c->in->cap < max && buf_grow(&c->env->bufs, &c->in, max);
}

enum got { GOT_BYTES, GOT_NOTHING, GOT_END, GOT_NO_ROOM };

static enum got input_read(struct client *c)
{
	size_t n;

	if (c->eof)
		return GOT_END;
	if (!c->conn.can_read && !c->conn.hup && !c->conn.broken)
		return GOT_NOTHING;
	if (!input_room(c))
		return GOT_NO_ROOM;
	switch (conn_recv(&c->conn, buf_tail(c->in), buf_room(c->in), &n)) {
	case IO_OK:
		c->filled = n == buf_room(c->in) || (c->filled && n >= BUF_SIZE);
		c->in->end += (uint32_t)n;
		shm_count(c->env->shm, STAT_BYTES_IN, n);
		return GOT_BYTES;
	case IO_AGAIN:
		return GOT_NOTHING;
	case IO_EOF:
	case IO_FAIL:
		break;
	}
	c->eof = true;
	return GOT_END;
}

static struct span first_line(struct span text)
{
	const char *e;

	while (text.n && (*text.p == '\r' || *text.p == '\n'))
		text = span_make(text.p + 1, text.n - 1);
	e = memchr(text.p, '\n', text.n);
	if (e)
		text.n = (size_t)(e - text.p);
	return text.n && text.p[text.n - 1] == '\r' ? span_make(text.p, text.n - 1) : text;
}

/* ---- heads ---- */

static struct exchange *client_begin(struct client *c)
{
	struct exchange *x = client_exchange(c, &client_side, c);
	struct message *m;

	if (x == NULL)
		return NULL;
	c->x = x;
	m = arena_zalloc(&x->arena, sizeof(*m));
	must(m != NULL);		/* the arena is empty, its limit far larger */
	c->msg = m;
	m->framed = true;
	c->body_open = false;
	c->held = false;
	c->keep = false;
	client_set_state(c, CLIENT_BUSY);
	return x;
}

static enum reason refusal(enum h1_bad bad)
{
	switch (h1_bad_status(bad)) {
	case 414: return REASON_URI_TOO_LONG;
	case 417: return REASON_EXPECT_FAILED;
	case 431: return REASON_HEADER_TOO_LARGE;
	case 501: return REASON_NOT_IMPLEMENTED;
	case 503: return REASON_NO_MEMORY;
	case 505: return REASON_BAD_VERSION;
	default:  return REASON_BAD_REQUEST;
	}
}

/* The bytes are no request: whatever follows cannot be trusted either, so the connection ends. */
static void client_refuse(struct client *c, enum reason why, const char *text)
{
	struct exchange *x = c->x ? c->x : client_begin(c);
	char ip[ADDR_TEXT];

	if (x == NULL) {
		client_close(c);
		return;
	}
	addr_ip_text(&c->peer, ip, sizeof(ip));
	log_info("client %s: %s", ip, text);
	if (c->in) {
		struct span line = first_line(buf_span(c->in));

		if (line.n > 1024)
			line.n = 1024;
		if (x->request_line.p == NULL)
			x->request_line = arena_span(&x->arena, line);
		buf_consume(c->in, buf_len(c->in));
	}
	c->body_open = true;		/* what the client sent after it is unknown: read off, never parsed */
	exchange_refuse(x, why);
}

void client_head_timeout(struct client *c)
{
	client_refuse(c, REASON_HEADER_TIMEOUT, "the request head did not arrive within header_timeout");
}

void client_was_clear(struct client *c)
{
	client_refuse(c, REASON_PLAIN_HTTP, "a request in clear came to a port that speaks TLS");
}

static void take_head(struct client *c, size_t len)
{
	struct exchange *x = client_begin(c);
	enum h1_bad bad;
	char *p;

	if (x == NULL || (p = arena_bytes(&x->arena, len)) == NULL) {
		client_refuse(c, REASON_NO_MEMORY, "no memory for a request head");
		return;
	}
	memcpy(p, c->in->data + c->in->start, len);
	x->request_line = first_line(span_make(p, len));
	buf_consume(c->in, len);
	memset(&c->scan, 0, sizeof(c->scan));
	bad = h1_parse_request(&x->req, &c->msg->wire, p, len);
	if (bad != H1_GOOD) {
		client_refuse(c, refusal(bad), h1_bad_text(bad));
		return;
	}
	x->req.scheme = client_scheme(c);
	if (x->req.body != BODY_NONE) {
		c->body_open = true;
		h1_body_init(&c->body, x->req.body, x->req.length);
	}
	exchange_start(x);
	if (c->x == x)
		client_set_deadline(c);
}

/* How a connection that speaks HTTP/2 from its first byte begins (RFC 9113 3.4). */
static const struct span preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };

enum sniff { SNIFF_H1, SNIFF_MORE, SNIFF_H2 };

static enum sniff sniff(const struct client *c)
{
	struct span in = buf_span(c->in);

	if (c->requests || !c->listen->http2)
		return SNIFF_H1;
	if (in.n >= preface.n)
		return span_starts(in, preface) ? SNIFF_H2 : SNIFF_H1;
	return span_starts(preface, in) ? SNIFF_MORE : SNIFF_H1;
}

static void head_begun(struct client *c)
{
	if (c->state != CLIENT_IDLE)
		return;
	client_set_state(c, CLIENT_HEAD);
	client_set_deadline(c);
}

/* What is in the buffer. True: something was done; false: more is needed. */
static bool run_head_bytes(struct client *c)
{
	enum h1_bad bad;
	size_t len;

	switch (sniff(c)) {
	case SNIFF_H2:
		if (!h2_start(c))
			client_refuse(c, REASON_NO_MEMORY, "no memory for an HTTP/2 connection");
		return true;
	case SNIFF_MORE:
		head_begun(c);
		return false;
	case SNIFF_H1:
		break;
	}
	switch (h1_scan_head(&c->scan, c->in->data + c->in->start, buf_len(c->in), (size_t)c->listen->max_header_size, &len,
			     &bad)) {
	case H1_DONE:
		take_head(c, len);
		return true;
	case H1_BROKEN:
		client_refuse(c, refusal(bad), h1_bad_text(bad));
		return true;
	case H1_MORE:
		head_begun(c);
		break;
	}
	return false;
}

/* True: go on; false: wait for the loop. */
static bool run_head(struct client *c)
{
	if (c->in && buf_len(c->in) && run_head_bytes(c))
		return true;
	switch (input_read(c)) {
	case GOT_BYTES:
		return true;
	case GOT_NO_ROOM:
		if (c->in) {
			client_refuse(c, REASON_HEADER_TOO_LARGE, "the request head is larger than max_header_size");
			return true;
		}
		/* fall through - no memory at all */
	case GOT_END:
		client_close(c);
		return false;
	case GOT_NOTHING:
		break;
	}
	return false;
}

/* ---- bodies ---- */

void client_batch_taken(struct client *c)
{
	c->held = false;
	if (c->in)
		buf_consume(c->in, c->msg->batch_used);
	c->msg->batch_used = 0;
}

/* A body that is no body: the exchange fails, and nothing after it is believed. */
static void body_bad(struct client *c)
{
	log_info("client: %s", c->body.bad ? h1_bad_text(c->body.bad) : "a malformed trailer section");
	c->msg->wire.keep_alive = false;
	exchange_fail(c->x, c->body.bad && h1_bad_status(c->body.bad) == 431 ? REASON_HEADER_TOO_LARGE :
									       REASON_BAD_REQUEST);
}

static bool run_body(struct client *c)
{
	struct exchange *x = c->x;
	struct batch *b = &c->msg->batch;
	enum take t;

	if (!h1_gather(&c->body, c->in ? buf_span(c->in) : SPAN(""), TRAILERS_MAX, &x->arena, b,
		       &c->msg->batch_used)) {
		body_bad(c);
		return true;
	}
	if (b->n == 0 && !b->last) {
		client_batch_taken(c);
		switch (input_read(c)) {
		case GOT_BYTES:
			client_set_deadline(c);
			return true;
		case GOT_NO_ROOM:
			exchange_fail(x, c->in ? REASON_BAD_REQUEST : REASON_NO_MEMORY);
			return true;
		case GOT_END:
			if (!c->msg->tunnel || c->conn.error != 0) {
				exchange_on_client_gone(x, REASON_CLIENT_ABORT);
				return true;
			}
			b->last = true;
			break;
		case GOT_NOTHING:
			return false;
		}
	}
	c->msg->continued = true;
	if (b->last)
		c->body_open = false;
	c->held = true;
	t = exchange_on_body(x, b);
	if (c->x != x || x->ended)
		return true;
	if (t == TAKEN && c->held)
		client_batch_taken(c);
	client_set_deadline(c);
	return true;
}

/* ---- what is left of an answered request ---- */

/* True: there is more to read off. */
static bool read_on(struct client *c)
{
	switch (input_read(c)) {
	case GOT_BYTES:
		return true;
	case GOT_NOTHING:
		return false;
	case GOT_END:
	case GOT_NO_ROOM:
		client_close(c);
		break;
	}
	return false;
}

static bool run_drain(struct client *c)
{
	struct span in = c->in ? buf_span(c->in) : SPAN(""), data;
	enum h1_body_rc rc;
	size_t used;

	do {
		rc = h1_body_feed(&c->body, in.p, in.n, TRAILERS_MAX, &used, &data);
		in = span_make(in.p + used, in.n - used);
		c->discarded += (uint32_t)used;
		if (used)
			buf_consume(c->in, used);
	} while (rc == H1B_RC_DATA || rc == H1B_RC_TRAILERS);
	if (rc == H1B_RC_END) {
		c->body_open = false;
		client_set_state(c, CLIENT_IDLE);
		client_set_deadline(c);
		return true;
	}
	if (rc == H1B_RC_BAD || c->discarded > 2 * DRAIN_BYTES) {
		client_close(c);
		return false;
	}
	return read_on(c);
}

static bool run_linger(struct client *c)
{
	if (c->in) {
		c->discarded += (uint32_t)buf_len(c->in);
		buf_consume(c->in, buf_len(c->in));
	}
	if (c->discarded > LINGER_BYTES) {
		client_close(c);
		return false;
	}
	return read_on(c);
}

static bool run_step(struct client *c)
{
	switch ((enum client_state)c->state) {
	case CLIENT_PROXY:
		return client_proxy_run(c);
	case CLIENT_IDLE:
	case CLIENT_HEAD:
		return run_head(c);
	case CLIENT_BUSY:
		return c->x->body_wanted && !c->held && run_body(c);
	case CLIENT_DRAIN:
		return run_drain(c);
	case CLIENT_LINGER:
		return run_linger(c);
	case CLIENT_H2:			/* h2_run() is queued */
	case CLIENT_DEAD:
		break;
	}
	return false;
}

void client_run(struct client *c)
{
	unsigned steps = 0;

	OBJ_CHECK(c, CLIENT_MAGIC);
	if (c->running)
		return;
	c->running = true;
	while (run_step(c)) {
		if (++steps == RUN_MAX) {
			loop_defer(c->env->loop, &c->later);
			break;
		}
	}
	c->running = false;
	/* Buffers are held only while they hold bytes. */
	if (c->state != CLIENT_DEAD && !c->held && c->in && buf_len(c->in) == 0)
		buf_put(&c->env->bufs, &c->in);
}
