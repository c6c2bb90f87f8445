/*
 * down_h2_in.c - what came from an HTTP/2 client: the library's callbacks.
 *
 * Called below h2_feed(). They copy, count and mark; they start no exchange and free nothing. A frame too many fails the
 * connection.
 */
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/downstream/down_h2.h"
#include "worker/http/h1_parse.h"

#define BLOCK_BOMB (1u << 20)		/* decoded bytes of one header block that nobody sends by mistake */

static uint64_t now_of(const struct h2 *h)
{
	return h->client->env->loop->now_ms;
}

static int calm_down(struct h2 *h)
{
	h2_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, REASON_FLOOD);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int charge(struct h2 *h, enum h2_kind k)
{
	return h2_calm_take(&h->calm, k, now_of(h)) ? 0 : calm_down(h);
}

static int broken(struct h2 *h, uint32_t error)
{
	h2_fail(h, error, REASON_BAD_REQUEST);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* What the library lets pass: a frame of a stream that the client itself has ended or left out, or of a size beyond what was
 * said. */
static int check_frame(struct h2 *h, const nghttp2_frame_hd *hd)
{
	bool first = hd->type == NGHTTP2_HEADERS;
	enum h2_late late;

	if (hd->type == NGHTTP2_CONTINUATION)
		return hd->length > H2_FRAME_MAX ? broken(h, NGHTTP2_FRAME_SIZE_ERROR) : 0;
	if (hd->type == NGHTTP2_PRIORITY)
		return hd->stream_id == 0 ? broken(h, NGHTTP2_PROTOCOL_ERROR) : 0;
	late = h2_past_late(&h->past, hd->stream_id);
	if (late == H2_LATE_NOT && first)
		h2_past_begin(&h->past, hd->stream_id);
	if (late == H2_LATE_NOT || late == H2_LATE_FINE || nghttp2_session_find_stream(h->session, hd->stream_id))
		return 0;
	return broken(h, first && late == H2_LATE_SKIPPED ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_STREAM_CLOSED);
}

static void parse_head(const uint8_t *p, nghttp2_frame_hd *hd)
{
	hd->length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	hd->type = p[3];
	hd->flags = p[4];
	hd->stream_id = (int32_t)((uint32_t)(p[5] & 0x7f) << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]);
}

/* The library says nothing of DATA on streams that are gone, and knows what is gone only when it has seen all before. */
size_t h2_frames_span(struct h2 *h, struct span in)
{
	size_t at = 0;

	while (at < in.n) {
		size_t n = h->frame_left < in.n - at ? h->frame_left : in.n - at, start;
		nghttp2_frame_hd hd;

		start = at += n;
		h->frame_left -= (uint32_t)n;
		while (h->frame_left == 0 && h->head_have < sizeof(h->head) && at < in.n)
			h->head[h->head_have++] = (uint8_t)in.p[at++];
		if (h->head_have < sizeof(h->head))
			break;
		h->head_have = 0;
		parse_head(h->head, &hd);
		if (hd.type == NGHTTP2_DATA && start > 0)
			return start;
		if (hd.type == NGHTTP2_DATA && check_frame(h, &hd) != 0)
			return 0;
		h->frame_left = (uint32_t)hd.length;
	}
	return at;
}

static int block_frame(struct h2 *h, const nghttp2_frame_hd *hd)
{
	struct h2_block *b = &h->block;
	bool first = hd->type == NGHTTP2_HEADERS;

	if (check_frame(h, hd) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (first) {
		h2_block_fini(h);
		h->block_ms = now_of(h);
	}
	b->open = !(hd->flags & NGHTTP2_FLAG_END_HEADERS);
	if (++b->frames > H2_CONTINUATIONS + 1)
		return calm_down(h);
	return hd->length == 0 && !first ? charge(h, H2_KIND_EMPTY) : 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *owner)
{
	struct h2 *h = owner;

	(void)session;
	OBJ_CHECK(h, H2_MAGIC);
	switch (hd->type) {
	case NGHTTP2_DATA:
		return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM) ? charge(h, H2_KIND_EMPTY) : 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_CONTINUATION:
		return block_frame(h, hd);
	case NGHTTP2_RST_STREAM:
		return charge(h, H2_KIND_RESET);
	case NGHTTP2_SETTINGS:
		return charge(h, hd->flags & NGHTTP2_FLAG_ACK ? H2_KIND_PING : H2_KIND_SETTINGS);
	case NGHTTP2_PING:
	case NGHTTP2_GOAWAY:
		return charge(h, H2_KIND_PING);
	case NGHTTP2_WINDOW_UPDATE:
		return charge(h, H2_KIND_WINDOW);
	case NGHTTP2_PRIORITY:
		return check_frame(h, hd) ? NGHTTP2_ERR_CALLBACK_FAILURE : charge(h, H2_KIND_PRIORITY);
	default:
		return charge(h, H2_KIND_PRIORITY);
	}
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct h2 *h = owner;
	struct h2_stream *s;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = h2_stream_new(h, frame->hd.stream_id);
	if (s == NULL)
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
	else
		nghttp2_session_set_stream_user_data(session, s->id, s);
	return 0;
}

