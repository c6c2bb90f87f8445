/*
 * ctl_tell.c - one request as it is told to people and scripts.
 *
 * Called for "weirctl why" and "weirctl trace". Numbers that a worker wrote are
 * looked for among the ids of its generation's configuration and never used as
 * an index; text that came from a client is escaped.
 */
#include "master/ctl_tell.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/obj.h"
#include "master/ctl_server.h"

/* ---- names of numbers ---- */

const char *tell_server(char *out, size_t size, const struct conf *c, unsigned cell)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		const struct conf_upstream *u = c->upstreams[i];

		for (unsigned j = 0; j < u->nservers; j++) {
			const struct conf_server *s = &u->servers[j];

			if (cell < s->cell || cell >= s->cell + s->ncells)
				continue;
			if (s->ncells > 1)
				snprintf(out, size, "%.*s/%.*s#%u", SPAN_FMT(u->name), SPAN_FMT(s->name), cell - s->cell + 1);
			else
				snprintf(out, size, "%.*s/%.*s", SPAN_FMT(u->name), SPAN_FMT(s->name));
			return out;
		}
	}
	snprintf(out, size, "-");
	return out;
}

const char *tell_route(char *out, size_t size, const struct conf *c, unsigned id)
{
	snprintf(out, size, "-");
	for (unsigned i = 0; i < c->nroutes; i++) {
		if (c->routes[i]->id == id)
			snprintf(out, size, "%.*s", SPAN_FMT(c->routes[i]->name));
	}
	return out;
}

const char *tell_listen(char *out, size_t size, const struct conf *c, unsigned id)
{
	snprintf(out, size, "-");
	for (unsigned i = 0; i < c->nlistens; i++) {
		if (c->listens[i]->id == id)
			snprintf(out, size, "%.*s", SPAN_FMT(c->listens[i]->name));
	}
	return out;
}

const char *tell_upstream(char *out, size_t size, const struct conf *c, unsigned id)
{
	snprintf(out, size, "-");
	for (unsigned i = 0; i < c->nupstreams; i++) {
		if (c->upstreams[i]->id == id)
			snprintf(out, size, "%.*s", SPAN_FMT(c->upstreams[i]->name));
	}
	return out;
}

const char *tell_client(char *out, size_t size, unsigned family, const uint8_t ip[16], unsigned port)
{
	struct addr a = { .family = (uint8_t)family, .port = (uint16_t)port };
	char text[ADDR_TEXT];

	if (family == ADDR_V4 || family == ADDR_V6)
		memcpy(a.v6, ip, sizeof(a.v6));
	else
		a.port = 0;
	if (a.port != 0)
		addr_text(&a, text, sizeof(text));
	else
		addr_ip_text(&a, text, sizeof(text));
	snprintf(out, size, "%s", text[0] != '\0' ? text : "-");
	return out;
}

const char *tell_us(char *out, size_t size, uint64_t us)
{
	if (us < 10000000)
		snprintf(out, size, "%.*f ms", us < 100000 ? 2 : 1, (double)us / 1000);
	else
		snprintf(out, size, "%.1f s", (double)us / 1000000);
	return out;
}

