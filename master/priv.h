/*
 * priv.h - how a child gives up what it does not need.
 *
 * priv_prepare() looks up, in the master, what needs the whole system: the
 * account, an empty directory for chroot, the limits. priv_drop() runs in a
 * fresh child and does, in this order: limits, chroot, bounding set, user and
 * group, capabilities, no new privileges, not dumpable, Landlock, seccomp. Any
 * failure ends the child.
 */
#ifndef MASTER_PRIV_H
#define MASTER_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/conf.h"
#include "common/process.h"

struct priv {
	bool root;			/* started as root: change user and directory */
	bool jail;			/* workers are confined by chroot; the checker never is */
	uid_t uid;
	gid_t gid;
	const char *user;		/* name of uid, for messages */
	int jail_fd;			/* an empty directory that has been removed; -1 */
	int landlock;			/* ABI of this kernel, 0: none */
};

/* The account that children run as. False with a sentence in `why`. */
bool priv_find_user(struct priv *p, const struct conf *c, char *why, size_t size);
/* The rest of what priv_drop() needs, and the descriptor limit raised. */
bool priv_prepare(struct priv *p, const struct conf *c, char *why, size_t size);
void priv_fini(struct priv *p);
/* Leaves the master, and all it starts, only the capabilities that weir has use for. */
void priv_trim_master(const struct priv *p);
/* In the child; ends the process with CHILD_EXIT_SETUP and a logged sentence when any step fails. */
void priv_drop(const struct priv *p, const struct conf *c, enum process_role role);

/* landlock.c: 0 when the kernel has none. */
int landlock_abi(void);
/* Leaves files and ports to what the role needs; false with the failed step in *step and errno. */
bool landlock_confine(int abi, const struct conf *c, enum process_role role, const char **step);
/* seccomp.c: leaves the system calls that the role needs; any other kills the process. False with errno. */
bool seccomp_confine(enum process_role role);

#endif
