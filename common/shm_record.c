/*
 * shm_record.c - the segment of decision records, traces and sessions.
 *
 * Called by the master (makes it, reads it), by its children (map it) and by
 * workers at the end of each request. Owns its layout and the rule by which a
 * record is whole; what is in one is made by worker/exchange/record.c and told
 * by master/ctl_why.c.
 */
#include "common/shm_record.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/shm_seg.h"

static const char *const why_texts[] = {
	[PASS_LOST] = "lost", [PASS_TRIED] = "tried", [PASS_FULL] = "full", [PASS_DOWN] = "down",
	[PASS_EJECTED] = "ejected", [PASS_HELD] = "held", [PASS_DISABLED] = "disabled", [PASS_WEIGHT] = "weight 0",
	[PASS_BACKUP] = "backup", [PASS_PENDING] = "pending",
};
static const char *const state_texts[] = {
	[SESSION_PROXY] = "proxy header", [SESSION_TLS] = "handshake", [SESSION_IDLE] = "idle", [SESSION_HEAD] = "head",
	[SESSION_WAIT] = "waiting", [SESSION_REQUEST] = "request body", [SESSION_RESPONSE] = "answer",
	[SESSION_TUNNEL] = "tunnel", [SESSION_CLOSING] = "closing", [SESSION_OPEN] = "open",
};
static const char *const proto_texts[] = {
	[SESSION_NONE] = "-", [SESSION_HTTP1] = "h1", [SESSION_HTTP2] = "h2", [SESSION_WEBSOCKET] = "ws",
	[SESSION_UPGRADED] = "tunnel",
};

const char *pass_why_text(enum pass_why w)
{
	return (size_t)w < ARRAY_LEN(why_texts) ? why_texts[w] : "?";
}

const char *session_state_text(enum session_state s)
{
	return (size_t)s < ARRAY_LEN(state_texts) ? state_texts[s] : "?";
}

const char *session_proto_text(enum session_proto p)
{
	return (size_t)p < ARRAY_LEN(proto_texts) ? proto_texts[p] : "?";
}

/* ---- layout of an area: head, records, traces, sessions, each on pages of its own ---- */

static size_t ring_at(void)
{
	return shm_seg_pages(sizeof(struct shm_area));
}

static size_t traces_at(void)
{
	return ring_at() + shm_seg_pages(RECORDS_KEPT * sizeof(struct shm_record));
}

static size_t sessions_at(void)
{
	return traces_at() + shm_seg_pages(TRACES_KEPT * sizeof(struct shm_trace));
}

static char *area_at(const struct records *r, unsigned slot)
{
	OBJ_CHECK(r, RECORDS_MAGIC);
	must(slot < r->nslots && r->areas != NULL);
	return r->areas + slot * r->area_size;
}

struct shm_area *records_area(const struct records *r, unsigned slot)
{
	return (struct shm_area *)(void *)area_at(r, slot);
}

struct shm_record *records_ring(const struct records *r, unsigned slot)
{
	return (struct shm_record *)(void *)(area_at(r, slot) + ring_at());
}

struct shm_trace *records_traces(const struct records *r, unsigned slot)
{
	return (struct shm_trace *)(void *)(area_at(r, slot) + traces_at());
}

struct shm_session *records_sessions(const struct records *r, unsigned slot)
{
	return (struct shm_session *)(void *)(area_at(r, slot) + sessions_at());
}

/* ---- making and mapping ---- */

static void forget_fds(struct records *r)
{
	for (unsigned i = 0; i < ARRAY_LEN(r->fd); i++) {
		if (r->fd[i] >= 0)
			close(r->fd[i]);
		r->fd[i] = -1;
	}
}

void records_forget(struct records *r)
{
	OBJ_CHECK(r, RECORDS_MAGIC);
	/* The master's mappings did not come along. */
	r->orders = NULL;
	r->areas = NULL;
	forget_fds(r);
}

void records_fini(struct records *r)
{
	OBJ_CHECK(r, RECORDS_MAGIC);
	if (r->orders != NULL)
		munmap(r->orders, r->size);
	records_forget(r);
	r->magic = 0;
}

