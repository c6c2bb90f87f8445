/*
 * seccomp_test.c - each forbidden call fails, each needed one works, for worker and checker.
 *
 * Every attempt is a process of its own that confines itself and makes one call.
 */
#include "t/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/priv.h"

#define KILLED 1000			/* instead of an errno: the kernel ended the process */
#define FINE 0

struct attempt {
	const char *name;
	long (*call)(void);
	int worker, checker;		/* FINE, an errno, or KILLED */
};

static long sys(long nr, long a, long b, long c, long d)
{
	return syscall(nr, a, b, c, d, 0, 0);
}

static char path_etc[] = "/etc/hosts";
static char memory[64];

#define TRY(name, expr) static long name(void) { return (long)(expr); }
TRY(try_fork, sys(SYS_fork, 0, 0, 0, 0))
TRY(try_vfork, sys(SYS_clone, SIGCHLD, 0, 0, 0))
TRY(try_clone3, sys(SYS_clone3, (long)memory, sizeof(memory), 0, 0))
TRY(try_execve, execl("/bin/true", "true", (char *)NULL))
TRY(try_execveat, sys(SYS_execveat, AT_FDCWD, (long)"/bin/true", 0, 0))
TRY(try_ptrace, sys(SYS_ptrace, 0, 0, 0, 0))
TRY(try_open_write, open("/tmp/weir-must-not-be", O_WRONLY | O_CREAT, 0600))
TRY(try_open_read, open(path_etc, O_RDONLY))
TRY(try_creat, sys(SYS_creat, (long)"/tmp/weir-must-not-be", 0600, 0, 0))
TRY(try_unlink, unlink("/tmp/weir-must-not-be"))
TRY(try_mkdir, mkdir("/tmp/weir-must-not-be", 0700))
TRY(try_rename, rename("/tmp/weir-must-not-be", "/tmp/weir-nor-this"))
TRY(try_chmod, chmod("/tmp/weir-must-not-be", 0777))
TRY(try_chroot, chroot("/"))
TRY(try_mount, sys(SYS_mount, 0, 0, 0, 0))
TRY(try_bind, bind(0, NULL, 0))
TRY(try_listen, listen(0, 1))
TRY(try_packet, socket(AF_PACKET, SOCK_RAW, 0))
TRY(try_netlink, socket(AF_NETLINK, SOCK_RAW, 0))
TRY(try_vsock, socket(AF_VSOCK, SOCK_STREAM, 0))
TRY(try_kill_other, kill(getppid(), 0))
TRY(try_tgkill_other, sys(SYS_tgkill, getppid(), getppid(), 0, 0))
TRY(try_setuid, sys(SYS_setuid, 0, 0, 0, 0))
TRY(try_setresuid, sys(SYS_setresuid, 0, 0, 0, 0))
TRY(try_capset, sys(SYS_capset, 0, 0, 0, 0))
TRY(try_bpf, sys(SYS_bpf, 0, 0, 0, 0))
TRY(try_io_uring, sys(SYS_io_uring_setup, 1, 0, 0, 0))
TRY(try_userfaultfd, sys(SYS_userfaultfd, 0, 0, 0, 0))
TRY(try_keyctl, sys(SYS_keyctl, 0, 0, 0, 0))
TRY(try_perf, sys(SYS_perf_event_open, 0, 0, 0, 0))
TRY(try_unshare, unshare(CLONE_NEWUSER))
TRY(try_process_vm, sys(SYS_process_vm_readv, getppid(), 0, 0, 0))
TRY(try_memfd, sys(SYS_memfd_create, (long)"x", 0, 0, 0))
TRY(try_prctl, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
TRY(try_seccomp, prctl(PR_SET_SECCOMP, 1, 0, 0, 0))
TRY(try_setrlimit, sys(SYS_setrlimit, 7, 0, 0, 0))
TRY(try_prlimit, sys(SYS_prlimit64, 0, 7, (long)memory, 0))
TRY(try_ioctl, sys(SYS_ioctl, 0, 0x5412, (long)memory, 0))
TRY(try_exec_memory, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0)
TRY(try_settimeofday, sys(SYS_settimeofday, 0, 0, 0, 0))
TRY(try_personality, sys(SYS_personality, 0xffffffff, 0, 0, 0))

/* What the loop lives on. */
TRY(try_socket, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0))
TRY(try_socket6, socket(AF_INET6, SOCK_STREAM, 0))
TRY(try_socket_unix, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(try_epoll, epoll_wait(epoll_create1(0), (struct epoll_event *)memory, 1, 1) != 0)
TRY(try_memory, munmap(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1 << 20))
TRY(try_malloc, malloc(1 << 22) == NULL)
TRY(try_own_limits, sys(SYS_prlimit64, 0, 7, 0, (long)memory))
TRY(try_own_signal, signal(SIGUSR1, SIG_IGN) == SIG_ERR ? -1 : raise(SIGUSR1))
TRY(try_getrandom, sys(SYS_getrandom, (long)memory, 8, 0, 0) != 8)

static const struct attempt attempts[] = {
	{ "fork", try_fork, KILLED, KILLED }, { "clone", try_vfork, KILLED, KILLED },
	{ "clone3", try_clone3, ENOSYS, ENOSYS }, { "execve", try_execve, KILLED, KILLED },
	{ "execveat", try_execveat, KILLED, KILLED }, { "ptrace", try_ptrace, KILLED, KILLED },
	{ "open to write", try_open_write, EACCES, EACCES }, { "open to read", try_open_read, EACCES, FINE },
	{ "creat", try_creat, EACCES, EACCES }, { "unlink", try_unlink, KILLED, KILLED },
	{ "mkdir", try_mkdir, KILLED, KILLED }, { "rename", try_rename, KILLED, KILLED },
	{ "chmod", try_chmod, KILLED, KILLED }, { "chroot", try_chroot, KILLED, KILLED },
	{ "mount", try_mount, KILLED, KILLED }, { "bind", try_bind, KILLED, KILLED },
	{ "listen", try_listen, KILLED, KILLED }, { "packet socket", try_packet, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "netlink socket", try_netlink, EAFNOSUPPORT, EAFNOSUPPORT }, { "vsock", try_vsock, KILLED, KILLED },
	{ "kill", try_kill_other, KILLED, KILLED },
	{ "tgkill", try_tgkill_other, KILLED, KILLED }, { "setuid", try_setuid, KILLED, KILLED },
	{ "setresuid", try_setresuid, KILLED, KILLED }, { "capset", try_capset, KILLED, KILLED },
	{ "bpf", try_bpf, KILLED, KILLED }, { "io_uring_setup", try_io_uring, KILLED, KILLED },
	{ "userfaultfd", try_userfaultfd, KILLED, KILLED }, { "keyctl", try_keyctl, KILLED, KILLED },
	{ "perf_event_open", try_perf, KILLED, KILLED }, { "unshare", try_unshare, KILLED, KILLED },
	{ "process_vm_readv", try_process_vm, KILLED, KILLED }, { "memfd_create", try_memfd, KILLED, KILLED },
	{ "prctl dumpable", try_prctl, EPERM, EPERM }, { "prctl seccomp", try_seccomp, EPERM, EPERM },
	{ "setrlimit", try_setrlimit, KILLED, KILLED }, { "prlimit", try_prlimit, EPERM, EPERM },
	{ "ioctl TIOCSTI", try_ioctl, KILLED, KILLED }, { "executable memory", try_exec_memory, KILLED, KILLED },
	{ "settimeofday", try_settimeofday, KILLED, KILLED }, { "personality", try_personality, KILLED, KILLED },
	{ "socket", try_socket, FINE, FINE }, { "socket IPv6", try_socket6, FINE, FINE },
	{ "socket UNIX", try_socket_unix, FINE, FINE }, { "epoll", try_epoll, FINE, FINE },
	{ "memory", try_memory, FINE, FINE }, { "malloc", try_malloc, FINE, FINE },
	{ "own limits", try_own_limits, FINE, FINE }, { "signal to itself", try_own_signal, FINE, FINE },
	{ "getrandom", try_getrandom, FINE, FINE },
};
#define ATTEMPTS ((int)(sizeof(attempts) / sizeof(attempts[0])))

/* The outcome: FINE, errno or KILLED. */
static int attempt_as(enum process_role role, long (*call)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (!seccomp_confine(role))
			_exit(255);
		errno = 0;
		_exit(call() >= 0 ? FINE : errno);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		ck_assert_int_eq(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	return WEXITSTATUS(status);
}

/* A sanitizer's runtime needs more, and that build is not what this is about. */
#ifdef WEIR_SANITIZE
#define UNLESS_SANITIZED return
#else
#define UNLESS_SANITIZED
#endif

START_TEST(worker_list)
{
	UNLESS_SANITIZED;
	for (int i = 0; i < ATTEMPTS; i++) {
		int got = attempt_as(PROCESS_WORKER, attempts[i].call);

		ck_assert_msg(got == attempts[i].worker, "%s: got %d, not %d", attempts[i].name, got, attempts[i].worker);
	}
}
END_TEST

START_TEST(checker_list)
{
	UNLESS_SANITIZED;
	for (int i = 0; i < ATTEMPTS; i++) {
		int got = attempt_as(PROCESS_CHECKER, attempts[i].call);

		ck_assert_msg(got == attempts[i].checker, "%s: got %d, not %d", attempts[i].name, got, attempts[i].checker);
	}
}
END_TEST

/* As a worker, but without a socket of its own making. */
START_TEST(admin_list)
{
	UNLESS_SANITIZED;
	for (int i = 0; i < ATTEMPTS; i++) {
		int want = strncmp(attempts[i].name, "socket", 6) == 0 ? KILLED : attempts[i].worker;
		int got = attempt_as(PROCESS_ADMIN, attempts[i].call);

		ck_assert_msg(got == want, "%s: got %d, not %d", attempts[i].name, got, want);
	}
}
END_TEST

/* ---- Landlock ---- */

static int landlocked(enum process_role role, long (*call)(void))
{
	static const struct conf conf = { .magic = CONF_MAGIC };
	const char *step;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (!landlock_confine(landlock_abi(), &conf, role, &step))
			_exit(255);
		errno = 0;
		_exit(call() >= 0 ? FINE : errno);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

TRY(try_open_tmp, open("/tmp", O_RDONLY | O_DIRECTORY))
TRY(try_proc, open("/proc/self/status", O_RDONLY))

START_TEST(files_are_out_of_reach)
{
	UNLESS_SANITIZED;
	if (landlock_abi() == 0)
		return;
	ck_assert_int_eq(landlocked(PROCESS_WORKER, try_open_read), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_WORKER, try_open_write), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_WORKER, try_open_tmp), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_WORKER, try_mkdir), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_ADMIN, try_open_read), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_CHECKER, try_open_read), FINE);
	ck_assert_int_eq(landlocked(PROCESS_CHECKER, try_open_write), EACCES);
	ck_assert_int_eq(landlocked(PROCESS_CHECKER, try_proc), EACCES);
}
END_TEST

UNIT("seccomp", worker_list, checker_list, admin_list, files_are_out_of_reach)
