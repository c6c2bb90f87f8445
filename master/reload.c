/*
 * reload.c - a new configuration takes the place of the one in force, or
 * nothing happens at all.
 *
 * Called by the master's loop; owns the order. A trial process reads the
 * configuration first: whatever it does to the reader, the master lives. Then
 * the master reads it for itself, opens all that can fail, forks the new
 * generation and waits until every process of it is ready. Until then nothing
 * that serves has been touched. What follows cannot fail: the new workers are
 * told to begin, the old ones to drain.
 */
#include "master/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "master/crew.h"
#include "master/logs.h"
#include "master/master.h"

#define TRIAL_GOOD 0
#define TRIAL_BAD 1

/* ---- the end of a reload ---- */

static void forget_trial(struct reload *r)
{
	if (r->pipe >= 0)
		close(r->pipe);
	if (r->pid > 0)
		kill(r->pid, SIGKILL);		/* collected later, by nobody in particular */
	r->pipe = -1;
	r->pid = 0;
}

static void finish(struct master *m, bool good, const char *text)
{
	struct reload *r = &m->reload;

	r->state = RELOAD_NONE;
	r->done = r->ticket;
	*(good ? &r->good : &r->bad) += 1;
	*(good ? &r->good_ms : &r->bad_ms) = clock_wall_ms();
	ctl_server_reloaded(m, good, text);
	free(r->text);
	r->text = NULL;
	r->have = 0;
}

/* Lines of the trial process, one log line each. */
static void log_lines(enum log_level lv, char *text)
{
	for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next = '\0';
		log_at(lv, "%s", line);
		if (next != NULL)
			*next++ = '\n';
	}
}

/* Everything is as it was. What was said goes to the log and to whoever asked. */
__attribute__((format(printf, 2, 3))) static void give_up(struct master *m, const char *fmt, ...)
{
	struct reload *r = &m->reload;
	char why[1024], *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	forget_trial(r);
	if (r->text != NULL)
		log_lines(LOG_LV_ERROR, r->text);
	log_error("Reload failed, generation %u serves on: %s", m->crew->number, why);
	if (r->next != NULL) {
		r->next->failed = true;
		slots_undo(&m->slots);
		crew_end(m, r->next);
		r->next = NULL;
	}
	if (asprintf(&text, "%sreload failed, generation %u serves on: %s\n", r->text != NULL ? r->text : "",
		     m->crew->number, why) < 0)
		text = NULL;
	finish(m, false, text != NULL ? text : "reload failed: out of memory\n");
	free(text);
}

void reload_cancel(struct master *m)
{
	struct reload *r = &m->reload;

	if (r->state != RELOAD_NONE)
		give_up(m, "weir ends");
	if (r->asked != r->done) {
		r->done = r->asked;
		ctl_server_reloaded(m, false, m->upgrade.state == UPGRADE_HANDED ?
				    "weir was upgraded meanwhile, and that read the configuration; ask again to be sure\n" :
				    "weir ends\n");
	}
}

/* ---- the trial ---- */

/* Reads the configuration, says what is wrong with it, and is gone. */
_Noreturn static void be_trial(struct master *m, int out)
{
	struct conf_msgs msgs = { .v = NULL };
	const struct sigaction sa = { .sa_handler = SIG_DFL };
	struct arena arena;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGTERM, &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log_set_role("trial");
	panic_note()->role = "trial";
#ifdef WEIR_FAULT_POINTS
	if (getenv("WEIR_FAULT") != NULL && strcmp(getenv("WEIR_FAULT"), "trial-crash") == 0)
		abort();
#endif
	FILE *f = fdopen(out, "w");
	if (f == NULL)
		_exit(TRIAL_BAD);
	arena_init(&arena, NULL, 0);
	struct conf *c = conf_load(&arena, m->conf_file, &msgs);
	conf_print_msgs(f, &msgs);
	fflush(f);
	_exit(c != NULL ? TRIAL_GOOD : TRIAL_BAD);
}

static void begin(struct master *m)
{
	struct reload *r = &m->reload;
	int ends[2];

	r->ticket = r->asked;
	r->began_ms = m->now_ms;
	r->dead = false;
	r->have = 0;
	r->text = calloc(1, RELOAD_TEXT);
	if (r->text == NULL || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
		give_up(m, "cannot try the configuration: %s", strerror(errno));
		return;
	}
	fcntl(ends[1], F_SETFL, 0);	/* the trial may wait for us */
	pid_t pid = child_fork();
	if (pid == 0) {
		close(ends[0]);
		be_trial(m, ends[1]);
	}
	close(ends[1]);
	r->pipe = ends[0];
	r->pid = pid > 0 ? pid : 0;
	if (pid < 0) {
		give_up(m, "cannot try the configuration: %s", strerror(errno));
		return;
	}
	r->state = RELOAD_CHECKING;
	log_notice("Reloading %s", m->conf_file);
}

