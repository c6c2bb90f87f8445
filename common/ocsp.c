/*
 * ocsp.c - questions to OCSP responders, and judging of their answers.
 *
 * Called when certificates are read, and by the checker. Never opens anything.
 */
#include "common/ocsp.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "common/log.h"
#include "common/obj.h"

#define URL_MAX 1024
#define SKEW_S 300			/* that clocks may differ */
#define OPEN_END_S 3600			/* how long an answer counts that does not say */
#define REFRESH_MIN_S 5
#define REFRESH_MAX_S (4 * 86400)
#define TLS_FEATURE_STATUS 5		/* RFC 7633: status_request */

/* ---- what a certificate says ---- */

/* Host and port, the host perhaps in brackets. */
static bool read_authority(struct span s, struct cert_ocsp *o)
{
	const char *colon = s.n > 0 && s.p[0] == '[' ? memchr(s.p, ']', s.n) : memchr(s.p, ':', s.n);
	unsigned port = 0;

	o->authority = o->host = s;
	o->port = 80;
	if (s.n > 0 && s.p[0] == '[') {
		if (colon == NULL)
			return false;
		o->host = span_make(s.p + 1, (size_t)(colon - s.p) - 1);
		colon = colon + 1 < s.p + s.n ? colon + 1 : NULL;
	} else if (colon != NULL) {
		o->host.n = (size_t)(colon - s.p);
	}
	if (colon == NULL)
		return o->host.n > 0;
	for (const char *p = colon + 1; p < s.p + s.n; p++) {
		if (*p < '0' || *p > '9' || (port = port * 10 + (unsigned)(*p - '0')) > 65535)
			return false;
	}
	o->port = (uint16_t)port;
	return *colon == ':' && port > 0 && o->host.n > 0 && o->host.n < 254;
}

static bool read_url(struct arena *a, const char *url, struct cert_ocsp *o)
{
	struct span s = span_of(url);
	const char *slash;

	if (s.n < 8 || s.n > URL_MAX || !span_caseeq(span_make(s.p, 7), SPAN("http://")))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] >= 127 || s.p[i] == '@' || s.p[i] == '#')
			return false;
	}
	s = arena_span(a, span_make(s.p + 7, s.n - 7));
	slash = memchr(s.p, '/', s.n);
	o->target = slash != NULL ? span_make(slash, (size_t)(s.p + s.n - slash)) : SPAN("/");
	return read_authority(slash != NULL ? span_make(s.p, (size_t)(slash - s.p)) : s, o);
}

static bool must_staple(X509 *x)
{
	STACK_OF(ASN1_INTEGER) *features = X509_get_ext_d2i(x, NID_tlsfeature, NULL, NULL);
	bool found = false;

	for (int i = 0; features != NULL && i < sk_ASN1_INTEGER_num(features); i++)
		found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == TLS_FEATURE_STATUS;
	sk_ASN1_INTEGER_pop_free(features, ASN1_INTEGER_free);
	return found;
}

void ocsp_read(struct arena *a, struct cert *c)
{
	STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(c->leaf);
	struct cert_ocsp *o = &c->ocsp;
	bool found = false;

	for (int i = 0; urls != NULL && !found && i < sk_OPENSSL_STRING_num(urls); i++)
		found = read_url(a, sk_OPENSSL_STRING_value(urls, i), o);
	if (!found)
		*o = (struct cert_ocsp){ .host = SPAN("") };
	X509_email_free(urls);
	o->must = must_staple(c->leaf);
	for (int i = 0; i < sk_X509_num(c->chain) && o->issuer == NULL; i++) {
		X509 *x = sk_X509_value(c->chain, i);

		if (X509_check_issued(x, c->leaf) == X509_V_OK)
			o->issuer = x;
	}
	ERR_clear_error();
}

/* ---- question ---- */

