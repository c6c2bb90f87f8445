/*
 * balance_test.c - the schedulers: shares over 100,000 picks, smoothness,
 * evenness over processes, and how few keys move on a ring.
 */
#include "t/unit/unit.h"

#include "t/unit/bed.h"

#define PICKS 100000

static void pick_many(struct bed *b, unsigned picks, unsigned *count)
{
	for (unsigned i = 0; i < picks; i++) {
		struct server *s = bed_pick(b);

		count[s->index]++;
		server_put(s);
	}
}

static void within(unsigned got, double want, double part)
{
	ck_assert_msg(got >= want * (1 - part) - 1 && got <= want * (1 + part) + 1, "%u picks, not about %.0f", got, want);
}

/* Weights 5, 3, 1, 1 in sequence; the share of each is what its weight says, to `part`. */
static void check_shares(enum conf_balance balance, double part)
{
	static const unsigned weights[4] = { 5, 3, 1, 1 };
	struct bed *b = bed_new(4, balance);
	unsigned count[4] = { 0 };

	for (unsigned i = 0; i < 4; i++)
		b->servers[i].weight = weights[i];
	bed_open(b);
	pick_many(b, PICKS, count);
	for (unsigned i = 0; i < 4; i++)
		within(count[i], PICKS / 10.0 * weights[i], part);
	bed_close(b);
}

START_TEST(round_robin_shares)
{
	check_shares(CONF_ROUND_ROBIN, 0.0005);
}
END_TEST

START_TEST(least_conn_shares_when_idle)
{
	check_shares(CONF_LEAST_CONN, 0.0005);
}
END_TEST

START_TEST(random_shares)
{
	check_shares(CONF_RANDOM, 0.04);
}
END_TEST

START_TEST(round_robin_is_smooth)
{
	struct bed *b = bed_new(2, CONF_ROUND_ROBIN);
	unsigned last = 0, gap = 0;

	b->servers[0].weight = 5;
	bed_open(b);
	for (unsigned i = 0; i < 600; i++) {
		struct server *s = bed_pick(b);

		server_put(s);
		gap++;
		if (s->index != 1)
			continue;
		/* The light one comes every sixth time, first in the middle of its round. */
		if (last == 0)
			ck_assert_uint_le(gap, 4);
		else
			ck_assert_uint_eq(gap, 6);
		last = i + 1;
		gap = 0;
	}
	bed_close(b);
}
END_TEST

START_TEST(equals_strictly_take_turns)
{
	for (unsigned m = 0; m < 2; m++) {
		struct bed *b = bed_new(3, m == 0 ? CONF_ROUND_ROBIN : CONF_LEAST_CONN);

		bed_open(b);
		for (unsigned round = 0; round < 100; round++) {
			unsigned count[3] = { 0 };

			pick_many(b, 3, count);
			for (unsigned i = 0; i < 3; i++)
				ck_assert_uint_eq(count[i], 1);
		}
		bed_close(b);
	}
}
END_TEST

START_TEST(a_server_that_returns_neither_rushes_nor_starves)
{
	for (unsigned m = 0; m < 2; m++) {
		struct bed *b = bed_new(3, m == 0 ? CONF_ROUND_ROBIN : CONF_LEAST_CONN);
		unsigned count[3] = { 0 };

		bed_open(b);
		pick_many(b, 30, count);
		bed_health(b, 2, HEALTH_DOWN);
		pick_many(b, 3000, count);
		ck_assert_uint_eq(count[2], 10);
		bed_health(b, 2, HEALTH_UP);
		memset(count, 0, sizeof(count));
		pick_many(b, 30, count);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_msg(count[i] >= 9 && count[i] <= 11, "server %u: %u of 30", i, count[i]);
		bed_close(b);
	}
}
END_TEST

/* So many that a pick looks at some of them only. */
#define MANY 40

START_TEST(many_equals_strictly_take_turns)
{
	for (unsigned m = 0; m < 2; m++) {
		struct bed *b = bed_new(MANY, m == 0 ? CONF_ROUND_ROBIN : CONF_LEAST_CONN);

		bed_open(b);
		for (unsigned i = 5; i < 21; i++)
			bed_health(b, i, HEALTH_DOWN);
		for (unsigned round = 0; round < 20; round++) {
			unsigned count[MANY] = { 0 };

			pick_many(b, MANY - 16, count);
			for (unsigned i = 0; i < MANY; i++)
				ck_assert_uint_eq(count[i], i < 5 || i >= 21);
		}
		bed_close(b);
	}
}
END_TEST

