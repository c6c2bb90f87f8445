/*
 * listen.c - permanent listener slots.
 *
 * Owns every listening socket of weir's clients. Called by the master while it
 * starts, reloads and ends. SO_REUSEPORT would let two programs of one user
 * share a port in silence, so each address is first bound without it: whoever
 * holds it is found then. The sockets of a group are put to listen in the order
 * of their slots and only ever added and taken off at the end, which makes the
 * slot number the position in the kernel's group: the fence counts on that.
 */
#include "master/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/sock.h"
#include "master/fence.h"
#include "master/holder.h"
#include "master/master.h"
#include "master/store.h"

/* Everybody may connect, as with a TCP port; directories are there to keep people out. */
#define UNIX_MODE 0666
#define SHARED_MAX 1024			/* sockets of others at an address */
#define TRIES 3				/* to find who has an address */

/* Where there is no IPv6, "*:80" is every IPv4 address. */
static struct addr address_of(const struct conf_bind *b)
{
	static const uint8_t any[16];
	struct addr a = b->addr;

	if (a.family == ADDR_V6 && !b->v6only && memcmp(a.v6, any, sizeof(any)) == 0) {
		int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0 && errno == EAFNOSUPPORT)
			a = (struct addr){ .family = ADDR_V4, .port = b->addr.port };
		if (fd >= 0)
			close(fd);
	}
	return a;
}

static const char *advice(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return "permission denied; start as root, give the program CAP_NET_BIND_SERVICE, or take another port";
	case EADDRNOTAVAIL:
		return "no interface of this machine has this address";
	case EAFNOSUPPORT:
		return "this machine does not speak this family of addresses";
	case EEXIST:
		return "there is a file of this name that is no socket; remove it or take another path";
	case ENAMETOOLONG:
		return "the path is too long for a socket (107 bytes)";
	case EMFILE:
	case ENFILE:
		return "there are too few file descriptors; raise the limit (ulimit -n)";
	default:
		return strerror(error);
	}
}

static void complain(const struct conf_bind *b, int error, const struct holder *h)
{
	if (error != EADDRINUSE)
		master_complain("%s:%u: cannot listen on %.*s: %s", b->at.file, b->at.line, SPAN_FMT(b->text),
				advice(error));
	else if (h->pid != 0)
		master_complain("%s:%u: cannot listen on %.*s: process %d (%s) listens there already; stop it or take "
				"another address", b->at.file, b->at.line, SPAN_FMT(b->text), (int)h->pid, h->name);
	else
		master_complain("%s:%u: cannot listen on %.*s: another process listens there already; stop it or take "
				"another address", b->at.file, b->at.line, SPAN_FMT(b->text));
}

/* Binds and lets go at once, never listens: no client is ever met. 0 or errno. */
static int try_bind(const struct addr *a, bool v6only)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	const int on = 1, only = v6only;

	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	int error = 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    (a->family == ADDR_V6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) ||
	    bind(fd, (struct sockaddr *)&ss, len) != 0)
		error = errno;
	close(fd);
	return error;
}

/* Does one of our own groups have this port? Then it is in nobody else's way, and only the kernel knows whether they overlap. */
static bool is_ours(const struct slots *s, const struct addr *a, const struct holder *h)
{
	for (unsigned i = 0; s != NULL && i < s->n; i++) {
		const struct addr *g = &s->groups[i]->addr;

		if (g->family != ADDR_UNIX && g->port == a->port && strncmp(h->name, "weir: ", 6) == 0)
			return true;
	}
	return false;
}

/* To look around takes its time: who held it may have left meanwhile. 0 or errno. */
static int try_and_find(const struct addr *a, bool v6only, struct holder *h)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	int error = 0;

	for (unsigned i = 0; i < TRIES && h->pid == 0; i++) {
		if (i > 0)
			nanosleep(&moment, NULL);
		error = try_bind(a, v6only);
		if (error != EADDRINUSE)
			break;
		holder_find(a, h);
	}
	return error;
}

/* *shared: taken, but by workers of an earlier master that will leave. */
static bool probe(const struct slots *s, const struct conf_bind *b, bool *shared)
{
	struct addr a = address_of(b);
	struct holder h = { .pid = 0 };

	*shared = false;
	if (a.family == ADDR_UNIX)
		return true;
	int error = try_and_find(&a, b->v6only, &h);
	if (error == 0)
		return true;
	if (error == EADDRINUSE) {
		if (is_ours(s, &a, &h))
			return true;
		if (h.orphans) {
			log_warn("%s:%u: workers of an earlier master still listen on %.*s; starting beside them",
				 b->at.file, b->at.line, SPAN_FMT(b->text));
			*shared = true;
			return true;
		}
	}
	complain(b, error, &h);
	return false;
}

/* ---- groups ---- */

struct slot_group *slots_find(const struct slots *s, const struct conf_bind *b)
{
	struct addr a = address_of(b);

