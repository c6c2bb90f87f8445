/*
 * ipc.h - the small fixed messages between master and children, and between masters.
 *
 * One struct ipc_msg per SOCK_SEQPACKET datagram, with descriptors as
 * SCM_RIGHTS where said. What is not exactly one known message is logged and
 * dropped by either side. Neither side ever blocks on it.
 */
#ifndef COMMON_IPC_H
#define COMMON_IPC_H

#include <stdbool.h>
#include <stdint.h>

#define IPC_MAGIC 0x19c0u

enum ipc_kind {
	IPC_READY = 1,			/* child: initialised, serving */
	IPC_DRAIN,			/* master: stop accepting, end what is under way, then exit 0; arg: ipc_drain_arg() */
	IPC_STOP,			/* master: exit now */
	IPC_LOG,			/* master: one descriptor: the reopened log of conf->logs[arg]; takes the old one's place */
	IPC_LOST_SYSLOG,		/* child: the syslog socket is dead: please connect anew (answered by IPC_LOG) */
	IPC_GO,				/* master: your generation is in force: begin to accept */
	IPC_RETIRE,			/* master: the same as IPC_DRAIN, but a newer generation serves: tunnels have a limit of their own */
	IPC_AWAY,			/* child: it drains, and accepts nothing more */
	IPC_SESSIONS,			/* master: put your sessions into shared memory; arg: number of the order */

	/* Between two masters in an upgrade (master/upgrade.h). Both may be of different versions: numbers never change. */
	IPC_HEIR_HELLO = 64,		/* new: I am weir and can read what you left me; arg: ESTATE_VERSION */
	IPC_HEIR_READY = 65,		/* new: all is open, every process is ready */
	IPC_HEIR_GO = 66,		/* old: take over */
	IPC_HEIR_SERVING = 67,		/* new: I serve, what was yours is mine */
	IPC_HEIR_LOGS = 68,		/* new: open the logs anew */
	IPC_HEIR_END = 69,		/* new: end generation arg now */
	IPC_HEIR_STOP = 70,		/* new: end all of them now */
	IPC_HEIR_GONE = 71,		/* old: no process of generation arg is left */
	IPC_HEIR_HURRY = 72		/* new: we stop: what drains has no more time than that */
};

struct ipc_msg {
	uint16_t magic;
	uint16_t kind;			/* enum ipc_kind */
	uint32_t gen;			/* of the slot; a message of another generation is dropped */
	uint64_t arg;
};

/* All within limit_ms (0: no limit); clients that are idle are kept for grace_ms first. */
#define IPC_LIMIT_BITS 44
static inline uint64_t ipc_drain_arg(uint64_t limit_ms, uint64_t grace_ms)
{
	const uint64_t most = ((uint64_t)1 << IPC_LIMIT_BITS) - 1;

	return (limit_ms < most ? limit_ms : most) | grace_ms << IPC_LIMIT_BITS;
}
static inline uint64_t ipc_drain_limit(uint64_t arg)
{
	return arg & (((uint64_t)1 << IPC_LIMIT_BITS) - 1);
}
static inline uint64_t ipc_drain_grace(uint64_t arg)
{
	return arg >> IPC_LIMIT_BITS;
}

/* fd -1: none. False when it could not be sent now. */
bool ipc_send(int sock, enum ipc_kind kind, uint32_t gen, uint64_t arg, int fd);
/* 1: a message (fd or -1 in *fd, the caller owns it); 0: nothing now or garbage dropped; -1: the other side is gone. */
int ipc_recv(int sock, struct ipc_msg *m, int *fd);

#endif
