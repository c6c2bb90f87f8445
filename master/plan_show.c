/*
 * plan_show.c - a plan as text or JSON.
 *
 * Called by plan.c in the process that makes it. Two configurations and a few
 * numbers go in; what differs comes from conf_diff(), what it means for
 * listeners, connections and servers is worked out here, by the rules of
 * reload.c and shm_carry.c. It changes nothing and asks nobody.
 */
#include "master/plan.h"

#include <inttypes.h>
#include <string.h>

#include "common/cert.h"
#include "common/obj.h"
#include "common/shm.h"

struct show {
	FILE *out;
	const struct conf *from, *to;
	const struct plan_facts *f;
	bool json;
	const char *between;		/* JSON: what stands before the next of a list */
};

/* ---- bits ---- */

static void text_json(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void field(struct show *s, const char *name, const char *value)
{
	fprintf(s->out, ", \"%s\": ", name);
	if (value != NULL)
		text_json(s->out, value);
	else
		fputs("null", s->out);
}

static void begin_list(struct show *s, const char *name)
{
	fprintf(s->out, ",\n  \"%s\": [", name);
	s->between = "\n    ";
}

static void next(struct show *s)
{
	fputs(s->between, s->out);
	s->between = ",\n    ";
}

static void end_list(struct show *s)
{
	fputs("]", s->out);
}

/* ---- what differs ---- */

static const char *const kinds[] = {
	[CONF_ADDED] = "added", [CONF_REMOVED] = "removed", [CONF_CHANGED] = "changed", [CONF_ORDER] = "reordered",
};

static void change_json(struct show *s, const struct conf_change *c)
{
	next(s);
	fprintf(s->out, "{\"what\": \"%s\"", kinds[c->what]);
	field(s, "section", c->section);
	field(s, "key", c->key);
	field(s, "from", c->from);
	field(s, "to", c->to);
	field(s, "from_at", c->from_at);
	field(s, "to_at", c->to_at);
	fprintf(s->out, ", \"outside\": %s}", c->outside ? "true" : "false");
}

/* + and - with one place, ~ with both values and places. */
static void change_text(struct show *s, const struct conf_change *c)
{
	const char *at = c->to_at != NULL ? c->to_at : c->from_at;

	switch (c->what) {
	case CONF_ADDED:
	case CONF_REMOVED:
		fprintf(s->out, "%c %s", c->what == CONF_ADDED ? '+' : '-', c->section);
		if (c->key != NULL)
			fprintf(s->out, " %s = %s", c->key, c->what == CONF_ADDED ? c->to : c->from);
		break;
	case CONF_CHANGED:
		fprintf(s->out, "~ %s %s = %s", c->section, c->key, c->to);
		if (c->outside)
			fputs("  (what it stands for differs)", s->out);
		else
			fprintf(s->out, "  (was %s, %s)", c->from, c->from_at);
		break;
	case CONF_ORDER:
		fprintf(s->out, "~ %s %s %s", c->section, c->key != NULL ? c->key : "stands",
			c->key != NULL ? "in another order" : c->to);
		break;
	}
	fprintf(s->out, "%s%s\n", at != NULL ? "  " : "", at != NULL ? at : "");
}

static void changes(struct show *s)
{
	struct conf_diff d;

	conf_diff(s->to->arena, s->from, s->to, &d);
	if (s->json)
		begin_list(s, "changes");
	else
		fprintf(s->out, "%s: %u difference%s\n", s->to->file, d.n, d.n == 1 ? "" : "s");
	for (unsigned i = 0; i < d.n; i++) {
		if (s->json)
			change_json(s, &d.v[i]);
		else
			change_text(s, &d.v[i]);
	}
	if (s->json)
		end_list(s);
}

/* A file that holds another certificate than before is no difference of the configuration. */
static void certificates(struct show *s)
{
	if (s->json)
		begin_list(s, "renewed_certificates");
	for (const struct cert *c = s->to->certs; c != NULL; c = c->next) {
		const struct cert *old = s->from->certs;

		while (old != NULL && strcmp(old->file, c->file) != 0)
			old = old->next;
		if (old == NULL || memcmp(old->digest, c->digest, sizeof(c->digest)) == 0)
			continue;
		if (s->json) {
			next(s);
			text_json(s->out, c->file);
		} else {
			fprintf(s->out, "~ the file %s holds another certificate\n", c->file);
		}
	}
	if (s->json)
		end_list(s);
}

/* ---- listeners ---- */

static bool has_bind(const struct conf *c, const struct conf_bind *b)
{
	for (unsigned i = 0; i < c->nlistens; i++) {
		for (unsigned k = 0; k < c->listens[i]->nbinds; k++) {
			const struct conf_bind *x = &c->listens[i]->binds[k];

			if (x->v6only == b->v6only && x->addr.family == b->addr.family &&
			    (b->addr.family == ADDR_UNIX ? strcmp(x->addr.path, b->addr.path) == 0 :
			     addr_eq(&x->addr, &b->addr)))
				return true;
		}
	}
	return false;
}

/* Addresses of `in` for which the other configuration has its like, or has not. */
static void binds(struct show *s, const char *name, const char *line, const struct conf *in, const struct conf *other,
		  bool like)
{
	if (s->json)
		begin_list(s, name);
	for (unsigned i = 0; i < in->nlistens; i++) {
		for (unsigned k = 0; k < in->listens[i]->nbinds; k++) {
			const struct conf_bind *b = &in->listens[i]->binds[k];

			if (has_bind(other, b) != like)
				continue;
			if (s->json) {
				next(s);
				text_json(s->out, arena_str(s->to->arena, b->text));
			} else {
				fprintf(s->out, line, SPAN_FMT(b->text));
			}
		}
	}
	if (s->json)
		end_list(s);
}

static void listeners(struct show *s)
{
	binds(s, "addresses_opened", "  %.*s is opened\n", s->to, s->from, false);
	binds(s, "addresses_closed", "  %.*s is closed when those who stand in its queue are served\n", s->from, s->to,
	      false);
	if (s->json)
		binds(s, "addresses_kept", NULL, s->to, s->from, true);
}

/* ---- workers and connections ---- */

static void workers(struct show *s)
{
	const struct plan_facts *f = s->f;
	int64_t limit = s->from->shutdown_timeout;

	if (s->json) {
		fprintf(s->out, ",\n  \"generation\": %u, \"workers\": %u, \"workers_new\": %u, \"connections\": %" PRIu64
			", \"requests\": %" PRIu64 ", \"drain_limit_ms\": %" PRId64 ", \"generation_ended\": %u",
			f->generation, f->workers, s->to->workers, f->connections, f->requests, limit, f->oldest);
		return;
	}
	fprintf(s->out, "  %u workers take the place of %u; generation %u drains its part of %" PRIu64
		" connections with %" PRIu64 " requests", s->to->workers, f->workers, f->generation, f->connections,
		f->requests);
	if (limit > 0)
		fprintf(s->out, ", for up to %" PRId64 " s\n", limit / 1000);
	else
		fputs(", without a limit\n", s->out);
	if (f->oldest != 0)
		fprintf(s->out, "  generation %u, which drains still, is ended first: two old ones are the most\n", f->oldest);
}

/* ---- servers ---- */

struct server {
	const struct conf_upstream *u;
	const struct conf_server *s;
	int old;			/* its first cell in the configuration in force; -1: new */
};

static uint64_t active(const struct show *s, int cell, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; cell >= 0 && i < n; i++)
		sum += s->f->active[(unsigned)cell + i];
	return sum;
}