	for (unsigned i = 0; i < s->n; i++) {
		struct slot_group *g = s->groups[i];

		if (a.family == ADDR_UNIX ? g->addr.family == ADDR_UNIX && strcmp(g->addr.path, a.path) == 0
					  : g->v6only == b->v6only && addr_eq(&g->addr, &a))
			return g;
	}
	return NULL;
}

static void *grown(void *p, size_t n)
{
	void *more = realloc(p, n > 0 ? n : 1);

	if (more == NULL)
		log_no_memory(n);
	return more;
}

static struct slot_group *add_group(struct slots *s, const struct addr *a, bool v6only)
{
	struct slot_group *g = calloc(1, sizeof(*g));

	if (g == NULL)
		log_no_memory(sizeof(*g));
	g->addr = *a;
	g->v6only = v6only;
	g->single = a->family == ADDR_UNIX;
	if (a->family == ADDR_UNIX && (g->addr.path = strdup(a->path)) == NULL)
		log_no_memory(strlen(a->path));
	s->groups = grown(s->groups, (s->n + 1) * sizeof(struct slot_group *));
	s->groups[s->n++] = g;
	return g;
}

/* From the end on: the kernel fills the gap that another one would leave with the last. */
static void cut(struct slot_group *g, unsigned n)
{
	while (g->n > n)
		close(g->fds[--g->n]);
}

/* The name goes before the socket: who connects after that learns at once that nobody is there. */
static void drop_group(struct slots *s, unsigned i)
{
	struct slot_group *g = s->groups[i];

	if (g->addr.family == ADDR_UNIX && g->n > 0 && !g->lent)
		unlink(g->addr.path);
	cut(g, 0);
	if (g->addr.family == ADDR_UNIX)
		free((void *)g->addr.path);
	free(g->fds);
	free(g->in);
	free(g);
	s->groups[i] = s->groups[--s->n];
}

static void add_slot(struct slot_group *g, int fd)
{
	g->fds[g->n] = fd;
	g->in[g->n++] = g->firm == 0;
}

static void make_room(struct slot_group *g, unsigned n)
{
	g->fds = grown(g->fds, n * sizeof(*g->fds));
	g->in = grown(g->in, n * sizeof(*g->in));
}

static bool open_unix(struct slot_group *g, const struct conf_bind *b)
{
	int fd = sock_listen_unix(b->addr.path, LISTEN_BACKLOG, UNIX_MODE);
	struct holder h = { .pid = 0 };

	if (fd < 0 && errno == EADDRINUSE) {
		holder_find(&b->addr, &h);
		if (h.orphans) {
			/* They serve whom they have; new clients find the new socket by its name. */
			unlink(b->addr.path);
			fd = sock_listen_unix(b->addr.path, LISTEN_BACKLOG, UNIX_MODE);
		} else {
			errno = EADDRINUSE;
		}
	}
	if (fd < 0) {
		complain(b, errno, &h);
		return false;
	}
	add_slot(g, fd);
	return true;
}

static bool open_tcp(struct slot_group *g, const struct conf_bind *b, unsigned n)
{
	/* Before a socket more listens: whom the kernel sent there would wait for a worker that may never come. */
	if (g->past)
		fence_past(g, 0, 0);
	else if (g->firm > 0)
		fence_ahead(g, n);
	while (g->n < n) {
		int fd = sock_listen(&g->addr, LISTEN_BACKLOG, true, b->v6only);

		if (fd < 0) {
			struct holder h = { .pid = 0 };

			complain(b, errno, &h);
			return false;
		}
		add_slot(g, fd);
	}
	return true;
}

/*
 * Workers of an earlier master have sockets here and will close them some time, with whoever is in a queue at that moment. So
 * nobody is sent there any more. The kernel fills the gap that a closed one leaves with the last of the group: as many more
 * sockets as there are old ones stand behind ours for that, so that ours keep their places.
 */
static bool open_shared(struct slot_group *g, const struct conf_bind *b, unsigned n)
{
	unsigned old = holder_count(&g->addr);

	if (old > SHARED_MAX)
		old = 0;
	make_room(g, n + old);
	if (!open_tcp(g, b, n + old))
		return false;
	if (old > 0)
		fence_past(g, old, n);
	return true;
}

static bool open_bind(struct slots *s, const struct conf_bind *b, bool shared, unsigned workers)
{
	struct slot_group *g = slots_find(s, b);

	if (g == NULL) {
		const struct addr a = address_of(b);

		g = add_group(s, &a, b->v6only);
		g->single = g->single || b->single;
		g->fenceable = !shared && !g->single;
	}
	unsigned n = g->single ? 1 : workers;
	if (g->n >= n)
		return true;
	if (shared)
		return open_shared(g, b, n);
	make_room(g, n);
	return g->addr.family == ADDR_UNIX ? open_unix(g, b) : open_tcp(g, b, n);
}

/* The binds of the i-th listener; of [admin] behind the last one. */
static const struct conf_bind *binds_of(const struct conf *c, unsigned i, unsigned *n)
{
	*n = i < c->nlistens ? c->listens[i]->nbinds : c->admin.nbinds;
	return i < c->nlistens ? c->listens[i]->binds : c->admin.binds;
}

