#!/usr/bin/python3
# A master killed under load. Its workers serve on without it; a new master starts at once, takes over every file, and serves
# beside them until they end by themselves. Under a supervisor that keeps sockets (systemd's protocol), the new one gets the
# very sockets of the old one back. Clients notice nothing.
# timeout: 120
import array
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import tap
from child import read_text, spawn
from weir import environment

APP = '''
[weir]
workers = %d
orphan_timeout = 3s
shutdown_timeout = 10s
[listen http]
bind = 127.0.0.1:{port}, unix:{dir}/front
max_requests = 0
[route all]
upstream = app
[upstream app]
server = {one}
check = http
check_interval = 300ms
check_fall = 1
'''


def kill(weir):
    """Kills the master; its family: {pid: birth}."""
    family = {pid: birth(pid) for pid in weir.worker_pids() + [weir.checker()]}
    weir.expect_deaths = True
    os.kill(weir.pid, signal.SIGKILL)
    weir.wait()
    return family


def living(family):
    return [pid for pid, born in family.items() if birth(pid) == born and alive(pid)]


def loads(weir):
    found = [Load(weir.port, '/fresh', connections=3, close_each=True, pause=0.003),
             Load(weir.port, '/kept', connections=3, pause=0.003),
             Load(weir.port, lambda n: '/digest?%d' % n, connections=2, method='POST', body=body_of(3000), pause=0.01,
                  check=lambda m: m.status == 200 and digest_of(3000) in m.text)]
    for load in found:
        load.start()
    return found


def more(load, count):
    goal = load.ok + count
    until('%d more are served' % count, lambda: load.ok >= goal)


def restarted(t):
    weir = Weir(APP % 2, name='restarted', one=Origin('one'))
    running = loads(weir)
    with t.case('the master is killed: its workers serve on, who is new and who was there'):
        family = kill(weir)
        for load in running:
            more(load, 30)
        contains(weir.errors(), 'the master is gone: serving on without it for 3 s', 'error log')
        equal(len(living(family)), 3, 'processes')
    with t.case('its checker goes on: a server that dies is left alone'):
        weir.things['one'].down()
        weir.wait_errors(r'checker.*127\.0\.0\.1:\d+.* (is )?down')
        weir.things['one'].up()
        for load in running:
            load.counts.clear()
    with t.case('a new master starts at once and takes over pid file, locks, control socket and addresses'):
        began = time.monotonic()
        weir.start()
        t.note('it took %.2f s' % (time.monotonic() - began))
        equal(int(read_text(weir.pid_path)), weir.pid, 'process in the pid file')
        until('it answers weirctl', lambda: status(weir)['pid'] == weir.pid)
        contains(weir.errors(), 'workers of an earlier master still listen', 'error log')
        run = subprocess.run([program(), '-c', weir.conf_path], capture_output=True, text=True, timeout=20 * tap.SLOW)
        contains(run.stderr, 'running already', 'a third one')
    with t.case('the orphans end after orphan_timeout, and the new one serves everybody'):
        until('they are gone', lambda: not living(family), 15)
        for load in running:
            more(load, 30)
        for load in running:
            load.stop()
    with t.case('nobody lost anything but requests to a server that was down'):
        equal([load.lost - load.counts['5xx'] for load in running], [0] * 3, 'lost: %r' % running)
    weir.stop()


def unhurt(t):
    weir = Weir((APP % 3).replace('check = http', ''). replace('check_interval = 300ms', '').replace('check_fall = 1', ''),
                name='unhurt', one=Origin('one'))
    running = loads(weir)
    with t.case('three masters killed one after the other under load: not one request fails'):
        families = {}
        for _ in range(3):
            more(running[0], 50)
            families.update(kill(weir))
            more(running[0], 50)
            weir.start()
        until('all orphans are gone', lambda: not living(families), 20)
        more(running[0], 50)
        for load in running:
            load.stop()
        equal([load.lost for load in running], [0] * 3, 'lost: %r' % running)
    weir.stop()


def waiting(t):
    weir = Weir((APP % 1).replace('3s', '500ms'), name='waiting', one=Origin('one'))
    with t.case('what is under way when orphan_timeout ends has its shutdown_timeout'):
        client = Client(weir.port)
        client.ask('GET', '/slow/2500')
        until('the origin was asked', lambda: any(m.target == '/slow/2500' for m in weir.things['one'].requests))
        family = kill(weir)
        weir.wait_errors('orphan_timeout passed')
        equal(client.read().status, 200, 'status')
        until('all are gone, the checker, too', lambda: not living(family), 15)
        true(not listening(weir.port), 'nobody listens')
    weir.stopped = True


LAUNCHER = '''
import os, sys
n, names, fds = int(sys.argv[1]), sys.argv[2], [int(f) for f in sys.argv[3].split(',') if f]
for i, fd in enumerate(fds):
    os.dup2(fd, 200 + i)
for i in range(n):
    os.dup2(200 + i, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n), LISTEN_FDNAMES=names)
os.execv(sys.argv[4], sys.argv[4:])
'''


