/*
 * proxy.c - the action `upstream`: picks a server, sends the request, relays
 * the answer.
 *
 * Called by the exchange; calls group (which server), up (one request on one
 * connection) and the exchange (the answer). One try at a time; what may be
 * tried again is proxy_retry.c's business. An answer that ends before it is
 * whole fails the exchange, never ends it in order.
 */
#include "worker/handler/proxy.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/exchange/record.h"
#include "worker/exchange/vars.h"
#include "worker/handler/handlers.h"
#include "worker/io/proxy_protocol.h"
#include "worker/upstream/health.h"

static const struct up_ops proxy_up_ops;

/* ---- which upstream, which server ---- */

/* A client's requests stay in one part of a split when split_by says so. */
static const struct conf_upstream *choose_upstream(struct exchange *x)
{
	const struct conf_route *r = x->route;
	uint64_t total = 0, at;
	struct span key;

	for (unsigned i = 0; i < r->nsplit; i++)
		total += r->split[i].weight;
	if (r->nsplit == 1 || total == 0)
		return total ? r->split[0].upstream : NULL;
	if (r->split_by && vars_expand(x, r->split_by, &key))
		at = span_hash(key, 0x5eed) % total;
	else
		at = env_random(x->env) % total;
	for (unsigned i = 0;; i++) {
		must(i < r->nsplit);
		if (at < r->split[i].weight)
			return r->split[i].upstream;
		at -= r->split[i].weight;
	}
}

static uint64_t ask_hash(struct exchange *x, const struct conf_upstream *u)
{
	struct span key;

	if (u->balance == CONF_IP_HASH)
		return addr_hash_ip(&x->client, 0);
	if (u->balance == CONF_HASH && vars_expand(x, u->hash_key, &key))
		return span_hash(key, 0);
	return 0;
}

void proxy_release(struct proxy *p)
{
	timer_stop(&p->x->env->loop->wheel, &p->timer);
	exchange_hold_body(p->x);
	if (p->up)
		up_close(&p->up);
	if (p->server) {
		struct server *s = p->server;

		p->server = NULL;
		server_put(s);
	}
	p->replaying = false;
}

/* ---- a try ---- */

static struct up_times times_of(const struct proxy *p)
{
	const struct conf_route *r = p->x->route;
	const struct conf *c = p->x->env->conf;
	int64_t t[CONF_T__N];

	for (unsigned i = 0; i < CONF_T__N; i++)
		t[i] = conf_pick(r->timeouts[i], p->conf->timeouts[i], c->general.timeouts[i]);
	return (struct up_times){ .connect = t[CONF_T_CONNECT], .response = t[CONF_T_RESPONSE],
				  .read = t[CONF_T_READ], .write = t[CONF_T_WRITE] };
}

static enum reason open_failure(int err)
{
	switch (err) {
	case ENOMEM:
		return REASON_NO_MEMORY;
	case EMFILE:
	case ENFILE:
	case EADDRNOTAVAIL:
	case ENOBUFS:
	case EAGAIN:
		return REASON_NO_RESOURCE;
	default:
		return REASON_CONNECT_REFUSED;
	}
}

/* The server's own name, also where the client gave none (HTTP/1.0) or the route's value came out empty. */
static bool host_of_server(struct proxy *p)
{
	const struct conf_server *s = p->server->conf;
	struct head *req = &p->x->req;

	if (p->x->route->host_header_kind != CONF_HOST_UPSTREAM && head_get(req, HDR_HOST).n > 0)
		return true;
	return head_set_id(req, HDR_HOST, s->addr.family == ADDR_UNIX ? SPAN("localhost") : s->text);
}

/* The Host field and the expectation depend on the server and on what was sent before. */
static bool final_head(struct proxy *p)
{
	struct exchange *x = p->x;

	if (!host_of_server(p))
		return false;
	if (p->body_asked)
		head_remove_id(&x->req, HDR_EXPECT);
	head_init(&x->resp, &x->arena);
	return up_send_head(p->up, &x->req, &x->resp);
}

/* The PROXY header, where the upstream wants one. False: no memory. */
static bool make_hello(struct proxy *p)
{
	static const struct addr unknown;
	struct exchange *x = p->x;
	const struct addr *local = x->local ? x->local : &unknown;
	char text[PROXY_PROTOCOL_OUT_MAX];
	size_t n;

	p->hello = SPAN("");
	if (p->conf->send_proxy == 0)
		return true;
	n = proxy_protocol_write(p->conf->send_proxy, &x->client, local, text);
	p->hello = arena_span(&x->arena, span_make(text, n));
	return p->hello.p != NULL;
}

