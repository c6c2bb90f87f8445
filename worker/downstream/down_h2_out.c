/*
 * down_h2_out.c - what goes out to an HTTP/2 client.
 *
 * Frames are made by the library only while there is room for them in one buffer, which is written in one call per turn. Body
 * goes from the exchange's batch straight into that buffer. Calls no exchange: that a batch is used up is only recorded.
 */
#include "common/obj.h"
#include "worker/downstream/down_h2.h"

#define FRAME_HEAD 9
#define ROOM_MIN 2048			/* below it no further frame is begun */
#define OUT_CAP (H2_OUT_MAX + BUF_SIZE)

/* ---- callbacks: only record ---- */

static nghttp2_nv *nv_make(struct arena *a, const struct h2_field *f, unsigned n)
{
	nghttp2_nv *nv = arena_alloc(a, (n + 1) * sizeof(*nv));

	for (unsigned i = 0; nv && i < n; i++) {
		nv[i].name = (uint8_t *)f[i].name.p;
		nv[i].namelen = f[i].name.n;
		nv[i].value = (uint8_t *)f[i].value.p;
		nv[i].valuelen = f[i].value.n;
		nv[i].flags = NGHTTP2_NV_FLAG_NONE;
	}
	return nv;
}

/* True: a trailer section will end the stream. */
static bool submit_trailers(struct h2_stream *s, const struct head *t)
{
	struct h2_field *f;
	nghttp2_nv *nv;
	unsigned n;

	if (t == NULL || t->nfields == 0)
		return false;
	f = arena_alloc(&s->x->arena, t->nfields * sizeof(*f));
	n = f ? h2_map_trailers(t, f) : 0;
	nv = n ? nv_make(&s->x->arena, f, n) : NULL;
	return nv && nghttp2_submit_trailer(s->h2->session, s->id, nv, n) == 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *unused, size_t length, uint32_t *flags,
		       nghttp2_data_source *source, void *owner)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = owner;
	size_t room = buf_room(h->out) - FRAME_HEAD;

	(void)session, (void)id, (void)unused;
	OBJ_CHECK(s, H2_STREAM_MAGIC);
	if (s->out == NULL)
		return NGHTTP2_ERR_DEFERRED;
	if (length > room)
		length = room;
	if (length > s->out_left)
		length = s->out_left;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (length == s->out_left && s->out->last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (submit_trailers(s, s->out->trailers))
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)length;
}

/* Copies n bytes of the batch behind the frame head. */
static void copy_batch(struct h2_stream *s, struct buf *to, size_t n)
{
	s->out_left -= n;
	while (n > 0) {
		struct span v = s->out->v[s->out_span];
		size_t m = v.n - s->out_skip;

		if (m > n)
			m = n;
		must(buf_add(to, span_make(v.p + s->out_skip, m)));
		s->out_skip += m;
		n -= m;
		if (s->out_skip == v.n) {
			s->out_span++;
			s->out_skip = 0;
		}
	}
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
			nghttp2_data_source *source, void *owner)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = owner;

	(void)session, (void)frame;
	OBJ_CHECK(s, H2_STREAM_MAGIC);
	must(s->out != NULL && frame->data.padlen == 0);
	must(buf_add(h->out, span_make((const char *)head, FRAME_HEAD)));
	copy_batch(s, h->out, length);
	h2_calm_pay(&h->calm, H2_KIND_WINDOW, 4);
	h2_calm_pay(&h->calm, H2_KIND_PING, 1);
	if (s->out_left == 0) {
		s->out = NULL;
		s->drained = true;
		h2_dirty(s);
	}
	h2_stream_timer(s);
	return NGHTTP2_ERR_PAUSE;	/* the next frame needs its own look at the room */
}

/* An answer that is whole before its request ends the stream without blame (RFC 9113 8.1), once it is out: a reset takes along
 * what still waits. */
static void answer_out(struct h2 *h, struct h2_stream *s)
{
	if (s == NULL)
		return;
	s->answered = true;
	if (s->x == NULL && !s->ended)
		nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct h2 *h = owner;

	if (frame->hd.type != NGHTTP2_RST_STREAM) {
		if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
		    (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
			answer_out(h, nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
		return 0;
	}
	h2_past_cut(&h->past, frame->hd.stream_id);
	if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
	    !h2_calm_take(&h->calm, H2_KIND_RESET, h->client->env->loop->now_ms)) {
		h2_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, REASON_FLOOD);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *owner)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)owner;
	if (frame->hd.type == NGHTTP2_HEADERS && s && error != NGHTTP2_ERR_STREAM_CLOSED &&
	    error != NGHTTP2_ERR_STREAM_CLOSING)
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	return 0;
}

