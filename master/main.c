/*
 * main.c - the command line of weir.
 *
 * Owns the options and what each mode of weir does: run, check, print,
 * explain, tell the version. Everything that runs is in master.c; this file
 * reads the configuration, says what is wrong with it and hands it over.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/obj.h"
#include "common/title.h"
#include "master/master.h"
#include "master/priv.h"
#include "master/start.h"
#include "master/upgrade.h"
#include "master/version.h"
#include "worker/worker.h"

#define HEADERS 64

enum mode { MODE_RUN, MODE_CHECK, MODE_DUMP, MODE_EXPLAIN, MODE_VERSION, MODE_HELP, MODE_OPTIONS };

struct args {
	enum mode mode;
	const char *mode_given;		/* NULL: none */
	bool daemon;
	const char *file;
	const char *request;		/* -e */
	const char *options;		/* --options */
	const char *headers[HEADERS];
	unsigned nheaders;
	const char *program;
	char **argv;
	struct store store;
	struct estate *estate;		/* what another master left to this one; NULL: nothing */
};

/* `mode` of an option that is none: MODE_RUN. */
static const struct opt_def {
	int letter;			/* or above 255 */
	const char *name, *arg;
	enum mode mode;
	const char *prose;
} opts[] = {
	{ 'c', "config", "FILE", MODE_RUN, "read this configuration (" WEIR_CONF_FILE ")" },
	{ 'D', "daemon", NULL, MODE_RUN, "run in the background; return when weir is ready" },
	{ 't', "test", NULL, MODE_CHECK, "check the configuration and say all that is wrong with it" },
	{ 'T', "dump", NULL, MODE_DUMP, "check it and print it whole, each value with where it came from" },
	{ 'e', "explain", "REQUEST", MODE_EXPLAIN,
	  "say which route 'GET http://host/path' would take, and why not the others" },
	{ 'H', "header", "'NAME: VALUE'", MODE_RUN, "a header of that request; may repeat" },
	{ 'V', "version", NULL, MODE_VERSION, "print version, build options and libraries" },
	{ 'h', "help", NULL, MODE_HELP, "print this" },
	{ 256, "options", "sample|man", MODE_OPTIONS, "print every option as a sample file or for the manual" },
};

static void print_help(FILE *out)
{
	fprintf(out, "Usage: weir [-D] [-c FILE]\n"
		     "       weir -t | -T [-c FILE]\n"
		     "       weir -e 'METHOD URL' [-H 'NAME: VALUE'] [-c FILE]\n"
		     "weir takes HTTP requests and passes them to the servers behind it.\n\n");
	for (unsigned i = 0; i < ARRAY_LEN(opts); i++) {
		char left[64], letter[8] = "    ";

		if (opts[i].letter < 256)
			snprintf(letter, sizeof(letter), "-%c, ", opts[i].letter);
		snprintf(left, sizeof(left), "%s--%s %s", letter, opts[i].name, opts[i].arg != NULL ? opts[i].arg : "");
		fprintf(out, "  %-30s %s\n", left, opts[i].prose);
	}
	fprintf(out, "\nSignals: TERM and INT stop at once, QUIT ends what is under way first, USR1 reopens logs,\n"
		     "HUP reloads, USR2 runs the program anew in place.\n"
		     "Exit status: 0 all well, 1 bad configuration, 2 wrong use, 3 cannot start.\n"
		     "The manual: weir(8), weir.ini(5), weirctl(8).\n");
}

_Noreturn __attribute__((format(printf, 1, 2))) static void wrong_use(const char *fmt, ...)
{
	va_list ap;

	fputs("weir: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; weir -h lists the options\n", stderr);
	exit(EXIT_USAGE);
}

static void take(struct args *a, const struct opt_def *o, const char *value)
{
	if (o->mode != MODE_RUN && o->mode != MODE_HELP) {
		if (a->mode_given != NULL && a->mode != o->mode)
			wrong_use("--%s and --%s exclude each other", a->mode_given, o->name);
		a->mode = o->mode;
		a->mode_given = o->name;
	}
	switch (o->letter) {
	case 'c':
		a->file = value;
		break;
	case 'D':
		a->daemon = true;
		break;
	case 'e':
		a->request = value;
		break;
	case 'H':
		if (a->nheaders == HEADERS)
			wrong_use("more than %d headers", HEADERS);
		a->headers[a->nheaders++] = value;
		break;
	case 256:
		a->options = value;
		break;
	case 'h':
		print_help(stdout);
		exit(EXIT_ORDERLY);
	default:
		break;
	}
}

