/*
 * load - the load that wrk and h2load cannot make: paced requests, a connection for each request, full and resumed
 * TLS handshakes, and many idle connections. Every answer is checked: status 200, and its body byte by byte.
 *
 * load MODE [options] PORT; modes:
 *   close  a new connection for each request      hold   opens connections, one request on each, then waits for stdin
 *   paced  RATE requests a second over kept connections; latency counts from when a request was due, not from when a
 *          connection was free to carry it, so that a stall is felt by all who came meanwhile
 * Prints one JSON object. One process, one epoll loop. Answers must have a Content-Length.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, EVENTS = 256, READ = 128 * 1024 };
enum mode { CLOSE, PACED, HOLD };
enum state { CONNECTING, HANDSHAKE, SENDING, HEAD, BODY, IDLE, GONE };

struct peer {
	enum state state;
	int fd;
	SSL *ssl;
	SSL_SESSION *session;
	uint64_t due;		/* ns */
	size_t sent, head_len, body_len, body_got;
	char head[HEAD_MAX];
	struct peer *next_idle;
};

static struct {
	enum mode mode;
	int tls, resume, connections, port, epoll, requests_each;
	double seconds, rate;
	char request[4096];
	size_t request_len;
	char *expected;
	size_t expected_len;
	SSL_CTX *ctx;
	struct peer *peers, *idle;
	uint64_t *latency;
	size_t answers, wrong, latencies, resumed, handshakes, held, capacity;
	int over;
	const char *first_wrong;
} load;

static char buffer[READ];

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void begin(struct peer *p);
static void proceed(struct peer *p);

static void hang_up(struct peer *p)
{
	struct linger abrupt = { .l_onoff = 1 };

	if (p->state == GONE)
		return;
	if (p->ssl) {
		if (p->session)
			SSL_SESSION_free(p->session);
		p->session = load.resume ? SSL_get1_session(p->ssl) : NULL;
		SSL_set_shutdown(p->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(p->ssl);
		p->ssl = NULL;
	}
	/* No TIME_WAIT, or ports run out. */
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt));
	close(p->fd);
	p->state = GONE;
}

static void note_wrong(struct peer *p, const char *why)
{
	if (load.over)
		return;
	load.wrong++;
	if (!load.first_wrong)
		load.first_wrong = why;
	hang_up(p);
	if (load.mode != CLOSE || load.wrong > 1000)
		load.over = 1;
	else
		begin(p);
}

static void note_latency(uint64_t ns)
{
	if (load.latencies == load.capacity) {
		load.capacity = load.capacity ? load.capacity * 2 : 65536;
		load.latency = realloc(load.latency, load.capacity * sizeof(*load.latency));
		if (!load.latency)
			die("realloc");
	}
	load.latency[load.latencies++] = ns;
}

static void answered(struct peer *p)
{
	load.answers++;
	note_latency(now() - p->due);
	p->state = IDLE;
	if (load.mode == CLOSE) {
		hang_up(p);
		if (!load.over)
			begin(p);
	} else if (load.mode == PACED) {
		p->next_idle = load.idle;
		load.idle = p;
	} else {
		load.held++;
	}
}

