/*
 * logs.c - the log files of the configuration.
 *
 * Owns the descriptors in conf->logs. Called by the master while it starts, on
 * USR1, and when the syslog went away. A descriptor keeps its number when its
 * log is reopened, so that whoever holds the number is never left with a dead
 * one. Files stay the starter's; workers write through descriptors alone.
 */
#include "master/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "common/panic.h"
#include "master/crew.h"
#include "master/master.h"

#define LOG_MODE 0640
#define SYSLOG_PATH "/dev/log"
#define SYSLOG_RETRY_MS 5000

static int open_file(const char *path)
{
	/* O_NONBLOCK: a named pipe without a reader must not hold us. */
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, LOG_MODE);
}

static int open_syslog(void)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = SYSLOG_PATH };

	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static const char *name_of(const struct conf_log *log)
{
	return log->kind == CONF_LOG_FILE ? log->path : SYSLOG_PATH;
}

/* Streams are duplicated: conf_log->fd is always ours to close. -1 with errno. */
static int open_log(const struct conf_log *log)
{
	switch (log->kind) {
	case CONF_LOG_FILE:
		return open_file(log->path);
	case CONF_LOG_STDOUT:
		return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	case CONF_LOG_STDERR:
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	case CONF_LOG_SYSLOG:
		return open_syslog();
	}
	errno = EINVAL;
	return -1;
}

void logs_use(const struct conf *c)
{
	const struct conf_log *log = c->error_log;

	log_set_level(c->log_level);
	log_set_fd(log != NULL ? log->fd : -1, log != NULL && log->kind == CONF_LOG_SYSLOG);
	panic_set_fd(log_own_fd() >= 0 ? log_own_fd() : log_fd());
}

bool logs_on_stderr(void)
{
	struct stat log, err;

	return log_fd() == STDERR_FILENO || (fstat(log_fd(), &log) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
					     log.st_dev == err.st_dev && log.st_ino == err.st_ino);
}

bool logs_open(struct conf *c, bool daemon)
{
	for (unsigned i = 0; i < c->nlogs; i++) {
		struct conf_log *log = c->logs[i];

		if (daemon && (log->kind == CONF_LOG_STDOUT || log->kind == CONF_LOG_STDERR))
			log->kind = CONF_LOG_SYSLOG;
		log->fd = open_log(log);
		if (log->fd >= 0)
			continue;
		if (log->kind == CONF_LOG_FILE) {
			master_complain("cannot open the log %s: %s; make its directory or name another file", log->path,
					strerror(errno));
			return false;
		}
		log_warn("Nothing takes syslog messages at " SYSLOG_PATH " (%s); going on without", strerror(errno));
	}
	return true;
}

/* False: it keeps what it has. */
static bool reopen(struct conf_log *log)
{
	int fd = open_log(log);

	if (fd < 0) {
		log_error("Cannot reopen the log %s (%s): going on with the old one", name_of(log), strerror(errno));
		return false;
	}
	if (log->fd < 0) {
		log->fd = fd;
		return true;
	}
	bool good = dup3(fd, log->fd, O_CLOEXEC) >= 0;
	close(fd);
	return good;
}

static void pass_on(struct master *m)
{
	logs_use(m->crew->conf);
	m->logs_round++;
}

void logs_reopen(struct master *m)
{
	unsigned done = 0;

	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; w->conf != NULL && i < w->conf->nlogs; i++) {
			struct conf_log *log = w->conf->logs[i];
			bool kept = log->kind == CONF_LOG_STDOUT || log->kind == CONF_LOG_STDERR;

			done += !kept && reopen(log) && w == m->crew;
		}
	}
	pass_on(m);
	heir_tell(m, IPC_HEIR_LOGS);
	log_notice("Logs reopened: %u", done);
}

static bool reconnect(struct conf_log *log)
{
	int fd = open_syslog();

	if (fd < 0)
		return false;		/* no word of it: that would be one each five seconds */
	if (log->fd < 0) {
		log->fd = fd;
	} else {
		dup3(fd, log->fd, O_CLOEXEC);
		close(fd);
	}
	return true;
}

void logs_reconnect(struct master *m, bool all)
{
	bool changed = false;

	if (m->now_ms - m->syslog_try_ms < SYSLOG_RETRY_MS)
		return;
	m->syslog_try_ms = m->now_ms;
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; w->conf != NULL && i < w->conf->nlogs; i++) {
			struct conf_log *log = w->conf->logs[i];

			if (log->kind == CONF_LOG_SYSLOG && (log->fd < 0 || all))
				changed = reconnect(log) || changed;
		}
	}
	if (changed)
		pass_on(m);
}

void logs_close(struct conf *c)
{
	for (unsigned i = 0; i < c->nlogs; i++) {
		if (c->logs[i]->fd >= 0)
			close(c->logs[i]->fd);
		c->logs[i]->fd = -1;
	}
}
