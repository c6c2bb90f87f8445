/*
 * alog_text.h - a line of the access log being written into a buffer.
 *
 * For alog*.c. Writes stop at the end of the room and say so in `full`; what
 * was written until then is the caller's to throw away.
 */
#ifndef WORKER_EXCHANGE_ALOG_TEXT_H
#define WORKER_EXCHANGE_ALOG_TEXT_H

#include "common/conf.h"

#define ALOG_VALUE_MAX 4096		/* bytes of one value; the rest becomes "..." */

struct alog_line {
	char *p, *end;
	bool full;
	bool in_string;			/* JSON: behind an odd number of quotes of the template */
};

/* Text of the template, as it stands. */
void alog_literal(struct alog_line *l, struct span s, enum conf_escape how);
/* A value, escaped; an empty one shows as the format demands. */
void alog_value(struct alog_line *l, struct span s, enum conf_escape how);

#endif
