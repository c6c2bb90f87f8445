/*
 * names.c - the host names among the servers: when they are looked up, and
 * what the answers make of their cells.
 *
 * Called by checker.c and by the resolver's answers. A name that once had
 * addresses keeps the last good ones whatever goes wrong with it later.
 */
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/checker.h"

#define RETRY_MS 1000			/* after the first failure; doubles */

static const char *text_of(const struct name *n, char *out, size_t size)
{
	return log_esc(out, size, n->server->host);
}

static void on_timer(struct timer *t)
{
	struct name *n = container_of(t, struct name, timer);

	OBJ_CHECK(n, NAME_MAGIC);
	if (!n->query.asked)
		resolver_ask(&n->checker->resolver, &n->query, n->server->host, name_on_answer);
}

void name_init(struct name *n, struct checker *c, const struct conf_upstream *u, const struct conf_server *s,
	       struct target *targets)
{
	*n = (struct name){ .magic = NAME_MAGIC, .checker = c, .up = u, .server = s, .targets = targets,
			    .ntargets = s->ncells, .said = RESOLVE_OK };
	timer_init(&n->timer, on_timer);
}

void name_start(struct name *n)
{
	OBJ_CHECK(n, NAME_MAGIC);
	for (unsigned i = 0; i < n->ntargets; i++) {
		struct target *t = &n->targets[i];
		uint64_t word = shm_health_word(n->checker->shm, t->cell);
		enum health_state st = health_state_of(word);

		if ((st != HEALTH_UP && st != HEALTH_DOWN) || health_why_of(word) == HEALTH_WHY_UNRESOLVED)
			continue;
		target_adopt(t);
		n->known = n->known || t->addr.family != ADDR_NONE;
		/* Our predecessor died while it wrote the address. */
		if (t->addr.family == ADDR_NONE)
			checker_publish(n->checker, t->cell, HEALTH_UNUSED, HEALTH_WHY_GONE);
	}
	resolver_ask(&n->checker->resolver, &n->query, n->server->host, name_on_answer);
}

/* ---- answers to cells ---- */

static struct target *spare_target(struct name *n)
{
	for (unsigned i = 0; i < n->ntargets; i++) {
		if (n->targets[i].addr.family == ADDR_NONE)
			return &n->targets[i];
	}
	return NULL;
}

static bool holds(const struct addr *v, unsigned count, const struct addr *a)
{
	for (unsigned i = 0; i < count; i++) {
		if (addr_eq_ip(&v[i], a))
			return true;
	}
	return false;
}

static bool has_target(const struct name *n, const struct addr *a)
{
	for (unsigned i = 0; i < n->ntargets; i++) {
		if (n->targets[i].addr.family != ADDR_NONE && addr_eq_ip(&n->targets[i].addr, a))
			return true;
	}
	return false;
}

/* Gives new addresses cells as long as there are any; returns how many got none. */
static unsigned come(struct name *n, const struct addr *v, unsigned count, enum health_why why)
{
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++) {
		if (has_target(n, &v[i]))
			continue;
		struct target *t = spare_target(n);
		if (t != NULL)
			target_come(t, &v[i], why);
		else
			left++;
	}
	return left;
}

/* New ones come before old ones go, so that there is no instant without a server. */
void name_apply(struct name *n, const struct addr *v, unsigned count)
{
	/* The first ones were never away; all later ones may be warmed up. */
	enum health_why why = n->known ? HEALTH_WHY_GONE : HEALTH_WHY_NONE;

	OBJ_CHECK(n, NAME_MAGIC);
	unsigned left = come(n, v, count, why);
	for (unsigned i = 0; i < n->ntargets; i++) {
		struct target *t = &n->targets[i];

		if (t->addr.family != ADDR_NONE && !holds(v, count, &t->addr))
			target_gone(t);
	}
	if (left > 0)
		left = come(n, v, count, why);
	n->known = true;
	if (left > 0 && n->said_too_many != count) {
		char host[128];

		log_warn("Host name %s of upstream %.*s has %u addresses, of which %u are used.",
			 text_of(n, host, sizeof(host)), SPAN_FMT(n->up->name), count, n->ntargets);
	}
	n->said_too_many = left > 0 ? count : 0;
}

/* ---- what went wrong ---- */

/* Doubles up to the bound; a name that never had an address is waited for more eagerly. */
static uint64_t retry_ms(const struct name *n)
{
	uint64_t most = (uint64_t)(n->known ? n->up->resolve_max : n->up->resolve_min);
	uint64_t ms = n->failures < 16 ? (uint64_t)RETRY_MS << (n->failures - 1) : most;

	if (most < RETRY_MS)
		most = RETRY_MS;
	return ms < most ? ms : most;
}

/* Once per kind of trouble, until it is over. */
static void complain(struct name *n, enum resolve_rc rc, const char *text)
{
	char host[128];

	if (n->said == rc)
		return;
	n->said = rc;
	log_warn("Host name %s of upstream %.*s cannot be resolved: %s. %s.", text_of(n, host, sizeof(host)),
		 SPAN_FMT(n->up->name), text,
		 n->known ? "Its last addresses stay in use" : "It has no servers until that works");
}

static void fail(struct name *n, enum resolve_rc rc, const char *text)
{
	struct target *first = &n->targets[0];

	n->failures++;
	complain(n, rc, text);
	if (n->known)
		return;
	uint64_t word = shm_health_word(n->checker->shm, first->cell);
	if (health_state_of(word) != HEALTH_DOWN)
		checker_publish(n->checker, first->cell, HEALTH_DOWN, HEALTH_WHY_UNRESOLVED);
}

static void succeed(struct name *n, const struct answer *a)
{
	char host[128];

	if (n->said != RESOLVE_OK)
		log_notice("Host name %s of upstream %.*s is resolved again.", text_of(n, host, sizeof(host)),
			   SPAN_FMT(n->up->name));
	n->said = RESOLVE_OK;
	n->failures = 0;
	name_apply(n, a->addrs, a->n);
}

static uint64_t refresh_ms(const struct name *n, uint32_t ttl_s)
{
	uint64_t ms = (uint64_t)ttl_s * 1000, least = (uint64_t)n->up->resolve_min, most = (uint64_t)n->up->resolve_max;

	return ms < least ? least : ms > most ? most : ms;
}

void name_on_answer(struct query *q, enum resolve_rc rc, const struct answer *a)
{
	struct name *n = container_of(q, struct name, query);
	struct loop *l = &n->checker->loop;

	OBJ_CHECK(n, NAME_MAGIC);
	if (rc == RESOLVE_OK)
		succeed(n, a);
	else
		fail(n, rc, a->text);
	timer_set(&l->wheel, &n->timer, l->now_ms + (rc == RESOLVE_OK ? refresh_ms(n, a->ttl_s) : retry_ms(n)));
}
