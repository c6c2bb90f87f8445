/*
 * estate.c - writes down what a master leaves to the one that takes its place.
 *
 * Called by upgrade.c before it starts the new program. One line for each
 * thing: a word for its kind, then numbers, descriptors and texts, these as
 * LENGTH:BYTES. It changes nothing. estate_read.c is the other side.
 */
#include "master/estate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/crew.h"
#include "master/master.h"

struct out {
	FILE *f;
	struct estate_fds *fds;
};

static void put_fd(struct out *o, int fd)
{
	fprintf(o->f, " %d", fd);
	if (fd < 0)
		return;
	int *more = realloc(o->fds->v, (o->fds->n + 1) * sizeof(int));
	if (more == NULL)
		log_no_memory(sizeof(int));
	o->fds->v = more;
	o->fds->v[o->fds->n++] = fd;
}

static void put_text(struct out *o, struct span s)
{
	fprintf(o->f, " %zu:", s.n);
	fwrite(s.p, 1, s.n, o->f);
}

/* A text that may be missing is a line that may be missing. */
static void put_line(struct out *o, const char *kind, const char *text)
{
	if (text == NULL)
		return;
	fputs(kind, o->f);
	put_text(o, span_of(text));
	fputc('\n', o->f);
}

static void put_master(struct out *o, const struct master *m)
{
	const struct conf *c = m->crew->conf;

	fprintf(o->f, "weir %d %" PRIx64 "\n", ESTATE_VERSION, shm_layout());
	fprintf(o->f, "counts %u %u %u %u %u %" PRIu64 " %" PRIu64 "\n", m->last_crew, m->reload.good, m->reload.bad,
		m->upgrade.good, m->upgrade.bad, m->lost_conns, m->lost_requests);
	fprintf(o->f, "past %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", m->worker_restarts, m->other_restarts,
		m->reload.good_ms, m->reload.bad_ms);
	fputs("history", o->f);
	put_fd(o, m->history_fd);
	fputc('\n', o->f);
	put_line(o, "program", m->given->program);
	put_line(o, "conf", m->conf_file[0] == '/' ? m->conf_file : c->path);
	put_line(o, "user", c->user);
	put_line(o, "group", c->group);
	put_line(o, "pid_file", c->pid_file);
	put_line(o, "control", c->control);
	fputs("control_fd", o->f);
	put_fd(o, m->ctl.fd);
	fputs("\nlocks", o->f);
	put_fd(o, m->control_lock.fd);
	put_fd(o, m->pid_lock.fd);
	fputc('\n', o->f);
}

static void put_groups(struct out *o, const struct slots *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct slot_group *g = s->groups[i];

		fprintf(o->f, "listen %d %d %u %u", g->fenceable, g->single, g->stored, g->n);
		for (unsigned k = 0; k < g->n; k++)
			put_fd(o, g->fds[k]);
		if (g->addr.family == ADDR_UNIX)
			put_text(o, span_of(g->addr.path));
		fputc('\n', o->f);
	}
}

static void put_names(struct out *o, const struct conf *c)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		const struct conf_upstream *u = c->upstreams[i];

		fprintf(o->f, "upstream %u %u %u", u->cell, u->ncells, u->nservers);
		put_text(o, u->name);
		fputc('\n', o->f);
		for (unsigned k = 0; k < u->nservers; k++) {
			fprintf(o->f, "server %u %u %u", u->servers[k].id, u->servers[k].cell, u->servers[k].ncells);
			put_text(o, u->servers[k].name);
			put_text(o, u->servers[k].text);
			fputc('\n', o->f);
		}
	}
	for (unsigned i = 0; i < c->nroutes; i++) {
		const struct conf_route *r = c->routes[i];

		fprintf(o->f, "route %u %u", r->series, r->ntargets);
		put_text(o, r->name);
		fputc('\n', o->f);
		for (unsigned k = 0; k < r->ntargets; k++)
			fprintf(o->f, "target %u %u\n", r->targets[k].upstream->id, r->targets[k].series);
	}
	for (unsigned i = 0; i < c->nlistens; i++) {
		fputs("listener", o->f);
		put_text(o, c->listens[i]->name);
		fputc('\n', o->f);
	}
}

