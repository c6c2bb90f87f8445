/*
 * record.c - what a request leaves behind for "weirctl why".
 *
 * Called by the proxy for each try and by the exchange at its end. Tries are
 * kept in the exchange; the ring in shared memory is touched once, at the end,
 * and only as much of a record as is used.
 */
#include "worker/exchange/record.h"

#include "common/obj.h"

/* Times of a request fit in 32 bits of microseconds, or are cut. */
static uint32_t short_us(uint64_t us)
{
	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* ---- traces ---- */

bool record_filter(const struct shm_filter *f, const struct addr *client, unsigned route, unsigned listen)
{
	if (f->none || (f->route != RECORD_NONE && f->route != route))
		return false;
	return (f->listen == RECORD_NONE || f->listen == listen) && net_has(&f->client, client);
}

static bool header_matches(const struct shm_filter *f, const struct head *h)
{
	struct span name = span_make(f->header, strnlen(f->header, sizeof(f->header)));
	struct span value = span_make(f->value, strnlen(f->value, sizeof(f->value)));

	for (int i = -1; name.n > 0 && (i = head_index(h, name, (unsigned)(i + 1))) >= 0;) {
		if (f->header_any || span_eq(h->fields[i].value, value))
			return true;
	}
	return name.n == 0;
}

/* Takes a changed order over. False: there is none, or it changes at this moment. */
static bool follow_order(struct env *e)
{
	const struct shm_orders *o = e->records->orders;
	uint32_t gen = atomic_load_explicit(&o->trace_gen, memory_order_acquire);

	if (gen == 0 || gen == e->tracing.gen)
		return gen != 0;
	e->tracing.filter = o->trace;
	e->tracing.left = o->trace_count;
	atomic_thread_fence(memory_order_acquire);
	e->tracing.gen = atomic_load_explicit(&o->trace_gen, memory_order_relaxed) == gen ? gen : 0;
	return e->tracing.gen != 0;
}

void record_match(struct exchange *x)
{
	struct env *e = x->env;

	if (!follow_order(e) || e->tracing.left == 0)
		return;
	if (!record_filter(&e->tracing.filter, &x->client, x->route ? x->route->id : RECORD_NONE,
			   x->listen ? x->listen->id : RECORD_NONE) || !header_matches(&e->tracing.filter, &x->req))
		return;
	struct shm_trace *t = arena_zalloc(&x->arena, sizeof(*t));
	if (t == NULL)
		return;
	e->tracing.left--;
	t->gen = e->tracing.gen;
	t->host_len = (uint16_t)(x->req.authority.n < TRACE_HOST ? x->req.authority.n : TRACE_HOST);
	if (t->host_len > 0)
		memcpy(t->host, x->req.authority.p, t->host_len);
	x->trace = t;
}

/* The try under way, as it stands. */
static void trace_try(struct exchange *x)
{
	if (x->trace != NULL && x->trace->ntries > 0)
		x->trace->try[x->trace->ntries - 1] = *x->try;
}

static void trace_pick(struct exchange *x)
{
	const struct pick_note *note = &x->env->groups.note;
	struct shm_trace *t = x->trace;

	if (t->ntries < TRACE_TRIES)
		t->ntries++;
	for (unsigned i = 0; i < note->n; i++) {
		if (t->nothers == TRACE_OTHERS) {
			t->others_lost = (uint16_t)(t->others_lost + note->n - i);
			break;
		}
		t->others[t->nothers] = note->others[i];
		t->others[t->nothers++].try = (uint8_t)(t->ntries - 1);
	}
}

/* ---- tries ---- */

static struct shm_try *next_try(struct exchange *x, bool fallback)
{
	const struct pick_note *note = &x->env->groups.note;
	struct shm_try *t;

	/* They are zero in a fresh exchange. */
	if (x->nkept < RECORD_TRIES)
		x->nkept++;
	else
		memset(&x->kept[x->nkept - 1], 0, sizeof(*t));
	t = &x->kept[x->nkept - 1];
	x->try = t;
	t->cell = RECORD_NONE;
	t->upstream = x->upstream ? (uint16_t)x->upstream->id : RECORD_NONE;
	t->flags = fallback ? TRY_FALLBACK : 0;
	t->begin_us = short_us(x->env->loop->now_us - x->t_start_us);
	t->load = note->load;
	t->passed = note->passed < UINT16_MAX ? (uint16_t)note->passed : UINT16_MAX;
	t->nothers = (uint8_t)(note->n < RECORD_OTHERS ? note->n : RECORD_OTHERS);
	for (unsigned i = 0; i < t->nothers; i++)
		t->others[i] = note->others[i];
	if (__builtin_expect(x->trace != NULL, 0))
		trace_pick(x);
	return t;
}

void record_try(struct exchange *x, const struct server *s, bool fallback)
{
	next_try(x, fallback)->cell = (uint16_t)s->cell;
	trace_try(x);
}

void record_no_server(struct exchange *x, enum reason why, bool fallback)
{
	next_try(x, fallback)->result = (uint8_t)why;
	trace_try(x);
	x->try = NULL;
}

void record_try_answered(struct exchange *x, uint64_t try_us, uint64_t connect_us, bool reused)
{
	struct shm_try *t = x->try;

	if (t == NULL)
		return;
	t->status = x->resp.status;
	t->flags |= TRY_ANSWERED | (reused ? TRY_REUSED : 0);
	t->connect_us = short_us(connect_us);
	t->header_us = short_us(x->env->loop->now_us - try_us);
	trace_try(x);
}

void record_try_failed(struct exchange *x, uint64_t try_us, uint64_t connect_us, enum reason why, unsigned flags)
{
	struct shm_try *t = x->try;

	if (t == NULL)
		return;
	t->result = (uint8_t)why;
	t->flags |= (uint8_t)flags;
	t->connect_us = short_us(connect_us);
	t->took_us = short_us(x->env->loop->now_us - try_us);
	trace_try(x);
}

/* ---- the end ---- */

/* Who was first to close, as far as that is no orderly end. */
static enum record_closed closed_by(const struct exchange *x)
{
	switch (x->reason) {
	case REASON_NONE:
		return (enum record_closed)x->first_end;
	case REASON_CLIENT_ABORT:
		return CLOSED_CLIENT;
	case REASON_CONNECT_REFUSED:
	case REASON_SERVER_RESET:
	case REASON_TRUNCATED:
		return CLOSED_SERVER;
	case REASON_NO_ROUTE:
	case REASON_DENIED:
	case REASON_UPGRADE_REFUSED:
	case REASON_NO_SERVER:
	case REASON_QUEUE_FULL:
	case REASON_QUEUE_TIMEOUT:
	case REASON_INTERNAL:
		return CLOSED_NOBODY;
	default:
		return CLOSED_WEIR;
	}
}

static void put_client(struct shm_record *rec, const struct addr *a)
{
	rec->family = a->family;
	rec->port = a->port;
	if (__builtin_expect(a->family == ADDR_UNIX, 0))
		rec->port = 0;		/* and no pointer */
	else
		memcpy(rec->ip, a->v6, sizeof(rec->ip));
}

#define OWN_ID 32			/* bytes of an id that was made here */

static void put_id(struct shm_record *rec, struct span id)
{
	rec->id_hash = 0;
	rec->id_len = (uint8_t)(id.n < RECORD_ID ? id.n : RECORD_ID);
	if (id.n == OWN_ID)
		memcpy(rec->id, id.p, OWN_ID);
	else
		memcpy(rec->id, id.p, rec->id_len);
	if (id.n > RECORD_ID)
		rec->id_hash = span_hash(id, 0);
}

static size_t cut(char *out, size_t room, struct span s)
{
	size_t n = s.n < room ? s.n : room;

	if (n > 0)
		memcpy(out, s.p, n);
	return n;
}

static void fill(struct shm_record *rec, const struct exchange *x)
{
	rec->wall_ms = x->start_wall_ms;
	rec->total_us = x->env->loop->now_us - x->t_start_us;
	rec->bytes_in = x->bytes_in;
	rec->bytes_out = x->bytes_out;
	rec->queue_us = short_us(x->queue_us);
	rec->header_us = short_us(x->header_us);
	rec->route = x->route ? (uint16_t)x->route->id : RECORD_NONE;
	rec->listen = x->listen ? (uint16_t)x->listen->id : RECORD_NONE;
	rec->status = (uint16_t)x->status;
	rec->reason = (uint8_t)x->reason;
	rec->flags = (uint8_t)((x->own_answer ? RECORD_OWN : 0) | (x->tunnel ? RECORD_TUNNEL : 0) |
			       (x->tls ? RECORD_TLS : 0) | (x->req.proto == PROTO_HTTP2 ? RECORD_STREAM : 0));
	rec->closed = (uint8_t)closed_by(x);
	rec->tries = (uint16_t)x->tries;
	rec->ntries = x->nkept;
	put_client(rec, &x->client);
	put_id(rec, x->request_id_span);
	rec->text_len = (uint8_t)cut(rec->text, RECORD_TEXT, x->request_line);
	for (unsigned i = 0; i < x->nkept; i++)
		rec->try[i] = x->kept[i];
}

/* Its memory goes with the exchange; whoever asked may be gone already, or slow. */
static void put_trace(struct exchange *x)
{
	struct records *r = x->env->records;
	struct shm_trace *t = x->trace, *out;

	if (atomic_load_explicit(&r->orders->trace_gen, memory_order_relaxed) != t->gen)
		return;
	fill(&t->record, x);
	t->end_us = x->env->loop->now_us;
	t->target_len = (uint16_t)cut(t->target, TRACE_TARGET, x->orig_uri.n > 0 ? x->orig_uri : x->request_line);
	out = traces_begin(r, t->gen);
	if (out == NULL)
		return;
	memcpy((void *)out, t, sizeof(*t));
	traces_end(r);
}

void record_exchange(struct exchange *x)
{
	struct records *r = x->env->records;

	if (r == NULL)
		return;
	struct shm_record *rec = records_begin(r);
	fill(rec, x);
	records_end(r, rec);
	if (__builtin_expect(x->trace != NULL, 0))
		put_trace(x);
}