static ssize_t get(struct peer *p, void *into, size_t len)
{
	size_t n = 0;
	int result;

	if (!p->ssl)
		return recv(p->fd, into, len, 0);
	result = SSL_read_ex(p->ssl, into, len, &n);
	if (result == 1)
		return (ssize_t)n;
	result = SSL_get_error(p->ssl, result);
	if (result == SSL_ERROR_WANT_READ) {
		errno = EAGAIN;
		return -1;
	}
	errno = ECONNRESET;
	return result == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* The head is whole: reads status and length. */
static int head_is_good(struct peer *p, size_t len)
{
	char *field;

	p->head[len - 1] = '\0';
	if (strncmp(p->head, "HTTP/1.1 200", 12))
		return 0;
	field = strcasestr(p->head, "\ncontent-length:");
	if (!field)
		return 0;
	p->body_len = strtoul(field + 16, NULL, 10);
	return p->body_len == load.expected_len;
}

static void on_body(struct peer *p, const char *data, size_t len)
{
	if (len > p->body_len - p->body_got || memcmp(data, load.expected + p->body_got, len)) {
		note_wrong(p, "another body");
		return;
	}
	p->body_got += len;
	if (p->body_got == p->body_len)
		answered(p);
}

static void on_bytes(struct peer *p, const char *data, size_t len)
{
	char *end;
	size_t take, had = p->head_len, head;

	if (p->state == BODY) {
		on_body(p, data, len);
		return;
	}
	take = len < HEAD_MAX - had ? len : HEAD_MAX - had;
	memcpy(p->head + had, data, take);
	p->head_len += take;
	end = memmem(p->head, p->head_len, "\r\n\r\n", 4);
	if (!end) {
		if (p->head_len == HEAD_MAX)
			note_wrong(p, "a head without end");
		return;
	}
	head = (size_t)(end - p->head) + 4;
	if (!head_is_good(p, head)) {
		note_wrong(p, "another head");
		return;
	}
	p->state = BODY;
	on_body(p, data + (head - had), len - (head - had));
}

static void take(struct peer *p)
{
	while (p->state == HEAD || p->state == BODY || p->state == IDLE) {
		int fd = p->fd;
		ssize_t n = get(p, buffer, sizeof(buffer));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || p->state == IDLE) {
			if (!load.over)
				note_wrong(p, n <= 0 ? "hung up" : "bytes that nobody asked for");
			return;
		}
		on_bytes(p, buffer, (size_t)n);
		if (p->fd != fd || p->state == SENDING || p->state == CONNECTING || p->state == GONE)
			return;
		if (!p->ssl && n < (ssize_t)sizeof(buffer))
			return;
	}
}

static void give(struct peer *p)
{
	size_t n = 0, left = load.request_len - p->sent;
	const char *from = load.request + p->sent;

	if (p->ssl) {
		if (SSL_write_ex(p->ssl, from, left, &n) != 1) {
			note_wrong(p, "TLS write failed");
			return;
		}
	} else {
		ssize_t sent = send(p->fd, from, left, MSG_NOSIGNAL);

		if (sent < 0) {
			note_wrong(p, "write failed");
			return;
		}
		n = (size_t)sent;
	}
	p->sent += n;
	if (p->sent < load.request_len)
		return;
	p->head_len = p->body_len = p->body_got = 0;
	p->state = HEAD;
}

static void shake(struct peer *p)
{
	int result = SSL_connect(p->ssl), error;

	if (result == 1) {
		load.handshakes++;
		load.resumed += (size_t)SSL_session_reused(p->ssl);
		p->state = load.mode == PACED && p->due == 0 ? IDLE : SENDING;
		if (p->state == IDLE) {
			p->next_idle = load.idle;
			load.idle = p;
		}
		return;
	}
	error = SSL_get_error(p->ssl, result);
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		note_wrong(p, "handshake failed");
}

static void connected(struct peer *p)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
		note_wrong(p, "could not connect");
		return;
	}
	if (load.tls) {
		p->ssl = SSL_new(load.ctx);
		SSL_set_fd(p->ssl, p->fd);
		if (load.resume && p->session)
			SSL_set_session(p->ssl, p->session);
		p->state = HANDSHAKE;
	} else if (load.mode == PACED && p->due == 0) {
		p->state = IDLE;
		p->next_idle = load.idle;
		load.idle = p;
	} else {
		p->state = SENDING;
	}
}

static void proceed(struct peer *p)
{
	int fd = p->fd;

	if (p->state == CONNECTING)
		connected(p);
	if (p->fd == fd && p->state == HANDSHAKE)
		shake(p);
	if (p->fd == fd && p->state == SENDING)
		give(p);
	if (p->fd == fd && (p->state == HEAD || p->state == BODY || p->state == IDLE))
		take(p);
}

static void begin(struct peer *p)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)load.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = p };
	int on = 1;

	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		die("socket");
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	p->due = load.mode == PACED ? 0 : now();
	p->sent = p->head_len = p->body_len = p->body_got = 0;
	p->state = CONNECTING;
	if (connect(p->fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, p->fd, &ev))
		die("epoll_ctl");
}

static void wait_events(int ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(load.epoll, events, EVENTS, ms);

	for (int i = 0; i < n; i++)
		proceed(events[i].data.ptr);
}

/* Sleeps no longer than until the next request is due, to the microsecond: a program that spins takes the CPU from the proxy. */
static void wait_until(uint64_t due)
{
	struct pollfd p = { .fd = load.epoll, .events = POLLIN };
	uint64_t t = now(), left = due > t ? due - t : 0;
	struct timespec ts = { .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u) };

	if (left > 0 && ppoll(&p, 1, &ts, NULL) < 0)
		die("ppoll");
	wait_events(0);
}

