/*
 * fence.c - keeps new connections away from slots that nobody serves.
 *
 * Owns the program on each SO_REUSEPORT group. Called by the master after any
 * change of its children. A connection that arrives in a fenced slot all the
 * same, because its handshake was under way, waits there for the next worker.
 */
#include "master/fence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/obj.h"

/* A random number picks among those that are in. Not the flow's hash: it is zero where neither card nor kernel made one. */
unsigned fence_program(struct sock_filter *out, const bool *in, unsigned nslots)
{
	unsigned n = 0, count = 0;

	for (unsigned i = 0; i < nslots; i++)
		count += in[i];
	if (count == 0 || count == nslots)
		return 0;
	out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(SKF_AD_OFF + SKF_AD_RANDOM));
	out[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count);
	unsigned k = 0;
	for (unsigned i = 0; i < nslots; i++) {
		if (!in[i])
			continue;
		/* The last one needs no question. */
		if (k + 1 < count)
			out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
		out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, i);
		k++;
	}
	must(n <= FENCE_INSNS(nslots));
	return n;
}

static bool attach(int fd, struct sock_filter *insns, unsigned n)
{
	const struct sock_fprog prog = { .len = (unsigned short)n, .filter = insns };
	const int none = 0;

	if (n > 0)
		return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)) == 0;
	return setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof(none)) == 0 || errno == ENOENT;
}

/* False: out of memory, to be tried again. */
static bool apply(struct slot_group *g, const bool *in, unsigned n)
{
	struct sock_filter *insns = calloc(FENCE_INSNS(n), sizeof(*insns));

	if (insns == NULL)
		return false;
	if (!attach(g->fds[0], insns, fence_program(insns, in, n))) {
		g->broken = true;
		log_warn("The kernel refused to take a slot out of rotation (%s): connections may wait for a worker that is "
			 "being replaced", strerror(errno));
	}
	free(insns);
	return true;
}

static void set_group(struct slot_group *g, const bool *live, unsigned n)
{
	bool same = true, *want = calloc(g->n + 1, sizeof(*want));

	if (want == NULL)
		return;			/* tried again at the next turn */
	for (unsigned i = 0; i < g->n; i++) {
		want[i] = i < n && live[i];
		same = same && want[i] == g->in[i];
	}
	if ((!same || g->stale) && apply(g, want, g->n)) {
		memcpy(g->in, want, g->n * sizeof(*want));
		g->stale = false;
	}
	free(want);
}

void fence_set(struct slots *s, const bool *live, unsigned n)
{
	for (unsigned i = 0; i < s->n; i++) {
		/* Groups that are not in force yet have workers that have not begun. */
		if (s->groups[i]->fenceable && !s->groups[i]->broken && s->groups[i]->firm > 0)
			set_group(s->groups[i], live, n);
	}
}

void fence_ahead(struct slot_group *g, unsigned n)
{
	bool *in = calloc(n + 1, sizeof(*in)), any = false;

	if (in == NULL)
		return;
	for (unsigned i = 0; i < g->n && i < n; i++)
		any |= in[i] = g->in[i];
	for (unsigned i = 0; i < g->n && !any; i++)
		in[i] = true;
	if (g->fenceable && !g->broken)
		apply(g, in, n);
	free(in);
}
