/*
 * accept.c - listening sockets of one worker.
 *
 * Owns the interest in a listening descriptor, which itself belongs to the
 * master's slot and is never closed here. Called by the loop and by the worker
 * when connections end. Knows nothing of what is spoken on a connection.
 */
#include "worker/io/accept.h"

#include <errno.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"

#define BACKOFF_MS 100
#define CLOSE_BATCH 65536		/* the longest queue there is */
#define WARN_EVERY_MS 60000

static void apply(struct acceptor *a, bool pause)
{
	if (!pause)
		timer_stop(&a->loop->wheel, &a->retry);
	if (a->paused == pause)
		return;
	a->paused = pause;
	loop_pause_input(a->loop, a->fd, &a->watch, pause, a->shared);
}

static bool is_full(struct acceptor *a)
{
	return a->may_accept != NULL && !a->may_accept(a);
}

void acceptor_update(struct acceptor *a)
{
	OBJ_CHECK(a, ACCEPT_MAGIC);
	apply(a, a->off || is_full(a));
}

void acceptor_stop(struct acceptor *a)
{
	OBJ_CHECK(a, ACCEPT_MAGIC);
	a->off = true;
	timer_stop(&a->loop->wheel, &a->retry);
	acceptor_update(a);
}

static void on_retry(struct timer *t)
{
	struct acceptor *a = container_of(t, struct acceptor, retry);

	acceptor_update(a);
}

/* The connection died in the queue, or its network did: the next one may be fine. accept(2) has the list. */
static bool is_passing(int error)
{
	switch (error) {
	case EINTR: case ECONNABORTED: case EPROTO: case ENOPROTOOPT: case EPERM: case ENETDOWN: case ENETUNREACH:
	case EHOSTDOWN: case EHOSTUNREACH: case ENONET: case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

/* The queue keeps who waits; asking again at once would only spin. */
static void back_off(struct acceptor *a, int error)
{
	uint64_t now = a->loop->now_ms;
	char at[ADDR_TEXT];

	a->errors++;
	apply(a, true);
	timer_set(&a->loop->wheel, &a->retry, now + BACKOFF_MS);
	if (a->warned_ms != 0 && now - a->warned_ms < WARN_EVERY_MS)
		return;
	a->warned_ms = now;
	addr_text(&a->local, at, sizeof(at));
	errno = error;
	log_warn("Cannot accept a connection on %s: %m. New clients wait in the queue; raise the limit of open files or "
		 "lower max_connections.", at);
}

/* False when there is nothing more to accept in this turn. */
static bool accept_one(struct acceptor *a)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr peer;

	if (is_full(a)) {
		apply(a, true);
		return false;
	}
	int fd = accept4(a->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		int error = errno;

		if (error != EAGAIN && !is_passing(error))
			back_off(a, error);
		return is_passing(error);
	}
	addr_from_sockaddr(&peer, (struct sockaddr *)&ss, len);
	if (!a->on_conn(a, fd, &peer))
		close(fd);
	return true;
}

static void on_event(struct watch *w, uint32_t events)
{
	struct acceptor *a = container_of(w, struct acceptor, watch);

	(void)events;
	OBJ_CHECK(a, ACCEPT_MAGIC);
	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		/* The last callback may have stopped us. */
		if (a->magic != ACCEPT_MAGIC || a->paused || !accept_one(a))
			return;
	}
}

void acceptor_close(struct acceptor *a)
{
	OBJ_CHECK(a, ACCEPT_MAGIC);
	if (a->off)
		return;
	for (unsigned i = 0; i < CLOSE_BATCH && accept_one(a); i++)
		;
	acceptor_stop(a);
	close(a->fd);
	a->fd = -1;
}

bool acceptor_init(struct acceptor *a, struct loop *l, int fd, bool shared, accept_fn *on_conn, void *owner)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	*a = (struct acceptor){
		.magic = ACCEPT_MAGIC, .fd = fd, .loop = l, .shared = shared,
		.watch = { .on_event = on_event }, .on_conn = on_conn, .owner = owner,
	};
	timer_init(&a->retry, on_retry);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0) {
		addr_from_sockaddr(&a->local, (struct sockaddr *)&ss, len);
		if (loop_watch_input(l, fd, &a->watch, shared))
			return true;
	}
	a->magic = 0;
	return false;
}

void acceptor_fini(struct acceptor *a)
{
	OBJ_CHECK(a, ACCEPT_MAGIC);
	acceptor_stop(a);
	a->watch.on_event = NULL;
	a->magic = 0;
}
