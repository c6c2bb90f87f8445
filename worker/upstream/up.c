/*
 * up.c - one request to one server: finds the codec, and does what is the same for all of them.
 *
 * Called by handlers. What the bytes mean is the codec's business: up_h1*.c, or up_h2*.c where many requests share a
 * connection. Never knows an exchange.
 */
#include "worker/upstream/up.h"

#include <errno.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/sock.h"
#include "worker/upstream/pool.h"
#include "worker/upstream/up_codec.h"

static const struct up_codec *const codecs[] = { [CONF_HTTP1] = &up_h1_codec, [CONF_HTTP2] = &up_h2_codec };

struct up *up_open(struct pool *p, struct server *s, enum up_reuse reuse, const struct up_ops *ops, void *owner,
		   const struct up_times *times, const struct span *preface)
{
	const struct up_codec *codec = codecs[s->group->conf->protocol];
	struct up *u = codec->open(p, s, reuse, times, preface);

	if (u == NULL)
		return NULL;
	OBJ_CHECK(u, UP_MAGIC);
	u->ops = ops;
	u->owner = owner;
	p->nbusy++;
	return u;
}

bool up_switches(const struct conf_upstream *u)
{
	return codecs[u->protocol]->switches;
}

bool up_send_head(struct up *u, const struct head *req, struct head *resp)
{
	OBJ_CHECK(u, UP_MAGIC);
	must(u->resp == NULL);
	u->resp = resp;
	u->method = req->method;
	return u->codec->send_head(u, req, resp);
}

enum take up_send_body(struct up *u, const struct batch *b)
{
	OBJ_CHECK(u, UP_MAGIC);
	return u->codec->send_body(u, b);
}

void up_more(struct up *u)
{
	OBJ_CHECK(u, UP_MAGIC);
	u->codec->more(u);
}

void up_close(struct up **up)
{
	struct up *u = *up;

	OBJ_CHECK(u, UP_MAGIC);
	*up = NULL;
	u->pool->nbusy--;
	u->ops = NULL;
	u->owner = NULL;
	u->codec->close(u);
}

void up_fail(struct up *u, enum reason why)
{
	const struct up_ops *ops = u->ops;

	must(ops != NULL);
	ops->on_fail(u, why);
}

void up_tls_failed(struct server *s, const char *why)
{
	if (!s->tls_said)
		log_warn("upstream %.*s, server %.*s: the TLS handshake failed: %s", SPAN_FMT(s->group->conf->name),
			 SPAN_FMT(s->name), why);
	s->tls_said = true;
}

static bool start_tls(struct pool *p, struct server *s, struct conn *c)
{
	char name[256];

	must(p->tls != NULL);
	tls_client_name(s->group->tls, s->conf, name);
	return tls_connect(c, p->tls, s->group->tls, &s->tls, name);
}

bool up_dial(struct pool *p, struct server *s, struct conn *c, const struct conn_ops *ops, const struct span *preface)
{
	bool done;
	int fd = sock_connect(&s->addr, &done);

	if (fd < 0)
		return false;
	if (!conn_init(c, p->loop, fd, !done, ops)) {
		int e = errno;

		close(fd);
		errno = e;
		return false;
	}
	c->id = ++p->next_id;
	if (preface)
		conn_preface(c, preface);
	if (s->group->tls != NULL && !start_tls(p, s, c)) {
		conn_close(c);
		errno = ENOMEM;
		return false;
	}
	shm_count(p->shm, STAT_UP_CONNS, 1);
	return true;
}
