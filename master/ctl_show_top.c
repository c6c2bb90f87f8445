/*
 * ctl_show_top.c - the numbers behind "weirctl top", one thing a line.
 *
 * Called by ctl_server.c for the verb `sample`, which weirctl asks each second.
 * Counters come from the rows; latencies from the decision records of the last
 * seconds, as many as there are. weirctl's half is in ctl_sample.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/ctl_server.h"
#include "master/master.h"
#include "master/version.h"

#define WINDOW_MS 10000
#define STEPS 4				/* buckets in which a time doubles */
#define BUCKETS (32 * STEPS)

struct spread {
	uint32_t n, buckets[BUCKETS];
};
struct latencies {
	struct spread all, *cells;	/* by cell of the crew in force */
};

/* Exponent and the two bits behind the leading one. */
static unsigned bucket_of(uint32_t us)
{
	unsigned exponent = us < STEPS ? 0 : 31 - (unsigned)__builtin_clz(us);

	return us < STEPS ? us : exponent * STEPS + (us >> (exponent - 2) & (STEPS - 1));
}

/* The middle of a bucket. */
static double bucket_us(unsigned i)
{
	unsigned exponent = i / STEPS;

	if (i < STEPS)
		return i;
	return (double)((uint64_t)1 << exponent) * (STEPS + i % STEPS + 0.5) / STEPS;
}

static void count(struct spread *s, uint64_t us)
{
	s->n++;
	s->buckets[bucket_of(us < UINT32_MAX ? (uint32_t)us : UINT32_MAX)]++;
}

static double quantile(const struct spread *s, double share)
{
	double left = share * s->n;

	for (unsigned i = 0; s->n > 0 && i < BUCKETS; i++) {
		left -= s->buckets[i];
		if (left <= 0)
			return bucket_us(i);
	}
	return 0;
}

static void count_record(const struct crew *w, const struct shm_record *r, bool in_force, struct latencies *l)
{
	if (r->flags & RECORD_TUNNEL)
		return;
	count(&l->all, r->total_us);
	for (unsigned i = 0; in_force && l->cells != NULL && i < r->ntries; i++) {
		if ((r->try[i].flags & TRY_ANSWERED) != 0 && r->try[i].cell < w->shm.ncells)
			count(&l->cells[r->try[i].cell], r->try[i].header_us);
	}
}

static void count_records(const struct master *m, struct latencies *l)
{
	uint64_t now_ms = clock_wall_ms();
	struct shm_record r;

	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned slot = 0; w->records.magic == RECORDS_MAGIC && slot < w->records.nslots; slot++) {
			for (unsigned i = 0; i < RECORDS_KEPT; i++) {
				if (records_copy(records_ring(&w->records, slot), i, &r)
				    && r.wall_ms + r.total_us / 1000 + WINDOW_MS > now_ms)
					count_record(w, &r, w == m->crew, l);
			}
		}
	}
}

struct printer {
	FILE *out;
	const struct latencies *l;
};

/* Blanks within a word are sent as the requests of weirctl are. */
static void put_word(FILE *out, const char *word)
{
	for (; *word != '\0'; word++) {
		if (*word == ' ' || *word == '%')
			fputs(*word == ' ' ? "%20" : "%25", out);
		else
			fputc(*word, out);
	}
}

static void print_server(const struct master *m, const struct shown *s, void *arg)
{
	const struct printer *p = arg;
	const struct spread *spread = p->l->cells != NULL ? &p->l->cells[s->cell] : NULL;
	char name[256];

	(void)m;
	snprintf(name, sizeof(name), "%.*s/%s", SPAN_FMT(s->upstream->name), s->name);
	fputs("server ", p->out);
	put_word(p->out, name);
	fputc(' ', p->out);
	put_word(p->out, show_state(s));
	fprintf(p->out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %.0f %.0f\n", s->use.active, s->use.requests, s->use.fails,
		spread != NULL ? quantile(spread, 0.5) : 0, spread != NULL ? quantile(spread, 0.99) : 0);
}

bool show_sample(const struct master *m, const char *upstream, FILE *out)
{
	const struct conf *c = m->crew->conf;
	unsigned restarts, live = show_live_workers(m, &restarts);
	struct latencies l = { .cells = calloc(c->ncells + 1, sizeof(*l.cells)) };
	struct printer p = { .out = out, .l = &l };
	uint64_t queued = 0;

	if (upstream != NULL && ctl_find_upstream(c, span_of(upstream), out) == NULL) {
		free(l.cells);
		return false;
	}
	count_records(m, &l);
	for (unsigned i = 0; i < c->nupstreams; i++)
		queued += crews_queued(m, c->upstreams[i]);
	fprintf(out, "now_ms %" PRIu64 "\nup_ms %" PRIu64 "\nversion %s\ngeneration %u\nlive %u\nworkers %u\n",
		clock_mono_ms(), m->now_ms - m->begun_ms, WEIR_VERSION, m->crew->number, live, c->workers);
	fprintf(out, "queued %" PRIu64 "\np50_us %.0f\n", queued, quantile(&l.all, 0.5));
	fprintf(out, "p99_us %.0f\n", quantile(&l.all, 0.99));
	for (unsigned i = 0; i < STAT__N; i++)
		fprintf(out, "stat %s %" PRIu64 "\n", stat_name((enum stat_id)i), crews_stat(m, (enum stat_id)i));
	for (unsigned i = 0; i < c->nupstreams; i++) {
		if (upstream == NULL || span_eq(c->upstreams[i]->name, span_of(upstream)))
			show_each(m, c->upstreams[i], &p, print_server);
	}
	free(l.cells);
	return true;
}
