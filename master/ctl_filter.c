/*
 * ctl_filter.c - which requests and sessions are asked for: words such as
 * client=10.0.0.0/8.
 *
 * Called for "weirctl trace" and "weirctl sessions", once for the user's sake
 * and then for each generation, since numbers of routes and servers are a
 * configuration's own.
 */
#include <string.h>

#include "common/obj.h"
#include "master/ctl_server.h"

/* What a word is about, and what it says. */
struct wish {
	const struct conf *conf;
	const char *value;
	struct shm_filter *f;
	FILE *out;
};

static bool wish_client(const struct wish *w)
{
	bool host_bits;

	if (net_parse(span_of(w->value), &w->f->client, &host_bits))
		return true;
	fprintf(w->out, "client= takes an address or a network such as 10.0.0.0/8\n");
	return false;
}

static bool wish_route(const struct wish *w)
{
	const struct conf_route *r = ctl_find_route(w->conf, w->value, w->out);

	w->f->route = r != NULL ? (uint16_t)r->id : RECORD_NONE;
	return r != NULL;
}

static bool wish_listen(const struct wish *w)
{
	for (unsigned i = 0; i < w->conf->nlistens; i++) {
		if (!span_eq(w->conf->listens[i]->name, span_of(w->value)))
			continue;
		w->f->listen = (uint16_t)w->conf->listens[i]->id;
		return true;
	}
	char safe[64];
	fprintf(w->out, "there is no listener \"%s\"\n", log_esc(safe, sizeof(safe), span_of(w->value)));
	return false;
}

static bool wish_server(const struct wish *w)
{
	const struct conf_upstream *u;
	const struct conf_server *s = ctl_find_server(w->conf, w->value, &u, w->out);

	if (s == NULL)
		return false;
	w->f->upstream = (uint16_t)u->id;
	w->f->cell = (uint16_t)s->cell;
	w->f->ncells = (uint16_t)s->ncells;
	return true;
}

/* "Name: value", or "Name" for any value. */
static bool wish_header(const struct wish *w)
{
	struct span value = span_of(w->value), name = span_trim(span_cut(&value, ':'));

	w->f->header_any = strchr(w->value, ':') == NULL;
	value = span_trim(value);
	if (name.n == 0 || name.n >= ORDER_NAME || value.n >= ORDER_VALUE) {
		fprintf(w->out, "header= takes 'Name: value' or a name, of less than %u and %u bytes\n", ORDER_NAME,
			ORDER_VALUE);
		return false;
	}
	memcpy(w->f->header, name.p, name.n);
	memcpy(w->f->value, value.p, value.n);
	return true;
}

static const struct {
	const char *name;
	bool (*read)(const struct wish *w);
} wishes[] = {
	{ "client", wish_client }, { "route", wish_route }, { "listen", wish_listen }, { "server", wish_server },
	{ "header", wish_header },
};

static bool read_wish(const char *word, const char *allowed, struct wish *w)
{
	const char *names[ARRAY_LEN(wishes)];
	size_t n = strcspn(word, "=");
	char safe[64], near[96], name[32];
	unsigned known = 0;

	for (unsigned i = 0; i < ARRAY_LEN(wishes); i++) {
		if (strstr(allowed, wishes[i].name) == NULL)
			continue;
		names[known++] = wishes[i].name;
		if (strlen(wishes[i].name) != n || strncmp(word, wishes[i].name, n) != 0 || word[n] != '=')
			continue;
		w->value = word + n + 1;
		return wishes[i].read(w);
	}
	snprintf(name, sizeof(name), "%.*s", n < sizeof(name) ? (int)n : (int)sizeof(name) - 1, word);
	fprintf(w->out, "\"%s\" is none of %s%s\n", log_esc(safe, sizeof(safe), span_of(word)), allowed,
		ctl_nearest(near, sizeof(near), name, names, known));
	return false;
}

bool ctl_filter(const struct conf *c, const struct ctl_request *r, const char *allowed, struct shm_filter *f, FILE *out)
{
	char *nowhere = NULL;
	size_t size;
	struct wish w = { .conf = c, .f = f, .out = out != NULL ? out : open_memstream(&nowhere, &size) };
	bool good = w.out != NULL;

	*f = (struct shm_filter){ .route = RECORD_NONE, .listen = RECORD_NONE, .upstream = RECORD_NONE,
				  .cell = RECORD_NONE };
	for (unsigned i = 0; good && i < r->nwords; i++) {
		if (r->words[i][0] < '0' || r->words[i][0] > '9')
			good = read_wish(r->words[i], allowed, &w);
	}
	f->none = !good;
	if (out == NULL && w.out != NULL)
		fclose(w.out);
	free(nowhere);
	return good;
}
