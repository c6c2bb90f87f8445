/*
 * conf_tls.c - reads [tls NAME] and the keys of TLS in listeners and upstreams.
 *
 * Called by conf.c and the readers of those sections. Certificates and keys are
 * read here, each file once however often it is named, and proven to fit, so
 * that what is wrong has a file and a line; workers get the objects over fork.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cert.h"
#include "common/conf_parts.h"

#define DIR_MAX 10000

/* ---- certificates ---- */

static void check_dates(struct load *ld, const struct entry *e, const struct cert *c)
{
	int64_t now = time(NULL), days = cert_days_left(c, now);

	if (c->not_after < now)
		conf_warn(ld, e, "the certificate in %s has expired %lld day%s ago: clients will refuse it", c->file,
			  (long long)-days, days == -1 ? "" : "s");
	else if (c->not_before > now)
		conf_warn(ld, e, "the certificate in %s is not valid yet: clients will refuse it", c->file);
	else if (days < CERT_EXPIRY_DAYS)
		conf_warn(ld, e, "the certificate in %s expires in %lld day%s: renew it", c->file, (long long)days,
			  days == 1 ? "" : "s");
}

static const struct cert *load_pair(struct load *ld, const struct entry *e, const char *chain, const char *key)
{
	const char *why;
	struct cert *c;

	for (c = ld->conf->certs; c != NULL; c = c->next) {
		if (strcmp(c->file, chain) == 0 && strcmp(c->key_file, key != NULL ? key : chain) == 0)
			return c;
	}
	c = cert_load(ld->arena, chain, key, &why);
	if (c == NULL) {
		conf_error(ld, e, "%s", why);
		return NULL;
	}
	c->next = ld->conf->certs;
	ld->conf->certs = c;
	check_dates(ld, e, c);
	return c;
}

struct certs {
	struct load *ld;
	const struct cert **v;
	unsigned n, cap;
};

static void add_cert(struct certs *out, const struct cert *c)
{
	if (c == NULL)
		return;
	if (out->n == out->cap) {
		unsigned cap = out->cap ? out->cap * 2 : 4;
		const struct cert **v = CONF_NEW(out->ld, const struct cert *, cap);

		if (out->n > 0)
			memcpy(v, out->v, sizeof(*v) * out->n);
		out->v = v;
		out->cap = cap;
	}
	out->v[out->n++] = c;
}

static int is_pem(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > 4 && strcmp(d->d_name + n - 4, ".pem") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* NAME.pem holds chain and key, or NAME.key stands beside it. */
static void add_dir(struct certs *out, const struct entry *e, const char *dir)
{
	struct arena *a = out->ld->arena;
	struct dirent **v;
	int n = scandir(dir, &v, is_pem, by_bytes);

	if (n <= 0 || n > DIR_MAX) {
		conf_error(out->ld, e, n < 0 ? "cannot read the directory %s: %s" : n == 0 ? "there is no .pem file in %s" :
			   "there are too many files in %s", dir, strerror(errno));
	}
	for (int i = 0; i < n; i++) {
		const char *pem = arena_printf(a, "%s/%s", dir, v[i]->d_name);
		const char *key = arena_printf(a, "%.*s.key", (int)strlen(pem) - 4, pem);

		if (n <= DIR_MAX)
			add_cert(out, load_pair(out->ld, e, pem, access(key, F_OK) == 0 ? key : NULL));
		free(v[i]);
	}
	if (n >= 0)
		free(v);
}

static void add_entry(struct certs *out, const struct entry *e)
{
	const char *path[2] = { NULL, NULL };
	struct stat st;

	if (e->is_off || !conf_nwords(out->ld, e, 1, 2))
		return;
	for (unsigned i = 0; i < e->nwords; i++) {
		path[i] = conf_file_word(out->ld, e, &e->words[i]);
		if (path[i] == NULL)
			return;
	}
	if (e->nwords == 1 && stat(path[0], &st) == 0 && S_ISDIR(st.st_mode))
		add_dir(out, e, path[0]);
	else
		add_cert(out, load_pair(out->ld, e, path[0], path[1]));
}

static const struct cert **read_certs(const struct scope *sc, enum opt_id id, unsigned *n)
{
	struct certs out = { .ld = sc->ld };

	for (const struct value *v = conf_value(sc, id); v != NULL; v = conf_value_next(v))
		add_entry(&out, v->e);
	*n = out.n;
	return out.v;
}

/* ---- authorities ---- */

static const struct cert_ca *load_ca(struct load *ld, const struct entry *e, const char *path, const char **why)
{
	struct cert_ca *ca;

	for (ca = ld->conf->cas; ca != NULL; ca = ca->next) {
		if (path != NULL ? !ca->of_system && strcmp(ca->file, path) == 0 : ca->of_system)
			return ca;
	}
	ca = cert_ca_load(ld->arena, path, why);
	if (ca == NULL) {
		if (e != NULL)
			conf_error(ld, e, "%s", *why);
		return NULL;
	}
	ca->next = ld->conf->cas;
	ld->conf->cas = ca;
	return ca;
}

static const struct cert_ca *read_ca(const struct scope *sc, enum opt_id id)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, id, &e);
	const char *path = w != NULL ? conf_file_word(sc->ld, e, w) : NULL;
	const char *why;

	return path != NULL ? load_ca(sc->ld, e, path, &why) : NULL;
}

