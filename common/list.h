/*
 * list.h - circular doubly linked lists threaded through their members.
 *
 * A node that is on no list points to itself, so list_del() is idempotent and
 * list_linked() tells membership. Nobody owns anything by being on a list.
 */
#ifndef COMMON_LIST_H
#define COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool list_linked(const struct list *n)
{
	return n->next != n;
}

static inline void list_add_between(struct list *n, struct list *a, struct list *b)
{
	n->prev = a;
	n->next = b;
	a->next = n;
	b->prev = n;
}

/* First in line. */
static inline void list_push(struct list *l, struct list *n)
{
	list_add_between(n, l, l->next);
}

/* Last in line. */
static inline void list_append(struct list *l, struct list *n)
{
	list_add_between(n, l->prev, l);
}

static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = n;
}

static inline struct list *list_first(struct list *l)
{
	return list_empty(l) ? NULL : l->next;
}

static inline struct list *list_last(struct list *l)
{
	return list_empty(l) ? NULL : l->prev;
}

#define list_entry(n, type, member) ((type *)((char *)(n) - offsetof(type, member)))

/* The body may delete `n`, nothing else. */
#define list_each(n, l)									\
	for (struct list *n = (l)->next, *n##_next = n->next; n != (l); n = n##_next, n##_next = n->next)

#endif
