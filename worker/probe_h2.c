/*
 * probe_h2.c - one look at one server over HTTP/2: a request, or a call of the health service of gRPC.
 *
 * Called by probe.c once the connection is up. The library frames and judges messages; what an answer says is judged here. No
 * more is read than a check needs, and the deadline is probe.c's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/obj.h"
#include "worker/http/h2_alloc.h"
#include "worker/probe_parts.h"

#define MEM_MAX (1u << 20)
#define IN_SIZE 16384
#define OUT_MAX 65536			/* that waits; a server that wants more said of us is none */
#define MESSAGE_MAX 256			/* of the health service: two bytes are usual */
#define NAME_MAX_BYTES 100		/* of a service, so that its length is one byte */
#define GRPC_PATH "/grpc.health.v1.Health/Check"

enum { SERVING_UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN };

struct probe_h2 {
	nghttp2_session *session;
	struct h2_alloc mem;
	int32_t id;
	unsigned status;		/* 0: no head yet */
	unsigned grpc_status;
	bool has_grpc_status;
	bool over;			/* the answer is whole, or its stream is closed */
	bool bad;
	size_t head_bytes;
	unsigned char ask[5 + 2 + NAME_MAX_BYTES];
	size_t nask, asked;
	unsigned char message[MESSAGE_MAX];
	size_t nmessage;
	unsigned char out[OUT_MAX];
	size_t out_len, out_sent;
	char in[IN_SIZE];
};

/* ---- the health service ---- */

/* The field `status` of a HealthCheckResponse; -1: not one. Other fields are passed over as protobuf says. */
static int serving_status(const unsigned char *p, size_t n)
{
	int status = SERVING_UNKNOWN;
	size_t at = 0;

	while (at < n) {
		unsigned key = p[at++];
		uint64_t v = 0;
		unsigned shift = 0;

		if (key & 0x80)
			return -1;
		do {
			if (at == n || shift > 63)
				return -1;
			v |= (uint64_t)(p[at] & 0x7f) << shift;
			shift += 7;
		} while (p[at++] & 0x80);
		if ((key & 7) == 2) {
			if (v > n - at)
				return -1;
			at += v;
		} else if ((key & 7) != 0) {
			return -1;
		} else if (key >> 3 == 1) {
			status = v > SERVICE_UNKNOWN ? SERVING_UNKNOWN : (int)v;
		}
	}
	return status;
}

const char *probe_grpc_answer(const unsigned char *p, size_t n)
{
	if (n < 5 || p[0] != 0 || p[1] != 0 || p[2] != 0 || (size_t)(p[3] << 8 | p[4]) != n - 5)
		return "its answer is not one message of gRPC";
	switch (serving_status(p + 5, n - 5)) {
	case SERVING:
		return NULL;
	case NOT_SERVING:
		return "it says that it is not serving";
	case SERVICE_UNKNOWN:
		return "it does not know the service";
	case SERVING_UNKNOWN:
		return "it does not know whether it is serving";
	default:
		return "its answer is not one of the health service";
	}
}

/* HealthCheckRequest: the service in field 1, nothing for the server as a whole. */
static void make_message(struct probe_h2 *h, struct span service)
{
	size_t n = service.n ? service.n + 2 : 0;

	must(service.n <= NAME_MAX_BYTES);
	memset(h->ask, 0, 5);
	h->ask[4] = (unsigned char)n;
	if (n) {
		h->ask[5] = 1 << 3 | 2;
		h->ask[6] = (unsigned char)service.n;
		memcpy(h->ask + 7, service.p, service.n);
	}
	h->nask = 5 + n;
}

