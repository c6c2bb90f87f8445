/*
 * up_h2.c - HTTP/2 to a server: one request on one stream of a shared connection (RFC 9113 8).
 *
 * The upper half is called by the link's callbacks and only records; the owner is called from the stream's task and timer. The
 * answer waits in one buffer for as long as the stream's window allows, and the window opens only when the owner took it. A
 * stream leaves its link when both ends are whole, so that what the link meets later cannot harm an answer that is here.
 */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/upstream/link.h"
#include "worker/upstream/pool.h"

#define INTERIM_MAX 16			/* 1xx answers to one request */

static struct up_h2 *up_h2_of(struct up *u)
{
	OBJ_CHECK(u, UP_MAGIC);
	return container_of(u, struct up_h2, up);
}

static uint64_t now_of(const struct up_h2 *s)
{
	return s->up.pool->loop->now_ms;
}

void up_h2_wake(struct up_h2 *s)
{
	if (!s->gone)
		loop_defer(s->up.pool->loop, &s->later);
}

/* ---- deadlines ---- */

/* The whole head has to come in time: a byte now and then wins nothing. */
static uint64_t response_left(struct up_h2 *s)
{
	uint64_t limit = (uint64_t)s->up.times.response, spent;

	if (s->wait_ms == 0)
		s->wait_ms = now_of(s);
	spent = now_of(s) - s->wait_ms;
	return limit == 0 ? 0 : spent < limit ? limit - spent : 1;
}

/* Make it so. Called on progress. While it is not begun the deadline is that of connecting, absolute. */
static void set_timer(struct up_h2 *s)
{
	struct loop *loop = s->up.pool->loop;
	uint64_t ms = 0;

	if (s->gone || (s->id == 0 && s->link))
		return;
	if (s->ended || s->failing)
		ms = 0;
	else if (s->out)
		ms = (uint64_t)s->up.times.write;
	else if (s->held)
		ms = 0;
	else if (s->resp_head)
		ms = (uint64_t)s->up.times.read;
	else if (s->req_done)
		ms = response_left(s);
	s->timer_ms = ms;
	if (ms)
		timer_set(&loop->wheel, &s->timer, loop->now_ms + ms);
	else
		timer_stop(&loop->wheel, &s->timer);
}

static enum reason deadline_reason(const struct up_h2 *s)
{
	if (s->id == 0)
		return REASON_CONNECT_TIMEOUT;
	if (s->out)
		return REASON_WRITE_TIMEOUT;
	return s->resp_head ? REASON_READ_TIMEOUT : REASON_RESPONSE_TIMEOUT;
}

static void tell_failed(struct up_h2 *s, enum reason why)
{
	s->failed = true;
	timer_stop(&s->up.pool->loop->wheel, &s->timer);
	up_fail(&s->up, why);
}

static void on_expire(struct timer *t)
{
	struct up_h2 *s = container_of(t, struct up_h2, timer);
	struct link *l = s->link;

	OBJ_CHECK(&s->up, UP_MAGIC);
	/* Not a byte in all that time, for anybody: whoever came next would fare no better. */
	if (l && s->id != 0 && (now_of(s) - l->came_ms >= s->timer_ms || l->block.open))
		link_retire(l);
	s->up.req_written = s->marked && (l == NULL || l->written > s->mark);
	tell_failed(s, deadline_reason(s));
}

/* ---- recorded by callbacks ---- */

/* The first failure is the true one. It is told behind whatever came before it. */
static void fail_later(struct up_h2 *s, enum reason why)
{
	if (s->failing)
		return;
	s->failing = true;
	s->why = why;
	up_h2_wake(s);
}

static void spoilt(struct up_h2 *s, enum h2_bad bad)
{
	const struct server *v = s->up.server;

	if (s->failing)
		return;
	log_info("upstream %.*s, server %.*s: %s", SPAN_FMT(v->group->conf->name), SPAN_FMT(v->name), h2_bad_text(bad));
	s->reset = NGHTTP2_PROTOCOL_ERROR;
	s->up.req_written = true;
	fail_later(s, bad == H2_BAD_MEMORY ? REASON_NO_MEMORY : REASON_SERVER_GARBAGE);
}

