/*
 * confbed.h - what the tests of configurations share: a text is written to a file
 * of a directory of its own, loaded, and its messages are looked at.
 */
#ifndef CONFBED_H
#define CONFBED_H

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "t/unit/unit.h"

struct bed {
	char dir[64], path[96];
	struct arena arena;
	struct conf_msgs msgs;
	struct conf *conf;
};

static inline void bed_put(const struct bed *b, const char *name, struct span text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", b->dir, name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text.p, 1, text.n, f), text.n);
	ck_assert_int_eq(fclose(f), 0);
}

static inline void bed_init(struct bed *b)
{
	memset(b, 0, sizeof(*b));
	strcpy(b->dir, "/tmp/conf-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/weir.ini", b->dir);
	arena_init(&b->arena, NULL, 0);
}

static inline void bed_drop(struct bed *b)
{
	if (b->conf != NULL)
		conf_free(b->conf);
	b->conf = NULL;
	arena_fini(&b->arena);
	arena_init(&b->arena, NULL, 0);
}

static inline void bed_fini(struct bed *b)
{
	char command[128];

	bed_drop(b);
	arena_fini(&b->arena);
	snprintf(command, sizeof(command), "rm -rf %s", b->dir);
	ck_assert_int_eq(system(command), 0);
}

static inline void bed_load_span(struct bed *b, struct span text)
{
	bed_drop(b);
	bed_put(b, "weir.ini", text);
	b->conf = conf_load(&b->arena, b->path, &b->msgs);
	ck_assert_int_eq(b->conf == NULL, b->msgs.nerrors > 0);
}

static inline void bed_load(struct bed *b, const char *text)
{
	bed_load_span(b, span_of(text));
}

/* Must be without errors. */
static inline const struct conf *bed_good(struct bed *b, const char *text)
{
	bed_load(b, text);
	if (b->conf == NULL) {
		conf_print_msgs(stderr, &b->msgs);
		ck_abort_msg("refused:\n%s", text);
	}
	return b->conf;
}

/* The same with a listener in front, which every configuration needs. */
#define LISTEN "[listen l]\nbind = 127.0.0.1:1\n"

/* There is this error (or warning), and its text holds `part`; line 0: any. */
static inline bool bed_said(const struct bed *b, bool warning, unsigned line, const char *key, const char *part)
{
	for (unsigned i = 0; i < b->msgs.n; i++) {
		const struct conf_msg *m = &b->msgs.v[i];

		if (m->warning == warning && (line == 0 || m->at.line == line) && strstr(m->text, part) != NULL &&
		    (key == NULL || (m->key != NULL && strcmp(m->key, key) == 0)))
			return true;
	}
	return false;
}

#define ck_said(b, warning, line, key, part)						\
	do {										\
		if (!bed_said(b, warning, line, key, part)) {				\
			conf_print_msgs(stderr, &(b)->msgs);				\
			ck_abort_msg("nobody said \"%s\" of %s in line %u", part, key ? key : "-", (unsigned)(line));	\
		}									\
	} while (0)

/* Loading this text gives exactly this one error. */
static inline void bed_bad(struct bed *b, const char *text, unsigned line, const char *part)
{
	bed_load(b, text);
	if (b->msgs.nerrors != 1)
		conf_print_msgs(stderr, &b->msgs);
	ck_assert_msg(b->msgs.nerrors == 1, "%u errors, not 1, in:\n%s", b->msgs.nerrors, text);
	ck_said(b, false, line, NULL, part);
}

static inline const struct conf_route *bed_route(const struct bed *b, const char *name)
{
	for (unsigned i = 0; i < b->conf->nroutes; i++) {
		if (span_eq(b->conf->routes[i]->name, span_of(name)))
			return b->conf->routes[i];
	}
	ck_abort_msg("no route %s", name);
}

#endif
