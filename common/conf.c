/*
 * conf.c - a configuration from its main file to the struct conf that runs.
 *
 * Called by the master, by -t, -T and -e. Reads, sorts out, resolves, checks,
 * in that order and as far as it goes, so that one run tells all that is wrong;
 * only a configuration without errors comes out.
 */
#include "common/conf.h"

#include "common/conf_parts.h"

/* Distance with transpositions, of which more than `most` is not wanted to be known. */
static unsigned distance(struct span a, const char *b, size_t nb, unsigned most)
{
	unsigned rows[3][CONF_NAME_MAX + 2];

	for (size_t j = 0; j <= nb; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *now = rows[i % 3], *up = rows[(i + 2) % 3], *upup = rows[(i + 1) % 3];
		unsigned least = now[0] = (unsigned)i;

		for (size_t j = 1; j <= nb; j++) {
			unsigned char x = ascii_lower((unsigned char)a.p[i - 1]), y = ascii_lower((unsigned char)b[j - 1]);
			unsigned d = up[j - 1] + (x != y);

			d = up[j] + 1 < d ? up[j] + 1 : d;
			d = now[j - 1] + 1 < d ? now[j - 1] + 1 : d;
			if (i > 1 && j > 1 && x == ascii_lower((unsigned char)b[j - 2]) &&
			    ascii_lower((unsigned char)a.p[i - 2]) == y && upup[j - 2] + 1 < d)
				d = upup[j - 2] + 1;
			now[j] = d;
			least = d < least ? d : least;
		}
		if (least > most + 1)
			return most + 1;
	}
	return rows[a.n % 3][nb];
}

const char *conf_nearest(struct span word, const char *const *words, unsigned n)
{
	const char *best = NULL;
	unsigned most = word.n < 4 ? 1 : word.n < 8 ? 2 : 3;

	if (word.n == 0 || word.n > CONF_NAME_MAX)
		return NULL;
	for (unsigned i = 0; i < n && word.n >= 3; i++) {
		struct span w = span_of(words[i]);

		/* warning for warn, tim for timeout; only when nothing is nearer. */
		if (best == NULL && w.n >= 3 && (span_starts(w, word) || span_starts(word, w)))
			best = words[i];
	}
	bool loose = best != NULL;
	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(words[i]);

		if (len > CONF_NAME_MAX || len > word.n + most || word.n > len + most)
			continue;
		unsigned d = distance(word, words[i], len, most);
		/* All of a short word being different is no likeness. */
		if (d <= most && d < len && (best == NULL || loose || d < distance(word, best, strlen(best), most))) {
			best = words[i];
			loose = false;
		}
	}
	return best;
}

bool conf_full(struct load *ld)
{
	if (!ld->full && ld->arena->total + ld->regexes > CONF_MEMORY_MAX) {
		ld->full = true;
		conf_line_error(ld, ld->files[0], 0, "takes more than %u MiB of memory when read in; the rest was not read",
				CONF_MEMORY_MAX >> 20);
	}
	return ld->full;
}

/* ---- objects, in the order of the configuration ---- */
static unsigned count(const struct load *ld, enum sect_kind kind)
{
	unsigned n = 0;

	for (const struct sect *s = ld->first; s != NULL; s = s->next)
		n += s->kind == kind && !s->bad;
	return n;
}

static void make_listen(struct load *ld, struct sect *s)
{
	struct conf_listen *l = s->object = CONF_NEW(ld, struct conf_listen, 1);

	*l = (struct conf_listen){ .magic = CONF_LISTEN_MAGIC, .name = s->name, .id = ld->conf->nlistens,
				   .at = { s->file->name, s->line } };
	ld->conf->listens[ld->conf->nlistens++] = l;
}

static void make_upstream(struct load *ld, struct sect *s)
{
	struct conf_upstream *u = s->object = CONF_NEW(ld, struct conf_upstream, 1);

	*u = (struct conf_upstream){ .magic = CONF_UPSTREAM_MAGIC, .name = s->name, .id = ld->conf->nupstreams,
				     .at = { s->file->name, s->line } };
	ld->conf->upstreams[ld->conf->nupstreams++] = u;
}

static void make_route(struct load *ld, struct sect *s)
{
	struct conf_route *r = s->object = CONF_NEW(ld, struct conf_route, 1);

	r->magic = CONF_ROUTE_MAGIC;
	r->name = s->name;
	r->id = ld->conf->nroutes;
	r->at = (struct conf_origin){ s->file->name, s->line };
	ld->conf->routes[ld->conf->nroutes++] = r;
}

static void make_tls(struct load *ld, struct sect *s)
{
	struct conf_tls *t = s->object = CONF_NEW(ld, struct conf_tls, 1);

	t->magic = CONF_TLS_MAGIC;
	t->name = s->name;
	t->at = (struct conf_origin){ s->file->name, s->line };
	ld->conf->tls[ld->conf->ntls++] = t;
}