void up_h2_lost(struct up_h2 *s, enum reason why)
{
	must(s->link == NULL);
	/* An answer that is whole needs no link any more. */
	if (!s->ended)
		fail_later(s, why == REASON_SERVER_RESET && s->resp_head ? REASON_TRUNCATED : why);
	if (why == REASON_SERVER_REFUSED)
		s->up.unprocessed = true;
}

/* The block's text moves into the arena of the answer's head and is mapped there. */
static enum h2_bad map_block(struct up_h2 *s, struct head *head, enum h2_section what, bool end)
{
	struct link *l = s->link;
	struct span in = l->block.text ? buf_span(l->block.text) : SPAN("");
	char *copy = arena_bytes(head->arena, in.n + 1);
	struct h2_map m;

	if (copy == NULL)
		return H2_BAD_MEMORY;
	if (in.n)
		memcpy(copy, in.p, in.n);
	h2_map_init_as(&m, head, what, LINK_HEAD_MAX);
	m.to_head = s->up.method == METHOD_HEAD;
	for (const char *p = copy; p < copy + in.n;) {
		struct span name = link_block_next(&p);

		h2_map_field(&m, name, span_make(name.p + name.n, (size_t)(p - name.p) - name.n));
	}
	if (!m.bad && l->block.over)
		return l->block.bytes > LINK_HEAD_MAX ? H2_BAD_LARGE : H2_BAD_FIELDS;
	return h2_map_end(&m, end);
}

static enum h2_bad take_interim(struct up_h2 *s, struct head *head)
{
	struct interim *i, **end = &s->interims;

	if (++s->ninterims > INTERIM_MAX)
		return H2_BAD_INTERIMS;
	i = arena_alloc(head->arena, sizeof(*i));
	if (i == NULL)
		return H2_BAD_MEMORY;
	i->head = *head;
	i->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = i;
	s->wait_ms = 0;			/* it is still at work */
	head_init(head, head->arena);
	return H2_GOOD;
}

static enum h2_bad take_head(struct up_h2 *s, bool end)
{
	struct head *head = s->up.resp;
	enum h2_bad bad = map_block(s, head, H2_RESPONSE, end);

	if (bad)
		return bad;
	if (head->status < 200)
		return take_interim(s, head);
	s->resp_head = true;
	return H2_GOOD;
}

static enum h2_bad take_trailers(struct up_h2 *s, bool end)
{
	struct arena *a = s->up.resp->arena;
	struct head *t = arena_alloc(a, sizeof(*t));
	enum h2_bad bad;

	if (t == NULL)
		return H2_BAD_MEMORY;
	head_init(t, a);
	bad = map_block(s, t, H2_TRAILERS, end);
	if (!bad)
		s->trailers = t;
	return bad;
}

void up_h2_block(struct up_h2 *s, bool end)
{
	enum h2_bad bad;

	if (s->failing || s->ended)
		return;
	bad = s->resp_head ? take_trailers(s, end) : take_head(s, end);
	if (bad)
		spoilt(s, bad);
	else if (end)
		up_h2_end(s);
	set_timer(s);
	up_h2_wake(s);
}

/* Body where none can be, or more of it than was said. */
static bool too_much(const struct up_h2 *s)
{
	const struct head *h = s->up.resp;

	return !s->resp_head || s->ended || h->body == BODY_NONE || (h->body == BODY_LENGTH && s->got > h->length);
}

void up_h2_data(struct up_h2 *s, const void *p, size_t n)
{
	struct buf_pool *pool = s->up.pool->bufs;

	s->got += n;
	if (s->failing)
		return;
	if (too_much(s)) {
		spoilt(s, H2_BAD_LENGTH_BODY);
		return;
	}
	if (s->in == NULL)
		s->in = buf_get(pool, n > BUF_SIZE ? n : 0);
	if (s->in == NULL || (buf_room(s->in) < n && !buf_grow(pool, &s->in, buf_len(s->in) + n > LINK_STREAM_WINDOW ?
							       buf_len(s->in) + n : LINK_STREAM_WINDOW))) {
		spoilt(s, H2_BAD_MEMORY);
		return;
	}
	must(buf_add(s->in, span_make(p, n)));
	set_timer(s);
	up_h2_wake(s);
}

