/*
 * conf_upstream.c - reads [upstream NAME] and its servers.
 *
 * Called by conf.c. Host names are checked for their form only; they are
 * looked up by the checker once weir runs.
 */
#include "common/conf_parts.h"

#define SERVER_PORT 80
#define TLS_PORT 443

/* ---- addresses ---- */
static const char *address_hint(struct load *ld, struct span s)
{
	struct addr ip;

	if (span_starts(s, SPAN("http://")))
		return arena_str(ld->arena, span_make(s.p + 7, s.n - 7));
	if (s.n > 0 && s.p[0] != '[' && addr_parse_ip(s, &ip))
		return arena_printf(ld->arena, "[%.*s]", SPAN_FMT(s));
	if (s.n > 1 && s.p[0] == ':')
		return arena_printf(ld->arena, "127.0.0.1%.*s", SPAN_FMT(s));
	if (s.n > 0 && s.p[0] == '/')
		return arena_printf(ld->arena, "unix:%.*s", SPAN_FMT(s));
	return NULL;
}

static bool unix_server(struct load *ld, const struct entry *e, const struct word *w, struct conf_server *s)
{
	const char *path = conf_abs_path(ld->arena, e->file->dir, span_make(w->s.p + 5, w->s.n - 5));

	if (w->s.n == 5 || memchr(w->s.p, '\0', w->s.n) != NULL)
		return conf_expected(ld, e, "unix:PATH", w, NULL);
	if (strlen(path) > CONF_UNIX_MAX)
		return conf_expected(ld, e, arena_printf(ld->arena, "a socket path of up to %d bytes", CONF_UNIX_MAX), w, NULL);
	s->addr = (struct addr){ .family = ADDR_UNIX };
	s->addr.path = path;
	return true;
}

