/*
 * sni_test.c - which entry a server name leads to: exact, then the longest
 * wildcard; and keys of session tickets over time.
 */
#include "t/unit/unit.h"

#include "common/ticket.h"
#include "worker/io/sni.h"

#define HOUR TICKET_PERIOD_MS

static char a[] = "a", b[] = "b", c[] = "c", d[] = "d";

static const char *find(const struct sni *s, const char *name)
{
	const char *found = sni_find(s, span_of(name));

	return found != NULL ? found : "-";
}

START_TEST(exact_names)
{
	struct sni s;

	sni_init(&s);
	ck_assert(sni_add(&s, SPAN("www.example.com"), SNI_EXACT, a));
	ck_assert(!sni_add(&s, SPAN("www.example.com"), SNI_EXACT, b));
	ck_assert(!sni_add(&s, SPAN(""), SNI_EXACT, b));
	ck_assert_str_eq(find(&s, "www.example.com"), "a");
	ck_assert_str_eq(find(&s, "WWW.Example.COM"), "a");
	ck_assert_str_eq(find(&s, "www.example.com."), "a");
	ck_assert_str_eq(find(&s, "example.com"), "-");
	ck_assert_str_eq(find(&s, "x.www.example.com"), "-");
	ck_assert_str_eq(find(&s, ""), "-");
	ck_assert_str_eq(find(&s, "."), "-");
	sni_fini(&s);
}
END_TEST

START_TEST(wildcards)
{
	struct sni s;

	sni_init(&s);
	sni_add(&s, SPAN("example.com"), SNI_ONE, a);
	sni_add(&s, SPAN("deep.example.com"), SNI_DEEP, b);
	sni_add(&s, SPAN("own.example.com"), SNI_EXACT, c);
	sni_add(&s, SPAN("com"), SNI_DEEP, d);
	ck_assert_str_eq(find(&s, "x.example.com"), "a");
	ck_assert_str_eq(find(&s, "own.example.com"), "c");
	ck_assert_str_eq(find(&s, "x.deep.example.com"), "b");
	ck_assert_str_eq(find(&s, "y.x.deep.example.com"), "b");
	/* A star of one label beside one of any depth for the same parent. */
	ck_assert_str_eq(find(&s, "deep.example.com"), "a");
	ck_assert_str_eq(find(&s, "y.x.example.com"), "d");
	ck_assert_str_eq(find(&s, "example.com"), "d");
	ck_assert_str_eq(find(&s, "com"), "-");
	/* Something must stand for the star. */
	ck_assert_str_eq(find(&s, ".com"), "-");
	ck_assert_str_eq(find(&s, ".example.com"), "d");
	sni_fini(&s);
}
END_TEST

START_TEST(long_names)
{
	char name[SNI_MAX + 2];
	struct sni s;

	sni_init(&s);
	sni_add(&s, SPAN("x"), SNI_DEEP, a);
	memset(name, '.', sizeof(name));
	for (size_t n = 1; n <= SNI_MAX + 1; n++) {
		memset(name, 'l', n);
		ck_assert_ptr_null(sni_find(&s, span_make(name, n)));
		memset(name, '.', n);
		ck_assert_ptr_null(sni_find(&s, span_make(name, n)));
	}
	sni_fini(&s);
}
END_TEST

START_TEST(ticket_keys_agree)
{
	struct ticket_keys master, early, late;
	bool newest;

	ck_assert(ticket_init(&master, 5 * HOUR + 1));
	early = master;
	ticket_advance(&early, 7 * HOUR);
	ticket_advance(&master, 6 * HOUR + 5);
	late = master;
	ticket_advance(&late, 7 * HOUR + 999);
	ck_assert_mem_eq(&early.key[0], &late.key[0], sizeof(early.key[0]));
	ck_assert_mem_eq(&early.key[1], &late.key[1], sizeof(early.key[1]));
	ck_assert_ptr_nonnull(ticket_find(&late, early.key[0].name, &newest));
	ck_assert(newest);
	ck_assert_ptr_nonnull(ticket_find(&late, master.key[0].name, &newest));
	ck_assert(!newest);
}
END_TEST

START_TEST(ticket_keys_go)
{
	static const uint8_t none[TICKET_NAME];
	struct ticket_keys t;
	struct ticket_key old;
	bool newest;

	ck_assert(ticket_init(&t, 0));
	old = t.key[0];
	ck_assert_ptr_null(ticket_find(&t, none, &newest));
	for (unsigned i = 1; i < TICKET_KEYS; i++) {
		ticket_advance(&t, i * HOUR);
		ck_assert_ptr_nonnull(ticket_find(&t, old.name, &newest));
	}
	ticket_advance(&t, TICKET_KEYS * HOUR);
	ck_assert_ptr_null(ticket_find(&t, old.name, &newest));
	/* Neither the key nor what it was made of is left anywhere. */
	for (size_t i = 0; i + TICKET_KEY <= sizeof(t); i++)
		ck_assert(memcmp((const char *)&t + i, old.aes, TICKET_KEY) != 0);
}
END_TEST

UNIT("sni", exact_names, wildcards, long_names, ticket_keys_agree, ticket_keys_go)