void up_h2_end(struct up_h2 *s)
{
	const struct head *h = s->up.resp;

	if (s->failing || s->ended)
		return;
	if (!s->resp_head || (h->body == BODY_LENGTH && s->got != h->length)) {
		spoilt(s, s->resp_head ? H2_BAD_LENGTH_BODY : H2_BAD_PSEUDO_MISSING);
		return;
	}
	s->ended = true;
	set_timer(s);
	up_h2_wake(s);
}

void up_h2_closed(struct up_h2 *s, uint32_t error)
{
	bool nothing = !s->resp_head && s->ninterims == 0;

	s->closed = true;
	s->error = error;
	if (!s->ended && !s->failing) {
		s->up.req_written = true;
		s->up.unprocessed = nothing && (s->unsent || error == NGHTTP2_REFUSED_STREAM);
		fail_later(s, s->up.unprocessed ? REASON_SERVER_REFUSED :
			      s->resp_head ? REASON_TRUNCATED : REASON_SERVER_RESET);
	}
	link_detach(s);
	up_h2_wake(s);
}

void up_h2_head_out(struct up_h2 *s)
{
	s->mark = s->link->made;
	s->marked = true;
	s->req_done = !s->out && !s->body_open;
	set_timer(s);
}

void up_h2_body_out(struct up_h2 *s)
{
	if (s->out_left == 0) {
		s->req_done = s->out->last;
		s->out = NULL;
		s->drained = true;
		up_h2_wake(s);
	}
	set_timer(s);
}

void up_h2_begin(struct up_h2 *s)
{
	struct link *l = s->link;

	must(s->id == 0 && l != NULL);
	if (s->req == NULL)
		return;			/* its head comes in this turn */
	if (!s->up.reused)
		s->up.connect_us = s->up.pool->loop->now_us - s->open_us;
	s->came = l->came;
	if (!link_submit(l, s)) {
		link_detach(s);
		fail_later(s, REASON_NO_MEMORY);
		return;
	}
	s->req = NULL;
	set_timer(s);
	link_later(l);
}

/* ---- told to the owner ---- */

static bool tell_interims(struct up_h2 *s)
{
	struct interim *i;

	while ((i = s->interims) != NULL) {
		s->interims = i->next;
		s->up.ops->on_interim(&s->up, &i->head);
		if (s->gone)
			return false;
	}
	return true;
}

/* Gives the window back what the owner has taken. */
static void batch_taken(struct up_h2 *s)
{
	size_t n = s->given ? buf_len(s->given) : 0;

	s->held = false;
	buf_put(s->up.pool->bufs, &s->given);
	if (n == 0 || s->link == NULL || s->link->failed)
		return;
	nghttp2_session_consume_stream(s->link->session, s->id, n);
	link_later(s->link);
}

/* True: go on. */
static bool give(struct up_h2 *s)
{
	struct batch *b = &s->batch;
	enum take t;

	s->given = s->in;
	s->in = NULL;
	batch_init(b);
	if (s->given)
		batch_add(b, buf_span(s->given));
	b->last = s->resp_done = s->ended;
	b->trailers = s->ended ? s->trailers : NULL;
	s->held = true;
	t = s->up.ops->on_body(&s->up, b);
	if (s->gone)
		return false;
	if (t == TAKEN && s->held)
		batch_taken(s);
	return !s->held;
}

/* Everything that came, in its order; the failure, if any, at the end. */
static void on_later(struct task *t)
{
	struct up_h2 *s = container_of(t, struct up_h2, later);

	OBJ_CHECK(&s->up, UP_MAGIC);
	must(!s->gone);
	if (s->failed)
		return;
	if (s->drained && s->sent_held) {
		s->drained = s->sent_held = false;
		s->up.ops->on_sent(&s->up);
		if (s->gone)
			return;
	}
	if (!tell_interims(s))
		return;
	if (s->resp_head && !s->resp_told) {
		s->resp_told = true;
		s->resp_done = s->up.resp->body == BODY_NONE;
		s->up.ops->on_head(&s->up);
		if (s->gone)
			return;
	}
	while (s->resp_told && !s->resp_done && !s->held && (s->in || s->ended)) {
		if (!give(s))
			break;
	}
	if (s->gone)
		return;
	if (s->failing && !s->resp_done && !s->held && s->in == NULL)
		tell_failed(s, s->why);
	else
		set_timer(s);
}

/* ---- the codec ---- */

