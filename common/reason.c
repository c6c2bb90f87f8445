/*
 * reason.c - the close reasons of reason.def as data.
 *
 * Called by whoever answers, logs or counts. Const tables, no state.
 */
#include "common/reason.h"

#include "common/obj.h"

struct row {
	unsigned status;
	const char *token, *prose;
};

static const struct row rows[REASON__N] = {
#define REASON(id, status, token, prose) [REASON_##id] = { status, token, prose },
#include "common/reason.def"
#undef REASON
};

unsigned reason_status(enum reason r)
{
	must(r < REASON__N);
	return rows[r].status;
}

const char *reason_token(enum reason r)
{
	must(r < REASON__N);
	return rows[r].token;
}

const char *reason_prose(enum reason r)
{
	must(r < REASON__N);
	return rows[r].prose;
}
