/*
 * conf_admin.c - reads [admin].
 *
 * Called by conf.c. The pages show what goes on inside; whoever is not on this
 * machine sees them only where the configuration names him.
 */
#include "common/conf_parts.h"

static bool is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return a->family == ADDR_V4 ? a->v4[0] == 127 : a->family == ADDR_V6 && memcmp(a->v6, one, sizeof(one)) == 0;
}

static void read_binds(struct scope *sc, struct conf_admin *a)
{
	struct cursor at = { 0 };
	const struct word *w;

	a->binds = CONF_NEW(sc->ld, struct conf_bind, conf_count_words(sc, OPT_admin_bind));
	while ((w = conf_next_word(sc, OPT_admin_bind, &at)) != NULL) {
		struct conf_bind *b = &a->binds[a->nbinds];

		if (!conf_read_bind(sc->ld, at.v->e, w, b))
			continue;
		if (b->addr.family == ADDR_UNIX) {
			conf_expected(sc->ld, at.v->e, "ADDRESS:PORT such as 127.0.0.1:9080", w, NULL);
			continue;
		}
		if (!is_loopback(&b->addr) && !a->has_allow) {
			conf_error(sc->ld, at.v->e, "%s can be reached from other machines: allow has to say by whom",
				   conf_show(sc->ld->arena, w->shown));
			continue;
		}
		b->single = true;
		b->id = sc->ld->conf->nbinds++;
		a->nbinds++;
	}
}

static void read_hosts(struct scope *sc, struct conf_admin *a)
{
	struct cursor at = { 0 };
	const struct word *w;

	a->hosts = CONF_NEW(sc->ld, struct span, conf_count_words(sc, OPT_admin_host));
	while ((w = conf_next_word(sc, OPT_admin_host, &at)) != NULL) {
		struct conf_host h;

		if (!conf_read_host(sc->ld, at.v->e, w, &h))
			continue;
		if (h.wildcard)
			conf_expected(sc->ld, at.v->e, "a host name without *", w, NULL);
		a->hosts[a->nhosts++] = h.name;
	}
}

void conf_read_admin(struct load *ld, struct sect *s)
{
	struct conf_admin *a = &ld->conf->admin;
	struct scope sc;

	s->object = a;
	conf_scope(ld, s, &sc);
	a->allow = conf_nets(&sc, OPT_admin_allow, &a->nallow);
	a->has_allow = conf_first(&sc, OPT_admin_allow) != NULL;
	read_hosts(&sc, a);
	read_binds(&sc, a);
	if (a->nbinds == 0 && conf_first(&sc, OPT_admin_bind) == NULL)
		conf_sect_warn(ld, s, "has no bind, so that there are no pages");
}