static void parse(int argc, char **argv, struct args *a)
{
	struct option longs[ARRAY_LEN(opts) + 1] = { { 0 } };
	char shorts[2 * ARRAY_LEN(opts) + 2] = ":";
	int got;

	for (unsigned i = 0; i < ARRAY_LEN(opts); i++) {
		longs[i] = (struct option){ .name = opts[i].name, .has_arg = opts[i].arg != NULL, .val = opts[i].letter };
		if (opts[i].letter < 256)
			snprintf(shorts + strlen(shorts), sizeof(shorts) - strlen(shorts), "%c%s", opts[i].letter,
				 opts[i].arg != NULL ? ":" : "");
	}
	opterr = 0;
	while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		unsigned i = 0;

		if (got == ':')
			wrong_use("%s needs a value", argv[optind - 1]);
		while (i < ARRAY_LEN(opts) && opts[i].letter != got)
			i++;
		if (i == ARRAY_LEN(opts))
			wrong_use("there is no option \"%s\"", argv[optind - 1]);
		take(a, &opts[i], optarg);
	}
	if (optind < argc)
		wrong_use("\"%s\" is not an option", argv[optind]);
	if (a->nheaders > 0 && a->mode != MODE_EXPLAIN)
		wrong_use("-H has a meaning only with -e");
	if (a->daemon && a->mode_given != NULL)
		wrong_use("-D and --%s exclude each other", a->mode_given);
}

/* ---- modes ---- */

static int run(struct conf *c, const struct args *a)
{
	int fd = -1;

	/* Who waited for a daemon has long gone when another takes its place. */
	if (a->daemon && a->estate == NULL && !child_detach(&fd))
		return start_wait(fd);
	if (a->daemon && chdir("/") != 0)
		return EXIT_CANNOT_START;
	const struct master_given given = {
		.conf = c, .ready_fd = fd, .daemon = a->daemon, .program = a->program, .argv = a->argv, .estate = a->estate,
		.store = a->store,
	};
	return master_run(&given);
}

static int use_conf(struct conf *c, const struct args *a)
{
	switch (a->mode) {
	case MODE_CHECK:
		printf("configuration %s is good\n", a->file);
		return EXIT_ORDERLY;
	case MODE_DUMP:
		conf_dump(c, stdout);
		return EXIT_ORDERLY;
	case MODE_EXPLAIN:
		return explain_main(c, a->request, a->headers, a->nheaders, stdout);
	default:
		return run(c, a);
	}
}

/* What -t looks at besides the file. False when weir would not start with it. */
static bool fits_machine(const struct conf *c, struct conf_msgs *msgs)
{
	struct priv p;
	char why[256];

	conf_check_machine(c, msgs);
	if (msgs->nerrors > 0 || priv_find_user(&p, c, why, sizeof(why)))
		return msgs->nerrors == 0;
	fprintf(stderr, "%s: error: %s\n", c->file, why);
	msgs->nerrors++;
	return false;
}

static int with_conf(const struct args *a)
{
	struct conf_msgs msgs = { .v = NULL };
	struct arena arena;

	arena_init(&arena, NULL, 0);
	struct conf *c = conf_load(&arena, a->file, &msgs);
	bool good = c != NULL && (a->mode != MODE_CHECK || fits_machine(c, &msgs));
	conf_print_msgs(stderr, &msgs);
	if (!good)
		fprintf(stderr, "weir: %u error%s in the configuration %s\n", msgs.nerrors, msgs.nerrors == 1 ? "" : "s",
			a->file);
	int status = good ? use_conf(c, a) : EXIT_BAD_CONF;
	if (c != NULL)
		conf_free(c);
	arena_fini(&arena);
	return fflush(stdout) == 0 ? status : EXIT_CANNOT_START;
}

static int print_options(const char *form)
{
	if (strcmp(form, "sample") == 0)
		conf_print_sample(stdout);
	else if (strcmp(form, "man") == 0)
		conf_print_man(stdout);
	else
		wrong_use("--options prints \"sample\" or \"man\"");
	return EXIT_ORDERLY;
}

/* Descriptors 0 to 2 are what they seem, and of all else that the starter left open only `kept` are. */
static void tidy_descriptors(unsigned kept)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
	syscall(SYS_close_range, 3 + kept, ~0u, 0);
}

/* What is said here the old master reads. */
static void prepare_run(struct args *a)
{
	const struct estate *e = a->estate;

	if (e == NULL) {
		a->program = program_path(a->argv[0]);
		return;
	}
	if (e->bad != NULL) {
		fprintf(stderr, "weir: this program (%s) cannot take over from the one that runs: %s; restart weir instead\n",
			WEIR_VERSION, e->bad);
		exit(EXIT_CANNOT_START);
	}
	a->program = e->program;
	if (e->conf_path != NULL)
		a->file = e->conf_path;
}

int main(int argc, char **argv)
{
	struct args a = { .mode = MODE_RUN, .file = WEIR_CONF_FILE };

	a.argv = argv = title_init(argc, argv);
	a.estate = estate_read();
	a.store = store_take();
	if (a.estate == NULL)
		tidy_descriptors(a.store.n);
	parse(argc, argv, &a);
	if (a.mode == MODE_RUN)
		prepare_run(&a);
	switch (a.mode) {
	case MODE_VERSION:
		version_print(stdout);
		break;
	case MODE_OPTIONS:
		return print_options(a.options);
	default:
		return with_conf(&a);
	}
	return fflush(stdout) == 0 ? EXIT_ORDERLY : EXIT_CANNOT_START;
}
