/*
 * priv.c - how a child gives up what it does not need.
 *
 * Owns the order of the steps and the account behind them. The master calls
 * the find, prepare and trim functions while it starts; priv_drop() runs in
 * every fresh child. Started by an ordinary user there is no account to change
 * to and no chroot; limits, Landlock and seccomp hold all the same.
 */
#include "master/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "common/obj.h"
#include "master/child.h"

#define DESCRIPTORS_BESIDES 64
#define DESCRIPTORS_MAX (1u << 20)	/* unless max_connections asks for more: some systems set no limit worth the name */

/* ---- in the master ---- */

static bool find_account(struct priv *p, const char *name)
{
	const struct passwd *pw = getpwnam(name);

	if (pw == NULL)
		return false;
	p->uid = pw->pw_uid;
	p->gid = pw->pw_gid;
	p->user = name;
	return true;
}

bool priv_find_user(struct priv *p, const struct conf *c, char *why, size_t size)
{
	*p = (struct priv){ .root = geteuid() == 0, .uid = geteuid(), .gid = getegid(), .user = "the starter",
			    .jail_fd = -1 };
	if (!p->root)
		return true;
	if (c->user != NULL ? !find_account(p, c->user) : !find_account(p, "weir") && !find_account(p, "nobody")) {
		snprintf(why, size, "the account \"%s\" does not exist; make it or set user in [weir]",
			 c->user != NULL ? c->user : "weir or nobody");
		return false;
	}
	if (c->group != NULL) {
		const struct group *gr = getgrnam(c->group);

		if (gr == NULL) {
			snprintf(why, size, "the group \"%s\" does not exist; make it or change group in [weir]", c->group);
			return false;
		}
		p->gid = gr->gr_gid;
	}
	if (p->uid == 0) {
		snprintf(why, size, "user = %s is root: workers never run as root; name another account", p->user);
		return false;
	}
	return true;
}

/* An empty directory that is in no other any more: nobody can ever make something in it. -1 with errno. */
static int make_jail(void)
{
	static const char *const bases[] = { "/run/weir-XXXXXX", "/tmp/weir-XXXXXX" };
	char path[32];

	for (unsigned i = 0; i < ARRAY_LEN(bases); i++) {
		snprintf(path, sizeof(path), "%s", bases[i]);
		if (mkdtemp(path) == NULL)
			continue;
		int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		int error = errno;

		rmdir(path);
		errno = error;
		return fd;
	}
	return -1;
}

static bool has_unix_servers(const struct conf *c)
{
	for (unsigned i = 0; i < c->nupstreams; i++) {
		for (unsigned j = 0; j < c->upstreams[i]->nservers; j++) {
			if (c->upstreams[i]->servers[j].addr.family == ADDR_UNIX)
				return true;
		}
	}
	return false;
}

/* To what there is, and where the system lets us to what max_connections needs: two descriptors for each, and some besides. */
static void raise_descriptor_limit(const struct conf *c)
{
	const rlim_t need = 2 * (rlim_t)c->max_connections + DESCRIPTORS_BESIDES + c->nlogs + c->nbinds * c->workers;
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return;
	if (rl.rlim_max < need) {
		const struct rlimit more = { .rlim_cur = need, .rlim_max = need };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return;
		log_warn("max_connections needs %llu file descriptors, the limit is %llu: raise it (LimitNOFILE=, "
			 "ulimit -n)", (unsigned long long)need, (unsigned long long)rl.rlim_max);
	}
	rl.rlim_cur = rl.rlim_max < DESCRIPTORS_MAX ? rl.rlim_max : DESCRIPTORS_MAX;
	if (rl.rlim_cur < need)
		rl.rlim_cur = need < rl.rlim_max ? need : rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl) != 0)
		log_warn("Cannot raise the limit of file descriptors to %llu: %s", (unsigned long long)rl.rlim_cur,
			 strerror(errno));
}

static const char *how(bool jail, int landlock)
{
	return jail && landlock ? "chroot, Landlock and seccomp" : jail ? "chroot and seccomp"
	       : landlock ? "Landlock and seccomp" : "seccomp alone";
}

bool priv_prepare(struct priv *p, const struct conf *c, char *why, size_t size)
{
	raise_descriptor_limit(c);
	p->landlock = landlock_abi();
	/* A server's socket has a path that must be reached. The checker reads the system's name service files: Landlock can leave
	 * them to it and take the rest, chroot would take them too. */
	p->jail = p->root && !has_unix_servers(c);
#ifdef WEIR_SANITIZE
	p->jail = false;		/* reports need /proc and the program's own file */
#endif
	if (p->jail) {
		p->jail_fd = make_jail();
		if (p->jail_fd < 0) {
			snprintf(why, size, "cannot make an empty directory in /run or /tmp for chroot: %s",
				 strerror(errno));
			return false;
		}
	}
	log_notice("Children run as %s (uid %u, gid %u); workers are confined by %s, the checker by %s; Landlock ABI %d",
		   p->user, (unsigned)p->uid, (unsigned)p->gid, how(p->jail, p->landlock),
		   how(false, p->landlock), p->landlock);
	if (!p->root && c->user != NULL)
		log_warn("user = %s has no effect: only root can change to another account", c->user);
	return true;
}

