/*
 * conf_machine.c - what can only be judged on the machine: names that do not resolve,
 * limits that cannot be had, accounts and directories that are not there.
 *
 * Called by -t, after conf_load(). Takes two seconds at most, whatever the
 * resolver does, and changes nothing.
 */
#include <ares.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/conf_parts.h"

#define LOOKUP_MS 2000			/* for all names together */
#define LOOKUPS_AT_ONCE 64

struct machine {
	const struct conf *c;
	struct arena *arena;
	struct conf_msgs *msgs;
};

__attribute__((format(printf, 5, 6)))
static void complain(struct machine *m, bool warning, struct conf_msg where, const char *key, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	where.warning = warning;
	where.key = key;
	where.text = arena_str(m->arena, span_of(text));
	conf_msgs_add(m->arena, m->msgs, where);
}

/* Where an option of [weir] was set. */
static struct conf_msg at_option(const struct machine *m, enum opt_id id)
{
	for (const struct value *v = m->c->text->weir; v != NULL; v = v->next) {
		if (v->e->opt->id == id && v->layer != LAYER_BUILT_IN)
			return (struct conf_msg){ .at = { v->e->file->name, v->e->line }, .section = "[weir]" };
	}
	return (struct conf_msg){ .at = { m->c->file, 0 }, .section = "[weir]" };
}

/* ---- names ---- */
enum answer { ANSWER_NONE, ANSWER_GOOD, ANSWER_BAD };
struct lookup {
	const struct conf_upstream *upstream;
	const struct conf_server *server;
	char *name;
	enum answer answer;
	int status;
	unsigned *pending;
};

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
	struct lookup *l = arg;

	(void)timeouts;
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	l->answer = status == ARES_SUCCESS && found != NULL && found->nodes != NULL ? ANSWER_GOOD : ANSWER_BAD;
	l->status = status;
	(*l->pending)--;
	ares_freeaddrinfo(found);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Waits for the sockets of the channel once, and lets it work. */
static void turn(ares_channel channel, int64_t left)
{
	ares_socket_t socks[ARES_GETSOCK_MAXNUM];
	struct pollfd fds[ARES_GETSOCK_MAXNUM];
	int bits = ares_getsock(channel, socks, ARES_GETSOCK_MAXNUM);
	nfds_t n = 0;

	/* Not the last: the macro of the library shifts a sign bit for it. */
	for (int i = 0; i < ARES_GETSOCK_MAXNUM - 1; i++) {
		short in = ARES_GETSOCK_READABLE(bits, i) ? POLLIN : 0;
		short events = (short)(in | (ARES_GETSOCK_WRITABLE(bits, i) ? POLLOUT : 0));

		if (events != 0)
			fds[n++] = (struct pollfd){ .fd = socks[i], .events = events };
	}
	(void)poll(fds, n, (int)(left < 50 ? left : 50));
	for (nfds_t i = 0; i < n; i++) {
		bool in = fds[i].revents & (POLLIN | POLLERR | POLLHUP), out = fds[i].revents & POLLOUT;

		if (in || out)
			ares_process_fd(channel, in ? fds[i].fd : ARES_SOCKET_BAD, out ? fds[i].fd : ARES_SOCKET_BAD);
	}
	ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static bool set_resolvers(const struct machine *m, ares_channel channel)
{
	const char *csv = "";
	char text[ADDR_TEXT + 8];

	for (unsigned i = 0; i < m->c->nresolvers; i++) {
		addr_text(&m->c->resolvers[i], text, sizeof(text));
		csv = arena_printf(m->arena, "%s%s%s", csv, i > 0 ? "," : "", text);
	}
	return m->c->nresolvers == 0 || ares_set_servers_ports_csv(channel, csv) == ARES_SUCCESS;
}

static void ask_all(struct machine *m, struct lookup *v, unsigned n)
{
	struct ares_options options = { .timeout = LOOKUP_MS, .tries = 1 };
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT };
	int64_t end = now_ms() + LOOKUP_MS;
	unsigned asked = 0, pending = 0;
	ares_channel channel;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return;
	if (ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) == ARES_SUCCESS) {
		while (set_resolvers(m, channel) && (asked < n || pending > 0) && now_ms() < end) {
			while (asked < n && pending < LOOKUPS_AT_ONCE) {
				pending++;
				v[asked].pending = &pending;
				ares_getaddrinfo(channel, v[asked].name, NULL, &hints, on_answer, &v[asked]);
				asked++;
			}
			if (pending > 0)
				turn(channel, end - now_ms());
		}
		ares_destroy(channel);
	}
	ares_library_cleanup();
}

