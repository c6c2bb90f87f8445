/*
 * tls_parts.h - between tls.c, the transport, and tls_conn.c, where connections
 * get it and are asked what they met. Nobody else includes it, since what is in
 * struct tls is nobody else's business.
 */
#ifndef WORKER_IO_TLS_PARTS_H
#define WORKER_IO_TLS_PARTS_H

#include "worker/io/tls.h"

#define TLS_PLAIN_MAX 65536			/* bytes that are sealed in one go */
#define TLS_SEALED_MAX (TLS_PLAIN_MAX + 8192)	/* the same with what four records add, and room for a handshake's messages */

struct tls {
	uint32_t magic;
	SSL *ssl;
	struct conn *c;			/* NULL: closed, waiting to be buried */
	struct grave grave;
	struct list waiting;		/* in pool->waiting */
	struct tls_pool *pool;
	const struct tls_host *host;	/* of a client's end; NULL until its hello came */
	struct tls_peer *peer;		/* of a server's end; may be NULL */
	struct buf *out;		/* sealed, and not taken by the socket yet */
	uint32_t owed;			/* bytes given to us whose records lie in `out`, not yet reported as sent */
	bool server;			/* we are the server */
	bool raw_in;			/* the socket may have bytes */
	bool raw_eof;
	bool begun;			/* the first byte came */
	bool clear;			/* and it began a request in clear */
	bool flood;
	bool failed;			/* the library gives this connection up */
	bool mute;			/* the socket takes nothing any more; there may be bytes to read yet */
	bool shut, shut_fd;		/* close_notify was given to us to send; the socket shall follow */
	uint16_t talk;			/* handshake messages since talk_ms */
	uint64_t talk_ms;
	const char *why;
	char *sni;			/* NULL: none */
};

extern const struct transport transport_tls;

/* Makes some of the handshake steps that wait. */
void tls_on_steps(struct task *task);
/* The library's way to the socket; NULL: no memory. */
BIO_METHOD *tls_bio_method(void);
/* Sees every message; counts those that come after the handshake. */
void tls_on_message(int write_p, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg);

#endif
