/*
 * ctl_tell.h - one request as it is told to people and scripts.
 *
 * Between ctl_why.c (records), ctl_trace.c (traces) and ctl_tell.c, which
 * prints both. What a worker wrote is a copy here, within its bounds.
 */
#ifndef MASTER_CTL_TELL_H
#define MASTER_CTL_TELL_H

#include <stdio.h>

#include "common/shm_record.h"
#include "master/crew.h"

struct tale {
	const struct crew *crew;
	unsigned slot;
	const struct shm_record *rec;
	const struct shm_try *tries;
	unsigned ntries;
	const struct shm_other *others;	/* of all tries of a trace; NULL: each try holds its own */
	unsigned nothers;
	struct span target, host;	/* of a trace, else empty */
};

void tell_text(FILE *out, const struct tale *t);
/* One object, no line end. */
void tell_json(FILE *out, const struct tale *t);
/* One line of a list, and its head. */
void tell_line_head(FILE *out);
void tell_line(FILE *out, const struct tale *t);

/* "app/one"; "-" when there is none of that number. */
const char *tell_server(char *out, size_t size, const struct conf *c, unsigned cell);
const char *tell_route(char *out, size_t size, const struct conf *c, unsigned id);
const char *tell_listen(char *out, size_t size, const struct conf *c, unsigned id);
const char *tell_upstream(char *out, size_t size, const struct conf *c, unsigned id);
/* "10.0.0.1:80", without the port where it is not known. */
const char *tell_client(char *out, size_t size, unsigned family, const uint8_t ip[16], unsigned port);
/* "1.2 ms", "3.4 s". */
const char *tell_us(char *out, size_t size, uint64_t us);
/* A JSON string of bytes from outside: those above ASCII come as U+0080 to U+00FF. */
void tell_bytes(FILE *out, struct span s);

#endif
