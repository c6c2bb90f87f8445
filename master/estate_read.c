/*
 * estate_read.c - reads what the master before this one left.
 *
 * Called by main() in a program that was started for an upgrade, before
 * anything else is opened. It trusts the text no more than a file: numbers are
 * bounded, descriptors are marked close-on-exec and looked at by whoever takes
 * them over. It opens nothing and maps nothing.
 */
#include "master/estate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/shm_record.h"

#define TEXT_MAX (64u << 20)
#define COUNT_MAX (1u << 22)

struct in {
	struct estate *e;
	const char *p, *end;
	struct estate_crew *crew;	/* that names belong to */
	struct conf_upstream *upstream;
	struct conf_route *route;
	unsigned nservers, nroutes, nlistens, ntargets;	/* of them, as announced */
	bool ended;
};

__attribute__((format(printf, 2, 3))) static bool bad(struct in *in, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (in->e->bad == NULL)
		in->e->bad = arena_str(&in->e->arena, span_of(text));
	return false;
}

/* ---- words of a line ---- */

static bool take_number(struct in *in, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = in->p < in->end && *in->p == ' ' ? strtoull(in->p + 1, &end, 10) : (errno = EINVAL, 0);
	if (errno != 0 || *out > most)
		return bad(in, "a number is missing or out of range");
	in->p = end;
	return true;
}

static bool take_count(struct in *in, unsigned *out)
{
	uint64_t n;
	bool good = take_number(in, COUNT_MAX, &n);

	*out = good ? (unsigned)n : 0;
	return good;
}

/* -1 is none. What is there is ours alone from here on. */
static bool take_fd(struct in *in, int *fd)
{
	uint64_t n;

	*fd = -1;
	if (in->end - in->p >= 3 && memcmp(in->p, " -1", 3) == 0) {
		in->p += 3;
		return true;
	}
	if (!take_number(in, COUNT_MAX, &n))
		return false;
	if (n < 3 || fcntl((int)n, F_SETFD, FD_CLOEXEC) != 0)
		return bad(in, "descriptor %u did not come along", (unsigned)n);
	*fd = (int)n;
	return true;
}

static bool take_text(struct in *in, struct span *out)
{
	uint64_t n;

	if (!take_number(in, COUNT_MAX, &n))
		return false;
	if (in->p == in->end || *in->p != ':' || (uint64_t)(in->end - in->p - 1) < n)
		return bad(in, "a text is cut");
	*out = span_make(in->p + 1, (size_t)n);
	in->p += n + 1;
	return true;
}

static bool take_string(struct in *in, const char **out)
{
	struct span s;

	if (!take_text(in, &s))
		return false;
	*out = arena_str(&in->e->arena, s);
	return true;
}

/* ---- lines ---- */

static bool on_weir(struct in *in)
{
	uint64_t version, layout;
	char *end;

	if (!take_number(in, UINT32_MAX, &version))
		return false;
	if (version > ESTATE_VERSION)
		return bad(in, "it is of a newer kind (%u) than this program knows (%u)", (unsigned)version, ESTATE_VERSION);
	layout = strtoull(in->p, &end, 16);
	in->p = end;
	if (layout != shm_layout())
		return bad(in, "the shared memory has another form in this program");
	return true;
}

static bool on_counts(struct in *in)
{
	struct estate *e = in->e;

	return take_count(in, &e->last_crew) && take_count(in, &e->good) && take_count(in, &e->bad_reloads) &&
	       take_count(in, &e->upgrades) && take_count(in, &e->bad_upgrades) &&
	       take_number(in, UINT64_MAX, &e->lost_conns) && take_number(in, UINT64_MAX, &e->lost_requests);
}

static bool on_past(struct in *in)
{
	struct estate *e = in->e;

	return take_number(in, UINT64_MAX, &e->worker_restarts) && take_number(in, UINT64_MAX, &e->other_restarts) &&
	       take_number(in, UINT64_MAX, &e->good_ms) && take_number(in, UINT64_MAX, &e->bad_ms);
}

