/*
 * h1_gather.c - a batch of message body out of HTTP/1 bytes.
 *
 * Called by both HTTP/1 codecs whenever body bytes came. Copies trailers,
 * never body.
 */
#include "worker/http/h1_gather.h"

#include <string.h>

static bool take_trailers(struct arena *a, struct span text, struct batch *b)
{
	struct head *h = arena_alloc(a, sizeof(*h));
	char *p = arena_bytes(a, text.n);

	if (h == NULL || p == NULL)
		return false;
	memcpy(p, text.p, text.n);
	head_init(h, a);
	b->trailers = h;
	return h1_parse_trailers(h, p, text.n) == H1_GOOD;
}

bool h1_gather(struct h1_body *body, struct span in, size_t max_trailer, struct arena *a, struct batch *b,
	       size_t *used)
{
	size_t off = 0, n;
	struct span data;

	batch_init(b);
	*used = 0;
	while (!batch_full(b)) {
		enum h1_body_rc rc = h1_body_feed(body, in.p + off, in.n - off, max_trailer, &n, &data);

		off += n;
		switch (rc) {
		case H1B_RC_DATA:
			batch_add(b, data);
			break;
		case H1B_RC_TRAILERS:
			if (!take_trailers(a, data, b))
				return false;
			break;
		case H1B_RC_END:
			b->last = true;
			*used = off;
			return true;
		case H1B_RC_MORE:
			*used = off;
			return true;
		case H1B_RC_BAD:
			return false;
		}
	}
	*used = off;
	return true;
}
