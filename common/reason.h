/*
 * reason.h - close reasons: one table with status, log token and prose.
 */
#ifndef COMMON_REASON_H
#define COMMON_REASON_H

enum reason {
#define REASON(id, status, token, prose) REASON_##id,
#include "common/reason.def"
#undef REASON
	REASON__N
};

unsigned reason_status(enum reason r);
const char *reason_token(enum reason r);
const char *reason_prose(enum reason r);

#endif