START_TEST(none_of_many_is_busier_than_others)
{
	struct bed *b = bed_new(MANY, CONF_LEAST_CONN);
	unsigned count[MANY] = { 0 };

	bed_open(b);
	for (unsigned i = 0; i < 5 * MANY; i++)
		count[bed_pick(b)->index]++;
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(count[i], 5);
	bed_close(b);
}
END_TEST

START_TEST(a_heavy_one_of_many_gets_its_share)
{
	struct bed *b = bed_new(MANY, CONF_ROUND_ROBIN);
	unsigned count[MANY] = { 0 };

	b->servers[7].weight = 41;
	bed_open(b);
	pick_many(b, 8000, count);
	within(count[7], 4100, 0.01);
	bed_close(b);
}
END_TEST

START_TEST(random_among_many)
{
	struct bed *b = bed_new(MANY, CONF_RANDOM);
	unsigned count[MANY] = { 0 };

	bed_open(b);
	pick_many(b, PICKS, count);
	for (unsigned i = 0; i < MANY; i++)
		within(count[i], PICKS / (double)MANY, 0.15);
	bed_close(b);
}
END_TEST

START_TEST(any_virtual_time_is_good)
{
	static const uint64_t words[] = { UINT64_MAX - 5, 1, 0, (uint64_t)1 << 63, 0x5a5a5a5a5a5a5a5a, UINT64_MAX };
	struct bed *b = bed_new(5, CONF_ROUND_ROBIN);

	b->servers[0].weight = 3;
	bed_open(b);
	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		unsigned count[5] = { 0 };

		b->shm.upstreams[0].vtime = words[i];
		for (unsigned k = 0; k < 5; k++)
			b->shm.servers[k].vtime = words[(i + k) % ARRAY_LEN(words)];
		pick_many(b, 7000, count);
		within(count[0], 3000, 0.01);
		for (unsigned k = 1; k < 5; k++)
			within(count[k], 1000, 0.01);
	}
	/* Across the wrap. */
	for (unsigned k = 0; k < 5; k++)
		b->shm.servers[k].vtime = UINT64_MAX - (1u << 28) * (uint64_t)500;
	b->shm.upstreams[0].vtime = b->shm.servers[0].vtime;
	unsigned count[5] = { 0 };
	pick_many(b, 7000, count);
	within(count[0], 3000, 0.001);
	bed_close(b);
}
END_TEST

START_TEST(least_conn_fills_by_weight)
{
	struct bed *b = bed_new(3, CONF_LEAST_CONN);
	struct server *held[600];

	for (unsigned i = 0; i < 3; i++)
		b->servers[i].weight = i + 1;
	bed_open(b);
	for (unsigned i = 0; i < 600; i++)
		held[i] = bed_pick(b);
	ck_assert_uint_eq(shm_active(&b->shm, 0), 100);
	ck_assert_uint_eq(shm_active(&b->shm, 1), 200);
	ck_assert_uint_eq(shm_active(&b->shm, 2), 300);
	/* Who got rid of much gets the next ones. */
	unsigned freed = 0;
	for (unsigned i = 0; i < 600 && freed < 50; i++) {
		if (held[i]->index == 0) {
			server_put(held[i]);
			freed++;
		}
	}
	for (unsigned i = 0; i < 50; i++)
		ck_assert_uint_eq(bed_pick(b)->index, 0);
	bed_close(b);
}
END_TEST

START_TEST(least_conn_counts_all_workers)
{
	struct bed *b = bed_new(2, CONF_LEAST_CONN);

	bed_open(b);
	shm_use(&b->shm, 1)[0].active = 10;
	shm_use(&b->shm, 3)[0].active = 10;
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(bed_pick(b)->index, 1);
	unsigned count[2] = { 0 };
	for (unsigned i = 0; i < 20; i++)
		count[bed_pick(b)->index]++;
	ck_assert_uint_eq(count[0], 10);
	bed_close(b);
}
END_TEST

START_TEST(random_prefers_the_less_busy)
{
	struct bed *b = bed_new(10, CONF_RANDOM);
	unsigned least = UINT32_MAX, most = 0;

	bed_open(b);
	for (unsigned i = 0; i < 10000; i++)
		bed_pick(b);
	for (unsigned i = 0; i < 10; i++) {
		uint32_t active = shm_active(&b->shm, i);

		least = active < least ? active : least;
		most = active > most ? active : most;
	}
	/* One choice would leave about 150 between them. */
	ck_assert_uint_le(most - least, 10);
	bed_close(b);
}
END_TEST

/* One request at a time for `ms`; server i takes us[i]. */
static void ewma_run(struct bed *b, const unsigned *us, unsigned ms, unsigned *count)
{
	uint64_t end = b->loop.now_us + ms * 1000ull;

	while (b->loop.now_us < end) {
		struct server *s = bed_pick(b);

		b->loop.now_us += us[s->index];
		b->loop.now_ms = b->loop.now_us / 1000;
		health_latency(s, us[s->index], b->loop.now_us);
		count[s->index]++;
		server_put(s);
	}
}

