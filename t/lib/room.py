"""A throw-away copy of this machine: what happens in it, to files, processes or ports, is gone with it.

Room() stacks an overlay in memory on the root directory and lives in namespaces of its own: mounts, processes, network.
room.run(argv) runs a command in it, room.path('/etc/x') names one of its files for us outside. Only root can have one;
Room.why_not() tells why this machine gives none. Run as a program this file is the first process in there.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

ENV = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8', 'HOME': '/root',
       'DEBIAN_FRONTEND': 'noninteractive'}
TOOLS = ('unshare', 'nsenter', 'mount')


def mount(*argv):
    subprocess.run(('mount',) + argv, check=True)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 0x1))       # SIOCSIFFLAGS, IFF_UP


def first_process(base):
    """Makes the room below `base`, says so, and waits for its end, burying those whom nobody else waits for."""
    mount('--make-rprivate', '/')
    mount('-t', 'tmpfs', 'room', base)
    root = os.path.join(base, 'root')
    for name in ('upper', 'work', 'root'):
        os.mkdir(os.path.join(base, name))
    mount('-t', 'overlay', 'overlay', '-o', 'lowerdir=/,upperdir=%s/upper,workdir=%s/work' % (base, base), root)
    for name in ('run', 'tmp', 'var/tmp'):
        mount('-t', 'tmpfs', '-o', 'mode=%s' % ('755' if name == 'run' else '1777'), name, os.path.join(root, name))
    mount('-t', 'proc', 'proc', os.path.join(root, 'proc'))
    mount('--rbind', '/dev', os.path.join(root, 'dev'))
    os.mkdir(os.path.join(root, 'run/upper'))
    mount('--bind', os.path.join(base, 'upper'), os.path.join(root, 'run/upper'))
    os.chroot(root)
    os.chdir('/')
    loopback_up()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print('ready', flush=True)
    os.set_blocking(0, False)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        if ended():
            return
        time.sleep(0.05)


def ended():
    """Whether the test has closed its end of our standard input."""
    try:
        return os.read(0, 1) == b''
    except BlockingIOError:
        return False


class Room:
    def __init__(self):
        import tap
        self.base = tap.story().path('room')
        os.mkdir(self.base)
        self.outer = subprocess.Popen(
            ['unshare', '--mount', '--pid', '--net', '--fork', '--kill-child', sys.executable, os.path.abspath(__file__),
             self.base], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        tap.story().finally_(self.close)
        said = self.outer.stdout.readline()
        if said != 'ready\n':
            raise OSError((said + self.outer.stdout.read()).strip() or 'no namespaces')
        with open('/proc/%d/task/%d/children' % (self.outer.pid, self.outer.pid)) as f:
            self.pid = int(f.read())

    @staticmethod
    def why_not():
        """None where a room can be had, as far as can be told without trying."""
        if os.geteuid() != 0:
            return 'needs root'
        lacking = [tool for tool in TOOLS if not shutil.which(tool)]
        return 'needs ' + ', '.join(lacking) if lacking else None

    def path(self, name):
        return '/proc/%d/root%s' % (self.pid, name)

    def read(self, name):
        try:
            with open(self.path(name), errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def write(self, name, text):
        with open(self.path(name), 'w') as f:
            f.write(text)

    def words(self, argv):
        root = '/proc/%d/root' % self.pid
        return ['nsenter', '--target', str(self.pid), '--mount', '--pid', '--net', '--root=' + root, '--wd=' + root] + list(argv)

    def run(self, *argv, timeout=60):
        """Runs a command in there; out and err come together, as .stdout."""
        return subprocess.run(self.words(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors='replace', timeout=timeout, env=ENV)

    def start(self, *argv):
        """Starts one; what it reads and says is at pipes."""
        return subprocess.Popen(self.words(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env=ENV)

    def changed(self):
        """Every path that differs from the machine's own, without the directories above."""
        found = []
        top = self.path('/run/upper')
        for folder, folders, names in os.walk(top):
            found += [os.path.join(folder, n)[len(top):] for n in folders + names]
        return sorted(found)

    def close(self):
        """Closing its standard input ends the first process, and the kernel ends all others with it."""
        if self.outer.poll() is None:
            self.outer.stdin.close()
            try:
                self.outer.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.outer.kill()
                self.outer.wait()


if __name__ == '__main__':
    first_process(sys.argv[1])
