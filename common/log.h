/*
 * log.h - the error log.
 *
 * One log per process, set up by the master and inherited over fork. Lines go
 * out whole, in one write, stamped with time, level, role and pid. A log that
 * cannot be written (full disk, dead pipe, stopped reader, no syslog) never
 * blocks and never kills: lines are counted as dropped and the count is
 * reported when writing works again, once a minute at most. Every operator-facing line is a sentence
 * that says what to do. Text from outside must go through log_esc().
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/span.h"

enum log_level { LOG_LV_DEBUG, LOG_LV_INFO, LOG_LV_NOTICE, LOG_LV_WARN, LOG_LV_ERROR, LOG_LV__N };

/* "debug", "info", "notice", "warn", "error". */
const char *log_level_name(enum log_level lv);

/* Where lines go from now on; the descriptor stays the caller's. fd < 0: stderr. syslog: fd is a connected
 * datagram socket and lines get a priority in front. */
void log_set_fd(int fd, bool syslog);
void log_set_level(enum log_level lv);
/* Printed in every line, e.g. "worker 3"; copied. */
void log_set_role(const char *role);
int log_fd(void);
/* A descriptor that log_set_fd() opened for the log's own use, -1: none; for whoever closes all but what is needed. */
int log_own_fd(void);
bool log_enabled(enum log_level lv);
/* The text of every line of level error goes there as well, a line each; NULL: no more. */
void log_tee(FILE *f);
/* A line for that alone. */
void log_tell(const char *text);

void log_at(enum log_level lv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Says that `wanted` bytes could not be had and ends the process. For what is set up once, not for clients. */
_Noreturn void log_no_memory(size_t wanted);

#define log_debug(...)  do { if (log_enabled(LOG_LV_DEBUG)) log_at(LOG_LV_DEBUG, __VA_ARGS__); } while (0)
#define log_info(...)   log_at(LOG_LV_INFO, __VA_ARGS__)
#define log_notice(...) log_at(LOG_LV_NOTICE, __VA_ARGS__)
#define log_warn(...)   log_at(LOG_LV_WARN, __VA_ARGS__)
#define log_error(...)  log_at(LOG_LV_ERROR, __VA_ARGS__)

/* Outside text made safe for a log line: control bytes, quotes, backslash and bytes above 126 as \xHH; cut to
 * `size` - 1 with "..." at the end. Returns `out`, NUL-terminated. */
const char *log_esc(char *out, size_t size, struct span s);

#endif
