/*
 * fuzz_h2conn.c - a whole HTTP/2 connection: frames and compressed heads from anyone, into a worker's client side with the
 * library, exchanges, router and filters behind it, and a handler of this file at the end.
 *
 * The first byte tells how the rest is read: as it is, or as frames whose lengths are always right, so that mutations reach
 * what is behind the framing. Whatever came, what weir sends is whole frames, and when the client has gone nothing is left.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/downstream/down.h"
#include "worker/exchange/alog.h"
#include "worker/exchange/exchange.h"
#include "worker/exchange/route.h"
#include "worker/wire.h"

#define MODE_RAW 1
#define MODE_DEAF 4			/* the client does not read until the end */
#define MODE_DRAIN 8			/* a drain begins when half of it has come */
#define LONG_BODY 300000
#define TURNS_MAX 4000

static const char conf_text[] =
	"[listen h]\nbind = 127.0.0.1:1\nmax_header_size = 8k\nmax_requests = 50\n"
	"[route own]\npath = /own\nrespond = 200 mine\n"
	"[route all]\nupstream = u\nmax_body_size = 100k\n[upstream u]\nserver = 127.0.0.1:1\n";

static struct {
	struct env env;
	struct shm shm;
	struct loop loop;
	struct down down;
	struct arena arena;
	const struct handler *handlers[8];
} bed;

/* ---- a handler that does what the path says ---- */

static char zeros[LONG_BODY];

struct doing {
	struct batch out;		/* it may be held beyond the call */
	size_t left;			/* of a long answer */
	bool echo;
};

static void send_long(struct exchange *x, struct doing *d)
{
	while (!x->ended && !x->resp_held && d->left > 0) {
		size_t n = d->left < 30000 ? d->left : 30000;

		batch_init(&d->out);
		batch_add(&d->out, span_make(zeros, n));
		d->left -= n;
		d->out.last = d->left == 0;
		exchange_send_body(x, &d->out);
	}
}

static void answer(struct exchange *x, struct doing *d, char what)
{
	static const struct head hint = { .magic = HEAD_MAGIC, .status = 103 };

	if (what == 'i')
		exchange_interim(x, &hint);
	if (what == 'f') {
		exchange_fail(x, REASON_SERVER_GARBAGE);
		return;
	}
	x->resp.status = x->req.tunnel ? 101 : what == 'n' ? 204 : 200;
	d->echo = what == 'e' && !x->req.tunnel;
	d->left = what == 'l' || what == 'c' ? LONG_BODY : 0;
	if (x->req.tunnel)
		x->resp.body = BODY_TUNNEL;
	else if (what == 'n')
		x->resp.body = BODY_NONE;
	else
		x->resp.body = BODY_STREAM;
	exchange_send_head(x, false);
	if (x->ended)
		return;
	if (what == 'c') {
		exchange_fail(x, REASON_TRUNCATED);
		return;
	}
	if (x->req.tunnel || (d->echo && x->req_state == REQ_BODY)) {
		exchange_want_body(x);
		return;
	}
	if (d->left == 0) {
		batch_init(&d->out);
		d->out.last = true;
		exchange_send_body(x, &d->out);
	} else {
		send_long(x, d);
	}
}

static void play_start(struct exchange *x)
{
	struct doing *d = arena_zalloc(&x->arena, sizeof(*d));

	x->handler_state = d;
	head_init(&x->resp, &x->arena);
	if (d == NULL)
		exchange_fail(x, REASON_NO_MEMORY);
	else if (x->req.path.n > 1 && x->req.path.p[1] == 'w' && x->req_state == REQ_BODY)
		exchange_want_body(x);	/* answers when the body is whole */
	else
		answer(x, d, x->req.path.n > 1 ? x->req.path.p[1] : 'h');
}

static enum take play_body(struct exchange *x, const struct batch *b)
{
	struct doing *d = x->handler_state;

	if (d->echo)
		return exchange_send_body(x, b);
	if (x->tunnel) {
		if (x->resp_held) {
			if (b->last)
				exchange_fail(x, REASON_SERVER_RESET);
			return TAKEN;
		}
		batch_init(&d->out);
		batch_add(&d->out, span_make(zeros, b->bytes));
		d->out.last = b->last;
		exchange_send_body(x, &d->out);
	} else if (b->last) {
		answer(x, d, 'l');
	}
	return TAKEN;
}

static void play_resume(struct exchange *x)
{
	struct doing *d = x->handler_state;

	if (d->echo)
		exchange_want_body(x);
	else
		send_long(x, d);
}

static void play_cancel(struct exchange *x)
{
	x->handler_state = NULL;
}

static const struct handler play = { "play", play_start, play_body, play_resume, play_cancel };

/* ---- the worker around it ---- */

static struct conf *conf_of_text(void)
{
	struct conf_msgs msgs;
	struct conf *c;
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, conf_text, sizeof(conf_text) - 1) == sizeof(conf_text) - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	arena_init(&bed.arena, NULL, 0);
	c = conf_load(&bed.arena, path, &msgs);
	if (c == NULL)
		conf_print_msgs(stderr, &msgs);
	must(c != NULL);
	close(fd);
	return c;
}

