/*
 * staple.c - fetches what OCSP responders say of our certificates, and keeps it
 * fresh in shared memory.
 *
 * Called by checker.c at its start; lives by its timers from then on. One
 * certificate, one question at a time, over plain HTTP (RFC 6960 A.1). An answer
 * is published only when it is good; the one before stays until it is out of
 * date, whatever goes wrong.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/ocsp.h"
#include "common/sock.h"
#include "worker/checker.h"
#include "worker/http/h1_body.h"
#include "worker/http/h1_parse.h"

#define STAPLE_MAGIC 0x57a91e01u
#define FETCH_MS 15000			/* from the connect to the whole answer */
#define RETRY_MS 5000			/* after the first failure; doubles */
#define RETRY_MAX_MS 3600000u
#define COMPLAIN_MS 86400000u		/* of one trouble */
#define HEAD_MAX 8192
#define IN_MAX (HEAD_MAX + 2 * STAPLE_MAX)

struct staple {
	uint32_t magic;
	struct checker *checker;
	const struct cert *cert;
	struct timer timer;		/* when to ask next */
	struct query query;
	struct conn conn;
	bool running;			/* the connection is */
	char *out;			/* the request */
	size_t out_len, out_sent;
	char *in;			/* head and body as they came; IN_MAX bytes of room */
	size_t in_len;
	unsigned failures;		/* in a row */
	const char *said;		/* the trouble that was logged last; NULL: none */
	uint64_t said_ms;
};

static int64_t wall(const struct staple *s)
{
	return (int64_t)(s->checker->loop.wall_ms / 1000);
}

/* ---- when ---- */

static void set_timer(struct staple *s, uint64_t ms)
{
	struct loop *l = &s->checker->loop;

	/* Not all at the same moment, nor with those of other machines. */
	timer_set(&l->wheel, &s->timer, l->now_ms + ms + checker_random(s->checker, ms / 16 + 1));
}

static void set_refresh(struct staple *s, int64_t at)
{
	int64_t left = at - wall(s);

	/* The wall clock may be set meanwhile: one day is looked ahead at most. */
	set_timer(s, left <= 0 ? 1 : left < 86400 ? (uint64_t)left * 1000 : 86400000u);
}

static void retry(struct staple *s)
{
	uint64_t ms = s->failures < 16 ? (uint64_t)RETRY_MS << s->failures : RETRY_MAX_MS;

	s->failures++;
	set_timer(s, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS);
}

/* ---- results ---- */

static void stop(struct staple *s)
{
	if (s->running)
		conn_close(&s->conn);
	s->running = false;
	free(s->out);
	free(s->in);
	s->out = s->in = NULL;
	s->out_len = s->out_sent = s->in_len = 0;
}

/* `why` is a constant, `detail` may be empty. */
static void fail(struct staple *s, const char *why, const char *detail)
{
	uint64_t now = s->checker->loop.now_ms;
	struct span name = cert_name(s->cert), host = s->cert->ocsp.authority;
	struct shm_answer a;

	stop(s);
	retry(s);
	if (s->said == why && now - s->said_ms < COMPLAIN_MS)
		return;
	s->said = why;
	s->said_ms = now;
	bool shown = shm_get_staple(s->checker->shm, s->cert->ocsp.slot, &a) && a.expires > wall(s);
	log_warn("The OCSP responder %.*s of the certificate of %.*s is of no use: %s%s%s. %s", SPAN_FMT(host),
		 SPAN_FMT(name), why, detail[0] != '\0' ? ": " : "", detail,
		 shown ? "Clients are shown its last answer while that lasts."
		       : "Clients are shown the certificate without its answer.");
}

static void succeed(struct staple *s, const void *p, size_t n, const struct ocsp_verdict *v)
{
	struct span name = cert_name(s->cert);
	struct shm_answer a = { .expires = v->expires, .refresh = v->refresh, .len = (uint32_t)n };

	memcpy(a.bytes, p, n);
	shm_put_staple(s->checker->shm, s->cert->ocsp.slot, &a);
	s->failures = 0;
	stop(s);
	if (s->said != NULL)
		log_notice("The OCSP responder of the certificate of %.*s answers again.", SPAN_FMT(name));
	s->said = NULL;
	set_refresh(s, v->refresh);
}