static void on_timer(struct timer *t)
{
	struct proxy *p = container_of(t, struct proxy, timer);

	OBJ_CHECK(p, PROXY_MAGIC);
	if (p->timer_for == PROXY_TIMER_RETRY)
		proxy_pick(p);
	else
		proxy_body_start(p);
}

static void try_begin(struct proxy *p, struct server *s)
{
	struct exchange *x = p->x;
	struct up_times times = times_of(p);
	enum up_reuse reuse = p->fresh ? UP_FRESH : method_idempotent(x->req.method) ? UP_REUSE : UP_REUSE_PROBED;

	p->server = s;
	p->fresh = false;
	if (!make_hello(p)) {
		exchange_fail(x, REASON_NO_MEMORY);
		return;
	}
	x->server = s->name;
	x->to = s->conf;
	x->tries++;
	p->try_us = x->env->loop->now_us;
	record_try(x, s, p->tried_fallback);
	p->up = up_open(&x->env->pool, s, reuse, &proxy_up_ops, p, &times, p->hello.n ? &p->hello : NULL);
	if (p->up == NULL) {
		enum reason why = open_failure(errno);

		record_try_failed(x, p->try_us, 0, why, 0);
		if (why == REASON_CONNECT_REFUSED) {
			health_blame(s, why);
			health_report(s, false, x->env->loop->now_ms);
		}
		pick_tried(&p->ask, s);
		proxy_release(p);
		proxy_try_failed(p, why, false, false);
		return;
	}
	if (!final_head(p)) {
		exchange_fail(x, REASON_NO_MEMORY);
		return;
	}
	if (p->up == NULL || x->req.body == BODY_NONE)
		return;
	if (x->req.expect_continue && !p->body_asked) {
		p->timer_for = PROXY_TIMER_EXPECT;
		timer_set(&x->env->loop->wheel, &p->timer, x->env->loop->now_ms + PROXY_EXPECT_MS);
		return;
	}
	proxy_body_start(p);
}

static void no_server(struct proxy *p, enum reason why)
{
	record_no_server(p->x, why, p->tried_fallback);
	if (proxy_fall_back(p))
		return;
	exchange_fail(p->x, p->failed ? p->failed : why);
}

static void on_server(struct waiter *w, enum pick_rc rc, struct server *s)
{
	struct proxy *p = container_of(w, struct proxy, waiter);

	OBJ_CHECK(p, PROXY_MAGIC);
	p->x->queue_us += p->x->env->loop->now_us - p->wait_us;
	if (rc == PICK_OK)
		try_begin(p, s);
	else
		no_server(p, rc == PICK_FULL ? REASON_QUEUE_TIMEOUT : REASON_NO_SERVER);
}

void proxy_pick(struct proxy *p)
{
	struct server *s;

	p->x->upstream = p->conf;
	p->ask.hash = ask_hash(p->x, p->conf);
	switch (group_pick(p->group, &p->ask, &s)) {
	case PICK_OK:
		try_begin(p, s);
		break;
	case PICK_FULL:
		p->wait_us = p->x->env->loop->now_us;
		if (!group_wait(p->group, &p->waiter, &p->ask, on_server))
			no_server(p, REASON_QUEUE_FULL);
		break;
	case PICK_NONE:
		no_server(p, REASON_NO_SERVER);
		break;
	}
}

static void proxy_start(struct exchange *x)
{
	struct proxy *p = arena_zalloc(&x->arena, sizeof(*p));
	const struct conf_upstream *u;

	if (p == NULL) {
		exchange_fail(x, REASON_NO_MEMORY);
		return;
	}
	p->magic = PROXY_MAGIC;
	p->x = x;
	x->handler_state = p;
	p->retries = x->route->retries;
	p->ask.traced = x->trace != NULL;
	timer_init(&p->timer, on_timer);
	u = choose_upstream(x);
	if (u == NULL) {		/* every part of the split has weight 0 */
		exchange_fail(x, REASON_NO_SERVER);
		return;
	}
	p->conf = u;
	p->group = groups_find(&x->env->groups, u);
	group_note_request(p->group);
	proxy_pick(p);
}

/* ---- the server's side of it ---- */

