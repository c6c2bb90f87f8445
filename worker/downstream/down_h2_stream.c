/*
 * down_h2_stream.c - streams of an HTTP/2 client: the side table of an exchange (RFC 9113 8).
 *
 * The upper half is called by the library's callbacks and records; h2_stream_step() acts on it later in the turn. Request body
 * waits in one buffer for as long as the stream's window allows, and the window opens only when the exchange took it.
 */
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/downstream/down_h2.h"

static struct env *env_of(const struct h2_stream *s)
{
	return s->h2->client->env;
}

/* ---- recorded by callbacks ---- */

static void on_expire(struct timer *t);

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
	struct down *d = h->client->down;
	struct h2_stream *s;

	/* Streams that the client has reset count until their exchanges are over. */
	if (h->nstreams >= 2 * H2_STREAMS || h->head_bytes > H2_HEADS_MAX)
		return NULL;
	s = slab_get(&d->h2_streams);
	if (s == NULL)
		return NULL;
	s->magic = H2_STREAM_MAGIC;
	s->h2 = h;
	s->id = id;
	list_init(&s->dirty);
	list_init(&s->node);
	list_append(&h->streams, &s->node);
	h->nstreams++;
	timer_init(&s->timer, on_expire);
	return s;
}

/* The next field of a recorded block. */
static struct span block_next(const char **p)
{
	uint32_t sizes[2];
	struct span name;

	memcpy(sizes, *p, sizeof(sizes));
	name = span_make(*p + sizeof(sizes), sizes[0]);
	*p = name.p + sizes[0] + sizes[1];
	return name;
}

/* The block's text moves into the exchange's arena and is mapped there. */
static enum h2_bad map_block(struct h2_stream *s, struct head *head, bool trailers, bool end)
{
	struct h2 *h = s->h2;
	struct span in = h->block.text ? buf_span(h->block.text) : SPAN("");
	char *copy = arena_bytes(&s->x->arena, in.n + 1);
	size_t max = trailers ? H2_TRAILERS_MAX : (size_t)h->client->listen->max_header_size;
	struct h2_map m;

	if (copy == NULL)
		return H2_BAD_MEMORY;
	if (in.n)
		memcpy(copy, in.p, in.n);
	s->head_bytes += in.n;
	h->head_bytes += in.n;
	h2_map_init(&m, head, trailers, max);
	for (const char *p = copy; p < copy + in.n;) {
		struct span name = block_next(&p);

		h2_map_field(&m, name, span_make(name.p + name.n, (size_t)(p - name.p) - name.n));
	}
	if (!m.bad && h->block.over)
		return h->block.bytes > max ? H2_BAD_LARGE : H2_BAD_FIELDS;
	return h2_map_end(&m, end);
}

static void tell(const struct h2_stream *s, enum h2_bad bad)
{
	char ip[ADDR_TEXT];

	addr_ip_text(&s->h2->client->peer, ip, sizeof(ip));
	log_info("client %s: %s", ip, h2_bad_text(bad));
}

