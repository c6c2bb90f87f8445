/*
 * program.c - the path that weir was started by.
 *
 * Called once, before anything changes the directory. An upgrade runs what is
 * found there then, so that links are kept as they were written and a replaced
 * file is the new one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "master/upgrade.h"

static char *joined(const char *dir, size_t n, const char *name)
{
	char *path;

	if (asprintf(&path, "%.*s/%s", (int)n, dir, name) < 0)
		log_no_memory(n + strlen(name));
	return path;
}

/* Is it what runs here? A name in argv may be anything. */
static bool is_this(const char *path)
{
	struct stat a, b;

	return stat(path, &a) == 0 && stat("/proc/self/exe", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static char *absolute(const char *path)
{
	char *dir = path[0] != '/' ? getcwd(NULL, 0) : NULL;
	char *whole = dir != NULL ? joined(dir, strlen(dir), path) : strdup(path);

	free(dir);
	return whole;
}

static char *in_search_path(const char *name)
{
	for (const char *p = getenv("PATH"); p != NULL;) {
		size_t n = strcspn(p, ":");
		char *dir = joined(p, n, name), *path = n > 0 ? absolute(dir) : absolute(name);

		free(dir);
		if (path != NULL && is_this(path))
			return path;
		free(path);
		p = p[n] == ':' ? p + n + 1 : NULL;
	}
	return NULL;
}

char *program_path(const char *argv0)
{
	char *path = argv0 == NULL ? NULL : strchr(argv0, '/') != NULL ? absolute(argv0) : in_search_path(argv0);
	char exe[4096];

	if (path != NULL && is_this(path))
		return path;
	free(path);
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n <= 0)
		return NULL;
	exe[n] = '\0';
	return strdup(exe);
}
