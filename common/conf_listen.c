/*
 * conf_listen.c - reads [listen NAME].
 *
 * Called by conf.c. Addresses are only read here; the master opens them.
 */
#include <stdio.h>

#include "common/conf_parts.h"

/* ---- bind ---- */
static const char *bind_hint(struct load *ld, struct span s)
{
	struct arena *a = ld->arena;
	const char *colon = s.n > 0 ? memrchr(s.p, ':', s.n) : NULL;
	struct addr ip;
	int64_t port;

	if (conf_uint(s, 1, 65535, &port))
		return arena_printf(a, "*:%.*s", SPAN_FMT(s));
	if (s.n > 1 && s.p[0] == ':' && conf_uint(span_make(s.p + 1, s.n - 1), 1, 65535, &port))
		return arena_printf(a, "*%.*s", SPAN_FMT(s));
	if (span_eq(s, SPAN("*")))
		return "*:80";
	if (addr_parse_ip(s, &ip))
		return arena_printf(a, ip.family == ADDR_V6 && s.p[0] != '[' ? "[%.*s]:80" : "%.*s:80", SPAN_FMT(s));
	if (span_starts(s, SPAN("localhost:")))
		return arena_printf(a, "127.0.0.1%s", arena_str(a, span_make(s.p + 9, s.n - 9)));
	if (colon == NULL && s.n > 0 && s.p[0] == '/')
		return arena_printf(a, "unix:%.*s", SPAN_FMT(s));
	return NULL;
}

static bool unix_bind(struct load *ld, const struct entry *e, const struct word *w, struct addr *out)
{
	const char *path = conf_abs_path(ld->arena, e->file->dir, span_make(w->s.p + 5, w->s.n - 5));

	if (w->s.n == 5 || memchr(w->s.p, '\0', w->s.n) != NULL)
		return conf_expected(ld, e, "unix:PATH", w, NULL);
	if (strlen(path) > CONF_UNIX_MAX)
		return conf_expected(ld, e, arena_printf(ld->arena, "a socket path of up to %d bytes", CONF_UNIX_MAX), w, NULL);
	*out = (struct addr){ .family = ADDR_UNIX };
	out->path = path;
	return true;
}

bool conf_read_bind(struct load *ld, const struct entry *e, const struct word *w, struct conf_bind *b)
{
	const char *colon = w->s.n > 0 ? memrchr(w->s.p, ':', w->s.n) : NULL;
	int64_t port;

	b->text = w->s;
	b->at = (struct conf_origin){ e->file->name, e->line };
	if (span_starts(w->s, SPAN("unix:")))
		return unix_bind(ld, e, w, &b->addr);
	if (span_starts(w->s, SPAN("*:")) && conf_uint(span_make(w->s.p + 2, w->s.n - 2), 1, 65535, &port)) {
		b->addr = (struct addr){ .family = ADDR_V6, .port = (uint16_t)port };
		return true;
	}
	if (colon != NULL && addr_parse_named_scope(w->s, &b->addr)) {
		b->v6only = b->addr.family == ADDR_V6;
		return true;
	}
	return conf_expected(ld, e, "ADDRESS:PORT such as *:80, 127.0.0.1:8080 or [::1]:80, or unix:PATH", w,
			     w->outside ? NULL : bind_hint(ld, w->s));
}

static void read_binds(struct scope *sc, struct conf_listen *l)
{
	struct cursor at = { 0 };
	const struct word *w;

	l->binds = CONF_NEW(sc->ld, struct conf_bind, conf_count_words(sc, OPT_listen_bind));
	while ((w = conf_next_word(sc, OPT_listen_bind, &at)) != NULL) {
		struct conf_bind *b = &l->binds[l->nbinds];

		if (!conf_read_bind(sc->ld, at.v->e, w, b))
			continue;
		b->id = sc->ld->conf->nbinds++;
		l->nbinds++;
	}
	if (conf_value(sc, OPT_listen_bind) == NULL || conf_is_off(sc, OPT_listen_bind)) {
		for (const struct entry *e = sc->sect->first; e != NULL; e = e->next) {
			if (e->opt == opt_get(OPT_listen_bind) && e->bad)
				return;
		}
		conf_sect_error(sc->ld, sc->sect, "expected at least one bind = ADDRESS:PORT, got none");
	}
}

/* ---- the rest ---- */
static int redirect_https(struct scope *sc)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_listen_redirect_https, &e);
	int64_t v;

	if (w == NULL)
		return 0;
	if (conf_parse_number(OPT_BOOL, w->s, &v))
		return v ? 443 : 0;
	if (conf_uint(w->s, 1, 65535, &v))
		return (int)v;
	conf_expected(sc->ld, e, "yes, no or a port", w, NULL);
	return 0;
}

static struct span client_ip_header(struct scope *sc)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_listen_client_ip_header, &e);

	if (w == NULL)
		return span_make("", 0);
	if (!conf_is_token(w->s))
		conf_expected(sc->ld, e, "the name of a header", w, NULL);
	return w->s;
}

void conf_fill_listen(struct scope *sc, struct conf_listen *l)
{
	const struct value *mode = conf_value(sc, OPT_listen_mode);

	if (mode != NULL && conf_choice(sc, OPT_listen_mode) != 0)
		conf_error(sc->ld, mode->e, "not built yet: it comes with layer 4");
	l->redirect_https = redirect_https(sc);
	l->exclusive = conf_bool(sc, OPT_listen_exclusive) || l->redirect_https != 0;
	l->http2 = conf_bool(sc, OPT_listen_http2);
	l->trusted = conf_nets(sc, OPT_listen_trusted_proxies, &l->ntrusted);
	l->client_ip_header = client_ip_header(sc);
	l->proxy_protocol = (enum conf_proxy_protocol)conf_choice(sc, OPT_listen_proxy_protocol);
	l->header_timeout = conf_number(sc, OPT_listen_header_timeout);
	l->body_timeout = conf_number(sc, OPT_listen_body_timeout);
	l->idle_timeout = conf_number(sc, OPT_listen_idle_timeout);
	l->send_timeout = conf_number(sc, OPT_listen_send_timeout);
	l->max_header_size = conf_number(sc, OPT_listen_max_header_size);
	l->max_requests = conf_number(sc, OPT_listen_max_requests);
	l->max_body_size = conf_number(sc, OPT_listen_max_body_size);
	conf_listen_tls(sc, l);
}

void conf_read_listen(struct load *ld, struct sect *s)
{
	struct conf_listen *l = s->object;
	struct scope sc;

	conf_scope(ld, s, &sc);
	read_binds(&sc, l);
	conf_fill_listen(&sc, l);
	if (l->proxy_protocol != CONF_PROXY_OFF && l->ntrusted == 0)
		conf_error(ld, conf_value(&sc, OPT_listen_proxy_protocol)->e,
			   "nobody may send a PROXY header: trusted_proxies names the proxies that may");
	conf_logging(&sc, &ld->listen_logs[l->id]);
}