static void read_client_auth(const struct scope *sc, enum opt_id ca, enum opt_id verify, const struct cert_ca **out_ca,
			     enum conf_verify *out)
{
	const struct value *v = conf_value(sc, verify);

	*out_ca = read_ca(sc, ca);
	*out = *out_ca != NULL ? CONF_VERIFY_REQUIRED : CONF_VERIFY_OFF;
	if (v == NULL)
		return;
	*out = (enum conf_verify)conf_choice(sc, verify);
	if (*out != CONF_VERIFY_OFF && conf_value(sc, ca) == NULL && !sc->trial)
		conf_error(sc->ld, v->e, "needs a client_ca: who signs the certificates of clients");
}

/* ---- listeners ---- */

static bool try_ciphers(SSL_CTX *ctx, const char *name, bool suite)
{
	return suite ? SSL_CTX_set_ciphersuites(ctx, name) == 1 : SSL_CTX_set_cipher_list(ctx, name) == 1;
}

/* Divides the names of TLS 1.3 from the older ones, as the library wants them. */
static void read_ciphers(const struct scope *sc, struct conf_listen *l)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_listen_tls_ciphers, &e);
	struct arena *a = sc->ld->arena;
	SSL_CTX *trial;

	if (w == NULL)
		return;
	cert_init();
	trial = SSL_CTX_new(TLS_server_method());
	if (trial == NULL)
		log_no_memory(0);
	for (struct span rest = w->s; rest.n > 0;) {
		struct span one = span_cut(&rest, ':');
		const char *name = arena_str(a, one);
		bool suite = span_starts(one, SPAN("TLS_"));
		const char **list = suite ? &l->suites : &l->ciphers;

		bool word = one.n > 0 && memchr("!-+@", one.p[0], 4) == NULL;

		if (one.n == 0 || (word && !try_ciphers(trial, name, suite))) {
			name = arena_printf(a, "names of ciphers divided by colons (there is no \"%s\" here)", name);
			conf_expected(sc->ld, e, name, w, NULL);
			break;
		}
		*list = *list != NULL ? arena_printf(a, "%s:%s", *list, name) : name;
	}
	if (l->ciphers != NULL && SSL_CTX_set_cipher_list(trial, l->ciphers) != 1)
		conf_expected(sc->ld, e, "at least one cipher", w, NULL);
	SSL_CTX_free(trial);
}

static void read_tls_min(const struct scope *sc, struct conf_listen *l)
{
	static const char *const words[] = { "1.2", "1.3" };
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_listen_tls_min, &e);

	if (w == NULL)
		return;
	l->tls13_only = span_eq(w->s, SPAN("1.3"));
	if (!l->tls13_only && !span_eq(w->s, SPAN("1.2")))
		conf_expected(sc->ld, e, "1.2 or 1.3", w, w->outside ? NULL : conf_nearest(w->s, words, ARRAY_LEN(words)));
}

/* The value of the header, ready made. */
static struct span read_hsts(const struct scope *sc)
{
	const struct entry *e = conf_first(sc, OPT_listen_hsts);
	bool subdomains = false, preload = false;
	struct load *ld = sc->ld;
	int64_t ms;

