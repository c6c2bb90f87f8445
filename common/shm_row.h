/*
 * shm_row.h - between shm.c and shm_sum.c: which copy of the base row counts.
 *
 * A reader takes the fold word first, sums with it, and looks whether it is
 * still the same; a row that the word names is in the base row already.
 */
#ifndef COMMON_SHM_ROW_H
#define COMMON_SHM_ROW_H

#include "common/shm.h"

uint64_t shm_fold(const struct shm *s);
struct shm_row *shm_base(const struct shm *s, uint64_t fold);
bool shm_is_folded(const struct shm *s, uint64_t fold, unsigned slot);

/* The master: the copy that does not count, to be filled and then made the one that does. */
struct shm_row *shm_spare_base(const struct shm *s, uint64_t fold);
void shm_add_rows(const struct shm *s, struct shm_row *to, const struct shm_row *from, const struct shm_row *dead);
void shm_publish_spare(struct shm *s);

#endif
