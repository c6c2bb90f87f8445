/*
 * ctl.h - what weirctl and the master say to each other.
 *
 * Over a UNIX stream socket: the client sends one line, a verb and its words
 * divided by single blanks (a blank within a word is %20, a % is %25); the
 * server answers "STATUS\n", then the text for the user, and closes. STATUS is
 * weirctl's exit status: 0, and the text goes to stdout, or another, and it goes
 * to stderr. Where the text comes bit by bit, the first line is ">\n" and the
 * last two bytes are NUL and STATUS. Both sides know the verbs from one table.
 */
#ifndef COMMON_CTL_H
#define COMMON_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CTL_DEFAULT_DIR "/run/weir"
#define CTL_DEFAULT_SOCKET CTL_DEFAULT_DIR "/weir.sock"
#define CTL_LINE 512			/* a request, line end included */
#define CTL_WORDS 8
#define CTL_VALUES 4
#define CTL_ARGS (2 + CTL_WORDS + 2 * CTL_VALUES)	/* verb and option included */

/* Exit statuses of weirctl. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1,			/* no master, or it could not do that */
	CTL_USAGE = 2,			/* not a request */
	CTL_NOT_BUILT = 3,
	CTL_TIMED_OUT = 4,		/* done as asked, but what was waited for did not come in time */
	CTL_NOT_FOUND = 5		/* the request that was asked for is not on record */
};

enum ctl_verb {
	CTL_STATUS, CTL_WORKERS, CTL_SERVERS, CTL_STOP, CTL_RELOAD, CTL_UPGRADE,
	CTL_DRAIN, CTL_READY, CTL_DOWN, CTL_WEIGHT,
	CTL_WHY, CTL_TRACE, CTL_SESSIONS,
	CTL_TOP,			/* weirctl's own; asks for CTL_SAMPLE */
	CTL_SAMPLE,			/* numbers for top, one thing a line; for no user */
	CTL_LATER,			/* known, not built yet */
	CTL_UNKNOWN
};

struct ctl_verb_def {
	const char *name;
	enum ctl_verb verb;
	unsigned min_words, max_words;	/* after the verb, options not counted */
	const char *option;		/* the one without a value that it takes, or two of them divided by a blank; NULL: none */
	const char *values;		/* those with a value, divided by blanks; NULL: none */
	const char *usage, *prose;	/* usage NULL: not for users */
};

/* Ended by one whose name is NULL. */
const struct ctl_verb_def *ctl_verbs(void);

struct ctl_request {
	const struct ctl_verb_def *def;
	bool option, second;		/* the verb's first and second option were given */
	struct { const char *name, *value; } values[CTL_VALUES];
	unsigned nvalues;
	const char *words[CTL_WORDS];
	unsigned nwords;
};

/* Reads verb, words and options; words point into argv. On anything but CTL_OK a sentence is in `why`. */
enum ctl_status ctl_parse(int argc, char *const *argv, struct ctl_request *r, char *why, size_t size);
/* The value of an option, NULL: not given. */
const char *ctl_value(const struct ctl_request *r, const char *name);
/* Cuts a line at its blanks, in place; how many words, -1: too many. */
int ctl_split(char *line, char **words, int room);
/* The line for these words, line end included; its length, 0: one is empty or holds control characters, or all are too long. */
size_t ctl_join(char *line, size_t size, int argc, char *const *argv);
/* "500ms", "30s", "5m", "1h"; a bare number is seconds. False when it is none or longer than a week. */
bool ctl_duration(const char *text, uint64_t *ms);
/* "; did you mean ..." into out, empty when no name is near. */
const char *ctl_nearest(char *out, size_t size, const char *word, const char *const *names, unsigned n);

#endif
