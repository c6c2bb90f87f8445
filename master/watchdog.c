/*
 * watchdog.c - finds children that no longer do their work.
 *
 * Owns what was last seen of each child's heartbeat. Called by the master's
 * loop each tick. It reads one word of the child's row and /proc, and acts
 * through child.c; a value that a child wrote is compared, never used.
 */
#include "master/watchdog.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/master.h"

#define ABORT_PATIENCE_MS 1000		/* from SIGABRT to SIGKILL */
#define ASLEEP_TICKS 2

bool watch_parse_proc(const char *text, long ticks_per_s, struct watch_proc *out)
{
	unsigned long user, system;

	/* The name stands in parentheses and may hold any byte, blanks and parentheses included. */
	const char *rest = strrchr(text, ')');
	if (rest == NULL || ticks_per_s <= 0 ||
	    sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &out->state, &user, &system) != 3)
		return false;
	out->cpu_ms = ((uint64_t)user + system) * 1000 / (uint64_t)ticks_per_s;
	return true;
}

bool watch_read_proc(pid_t pid, struct watch_proc *out)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return watch_parse_proc(text, sysconf(_SC_CLK_TCK), out);
}

void watch_restart(struct watch *w, uint64_t now_ms)
{
	w->changed_ms = now_ms;
	w->asleep = 0;
}

static enum watch_verdict judge_stale(struct watch *w, const struct watch_proc *p)
{
	bool running = p->state == 'R';

	w->asleep = running ? 0 : w->asleep + 1;
	if (p->state == 't')
		return WATCH_TRACED;
	if (p->state == 'T')
		return WATCH_STOPPED;
	/* Used up since the heartbeat: a child that shares its CPU with many gets the time that it was not given. */
	if (p->cpu_ms >= w->cpu_ms + WATCHDOG_SPIN_MS)
		return WATCH_SPINNING;
	return !running && w->asleep >= ASLEEP_TICKS ? WATCH_ASLEEP : WATCH_WAITING;
}

enum watch_verdict watch_judge(struct watch *w, uint64_t beat, uint64_t now_ms, const struct watch_proc *p)
{
	if (beat != w->beat) {
		w->beat = beat;
		w->traced = false;
		watch_restart(w, now_ms);
		if (p != NULL)
			w->cpu_ms = p->cpu_ms;
		return WATCH_FINE;
	}
	if (now_ms - w->changed_ms < WATCHDOG_STALE_MS || p == NULL)
		return WATCH_FINE;
	return judge_stale(w, p);
}

static void act(struct master *m, struct child *c, enum watch_verdict verdict)
{
	unsigned long long stale = m->now_ms - c->watch.changed_ms;

	switch (verdict) {
	case WATCH_STOPPED:
		log_error("%s (pid %d) is stopped and has not worked for %llu ms: killing it", c->name, (int)c->pid,
			  stale);
		break;
	case WATCH_ASLEEP:
		log_error("%s (pid %d) is stuck in a system call for %llu ms: killing it", c->name, (int)c->pid, stale);
		break;
	case WATCH_SPINNING:
		log_error("%s (pid %d) is spinning for %llu ms: aborting it", c->name, (int)c->pid, stale);
		child_signal(m, c, SIGABRT, ABORT_PATIENCE_MS);
		child_set_state(c, CHILD_STUCK);
		return;
	case WATCH_TRACED:
		if (!c->watch.traced)
			log_warn("%s (pid %d) is held by a debugger: leaving it alone", c->name, (int)c->pid);
		c->watch.traced = true;
		return;
	case WATCH_FINE:
	case WATCH_WAITING:
		return;
	}
	child_signal(m, c, SIGKILL, 0);
	child_set_state(c, CHILD_STUCK);
}

static void look_at(struct master *m, struct child *c)
{
	const struct shm_row *row = shm_row(&c->crew->shm, c->slot);
	struct watch_proc p;
	bool have = watch_read_proc(c->pid, &p);

	if (c->state == CHILD_STARTING) {
		if (m->now_ms - c->watch.changed_ms < WATCHDOG_START_MS)
			return;
		log_error("%s (pid %d) was not ready after %u ms: killing it", c->name, (int)c->pid,
			  (unsigned)WATCHDOG_START_MS);
		child_signal(m, c, SIGKILL, 0);
		child_set_state(c, CHILD_STUCK);
		return;
	}
	uint64_t beat = atomic_load_explicit(&row->beat_ms, memory_order_relaxed);
	act(m, c, watch_judge(&c->watch, beat, m->now_ms, have ? &p : NULL));
}

void watchdog_tick(struct master *m)
{
	uint64_t since = m->now_ms - m->tick_ms;

	if (since < WATCHDOG_TICK_MS)
		return;
	m->tick_ms = m->now_ms;
	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		for (unsigned i = 0; i < w->nchildren; i++) {
			struct child *c = &w->children[i];

			if (since > WATCHDOG_GAP_MS + WATCHDOG_TICK_MS)
				watch_restart(&c->watch, m->now_ms);
			else if (c->state == CHILD_STARTING || c->state == CHILD_LIVE || c->state == CHILD_DRAINING)
				look_at(m, c);
		}
	}
}