struct pollfd reload_fd(const struct master *m)
{
	return (struct pollfd){ .fd = m->reload.state == RELOAD_CHECKING ? m->reload.pipe : -1, .events = POLLIN };
}

/* What is too long is read and dropped: the trial must come to its end. */
void reload_on_input(struct master *m)
{
	struct reload *r = &m->reload;
	char rest[4096];
	ssize_t n;

	while (r->pipe >= 0) {
		size_t room = RELOAD_TEXT - 1 - r->have;

		n = read(r->pipe, room > 0 ? r->text + r->have : rest, room > 0 ? room : sizeof(rest));
		if (n < 0)
			return;
		if (n == 0) {
			close(r->pipe);
			r->pipe = -1;
		} else if (room > 0) {
			r->have += (size_t)n;
		}
	}
}

void reload_on_death(struct master *m, pid_t pid, int status)
{
	struct reload *r = &m->reload;

	if (r->pid == 0 || pid != r->pid)
		return;
	r->pid = 0;
	r->dead = true;
	r->status = status;
}

/* ---- for real ---- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

const char *reload_cannot_change(const struct conf *a, const struct conf *b)
{
	return !same_text(a->user, b->user) ? "user" : !same_text(a->group, b->group) ? "group"
	       : !same_text(a->pid_file, b->pid_file) ? "pid_file"
	       : !same_text(a->control, b->control) ? "control" : NULL;
}

/* What master_complain() says from here on is told to whoever asked, too. */
static bool open_crew(struct master *m, struct crew *w)
{
	char why[256];

	if (!logs_open(w->conf, m->daemon) || !slots_plan(&m->slots, w->conf))
		return false;
	w->priv = m->crew->priv;
	w->priv.jail_fd = -1;
	if (!priv_prepare(&w->priv, w->conf, why, sizeof(why))) {
		master_complain("%s", why);
		return false;
	}
	return crew_open(w, m->crew);
}

/* What was said while it was opened stands in the log already, a line each; here it is one reason. */
static void give_up_opening(struct master *m)
{
	struct reload *r = &m->reload;
	char *text = r->text, *why = text + r->have;
	size_t n = strlen(why);

	r->text = NULL;
	while (n > 0 && why[n - 1] == '\n')
		why[--n] = '\0';
	for (char *end; (end = strchr(why, '\n')) != NULL;)
		*end = ';';
	give_up(m, "%s", why);
	free(text);
}

static void open_for_real(struct master *m)
{
	struct reload *r = &m->reload;
	struct conf_msgs msgs = { .v = NULL };
	struct crew *w = crew_new(m, NULL);
	const char *key;

	r->next = w;
	w->conf = conf_load(&w->arena, m->conf_file, &msgs);
	if (w->conf == NULL) {
		give_up(m, "the configuration changed while it was read");
		return;
	}
	key = reload_cannot_change(m->crew->conf, w->conf);
	if (key != NULL) {
		give_up(m, "%s: [weir] %s has changed, and that takes a restart", w->conf->file, key);
		return;
	}
	log_lines(LOG_LV_WARN, r->text);
	FILE *said = fmemopen(r->text + r->have, RELOAD_TEXT - r->have, "w");
	log_tee(said);
	bool good = open_crew(m, w);
	log_tee(NULL);
	if (said != NULL)
		fclose(said);
	if (!good) {
		give_up_opening(m);
		return;
	}
	r->began_ms = m->now_ms;
	r->state = RELOAD_STARTING;
}

static void on_checked(struct master *m)
{
	struct reload *r = &m->reload;

	reload_on_input(m);
	if (r->pipe >= 0)
		close(r->pipe);
	r->pipe = -1;
	if (WIFSIGNALED(r->status))
		give_up(m, "the process that tried the configuration was killed by signal %d (%s)", WTERMSIG(r->status),
			strsignal(WTERMSIG(r->status)));
	else if (WEXITSTATUS(r->status) != TRIAL_GOOD)
		give_up(m, "the configuration %s has errors", m->conf_file);
	else
		open_for_real(m);
}

/* ---- commit ---- */

