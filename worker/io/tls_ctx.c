/*
 * tls_ctx.c - contexts of TLS, and who gets which.
 *
 * Called by the worker at start and by the library during handshakes. Owns the
 * policy: versions, ciphers, tickets, what is asked of clients and of servers.
 * Never reads or writes a connection.
 */
#include "worker/io/tls_ctx.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/obj.h"

/* Mozilla's "intermediate" set: forward secrecy and authenticated encryption only. TLS 1.3 has no others anyway. */
#define CIPHERS "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
	"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

static const char *library_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e != 0 ? ERR_reason_error_string(e) : NULL;

	return text != NULL ? text : "no reason given";
}

/* What both directions have in common. False: see the library's error. */
static bool set_common(SSL_CTX *ctx, const char *ciphers, const char *suites)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 &&
	       SSL_CTX_set_cipher_list(ctx, ciphers != NULL ? ciphers : CIPHERS) == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, suites != NULL ? suites : SUITES) == 1;
}

/* ---- session tickets ---- */

static bool seal_or_open(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
			 EVP_MAC_CTX *mac, int seal)
{
	static char sha256[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, seal) == 1 &&
	       EVP_MAC_CTX_set_params(mac, params) == 1;
}

static struct tls_server *server_of(SSL *ssl)
{
	struct tls_server *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	OBJ_CHECK(s, TLS_SERVER_MAGIC);
	return s;
}

/* 0: a full handshake; 1: good; 2: good, and the client gets a fresh one. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
		     int seal)
{
	struct ticket_keys *keys = server_of(ssl)->tickets;
	const struct ticket_key *k = &keys->key[0];
	bool newest = true;

	ticket_advance(keys, clock_mono_us() / 1000);
	if (seal) {
		memcpy(name, k->name, TICKET_NAME);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
	} else {
		k = ticket_find(keys, name, &newest);
		if (k == NULL)
			return 0;
	}
	if (!seal_or_open(k, iv, cipher, mac, seal))
		return -1;
	return newest ? 1 : 2;
}

/* ---- handshakes ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen,
		   void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	const struct conf_listen *l = arg;
	unsigned skip = l->http2 ? 0 : 3;
	unsigned char *chosen;

	(void)ssl;
	/* RFC 7301 3.2: nothing in common ends the handshake, so that no other protocol is taken for HTTP. */
	if (SSL_select_next_proto(&chosen, outlen, ours + skip, sizeof(ours) - 1 - skip, in, inlen) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The name in a server_name extension (RFC 6066 3): one list with one DNS name. False: malformed. */
static bool read_sni(const unsigned char *p, size_t n, struct span *name)
{
	size_t list, len;

	if (n < 5)
		return false;
	list = (size_t)p[0] << 8 | p[1];
	len = (size_t)p[3] << 8 | p[4];
	if (list != n - 2 || p[2] != 0 || len != list - 3 || len == 0 || len > SNI_MAX || memchr(p + 5, '\0', len) != NULL)
		return false;
	*name = span_make((const char *)p + 5, len);
	return true;
}

static bool enter_host(SSL *ssl, struct tls_host *h)
{
	SSL_CTX *ctx = tls_host_ctx(h);
	int mode = SSL_VERIFY_NONE;

	if (ctx == NULL || (ctx != SSL_get_SSL_CTX(ssl) && SSL_set_SSL_CTX(ssl, ctx) == NULL))
		return false;
	if (h->verify != CONF_VERIFY_OFF)
		mode = SSL_VERIFY_PEER | (h->verify == CONF_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
	SSL_set_verify(ssl, mode, NULL);
	return SSL_set_session_id_context(ssl, h->sid, sizeof(h->sid)) == 1;
}

/* Runs before the library looks for a session or a certificate. */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_server *s = server_of(ssl);
	const unsigned char *p;
	struct span name = { NULL, 0 };
	struct tls_host *h;
	size_t n;

	(void)arg;
	*alert = SSL_AD_DECODE_ERROR;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) && !read_sni(p, n, &name))
		return SSL_CLIENT_HELLO_ERROR;
	h = sni_find(&s->names, name);
	if (h == NULL && s->conf->sni_strict) {
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_CLIENT_HELLO_ERROR;
	}
	if (h == NULL)
		h = s->unknown;
	OBJ_CHECK(h, TLS_HOST_MAGIC);
	*alert = SSL_AD_INTERNAL_ERROR;
	if (!enter_host(ssl, h))
		return SSL_CLIENT_HELLO_ERROR;
	tls_on_host(ssl, h, name);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- contexts of listeners ---- */