void h2_stream_head(struct h2_stream *s, bool end)
{
	struct h2 *h = s->h2;
	struct client *c = h->client;
	struct exchange *x = client_exchange(c, &h2_side, s);

	if (x == NULL) {
		h2_fail(h, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		return;
	}
	s->x = x;
	s->fresh = true;
	s->ended = end;
	s->bad = map_block(s, &x->req, false, end);
	h2_block_fini(h);
	s->no_body = x->req.method == METHOD_HEAD;
	s->tunnel = x->req.tunnel;
	x->req.scheme = client_scheme(c);
	if (x->req.method_text.n && x->req.target.n)
		x->request_line = arena_join(&x->arena, (struct span[]){ s->tunnel ? method_name(METHOD_CONNECT) :
										 x->req.method_text, SPAN(" "), x->req.target,
									 SPAN(" HTTP/2") }, 4);
	h2_dirty(s);
	if (c->listen->max_requests && c->requests >= (uint64_t)c->listen->max_requests)
		h2_leave(h);
}

static void spoil(struct h2_stream *s, enum h2_bad bad)
{
	if (s->x == NULL || s->spoilt)
		return;
	s->spoilt = true;
	tell(s, bad);
	h2_dirty(s);
}

void h2_stream_end(struct h2_stream *s)
{
	s->ended = true;
	if (s->x && s->x->req.body == BODY_LENGTH && s->got != s->x->req.length)
		spoil(s, H2_BAD_LENGTH_BODY);
	h2_dirty(s);
}

void h2_stream_trailers(struct h2_stream *s, bool end)
{
	struct head *t = s->x ? arena_alloc(&s->x->arena, sizeof(*t)) : NULL;
	enum h2_bad bad = H2_BAD_MEMORY;

	if (t && s->tunnel) {
		spoil(s, H2_BAD_TUNNEL_FIELDS);
	} else if (t) {
		head_init(t, &s->x->arena);
		bad = map_block(s, t, true, end);
		if (bad)
			spoil(s, bad);
		else
			s->trailers = t;
	}
	h2_block_fini(s->h2);
	if (end)
		h2_stream_end(s);
}

void h2_stream_data(struct h2_stream *s, const void *p, size_t n)
{
	struct buf_pool *pool = &env_of(s)->bufs;
	struct exchange *x = s->x;

	s->got += n;
	if (x && !s->tunnel && (x->req.body == BODY_NONE || (x->req.body == BODY_LENGTH && s->got > x->req.length)))
		spoil(s, H2_BAD_LENGTH_BODY);
	if (x == NULL || s->spoilt || s->bad) {
		s->h2->unread += n;
		return;
	}
	if (s->in == NULL)
		s->in = buf_get(pool, 0);
	if (s->in == NULL || (buf_room(s->in) < n && !buf_grow(pool, &s->in, buf_len(s->in) + n > H2_STREAM_WINDOW ?
							       buf_len(s->in) + n : H2_STREAM_WINDOW))) {
		h2_fail(s->h2, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		return;
	}
	must(buf_add(s->in, span_make(p, n)));
	h2_dirty(s);
}

/* ---- deadlines ---- */

void h2_stream_timer(struct h2_stream *s)
{
	const struct conf_listen *l = s->h2->client->listen;
	struct loop *loop = env_of(s)->loop;
	int64_t ms = 0;

	if (s->x && s->x->tunnel)
		ms = 0;		/* the exchange knows both directions */
	else if (s->out)
		ms = l->send_timeout;
	else if (s->x && !s->fresh && s->x->body_wanted && !s->held)
		ms = l->body_timeout;
	if (ms)
		timer_set(&loop->wheel, &s->timer, loop->now_ms + (uint64_t)ms);
	else
		timer_stop(&loop->wheel, &s->timer);
}

static void on_expire(struct timer *t)
{
	struct h2_stream *s = container_of(t, struct h2_stream, timer);

	OBJ_CHECK(s, H2_STREAM_MAGIC);
	if (s->out) {
		s->reset = NGHTTP2_CANCEL;
		h2_stream_gone(s, REASON_SEND_TIMEOUT);
	} else if (s->x && s->x->body_wanted && !s->held) {
		exchange_fail(s->x, REASON_BODY_TIMEOUT);
	}
	h2_later(s->h2);
}

/* ---- what follows ---- */

void h2_stream_gone(struct h2_stream *s, enum reason why)
{
	struct exchange *x = s->x;

	if (x == NULL || x->ended)
		return;
	if (s->fresh)
		x->client = x->peer;	/* nobody asked who it is */
	s->fresh = false;
	exchange_on_client_gone(x, why);
}

static enum reason refusal(enum h2_bad bad)
{
	switch (h2_bad_status(bad)) {
	case 414: return REASON_URI_TOO_LONG;
	case 417: return REASON_EXPECT_FAILED;
	case 431: return REASON_HEADER_TOO_LARGE;
	case 501: return REASON_NOT_IMPLEMENTED;
	case 503: return REASON_NO_MEMORY;
	default:  return REASON_BAD_REQUEST;
	}
}

static void stream_start(struct h2_stream *s)
{
	if (s->bad == H2_GOOD) {
		s->fresh = false;
		exchange_start(s->x);
		return;
	}
	tell(s, s->bad);
	if (h2_bad_malformed(s->bad)) {
		s->reset = NGHTTP2_PROTOCOL_ERROR;
		h2_stream_gone(s, REASON_BAD_REQUEST);
	} else {
		s->fresh = false;
		exchange_refuse(s->x, refusal(s->bad));
	}
}

/* Gives the window back what the exchange has taken. */
static void batch_taken(struct h2_stream *s)
{
	size_t n = s->given ? buf_len(s->given) : 0;

	s->held = false;
	buf_put(&env_of(s)->bufs, &s->given);
	if (n && !s->h2->failed && !s->closed)
		nghttp2_session_consume(s->h2->session, s->id, n);
	else
		s->h2->unread += n;
}

static void stream_give(struct h2_stream *s)
{
	struct exchange *x = s->x;
	struct batch *b = &s->batch;
	enum take t;

	if (s->in == NULL && !s->ended)
		return;
	s->given = s->in;
	s->in = NULL;
	batch_init(b);
	if (s->given)
		batch_add(b, buf_span(s->given));
	b->last = s->ended;
	b->trailers = s->ended ? s->trailers : NULL;
	s->held = s->continued = true;
	t = exchange_on_body(x, b);
	if (s->x == x && t == TAKEN && s->held)
		batch_taken(s);
}

void h2_stream_step(struct h2_stream *s)
{
	OBJ_CHECK(s, H2_STREAM_MAGIC);
	if (s->drained) {
		s->drained = false;
		if (s->x && s->x->resp_held)
			exchange_on_sent(s->x);
	}
	/* A tunnel whose ends have both ended it may still hold bytes for the server. */
	if (s->closed && !(s->tunnel && s->ended && s->answered))
		h2_stream_gone(s, REASON_CLIENT_ABORT);
	if (s->x && s->fresh)
		stream_start(s);
	if (s->x && s->spoilt) {
		s->reset = NGHTTP2_PROTOCOL_ERROR;
		h2_stream_gone(s, REASON_BAD_REQUEST);
	}
	if (s->x && s->x->body_wanted && !s->held)
		stream_give(s);
	if (s->closed && s->x == NULL)
		h2_stream_free(s);
	else if (!s->out)
		h2_stream_timer(s);
}

static void stream_bury(struct grave *g)
{
	struct h2_stream *s = container_of(g, struct h2_stream, grave);
	struct down *d = s->h2->client->down;
	struct h2_stream *dead = s;

	OBJ_CLEAR(dead);
	slab_put(&d->h2_streams, s);
}

void h2_stream_free(struct h2_stream *s)
{
	struct h2 *h = s->h2;

	must(s->x == NULL && s->in == NULL && s->given == NULL);
	timer_stop(&env_of(s)->loop->wheel, &s->timer);
	list_del(&s->dirty);
	list_del(&s->node);
	if (--h->nstreams == 0)
		h->quiet_ms = env_of(s)->loop->now_ms;
	loop_bury(env_of(s)->loop, &s->grave, stream_bury);
}

/* ---- the side table ---- */

static void side_interim(struct exchange *x, const struct head *h)
{
	struct h2_stream *s = x->side_owner;

	if (s->closed || s->h2->failed)
		return;
	h2_submit_head(s, h, false);
	h2_later(s->h2);
}

/* To a CONNECT any 2xx says that the tunnel stands. */
static bool tunnel_refused(const struct h2_stream *s, const struct head *resp)
{
	return s->tunnel && resp->body != BODY_TUNNEL && resp->status / 100 == 2;
}

static void side_head(struct exchange *x)
{
	static const struct head refused = { .magic = HEAD_MAGIC, .status = 502 };
	struct h2_stream *s = x->side_owner;
	bool body = x->resp.body != BODY_NONE && !s->no_body;

	if (tunnel_refused(s, &x->resp) && !s->closed && !s->h2->failed) {
		if (!h2_submit_head(s, &refused, false))
			h2_fail(s->h2, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		s->no_body = true;
		x->status = refused.status;
		x->reason = REASON_UPGRADE_REFUSED;
		h2_later(s->h2);
		return;
	}
	if (!s->closed && !s->h2->failed && !h2_submit_head(s, &x->resp, body))
		h2_fail(s->h2, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
	h2_later(s->h2);
}

static enum take side_body(struct exchange *x, const struct batch *b)
{
	struct h2_stream *s = x->side_owner;
	struct h2 *h = s->h2;
	struct client *c = h->client;

	if (s->no_body)
		return TAKEN;
	h2_later(h);
	s->out = b;
	s->out_span = 0;
	s->out_skip = 0;
	s->out_left = b->bytes;
	if (h->failed || s->closed)
		return HELD;		/* its end is on the way */
	nghttp2_session_resume_data(h->session, s->id);
	h2_produce(h);
	/* Room is made only for a batch that does not fit, so that small answers leave together. */
	while (s->out && h->out && c->conn.can_write && !h->failed) {
		size_t left = s->out_left;

		if (!h2_write(h)) {
			h2_gone(h, REASON_CLIENT_ABORT);
			break;
		}
		h2_produce(h);
		if (s->out_left == left)
			break;
	}
	if (s->out == NULL) {
		s->drained = false;
		return TAKEN;
	}
	h2_stream_timer(s);
	return HELD;
}

static void side_want_body(struct exchange *x)
{
	static const struct head go_on = { .magic = HEAD_MAGIC, .status = 100 };
	struct h2_stream *s = x->side_owner;

	if (s->held)
		batch_taken(s);
	if (x->req.expect_continue && !s->continued && s->in == NULL && !s->ended && !exchange_head_sent(x))
		side_interim(x, &go_on);
	s->continued = true;
	h2_dirty(s);
	h2_later(s->h2);
}

static void side_abort(struct exchange *x)
{
	struct h2_stream *s = x->side_owner;

	if (s->reset == 0)
		s->reset = x->tunnel ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;	/* RFC 8441 5 */
}

static void side_done(struct exchange *x)
{
	struct h2_stream *s = x->side_owner;
	struct h2 *h = s->h2;

	if (x->resp_state == RESP_FAILED && s->reset == 0)
		s->reset = NGHTTP2_INTERNAL_ERROR;
	if (s->in)
		h->unread += buf_len(s->in);
	buf_put(&env_of(s)->bufs, &s->in);
	if (s->given)
		h->unread += buf_len(s->given);
	buf_put(&env_of(s)->bufs, &s->given);
	s->held = s->drained = false;
	s->x = NULL;
	s->out = NULL;
	s->trailers = NULL;
	h->head_bytes -= s->head_bytes;
	s->head_bytes = 0;
	if (!h->failed && !s->closed && (s->reset || (s->answered && !s->ended)))
		nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, s->reset);
	h2_dirty(s);
	h2_later(h);
}

const struct side_ops h2_side = {
	.name = "h2",
	.interim = side_interim,
	.head = side_head,
	.body = side_body,
	.want_body = side_want_body,
	.abort = side_abort,
	.done = side_done,
};
