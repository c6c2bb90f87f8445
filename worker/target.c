/*
 * target.c - one server cell under watch: when it is checked, and what the
 * checks make of it.
 *
 * Called by checker.c for numeric and UNIX servers and by names.c for the
 * addresses of host names. Rise and fall are counted here; the outcome is
 * published to the workers by one store, and logged when it changes.
 */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/checker.h"

#define FIRST_WITHIN_MS 1000		/* first checks are spread over this long */
#define TRANSITION_MS 1000		/* interval while a server seems to change its state */
#define JITTER_PERMILLE 200		/* either way */
#define TROUBLE_MS 60000		/* between two complaints of a lack of our own */

/* ---- rise and fall ---- */

enum verdict judge_take(struct judge *j, bool good, unsigned rise, unsigned fall)
{
	if (good) {
		j->bad = 0;
		j->good++;
	} else {
		j->good = 0;
		j->bad++;
	}
	if (j->up && j->bad >= fall) {
		*j = (struct judge){ .up = false };
		return VERDICT_DOWN;
	}
	if (!j->up && j->good >= rise) {
		*j = (struct judge){ .up = true };
		return VERDICT_UP;
	}
	/* Confirms what is so already. */
	if (j->up == good)
		j->good = j->bad = 0;
	return VERDICT_SAME;
}

uint64_t judge_interval(const struct judge *j, uint64_t interval_ms, unsigned draw)
{
	bool changing = j->good + j->bad > 0;

	if (changing && interval_ms > TRANSITION_MS)
		interval_ms = TRANSITION_MS;
	return interval_ms - interval_ms * JITTER_PERMILLE / 1000 + interval_ms * 2 * JITTER_PERMILLE * draw / 1000 / 1000;
}

/* ---- checks ---- */

static bool is_checked(const struct target *t)
{
	return t->up->check != CONF_CHECK_OFF;
}

static void check_in(struct target *t, uint64_t ms)
{
	struct loop *l = &t->checker->loop;

	timer_set(&l->wheel, &t->timer, l->now_ms + ms);
}

static void on_timer(struct timer *timer)
{
	struct target *t = container_of(timer, struct target, timer);

	OBJ_CHECK(t, TARGET_MAGIC);
	probe_start(&t->probe, &t->addr);
}

/* A time for people: "850 ms", "12 s". */
static const char *time_text(char *out, size_t size, uint64_t ms)
{
	if (ms < 10000)
		snprintf(out, size, "%llu ms", (unsigned long long)ms);
	else
		snprintf(out, size, "%llu s", (unsigned long long)ms / 1000);
	return out;
}

static void change(struct target *t, enum verdict v, const struct probe_result *r)
{
	uint64_t now = t->checker->loop.now_ms;
	char time[32], why[160];

	if (v == VERDICT_UP) {
		log_notice("Server %s is up again after %s.", t->text, time_text(time, sizeof(time), now - t->since_ms));
		checker_publish(t->checker, t->cell, HEALTH_UP, HEALTH_WHY_CHECK);
	} else {
		log_warn("Server %s is down: %s.", t->text, log_esc(why, sizeof(why), span_of(r->text)));
		checker_publish(t->checker, t->cell, HEALTH_DOWN, HEALTH_WHY_CHECK);
	}
	t->since_ms = now;
}

/* Single writer: no locked instruction needed. */
static void count(_Atomic uint32_t *c)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void note(struct target *t, const struct probe_result *r)
{
	struct shm *shm = t->checker->shm;
	struct shm_health *h = &shm->health[t->cell];
	struct meter_server *m = meter_in(shm_own(shm), meter_server_at(shm, t->server->id));

	meter_add(&m->checks, 1);
	meter_add(&m->check_fails, r->rc != PROBE_GOOD);
	atomic_store_explicit(&h->last_ms, r->ms, memory_order_relaxed);
	count(&h->checks);
	if (r->rc == PROBE_GOOD)
		return;
	count(&h->fails);
	unsigned error = r->status != 0 ? SHM_ERROR_STATUS | r->status : r->error;
	atomic_store_explicit(&h->last_error, error, memory_order_relaxed);
}

/* For whoever takes the cell up after us. */
static void keep_judge(const struct target *t)
{
	const struct judge *j = &t->judge;
	uint32_t good = j->good < UINT16_MAX ? j->good : UINT16_MAX, bad = j->bad < UINT16_MAX ? j->bad : UINT16_MAX;

	atomic_store_explicit(&t->checker->shm->health[t->cell].judge, good << 16 | bad, memory_order_relaxed);
}