void priv_fini(struct priv *p)
{
	if (p->jail_fd >= 0)
		close(p->jail_fd);
	p->jail_fd = -1;
}

/* ---- capabilities ---- */

static bool set_caps(const uint64_t *keep)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	if (keep != NULL) {
		if (syscall(SYS_capget, &head, data) != 0)
			return false;
		for (unsigned i = 0; i < 2; i++) {
			data[i].permitted &= (uint32_t)(*keep >> 32 * i);
			data[i].effective &= (uint32_t)(*keep >> 32 * i);
			data[i].inheritable = 0;
		}
	}
	return syscall(SYS_capset, &head, data) == 0;
}

/* False when one that is there cannot be dropped. */
static bool drop_bounding(uint64_t keep)
{
	for (unsigned cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			break;		/* the kernel knows no more */
		if ((keep >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			return false;
	}
	return true;
}

#define BIT(cap) (1ull << (cap))

void priv_trim_master(const struct priv *p)
{
	/* Ports; children's accounts, chroot and bounding sets; ending them; limits. DAC_OVERRIDE: logs are made anew in
	 * directories of other accounts. SYS_PTRACE is not among them: /proc/PID/stat needs none. */
	const uint64_t keep = BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) |
			      BIT(CAP_KILL) | BIT(CAP_SYS_CHROOT) | BIT(CAP_SYS_RESOURCE) | BIT(CAP_DAC_OVERRIDE) |
			      BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_CHOWN) | BIT(CAP_FOWNER);

	if (p->root && (!drop_bounding(keep) || !set_caps(&keep)))
		log_warn("The master keeps capabilities that it does not need: %s", strerror(errno));
}

/* ---- in the child ---- */

_Noreturn static void refuse(const char *step)
{
	log_error("Cannot drop privileges: %s: %s", step, strerror(errno));
	_exit(CHILD_EXIT_SETUP);
}

static void limit(int what, const char *name, rlim_t value)
{
	const struct rlimit rl = { .rlim_cur = value, .rlim_max = value };

	if (setrlimit(what, &rl) != 0)
		refuse(name);
}

static void set_limits(void)
{
	struct rlimit rl;

	/* What the master got is what there is: from here on nobody raises it. */
	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		refuse("reading the limit of descriptors");
	limit(RLIMIT_NOFILE, "limit of descriptors", rl.rlim_cur);
#ifndef WEIR_SANITIZE
	limit(RLIMIT_NPROC, "limit of processes", 0);
#endif
	limit(RLIMIT_CORE, "limit of core files", 0);
}

static void enter_jail(int fd)
{
	if (fchdir(fd) != 0 || chroot(".") != 0 || chdir("/") != 0)
		refuse("chroot");
	close(fd);
}

static void change_user(uid_t uid, gid_t gid)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (setgroups(0, NULL) != 0)
		refuse("setgroups");
	if (setresgid(gid, gid, gid) != 0)
		refuse("setresgid");
	if (setresuid(uid, uid, uid) != 0)
		refuse("setresuid");
	errno = EPERM;
	if (getresuid(&r, &e, &s) != 0 || r != uid || e != uid || s != uid)
		refuse("the user did not change");
	if (getresgid(&rg, &eg, &sg) != 0 || rg != gid || eg != gid || sg != gid || getgroups(0, NULL) != 0)
		refuse("the group did not change");
	if (setresuid(0, 0, 0) == 0 || setuid(0) == 0 || seteuid(0) == 0)
		refuse("uid 0 could be taken back");
	if (gid != 0 && (setresgid(0, 0, 0) == 0 || setegid(0) == 0))
		refuse("gid 0 could be taken back");
}

static void drop_caps(void)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		refuse("clearing ambient capabilities");
	if (!set_caps(NULL))
		refuse("clearing capabilities");
}

void priv_drop(const struct priv *p, const struct conf *c, enum process_role role)
{
	const char *step;

	set_limits();
	if (p->jail && role != PROCESS_CHECKER)
		enter_jail(p->jail_fd);
	else if (p->jail_fd >= 0)
		close(p->jail_fd);
	if (p->root) {
		if (!drop_bounding(0))
			refuse("dropping the bounding set");
		change_user(p->uid, p->gid);
	}
	drop_caps();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		refuse("no new privileges");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		refuse("making the process not dumpable");
	if (p->landlock > 0 && !landlock_confine(p->landlock, c, role, &step))
		refuse(step);
	if (!seccomp_confine(role))
		refuse("seccomp");
}
