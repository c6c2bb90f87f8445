#!/usr/bin/python3
# What a worker and the checker can still do once they run: nothing that a taken-over process would want. First their
# papers, as the kernel keeps them; then a hand inside makes them call the kernel, and each forbidden call must fail.
import os
import signal
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from child import read_text
import ptrace

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
[route all]
upstream = app
[upstream app]
server = {one}
check = tcp
'''

# name: (number on x86-64, words, errno or None where the process is killed for it); 'path' is a pointer to a path.
FORBIDDEN = {
    'fork': (57, [], None), 'clone': (56, [signal.SIGCHLD], None), 'execve': (59, ['path', 0, 0], None),
    'ptrace': (101, [0, 0, 0, 0], None), 'kill the master': (62, ['master', 9], None), 'bind': (49, [0, 0, 0], None),
    'listen': (50, [0, 1], None), 'setuid': (105, [0], None), 'chroot': (161, ['path'], None),
    'unlink': (87, ['path'], None), 'bpf': (321, [0, 0, 0], None), 'io_uring_setup': (425, [1, 0], None),
    'mmap of executable memory': (9, [0, 4096, 5, 34, -1, 0], None), 'mount': (165, [0, 0, 0, 0, 0], None),
    'unshare': (272, [0x10000000], None), 'a packet socket': (41, [17, 3, 0], 97), 'a netlink socket': (41, [16, 3, 0], 97),
    'open to write': (257, [-100, 'path', 0o101, 0o600], 13), 'prctl': (157, [4, 1], 1),
}


def papers(pid):
    """/proc/PID/status as a dictionary."""
    return dict(line.split(':', 1) for line in read_text('/proc/%d/status' % pid).splitlines() if ':' in line)


def limits(pid):
    found = {}
    for line in read_text('/proc/%d/limits' % pid).splitlines()[1:]:
        found[line[:26].strip()] = line[26:].split()[:2]
    return found


def check_papers(t, weir, name, pid):
    root = os.getuid() == 0
    status = papers(pid)
    with t.case('%s: no capability is left, nor any way to one' % name):
        for which in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb') + (('CapBnd',) if root else ()):
            equal(int(status[which], 16), 0, which)
        equal(status['NoNewPrivs'].strip(), '1', 'NoNewPrivs')
        equal(status['Seccomp'].strip(), '2', 'Seccomp')
    if root:
        with t.case('%s: another user and group, four times over, and no other group' % name):
            equal(len(set(status['Uid'].split())), 1, 'different uids')
            equal(len(set(status['Gid'].split())), 1, 'different gids')
            lacks(status['Uid'].split(), '0', 'uids')
            equal(status['Groups'].split(), [], 'groups')
    with t.case('%s: no new process, no core file, a fixed number of descriptors' % name):
        if not sanitized():
            equal(limits(pid)['Max processes'], ['0', '0'], 'processes')
        equal(limits(pid)['Max core file size'], ['0', '0'], 'core file')
        files = limits(pid)['Max open files']
        equal(files[0], files[1], 'soft and hard limit of descriptors')
    with t.case('%s: signals for the master do not concern it' % name):
        ignored = int(status['SigIgn'], 16)
        for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
            true(ignored >> (signum - 1) & 1, '%s is ignored' % signum.name)
        equal(int(status['SigBlk'], 16), 0, 'blocked signals')


def check_descriptors(t, weir):
    workers = weir.workers()
    with t.case('a worker holds no more than its own: no file, no other worker\'s socket, nothing of the starter'):
        for number, pid in workers.items():
            links = {fd: os.readlink('/proc/%d/fd/%s' % (pid, fd)) for fd in os.listdir('/proc/%d/fd' % pid)}
            allowed = (weir.error_path, weir.access_path, 'socket:', 'anon_inode:', 'pipe:', '/dev/null',
                       weir.out_path, weir.err_path)
            for fd, link in links.items():
                true(link.startswith(allowed), 'descriptor %s of worker %d is %s' % (fd, number, link))
        inodes = [{os.readlink('/proc/%d/fd/%s' % (p, fd)) for fd in os.listdir('/proc/%d/fd' % p)} for p in workers.values()]
        shared = {x for x in set.intersection(*inodes) if x.startswith('socket:')}
        equal(shared, set(), 'sockets that all workers hold')
    if os.getuid() == 0 and not sanitized():
        with t.case('a worker sees an empty directory for a root'):
            for pid in workers.values():
                root = os.readlink('/proc/%d/root' % pid)
                true(root != '/', 'root is %r' % root)
                equal(os.listdir('/proc/%d/root' % pid), [], 'files in it')


# Of the forbidden ones those that the checker tries too: a slot whose process died young waits longer each time.
FOR_CHECKER = ('fork', 'execve', 'bind', 'mmap of executable memory', 'a packet socket', 'open to write', 'prctl')


def check_call(weir, pids, count, number, words, want):
    """pids() gives {number: pid} of the processes of that role; the oldest is taken."""
    pid = min(pids().values(), key=birth)
    until('it has lived for a second', lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf('SC_CLK_TCK') >
          birth(pid) + 1.2 * os.sysconf('SC_CLK_TCK'))
    with ptrace.Held(pid) as held:
        known = {'path': held.put(b'/etc/passwd'), 'master': weir.pid}
        got = held.syscall(number, *[known.get(word, word) for word in words])
    if want is not None:
        equal(got, -want, 'answer of the kernel')
        return
    equal(got, None, 'answer of the kernel')
    equal(held.died, signal.SIGSYS, 'signal that ended it')
    until('it was replaced', lambda: pid not in pids().values() and len(pids()) >= count, 5)


def check_calls(t, weir, name, pids, which):
    count = len(pids())
    for what in which:
        number, words, want = FORBIDDEN[what]
        with t.case('%s: %s is %s' % (name, what, 'deadly' if want is None else 'refused')):
            check_call(weir, pids, count, number, words, want)
    with t.case('%s: opening files to read is %s' % (name, 'for name service alone' if name == 'checker' else 'refused')):
        pid = min(pids().values(), key=birth)
        for path, good in (('/etc/passwd', name == 'checker'), ('/proc/self/status', False), (weir.conf_path, False)):
            with ptrace.Held(pid) as held:
                got = held.syscall(257, -100, held.put(path.encode()), 0, 0)
                equal(got >= 0, good, 'answer of the kernel for %s, %d' % (path, got))
                if got >= 0:
                    held.syscall(3, got)
    with t.case('%s: one that was held and let go works on' % name):
        isin(pid, list(pids().values()), 'pid')
        equal(fetch(weir.port).status, 200, 'status')


with Story('what is left to a worker', deadline=90) as t:
    weir = Weir(CONF, one=Origin('one'), workers=4)
    equal(fetch(weir.port).status, 200, 'status')
    check_papers(t, weir, 'worker', weir.workers()[0])
    check_papers(t, weir, 'checker', weir.checker())
    check_descriptors(t, weir)
    with t.case('the error log says what confines whom'):
        weir.wait_errors('workers are confined by .*seccomp.*; Landlock ABI [0-9]+')
    if ptrace.usable() and not sanitized():
        weir.expect_deaths = True
        check_calls(t, weir, 'worker', weir.workers, FORBIDDEN)
        check_calls(t, weir, 'checker', lambda: {0: weir.checker()} if weir.checker() else {}, FOR_CHECKER)
        with t.case('the log names the reason of such a death'):
            weir.wait_errors('killed by signal 31 .*system call that is not allowed')
    else:
        t.skip('forbidden calls from inside', 'needs root, x86-64 and a build without sanitizers')
