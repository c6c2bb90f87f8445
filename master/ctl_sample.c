/*
 * ctl_sample.c - weirctl reads what the master's `sample` says.
 *
 * One thing a line: a word for what it is, then its values. A line that is not
 * understood is passed over, so that either side may be the newer one. The
 * master's half is in ctl_show_top.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/obj.h"
#include "common/shm.h"
#include "master/ctl_client.h"

_Static_assert(STAT__N <= ARRAY_LEN(((struct top_sample *)0)->stats), "every counter has its place");

static void read_stat(struct top_sample *s, char **words, int n)
{
	for (unsigned i = 0; n == 3 && i < STAT__N; i++) {
		if (strcmp(words[1], stat_name((enum stat_id)i)) == 0)
			s->stats[i] = strtod(words[2], NULL);
	}
}

static bool read_server(struct top_sample *s, char **words, int n)
{
	if (n != 8)
		return true;
	struct top_server *v = realloc(s->servers, (s->nservers + 1) * sizeof(*v));
	if (v == NULL)
		return false;
	s->servers = v;
	v += s->nservers++;
	snprintf(v->name, sizeof(v->name), "%s", words[1]);
	snprintf(v->state, sizeof(v->state), "%s", words[2]);
	v->active = strtod(words[3], NULL);
	v->requests = strtod(words[4], NULL);
	v->fails = strtod(words[5], NULL);
	v->p50_us = strtod(words[6], NULL);
	v->p99_us = strtod(words[7], NULL);
	return true;
}

static bool read_line(struct top_sample *s, char *line)
{
	const struct { const char *name; double *to; } single[] = {
		{ "now_ms", &s->now_ms }, { "up_ms", &s->up_ms }, { "generation", &s->generation }, { "live", &s->live },
		{ "workers", &s->workers }, { "queued", &s->queued }, { "p50_us", &s->p50_us }, { "p99_us", &s->p99_us },
	};
	char *words[8];
	int n = ctl_split(line, words, ARRAY_LEN(words));

	if (n < 2)
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(single); i++) {
		if (strcmp(words[0], single[i].name) == 0)
			*single[i].to = strtod(words[1], NULL);
	}
	if (strcmp(words[0], "version") == 0)
		snprintf(s->version, sizeof(s->version), "%s", words[1]);
	if (strcmp(words[0], "stat") == 0)
		read_stat(s, words, n);
	return strcmp(words[0], "server") != 0 || read_server(s, words, n);
}

bool top_sample(const char *path, const char *upstream, struct top_sample *s, char *why, size_t size)
{
	char *const words[] = { (char *)"sample", (char *)upstream };
	char line[CTL_LINE + 1];
	enum ctl_status status;
	size_t n = ctl_join(line, sizeof(line) - 1, upstream != NULL ? 2 : 1, words);

	line[n] = '\0';
	*s = (struct top_sample){ .now_ms = 0 };
	char *text = ctl_client_ask(path, line, &status);
	if (text == NULL || status != CTL_OK) {
		snprintf(why, size, "%s", text != NULL ? text : strerror(errno));
		why[strcspn(why, "\n")] = '\0';
		free(text);
		return false;
	}
	bool good = true;
	for (char *p = text, *next; good && p != NULL && *p != '\0'; p = next) {
		next = strchr(p, '\n');
		if (next != NULL)
			*next++ = '\0';
		good = read_line(s, p);
	}
	free(text);
	if (!good)
		snprintf(why, size, "there is no memory for it");
	return good;
}

void top_sample_free(struct top_sample *s)
{
	free(s->servers);
	s->servers = NULL;
	s->nservers = 0;
}
