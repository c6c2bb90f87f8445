/*
 * ticket_test.c - keys of session tickets: the same everywhere, for their time.
 */
#include "t/unit/unit.h"

#include <unistd.h>

#include "common/ticket.h"

#define HOUR TICKET_PERIOD_MS

static bool same_keys(const struct ticket_keys *a, const struct ticket_keys *b)
{
	return a->period == b->period && memcmp(a->key, b->key, sizeof(a->key)) == 0;
}

START_TEST(processes_agree)
{
	struct ticket_keys a, b;
	bool newest;

	ck_assert(ticket_init(&a, 5 * HOUR + 1));
	b = a;				/* a fork */
	ticket_advance(&a, 6 * HOUR);
	ticket_advance(&a, 7 * HOUR);
	ck_assert(!same_keys(&a, &b));
	ticket_advance(&b, 7 * HOUR + 30);
	ck_assert(same_keys(&a, &b));
	ticket_advance(&b, 6 * HOUR);	/* never back */
	ck_assert(same_keys(&a, &b));
	ck_assert_ptr_eq(ticket_find(&a, b.key[0].name, &newest), &a.key[0]);
	ck_assert(newest);
	ck_assert_ptr_eq(ticket_find(&a, b.key[2].name, &newest), &a.key[2]);
	ck_assert(!newest);
}
END_TEST

START_TEST(old_ones_are_forgotten)
{
	struct ticket_keys t, first;
	bool newest;

	ck_assert(ticket_init(&t, HOUR));
	first = t;
	ticket_advance(&t, 3 * HOUR);
	ck_assert_ptr_nonnull(ticket_find(&t, first.key[0].name, &newest));
	ticket_advance(&t, 4 * HOUR);
	ck_assert_ptr_null(ticket_find(&t, first.key[0].name, &newest));
	ck_assert_ptr_null(ticket_find(&first, (const uint8_t[TICKET_NAME]){ 0 }, &newest));
	ck_assert(memcmp(t.secret, first.secret, TICKET_KEY) != 0);
}
END_TEST

START_TEST(travels)
{
	struct ticket_keys a, b, untouched;
	int fd;

	ck_assert(ticket_init(&a, 5 * HOUR));
	ticket_advance(&a, 7 * HOUR);
	fd = ticket_export(&a);
	ck_assert_int_ge(fd, 0);
	ck_assert(ticket_import(&b, fd, 7 * HOUR + 5));
	ck_assert(same_keys(&a, &b));
	/* Taken up late, and twice. */
	ck_assert(ticket_import(&b, fd, 9 * HOUR));
	ticket_advance(&a, 9 * HOUR);
	ck_assert(same_keys(&a, &b));

	/* From another boot, cut off, damaged, no such thing. */
	untouched = b;
	ck_assert(!ticket_import(&b, fd, HOUR));
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert(!ticket_import(&b, fd, 9 * HOUR));
	ck_assert_int_eq(ftruncate(fd, 40), 0);
	ck_assert(!ticket_import(&b, fd, 9 * HOUR));
	close(fd);
	ck_assert(!ticket_import(&b, fd, 9 * HOUR));
	ck_assert_int_eq(memcmp(&b, &untouched, sizeof(b)), 0);
}
END_TEST

UNIT("ticket", processes_agree, old_ones_are_forgotten, travels)