static bool on_history(struct in *in) { return take_fd(in, &in->e->history_fd); }
static bool on_program(struct in *in) { return take_string(in, &in->e->program); }
static bool on_conf(struct in *in) { return take_string(in, &in->e->conf_path); }
static bool on_user(struct in *in) { return take_string(in, &in->e->user); }
static bool on_group(struct in *in) { return take_string(in, &in->e->group); }
static bool on_pid_file(struct in *in) { return take_string(in, &in->e->pid_file); }
static bool on_control(struct in *in) { return take_string(in, &in->e->control); }
static bool on_control_fd(struct in *in) { return take_fd(in, &in->e->control_fd); }
static bool on_stderr(struct in *in) { return take_fd(in, &in->e->err_fd); }

static bool on_locks(struct in *in)
{
	return take_fd(in, &in->e->control_lock_fd) && take_fd(in, &in->e->pid_lock_fd);
}

static bool on_tickets(struct in *in)
{
	int fd;

	if (!take_fd(in, &fd) || fd < 0)
		return false;
	in->e->has_tickets = ticket_import(&in->e->tickets, fd, clock_mono_us() / 1000);
	if (ftruncate(fd, 0) != 0)
		log_debug("cannot empty the file of ticket keys: %m");
	close(fd);
	return true;
}

static bool on_elder(struct in *in)
{
	struct estate *e = in->e;
	unsigned pid;

	if (e->nelders == ARRAY_LEN(e->elders))
		return bad(in, "too many masters drain");
	if (!take_count(in, &pid) || !take_fd(in, &e->elders[e->nelders].channel))
		return false;
	e->elders[e->nelders++].pid = (pid_t)pid;
	return true;
}

static bool on_listen(struct in *in)
{
	const char *path = NULL;
	unsigned fenceable, single, stored, n;
	bool good = true;

	if (!take_count(in, &fenceable) || !take_count(in, &single) || !take_count(in, &stored) || !take_count(in, &n) ||
	    n == 0 || stored > n)
		return bad(in, "a listening socket is cut");
	int *fds = calloc(n, sizeof(*fds));
	if (fds == NULL)
		log_no_memory(n * sizeof(*fds));
	for (unsigned i = 0; i < n; i++)
		good = good && take_fd(in, &fds[i]) && fds[i] >= 0;
	if (good && in->p < in->end && *in->p == ' ')
		good = take_string(in, &path);
	if (!good || !slots_adopt(&in->e->slots, fds, n, path, fenceable != 0, single != 0))
		good = bad(in, "a descriptor is no listening socket");
	else
		in->e->slots.groups[in->e->slots.n - 1]->stored = stored;
	free(fds);
	return good;
}

/* ---- generations: as much of a configuration as names need ---- */

static bool on_crew(struct in *in)
{
	struct estate *e = in->e;
	struct arena *a = &e->arena;
	unsigned nupstreams, form[SHM_FORM];
	bool good = true;

	if (e->ncrews == ESTATE_CREWS)
		return bad(in, "too many generations drain");
	struct estate_crew *w = in->crew = &e->crews[e->ncrews++];
	struct shm *s = &w->shm;
	w->records_fd = -1;
	if (!take_count(in, &w->elder) || !take_count(in, &w->number) || !take_number(in, UINT64_MAX, &w->since_ms) ||
	    !take_count(in, &nupstreams) || !take_count(in, &in->nroutes) || !take_count(in, &in->nlistens))
		return false;
	for (unsigned i = 0; i < SHM_FORM; i++)
		good = good && take_count(in, &form[i]);
	if (!good || !take_fd(in, &s->health_fd[1]) || !take_fd(in, &s->rows_fd[1]) || !take_fd(in, &s->shared_fd))
		return false;
	shm_set_form(s, form);
	if (w->elder > ESTATE_ELDERS || s->nworkers >= s->nslots || nupstreams != s->nupstreams ||
	    in->nroutes != s->nroutes || in->nlistens != s->nlistens)
		return bad(in, "a generation does not fit");
	struct conf *c = w->conf = arena_zalloc(a, sizeof(*c));
	*c = (struct conf){ .magic = CONF_MAGIC, .arena = a, .file = "", .path = "", .workers = s->nworkers,
			    .ncells = s->ncells, .nservers = s->nservers, .nseries = s->nseries };
	c->upstreams = arena_zalloc(a, (nupstreams + 1) * sizeof(struct conf_upstream *));
	c->routes = arena_zalloc(a, (in->nroutes + 1) * sizeof(struct conf_route *));
	c->listens = arena_zalloc(a, (in->nlistens + 1) * sizeof(struct conf_listen *));
	in->upstream = NULL;
	in->route = NULL;
	return true;
}