static void on_probed(struct probe *p, const struct probe_result *r)
{
	struct target *t = container_of(p, struct target, probe);
	struct checker *c = t->checker;

	OBJ_CHECK(t, TARGET_MAGIC);
	if (r->rc == PROBE_UNKNOWN) {
		if (c->trouble_ms == 0 || c->loop.now_ms >= c->trouble_ms + TROUBLE_MS) {
			c->trouble_ms = c->loop.now_ms;
			log_warn("Server %s cannot be checked, and others perhaps neither: %s.", t->text, r->text);
		}
		check_in(t, TRANSITION_MS);
		return;
	}
	note(t, r);
	enum verdict v = judge_take(&t->judge, r->rc == PROBE_GOOD, t->up->check_rise, t->up->check_fall);
	keep_judge(t);
	if (v != VERDICT_SAME)
		change(t, v, r);
	/* From beginning to beginning, so that slow answers do not thin the checks out. */
	uint64_t ms = judge_interval(&t->judge, (uint64_t)t->up->check_interval, (unsigned)checker_random(c, 1000));
	check_in(t, ms > r->ms ? ms - r->ms : 0);
}

/* ---- life ---- */

void target_init(struct target *t, struct checker *c, const struct conf_upstream *u, const struct conf_server *s,
		 unsigned cell)
{
	*t = (struct target){ .magic = TARGET_MAGIC, .checker = c, .up = u, .server = s, .cell = cell, .addr = s->addr };
	timer_init(&t->timer, on_timer);
	probe_init(&t->probe, &c->loop, u, s, on_probed);
	t->probe.tls = &c->tls;
	t->probe.tls_client = c->tls_clients != NULL ? c->tls_clients[u->id] : NULL;
}

/* As workers call it: "NAME" or "NAME@IP". */
static void name_target(struct target *t)
{
	char name[100], ip[ADDR_TEXT];

	log_esc(name, sizeof(name), t->server->name);
	if (t->server->addr.family != ADDR_NONE) {
		snprintf(t->text, sizeof(t->text), "%s of upstream %.*s", name, SPAN_FMT(t->up->name));
		return;
	}
	addr_ip_text(&t->addr, ip, sizeof(ip));
	int n = snprintf(t->text, sizeof(t->text), "%s@%s of upstream %.*s", name, ip, SPAN_FMT(t->up->name));
	must(n > 0);
}

static void watch(struct target *t)
{
	uint64_t interval = (uint64_t)t->up->check_interval;
	uint64_t spread = interval < FIRST_WITHIN_MS ? interval : FIRST_WITHIN_MS;

	name_target(t);
	if (is_checked(t) && !t->server->disabled)
		check_in(t, checker_random(t->checker, spread));
}

void target_adopt(struct target *t)
{
	uint64_t word = shm_health_word(t->checker->shm, t->cell);

	OBJ_CHECK(t, TARGET_MAGIC);
	uint32_t kept = atomic_load_explicit(&t->checker->shm->health[t->cell].judge, memory_order_relaxed);

	t->judge = (struct judge){ .up = health_state_of(word) == HEALTH_UP, .good = kept >> 16, .bad = kept & UINT16_MAX };
	t->since_ms = health_since_of(word);
	if (t->server->addr.family == ADDR_NONE && !shm_get_addr(&t->checker->shm->health[t->cell], &t->addr)) {
		t->addr = (struct addr){ .family = ADDR_NONE };
		return;
	}
	/* Down by checks that are no longer made. */
	if (!is_checked(t) && !t->judge.up) {
		t->judge = (struct judge){ .up = true };
		checker_publish(t->checker, t->cell, HEALTH_UP, HEALTH_WHY_CHECK);
	}
	watch(t);
}

void target_come(struct target *t, const struct addr *a, enum health_why why)
{
	OBJ_CHECK(t, TARGET_MAGIC);
	must(t->addr.family == ADDR_NONE);
	t->addr = *a;
	t->addr.port = t->server->port;
	t->judge = (struct judge){ .up = true };
	t->since_ms = t->checker->loop.now_ms;
	shm_put_addr(&t->checker->shm->health[t->cell], &t->addr);
	checker_publish(t->checker, t->cell, HEALTH_UP, why);
	watch(t);
	log_info("Server %s came.", t->text);
}

void target_gone(struct target *t)
{
	OBJ_CHECK(t, TARGET_MAGIC);
	must(t->addr.family != ADDR_NONE);
	timer_stop(&t->checker->loop.wheel, &t->timer);
	probe_stop(&t->probe);
	checker_publish(t->checker, t->cell, HEALTH_UNUSED, HEALTH_WHY_GONE);
	log_info("Server %s is gone from its name.", t->text);
	t->addr = (struct addr){ .family = ADDR_NONE };
}