static void judge(struct staple *s, const void *p, size_t n)
{
	static const char revoked[] = "it says that the certificate was revoked";
	struct ocsp_verdict v = { .state = OCSP_WORTHLESS, .why = "its answer is too large" };
	struct shm_answer none = { .len = 0 };

	if (n <= STAPLE_MAX)
		v = ocsp_judge(s->cert, p, n, wall(s));
	if (v.state == OCSP_GOOD) {
		succeed(s, p, n, &v);
		return;
	}
	if (v.state == OCSP_REVOKED) {
		shm_put_staple(s->checker->shm, s->cert->ocsp.slot, &none);
		s->failures = 16;	/* it will hardly say otherwise soon */
	}
	fail(s, v.state == OCSP_REVOKED ? revoked : v.why, "");
}

/* ---- the answer ---- */

/* The body that stands in p, decoded in its place. False: it is not whole (more, unless the stream has ended) or spoilt. */
static bool read_body(const struct head *h, char *p, size_t n, bool end, size_t *len)
{
	struct h1_body b;
	size_t used, at = 0;
	struct span data;

	*len = 0;
	h1_body_init(&b, h->body, h->length);
	for (;;) {
		switch (h1_body_feed(&b, p + at, n - at, 1024, &used, &data)) {
		case H1B_RC_DATA:
			memmove(p + *len, data.p, data.n);
			*len += data.n;
			break;
		case H1B_RC_TRAILERS:
			break;
		case H1B_RC_MORE:
			return end && h1_body_eof(&b);
		case H1B_RC_END:
			return true;
		case H1B_RC_BAD:
			return false;
		}
		at += used;
	}
}

/* True when more bytes are wanted; else it has ended. */
static bool look(struct staple *s, bool end)
{
	struct h1_scan scan = { 0 };
	struct arena arena;
	struct h1_wire wire;
	struct head head;
	enum h1_bad bad;
	size_t n, body = 0;

	/* Answers are small and come at once: looking from the start each time costs nothing that counts. */
	switch (h1_scan_head(&scan, s->in, s->in_len, HEAD_MAX, &n, &bad)) {
	case H1_MORE:
		if (end)
			fail(s, "it closed before its answer was whole", "");
		return !end;
	case H1_BROKEN:
		fail(s, "its answer is not HTTP", "");
		return false;
	case H1_DONE:
		break;
	}
	arena_init(&arena, NULL, 65536);
	head_init(&head, &arena);
	char *text = arena_bytes(&arena, n), *copy = malloc(IN_MAX);
	if (text == NULL || copy == NULL) {
		fail(s, "no memory for its answer", "");
		end = true;
	} else if ((bad = h1_parse_response(&head, &wire, METHOD_POST, memcpy(text, s->in, n), n)) != H1_GOOD) {
		fail(s, "its answer is not HTTP", h1_bad_text(bad));
		end = true;
	} else if (head.status != 200) {
		fail(s, "it does not answer with status 200", "");
		end = true;
	} else {
		memcpy(copy, s->in + n, s->in_len - n);
		if (read_body(&head, copy, s->in_len - n, end, &body)) {
			judge(s, copy, body);
			end = true;
		} else if (end) {
			fail(s, "it closed before its answer was whole", "");
		}
	}
	free(copy);
	arena_fini(&arena);
	return !end;
}

static void read_answer(struct staple *s)
{
	size_t got;

	while (s->running && s->conn.can_read) {
		if (s->in_len == IN_MAX) {
			fail(s, "its answer is too large", "");
			return;
		}
		enum io_rc rc = conn_recv(&s->conn, s->in + s->in_len, IN_MAX - s->in_len, &got);
		if (rc == IO_AGAIN)
			return;
		if (rc == IO_FAIL) {
			fail(s, "it broke the connection off", strerror(s->conn.error));
			return;
		}
		if (rc == IO_OK)
			s->in_len += got;
		if (!look(s, rc == IO_EOF))
			return;
	}
}

/* ---- the question ---- */

