/*
 * conf_weir.c - reads [weir] and what is general about layered keys.
 *
 * Called by conf.c. Asks the machine for two things only: how many CPUs this
 * process may use, and whether it runs as root.
 */
#include <sched.h>
#include <unistd.h>

#include "common/conf_parts.h"

/* At once more CPUs than fit a plain cpu_set_t make the call fail; then the kernel's count will do. */
static unsigned cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

static unsigned workers(struct load *ld)
{
	const struct opt *o = opt_get(OPT_weir_workers);
	const struct value *v = conf_value(&ld->weir, o->id);
	int64_t n;

	if (v == NULL || !conf_nwords(ld, v->e, 1, 1))
		return 1;
	const struct word *w = &v->e->words[0];
	if (span_eq(w->s, SPAN("auto"))) {
		unsigned found = cpus();

		return found > (unsigned)o->max ? (unsigned)o->max : found;
	}
	if (conf_uint(w->s, o->min, o->max, &n))
		return (unsigned)n;
	conf_expected(ld, v->e, arena_printf(ld->arena, "auto or %d to %d", (int)o->min, (int)o->max), w, NULL);
	return 1;
}

static const char *name(struct load *ld, enum opt_id id)
{
	const struct entry *e;
	const struct word *w = conf_word(&ld->weir, id, &e);

	if (w == NULL)
		return NULL;
	if (w->s.n == 0 || memchr(w->s.p, '\0', w->s.n) != NULL) {
		conf_expected(ld, e, "a name", w, NULL);
		return NULL;
	}
	return arena_str(ld->arena, w->s);
}

static const char *path(struct load *ld, enum opt_id id)
{
	const struct entry *e;
	const struct word *w = conf_word(&ld->weir, id, &e);

	return w != NULL ? conf_file_word(ld, e, w) : NULL;
}

static const char *control(struct load *ld)
{
	if (conf_value(&ld->weir, OPT_weir_control) == NULL)
		return geteuid() == 0 ? "/run/weir/weir.sock" : NULL;
	const char *p = path(ld, OPT_weir_control);
	if (p != NULL && strlen(p) > CONF_UNIX_MAX)
		conf_error(ld, conf_value(&ld->weir, OPT_weir_control)->e, "expected a path of up to %d bytes, got %zu: \"%s\"",
			   CONF_UNIX_MAX, strlen(p), p);
	return p;
}

static const struct conf_log *error_log(struct load *ld)
{
	static const struct word null = { .s = { "/dev/null", 9 }, .t = { "/dev/null", 9 }, .shown = { "off", 3 } };
	const struct entry *e;

	if (conf_is_off(&ld->weir, OPT_weir_error_log))
		return conf_log_target(ld, conf_value(&ld->weir, OPT_weir_error_log)->e, &null, false);
	const struct word *w = conf_word(&ld->weir, OPT_weir_error_log, &e);
	return w != NULL ? conf_log_target(ld, e, w, false) : NULL;
}

static void resolvers(struct load *ld)
{
	struct conf *c = ld->conf;
	struct cursor at = { 0 };
	const struct word *w;

	c->resolvers = CONF_NEW(ld, struct addr, conf_count_words(&ld->weir, OPT_weir_resolver));
	while ((w = conf_next_word(&ld->weir, OPT_weir_resolver, &at)) != NULL) {
		struct addr *a = &c->resolvers[c->nresolvers];

		if (addr_parse_ip(w->s, a))
			a->port = 53;
		else if (!addr_parse(w->s, a)) {
			conf_expected(ld, at.v->e, "an address such as 10.0.0.2, 10.0.0.2:5353 or [::1]:53", w, NULL);
			continue;
		}
		c->nresolvers++;
	}
}

void conf_read_weir(struct load *ld)
{
	static const enum opt_id timeouts[CONF_T__N] = {
		[CONF_T_CONNECT] = OPT_upstream_connect_timeout, [CONF_T_RESPONSE] = OPT_upstream_response_timeout,
		[CONF_T_READ] = OPT_upstream_read_timeout, [CONF_T_WRITE] = OPT_upstream_write_timeout,
		[CONF_T_TUNNEL] = OPT_upstream_tunnel_timeout
	};
	struct conf *c = ld->conf;

	c->workers = workers(ld);
	c->user = name(ld, OPT_weir_user);
	c->group = name(ld, OPT_weir_group);
	c->pid_file = path(ld, OPT_weir_pid_file);
	c->control = control(ld);
	c->error_log = error_log(ld);
	c->log_level = (enum log_level)conf_choice(&ld->weir, OPT_weir_log_level);
	c->max_connections = conf_number(&ld->weir, OPT_weir_max_connections);
	c->shutdown_timeout = conf_number(&ld->weir, OPT_weir_shutdown_timeout);
	c->tunnel_shutdown_timeout = conf_number(&ld->weir, OPT_weir_tunnel_shutdown_timeout);
	c->orphan_timeout = conf_number(&ld->weir, OPT_weir_orphan_timeout);
	resolvers(ld);
	c->general.max_body_size = conf_number(&ld->general, OPT_listen_max_body_size);
	for (unsigned i = 0; i < CONF_T__N; i++)
		c->general.timeouts[i] = conf_number(&ld->general, timeouts[i]);
	conf_logging(&ld->general, &ld->general_log);
}
