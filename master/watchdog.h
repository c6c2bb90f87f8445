/*
 * watchdog.h - finds children that no longer do their work.
 *
 * A child stores a heartbeat in its row each turn of its loop. One that stays
 * the same for two seconds is looked at through /proc: stopped or asleep, the
 * child is killed; burning CPU time, it is aborted first so that its stack is
 * logged; waiting for a CPU, it is left alone. Only changes of the heartbeat
 * count, never its value, and only the master's own clock.
 */
#ifndef MASTER_WATCHDOG_H
#define MASTER_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct master;

#define WATCHDOG_TICK_MS 250
#define WATCHDOG_STALE_MS 2000		/* without a heartbeat */
#define WATCHDOG_SPIN_MS 1000		/* CPU time used since the last heartbeat */
#define WATCHDOG_GAP_MS 1000		/* the master itself did not run for so long: nobody else can be judged */
#define WATCHDOG_START_MS 15000		/* from fork to IPC_READY */

struct watch {
	uint64_t beat;			/* last value seen */
	uint64_t changed_ms;		/* when it changed, by the master's clock */
	uint64_t cpu_ms;		/* CPU time of the process then */
	unsigned asleep;		/* ticks in a row that found it stale and not running */
	bool traced;			/* a debugger holds it, and that was said */
};

/* What /proc/PID/stat tells. */
struct watch_proc {
	char state;			/* 'R', 'S', 'T', ... */
	uint64_t cpu_ms;
};
bool watch_read_proc(pid_t pid, struct watch_proc *out);
/* The same from the text of that file. */
bool watch_parse_proc(const char *text, long ticks_per_s, struct watch_proc *out);

enum watch_verdict { WATCH_FINE, WATCH_STOPPED, WATCH_ASLEEP, WATCH_SPINNING, WATCH_WAITING, WATCH_TRACED };
/* Judges a child whose heartbeat reads `beat` now; pure but for *w. `p` may be NULL while the heartbeat is fresh. */
enum watch_verdict watch_judge(struct watch *w, uint64_t beat, uint64_t now_ms, const struct watch_proc *p);
/* Starts all deadlines anew. */
void watch_restart(struct watch *w, uint64_t now_ms);

/* One look at all children, each WATCHDOG_TICK_MS. */
void watchdog_tick(struct master *m);

#endif