static unsigned gather(const struct machine *m, struct lookup *out)
{
	struct htab seen;
	unsigned n = 0;

	htab_init(&seen);
	for (unsigned i = 0; i < m->c->nupstreams; i++) {
		const struct conf_upstream *u = m->c->upstreams[i];

		for (unsigned k = 0; k < u->nservers; k++) {
			const struct conf_server *s = &u->servers[k];

			if (s->host.n == 0 || s->disabled || htab_get(&seen, s->host) != NULL)
				continue;
			htab_put(&seen, s->host, (void *)s);
			if (out != NULL)
				out[n] = (struct lookup){ .upstream = u, .server = s, .name = arena_str(m->arena, s->host) };
			n++;
		}
	}
	htab_fini(&seen);
	return n;
}

static void check_names(struct machine *m)
{
	unsigned n = gather(m, NULL);

	if (n == 0)
		return;
	struct lookup *v = arena_zalloc(m->arena, sizeof(*v) * n);
	gather(m, v);
	ask_all(m, v, n);
	for (unsigned i = 0; i < n; i++) {
		const struct conf_server *s = v[i].server;
		const char *section = arena_printf(m->arena, "[upstream %.*s]", SPAN_FMT(v[i].upstream->name));
		struct conf_msg at = { .at = s->at, .section = section };

		if (v[i].answer == ANSWER_BAD)
			complain(m, true, at, "server", "the name %s does not resolve: %s; the server is down until it does",
				 v[i].name, ares_strerror(v[i].status));
		else if (v[i].answer == ANSWER_NONE)
			complain(m, true, at, "server",
				 "the name %s could not be looked up within %d s; the server is down until it is",
				 v[i].name, LOOKUP_MS / 1000);
	}
}

/* ---- limits ---- */
static void check_limits(struct machine *m)
{
	const struct conf *c = m->c;
	/* Two for each connection, and what a worker has open besides. */
	uint64_t own = 64 + (uint64_t)c->nlogs + c->nbinds * (uint64_t)c->workers;
	uint64_t need = own + 2 * (uint64_t)c->max_connections;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_max == RLIM_INFINITY)
		return;
	/* Root raises the limit itself. */
	if (geteuid() == 0 && c->max_connections == 0)
		return;
	if (c->max_connections > 0 && need > lim.rlim_max)
		complain(m, true, at_option(m, OPT_weir_max_connections), "max_connections",
			 "%lld connections need %llu open files, but the limit is %llu: raise it (ulimit -n, LimitNOFILE=) "
			 "or expect about %lld",
			 (long long)c->max_connections, (unsigned long long)need, (unsigned long long)lim.rlim_max,
			 lim.rlim_max > own ? (long long)((lim.rlim_max - own) / 2) : 0);
	else if (c->max_connections == 0 && lim.rlim_max < 1024 + own)
		complain(m, true, at_option(m, OPT_weir_max_connections), "max_connections",
			 "the limit of %llu open files leaves room for about %lld connections in a worker",
			 (unsigned long long)lim.rlim_max, lim.rlim_max > own ? (long long)((lim.rlim_max - own) / 2) : 0);
}

/* ---- accounts, directories ---- */
static void check_accounts(struct machine *m)
{
	const struct conf *c = m->c;

	if (geteuid() != 0)
		return;
	if (c->user != NULL && getpwnam(c->user) == NULL)
		complain(m, false, at_option(m, OPT_weir_user), "user", "there is no account \"%s\" on this machine", c->user);
	if (c->group != NULL && getgrnam(c->group) == NULL)
		complain(m, false, at_option(m, OPT_weir_group), "group", "there is no group \"%s\" on this machine", c->group);
}

/* Whether a file could be written there; nothing is created. */
static const char *not_writable(struct machine *m, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = arena_str(m->arena, span_make(path, slash > path ? (size_t)(slash - path) : 1));

	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
		return NULL;
	if (errno == ENOENT && faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) == 0)
		return NULL;
	return strerror(errno);
}

static void check_files(struct machine *m)
{
	const struct conf *c = m->c;
	const char *why;

	for (unsigned i = 0; i < c->nlogs; i++) {
		if (c->logs[i]->kind != CONF_LOG_FILE || (why = not_writable(m, c->logs[i]->path)) == NULL)
			continue;
		struct conf_msg at = { .at = { c->file, 0 } };
		complain(m, false, c->logs[i] == c->error_log ? at_option(m, OPT_weir_error_log) : at, NULL,
			 "the log %s cannot be written: %s", c->logs[i]->path, why);
	}
	if (c->pid_file != NULL && (why = not_writable(m, c->pid_file)) != NULL)
		complain(m, true, at_option(m, OPT_weir_pid_file), "pid_file", "%s cannot be written: %s", c->pid_file, why);
}

void conf_check_machine(const struct conf *c, struct conf_msgs *msgs)
{
	OBJ_CHECK(c, CONF_MAGIC);
	struct machine m = { c, c->arena, msgs };

	check_accounts(&m);
	check_files(&m);
	check_limits(&m);
	check_names(&m);
}
