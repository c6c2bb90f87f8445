/*
 * balance.c - the schedulers, one function per method.
 *
 * Called by group_pick() with the servers that may be taken. Reads shared
 * counts and latencies, moves virtual time (turn.h), changes nothing else.
 */
#include "worker/upstream/balance.h"

#include <string.h>

#include "common/obj.h"
#include "worker/upstream/group_parts.h"
#include "worker/upstream/health.h"
#include "worker/upstream/ring.h"
#include "worker/upstream/turn.h"

/* How often a pick is thought over because another worker took the same server in the same instant. */
#define TURN_TRIES 16
/* Points of the ring that are looked at before any candidate will do. */
#define WALK_MAX 4096
/* An idle server's last known latency halves over this time, until it is worth another look. */
#define LATENCY_HALVES_MS 1000

static uint64_t now_of(const struct group *g)
{
	return g->all->loop->now_ms;
}

static uint64_t weight_of(const struct group *g, unsigned index)
{
	return turn_weight(&g->servers[index], now_of(g));
}

static uint32_t active_of(const struct group *g, unsigned index)
{
	return shm_active(g->all->shm, g->servers[index].cell);
}

static uint64_t weights_of(const struct group *g, const unsigned *cand, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += weight_of(g, cand[i]);
	return sum;
}

/* Takes the turn of the candidate that `better` puts before all others; `look` fills in what it compares. */
struct entry {
	uint64_t weight;
	struct turn turn;
	uint32_t active;
	bool overdue;			/* idle, and has waited longer than its weight says */
	uint64_t cost;			/* ewma only */
};
struct method {
	void (*look)(const struct group *g, unsigned index, struct entry *e, uint64_t usual);
	bool (*better)(const struct entry *a, const struct entry *b);
};

static unsigned pick_best(struct group *g, const unsigned *cand, unsigned n, const struct method *m, uint64_t usual)
{
	uint64_t weights = weights_of(g, cand, n);
	unsigned best = cand[0];

	for (unsigned try = 0; try < TURN_TRIES; try++) {
		struct entry first = { .cost = 0 }, e = { .cost = 0 };
		struct turns turns;

		turns_read(&turns, g, weights);
		for (unsigned i = 0; i < n; i++) {
			e.weight = weight_of(g, cand[i]);
			turn_read(&turns, cand[i], e.weight, &e.turn);
			if (m->look != NULL)
				m->look(g, cand[i], &e, usual);
			if (i < NOTE_LOADS)
				g->all->note.loads[i] = e.active;
			if (i > 0 && !m->better(&e, &first))
				continue;
			first = e;
			best = cand[i];
		}
		if (m->look != NULL)
			g->all->note.load = first.active;
		if (turn_take(&turns, best, &first.turn))
			break;
	}
	return best;
}

/* ---- round_robin ---- */

static bool sooner(const struct entry *a, const struct entry *b)
{
	return a->turn.lead < b->turn.lead;
}

static unsigned pick_round_robin(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	static const struct method m = { .better = sooner };

	(void)ask;
	return pick_best(g, cand, n, &m, 0);
}

/* ---- least_conn ---- */

static void look_active(const struct group *g, unsigned index, struct entry *e, uint64_t usual)
{
	(void)usual;
	e->active = active_of(g, index);
	e->overdue = e->active == 0 && turn_overdue(&e->turn);
}

/* By (active + 1) / weight, which leaves a light server idle while a heavy one has little to do: that one's turn comes when
 * it is overdue. */
static bool less_loaded(const struct entry *a, const struct entry *b)
{
	uint64_t x = (a->active + (uint64_t)1) * b->weight, y = (b->active + (uint64_t)1) * a->weight;

	if (a->overdue != b->overdue)
		return a->overdue;
	return x != y && !a->overdue ? x < y : sooner(a, b);
}

static unsigned pick_least_conn(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	static const struct method m = { .look = look_active, .better = less_loaded };

	(void)ask;
	return pick_best(g, cand, n, &m, 0);
}

/* ---- ewma ---- */

static uint64_t halved(uint64_t v, uint64_t passed_ms)
{
	uint64_t times = passed_ms / LATENCY_HALVES_MS;

	if (times >= 32)
		return 0;
	v >>= times;
	return v - v * (passed_ms % LATENCY_HALVES_MS) / (2 * LATENCY_HALVES_MS);
}

static void latency_of(const struct group *g, unsigned index, uint64_t *us, uint64_t *age_ms)
{
	uint64_t word = atomic_load_explicit(&g->all->shm->servers[g->servers[index].cell].ewma, memory_order_relaxed);
	uint32_t age = (uint32_t)now_of(g) - (uint32_t)word;

	*us = word >> 32;
	*age_ms = age > INT32_MAX ? 0 : age;
}

