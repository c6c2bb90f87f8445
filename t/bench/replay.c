/*
 * replay - one worker in the foreground and a fixed number of requests through it, so that the instructions it takes can
 * be counted.
 *
 * replay CONFIG COUNT REQUEST_FILE ANSWER_FILE: runs worker_main() on the configuration, whose listener is on
 * 127.0.0.1:1 (any port is taken) and whose servers are on any address of 127.0.0.0/8, port @PORT@. A second process, not
 * counted, plays clients and servers in lockstep: it sends a request on one of a few connections, answers it where it
 * arrives, reads the answer, and only then goes on. So nothing depends on time, and two runs of different COUNT differ
 * by the cost of the requests alone. Used by t/bench/instructions.py; confines itself by nothing and is not installed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/ipc.h"
#include "common/process.h"
#include "master/logs.h"
#include "worker/worker.h"

enum { CLIENTS = 4, SERVERS = 1024, ROOM = 1 << 20 };

static void die(const char *what)
{
	fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int listen_any(in_addr_t host, unsigned short *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 256) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		die("listen");
	*port = ntohs(a.sin_port);
	return fd;
}

static size_t slurp(const char *path, char **out)
{
	FILE *f = fopen(path, "r");
	size_t n;

	*out = malloc(ROOM);
	if (!f || !*out)
		die(path);
	n = fread(*out, 1, ROOM, f);
	fclose(f);
	return n;
}

/* ---- the player: a process of its own, started anew so that no counter follows it ---- */

struct player {
	char *request, *answer, *seen;
	size_t request_len, answer_len;
	int clients[CLIENTS];
	struct pollfd polls[SERVERS];	/* the client that waits, the servers' listener, servers */
	nfds_t n;
};

static void send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r <= 0)
			die("send");
		p += r;
		n -= (size_t)r;
	}
}

