/*
 * shm_seg.h - making shared segments; between shm.c and shm_record.c.
 *
 * A segment is a memfd that can neither grow nor shrink under a mapping and
 * that other users cannot open.
 */
#ifndef COMMON_SHM_SEG_H
#define COMMON_SHM_SEG_H

#include <stdbool.h>
#include <stddef.h>

/* A descriptor, or -1 with errno. */
int shm_seg_make(const char *name, size_t size);
/* The same file through a description that cannot be mapped for writing. */
int shm_seg_readonly(int fd);
void *shm_seg_map(int fd, size_t size, int prot);
/* It is one of that size; another process made it. False with errno. */
bool shm_seg_is(int fd, size_t size);
/* Rounded up to whole pages, one at least. */
size_t shm_seg_pages(size_t n);

#endif