static void commit(struct master *m)
{
	struct reload *r = &m->reload;
	struct crew *old = m->crew, *w = r->next;

	r->next = NULL;
	m->crew = w;
	crew_set_state(m, w, CREW_LIVE);
	/* First the new ones begin, by children_tend() in this very turn; then the old ones stop. Admin processes the other way
	 * round: the new one knows the counters of both, and who asks meanwhile waits. */
	crew_drain_admin(m, old);
	children_tend(m);
	crew_drain(m, old);
	slots_firm(&m->slots, w->conf);
	logs_use(w->conf);
	log_notice("Reloaded: generation %u serves with %u workers, generation %u drains", w->number, w->conf->workers,
		   old->number);
	r->last = old->number;
	r->began_ms = m->now_ms;
	r->state = RELOAD_HANDING;
}

/* Some process of the last generation may still take a client. */
static bool last_accepts(const struct master *m)
{
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->number == m->reload.last && crew_accepts(w))
			return true;
	}
	return false;
}

/* Whoever asked is answered when every new client meets the new configuration. */
static void look_at_last(struct master *m)
{
	const struct crew *w = m->crew;
	char text[256];

	if (last_accepts(m) && m->now_ms < m->reload.began_ms + RELOAD_HAND_MS)
		return;
	snprintf(text, sizeof(text), "generation %u serves with %u workers, generation %u drains\n", w->number,
		 w->conf->workers, m->reload.last);
	finish(m, true, text);
}

static void look_at_crew(struct master *m)
{
	const struct crew *w = m->reload.next;
	const struct child *c = crew_lost_child(w);

	if (c != NULL)
		give_up(m, "%s of generation %u could not start; the error log says why", c->name, w->number);
	else if (m->now_ms >= m->reload.began_ms + RELOAD_START_MS)
		give_up(m, "not every process of generation %u was ready within %u s", w->number, RELOAD_START_MS / 1000);
	else if (crew_is_ready(w))
		commit(m);
}

/* ---- when ---- */

unsigned reload_ask(struct master *m)
{
	struct reload *r = &m->reload;

	if (r->asked == (r->state == RELOAD_NONE ? r->done : r->ticket))
		r->asked++;
	return r->asked;
}

/* When the youngest old crew has had its grace. */
uint64_t reload_room_at(const struct master *m)
{
	uint64_t youngest = 0;

	if (crews_old(m) < CREWS_OLD)
		return 0;
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->state == CREW_OLD && w->since_ms > youngest)
			youngest = w->since_ms;
		if (w->state == CREW_ENDING && !w->failed)
			return UINT64_MAX;		/* its end will be noticed */
	}
	return youngest + CREW_GRACE_MS;
}

static void make_room(struct master *m)
{
	struct crew *oldest = NULL;

	for (struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->state == CREW_OLD)
			oldest = w;
	}
	if (oldest != NULL)
		crew_end(m, oldest);
}

bool reload_has_room(struct master *m)
{
	if (reload_room_at(m) > m->now_ms)
		return false;
	if (crews_old(m) < CREWS_OLD)
		return true;
	make_room(m);
	return false;
}

void reload_tend(struct master *m)
{
	struct reload *r = &m->reload;

	if (m->state != MASTER_RUNNING)
		return;
	switch (r->state) {
	case RELOAD_NONE:
		if (r->asked != r->done && m->upgrade.state == UPGRADE_NONE && reload_has_room(m))
			begin(m);
		return;
	case RELOAD_CHECKING:
		if (r->dead)
			on_checked(m);
		else if (m->now_ms >= r->began_ms + RELOAD_CHECK_MS)
			give_up(m, "the configuration could not be read within %u s", RELOAD_CHECK_MS / 1000);
		return;
	case RELOAD_STARTING:
		look_at_crew(m);
		return;
	case RELOAD_HANDING:
		look_at_last(m);
		return;
	}
}

uint64_t reload_next(const struct master *m)
{
	const struct reload *r = &m->reload;

	if (m->state != MASTER_RUNNING)
		return UINT64_MAX;
	switch (r->state) {
	case RELOAD_NONE:
		return r->asked == r->done || m->upgrade.state != UPGRADE_NONE ? UINT64_MAX : reload_room_at(m);
	case RELOAD_CHECKING:
		return r->dead ? 0 : r->began_ms + RELOAD_CHECK_MS;
	case RELOAD_STARTING:
		return r->began_ms + RELOAD_START_MS;
	case RELOAD_HANDING:
		return last_accepts(m) ? r->began_ms + RELOAD_HAND_MS : 0;
	}
	return UINT64_MAX;
}
