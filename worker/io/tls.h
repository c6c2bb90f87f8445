/*
 * tls.h - the TLS transport of a connection: handshake, records, end.
 *
 * tls_accept() and tls_connect() put it under a conn; from then on nobody above
 * asks. Until the handshake is over the conn counts as connecting. What is
 * written in one go leaves in one system call; an idle connection holds no
 * record buffer. The object outlives the conn until the end of the turn, so
 * that what it knows of the client can still be logged.
 */
#ifndef WORKER_IO_TLS_H
#define WORKER_IO_TLS_H

#include "common/buf.h"
#include "common/slab.h"
#include "worker/io/conn.h"
#include "worker/io/tls_ctx.h"

#define TLS_MAGIC 0x71550a01u

struct tls;

/* What all TLS connections of a process share. */
struct tls_pool {
	struct slab tls;
	struct buf_pool *bufs;
	BIO_METHOD *bio;
	char *plain, *sealed;		/* scratch for one call: what goes into records, what comes out */
	size_t nsealed;
	/* Steps of clients' handshakes, which cost far more than anything else here: they wait for the end of the turn, and only
	 * TLS_STEPS of them are made in one. */
	struct list waiting;		/* struct tls */
	unsigned nwaiting;
	unsigned nsteps;		/* made in the turn that began at turn_us */
	uint64_t turn_us;
	uint64_t put_off;		/* steps that had to wait for a later turn */
	struct task steps;
};
#define TLS_STEPS 8
#define TLS_WAITING_MAX 256		/* from there on nobody new should be accepted; see tls_crowded() */

/* False: no memory. */
bool tls_pool_init(struct tls_pool *p, struct buf_pool *bufs);
void tls_pool_fini(struct tls_pool *p);
static inline bool tls_crowded(const struct tls_pool *p)
{
	return p->nwaiting >= TLS_WAITING_MAX;
}

/* The session that was last good with one server. */
struct tls_peer {
	SSL_SESSION *session;		/* NULL: none */
};
void tls_peer_forget(struct tls_peer *p);
/* For tls_client_new(). */
int tls_on_session(SSL *ssl, SSL_SESSION *session);

/* The client's end: the handshake begins with its first bytes. False: no memory; the conn is as it was. */
bool tls_accept(struct conn *c, struct tls_pool *p, struct tls_server *s);
/* The server's end, at once or when the conn is connected. `name` is verified and, if it is no address, sent; `peer` may be
 * NULL. Same result. */
bool tls_connect(struct conn *c, struct tls_pool *p, struct tls_client *client, struct tls_peer *peer,
		 const char *name);

/* The conn's TLS; NULL: it speaks in clear. */
struct tls *tls_of(const struct conn *c);
/* A handshake failed since the client spoke HTTP in clear; the conn is a plain one now, so that this can be told. */
bool tls_was_clear(const struct conn *c);
/* Why it failed; a constant text, NULL: it did not. */
const char *tls_why(const struct tls *t);

/* What is known of a handshake that is over. The text of the names lives as long as the object. */
const char *tls_version(const struct tls *t);
const char *tls_cipher(const struct tls *t);
bool tls_resumed(const struct tls *t);
/* ALPN settled on HTTP/2 (RFC 7301). */
bool tls_chose_h2(const struct tls *t);
struct span tls_sni(const struct tls *t);
/* Which rules for client certificates it met; see struct tls_host. */
unsigned tls_rules(const struct tls *t);
/* The client showed a certificate, which is good then. */
bool tls_has_client(const struct tls *t);
/* Its subject (RFC 2253), and its SHA-256 in lower-case hex; empty: none, or no memory. */
struct span tls_client_subject(const struct tls *t, struct arena *a);
struct span tls_client_digest(const struct tls *t, struct arena *a);

#endif
