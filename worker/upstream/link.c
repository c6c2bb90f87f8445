/*
 * link.c - life of an HTTP/2 connection to a server: choice, start, input, work, retirement, end.
 *
 * Called by up_h2.c, by the pool and by the loop. Which stream failed how is told to the streams, which tell their owners in
 * their own tasks; nothing here calls an owner. A link is of use once the server's SETTINGS came, so that no request ever
 * meets a server that speaks something else.
 */
#include "worker/upstream/link.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/upstream/pool.h"

#define READS_MAX 16			/* in one go, so that one server does not starve the others */
#define STEPS_MAX 64
#define LAST_ID (1 << 30)		/* a link this old takes no more streams, long before their numbers run out */

/* ---- states: the one setter ---- */

static void set_state(struct link *l, enum link_state s)
{
	static const unsigned allowed[] = {
		[LINK_CONNECTING] = 1 << LINK_READY | 1 << LINK_LEAVING | 1 << LINK_DEAD,
		[LINK_READY] = 1 << LINK_LEAVING | 1 << LINK_DEAD,
		[LINK_LEAVING] = 1 << LINK_DEAD,
		[LINK_DEAD] = 0,
	};

	must(allowed[l->state] >> s & 1);
	if (s == LINK_LEAVING || s == LINK_DEAD)
		list_del(&l->node);
	l->state = s;
}

/* Make it so: counted among the idle while it is ready and serves nobody, and then for a limited time. */
static void settle_idle(struct link *l)
{
	const struct conf_upstream *u = l->server->group->conf;
	bool idle = l->state == LINK_READY && l->nstreams == 0;

	if (idle == l->idle)
		return;
	l->idle = idle;
	l->pool->nidle += idle ? 1 : -1u;
	l->server->nidle += idle ? 1 : -1u;
	shm_gauge(l->pool->shm, STAT_IDLE_UP, idle ? 1 : -1);
	conn_deadline(&l->conn, idle ? (uint64_t)u->keepalive_timeout : 0);
	if (idle && (l->once || l->server->nidle > u->keepalive))
		link_retire(l);
}

/* ---- what all links share ---- */

static struct link_shared *shared_new(void)
{
	struct link_shared *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->callbacks = link_callbacks_new();
	if (s->callbacks == NULL || nghttp2_option_new(&s->option) != 0) {
		link_shared_free(s);
		return NULL;
	}
	nghttp2_option_set_no_auto_window_update(s->option, 1);
	nghttp2_option_set_no_http_messaging(s->option, 1);	/* h2_map.c is stricter */
	for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= 255; type++)
		nghttp2_option_set_user_recv_extension_type(s->option, (uint8_t)type);
	nghttp2_option_set_max_settings(s->option, 32);
	nghttp2_option_set_max_outbound_ack(s->option, 500);
	nghttp2_option_set_max_send_header_block_length(s->option, 256 << 10);
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
	nghttp2_option_set_max_continuations(s->option, LINK_CONTINUATIONS + 1);	/* our own limit comes first */
#endif
	return s;
}

void link_shared_free(struct link_shared *s)
{
	if (s == NULL)
		return;
	nghttp2_session_callbacks_del(s->callbacks);
	nghttp2_option_del(s->option);
	free(s);
}

/* ---- streams come and go ---- */

void link_attach(struct link *l, struct up_h2 *s)
{
	OBJ_CHECK(l, LINK_MAGIC);
	must(s->link == NULL && (l->state == LINK_CONNECTING || l->state == LINK_READY));
	s->link = l;
	list_append(&l->streams, &s->node);
	l->nstreams++;
	settle_idle(l);
	if (l->state == LINK_READY)
		up_h2_begin(s);
}

void link_detach(struct up_h2 *s)
{
	struct link *l = s->link;

	OBJ_CHECK(l, LINK_MAGIC);
	if (s->id != 0 && !s->closed && !l->failed)
		nghttp2_session_set_stream_user_data(l->session, s->id, NULL);
	s->link = NULL;
	list_del(&s->node);
	l->nstreams--;
	if (l->once)
		l->conn.preface = NULL;	/* it was the stream's */
	link_later(l);
}

/* The first stream that the link has not begun; NULL: none. */
static struct up_h2 *first_waiting(struct link *l)
{
	list_each(n, &l->streams) {
		struct up_h2 *s = list_entry(n, struct up_h2, node);

		if (s->id == 0 && !s->failing)
			return s;
	}
	return NULL;
}