unsigned char *ocsp_question(const struct cert *c, size_t *n)
{
	OCSP_REQUEST *r = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(NULL, c->leaf, c->ocsp.issuer);
	unsigned char *der = NULL;
	int len = -1;

	OBJ_CHECK(c, CERT_MAGIC);
	if (r != NULL && id != NULL && OCSP_request_add0_id(r, id) != NULL) {
		id = NULL;
		len = i2d_OCSP_REQUEST(r, &der);
	}
	OCSP_CERTID_free(id);
	OCSP_REQUEST_free(r);
	ERR_clear_error();
	*n = len > 0 ? (size_t)len : 0;
	return len > 0 ? der : NULL;
}

/* ---- answer ---- */

static struct ocsp_verdict worthless(const char *why)
{
	return (struct ocsp_verdict){ .state = OCSP_WORTHLESS, .why = why };
}

/* By the issuer itself, or by whom it certified for this (RFC 6960 4.2.2.2). */
static bool is_signed(const struct cert *c, OCSP_BASICRESP *basic)
{
	STACK_OF(X509) *issuers = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	bool good = issuers != NULL && store != NULL && sk_X509_push(issuers, c->ocsp.issuer) > 0 &&
		    X509_STORE_add_cert(store, c->ocsp.issuer) == 1 &&
		    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
		    OCSP_basic_verify(basic, issuers, store, 0) == 1;

	sk_X509_free(issuers);
	X509_STORE_free(store);
	return good;
}

static int64_t seconds_of(const ASN1_GENERALIZEDTIME *t)
{
	struct tm tm;

	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static struct ocsp_verdict judge_times(ASN1_GENERALIZEDTIME *from, ASN1_GENERALIZEDTIME *to, int64_t now)
{
	int64_t half;
	struct ocsp_verdict v = { .state = OCSP_GOOD, .expires = to != NULL ? seconds_of(to) : now + OPEN_END_S };

	if (seconds_of(from) == 0 || seconds_of(from) > now + SKEW_S)
		return worthless("its answer is for later");
	if (v.expires <= now)
		return worthless("its answer is out of date");
	/* Half of the time for which it was made, not of what is left: two who fetch it at different times come at different times. */
	half = to != NULL ? seconds_of(from) + (v.expires - seconds_of(from)) / 2 : now + OPEN_END_S / 2;
	if (half < now + REFRESH_MIN_S)
		half = now + (v.expires - now) / 2;
	if (half < now + REFRESH_MIN_S)
		half = now + REFRESH_MIN_S;
	v.refresh = half < now + REFRESH_MAX_S ? half : now + REFRESH_MAX_S;
	return v;
}

static struct ocsp_verdict judge_basic(const struct cert *c, OCSP_BASICRESP *basic, int64_t now)
{
	OCSP_CERTID *id = OCSP_cert_to_id(NULL, c->leaf, c->ocsp.issuer);
	ASN1_GENERALIZEDTIME *revoked, *from, *to;
	int status = 0, reason;
	bool found = id != NULL && OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &from, &to) == 1;
	struct ocsp_verdict v;

	OCSP_CERTID_free(id);
	if (!found)
		return worthless("its answer is about another certificate");
	if (!is_signed(c, basic))
		return worthless("its answer is not signed by whom the issuer names");
	v = judge_times(from, to, now);
	if (v.state == OCSP_GOOD && status == V_OCSP_CERTSTATUS_REVOKED)
		v.state = OCSP_REVOKED;
	else if (v.state == OCSP_GOOD && status != V_OCSP_CERTSTATUS_GOOD)
		return worthless("it does not know the certificate");
	return v;
}

struct ocsp_verdict ocsp_judge(const struct cert *c, const void *answer, size_t n, int64_t now)
{
	const unsigned char *p = answer;
	OCSP_RESPONSE *r = d2i_OCSP_RESPONSE(NULL, &p, (long)n);
	struct ocsp_verdict v = worthless("its answer is no OCSP response");
	OCSP_BASICRESP *basic = NULL;

	OBJ_CHECK(c, CERT_MAGIC);
	if (r != NULL && p != (const unsigned char *)answer + n)
		v = worthless("there are bytes behind its answer");
	else if (r != NULL && OCSP_response_status(r) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		v = worthless("it refuses to answer");
	else if (r != NULL && (basic = OCSP_response_get1_basic(r)) != NULL)
		v = judge_basic(c, basic, now);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(r);
	ERR_clear_error();
	return v;
}