/*
 * Latency times the requests there would be, by weight. An idle server's
 * latency fades, one that was never measured starts at nothing: it is given one
 * request, and what that costs is unknown until it is answered, so that more do
 * not follow blindly. Costs are rounded to an eighth: equals take turns.
 */
static void look_cost(const struct group *g, unsigned index, struct entry *e, uint64_t usual)
{
	uint64_t us, age_ms, bits;

	latency_of(g, index, &us, &age_ms);
	e->active = active_of(g, index);
	if (e->active == 0)
		us = halved(us, age_ms);
	else if (us == 0)
		us = usual;
	double cost = (double)us * (e->active + 1.0) / (double)e->weight;
	memcpy(&bits, &cost, sizeof(bits));
	e->cost = bits >> 49;
}

static bool cheaper(const struct entry *a, const struct entry *b)
{
	return a->cost != b->cost ? a->cost < b->cost : sooner(a, b);
}

static unsigned pick_ewma(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	static const struct method m = { .look = look_cost, .better = cheaper };
	uint64_t sum = 0, us, age_ms;
	unsigned known = 0;

	(void)ask;
	for (unsigned i = 0; i < n; i++) {
		latency_of(g, cand[i], &us, &age_ms);
		sum += us;
		known += us > 0;
	}
	return pick_best(g, cand, n, &m, known > 0 ? sum / known : 1);
}

/* ---- random ---- */

static unsigned draw(struct group *g, const unsigned *cand, unsigned n, uint64_t weights)
{
	uint64_t at = groups_random(g->all) % weights;
	unsigned i = 0;

	for (; i < n - 1; i++) {
		uint64_t weight = weight_of(g, cand[i]);

		if (at < weight)
			break;
		at -= weight;
	}
	return cand[i];
}

/* Two draws by weight; the second takes it only if it is less busy, so that idle servers get just what their weights say. */
static unsigned pick_random(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	uint64_t weights = weights_of(g, cand, n);
	unsigned a = draw(g, cand, n, weights), b = draw(g, cand, n, weights);

	(void)ask;
	if (a == b)
		return a;
	return active_of(g, b) * weight_of(g, a) < active_of(g, a) * weight_of(g, b) ? b : a;
}

/* ---- hash, ip_hash ---- */

static bool is_candidate(const unsigned *cand, unsigned n, unsigned index)
{
	unsigned low = 0, high = n;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (cand[mid] < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && cand[low] == index;
}

/* A server in slow start takes the part of its keys that its share says, always the same ones. */
static bool takes_key(const struct group *g, unsigned index, uint64_t hash)
{
	unsigned share = health_share(&g->servers[index], now_of(g));

	return share >= 1000 || mix64(hash ^ 0x5bd1e995u) % 1000 < share;
}

static unsigned pick_hash(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	const struct ring *r = g->ring;
	unsigned fallback = cand[mix64(ask->hash) % n];
	bool found = false;

	if (r == NULL || r->n == 0)
		return fallback;
	unsigned at = ring_start(r, ask->hash);
	for (unsigned i = 0; i < r->n && i < WALK_MAX; i++) {
		unsigned index = ring_server(r, at);

		at = at + 1 < r->n ? at + 1 : 0;
		if (!is_candidate(cand, n, index))
			continue;
		if (takes_key(g, index, ask->hash))
			return index;
		if (!found)
			fallback = index;
		found = true;
	}
	return fallback;
}

/* ---- the table ---- */

typedef unsigned pick_fn(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n);

static pick_fn *const methods[] = {
	[CONF_LEAST_CONN] = pick_least_conn,
	[CONF_ROUND_ROBIN] = pick_round_robin,
	[CONF_IP_HASH] = pick_hash,
	[CONF_HASH] = pick_hash,
	[CONF_RANDOM] = pick_random,
	[CONF_EWMA] = pick_ewma,
};

unsigned balance_pick(struct group *g, const struct pick_ask *ask, const unsigned *cand, unsigned n)
{
	OBJ_CHECK(g, GROUP_MAGIC);
	must(n > 0 && (size_t)g->conf->balance < ARRAY_LEN(methods));
	return n == 1 ? cand[0] : methods[g->conf->balance](g, ask, cand, n);
}

bool balance_prepare(struct group *g)
{
	if (g->conf->balance != CONF_HASH && g->conf->balance != CONF_IP_HASH)
		return true;
	struct ring *r = ring_new(g);
	if (r == NULL)
		return false;
	balance_forget(g);
	g->ring = r;
	return true;
}

void balance_forget(struct group *g)
{
	struct ring *r = g->ring;

	ring_free(&r);
	g->ring = NULL;
}
