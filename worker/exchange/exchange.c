/*
 * exchange.c - life of one request and its answer.
 *
 * Called by client-side codecs (a head came, body came, output drained, client
 * gone) and by handlers and filters (send this, fail for that). Wires the three
 * tables of side.h together, keeps the two state machines, counts and logs the
 * end. Never touches a descriptor, never formats a wire byte.
 */
#include "worker/exchange/exchange.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "common/obj.h"
#include "common/panic.h"
#include "worker/exchange/alog.h"
#include "worker/exchange/client.h"
#include "worker/exchange/count.h"
#include "worker/exchange/fault.h"
#include "worker/exchange/grpc.h"
#include "worker/exchange/record.h"
#include "worker/exchange/route.h"
#include "worker/http/date.h"
#include "worker/upstream/up.h"

/* ---- states: the one setter of each machine ---- */

static void set_req_state(struct exchange *x, enum req_state s)
{
	static const unsigned allowed[] = {
		[REQ_HEAD] = 1 << REQ_BODY | 1 << REQ_DONE | 1 << REQ_FAILED,
		[REQ_BODY] = 1 << REQ_DONE | 1 << REQ_FAILED,
		[REQ_DONE] = 1 << REQ_BODY,	/* where a tunnel opens */
		[REQ_FAILED] = 0,
	};

	must(allowed[x->req_state] >> s & 1);
	must(x->req_state != REQ_DONE || x->tunnel);
	x->req_state = s;
}

static void set_resp_state(struct exchange *x, enum resp_state s)
{
	static const unsigned allowed[] = {
		[RESP_WAIT] = 1 << RESP_HEAD | 1 << RESP_FAILED,
		[RESP_HEAD] = 1 << RESP_BODY | 1 << RESP_DONE | 1 << RESP_FAILED,
		[RESP_BODY] = 1 << RESP_DONE | 1 << RESP_FAILED,
		[RESP_DONE] = 1 << RESP_FAILED,	/* a tunnel, in its other direction */
		[RESP_FAILED] = 0,
	};

	must(allowed[x->resp_state] >> s & 1);
	must(x->resp_state != RESP_DONE || x->tunnel);
	x->resp_state = s;
}

/* ---- birth and death ---- */

struct span env_date(struct env *e)
{
	uint64_t sec = e->loop->wall_ms / 1000;

	if (sec != e->date_sec) {
		e->date_sec = sec;
		date_format(e->date, e->loop->wall_ms);
	}
	return span_make(e->date, DATE_LEN);
}

/* A bijection, so that ids made from a counter never meet. */
static uint64_t mix64(uint64_t v)
{
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
	v = (v ^ v >> 27) * 0x94d049bb133111ebu;
	return v ^ v >> 31;
}

/* Eight digits at a time: each half byte is moved into a byte of its own, then all are made letters or digits at once. */
static void put_hex(char *out, uint64_t v)
{
	const uint64_t ones = 0x0101010101010101u;

	for (int half = 0; half < 2; half++, out += 8) {
		uint64_t x = half == 0 ? v >> 32 : v & 0xffffffffu;

		x = (x | x << 16) & 0x0000ffff0000ffffu;
		x = (x | x << 8) & 0x00ff00ff00ff00ffu;
		x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
		x += '0' * ones + ((x + 6 * ones) >> 4 & ones) * ('a' - '0' - 10);
		x = htobe64(x);
		memcpy(out, &x, 8);
	}
}

static void make_request_id(struct exchange *x)
{
	put_hex(x->request_id, x->env->id_key[0]);
	put_hex(x->request_id + 16, mix64(x->id ^ x->env->id_key[1]));
	x->request_id[32] = '\0';
	x->request_id_span = span_make(x->request_id, 32);
}

static void on_request_timeout(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, timer);

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	exchange_fail(x, x->tunnel ? REASON_TUNNEL_TIMEOUT : REASON_REQUEST_TIMEOUT);
}

struct exchange *exchange_new(struct env *e, const struct side_ops *side, void *side_owner)
{
	struct exchange *x = slab_get(&e->exchanges);