void h2_block_fini(struct h2 *h)
{
	buf_put(&h->client->env->bufs, &h->block.text);
	h->block = (struct h2_block){ 0 };
}

static bool block_add(struct h2 *h, struct span name, struct span value)
{
	struct h2_block *b = &h->block;
	struct buf_pool *pool = &h->client->env->bufs;
	uint32_t sizes[2] = { (uint32_t)name.n, (uint32_t)value.n };
	size_t n = sizeof(sizes) + name.n + value.n;

	if (b->text == NULL)
		b->text = buf_get(pool, n > BUF_SIZE ? n : 0);
	if (b->text == NULL || (buf_room(b->text) < n && !buf_grow(pool, &b->text, (buf_len(b->text) + n) * 2)))
		return false;
	return buf_add(b->text, span_make((const char *)sizes, sizeof(sizes))) && buf_add(b->text, name) &&
	       buf_add(b->text, value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t nname,
		     const uint8_t *value, size_t nvalue, uint8_t flags, void *owner)
{
	struct h2 *h = owner;
	struct h2_block *b = &h->block;
	bool trailers = frame->headers.cat != NGHTTP2_HCAT_REQUEST;
	size_t max = trailers ? H2_TRAILERS_MAX : (size_t)h->client->listen->max_header_size;

	(void)flags;
	b->bytes += nname + nvalue + H2_FIELD_COST;
	if (b->bytes > BLOCK_BOMB)
		return calm_down(h);
	b->over |= b->bytes > max || ++b->fields > H1_FIELDS_MAX + 8;
	if (b->over || nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) == NULL)
		return 0;
	if (!block_add(h, span_make((const char *)name, nname), span_make((const char *)value, nvalue))) {
		h2_fail(h, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *owner)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = owner;

	(void)flags;
	if (s)
		h2_stream_data(s, p, n);
	else
		h->unread += n;
	return h->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void on_headers(struct h2 *h, struct h2_stream *s, const nghttp2_frame *frame)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (s == NULL)
		h2_block_fini(h);
	else if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		h2_stream_head(s, end);
	else
		h2_stream_trailers(s, end);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct h2 *h = owner;
	struct h2_stream *s = NULL;

	if (frame->hd.stream_id != 0)
		s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		on_headers(h, s, frame);
		break;
	case NGHTTP2_DATA:
		if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
			if (s)
				h2_stream_end(s);
		} else if (frame->hd.length > 0 && frame->hd.length == frame->data.padlen) {
			return charge(h, H2_KIND_EMPTY);
		}
		break;
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
			h->greeted = true;
		break;
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && h->leave == H2_NOTICE)
			h2_leave_now(h);
		break;
	case NGHTTP2_GOAWAY:
		h2_leave_now(h);	/* what is under way is answered, then it ends */
		break;
	default:
		break;
	}
	return h->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *owner)
{
	struct h2 *h = owner;
	char ip[ADDR_TEXT];

	(void)session, (void)frame;
	addr_ip_text(&h->client->peer, ip, sizeof(ip));
	log_info("client %s: a bad HTTP/2 frame: %s", ip, nghttp2_strerror(error));
	return 0;
}

/* Frames of unknown types are asked for only so that on_begin_frame() counts them. */
static int on_extension_chunk(nghttp2_session *session, const nghttp2_frame_hd *hd, const uint8_t *p, size_t n,
			      void *owner)
{
	(void)session, (void)hd, (void)p, (void)n, (void)owner;
	return 0;
}

static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd, void *owner)
{
	(void)session, (void)payload, (void)hd, (void)owner;
	return NGHTTP2_ERR_CANCEL;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = owner;

	if (s == NULL)
		return 0;
	OBJ_CHECK(s, H2_STREAM_MAGIC);
	s->closed = true;
	h2_dirty(s);
	if (error == NGHTTP2_NO_ERROR) {
		h2_calm_pay(&h->calm, H2_KIND_RESET, 1);
		h2_calm_pay(&h->calm, H2_KIND_PRIORITY, 2);
		h2_calm_pay(&h->calm, H2_KIND_WINDOW, 2);
	}
	return 0;
}

nghttp2_session_callbacks *h2_callbacks_new(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_chunk);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_extension);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	h2_out_callbacks(cb);
	return cb;
}
