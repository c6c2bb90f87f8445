/*
 * web.c - the admin process's connections: HTTP/1 of the narrowest kind.
 *
 * Owns each connection from accept to close. Called by the loop; parses with
 * the same codec as the workers, so that what is no certain request is refused.
 * Nobody can hold more than one buffer, nor longer than a minute. Never reads a
 * body, never keeps a connection for a second request.
 */
#include "worker/admin/web.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/admin/gate.h"
#include "worker/http/date.h"
#include "worker/http/h1_parse.h"
#include "worker/http/h1_write.h"
#include "worker/io/conn.h"

#define WEB_MAGIC 0x3eb0c011u
#define FRAME (H1_CHUNK_HEAD + 2)	/* kept free in front of a chunk */
#define TAIL 16				/* and behind it: its end and the end of all */

enum web_state { WEB_HEAD, WEB_SEND, WEB_LINGER, WEB_DEAD };

struct web_conn {
	uint32_t magic;
	enum web_state state;
	struct web *web;
	struct conn conn;
	struct list node;
	struct grave grave;
	struct timer again;		/* the rest of an answer, after others had their turn */
	struct addr peer;
	uint64_t since_ms, end_ms;	/* when it came; when it has to be gone */

	char in[WEB_HEAD_MAX];
	size_t have;
	struct h1_scan scan;
	struct arena arena;		/* of the request */

	page_fn *page;			/* NULL: all that there is stands in `out` */
	struct cursor at;
	bool chunked;
	char *out;			/* WEB_BUF bytes, while there is something to send */
	size_t start, end;
};

static const struct page_of {
	struct span path;
	const char *type;
	page_fn *page;			/* NULL: healthz */
} pages[] = {
	{ SPAN("/metrics"), "text/plain; version=0.0.4; charset=utf-8", metrics_page },
	{ SPAN("/status"), "text/html; charset=utf-8", status_page },
	{ SPAN("/status.json"), "application/json", status_json_page },
	{ SPAN("/healthz"), "text/plain; charset=utf-8", NULL },
};

/* ---- life ---- */

static void bury(struct grave *g)
{
	struct web_conn *c = container_of(g, struct web_conn, grave);

	c->magic = 0;
	free(c->out);
	free(c);
}

static void web_close(struct web_conn *c)
{
	struct web *w = c->web;

	if (c->state == WEB_DEAD)
		return;
	c->state = WEB_DEAD;
	timer_stop(&w->loop->wheel, &c->again);
	conn_close(&c->conn);
	arena_fini(&c->arena);
	list_del(&c->node);
	w->nconns--;
	loop_bury(w->loop, &c->grave, bury);
	if (w->draining && w->nconns == 0 && w->on_empty != NULL)
		w->on_empty(w);
}

static void set_deadline(struct web_conn *c, uint64_t ms)
{
	uint64_t now = c->web->loop->now_ms;

	if (now + ms > c->end_ms)
		ms = c->end_ms > now ? c->end_ms - now : 1;
	conn_deadline(&c->conn, ms);
}

/* Our end of it; then the other side's, so that what was sent is not thrown away with unread bytes. */
static void linger(struct web_conn *c)
{
	c->state = WEB_LINGER;
	free(c->out);
	c->out = NULL;
	conn_shut(&c->conn);
	conn_deadline(&c->conn, WEB_LINGER_MS);
}

static void read_away(struct web_conn *c)
{
	char some[4096];
	size_t got;

	for (unsigned i = 0; i < 64; i++) {
		enum io_rc rc = conn_recv(&c->conn, some, sizeof(some), &got);

		if (rc == IO_AGAIN)
			return;
		if (rc != IO_OK) {
			web_close(c);
			return;
		}
	}
	web_close(c);			/* it goes on sending: let it meet the end */
}

/* ---- sending ---- */

/* The next bytes of the page; false: the page cannot go on. */
static bool fill(struct web_conn *c)
{
	const size_t front = c->chunked ? FRAME : 0;
	struct text t = { .p = c->out + front, .room = WEB_BUF - front - TAIL };
	struct admin_view *v = c->web->view;
	char head[H1_CHUNK_HEAD + 2];
	bool more = true;

	v->now_ms = c->web->loop->now_ms;
	v->wall_ms = c->web->loop->wall_ms;
	while (more) {
		struct cursor before = c->at;
		size_t mark = t.n;

		more = c->page(v, &c->at, &t);
		if (t.over) {
			c->at = before;
			t.n = mark;
			break;
		}
	}
	if (t.over && t.n == 0)
		return false;		/* a unit that no buffer holds */
	c->start = front;
	c->end = front + t.n;
	if (c->chunked && t.n > 0) {
		size_t n = h1_write_chunk_head(t.n, head);

		c->start -= n;
		memcpy(c->out + c->start, head, n);
		memcpy(c->out + c->end, "\r\n", 2);
		c->end += 2;
	}
	if (!more) {
		c->page = NULL;
		if (c->chunked)
			c->end += h1_write_last_chunk(NULL, c->out + c->end, WEB_BUF - c->end);
	}
	return true;
}

