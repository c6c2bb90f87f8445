/*
 * conf_check.c - what only shows when all sections are known.
 *
 * Called by conf.c once they are read. Errors: nothing to listen on, one
 * address twice. Warnings: what was written and has no effect.
 */
#include <stdio.h>

#include "common/conf_parts.h"

/* ---- addresses ---- */
struct taken {
	struct load *ld;
	struct htab by_text;		/* canonical address -> struct conf_bind */
	const struct sect *sect;
};

static void take(struct taken *t, const struct conf_bind *b, const char *text)
{
	struct load *ld = t->ld;
	const struct conf_bind *old = htab_get(&t->by_text, span_of(text));

	if (old == NULL) {
		htab_put(&t->by_text, span_of(arena_str(ld->arena, span_of(text))), (void *)b);
		return;
	}
	struct entry at = { .key = SPAN("bind"), .sect = (struct sect *)t->sect, .file = t->sect->file };
	at.line = b->at.line;
	bool same = span_eq(old->text, b->text);
	conf_error(ld, &at, same ? "%s stands twice; the first is at %s:%u" : "%s shares addresses with the bind at %s:%u",
		   conf_show(ld->arena, b->text), old->at.file, old->at.line);
}

static void check_bind(struct taken *t, const struct conf_bind *b)
{
	static const uint8_t any[16];
	char text[ADDR_TEXT + 8];

	if (b->addr.family == ADDR_UNIX) {
		take(t, b, b->addr.path);
		return;
	}
	/* One for all: it takes the place of both families. */
	if (b->addr.family == ADDR_V6 && !b->v6only && memcmp(b->addr.v6, any, sizeof(any)) == 0) {
		(void)snprintf(text, sizeof(text), "0.0.0.0:%u", b->addr.port);
		take(t, b, text);
		if (htab_get(&t->by_text, span_of(text)) != b)
			return;
	}
	addr_text(&b->addr, text, sizeof(text));
	take(t, b, text);
}

static void check_listens(struct load *ld)
{
	struct taken t = { .ld = ld };
	bool any = false;

	htab_init(&t.by_text);
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		const struct conf_listen *l = s->object;

		any = any || s->kind == SECT_listen;
		if (s->kind != SECT_listen || l == NULL)
			continue;
		t.sect = s;
		for (unsigned i = 0; i < l->nbinds; i++)
			check_bind(&t, &l->binds[i]);
	}
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		t.sect = s;
		for (unsigned i = 0; s->kind == SECT_admin && i < ld->conf->admin.nbinds; i++)
			check_bind(&t, &ld->conf->admin.binds[i]);
	}
	htab_fini(&t.by_text);
	if (!any)
		conf_line_error(ld, ld->files[0], 0, "expected at least one [listen NAME] section, got none");
}

/* ---- without effect ---- */
static bool one_of(enum opt_id id, const enum opt_id *ids, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (ids[i] == id)
			return true;
	}
	return false;
}

static const char *upstream_no_effect(const struct conf_upstream *u, enum opt_id id)
{
	static const enum opt_id http[] = { OPT_upstream_check_path, OPT_upstream_check_host, OPT_upstream_check_status };
	static const enum opt_id any[] = { OPT_upstream_check_interval, OPT_upstream_check_timeout, OPT_upstream_check_rise,
					   OPT_upstream_check_fall, OPT_upstream_check_port };
	static const enum opt_id tls[] = { OPT_upstream_tls_verify, OPT_upstream_tls_name, OPT_upstream_tls_ca,
					   OPT_upstream_client_certificate };

	if (u->check != CONF_CHECK_HTTP && one_of(id, http, ARRAY_LEN(http)))
		return "it belongs to check = http";
	if (u->check == CONF_CHECK_OFF && one_of(id, any, ARRAY_LEN(any)))
		return "check is off";
	if (!u->tls && one_of(id, tls, ARRAY_LEN(tls)))
		return "tls is off";
	if (!u->tls_verify && id == OPT_upstream_tls_ca)
		return "tls_verify is off";
	if (u->send_proxy != 0 && (id == OPT_upstream_keepalive || id == OPT_upstream_keepalive_timeout))
		return "connections with a PROXY header are never used again";
	if (u->max_fails == 0 && (id == OPT_upstream_fail_timeout || id == OPT_upstream_max_ejected))
		return "max_fails is 0";
	return NULL;
}

