/*
 * ticket.c - keys of TLS session tickets.
 *
 * Called by the master before it forks and by each worker as time passes.
 * One-way steps: SHA-256 over secret, label and period.
 */
#include "common/ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"

static void derive(const uint8_t secret[TICKET_KEY], uint64_t period, const char *label, uint8_t *out, size_t n)
{
	uint8_t text[TICKET_KEY + sizeof(period) + 16] = { 0 }, full[32];
	unsigned got = sizeof(full);

	memcpy(text, secret, TICKET_KEY);
	memcpy(text + TICKET_KEY, &period, sizeof(period));
	must(strlen(label) < 16 && n <= sizeof(full));
	memcpy(text + TICKET_KEY + sizeof(period), label, strlen(label));
	if (EVP_Digest(text, sizeof(text), full, &got, EVP_sha256(), NULL) != 1)
		log_no_memory(sizeof(full));
	memcpy(out, full, n);
	OPENSSL_cleanse(text, sizeof(text));
	OPENSSL_cleanse(full, sizeof(full));
}

/* The keys of t->period, of the secret as it is; then the secret moves on. */
static void enter_period(struct ticket_keys *t)
{
	memmove(&t->key[1], &t->key[0], sizeof(t->key[0]) * (TICKET_KEYS - 1));
	derive(t->secret, t->period, "name", t->key[0].name, TICKET_NAME);
	derive(t->secret, t->period, "aes", t->key[0].aes, TICKET_KEY);
	derive(t->secret, t->period, "mac", t->key[0].mac, TICKET_KEY);
	derive(t->secret, t->period, "next", t->secret, TICKET_KEY);
}

bool ticket_init(struct ticket_keys *t, uint64_t mono_ms)
{
	memset(t, 0, sizeof(*t));
	t->magic = TICKET_MAGIC;
	t->period = mono_ms / TICKET_PERIOD_MS;
	if (RAND_bytes(t->secret, sizeof(t->secret)) != 1)
		return false;
	enter_period(t);
	return true;
}

/* ---- from one program to the next ---- */

/* The struct as it is, behind what tells whether it is one. */
struct parcel {
	char version[16];
	uint64_t size;
	struct ticket_keys keys;
};
static const char version[16] = "weir tickets 1";

int ticket_export(const struct ticket_keys *t)
{
	struct parcel p = { .size = sizeof(p), .keys = *t };
	int fd = memfd_create("weir-tickets", MFD_CLOEXEC), error;

	OBJ_CHECK(t, TICKET_MAGIC);
	if (fd < 0)
		return -1;
	memcpy(p.version, version, sizeof(version));
	ssize_t n = pwrite(fd, &p, sizeof(p), 0);
	OPENSSL_cleanse(&p, sizeof(p));
	if (n == (ssize_t)sizeof(p))
		return fd;
	error = n < 0 ? errno : ENOSPC;
	close(fd);
	errno = error;
	return -1;
}

bool ticket_import(struct ticket_keys *t, int fd, uint64_t mono_ms)
{
	struct parcel p;
	bool good = pread(fd, &p, sizeof(p), 0) == (ssize_t)sizeof(p) && memcmp(p.version, version, sizeof(version)) == 0 &&
		    p.size == sizeof(p) && p.keys.magic == TICKET_MAGIC && p.keys.period <= mono_ms / TICKET_PERIOD_MS;

	if (good) {
		*t = p.keys;
		ticket_advance(t, mono_ms);
	}
	OPENSSL_cleanse(&p, sizeof(p));
	return good;
}

/* ---- as time passes ---- */

void ticket_advance(struct ticket_keys *t, uint64_t mono_ms)
{
	uint64_t now = mono_ms / TICKET_PERIOD_MS;

	OBJ_CHECK(t, TICKET_MAGIC);
	while (t->period < now) {
		t->period++;
		enter_period(t);
	}
}

const struct ticket_key *ticket_find(const struct ticket_keys *t, const uint8_t name[TICKET_NAME], bool *newest)
{
	static const uint8_t none[TICKET_NAME];

	OBJ_CHECK(t, TICKET_MAGIC);
	for (unsigned i = 0; i < TICKET_KEYS; i++) {
		if (memcmp(t->key[i].name, name, TICKET_NAME) != 0 || memcmp(name, none, TICKET_NAME) == 0)
			continue;
		*newest = i == 0;
		return &t->key[i];
	}
	return NULL;
}
