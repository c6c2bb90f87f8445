/*
 * health.c - may this server be used: the checker's word and passive ejection.
 *
 * The ejection mark is one word per server (common/shm_eject.h), shared by all
 * workers and changed only by compare-and-swap, so that it is whole whoever dies.
 */
#include "worker/upstream/health.h"

#include "common/log.h"
#include "common/obj.h"
#include "common/shm_eject.h"
#include "worker/upstream/group_parts.h"

#define SHARE_LEAST 10

static _Atomic uint64_t *word_of(const struct server *s)
{
	return &s->group->all->shm->servers[s->cell].eject;
}

static uint64_t ejection_ms(const struct group *g, unsigned level)
{
	return shm_ejection_ms(g->conf->fail_timeout, level);
}

static bool ejected_now(const struct server *s, struct shm_eject m, uint64_t now_ms)
{
	return shm_ejected(m, shm_health_word(s->group->all->shm, s->cell), s->group->conf->fail_timeout, now_ms);
}

bool health_ejected(const struct server *s, uint64_t now_ms)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	uint64_t word = atomic_load_explicit(word_of(s), memory_order_seq_cst);

	return shm_eject_is_set(word) && ejected_now(s, shm_eject(word), now_ms);
}

static enum health_state state_of(const struct server *s)
{
	return health_state_of(shm_health_word(s->group->all->shm, s->cell));
}

bool health_usable(const struct server *s, uint64_t now_ms, bool *pending)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	*pending = false;
	if (s->conf->disabled || s->held)
		return false;
	enum health_state st = state_of(s);
	*pending = st == HEALTH_PENDING;
	return st == HEALTH_UP && s->addr.family != ADDR_NONE && !health_ejected(s, now_ms);
}

enum pass_why health_why_not(const struct server *s, uint64_t now_ms)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	if (s->conf->disabled)
		return PASS_DISABLED;
	if (s->held)
		return PASS_HELD;
	if (state_of(s) == HEALTH_PENDING)
		return PASS_PENDING;
	return state_of(s) == HEALTH_UP && health_ejected(s, now_ms) ? PASS_EJECTED : PASS_DOWN;
}

/* ---- slow start ---- */

unsigned health_share(const struct server *s, uint64_t now_ms)
{
	uint64_t length = (uint64_t)s->group->conf->slow_start;

	if (length == 0)
		return 1000;
	uint64_t word = shm_health_word(s->group->all->shm, s->cell);
	struct shm_eject m = shm_eject(atomic_load_explicit(word_of(s), memory_order_relaxed));
	uint64_t since = health_why_of(word) != HEALTH_WHY_NONE ? health_since_of(word) : 0;

	if ((m.ejected || m.fails == 0) && m.stamp > since && m.stamp <= now_ms)
		since = m.stamp;
	if (since == 0 || now_ms >= since + length)
		return 1000;
	uint64_t share = now_ms > since ? 1000 * (now_ms - since) / length : 0;
	return share > SHARE_LEAST ? (unsigned)share : SHARE_LEAST;
}

/* ---- ejection ---- */

/* Servers of the upstream that could serve but for ejections, and how many of them are ejected. */
static void count_ejected(const struct group *g, uint64_t now_ms, unsigned *all, unsigned *ejected)
{
	*all = *ejected = 0;
	for (unsigned i = 0; i < g->nservers; i++) {
		const struct server *s = &g->servers[i];

		if (s->conf->disabled || s->held || s->weight == 0 || state_of(s) != HEALTH_UP)
			continue;
		++*all;
		*ejected += health_ejected(s, now_ms);
	}
}

/* Never the only one; one of several in any case, unless that was ruled out by 0 %. */
static unsigned ejections_allowed(const struct group *g, unsigned all)
{
	uint64_t share = (uint64_t)all * g->conf->max_ejected / 100;

	if (all < 2 || g->conf->max_ejected == 0)
		return 0;
	return share > 0 ? (unsigned)share : 1;
}

/* Marks first and counts then, so that two workers cannot both take the last place; who finds too many takes its mark back. */
static bool eject(struct server *s, uint64_t was, uint64_t now_ms, uint64_t length)
{
	struct group *g = s->group;
	struct shm_eject m = shm_eject(was);
	unsigned all, ejected;

	count_ejected(g, now_ms, &all, &ejected);
	if (ejected >= ejections_allowed(g, all))
		return false;
	struct shm_eject out = { .ejected = true, .stamp = now_ms + length };
	out.level = m.level < SHM_EJECT_LEVELS ? m.level + 1 : SHM_EJECT_LEVELS;
	uint64_t word = shm_eject_word(out);
	if (!atomic_compare_exchange_strong(word_of(s), &was, word))
		return false;
	count_ejected(g, now_ms, &all, &ejected);
	if (ejected <= ejections_allowed(g, all))
		return true;
	atomic_compare_exchange_strong(word_of(s), &word, was);
	return false;
}