static void bed_open(void)
{
	struct env *e = &bed.env;
	struct conf *c;

	if (e->magic)
		return;
	log_set_level(LOG_LV_ERROR);
	c = conf_of_text();
	const struct shm_size size = shm_size_of(c, 2);
	must(shm_init(&bed.shm, &size) && loop_init(&bed.loop, &bed));
	*e = (struct env){ .magic = ENV_MAGIC, .conf = c, .shm = &bed.shm, .loop = &bed.loop, .max_conns = 9, .random = 1 };
	buf_pool_init(&e->bufs, 16);
	slab_init(&e->exchanges, "exchange", sizeof(struct exchange));
	list_init(&e->conns);
	wire_env(e);
	bed.handlers[CONF_RESPOND] = e->handlers[CONF_RESPOND];
	bed.handlers[CONF_UPSTREAM] = &play;
	e->handlers = bed.handlers;
	e->tls_servers = calloc(c->nlistens, sizeof(*e->tls_servers));
	pool_init(&e->pool, &bed.loop, &bed.shm, &e->bufs);
	must(e->tls_servers && groups_init(&e->groups, c, &bed.shm, &bed.loop));
	e->router = router_new(c);
	e->alog = alog_new(e);
	must(e->router && e->alog);
	down_init(&bed.down, e);
}

/* ---- the client ---- */

struct peer {
	int fd;
	bool deaf;
	size_t left;			/* bytes of the frame that is coming in */
	unsigned char head[9];
	unsigned have;
};

/* What weir sends: frames no larger than allowed, of streams of ours. */
static void check_output(struct peer *c, const unsigned char *p, size_t n)
{
	while (n > 0) {
		size_t take = n < c->left ? n : c->left;

		p += take;
		n -= take;
		c->left -= take;
		if (c->left > 0 || n == 0)
			return;
		c->head[c->have++] = *p++;
		n--;
		if (c->have < sizeof(c->head))
			continue;
		c->have = 0;
		c->left = (size_t)c->head[0] << 16 | (size_t)c->head[1] << 8 | c->head[2];
		must(c->left <= 16384 && c->head[3] <= 9 && c->head[3] != 5 && c->head[3] != 2);
		must((c->head[8] & 1) || (c->head[5] | c->head[6] | c->head[7] | c->head[8]) == 0);
	}
}

static bool hear(struct peer *c)
{
	static unsigned char buf[65536];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n <= 0)
		return false;
	check_output(c, buf, (size_t)n);
	return true;
}

static void turns(struct peer *c, unsigned n)
{
	while (n-- > 0) {
		loop_turn(&bed.loop, 0);
		if (!c->deaf)
			hear(c);
	}
}

static void say(struct peer *c, const void *p, size_t n)
{
	const char *at = p;

	for (unsigned i = 0; n > 0 && i < 50; i++) {
		ssize_t put = send(c->fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put > 0) {
			at += put;
			n -= (size_t)put;
		}
		turns(c, 1);
	}
}

/* One frame: kind, flags, stream and two bytes of length, then as much of the rest. Returns what it used. */
static size_t say_frame(struct peer *c, const uint8_t *p, size_t n)
{
	static const uint8_t kinds[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 0, 1, 8, 3, 0xbb };
	unsigned char frame[9 + 1024] = { 0 };
	size_t len;

	if (n < 4)
		return n;
	len = ((size_t)p[2] & 3) << 8 | p[3];
	if (len > n - 4)
		len = n - 4;
	frame[1] = (unsigned char)(len >> 8);
	frame[2] = (unsigned char)len;
	frame[3] = kinds[p[0] & 15];
	frame[4] = p[1];
	frame[8] = p[2] >> 2;
	memcpy(frame + 9, p + 4, len);
	say(c, frame, 9 + len);
	return 4 + len;
}

static void play_input(struct peer *c, unsigned mode, const uint8_t *p, size_t n)
{
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";	/* and the NUL behind it */
	size_t half = n / 2;

	say(c, hello, sizeof(hello));	/* a client that speaks HTTP/1 is another fuzzer's */
	for (size_t at = 0; at < n;) {
		size_t used = mode & MODE_RAW ? (n - at < 1000 ? n - at : 1000) : 0;

		if (mode & MODE_RAW)
			say(c, p + at, used);
		else
			used = say_frame(c, p + at, n - at);
		at += used;
		if (mode & MODE_DRAIN && at >= half && !bed.env.draining) {
			bed.env.draining = true;
			down_drain(&bed.down, 1);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct addr here = { .family = ADDR_V4, .port = 1, .v4 = { 127, 0, 0, 1 } };
	struct peer c = { .fd = -1 };
	int fds[2];

	if (size < 2 || size > 20000)
		return 0;
	bed_open();
	bed.env.draining = false;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	must(down_accept(&bed.down, fds[0], &here, &here, bed.env.conf->listens[0]));
	c.fd = fds[1];
	c.deaf = data[0] & MODE_DEAF;
	play_input(&c, data[0], data + 1, size - 1);
	turns(&c, 2);
	c.deaf = false;
	while (hear(&c))
		turns(&c, 1);
	close(c.fd);
	for (unsigned i = 0; bed.env.nconns > 0; i++) {
		must(i < TURNS_MAX);
		loop_turn(&bed.loop, 0);
	}
	loop_turn(&bed.loop, 0);
	must(bed.env.exchanges.used == 0 && bed.env.bufs.used == 0);
	must(bed.down.clients.used == 0 && bed.down.h2s.used == 0 && bed.down.h2_streams.used == 0);
	return 0;
}
