/*
 * seccomp.c - leaves a child the system calls that its role needs.
 *
 * Owns the list. Runs in a fresh child as the last step before READY work
 * begins. Whatever is not listed kills the process; opening files is refused
 * with EACCES instead, since libraries try that and go on without. No fork, no
 * exec, no executable memory (PCRE2 runs without JIT for this), no sockets but
 * of the internet and UNIX families and none for the admin process, no signal to anybody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/obj.h"
#include "master/priv.h"

#define TO_WRITE (O_ACCMODE | O_CREAT | O_TRUNC)
#define WORKER (1u << PROCESS_WORKER)
#define CHECKER (1u << PROCESS_CHECKER)
#define ADMIN (1u << PROCESS_ADMIN)
#define ALL (WORKER | CHECKER | ADMIN)
#define DIALS (WORKER | CHECKER)
#define SERVES (WORKER | ADMIN)

struct rule {
	int call;
	uint32_t action;
	unsigned roles;
	unsigned ncmp;
	struct scmp_arg_cmp cmp[3];
};

#define RULE(role, name, action, n, ...) { SCMP_SYS(name), action, role, n, { __VA_ARGS__ } }
#define CMP(arg, op, value) { (arg), op, (scmp_datum_t)(value), 0 }
#define CMP_BITS(arg, mask, value) { (arg), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value) }
#define NONE { 0, SCMP_CMP_EQ, 0, 0 }

#define CALL(name) RULE(ALL, name, SCMP_ACT_ALLOW, 0, NONE)
#define CALL_OF(role, name) RULE(role, name, SCMP_ACT_ALLOW, 0, NONE)
#define SOCKET(family) RULE(DIALS, socket, SCMP_ACT_ALLOW, 1, CMP(0, SCMP_CMP_EQ, family))
#define CALL_EQ(name, arg, value) RULE(ALL, name, SCMP_ACT_ALLOW, 1, CMP(arg, SCMP_CMP_EQ, value))
/* When the bits of `mask` in the argument read `value`. */
#define CALL_BITS(role, name, arg, mask, value) RULE(role, name, SCMP_ACT_ALLOW, 1, CMP_BITS(arg, mask, value))
#define REFUSE(role, name, error) RULE(role, name, SCMP_ACT_ERRNO(error), 0, NONE)
#define REFUSE_IF(role, name, error, arg, op, value) RULE(role, name, SCMP_ACT_ERRNO(error), 1, CMP(arg, op, value))
#define REFUSE_BITS(role, name, error, arg, mask, value) \
	RULE(role, name, SCMP_ACT_ERRNO(error), 1, CMP_BITS(arg, mask, value))
#define NOT_TO_READ(name, arg) \
	REFUSE_BITS(CHECKER, name, EACCES, arg, O_WRONLY, O_WRONLY), \
	REFUSE_BITS(CHECKER, name, EACCES, arg, O_RDWR, O_RDWR), \
	REFUSE_BITS(CHECKER, name, EACCES, arg, O_CREAT, O_CREAT), \
	REFUSE_BITS(CHECKER, name, EACCES, arg, O_TRUNC, O_TRUNC)

static const struct rule rules[] = {
	/* the loop */
	CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(poll),
	CALL(ppoll), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime),
	/* bytes */
	CALL(read), CALL(readv), CALL(pread64), CALL(write), CALL(writev), CALL(pwritev2), CALL(splice), CALL(pipe2),
	CALL(close), CALL(lseek), CALL(fsync), CALL(fdatasync), CALL(ftruncate),
	CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(recvmmsg), CALL(sendmmsg),
	/* sockets: no bind, no listen. Families as the kernel numbers them. */
	SOCKET(AF_INET), SOCKET(AF_INET6), SOCKET(AF_UNIX),
	CALL_OF(DIALS, connect), CALL_OF(SERVES, accept4), CALL(getsockopt), CALL(setsockopt), CALL(getsockname),
	CALL(getpeername), CALL(shutdown),
	/* descriptors */
	CALL_EQ(fcntl, 1, F_GETFL), CALL_EQ(fcntl, 1, F_SETFL), CALL_EQ(fcntl, 1, F_GETFD), CALL_EQ(fcntl, 1, F_SETFD),
	CALL_EQ(fcntl, 1, F_DUPFD_CLOEXEC), CALL_EQ(fcntl, 1, F_SETPIPE_SZ), CALL_EQ(fcntl, 1, F_GETPIPE_SZ),
	CALL(dup), CALL(dup2), CALL(dup3), CALL(fstat), CALL_BITS(ALL, newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	CALL_EQ(ioctl, 1, FIONBIO), CALL_EQ(ioctl, 1, FIONREAD), CALL_EQ(ioctl, 1, SIOCOUTQ), CALL_EQ(ioctl, 1, TCGETS),
	/* memory, never executable */
	CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise),
	CALL_BITS(ALL, mmap, 2, PROT_EXEC, 0), CALL_BITS(ALL, mprotect, 2, PROT_EXEC, 0),
	/* time, and a processor to spend it on */
	CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(nanosleep), CALL(clock_nanosleep),
	CALL(restart_syscall), CALL(sched_yield), CALL(sched_getaffinity), CALL(getcpu), CALL(futex), CALL(rseq),
	/* oneself */
	CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
	CALL(getrandom), CALL(uname), CALL(sysinfo), CALL(getrusage), CALL(exit), CALL(exit_group),
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack), CALL(signalfd4),
	CALL_EQ(prctl, 0, PR_SET_NAME),
	/* limits are read: nothing new is given */
	CALL_EQ(prlimit64, 2, 0), CALL(getrlimit),

	/* files: the checker reads what the resolver asks for; Landlock says which */
	CALL_BITS(CHECKER, openat, 2, TO_WRITE, 0), CALL_BITS(CHECKER, open, 1, TO_WRITE, 0),
	CALL_OF(CHECKER, stat), CALL_OF(CHECKER, lstat), CALL_OF(CHECKER, newfstatat), CALL_OF(CHECKER, statx),
	CALL_OF(CHECKER, access), CALL_OF(CHECKER, faccessat), CALL_OF(CHECKER, faccessat2), CALL_OF(CHECKER, getdents64),
};

