/*
 * expiry.c - warns in the log of certificates that end soon or have ended.
 *
 * Called by checker.c at its start, that is after each start and reload of
 * weir, and by its own timer once a day.
 */
#include "common/cert.h"
#include "common/log.h"
#include "common/obj.h"
#include "worker/checker.h"

#define DAY_MS (24 * 3600 * 1000u)

static void tell(const struct cert *c, int64_t now)
{
	int64_t days = cert_days_left(c, now);
	struct span name = cert_name(c);
	char file[256];

	log_esc(file, sizeof(file), span_of(c->file));
	if (c->not_after < now)
		log_error("The certificate of %.*s in %s has expired %lld day%s ago: those who verify it refuse it.",
			  SPAN_FMT(name), file, (long long)-days, days == -1 ? "" : "s");
	else if (c->not_before > now)
		log_warn("The certificate of %.*s in %s is not valid yet: those who verify it refuse it.",
			 SPAN_FMT(name), file);
	else if (days < CERT_EXPIRY_DAYS)
		log_warn("The certificate of %.*s in %s expires in %lld day%s: renew it and reload.", SPAN_FMT(name), file,
			 (long long)days, days == 1 ? "" : "s");
}

static void look(struct expiry *e)
{
	struct loop *l = &e->checker->loop;

	for (const struct cert *c = e->checker->conf->certs; c != NULL; c = c->next)
		tell(c, (int64_t)(l->wall_ms / 1000));
	timer_set(&l->wheel, &e->timer, l->now_ms + DAY_MS);
}

static void on_timer(struct timer *t)
{
	look(container_of(t, struct expiry, timer));
}

void expiry_start(struct expiry *e, struct checker *c)
{
	OBJ_CHECK(c, CHECKER_MAGIC);
	e->checker = c;
	timer_init(&e->timer, on_timer);
	look(e);
}
