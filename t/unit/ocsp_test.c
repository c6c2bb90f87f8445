/*
 * ocsp_test.c - where certificates say that their state can be asked for.
 *
 * Answers are judged in t/77-ocsp.t, with those of a real responder.
 */
#include "t/unit/unit.h"

#include <openssl/x509v3.h>

#include "common/obj.h"
#include "common/ocsp.h"

static struct cert cert_with(struct arena *a, const char *access, const char *feature)
{
	struct cert c = { .magic = CERT_MAGIC, .leaf = X509_new(), .chain = sk_X509_new_null() };
	const struct { int nid; const char *text; } all[] = { { NID_info_access, access }, { NID_tlsfeature, feature } };

	for (unsigned i = 0; i < 2; i++) {
		X509_EXTENSION *e = all[i].text ? X509V3_EXT_conf_nid(NULL, NULL, all[i].nid, all[i].text) : NULL;

		ck_assert(e != NULL || all[i].text == NULL);
		if (e != NULL)
			ck_assert_int_eq(X509_add_ext(c.leaf, e, -1), 1);
		X509_EXTENSION_free(e);
	}
	ocsp_read(a, &c);
	X509_free(c.leaf);
	sk_X509_free(c.chain);
	return c;
}

START_TEST(good_places)
{
	static const struct { const char *url, *host, *authority, *target; unsigned port; } t[] = {
		{ "OCSP;URI:http://r.example", "r.example", "r.example", "/", 80 },
		{ "OCSP;URI:HTTP://r.example/", "r.example", "r.example", "/", 80 },
		{ "OCSP;URI:http://r.example:8080/a/b?c", "r.example", "r.example:8080", "/a/b?c", 8080 },
		{ "OCSP;URI:http://192.0.2.1/x", "192.0.2.1", "192.0.2.1", "/x", 80 },
		{ "OCSP;URI:http://[2001:db8::1]/x", "2001:db8::1", "[2001:db8::1]", "/x", 80 },
		{ "OCSP;URI:http://[2001:db8::1]:81/x", "2001:db8::1", "[2001:db8::1]:81", "/x", 81 },
		{ "caIssuers;URI:http://no.example,OCSP;URI:https://no.example,OCSP;URI:http://yes.example", "yes.example",
		  "yes.example", "/", 80 },
	};
	struct arena a;

	arena_init(&a, NULL, 0);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct cert c = cert_with(&a, t[i].url, NULL);

		ck_span_eq(c.ocsp.host, t[i].host);
		ck_span_eq(c.ocsp.authority, t[i].authority);
		ck_span_eq(c.ocsp.target, t[i].target);
		ck_assert_uint_eq(c.ocsp.port, t[i].port);
		ck_assert(!ocsp_can_ask(&c));	/* without an issuer */
	}
	arena_fini(&a);
}
END_TEST

START_TEST(bad_places)
{
	static const char *const t[] = {
		"OCSP;URI:ldap://x", "OCSP;URI:https://x", "OCSP;URI:http://", "OCSP;URI:http:///x", "OCSP;URI:http://x:0/",
		"OCSP;URI:http://x:/", "OCSP;URI:http://x:65536/", "OCSP;URI:http://x:8a/", "OCSP;URI:http://:80/",
		"OCSP;URI:http://[::1/", "OCSP;URI:http://[::1]a", "OCSP;URI:http://[]/", "OCSP;URI:http://u@x/",
		"OCSP;URI:http://x/a b", "OCSP;URI:http://x/\x7f", "OCSP;URI:http://x/#y", "OCSP;DNS:x",
	};
	struct arena a;

	arena_init(&a, NULL, 0);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct cert c = cert_with(&a, t[i], NULL);

		ck_assert_msg(c.ocsp.host.n == 0, "%s was taken for a place", t[i]);
	}
	arena_fini(&a);
}
END_TEST

START_TEST(demands)
{
	struct arena a;

	arena_init(&a, NULL, 0);
	ck_assert(cert_with(&a, NULL, "status_request").ocsp.must);
	ck_assert(!cert_with(&a, NULL, "status_request_v2").ocsp.must);
	ck_assert(!cert_with(&a, NULL, NULL).ocsp.must);
	arena_fini(&a);
}
END_TEST

UNIT("ocsp", good_places, bad_places, demands)