void tell_bytes(FILE *out, struct span s)
{
	fputc('"', out);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static const char *time_text(char *out, size_t size, uint64_t wall_ms)
{
	time_t sec = (time_t)(wall_ms / 1000);
	struct tm tm;

	if (localtime_r(&sec, &tm) == NULL || strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(out, size, "?");
	size_t n = strlen(out);
	snprintf(out + n, size - n, ".%03u", (unsigned)(wall_ms % 1000));
	return out;
}

static const char *closed_text(unsigned closed)
{
	switch (closed) {
	case CLOSED_CLIENT:
		return "client";
	case CLOSED_SERVER:
		return "server";
	case CLOSED_WEIR:
		return "weir";
	default:
		return "nobody";
	}
}

/* Method and path of a request line, without what may be secret behind a question mark. */
static struct span request_of(const struct shm_record *r)
{
	struct span line = span_make(r->text, r->text_len), rest = line;
	struct span method = span_cut(&rest, ' ');
	size_t n = 0;

	while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != '?')
		n++;
	return n > 0 ? span_make(line.p, method.n + 1 + n) : line;
}

static const char *protocol_text(const struct shm_record *r)
{
	return r->flags & RECORD_STREAM ? "h2" : "h1";
}

/* ---- servers that were passed over ---- */

struct other_walk {
	const struct shm_other *next;
	unsigned left, try;
	bool any_try;			/* each try holds its own */
};

static struct other_walk others_of(const struct tale *t, unsigned try)
{
	if (t->others == NULL)
		return (struct other_walk){ .next = t->tries[try].others, .left = t->tries[try].nothers, .any_try = true };
	return (struct other_walk){ .next = t->others, .left = t->nothers, .try = try };
}

static const struct shm_other *next_other(struct other_walk *w)
{
	while (w->left > 0) {
		const struct shm_other *o = w->next++;

		w->left--;
		if (w->any_try || o->try == w->try)
			return o;
	}
	return NULL;
}

static void other_text(FILE *out, const struct tale *t, unsigned try)
{
	struct other_walk w = others_of(t, try);
	const struct shm_other *o;
	unsigned told = 0;
	char name[160];

	while ((o = next_other(&w)) != NULL) {
		fprintf(out, "%s%s (%s", told++ == 0 ? "             passed over: " : ", ",
			tell_server(name, sizeof(name), t->crew->conf, o->cell), pass_why_text((enum pass_why)o->why));
		if (o->load != RECORD_LOAD_UNKNOWN)
			fprintf(out, o->why == PASS_FULL ? " at %u" : ", load %u", o->load);
		fputc(')', out);
	}
	if (told > 0 && t->tries[try].passed > told)
		fprintf(out, " and %u more", t->tries[try].passed - told);
	if (told > 0)
		fputc('\n', out);
}

static void other_json(FILE *out, const struct tale *t, unsigned try)
{
	struct other_walk w = others_of(t, try);
	const struct shm_other *o;
	const char *between = "";
	char name[160];

	fprintf(out, ", \"passed_over\": %u, \"others\": [", t->tries[try].passed);
	while ((o = next_other(&w)) != NULL) {
		fprintf(out, "%s{\"server\": ", between);
		ctl_json(out, span_of(tell_server(name, sizeof(name), t->crew->conf, o->cell)));
		fprintf(out, ", \"why\": \"%s\"", pass_why_text((enum pass_why)o->why));
		if (o->load != RECORD_LOAD_UNKNOWN)
			fprintf(out, ", \"load\": %u", o->load);
		fputc('}', out);
		between = ", ";
	}
	fputc(']', out);
}

/* ---- tries ---- */

static void try_text(FILE *out, const struct tale *t, unsigned i)
{
	const struct shm_try *y = &t->tries[i];
	/* In between some may be missing: the last one kept is the last there was. */
	unsigned number = i + 1 == t->ntries && t->rec->tries > t->ntries ? t->rec->tries : i + 1;
	char name[160], us[32];

	fprintf(out, "  try %-2u     at %s: ", number, tell_us(us, sizeof(us), y->begin_us));
	if (y->cell == RECORD_NONE) {
		fprintf(out, "no server of upstream %s: %s\n",
			tell_upstream(name, sizeof(name), t->crew->conf, y->upstream), reason_prose((enum reason)y->result));
		other_text(out, t, i);
		return;
	}
	fprintf(out, "%s", tell_server(name, sizeof(name), t->crew->conf, y->cell));
	if (y->load != RECORD_LOAD_UNKNOWN)
		fprintf(out, ", load %u", y->load);
	fprintf(out, "%s%s", y->flags & TRY_FALLBACK ? ", fallback" : "",
		y->flags & TRY_REUSED ? ", pooled connection" : "");
	if (y->connect_us > 0)
		fprintf(out, ", connected in %s", tell_us(us, sizeof(us), y->connect_us));
	if (y->flags & TRY_ANSWERED)
		fprintf(out, ", %u after %s", y->status, tell_us(us, sizeof(us), y->header_us));
	if (y->result != REASON_NONE)
		fprintf(out, ", %s%s after %s", reason_token((enum reason)y->result), y->flags & TRY_STALE ? " (stale)" : "",
			tell_us(us, sizeof(us), y->took_us));
	if (y->result == REASON_NONE && !(y->flags & TRY_ANSWERED))
		fputs(", given up", out);
	fputc('\n', out);
	other_text(out, t, i);
}

static void try_json(FILE *out, const struct tale *t, unsigned i)
{
	const struct shm_try *y = &t->tries[i];
	char name[160];

	fprintf(out, "%s{\"server\": ", i > 0 ? ", " : "");
	if (y->cell == RECORD_NONE)
		fputs("null", out);
	else
		ctl_json(out, span_of(tell_server(name, sizeof(name), t->crew->conf, y->cell)));
	fputs(", \"upstream\": ", out);
	ctl_json(out, span_of(tell_upstream(name, sizeof(name), t->crew->conf, y->upstream)));
	if (y->load != RECORD_LOAD_UNKNOWN)
		fprintf(out, ", \"load\": %u", y->load);
	fprintf(out, ", \"begin_us\": %u, \"status\": %u, \"result\": \"%s\", \"reused\": %s, \"stale\": %s, "
		"\"fallback\": %s, \"connect_us\": %u, \"header_us\": %u, \"took_us\": %u", y->begin_us, y->status,
		y->result ? reason_token((enum reason)y->result) : y->flags & TRY_ANSWERED ? "answered" : "given_up",
		y->flags & TRY_REUSED ? "true" : "false", y->flags & TRY_STALE ? "true" : "false",
		y->flags & TRY_FALLBACK ? "true" : "false", y->connect_us, y->header_us, y->took_us);
	other_json(out, t, i);
	fputc('}', out);
}

/* ---- the whole ---- */

static void outcome_text(FILE *out, const struct tale *t)
{
	const struct shm_record *r = t->rec;
	char total[32], queue[32], head[32];

	fprintf(out, "  outcome    %u", r->status);
	if (r->flags & RECORD_OWN)
		fputs(", made by weir", out);
	if (r->flags & RECORD_TUNNEL)
		fputs(", a tunnel", out);
	fprintf(out, ", over after %s: %s\n", tell_us(total, sizeof(total), r->total_us),
		reason_prose((enum reason)r->reason));
	fprintf(out, "  times      queue %s", tell_us(queue, sizeof(queue), r->queue_us));
	if (r->header_us > 0)
		fprintf(out, ", answer head after %s", tell_us(head, sizeof(head), r->header_us));
	fprintf(out, ", total %s\n", total);
	fprintf(out, "  bytes      %" PRIu64 " in, %" PRIu64 " out; closed first by %s; %u tries\n", r->bytes_in,
		r->bytes_out, closed_text(r->closed), r->tries);
}

void tell_text(FILE *out, const struct tale *t)
{
	const struct shm_record *r = t->rec;
	const struct conf *c = t->crew->conf;
	char id[200], text[400], when[48], client[ADDR_TEXT], listen[96], route[96], upstream[96];
	unsigned last = t->ntries > 0 ? t->tries[t->ntries - 1].upstream : RECORD_NONE;

	fprintf(out, "request %s%s\n", log_esc(id, sizeof(id), span_make(r->id, r->id_len)), r->id_hash ? "..." : "");
	fprintf(out, "  what       %s\n", log_esc(text, sizeof(text), request_of(r)));
	if (t->host.n > 0 || t->target.n > 0)
		fprintf(out, "  host       %s\n", log_esc(text, sizeof(text), t->host));
	if (t->target.n > 0)
		fprintf(out, "  target     %s\n", log_esc(text, sizeof(text), t->target));
	fprintf(out, "  when       %s, worker %u of generation %u\n", time_text(when, sizeof(when), r->wall_ms), t->slot,
		t->crew->number);
	fprintf(out, "  client     %s by listener %s, %s%s\n",
		tell_client(client, sizeof(client), r->family, r->ip, r->port),
		tell_listen(listen, sizeof(listen), c, r->listen), protocol_text(r), r->flags & RECORD_TLS ? ", TLS" : "");
	fprintf(out, "  route      %s", tell_route(route, sizeof(route), c, r->route));
	if (last != RECORD_NONE)
		fprintf(out, ", upstream %s", tell_upstream(upstream, sizeof(upstream), c, last));
	fputc('\n', out);
	outcome_text(out, t);
	for (unsigned i = 0; i < t->ntries; i++)
		try_text(out, t, i);
}

void tell_json(FILE *out, const struct tale *t)
{
	const struct shm_record *r = t->rec;
	const struct conf *c = t->crew->conf;
	char name[160];

	fputs("{\"id\": ", out);
	tell_bytes(out, span_make(r->id, r->id_len));
	fprintf(out, ", \"time_ms\": %" PRIu64 ", \"worker\": %u, \"generation\": %u, \"request\": ", r->wall_ms, t->slot,
		t->crew->number);
	tell_bytes(out, request_of(r));
	if (t->target.p != NULL) {
		fputs(", \"target\": ", out);
		tell_bytes(out, t->target);
		fputs(", \"host\": ", out);
		tell_bytes(out, t->host);
	}
	fputs(", \"client\": ", out);
	ctl_json(out, span_of(tell_client(name, sizeof(name), r->family, r->ip, r->port)));
	fputs(", \"listener\": ", out);
	ctl_json(out, span_of(tell_listen(name, sizeof(name), c, r->listen)));
	fputs(", \"route\": ", out);
	ctl_json(out, span_of(tell_route(name, sizeof(name), c, r->route)));
	fprintf(out, ", \"protocol\": \"%s\", \"tls\": %s, \"tunnel\": %s, \"own\": %s, \"status\": %u, "
		"\"reason\": \"%s\", \"closed_by\": \"%s\"", protocol_text(r), r->flags & RECORD_TLS ? "true" : "false",
		r->flags & RECORD_TUNNEL ? "true" : "false", r->flags & RECORD_OWN ? "true" : "false", r->status,
		reason_token((enum reason)r->reason), closed_text(r->closed));
	fprintf(out, ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64 ", \"queue_us\": %u, \"header_us\": %u, "
		"\"total_us\": %" PRIu64 ", \"tries_all\": %u, \"tries\": [", r->bytes_in, r->bytes_out, r->queue_us,
		r->header_us, r->total_us, r->tries);
	for (unsigned i = 0; i < t->ntries; i++)
		try_json(out, t, i);
	fputs("]}", out);
}

void tell_line_head(FILE *out)
{
	fprintf(out, "%-12s %-32s %3s %10s %-14s %-16s %-18s %s\n", "TIME", "ID", "ST", "TOTAL", "REASON", "ROUTE",
		"SERVER", "REQUEST");
}

void tell_line(FILE *out, const struct tale *t)
{
	const struct shm_record *r = t->rec;
	const struct conf *c = t->crew->conf;
	char when[48], id[200], us[32], route[96], server[160], text[400];
	unsigned cell = t->ntries > 0 ? t->tries[t->ntries - 1].cell : RECORD_NONE;

	time_text(when, sizeof(when), r->wall_ms);
	fprintf(out, "%-12s %-32s %3u %10s %-14s %-16s %-18s %s\n", strlen(when) > 11 ? when + 11 : when,
		log_esc(id, sizeof(id), span_make(r->id, r->id_len)), r->status, tell_us(us, sizeof(us), r->total_us),
		reason_token((enum reason)r->reason), tell_route(route, sizeof(route), c, r->route),
		tell_server(server, sizeof(server), c, cell), log_esc(text, sizeof(text), request_of(r)));
}
