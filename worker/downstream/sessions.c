/*
 * sessions.c - the list of client connections for "weirctl sessions".
 *
 * Called when the master asks, and by its timer until the list is whole. Reads
 * connections, streams and exchanges, and changes none of them. What matches
 * and finds no room in the table is counted.
 */
#include "worker/downstream/sessions.h"

#include "common/obj.h"
#include "worker/downstream/client_conn.h"
#include "worker/downstream/down_h2.h"
#include "worker/exchange/record.h"

#define SLICE 128			/* connections looked at in one turn */

static enum session_state exchange_state(const struct exchange *x)
{
	if (x->tunnel)
		return SESSION_TUNNEL;
	if (x->resp_state != RESP_WAIT)
		return SESSION_RESPONSE;
	return x->req_state == REQ_BODY ? SESSION_REQUEST : SESSION_WAIT;
}

static enum session_state client_state(const struct client *c)
{
	if (c->securing)
		return SESSION_TLS;
	switch ((enum client_state)c->state) {
	case CLIENT_PROXY:
		return SESSION_PROXY;
	case CLIENT_HEAD:
		return SESSION_HEAD;
	case CLIENT_DRAIN:
	case CLIENT_LINGER:
		return SESSION_CLOSING;
	case CLIENT_H2:
		return c->h2->nstreams > 0 ? SESSION_OPEN : SESSION_IDLE;
	default:
		return SESSION_IDLE;
	}
}

static uint8_t cut(char *out, size_t room, struct span s)
{
	size_t n = s.n < room ? s.n : room;

	if (n > 0)
		memcpy(out, s.p, n);
	return (uint8_t)n;
}

static void put_addr(struct shm_session *e, const struct addr *a)
{
	e->family = a->family;
	e->port = a->family == ADDR_UNIX ? 0 : a->port;
	if (a->family == ADDR_V4 || a->family == ADDR_V6)
		memcpy(e->ip, a->v6, sizeof(e->ip));
}

static void put_exchange(struct shm_session *e, const struct exchange *x, uint64_t now_us)
{
	e->state = (uint8_t)exchange_state(x);
	e->age_ms = (now_us - x->t_start_us) / 1000;
	e->bytes_in = x->bytes_in;
	e->bytes_out = x->bytes_out;
	e->route = x->route ? (uint16_t)x->route->id : RECORD_NONE;
	e->upstream = x->upstream ? (uint16_t)x->upstream->id : RECORD_NONE;
	e->cell = x->try != NULL ? x->try->cell : RECORD_NONE;
	if (x->tunnel)
		e->proto = span_caseeq(x->req.upgrade_to, SPAN("websocket")) ? SESSION_WEBSOCKET : SESSION_UPGRADED;
	e->id_len = cut(e->id, RECORD_ID, x->request_id_span);
	e->text_len = cut(e->text, SESSION_TEXT, x->orig_path);
	put_addr(e, &x->client);
}

/* One line of the list: a connection, or with x what is under way on it. */
static void put(struct down *d, const struct client *c, uint32_t stream, const struct exchange *x)
{
	struct sessions *s = &d->sessions;
	const struct shm_filter *f = &s->filter;
	const struct env *e = d->env;
	struct shm_session entry = { .conn = c->conn.id, .stream = stream, .listen = (uint16_t)c->listen->id,
				     .route = RECORD_NONE, .upstream = RECORD_NONE, .cell = RECORD_NONE,
				     .conn_ms = e->loop->now_ms - c->born_ms, .age_ms = e->loop->now_ms - c->since_ms,
				     .state = (uint8_t)client_state(c), .tls = c->listen->tls,
				     .proto = c->h2 != NULL ? SESSION_HTTP2 : c->requests > 0 ? SESSION_HTTP1 : SESSION_NONE };

	put_addr(&entry, &c->peer);
	if (x != NULL)
		put_exchange(&entry, x, e->loop->now_us);
	if (!record_filter(f, x != NULL ? &x->client : &c->peer, entry.route, entry.listen))
		return;
	if (f->cell != RECORD_NONE && (entry.cell < f->cell || entry.cell >= f->cell + f->ncells))
		return;
	if (s->n == SESSIONS_MAX) {
		s->more++;
		return;
	}
	records_sessions(e->records, 0)[s->n++] = entry;
}

static void put_client(struct down *d, const struct client *c)
{
	put(d, c, 0, c->state == CLIENT_BUSY ? c->x : NULL);
	if (c->h2 == NULL)
		return;
	list_each(n, &c->h2->streams) {
		const struct h2_stream *s = list_entry(n, struct h2_stream, node);

		if (s->x != NULL && !s->x->ended)
			put(d, c, (uint32_t)s->id, s->x);
	}
}

static void finish(struct down *d)
{
	struct sessions *s = &d->sessions;
	struct shm_area *area = d->env->records->own;

	s->next = NULL;
	atomic_store_explicit(&area->sessions, s->n, memory_order_relaxed);
	atomic_store_explicit(&area->sessions_more, s->more, memory_order_relaxed);
	atomic_store_explicit(&area->sessions_gen, s->gen, memory_order_release);
}

static void slice(struct down *d)
{
	struct sessions *s = &d->sessions;
	struct env *e = d->env;

	for (unsigned i = 0; i < SLICE && s->next != &e->conns; i++) {
		const struct client *c = list_entry(s->next, struct client, node);

		s->next = s->next->next;
		put_client(d, c);
	}
	if (s->next == &e->conns)
		finish(d);
	else
		timer_set(&e->loop->wheel, &s->timer, e->loop->now_ms + 1);
}

static void on_timer(struct timer *t)
{
	struct down *d = container_of(t, struct down, sessions.timer);

	if (d->sessions.next != NULL)
		slice(d);
}

void sessions_init(struct sessions *s)
{
	*s = (struct sessions){ .gen = 0 };
	timer_init(&s->timer, on_timer);
}

void sessions_start(struct down *d, uint32_t gen)
{
	struct sessions *s = &d->sessions;
	struct env *e = d->env;

	if (e->records == NULL)
		return;
	s->gen = gen;
	s->n = s->more = 0;
	s->filter = e->records->orders->sessions;
	s->next = e->conns.next;
	slice(d);
}
