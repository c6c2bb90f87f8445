/*
 * down_proxy.c - the PROXY header in front of a client's bytes.
 *
 * Called while a connection is in its first state. Looks at the bytes where the
 * kernel keeps them and takes just the header, so that whatever follows, a
 * handshake or a request, starts where its reader expects it. Only connections
 * from trusted proxies come here.
 */
#include <errno.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/obj.h"
#include "worker/downstream/client_conn.h"
#include "worker/io/proxy_protocol.h"

static bool refuse(struct client *c, enum reason why, const char *text)
{
	char ip[ADDR_TEXT];

	addr_ip_text(&c->peer, ip, sizeof(ip));
	log_info("proxy %s: %s", ip, text);
	shm_count_reason(c->env->shm, why);
	client_close(c);
	return false;
}

void client_proxy_late(struct client *c)
{
	refuse(c, REASON_HEADER_TIMEOUT, "its PROXY header did not arrive within header_timeout");
}

/* The handshake of a TLS listener comes behind the header; its first bytes may lie in the kernel already. */
static bool go_on(struct client *c)
{
	client_set_state(c, CLIENT_IDLE);
	if (!client_secure(c)) {
		client_close(c);
		return false;
	}
	client_set_deadline(c);
	if (c->securing)
		conn_look(&c->conn);
	return c->state != CLIENT_DEAD;
}

/* The header is whole: its bytes go, what it says stays. */
static bool take(struct client *c, const struct proxy_hello *hello, char *p, size_t len)
{
	if (recv(c->conn.fd, p, len, MSG_DONTWAIT) != (ssize_t)len)
		return refuse(c, REASON_BAD_REQUEST, "its PROXY header cannot be read");
	if (hello->told) {
		c->peer = hello->src;
		c->local = hello->dst;
	}
	return go_on(c);
}

bool client_proxy_run(struct client *c)
{
	char bytes[PROXY_PROTOCOL_IN_MAX];
	struct proxy_hello hello;
	size_t len;
	ssize_t n;

	if (!c->conn.can_read && !c->conn.hup && !c->conn.broken)
		return false;
	n = recv(c->conn.fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN) {
		c->conn.can_read = false;
		return false;
	}
	if (n <= 0) {
		client_close(c);
		return false;
	}
	switch (proxy_protocol_parse(bytes, (size_t)n, &hello, &len)) {
	case PROXY_DONE:
		return take(c, &hello, bytes, len);
	case PROXY_NONE:
		if (c->listen->proxy_protocol == CONF_PROXY_OPTIONAL)
			return go_on(c);
		return refuse(c, REASON_BAD_REQUEST, "it sent no PROXY header");
	case PROXY_BAD:
		return refuse(c, REASON_BAD_REQUEST, "its PROXY header is malformed");
	case PROXY_MORE:
		break;
	}
	if (c->conn.hup || c->conn.broken)
		return refuse(c, REASON_BAD_REQUEST, "it left within its PROXY header");
	c->conn.can_read = false;	/* the next byte makes a new edge */
	return false;
}
