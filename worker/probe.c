/*
 * probe.c - one look at one server, by TCP or HTTP.
 *
 * Called by target.c in the checker. Opens one connection, asks one question
 * and closes; reads no further than the head of the answer. Uses the same
 * parser as the proxy, so that a server whose answers weir would refuse does
 * not count as well.
 */
#include "worker/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/obj.h"
#include "common/sock.h"
#include "worker/io/proxy_protocol.h"

#define IN_FIRST 2048
#define INTERIMS_MAX 10
#define ARENA_MAX (256 * 1024)

void probe_init(struct probe *p, struct loop *l, const struct conf_upstream *u, const struct conf_server *s,
		probe_fn *on_done)
{
	*p = (struct probe){ .magic = PROBE_MAGIC, .loop = l, .up = u, .server = s, .on_done = on_done };
}

bool probe_status_good(const struct conf_upstream *u, unsigned status)
{
	for (unsigned i = 0; i < u->ncheck_status; i++) {
		if (status >= u->check_status[i].from && status <= u->check_status[i].to)
			return true;
	}
	return false;
}

void probe_stop(struct probe *p)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	if (!p->running)
		return;
	p->running = false;
	conn_close(&p->conn);
	free(p->out);
	free(p->in);
	p->out = p->in = NULL;
}

static void done(struct probe *p, struct probe_result *r)
{
	r->ms = (uint32_t)((p->loop->now_us - p->begun_us) / 1000);
	probe_stop(p);
	p->on_done(p, r);
}

static void done_well(struct probe *p, unsigned status)
{
	struct probe_result r = { .rc = PROBE_GOOD, .status = status };

	done(p, &r);
}

static bool is_our_own_trouble(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS || error == EADDRNOTAVAIL;
}

