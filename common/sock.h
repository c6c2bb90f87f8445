/*
 * sock.h - sockets made ready: non-blocking, close-on-exec, options set.
 *
 * All return a descriptor or -1 with errno. None of them blocks or logs.
 */
#ifndef COMMON_SOCK_H
#define COMMON_SOCK_H

#include <stdbool.h>

#include "common/addr.h"

/* A bound, listening TCP socket with SO_REUSEADDR, and SO_REUSEPORT if asked; v6only as given. What it
 * accepts has TCP_NODELAY. */
int sock_listen(const struct addr *a, int backlog, bool reuseport, bool v6only);
/* A listening UNIX socket at path; a stale socket file (nobody accepts there) is replaced, a live one gives
 * EADDRINUSE, any other kind of file EEXIST. Mode bits as given. */
int sock_listen_unix(const char *path, int backlog, unsigned mode);
/* Starts a connection. *done tells whether it was finished at once; EINPROGRESS is not an error. TCP_NODELAY is set. */
int sock_connect(const struct addr *a, bool *done);
/* The pending error of a socket (SO_ERROR), 0 for none. */
int sock_error(int fd);
int sock_set_nonblock(int fd);
/* Sends / receives one small message with up to 4 descriptors (SCM_RIGHTS). fds may be NULL with *nfds 0. *nfds is
 * the room on entry, the number received on return; descriptors beyond the room are closed. Returns the bytes of the
 * message (0: the peer closed) or -1 with errno: EAGAIN when it would block, EMSGSIZE when something did not fit. */
int sock_send_fds(int sock, const void *msg, unsigned len, const int *fds, unsigned nfds);
int sock_recv_fds(int sock, void *msg, unsigned len, int *fds, unsigned *nfds);

#endif
