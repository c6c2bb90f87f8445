/*
 * ctl_tool.c - weirctl: one question to the running master, one answer.
 *
 * Owns the command line of weirctl. It checks the request by the same table as
 * the master, sends one line, and copies the answer to stdout or stderr. It
 * needs no configuration and keeps no state.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/log.h"
#include "master/version.h"

#define PATIENCE_S 10
#define RELOAD_PATIENCE_S 110

static void print_help(FILE *out)
{
	fprintf(out, "Usage: weirctl [-s SOCKET] VERB ...\n"
		     "Speaks to a running weir through its control socket (" CTL_DEFAULT_SOCKET ").\n\n");
	for (const struct ctl_verb_def *v = ctl_verbs(); v->name != NULL; v++) {
		if (v->verb != CTL_LATER)
			fprintf(out, "  %-30s %s\n", v->usage, v->prose);
	}
	fprintf(out, "\nExit status: 0 done, 1 no weir there or it could not, 2 wrong use, 3 not built yet.\n");
}

static int fail(const char *path, const char *what)
{
	const char *hint = errno == ENOENT || errno == ECONNREFUSED ? "is weir running, and is this its control socket?"
			   : errno == EACCES ? "only root and the account of the master may ask" : strerror(errno);

	fprintf(stderr, "weirctl: %s %s: %s\n", what, path, hint);
	return CTL_FAILED;
}

/* A socket to the master, or -1 with errno. */
static int connect_to(const char *path, time_t patience_s)
{
	const struct timeval patience = { .tv_sec = patience_s };
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool send_request(int fd, int argc, char *const *argv)
{
	char line[CTL_LINE];
	size_t n = 0;

	for (int i = 0; i < argc; i++) {
		size_t len = strlen(argv[i]);

		if (n + len + 1 > sizeof(line)) {
			errno = EMSGSIZE;
			return false;
		}
		memcpy(line + n, argv[i], len);
		n += len;
		line[n++] = i + 1 < argc ? ' ' : '\n';
	}
	return send(fd, line, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* The first two bytes are the status and a line end, the rest is for the user. */
static int show_answer(int fd, const char *path)
{
	char piece[4096];
	int status = -1;
	size_t head = 0;
	ssize_t n;

	while ((n = recv(fd, piece, sizeof(piece), 0)) > 0) {
		char *p = piece;

		for (; n > 0 && head < 2; head++, p++, n--) {
			if (head == 0)
				status = *p - '0';
		}
		FILE *out = status == CTL_OK ? stdout : stderr;
		if (status != CTL_OK && n > 0 && head == 2 && p == piece + 2)
			fputs("weirctl: ", stderr);
		fwrite(p, 1, (size_t)n, out);
	}
	if (n < 0)
		return fail(path, "no answer through");
	if (head < 2 || status < 0 || status > 9) {
		fprintf(stderr, "weirctl: %s did not answer: only root and the account of the master may ask\n", path);
		return CTL_FAILED;
	}
	return fflush(stdout) == 0 ? status : CTL_FAILED;
}

/* No word may look like several on the wire. */
static bool fits_the_line(const char *word)
{
	return word[0] != '\0' && strpbrk(word, " \n\r\t") == NULL;
}

static int ask(const char *path, int argc, char *const *argv)
{
	struct ctl_request r;
	char why[256];
	enum ctl_status status = ctl_parse(argc, argv, &r, why, sizeof(why));

	for (int i = 0; status == CTL_OK && i < argc; i++) {
		if (!fits_the_line(argv[i])) {
			snprintf(why, sizeof(why), "no name is empty or holds blanks");
			status = CTL_USAGE;
		}
	}
	if (status != CTL_OK) {
		fprintf(stderr, "weirctl: %s\n", why);
		return status;
	}
	int fd = connect_to(path, r.def->verb == CTL_RELOAD || r.def->verb == CTL_UPGRADE ? RELOAD_PATIENCE_S : PATIENCE_S);
	if (fd < 0)
		return fail(path, "cannot reach");
	int result = send_request(fd, argc, argv) ? show_answer(fd, path) : fail(path, "cannot send to");
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
