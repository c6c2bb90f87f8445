/*
 * listen_test.c - listener slots: one socket per worker, taken ports, UNIX addresses, who holds a port.
 */
#include "t/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/sock.h"
#include "master/holder.h"
#include "master/listen.h"

static struct conf_bind binds[2];
static struct conf_listen listener = { .magic = CONF_LISTEN_MAGIC, .binds = binds };
static struct conf_listen *listeners[] = { &listener };
static struct conf conf = { .magic = CONF_MAGIC, .listens = listeners, .nlistens = 1, .workers = 3 };

/* A port that was free a moment ago; *keep, when asked for, still listens on it. */
static unsigned some_port(int *keep, bool reuseport)
{
	struct addr a = { .family = ADDR_V4, .v4 = { 127, 0, 0, 1 } };
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	int fd = sock_listen(&a, 1, reuseport, false);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	if (keep != NULL)
		*keep = fd;
	else
		close(fd);
	return ntohs(sin.sin_port);
}

static void set_tcp(unsigned id, unsigned port)
{
	binds[id] = (struct conf_bind){ .addr = { .family = ADDR_V4, .port = (uint16_t)port, .v4 = { 127, 0, 0, 1 } },
					.text = SPAN("127.0.0.1:port"), .at = { "weir.ini", 2 + id }, .id = id };
}

static void use_binds(unsigned n)
{
	listener.nbinds = n;
	conf.nbinds = n;
}

START_TEST(each_slot_has_its_own)
{
	struct slots s = { .n = 0 };

	set_tcp(0, some_port(NULL, false));
	set_tcp(1, some_port(NULL, false));
	use_binds(2);
	ck_assert(slots_plan(&s, &conf));
	slots_firm(&s, &conf);
	ck_assert_uint_eq(s.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct slot_group *g = slots_find(&s, &binds[i]);

		ck_assert_ptr_nonnull(g);
		ck_assert_uint_eq(g->n, 3);
		ck_assert_uint_eq(g->firm, 3);
		ck_assert(g->fenceable);
		ck_assert(g->fds[0] != g->fds[1] && g->fds[1] != g->fds[2]);
	}
	slots_fini(&s);
	slots_fini(&s);
	ck_assert(slots_probe(&conf));
}
END_TEST

/* Also where the other one would share: two programs on a port, each with half of the clients, is nobody's wish. */
START_TEST(taken_port_is_refused)
{
	struct slots s = { .n = 0 };
	int other;

	for (unsigned share = 0; share < 2; share++) {
		set_tcp(0, some_port(NULL, false));
		set_tcp(1, some_port(&other, share));
		use_binds(2);
		ck_assert(!slots_probe(&conf));
		ck_assert(!slots_plan(&s, &conf));
		ck_assert_uint_eq(s.n, 0);
		close(other);
		ck_assert(slots_plan(&s, &conf));
		slots_fini(&s);
	}
}
END_TEST

/* What a reload does: the address stays wherever it stands, slots are added behind, a plan that fails leaves no trace. */
START_TEST(sockets_outlive_a_configuration)
{
	struct slots s = { .n = 0 };
	int first, other;

	set_tcp(0, some_port(NULL, false));
	use_binds(1);
	ck_assert(slots_plan(&s, &conf));
	slots_firm(&s, &conf);
	first = slots_find(&s, &binds[0])->fds[0];

	set_tcp(1, binds[0].addr.port);
	set_tcp(0, some_port(&other, false));
	use_binds(2);
	conf.workers = 5;
	ck_assert(!slots_plan(&s, &conf));
	ck_assert_uint_eq(s.n, 1);
	ck_assert_uint_eq(slots_find(&s, &binds[1])->n, 3);
	close(other);

	ck_assert(slots_plan(&s, &conf));
	ck_assert_uint_eq(slots_find(&s, &binds[1])->n, 5);
	ck_assert_uint_eq(slots_find(&s, &binds[1])->firm, 3);
	ck_assert(!slots_find(&s, &binds[1])->in[4]);
	slots_undo(&s);
	ck_assert_uint_eq(slots_find(&s, &binds[1])->n, 3);
	ck_assert_ptr_null(slots_find(&s, &binds[0]));

	ck_assert(slots_plan(&s, &conf));
	slots_firm(&s, &conf);
	ck_assert_int_eq(slots_find(&s, &binds[1])->fds[0], first);
	conf.workers = 2;
	binds[0] = binds[1];
	binds[0].id = 0;
	use_binds(1);
	ck_assert(slots_plan(&s, &conf));
	slots_firm(&s, &conf);
	ck_assert_uint_eq(s.n, 1);
	ck_assert_uint_eq(s.groups[0]->n, 5);
	ck_assert_int_eq(s.groups[0]->fds[0], first);
	slots_fini(&s);
	conf.workers = 3;
}
END_TEST

START_TEST(holder_is_named)
{
	struct holder h;
	int other;
	struct addr a = { .family = ADDR_V4, .v4 = { 127, 0, 0, 1 } };

	a.port = (uint16_t)some_port(&other, false);
	holder_find(&a, &h);
	ck_assert_int_eq(h.pid, getpid());
	ck_assert(!h.orphans);
	ck_assert_ptr_nonnull(strstr(h.name, program_invocation_short_name));
	close(other);
	holder_find(&a, &h);
	ck_assert_int_eq(h.pid, 0);
}
END_TEST

START_TEST(unix_socket_is_shared_and_removed)
{
	struct slots s = { .n = 0 }, second = { .n = 0 };
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/weir-listen-%d.sock", (int)getpid());
	binds[0] = (struct conf_bind){ .addr = { .family = ADDR_UNIX, .path = path }, .text = SPAN("unix:"),
				       .at = { "weir.ini", 2 } };
	use_binds(1);
	ck_assert(slots_plan(&s, &conf));
	slots_firm(&s, &conf);
	ck_assert(!s.groups[0]->fenceable);
	ck_assert_uint_eq(s.groups[0]->n, 1);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	ck_assert(!slots_plan(&second, &conf));
	slots_fini(&second);
	ck_assert_int_eq(stat(path, &st), 0);
	slots_fini(&s);
	ck_assert_int_ne(stat(path, &st), 0);
}
END_TEST

UNIT("listen", each_slot_has_its_own, taken_port_is_refused, sockets_outlive_a_configuration, holder_is_named,
     unix_socket_is_shared_and_removed)