static void on_interim(struct up *u, struct head *h)
{
	struct proxy *p = u->owner;

	OBJ_CHECK(p, PROXY_MAGIC);
	if (h->status == 100) {
		if (timer_is_set(&p->timer) && p->timer_for == PROXY_TIMER_EXPECT) {
			timer_stop(&p->x->env->loop->wheel, &p->timer);
			proxy_body_start(p);
		}
		return;
	}
	exchange_interim(p->x, h);
}

/* True when a page of ours goes out instead. */
static bool intercept(struct proxy *p, unsigned status)
{
	struct exchange *x = p->x;
	const struct conf_route *r = x->route;

	if (!r->intercept_errors || status < 400)
		return false;
	for (unsigned i = 0; i < r->nerror_pages; i++) {
		if (status < r->error_pages[i].from || status > r->error_pages[i].to)
			continue;
		proxy_release(p);
		head_init(&x->resp, &x->arena);
		exchange_reply(x, status, exchange_error_text(x, status), NULL);
		return true;
	}
	return false;
}

static void on_head(struct up *u)
{
	struct proxy *p = u->owner;
	struct exchange *x = p->x;
	struct loop *l = x->env->loop;

	OBJ_CHECK(p, PROXY_MAGIC);
	timer_stop(&l->wheel, &p->timer);
	x->connect_us = u->connect_us;
	x->header_us = l->now_us - x->t_start_us;
	record_try_answered(x, p->try_us, u->connect_us, u->reused);
	health_report(p->server, true, l->now_ms);
	health_latency(p->server, l->now_us - p->try_us, l->now_us);
	meter_observe(&server_meter(p->server)->first_byte, l->now_us - p->try_us);
	pick_tried(&p->ask, p->server);
	if (proxy_retry_status(p, x->resp.status) || intercept(p, x->resp.status))
		return;
	exchange_send_head(x, false);
	if (x->tunnel && !x->ended)
		proxy_body_tunnel(p);
}

static enum take on_body(struct up *u, const struct batch *b)
{
	struct proxy *p = u->owner;

	OBJ_CHECK(p, PROXY_MAGIC);
	return exchange_send_body(p->x, b);
}

static void on_sent(struct up *u)
{
	struct proxy *p = u->owner;

	OBJ_CHECK(p, PROXY_MAGIC);
	proxy_body_sent(p);
}

static void on_fail(struct up *u, enum reason why)
{
	struct proxy *p = u->owner;
	struct exchange *x = p->x;
	bool stale = u->stale, arrived = u->req_written, unprocessed = u->unprocessed;

	OBJ_CHECK(p, PROXY_MAGIC);
	record_try_failed(x, p->try_us, u->connect_us, why, (u->reused ? TRY_REUSED : 0) | (stale ? TRY_STALE : 0));
	/* How a tunnel ends says nothing about whether its server is well; a request that it gave back says that it is. */
	if (!stale && !unprocessed && why != REASON_NO_MEMORY && !x->tunnel) {
		health_blame(p->server, why);
		if (!u->echo)
			health_report(p->server, false, x->env->loop->now_ms);
		pick_tried(&p->ask, p->server);
		log_info("upstream %.*s, server %.*s: %s", SPAN_FMT(p->conf->name), SPAN_FMT(p->server->name),
			 reason_prose(why));
	}
	if (exchange_head_sent(x)) {
		exchange_fail(x, why);
		return;
	}
	if (unprocessed)
		pick_tried(&p->ask, p->server);
	proxy_release(p);
	if (unprocessed)
		proxy_returned(p, why);
	else
		proxy_try_failed(p, why, stale, arrived);
}

static const struct up_ops proxy_up_ops = { on_interim, on_head, on_body, on_sent, on_fail };

/* ---- the exchange's side of it ---- */

static void proxy_resume(struct exchange *x)
{
	struct proxy *p = x->handler_state;

	OBJ_CHECK(p, PROXY_MAGIC);
	if (p->up)
		up_more(p->up);
}

static void proxy_cancel(struct exchange *x)
{
	struct proxy *p = x->handler_state;

	if (p == NULL)
		return;
	OBJ_CHECK(p, PROXY_MAGIC);
	group_unwait(&p->waiter);
	proxy_release(p);
	buf_put(&x->env->bufs, &p->keep);
	x->handler_state = NULL;
}

const struct handler handler_proxy = { "proxy", proxy_start, proxy_body, proxy_resume, proxy_cancel };