static void done_badly(struct probe *p, int error, const char *text)
{
	struct probe_result r = { .rc = is_our_own_trouble(error) ? PROBE_UNKNOWN : PROBE_BAD, .error = (unsigned)error };

	snprintf(r.text, sizeof(r.text), "%s%s%s", text, error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
	done(p, &r);
}

/* ---- the question ---- */

static bool make_request(struct probe *p)
{
	struct span host = p->up->check_host.n > 0 ? p->up->check_host : p->server->text;

	if (p->up->check_host.n == 0 && p->server->addr.family == ADDR_UNIX)
		host = SPAN("localhost");
	int n = asprintf(&p->out, "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir-check\r\nAccept: */*\r\n"
			 "Connection: close\r\n\r\n", SPAN_FMT(p->up->check_path), SPAN_FMT(host));
	if (n < 0) {
		p->out = NULL;
		return false;
	}
	p->out_len = (size_t)n;
	p->in = malloc(IN_FIRST);
	p->in_cap = IN_FIRST;
	return p->in != NULL;
}

/* ---- the answer ---- */

/* True when it was an interim answer, and reading goes on behind it. */
static bool judge_head(struct probe *p, size_t len)
{
	struct arena arena;
	struct h1_wire wire;
	struct head head;

	arena_init(&arena, NULL, ARENA_MAX);
	head_init(&head, &arena);
	char *copy = arena_bytes(&arena, len);
	if (copy == NULL) {
		arena_fini(&arena);
		done_badly(p, ENOMEM, "no memory for its answer");
		return false;
	}
	memcpy(copy, p->in, len);
	enum h1_bad bad = h1_parse_response(&head, &wire, METHOD_GET, copy, len);
	unsigned status = head.status;
	arena_fini(&arena);
	if (bad != H1_GOOD) {
		char text[100];

		snprintf(text, sizeof(text), "its answer is not HTTP (%s)", h1_bad_text(bad));
		done_badly(p, 0, text);
		return false;
	}
	if (status < 200 && status != 101 && p->interims++ < INTERIMS_MAX) {
		p->in_len -= len;
		memmove(p->in, p->in + len, p->in_len);
		p->scan = (struct h1_scan){ 0 };
		return true;
	}
	if (probe_status_good(p->up, status)) {
		done_well(p, status);
		return false;
	}
	struct probe_result r = { .rc = PROBE_BAD, .status = status };
	snprintf(r.text, sizeof(r.text), "it answered with status %u", status);
	done(p, &r);
	return false;
}

/* True when more bytes are wanted. */
static bool look(struct probe *p)
{
	enum h1_bad bad;
	size_t len;

	for (;;) {
		switch (h1_scan_head(&p->scan, p->in, p->in_len, PROBE_HEAD_MAX, &len, &bad)) {
		case H1_MORE:
			return true;
		case H1_BROKEN:
			done_badly(p, 0, "its answer is not HTTP");
			return false;
		case H1_DONE:
			if (!judge_head(p, len))
				return false;
		}
	}
}

static bool make_room(struct probe *p)
{
	if (p->in_len < p->in_cap)
		return true;
	char *more = p->in_cap < PROBE_HEAD_MAX ? realloc(p->in, p->in_cap * 2) : NULL;
	if (more == NULL)
		return false;
	p->in = more;
	p->in_cap *= 2;
	return true;
}

static void read_answer(struct probe *p)
{
	size_t got;

	while (p->conn.can_read) {
		if (!make_room(p)) {
			done_badly(p, 0, "the head of its answer is too large");
			return;
		}
		enum io_rc rc = conn_recv(&p->conn, p->in + p->in_len, p->in_cap - p->in_len, &got);
		if (rc == IO_AGAIN)
			return;
		if (rc != IO_OK) {
			done_badly(p, rc == IO_FAIL ? p->conn.error : 0, "it closed before its answer was whole");
			return;
		}
		p->in_len += got;
		if (!look(p))
			return;
	}
}

/* False when the probe has ended. */
static bool write_request(struct probe *p)
{
	size_t put;

	while (p->out_sent < p->out_len && p->conn.can_write) {
		struct iovec iov = { p->out + p->out_sent, p->out_len - p->out_sent };
		enum io_rc rc = conn_sendv(&p->conn, &iov, 1, &put);

		if (rc == IO_AGAIN)
			break;
		if (rc != IO_OK) {
			done_badly(p, p->conn.error, "it took no request");
			return false;
		}
		p->out_sent += put;
	}
	return true;
}

static void go_on(struct probe *p)
{
	const struct tls *t = tls_of(&p->conn);

	if (p->conn.error != 0 && t != NULL && tls_why(t) != NULL) {
		char text[100];

		snprintf(text, sizeof(text), "the TLS handshake failed: %s", tls_why(t));
		done_badly(p, 0, text);
		return;
	}
	if (p->conn.error != 0 && p->out_sent == 0) {
		done_badly(p, p->conn.error, "connecting failed");
		return;
	}
	if (p->up->check == CONF_CHECK_TCP) {
		done_well(p, 0);
		return;
	}
	if (write_request(p))
		read_answer(p);
}

/* ---- the connection ---- */

static void on_ready(struct conn *c)
{
	struct probe *p = container_of(c, struct probe, conn);

	OBJ_CHECK(p, PROBE_MAGIC);
	if (p->running && !c->connecting)
		go_on(p);
}

static void on_deadline(struct conn *c)
{
	struct probe *p = container_of(c, struct probe, conn);

	OBJ_CHECK(p, PROBE_MAGIC);
	struct probe_result r = { .rc = PROBE_BAD, .error = ETIMEDOUT };
	snprintf(r.text, sizeof(r.text), "%s within %lld ms", c->connecting ? "no connection" : "no answer",
		 (long long)p->up->check_timeout);
	done(p, &r);
}

static const struct conn_ops probe_conn_ops = { .on_ready = on_ready, .on_deadline = on_deadline };

static bool start_tls(struct probe *p)
{
	char name[256];

	tls_client_name(p->tls_client, p->server, name);
	return tls_connect(&p->conn, p->tls, p->tls_client, NULL, name);
}

void probe_start(struct probe *p, const struct addr *a)
{
	struct addr to = *a;
	bool connected;

	OBJ_CHECK(p, PROBE_MAGIC);
	must(!p->running);
	if (p->up->check_port != 0 && to.family != ADDR_UNIX)
		to.port = p->up->check_port;
	p->begun_us = p->loop->now_us;
	p->out_len = p->out_sent = p->in_len = 0;
	p->interims = 0;
	p->scan = (struct h1_scan){ 0 };
	p->conn.fd = -1;
	int fd = sock_connect(&to, &connected);
	if (fd < 0 || !conn_init(&p->conn, p->loop, fd, !connected, &probe_conn_ops)) {
		int error = errno;
		struct probe_result r = { .rc = is_our_own_trouble(error) ? PROBE_UNKNOWN : PROBE_BAD,
					  .error = (unsigned)error };

		snprintf(r.text, sizeof(r.text), "connecting failed: %s", strerror(error));
		if (fd >= 0)
			close(fd);
		p->on_done(p, &r);
		return;
	}
	p->running = true;
	if (p->up->send_proxy != 0)
		conn_preface(&p->conn, proxy_protocol_own(p->up->send_proxy));
	if (p->up->check == CONF_CHECK_HTTP && !make_request(p)) {
		done_badly(p, ENOMEM, "no memory for a check");
		return;
	}
	if (p->tls_client != NULL && !start_tls(p)) {
		done_badly(p, ENOMEM, "no memory for a check");
		return;
	}
	conn_deadline(&p->conn, (uint64_t)p->up->check_timeout);
	if (connected && !p->conn.connecting)
		go_on(p);
}
