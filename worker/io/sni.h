/*
 * sni.h - which entry a server name leads to: exact, then the longest wildcard.
 *
 * Pure: names in, pointers out. A wildcard of a certificate ("*.x") covers one
 * label (RFC 6125 6.4.3), one of the configuration covers any depth. The first
 * entry of a name wins.
 */
#ifndef WORKER_IO_SNI_H
#define WORKER_IO_SNI_H

#include <stdbool.h>

#include "common/htab.h"

#define SNI_MAX 255			/* bytes of a name; longer ones are none */

enum sni_kind { SNI_EXACT, SNI_ONE, SNI_DEEP, SNI_KINDS };

struct sni {
	struct htab names[SNI_KINDS];	/* wildcards without their "*." */
};

void sni_init(struct sni *s);
void sni_fini(struct sni *s);
/* `name` is lower case, stays where it is, and for a wildcard is what is behind "*.". False: there is such an entry. */
bool sni_add(struct sni *s, struct span name, enum sni_kind kind, void *entry);
/* Any case, a final dot counts for nothing. NULL: no entry. */
void *sni_find(const struct sni *s, struct span name);

#endif