static bool set_certs(SSL_CTX *ctx, const struct tls_host *h)
{
	bool any = false;

	for (unsigned i = 0; i < CERT_KINDS; i++) {
		const struct cert *c = h->certs[i];

		if (c == NULL)
			continue;
		if (SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) != 1)
			return false;
		any = true;
	}
	return any;
}

static bool set_client_auth(SSL_CTX *ctx, const struct tls_host *h)
{
	STACK_OF(X509_NAME) *names;

	if (h->verify == CONF_VERIFY_OFF)
		return true;
	names = SSL_dup_CA_list(h->ca->names);
	if (names == NULL)
		return false;
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set1_cert_store(ctx, h->ca->store);
	return true;
}

SSL_CTX *tls_host_ctx(struct tls_host *h)
{
	const struct conf_listen *l = h->server->conf;
	SSL_CTX *ctx;

	OBJ_CHECK(h, TLS_HOST_MAGIC);
	if (h->ctx != NULL)
		return h->ctx;
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL || !set_common(ctx, l->ciphers, l->suites) || !set_certs(ctx, h) || !set_client_auth(ctx, h) ||
	    (l->tls13_only && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)) {
		log_error("[listen %.*s]: no TLS context: %s", SPAN_FMT(l->name), library_reason());
		ERR_clear_error();
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_app_data(ctx, h->server);
	/* Our order counts; but who puts ChaCha20 first has no hardware for AES, and knows best. */
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	/* Many clients leave without a close_notify. Nothing is lost: the framing of requests shows what is cut off. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* Sessions live with the client, in tickets. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TICKET_PERIOD_MS / 1000 * (TICKET_KEYS - 1));
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
	SSL_CTX_set_tlsext_status_cb(ctx, tls_on_status);
	SSL_CTX_set_tlsext_status_arg(ctx, h);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)l);
	h->ctx = ctx;
	return ctx;
}

/* ---- hosts ---- */

/* The rules of one listener and one [tls]. */
struct rules {
	const struct cert_ca *ca;
	enum conf_verify verify;
};

static struct rules rules_of(const struct conf_listen *l, const struct conf_tls *t)
{
	if (t != NULL && t->has_verify)
		return (struct rules){ t->client_ca, t->client_verify };
	return (struct rules){ l->client_ca, l->client_verify };
}

static bool same_rules(const struct tls_host *h, const struct rules *r)
{
	if (h->verify != r->verify)
		return false;
	return r->verify == CONF_VERIFY_OFF || memcmp(h->ca->digest, r->ca->digest, CERT_DIGEST) == 0;
}

/* Listener by name, certificates, rules: made of what stays the same over a reload. */
static void make_sid(struct tls_host *h)
{
	const struct conf_listen *l = h->server->conf;
	const unsigned char verify = (unsigned char)h->verify;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = sizeof(h->sid);

	if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		log_no_memory(sizeof(h->sid));
	EVP_DigestUpdate(md, l->name.p, l->name.n);
	EVP_DigestUpdate(md, &verify, 1);
	if (h->verify != CONF_VERIFY_OFF)
		EVP_DigestUpdate(md, h->ca->digest, CERT_DIGEST);
	for (unsigned i = 0; i < CERT_KINDS; i++) {
		if (h->certs[i] != NULL)
			EVP_DigestUpdate(md, h->certs[i]->digest, CERT_DIGEST);
	}
	EVP_DigestFinal_ex(md, h->sid, &n);
	EVP_MD_CTX_free(md);
}

/* Hosts that ask the same of clients have the same number. */
static unsigned number_rules(const struct tls_server *s, const struct rules *r)
{
	unsigned next = 0;

	for (const struct tls_host *h = s->hosts; h != NULL; h = h->next) {
		if (same_rules(h, r))
			return h->rules;
		next = h->rules >= next ? h->rules + 1 : next;
	}
	return next;
}

static struct tls_host *host_of(struct tls_server *s, const struct cert *const set[CERT_KINDS], const struct rules *r)
{
	struct tls_host *h = s->hosts;

	while (h != NULL && !(same_rules(h, r) && memcmp(h->certs, set, sizeof(h->certs)) == 0))
		h = h->next;
	if (h != NULL)
		return h;
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		log_no_memory(sizeof(*h));
	*h = (struct tls_host){ .magic = TLS_HOST_MAGIC, .server = s, .ca = r->ca, .verify = r->verify,
				.rules = number_rules(s, r), .next = s->hosts };
	memcpy(h->certs, set, sizeof(h->certs));
	make_sid(h);
	s->hosts = h;
	return h;
}

/* A name as the configuration or a certificate has it, without the "*." of a wildcard. */
struct name {
	struct span s;
	bool wildcard;
};

static struct name name_of(struct span s)
{
	bool wildcard = span_starts(s, SPAN("*."));

	return (struct name){ wildcard ? span_make(s.p + 2, s.n - 2) : s, wildcard };
}

static bool covers(const struct cert *c, struct name name)
{
	const char *dot = name.s.n > 0 ? memchr(name.s.p, '.', name.s.n) : NULL;
	struct span parent = dot != NULL ? span_make(dot + 1, (size_t)(name.s.p + name.s.n - dot - 1)) : SPAN("");

	for (unsigned i = 0; i < c->nnames; i++) {
		struct name have = name_of(c->names[i]);

		if (have.wildcard == name.wildcard && span_eq(have.s, name.s))
			return true;
		if (have.wildcard && !name.wildcard && parent.n > 0 && span_eq(have.s, parent))
			return true;
	}
	return false;
}

/* One of each kind: the first that has the name. When none has it, `any` takes the first of all: the operator's word counts. */
static bool pick_set(const struct cert **certs, unsigned n, struct name name, bool any,
		     const struct cert *set[CERT_KINDS])
{
	bool found = false;

	memset(set, 0, sizeof(*set) * CERT_KINDS);
	for (unsigned i = 0; i < n; i++) {
		if (set[certs[i]->kind] == NULL && covers(certs[i], name)) {
			set[certs[i]->kind] = certs[i];
			found = true;
		}
	}
	if (!found && any && n > 0) {
		set[certs[0]->kind] = certs[0];
		found = true;
	}
	return found;
}

static struct name first_name(const struct cert *c)
{
	return name_of(c->nnames > 0 ? c->names[0] : SPAN(""));
}

static void add_names(struct tls_server *s, const struct cert **certs, unsigned n, const struct rules *r)
{
	const struct cert *set[CERT_KINDS];

	for (unsigned i = 0; i < n; i++) {
		for (unsigned j = 0; j < certs[i]->nnames; j++) {
			struct name name = name_of(certs[i]->names[j]);

			if (pick_set(certs, n, name, false, set))
				sni_add(&s->names, name.s, name.wildcard ? SNI_ONE : SNI_EXACT, host_of(s, set, r));
		}
	}
}

static bool stands_on(const struct conf_tls *t, const struct conf_listen *l)
{
	for (unsigned i = 0; i < t->nlistens; i++) {
		if (t->listens[i] == l)
			return true;
	}
	return t->nlistens == 0;
}

static void add_section(struct tls_server *s, const struct conf_tls *t)
{
	const struct conf_listen *l = s->conf;
	const struct cert **certs = t->ncerts > 0 ? t->certs : l->certs;
	unsigned n = t->ncerts > 0 ? t->ncerts : l->ncerts;
	struct rules r = rules_of(l, t);
	const struct cert *set[CERT_KINDS];

	for (unsigned i = 0; i < t->nhosts; i++) {
		const struct name name = { t->hosts[i].name, t->hosts[i].wildcard };

		if (!pick_set(certs, n, name, true, set))
			continue;
		sni_add(&s->names, name.s, name.wildcard ? SNI_DEEP : SNI_EXACT, host_of(s, set, &r));
		if (s->unknown == NULL && l->ncerts == 0)
			s->unknown = host_of(s, set, &r);
	}
	if (t->nhosts > 0)
		return;
	add_names(s, certs, n, &r);
	if (s->unknown == NULL && l->ncerts == 0 && n > 0 && pick_set(certs, n, first_name(certs[0]), true, set))
		s->unknown = host_of(s, set, &r);
}

struct tls_server *tls_server_new(const struct conf *c, const struct conf_listen *l, struct ticket_keys *tickets,
				  const struct shm *shm)
{
	struct tls_server *s = calloc(1, sizeof(*s));
	const struct cert *set[CERT_KINDS];
	struct rules own = rules_of(l, NULL);

	if (s == NULL)
		log_no_memory(sizeof(*s));
	*s = (struct tls_server){ .magic = TLS_SERVER_MAGIC, .conf = l, .tickets = tickets, .shm = shm };
	sni_init(&s->names);
	if (l->ncerts > 0) {
		pick_set(l->certs, l->ncerts, first_name(l->certs[0]), true, set);
		set[l->certs[0]->kind] = l->certs[0];
		s->unknown = host_of(s, set, &own);
	}
	for (unsigned i = 0; i < c->ntls; i++) {
		if (stands_on(c->tls[i], l))
			add_section(s, c->tls[i]);
	}
	add_names(s, l->certs, l->ncerts, &own);
	if (s->unknown != NULL && tls_host_ctx(s->unknown) != NULL)
		return s;
	log_error("[listen %.*s]: no certificate to begin with", SPAN_FMT(l->name));
	tls_server_free(s);
	return NULL;
}

void tls_server_free(struct tls_server *s)
{
	struct tls_host *h;

	OBJ_CHECK(s, TLS_SERVER_MAGIC);
	while ((h = s->hosts) != NULL) {
		s->hosts = h->next;
		SSL_CTX_free(h->ctx);
		h->magic = 0;
		free(h);
	}
	sni_fini(&s->names);
	s->magic = 0;
	free(s);
}

struct tls_host *tls_server_host(const struct tls_server *s, struct span name)
{
	struct tls_host *h;

	OBJ_CHECK(s, TLS_SERVER_MAGIC);
	h = sni_find(&s->names, name);
	return h != NULL ? h : s->unknown;
}

/* ---- contexts of upstreams ---- */

static bool set_client(SSL_CTX *ctx, const struct conf_upstream *u)
{
	static const unsigned char http1[] = "\x08http/1.1", http2[] = "\x02h2";
	const struct cert *c = u->client_cert;

	if (c != NULL && SSL_CTX_use_cert_and_key(ctx, c->leaf, c->key, c->chain, 1) != 1)
		return false;
	SSL_CTX_set_verify(ctx, u->tls_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (u->tls_ca != NULL)
		SSL_CTX_set1_cert_store(ctx, u->tls_ca->store);
	if (u->protocol == CONF_HTTP2)
		return SSL_CTX_set_alpn_protos(ctx, http2, sizeof(http2) - 1) == 0;
	return SSL_CTX_set_alpn_protos(ctx, http1, sizeof(http1) - 1) == 0;
}

struct tls_client *tls_client_new(const struct conf_upstream *u, int (*on_session)(SSL *, SSL_SESSION *))
{
	struct tls_client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		log_no_memory(sizeof(*c));
	*c = (struct tls_client){ .magic = TLS_CLIENT_MAGIC, .conf = u, .ctx = SSL_CTX_new(TLS_client_method()) };
	if (c->ctx == NULL || !set_common(c->ctx, NULL, NULL) || !set_client(c->ctx, u)) {
		log_error("[upstream %.*s]: no TLS context: %s", SPAN_FMT(u->name), library_reason());
		ERR_clear_error();
		tls_client_free(c);
		return NULL;
	}
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ctx, on_session);
	return c;
}

void tls_client_name(const struct tls_client *c, const struct conf_server *s, char out[256])
{
	struct span name = c->conf->tls_name.n > 0 ? c->conf->tls_name : s->host;

	OBJ_CHECK(c, TLS_CLIENT_MAGIC);
	out[0] = '\0';
	if (name.n > 0 && name.n < 256) {
		memcpy(out, name.p, name.n);
		out[name.n] = '\0';
	} else if (s->addr.family == ADDR_V4 || s->addr.family == ADDR_V6) {
		addr_ip_text(&s->addr, out, 256);
	}
}

void tls_client_free(struct tls_client *c)
{
	OBJ_CHECK(c, TLS_CLIENT_MAGIC);
	SSL_CTX_free(c->ctx);
	c->magic = 0;
	free(c);
}