	if (x == NULL)
		return NULL;
	x->magic = EXCHANGE_MAGIC;
	x->env = e;
	x->side = side;
	x->side_owner = side_owner;
	x->id = ++e->next_exchange;
	arena_init(&x->arena, &e->arenas, EXCHANGE_ARENA_MAX);
	head_init(&x->req, &x->arena);
	head_init(&x->resp, &x->arena);
	timer_init(&x->timer, on_request_timeout);
	x->t_start_us = e->loop->now_us;
	x->start_wall_ms = e->loop->wall_ms;
	make_request_id(x);
	shm_count(e->shm, STAT_REQUESTS, 1);
	shm_gauge(e->shm, STAT_ACTIVE_EXCHANGES, 1);
	return x;
}

static void exchange_bury(struct grave *g)
{
	struct exchange *x = container_of(g, struct exchange, grave);
	struct exchange *dead = x;
	struct env *e = x->env;

	arena_fini(&x->arena);
	OBJ_CLEAR(dead);
	slab_put(&e->exchanges, x);
}

static void cancel_handler(struct exchange *x)
{
	const struct handler *h = x->handler;

	x->handler = NULL;
	if (h && x->handler_started)
		h->cancel(x);
}

/* The answer is out or will never be: whatever is left of the request is the side's to deal with. */
static void exchange_end(struct exchange *x)
{
	must(!x->ended);
	x->ended = true;
	timer_stop(&x->env->loop->wheel, &x->timer);
	cancel_handler(x);
	if (x->reason == REASON_NONE && x->req.upgrade && !(x->req.tunnel && x->upstream && up_switches(x->upstream)))
		x->reason = REASON_UPGRADE_REFUSED;
	alog_exchange(x->env->alog, x);
	record_exchange(x);
	count_exchange(x);
	x->side->done(x);
	panic_note()->exchange = 0;
	loop_bury(x->env->loop, &x->grave, exchange_bury);
}

/* ---- tunnels ---- */

/* Bytes pass: silence begins anew. */
static void tunnel_moves(struct exchange *x)
{
	if (x->tunnel && x->tunnel_ms)
		timer_set(&x->env->loop->wheel, &x->timer, x->env->loop->now_ms + x->tunnel_ms);
}

/* What the route allows for the whole request does not count for a tunnel. */
static void tunnel_open(struct exchange *x)
{
	int64_t up = x->upstream ? x->upstream->timeouts[CONF_T_TUNNEL] : CONF_UNSET;

	x->tunnel = true;
	x->tunnel_ms = (uint64_t)conf_pick(x->route->timeouts[CONF_T_TUNNEL], up,
					   x->env->conf->general.timeouts[CONF_T_TUNNEL]);
	timer_stop(&x->env->loop->wheel, &x->timer);
	tunnel_moves(x);
	set_req_state(x, REQ_BODY);
}

static void end_first(struct exchange *x, enum record_closed who)
{
	if (x->tunnel && x->first_end == CLOSED_NOBODY)
		x->first_end = (uint8_t)who;
}

/* The client's direction is over, down to the server. */
static void tunnel_client_done(struct exchange *x)
{
	x->tunnel_sent = true;
	if (x->resp_state == RESP_DONE)
		exchange_end(x);
}

/* ---- the way in ---- */

static void note_for_panic(const struct exchange *x)
{
	struct panic_note *n = panic_note();

	n->exchange = x->id;
	memcpy(n->request_id, x->request_id, sizeof(x->request_id));
}

static bool redirect_to_https(struct exchange *x)
{
	int port = x->listen->redirect_https;
	struct span at = x->req.host;
	char text[16] = "";
	struct span url;

	if (port == 0 || x->route || at.n == 0)
		return false;
	if (port != 443)
		snprintf(text, sizeof(text), ":%d", port);
	url = arena_join(&x->arena, (struct span[]){ SPAN("https://"), at, span_of(text), x->orig_uri }, 4);
	if (url.p == NULL || !head_add_id(&x->resp, HDR_LOCATION, url)) {
		exchange_fail(x, REASON_NO_MEMORY);
		return true;
	}
	exchange_reply(x, 308, SPAN(""), NULL);
	return true;
}

