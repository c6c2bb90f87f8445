/*
 * proxy_body.c - the request body on its way to a server.
 *
 * Bytes stream through; the first PROXY_KEEP of them are also kept, so that
 * another server can be tried. Once more came than is kept there is no retry.
 */
#include <string.h>

#include "common/obj.h"
#include "worker/handler/proxy.h"

bool proxy_body_replayable(const struct proxy *p)
{
	return !p->keep_lost;
}

static void keep_forget(struct proxy *p)
{
	p->keep_lost = true;
	if (!p->replaying)
		buf_put(&p->x->env->bufs, &p->keep);
}

static void keep_batch(struct proxy *p, const struct batch *b)
{
	struct buf_pool *pool = &p->x->env->bufs;
	size_t need = b->bytes + (p->keep ? p->keep->end : 0);

	if (p->keep_lost || b->bytes == 0)
		return;
	if (need > PROXY_KEEP) {
		keep_forget(p);
		return;
	}
	if (p->keep == NULL)
		p->keep = buf_get(pool, need > BUF_SIZE ? PROXY_KEEP : 0);
	if (p->keep == NULL || (buf_room(p->keep) < b->bytes && !buf_grow(pool, &p->keep, PROXY_KEEP))) {
		keep_forget(p);
		return;
	}
	for (unsigned i = 0; i < b->n; i++)
		must(buf_add(p->keep, b->v[i]));
}

static void ask_for_more(struct proxy *p)
{
	if (p->body_whole && !p->x->tunnel)
		return;
	p->body_asked = true;
	exchange_want_body(p->x);
}

void proxy_body_tunnel(struct proxy *p)
{
	keep_forget(p);
	ask_for_more(p);
}

enum take proxy_body(struct exchange *x, const struct batch *b)
{
	struct proxy *p = x->handler_state;

	OBJ_CHECK(p, PROXY_MAGIC);
	must(p->up != NULL && !p->replaying);
	keep_batch(p, b);
	if (b->last) {
		p->body_whole = true;
		p->trailers = b->trailers;
	}
	return up_send_body(p->up, b);
}

void proxy_body_sent(struct proxy *p)
{
	if (p->replaying) {
		p->replaying = false;
		if (p->keep_lost)
			buf_put(&p->x->env->bufs, &p->keep);
	}
	ask_for_more(p);
}

void proxy_body_start(struct proxy *p)
{
	struct batch *b = &p->replay;

	if (p->x->req.body == BODY_NONE)
		return;
	if (p->keep == NULL && !p->body_whole) {
		ask_for_more(p);
		return;
	}
	batch_init(b);
	if (p->keep)
		batch_add(b, buf_span(p->keep));
	b->last = p->body_whole;
	b->trailers = p->trailers;
	p->replaying = true;
	if (up_send_body(p->up, b) == TAKEN && p->up && p->replaying)
		proxy_body_sent(p);
}