static void make_objects(struct load *ld)
{
	struct conf *c = ld->conf;
	unsigned listens = count(ld, SECT_listen), routes = count(ld, SECT_route);

	c->listens = CONF_NEW(ld, struct conf_listen *, listens);
	c->upstreams = CONF_NEW(ld, struct conf_upstream *, count(ld, SECT_upstream));
	c->routes = CONF_NEW(ld, struct conf_route *, routes);
	c->tls = CONF_NEW(ld, struct conf_tls *, count(ld, SECT_tls));
	ld->listen_logs = CONF_NEW(ld, struct logging, listens);
	ld->route_logs = CONF_NEW(ld, struct logging, routes);
	for (struct sect *s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (s->bad)
			continue;
		if (s->kind == SECT_listen)
			make_listen(ld, s);
		else if (s->kind == SECT_upstream)
			make_upstream(ld, s);
		else if (s->kind == SECT_route)
			make_route(ld, s);
		else if (s->kind == SECT_tls)
			make_tls(ld, s);
	}
}

/* A policy or [defaults]: read for the sake of its errors. */
static void try(struct load *ld, struct sect *s)
{
	struct logging logging;
	struct scope sc;
	unsigned kinds = s->kind == SECT_defaults ? 1u << s->of : s->kinds;

	conf_scope_alone(ld, s, &sc);
	if (kinds & 1u << SECT_route)
		conf_fill_route(&sc, CONF_NEW(ld, struct conf_route, 1));
	else if (kinds & 1u << SECT_upstream)
		conf_fill_upstream(&sc, CONF_NEW(ld, struct conf_upstream, 1));
	else if (kinds & 1u << SECT_listen)
		conf_fill_listen(&sc, CONF_NEW(ld, struct conf_listen, 1));
	conf_logging(&sc, &logging);
}

static void read_objects(struct load *ld)
{
	struct sect *s;

	for (s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (!s->bad && (s->kind == SECT_policy || s->kind == SECT_defaults))
			try(ld, s);
	}
	for (s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (s->object != NULL && s->kind == SECT_listen)
			conf_read_listen(ld, s);
		else if (s->object != NULL && s->kind == SECT_upstream)
			conf_read_upstream(ld, s);
	}
	for (s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (s->object != NULL && s->kind == SECT_tls)
			conf_read_tls(ld, s);
	}
	for (s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (!s->bad && s->kind == SECT_admin)
			conf_read_admin(ld, s);
	}
	/* Last: routes refer to the others. */
	for (s = ld->first; s != NULL && !conf_full(ld); s = s->next) {
		if (s->object != NULL && s->kind == SECT_route)
			conf_read_route(ld, s);
	}
}

/* ---- what is counted for metrics ---- */
static void add_target(struct load *ld, struct conf_route *r, const struct conf_upstream *u)
{
	for (unsigned i = 0; i < r->ntargets; i++) {
		if (r->targets[i].upstream == u)
			return;
	}
	if (ld->conf->nseries + u->nservers > CONF_SERIES_MAX)
		return;			/* its requests count for the route alone */
	r->targets[r->ntargets++] = (struct conf_target){ u, ld->conf->nseries };
	ld->conf->nseries += u->nservers;
}

/* Only pairs that can meet have a number, so that a thousand servers and a hundred routes need not be a hundred thousand. */
static void number_series(struct load *ld)
{
	struct conf *c = ld->conf;

	c->nseries = 1;
	for (unsigned i = 0; i < c->nroutes; i++) {
		struct conf_route *r = c->routes[i];

		r->series = c->nseries++;
		r->targets = CONF_NEW(ld, struct conf_target, r->nsplit + 1);
		for (unsigned j = 0; j < r->nsplit; j++)
			add_target(ld, r, r->split[j].upstream);
		if (r->fallback != NULL)
			add_target(ld, r, r->fallback);
	}
}

static void load(struct load *ld, const char *file)
{
	struct conf_text *text;

	if (!conf_read_files(ld, file))
		return;
	conf_sections(ld);
	conf_scope_weir(ld);
	conf_scope_general(ld);
	make_objects(ld);
	conf_read_weir(ld);
	read_objects(ld);
	if (conf_full(ld))
		return;
	conf_access_logs(ld);
	conf_check(ld);
	if (ld->msgs->nerrors == 0)
		conf_reach(ld);
	if (ld->msgs->nerrors == 0)
		number_series(ld);
	text = CONF_NEW(ld, struct conf_text, 1);
	*text = (struct conf_text){ ld->first, ld->weir.values, ld->general.values };
	ld->conf->text = text;
}

struct conf *conf_load(struct arena *arena, const char *file, struct conf_msgs *msgs)
{
	struct conf *c = arena_zalloc(arena, sizeof(*c));
	struct conf_file built_in = { .name = "built-in", .path = "/", .dir = "/", .main = true };
	struct load *ld = arena_zalloc(arena, sizeof(*ld));

	*msgs = (struct conf_msgs){ 0 };
	*c = (struct conf){ .magic = CONF_MAGIC, .arena = arena };
	*ld = (struct load){ .arena = arena, .conf = c, .msgs = msgs };
	ld->built_in = CONF_NEW(ld, struct conf_file, 1);
	*ld->built_in = built_in;
	htab_init(&ld->msg_seen);
	htab_init(&ld->logs);
	for (unsigned i = 0; i < SECT__N; i++)
		htab_init(&ld->names[i]);
	load(ld, file);
	if (ld->nfiles > 0) {
		c->file = ld->files[0]->name;
		c->path = ld->files[0]->path;
	}
	conf_msgs_sort(ld);
	htab_fini(&ld->msg_seen);
	htab_fini(&ld->logs);
	for (unsigned i = 0; i < SECT__N; i++)
		htab_fini(&ld->names[i]);
	if (msgs->nerrors == 0)
		return c;
	conf_free(c);
	return NULL;
}
