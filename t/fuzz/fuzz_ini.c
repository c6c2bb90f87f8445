/*
 * fuzz_ini.c - any bytes as a configuration end in a configuration or in errors with
 * lines; and what -T prints of a good one loads again and prints the same.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/obj.h"

/* A file without a place: nothing lies beside it that a pattern could match. */
static int file_of(const void *data, size_t size, char path[32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* The dump without its comments, since those tell of lines; NULL: refused. */
static char *load(const void *data, size_t size, bool must_load)
{
	struct conf_msgs msgs;
	struct arena arena;
	char path[32], *text = NULL;
	size_t n;
	int fd = file_of(data, size, path);

	arena_init(&arena, NULL, 0);
	struct conf *c = conf_load(&arena, path, &msgs);
	must((c == NULL) == (msgs.nerrors > 0));
	for (unsigned i = 0; i < msgs.n; i++)
		must(msgs.v[i].text != NULL && msgs.v[i].at.file != NULL);
	if (c != NULL) {
		FILE *out = open_memstream(&text, &n);

		must(out != NULL);
		conf_dump(c, out);
		fclose(out);
		conf_free(c);
	} else if (must_load) {
		fprintf(stderr, "%.*s\n", (int)size, (const char *)data);
		conf_print_msgs(stderr, &msgs);
	}
	must(c != NULL || !must_load);
	arena_fini(&arena);
	close(fd);
	return text;
}

static void strip_comments(char *text)
{
	char *to = text;

	for (char *line = text; *line != '\0';) {
		char *end = strchr(line, '\n'), *last = NULL;
		size_t n = (size_t)(end - line);

		for (char *p = line; p + 4 <= end; p++)
			last = memcmp(p, "  ; ", 4) == 0 ? p : last;
		if (*line != ';') {
			n = last != NULL ? (size_t)(last - line) : n;
			memmove(to, line, n);
			to += n;
			*to++ = '\n';
		}
		line = end + 1;
	}
	*to = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A pattern may make a walk through all of the machine; that is the operator's to choose, not a finding. */
	if (size > 65536 || memmem(data, size, "include", 7) != NULL)
		return 0;
	char *first = load(data, size, false);
	if (first == NULL)
		return 0;
	char *second = load(first, strlen(first), true);
	strip_comments(first);
	strip_comments(second);
	if (strcmp(first, second) != 0)
		fprintf(stderr, "---- first\n%s---- second\n%s", first, second);
	must(strcmp(first, second) == 0);
	free(first);
	free(second);
	return 0;
}