class Supervisor:
    """Speaks systemd's side of the protocol: keeps descriptors by name, gives them to the next start."""

    def __init__(self, folder):
        self.path = os.path.join(folder, 'notify')
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.kept, self.said = {}, []
        self.launcher = os.path.join(folder, 'launcher.py')
        with open(self.launcher, 'w') as f:
            f.write(LAUNCHER)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            data, ancillary, _, _ = self.sock.recvmsg(4096, 1024)
            words = dict(line.split('=', 1) for line in data.decode().split('\n') if '=' in line)
            self.said.append(words)
            fds = array.array('i')
            for _, _, content in ancillary:
                fds.frombytes(content)
            if 'FDSTORE' in words:
                self.kept[words['FDNAME']] = fds[0]
            elif 'FDSTOREREMOVE' in words:
                os.close(self.kept.pop(words['FDNAME'], -1))

    def start(self, weir, extra=()):
        """Starts (again) with what is kept, and with (name, descriptor) of its own."""
        given = list(extra) + sorted(self.kept.items())
        weir.args = [sys.executable, self.launcher, str(len(given)), ':'.join(name for name, _ in given),
                     ','.join(str(fd) for _, fd in given), weir.weir, '-c', weir.conf_path]
        weir.env['NOTIFY_SOCKET'] = self.path
        with open(weir.out_path, 'ab') as out, open(weir.err_path, 'ab') as err:
            weir.process = spawn(weir.args, stdout=out, stderr=err, env=weir.env, pass_fds=[fd for _, fd in given])
        weir.pid = weir.process.pid
        weir.stopped, weir.expect_deaths = False, True
        weir.wait_ready()

    def keeps(self, count):
        until('%d sockets are kept' % count, lambda: len(self.kept) == count)


def kept(t):
    weir = Weir(APP % 2, name='kept', start=False, one=Origin('one'))
    supervisor = Supervisor(weir.dir)
    supervisor.start(weir)
    with t.case('every socket is given to the supervisor, under its own name'):
        supervisor.keeps(3)     # two slots of the TCP address, one of the UNIX address
        true('READY' in supervisor.said[0], 'first it is ready: %r' % supervisor.said)
    with t.case('the master and all workers killed at once: who connects meanwhile waits, and is served by the next one'):
        family = kill(weir)
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        until('all are gone', lambda: not living(family))
        clients = [Client(weir.port, timeout=20) for _ in range(20)]
        for client in clients:
            client.ask('GET', '/waited')
        supervisor.start(weir)
        equal([client.read().status for client in clients], [200] * 20, 'statuses')
        lacks(weir.errors(), 'still listen', 'error log')
        contains(weir.errors(), 'handed over 3 sockets of 2 addresses', 'error log')
    with t.case('only the master killed, under load: not one request fails, old and new share the sockets'):
        running = loads(weir)
        more(running[0], 50)
        family = kill(weir)
        more(running[0], 50)
        supervisor.start(weir)
        until('all orphans are gone', lambda: not living(family), 20)
        more(running[0], 50)
        for load in running:
            load.stop()
        equal([load.lost for load in running], [0] * 3, 'lost: %r' % running)
    with t.case('more workers, an address added and one removed: the supervisor keeps what is in force'):
        weir.write((APP % 4).replace(', unix:{dir}/front', ', 127.0.0.1:{port_b}'))
        os.kill(weir.pid, signal.SIGHUP)
        supervisor.keeps(8)
        equal(sorted({name.split('-')[2] for name in supervisor.kept}),
              sorted('127.0.0.1_%d' % p for p in (weir.port, weir.ports['port_b'])), 'addresses')
    with t.case('an upgrade tells who is the master now'):
        os.kill(weir.pid, signal.SIGUSR2)
        until('it is told', lambda: any('MAINPID' in words for words in supervisor.said))
        until('the pid file has it', lambda: int(read_text(weir.pid_path)) != weir.pid)
        equal(int(next(words['MAINPID'] for words in supervisor.said if 'MAINPID' in words)), weir.follow(), 'process')
        equal(fetch(weir.port).status, 200, 'status')
    weir.stop()


def activated(t):
    weir = Weir((APP % 3).replace(', unix:{dir}/front', ''), name='activated', start=False, one=Origin('one'))
    supervisor = Supervisor(weir.dir)
    own = socket.create_server(('127.0.0.1', weir.port), backlog=64)
    other = socket.create_server(('127.0.0.1', 0))
    with t.case('a socket that the supervisor opened is taken for the address it is bound to, by all workers'):
        early = Client(weir.port, timeout=20)
        early.ask('GET', '/early')
        supervisor.start(weir, [('http.socket', own.fileno()), ('other.socket', other.fileno())])
        own.close()
        equal(early.read().status, 200, 'status of who came before')
        for _ in range(30):
            equal(fetch(weir.port).status, 200, 'status')
    weir.stop()


STORIES = (restarted, unhurt, waiting, kept, activated)

with Story('orphans', deadline=110) as t:
    for one in STORIES:
        if len(sys.argv) < 2 or one.__name__ in sys.argv[1:]:
            one(t)
