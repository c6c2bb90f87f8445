/*
 * count.c - what the end of an exchange adds to the counters.
 *
 * Called once per exchange by exchange.c. Writes this worker's own row alone:
 * some loads and stores on a handful of cache lines, no locked instruction. The
 * index comes from numbers that the configuration gave to routes and servers.
 */
#include "worker/exchange/count.h"

#include "common/obj.h"

/* The route and the server that gave the answer, or was tried last. */
static unsigned series_of(const struct exchange *x)
{
	const struct conf_route *r = x->route;

	if (r == NULL)
		return 0;
	for (unsigned i = 0; x->to != NULL && i < r->ntargets; i++) {
		const struct conf_upstream *u = r->targets[i].upstream;

		if (x->to >= u->servers && x->to < u->servers + u->nservers)
			return r->targets[i].series + (unsigned)(x->to - u->servers);
	}
	return r->series;
}

static unsigned class_of(unsigned status)
{
	return status >= 100 && status < 600 ? status / 100 : 0;
}

void count_exchange(const struct exchange *x)
{
	struct shm *shm = x->env->shm;
	struct shm_row *row = shm_own(shm);
	const unsigned class = class_of(x->status), route = x->route != NULL ? x->route->id : shm->nroutes;
	struct meter_series *s = meter_in(row, meter_series_at(shm, series_of(x)));

	if (class != 0)
		shm_count(shm, (enum stat_id)(STAT_STATUS_1XX + class - 1), 1);
	shm_count_reason(shm, x->reason);
	shm_gauge(shm, STAT_ACTIVE_EXCHANGES, -1);
	meter_add(&s->answers[class], 1);
	meter_add(&s->bytes_in, x->bytes_in);
	meter_add(&s->bytes_out, x->bytes_out);
	/* How long a tunnel was open says nothing about how long anybody waited. */
	if (!x->tunnel)
		meter_observe(meter_in(row, meter_route_at(shm, route)), x->env->loop->now_us - x->t_start_us);
}
