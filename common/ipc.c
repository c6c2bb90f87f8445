/*
 * ipc.c - the small fixed messages between master and children.
 *
 * Owns their form on the wire. Called by the master for every child and by
 * each child for its one control socket. It never blocks, and a message that
 * is not whole, known and ours is counted as none.
 */
#include "common/ipc.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sock.h"

bool ipc_send(int sock, enum ipc_kind kind, uint32_t gen, uint64_t arg, int fd)
{
	const struct ipc_msg m = { .magic = IPC_MAGIC, .kind = (uint16_t)kind, .gen = gen, .arg = arg };

	return sock_send_fds(sock, &m, sizeof(m), &fd, fd >= 0 ? 1 : 0) == (int)sizeof(m);
}

/* One descriptor where the kind carries one, none elsewhere. */
static bool is_known(const struct ipc_msg *m, unsigned nfds)
{
	switch (m->kind) {
	case IPC_READY:
	case IPC_DRAIN:
	case IPC_STOP:
	case IPC_LOST_SYSLOG:
	case IPC_GO:
	case IPC_RETIRE:
	case IPC_AWAY:
	case IPC_SESSIONS:
	case IPC_HEIR_HELLO:
	case IPC_HEIR_READY:
	case IPC_HEIR_GO:
	case IPC_HEIR_SERVING:
	case IPC_HEIR_LOGS:
	case IPC_HEIR_END:
	case IPC_HEIR_STOP:
	case IPC_HEIR_HURRY:
	case IPC_HEIR_GONE:
		return nfds == 0;
	case IPC_LOG:
		return nfds == 1;
	default:
		return false;
	}
}

int ipc_recv(int sock, struct ipc_msg *m, int *fd)
{
	unsigned nfds;
	int n;

	*fd = -1;
	do {
		nfds = 1;
		n = sock_recv_fds(sock, m, sizeof(*m), fd, &nfds);
	} while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && (errno == ECONNRESET || errno == EPIPE || errno == ENOTCONN)))
		return -1;
	if (n < 0 && errno != EMSGSIZE)
		return 0;
	if (n == (int)sizeof(*m) && m->magic == IPC_MAGIC && is_known(m, nfds))
		return 1;
	log_warn("A message between master and child was garbage and was dropped.");
	if (nfds > 0)
		close(*fd);
	*fd = -1;
	return 0;
}