static void say_ejected(const struct server *s, uint64_t length, unsigned fails)
{
	char name[160];

	log_warn("Server %s of upstream %.*s failed %u time%s and is left alone for %llu s.",
		 log_esc(name, sizeof(name), s->name), SPAN_FMT(s->group->conf->name), fails, fails == 1 ? "" : "s",
		 (unsigned long long)(length + 999) / 1000);
}

static void report_bad(struct server *s, uint64_t now_ms)
{
	const struct conf_upstream *u = s->group->conf;
	unsigned most = u->max_fails < SHM_EJECT_FAILS ? u->max_fails : SHM_EJECT_FAILS;
	uint64_t was = atomic_load_explicit(word_of(s), memory_order_relaxed);
	struct shm_eject m;

	if (most == 0)
		return;
	do {
		m = shm_eject(was);
		if (ejected_now(s, m, now_ms))
			return;		/* a late answer to what was sent before */
		if (m.ejected)
			break;		/* on trial, and failed */
		if (m.fails == 0 || now_ms > m.stamp + (uint64_t)u->fail_timeout)
			m = (struct shm_eject){ .level = m.level, .stamp = now_ms };
		m.fails += m.fails < most;
	} while (!atomic_compare_exchange_weak(word_of(s), &was, shm_eject_word(m)));
	if (!m.ejected) {
		was = shm_eject_word(m);
		if (m.fails < most)
			return;
	}
	uint64_t length = ejection_ms(s->group, m.level);
	if (!eject(s, was, now_ms, length))
		return;
	meter_add(&server_meter(s)->ejections, 1);
	say_ejected(s, length, m.ejected ? 1 : m.fails);
	group_recheck(s->group);
}

/* Only the trial after an ejection is decided by a success; failures in the window count whatever lies between them. */
static void report_good(struct server *s, uint64_t now_ms)
{
	uint64_t was = atomic_load_explicit(word_of(s), memory_order_relaxed);
	struct shm_eject m = shm_eject(was);

	if (!m.ejected || ejected_now(s, m, now_ms))
		return;
	atomic_compare_exchange_strong(word_of(s), &was, shm_eject_word((struct shm_eject){ .stamp = m.stamp }));
}

void health_blame(struct server *s, enum reason why)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	struct shm *shm = s->group->all->shm;
	uint64_t now_s = s->group->all->loop->now_ms / 1000;

	atomic_store_explicit(&shm_use(shm, shm->slot)[s->cell].last_fail, shm_last_fail_word(why, now_s),
			      memory_order_relaxed);
}

void health_report(struct server *s, bool good, uint64_t now_ms)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	struct shm *shm = s->group->all->shm;
	struct shm_use *use = &shm_use(shm, shm->slot)[s->cell];

	if (good) {
		report_good(s, now_ms);
		return;
	}
	uint64_t fails = atomic_load_explicit(&use->fails, memory_order_relaxed);
	atomic_store_explicit(&use->fails, fails + 1, memory_order_relaxed);
	report_bad(s, now_ms);
}

/* ---- latency: us:32 | stamp in ms:32 ---- */

/* A peak counts at once, better times by and by: the more of them, or the longer ago the peak, the more. */
static uint64_t latency_after(uint64_t word, uint64_t us, uint32_t now_ms)
{
	uint64_t old = word >> 32;
	uint32_t passed = now_ms - (uint32_t)word;

	if (us == 0)
		us = 1;
	if (us > UINT32_MAX)
		us = UINT32_MAX;
	if (old > us && passed < 1000) {
		uint64_t eighth = (old - us + 7) / 8, by_time = (old - us) * passed / 1000;

		us = old - (eighth > by_time ? eighth : by_time);
	}
	return us << 32 | now_ms;
}

void health_latency(struct server *s, uint64_t us, uint64_t now_us)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	if (s->group->conf->balance != CONF_EWMA)
		return;
	_Atomic uint64_t *word = &s->group->all->shm->servers[s->cell].ewma;
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t now_ms = (uint32_t)(now_us / 1000);

	while (!atomic_compare_exchange_weak_explicit(word, &was, latency_after(was, us, now_ms), memory_order_relaxed,
						      memory_order_relaxed))
		continue;
}
