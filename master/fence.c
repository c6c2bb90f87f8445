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

bool fence_init(struct fence *f, unsigned nslots)
{
	*f = (struct fence){ .nslots = nslots };
	f->in = malloc(nslots + 1);
	f->want = malloc(nslots + 1);
	if (f->in == NULL || f->want == NULL)
		return false;
	memset(f->in, true, nslots);
	memset(f->want, true, nslots);
	return true;
}

void fence_fini(struct fence *f)
{
	free(f->in);
	free(f->want);
	f->in = f->want = NULL;
}

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

void fence_set(struct fence *f, const struct slots *s)
{
	if (f->broken || s->fds == NULL || memcmp(f->in, f->want, f->nslots * sizeof(*f->want)) == 0)
		return;
	struct sock_filter *insns = calloc(FENCE_INSNS(f->nslots), sizeof(*insns));
	if (insns == NULL)
		return;			/* tried again at the next turn */
	unsigned n = fence_program(insns, f->want, f->nslots);

	for (unsigned i = 0; i < s->nbinds; i++) {
		if (s->groups[i].fenceable && !attach(slots_fd(s, 0, i), insns, n) && !f->broken) {
			f->broken = true;
			log_warn("The kernel refused to take a slot out of rotation (%s): connections may wait for a "
				 "worker that is being replaced", strerror(errno));
		}
	}
	memcpy(f->in, f->want, f->nslots * sizeof(*f->want));
	free(insns);
}
