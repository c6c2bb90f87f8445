/*
 * fence_test.c - which slots get new connections: the program itself, and the kernel carrying it out.
 */
#include "t/unit/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <unistd.h>

#include "common/sock.h"
#include "master/fence.h"

#define SLOTS 4
#define CONNECTIONS 80

/* The slot that a program chooses when the kernel's random number is `value`. */
static unsigned run(const struct sock_filter *insns, unsigned n, uint32_t value)
{
	uint32_t a = 0;

	for (unsigned pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &insns[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = value;
			break;
		case BPF_ALU | BPF_MOD | BPF_K:
			a %= i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			ck_abort_msg("an instruction that is not expected: %#x", i->code);
		}
	}
	ck_abort_msg("the program does not end");
	return 0;
}

START_TEST(chooses_only_what_is_in)
{
	for (unsigned mask = 1; mask < 1u << 6; mask++) {
		struct sock_filter insns[FENCE_INSNS(6)];
		unsigned hits[6] = { 0 }, in_count = 0;
		bool in[6];

		for (unsigned i = 0; i < 6; i++)
			in_count += in[i] = mask >> i & 1;
		unsigned n = fence_program(insns, in, 6);
		if (in_count == 6) {
			ck_assert_uint_eq(n, 0);
			continue;
		}
		for (uint32_t v = 0; v < 600; v++)
			hits[run(insns, n, v)]++;
		for (unsigned i = 0; i < 6; i++)
			ck_assert_uint_eq(hits[i], in[i] ? 600 / in_count : 0);
	}
}
END_TEST

START_TEST(none_in_is_all_in)
{
	struct sock_filter insns[FENCE_INSNS(3)];
	const bool none[3] = { false };

	ck_assert_uint_eq(fence_program(insns, none, 3), 0);
}
END_TEST

/* ---- the kernel ---- */

static struct slots slots;
static struct addr where;

/* A group as listen.c makes it, on a port that the kernel chose. */
static void open_group(void)
{
	static int fds[SLOTS];
	static bool in[SLOTS];
	static struct slot_group group, *groups[1] = { &group };
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	where = (struct addr){ .family = ADDR_V4, .v4 = { 127, 0, 0, 1 } };
	for (unsigned i = 0; i < SLOTS; i++) {
		fds[i] = sock_listen(&where, 256, true, false);
		ck_assert_int_ge(fds[i], 0);
		if (i == 0) {
			ck_assert_int_eq(getsockname(fds[0], (struct sockaddr *)&sin, &len), 0);
			where.port = ntohs(sin.sin_port);
		}
	}
	memset(in, true, sizeof(in));
	group = (struct slot_group){ .addr = where, .fenceable = true, .n = SLOTS, .firm = SLOTS, .fds = fds, .in = in };
	slots = (struct slots){ .groups = groups, .n = 1 };
}

/* Connects many times; how many reached each slot. */
static void count_hits(unsigned hits[SLOTS])
{
	memset(hits, 0, SLOTS * sizeof(hits[0]));
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct pollfd fds[SLOTS];
		bool done;
		int fd = sock_connect(&where, &done);

		ck_assert_int_ge(fd, 0);
		for (unsigned s = 0; s < SLOTS; s++)
			fds[s] = (struct pollfd){ .fd = slots.groups[0]->fds[s], .events = POLLIN };
		ck_assert_int_eq(poll(fds, SLOTS, 2000), 1);
		for (unsigned s = 0; s < SLOTS; s++) {
			if (fds[s].revents != 0) {
				close(accept(fds[s].fd, NULL, NULL));
				hits[s]++;
			}
		}
		close(fd);
	}
}

static void set(bool a, bool b, bool c, bool d)
{
	const bool want[SLOTS] = { a, b, c, d };

	fence_set(&slots, want, SLOTS);
	ck_assert(!slots.groups[0]->broken);
}

START_TEST(kernel_obeys)
{
	unsigned hits[SLOTS];

	open_group();
	set(true, false, true, true);
	count_hits(hits);
	ck_assert_uint_eq(hits[1], 0);
	ck_assert(hits[0] > 0 && hits[2] > 0 && hits[3] > 0);
	set(false, false, true, false);
	count_hits(hits);
	ck_assert_uint_eq(hits[2], CONNECTIONS);
	/* All in again: the kernel's own choice, which leaves out nobody. */
	set(true, true, true, true);
	count_hits(hits);
	ck_assert(hits[0] > 0 && hits[1] > 0 && hits[2] > 0 && hits[3] > 0);
}
END_TEST

/* A pool that grows: from its first instant on the new socket gets nobody, and that stays so until it is in rotation. */
START_TEST(new_slots_begin_outside)
{
	unsigned hits[SLOTS];
	const bool all[SLOTS] = { true, true, true, true };

	open_group();
	struct slot_group *g = slots.groups[0];
	close(g->fds[SLOTS - 1]);
	g->n = g->firm = SLOTS - 1;
	fence_ahead(g, SLOTS);
	g->fds[SLOTS - 1] = sock_listen(&where, 256, true, false);
	ck_assert_int_ge(g->fds[SLOTS - 1], 0);
	g->in[SLOTS - 1] = false;
	g->n = SLOTS;
	count_hits(hits);
	ck_assert_uint_eq(hits[SLOTS - 1], 0);
	/* Fewer workers than slots: nothing changes for those beyond. */
	fence_set(&slots, all, SLOTS - 1);
	count_hits(hits);
	ck_assert_uint_eq(hits[SLOTS - 1], 0);
	fence_set(&slots, all, SLOTS);
	count_hits(hits);
	ck_assert(hits[0] > 0 && hits[SLOTS - 1] > 0);
}
END_TEST

UNIT("fence", chooses_only_what_is_in, none_in_is_all_in, kernel_obeys, new_slots_begin_outside)