static struct up *up_h2_open(struct pool *p, struct server *v, enum up_reuse reuse, const struct up_times *times,
			     const struct span *preface)
{
	struct up_h2 *s = slab_get(&p->up_h2s);
	struct link *l;

	if (s == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	*s = (struct up_h2){ .up = { .magic = UP_MAGIC, .codec = &up_h2_codec, .pool = p, .server = v, .times = *times } };
	list_init(&s->node);
	task_init(&s->later, on_later);
	timer_init(&s->timer, on_expire);
	s->open_us = p->loop->now_us;
	l = link_get(p, v, reuse, preface);
	if (l == NULL) {
		int e = errno;

		slab_put(&p->up_h2s, s);
		errno = e;
		return NULL;
	}
	s->up.reused = l->state == LINK_READY;
	if (s->up.reused)
		shm_count(p->shm, STAT_UP_REUSED, 1);
	if (times->connect)
		timer_set(&p->loop->wheel, &s->timer, p->loop->now_ms + (uint64_t)times->connect);
	link_attach(l, s);
	return &s->up;
}

static bool up_h2_send_head(struct up *u, const struct head *req, struct head *resp)
{
	struct up_h2 *s = up_h2_of(u);

	(void)resp;
	s->req = req;
	s->body_open = req->body != BODY_NONE && !(req->body == BODY_LENGTH && req->length == 0);
	if (s->link && s->link->state == LINK_READY && s->link->limit > 0)
		up_h2_begin(s);
	return true;
}

/* Room is made only for a batch that does not fit, so that small requests leave together. */
static void push_out(struct up_h2 *s)
{
	struct link *l = s->link;

	nghttp2_session_resume_data(l->session, s->id);
	link_produce(l);
	while (s->out && l->out && l->conn.can_write && !l->failed && !l->cut) {
		size_t left = s->out_left;

		if (!link_write(l))
			l->cut = true;
		else
			link_produce(l);
		if (s->out_left == left)
			break;
	}
	link_later(l);
}

static enum take up_h2_send_body(struct up *u, const struct batch *b)
{
	struct up_h2 *s = up_h2_of(u);

	must(s->body_open && !s->sent_held);
	s->sent_held = true;
	if (s->link == NULL || s->closed || s->failing)
		return HELD;		/* for good: the answer or the failure decides */
	s->out = b;
	s->out_span = 0;
	s->out_skip = 0;
	s->out_left = b->bytes;
	s->drained = false;
	s->body_open = !b->last;
	if (s->id != 0 && !s->link->failed && !s->link->cut)
		push_out(s);
	if (s->out) {
		set_timer(s);
		return HELD;
	}
	s->sent_held = s->drained = false;
	return TAKEN;
}

static void up_h2_more(struct up *u)
{
	struct up_h2 *s = up_h2_of(u);

	must(s->held);
	batch_taken(s);
	set_timer(s);
	up_h2_wake(s);
}

static void up_h2_bury(struct grave *g)
{
	struct up_h2 *s = container_of(g, struct up_h2, up.grave);
	struct pool *p = s->up.pool;
	struct up *dead = &s->up;

	OBJ_CLEAR(dead);
	slab_put(&p->up_h2s, s);
}

/* What the server still has to do for it, it can leave; after a whole answer there is no blame in that (RFC 9113 8.1). */
static void up_h2_close(struct up *u)
{
	struct up_h2 *s = up_h2_of(u);
	struct link *l = s->link;
	struct loop *loop = u->pool->loop;

	must(!s->gone);
	s->gone = true;
	timer_stop(&loop->wheel, &s->timer);
	loop_cancel(&s->later);
	buf_put(u->pool->bufs, &s->in);
	buf_put(u->pool->bufs, &s->given);
	s->out = NULL;
	if (l) {
		int32_t id = s->id;

		link_detach(s);
		if (id != 0 && !l->failed)
			nghttp2_submit_rst_stream(l->session, NGHTTP2_FLAG_NONE, id, s->reset ? s->reset :
						  s->resp_done ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
	}
	loop_bury(loop, &u->grave, up_h2_bury);
}

const struct up_codec up_h2_codec = {
	"http2", false, up_h2_open, up_h2_send_head, up_h2_send_body, up_h2_more, up_h2_close,
};