static void serve(struct player *pl)
{
	if (pl->polls[1].revents) {
		int fd = accept(pl->polls[1].fd, NULL, NULL), on = 1;

		if (fd < 0 || pl->n == SERVERS)
			die("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		pl->polls[pl->n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	for (nfds_t i = 2; i < pl->n; i++) {
		ssize_t r;

		if (!pl->polls[i].revents)
			continue;
		r = recv(pl->polls[i].fd, pl->seen, ROOM, 0);
		if (r <= 0)
			die("a server connection ended");
		if (r < 4 || memcmp(pl->seen + r - 4, "\r\n\r\n", 4))
			die("a request came in pieces");
		send_all(pl->polls[i].fd, pl->answer, pl->answer_len);
	}
}

/* An answer is over when it ends as the server's does; its head is another. */
static void one_exchange(struct player *pl, int client)
{
	size_t got = 0, tail = pl->answer_len < 64 ? pl->answer_len : 64;

	pl->polls[0] = (struct pollfd){ .fd = client, .events = POLLIN };
	send_all(client, pl->request, pl->request_len);
	for (;;) {
		ssize_t r;

		if (poll(pl->polls, pl->n, 20000) <= 0)
			die("nothing comes");
		serve(pl);
		if (!pl->polls[0].revents)
			continue;
		r = recv(client, pl->seen + got, ROOM - got, 0);
		if (r <= 0)
			die("a client connection ended");
		got += (size_t)r;
		if (got >= tail && !memcmp(pl->seen + got - tail, pl->answer + pl->answer_len - tail, tail))
			break;
	}
	if (memcmp(pl->seen, "HTTP/1.1 200", 12))
		die("another status");
}

static int play(char **argv)
{
	struct player pl = { .n = 2 };
	int count = atoi(argv[2]), listener = atoi(argv[5]), control = atoi(argv[6]);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[7])),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	pl.request_len = slurp(argv[3], &pl.request);
	pl.answer_len = slurp(argv[4], &pl.answer);
	pl.seen = malloc(ROOM);
	pl.polls[1] = (struct pollfd){ .fd = listener, .events = POLLIN };
	for (int i = 0; i < CLIENTS; i++) {
		int on = 1;

		pl.clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (pl.clients[i] < 0 || connect(pl.clients[i], (struct sockaddr *)&a, sizeof(a)))
			die("connect");
		setsockopt(pl.clients[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	for (int i = 0; i < count; i++)
		one_exchange(&pl, pl.clients[i % CLIENTS]);
	if (!ipc_send(control, IPC_STOP, 0, 0, -1))
		die("stop");
	/* What the worker said is read, or the end of this socket would overtake the word. */
	while (recv(control, pl.seen, ROOM, 0) > 0)
		;
	return 0;
}

/* ---- the worker ---- */

/* The configuration with the port of the servers put in, in a file without a name. */
static const char *made_config(const char *path, unsigned short port)
{
	static char name[64];
	char *text, *at, *next;
	size_t n = slurp(path, &text);
	int fd = memfd_create("config", 0);
	FILE *f = fdopen(fd, "w");

	if (!f)
		die("memfd");
	text[n] = '\0';
	for (at = text; (next = strstr(at, "@PORT@")); at = next + 6)
		fprintf(f, "%.*s%u", (int)(next - at), at, port);
	fputs(at, f);
	fflush(f);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return name;
}

static void start_player(char **argv, int listener, int control, unsigned short port)
{
	char text[3][16];

	snprintf(text[0], sizeof(text[0]), "%d", listener);
	snprintf(text[1], sizeof(text[1]), "%d", control);
	snprintf(text[2], sizeof(text[2]), "%u", port);
	if (fork() != 0)
		return;
	execl(argv[0], argv[0], "--play", argv[2], argv[3], argv[4], text[0], text[1], text[2], (char *)NULL);
	die("exec");
}

int main(int argc, char **argv)
{
	struct arena arena;
	struct conf_msgs msgs = { 0 };
	struct process p = { .magic = PROCESS_MAGIC, .role = PROCESS_WORKER };
	struct process_listen listens[1];
	struct ticket_keys tickets;
	unsigned short servers, clients;
	int pair[2], wake[2], upstream, listener;
	struct conf *c;

	if (argc == 8 && !strcmp(argv[1], "--play"))
		return play(argv);
	if (argc != 5) {
		fprintf(stderr, "usage: replay CONFIG COUNT REQUEST_FILE ANSWER_FILE\n");
		return 2;
	}
	upstream = listen_any(INADDR_ANY, &servers);
	listener = listen_any(INADDR_LOOPBACK, &clients);
	arena_init(&arena, NULL, 0);
	c = conf_load(&arena, made_config(argv[1], servers), &msgs);
	conf_print_msgs(stderr, &msgs);
	if (!c || !logs_open(c, false) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		die("start");
	signal(SIGCHLD, SIG_IGN);	/* nobody waits for the player */
	fcntl(pair[0], F_SETFL, 0);
	fcntl(pair[0], F_SETFD, 0);
	start_player(argv, upstream, pair[0], clients);
	close(pair[0]);
	close(upstream);
	logs_use(c);
	ticket_init(&tickets, clock_mono_us() / 1000);
	wake[0] = eventfd(0, EFD_NONBLOCK);
	wake[1] = eventfd(0, EFD_NONBLOCK);
	listens[0] = (struct process_listen){ .bind = c->listens[0]->binds[0].id, .fd = listener };
	p.conf = c;
	p.tickets = &tickets;
	p.control = pair[1];
	p.listens = listens;
	p.nlistens = 1;
	p.wake_fds = wake;
	p.nwake = 2;
	const struct shm_size size = shm_size_of(c, c->workers + 1);
	if (!shm_init(&p.shm, &size))
		die("shm");
	shm_init_health(&p.shm, c);
	atomic_store(&shm_row(&p.shm, 0)->state, SLOT_LIVE);
	if (!shm_become_worker(&p.shm, 0))
		die("shm");
	if (!records_init(&p.records, c->workers) || !records_become_worker(&p.records, 0))
		die("records");
	worker_main(&p);
}
