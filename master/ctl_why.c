/*
 * ctl_why.c - "weirctl why": what became of a request.
 *
 * Looks through the rings of decision records of all workers and generations.
 * Called by ctl_server.c. A look is a few thousand copies of half a kilobyte at
 * the most for each worker, and nothing is asked of any worker for it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/obj.h"
#include "master/ctl_server.h"
#include "master/ctl_tell.h"
#include "master/master.h"

#define LAST_MAX 1000
#define LAST_DEFAULT 20
#define PREFIX_MIN 4			/* of an id that is not given whole */
#define SAME_MAX 8			/* requests with one id that are told */

/* What is asked for. */
struct look {
	struct span id;			/* empty: any */
	bool prefix;			/* it is only the beginning */
	unsigned status, status_class;	/* 0: any */
	const char *route;		/* NULL: any */
};

/* One that was found. */
struct hit {
	uint64_t end_ms;
	const struct crew *crew;
	unsigned slot, index;
};
struct hits {
	struct hit *v;
	size_t n, room;
	bool failed;			/* no memory for more */
	uint64_t seen;			/* records looked at */
	uint64_t whole_ms;		/* all that ended after it are there */
	bool wrapped;			/* older ones were there once */
};

static bool id_matches(const struct look *l, const struct shm_record *r)
{
	struct span kept = span_make(r->id, r->id_len);

	if (l->id.n == 0)
		return true;
	if (l->prefix)
		return span_starts(kept, l->id);
	if (l->id.n <= RECORD_ID)
		return r->id_hash == 0 && span_eq(kept, l->id);
	return r->id_hash == span_hash(l->id, 0) && span_starts(l->id, kept);
}

static bool matches(const struct look *l, const struct crew *w, const struct shm_record *r)
{
	char route[128];

	if (!id_matches(l, r) || (l->status != 0 && r->status != l->status))
		return false;
	if (l->status_class != 0 && r->status / 100u != l->status_class)
		return false;
	return l->route == NULL || strcmp(tell_route(route, sizeof(route), w->conf, r->route), l->route) == 0;
}

static void add_hit(struct hits *h, struct hit hit)
{
	if (h->n == h->room) {
		size_t room = h->room > 0 ? 2 * h->room : 64;
		struct hit *v = realloc(h->v, room * sizeof(*v));

		if (v == NULL) {
			h->failed = true;
			return;
		}
		h->v = v;
		h->room = room;
	}
	h->v[h->n++] = hit;
}

static void look_in_ring(const struct look *l, const struct crew *w, unsigned slot, struct hits *h)
{
	const struct shm_record *ring = records_ring(&w->records, slot);
	uint64_t oldest = UINT64_MAX;
	struct shm_record r;

	for (unsigned i = 0; i < RECORDS_KEPT; i++) {
		if (!records_copy(ring, i, &r))
			continue;
		uint64_t end_ms = r.wall_ms + r.total_us / 1000;
		h->seen++;
		oldest = end_ms < oldest ? end_ms : oldest;
		if (matches(l, w, &r))
			add_hit(h, (struct hit){ .end_ms = end_ms, .crew = w, .slot = slot, .index = i });
	}
	if (atomic_load(&records_area(&w->records, slot)->records) <= RECORDS_KEPT || oldest == UINT64_MAX)
		return;
	h->wrapped = true;
	h->whole_ms = oldest > h->whole_ms ? oldest : h->whole_ms;
}

static int newest_first(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return x->end_ms < y->end_ms ? 1 : x->end_ms > y->end_ms ? -1 : 0;
}

static void look_everywhere(const struct master *m, const struct look *l, struct hits *h)
{
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned slot = 0; w->records.magic == RECORDS_MAGIC && slot < w->records.nslots; slot++)
			look_in_ring(l, w, slot, h);
	}
	if (h->n > 0)
		qsort(h->v, h->n, sizeof(*h->v), newest_first);
}

static struct tale tale_of(const struct hit *h, const struct shm_record *r)
{
	return (struct tale){ .crew = h->crew, .slot = h->slot, .rec = r, .tries = r->try, .ntries = r->ntries };
}

/* It may have been overwritten since it was found. */
static bool again(const struct look *l, const struct hit *h, struct shm_record *r)
{
	return records_copy(records_ring(&h->crew->records, h->slot), h->index, r) && matches(l, h->crew, r);
}

