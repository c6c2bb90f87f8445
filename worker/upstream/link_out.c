/*
 * link_out.c - what goes out to an HTTP/2 server.
 *
 * Frames are made by the library only while there is room for them in one buffer, which is written in one call per turn. Body
 * goes from the owner's batch straight into that buffer. Calls no owner: that a batch is used up is only recorded.
 */
#include <string.h>

#include "common/obj.h"
#include "worker/upstream/link.h"
#include "worker/upstream/pool.h"

#define FRAME_HEAD 9
#define ROOM_MIN 2048			/* below it no further frame is begun */
#define OUT_CAP (LINK_OUT_MAX + BUF_SIZE)

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
static bool submit_trailers(struct link *l, struct up_h2 *s, const struct head *t)
{
	struct arena *a = s->up.resp->arena;
	struct h2_field *f;
	nghttp2_nv *nv;
	unsigned n;

	if (t == NULL || t->nfields == 0)
		return false;
	f = arena_alloc(a, t->nfields * sizeof(*f));
	n = f ? h2_map_trailers(t, f) : 0;
	nv = n ? nv_make(a, f, n) : NULL;
	return nv && nghttp2_submit_trailer(l->session, s->id, nv, n) == 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *unused, size_t length, uint32_t *flags,
		       nghttp2_data_source *source, void *owner)
{
	struct up_h2 *s = nghttp2_session_get_stream_user_data(session, id);
	struct link *l = owner;
	size_t room = buf_room(l->out) - FRAME_HEAD;

	(void)unused, (void)source;
	if (s == NULL || s->out == NULL)	/* gone: its reset is on the way */
		return NGHTTP2_ERR_DEFERRED;
	if (length > room)
		length = room;
	if (length > s->out_left)
		length = s->out_left;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (length == s->out_left && s->out->last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (submit_trailers(l, s, s->out->trailers))
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)length;
}

/* Copies n bytes of the batch behind the frame head. */
static void copy_batch(struct up_h2 *s, struct buf *to, size_t n)
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
	struct up_h2 *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct link *l = owner;

	(void)source;
	must(s != NULL && s->out != NULL && frame->data.padlen == 0);
	must(buf_add(l->out, span_make((const char *)head, FRAME_HEAD)));
	copy_batch(s, l->out, length);
	l->made += FRAME_HEAD + length;
	h2_calm_pay(&l->calm, H2_KIND_WINDOW, 4);
	h2_calm_pay(&l->calm, H2_KIND_PING, 1);
	up_h2_body_out(s);
	return NGHTTP2_ERR_PAUSE;	/* the next frame needs its own look at the room */
}

static int before_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct up_h2 *s;

	(void)owner;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s)
		up_h2_head_out(s);
	return 0;
}

/* The library found fault with what the server sent, and gives up. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct link *l = owner;
	uint32_t code = frame->hd.type == NGHTTP2_GOAWAY ? frame->goaway.error_code : NGHTTP2_NO_ERROR;

	(void)session;
	if (code == NGHTTP2_NO_ERROR)
		return 0;
	link_fail(l, code, !l->greeted ? REASON_SERVER_NOT_H2 : code == NGHTTP2_ENHANCE_YOUR_CALM ? REASON_SERVER_FLOOD :
			   REASON_SERVER_GARBAGE);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *owner)
{
	struct up_h2 *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)error, (void)owner;
	if (frame->hd.type == NGHTTP2_HEADERS && s && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		s->unsent = true;	/* its close follows */
	return 0;
}

void link_out_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_frame_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

/* ---- frames and bytes ---- */

bool link_submit(struct link *l, struct up_h2 *s)
{
	const struct head *req = s->req;
	nghttp2_data_provider from = { .read_callback = on_read };
	struct arena *a = s->up.resp->arena;
	struct h2_field *f = arena_alloc(a, (req->nfields + H2_MAP_REQUEST_EXTRA) * sizeof(*f));
	char scratch[H2_MAP_SCRATCH];
	bool body = s->body_open || s->out;	/* its last batch may wait already */
	nghttp2_nv *nv;
	unsigned n;

	if (f == NULL)
		return false;
	n = h2_map_request(req, l->server->group->tls != NULL, a, f, scratch);
	nv = n ? nv_make(a, f, n) : NULL;
	s->id = nv ? nghttp2_submit_request(l->session, NULL, nv, n, body ? &from : NULL, s) : 0;
	if (s->id > 0)
		return true;
	s->id = 0;
	return false;
}

static bool out_room(struct link *l)
{
	struct buf_pool *pool = l->pool->bufs;

	if (l->out == NULL)
		l->out = buf_get(pool, 0);
	if (l->out == NULL)
		return false;
	if (buf_room(l->out) >= ROOM_MIN)
		return true;
	if (l->out->start > 0)
		buf_compact(l->out);
	return buf_room(l->out) >= ROOM_MIN || (l->out->cap < OUT_CAP && buf_grow(pool, &l->out, OUT_CAP));
}

static bool out_add(struct link *l, const void *p, size_t n)
{
	struct buf_pool *pool = l->pool->bufs;

	if (l->out == NULL)
		l->out = buf_get(pool, n > BUF_SIZE ? n : 0);
	if (l->out == NULL || (buf_room(l->out) < n && !buf_grow(pool, &l->out, buf_len(l->out) + n)))
		return false;
	l->made += n;
	return buf_add(l->out, span_make(p, n));
}

void link_produce(struct link *l)
{
	const uint8_t *p;
	ssize_t n;

	OBJ_CHECK(l, LINK_MAGIC);
	while (!l->failed && nghttp2_session_want_write(l->session) && out_room(l)) {
		size_t before = buf_len(l->out);

		n = nghttp2_session_mem_send(l->session, &p);
		if (n < 0)
			link_fail(l, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);	/* unless a callback said why */
		else if (n > 0 && !out_add(l, p, (size_t)n))
			link_fail(l, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		else if (n == 0 && buf_len(l->out) == before)
			break;
	}
	if (l->out && buf_len(l->out) == 0)
		buf_put(l->pool->bufs, &l->out);
}

bool link_write(struct link *l)
{
	size_t put;

	OBJ_CHECK(l, LINK_MAGIC);
	if (l->out == NULL || !l->conn.can_write)
		return true;
	while (buf_len(l->out) > 0 && l->conn.can_write) {
		struct iovec iov = { l->out->data + l->out->start, buf_len(l->out) };
		enum io_rc rc = conn_sendv(&l->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			break;
		if (rc != IO_OK) {
			buf_put(l->pool->bufs, &l->out);
			return false;
		}
		l->written += put;
		buf_consume(l->out, put);
	}
	if (buf_len(l->out) == 0)
		buf_put(l->pool->bufs, &l->out);
	return true;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

/* By hand, since the session may be in any state. */
void link_goodbye(struct link *l)
{
	uint8_t frame[FRAME_HEAD + 8] = { 0, 0, 8, NGHTTP2_GOAWAY };
	struct iovec iov = { frame, sizeof(frame) };
	size_t put;

	if (l->conn.connecting || l->cut || l->out != NULL || l->made == 0 || !l->conn.can_write)
		return;			/* it cannot be said between the bytes of a frame */
	put32(frame + FRAME_HEAD + 4, l->error);
	(void)conn_sendv(&l->conn, &iov, 1, &put);
}