static void server_json(struct show *s, const struct server *v)
{
	next(s);
	fprintf(s->out, "{\"upstream\": ");
	text_json(s->out, arena_str(s->to->arena, v->u->name));
	field(s, "server", arena_str(s->to->arena, v->s->name));
	fprintf(s->out, ", \"requests\": %" PRIu64 "}", active(s, v->old, v->s->ncells));
}

/* Those of `in` that the other one has, or has not. */
static unsigned servers_of(struct show *s, const struct conf *in, const struct conf *other, bool like, const char *line)
{
	unsigned n = 0;

	for (unsigned i = 0; i < in->nupstreams; i++) {
		for (unsigned k = 0; k < in->upstreams[i]->nservers; k++) {
			struct server v = { in->upstreams[i], &in->upstreams[i]->servers[k], -1 };
			int cell = shm_find_cell(other, v.u, v.s);

			if ((cell >= 0) != like)
				continue;
			n++;
			v.old = in == s->from ? (int)v.s->cell : cell;
			if (s->json)
				server_json(s, &v);
			else if (line != NULL)
				fprintf(s->out, line, SPAN_FMT(v.u->name), SPAN_FMT(v.s->name), active(s, v.old, v.s->ncells));
		}
	}
	return n;
}

static unsigned kept_down(const struct show *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->to->nupstreams; i++) {
		for (unsigned k = 0; k < s->to->upstreams[i]->nservers; k++) {
			int cell = shm_find_cell(s->from, s->to->upstreams[i], &s->to->upstreams[i]->servers[k]);

			n += cell >= 0 && s->f->down[cell];
		}
	}
	return n;
}

static void servers(struct show *s)
{
	if (s->json) {
		begin_list(s, "servers_new");
		servers_of(s, s->to, s->from, false, NULL);
		end_list(s);
		begin_list(s, "servers_gone");
		servers_of(s, s->from, s->to, false, NULL);
		end_list(s);
		begin_list(s, "servers_kept");
		servers_of(s, s->to, s->from, true, NULL);
		end_list(s);
		return;
	}
	servers_of(s, s->to, s->from, false, "  %.*s/%.*s is new and begins without a history\n");
	servers_of(s, s->from, s->to, false,
		   "  %.*s/%.*s gets no new requests; %" PRIu64 " under way there end in the old generation\n");
	fprintf(s->out, "  servers that keep their health and counts: %u, of them down: %u\n",
		servers_of(s, s->to, s->from, true, NULL), kept_down(s));
}

void plan_show(FILE *out, const struct conf *from, const struct conf *to, const struct plan_facts *f, bool json)
{
	struct show s = { .out = out, .from = from, .to = to, .f = f, .json = json };

	if (json) {
		fputs("{\n  \"configuration\": ", out);
		text_json(out, to->path);
	}
	changes(&s);
	certificates(&s);
	if (!json)
		fputs("A reload would do this:\n", out);
	listeners(&s);
	workers(&s);
	servers(&s);
	fputs(json ? "\n}\n" : "Nothing was done.\n", out);
}
