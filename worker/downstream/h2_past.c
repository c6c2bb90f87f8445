/*
 * h2_past.c - what became of the last streams of an HTTP/2 client.
 *
 * Called by down_h2_in.c for each request and for frames of streams that are gone, by down_h2_out.c for resets.
 */
#include "worker/downstream/h2_past.h"

#define KEPT 64

static bool of_client(int32_t id)
{
	return id > 0 && id % 2 == 1;
}

void h2_past_begin(struct h2_past *p, int32_t id)
{
	uint32_t by;

	if (!of_client(id) || id <= p->last)
		return;
	by = p->last ? (uint32_t)(id - p->last) / 2 : KEPT;
	p->begun = by < KEPT ? p->begun << by : 0;
	p->cut = by < KEPT ? p->cut << by : 0;
	p->begun |= 1;
	p->last = id;
}

void h2_past_cut(struct h2_past *p, int32_t id)
{
	uint32_t back = of_client(id) && id <= p->last ? (uint32_t)(p->last - id) / 2 : KEPT;

	if (back < KEPT)
		p->cut |= (uint64_t)1 << back;
}

enum h2_late h2_past_late(const struct h2_past *p, int32_t id)
{
	uint32_t back;

	if (!of_client(id) || id > p->last)
		return H2_LATE_NOT;
	back = (uint32_t)(p->last - id) / 2;
	if (back >= KEPT || (p->cut >> back & 1))
		return H2_LATE_FINE;
	return p->begun >> back & 1 ? H2_LATE_CLOSED : H2_LATE_SKIPPED;
}
