/*
 * logs.h - the log files of the configuration.
 *
 * The master opens them before it forks; children inherit the descriptors and
 * get new ones by IPC_LOG when logs are reopened. A log that cannot be opened
 * anew keeps its old descriptor.
 */
#ifndef MASTER_LOGS_H
#define MASTER_LOGS_H

#include <stdbool.h>

#include "common/conf.h"

struct master;

/* Opens all. False with a complaint when a file cannot be opened; logs_close() then. A daemon has no stdout and stderr: what
 * would go there goes to the syslog. */
bool logs_open(struct conf *c, bool daemon);
/* Sends the error log of this process where the configuration says. */
void logs_use(const struct conf *c);
/* Do lines of the error log appear on stderr? */
bool logs_on_stderr(void);
/* All anew; what succeeded is sent to every child as children_tend() goes round. */
void logs_reopen(struct master *m);
/* Only the connections to the syslog, at most every few seconds; those that are missing, or all; all, too, when another daemon
 * is there. */
void logs_reconnect(struct master *m, bool all);
/* The error log of this process must be elsewhere by then, if it matters. */
void logs_close(struct conf *c);

#endif
