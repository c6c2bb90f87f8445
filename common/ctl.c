/*
 * ctl.c - what weirctl and the master say to each other.
 *
 * Owns the table of verbs and the reading of a request. Called by weirctl for
 * what the user typed and by the master for what came over its socket. It
 * talks to nobody itself.
 */
#include "common/ctl.h"

#include <string.h>

#include "common/conf.h"
#include "common/obj.h"

static const struct ctl_verb_def verbs[] = {
	{ "status", CTL_STATUS, 0, 0, "--json", "status [--json]", "how weir is, on one screen" },
	{ "workers", CTL_WORKERS, 0, 0, "--json", "workers [--json]", "the processes and what they do" },
	{ "servers", CTL_SERVERS, 0, 1, "--json", "servers [UPSTREAM] [--json]", "the servers and their health" },
	{ "stop", CTL_STOP, 0, 0, "--now", "stop [--now]", "end what is under way, then stop; or stop at once" },
	{ "reload", CTL_RELOAD, 0, 0, NULL, "reload", "read the configuration again; wait until it is in force" },
	{ "upgrade", CTL_UPGRADE, 0, 0, NULL, "upgrade", "run the program's file anew in place; wait until it serves" },
	{ "drain", CTL_DRAIN, 1, 1, NULL, "drain UPSTREAM/SERVER", "send a server no new requests" },
	{ "ready", CTL_READY, 1, 1, NULL, "ready UPSTREAM/SERVER", "use a server again" },
	{ "down", CTL_DOWN, 1, 1, NULL, "down UPSTREAM/SERVER", "use a server no more" },
	{ "weight", CTL_WEIGHT, 2, 2, NULL, "weight UPSTREAM/SERVER N", "change a server's weight" },
	{ "top", CTL_LATER, 0, CTL_WORDS, NULL, "top", "what goes on, renewed each second" },
	{ "purge", CTL_LATER, 0, CTL_WORDS, NULL, "purge", "remove from a cache" },
	{ "sessions", CTL_LATER, 0, CTL_WORDS, NULL, "sessions", "the connections of clients" },
	{ "enable", CTL_LATER, 0, CTL_WORDS, NULL, "enable ROUTE", "reserved" },
	{ "disable", CTL_LATER, 0, CTL_WORDS, NULL, "disable ROUTE", "reserved" },
	{ "split", CTL_LATER, 0, CTL_WORDS, NULL, "split ROUTE UPSTREAM=N", "reserved" },
	{ NULL, CTL_UNKNOWN, 0, 0, NULL, NULL, NULL },
};

const struct ctl_verb_def *ctl_verbs(void)
{
	return verbs;
}

static const struct ctl_verb_def *find(const char *name)
{
	const struct ctl_verb_def *v = verbs;

	while (v->name != NULL && strcmp(v->name, name) != 0)
		v++;
	return v->name != NULL ? v : NULL;
}

static void suggest(const char *name, char *why, size_t size)
{
	const char *names[ARRAY_LEN(verbs)];
	unsigned n = 0;
	char safe[64];

	for (const struct ctl_verb_def *v = verbs; v->name != NULL; v++)
		names[n++] = v->name;
	const char *near = conf_nearest(span_of(name), names, n);
	log_esc(safe, sizeof(safe), span_of(name));
	if (near != NULL)
		snprintf(why, size, "there is no verb \"%s\"; did you mean \"%s\"?", safe, near);
	else
		snprintf(why, size, "there is no verb \"%s\"; weirctl -h lists them", safe);
}

/* The words after the verb. */
static enum ctl_status parse_rest(int argc, char *const *argv, struct ctl_request *r, char *why, size_t size)
{
	char safe[64];

	for (int i = 1; i < argc; i++) {
		if (r->def->option != NULL && strcmp(argv[i], r->def->option) == 0) {
			r->option = true;
			continue;
		}
		if (argv[i][0] == '-' || r->nwords >= CTL_WORDS || r->nwords >= r->def->max_words) {
			snprintf(why, size, "\"%s\" is too much; usage: weirctl %s",
				 log_esc(safe, sizeof(safe), span_of(argv[i])), r->def->usage);
			return CTL_USAGE;
		}
		r->words[r->nwords++] = argv[i];
	}
	if (r->nwords >= r->def->min_words)
		return CTL_OK;
	snprintf(why, size, "a word is missing; usage: weirctl %s", r->def->usage);
	return CTL_USAGE;
}

enum ctl_status ctl_parse(int argc, char *const *argv, struct ctl_request *r, char *why, size_t size)
{
	*r = (struct ctl_request){ .def = NULL };
	if (argc < 1) {
		snprintf(why, size, "a verb is missing; weirctl -h lists them");
		return CTL_USAGE;
	}
	r->def = find(argv[0]);
	if (r->def == NULL) {
		suggest(argv[0], why, size);
		return CTL_USAGE;
	}
	if (r->def->verb == CTL_LATER) {
		snprintf(why, size, "%s is not built yet", r->def->name);
		return CTL_NOT_BUILT;
	}
	return parse_rest(argc, argv, r, why, size);
}

int ctl_split(char *line, char **words, int room)
{
	int n = 0;

	for (char *p = line; *p != '\0';) {
		while (*p == ' ')
			*p++ = '\0';
		if (*p == '\0')
			break;
		if (n == room)
			return -1;
		words[n++] = p;
		while (*p != '\0' && *p != ' ')
			p++;
	}
	return n;
}
