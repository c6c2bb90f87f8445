/*
 * down_h2.c - life of an HTTP/2 client connection: start, input, work, deadlines, leaving, end.
 *
 * h2_run() is the one place that reads, h2_work() the one place that calls exchanges and writes. Neither runs inside itself,
 * and no exchange is called while the library is at work.
 */
#include "common/obj.h"
#include "worker/downstream/down_h2.h"

#define READS_MAX 16			/* in one go, so that one client does not starve the others */
#define STEPS_MAX 64
#define FLOOD_LINGER (1u << 20)		/* what is read on of a flood, so that the client sees why it ended */
#define LEAVE_MS 1000			/* at most between the two GOAWAYs */

/* What all HTTP/2 connections of a process share. */
struct h2_shared {
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

/* ---- start ---- */

static bool shared_init(struct down *d)
{
	struct h2_shared *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return false;
	s->callbacks = h2_callbacks_new();
	if (s->callbacks == NULL || nghttp2_option_new(&s->option) != 0) {
		nghttp2_session_callbacks_del(s->callbacks);
		free(s);
		return false;
	}
	nghttp2_option_set_no_auto_window_update(s->option, 1);
	nghttp2_option_set_no_http_messaging(s->option, 1);	/* h2_map.c is stricter, and can answer */
	for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= 255; type++)
		nghttp2_option_set_user_recv_extension_type(s->option, (uint8_t)type);
	nghttp2_option_set_max_settings(s->option, 32);
	nghttp2_option_set_max_outbound_ack(s->option, 500);
	nghttp2_option_set_max_send_header_block_length(s->option, 256 << 10);
#ifdef HAVE_NGHTTP2_STREAM_RESET_RATE_LIMIT
	nghttp2_option_set_stream_reset_rate_limit(s->option, 1000, 33);
#endif
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
	nghttp2_option_set_max_continuations(s->option, H2_CONTINUATIONS + 1);	/* our own limit comes first */
#endif
	d->h2 = s;
	return true;
}

void h2_shared_free(struct down *d)
{
	if (d->h2 == NULL)
		return;
	nghttp2_session_callbacks_del(d->h2->callbacks);
	nghttp2_option_del(d->h2->option);
	free(d->h2);
	d->h2 = NULL;
}

static bool greet(struct h2 *h)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h->client->listen->max_header_size },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};

	return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) == 0 &&
	       nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) == 0;
}

static void on_leave(struct timer *t)
{
	struct h2 *h = container_of(t, struct h2, leave_timer);

	OBJ_CHECK(h, H2_MAGIC);
	h2_leave_now(h);
	h2_later(h);
}

bool h2_start(struct client *c)
{
	struct down *d = c->down;
	nghttp2_mem mem;
	struct h2 *h;

	OBJ_CHECK(c, CLIENT_MAGIC);
	must(c->x == NULL && c->h2 == NULL);
	h = d->h2 || shared_init(d) ? slab_get(&d->h2s) : NULL;
	if (h == NULL)
		return false;
	h->magic = H2_MAGIC;
	h->client = c;
	fold_init(&h->fold, &d->h2_folds);
	mem = h2_mem(h);
	h->frame_left = NGHTTP2_CLIENT_MAGIC_LEN;
	if (nghttp2_session_server_new3(&h->session, d->h2->callbacks, h, d->h2->option, &mem) != 0) {
		fold_fini(&h->fold);
		slab_put(&d->h2s, h);
		return false;
	}
	list_init(&h->streams);
	list_init(&h->dirty);
	timer_init(&h->leave_timer, on_leave);
	h2_calm_init(&h->calm, c->env->loop->now_ms);
	h->quiet_ms = c->env->loop->now_ms;
	c->h2 = h;
	client_set_state(c, CLIENT_H2);
	if (!greet(h))
		h2_gone(h, REASON_NO_MEMORY);
	if (c->env->draining)
		h2_leave(h);
	h2_later(h);
	return true;
}

/* ---- records ---- */

void h2_later(struct h2 *h)
{
	OBJ_CHECK(h, H2_MAGIC);
	if (!h->working)
		loop_defer(h->client->env->loop, &h->client->later);
}

void h2_dirty(struct h2_stream *s)
{
	OBJ_CHECK(s, H2_STREAM_MAGIC);
	if (!list_linked(&s->dirty))
		list_append(&s->h2->dirty, &s->dirty);
}

void h2_fail(struct h2 *h, uint32_t error, enum reason why)
{
	if (h->failed)
		return;
	h->failed = true;
	h->error = error;
	h->why = why;
}

void h2_gone(struct h2 *h, enum reason why)
{
	h2_fail(h, NGHTTP2_NO_ERROR, why);
	h->gone = true;
}

void h2_leave(struct h2 *h)
{
	static const uint8_t mark[8] = "leaving";
	struct loop *loop = h->client->env->loop;

	OBJ_CHECK(h, H2_MAGIC);
	if (h->leave != H2_STAY || h->failed)
		return;
	h->leave = H2_NOTICE;
	h2_wake(h);
	nghttp2_submit_shutdown_notice(h->session);
	nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, mark);
	timer_set(&loop->wheel, &h->leave_timer, loop->now_ms + LEAVE_MS);
	h2_later(h);
}

