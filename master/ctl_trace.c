/*
 * ctl_trace.c - "weirctl trace": the next requests in full, as they end.
 *
 * Called by ctl_server.c for the one client that may trace at a time. Orders go
 * to the workers through shared memory, traces come back through a ring of each
 * worker that is looked at every CTL_JOB_MS. A ring that is full loses what
 * comes, with a count; no worker ever waits. When the client goes, so does the
 * order.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/ctl_server.h"
#include "master/ctl_tell.h"
#include "master/master.h"

#define TRACE_MOST 10000
#define TRACE_WAIT_MS 60000
#define AT_ONCE 256			/* traces taken in one turn of the loop */
#define TRACE_WISHES "client=NET, route=NAME, header='Name: value'"

struct tracer {
	uint32_t gen;
	uint64_t wanted, unread;	/* unread: the client did not keep up */
};

/* Also to generations that came into being since. */
static void give_orders(struct master *m, const struct ctl_client *c)
{
	const struct tracer *t = c->job_state;
	struct shm_filter f;

	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (!crew_takes_orders(w) || atomic_load(&w->records.orders->trace_gen) == t->gen)
			continue;
		ctl_filter(w->conf, &c->request, TRACE_WISHES, &f, NULL);
		traces_order(&w->records, t->gen, (uint32_t)t->wanted, &f);
	}
}

static uint64_t lost_in_rings(const struct master *m, uint32_t gen)
{
	uint64_t lost = 0;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; crew_takes_orders(w) && i < w->records.nslots; i++) {
			uint64_t word = atomic_load(&records_area(&w->records, i)->traces_lost);

			lost += word >> 32 == gen ? word & UINT32_MAX : 0;
		}
	}
	return lost;
}

static void tell(struct ctl_client *c, const struct crew *w, unsigned slot, const struct shm_trace *t)
{
	struct tracer *tracer = c->job_state;
	struct tale tale = { .crew = w, .slot = slot, .rec = &t->record, .tries = t->try, .ntries = t->ntries,
			     .others = t->others, .nothers = t->nothers, .target = span_make(t->target, t->target_len),
			     .host = span_make(t->host, t->host_len) };
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return;
	if (c->request.option)
		tell_json(out, &tale);
	else
		tell_text(out, &tale);
	fputc('\n', out);
	fclose(out);
	if (text == NULL || !ctl_stream(c, text, size))
		tracer->unread++;
	free(text);
}

/* Whose trace waits longest. NULL: none waits. */
static struct crew *oldest(struct master *m, unsigned *slot)
{
	struct crew *found = NULL;
	uint64_t first = UINT64_MAX;

	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; crew_takes_orders(w) && i < w->records.nslots; i++) {
			uint64_t end_us = traces_head(&w->records, i);

			if (end_us >= first)
				continue;
			first = end_us;
			found = w;
			*slot = i;
		}
	}
	return found;
}

static void take_traces(struct master *m, struct ctl_client *c)
{
	const struct tracer *tracer = c->job_state;
	struct shm_trace t;
	struct crew *w;
	unsigned slot;

	/* Not until there is none: workers that write on and on must not keep us. */
	for (unsigned i = 0; i < AT_ONCE && c->job_count < tracer->wanted; i++) {
		if ((w = oldest(m, &slot)) == NULL || !traces_take(&w->records, slot, &t))
			break;
		if (t.gen != tracer->gen)
			continue;
		c->job_count++;
		tell(c, w, slot, &t);
	}
}

static void finish(struct master *m, struct ctl_client *c, enum ctl_status status)
{
	const struct tracer *t = c->job_state;
	uint64_t lost = lost_in_rings(m, t->gen) + t->unread;
	char text[128];

	if (c->request.option)
		snprintf(text, sizeof(text), "{\"traced\": %" PRIu64 ", \"wanted\": %" PRIu64 ", \"lost\": %" PRIu64 "}\n",
			 c->job_count, t->wanted, lost);
	else
		snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64 " requests traced, %" PRIu64 " more lost\n",
			 c->job_count, t->wanted, lost);
	ctl_stream(c, text, strlen(text));
	ctl_stream_end(m, c, status);
}

static void trace_tend(struct master *m, struct ctl_client *c)
{
	const struct tracer *t = c->job_state;

	give_orders(m, c);
	take_traces(m, c);
	if (c->job_count >= t->wanted)
		finish(m, c, CTL_OK);
	else if (m->now_ms >= c->due_ms)
		finish(m, c, CTL_TIMED_OUT);
}

static void trace_on_eof(struct master *m, struct ctl_client *c)
{
	take_traces(m, c);
	finish(m, c, CTL_OK);
}

static void trace_stop(struct master *m, struct ctl_client *c)
{
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (crew_takes_orders(w))
			traces_order(&w->records, 0, 0, NULL);
	}
	m->tracing = false;
	free(c->job_state);
	c->job_state = NULL;
}

static const struct ctl_job trace_job = { .tend = trace_tend, .on_eof = trace_on_eof, .stop = trace_stop };

/* The number among the words; 1 without one. */
static bool read_count(const struct ctl_request *r, uint64_t *wanted, FILE *out)
{
	*wanted = 1;
	for (unsigned i = 0; i < r->nwords; i++) {
		if (r->words[i][0] < '0' || r->words[i][0] > '9')
			continue;
		if (span_u64(span_of(r->words[i]), wanted) && *wanted > 0 && *wanted <= TRACE_MOST)
			continue;
		fprintf(out, "trace takes a number of requests from 1 to %u\n", TRACE_MOST);
		return false;
	}
	return true;
}

bool trace_act(struct master *m, struct ctl_client *c, FILE *out, enum ctl_status *status)
{
	const char *wait = ctl_value(&c->request, "--wait");
	uint64_t wait_ms = TRACE_WAIT_MS, wanted;
	struct shm_filter f;

	*status = CTL_USAGE;
	if (wait != NULL && !ctl_duration(wait, &wait_ms)) {
		fprintf(out, "--wait takes a time such as 30s or 5m, a week at most\n");
		return true;
	}
	if (!read_count(&c->request, &wanted, out) || !ctl_filter(m->crew->conf, &c->request, TRACE_WISHES, &f, out))
		return true;
	*status = CTL_FAILED;
	struct tracer *t = m->tracing ? NULL : calloc(1, sizeof(*t));
	if (t == NULL) {
		fprintf(out, m->tracing ? "another weirctl traces already\n" : "there is no memory for it\n");
		return true;
	}
	m->orders += m->orders + 1 == 0 ? 2 : 1;
	*t = (struct tracer){ .gen = m->orders, .wanted = wanted };
	m->tracing = true;
	c->job_state = t;
	c->job_count = 0;
	log_notice("weirctl asks to trace %" PRIu64 " requests", wanted);
	ctl_job_start(m, c, &trace_job, wait_ms);
	give_orders(m, c);
	/* Tells weirctl that it has begun. */
	ctl_stream(c, "", 0);
	return false;
}
