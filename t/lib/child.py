"""Child processes of a test: started to die with it, watched and ended by pid alone."""

import os
import signal
import subprocess
import threading
import time

from tap import SLOW, Failed, story, until


def stat_of(pid):
    """The fields of /proc/PID/stat from the state on, or None where there is no such process."""
    try:
        with open('/proc/%d/stat' % pid, 'rb') as f:
            return f.read().rpartition(b')')[2].split()
    except OSError:
        return None


def alive(pid):
    fields = stat_of(pid)
    return fields is not None and fields[0] not in (b'Z', b'X')


def birth(pid):
    """A number that tells a process from a later one with its pid."""
    fields = stat_of(pid)
    return fields and int(fields[19])


def children(pid):
    """Pids of the living children, oldest first."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            fields = stat_of(int(name))
            if fields and int(fields[1]) == pid and fields[0] not in (b'Z', b'X'):
                found.append((int(fields[19]), int(name)))
    return [number for _, number in sorted(found)]


def title(pid):
    """The command line as ps shows it."""
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            return f.read().replace(b'\0', b' ').strip().decode('utf-8', 'replace')
    except OSError:
        return ''


def status_kib(pid, field):
    """A size field of /proc/PID/status in KiB, say VmRSS or VmHWM."""
    with open('/proc/%d/status' % pid) as f:
        for line in f:
            if line.startswith(field + ':'):
                return int(line.split()[1])
    return 0


def rss(pid):
    """Resident memory in bytes."""
    return status_kib(pid, 'VmRSS') * 1024


def cpu_seconds(pid):
    fields = stat_of(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def fds(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def listening(port):
    """Somebody listens on the TCP port; found without touching it."""
    want = ':%04X' % port
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        try:
            with open(table) as f:
                for line in f:
                    words = line.split()
                    if len(words) > 3 and words[3] == '0A' and words[1].endswith(want):
                        return True
        except OSError:
            pass
    return False


def spawn(args, **more):
    """Popen that gets SIGTERM when this process dies.  The kernel ties that to the forking thread: main only."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError('children are started by the main thread')
    return subprocess.Popen(['setpriv', '--pdeathsig', 'TERM', '--'] + list(args), **more)


class Child:
    """A server process with its output in files; see the classes built on it."""

    def __init__(self, name, args, cwd=None, env=None):
        self.name, self.args = name, [str(a) for a in args]
        self.out_path = story().path('%s.out' % name)
        self.err_path = story().path('%s.err' % name)
        self.cwd, self.env = cwd, env
        self.process = None
        story().adopt(self)

    def launch(self):
        env = dict(os.environ, **(self.env or {}))
        with open(self.out_path, 'ab') as out, open(self.err_path, 'ab') as err, open(os.devnull, 'rb') as none:
            self.process = spawn(self.args, stdin=none, stdout=out, stderr=err, cwd=self.cwd, env=env)
        self.pid = self.process.pid

    def out(self):
        return read_text(self.out_path)

    def err(self):
        return read_text(self.err_path)

    def wait_listening(self, port, timeout=10):
        def probe():
            if self.process.poll() is not None:
                raise Failed('%s ended with status %s at start: %s' % (self.name, self.process.returncode, self.err()))
            return listening(port)
        until('%s listens on port %d' % (self.name, port), probe, timeout)

    def wait(self, timeout=10):
        """Exit status as subprocess gives it (negative: signal)."""
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise Failed('%s did not end within %.1f s' % (self.name, timeout * SLOW)) from None

    def stop(self, signum=signal.SIGTERM, timeout=10):
        self.process.send_signal(signum)
        return self.wait(timeout)

    def kill(self):
        if self.process is not None:
            end_pids(self.process, [])

    def dump(self):
        return [('%s: %s' % (self.name, ' '.join(self.args)), ''),
                ('%s stdout' % self.name, self.out()), ('%s stderr' % self.name, self.err())]


def read_text(path):
    try:
        with open(path, 'rb') as f:
            return f.read().decode('utf-8', 'backslashreplace')
    except OSError:
        return ''


def end_pids(process, others, patience=2.0):
    """Ends the process and then `others` = [(pid, birth)]: TERM, a moment, KILL; never a pid that changed hands."""
    if process.poll() is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    end = time.monotonic() + patience
    while time.monotonic() < end and any(birth(p) == b for p, b in others):
        time.sleep(0.02)
    for pid, born in others:
        if birth(pid) == born:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