void h2_leave_now(struct h2 *h)
{
	if (h->leave == H2_LEAVING || h->failed)
		return;
	h->leave = H2_LEAVING;
	timer_stop(&h->client->env->loop->wheel, &h->leave_timer);
	nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
			      NGHTTP2_NO_ERROR, NULL, 0);
}

/* ---- end ---- */

static void h2_bury(struct grave *g)
{
	struct h2 *h = container_of(g, struct h2, grave);
	struct down *d = h->client->down;
	struct h2 *dead = h;

	OBJ_CLEAR(dead);
	slab_put(&d->h2s, h);
}

static void end_streams(struct h2 *h, enum reason why)
{
	list_each(n, &h->streams) {
		struct h2_stream *s = list_entry(n, struct h2_stream, node);

		h2_stream_gone(s, why);
		h2_stream_free(s);
	}
}

bool h2_has_tunnel(const struct h2 *h)
{
	list_each(n, &h->streams) {
		const struct h2_stream *s = list_entry(n, struct h2_stream, node);

		if (s->x != NULL && s->x->tunnel)
			return true;
	}
	return false;
}

void h2_free(struct client *c, enum reason why)
{
	struct h2 *h = c->h2;

	OBJ_CHECK(h, H2_MAGIC);
	h2_fail(h, NGHTTP2_NO_ERROR, why);
	h2_wake(h);
	h->working = true;		/* nothing is to be queued any more */
	end_streams(h, why);
	loop_cancel(&c->later);
	timer_stop(&c->env->loop->wheel, &h->leave_timer);
	h2_block_fini(h);
	buf_put(&c->env->bufs, &h->out);
	nghttp2_session_del(h->session);
	h->session = NULL;
	fold_fini(&h->fold);
	c->h2 = NULL;
	loop_bury(c->env->loop, &h->grave, h2_bury);
}

/* All that is to be said is written: reads on until the client has seen it. */
static void h2_linger(struct client *c)
{
	enum reason why = c->h2->failed ? c->h2->why : REASON_NONE;

	h2_free(c, REASON_BAD_REQUEST);	/* streams are left only where the client broke the protocol */
	if (c->in)
		buf_consume(c->in, buf_len(c->in));
	conn_shut(&c->conn);
	client_set_state(c, CLIENT_LINGER);
	c->discarded = why == REASON_FLOOD ? LINGER_BYTES - FLOOD_LINGER : 0;
	client_set_deadline(c);
	loop_defer(c->env->loop, &c->later);
}

/* ---- deadlines ---- */

static uint64_t left_of(const struct h2 *h, uint64_t since, int64_t limit)
{
	uint64_t spent = h->client->env->loop->now_ms - since;

	if (limit == 0)
		return 0;
	return spent < (uint64_t)limit ? (uint64_t)limit - spent : 1;
}

static uint64_t drowsy_since(const struct h2 *h)
{
	return h->woken_ms > h->quiet_ms ? h->woken_ms : h->quiet_ms;
}

/* Falling asleep comes before idle_timeout does. */
static bool may_sleep(const struct h2 *h)
{
	int64_t idle = h->client->listen->idle_timeout;

	return h->session && h->leave == H2_STAY && h->client->in == NULL &&
	       (idle == 0 || h->quiet_ms + (uint64_t)idle > drowsy_since(h) + H2_SLEEP_MS);
}

uint64_t h2_deadline(const struct h2 *h)
{
	const struct conf_listen *l = h->client->listen;

	if (h->failed)
		return left_of(h, h->out_ms, LINGER_MS);
	if (h->out)
		return left_of(h, h->out_ms, l->send_timeout);
	if (!h->greeted)
		return left_of(h, h->client->since_ms, l->header_timeout);
	if (h->block.open)
		return left_of(h, h->block_ms, l->header_timeout);
	if (h->nstreams)
		return 0;
	return may_sleep(h) ? left_of(h, drowsy_since(h), H2_SLEEP_MS) : left_of(h, h->quiet_ms, l->idle_timeout);
}

void h2_on_deadline(struct h2 *h)
{
	OBJ_CHECK(h, H2_MAGIC);
	if (h->failed || h->out) {
		h2_gone(h, REASON_SEND_TIMEOUT);
	} else if (!h->greeted || h->block.open) {
		shm_count_reason(h->client->env->shm, REASON_HEADER_TIMEOUT);
		h2_fail(h, h->greeted ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_SETTINGS_TIMEOUT, REASON_HEADER_TIMEOUT);
	} else if (h->nstreams == 0 && may_sleep(h)) {
		h2_sleep(h);
		client_set_deadline(h->client);
		return;
	} else if (h->nstreams == 0) {
		shm_count_reason(h->client->env->shm, REASON_IDLE_TIMEOUT);
		h2_fail(h, NGHTTP2_NO_ERROR, REASON_IDLE_TIMEOUT);
	}
	h2_work(h);
}

