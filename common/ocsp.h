/*
 * ocsp.h - what is asked of an OCSP responder, and what its answer is worth (RFC 6960).
 *
 * Pure: bytes in, bytes out. Who carries them is worker/staple.c. An answer is
 * believed when the issuer of the certificate signed it, or somebody whom that
 * issuer named for it.
 */
#ifndef COMMON_OCSP_H
#define COMMON_OCSP_H

#include "common/cert.h"

/* Fills c->ocsp from the certificate and its chain, for cert_load(). */
void ocsp_read(struct arena *a, struct cert *c);
/* It names a responder that can be asked, and its issuer is in the chain. */
static inline bool ocsp_can_ask(const struct cert *c)
{
	return c->ocsp.host.n > 0 && c->ocsp.issuer != NULL;
}
/* The question, in DER, to be freed by OPENSSL_free(); NULL: no memory. */
unsigned char *ocsp_question(const struct cert *c, size_t *n);

enum ocsp_state {
	OCSP_GOOD,
	OCSP_REVOKED,
	OCSP_WORTHLESS			/* it says nothing, or cannot be believed */
};
struct ocsp_verdict {
	enum ocsp_state state;
	const char *why;		/* WORTHLESS: a constant text */
	int64_t expires, refresh;	/* GOOD: UNIX seconds; refresh is half way */
};
/* `now` in UNIX seconds. */
struct ocsp_verdict ocsp_judge(const struct cert *c, const void *answer, size_t n, int64_t now);

#endif
