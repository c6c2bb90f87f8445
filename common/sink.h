/*
 * sink.h - writing to a log descriptor without ever waiting for it.
 *
 * A descriptor shared with other processes is never made non-blocking: pipes
 * and terminals are opened anew for that where it is allowed, else asked first;
 * sockets are told with every send. The descriptor given stays the caller's.
 * SIGPIPE must be ignored.
 */
#ifndef COMMON_SINK_H
#define COMMON_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum sink_way {
	SINK_FILE,			/* regular: a write never waits for a reader */
	SINK_OWN,			/* a non-blocking description of our own for a pipe or terminal */
	SINK_POLL,			/* a shared one: asked before each write */
	SINK_STREAM,			/* stream socket */
	SINK_SYSLOG			/* datagram socket */
};

struct sink {
	enum sink_way way;
	int given;			/* the caller's; -1: nothing can be written */
	int own;			/* SINK_OWN; else -1 */
	struct sockaddr_storage peer;	/* SINK_SYSLOG: where to connect again when the daemon was restarted */
	socklen_t peer_len;
};

void sink_init(struct sink *s, int fd, bool syslog);
void sink_fini(struct sink *s);

/* How many bytes go out whole or not at all, also among other writers: PIPE_BUF where the reader is a pipe. */
size_t sink_atom(const struct sink *s);
/* Bytes taken, perhaps fewer than n; -1 and errno, EAGAIN when there is no room now. Not for SINK_SYSLOG. */
ssize_t sink_write(struct sink *s, const char *p, size_t n);
/* One datagram. 0, or -1 and errno. */
int sink_send(struct sink *s, struct iovec *parts, unsigned n);

#endif
