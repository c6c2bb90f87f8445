/*
 * panic.h - what a process says before it dies of its own bug.
 *
 * A process notes, in plain stores, what it is busy with; panic_fail() and the
 * crash signal handlers print that note with the failed condition. All of it is
 * async-signal-safe: no allocation, no stdio, no locks. Where the process has a
 * row in shared memory, the same text goes to the row's crash note, so that the
 * master can log it at reap.
 */
#ifndef COMMON_PANIC_H
#define COMMON_PANIC_H

#include <stddef.h>
#include <stdint.h>

/* One line each, "" when idle. Strings must outlive their use (arena, const or fixed buffer). */
struct panic_note {
	const char *role;		/* "worker 3" */
	uint64_t conn;			/* id of the connection being served, 0: none */
	uint64_t exchange;		/* its running number, 0: none */
	char request_id[40];		/* of the exchange, NUL-terminated */
};

/* The note of this process; written by whoever dispatches events. */
struct panic_note *panic_note(void);

/* Where the crash text goes besides stderr/log; `size` bytes in shared memory, NULL to forget. */
void panic_set_page(char *page, size_t size);

/* The descriptor that crash text is written to (the error log's). */
void panic_set_fd(int fd);

/* The build id of the program as hex, "" without one; known once panic_catch_signals() was called. */
const char *panic_build_id(void);
/* The two descriptors that panic_catch_signals() keeps for itself, -1: none; for whoever closes all but what is needed. A
 * forked process calls panic_catch_signals() again, which replaces them. */
void panic_fds(int fds[2]);

/* What else is to be saved once the note is out. It runs in a process that is not sound any more, on whatever stack there is, and
 * may crash itself. */
void panic_last_words(void (*save)(void *owner), void *owner);

/* Installs handlers for SEGV, BUS, FPE, ILL and ABRT that print the note and re-raise. */
void panic_catch_signals(void);

#endif