/* ---- work ---- */

static void run_dirty(struct h2 *h)
{
	struct list *n;

	while ((n = list_first(&h->dirty)) != NULL) {
		list_del(n);
		h2_stream_step(list_entry(n, struct h2_stream, dirty));
	}
}

static void tell_failed(struct h2 *h)
{
	h->failed_told = true;
	h->out_ms = h->client->env->loop->now_ms;
	if (h->why == REASON_FLOOD)
		shm_count_reason(h->client->env->shm, REASON_FLOOD);
	end_streams(h, h->why);
	if (!h->gone)
		h2_write_goaway(h);
}

/* True: there may be more to do at once. */
static bool work_step(struct h2 *h)
{
	bool had = h->out != NULL;

	run_dirty(h);
	if (h->unread && !h->failed) {
		nghttp2_session_consume_connection(h->session, h->unread);
		h->unread = 0;
	}
	h2_produce(h);
	if (h->out && !had)
		h->out_ms = h->client->env->loop->now_ms;
	had = h->out != NULL;
	if (h->failed && !h->failed_told)
		tell_failed(h);
	if (!h->gone && !h2_write(h))
		h2_gone(h, REASON_CLIENT_ABORT);
	if (h->failed)
		return !h->failed_told;
	return !list_empty(&h->dirty) || (had && h->out == NULL);
}

/* Neither side has anything to say any more. */
static bool is_over(const struct h2 *h)
{
	if (nghttp2_session_want_read(h->session) || nghttp2_session_want_write(h->session) || !list_empty(&h->dirty))
		return false;
	list_each(n, &h->streams) {
		const struct h2_stream *s = list_entry(n, struct h2_stream, node);

		if (s->x && s->closed)
			return false;	/* it still has bytes for its server */
	}
	return true;
}

void h2_work(struct h2 *h)
{
	struct client *c = h->client;
	unsigned steps = 0;

	OBJ_CHECK(h, H2_MAGIC);
	if (h->working)
		return;
	h2_wake(h);
	h->working = true;
	loop_cancel(&c->later);
	while (work_step(h) && ++steps < STEPS_MAX)
		;
	h->working = false;
	if (h->gone) {
		client_close(c);
		return;
	}
	if (h->out == NULL && (h->failed || is_over(h))) {
		h2_linger(c);
		return;
	}
	if (steps == STEPS_MAX)
		h2_later(h);
	client_set_deadline(c);
}

/* ---- input ---- */

static void h2_feed(struct h2 *h, struct buf *in)
{
	ssize_t n = 0;

	while (n >= 0 && buf_len(in) > 0 && !h->failed) {
		size_t len = h2_frames_span(h, buf_span(in));

		n = len ? nghttp2_session_mem_recv(h->session, (const uint8_t *)in->data + in->start, len) : 0;
		buf_consume(in, len);
	}
	if (n == NGHTTP2_ERR_NOMEM)
		h2_fail(h, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
	else if (n == NGHTTP2_ERR_FLOODED || n == NGHTTP2_ERR_CALLBACK_FAILURE)
		h2_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, REASON_FLOOD);
	else if (n < 0)
		h2_fail(h, NGHTTP2_PROTOCOL_ERROR, REASON_BAD_REQUEST);
	if (h->failed)
		buf_consume(in, buf_len(in));
}

/* True: bytes are in the buffer. */
static bool h2_read(struct h2 *h)
{
	struct client *c = h->client;
	size_t n;

	if (c->in && buf_len(c->in) > 0)
		return true;
	if (h2_out_full(h) || (!c->conn.can_read && !c->conn.hup && !c->conn.broken))
		return false;
	if (c->in == NULL)
		c->in = buf_get(&c->env->bufs, 0);
	if (c->in == NULL) {
		h2_gone(h, REASON_NO_MEMORY);
		return false;
	}
	switch (conn_recv(&c->conn, buf_tail(c->in), buf_room(c->in), &n)) {
	case IO_OK:
		c->in->end += (uint32_t)n;
		shm_count(c->env->shm, STAT_BYTES_IN, n);
		return true;
	case IO_AGAIN:
		return false;
	case IO_EOF:
	case IO_FAIL:
		break;
	}
	h2_gone(h, REASON_CLIENT_ABORT);
	return false;
}

void h2_run(struct client *c)
{
	struct h2 *h = c->h2;
	unsigned reads = 0;

	OBJ_CHECK(h, H2_MAGIC);
	if (h->working)
		return;
	h2_wake(h);
	while (!h->failed && reads < READS_MAX && h2_read(h)) {
		h2_feed(h, c->in);
		reads++;
		/* Answers to one read leave together with those to the next. */
		h->working = true;
		run_dirty(h);
		h->working = false;
	}
	if (c->in && buf_len(c->in) == 0)
		buf_put(&c->env->bufs, &c->in);
	h2_work(h);
	/* Reading stopped for its fair share, or for output that is written now: the kernel will not tell again. */
	if (c->h2 == h && !h->failed && (c->conn.can_read || c->conn.hup) && !h2_out_full(h))
		h2_later(h);
}