#ifndef WEIR_SANITIZE
/* Refused with an error, where else they would kill: libraries try these and go on without. No two rules of one call and role
 * may overlap, here and above: the wider one would win. */
static const struct rule refusals[] = {
	REFUSE(SERVES, open, EACCES), REFUSE(SERVES, openat, EACCES), NOT_TO_READ(open, 1), NOT_TO_READ(openat, 2),
	REFUSE(ALL, openat2, EACCES), REFUSE(ALL, creat, EACCES), REFUSE(ALL, readlink, EACCES),
	REFUSE(ALL, readlinkat, EACCES), REFUSE(ALL, getcwd, EACCES),
	REFUSE(SERVES, stat, EACCES), REFUSE(SERVES, lstat, EACCES), REFUSE(SERVES, statx, EACCES),
	REFUSE_BITS(SERVES, newfstatat, EACCES, 3, AT_EMPTY_PATH, 0),
	REFUSE(SERVES, access, EACCES), REFUSE(SERVES, faccessat, EACCES), REFUSE(SERVES, faccessat2, EACCES),
	/* The C library goes on with clone, which kills. */
	REFUSE(ALL, clone3, ENOSYS), REFUSE(ALL, membarrier, ENOSYS), REFUSE(ALL, sched_setaffinity, EPERM),
	REFUSE_IF(ALL, prctl, EPERM, 0, SCMP_CMP_NE, PR_SET_NAME), REFUSE_IF(ALL, prlimit64, EPERM, 2, SCMP_CMP_NE, 0),
	REFUSE_IF(ALL, socket, EAFNOSUPPORT, 0, SCMP_CMP_EQ, AF_PACKET),
	REFUSE_IF(ALL, socket, EAFNOSUPPORT, 0, SCMP_CMP_EQ, AF_NETLINK),
};
#endif

#ifdef WEIR_SANITIZE
/* What the sanitizers' runtime does before and while it reports; taken instead of the refusals. */
static const struct rule sanitizer_rules[] = {
	CALL(open), CALL(openat), CALL(readlink), CALL(readlinkat), CALL(stat), CALL(access), CALL(getcwd), CALL(prctl),
	CALL(newfstatat), CALL(getdents64), CALL(mincore), CALL(pipe), CALL(lstat), CALL(statx), CALL(prlimit64),
	CALL(membarrier), CALL(sched_setaffinity),
	REFUSE(ALL, clone, EPERM), REFUSE(ALL, clone3, ENOSYS), REFUSE(ALL, fork, EPERM), REFUSE(ALL, vfork, EPERM),
	REFUSE(ALL, execve, EPERM), REFUSE(ALL, ptrace, EPERM), REFUSE(ALL, kill, EPERM), REFUSE(ALL, wait4, ECHILD),
	REFUSE(ALL, personality, EPERM), REFUSE(ALL, setrlimit, EPERM),
};
#endif

static int add(scmp_filter_ctx ctx, const struct rule *list, size_t n, enum process_role role)
{
	for (size_t i = 0; i < n; i++) {
		const struct rule *r = &list[i];

		if ((r->roles >> role & 1) == 0)
			continue;
		int error = seccomp_rule_add_array(ctx, r->action, r->call, r->ncmp, r->cmp);
		/* A call that this machine's kernel interface lacks needs no rule. */
		if (error != 0 && error != -EDOM && error != -EEXIST)
			return error;
	}
	return 0;
}

/* raise() and abort() and nobody else's death. */
static int add_own_signals(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
}

bool seccomp_confine(enum process_role role)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (ctx == NULL) {
		errno = ENOMEM;
		return false;
	}
	int error = add(ctx, rules, ARRAY_LEN(rules), role);
#ifdef WEIR_SANITIZE
	if (error == 0)
		error = add(ctx, sanitizer_rules, ARRAY_LEN(sanitizer_rules), role);
#else
	if (error == 0)
		error = add(ctx, refusals, ARRAY_LEN(refusals), role);
#endif
	if (error == 0)
		error = add_own_signals(ctx);
	/* The hottest calls are asked for first. */
	if (error == 0)
		error = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (error == 0)
		error = seccomp_load(ctx);
	seccomp_release(ctx);
	errno = -error;
	return error == 0;
}