static bool on_upstream(struct in *in)
{
	struct arena *a = &in->e->arena;
	struct conf_upstream *u = arena_zalloc(a, sizeof(*u));
	struct conf *c = in->crew != NULL ? in->crew->conf : NULL;

	u->magic = CONF_UPSTREAM_MAGIC;
	if (c == NULL || c->nupstreams == in->crew->shm.nupstreams)
		return bad(in, "an upstream too many");
	if (!take_count(in, &u->cell) || !take_count(in, &u->ncells) || !take_count(in, &in->nservers) ||
	    !take_text(in, &u->name))
		return false;
	u->id = c->nupstreams;
	u->servers = arena_zalloc(a, (in->nservers + 1) * sizeof(*u->servers));
	c->upstreams[c->nupstreams++] = in->upstream = u;
	return true;
}

static bool on_server(struct in *in)
{
	struct conf_upstream *u = in->upstream;

	if (u == NULL || u->nservers == in->nservers)
		return bad(in, "a server too many");
	struct conf_server *s = &u->servers[u->nservers++];
	s->magic = CONF_SERVER_MAGIC;
	if (!take_count(in, &s->id) || !take_count(in, &s->cell) || !take_count(in, &s->ncells) ||
	    !take_text(in, &s->name) || !take_text(in, &s->text))
		return false;
	return (s->cell + s->ncells <= in->crew->shm.ncells && s->id < in->crew->shm.nservers) ||
	       bad(in, "a server is out of range");
}

static bool on_route(struct in *in)
{
	struct conf *c = in->crew != NULL ? in->crew->conf : NULL;
	struct conf_route *r = arena_zalloc(&in->e->arena, sizeof(*r));

	if (c == NULL || c->nroutes == in->nroutes)
		return bad(in, "a route too many");
	r->magic = CONF_ROUTE_MAGIC;
	r->id = c->nroutes;
	c->routes[c->nroutes++] = in->route = r;
	if (!take_count(in, &r->series) || !take_count(in, &in->ntargets) || !take_text(in, &r->name))
		return false;
	r->targets = arena_zalloc(&in->e->arena, (in->ntargets + 1) * sizeof(*r->targets));
	return r->series < in->crew->shm.nseries || bad(in, "a route is out of range");
}

static bool on_target(struct in *in)
{
	struct conf_route *r = in->route;
	unsigned upstream, series;

	if (r == NULL || r->ntargets == in->ntargets)
		return bad(in, "a target too many");
	if (!take_count(in, &upstream) || !take_count(in, &series))
		return false;
	const struct conf *c = in->crew->conf;
	if (upstream >= c->nupstreams || series + c->upstreams[upstream]->nservers > in->crew->shm.nseries)
		return bad(in, "a target is out of range");
	r->targets[r->ntargets++] = (struct conf_target){ c->upstreams[upstream], series };
	return true;
}

static bool on_records(struct in *in)
{
	uint64_t layout;
	unsigned n;
	int fd;

	if (in->crew == NULL || !take_number(in, UINT64_MAX, &layout) || !take_count(in, &n) || !take_fd(in, &fd))
		return false;
	in->crew->records_slots = n;
	if (layout == records_layout() && n > 0)
		in->crew->records_fd = fd;
	else if (fd >= 0)
		close(fd);
	return true;
}

