/*
 * tls_conn.c - how a connection gets its TLS, and what is known of it then.
 *
 * Called by whoever opens or accepts connections, and by what is asked about
 * them for variables and logs. The bytes are tls.c's business.
 */
#include "worker/io/tls_parts.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "common/obj.h"

/* ---- told by the library ---- */

void tls_on_host(SSL *ssl, const struct tls_host *h, struct span name)
{
	struct tls *t = BIO_get_data(SSL_get_rbio(ssl));

	OBJ_CHECK(t, TLS_MAGIC);
	t->host = h;
	free(t->sni);
	t->sni = name.n > 0 ? strndup(name.p, name.n) : NULL;
}

int tls_on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = BIO_get_data(SSL_get_rbio(ssl));

	OBJ_CHECK(t, TLS_MAGIC);
	if (t->peer == NULL)
		return 0;
	tls_peer_forget(t->peer);
	t->peer->session = session;
	return 1;
}

void tls_peer_forget(struct tls_peer *p)
{
	SSL_SESSION_free(p->session);
	p->session = NULL;
}

/* ---- birth ---- */

bool tls_pool_init(struct tls_pool *p, struct buf_pool *bufs)
{
	*p = (struct tls_pool){ .bufs = bufs, .bio = tls_bio_method(),
				.plain = malloc(TLS_PLAIN_MAX), .sealed = malloc(TLS_SEALED_MAX) };
	slab_init(&p->tls, "tls", sizeof(struct tls));
	list_init(&p->waiting);
	task_init(&p->steps, tls_on_steps);
	if (p->bio == NULL || p->plain == NULL || p->sealed == NULL) {
		tls_pool_fini(p);
		return false;
	}
	return true;
}

void tls_pool_fini(struct tls_pool *p)
{
	BIO_meth_free(p->bio);
	free(p->plain);
	free(p->sealed);
	p->bio = NULL;
	p->plain = p->sealed = NULL;
	slab_fini(&p->tls);
}

static struct tls *tls_new(struct conn *c, struct tls_pool *p, SSL_CTX *ctx)
{
	struct tls *t = slab_get(&p->tls);
	SSL *ssl = SSL_new(ctx);
	BIO *bio = BIO_new(p->bio);

	if (t == NULL || ssl == NULL || bio == NULL) {
		if (t != NULL)
			slab_put(&p->tls, t);
		SSL_free(ssl);
		BIO_free(bio);
		ERR_clear_error();
		return NULL;
	}
	*t = (struct tls){ .magic = TLS_MAGIC, .ssl = ssl, .c = c, .pool = p };
	list_init(&t->waiting);
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_msg_callback(ssl, tls_on_message);
	SSL_set_msg_callback_arg(ssl, t);
	return t;
}

static void install(struct conn *c, struct tls *t)
{
	c->tp = &transport_tls;
	c->tp_state = t;
	c->connecting = true;
}

bool tls_accept(struct conn *c, struct tls_pool *p, struct tls_server *s)
{
	SSL_CTX *ctx = tls_host_ctx(s->unknown);
	struct tls *t = ctx != NULL ? tls_new(c, p, ctx) : NULL;

	OBJ_CHECK(s, TLS_SERVER_MAGIC);
	if (t == NULL)
		return false;
	t->server = true;
	SSL_set_accept_state(t->ssl);
	install(c, t);
	return true;
}

static bool expect_name(struct tls *t, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	unsigned char ip[16];

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
	return SSL_set1_host(t->ssl, name) == 1 && SSL_set_tlsext_host_name(t->ssl, name) == 1;
}

bool tls_connect(struct conn *c, struct tls_pool *p, struct tls_client *client, struct tls_peer *peer,
		 const char *name)
{
	struct tls *t = tls_new(c, p, client->ctx);

	OBJ_CHECK(client, TLS_CLIENT_MAGIC);
	if (t == NULL)
		return false;
	t->peer = peer;
	SSL_set_connect_state(t->ssl);
	if (name != NULL && name[0] != '\0' && !expect_name(t, name)) {
		SSL_free(t->ssl);
		slab_put(&p->tls, t);
		return false;
	}
	if (peer != NULL && peer->session != NULL)
		(void)SSL_set_session(t->ssl, peer->session);
	install(c, t);
	return true;
}

/* ---- what is known ---- */

struct tls *tls_of(const struct conn *c)
{
	return c->tp == &transport_tls ? c->tp_state : NULL;
}

bool tls_was_clear(const struct conn *c)
{
	return c->was_clear;
}

const char *tls_why(const struct tls *t)
{
	OBJ_CHECK(t, TLS_MAGIC);
	return t->why;
}

const char *tls_version(const struct tls *t)
{
	OBJ_CHECK(t, TLS_MAGIC);
	return SSL_get_version(t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
	const char *name = SSL_get_cipher_name(t->ssl);

	return name != NULL ? name : "";
}

bool tls_chose_h2(const struct tls *t)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(t->ssl, &p, &n);
	return n == 2 && p[0] == 'h' && p[1] == '2';
}

bool tls_resumed(const struct tls *t)
{
	return SSL_session_reused(t->ssl);
}

struct span tls_sni(const struct tls *t)
{
	OBJ_CHECK(t, TLS_MAGIC);
	return t->sni != NULL ? span_of(t->sni) : SPAN("");
}

unsigned tls_rules(const struct tls *t)
{
	OBJ_CHECK(t, TLS_MAGIC);
	must(t->host != NULL);
	return t->host->rules;
}

bool tls_has_client(const struct tls *t)
{
	OBJ_CHECK(t, TLS_MAGIC);
	return t->server && SSL_get0_peer_certificate(t->ssl) != NULL && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

struct span tls_client_subject(const struct tls *t, struct arena *a)
{
	struct span s = SPAN("");
	BIO *b;
	char *p;
	long n;

	if (!tls_has_client(t) || (b = BIO_new(BIO_s_mem())) == NULL)
		return s;
	if (X509_NAME_print_ex(b, X509_get_subject_name(SSL_get0_peer_certificate(t->ssl)), 0, XN_FLAG_RFC2253) >= 0 &&
	    (n = BIO_get_mem_data(b, &p)) > 0)
		s = arena_span(a, span_make(p, (size_t)n));
	BIO_free(b);
	return s.p != NULL ? s : SPAN("");
}

struct span tls_client_digest(const struct tls *t, struct arena *a)
{
	unsigned char md[CERT_DIGEST];
	unsigned n = sizeof(md);
	char *text;

	if (!tls_has_client(t) || X509_digest(SSL_get0_peer_certificate(t->ssl), EVP_sha256(), md, &n) != 1)
		return SPAN("");
	text = arena_bytes(a, 2 * sizeof(md));
	for (unsigned i = 0; text != NULL && i < sizeof(md); i++) {
		text[2 * i] = "0123456789abcdef"[md[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[md[i] & 15];
	}
	return text != NULL ? span_make(text, 2 * sizeof(md)) : SPAN("");
}
