/*
 * landlock.c - leaves files and ports to what a child's role needs.
 *
 * Owns the rules. Runs in a fresh child after its capabilities are gone. A
 * worker may touch no file and connect to the ports of its servers alone; the
 * checker may read the system's name service files besides. Kernels differ in
 * what they can forbid: what this one knows is forbidden, and its ABI was
 * logged at start. Sockets of UNIX servers are reached by connect(), which the
 * file rules say nothing of.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cert.h"
#include "common/obj.h"
#include "master/priv.h"

/* From the kernel's interface; the headers of older systems lack the later parts. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define VERSION_FLAG 1u
#define RULE_PATH 1
#define RULE_PORT 2
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define NET_BIND_TCP (1ull << 0)
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1)

struct ruleset_attr {
	uint64_t fs, net, scoped;
};
struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));
struct port_rule {
	uint64_t allowed, port;
};

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);

	return abi > 0 ? (int)abi : 0;
}

/* What each ABI can forbid, and how much of the attribute it reads. */
static size_t all_rights(int abi, struct ruleset_attr *a)
{
	a->fs = (1ull << 13) - 1;	/* execute, write, read, make and remove anything */
	if (abi >= 2)
		a->fs |= 1ull << 13;	/* move between directories */
	if (abi >= 3)
		a->fs |= 1ull << 14;	/* truncate */
	if (abi >= 5)
		a->fs |= 1ull << 15;	/* control devices */
	if (abi >= 4)
		a->net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 6)
		a->scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	return abi >= 6 ? sizeof(*a) : abi >= 4 ? offsetof(struct ruleset_attr, scoped)
						: offsetof(struct ruleset_attr, net);
}

/* Missing files are no failure: there is nothing to read then. */
static bool let_read_path(int set, const char *path, uint64_t rights, int flags)
{
	struct path_rule r = { .allowed = rights };

	r.fd = open(path, O_PATH | O_CLOEXEC | flags);
	if (r.fd < 0)
		return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
	bool good = syscall(SYS_landlock_add_rule, set, RULE_PATH, &r, 0) == 0;
	int error = errno;

	close(r.fd);
	errno = error;
	return good;
}

static bool let_read(int set, const char *path)
{
	return let_read_path(set, path, FS_READ_FILE | FS_READ_DIR, O_DIRECTORY);
}

/* The directories, since the files in them are replaced as the network changes. resolv.conf is often a link elsewhere. */
static bool let_resolve(int set)
{
	char real[PATH_MAX];

	if (realpath("/etc/resolv.conf", real) != NULL) {
		*strrchr(real, '/') = '\0';
		if (real[0] != '\0' && !let_read(set, real))
			return false;
	}
	/* Without it the numbers of queries could be guessed. */
	return let_read_path(set, "/dev/urandom", FS_READ_FILE, 0) && let_read(set, "/etc");
}

static bool let_connect(int set, unsigned port)
{
	const struct port_rule r = { .allowed = NET_CONNECT_TCP, .port = port };

	return port == 0 || syscall(SYS_landlock_add_rule, set, RULE_PORT, &r, 0) == 0;
}

static bool let_connect_servers(int set, const struct conf *c, bool checker)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		const struct conf_upstream *u = c->upstreams[i];

		if (checker && !let_connect(set, u->check_port))
			return false;
		for (unsigned j = 0; j < u->nservers; j++) {
			const struct conf_server *s = &u->servers[j];
			unsigned port = s->addr.family == ADDR_V4 || s->addr.family == ADDR_V6 ? s->addr.port : s->port;

			if (!let_connect(set, port))
				return false;
		}
	}
	return true;
}

/* A long answer of a name server comes over TCP. */
static bool let_ask_names(int set, const struct conf *c)
{
	for (unsigned i = 0; i < c->nresolvers; i++) {
		if (!let_connect(set, c->resolvers[i].port))
			return false;
	}
	return let_connect(set, 53);
}

static bool let_ask_ocsp(int set, const struct conf *c)
{
	for (const struct cert *x = c->certs; x != NULL; x = x->next) {
		if (x->ocsp.on && !let_connect(set, x->ocsp.port))
			return false;
	}
	return true;
}

static bool add_rules(int set, int abi, const struct conf *c, enum process_role role)
{
	const bool checker = role == PROCESS_CHECKER;

#ifdef WEIR_SANITIZE
	if (!let_read(set, "/"))	/* for the names in reports */
		return false;
#endif
	if (checker && !let_resolve(set))
		return false;
	if (abi < 4 || role == PROCESS_ADMIN)
		return true;		/* who answers connects to nobody */
	return let_connect_servers(set, c, checker) && (!checker || (let_ask_names(set, c) && let_ask_ocsp(set, c)));
}

bool landlock_confine(int abi, const struct conf *c, enum process_role role, const char **step)
{
	struct ruleset_attr attr = { .fs = 0 };
	size_t size = all_rights(abi, &attr);

	*step = "making Landlock rules";
	int set = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (set < 0)
		return false;
	bool good = add_rules(set, abi, c, role);
	if (good) {
		*step = "enforcing Landlock rules";
		good = syscall(SYS_landlock_restrict_self, set, 0) == 0;
	}
	int error = errno;

	close(set);
	errno = error;
	return good;
}
