/*
 * conf_files.c - the files of a configuration: the main one and what it includes.
 *
 * Called by conf.c once per load, and by conf_outside.c for the files that
 * values refer to. Regular files only, all together within a budget, so that a
 * wrong name can neither block nor fill the memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf_parts.h"

#define SHOW_MIB (CONF_TOTAL_MAX >> 20)

const char *conf_abs_path(struct arena *a, const char *dir, struct span path)
{
	if (path.n > 0 && path.p[0] == '/')
		return arena_str(a, path);
	if (path.n > 1 && path.p[0] == '.' && path.p[1] == '/')
		path = span_make(path.p + 2, path.n - 2);
	return arena_printf(a, "%s/%.*s", strcmp(dir, "/") == 0 ? "" : dir, SPAN_FMT(path));
}

static const char *read_fd(struct load *ld, int fd, size_t *n, const char **why)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		*why = strerror(errno);
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		*why = "it is not a regular file";
		return NULL;
	}
	size_t left = CONF_TOTAL_MAX - ld->total;
	if ((uint64_t)st.st_size > left) {
		*why = arena_printf(ld->arena,
				    "it is larger than what is left of the %u MiB that all files may have together", SHOW_MIB);
		return NULL;
	}
	char *p = arena_bytes(ld->arena, (size_t)st.st_size + 1);
	*n = 0;
	while (*n < (size_t)st.st_size) {
		ssize_t got = read(fd, p + *n, (size_t)st.st_size - *n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			*why = strerror(errno);
			return NULL;
		}
		if (got == 0)
			break;
		*n += (size_t)got;
	}
	p[*n] = '\0';
	ld->total += *n;
	return p;
}

const char *conf_slurp(struct load *ld, const char *path, size_t *n, const char **why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		*why = strerror(errno);
		return NULL;
	}
	const char *p = read_fd(ld, fd, n, why);
	close(fd);
	return p;
}

static struct conf_file *new_file(struct load *ld, const char *name, const char *path)
{
	struct conf_file *f = CONF_NEW(ld, struct conf_file, 1);
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (stat(path, &st) == 0) {
		f->dev = st.st_dev;
		f->ino = st.st_ino;
	}
	if (ld->nfiles == ld->cap_files) {
		unsigned cap = ld->cap_files ? ld->cap_files * 2 : 8;
		struct conf_file **v = CONF_NEW(ld, struct conf_file *, cap);

		if (ld->nfiles > 0)
			memcpy(v, ld->files, sizeof(*v) * ld->nfiles);
		ld->files = v;
		ld->cap_files = cap;
	}
	f->name = name;
	f->path = path;
	f->dir = slash == path || slash == NULL ? "/" : arena_str(ld->arena, span_make(path, (size_t)(slash - path)));
	f->main = ld->nfiles == 0;
	f->index = ld->nfiles;
	ld->files[ld->nfiles++] = f;
	return f;
}

/* Like the pattern, relative to where the reader of the message is, if the main file was named so. */
static const char *show_name(struct load *ld, const char *path)
{
	const struct conf_file *main = ld->files[0];
	size_t dir = strlen(main->dir);
	const char *slash = strrchr(main->name, '/');

	if (main->name[0] == '/' || strncmp(path, main->dir, dir) != 0 || path[dir] != '/')
		return path;
	return arena_printf(ld->arena, "%.*s%s", slash ? (int)(slash + 1 - main->name) : 0, main->name, path + dir + 1);
}

static void include_file(struct load *ld, const struct entry *e, const char *path)
{
	const char *why;
	struct stat st;
	size_t n;

	for (unsigned i = 0; stat(path, &st) == 0 && i < ld->nfiles; i++) {
		if (st.st_dev != ld->files[i]->dev || st.st_ino != ld->files[i]->ino)
			continue;
		/* Met by two patterns, a file is read once. */
		if (i == 0)
			conf_error(ld, e, "%s would include itself", ld->files[0]->name);
		return;
	}
	if (ld->nfiles >= CONF_FILES_MAX) {
		conf_error(ld, e, "expected up to %d files, got more", CONF_FILES_MAX);
		return;
	}
	const char *text = conf_slurp(ld, path, &n, &why);
	if (text == NULL) {
		conf_error(ld, e, "cannot read %s: %s", path, why);
		return;
	}
	conf_read_text(ld, new_file(ld, show_name(ld, path), path), span_make(text, n));
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void include_pattern(struct load *ld, const struct entry *e, const struct word *w)
{
	const char *pattern = conf_abs_path(ld->arena, e->file->dir, w->s);
	glob_t found = { 0 };

	if (memchr(w->s.p, '\0', w->s.n) != NULL) {
		conf_expected(ld, e, "a file name", w, NULL);
		return;
	}
	if (strpbrk(pattern, "*?[") == NULL) {
		include_file(ld, e, pattern);
		return;
	}
	int rc = glob(pattern, GLOB_NOSORT, NULL, &found);
	if (rc != 0 && rc != GLOB_NOMATCH)
		conf_error(ld, e, "cannot read the directory of %s", pattern);
	if (rc == 0) {
		qsort(found.gl_pathv, found.gl_pathc, sizeof(char *), by_bytes);
		for (size_t i = 0; i < found.gl_pathc && ld->msgs->nerrors < CONF_ERRORS_MAX; i++)
			include_file(ld, e, arena_str(ld->arena, span_of(found.gl_pathv[i])));
	}
	globfree(&found);
}

static void read_includes(struct load *ld)
{
	struct sect *last = ld->last;	/* of the main file: what is read here comes behind it */

	for (struct sect *s = ld->first; s != NULL; s = s == last ? NULL : s->next) {
		for (struct entry *e = s->first; e != NULL && s->kind == SECT_weir && !s->bad; e = e->next) {
			if (!span_eq(e->key, SPAN("include")))
				continue;
			e->opt = opt_get(OPT_weir_include);
			if (!conf_lex(ld, e) || e->is_off)
				continue;
			for (unsigned i = 0; i < e->nwords; i++)
				include_pattern(ld, e, &e->words[i]);
		}
	}
}

bool conf_read_files(struct load *ld, const char *file)
{
	struct arena *a = ld->arena;
	char *cwd = getcwd(NULL, 0);
	const char *path = conf_abs_path(a, cwd ? cwd : "/", span_of(file));
	const char *why;
	size_t n;

	free(cwd);
	struct conf_file *main = new_file(ld, arena_str(a, span_of(file)), path);
	const char *text = conf_slurp(ld, path, &n, &why);
	if (text == NULL) {
		conf_line_error(ld, main, 0, "cannot be read: %s", why);
		return false;
	}
	conf_read_text(ld, main, span_make(text, n));
	read_includes(ld);
	return true;
}
