/*
 * store.c - listening sockets that a supervisor keeps for us.
 *
 * Called by main() and the master's start for what comes in, by the loop for
 * what goes out. Owns the names: weir-ORDER-ADDRESS-SLOT, where ORDER is f when
 * the slots are known to stand in order in the kernel's group, so that the
 * fence can count on it, and n when not. Nothing depends on an answer.
 */
#include "master/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/master.h"
#include "master/notify.h"

#define FIRST_FD 3
#define FDS_MAX 4096
#define NAME_MAX_BYTES 256

struct store store_take(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	struct store st = { .n = 0 };

	if (pid != NULL && n != NULL && atoi(pid) == (int)getpid() && atoi(n) > 0 && atoi(n) <= FDS_MAX) {
		st.n = (unsigned)atoi(n);
		st.names = names != NULL ? strdup(names) : NULL;
	}
	for (unsigned i = 0; i < st.n; i++)
		fcntl(FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return st;
}

/* ---- names ---- */

/* Neither colons nor anything odd may stand in one, and paths may be longer than a name. */
static void name_of(const struct slot_group *g, unsigned slot, char *out, size_t size)
{
	char address[ADDR_TEXT];

	if (g->addr.family == ADDR_UNIX)
		snprintf(address, sizeof(address), "unix.%016llx",
			 (unsigned long long)span_hash(span_of(g->addr.path), 1));
	else
		addr_text(&g->addr, address, sizeof(address));
	for (char *p = address; *p != '\0'; p++) {
		if (*p == ':' || *p == '%')
			*p = '_';
	}
	snprintf(out, size, "weir-%c-%s%s-%u", g->fenceable ? 'f' : 'n', address, g->v6only ? ".v6" : "", slot);
}

/* -1: not one of ours. */
static int slot_of(const char *name, bool *ordered)
{
	const char *last = strrchr(name, '-');

	if (strncmp(name, "weir-f-", 7) != 0 && strncmp(name, "weir-n-", 7) != 0)
		return -1;
	*ordered = name[5] == 'f';
	return last[1] >= '0' && last[1] <= '9' ? atoi(last + 1) : -1;
}

/* ---- in ---- */

struct came {
	int fd;
	int slot;			/* -1: the supervisor's own */
	bool ordered;
	struct sockaddr_storage ss;
	socklen_t len;
	char name[NAME_MAX_BYTES];
};

static unsigned look(const struct store *st, struct came *v)
{
	const char *p = st->names;
	unsigned n = 0;

	for (unsigned i = 0; i < st->n; i++) {
		struct came *c = &v[n];
		size_t len = p != NULL ? strcspn(p, ":") : 0;

		*c = (struct came){ .fd = FIRST_FD + (int)i, .len = sizeof(c->ss) };
		snprintf(c->name, sizeof(c->name), "%.*s", (int)len, p != NULL ? p : "");
		p = p != NULL && p[len] == ':' ? p + len + 1 : NULL;
		c->slot = slot_of(c->name, &c->ordered);
		if (getsockname(c->fd, (struct sockaddr *)&c->ss, &c->len) == 0)
			n++;
		else
			close(c->fd);
	}
	return n;
}

static int by_address(const void *a, const void *b)
{
	const struct came *x = a, *y = b;
	int d = x->len != y->len ? (x->len < y->len ? -1 : 1) : memcmp(&x->ss, &y->ss, x->len);

	return d != 0 ? d : x->slot - y->slot;
}

static bool same_address(const struct came *a, const struct came *b)
{
	return a->len == b->len && memcmp(&a->ss, &b->ss, a->len) == 0 && (a->slot < 0) == (b->slot < 0);
}

/* n sockets of one address, in the order of their slots. */
static void adopt_group(struct slots *s, struct came *v, unsigned n)
{
	const bool is_unix = v[0].ss.ss_family == AF_UNIX, single = v[0].slot < 0 || is_unix;
	const char *path = is_unix ? ((const struct sockaddr_un *)&v[0].ss)->sun_path : NULL;
	int *fds = calloc(n, sizeof(*fds));
	bool ordered = !single;

	if (fds == NULL)
		log_no_memory(n * sizeof(*fds));
	for (unsigned i = 0; i < n; i++) {
		ordered = ordered && v[i].ordered && v[i].slot == (int)i;
		fds[i] = v[i].fd;
	}
	unsigned use = single ? 1 : n;
	bool good = slots_adopt(s, fds, use, path, ordered, single);
	if (!good)
		log_warn("The supervisor handed over a descriptor \"%s\" that is no listening socket", v[0].name);
	for (unsigned i = good ? use : 0; i < n; i++)
		close(fds[i]);
	/* The file of an address that the supervisor opened is the supervisor's. */
	if (good && v[0].slot >= 0) {
		s->groups[s->n - 1]->lent = false;
		s->groups[s->n - 1]->stored = use;
	}
	free(fds);
}

void store_adopt(const struct store *st, struct slots *s)
{
	struct came *v = calloc(st->n + 1, sizeof(*v));

	if (v == NULL)
		log_no_memory((st->n + 1) * sizeof(*v));
	unsigned n = look(st, v);
	qsort(v, n, sizeof(*v), by_address);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && same_address(&v[i], &v[k]);)
			k++;
		adopt_group(s, v + i, k - i);
	}
	if (st->n > 0)
		log_notice("The supervisor handed over %u sockets of %u addresses", n, s->n);
	free(v);
}

/* ---- out ---- */

static void put_group(struct slot_group *g)
{
	char name[NAME_MAX_BYTES], text[NAME_MAX_BYTES + 32];

	for (; g->stored < g->firm; g->stored++) {
		name_of(g, g->stored, name, sizeof(name));
		snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
		if (!notify_fd(text, g->fds[g->stored]))
			return;		/* the next turn goes on here */
	}
}

void store_tend(struct master *m)
{
	if (m->state != MASTER_RUNNING || m->upgrade.state > UPGRADE_ASKED || m->now_ms < m->store_ms ||
	    !notify_is_wanted())
		return;
	for (unsigned i = 0; i < m->slots.n; i++)
		put_group(m->slots.groups[i]);
}

void store_drop(const struct slot_group *g)
{
	char name[NAME_MAX_BYTES], text[NAME_MAX_BYTES + 32];

	for (unsigned i = 0; i < g->stored; i++) {
		name_of(g, i, name, sizeof(name));
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
		notify_systemd(text);
	}
}