static void set_sizes(struct records *r, unsigned nslots)
{
	must(nslots > 0);
	*r = (struct records){ .magic = RECORDS_MAGIC, .nslots = nslots, .fd = { -1, -1 } };
	r->orders_size = shm_seg_pages(sizeof(struct shm_orders) + nslots * sizeof(_Atomic uint32_t));
	r->area_size = sessions_at() + shm_seg_pages(SESSIONS_MAX * sizeof(struct shm_session));
	r->size = r->orders_size + nslots * r->area_size;
}

uint64_t records_layout(void)
{
	const uint64_t sizes[] = { sizeof(struct shm_record), RECORDS_KEPT, sizeof(struct shm_trace), TRACES_KEPT,
				   sizeof(struct shm_session), SESSIONS_MAX, sizeof(struct shm_orders), PASS__N, REASON__N };

	return span_hash(span_make((const char *)sizes, sizeof(sizes)), 1);
}

bool records_adopt(struct records *r, unsigned nslots, int fd)
{
	set_sizes(r, nslots);
	if (shm_seg_is(fd, r->size))
		r->orders = shm_seg_map(fd, r->size, PROT_READ);
	if (r->orders == NULL || madvise(r->orders, r->size, MADV_DONTFORK) != 0) {
		records_fini(r);
		return false;
	}
	r->areas = (char *)r->orders + r->orders_size;
	r->fd[1] = fd;
	return true;
}

bool records_init(struct records *r, unsigned nslots)
{
	set_sizes(r, nslots);
	r->fd[0] = shm_seg_make("weir-records", r->size);
	if (r->fd[0] >= 0 && (r->fd[1] = shm_seg_readonly(r->fd[0])) >= 0)
		r->orders = shm_seg_map(r->fd[0], r->size, PROT_READ | PROT_WRITE);
	if (r->orders != NULL && madvise(r->orders, r->size, MADV_DONTFORK) == 0) {
		r->areas = (char *)r->orders + r->orders_size;
		return true;
	}
	int why = errno;
	records_fini(r);
	errno = why;
	return false;
}

bool records_become_worker(struct records *r, unsigned slot)
{
	OBJ_CHECK(r, RECORDS_MAGIC);
	must(slot < r->nslots);
	off_t at = (off_t)(r->orders_size + slot * r->area_size);
	void *area = mmap(NULL, r->area_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd[0], at);

	r->orders = shm_seg_map(r->fd[1], r->orders_size, PROT_READ);
	if (area == MAP_FAILED || r->orders == NULL)
		return false;
	r->areas = area;
	r->nslots = 1;
	r->slot = slot;
	r->own = records_area(r, 0);
	r->ring = records_ring(r, 0);
	r->next = atomic_load_explicit(&r->own->records, memory_order_relaxed);
	forget_fds(r);
	return true;
}

/* ---- records ---- */

static void try_sane(struct shm_try *t)
{
	if (t->nothers > RECORD_OTHERS)
		t->nothers = RECORD_OTHERS;
	if (t->result >= REASON__N)
		t->result = REASON_NONE;
}

static void record_sane(struct shm_record *r)
{
	if (r->ntries > RECORD_TRIES)
		r->ntries = RECORD_TRIES;
	if (r->id_len > RECORD_ID)
		r->id_len = RECORD_ID;
	if (r->text_len > RECORD_TEXT)
		r->text_len = RECORD_TEXT;
	if (r->reason >= REASON__N)
		r->reason = REASON_NONE;
	if (r->family != ADDR_V4 && r->family != ADDR_V6 && r->family != ADDR_UNIX)
		r->family = ADDR_NONE;
	for (unsigned i = 0; i < r->ntries; i++)
		try_sane(&r->try[i]);
}

bool records_copy(const struct shm_record *ring, unsigned i, struct shm_record *out)
{
	const struct shm_record *rec = &ring[i % RECORDS_KEPT];
	uint64_t seq = atomic_load_explicit(&rec->seq, memory_order_acquire);

	if (seq == 0 || seq % 2 != 0)
		return false;
	memcpy((void *)out, rec, sizeof(*out));
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&rec->seq, memory_order_relaxed) != seq)
		return false;
	atomic_store_explicit(&out->seq, seq, memory_order_relaxed);
	record_sane(out);
	return true;
}

