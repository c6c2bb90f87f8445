/*
 * poison.h - tells AddressSanitizer which recycled memory is out of bounds.
 *
 * Arenas, slabs and bufs keep memory that malloc believes in use. Marking it
 * while nobody may touch it makes sanitizer builds find stale pointers into it.
 * Nothing in other builds.
 */
#ifndef COMMON_POISON_H
#define COMMON_POISON_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define POISON_ASAN 1
#endif

#ifdef POISON_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

#endif
