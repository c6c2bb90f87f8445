/*
 * ctl.h - what weirctl and the master say to each other.
 *
 * Over a UNIX stream socket: the client sends one line, a verb and its words
 * divided by single blanks; the server answers "STATUS\n", then the text for
 * the user, and closes. STATUS is weirctl's exit status: 0, and the text goes
 * to stdout, or another, and it goes to stderr. Both sides know the verbs from
 * one table.
 */
#ifndef COMMON_CTL_H
#define COMMON_CTL_H

#include <stdbool.h>
#include <stdio.h>

#define CTL_DEFAULT_DIR "/run/weir"
#define CTL_DEFAULT_SOCKET CTL_DEFAULT_DIR "/weir.sock"
#define CTL_LINE 512			/* a request, line end included */
#define CTL_WORDS 8

/* Exit statuses of weirctl. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1,			/* no master, or it could not do that */
	CTL_USAGE = 2,			/* not a request */
	CTL_NOT_BUILT = 3
};

enum ctl_verb {
	CTL_STATUS, CTL_WORKERS, CTL_SERVERS, CTL_STOP, CTL_RELOAD, CTL_UPGRADE,
	CTL_DRAIN, CTL_READY, CTL_DOWN, CTL_WEIGHT,
	CTL_LATER,			/* known, not built yet */
	CTL_UNKNOWN
};

struct ctl_verb_def {
	const char *name;
	enum ctl_verb verb;
	unsigned min_words, max_words;	/* after the verb, options not counted */
	const char *option;		/* the one it takes, NULL: none */
	const char *usage, *prose;
};

/* Ended by one whose name is NULL. */
const struct ctl_verb_def *ctl_verbs(void);

struct ctl_request {
	const struct ctl_verb_def *def;
	bool option;			/* the verb's option was given */
	const char *words[CTL_WORDS];
	unsigned nwords;
};

/* Reads verb, words and options; words point into argv. On anything but CTL_OK a sentence is in `why`. */
enum ctl_status ctl_parse(int argc, char *const *argv, struct ctl_request *r, char *why, size_t size);
/* Cuts a line at its blanks, in place; how many words, -1: too many. */
int ctl_split(char *line, char **words, int room);

#endif
