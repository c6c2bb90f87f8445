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

#define WEEK_MS ((uint64_t)7 * 86400 * 1000)

static const struct ctl_verb_def verbs[] = {
	{ "status", CTL_STATUS, 0, 0, "--json", NULL, "status [--json]", "how weir is, on one screen" },
	{ "workers", CTL_WORKERS, 0, 0, "--json", NULL, "workers [--json]", "the processes and what they do" },
	{ "servers", CTL_SERVERS, 0, 1, "--json", NULL, "servers [UPSTREAM] [--json]", "the servers and their health" },
	{ "stop", CTL_STOP, 0, 0, "--now --json", NULL, "stop [--now] [--json]",
	  "end what is under way, then stop; or stop at once" },
	{ "reload", CTL_RELOAD, 0, 0, "--json --plan", NULL, "reload [--plan] [--json]",
	  "read the configuration again; wait until it is in force; or say what that would change" },
	{ "upgrade", CTL_UPGRADE, 0, 0, "--json", NULL, "upgrade [--json]",
	  "run the program's file anew in place; wait until it serves" },
	{ "drain", CTL_DRAIN, 1, 1, "--json", "--wait", "drain UPSTREAM/SERVER [--wait TIME] [--json]",
	  "send a server no new requests" },
	{ "ready", CTL_READY, 1, 1, "--json", NULL, "ready UPSTREAM/SERVER [--json]", "use a server again" },
	{ "down", CTL_DOWN, 1, 1, "--json", "--wait", "down UPSTREAM/SERVER [--wait TIME] [--json]",
	  "use a server no more" },
	{ "weight", CTL_WEIGHT, 2, 2, "--json", NULL, "weight UPSTREAM/SERVER N [--json]", "change a server's weight" },
	{ "why", CTL_WHY, 0, 1, "--json", "--last --status --route",
	  "why ID | why [--last N] [--status 5xx] [--route NAME] [--json]",
	  "what became of a request, or of the last ones" },
	{ "trace", CTL_TRACE, 0, 4, "--json", "--wait",
	  "trace [N] [client=NET] [route=NAME] [header='NAME: VALUE'] [--wait TIME] [--json]",
	  "the next requests in full, as they end" },
	{ "sessions", CTL_SESSIONS, 0, 4, "--json", "--limit",
	  "sessions [client=NET] [listen=NAME] [route=NAME] [server=UPSTREAM/SERVER] [--limit N] [--json]",
	  "the connections of clients and what is under way on them" },
	{ "top", CTL_TOP, 0, 1, "--json", "-n -d", "top [UPSTREAM] [-n COUNT] [-d SECONDS] [--json]",
	  "what goes on, renewed each second" },
	{ "sample", CTL_SAMPLE, 0, 1, NULL, NULL, NULL, "the numbers behind top" },
	{ "purge", CTL_LATER, 0, CTL_WORDS, NULL, NULL, "purge", "remove from a cache" },
	{ "enable", CTL_LATER, 0, CTL_WORDS, NULL, NULL, "enable ROUTE", "reserved" },
	{ "disable", CTL_LATER, 0, CTL_WORDS, NULL, NULL, "disable ROUTE", "reserved" },
	{ "split", CTL_LATER, 0, CTL_WORDS, NULL, NULL, "split ROUTE UPSTREAM=N", "reserved" },
	{ NULL, CTL_UNKNOWN, 0, 0, NULL, NULL, NULL, NULL },
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

const char *ctl_nearest(char *out, size_t size, const char *word, const char *const *names, unsigned n)
{
	const char *near = conf_nearest(span_of(word), names, n);
	char safe[128];

	out[0] = '\0';
	if (near != NULL)
		snprintf(out, size, "; did you mean \"%s\"?", log_esc(safe, sizeof(safe), span_of(near)));
	return out;
}

static void suggest(const char *name, char *why, size_t size)
{
	const char *names[ARRAY_LEN(verbs)];
	unsigned n = 0;
	char safe[64], near[128];

	for (const struct ctl_verb_def *v = verbs; v->name != NULL; v++) {
		if (v->usage != NULL)
			names[n++] = v->name;
	}
	ctl_nearest(near, sizeof(near), name, names, n);
	snprintf(why, size, "there is no verb \"%s\"%s", log_esc(safe, sizeof(safe), span_of(name)),
		 near[0] != '\0' ? near : "; weirctl -h lists them");
}

/* 1, 2, or 0: it is none of the verb's options. */
static unsigned option_of(const struct ctl_verb_def *def, const char *word)
{
	struct span rest = span_of(def->option);

	for (unsigned i = 1; rest.n > 0; i++) {
		if (span_eq(span_cut(&rest, ' '), span_of(word)))
			return i;
	}
	return 0;
}

/* Length of the option's name if this is one that takes a value, alone or with "=VALUE" behind it; else 0. */
static size_t valued(const struct ctl_verb_def *def, const char *arg)
{
	struct span all = span_of(def->values), given = span_make(arg, strcspn(arg, "="));

	while (all.n > 0) {
		if (span_eq(span_cut(&all, ' '), given))
			return given.n;
	}
	return 0;
}

/* The words after the verb. `size` of why is that of a sentence. */
static enum ctl_status parse_rest(int argc, char *const *argv, struct ctl_request *r, char *why, size_t size)
{
	char safe[64];

	for (int i = 1; i < argc; i++) {
		size_t n = valued(r->def, argv[i]);
		unsigned which = option_of(r->def, argv[i]);

		if (which > 0) {
			*(which == 1 ? &r->option : &r->second) = true;
		} else if (n > 0 && r->nvalues < CTL_VALUES && (argv[i][n] == '=' || i + 1 < argc)) {
			r->values[r->nvalues].name = argv[i];
			r->values[r->nvalues++].value = argv[i][n] == '=' ? argv[i] + n + 1 : argv[i + 1];
			i += argv[i][n] != '=';
		} else if (argv[i][0] == '-' || r->nwords >= CTL_WORDS || r->nwords >= r->def->max_words) {
			snprintf(why, size, "\"%s\" %s; usage: weirctl %s", log_esc(safe, sizeof(safe), span_of(argv[i])),
				 n > 0 ? "needs a value" : "is too much", r->def->usage != NULL ? r->def->usage : r->def->name);
			return CTL_USAGE;
		} else {
			r->words[r->nwords++] = argv[i];
		}
	}
	if (r->nwords >= r->def->min_words)
		return CTL_OK;
	snprintf(why, size, "a word is missing; usage: weirctl %s", r->def->usage);
	return CTL_USAGE;
}

const char *ctl_value(const struct ctl_request *r, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = r->nvalues; i-- > 0;) {
		if (strncmp(r->values[i].name, name, n) == 0 && (r->values[i].name[n] == '\0' || r->values[i].name[n] == '='))
			return r->values[i].value;
	}
	return NULL;
}