static bool make_request(struct staple *s)
{
	const struct cert_ocsp *o = &s->cert->ocsp;
	size_t n;
	unsigned char *der = ocsp_question(s->cert, &n);
	int len = -1;

	s->out = malloc(HEAD_MAX + n);
	s->in = malloc(IN_MAX);
	if (der != NULL && s->out != NULL && s->in != NULL)
		len = snprintf(s->out, HEAD_MAX, "POST %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir\r\n"
			       "Content-Type: application/ocsp-request\r\nContent-Length: %zu\r\n"
			       "Accept: application/ocsp-response\r\nConnection: close\r\n\r\n",
			       SPAN_FMT(o->target), SPAN_FMT(o->authority), n);
	if (len > 0 && len < HEAD_MAX) {
		memcpy(s->out + len, der, n);
		s->out_len = (size_t)len + n;
	}
	OPENSSL_free(der);
	return s->out_len > 0;
}

static void write_request(struct staple *s)
{
	while (s->out_sent < s->out_len && s->conn.can_write) {
		struct iovec iov = { s->out + s->out_sent, s->out_len - s->out_sent };
		size_t put;
		enum io_rc rc = conn_sendv(&s->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			return;
		if (rc != IO_OK) {
			fail(s, "it took no question", strerror(s->conn.error));
			return;
		}
		s->out_sent += put;
	}
}

static void go_on(struct staple *s)
{
	if (s->conn.error != 0 && s->out_sent == 0) {
		fail(s, "connecting failed", strerror(s->conn.error));
		return;
	}
	write_request(s);
	if (s->running)
		read_answer(s);
}

/* ---- the connection ---- */

static void on_ready(struct conn *c)
{
	struct staple *s = container_of(c, struct staple, conn);

	OBJ_CHECK(s, STAPLE_MAGIC);
	if (s->running && !c->connecting)
		go_on(s);
}

static void on_deadline(struct conn *c)
{
	struct staple *s = container_of(c, struct staple, conn);

	OBJ_CHECK(s, STAPLE_MAGIC);
	fail(s, c->connecting ? "no connection in time" : "no answer in time", "");
}

static const struct conn_ops staple_conn_ops = { .on_ready = on_ready, .on_deadline = on_deadline };

static void ask(struct staple *s, struct addr to)
{
	bool connected;

	to.port = s->cert->ocsp.port;
	if (!make_request(s)) {
		fail(s, "no memory for a question", "");
		return;
	}
	int fd = sock_connect(&to, &connected);
	if (fd < 0 || !conn_init(&s->conn, &s->checker->loop, fd, !connected, &staple_conn_ops)) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		fail(s, "connecting failed", strerror(error));
		return;
	}
	s->running = true;
	conn_deadline(&s->conn, FETCH_MS);
	if (connected)
		go_on(s);
}

static void on_answer(struct query *q, enum resolve_rc rc, const struct answer *a)
{
	struct staple *s = container_of(q, struct staple, query);

	OBJ_CHECK(s, STAPLE_MAGIC);
	if (rc != RESOLVE_OK || a->n == 0)
		fail(s, "its name cannot be resolved", a->text != NULL ? a->text : "");
	else
		ask(s, a->addrs[s->failures % a->n]);
}

static void on_timer(struct timer *t)
{
	struct staple *s = container_of(t, struct staple, timer);
	struct shm_answer have;
	struct addr to;

	OBJ_CHECK(s, STAPLE_MAGIC);
	if (s->failures == 0 && shm_get_staple(s->checker->shm, s->cert->ocsp.slot, &have) && have.refresh > wall(s)) {
		set_refresh(s, have.refresh);
		return;
	}
	if (addr_parse_ip(s->cert->ocsp.host, &to))
		ask(s, to);
	else if (!s->query.asked)
		resolver_ask(&s->checker->resolver, &s->query, s->cert->ocsp.host, on_answer);
}

/* ---- start ---- */

bool staples_start(struct checker *c)
{
	OBJ_CHECK(c, CHECKER_MAGIC);
	if (c->conf->nstaples == 0)
		return true;
	c->staples = calloc(c->conf->nstaples, sizeof(*c->staples));
	if (c->staples == NULL)
		return false;
	for (const struct cert *x = c->conf->certs; x != NULL; x = x->next) {
		if (!x->ocsp.on)
			continue;
		must(x->ocsp.slot < c->conf->nstaples);
		struct staple *s = &c->staples[x->ocsp.slot];

		*s = (struct staple){ .magic = STAPLE_MAGIC, .checker = c, .cert = x };
		timer_init(&s->timer, on_timer);
		/* What a predecessor or the last configuration left is looked at there. */
		timer_set(&c->loop.wheel, &s->timer, c->loop.now_ms + 1);
	}
	return true;
}
