/*
 * stat.c - the names of counters, from their table.
 *
 * Called by whoever prints counters. Holds no values: those are in shared
 * memory, see shm.h.
 */
#include "common/obj.h"
#include "common/shm.h"

static const struct {
	const char *name, *prose;
	bool gauge;
} stats[STAT__N] = {
#define STAT(id, n, p) [STAT_##id] = { .name = n, .prose = p },
#define GAUGE(id, n, p) [STAT_##id] = { .name = n, .prose = p, .gauge = true },
#include "common/stat.def"
#undef STAT
#undef GAUGE
};

const char *stat_name(enum stat_id s)
{
	must(s < STAT__N);
	return stats[s].name;
}

const char *stat_prose(enum stat_id s)
{
	must(s < STAT__N);
	return stats[s].prose;
}

bool stat_is_gauge(enum stat_id s)
{
	must(s < STAT__N);
	return stats[s].gauge;
}