/* True when all that is in the buffer is out. */
static bool flush(struct web_conn *c)
{
	while (c->start < c->end) {
		struct iovec iov = { .iov_base = c->out + c->start, .iov_len = c->end - c->start };
		size_t put;
		enum io_rc rc = conn_sendv(&c->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			return false;
		if (rc != IO_OK) {
			web_close(c);
			return false;
		}
		c->start += put;
		set_deadline(c, WEB_STALL_MS);
	}
	return true;
}

static void send_on(struct web_conn *c)
{
	for (unsigned i = 0; i < WEB_BURST; i++) {
		if (!flush(c))
			return;
		if (c->page == NULL) {
			linger(c);
			return;
		}
		if (!fill(c)) {
			log_warn("An admin page was cut off: a line of it is longer than %u bytes", WEB_BUF);
			conn_reset(&c->conn);
			web_close(c);
			return;
		}
	}
	timer_set(&c->web->loop->wheel, &c->again, c->web->loop->now_ms + 1);
}

static void on_again(struct timer *t)
{
	struct web_conn *c = container_of(t, struct web_conn, again);

	OBJ_CHECK(c, WEB_MAGIC);
	if (c->state == WEB_SEND)
		send_on(c);
}

/* ---- the answer's head ---- */

/* What keeps a browser from doing more with a page than to show it. */
static bool add_fields(struct head *h, const char *nonce)
{
	struct arena *a = h->arena;
	char *policy = arena_printf(a, "default-src 'none'; style-src 'nonce-%s'; base-uri 'none'; form-action 'none'; "
				    "frame-ancestors 'none'", nonce);

	return policy != NULL && head_add(h, SPAN("Content-Security-Policy"), span_of(policy)) &&
	       head_add(h, SPAN("X-Content-Type-Options"), SPAN("nosniff")) &&
	       head_add(h, SPAN("X-Frame-Options"), SPAN("DENY")) &&
	       head_add(h, SPAN("Cross-Origin-Resource-Policy"), SPAN("same-origin")) &&
	       head_add(h, SPAN("Referrer-Policy"), SPAN("no-referrer")) &&
	       head_add(h, SPAN("Cache-Control"), SPAN("no-store"));
}

static bool make_nonce(struct web_conn *c)
{
	uint64_t r[2];

	if (getrandom(r, sizeof(r), GRND_NONBLOCK) != sizeof(r))
		return false;
	snprintf(c->at.nonce, sizeof(c->at.nonce), "%016llx%06llx", (unsigned long long)r[0],
		 (unsigned long long)(r[1] & 0xffffff));
	return true;
}

/* Text NULL: the page's, of unknown length. */
static void answer(struct web_conn *c, const struct head *req, unsigned status, const char *type, const char *text)
{
	const bool to_head = req != NULL && req->method == METHOD_HEAD, old = req != NULL && req->proto == PROTO_HTTP10;
	char date[32];
	struct head h;
	struct h1_out o = { .proto = PROTO_HTTP11, .close = true, .to_head = to_head, .chunked = text == NULL && !old };

	timer_stop(&c->web->loop->wheel, &c->again);
	c->state = WEB_SEND;
	c->out = malloc(WEB_BUF);
	head_init(&h, &c->arena);
	h.status = (uint16_t)status;
	h.proto = PROTO_HTTP11;
	h.reason = status_reason(status);
	h.body = to_head ? BODY_NONE : text != NULL ? BODY_LENGTH : old ? BODY_CLOSE : BODY_STREAM;
	h.has_length = text != NULL;
	h.length = text != NULL ? strlen(text) : 0;
	if (to_head || text != NULL)
		c->page = NULL;
	c->chunked = h.body == BODY_STREAM;
	date_format(date, c->web->loop->wall_ms);
	o.date = span_make(date, DATE_LEN);
	if (c->out == NULL || !make_nonce(c) || !head_add(&h, SPAN("Content-Type"), span_of(type)) ||
	    !add_fields(&h, c->at.nonce) || (status == 405 && !head_add(&h, SPAN("Allow"), SPAN("GET, HEAD")))) {
		web_close(c);
		return;
	}
	c->end = h1_write_response(&h, &o, c->out, WEB_BUF);
	must(c->end > 0);
	if (text != NULL && !to_head) {
		memcpy(c->out + c->end, text, strlen(text));
		c->end += strlen(text);
	}
	set_deadline(c, WEB_STALL_MS);
	send_on(c);
}

static void say(struct web_conn *c, const struct head *req, unsigned status, const char *why)
{
	char *text = arena_printf(&c->arena, "%u %.*s\n%s\n", status, SPAN_FMT(status_reason(status)), why);

	answer(c, req, status, "text/plain; charset=utf-8", text != NULL ? text : "");
}

/* ---- the request ---- */

static void serve(struct web_conn *c, const struct head *req)
{
	const char *why;
	unsigned status = gate_check(&c->web->view->conf->admin, req, &c->peer, &why);

	if (status != 0) {
		say(c, req, status, why);
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
		if (!span_eq(req->path, pages[i].path))
			continue;
		c->page = pages[i].page;
		if (c->page == NULL) {
			c->web->view->now_ms = c->web->loop->now_ms;
			status = healthz(c->web->view, &why);
			answer(c, req, status, pages[i].type, why);
		} else {
			answer(c, req, 200, pages[i].type, NULL);
		}
		return;
	}
	say(c, req, 404, "There are /metrics, /status, /status.json and /healthz.");
}

static void on_head(struct web_conn *c, size_t len)
{
	struct head req;
	struct h1_wire wire;
	char *copy = arena_bytes(&c->arena, len);

	if (copy == NULL) {
		web_close(c);
		return;
	}
	memcpy(copy, c->in, len);
	head_init(&req, &c->arena);
	enum h1_bad bad = h1_parse_request(&req, &wire, copy, len);
	if (bad != H1_GOOD) {
		say(c, NULL, h1_bad_status(bad), h1_bad_text(bad));
		return;
	}
	serve(c, &req);
}

static void read_head(struct web_conn *c)
{
	while (c->state == WEB_HEAD) {
		size_t got, len;
		enum h1_bad bad;
		enum io_rc rc = conn_recv(&c->conn, c->in + c->have, sizeof(c->in) - c->have, &got);

		if (rc == IO_AGAIN)
			return;
		if (rc != IO_OK) {
			web_close(c);
			return;
		}
		c->have += got;
		switch (h1_scan_head(&c->scan, c->in, c->have, sizeof(c->in), &len, &bad)) {
		case H1_DONE:
			on_head(c, len);
			return;
		case H1_BROKEN:
			say(c, NULL, h1_bad_status(bad), h1_bad_text(bad));
			return;
		case H1_MORE:
			break;
		}
		if (c->have == sizeof(c->in)) {
			say(c, NULL, 431, "The head of a request has 8 KiB at most.");
			return;
		}
	}
}

static void on_ready(struct conn *conn)
{
	struct web_conn *c = container_of(conn, struct web_conn, conn);

	OBJ_CHECK(c, WEB_MAGIC);
	switch (c->state) {
	case WEB_HEAD:
		read_head(c);
		break;
	case WEB_SEND:
		/* One that is not only out of turn but gone need not be written for. */
		if (conn->broken)
			web_close(c);
		else if (!timer_is_set(&c->again))
			send_on(c);
		break;
	case WEB_LINGER:
		read_away(c);
		break;
	case WEB_DEAD:
		break;
	}
}

static void on_deadline(struct conn *conn)
{
	struct web_conn *c = container_of(conn, struct web_conn, conn);

	OBJ_CHECK(c, WEB_MAGIC);
	if (c->state == WEB_HEAD && c->have > 0)
		say(c, NULL, 408, "The head of the request did not come in time.");
	else
		web_close(c);
}

static const struct conn_ops conn_ops = { on_ready, on_deadline };

/* ---- coming ---- */

/* Room for one more: the oldest that has not asked yet goes, or else the oldest that takes its answer slowly. */
static bool make_room(struct web *w)
{
	struct web_conn *slow = NULL;

	if (w->nconns < WEB_CONNS)
		return true;
	list_each(n, &w->conns) {
		struct web_conn *c = list_entry(n, struct web_conn, node);

		if (c->state == WEB_HEAD || c->state == WEB_LINGER) {
			web_close(c);
			return true;
		}
		if (slow == NULL)
			slow = c;
	}
	if (slow == NULL || w->loop->now_ms - slow->since_ms < WEB_HEAD_MS)
		return false;
	web_close(slow);
	return true;
}

void web_init(struct web *w, struct loop *l, struct admin_view *v)
{
	*w = (struct web){ .loop = l, .view = v };
	list_init(&w->conns);
}

bool web_accept(struct web *w, int fd, const struct addr *peer)
{
	struct web_conn *c;

	if (!make_room(w) || (c = calloc(1, sizeof(*c))) == NULL)
		return false;
	c->magic = WEB_MAGIC;
	c->web = w;
	c->peer = *peer;
	c->since_ms = w->loop->now_ms;
	c->end_ms = w->loop->now_ms + WEB_TOTAL_MS;
	timer_init(&c->again, on_again);
	if (!conn_init(&c->conn, w->loop, fd, false, &conn_ops)) {
		free(c);
		return false;
	}
	c->conn.id = ++w->next_id;
	arena_init(&c->arena, NULL, 256 * 1024);
	list_init(&c->node);
	list_append(&w->conns, &c->node);
	w->nconns++;
	conn_deadline(&c->conn, WEB_HEAD_MS);
	return true;
}
