/*
 * fault.c - a request that makes its worker fail on purpose, for tests of what
 * the rest of weir does then.
 *
 * Called by exchange_start() in builds of configure --enable-fault-points;
 * empty in all others. Lets go of nothing before it fails: that is the point.
 */
#include "worker/exchange/fault.h"

#ifdef WEIR_FAULT_POINTS
#include <signal.h>
#include <unistd.h>

#include "common/obj.h"

#define EXIT_BY_FAULT 7

static void fault_crash(void)
{
	must_not_reach("a fault point");
}

static void fault_spin(void)
{
	for (;;)
		__asm__ volatile("");
}

/* Goes on when continued. */
static void fault_stop(void)
{
	raise(SIGSTOP);
}

static void fault_exit(void)
{
	_exit(EXIT_BY_FAULT);
}

static const struct {
	const char *word;
	void (*fail)(void);
} faults[] = {
	{ "crash", fault_crash },
	{ "spin", fault_spin },
	{ "stop", fault_stop },
	{ "exit", fault_exit },
};

void fault_point(const struct exchange *x)
{
	struct span asked = head_find(&x->req, SPAN("X-Weir-Fault"));

	OBJ_CHECK(x, EXCHANGE_MAGIC);
	for (unsigned i = 0; i < ARRAY_LEN(faults); i++) {
		if (span_eq(asked, span_of(faults[i].word)))
			faults[i].fail();
	}
}
#endif
