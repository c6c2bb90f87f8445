/*
 * ctl_find.c - what users name (upstreams, servers, routes), and bits of text
 * that several verbs print.
 *
 * Called by the verbs of the control socket. Looks into the configuration in
 * force and nowhere else; a name that is not there is told together with the
 * nearest one that is.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/obj.h"
#include "master/ctl_server.h"

#define NAMES_MAX 256

/* The sentence on `word`, which is none of the names; those are copied for the purpose. */
static void say_unknown(FILE *out, const char *kind, struct span word, const struct span *names, unsigned n,
			const char *prefix)
{
	const char *copies[NAMES_MAX] = { NULL };
	char *asked = strndup(word.p, word.n);
	unsigned ncopies = 0;
	char safe[64], near[160] = "";

	for (; ncopies < n && ncopies < NAMES_MAX; ncopies++) {
		char *copy;

		if (asprintf(&copy, "%.*s", SPAN_FMT(names[ncopies])) < 0)
			break;
		copies[ncopies] = copy;
	}
	const char *found = asked != NULL ? conf_nearest(span_of(asked), copies, ncopies) : NULL;
	if (found != NULL)
		snprintf(near, sizeof(near), "; did you mean \"%s%s\"?", prefix, found);
	fprintf(out, "there is no %s \"%s\"%s\n", kind, log_esc(safe, sizeof(safe), word), near);
	while (ncopies > 0)
		free((char *)copies[--ncopies]);
	free(asked);
}

const struct conf_upstream *ctl_find_upstream(const struct conf *c, struct span name, FILE *out)
{
	struct span names[NAMES_MAX];

	for (unsigned i = 0; i < c->nupstreams; i++) {
		if (span_eq(c->upstreams[i]->name, name))
			return c->upstreams[i];
		if (i < NAMES_MAX)
			names[i] = c->upstreams[i]->name;
	}
	say_unknown(out, "upstream", name, names, c->nupstreams, "");
	return NULL;
}

const struct conf_server *ctl_find_server(const struct conf *c, const char *word, const struct conf_upstream **u,
					  FILE *out)
{
	const char *slash = strchr(word, '/');
	struct span names[NAMES_MAX];
	char prefix[64], kind[128];

	if (slash == NULL) {
		fprintf(out, "name the server as UPSTREAM/SERVER; weirctl servers lists them\n");
		return NULL;
	}
	*u = ctl_find_upstream(c, span_make(word, (size_t)(slash - word)), out);
	if (*u == NULL)
		return NULL;
	for (unsigned i = 0; i < (*u)->nservers; i++) {
		if (span_eq((*u)->servers[i].name, span_of(slash + 1)))
			return &(*u)->servers[i];
		if (i < NAMES_MAX)
			names[i] = (*u)->servers[i].name;
	}
	snprintf(prefix, sizeof(prefix), "%.*s/", SPAN_FMT((*u)->name));
	snprintf(kind, sizeof(kind), "server of upstream %.*s called", SPAN_FMT((*u)->name));
	say_unknown(out, kind, span_of(slash + 1), names, (*u)->nservers, prefix);
	return NULL;
}

const struct conf_route *ctl_find_route(const struct conf *c, const char *name, FILE *out)
{
	struct span names[NAMES_MAX];

	for (unsigned i = 0; i < c->nroutes; i++) {
		if (span_eq(c->routes[i]->name, span_of(name)))
			return c->routes[i];
		if (i < NAMES_MAX)
			names[i] = c->routes[i]->name;
	}
	say_unknown(out, "route", span_of(name), names, c->nroutes, "");
	return NULL;
}

/* ---- bits of text ---- */

void ctl_json(FILE *out, struct span s)
{
	fputc('"', out);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

const char *ctl_age(char *out, size_t size, uint64_t ms)
{
	const uint64_t s = ms / 1000;

	if (s >= 86400)
		snprintf(out, size, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(out, size, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(out, size, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(out, size, "%" PRIu64 "s", s);
	return out;
}

const char *ctl_size(char *out, size_t size, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && u + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	snprintf(out, size, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
	return out;
}
