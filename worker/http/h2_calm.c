/*
 * h2_calm.c - token buckets against floods of HTTP/2 frames.
 *
 * Called by the HTTP/2 codecs for each frame that came, and for what was sent.
 */
#include "worker/http/h2_calm.h"

#include "common/obj.h"

struct rule {
	uint32_t burst;			/* at the start, and what time alone fills it to */
	uint32_t per_second;
	uint32_t most;			/* what use may raise it to */
};

static const struct rule rules[H2_KIND__N] = {
	[H2_KIND_RESET] = { 200, 30, 1000 },
	[H2_KIND_SETTINGS] = { 30, 1, 30 },
	[H2_KIND_PING] = { 200, 20, 2000 },	/* gRPC measures its bandwidth by them */
	[H2_KIND_EMPTY] = { 100, 10, 100 },
	[H2_KIND_WINDOW] = { 500, 50, 8000 },
	[H2_KIND_PRIORITY] = { 300, 20, 1000 },
};

void h2_calm_init(struct h2_calm *c, uint64_t now_ms)
{
	c->since_ms = now_ms;
	for (unsigned k = 0; k < H2_KIND__N; k++)
		c->left[k] = rules[k].burst;
}

static void fill(struct h2_calm *c, uint64_t now_ms)
{
	uint64_t seconds = (now_ms - c->since_ms) / 1000;

	if (seconds == 0)
		return;
	c->since_ms += seconds * 1000;
	if (seconds > 3600)
		seconds = 3600;
	for (unsigned k = 0; k < H2_KIND__N; k++) {
		uint64_t v = c->left[k] + seconds * rules[k].per_second;

		if (c->left[k] < rules[k].burst)
			c->left[k] = v < rules[k].burst ? (uint32_t)v : rules[k].burst;
	}
}

bool h2_calm_take(struct h2_calm *c, enum h2_kind k, uint64_t now_ms)
{
	must((unsigned)k < H2_KIND__N);
	fill(c, now_ms);
	if (c->left[k] == 0)
		return false;
	c->left[k]--;
	return true;
}

void h2_calm_pay(struct h2_calm *c, enum h2_kind k, unsigned n)
{
	must((unsigned)k < H2_KIND__N);
	if (c->left[k] < rules[k].most)
		c->left[k] = c->left[k] + n < rules[k].most ? c->left[k] + n : rules[k].most;
}
