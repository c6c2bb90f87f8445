/*
 * seccomp.c - leaves a child the system calls that its role needs.
 *
 * Owns the list. Runs in a fresh child as the last step before READY work
 * begins. Whatever is not listed kills the process; opening files is refused
 * with EACCES instead, since libraries try that and go on without. No fork, no
 * exec, no executable memory (PCRE2 runs without JIT for this), no sockets but
 * of the internet and UNIX families, no signal to anybody else.
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

#define BOTH 3u
#define WORKER (1u << PROCESS_WORKER)
#define CHECKER (1u << PROCESS_CHECKER)

struct rule {
	int call;
	uint32_t action;
	unsigned roles;
	unsigned ncmp;
	struct scmp_arg_cmp cmp[3];
};

#define CALL(name) { SCMP_SYS(name), SCMP_ACT_ALLOW, BOTH, 0, { { 0 } } }
#define CALL_OF(role, name) { SCMP_SYS(name), SCMP_ACT_ALLOW, role, 0, { { 0 } } }
#define REFUSE(name, error) { SCMP_SYS(name), SCMP_ACT_ERRNO(error), BOTH, 0, { { 0 } } }
#define CALL_EQ(name, arg, value) \
	{ SCMP_SYS(name), SCMP_ACT_ALLOW, BOTH, 1, { { (arg), SCMP_CMP_EQ, (scmp_datum_t)(value), 0 } } }
/* Allowed when the bits of `mask` in the argument read `value`. */
#define CALL_BITS(role, name, arg, mask, value) \
	{ SCMP_SYS(name), SCMP_ACT_ALLOW, role, 1, \
	  { { (arg), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (scmp_datum_t)(value) } } }

static const struct rule rules[] = {
	/* the loop */
	CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(poll),
	CALL(ppoll), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime),
	/* bytes */
	CALL(read), CALL(readv), CALL(pread64), CALL(write), CALL(writev), CALL(pwritev2), CALL(splice), CALL(pipe2),
	CALL(close), CALL(lseek), CALL(fsync), CALL(fdatasync), CALL(ftruncate),
	CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(recvmmsg), CALL(sendmmsg),
	/* sockets: no bind, no listen. Families as the kernel numbers them. */
	CALL_EQ(socket, 0, AF_INET), CALL_EQ(socket, 0, AF_INET6), CALL_EQ(socket, 0, AF_UNIX),
	CALL(connect), CALL_OF(WORKER, accept4), CALL(getsockopt), CALL(setsockopt), CALL(getsockname),
	CALL(getpeername), CALL(shutdown),
	/* descriptors */
	CALL_EQ(fcntl, 1, F_GETFL), CALL_EQ(fcntl, 1, F_SETFL), CALL_EQ(fcntl, 1, F_GETFD), CALL_EQ(fcntl, 1, F_SETFD),
	CALL_EQ(fcntl, 1, F_DUPFD_CLOEXEC), CALL_EQ(fcntl, 1, F_SETPIPE_SZ), CALL_EQ(fcntl, 1, F_GETPIPE_SZ),
	CALL(dup), CALL(dup2), CALL(dup3), CALL(fstat), CALL_BITS(BOTH, newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	CALL_EQ(ioctl, 1, FIONBIO), CALL_EQ(ioctl, 1, FIONREAD), CALL_EQ(ioctl, 1, SIOCOUTQ), CALL_EQ(ioctl, 1, TCGETS),
	/* memory, never executable */
	CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise),
	CALL_BITS(BOTH, mmap, 2, PROT_EXEC, 0), CALL_BITS(BOTH, mprotect, 2, PROT_EXEC, 0),
	/* time, and a processor to spend it on */
	CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(nanosleep), CALL(clock_nanosleep),
	CALL(restart_syscall), CALL(sched_yield), CALL(sched_getaffinity), CALL(getcpu), CALL(futex), CALL(rseq),
	/* oneself */
	CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
	CALL(getrandom), CALL(uname), CALL(sysinfo), CALL(getrusage), CALL(exit), CALL(exit_group),
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack), CALL_EQ(prctl, 0, PR_SET_NAME),
	/* limits are read: nothing new is given */
	CALL_EQ(prlimit64, 2, 0), CALL(getrlimit),

	/* files: the checker reads what the resolver asks for; Landlock says which */
	CALL_BITS(CHECKER, openat, 2, O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE, O_RDONLY),
	CALL_BITS(CHECKER, open, 1, O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE, O_RDONLY),
	CALL_OF(CHECKER, stat), CALL_OF(CHECKER, newfstatat), CALL_OF(CHECKER, statx), CALL_OF(CHECKER, access),
	CALL_OF(CHECKER, faccessat2), CALL_OF(CHECKER, getdents64),
};

/* Refused with an error where the list above does not allow them. */
static const struct rule refusals[] = {
	REFUSE(open, EACCES), REFUSE(openat, EACCES), REFUSE(openat2, EACCES), REFUSE(creat, EACCES),
	REFUSE(stat, EACCES), REFUSE(lstat, EACCES), REFUSE(newfstatat, EACCES), REFUSE(statx, EACCES),
	REFUSE(access, EACCES), REFUSE(faccessat, EACCES), REFUSE(faccessat2, EACCES), REFUSE(readlink, EACCES),
	REFUSE(readlinkat, EACCES), REFUSE(getcwd, EACCES),
	/* The C library falls back from clone3 to clone, which kills. */
	REFUSE(clone3, ENOSYS),
	/* Asked for by libraries that do without. */
	REFUSE(prctl, EPERM), REFUSE(ioctl, ENOTTY), REFUSE(prlimit64, EPERM), REFUSE(socket, EAFNOSUPPORT),
	REFUSE(sched_setaffinity, EPERM), REFUSE(membarrier, ENOSYS),
};

#ifdef WEIR_SANITIZE
/* What the sanitizers' runtime does before and while it reports. */
static const struct rule sanitizer_rules[] = {
	CALL(open), CALL(openat), CALL(readlink), CALL(readlinkat), CALL(stat), CALL(access), CALL(getcwd), CALL(prctl),
	CALL(newfstatat), CALL(getdents64), CALL(mincore), CALL(pipe), CALL(gettid), CALL(lstat), CALL(statx),
};
static const struct rule sanitizer_refusals[] = {
	REFUSE(clone, EPERM), REFUSE(fork, EPERM), REFUSE(vfork, EPERM), REFUSE(execve, EPERM), REFUSE(ptrace, EPERM),
	REFUSE(kill, EPERM), REFUSE(wait4, ECHILD), REFUSE(personality, EPERM), REFUSE(setrlimit, EPERM),
};
#endif

static int add(scmp_filter_ctx ctx, const struct rule *list, size_t n, enum process_role role)
{
	for (size_t i = 0; i < n; i++) {
		const struct rule *r = &list[i];

		if ((r->roles >> role & 1) == 0)
			continue;
		int error = seccomp_rule_add_array(ctx, r->action, r->call, r->ncmp, r->cmp);
		/* A call that this machine's kernel interface lacks needs no rule; a refusal behind a general permission adds
		 * nothing. */
		if (error != 0 && error != -EDOM && error != -EEXIST && error != -EACCES)
			return error;
	}
	return 0;
}

/* raise() and abort() and nobody else's death. */
static int add_own_signals(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
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
	if (error == 0)
		error = add(ctx, sanitizer_refusals, ARRAY_LEN(sanitizer_refusals), role);
#endif
	if (error == 0)
		error = add(ctx, refusals, ARRAY_LEN(refusals), role);
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