bool ctl_duration(const char *text, uint64_t *ms)
{
	static const struct { const char *unit; uint64_t ms; } units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	};
	size_t n = strspn(text, "0123456789");
	uint64_t number;

	if (!span_u64(span_make(text, n), &number) || number > WEEK_MS)
		return false;
	for (unsigned i = 0; i < ARRAY_LEN(units); i++) {
		*ms = number * units[i].ms;
		if (strcmp(text + n, units[i].unit) == 0)
			return *ms <= WEEK_MS;
	}
	return false;
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

/* %20 and %25 become what they stand for, in place. */
static void decode(char *word)
{
	char *to = word;

	for (const char *p = word; *p != '\0'; p++) {
		const bool blank = strncmp(p, "%20", 3) == 0, percent = strncmp(p, "%25", 3) == 0;

		*to++ = blank ? ' ' : *p;
		p += blank || percent ? 2 : 0;
	}
	*to = '\0';
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
	for (int i = 0; i < n; i++)
		decode(words[i]);
	return n;
}

size_t ctl_join(char *line, size_t size, int argc, char *const *argv)
{
	size_t n = 0;

	for (int i = 0; i < argc; i++) {
		if (argv[i][0] == '\0')
			return 0;
		for (const char *p = argv[i]; *p != '\0'; p++) {
			if (n + 5 > size || (unsigned char)*p < ' ')
				return 0;
			if (*p == ' ' || *p == '%') {
				memcpy(line + n, *p == ' ' ? "%20" : "%25", 3);
				n += 3;
			} else {
				line[n++] = *p;
			}
		}
		line[n++] = i + 1 < argc ? ' ' : '\n';
	}
	return n;
}