	if (e == NULL || !conf_nwords(ld, e, 1, 3))
		return SPAN("");
	if (!conf_parse_number(OPT_TIME, e->words[0].s, &ms)) {
		conf_expected(ld, e, "a time, say 365d", &e->words[0], NULL);
		return SPAN("");
	}
	for (unsigned i = 1; i < e->nwords; i++) {
		static const char *const words[] = { "subdomains", "preload" };
		const struct word *w = &e->words[i];

		if (span_eq(w->s, SPAN("subdomains")))
			subdomains = true;
		else if (span_eq(w->s, SPAN("preload")))
			preload = true;
		else
			conf_expected(ld, e, "subdomains or preload", w, conf_nearest(w->s, words, ARRAY_LEN(words)));
	}
	return span_of(arena_printf(ld->arena, "max-age=%lld%s%s", (long long)(ms / 1000),
				    subdomains ? "; includeSubDomains" : "", preload ? "; preload" : ""));
}

void conf_listen_tls(const struct scope *sc, struct conf_listen *l)
{
	l->certs = read_certs(sc, OPT_listen_certificate, &l->ncerts);
	l->tls = conf_first(sc, OPT_listen_certificate) != NULL;
	if (conf_value(sc, OPT_listen_tls) != NULL)
		l->tls = conf_bool(sc, OPT_listen_tls);
	l->sni_strict = conf_bool(sc, OPT_listen_sni_strict);
	read_tls_min(sc, l);
	l->hsts = read_hsts(sc);
	read_ciphers(sc, l);
	read_client_auth(sc, OPT_listen_client_ca, OPT_listen_client_verify, &l->client_ca, &l->client_verify);
	if (l->tls && l->redirect_https != 0 && !sc->trial)
		conf_error(sc->ld, conf_value(sc, OPT_listen_redirect_https)->e, "this listener speaks TLS already");
}

/* ---- upstreams ---- */

static struct span read_name(const struct scope *sc)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_upstream_tls_name, &e);
	struct addr ip;

	if (w == NULL)
		return span_make("", 0);
	if (!conf_host_ok(w->s) && !addr_parse_ip(w->s, &ip))
		conf_expected(sc->ld, e, "a host name", w, NULL);
	/* Handed to the library, which wants a NUL. */
	return arena_span(sc->ld->arena, w->s);
}

/* A server without a name or address of its own has nothing that its certificate could be held against. */
static void check_names(const struct scope *sc, const struct conf_upstream *u)
{
	for (unsigned i = 0; i < u->nservers; i++) {
		if (u->servers[i].addr.family == ADDR_UNIX && u->tls_name.n == 0) {
			conf_sect_error(sc->ld, sc->sect, "the server %.*s has no name to verify: set tls_name",
					SPAN_FMT(u->servers[i].text));
			return;
		}
	}
}

void conf_upstream_tls(const struct scope *sc, struct conf_upstream *u)
{
	const struct entry *e = conf_first(sc, OPT_upstream_client_certificate);
	struct certs out = { .ld = sc->ld };
	const char *why = "";

	u->tls = conf_bool(sc, OPT_upstream_tls);
	u->tls_verify = conf_bool(sc, OPT_upstream_tls_verify);
	u->tls_name = read_name(sc);
	u->tls_ca = read_ca(sc, OPT_upstream_tls_ca);
	if (e != NULL)
		add_entry(&out, e);
	if (out.n > 1)
		conf_error(sc->ld, e, "expected one certificate, got a directory of %u", out.n);
	u->client_cert = out.n > 0 ? out.v[0] : NULL;
	if (!u->tls || !u->tls_verify || sc->trial)
		return;
	check_names(sc, u);
	if (conf_value(sc, OPT_upstream_tls_ca) != NULL && !conf_is_off(sc, OPT_upstream_tls_ca))
		return;
	u->tls_ca = load_ca(sc->ld, NULL, NULL, &why);
	if (u->tls_ca == NULL)
		conf_sect_error(sc->ld, sc->sect, "its servers cannot be verified: %s; or set tls_ca", why);
}

/* ---- [tls NAME] ---- */

static bool listens_on(const struct conf_tls *t, const struct conf_listen *l)
{
	for (unsigned i = 0; i < t->nlistens; i++) {
		if (t->listens[i] == l)
			return true;
	}
	return t->nlistens == 0;
}

