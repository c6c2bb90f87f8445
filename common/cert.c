/*
 * cert.c - certificates, keys and authorities, read from PEM files.
 *
 * Called by the reader of configurations. Regular files only, opened without
 * waiting; a key behind a passphrase is refused, since nobody is there to type
 * it. Never touches a connection.
 */
#include "common/cert.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"

#define PEM_MAX (8 << 20)		/* bytes of one file */

void cert_init(void)
{
	/* No configuration file of the library's: what is spoken is said in weir.ini alone. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL) != 1)
		log_no_memory(0);
}

/* The library's reason for the last failure; its queue is empty then. */
static const char *library_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e != 0 ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return text != NULL ? text : "it cannot be read";
}

static int no_passphrase(char *buf, int size, int writing, void *data)
{
	(void)buf;
	(void)size;
	(void)writing;
	*(bool *)data = true;
	return -1;
}

static BIO *open_pem(struct arena *a, const char *path, const char **why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *f;
	BIO *b;

	if (fd < 0 || fstat(fd, &st) != 0) {
		*why = arena_printf(a, "cannot read %s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > PEM_MAX) {
		*why = arena_printf(a, "cannot read %s: %s", path,
				    S_ISREG(st.st_mode) ? "it is too large" : "it is not a regular file");
	} else if ((f = fdopen(fd, "r")) != NULL) {
		b = BIO_new_fp(f, BIO_CLOSE);
		if (b == NULL)
			log_no_memory(0);
		return b;
	} else {
		*why = arena_printf(a, "cannot read %s: %s", path, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* ---- chains and keys ---- */

static bool read_chain(struct arena *a, struct cert *c, const char *path, const char **why)
{
	BIO *b = open_pem(a, path, why);
	X509 *x;

	if (b == NULL)
		return false;
	c->chain = sk_X509_new_null();
	c->leaf = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL);
	if (c->leaf == NULL || c->chain == NULL) {
		*why = arena_printf(a, "there is no certificate in %s: %s", path, library_reason());
		BIO_free(b);
		return false;
	}
	while ((x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL)
		sk_X509_push(c->chain, x);
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
	if (!end)
		*why = arena_printf(a, "a certificate of the chain in %s is damaged: %s", path, library_reason());
	ERR_clear_error();
	BIO_free(b);
	return end;
}

static bool read_key(struct arena *a, struct cert *c, const char *path, bool same, const char **why)
{
	BIO *b = open_pem(a, path, why);
	bool locked = false;

	if (b == NULL)
		return false;
	c->key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &locked);
	BIO_free(b);
	if (c->key != NULL) {
		ERR_clear_error();
		return true;
	}
	if (locked)
		*why = arena_printf(a, "the private key in %s is locked by a passphrase: store it without one", path);
	else
		*why = arena_printf(a, "there is no private key in %s%s: %s", path,
				    same ? ", and no second file was given" : "", library_reason());
	ERR_clear_error();
	return false;
}

static enum cert_kind kind_of(const EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return CERT_RSA;
	case EVP_PKEY_EC:
		return CERT_EC;
	default:
		return CERT_OTHER;
	}
}

/* Names with odd bytes are none that a client could ask for. */
static bool name_ok(const unsigned char *p, int n)
{
	for (int i = 0; i < n; i++) {
		if (!isalnum(p[i]) && p[i] != '-' && p[i] != '.' && p[i] != '_' && !(p[i] == '*' && i == 0))
			return false;
	}
	return n > 0 && n < 256;
}

static void add_name(struct arena *a, struct cert *c, const unsigned char *p, int n)
{
	char text[256];

	if (!name_ok(p, n))
		return;
	for (int i = 0; i < n; i++)
		text[i] = (char)ascii_lower(p[i]);
	c->names[c->nnames++] = arena_span(a, span_make(text, (size_t)n));
}

/* The alternative names; only where there are none, the subject's common name. */
static void read_names(struct arena *a, struct cert *c)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	int n = all != NULL ? sk_GENERAL_NAME_num(all) : 0;

	c->names = arena_zalloc(a, sizeof(*c->names) * ((size_t)n + 1));
	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type == GEN_DNS)
			add_name(a, c, ASN1_STRING_get0_data(g->d.dNSName), ASN1_STRING_length(g->d.dNSName));
	}
	if (all != NULL) {
		GENERAL_NAMES_free(all);
	} else {
		X509_NAME *subject = X509_get_subject_name(c->leaf);
		int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
		const ASN1_STRING *s = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;

		if (s != NULL)
			add_name(a, c, ASN1_STRING_get0_data(s), ASN1_STRING_length(s));
	}
	ERR_clear_error();
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* A pair that the library will take for serving. */
static bool prove_pair(struct arena *a, struct cert *c, const char *key, const char **why)
{
	if (X509_check_private_key(c->leaf, c->key) != 1) {
		ERR_clear_error();
		*why = arena_printf(a, "the private key in %s does not belong to the first certificate in %s", key, c->file);
		return false;
	}
	SSL_CTX *trial = SSL_CTX_new(TLS_method());
	if (trial == NULL)
		log_no_memory(0);
	bool good = SSL_CTX_use_cert_and_key(trial, c->leaf, c->key, c->chain, 1) == 1;
	if (!good)
		*why = arena_printf(a, "the certificate in %s cannot be used: %s", c->file, library_reason());
	SSL_CTX_free(trial);
	return good;
}