/* HOST or HOST:PORT. */
static bool host_server(struct span text, struct conf_server *s, uint16_t default_port)
{
	const char *colon = memrchr(text.p, ':', text.n);
	struct span host = colon ? span_make(text.p, (size_t)(colon - text.p)) : text;
	int64_t port = default_port;

	if (colon != NULL && !conf_uint(span_make(colon + 1, text.n - host.n - 1), 1, 65535, &port))
		return false;
	if (host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	if (!conf_host_ok(host))
		return false;
	s->host = host;
	s->port = (uint16_t)port;
	return true;
}

static bool read_address(struct load *ld, const struct entry *e, const struct word *w, struct conf_server *s,
			 uint16_t port)
{
	bool brackets = w->s.n > 0 && w->s.p[0] == '[';

	s->text = w->s;
	if (span_starts(w->s, SPAN("srv:"))) {
		conf_error(ld, e, "srv: is not built yet: it comes with SRV records");
		return false;
	}
	if (span_starts(w->s, SPAN("unix:")))
		return unix_server(ld, e, w, s);
	if (w->s.n > 0 && addr_parse_ip(w->s, &s->addr) && (brackets || memchr(w->s.p, ':', w->s.n) == NULL)) {
		s->addr.port = s->port = port;
		return true;
	}
	if (addr_parse_named_scope(w->s, &s->addr)) {
		s->port = s->addr.port;
		return true;
	}
	s->addr = (struct addr){ .family = ADDR_NONE };
	if (w->s.n > 0 && !brackets && host_server(w->s, s, port))
		return true;
	return conf_expected(ld, e, "ADDRESS[:PORT] such as 10.0.0.1:8080, [::1]:80, a host name or unix:PATH", w,
			     w->outside ? NULL : address_hint(ld, w->s));
}

/* ---- attributes ---- */
enum attr { ATTR_NAME, ATTR_WEIGHT, ATTR_MAX_CONNS, ATTR_BACKUP, ATTR_DISABLED, ATTR__N };
static const char *const attrs[ATTR__N] = { "name", "weight", "max_conns", "backup", "disabled" };

static bool read_attr(struct load *ld, const struct entry *e, const struct word *w, struct conf_server *s,
		      unsigned *seen)
{
	struct span key = w->attr.n > 0 ? w->attr : w->s;
	bool flag = w->attr.n == 0;
	const char *why;
	int64_t v = 0;
	unsigned a = 0;

	while (a < ATTR__N && !span_eq(key, span_of(attrs[a])))
		a++;
	if (a == ATTR__N || (w->quoted && flag)) {
		const char *near = conf_nearest(key, attrs, ATTR__N);

		conf_error(ld, e, "unknown attribute \"%s\"%s%s%s", conf_show(ld->arena, flag ? w->shown : key),
			   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		return false;
	}
	if (*seen & 1u << a || flag != (a == ATTR_BACKUP || a == ATTR_DISABLED)) {
		conf_error(ld, e, *seen & 1u << a ? "%s stands twice" : flag ? "expected %s=VALUE, got no value" :
			   "%s takes no value", attrs[a]);
		return false;
	}
	*seen |= 1u << a;
	if (a == ATTR_NAME && !conf_name_ok(w->s, &why))
		return conf_expected(ld, e, arena_printf(ld->arena, "name=NAME (%s)", why), w, NULL);
	if (a == ATTR_WEIGHT && !conf_uint(w->s, 0, 1000, &v))
		return conf_expected(ld, e, "weight=0 to weight=1000", w, NULL);
	if (a == ATTR_MAX_CONNS && !conf_uint(w->s, 0, 1000000, &v))
		return conf_expected(ld, e, "max_conns=0 (no limit) to max_conns=1000000", w, NULL);
	s->name = a == ATTR_NAME ? w->s : s->name;
	s->weight = a == ATTR_WEIGHT ? (unsigned)v : s->weight;
	s->max_conns = a == ATTR_MAX_CONNS ? (unsigned)v : s->max_conns;
	s->backup = s->backup || a == ATTR_BACKUP;
	s->disabled = s->disabled || a == ATTR_DISABLED;
	return true;
}

static bool read_server(struct load *ld, const struct entry *e, struct conf_server *s, uint16_t port)
{
	unsigned seen = 0;
	bool ok;

	*s = (struct conf_server){ .magic = CONF_SERVER_MAGIC, .weight = 1, .at = { e->file->name, e->line } };
	ok = read_address(ld, e, &e->words[0], s, port);
	s->name = s->text;
	for (unsigned i = 1; i < e->nwords; i++)
		ok = read_attr(ld, e, &e->words[i], s, &seen) && ok;
	s->ncells = s->host.n > 0 ? CONF_HOST_ADDRS : 1;
	return ok;
}

static void add_server(struct load *ld, struct conf_upstream *u, const struct entry *e, struct htab *names)
{
	struct conf_server *s = &u->servers[u->nservers];

	if (!read_server(ld, e, s, u->tls ? TLS_PORT : SERVER_PORT))
		return;
	const struct conf_server *old = htab_get(names, s->name);
	if (old != NULL) {
		conf_error(ld, e, "\"%s\" stands twice, first at %s:%u; a name=NAME would tell them apart",
			   conf_show(ld->arena, s->name), old->at.file, old->at.line);
		return;
	}
	htab_put(names, s->name, s);
	s->id = ld->conf->nservers++;
	s->cell = ld->conf->ncells;
	ld->conf->ncells += s->ncells;
	u->ncells += s->ncells;
	u->nservers++;
}

static void read_servers(struct scope *sc, struct conf_upstream *u)
{
	unsigned n = 0;
	bool bad = false;
	struct htab names;

	for (const struct value *v = conf_value(sc, OPT_upstream_server); v != NULL; v = conf_value_next(v))
		n++;
	u->servers = CONF_NEW(sc->ld, struct conf_server, n);
	u->cell = sc->ld->conf->ncells;
	htab_init(&names);
	for (const struct value *v = conf_value(sc, OPT_upstream_server); v != NULL; v = conf_value_next(v)) {
		if (!v->e->is_off)
			add_server(sc->ld, u, v->e, &names);
	}
	htab_fini(&names);
	for (const struct entry *e = sc->sect->first; e != NULL; e = e->next)
		bad = bad || (e->opt == opt_get(OPT_upstream_server) && e->bad);
	if (!bad && (n == 0 || conf_is_off(sc, OPT_upstream_server)))
		conf_sect_error(sc->ld, sc->sect, "expected at least one server = ADDRESS, got none");
}

/* ---- balance, checks ---- */
static void read_balance(struct scope *sc, struct conf_upstream *u)
{
	static const char *const words[] = { "least_conn", "round_robin", "ip_hash", "hash", "random", "ewma" };
	const struct value *v = conf_value(sc, OPT_upstream_balance);
	unsigned i = 0;

	if (v == NULL)
		return;
	const struct entry *e = v->e;
	const struct word *w = &e->words[0];
	while (i < ARRAY_LEN(words) && !span_eq(w->s, span_of(words[i])))
		i++;
	if (i == ARRAY_LEN(words)) {
		conf_expected(sc->ld, e, e->opt->form, w, conf_nearest(w->s, words, ARRAY_LEN(words)));
		return;
	}
	u->balance = (enum conf_balance)i;
	if (i == CONF_HASH && e->nwords == 1)
		conf_error(sc->ld, e, "expected hash KEY, such as hash $request_uri, got no key");
	else if (i == CONF_HASH ? conf_nwords(sc->ld, e, 2, 2) : conf_nwords(sc->ld, e, 1, 1))
		u->hash_key = i == CONF_HASH ? conf_tmpl(sc->ld, e, &e->words[1], false) : NULL;
}

bool conf_status(struct span s, uint16_t *from, uint16_t *to)
{
	int64_t v;

	if (s.n == 3 && s.p[0] >= '1' && s.p[0] <= '5' && s.p[1] == 'x' && s.p[2] == 'x') {
		*from = (uint16_t)((s.p[0] - '0') * 100);
		*to = (uint16_t)(*from + 99);
		return true;
	}
	if (!conf_uint(s, 100, 599, &v))
		return false;
	*from = *to = (uint16_t)v;
	return true;
}

static void read_check_status(struct scope *sc, struct conf_upstream *u)
{
	struct cursor at = { 0 };
	const struct word *w;

	u->check_status = CONF_NEW(sc->ld, struct conf_range, conf_count_words(sc, OPT_upstream_check_status));
	while ((w = conf_next_word(sc, OPT_upstream_check_status, &at)) != NULL) {
		struct conf_range *r = &u->check_status[u->ncheck_status], high;
		struct span rest = w->s;
		struct span first = span_cut(&rest, '-');
		bool ok = conf_status(first, &r->from, &r->to);

		if (ok && first.n < w->s.n) {
			ok = conf_status(rest, &high.from, &high.to) && high.from >= r->from;
			r->to = high.to;
		}
		if (ok)
			u->ncheck_status++;
		else
			conf_expected(sc->ld, at.v->e, "statuses such as 200, 2xx or 200-399", w, NULL);
	}
	if (conf_is_off(sc, OPT_upstream_check_status))
		conf_error(sc->ld, conf_value(sc, OPT_upstream_check_status)->e,
			   "without any status no server would ever be up");
}

#define CHECK_SERVICE_MAX 101		/* bytes of check_path, where it names a service of gRPC */

static void read_check_words(struct scope *sc, struct conf_upstream *u)
{
	const struct entry *e;
	const struct word *w = conf_word(sc, OPT_upstream_check_path, &e);

	/* With a query, if need be; sent as it is. */
	if (w != NULL) {
		bool ok = w->s.n > 0 && w->s.p[0] == '/';

		for (size_t i = 0; i < w->s.n; i++)
			ok = ok && w->s.p[i] > ' ' && w->s.p[i] < 127;
		if (!ok)
			conf_expected(sc->ld, e, "a path that begins with /", w, NULL);
		else if (u->check == CONF_CHECK_GRPC && w->s.n > CHECK_SERVICE_MAX)
			conf_expected(sc->ld, e, "the name of a service, at most 100 bytes", w, NULL);
		u->check_path = w->s;
	} else {
		u->check_path = SPAN("/");
	}
	w = conf_word(sc, OPT_upstream_check_host, &e);
	if (w != NULL) {
		for (size_t i = 0; i < w->s.n; i++) {
			if (w->s.p[i] > ' ' && w->s.p[i] < 127 && w->s.p[i] != '/')
				continue;
			conf_expected(sc->ld, e, "a host", w, NULL);
			break;
		}
		u->check_host = w->s;
	}
}

static unsigned number(struct scope *sc, enum opt_id id)
{
	int64_t v = conf_number(sc, id);

	return v == CONF_UNSET ? 0 : (unsigned)v;
}

void conf_fill_upstream(struct scope *sc, struct conf_upstream *u)
{
	read_balance(sc, u);
	switch (conf_choice(sc, OPT_upstream_check)) {
	case 1:
		u->check = CONF_CHECK_TCP;
		break;
	case 2:
		u->check = CONF_CHECK_HTTP;
		break;
	case 3:
		u->check = CONF_CHECK_GRPC;
		if (conf_choice(sc, OPT_upstream_protocol) != CONF_HTTP2)
			conf_error(sc->ld, conf_value(sc, OPT_upstream_check)->e, "a check by gRPC needs protocol = http2");
		break;
	}
	read_check_words(sc, u);
	read_check_status(sc, u);
	u->check_interval = conf_number(sc, OPT_upstream_check_interval);
	u->check_timeout = conf_number(sc, OPT_upstream_check_timeout);
	u->check_rise = number(sc, OPT_upstream_check_rise);
	u->check_fall = number(sc, OPT_upstream_check_fall);
	u->check_port = (uint16_t)number(sc, OPT_upstream_check_port);
	u->max_fails = number(sc, OPT_upstream_max_fails);
	u->fail_timeout = conf_number(sc, OPT_upstream_fail_timeout);
	u->max_ejected = number(sc, OPT_upstream_max_ejected);
	u->slow_start = conf_number(sc, OPT_upstream_slow_start);
	u->keepalive = number(sc, OPT_upstream_keepalive);
	u->keepalive_timeout = conf_number(sc, OPT_upstream_keepalive_timeout);
	u->max_queue = number(sc, OPT_upstream_max_queue);
	u->queue_timeout = conf_number(sc, OPT_upstream_queue_timeout);
	u->protocol = (enum conf_protocol)conf_choice(sc, OPT_upstream_protocol);
	u->send_proxy = conf_choice(sc, OPT_upstream_send_proxy);
	(void)conf_choice(sc, OPT_upstream_resolve);
	u->resolve_min = 5000;
	u->resolve_max = 60000;
	u->timeouts[CONF_T_CONNECT] = conf_number(sc, OPT_upstream_connect_timeout);
	u->timeouts[CONF_T_RESPONSE] = conf_number(sc, OPT_upstream_response_timeout);
	u->timeouts[CONF_T_READ] = conf_number(sc, OPT_upstream_read_timeout);
	u->timeouts[CONF_T_WRITE] = conf_number(sc, OPT_upstream_write_timeout);
	u->timeouts[CONF_T_TUNNEL] = conf_number(sc, OPT_upstream_tunnel_timeout);
	conf_upstream_tls(sc, u);
}

void conf_read_upstream(struct load *ld, struct sect *s)
{
	struct conf_upstream *u = s->object;
	struct scope sc;

	conf_scope(ld, s, &sc);
	/* Servers have another port then. */
	u->tls = conf_bool(&sc, OPT_upstream_tls);
	read_servers(&sc, u);
	conf_fill_upstream(&sc, u);
}
