/*
 * shm_eject.h - the passive ejection mark of a server: one word in SHARED.
 *
 * Workers change it by compare-and-swap (worker/upstream/health.c); the master
 * reads it to tell people. Whatever the word holds it is a valid mark:
 *   ejected:1 | level:5 | fails:10 | stamp:48
 * Not ejected, fails > 0: failures since stamp. Not ejected, fails 0: stamp is
 * when it came back from an ejection, 0 for never. Ejected: stamp is when that
 * ends; after it the server is on trial until the first answer or failure.
 */
#ifndef COMMON_SHM_EJECT_H
#define COMMON_SHM_EJECT_H

#include "common/shm.h"

#define SHM_EJECT_LEVELS 31u
#define SHM_EJECT_FAILS 1023u
#define SHM_EJECT_STAMP_BITS 48
#define SHM_EJECT_MOST_MS 300000

struct shm_eject {
	bool ejected;
	unsigned level;			/* ejections in a row */
	unsigned fails;
	uint64_t stamp;
};

static inline struct shm_eject shm_eject(uint64_t w)
{
	return (struct shm_eject){ .ejected = w >> 63 != 0, .level = w >> 58 & SHM_EJECT_LEVELS,
				   .fails = w >> SHM_EJECT_STAMP_BITS & SHM_EJECT_FAILS,
				   .stamp = w & (((uint64_t)1 << SHM_EJECT_STAMP_BITS) - 1) };
}
static inline bool shm_eject_is_set(uint64_t w)
{
	return w >> 63 != 0;
}
static inline uint64_t shm_eject_word(struct shm_eject m)
{
	return (uint64_t)m.ejected << 63 | (uint64_t)m.level << 58 | (uint64_t)m.fails << SHM_EJECT_STAMP_BITS | m.stamp;
}

/* How long an ejection lasts: fail_timeout, doubled with each level. */
static inline uint64_t shm_ejection_ms(int64_t fail_timeout, unsigned level)
{
	uint64_t first = (uint64_t)fail_timeout;
	uint64_t most = first > SHM_EJECT_MOST_MS ? first : SHM_EJECT_MOST_MS;

	return level < 20 && first << level < most ? first << level : most;
}

/* It is ejected at that time, and the checker did not take it down and find it well again since then: it knows better. */
static inline bool shm_ejected(struct shm_eject m, uint64_t health, int64_t fail_timeout, uint64_t now_ms)
{
	if (!m.ejected || now_ms >= m.stamp)
		return false;
	return health_why_of(health) != HEALTH_WHY_CHECK || m.level == 0 ||
	       health_since_of(health) + shm_ejection_ms(fail_timeout, m.level - 1) <= m.stamp;
}

#endif