void trace_sane(struct shm_trace *t)
{
	record_sane(&t->record);
	if (t->ntries > TRACE_TRIES)
		t->ntries = TRACE_TRIES;
	if (t->nothers > TRACE_OTHERS)
		t->nothers = TRACE_OTHERS;
	if (t->target_len > TRACE_TARGET)
		t->target_len = TRACE_TARGET;
	if (t->host_len > TRACE_HOST)
		t->host_len = TRACE_HOST;
	for (unsigned i = 0; i < t->ntries; i++)
		try_sane(&t->try[i]);
}

/* ---- traces ---- */

struct shm_trace *traces_begin(struct records *r, uint32_t gen)
{
	uint32_t put = atomic_load_explicit(&r->own->traces, memory_order_relaxed);
	uint32_t taken = atomic_load_explicit(&r->orders->traces_taken[r->slot], memory_order_acquire);

	if (put - taken < TRACES_KEPT)
		return &records_traces(r, 0)[put % TRACES_KEPT];
	uint64_t lost = atomic_load_explicit(&r->own->traces_lost, memory_order_relaxed);
	lost = lost >> 32 == gen ? lost + 1 : (uint64_t)gen << 32 | 1;
	atomic_store_explicit(&r->own->traces_lost, lost, memory_order_relaxed);
	return NULL;
}

void traces_end(struct records *r)
{
	uint32_t put = atomic_load_explicit(&r->own->traces, memory_order_relaxed);

	atomic_store_explicit(&r->own->traces, put + 1, memory_order_release);
}

uint64_t traces_head(const struct records *r, unsigned slot)
{
	uint32_t put = atomic_load_explicit(&records_area(r, slot)->traces, memory_order_acquire);
	uint32_t taken = atomic_load_explicit(&r->orders->traces_taken[slot], memory_order_relaxed);

	return put == taken ? UINT64_MAX : records_traces(r, slot)[taken % TRACES_KEPT].end_us % UINT64_MAX;
}

bool traces_take(struct records *r, unsigned slot, struct shm_trace *out)
{
	uint32_t put = atomic_load_explicit(&records_area(r, slot)->traces, memory_order_acquire);
	uint32_t taken = atomic_load_explicit(&r->orders->traces_taken[slot], memory_order_relaxed);

	if (put == taken)
		return false;
	/* A worker in its right mind is never further ahead. */
	if (put - taken > TRACES_KEPT)
		taken = put - 1;
	memcpy((void *)out, &records_traces(r, slot)[taken % TRACES_KEPT], sizeof(*out));
	atomic_store_explicit(&r->orders->traces_taken[slot], taken + 1, memory_order_release);
	trace_sane(out);
	return true;
}

void traces_order(struct records *r, uint32_t gen, uint32_t count, const struct shm_filter *f)
{
	struct shm_orders *o = r->orders;

	/* Whoever reads while it changes finds 0 afterwards, and what it read is not used. */
	atomic_store_explicit(&o->trace_gen, 0, memory_order_seq_cst);
	if (f == NULL)
		return;
	for (unsigned i = 0; i < r->nslots; i++)
		atomic_store_explicit(&o->traces_taken[i], atomic_load(&records_area(r, i)->traces), memory_order_relaxed);
	o->trace = *f;
	o->trace_count = count;
	atomic_store_explicit(&o->trace_gen, gen, memory_order_seq_cst);
}

/* ---- sessions ---- */

void sessions_copy(const struct records *r, unsigned slot, unsigned i, struct shm_session *out)
{
	*out = records_sessions(r, slot)[i % SESSIONS_MAX];
	if (out->id_len > RECORD_ID)
		out->id_len = RECORD_ID;
	if (out->text_len > SESSION_TEXT)
		out->text_len = SESSION_TEXT;
	if (out->family != ADDR_V4 && out->family != ADDR_V6 && out->family != ADDR_UNIX)
		out->family = ADDR_NONE;
}
