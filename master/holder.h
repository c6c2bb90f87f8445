/*
 * holder.h - who listens on an address already.
 *
 * Asked only when a bind failed, to say it to the operator, and to tell a
 * stranger from workers that outlived a killed master: those will leave by
 * themselves and may be started beside.
 */
#ifndef MASTER_HOLDER_H
#define MASTER_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/addr.h"

struct holder {
	pid_t pid;			/* the first one found; 0: not to be seen */
	char name[48];			/* its command line, made safe for a log line */
	bool orphans;			/* only children of weir whose master is gone */
};

/* How many sockets listen on exactly this TCP address. */
unsigned holder_count(const struct addr *a);
void holder_find(const struct addr *a, struct holder *out);

#endif
