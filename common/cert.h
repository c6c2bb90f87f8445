/*
 * cert.h - certificates, keys and authorities, read from PEM files.
 *
 * Read once, by the master, while a configuration is loaded; workers inherit
 * the objects over fork and open nothing. What is wrong with a file comes back
 * as a sentence for the operator. Private keys never reach a log, a message or
 * the configuration's arena.
 */
#ifndef COMMON_CERT_H
#define COMMON_CERT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/span.h"

#define CERT_MAGIC 0xce47ce01u
#define CERT_CA_MAGIC 0xce47ca02u
#define CERT_DIGEST 32
#define CERT_EXPIRY_DAYS 14		/* before its end that warnings begin: renewals come at 30 */

/* A client picks among those of one name by what it can verify. */
enum cert_kind { CERT_RSA, CERT_EC, CERT_OTHER, CERT_KINDS };

struct cert {
	uint32_t magic;
	enum cert_kind kind;
	X509 *leaf;
	STACK_OF(X509) *chain;		/* what goes with it, nearest first */
	EVP_PKEY *key;
	const char *file, *key_file;
	struct span *names;		/* DNS names as they stand in it, lower case; "*.x" covers one label */
	unsigned nnames;
	int64_t not_before, not_after;	/* UNIX seconds */
	uint8_t digest[CERT_DIGEST];	/* of the leaf, SHA-256 */
	struct cert *next;		/* for its owner */
};

struct cert_ca {
	uint32_t magic;
	X509_STORE *store;
	STACK_OF(X509_NAME) *names;	/* told to clients that are asked for a certificate */
	const char *file;
	bool of_system;
	uint8_t digest[CERT_DIGEST];	/* of all of them */
	struct cert_ca *next;
};

/* Prepares the library; idempotent. Everything it would open later is opened now. */
void cert_init(void);

/* Chain and key, of one file (key NULL) or two, proven to belong together. NULL and *why: a sentence in `a`, which holds the names
 * too. cert_free() gives back the rest. */
struct cert *cert_load(struct arena *a, const char *chain, const char *key, const char **why);
void cert_free(struct cert *c);

/* Authorities to trust; path NULL: the system's. */
struct cert_ca *cert_ca_load(struct arena *a, const char *path, const char **why);
void cert_ca_free(struct cert_ca *ca);

/* What a person calls it: its first name, often "*.x"; empty where it has none. */
struct span cert_name(const struct cert *c);
/*
 * All certificates of a configuration, each file once however often it is named, in no order:
 *	for (const struct cert *x = conf->certs; x != NULL; x = x->next)
 * x->file is where it was read from, cert_name(x) what it is for, x->not_after when it ends (UNIX seconds). Client certificates
 * that weir shows to servers are among them.
 */

/* Whole days until it ends at wall time `now` (seconds); negative: since it ended. */
int64_t cert_days_left(const struct cert *c, int64_t now);

#endif