/* ---- told by the library ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t nname,
		     const uint8_t *value, size_t nvalue, uint8_t flags, void *owner)
{
	struct probe *p = owner;
	struct probe_h2 *h = p->h2;
	struct span n = span_make((const char *)name, nname), v = span_make((const char *)value, nvalue);
	uint64_t number;

	(void)session, (void)flags;
	h->head_bytes += nname + nvalue + 32;
	if (h->head_bytes > PROBE_HEAD_MAX) {
		h->bad = true;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (frame->hd.stream_id != h->id || !span_u64(v, &number) || number > 999)
		return 0;
	if (span_eq(n, SPAN(":status")) && number >= 200)
		h->status = (unsigned)number;
	if (span_eq(n, SPAN("grpc-status"))) {
		h->grpc_status = (unsigned)number;
		h->has_grpc_status = true;
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *owner)
{
	struct probe *p = owner;
	struct probe_h2 *h = p->h2;

	(void)session, (void)flags, (void)id;
	if (n > MESSAGE_MAX - h->nmessage)
		n = MESSAGE_MAX - h->nmessage;
	memcpy(h->message + h->nmessage, data, n);
	h->nmessage += n;
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct probe *p = owner;

	(void)session;
	if (frame->hd.stream_id == p->h2->id && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
		p->h2->over = true;
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
	struct probe *p = owner;

	(void)session, (void)id;
	if (!p->h2->over && error != NGHTTP2_NO_ERROR)
		p->h2->bad = true;
	p->h2->over = true;
	return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t length, uint32_t *flags,
		       nghttp2_data_source *source, void *owner)
{
	struct probe_h2 *h = ((struct probe *)owner)->h2;
	size_t n = h->nask - h->asked;

	(void)session, (void)id, (void)source;
	if (n > length)
		n = length;
	memcpy(to, h->ask + h->asked, n);
	h->asked += n;
	if (h->asked == h->nask)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* ---- start and end ---- */

static nghttp2_nv nv(struct span name, struct span value)
{
	return (nghttp2_nv){ (uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, NGHTTP2_NV_FLAG_NONE };
}

static int32_t submit(struct probe *p)
{
	struct probe_h2 *h = p->h2;
	nghttp2_data_provider from = { .read_callback = on_read };
	bool grpc = p->up->check == CONF_CHECK_GRPC;
	nghttp2_nv v[8] = {
		nv(SPAN(":method"), grpc ? SPAN("POST") : SPAN("GET")),
		nv(SPAN(":scheme"), p->tls_client ? SPAN("https") : SPAN("http")),
		nv(SPAN(":authority"), probe_host(p)),
		nv(SPAN(":path"), grpc ? SPAN(GRPC_PATH) : p->up->check_path),
		nv(SPAN("user-agent"), SPAN("weir-check")),
	};

	if (!grpc)
		return nghttp2_submit_request(h->session, NULL, v, 5, NULL, NULL);
	v[5] = nv(SPAN("content-type"), SPAN("application/grpc"));
	v[6] = nv(SPAN("te"), SPAN("trailers"));
	make_message(h, span_make(p->up->check_path.p + 1, p->up->check_path.n - 1));
	return nghttp2_submit_request(h->session, NULL, v, 7, &from, NULL);
}

static nghttp2_session_callbacks *callbacks_new(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	return cb;
}

bool probe_h2_start(struct probe *p)
{
	const nghttp2_settings_entry no_push = { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
	nghttp2_session_callbacks *cb = callbacks_new();
	struct probe_h2 *h = p->h2 = calloc(1, sizeof(*h));
	nghttp2_mem mem;
	bool ok = cb != NULL && h != NULL;

	if (ok) {
		h->mem.max = MEM_MAX;
		mem = h2_alloc_hooks(&h->mem);
		ok = nghttp2_session_client_new3(&h->session, cb, p, NULL, &mem) == 0 &&
		     nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &no_push, 1) == 0 && (h->id = submit(p)) > 0;
	}
	nghttp2_session_callbacks_del(cb);
	if (!ok)
		probe_h2_stop(p);
	return ok;
}

void probe_h2_stop(struct probe *p)
{
	if (p->h2 == NULL)
		return;
	nghttp2_session_del(p->h2->session);
	free(p->h2);
	p->h2 = NULL;
}

/* ---- the answer ---- */

static void judge_grpc(struct probe *p)
{
	struct probe_h2 *h = p->h2;
	const char *wrong;
	char text[100];

	if (h->status != 200) {
		probe_done_status(p, h->status);
		return;
	}
	if (!h->has_grpc_status || h->grpc_status != 0) {
		snprintf(text, sizeof(text), "it answered with status %u of gRPC%s", h->grpc_status,
			 h->grpc_status == 12 ? ": it has no health service" :
			 h->grpc_status == 5 ? ": it does not know the service" : "");
		probe_done_badly(p, 0, h->has_grpc_status ? text : "its answer has no status of gRPC");
		return;
	}
	wrong = probe_grpc_answer(h->message, h->nmessage);
	if (wrong)
		probe_done_badly(p, 0, wrong);
	else
		probe_done_well(p, 200);
}

/* True when the probe has ended. */
static bool judge(struct probe *p)
{
	struct probe_h2 *h = p->h2;
	bool grpc = p->up->check == CONF_CHECK_GRPC;

	if (h->bad || (h->over && h->status == 0)) {
		probe_done_badly(p, 0, h->status || h->over ? "its answer is not good HTTP/2" :
				       "the head of its answer is too large");
		return true;
	}
	if (h->status == 0 || (grpc && !h->over))
		return false;
	if (grpc)
		judge_grpc(p);
	else
		probe_done_status(p, h->status);
	return true;
}

/* ---- bytes ---- */

static bool fill_out(struct probe_h2 *h)
{
	const uint8_t *data;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(h->session, &data)) > 0) {
		if ((size_t)n > OUT_MAX - h->out_len)
			return false;
		memcpy(h->out + h->out_len, data, (size_t)n);
		h->out_len += (size_t)n;
	}
	return n == 0;
}