/* Path and query before any edit. */
static bool keep_original(struct exchange *x)
{
	struct head *h = &x->req;

	x->orig_path = h->path;
	if (!h->has_query) {
		x->orig_uri = h->path;
		return true;
	}
	x->orig_uri = arena_join(&x->arena, (struct span[]){ h->path, SPAN("?"), h->query }, 3);
	return x->orig_uri.p != NULL;
}

/* Who showed no certificate to one host must not get at another that asks for one. */
static bool misdirected(const struct exchange *x)
{
	const struct tls_server *s = x->tls ? x->env->tls_servers[x->listen->id] : NULL;

	return s != NULL && tls_server_host(s, x->req.host)->rules != tls_rules(x->tls);
}

static void find_route(struct exchange *x)
{
	struct route_ask ask = { .listen = x->listen, .req = &x->req, .client = &x->client };

	x->route = router_find(x->env->router, &ask, &x->match, NULL);
	x->max_body = (uint64_t)conf_pick(x->route ? x->route->max_body_size : CONF_UNSET, x->listen->max_body_size,
					  x->env->conf->general.max_body_size);
}

static bool run_filters(struct exchange *x)
{
	for (unsigned i = 0; i < x->env->nfilters; i++) {
		const struct filter *f = x->env->filters[i];

		if (f->request && f->request(x) == FILTER_REPLIED)
			return false;
		must(!x->ended);
	}
	return true;
}

/* By the route, or by the caller where that is less. */
static void limit_time(struct exchange *x)
{
	uint64_t ms = (uint64_t)x->route->timeout, call = grpc_is(&x->req) ? grpc_timeout(&x->req) : 0;

	if (call && (ms == 0 || call < ms))
		ms = call;
	if (ms)
		timer_set(&x->env->loop->wheel, &x->timer, x->env->loop->now_ms + ms);
}

void exchange_start(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	note_for_panic(x);
#ifdef WEIR_FAULT_POINTS
	fault_point(x);
#endif
	set_req_state(x, x->req.body == BODY_NONE ? REQ_DONE : REQ_BODY);
	client_find(x);
	if (!keep_original(x)) {
		exchange_fail(x, REASON_NO_MEMORY);
		return;
	}
	if (misdirected(x)) {
		exchange_fail(x, REASON_MISDIRECTED);
		return;
	}
	find_route(x);
	record_begin(x);
	if (redirect_to_https(x))
		return;
	if (x->route == NULL || x->req.method == METHOD_TRACE) {
		exchange_fail(x, x->route ? REASON_NOT_IMPLEMENTED : REASON_NO_ROUTE);
		return;
	}
	limit_time(x);
	if (!run_filters(x))
		return;
	x->handler = x->env->handlers[x->route->action];
	x->handler_started = true;
	x->handler->start(x);
}

void exchange_refuse(struct exchange *x, enum reason why)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	note_for_panic(x);
	x->client = x->peer;
	record_begin(x);
	set_req_state(x, REQ_FAILED);
	exchange_fail(x, why);
}

enum take exchange_on_body(struct exchange *x, const struct batch *b)
{
	enum take t;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(x->body_wanted && x->req_state == REQ_BODY && x->handler);
	x->bytes_in += b->bytes;
	tunnel_moves(x);
	if (x->max_body && x->bytes_in > x->max_body && !x->tunnel) {
		/* Whether or not its end came along: who sends so much is not listened to any more. */
		set_req_state(x, REQ_FAILED);
		exchange_fail(x, REASON_BODY_TOO_LARGE);
		return TAKEN;
	}
	if (b->last) {
		set_req_state(x, REQ_DONE);
		x->body_wanted = false;
		end_first(x, CLOSED_CLIENT);
	}
	t = x->handler->body(x, b);
	if (x->ended)
		return t;
	if (t == HELD)
		x->body_wanted = false;
	else if (x->tunnel && x->req_state == REQ_DONE)
		tunnel_client_done(x);
	return t;
}