struct cert *cert_load(struct arena *a, const char *chain, const char *key, const char **why)
{
	struct cert *c = calloc(1, sizeof(*c));
	unsigned n = CERT_DIGEST;

	if (c == NULL)
		log_no_memory(sizeof(*c));
	cert_init();
	c->magic = CERT_MAGIC;
	c->file = chain;
	c->key_file = key != NULL ? key : chain;
	if (!read_chain(a, c, chain, why) || !read_key(a, c, c->key_file, key == NULL, why) ||
	    !prove_pair(a, c, c->key_file, why)) {
		cert_free(c);
		return NULL;
	}
	c->kind = kind_of(c->key);
	read_names(a, c);
	c->not_before = seconds_of(X509_get0_notBefore(c->leaf));
	c->not_after = seconds_of(X509_get0_notAfter(c->leaf));
	X509_digest(c->leaf, EVP_sha256(), c->digest, &n);
	return c;
}

void cert_free(struct cert *c)
{
	OBJ_CHECK(c, CERT_MAGIC);
	X509_free(c->leaf);
	sk_X509_pop_free(c->chain, X509_free);
	EVP_PKEY_free(c->key);
	c->magic = 0;
	free(c);
}

struct span cert_name(const struct cert *c)
{
	OBJ_CHECK(c, CERT_MAGIC);
	return c->nnames > 0 ? c->names[0] : SPAN("");
}

int64_t cert_days_left(const struct cert *c, int64_t now)
{
	return (c->not_after - now) / 86400;
}

/* ---- authorities ---- */

/* Where distributions keep the one file with all. */
static const char *system_bundle(void)
{
	static const char *const paths[] = {
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
	};
	const char *told = getenv(X509_get_default_cert_file_env());

	if (told != NULL && told[0] == '/')
		return told;
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
		if (access(paths[i], R_OK) == 0)
			return paths[i];
	}
	return NULL;
}

static void add_authority(struct cert_ca *ca, X509 *x, EVP_MD_CTX *md)
{
	uint8_t one[CERT_DIGEST];
	unsigned n = sizeof(one);
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

	X509_digest(x, EVP_sha256(), one, &n);
	EVP_DigestUpdate(md, one, n);
	if (name == NULL || X509_STORE_add_cert(ca->store, x) != 1 || sk_X509_NAME_push(ca->names, name) <= 0)
		log_no_memory(0);
}

struct cert_ca *cert_ca_load(struct arena *a, const char *path, const char **why)
{
	const char *file = path != NULL ? path : system_bundle();
	struct cert_ca *ca = calloc(1, sizeof(*ca));
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = CERT_DIGEST, found = 0;
	X509 *x;

	if (ca == NULL || md == NULL)
		log_no_memory(sizeof(*ca));
	cert_init();
	*ca = (struct cert_ca){ .magic = CERT_CA_MAGIC, .store = X509_STORE_new(), .names = sk_X509_NAME_new_null(),
				.file = file, .of_system = path == NULL };
	if (ca->store == NULL || ca->names == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		log_no_memory(0);
	BIO *b = file != NULL ? open_pem(a, file, why) : NULL;
	if (file == NULL)
		*why = "the system has no list of trusted authorities: install ca-certificates, or name a file";
	while (b != NULL && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL) {
		add_authority(ca, x, md);
		X509_free(x);
		found++;
	}
	unsigned long e = ERR_peek_last_error();
	bool good = b != NULL && found > 0 && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
	if (b != NULL && !good)
		*why = arena_printf(a, "%s %s: %s", found ? "a certificate is damaged in" : "there is no certificate in", file,
				    library_reason());
	ERR_clear_error();
	EVP_DigestFinal_ex(md, ca->digest, &n);
	EVP_MD_CTX_free(md);
	BIO_free(b);
	if (good)
		return ca;
	cert_ca_free(ca);
	return NULL;
}

void cert_ca_free(struct cert_ca *ca)
{
	OBJ_CHECK(ca, CERT_CA_MAGIC);
	X509_STORE_free(ca->store);
	sk_X509_NAME_pop_free(ca->names, X509_NAME_free);
	ca->magic = 0;
	free(ca);
}