/* The admin process accepts from one socket: clients would wait at the others. */
static bool may_keep(const struct slot_group *g, const struct conf_bind *b)
{
	if (g->single || !b->single)
		return true;
	master_complain("%s:%u: %.*s cannot move from [listen] to [admin] while weir runs; that takes a restart",
			b->at.file, b->at.line, SPAN_FMT(b->text));
	return false;
}

/* All addresses are asked for before one is opened: ours may overlap each other, and every conflict is told at once. */
static bool probe_all(const struct slots *s, const struct conf *c, bool *shared)
{
	bool good = true;
	unsigned n;

	for (unsigned i = 0; i <= c->nlistens; i++) {
		const struct conf_bind *b = binds_of(c, i, &n);

		for (; n > 0; n--, b++) {
			const struct slot_group *g = slots_find(s, b);

			must(b->id < c->nbinds);
			shared[b->id] = false;
			good = (g == NULL ? probe(s, b, &shared[b->id]) : may_keep(g, b)) && good;
		}
	}
	return good;
}

bool slots_probe(const struct conf *c)
{
	bool good = true, shared;
	unsigned n;

	for (unsigned i = 0; i <= c->nlistens; i++) {
		for (const struct conf_bind *b = binds_of(c, i, &n); n > 0; n--, b++)
			good = probe(NULL, b, &shared) && good;
	}
	return good;
}

bool slots_check(const struct slots *s, const struct conf *c)
{
	bool *shared = grown(NULL, c->nbinds * sizeof(*shared));
	bool good = probe_all(s, c, shared);

	free(shared);
	return good;
}

bool slots_plan(struct slots *s, const struct conf *c)
{
	bool *shared = grown(NULL, c->nbinds * sizeof(*shared));
	bool good = probe_all(s, c, shared);
	unsigned n;

	for (unsigned i = 0; good && i <= c->nlistens; i++) {
		const struct conf_bind *b = binds_of(c, i, &n);

		for (; good && n > 0; n--, b++)
			good = open_bind(s, b, shared[b->id], c->workers);
	}
	free(shared);
	if (!good)
		slots_undo(s);
	return good;
}

static bool is_named(const struct slots *s, const struct conf *c, const struct slot_group *g)
{
	unsigned n;

	for (unsigned i = 0; i <= c->nlistens; i++) {
		for (const struct conf_bind *b = binds_of(c, i, &n); n > 0; n--, b++) {
			if (slots_find(s, b) == g)
				return true;
		}
	}
	return false;
}

void slots_firm(struct slots *s, const struct conf *c)
{
	for (unsigned i = s->n; i-- > 0;) {
		struct slot_group *g = s->groups[i];

		if (is_named(s, c, g)) {
			g->firm = g->n;
			continue;
		}
		store_drop(s, g);
		drop_group(s, i);
	}
}

void slots_undo(struct slots *s)
{
	for (unsigned i = s->n; i-- > 0;) {
		if (s->groups[i]->firm == 0)
			drop_group(s, i);
		else
			cut(s->groups[i], s->groups[i]->firm);
	}
}

/* ---- of another master, or of who starts us ---- */

/* Where a socket listens; false where it does not. */
static bool look_at(int fd, const char *path, struct addr *a, bool *v6only)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), size = sizeof(int);
	int type = 0, listens = 0, only = 0;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
		return false;
	addr_from_sockaddr(a, (struct sockaddr *)&ss, len);
	if (a->family == ADDR_UNIX)
		a->path = path;
	if (ss.ss_family == AF_INET6)
		getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size);
	*v6only = a->family == ADDR_V6 && only != 0;
	return a->family != ADDR_NONE && (a->family != ADDR_UNIX || path != NULL);
}

bool slots_adopt(struct slots *s, const int *fds, unsigned n, const char *path, bool fenceable, bool single)
{
	struct addr first, a;
	bool v6only, only;

	if (!look_at(fds[0], path, &first, &v6only) || (first.family == ADDR_UNIX && (!single || n != 1)))
		return false;
	for (unsigned i = 1; i < n; i++) {
		if (!look_at(fds[i], NULL, &a, &only) || !addr_eq(&a, &first) || only != v6only)
			return false;
	}
	struct slot_group *g = add_group(s, &first, v6only);
	make_room(g, n);
	for (unsigned i = 0; i < n; i++) {
		sock_set_nonblock(fds[i]);
		add_slot(g, fds[i]);
	}
	g->firm = n;
	g->single = single;
	g->fenceable = fenceable && !single;
	g->lent = g->stale = true;
	return true;
}

void slots_lend(struct slots *s, bool lent)
{
	for (unsigned i = 0; i < s->n; i++)
		s->groups[i]->lent = lent;
}

void slots_fini(struct slots *s)
{
	while (s->n > 0)
		drop_group(s, s->n - 1);
	free(s->groups);
	free(s->dropped);
	*s = (struct slots){ .n = 0 };
}
