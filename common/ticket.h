/*
 * ticket.h - keys of TLS session tickets, the same in every worker.
 *
 * The master draws one secret and hands it on by fork. Each hour every process
 * turns it into the next one by itself, in the same way, and forgets the old:
 * so keys rotate at the same moment everywhere without a word between
 * processes, a session resumes on any worker and after a reload, and keys that
 * are gone cannot be found again in anybody's memory.
 *
 * For an upgrade in place the secret and the keys in force travel in a memfd
 * that the new program inherits: its workers and those of the old one that are
 * still draining then go through the same keys, since both count the same
 * clock.
 */
#ifndef COMMON_TICKET_H
#define COMMON_TICKET_H

#include <stdbool.h>
#include <stdint.h>

#define TICKET_MAGIC 0x71c4e701u
#define TICKET_NAME 16
#define TICKET_KEY 32
#define TICKET_KEYS 3			/* the one that seals, then older ones that only open */
#define TICKET_PERIOD_MS 3600000u

struct ticket_key {
	uint8_t name[TICKET_NAME];
	uint8_t aes[TICKET_KEY], mac[TICKET_KEY];
};

struct ticket_keys {
	uint32_t magic;
	uint64_t period;		/* number of the one that key[0] is for */
	uint8_t secret[TICKET_KEY];	/* of which the next period's is made */
	struct ticket_key key[TICKET_KEYS];	/* newest first; a zero name: none yet */
};

/* False when the system gives no random bytes. `mono_ms`: CLOCK_MONOTONIC, which all processes share. */
bool ticket_init(struct ticket_keys *t, uint64_t mono_ms);
/* A memfd with all that is needed to go on, close-on-exec, the caller's: for a program that takes over from this one. Nothing
 * else may get it. -1 with errno. */
int ticket_export(const struct ticket_keys *t);
/* Instead of ticket_init(): goes on with what the memfd holds, whatever its position, which stays open. False, and nothing has
 * changed: it is of another version, damaged, or from another boot; begin anew then, clients merely make full handshakes. */
bool ticket_import(struct ticket_keys *t, int fd, uint64_t mono_ms);
/* Catches up with the time. Cheap when nothing is due. */
void ticket_advance(struct ticket_keys *t, uint64_t mono_ms);
/* By its name; NULL: unknown or too old. *newest: it is the one that seals. */
const struct ticket_key *ticket_find(const struct ticket_keys *t, const uint8_t name[TICKET_NAME], bool *newest);

#endif
