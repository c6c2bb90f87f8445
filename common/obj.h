/*
 * obj.h - magic numbers on objects, and assertions that stay on.
 *
 * Every object passed by pointer has `uint32_t magic` as its first field. A
 * function that takes one checks it on entry. `must` is for our own bugs and
 * stays on in release; bad input, a peer's fault or a system error never
 * reaches it. A failed check goes to panic_fail(), which does not return.
 */
#ifndef COMMON_OBJ_H
#define COMMON_OBJ_H

#include <stdint.h>
#include <stdlib.h>

/* Writes what failed and what this process was busy with, then aborts. */
_Noreturn void panic_fail(const char *file, int line, const char *func, const char *cond);

#define must(cond)									\
	do {										\
		if (__builtin_expect(!(cond), 0))					\
			panic_fail(__FILE__, __LINE__, __func__, #cond);		\
	} while (0)

#define must_not_reach(why) panic_fail(__FILE__, __LINE__, __func__, why)

/* The pointer is not NULL and names a live object of this kind. */
#define OBJ_CHECK(p, m)									\
	do {										\
		if (__builtin_expect((p) == NULL || (p)->magic != (m), 0))		\
			panic_fail(__FILE__, __LINE__, __func__, #p " is a " #m);	\
	} while (0)

/* Marks an object dead and clears the caller's pointer; the memory is the caller's to give back first. */
#define OBJ_CLEAR(p)									\
	do {										\
		(p)->magic = 0;								\
		(p) = NULL;								\
	} while (0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