static const char *listen_no_effect(const struct conf_listen *l, enum opt_id id)
{
	static const enum opt_id tls[] = { OPT_listen_certificate, OPT_listen_sni_strict, OPT_listen_tls_min,
					   OPT_listen_tls_ciphers, OPT_listen_client_ca, OPT_listen_client_verify, OPT_listen_hsts };

	return !l->tls && one_of(id, tls, ARRAY_LEN(tls)) ? "this listener does not speak TLS" : NULL;
}

static const char *route_no_effect(const struct conf_route *r, enum opt_id id)
{
	static const enum opt_id proxy[] = {
		OPT_route_split_by, OPT_route_strip_prefix, OPT_route_rewrite, OPT_route_add_prefix, OPT_route_host_header,
		OPT_route_rewrite_location, OPT_route_fallback, OPT_route_retries, OPT_route_retry_on, OPT_route_timeout,
		OPT_route_intercept_errors, OPT_upstream_connect_timeout, OPT_upstream_response_timeout,
		OPT_upstream_read_timeout, OPT_upstream_write_timeout, OPT_upstream_tunnel_timeout
	};

	if (r->action != CONF_UPSTREAM && one_of(id, proxy, ARRAY_LEN(proxy)))
		return "the action of this route is not upstream";
	if (r->nsplit < 2 && id == OPT_route_split_by)
		return "there is only one upstream";
	return NULL;
}

const char *conf_no_effect(const struct sect *s, enum opt_id id)
{
	if (s->kind == SECT_listen)
		return listen_no_effect(s->object, id);
	if (s->kind == SECT_upstream)
		return upstream_no_effect(s->object, id);
	return s->kind == SECT_route ? route_no_effect(s->object, id) : NULL;
}

static void check_effects(struct load *ld, const struct sect *s)
{
	for (const struct value *v = s->values; v != NULL && v->layer == LAYER_OWN; v = v->next) {
		const struct opt *o = v->e->opt;
		const char *why = conf_no_effect(s, o->id);

		/* The default written out, as -T does, promises nothing. */
		if (why != NULL && !v->e->is_off && !span_eq(v->e->shown, span_of(o->def)))
			conf_warn(ld, v->e, "has no effect: %s", why);
	}
}

static void check_upstream(struct load *ld, const struct sect *s, const struct conf_upstream *u)
{
	bool weight = false;

	if (!s->used)
		conf_sect_warn(ld, s, "no route uses this upstream");
	for (unsigned i = 0; i < u->nservers; i++)
		weight = weight || (u->servers[i].weight > 0 && !u->servers[i].disabled);
	if (u->nservers > 0 && !weight)
		conf_sect_warn(ld, s, "every server is disabled or has weight 0: all requests get 503");
	check_effects(ld, s);
}

static void check_route(struct load *ld, const struct sect *s, const struct conf_route *r)
{
	if (r->has_allow && r->nallow == 0)
		conf_sect_warn(ld, s, "allow is empty: every client gets 403");
	check_effects(ld, s);
}

void conf_check(struct load *ld)
{
	check_listens(ld);
	conf_check_tls(ld);
	/* What is useless only shows when the rest is right: an upstream may look unused for a slip in its user. */
	if (ld->msgs->nerrors > 0)
		return;
	for (struct sect *s = ld->first; s != NULL; s = s->next) {
		if (s->bad)
			continue;
		if (s->kind == SECT_listen && s->object != NULL)
			check_effects(ld, s);
		else if (s->kind == SECT_upstream && s->object != NULL)
			check_upstream(ld, s, s->object);
		else if (s->kind == SECT_route && s->object != NULL)
			check_route(ld, s, s->object);
		else if (s->kind == SECT_policy && !s->used)
			conf_sect_warn(ld, s, "no section uses this policy");
	}
}