void exchange_want_body(struct exchange *x)
{
	bool was_last = x->tunnel && x->req_state == REQ_DONE;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	tunnel_moves(x);
	if (x->req_state == REQ_BODY)
		x->body_wanted = true;
	x->side->want_body(x);
	if (was_last && !x->ended)
		tunnel_client_done(x);
}

void exchange_hold_body(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	x->body_wanted = false;
}

/* ---- the way out ---- */

void exchange_interim(struct exchange *x, const struct head *h)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(x->resp_state == RESP_WAIT);
	shm_count(x->env->shm, STAT_STATUS_1XX, 1);
	x->side->interim(x, h);
}

static void answer_whole(struct exchange *x)
{
	set_resp_state(x, RESP_DONE);
	if (!x->tunnel || x->tunnel_sent)
		exchange_end(x);
}

void exchange_send_head(struct exchange *x, bool own)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(!x->ended);
	x->own_answer = own;
	for (unsigned i = x->env->nfilters; i-- > 0;) {
		if (x->env->filters[i]->response)
			x->env->filters[i]->response(x);
	}
	x->status = x->resp.status;
	set_resp_state(x, RESP_HEAD);
	if (x->resp.body == BODY_TUNNEL)
		tunnel_open(x);
	x->side->head(x);
	if (!x->ended && x->resp.body == BODY_NONE)
		answer_whole(x);
}

enum take exchange_send_body(struct exchange *x, const struct batch *b)
{
	enum take t;

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(!x->ended && !x->resp_held);
	if (x->resp_state == RESP_HEAD)
		set_resp_state(x, RESP_BODY);
	must(x->resp_state == RESP_BODY);
	x->bytes_out += b->bytes;
	tunnel_moves(x);
	x->resp_held = true;
	x->resp_last = b->last;
	if (b->last)
		end_first(x, CLOSED_SERVER);
	t = x->side->body(x, b);
	if (x->ended)
		return TAKEN;
	if (t == HELD)
		return HELD;
	x->resp_held = false;
	if (b->last)
		answer_whole(x);
	return TAKEN;
}

void exchange_on_sent(struct exchange *x)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(x->resp_held);
	x->resp_held = false;
	tunnel_moves(x);
	if (x->resp_last)
		answer_whole(x);
	else if (x->handler)
		x->handler->resume(x);
}

/* ---- bad ends ---- */

void exchange_on_client_gone(struct exchange *x, enum reason why)
{
	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(!x->ended);
	if (x->reason == REASON_NONE)
		x->reason = why;
	if (x->req_state < REQ_DONE)
		set_req_state(x, REQ_FAILED);
	if (x->status == 0)
		x->status = reason_status(why);
	set_resp_state(x, RESP_FAILED);
	exchange_end(x);
}

/* Servers come back: tell clients when to ask again (RFC 9110 10.2.3). */
#define RETRY_AFTER_SECONDS "5"

/* A caller whose answer has begun gets to know what became of it, if there is a way to tell. */
static bool end_call(struct exchange *x)
{
	struct batch *b;

	if (x->resp_state > RESP_BODY || x->resp_held || x->resp.body != BODY_STREAM || x->tunnel || !grpc_is(&x->req))
		return false;
	b = arena_alloc(&x->arena, sizeof(*b));
	if (b == NULL)
		return false;
	batch_init(b);
	b->last = true;
	b->trailers = grpc_trailers(&x->arena, x->reason);
	if (b->trailers == NULL)
		return false;
	exchange_send_body(x, b);
	return true;
}

void exchange_fail(struct exchange *x, enum reason why)
{
	unsigned status = reason_status(why);

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	must(!x->ended);
	x->reason = why;
	cancel_handler(x);
	x->body_wanted = false;
	if (exchange_head_sent(x) && end_call(x))
		return;
	if (exchange_head_sent(x) || status == 0) {
		set_resp_state(x, RESP_FAILED);
		x->side->abort(x);
		exchange_end(x);
		return;
	}
	head_init(&x->resp, &x->arena);
	if (status == 503)
		head_add_id(&x->resp, HDR_RETRY_AFTER, SPAN(RETRY_AFTER_SECONDS));
	exchange_reply(x, status, exchange_error_text(x, status), NULL);
}
