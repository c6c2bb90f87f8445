/*
 * title.c - what ps shows of a process.
 *
 * Owns the memory that the kernel shows as the command line: the strings of
 * argv and, right behind them, those of the environment. Called by main() and
 * by a fresh child, never later. It never grows that memory.
 */
#include "common/title.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

/* global: there is one command line per process, and the kernel gave its place */
static struct {
	char *start;
	size_t size;
} the_title;

static char *copy(const char *s)
{
	char *p = strdup(s);

	if (p == NULL)
		log_no_memory(strlen(s) + 1);
	return p;
}

/* A NULL-ended copy of the vector; *end moves behind each string that follows the one before without a gap. */
static char **copy_vector(char **from, char **end)
{
	size_t n = 0;

	while (from[n] != NULL)
		n++;
	char **to = calloc(n + 1, sizeof(*to));
	if (to == NULL)
		log_no_memory((n + 1) * sizeof(*to));
	for (size_t i = 0; i < n; i++) {
		if (from[i] == *end)
			*end = from[i] + strlen(from[i]) + 1;
		to[i] = copy(from[i]);
	}
	return to;
}

char **title_init(int argc, char **argv)
{
	if (argc < 1 || argv[0] == NULL)
		return argv;
	char *end = argv[0];
	char **args = copy_vector(argv, &end);

	environ = copy_vector(environ, &end);
	the_title.start = argv[0];
	the_title.size = (size_t)(end - argv[0]);
	return args;
}

void title_set(const char *text)
{
	if (the_title.size == 0)
		return;
	size_t n = strlen(text);

	/* The last byte stays NUL: the kernel takes anything else for a title that runs on. */
	if (n > the_title.size - 1)
		n = the_title.size - 1;
	memcpy(the_title.start, text, n);
	memset(the_title.start + n, 0, the_title.size - n);
}
