"""Programs that a measurement starts, their CPU time and their memory.

A Stage owns every program; it ends them by their pids, whatever happens. CPU time is read from the clock of each
process, in nanoseconds, and covers user and system time.
"""

import os
import shutil
import socket
import subprocess
import time


def find(name):
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin:/usr/local/sbin')


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(('127.0.0.1', 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Program:
    """One program with a folder of its own. ports: where it listens."""

    def __init__(self, top, name, ports=1):
        self.name = name
        self.folder = os.path.join(top, name)
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o777)
        self.ports = free_ports(ports)
        self.port = self.ports[0]
        self.process = None

    def file(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, 'w') as f:
                f.write(text)
        return path

    def start(self, argv, stdout=None):
        self.log = open(self.file('output'), 'w+')
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout or self.log, stderr=self.log)
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', self.ports[-1]), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.log.seek(0)
        text = self.log.read()
        self.stop()
        raise SystemExit('bench: %s did not start:\n%s' % (self.name, text))

    def pids(self):
        """The program and its descendants."""
        found = [self.process.pid]
        for pid in found:
            try:
                with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
                    found += [int(p) for p in f.read().split()]
            except OSError:
                continue
        return found

    def cpu(self):
        """Seconds of CPU time that its processes have had; the clock of a process by its pid, as clock_getcpuclockid
        makes it."""
        total = 0
        for pid in self.pids():
            try:
                total += time.clock_gettime_ns((~pid << 3) | 2)
            except OSError:
                continue
        return total / 1e9

    def memory(self):
        """Bytes that are in no other process's count."""
        total = 0
        for pid in self.pids():
            with open('/proc/%d/smaps_rollup' % pid) as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith('Pss:'))
        return total * 1024

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


class Stage:
    """Starts programs and ends all of them."""

    def __init__(self, top):
        self.top = top
        self.programs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clear(0)

    def program(self, name, ports=1):
        self.programs.append(Program(self.top, name, ports))
        return self.programs[-1]

    def clear(self, keep):
        while len(self.programs) > keep:
            self.programs.pop().stop()