/* False when the probe has ended. */
static bool write_out(struct probe *p)
{
	struct probe_h2 *h = p->h2;
	size_t put;

	if (!fill_out(h)) {
		probe_done_badly(p, 0, "it does not speak HTTP/2 well");
		return false;
	}
	while (h->out_sent < h->out_len && p->conn.can_write) {
		struct iovec iov = { h->out + h->out_sent, h->out_len - h->out_sent };
		enum io_rc rc = conn_sendv(&p->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			break;
		if (rc != IO_OK) {
			probe_done_badly(p, p->conn.error, "it took no request");
			return false;
		}
		h->out_sent += put;
		p->out_sent += put;
	}
	if (h->out_sent == h->out_len)
		h->out_sent = h->out_len = 0;
	return true;
}

void probe_h2_go_on(struct probe *p)
{
	size_t got;

	if (tls_of(&p->conn) != NULL && !tls_chose_h2(tls_of(&p->conn))) {
		probe_done_badly(p, 0, "it does not speak HTTP/2");
		return;
	}
	if (!write_out(p))
		return;
	while (p->conn.can_read) {
		enum io_rc rc = conn_recv(&p->conn, p->h2->in, IN_SIZE, &got);

		if (rc == IO_AGAIN)
			return;
		if (rc != IO_OK) {
			probe_done_badly(p, rc == IO_FAIL ? p->conn.error : 0, "it closed before its answer was whole");
			return;
		}
		ssize_t n = nghttp2_session_mem_recv(p->h2->session, (const uint8_t *)p->h2->in, got);
		if (n < 0 && !p->h2->bad) {
			probe_done_badly(p, 0, "it does not speak HTTP/2 well");
			return;
		}
		if (judge(p) || !write_out(p))
			return;
		if (!nghttp2_session_want_read(p->h2->session)) {
			probe_done_badly(p, 0, "it does not speak HTTP/2");
			return;
		}
	}
}
