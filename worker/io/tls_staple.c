/*
 * tls_staple.c - shows clients that a certificate is not revoked (RFC 6066 8).
 *
 * Called by the library for clients that ask, once the certificate is chosen.
 * The checker keeps the answers fresh; here one is only copied out of shared
 * memory, and let go of when the handshake is over.
 */
#include <openssl/crypto.h>
#include <time.h>

#include "common/obj.h"
#include "worker/io/tls_ctx.h"

static const struct cert *chosen(SSL *ssl, const struct tls_host *h)
{
	const X509 *leaf = SSL_get_certificate(ssl);

	for (unsigned i = 0; i < CERT_KINDS; i++) {
		if (h->certs[i] != NULL && h->certs[i]->leaf == leaf)
			return h->certs[i];
	}
	return NULL;
}

int tls_on_status(SSL *ssl, void *arg)
{
	const struct tls_host *h = arg;
	const struct cert *c = chosen(ssl, h);
	struct shm_answer a;
	unsigned char *copy;

	OBJ_CHECK(h, TLS_HOST_MAGIC);
	if (c == NULL || !c->ocsp.on || h->server->shm == NULL || !shm_get_staple(h->server->shm, c->ocsp.slot, &a) ||
	    a.expires <= (int64_t)time(NULL))
		return SSL_TLSEXT_ERR_NOACK;
	copy = OPENSSL_memdup(a.bytes, a.len);
	if (copy == NULL || SSL_set_tlsext_status_ocsp_resp(ssl, copy, a.len) != 1)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_OK;
}

void tls_drop_status(SSL *ssl)
{
	(void)SSL_set_tlsext_status_ocsp_resp(ssl, NULL, 0);
}