static void read_listens(const struct scope *sc, struct conf_tls *t)
{
	struct cursor at = { 0 };
	const struct word *w;

	t->listens = CONF_NEW(sc->ld, const struct conf_listen *, conf_count_words(sc, OPT_tls_listen));
	while ((w = conf_next_word(sc, OPT_tls_listen, &at)) != NULL) {
		struct sect *s = conf_refer(sc->ld, at.v->e, SECT_listen, w);
		const struct conf_listen *l = s != NULL ? s->object : NULL;

		if (l == NULL || (t->nlistens > 0 && listens_on(t, l)))
			continue;
		if (!l->tls)
			conf_expected(sc->ld, at.v->e, "listeners with tls", w, NULL);
		t->listens[t->nlistens++] = l;
	}
}

/* One host under two sections of one listener: which rules it has would be a matter of order. */
static void check_hosts(struct load *ld, const struct entry *e, const struct conf_tls *t, const struct conf_host *h)
{
	for (unsigned i = 0; i < ld->conf->ntls; i++) {
		const struct conf_tls *o = ld->conf->tls[i];
		bool shared = o->nlistens == 0 || t->nlistens == 0;

		if (o == t)
			return;
		for (unsigned j = 0; j < o->nlistens; j++)
			shared = shared || listens_on(t, o->listens[j]);
		for (unsigned j = 0; shared && j < o->nhosts; j++) {
			if (o->hosts[j].wildcard == h->wildcard && span_eq(o->hosts[j].name, h->name))
				conf_error(ld, e, "%s%.*s stands in [tls %.*s] too, at %s:%u", h->wildcard ? "*." : "",
					   SPAN_FMT(h->name), SPAN_FMT(o->name), o->at.file, o->at.line);
		}
	}
}

static void read_tls_hosts(const struct scope *sc, struct conf_tls *t)
{
	struct cursor at = { 0 };
	const struct word *w;

	t->hosts = CONF_NEW(sc->ld, struct conf_host, conf_count_words(sc, OPT_tls_host));
	while ((w = conf_next_word(sc, OPT_tls_host, &at)) != NULL) {
		struct conf_host *h = &t->hosts[t->nhosts];

		if (!conf_read_host(sc->ld, at.v->e, w, h))
			continue;
		check_hosts(sc->ld, at.v->e, t, h);
		t->nhosts++;
	}
}

void conf_read_tls(struct load *ld, struct sect *s)
{
	struct conf_tls *t = s->object;
	struct scope sc;

	conf_scope(ld, s, &sc);
	t->certs = read_certs(&sc, OPT_tls_certificate, &t->ncerts);
	read_listens(&sc, t);
	read_tls_hosts(&sc, t);
	t->has_verify = conf_value(&sc, OPT_tls_client_ca) != NULL || conf_value(&sc, OPT_tls_client_verify) != NULL;
	read_client_auth(&sc, OPT_tls_client_ca, OPT_tls_client_verify, &t->client_ca, &t->client_verify);
	if (conf_value(&sc, OPT_tls_certificate) == NULL && t->nhosts == 0)
		conf_sect_error(ld, s, "expected a certificate, or hosts of a certificate of the listener, got neither");
}

/* ---- all together ---- */

static bool has_any_cert(const struct conf *c, const struct conf_listen *l)
{
	bool any = l->ncerts > 0;

	for (unsigned i = 0; !any && i < c->ntls; i++)
		any = c->tls[i]->ncerts > 0 && listens_on(c->tls[i], l);
	return any;
}

static void no_cert(struct load *ld, const struct sect *s)
{
	const struct value *v = s->values;

	while (v != NULL && v->e->opt->id != OPT_listen_tls)
		v = v->next;
	if (v != NULL)
		conf_error(ld, v->e, "there is no certificate for it: set certificate, here or in a [tls NAME]");
	else
		conf_sect_error(ld, s, "there is no certificate");
}

void conf_check_tls(struct load *ld)
{
	const struct conf *c = ld->conf;
	bool any = false;

	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		const struct conf_listen *l = s->object;

		if (s->kind != SECT_listen || l == NULL || !l->tls)
			continue;
		any = true;
		if (ld->msgs->nerrors == 0 && !has_any_cert(c, l))
			no_cert(ld, s);
	}
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		if (s->kind == SECT_tls && s->object != NULL && !any)
			conf_sect_warn(ld, s, "no listener speaks TLS");
	}
}

void conf_free_tls(struct conf *c)
{
	struct cert *cert;
	struct cert_ca *ca;

	while ((cert = c->certs) != NULL) {
		c->certs = cert->next;
		cert_free(cert);
	}
	while ((ca = c->cas) != NULL) {
		c->cas = ca->next;
		cert_ca_free(ca);
	}
}
