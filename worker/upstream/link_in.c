/*
 * link_in.c - what came from an HTTP/2 server: the library's callbacks.
 *
 * Called below link_feed(). They copy, count, and wake streams; they free nothing and call no owner. A frame too many fails the
 * link: a server has as little reason for a flood as a client.
 */
#include "common/log.h"
#include "common/obj.h"
#include "worker/http/h1_parse.h"
#include "worker/upstream/link.h"
#include "worker/upstream/pool.h"

#define BLOCK_BOMB (1u << 20)		/* decoded bytes of one header block that nobody sends by mistake */

static uint64_t now_of(const struct link *l)
{
	return l->pool->loop->now_ms;
}

static int calm_down(struct link *l)
{
	link_fail(l, NGHTTP2_ENHANCE_YOUR_CALM, REASON_SERVER_FLOOD);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int charge(struct link *l, enum h2_kind k)
{
	return h2_calm_take(&l->calm, k, now_of(l)) ? 0 : calm_down(l);
}

static int block_frame(struct link *l, const nghttp2_frame_hd *hd)
{
	struct link_block *b = &l->block;
	bool first = hd->type == NGHTTP2_HEADERS;

	if (first)
		link_block_fini(l);
	b->open = !(hd->flags & NGHTTP2_FLAG_END_HEADERS);
	if (++b->frames > LINK_CONTINUATIONS + 1)
		return calm_down(l);
	return hd->length == 0 && !first ? charge(l, H2_KIND_EMPTY) : 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *owner)
{
	struct link *l = owner;

	OBJ_CHECK(l, LINK_MAGIC);
	switch (hd->type) {
	case NGHTTP2_DATA:
		return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM) ? charge(l, H2_KIND_EMPTY) : 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_CONTINUATION:
		return block_frame(l, hd);
	case NGHTTP2_RST_STREAM:
		/* One for each stream that we begin is the server's right. */
		return nghttp2_session_get_stream_user_data(session, hd->stream_id) ? 0 : charge(l, H2_KIND_RESET);
	case NGHTTP2_SETTINGS:
		return charge(l, hd->flags & NGHTTP2_FLAG_ACK ? H2_KIND_PING : H2_KIND_SETTINGS);
	case NGHTTP2_PING:
	case NGHTTP2_GOAWAY:
		return charge(l, H2_KIND_PING);
	case NGHTTP2_WINDOW_UPDATE:
		return charge(l, H2_KIND_WINDOW);
	default:
		return charge(l, H2_KIND_PRIORITY);
	}
}

/* ---- header blocks ---- */

void link_block_fini(struct link *l)
{
	buf_put(l->pool->bufs, &l->block.text);
	l->block = (struct link_block){ 0 };
}

struct span link_block_next(const char **p)
{
	uint32_t sizes[2];
	struct span name;

	memcpy(sizes, *p, sizeof(sizes));
	name = span_make(*p + sizeof(sizes), sizes[0]);
	*p = name.p + sizes[0] + sizes[1];
	return name;
}

static bool block_add(struct link *l, struct span name, struct span value)
{
	struct link_block *b = &l->block;
	struct buf_pool *pool = l->pool->bufs;
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
	struct link *l = owner;
	struct link_block *b = &l->block;

	(void)flags;
	b->bytes += nname + nvalue + H2_FIELD_COST;
	if (b->bytes > BLOCK_BOMB)
		return calm_down(l);
	b->over |= b->bytes > LINK_HEAD_MAX || ++b->fields > H1_FIELDS_MAX + 1;
	if (b->over || nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) == NULL)
		return 0;
	if (!block_add(l, span_make((const char *)name, nname), span_make((const char *)value, nvalue))) {
		link_fail(l, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

/* ---- frames ---- */

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *owner)
{
	struct up_h2 *s = nghttp2_session_get_stream_user_data(session, id);
	struct link *l = owner;

	(void)flags;
	l->unread += n;			/* a slow taker holds up its own stream alone */
	if (s)
		up_h2_data(s, p, n);
	return l->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct link *l = owner;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct up_h2 *s = NULL;

	if (frame->hd.stream_id != 0)
		s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (s)
			up_h2_block(s, end);
		link_block_fini(l);
		break;
	case NGHTTP2_DATA:
		if (end && s)
			up_h2_end(s);
		else if (!end && frame->hd.length > 0 && frame->hd.length == frame->data.padlen)
			return charge(l, H2_KIND_EMPTY);
		break;
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
			l->greeted = l->settled = true;
		break;
	case NGHTTP2_GOAWAY:
		/* Those that it does not name were closed by the library as refused. */
		if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !l->goaway)
			log_info("upstream %.*s, server %.*s: it takes no more requests on a connection: %s",
				 SPAN_FMT(l->server->group->conf->name), SPAN_FMT(l->server->name),
				 nghttp2_http2_strerror(frame->goaway.error_code));
		l->goaway = true;
		break;
	default:
		break;
	}
	return l->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *owner)
{
	struct link *l = owner;

	(void)session, (void)frame;
	log_info("upstream %.*s, server %.*s: a bad HTTP/2 frame: %s", SPAN_FMT(l->server->group->conf->name),
		 SPAN_FMT(l->server->name), nghttp2_strerror(error));
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
	struct up_h2 *s = nghttp2_session_get_stream_user_data(session, id);
	struct link *l = owner;

	h2_calm_pay(&l->calm, H2_KIND_RESET, 1);
	h2_calm_pay(&l->calm, H2_KIND_PRIORITY, 2);
	h2_calm_pay(&l->calm, H2_KIND_WINDOW, 2);
	if (s)
		up_h2_closed(s, error);
	return 0;
}

nghttp2_session_callbacks *link_callbacks_new(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_chunk);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_extension);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	link_out_callbacks(cb);
	return cb;
}