static void put_crew(struct out *o, const struct master *m, const struct crew *w)
{
	const struct shm *s = &w->shm;
	unsigned elder = w->elder != NULL ? (unsigned)(w->elder - m->upgrade.elders) + 1 : 0;

	unsigned form[SHM_FORM];

	shm_form(s, form);
	fprintf(o->f, "crew %u %u %" PRIu64 " %u %u %u", elder, w->number, w == m->crew ? m->now_ms : w->since_ms,
		w->conf->nupstreams, w->conf->nroutes, w->conf->nlistens);
	for (unsigned i = 0; i < SHM_FORM; i++)
		fprintf(o->f, " %u", form[i]);
	put_fd(o, s->health_fd[1]);
	put_fd(o, s->rows_fd[1]);
	put_fd(o, s->shared_fd);
	fputc('\n', o->f);
	put_names(o, w->conf);
	if (w->records.magic != RECORDS_MAGIC)
		return;
	fprintf(o->f, "records %" PRIu64 " %u", records_layout(), w->records.nslots);
	put_fd(o, w->records.fd[1]);
	fputc('\n', o->f);
}

/* A secret: in a file of its own that the reader empties. */
static bool put_tickets(struct out *o, const struct master *m)
{
	int fd = o->fds->secret = ticket_export(&m->tickets);

	if (fd < 0)
		return false;
	fputs("tickets", o->f);
	put_fd(o, fd);
	fputc('\n', o->f);
	return true;
}

static void put_all(struct out *o, const struct master *m, int channel, int err_fd)
{
	fputs("stderr", o->f);
	put_fd(o, err_fd);
	fprintf(o->f, "\nelder %d", (int)getpid());
	put_fd(o, channel);
	fputc('\n', o->f);
	for (unsigned i = 0; i < ESTATE_ELDERS; i++) {
		fprintf(o->f, "elder %d", (int)m->upgrade.elders[i].pid);
		put_fd(o, m->upgrade.elders[i].channel);
		fputc('\n', o->f);
	}
	put_groups(o, &m->slots);
	for (const struct crew *w = m->crews; w != NULL; w = w->next) {
		if (w->shm.magic == SHM_MAGIC && !w->failed)
			put_crew(o, m, w);
	}
}

static bool write_text(struct out *o, const struct master *m, int channel, int err_fd)
{
	char *text = NULL;
	size_t n = 0;

	o->f = open_memstream(&text, &n);
	if (o->f == NULL)
		return false;
	put_master(o, m);
	bool good = put_tickets(o, m);
	put_all(o, m, channel, err_fd);
	fputs("end\n", o->f);
	good = fclose(o->f) == 0 && good && write(o->fds->text, text, n) == (ssize_t)n &&
	       fcntl(o->fds->text, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
	free(text);
	return good;
}

bool estate_write(const struct master *m, int channel, int err_fd, struct estate_fds *fds)
{
	struct out o = { .fds = fds };

	*fds = (struct estate_fds){ .text = memfd_create("weir-estate", MFD_CLOEXEC | MFD_ALLOW_SEALING), .secret = -1 };
	if (fds->text >= 0 && write_text(&o, m, channel, err_fd))
		return true;
	int why = errno;
	estate_fds_free(fds);
	errno = why;
	return false;
}

void estate_fds_free(struct estate_fds *fds)
{
	if (fds->text >= 0)
		close(fds->text);
	if (fds->secret >= 0)
		close(fds->secret);
	free(fds->v);
	*fds = (struct estate_fds){ .text = -1, .secret = -1 };
}
