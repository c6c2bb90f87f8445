/*
 * plan.c - what a reload would do, without doing it.
 *
 * Called by the control server and the loop. Owns the process that makes a plan
 * and what it said. That process sees the configuration in force as it was
 * forked with it, reads the new one, and asks the machine what a reload would
 * ask; it opens nothing for good and writes to its pipe alone.
 */
#include "master/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "common/panic.h"
#include "master/crew.h"
#include "master/master.h"

#define PLAN_GOOD 0
#define PLAN_BAD 1

/* ---- what is known now: the process cannot see the shared memory ---- */

static void look_at_servers(const struct master *m, struct plan_facts *f)
{
	const struct conf *c = m->crew->conf;

	f->active = calloc(c->ncells + 1, sizeof(*f->active));
	f->down = calloc(c->ncells + 1, sizeof(*f->down));
	if (f->active == NULL || f->down == NULL)
		log_no_memory(c->ncells * sizeof(*f->active));
	for (unsigned i = 0; i < c->nupstreams; i++) {
		for (unsigned k = 0; k < c->upstreams[i]->nservers; k++) {
			const struct conf_server *s = &c->upstreams[i]->servers[k];

			for (unsigned n = 0; n < s->ncells; n++) {
				f->active[s->cell + n] = crews_use(m, c->upstreams[i], s, n).active;
				f->down[s->cell + n] =
					health_state_of(shm_health_word(&m->crew->shm, s->cell + n)) == HEALTH_DOWN;
			}
		}
	}
}

static void look(const struct master *m, struct plan_facts *f)
{
	*f = (struct plan_facts){ .generation = m->crew->number, .workers = m->crew->conf->workers, .old = crews_old(m),
				  .connections = crews_stat(m, STAT_ACTIVE_CONNS),
				  .requests = crews_stat(m, STAT_ACTIVE_EXCHANGES) };
	for (const struct crew *w = m->crews; w != NULL && f->old >= CREWS_OLD; w = w->next) {
		if (w->state == CREW_OLD)
			f->oldest = w->number;
	}
	look_at_servers(m, f);
}

/* ---- the process ---- */

/* What a reload would stumble over behind the configuration itself. */
static bool could_open(struct master *m, const struct conf *c, struct conf_msgs *msgs, FILE *out)
{
	const char *key = reload_cannot_change(m->crew->conf, c);

	if (key != NULL) {
		fprintf(out, "%s: [weir] %s has changed, and that takes a restart\n", c->file, key);
		return false;
	}
	conf_check_machine(c, msgs);
	log_tee(out);
	bool good = slots_check(&m->slots, c);
	log_tee(NULL);
	return good && msgs->nerrors == 0;
}

/* Complaints are for who asked, not for the log. */
static void be_quiet(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	log_set_fd(fd, false);
	log_set_level(LOG_LV_ERROR);
}

_Noreturn static void be_planner(struct master *m, const struct plan_facts *f, bool json, int pipe)
{
	struct conf_msgs msgs = { .v = NULL };
	const struct sigaction sa = { .sa_handler = SIG_DFL };
	struct arena arena;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGTERM, &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log_set_role("planner");
	panic_note()->role = "planner";
	be_quiet();
	FILE *out = fdopen(pipe, "w");
	if (out == NULL)
		_exit(PLAN_BAD);
	arena_init(&arena, NULL, 0);
	struct conf *c = conf_load(&arena, m->conf_file, &msgs);
	bool good = c != NULL && could_open(m, c, &msgs, out);
	if (!good || !json)
		conf_print_msgs(out, &msgs);
	if (good)
		plan_show(out, m->crew->conf, c, f, json);
	else
		fprintf(out, "a reload would fail, and generation %u serve on\n", f->generation);
	fflush(out);
	_exit(good ? PLAN_GOOD : PLAN_BAD);
}

const char *plan_ask(struct master *m, bool json)
{
	struct plan *p = &m->plan;
	struct plan_facts f;
	int ends[2];

	if (m->state != MASTER_RUNNING)
		return "weir is ending or not ready yet";
	if (p->pid != 0)
		return "another plan is being made; ask again";
	if (pipe2(ends, O_CLOEXEC) != 0)
		return strerror(errno);
	look(m, &f);
	pid_t pid = child_fork();
	if (pid == 0) {
		close(ends[0]);
		be_planner(m, &f, json, ends[1]);
	}
	free(f.active);
	free(f.down);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return strerror(errno);
	}
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*p = (struct plan){ .pid = pid, .pipe = ends[0], .until_ms = m->now_ms + PLAN_MS };
	return NULL;
}

/* ---- the master ---- */

struct pollfd plan_fd(const struct master *m)
{
	return (struct pollfd){ .fd = m->plan.pid != 0 ? m->plan.pipe : -1, .events = POLLIN };
}

void plan_on_input(struct master *m)
{
	struct plan *p = &m->plan;

	while (p->pipe >= 0) {
		if (p->have + 4096 > p->room && p->room < PLAN_TEXT) {
			char *more = realloc(p->text, 2 * p->room + 8192);

			if (more == NULL)
				log_no_memory(2 * p->room + 8192);
			p->text = more;
			p->room = 2 * p->room + 8192;
		}
		ssize_t n = p->have + 1 < p->room ? read(p->pipe, p->text + p->have, p->room - p->have - 1) : 0;
		if (n < 0)
			return;
		p->have += (size_t)n;
		p->text[p->have] = '\0';
		if (n == 0) {
			close(p->pipe);
			p->pipe = -1;
		}
	}
}

void plan_on_death(struct master *m, pid_t pid, int status)
{
	if (m->plan.pid == 0 || pid != m->plan.pid)
		return;
	m->plan.dead = true;
	m->plan.status = status;
}

static void finish(struct master *m)
{
	struct plan *p = &m->plan;
	char text[128];

	plan_on_input(m);
	if (p->pipe >= 0)
		close(p->pipe);
	if (p->late)
		snprintf(text, sizeof(text), "the configuration could not be read within %u s\n", PLAN_MS / 1000);
	else if (WIFSIGNALED(p->status))
		snprintf(text, sizeof(text), "the process that made the plan was killed by signal %d\n", WTERMSIG(p->status));
	else
		text[0] = '\0';
	bool good = text[0] == '\0' && WEXITSTATUS(p->status) == PLAN_GOOD && p->text != NULL;
	ctl_server_planned(m, good, text[0] != '\0' || p->text == NULL ? text : p->text);
	free(p->text);
	*p = (struct plan){ .pipe = -1 };
}

void plan_tend(struct master *m)
{
	struct plan *p = &m->plan;

	if (p->pid == 0)
		return;
	if (p->dead) {
		finish(m);
	} else if (!p->late && (m->now_ms >= p->until_ms || m->state > MASTER_RUNNING)) {
		p->late = true;
		kill(p->pid, SIGKILL);
	}
}

uint64_t plan_next(const struct master *m)
{
	return m->plan.pid != 0 && !m->plan.late ? m->plan.until_ms : UINT64_MAX;
}
