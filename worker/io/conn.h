/*
 * conn.h - a stream connection: one descriptor, what is known of its readiness,
 * one deadline.
 *
 * Below it lies a transport table, plain or TLS; nobody above asks which.
 * Edge-triggered: `can_read` and `can_write` remember what epoll said
 * until the kernel says EAGAIN or gives less than was asked for. The owner gets
 * one callback on any change and looks at the flags; it reads and writes
 * whenever it has reason to, not only inside the callback. Write first, wait
 * only if it would block. Conn holds no buffers.
 */
#ifndef WORKER_IO_CONN_H
#define WORKER_IO_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/addr.h"
#include "worker/io/loop.h"

#define CONN_MAGIC 0xc0222c01u

struct conn;

enum io_rc {
	IO_OK,				/* some bytes moved */
	IO_AGAIN,			/* nothing now; on_ready comes */
	IO_EOF,				/* the peer ended its direction in order */
	IO_FAIL				/* reset or worse; conn->error has errno */
};

/* One kind of byte transport. recv/sendv report like conn_recv/conn_sendv and keep the flags. */
struct transport {
	const char *name;
	enum io_rc (*recv)(struct conn *c, void *p, size_t n, size_t *got);
	enum io_rc (*sendv)(struct conn *c, const struct iovec *iov, unsigned n, size_t *put);
	void (*shut)(struct conn *c);	/* end of our direction */
	void (*close)(struct conn *c);	/* frees tp_state, not the descriptor */
	/* The descriptor became readable or writable (again). While c->connecting this is the handshake's, and ends it. True:
	 * something changed for the owner. NULL: nothing to do. */
	bool (*event)(struct conn *c, bool in, bool out);
	void (*ask)(struct conn *c);	/* the next recv asks the kernel whatever is known; may be NULL */
};
extern const struct transport transport_plain;

struct conn_ops {
	/* Readiness changed, or connecting, a handshake included, ended (c->connecting is false now; c->error tells how). */
	void (*on_ready)(struct conn *c);
	/* The deadline set by conn_deadline() passed. */
	void (*on_deadline)(struct conn *c);
};

struct conn {
	uint32_t magic;
	int fd;				/* -1: closed */
	struct watch watch;
	struct loop *loop;
	const struct transport *tp;
	void *tp_state;
	const struct span *preface;	/* not sent yet; see conn_preface() */
	const struct conn_ops *ops;	/* find the owner around the conn */
	struct timer timer;
	uint64_t id;			/* unique in this worker, for logs */
	int error;			/* errno of the failure, 0 for none */
	bool dialing;			/* a connect() is under way */
	bool connecting;		/* no bytes yet: dialing, or a handshake of the transport */
	bool was_clear;			/* see tls_was_clear() */
	bool can_read, can_write;	/* as far as we know */
	bool hup;			/* EPOLLRDHUP seen: a read will end with IO_EOF */
	bool broken;			/* EPOLLERR or EPOLLHUP seen, or an IO_FAIL */
};

/* Takes the descriptor over and registers it. `connecting`: a connect() is under way. The owner sets `id`. False with
 * errno: fd untouched. */
bool conn_init(struct conn *c, struct loop *l, int fd, bool connecting, const struct conn_ops *ops);
/* For a connection to a server, right after conn_init(): bytes that go before all others once it is connected. They are
 * borrowed until then. On failure the connection is broken. */
void conn_preface(struct conn *c, const struct span *bytes);
/* Closes the descriptor, stops the timer, silences the watch. Idempotent. The memory stays the owner's: bury it. */
void conn_close(struct conn *c);
/* The same with an RST instead of a FIN, for peers that must not take what they got for whole. */
void conn_reset(struct conn *c);
/* Ends our direction (FIN); reading goes on. */
void conn_shut(struct conn *c);

/* Up to n bytes; *got is set on IO_OK. A short read clears can_read (unless hup) so that no EAGAIN round is needed. */
enum io_rc conn_recv(struct conn *c, void *p, size_t n, size_t *got);
/* Up to all bytes; *put may be less than asked for (then can_write is off). */
enum io_rc conn_sendv(struct conn *c, const struct iovec *iov, unsigned n, size_t *put);

/* Acts as if the descriptor had just become readable and writable: for a transport that was put in place after the edge. */
void conn_look(struct conn *c);

/* Nothing to read and no end of the stream, as far as events told; `ask`: the kernel is asked too. What it reads to find out is
 * lost, so the answer no means that the connection is of no more use. */
bool conn_quiet(struct conn *c, bool ask);

/* on_deadline at now + ms; 0 stops it. Cheap enough to call on every byte. */
void conn_deadline(struct conn *c, uint64_t ms);

#endif