void h2_out_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

/* ---- frames and bytes ---- */

bool h2_submit_head(struct h2_stream *s, const struct head *resp, bool body)
{
	struct client *c = s->h2->client;
	nghttp2_data_provider from = { .source.ptr = s, .read_callback = on_read };
	struct arena *a = &s->x->arena;
	char scratch[H2_MAP_SCRATCH];
	struct h2_field *f = arena_alloc(a, (resp->nfields + H2_MAP_EXTRA) * sizeof(*f));
	nghttp2_nv *nv;
	unsigned n;

	if (f == NULL)
		return false;
	n = h2_map_response(resp, env_date(c->env), s->no_body, f, scratch);
	nv = nv_make(a, f, n);
	if (nv == NULL)
		return false;
	if (resp->status < 200 && resp->body != BODY_TUNNEL)
		return nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n, NULL) == 0;
	return nghttp2_submit_response(s->h2->session, s->id, nv, n, body ? &from : NULL) == 0;
}

static bool out_room(struct h2 *h)
{
	struct buf_pool *pool = &h->client->env->bufs;

	if (h->out == NULL)
		h->out = buf_get(pool, 0);
	if (h->out == NULL)
		return false;
	if (buf_room(h->out) >= ROOM_MIN)
		return true;
	if (h->out->start > 0)
		buf_compact(h->out);
	return buf_room(h->out) >= ROOM_MIN || (h->out->cap < OUT_CAP && buf_grow(pool, &h->out, OUT_CAP));
}

static bool out_add(struct h2 *h, const void *p, size_t n)
{
	struct buf_pool *pool = &h->client->env->bufs;

	if (h->out == NULL)
		h->out = buf_get(pool, n > BUF_SIZE ? n : 0);
	if (h->out == NULL || (buf_room(h->out) < n && !buf_grow(pool, &h->out, buf_len(h->out) + n)))
		return false;
	return buf_add(h->out, span_make(p, n));
}

void h2_produce(struct h2 *h)
{
	const uint8_t *p;
	ssize_t n;

	OBJ_CHECK(h, H2_MAGIC);
	while (!h->failed && nghttp2_session_want_write(h->session) && out_room(h)) {
		size_t before = buf_len(h->out);

		n = nghttp2_session_mem_send(h->session, &p);
		if (n < 0) {
			h2_fail(h, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		} else if (n > 0 && !out_add(h, p, (size_t)n)) {
			h2_gone(h, REASON_NO_MEMORY);
		} else if (n == 0 && buf_len(h->out) == before) {
			break;
		}
	}
	if (h->out && buf_len(h->out) == 0)
		buf_put(&h->client->env->bufs, &h->out);
}

bool h2_write(struct h2 *h)
{
	struct client *c = h->client;
	size_t put;

	OBJ_CHECK(h, H2_MAGIC);
	if (h->out == NULL || !c->conn.can_write)
		return true;
	while (buf_len(h->out) > 0 && c->conn.can_write) {
		struct iovec iov = { h->out->data + h->out->start, buf_len(h->out) };
		enum io_rc rc = conn_sendv(&c->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			break;
		if (rc != IO_OK)
			return false;
		shm_count(c->env->shm, STAT_BYTES_OUT, put);
		buf_consume(h->out, put);
		h->out_ms = c->env->loop->now_ms;
	}
	if (buf_len(h->out) == 0)
		buf_put(&c->env->bufs, &h->out);
	return true;
}

bool h2_out_full(const struct h2 *h)
{
	return h->out && buf_len(h->out) >= BUF_SIZE && !h->client->conn.can_write;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

/* By hand, since the session may be in any state. */
void h2_write_goaway(struct h2 *h)
{
	uint8_t frame[FRAME_HEAD + 8] = { 0, 0, 8, NGHTTP2_GOAWAY };

	put32(frame + FRAME_HEAD, (uint32_t)nghttp2_session_get_last_proc_stream_id(h->session));
	put32(frame + FRAME_HEAD + 4, h->error);
	out_add(h, frame, sizeof(frame));
}