START_TEST(ewma_likes_the_quick_and_forgets_nobody)
{
	static const unsigned us[3] = { 1000, 1000, 50000 };
	struct bed *b = bed_new(3, CONF_EWMA);
	unsigned count[3] = { 0 };

	bed_open(b);
	ewma_run(b, us, 60000, count);
	within(count[0], count[1], 0.1);
	ck_assert_uint_lt(count[2], (count[0] + count[1]) / 100);
	ck_assert_uint_ge(count[2], 5);

	/* It got quick: that is found out. */
	static const unsigned quick[3] = { 1000, 1000, 1000 };
	memset(count, 0, sizeof(count));
	ewma_run(b, quick, 60000, count);
	ck_assert_uint_gt(count[2], count[0] / 2);
	bed_close(b);
}
END_TEST

START_TEST(ewma_does_not_flood_the_unknown)
{
	struct bed *b = bed_new(3, CONF_EWMA);
	unsigned count[3] = { 0 };

	bed_open(b);
	health_latency(&b->g->servers[0], 1000, b->loop.now_us);
	health_latency(&b->g->servers[1], 1000, b->loop.now_us);
	for (unsigned i = 0; i < 30; i++)
		count[bed_pick(b)->index]++;
	for (unsigned i = 0; i < 3; i++)
		ck_assert_msg(count[i] >= 8 && count[i] <= 12, "server %u: %u of 30", i, count[i]);
	bed_close(b);
}
END_TEST

START_TEST(ewma_counts_weights)
{
	static const unsigned us[2] = { 1000, 1000 };
	struct bed *b = bed_new(2, CONF_EWMA);
	unsigned held[2] = { 0 };

	b->servers[0].weight = 4;
	bed_open(b);
	for (unsigned i = 0; i < 2; i++)
		health_latency(&b->g->servers[i], us[i], b->loop.now_us);
	for (unsigned i = 0; i < 500; i++)
		held[bed_pick(b)->index]++;
	within(held[0], 400, 0.15);
	bed_close(b);
}
END_TEST

/* ---- hash ---- */

static unsigned owner(struct bed *b, uint64_t key)
{
	struct pick_ask ask = { .hash = key };
	struct server *s = NULL;

	ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
	server_put(s);
	return s->index;
}

START_TEST(hash_shares)
{
	struct bed *b = bed_new(10, CONF_HASH);
	unsigned count[10] = { 0 };

	b->servers[3].weight = 4;
	bed_open(b);
	for (uint64_t key = 0; key < PICKS; key++)
		count[owner(b, key)]++;
	for (unsigned i = 0; i < 10; i++)
		within(count[i], PICKS / 13.0 * b->servers[i].weight, 0.25);
	bed_close(b);
}
END_TEST

START_TEST(hash_moves_a_tenth)
{
	struct bed *ten = bed_new(10, CONF_HASH), *eleven = bed_new(11, CONF_HASH);
	unsigned moved = 0;

	bed_open(ten);
	bed_open(eleven);
	for (uint64_t key = 0; key < PICKS; key++) {
		unsigned before = owner(ten, key), after = owner(eleven, key);

		if (before == after)
			continue;
		ck_assert_uint_eq(after, 10);
		moved++;
	}
	within(moved, PICKS / 11.0, 0.2);
	bed_close(ten);
	bed_close(eleven);
}
END_TEST

START_TEST(hash_goes_by_names_not_by_places)
{
	struct bed *b = bed_new(10, CONF_HASH), *turned = bed_new(10, CONF_HASH);

	for (unsigned i = 0; i < 10; i++)
		turned->servers[i].name = b->servers[9 - i].name;
	bed_open(b);
	bed_open(turned);
	for (uint64_t key = 0; key < 10000; key++)
		ck_assert_uint_eq(owner(b, key), 9 - owner(turned, key));
	bed_close(b);
	bed_close(turned);
}
END_TEST

START_TEST(hash_walks_on_from_a_dead_owner)
{
	struct bed *b = bed_new(10, CONF_IP_HASH);
	unsigned heirs[10] = { 0 }, orphans = 0;
	uint8_t before[10000];

	bed_open(b);
	for (uint64_t key = 0; key < 10000; key++)
		before[key] = (uint8_t)owner(b, key);
	bed_health(b, 4, HEALTH_DOWN);
	for (uint64_t key = 0; key < 10000; key++) {
		unsigned now = owner(b, key);

		if (before[key] != 4)
			ck_assert_uint_eq(now, before[key]);
		else
			heirs[now]++, orphans++;
	}
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_lt(heirs[i], orphans / 3);
	bed_health(b, 4, HEALTH_UP);
	for (uint64_t key = 0; key < 10000; key++)
		ck_assert_uint_eq(owner(b, key), before[key]);
	bed_close(b);
}
END_TEST

