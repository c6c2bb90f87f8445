/*
 * look.c - one server as it is shown: its state, since when, and why.
 *
 * Called by the pages. Puts together the checker's word, the workers' ejection
 * mark and the operator's word; the operator's counts first, as it does for
 * requests. Reads only; what another process wrote is compared and copied.
 */
#include <stdio.h>
#include <string.h>

#include "common/obj.h"
#include "common/shm_eject.h"
#include "worker/admin/pages.h"

#define BEAT_FRESH_MS 3000		/* a worker that is well says so twice a second */

static const char *const state_names[] = {
	[LOOK_UP] = "up", [LOOK_DOWN] = "down", [LOOK_PENDING] = "pending", [LOOK_EJECTED] = "ejected",
	[LOOK_DRAINED] = "drained", [LOOK_HELD] = "held down", [LOOK_DISABLED] = "disabled", [LOOK_UNUSED] = "unused",
};

const char *look_state_name(enum look_state s)
{
	must(s < ARRAY_LEN(state_names));
	return state_names[s];
}

static void say_error(struct look *l, const struct shm_health *h)
{
	uint32_t error = atomic_load_explicit(&h->last_error, memory_order_relaxed);

	if ((error & SHM_ERROR_STATUS) != 0)
		snprintf(l->why, sizeof(l->why), "its check was answered with status %u", (unsigned)(error & 0x3ff));
	else if (error != 0 && error < 4096)
		snprintf(l->why, sizeof(l->why), "its check failed: %s", strerror((int)error));
	else
		snprintf(l->why, sizeof(l->why), "its check failed");
}

static void say_down(struct look *l, const struct shm_health *h, enum health_why why)
{
	switch (why) {
	case HEALTH_WHY_UNRESOLVED:
		snprintf(l->why, sizeof(l->why), "its name does not resolve");
		break;
	case HEALTH_WHY_GONE:
		snprintf(l->why, sizeof(l->why), "its name has no such address any more");
		break;
	default:
		say_error(l, h);
		break;
	}
}

static uint64_t held_ms(const struct admin_view *v, const struct look *l)
{
	const uint64_t since_ms = (uint64_t)l->admin.since_s * 1000;

	return l->server->disabled || since_ms == 0 || since_ms > v->now_ms ? UINT64_MAX : v->now_ms - since_ms;
}

static void find_state(struct admin_view *v, struct look *l)
{
	static const enum look_state states[] = { [HEALTH_UNUSED] = LOOK_UNUSED, [HEALTH_PENDING] = LOOK_PENDING,
						  [HEALTH_UP] = LOOK_UP, [HEALTH_DOWN] = LOOK_DOWN };
	const struct shm_health *h = &v->shm->health[l->cell];
	uint64_t word = shm_health_word(v->shm, l->cell), since = health_since_of(word);
	uint64_t mark = atomic_load_explicit(&v->shm->servers[l->cell].eject, memory_order_relaxed);
	struct shm_eject m = shm_eject(mark);
	const int64_t length = l->upstream->fail_timeout;

	l->state = health_state_of(word) <= HEALTH_DOWN ? states[health_state_of(word)] : LOOK_UNUSED;
	l->for_ms = since <= v->now_ms ? v->now_ms - since : 0;
	if (l->state == LOOK_DOWN)
		say_down(l, h, health_why_of(word));
	if (l->state == LOOK_PENDING)
		snprintf(l->why, sizeof(l->why), "its name is being looked up");
	if (l->state == LOOK_UP && shm_ejected(m, word, length, v->now_ms)) {
		uint64_t began = m.level > 0 ? m.stamp - shm_ejection_ms(length, m.level - 1) : v->now_ms;

		l->state = LOOK_EJECTED;
		l->for_ms = began <= v->now_ms ? v->now_ms - began : 0;
		snprintf(l->why, sizeof(l->why), "requests failed there; tried again in %llu s",
			 (unsigned long long)(m.stamp - v->now_ms + 999) / 1000);
	}
	if (l->server->disabled || l->admin.held != HELD_NO) {
		l->state = l->server->disabled ? LOOK_DISABLED : l->admin.held == HELD_DRAIN ? LOOK_DRAINED : LOOK_HELD;
		l->for_ms = held_ms(v, l);
		snprintf(l->why, sizeof(l->why), "%s", l->server->disabled ? "disabled in the configuration" :
			 l->admin.held == HELD_DRAIN ? "by weirctl drain: it gets no new requests" : "by weirctl down");
	}
}

static void find_names(struct admin_view *v, struct look *l)
{
	const bool named = l->server->addr.family == ADDR_NONE;
	struct addr a = l->server->addr;

	l->name = l->server->name;
	if (named && !shm_get_addr(&v->shm->health[l->cell], &a))
		a.family = ADDR_NONE;
	if (named && a.family != ADDR_NONE) {
		char ip[ADDR_TEXT];

		addr_ip_text(&a, ip, sizeof(ip));
		int n = snprintf(l->name_buf, sizeof(l->name_buf), "%.*s@%s", SPAN_FMT(l->server->name), ip);
		l->name = span_make(l->name_buf, n < (int)sizeof(l->name_buf) ? (size_t)n : sizeof(l->name_buf) - 1);
	}
	if (a.family != ADDR_NONE)
		l->address = span_make(l->address_buf, addr_text(&a, l->address_buf, sizeof(l->address_buf)));
	else
		l->address = SPAN("");
}

bool look_at(struct admin_view *v, const struct conf_upstream *u, const struct conf_server *s, unsigned k,
	     struct look *out)
{
	/* The text buffers need no zeroes. */
	out->upstream = u;
	out->server = s;
	out->cell = s->cell + k;
	out->why[0] = '\0';
	must(out->cell < v->shm->ncells);
	out->admin = shm_admin(atomic_load_explicit(&v->shm->servers[out->cell].admin, memory_order_relaxed));
	out->weight = out->admin.has_weight ? out->admin.weight : s->weight;
	out->active = tally_active(&v->tally, out->cell);
	if (health_state_of(shm_health_word(v->shm, out->cell)) == HEALTH_UNUSED && k > 0)
		return false;
	find_state(v, out);
	find_names(v, out);
	return true;
}

bool look_next(struct admin_view *v, struct cursor *c, struct look *out)
{
	const struct conf_upstream *u = v->conf->upstreams[c->i];

	while (c->j < u->nservers) {
		const struct conf_server *s = &u->servers[c->j];
		const unsigned k = c->k;

		if (++c->k >= s->ncells) {
			c->j++;
			c->k = 0;
		}
		if (look_at(v, u, s, k, out))
			return true;
	}
	return false;
}

unsigned look_workers_live(const struct admin_view *v)
{
	unsigned live = 0;

	for (unsigned i = 0; i < v->conf->workers; i++) {
		const struct shm_row *row = shm_row(v->shm, i);
		uint64_t beat = atomic_load_explicit(&row->beat_ms, memory_order_relaxed);

		live += atomic_load(&row->state) == SLOT_LIVE && beat + BEAT_FRESH_MS > v->now_ms;
	}
	return live;
}

unsigned healthz(const struct admin_view *v, const char **why)
{
	/* More than running is the way to an end; see master.h. */
	if (atomic_load(&shm_master(v->shm)->state) > 1) {
		*why = "draining\n";
		return 503;
	}
	if (look_workers_live(v) == 0) {
		*why = "no worker answers\n";
		return 503;
	}
	*why = "ok\n";
	return 200;
}
