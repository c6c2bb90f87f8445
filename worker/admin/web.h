/*
 * web.h - the admin process's connections: HTTP/1 of the narrowest kind.
 *
 * One request each, GET or HEAD, a head of 8 KiB at most; the answer is written
 * bit by bit and the connection closed. The number of connections is bounded;
 * whoever says nothing makes room for the next.
 */
#ifndef WORKER_ADMIN_WEB_H
#define WORKER_ADMIN_WEB_H

#include "common/list.h"
#include "worker/admin/pages.h"
#include "worker/io/loop.h"

#define WEB_CONNS 64
#define WEB_HEAD_MAX 8192
#define WEB_BUF 65536
#define WEB_HEAD_MS 5000		/* from the connection to a whole head */
#define WEB_STALL_MS 10000		/* without a byte taken */
#define WEB_TOTAL_MS 60000		/* for an answer as a whole */
#define WEB_LINGER_MS 1000		/* for the other side to close, too */
#define WEB_BURST 8			/* buffers in a turn: other connections and the heartbeat wait for that long */

struct web {
	struct loop *loop;
	struct admin_view *view;
	struct list conns;		/* oldest first */
	unsigned nconns;
	bool draining;			/* no more come */
	void (*on_empty)(struct web *w);	/* draining, and the last one went */
	void *owner;
	uint64_t next_id;
};

void web_init(struct web *w, struct loop *l, struct admin_view *v);
/* Takes fd over; false: the caller closes it. */
bool web_accept(struct web *w, int fd, const struct addr *peer);

#endif
