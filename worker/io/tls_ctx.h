/*
 * tls_ctx.h - what TLS connections are made from: contexts, certificates by
 * server name, rules for client certificates.
 *
 * A worker makes one tls_server for each listener and one tls_client for each
 * upstream that speaks TLS, from what the configuration holds; nothing is
 * opened. Which certificate and which rules a handshake meets is decided here,
 * before a session is looked at, so that none resumes under other rules.
 */
#ifndef WORKER_IO_TLS_CTX_H
#define WORKER_IO_TLS_CTX_H

#include <openssl/ssl.h>

#include "common/cert.h"
#include "common/conf.h"
#include "common/shm.h"
#include "common/ticket.h"
#include "worker/io/sni.h"

#define TLS_SERVER_MAGIC 0x71550001u
#define TLS_HOST_MAGIC   0x71550002u
#define TLS_CLIENT_MAGIC 0x71550003u

struct tls_server;

/* One set of certificates under one set of rules. */
struct tls_host {
	uint32_t magic;
	struct tls_server *server;
	const struct cert *certs[CERT_KINDS];
	const struct cert_ca *ca;
	enum conf_verify verify;
	unsigned rules;			/* equal for hosts that ask the same of a client */
	SSL_CTX *ctx;			/* made when first asked for */
	uint8_t sid[CERT_DIGEST];	/* a session lives within one of these */
	struct tls_host *next;
};

struct tls_server {
	uint32_t magic;
	const struct conf_listen *conf;
	struct ticket_keys *tickets;	/* the worker's */
	const struct shm *shm;		/* answers of OCSP responders */
	struct sni names;
	struct tls_host *hosts;		/* newest first */
	struct tls_host *unknown;	/* for names that no certificate has */
};

/* NULL: a context cannot be made, which was logged. */
struct tls_server *tls_server_new(const struct conf *c, const struct conf_listen *l, struct ticket_keys *tickets,
				  const struct shm *shm);
void tls_server_free(struct tls_server *s);
/* What a client that asks for `name` meets; empty or unknown: the host for those. */
struct tls_host *tls_server_host(const struct tls_server *s, struct span name);
/* Its context; NULL: no memory. */
SSL_CTX *tls_host_ctx(struct tls_host *h);
/* What came of a ClientHello, told to the connection: tls.c has it. */
void tls_on_host(SSL *ssl, const struct tls_host *h, struct span name);

/* tls_staple.c: for the library; `arg` is the struct tls_host. */
int tls_on_status(SSL *ssl, void *arg);
/* The handshake is over: the answer need not be kept as long as the connection. */
void tls_drop_status(SSL *ssl);

struct tls_client {
	uint32_t magic;
	const struct conf_upstream *conf;
	SSL_CTX *ctx;
};

/* `on_session` gets each session that can be resumed; it keeps it and returns 1, or 0. NULL: logged. */
struct tls_client *tls_client_new(const struct conf_upstream *u, int (*on_session)(SSL *, SSL_SESSION *));
void tls_client_free(struct tls_client *c);
/* What a server's certificate must have: tls_name, else its host name, else its address; empty: nothing is known. */
void tls_client_name(const struct tls_client *c, const struct conf_server *s, char out[256]);

#endif