/* Requests go out when they are due; one that finds no idle connection waits, and its wait counts. */
static void pace(uint64_t start, uint64_t end)
{
	double each = 1e9 / load.rate;
	uint64_t issued = 0, t = now();

	while (t < end && !load.over) {
		while (load.idle && start + (uint64_t)((double)issued * each) <= t) {
			struct peer *p = load.idle;

			load.idle = p->next_idle;
			p->due = start + (uint64_t)((double)issued++ * each);
			p->sent = 0;
			p->state = SENDING;
			give(p);
		}
		wait_until(load.idle ? start + (uint64_t)((double)issued * each) : t + 1000000);
		t = now();
	}
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile(double part)
{
	size_t at = (size_t)((double)load.latencies * part);

	if (!load.latencies)
		return 0;
	return (double)load.latency[at < load.latencies ? at : load.latencies - 1] / 1e3;
}

static void report(uint64_t start)
{
	double seconds = (double)(now() - start) / 1e9;

	qsort(load.latency, load.latencies, sizeof(*load.latency), ascending);
	printf("{\"requests\": %zu, \"wrong\": %zu, \"first_wrong\": \"%s\", \"seconds\": %.3f, "
	       "\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"handshakes\": %zu, \"resumed\": %zu}\n",
	       load.answers, load.wrong, load.first_wrong ? load.first_wrong : "", seconds, percentile(0.5),
	       percentile(0.99), percentile(0.999), load.handshakes, load.resumed);
	fflush(stdout);
}

static void read_expected(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		die(path);
	load.expected = malloc(16 << 20);
	if (!load.expected)
		die("malloc");
	load.expected_len = fread(load.expected, 1, 16 << 20, f);
	fclose(f);
}

static void options(int argc, char **argv)
{
	const char *path = "/";
	int c;

	load.mode = !strcmp(argv[1], "close") ? CLOSE : !strcmp(argv[1], "paced") ? PACED : HOLD;
	while ((c = getopt(argc - 1, argv + 1, "c:d:r:p:e:ts")) != -1) {
		switch (c) {
		case 'c': load.connections = atoi(optarg); break;
		case 'd': load.seconds = atof(optarg); break;
		case 'r': load.rate = atof(optarg); break;
		case 'p': path = optarg; break;
		case 'e': read_expected(optarg); break;
		case 't': load.tls = 1; break;
		case 's': load.resume = 1; break;
		default: exit(2);
		}
	}
	if (optind + 1 >= argc)
		exit(2);
	load.port = atoi(argv[optind + 1]);
	load.request_len = (size_t)snprintf(load.request, sizeof(load.request),
					    "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\n%s\r\n", path,
					    load.mode == CLOSE ? "Connection: close\r\n" : "");
}

static void open_tls(void)
{
	load.ctx = SSL_CTX_new(TLS_client_method());
	if (!load.ctx)
		die("SSL_CTX_new");
	SSL_CTX_set_session_cache_mode(load.ctx, SSL_SESS_CACHE_OFF);
}

int main(int argc, char **argv)
{
	uint64_t start, end;

	load.connections = 16;
	load.seconds = 2;
	load.rate = 1000;
	if (argc < 3) {
		fprintf(stderr, "usage: load close|paced|hold [-c N] [-d SECONDS] [-r RATE] [-p PATH] [-e FILE] [-t] [-s] "
			"PORT\n");
		return 2;
	}
	options(argc, argv);
	if (load.tls)
		open_tls();
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.peers = calloc((size_t)load.connections, sizeof(*load.peers));
	if (load.epoll < 0 || !load.peers)
		die("start");
	start = now();
	end = start + (uint64_t)(load.seconds * 1e9);
	for (int i = 0; i < load.connections; i++) {
		begin(&load.peers[i]);
		if (load.mode == HOLD)	/* in small steps: no listen queue overflows */
			while ((size_t)(i + 1) - load.held >= 32 && !load.over)
				wait_events(1000);
	}
	if (load.mode == PACED) {
		pace(start + 50000000, end + 50000000);
	} else if (load.mode == CLOSE) {
		while (now() < end && !load.over)
			wait_events(100);
	} else {
		while (load.held < (size_t)load.connections && !load.over)
			wait_events(1000);
		report(start);
		while (read(0, buffer, sizeof(buffer)) > 0)
			;
		return 0;
	}
	load.over = 1;
	report(start);
	return 0;
}
