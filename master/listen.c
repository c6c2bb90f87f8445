/*
 * listen.c - permanent listener slots.
 *
 * Owns every listening socket of weir's clients. Called by the master while it
 * starts and when it ends. SO_REUSEPORT would let two programs of one user
 * share a port in silence, so each address is first bound without it: whoever
 * holds it is found then. The sockets of a group are put to listen in the order
 * of their slots, which makes the slot number the position in the kernel's
 * group, and that is what the fence counts on.
 */
#include "master/listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/sock.h"
#include "master/holder.h"
#include "master/master.h"

/* Everybody may connect, as with a TCP port; directories are there to keep people out. */
#define UNIX_MODE 0666

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

/* *shared: taken, but by workers of an earlier master that will leave. */
static bool probe(const struct conf_bind *b, bool *shared)
{
	struct addr a = address_of(b);
	struct holder h = { .pid = 0 };

	*shared = false;
	if (a.family == ADDR_UNIX)
		return true;
	int error = try_bind(&a, b->v6only);
	if (error == 0)
		return true;
	if (error == EADDRINUSE) {
		holder_find(&a, &h);
		if (h.orphans) {
			*shared = true;
			return true;
		}
	}
	complain(b, error, &h);
	return false;
}

static bool open_unix(struct slots *s, const struct conf_bind *b)
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
	for (unsigned slot = 0; slot < s->nslots; slot++)
		s->fds[slot * s->nbinds + b->id] = fd;
	return true;
}

static bool open_tcp(struct slots *s, const struct conf_bind *b)
{
	struct addr a = address_of(b);

	for (unsigned slot = 0; slot < s->nslots; slot++) {
		int fd = sock_listen(&a, LISTEN_BACKLOG, true, b->v6only);

		if (fd < 0) {
			struct holder h = { .pid = 0 };

			complain(b, errno, &h);
			return false;
		}
		s->fds[slot * s->nbinds + b->id] = fd;
	}
	return true;
}

/* All addresses are asked for before one is opened: ours may overlap each other, and every conflict is told at once. */
static bool probe_all(struct slots *s, const struct conf *c)
{
	bool good = true;

	for (unsigned i = 0; i < c->nlistens; i++) {
		for (unsigned j = 0; j < c->listens[i]->nbinds; j++) {
			const struct conf_bind *b = &c->listens[i]->binds[j];
			bool shared;

			must(b->id < c->nbinds);
			if (!probe(b, &shared))
				good = false;
			if (shared)
				log_warn("%s:%u: workers of an earlier master still listen on %.*s; starting beside "
					 "them", b->at.file, b->at.line, SPAN_FMT(b->text));
			if (s != NULL)
				s->groups[b->id] = (struct slot_group){
					.bind = b, .fenceable = !shared && b->addr.family != ADDR_UNIX };
		}
	}
	return good;
}

bool slots_probe(const struct conf *c)
{
	return probe_all(NULL, c);
}

static bool open_all(struct slots *s)
{
	for (unsigned i = 0; i < s->nbinds; i++) {
		const struct conf_bind *b = s->groups[i].bind;

		if (!(b->addr.family == ADDR_UNIX ? open_unix(s, b) : open_tcp(s, b)))
			return false;
	}
	return true;
}

bool slots_init(struct slots *s, const struct conf *c)
{
	const size_t nfds = (size_t)c->nbinds * c->workers;

	*s = (struct slots){ .nbinds = c->nbinds, .nslots = c->workers };
	s->groups = calloc(c->nbinds + 1, sizeof(*s->groups));
	s->fds = malloc((nfds + 1) * sizeof(*s->fds));
	if (s->groups == NULL || s->fds == NULL)
		log_no_memory(nfds * sizeof(*s->fds));
	for (size_t i = 0; i < nfds; i++)
		s->fds[i] = -1;
	if (probe_all(s, c) && open_all(s))
		return true;
	slots_fini(s);
	return false;
}

int *slots_of(const struct slots *s, unsigned slot)
{
	must(slot < s->nslots);
	return s->fds + (size_t)slot * s->nbinds;
}

int slots_fd(const struct slots *s, unsigned slot, unsigned bind)
{
	must(bind < s->nbinds);
	return slots_of(s, slot)[bind];
}

/* The name goes before the socket: who connects after that learns at once that nobody is there. */
static void close_bind(struct slots *s, const struct conf_bind *b)
{
	const bool shared = b->addr.family == ADDR_UNIX;

	if (shared && slots_fd(s, 0, b->id) >= 0)
		unlink(b->addr.path);
	for (unsigned slot = 0; slot < s->nslots; slot++) {
		int *fd = &slots_of(s, slot)[b->id];

		if (*fd >= 0 && (!shared || slot == 0))
			close(*fd);
		*fd = -1;
	}
}

void slots_fini(struct slots *s)
{
	if (s->fds == NULL)
		return;
	for (unsigned i = 0; i < s->nbinds; i++) {
		if (s->groups[i].bind != NULL)
			close_bind(s, s->groups[i].bind);
	}
	free(s->groups);
	free(s->fds);
	*s = (struct slots){ .nbinds = 0 };
}
