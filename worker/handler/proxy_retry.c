/*
 * proxy_retry.c - what happens when a try failed.
 *
 * A request that may have reached a server is repeated only when it is
 * idempotent (RFC 9110 9.2.2) or the route says so. Every retry goes to
 * another server and is paid from the upstream's budget; only the one for a
 * pooled connection that turned out dead is free, and those for a request that
 * a server gave back untouched (RFC 9113 8.7).
 */
#include "common/obj.h"
#include "worker/handler/proxy.h"

#define BACKOFF_MIN_MS 25
#define BACKOFF_MAX_MS 250
#define RETURNS_MAX 4			/* of one request by servers that did nothing with it */

/* The kind of failure, as retry_on names it; 0: never retried. */
static unsigned retry_kind(enum reason why)
{
	switch (why) {
	case REASON_CONNECT_REFUSED:
	case REASON_CONNECT_TIMEOUT:
	case REASON_SERVER_TLS:
	case REASON_SERVER_NOT_H2:
	case REASON_SERVER_REFUSED:
		return CONF_RETRY_CONNECT;
	case REASON_SERVER_RESET:
		return CONF_RETRY_RESET;
	case REASON_RESPONSE_TIMEOUT:
	case REASON_WRITE_TIMEOUT:
		return CONF_RETRY_TIMEOUT;
	default:
		return 0;
	}
}

static bool may_repeat(const struct proxy *p, bool maybe_arrived)
{
	const struct exchange *x = p->x;

	if (exchange_head_sent(x) || !proxy_body_replayable(p))
		return false;
	return !maybe_arrived || method_idempotent(x->req.method) || (x->route->retry_on & CONF_RETRY_NON_IDEMPOTENT);
}

/* There is another server, and the budget pays for it. */
static bool may_go_elsewhere(struct proxy *p)
{
	return group_has_other(p->group, &p->ask) && group_take_retry(p->group);
}

/* The first try again goes at once; later ones wait a little longer each time, with jitter. */
static void pick_soon(struct proxy *p, unsigned done)
{
	struct loop *l = p->x->env->loop;
	uint64_t ms = BACKOFF_MIN_MS;

	if (done == 0) {
		proxy_pick(p);
		return;
	}
	while (--done && ms < BACKOFF_MAX_MS)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	ms = ms / 2 + (p->x->id * 7 + l->now_us) % (ms / 2 + 1);
	p->timer_for = PROXY_TIMER_RETRY;
	timer_set(&l->wheel, &p->timer, l->now_ms + ms);
}

static void retry_soon(struct proxy *p)
{
	unsigned done = p->x->route->retries - p->retries;

	p->retries--;
	shm_count(p->x->env->shm, STAT_RETRIES, 1);
	pick_soon(p, done);
}

static void forget_tried(struct proxy *p)
{
	for (unsigned i = 0; i < GROUP_TRIED_WORDS; i++)
		p->ask.tried[i] = 0;
	p->ask.ntried = 0;
}

bool proxy_fall_back(struct proxy *p)
{
	const struct conf_route *r = p->x->route;

	if (r->fallback == NULL || p->tried_fallback || !may_repeat(p, false))
		return false;
	p->tried_fallback = true;
	p->conf = r->fallback;
	p->group = groups_find(&p->x->env->groups, p->conf);
	forget_tried(p);
	p->retries = r->retries;
	p->fresh = false;
	group_note_request(p->group);
	proxy_pick(p);
	return true;
}

void proxy_try_failed(struct proxy *p, enum reason why, bool stale, bool maybe_arrived)
{
	const struct conf_route *r = p->x->route;
	unsigned kind = retry_kind(why);

	must(p->up == NULL && p->server == NULL);
	p->failed = why;
	if (stale && !p->free_retry && may_repeat(p, maybe_arrived)) {
		p->free_retry = true;
		p->fresh = true;
		shm_count(p->x->env->shm, STAT_STALE_RETRIES, 1);
		proxy_pick(p);
		return;
	}
	if ((kind & r->retry_on) && p->retries && may_repeat(p, maybe_arrived) && may_go_elsewhere(p)) {
		retry_soon(p);
		return;
	}
	if (kind == CONF_RETRY_CONNECT && proxy_fall_back(p))
		return;
	exchange_fail(p->x, why);
}

/* Another server is better, the same one will do: this one of its connections is used up, or it is short of room for a moment. */
void proxy_returned(struct proxy *p, enum reason why)
{
	if (p->returned == RETURNS_MAX || !may_repeat(p, false)) {
		proxy_try_failed(p, why, false, false);
		return;
	}
	if (!group_has_other(p->group, &p->ask))
		forget_tried(p);
	shm_count(p->x->env->shm, STAT_STALE_RETRIES, 1);
	pick_soon(p, p->returned++);
}

bool proxy_retry_status(struct proxy *p, unsigned status)
{
	const struct conf_route *r = p->x->route;

	if (status >= 640 || !(r->retry_status[status / 64] >> (status % 64) & 1))
		return false;
	if (!p->retries || !may_repeat(p, true) || !may_go_elsewhere(p))
		return false;
	proxy_release(p);
	p->failed = REASON_NONE;
	retry_soon(p);
	return true;
}
