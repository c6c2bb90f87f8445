/*
 * relay - the least that a proxy can cost: bytes from each client connection to one server connection and back.
 *
 * relay PORT SERVER_PORT...: listens on 127.0.0.1:PORT, pairs each client with a connection to one of the server ports
 * in turn, and passes bytes on without looking at them. One process, one epoll loop, edge-triggered, one buffer that
 * both directions share; what a peer does not take is kept in memory of its own until it does. It has no timeouts, no
 * log and no limits: a yardstick for t/bench, not a program to use.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, EVENTS = 256, SERVERS = 256 };

struct pair;

/* One end of a pair. rest: bytes that came from the other end and still have to go out here. */
struct end {
	struct pair *pair;
	struct end *other;
	int fd;
	int ended;	/* the peer sends no more, and that was passed on */
	char *rest;
	size_t from, to;
};

struct pair {
	struct end client, server;
	struct pair *next_dead;
};

static char buffer[CHUNK];
static struct pair *dead;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int watch(int epoll, int fd, void *data)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = data };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void finish(struct pair *p)
{
	if (p->client.fd < 0)
		return;
	close(p->client.fd);
	close(p->server.fd);
	p->client.fd = p->server.fd = -1;
	p->next_dead = dead;
	dead = p;
}

/* Writes to `to` until it blocks. Returns how much went out, -1 when the peer is gone. */
static ssize_t put(struct end *to, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(to->fd, data + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			break;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void keep(struct end *to, const char *data, size_t len)
{
	to->rest = malloc(len);
	if (!to->rest)
		die("malloc");
	memcpy(to->rest, data, len);
	to->from = 0;
	to->to = len;
}

/* Moves bytes towards `to` until its source is empty or it takes no more. */
static void pump(struct end *to)
{
	struct end *source = to->other;

	if (to->rest) {
		ssize_t n = put(to, to->rest + to->from, to->to - to->from);

		if (n < 0) {
			finish(to->pair);
			return;
		}
		to->from += (size_t)n;
		if (to->from < to->to)
			return;
		free(to->rest);
		to->rest = NULL;
	}
	while (!source->ended) {
		ssize_t n = recv(source->fd, buffer, sizeof(buffer), 0), out;

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			source->ended = 1;
			shutdown(to->fd, SHUT_WR);
			if (n < 0 || to->ended)
				finish(to->pair);
			return;
		}
		out = put(to, buffer, (size_t)n);
		if (out < 0) {
			finish(to->pair);
			return;
		}
		if (out < n) {
			keep(to, buffer + out, (size_t)(n - out));
			return;
		}
		if (n < (ssize_t)sizeof(buffer))
			return;
	}
}

static struct sockaddr_in loopback(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return a;
}

static void take_clients(int epoll, int listener, char **ports, int count)
{
	static unsigned int turn;
	int on = 1;

	for (;;) {
		struct sockaddr_in a = loopback(ports[turn % (unsigned int)count]);
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct pair *p;

		if (fd < 0)
			return;
		p = calloc(1, sizeof(*p));
		if (!p)
			die("calloc");
		turn++;
		p->client = (struct end){ .pair = p, .other = &p->server, .fd = fd };
		p->server = (struct end){ .pair = p, .other = &p->client };
		p->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (p->server.fd < 0)
			die("socket");
		setsockopt(p->client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(p->server.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if ((connect(p->server.fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS) ||
		    watch(epoll, p->server.fd, &p->server) || watch(epoll, p->client.fd, &p->client))
			finish(p);
	}
}

static int listen_on(const char *port)
{
	struct sockaddr_in a = loopback(port);
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1024))
		die("listen");
	return fd;
}

static void on_event(struct end *e, unsigned int events)
{
	if (e->fd >= 0 && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		pump(e->other);
	if (e->fd >= 0 && events & EPOLLOUT && e->rest)
		pump(e);
}

static void bury(void)
{
	while (dead) {
		struct pair *p = dead;

		dead = p->next_dead;
		free(p->client.rest);
		free(p->server.rest);
		free(p);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int epoll, listener, n;

	if (argc < 3 || argc > SERVERS) {
		fprintf(stderr, "usage: relay PORT SERVER_PORT...\n");
		return 2;
	}
	listener = listen_on(argv[1]);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || watch(epoll, listener, NULL))
		die("epoll");
	for (;;) {
		n = epoll_wait(epoll, events, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				on_event(events[i].data.ptr, events[i].events);
			else
				take_clients(epoll, listener, argv + 2, argc - 2);
		}
		bury();
	}
}