static bool on_listener(struct in *in)
{
	struct conf *c = in->crew != NULL ? in->crew->conf : NULL;
	struct conf_listen *l = arena_zalloc(&in->e->arena, sizeof(*l));

	if (c == NULL || c->nlistens == in->nlistens)
		return bad(in, "a listener too many");
	l->magic = CONF_LISTEN_MAGIC;
	l->id = c->nlistens;
	c->listens[c->nlistens++] = l;
	return take_text(in, &l->name);
}

static bool on_end(struct in *in)
{
	in->ended = true;
	return true;
}

static const struct {
	const char *kind;
	bool (*take)(struct in *in);
} kinds[] = {
	{ "weir", on_weir }, { "counts", on_counts }, { "program", on_program }, { "conf", on_conf },
	{ "user", on_user }, { "group", on_group }, { "pid_file", on_pid_file }, { "control", on_control },
	{ "control_fd", on_control_fd }, { "stderr", on_stderr }, { "locks", on_locks }, { "tickets", on_tickets },
	{ "elder", on_elder }, { "listen", on_listen }, { "crew", on_crew }, { "upstream", on_upstream },
	{ "server", on_server }, { "route", on_route }, { "target", on_target }, { "listener", on_listener },
	{ "records", on_records }, { "past", on_past }, { "history", on_history }, { "end", on_end },
};

/* A text may hold anything, a line end as well: who takes a line says where it ends. */
static bool read_line(struct in *in)
{
	size_t n = 0;

	while (in->p + n < in->end && in->p[n] != ' ' && in->p[n] != '\n')
		n++;
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!span_eq(span_make(in->p, n), span_of(kinds[i].kind)))
			continue;
		in->p += n;
		if (!kinds[i].take(in))
			return bad(in, "a line of the kind %s cannot be read", kinds[i].kind);
		break;
	}
	const char *next = in->p < in->end ? memchr(in->p, '\n', (size_t)(in->end - in->p)) : NULL;
	in->p = next != NULL ? next + 1 : in->end;
	return true;
}

static void read_all(struct estate *e, int fd)
{
	struct in in = { .e = e };
	struct stat st;

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || (fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE) == 0 || fstat(fd, &st) != 0 ||
	    st.st_size <= 0 || st.st_size > TEXT_MAX) {
		e->bad = "that descriptor holds nothing from weir";
		return;
	}
	char *text = arena_bytes(&e->arena, (size_t)st.st_size + 1);
	ssize_t n = pread(fd, text, (size_t)st.st_size, 0);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	in.p = text;
	in.end = text + (n > 0 ? n : 0);
	while (in.p < in.end && !in.ended && read_line(&in))
		;
	if (!in.ended || e->nelders == 0 || e->elders[0].channel < 0)
		bad(&in, "it is not whole");
}

struct estate *estate_read(void)
{
	const char *where = getenv(ESTATE_ENV);

	if (where == NULL)
		return NULL;
	struct estate *e = calloc(1, sizeof(*e));
	if (e == NULL)
		log_no_memory(sizeof(*e));
	*e = (struct estate){ .magic = ESTATE_MAGIC, .history_fd = -1, .err_fd = -1, .control_fd = -1,
			      .control_lock_fd = -1,
			      .pid_lock_fd = -1 };
	arena_init(&e->arena, NULL, 0);
	int fd = atoi(where);
	unsetenv(ESTATE_ENV);
	read_all(e, fd);
	return e;
}

/* What was taken over is not here any more. */
void estate_free(struct estate *e)
{
	OBJ_CHECK(e, ESTATE_MAGIC);
	OPENSSL_cleanse(&e->tickets, sizeof(e->tickets));
	arena_fini(&e->arena);
	e->magic = 0;
	free(e);
}
