/*
 * record_test.c - decision records: what survives a worker that dies while it
 * writes one, who may write where, and that a reader trusts nothing.
 */
#include "t/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/shm_record.h"

/* Runs `body` as the worker of a slot; its wait status. */
static int run(struct records *r, unsigned slot, void (*body)(struct records *r))
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (!records_become_worker(r, slot))
			_exit(99);
		body(r);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void put(struct records *r, const char *id)
{
	struct shm_record *rec = records_begin(r);

	rec->id_len = (uint8_t)strlen(id);
	memcpy(rec->id, id, rec->id_len);
	records_end(r, rec);
}

static void write_three(struct records *r)
{
	put(r, "one");
	put(r, "two");
	put(r, "three");
}

static void die_within_the_second(struct records *r)
{
	put(r, "one");
	memset(records_begin(r)->id, 'x', RECORD_ID);
	raise(SIGKILL);
}

static void write_one(struct records *r)
{
	put(r, "next");
}

static void write_many(struct records *r)
{
	char id[16];

	for (unsigned i = 0; i < RECORDS_KEPT + 5; i++) {
		snprintf(id, sizeof(id), "%u", i);
		put(r, id);
	}
}

static void write_orders(struct records *r)
{
	mprotect(r->orders, r->orders_size, PROT_READ | PROT_WRITE);
	atomic_store(&r->orders->trace_gen, 7);
}

static void write_behind_its_area(struct records *r)
{
	r->areas[r->area_size] = 1;
}

static unsigned whole(const struct records *r, unsigned slot)
{
	struct shm_record out;
	unsigned n = 0;

	for (unsigned i = 0; i < RECORDS_KEPT; i++)
		n += records_copy(records_ring(r, slot), i, &out);
	return n;
}

START_TEST(outlive_their_worker)
{
	struct shm_record out;
	struct records r;

	ck_assert(records_init(&r, 2));
	ck_assert_uint_eq(whole(&r, 0) + whole(&r, 1), 0);
	ck_assert_int_eq(run(&r, 1, write_three), 0);
	ck_assert_uint_eq(whole(&r, 0), 0);
	ck_assert_uint_eq(whole(&r, 1), 3);
	ck_assert(records_copy(records_ring(&r, 1), 2, &out));
	ck_assert_uint_eq(out.id_len, 5);
	ck_assert(memcmp(out.id, "three", 5) == 0);
	/* The next process of the slot goes on behind them. */
	ck_assert_int_eq(run(&r, 1, write_one), 0);
	ck_assert_uint_eq(whole(&r, 1), 4);
	records_fini(&r);
}
END_TEST

START_TEST(torn_ones_are_passed_over)
{
	struct shm_record out;
	struct records r;

	ck_assert(records_init(&r, 1));
	ck_assert_int_eq(run(&r, 0, die_within_the_second), SIGKILL);
	ck_assert_uint_eq(whole(&r, 0), 1);
	ck_assert(!records_copy(records_ring(&r, 0), 1, &out));
	/* Its successor takes that place. */
	ck_assert_int_eq(run(&r, 0, write_one), 0);
	ck_assert_uint_eq(whole(&r, 0), 2);
	ck_assert(records_copy(records_ring(&r, 0), 1, &out));
	ck_assert(memcmp(out.id, "next", 4) == 0);
	records_fini(&r);
}
END_TEST

START_TEST(the_oldest_go_first)
{
	struct shm_record out;
	struct records r;

	ck_assert(records_init(&r, 1));
	ck_assert_int_eq(run(&r, 0, write_many), 0);
	ck_assert_uint_eq(whole(&r, 0), RECORDS_KEPT);
	ck_assert_uint_eq(atomic_load(&records_area(&r, 0)->records), RECORDS_KEPT + 5);
	ck_assert(records_copy(records_ring(&r, 0), 4, &out));
	ck_assert(memcmp(out.id, "1028", 4) == 0);
	ck_assert(records_copy(records_ring(&r, 0), 5, &out));
	ck_assert_uint_eq(out.id_len, 1);
	records_fini(&r);
}
END_TEST

START_TEST(workers_write_their_own_area_alone)
{
	struct records r;

	ck_assert(records_init(&r, 2));
	ck_assert_int_eq(run(&r, 0, write_orders) & 0x7f, SIGSEGV);
	ck_assert_uint_eq(atomic_load(&r.orders->trace_gen), 0);
	/* What lies behind its area in its own memory is whatever it is, but never the area of another. */
	run(&r, 0, write_behind_its_area);
	ck_assert_uint_eq(atomic_load(&records_area(&r, 1)->records), 0);
	records_fini(&r);
}
END_TEST

/* A worker gone mad writes what it likes. */
START_TEST(readers_trust_no_number)
{
	struct shm_record out;
	struct shm_trace *t = malloc(sizeof(*t));
	struct records r;

	ck_assert(records_init(&r, 1));
	struct shm_record *rec = &records_ring(&r, 0)[9];
	memset((void *)rec, 0xff, sizeof(*rec));
	atomic_store(&rec->seq, 20);
	ck_assert(records_copy(records_ring(&r, 0), 9, &out));
	ck_assert_uint_le(out.ntries, RECORD_TRIES);
	ck_assert_uint_le(out.id_len, RECORD_ID);
	ck_assert_uint_le(out.text_len, RECORD_TEXT);
	ck_assert_uint_lt(out.reason, REASON__N);
	for (unsigned i = 0; i < out.ntries; i++) {
		ck_assert_uint_le(out.try[i].nothers, RECORD_OTHERS);
		ck_assert_uint_lt(out.try[i].result, REASON__N);
	}
	ck_assert_ptr_nonnull(t);
	memset((void *)t, 0xff, sizeof(*t));
	trace_sane(t);
	ck_assert_uint_le(t->ntries, TRACE_TRIES);
	ck_assert_uint_le(t->nothers, TRACE_OTHERS);
	ck_assert_uint_le(t->target_len, TRACE_TARGET);
	ck_assert_uint_le(t->host_len, TRACE_HOST);
	ck_assert_uint_le(t->record.id_len, RECORD_ID);
	free(t);
	records_fini(&r);
}
END_TEST

UNIT("record", outlive_their_worker, torn_ones_are_passed_over, the_oldest_go_first, workers_write_their_own_area_alone,
     readers_trust_no_number)