static enum ctl_status tell_unknown(const struct hits *h, const char *id, FILE *out)
{
	char safe[160], age[32];
	uint64_t now_ms = clock_wall_ms();

	fprintf(out, "request \"%s\" is not on record, or still under way: ", log_esc(safe, sizeof(safe), span_of(id)));
	if (h->wrapped)
		fprintf(out, "%" PRIu64 " requests are, and all that ended in the last %s\n", h->seen,
			ctl_age(age, sizeof(age), now_ms > h->whole_ms ? now_ms - h->whole_ms : 0));
	else
		fprintf(out, "%" PRIu64 " requests are, all that the running generations have ended\n", h->seen);
	return CTL_NOT_FOUND;
}

static enum ctl_status tell_one(const struct master *m, const char *id, bool json, FILE *out)
{
	struct look l = { .id = span_of(id) };
	struct hits h = { .n = 0 };
	struct shm_record r;
	unsigned told = 0;

	look_everywhere(m, &l, &h);
	l.prefix = h.n == 0 && l.id.n >= PREFIX_MIN;
	if (l.prefix) {
		h = (struct hits){ .v = h.v, .room = h.room };
		look_everywhere(m, &l, &h);
	}
	for (size_t i = 0; i < h.n && told < (json ? 1 : SAME_MAX); i++) {
		if (!again(&l, &h.v[i], &r))
			continue;
		struct tale t = tale_of(&h.v[i], &r);
		if (json)
			tell_json(out, &t);
		else
			tell_text(out, &t);
		if (json)
			fputc('\n', out);
		told++;
	}
	enum ctl_status status = told > 0 ? CTL_OK : tell_unknown(&h, id, out);
	free(h.v);
	return status;
}

static void tell_last(const struct master *m, const struct look *l, unsigned last, bool json, FILE *out)
{
	struct hits h = { .n = 0 };
	struct shm_record r;
	unsigned told = 0;

	look_everywhere(m, l, &h);
	if (json)
		fputc('[', out);
	else
		tell_line_head(out);
	for (size_t i = 0; i < h.n && told < last; i++) {
		if (!again(l, &h.v[i], &r))
			continue;
		struct tale t = tale_of(&h.v[i], &r);
		if (json)
			fputs(told > 0 ? ",\n " : "\n ", out);
		if (json)
			tell_json(out, &t);
		else
			tell_line(out, &t);
		told++;
	}
	fputs(json ? told > 0 ? "\n]\n" : "]\n" : "", out);
	free(h.v);
}

/* "503" or "5xx". */
static bool read_status(const char *text, struct look *l)
{
	uint64_t n;

	if (strlen(text) != 3 || text[0] < '1' || text[0] > '9')
		return false;
	if (strcmp(text + 1, "xx") == 0) {
		l->status_class = (unsigned)(text[0] - '0');
		return true;
	}
	l->status = span_u64(span_of(text), &n) ? (unsigned)n : 0;
	return l->status != 0;
}

enum ctl_status why_show(const struct master *m, const struct ctl_request *r, FILE *out)
{
	const char *last = ctl_value(r, "--last"), *status = ctl_value(r, "--status");
	struct look l = { .route = ctl_value(r, "--route") };
	uint64_t n = LAST_DEFAULT;

	if (r->nwords > 0 && (last != NULL || status != NULL || l.route != NULL)) {
		fprintf(out, "a request id goes alone; --last, --status and --route list requests\n");
		return CTL_USAGE;
	}
	if (r->nwords > 0)
		return tell_one(m, r->words[0], r->option, out);
	if (last != NULL && (!span_u64(span_of(last), &n) || n == 0 || n > LAST_MAX)) {
		fprintf(out, "--last takes a number from 1 to %u\n", LAST_MAX);
		return CTL_USAGE;
	}
	if (status != NULL && !read_status(status, &l)) {
		fprintf(out, "--status takes a status such as 503, or a class such as 5xx\n");
		return CTL_USAGE;
	}
	if (l.route != NULL && ctl_find_route(m->crew->conf, l.route, out) == NULL)
		return CTL_FAILED;
	tell_last(m, &l, (unsigned)n, r->option, out);
	return CTL_OK;
}