/* All that waited for the link to be ready: as many as the server takes are begun, the others go to another link. */
static void begin_waiting(struct link *l)
{
	unsigned begun = 0;
	struct up_h2 *s;

	list_each(n, &l->streams)
		begun += list_entry(n, struct up_h2, node)->id != 0;
	while ((s = first_waiting(l)) != NULL) {
		if (begun < l->limit) {
			up_h2_begin(s);
			begun++;
		} else if (l->limit > 0 && !l->once) {
			struct link *other = link_get(l->pool, l->server, UP_REUSE, NULL);

			must(other != l);
			link_detach(s);
			if (other)
				link_attach(other, s);
			else
				up_h2_lost(s, REASON_NO_RESOURCE);
		} else {
			break;		/* for as long as they have patience */
		}
	}
}

/* The server's word on how many streams it takes at a time. */
static void take_settings(struct link *l)
{
	uint32_t n = nghttp2_session_get_remote_settings(l->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	l->settled = false;
	l->limit = n < LINK_STREAMS ? n : LINK_STREAMS;
	if (l->limit > 0)
		l->server->streams = l->limit;
	if (l->state == LINK_CONNECTING) {
		l->connect_us = l->pool->loop->now_us - l->start_us;
		meter_observe(&server_meter(l->server)->connect, l->connect_us);
		l->server->h2_said = false;
		set_state(l, LINK_READY);
	}
	if (l->state == LINK_READY)
		begin_waiting(l);
}

void link_retire(struct link *l)
{
	struct up_h2 *s;

	OBJ_CHECK(l, LINK_MAGIC);
	if (l->state != LINK_CONNECTING && l->state != LINK_READY)
		return;
	set_state(l, LINK_LEAVING);
	settle_idle(l);
	while ((s = first_waiting(l)) != NULL) {
		link_detach(s);
		up_h2_lost(s, REASON_SERVER_REFUSED);
	}
	link_later(l);
}

/* ---- end ---- */

static void link_bury(struct grave *g)
{
	struct link *l = container_of(g, struct link, grave);
	struct pool *p = l->pool;
	struct link *dead = l;

	OBJ_CLEAR(dead);
	slab_put(&p->links, l);
}

void link_destroy(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	must(l->nstreams == 0);
	set_state(l, LINK_DEAD);
	settle_idle(l);
	loop_cancel(&l->later);
	conn_close(&l->conn);
	link_block_fini(l);
	buf_put(l->pool->bufs, &l->in);
	buf_put(l->pool->bufs, &l->out);
	nghttp2_session_del(l->session);
	l->session = NULL;
	list_del(&l->all);
	loop_bury(l->pool->loop, &l->grave, link_bury);
}

static void say_not_h2(struct link *l)
{
	struct server *s = l->server;

	if (!s->h2_said)
		log_warn("upstream %.*s, server %.*s: it does not speak HTTP/2; see `protocol`",
			 SPAN_FMT(s->group->conf->name), SPAN_FMT(s->name));
	s->h2_said = true;
}

/* Its streams are told one by one; the first of them speaks for all where the server's health is asked for. */
static void end_streams(struct link *l)
{
	bool echo = false;
	struct list *n;

	while ((n = list_first(&l->streams)) != NULL) {
		struct up_h2 *s = list_entry(n, struct up_h2, node);
		bool written = s->marked && l->written > s->mark;

		s->up.echo = echo;
		s->up.req_written = written;
		/* What never left can be sent again, whatever it is. */
		s->up.unprocessed = s->id != 0 && !written;
		s->up.stale = s->up.reused && written && l->came == s->came && l->why == REASON_SERVER_RESET;
		echo = true;
		link_detach(s);
		up_h2_lost(s, l->why);
	}
}

static void link_kill(struct link *l)
{
	const struct server *s = l->server;

	if (l->why == REASON_SERVER_NOT_H2)
		say_not_h2(l);
	else if (l->why == REASON_SERVER_FLOOD || l->why == REASON_SERVER_GARBAGE)
		log_info("upstream %.*s, server %.*s: connection closed: %s", SPAN_FMT(s->group->conf->name),
			 SPAN_FMT(s->name), reason_prose(l->why));
	link_goodbye(l);
	end_streams(l);
	link_destroy(l);
}

void link_fail(struct link *l, uint32_t error, enum reason why)
{
	if (l->failed)
		return;
	l->failed = true;
	l->error = error;
	l->why = why;
}

/* ---- input ---- */

static void link_feed(struct link *l)
{
	struct buf *in = l->in;
	ssize_t n = nghttp2_session_mem_recv(l->session, (const uint8_t *)in->data + in->start, buf_len(in));

	if (n == NGHTTP2_ERR_NOMEM)
		link_fail(l, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
	else if (n == NGHTTP2_ERR_FLOODED || n == NGHTTP2_ERR_CALLBACK_FAILURE)
		link_fail(l, NGHTTP2_ENHANCE_YOUR_CALM, REASON_SERVER_FLOOD);
	else if (n < 0 || (!l->goaway && !nghttp2_session_want_read(l->session)))
		link_fail(l, NGHTTP2_PROTOCOL_ERROR, l->greeted ? REASON_SERVER_GARBAGE : REASON_SERVER_NOT_H2);
	buf_consume(in, buf_len(in));
}

/* True: bytes are in the buffer. It reads however much output waits: a server that reads nothing until its own output is taken
 * would wait for us as we for it. What that can make us say is bounded by the token buckets. */
static bool link_read(struct link *l)
{
	enum io_rc rc;
	size_t n;

	if (!l->conn.can_read && !l->conn.hup && !l->conn.broken)
		return false;
	if (l->in == NULL)
		l->in = buf_get(l->pool->bufs, 0);
	if (l->in == NULL) {
		link_fail(l, NGHTTP2_INTERNAL_ERROR, REASON_NO_MEMORY);
		return false;
	}
	rc = conn_recv(&l->conn, buf_tail(l->in), buf_room(l->in), &n);
	if (rc == IO_AGAIN)
		return false;
	if (rc != IO_OK) {
		/* Whoever said something that was no SETTINGS speaks something else; the library may not have got so far. */
		link_fail(l, NGHTTP2_NO_ERROR, l->greeted ? REASON_SERVER_RESET :
					       l->came ? REASON_SERVER_NOT_H2 : REASON_CONNECT_REFUSED);
		return false;
	}
	l->in->end += (uint32_t)n;
	l->came += n;
	l->came_ms = l->pool->loop->now_ms;
	return true;
}

/* Reads what there is. What follows is done by link_work(). */
static void link_run(struct link *l)
{
	unsigned reads = 0;

	while (!l->failed && reads < READS_MAX && link_read(l)) {
		link_feed(l);
		reads++;
	}
	if (l->in && buf_len(l->in) == 0)
		buf_put(l->pool->bufs, &l->in);
}

/* ---- work ---- */

void link_later(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	if (l->state != LINK_DEAD)
		loop_defer(l->pool->loop, &l->later);
}

/* Nothing can be sent any more: what the server said last may be whole answers. */
static void read_last(struct link *l)
{
	link_run(l);
	if (!l->failed && !l->conn.can_read)
		link_fail(l, NGHTTP2_NO_ERROR, REASON_SERVER_RESET);
	link_later(l);
}

/* True: there may be more to do at once. */
static bool work_step(struct link *l)
{
	bool had;

	if (l->settled && !l->failed)
		take_settings(l);
	if (l->goaway || (!l->failed && nghttp2_session_get_next_stream_id(l->session) > LAST_ID))
		link_retire(l);
	if (l->failed)
		return false;
	if (l->unread) {
		nghttp2_session_consume_connection(l->session, l->unread);
		l->unread = 0;
	}
	if (!l->cut)
		link_produce(l);
	had = l->out != NULL;
	if (!l->failed && !link_write(l))
		l->cut = true;
	if (!l->failed && l->cut)
		read_last(l);
	return !l->failed && had && l->out == NULL;
}

/* Nobody is on it, and nobody will be. */
static bool over(const struct link *l)
{
	return l->nstreams == 0 && (l->state == LINK_LEAVING || l->state == LINK_CONNECTING);
}

static void link_work(struct link *l)
{
	unsigned steps = 0;

	OBJ_CHECK(l, LINK_MAGIC);
	loop_cancel(&l->later);
	if (l->conn.connecting) {
		if (over(l))
			link_destroy(l);
		return;
	}
	while (work_step(l) && ++steps < STEPS_MAX)
		;
	if (l->failed) {
		link_kill(l);
		return;
	}
	if (over(l)) {
		link_goodbye(l);
		link_destroy(l);
		return;
	}
	settle_idle(l);
	if (steps == STEPS_MAX)
		link_later(l);
}

/* One turn of the link. */
static void link_turn(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	if (!l->conn.connecting)
		link_run(l);
	link_work(l);
	/* Reading stopped for its fair share: the kernel will not tell again. */
	if (l->state != LINK_DEAD && (l->conn.can_read || l->conn.hup))
		link_later(l);
}

static void on_later(struct task *t)
{
	link_turn(container_of(t, struct link, later));
}

/* ---- events ---- */

static void link_connected(struct link *l)
{
	const struct tls *t = tls_of(&l->conn);

	if (l->conn.error && t != NULL && tls_why(t) != NULL) {
		up_tls_failed(l->server, tls_why(t));
		link_fail(l, NGHTTP2_NO_ERROR, REASON_SERVER_TLS);
	} else if (l->conn.error) {
		link_fail(l, NGHTTP2_NO_ERROR, REASON_CONNECT_REFUSED);
	} else if (t != NULL && !tls_chose_h2(t)) {
		link_fail(l, NGHTTP2_NO_ERROR, REASON_SERVER_NOT_H2);
	} else {
		l->server->tls_said = false;
	}
}

static void on_ready(struct conn *c)
{
	struct link *l = container_of(c, struct link, conn);

	OBJ_CHECK(l, LINK_MAGIC);
	if (!l->greeted && l->made == 0)
		link_connected(l);
	link_turn(l);
}

static void on_deadline(struct conn *c)
{
	struct link *l = container_of(c, struct link, conn);

	OBJ_CHECK(l, LINK_MAGIC);
	link_retire(l);
	link_turn(l);
}

static const struct conn_ops link_conn_ops = { on_ready, on_deadline };

/* ---- start and choice ---- */

static bool greet(struct link *l)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LINK_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LINK_HEAD_MAX },
	};

	return nghttp2_submit_settings(l->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) == 0 &&
	       nghttp2_session_set_local_window_size(l->session, NGHTTP2_FLAG_NONE, 0, LINK_WINDOW) == 0;
}