START_TEST(hash_tries_another_after_a_failure)
{
	struct bed *b = bed_new(4, CONF_HASH);
	struct pick_ask ask = { .hash = 77 };
	unsigned seen = 0;
	struct server *s;

	bed_open(b);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
		ck_assert_uint_eq(seen >> s->index & 1, 0);
		seen |= 1u << s->index;
		pick_tried(&ask, s);
		server_put(s);
	}
	ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_NONE);
	bed_close(b);
}
END_TEST

/* ---- many ---- */

START_TEST(a_thousand_servers)
{
	static const enum conf_balance all[] = { CONF_LEAST_CONN, CONF_ROUND_ROBIN, CONF_RANDOM, CONF_EWMA, CONF_HASH };

	for (unsigned m = 0; m < ARRAY_LEN(all); m++) {
		struct bed *b = bed_new(1000, all[m]);
		unsigned count[1000] = { 0 };

		bed_open(b);
		if (all[m] == CONF_HASH) {
			for (uint64_t key = 0; key < 5000; key++)
				count[owner(b, key)]++;
		} else {
			pick_many(b, 5000, count);
		}
		for (unsigned i = 0; i < 1000; i++) {
			if (m < 2)
				ck_assert_uint_eq(count[i], 5);
			ck_assert_uint_lt(count[i], 40);
		}
		/* A request that failed there does not see the same server again. */
		struct pick_ask ask = { .hash = 1 };
		uint8_t seen[1000] = { 0 };
		for (unsigned i = 0; i < 20; i++) {
			struct server *s;

			ck_assert_int_eq(group_pick(b->g, &ask, &s), PICK_OK);
			ck_assert_uint_eq(seen[s->index]++, 0);
			pick_tried(&ask, s);
			server_put(s);
		}
		bed_close(b);
	}
}
END_TEST

static void quarter(struct bed *b)
{
	unsigned count[8] = { 0 };

	pick_many(b, PICKS / 4, count);
}

/* Four processes at once over servers of unlike weight; the caller closes the bed. */
static struct bed *run_processes(enum conf_balance balance, const unsigned weights[6])
{
	struct bed *b = bed_new(6, balance);

	for (unsigned i = 0; i < 6; i++)
		b->servers[i].weight = weights[i];
	bed_shm(b);
	bed_fork(b, 4, quarter);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(shm_active(&b->shm, i), 0);
	return b;
}

static const unsigned unlike[6] = { 1, 1, 2, 2, 4, 10 };

START_TEST(round_robin_is_even_over_processes)
{
	struct bed *b = run_processes(CONF_ROUND_ROBIN, unlike);

	for (unsigned i = 0; i < 6; i++)
		within((unsigned)shm_requests(&b->shm, i), PICKS / 20.0 * unlike[i], 0.005);
	bed_close(b);
}
END_TEST

/* A process that the kernel takes off the processor in the middle of a request keeps its server busy for that long, as it
 * should: shares are uneven then, but all picks are counted and nobody starves. */
START_TEST(least_conn_is_fair_over_processes)
{
	struct bed *b = run_processes(CONF_LEAST_CONN, unlike);
	uint64_t all = 0;

	for (unsigned i = 0; i < 6; i++) {
		all += shm_requests(&b->shm, i);
		ck_assert_uint_ge(shm_requests(&b->shm, i), PICKS / 20 * unlike[i] / 5);
	}
	ck_assert_uint_eq(all, PICKS);
	bed_close(b);
}
END_TEST

UNIT("balance", many_equals_strictly_take_turns, none_of_many_is_busier_than_others,
     a_heavy_one_of_many_gets_its_share, random_among_many,
     round_robin_shares, least_conn_shares_when_idle, random_shares, round_robin_is_smooth,
     equals_strictly_take_turns, a_server_that_returns_neither_rushes_nor_starves, any_virtual_time_is_good,
     least_conn_fills_by_weight, least_conn_counts_all_workers, random_prefers_the_less_busy,
     ewma_likes_the_quick_and_forgets_nobody, ewma_does_not_flood_the_unknown, ewma_counts_weights, hash_shares,
     hash_moves_a_tenth, hash_goes_by_names_not_by_places, hash_walks_on_from_a_dead_owner,
     hash_tries_another_after_a_failure, a_thousand_servers, round_robin_is_even_over_processes,
     least_conn_is_fair_over_processes)
