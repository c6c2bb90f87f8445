/*
 * resolve.c - c-ares on our loop.
 *
 * Called by names.c in the checker. Owns the channel and the watches of its
 * descriptors, which c-ares opens and closes as it likes. Everything that
 * comes over the network is parsed by c-ares; here its results are only
 * converted, bounded and rid of what cannot be reached. Knows no servers.
 */
#include "worker/resolve.h"

#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"

#define TRY_MS 1000			/* the first try of a server; doubles with each round */
#define TRIES 3
#define ROUNDS_MAX 64			/* reads of one descriptor in one turn */
#define RENEW_MS 30000
#define SOCKS_MAX 32			/* two for each name server */

struct sock_watch {
	struct watch watch;
	struct list node;
	struct grave grave;
	struct resolver *resolver;
	int fd;
	bool write;			/* c-ares has something to send on it */
};

/* ---- descriptors and time ---- */

static void set_timer(struct resolver *r)
{
	struct timeval tv;

	if (ares_timeout(r->channel, NULL, &tv) == NULL) {
		timer_stop(&r->loop->wheel, &r->timer);
		return;
	}
	timer_set(&r->loop->wheel, &r->timer,
		  r->loop->now_ms + (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1);
}

static void on_timer(struct timer *t)
{
	struct resolver *r = container_of(t, struct resolver, timer);

	OBJ_CHECK(r, RESOLVER_MAGIC);
	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_timer(r);
}

/* c-ares reads a stream once per call, our events come once per edge: go on while there is more. */
static void on_sock_event(struct watch *w, uint32_t events)
{
	struct sock_watch *s = container_of(w, struct sock_watch, watch);
	struct resolver *r = s->resolver;
	struct pollfd more = { .fd = s->fd, .events = POLLIN };
	bool write = (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;

	for (unsigned i = 0; i < ROUNDS_MAX && w->on_event != NULL; i++) {
		ares_process_fd(r->channel, s->fd, write ? s->fd : ARES_SOCKET_BAD);
		write = false;
		if (w->on_event == NULL || poll(&more, 1, 0) <= 0)
			break;
	}
	set_timer(r);
}

static void on_sock_buried(struct grave *g)
{
	free(container_of(g, struct sock_watch, grave));
}

static void forget_sock(struct sock_watch *s)
{
	s->watch.on_event = NULL;
	list_del(&s->node);
	loop_bury(s->resolver->loop, &s->grave, on_sock_buried);
}

/*
 * c-ares sends on a stream only when told that it is writable. We hear of that
 * once, and not again when it has more to send later: so try at once; what does
 * not go out now makes an edge when it can.
 */
static void on_flush(struct task *t)
{
	struct resolver *r = container_of(t, struct resolver, flush);
	int fds[SOCKS_MAX];
	unsigned n_fds = 0;

	OBJ_CHECK(r, RESOLVER_MAGIC);
	list_each(n, &r->socks) {
		const struct sock_watch *s = list_entry(n, struct sock_watch, node);

		if (s->write && n_fds < SOCKS_MAX)
			fds[n_fds++] = s->fd;
	}
	for (unsigned i = 0; i < n_fds; i++)
		ares_process_fd(r->channel, ARES_SOCKET_BAD, fds[i]);
	set_timer(r);
}

/* c-ares says what it waits for on a descriptor; neither: it will be closed. */
static void on_sock_state(void *owner, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = owner;
	struct sock_watch *s;

	list_each(n, &r->socks) {
		s = list_entry(n, struct sock_watch, node);
		if (s->fd != fd)
			continue;
		s->write = writable;
		if (writable)
			loop_defer(r->loop, &r->flush);
		if (!readable && !writable)
			forget_sock(s);
		return;
	}
	if (!readable && !writable)
		return;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return;			/* the query times out */
	s->resolver = r;
	s->fd = fd;
	s->write = writable;
	s->watch.on_event = on_sock_event;
	list_append(&r->socks, &s->node);
	if (!loop_watch(r->loop, fd, &s->watch))
		forget_sock(s);
}

/* ---- the channel ---- */

/* "A,B,C" of the configured name servers. */
static char *servers_csv(const struct conf *c)
{
	char *csv = calloc(c->nresolvers, ADDR_TEXT + 1), *at = csv;

	for (unsigned i = 0; csv != NULL && i < c->nresolvers; i++) {
		struct addr a = c->resolvers[i];

		if (a.port == 0)
			a.port = 53;
		if (i > 0)
			*at++ = ',';
		at += addr_text(&a, at, ADDR_TEXT);
	}
	return csv;
}

static int open_channel(struct resolver *r)
{
	struct ares_options o = { .timeout = TRY_MS, .tries = TRIES, .sock_state_cb = on_sock_state,
				  .sock_state_cb_data = r };
	int rc = ares_init_options(&r->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);

	r->born_ms = r->loop->now_ms;
	r->renew = false;
	if (rc != ARES_SUCCESS) {
		r->channel = NULL;
		return rc;
	}
	if (r->conf->nresolvers == 0)
		return ARES_SUCCESS;
	char *csv = servers_csv(r->conf);
	rc = csv != NULL ? ares_set_servers_ports_csv(r->channel, csv) : ARES_ENOMEM;
	free(csv);
	if (rc != ARES_SUCCESS) {
		ares_destroy(r->channel);
		r->channel = NULL;
	}
	return rc;
}

bool resolver_init(struct resolver *r, struct loop *l, const struct conf *c, const char **why)
{
	*r = (struct resolver){ .magic = RESOLVER_MAGIC, .loop = l, .conf = c };
	list_init(&r->socks);
	timer_init(&r->timer, on_timer);
	task_init(&r->flush, on_flush);
	int rc = ares_library_init(ARES_LIB_INIT_ALL);
	if (rc == ARES_SUCCESS)
		rc = open_channel(r);
	if (rc == ARES_SUCCESS)
		return true;
	*why = ares_strerror(rc);
	return false;
}

void resolver_fini(struct resolver *r)
{
	OBJ_CHECK(r, RESOLVER_MAGIC);
	if (r->channel != NULL)
		ares_destroy(r->channel);
	timer_stop(&r->loop->wheel, &r->timer);
	loop_cancel(&r->flush);
	ares_library_cleanup();
	r->magic = 0;
}

/* The machine may have moved to another network: its name servers are read again when none of the old ones answers. */
static void renew(struct resolver *r)
{
	if (!r->renew || r->nasked > 0 || r->loop->now_ms < r->born_ms + RENEW_MS)
		return;
	struct ares_channeldata *old = r->channel;
	if (open_channel(r) == ARES_SUCCESS)
		ares_destroy(old);
	else
		r->channel = old;
}

/* ---- answers ---- */

static bool is_known(const struct resolver *r, unsigned n, const struct addr *a)
{
	for (unsigned i = 0; i < n; i++) {
		if (addr_eq_ip(&r->addrs[i], a))
			return true;
	}
	return false;
}

/* Asks the routing table; nothing is sent. */
static bool is_reachable(const struct addr *a)
{
	struct addr to = *a;
	struct sockaddr_storage ss;

	to.port = 9;
	socklen_t len = addr_to_sockaddr(&to, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno != EAFNOSUPPORT;
	bool good = connect(fd, (struct sockaddr *)&ss, len) == 0 || (errno != ENETUNREACH && errno != EADDRNOTAVAIL
								       && errno != EHOSTUNREACH && errno != EACCES);
	close(fd);
	return good;
}

/* A machine without IPv6 has no use for such addresses, as long as there are others. */
static unsigned without_unreachable(struct resolver *r, unsigned n)
{
	unsigned v4 = 0, kept = 0;

	for (unsigned i = 0; i < n; i++)
		v4 += r->addrs[i].family == ADDR_V4;
	if (v4 == 0)
		return n;
	for (unsigned i = 0; i < n; i++) {
		if (r->addrs[i].family == ADDR_V4 || is_reachable(&r->addrs[i]))
			r->addrs[kept++] = r->addrs[i];
	}
	return kept;
}

static unsigned collect(struct resolver *r, const struct ares_addrinfo *info, uint32_t *ttl_s)
{
	uint32_t ttl = UINT32_MAX;
	unsigned n = 0;

	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
		struct addr a;

		addr_from_sockaddr(&a, node->ai_addr, node->ai_addrlen);
		if (a.family != ADDR_V4 && a.family != ADDR_V6)
			continue;
		a.port = 0;
		if (node->ai_ttl >= 0 && (uint32_t)node->ai_ttl < ttl)
			ttl = (uint32_t)node->ai_ttl;
		if (n < RESOLVE_MAX && !is_known(r, n, &a))
			r->addrs[n++] = a;
	}
	for (const struct ares_addrinfo_cname *c = info->cnames; c != NULL; c = c->next) {
		if (c->ttl >= 0 && (uint32_t)c->ttl < ttl)
			ttl = (uint32_t)c->ttl;
	}
	*ttl_s = ttl == UINT32_MAX ? 0 : ttl;
	return without_unreachable(r, n);
}

static enum resolve_rc outcome(int status, unsigned n)
{
	if (status == ARES_SUCCESS)
		return n > 0 ? RESOLVE_OK : RESOLVE_NONE;
	if (status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_EBADNAME)
		return RESOLVE_NONE;
	return RESOLVE_FAILED;
}

static const char *outcome_text(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
		return "there is no such name";
	case ARES_SUCCESS:
	case ARES_ENODATA:
		return "it has no address";
	case ARES_ETIMEOUT:
		return "no name server answered";
	case ARES_ESERVFAIL:
		return "the name servers failed to find out";
	default:
		return ares_strerror(status);
	}
}

static void on_addrinfo(void *owner, int status, int timeouts, struct ares_addrinfo *info)
{
	struct query *q = owner;
	struct resolver *r = q->resolver;
	struct answer a = { .addrs = r->addrs };

	(void)timeouts;
	OBJ_CHECK(r, RESOLVER_MAGIC);
	q->asked = false;
	r->nasked--;
	if (status == ARES_SUCCESS)
		a.n = collect(r, info, &a.ttl_s);
	if (info != NULL)
		ares_freeaddrinfo(info);
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		return;
	enum resolve_rc rc = outcome(status, a.n);
	a.text = outcome_text(status);
	r->renew = r->renew || (rc == RESOLVE_FAILED && r->conf->nresolvers == 0);
	q->on_answer(q, rc, &a);
}

void resolver_ask(struct resolver *r, struct query *q, struct span host, query_fn *on_answer)
{
	const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
						   .ai_flags = ARES_AI_NOSORT };
	char text[256];

	OBJ_CHECK(r, RESOLVER_MAGIC);
	must(!q->asked);
	if (host.n >= sizeof(text)) {
		on_answer(q, RESOLVE_NONE, &(struct answer){ .text = "it is too long for a name" });
		return;
	}
	renew(r);
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	q->resolver = r;
	q->on_answer = on_answer;
	q->asked = true;
	r->nasked++;
	ares_getaddrinfo(r->channel, text, NULL, &hints, on_addrinfo, q);
	set_timer(r);
}
