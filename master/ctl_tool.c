/*
 * ctl_tool.c - weirctl: one question to the running master, one answer.
 *
 * Owns the command line of weirctl. It checks the request by the same table as
 * the master, sends one line, and copies the answer to stdout or stderr. It
 * needs no configuration and keeps no state.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/log.h"
#include "common/obj.h"
#include "master/ctl_client.h"
#include "master/version.h"

#define PATIENCE_S 10
#define USAGE_WIDE 30			/* longer ones have their prose on a line of its own */
#define RELOAD_PATIENCE_S 110
#define TRACE_WAIT_MS 60000		/* without --wait */

static void print_help(FILE *out)
{
	fprintf(out, "Usage: weirctl [-s SOCKET] VERB ...\n"
		     "Speaks to a running weir through its control socket (" CTL_DEFAULT_SOCKET ").\n\n");
	for (const struct ctl_verb_def *v = ctl_verbs(); v->name != NULL; v++) {
		if (v->verb != CTL_LATER && v->usage != NULL)
			fprintf(out, strlen(v->usage) <= USAGE_WIDE ? "  %-*s   %s\n" : "  %-*s\n      %s\n", USAGE_WIDE, v->usage,
				v->prose);
	}
	fprintf(out, "\nExit status: 0 done, 1 no weir there or it could not, 2 wrong use, 3 not built yet, 4 timed out,\n"
		     "5 no such request on record.\n");
}

/* An answer as far as it has come. */
struct reader {
	int status;			/* -1: not known yet */
	bool stream;			/* it stands at the end, behind a NUL */
	size_t head;			/* bytes of the first line */
	char held[2];			/* of a stream: they may be its end */
	size_t nheld;
	FILE *out;			/* where the answer goes; NULL: not known yet */
};

static void put_stream(struct reader *r, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (r->nheld == sizeof(r->held)) {
			fputc(r->held[0], stdout);
			r->held[0] = r->held[1];
			r->nheld--;
		}
		r->held[r->nheld++] = p[i];
	}
	fflush(stdout);
}

/* The first two bytes are the status and a line end, the rest is for the user. */
static void take(struct reader *r, const char *p, size_t n)
{
	for (; n > 0 && r->head < 2; r->head++, p++, n--) {
		r->stream |= r->head == 0 && *p == '>';
		if (r->head == 0 && !r->stream)
			r->status = *p - '0';
	}
	if (r->stream) {
		put_stream(r, p, n);
		return;
	}
	if (n > 0 && r->out == NULL) {
		/* What a script asked for in JSON is its answer, good or bad. */
		r->out = r->status == CTL_OK || *p == '{' ? stdout : stderr;
		if (r->out == stderr)
			fputs("weirctl: ", stderr);
	}
	if (n > 0)
		fwrite(p, 1, n, r->out);
}

/* An interrupt ends what we ask for, not us: the master sums up and closes. The second one ends us, too. */
static void on_signal(int signals, int fd)
{
	struct signalfd_siginfo info;
	sigset_t set;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	shutdown(fd, SHUT_WR);
	sigfillset(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* False with errno: nothing more came in that time. */
static bool read_all(int fd, int signals, time_t patience_s, struct reader *r)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	char piece[4096];
	ssize_t n;

	for (;;) {
		int ready = poll(fds, ARRAY_LEN(fds), (int)patience_s * 1000);

		if (ready == 0)
			errno = ETIMEDOUT;
		if (ready == 0 || (ready < 0 && errno != EINTR))
			return false;
		if (ready > 0 && fds[1].revents != 0)
			on_signal(signals, fd);
		if (ready < 0 || fds[0].revents == 0)
			continue;
		n = recv(fd, piece, sizeof(piece), 0);
		if (n <= 0)
			return n == 0;
		take(r, piece, (size_t)n);
	}
}

static int show_answer(int fd, const char *path, time_t patience_s)
{
	struct reader r = { .status = -1 };
	int signals = ctl_client_signals((const int[]){ 0 });
	bool whole = read_all(fd, signals, patience_s, &r);

	if (signals >= 0)
		close(signals);
	if (!whole)
		return ctl_client_fail(path, "no answer through");
	if (r.stream && r.nheld == 2 && r.held[0] == '\0')
		r.status = r.held[1] - '0';
	if (r.stream && r.status < 0) {
		fprintf(stderr, "weirctl: the answer of %s ended before it was whole\n", path);
		return CTL_FAILED;
	}
	if (r.head < 2 || r.status < 0 || r.status > 9) {
		fprintf(stderr, "weirctl: %s did not answer: only root and the account of the master may ask\n", path);
		return CTL_FAILED;
	}
	return fflush(stdout) == 0 ? r.status : CTL_FAILED;
}

/* How long the answer may take. */
static time_t patience_of(const struct ctl_request *r)
{
	const char *wait = ctl_value(r, "--wait");
	uint64_t ms = r->def->verb == CTL_TRACE ? TRACE_WAIT_MS : 0;

	if (wait != NULL)
		ctl_duration(wait, &ms);
	bool takes_long = r->def->verb == CTL_RELOAD || r->def->verb == CTL_UPGRADE;
	return (time_t)(ms / 1000) + (takes_long ? RELOAD_PATIENCE_S : PATIENCE_S);
}

static int ask(const char *path, int argc, char *const *argv)
{
	struct ctl_request r;
	char why[256], line[CTL_LINE];
	enum ctl_status status = ctl_parse(argc, argv, &r, why, sizeof(why));
	size_t n = status == CTL_OK ? ctl_join(line, sizeof(line), argc, argv) : 1;

	if (n == 0) {
		snprintf(why, sizeof(why), "no word is empty, holds control characters, or is as long as that");
		status = CTL_USAGE;
	}
	if (status != CTL_OK) {
		fprintf(stderr, "weirctl: %s\n", why);
		return status;
	}
	if (r.def->verb == CTL_TOP)
		return top_run(path, &r);
	int fd = ctl_client_connect(path, PATIENCE_S);
	if (fd < 0)
		return ctl_client_fail(path, "cannot reach");
	bool sent = send(fd, line, n, MSG_NOSIGNAL) == (ssize_t)n;
	int result = sent ? show_answer(fd, path, patience_of(&r)) : ctl_client_fail(path, "cannot send to");
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	const char *path = CTL_DEFAULT_SOCKET;
	int got;

	opterr = 0;
	/* "+": what follows the verb is the verb's. */
	while ((got = getopt(argc, argv, "+:s:hV")) != -1) {
		switch (got) {
		case 's':
			path = optarg;
			break;
		case 'h':
			print_help(stdout);
			return CTL_OK;
		case 'V':
			printf("weirctl %s\n", WEIR_VERSION);
			return CTL_OK;
		default:
			fprintf(stderr, got == ':' ? "weirctl: -%c needs a value; weirctl -h helps\n"
						   : "weirctl: there is no option -%c; weirctl -h lists them\n", optopt);
			return CTL_USAGE;
		}
	}
	return ask(path, argc - optind, argv + optind);
}