static struct link *link_new(struct pool *p, struct server *s, const struct span *preface)
{
	struct link *l = p->link_shared || (p->link_shared = shared_new()) != NULL ? slab_get(&p->links) : NULL;
	nghttp2_mem mem;
	int e = ENOMEM;

	if (l == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	*l = (struct link){ .magic = LINK_MAGIC, .pool = p, .server = s, .once = preface != NULL, .mem.max = LINK_MEM_MAX,
			    .limit = s->streams ? s->streams : LINK_STREAMS, .start_us = p->loop->now_us };
	list_init(&l->streams);
	list_init(&l->node);
	list_init(&l->all);
	task_init(&l->later, on_later);
	h2_calm_init(&l->calm, p->loop->now_ms);
	mem = h2_alloc_hooks(&l->mem);
	if (nghttp2_session_client_new3(&l->session, p->link_shared->callbacks, l, p->link_shared->option, &mem) != 0 ||
	    !greet(l) || (e = 0, !up_dial(p, s, &l->conn, &link_conn_ops, preface))) {
		e = e ? e : errno;
		nghttp2_session_del(l->session);
		slab_put(&p->links, l);
		errno = e;
		return NULL;
	}
	list_append(&p->all_links, &l->all);
	if (preface == NULL)
		list_append(&s->links, &l->node);
	if (!l->conn.connecting)
		link_later(l);
	return l;
}

/* It is of use for one more. A request that cannot be repeated wants to know of what the server said last. */
static bool link_usable(struct link *l, enum up_reuse reuse)
{
	if (l->nstreams >= l->limit || l->failed || l->goaway)
		return false;
	if (l->state == LINK_CONNECTING)
		return true;
	if (reuse == UP_FRESH)
		return false;
	if (reuse == UP_REUSE_PROBED) {
		conn_ask(&l->conn);
		link_run(l);
		link_later(l);
	}
	return !l->failed && !l->goaway && !l->conn.hup && !l->conn.broken;
}

struct link *link_get(struct pool *p, struct server *s, enum up_reuse reuse, const struct span *preface)
{
	if (preface == NULL) {
		list_each(n, &s->links) {
			struct link *l = list_entry(n, struct link, node);

			OBJ_CHECK(l, LINK_MAGIC);
			if (link_usable(l, reuse))
				return l;
		}
	}
	return link_new(p, s, preface);
}
