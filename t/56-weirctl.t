#!/usr/bin/python3
# weirctl in the hands of an operator: servers are drained, held, given weights under load, and no count is off by one;
# the live view draws within 80 columns and gives the terminal back; sessions are listed, whoever hangs.
# timeout: 200
import base64
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import H2Client

CONF = '''
[weir]
shutdown_timeout = 60s
[listen http]
bind = 127.0.0.1:{port}
[listen other]
bind = 127.0.0.1:{port_other}
[route ws]
path = /ws
upstream = ws
[route weights]
path = /weights
upstream = weights
[route bad]
path = /bad
upstream = bad
[route all]
upstream = app
[upstream app]
server = {a} name=a
server = {b} name=b
[upstream weights]
balance = round_robin
server = {a} name=a
server = {b} name=b
[upstream ws]
server = {ws} name=echo
[upstream bad]
max_fails = 2
server = 127.0.0.1:{port_none} name=dead
server = {a} name=a
'''


def tool():
    return os.environ.get('WEIRCTL') or os.path.join(os.path.dirname(program()), 'weirctl')


def weirctl(weir, *words, status=0):
    done = subprocess.run([tool(), '-s', weir.control_path] + list(words), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60 * tap.SLOW, text=True, stdin=subprocess.DEVNULL)
    equal(done.returncode, status, 'exit status of weirctl %s (%s)' % (' '.join(words), done.stderr))
    return done.stdout if status == 0 else done.stderr


class Running:
    """weirctl that takes its time."""

    def __init__(self, weir, *words):
        self.process = subprocess.Popen([tool(), '-s', weir.control_path] + list(words), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        story().finally_(self.end)

    def result(self, status=0):
        out, err = self.process.communicate(timeout=60 * tap.SLOW)
        equal(self.process.returncode, status, 'exit status (%s%s)' % (out, err))
        return out if status == 0 else err

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Tunnels:
    """A server that agrees to every WebSocket and then only listens."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.conns = []
        threading.Thread(target=self.serve, daemon=True).start()

    def __str__(self):
        return '127.0.0.1:%d' % self.listener.getsockname()[1]

    def serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
                head = conn.recv(65536).decode()
                key = re.search(r'(?im)^sec-websocket-key: *(\S+)', head).group(1)
                accept = hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()
                conn.sendall(b'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n'
                             b'Sec-WebSocket-Accept: ' + base64.b64encode(accept) + b'\r\n\r\n')
                self.conns.append(conn)
            except OSError:
                return


def open_websocket(weir):
    sock = socket.create_connection(('127.0.0.1', weir.port), timeout=10 * tap.SLOW)
    sock.sendall(b'GET /ws/chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
                 b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
    contains(sock.recv(65536).decode(), '101', 'the answer')
    return sock


def state_of(weir, name):
    return {'%s/%s' % (s['upstream'], s['server']): s for s in servers(weir)}[name]


# ---- drain, ready, weight ----

def drained(t, weir, gate, a, b):
    with t.case('drain --wait ends with the last request, and not before'):
        clients = [Client(weir.port) for _ in range(6)]
        for n, c in enumerate(clients):
            c.ask('GET', '/held/%d' % n)
            gate.wait_held(n + 1)
        on_a = [m for m in gate.held if m.origin.name == 'a']
        equal(len(on_a), 3, 'held by a')
        run = Running(weir, 'drain', 'app/a', '--wait', '60s', '--json')
        until('the drain is in force', lambda: state_of(weir, 'app/a')['state'] == 'drained', 5)
        for message in on_a[:-1]:
            gate.release(message)
        until('one is left', lambda: state_of(weir, 'app/a')['active'] == 1, 5)
        equal(run.process.poll(), None, 'still waiting')
        gate.release(on_a[-1])
        said = json.loads(run.result())
        equal((said['server'], said['verb'], said['active']), ('app/a', 'drain', 0), 'what is said')
        gate.open()
        for c in clients:
            equal(c.read().status, 200, 'status')
            c.close()
        gate.shut()
    with t.case('a time-out: status 4, and how many are left'):
        weirctl(weir, 'ready', 'app/a')
        clients = [Client(weir.port) for _ in range(4)]
        for n, c in enumerate(clients):
            c.ask('GET', '/held/t%d' % n)
            gate.wait_held(n + 1)
        contains(Running(weir, 'down', 'app/a', '--wait=300ms').result(status=4), '2 requests under way', 'what is said')
        weirctl(weir, 'ready', 'app/a')
        equal(weirctl(weir, 'drain', 'app/b').strip(), 'app/b: drain, 2 requests under way', 'without --wait')
        weirctl(weir, 'ready', 'app/b', '--json')
        gate.open()
        for c in clients:
            c.read()
            c.close()
    with t.case('under load: after drain --wait the server gets nothing, and nobody noticed'):
        load = Load(weir.port, '/load', connections=12).start()
        for _ in range(6):
            json.loads(weirctl(weir, 'drain', 'app/a', '--wait', '30s', '--json'))
            count = len(a.requests)
            equal(state_of(weir, 'app/a')['active'], 0, 'under way')
            there = len(b.requests)
            until('the other serves on', lambda: len(b.requests) > there + 50, 10)
            equal(len(a.requests), count, 'requests that came after it was empty')
            weirctl(weir, 'ready', 'app/a')
            until('it is used again', lambda: len(a.requests) > count + 20, 10)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        wait_idle(weir)
        equal(len(a.requests) + len(b.requests), sum(s['requests'] for s in servers(weir) if s['upstream'] == 'app'),
              'requests that the servers saw, and those that weir counts')


def weighed(t, weir, a, b):
    with t.case('weights under load count to the request'):
        def shares(count):
            before = {name: state_of(weir, 'weights/' + name)['requests'] for name in 'ab'}
            load = Load(weir.port, '/weights', connections=4, count=count).run()
            equal(load.lost, 0, 'lost')
            return {name: state_of(weir, 'weights/' + name)['requests'] - before[name] for name in 'ab'}
        weirctl(weir, 'weight', 'weights/a', '3')
        got = shares(400)
        equal(got['a'] + got['b'], 400, 'in all')
        between(got['a'], 297, 303, 'of weight 3')
        weirctl(weir, 'weight', 'weights/b', '0')
        equal(shares(100), {'a': 100, 'b': 0}, 'with weight 0')
        weirctl(weir, 'weight', 'weights/a', '1')
        weirctl(weir, 'weight', 'weights/b', '1')
        got = shares(100)
        between(got['a'], 48, 52, 'even again')


def generations(t, weir, gate):
    with t.case('drain --wait waits for requests of old generations, too'):
        gate.shut()
        clients = [Client(weir.port) for _ in range(2)]
        for n, c in enumerate(clients):
            c.ask('GET', '/held/g%d' % n)
            gate.wait_held(n + 1)
        weirctl(weir, 'reload')
        weir.expect_deaths = True
        run = Running(weir, 'drain', 'app/a', '--wait', '60s')
        until('the drain is in force', lambda: state_of(weir, 'app/a')['state'] == 'drained', 5)
        equal(state_of(weir, 'app/a')['active'], 1, 'under way')
        equal(run.process.poll(), None, 'still waiting')
        gate.open()
        contains(run.result(), '0 requests under way', 'what is said')
        for c in clients:
            equal(c.read().status, 200, 'status')
            c.close()
        weirctl(weir, 'ready', 'app/a')
    with t.case('and for tunnels'):
        sock = open_websocket(weir)
        run = Running(weir, 'drain', 'ws/echo', '--wait', '60s')
        until('the drain is in force', lambda: state_of(weir, 'ws/echo')['state'] == 'drained', 5)
        equal(state_of(weir, 'ws/echo')['active'], 1, 'under way')
        equal(run.process.poll(), None, 'still waiting')
        sock.close()
        for conn in weir.things['ws'].conns:
            conn.close()
        run.result()
        weirctl(weir, 'ready', 'ws/echo')


def ejected(t, weir):
    with t.case('servers shows who is ejected, until when and why'):
        def probe():
            fetch(weir.port, 'GET', '/bad')
            return state_of(weir, 'bad/dead')['state'] == 'ejected'
        until('it is ejected', probe, 10)
        server = state_of(weir, 'bad/dead')
        true(0 < server['ejected_ms'] <= 10000, 'how long: %r' % server)
        equal(server['last_failure'], 'connect_failed', 'why')
        contains(weirctl(weir, 'servers', 'bad'), 'connect_failed, used again in', 'the table')
        equal([u['ejected'] for u in status(weir)['upstreams'] if u['name'] == 'bad'], [1], 'counted')


def mistakes(t, weir):
    with t.case('names that are none are told with the nearest, and by their own exit status'):
        for words, code, said in ((('drain', 'ws/ecko'), 1, '"ws/echo"'), (('drain', 'ap/a'), 1, '"app"'),
                                  (('servers', 'ap'), 1, '"app"'), (('drain', 'app'), 1, 'UPSTREAM/SERVER'),
                                  (('drian', 'app/a'), 2, '"drain"'), (('weight', 'app/a', '1001'), 2, '0 to 1000'),
                                  (('drain', 'app/a', '--wait', 'soon'), 2, '30s'), (('ready',), 2, 'usage'),
                                  (('purge',), 3, 'not built yet'), (('top', 'ap'), 1, '"app"'),
                                  (('top', '-n', '0'), 2, '-n'), (('sessions', 'rote=x'), 2, '"route"'),
                                  (('sessions', '--limit', '0'), 2, '--limit')):
            contains(weirctl(weir, *words, status=code), said, 'weirctl %s' % ' '.join(words))


# ---- top ----

class Screen:
    """weirctl top on a terminal of its own."""

    def __init__(self, weir, *words, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = ''
        self.process = subprocess.Popen([tool(), '-s', weir.control_path, 'top'] + list(words), stdin=slave, stdout=slave,
                                        stderr=slave, env=dict(os.environ, TERM='vt100'), start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        story().finally_(self.end)

    def size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.text += os.read(self.master, 65536).decode()
            except OSError:
                return self.text
        return self.text

    def frames(self):
        """Whole frames so far: lists of lines."""
        parts = self.read().split('\x1b[H')[1:]
        # The terminal's own line discipline adds a return.
        return [re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]|\r(?=\r)', '', p.split('\x1b[J')[0]).split('\r\n')[:-1] for p in parts if '\x1b[J' in p]

    def wait_frames(self, count):
        until('top drew %d frames' % count, lambda: len(self.frames()) >= count, 20)
        return self.frames()

    def finish(self):
        equal(self.process.wait(timeout=20 * tap.SLOW), 0, 'exit status of top')
        self.read()
        true(self.text.endswith('\x1b[?25h\x1b[?1049l'), 'the last it writes: %r' % self.text[-40:])
        equal(termios.tcgetattr(self.slave), self.before, 'the terminal')

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def top(t, weir):
    load = Load(weir.port, '/top', connections=4).start()
    with t.case('top on a terminal of 80 columns: what goes on, and no line is longer'):
        screen = Screen(weir, '-d', '300ms')
        frames = screen.wait_frames(4)
        for line in sum(frames, []):
            true(len(line) <= 80, 'a line of %d: %r' % (len(line), line))
        last = '\n'.join(frames[-1])
        for part in ('weir ', 'requests', 'answers', 'traffic', 'SERVER', 'app/a', 'app/b', 'weights/a'):
            contains(last, part, 'the screen')
        rates = [float(r) for r in re.findall(r'requests +([\d.]+)/s', last)]
        true(rates and rates[0] > 0, 'requests a second in %s' % last)
        true(re.search(r'app/a +up +\d+ +[1-9]\d*\.?\d* +0\.0 +[\d.]+m?s', last), 'a line of a server in %s' % last)
    with t.case('it follows the size of the terminal'):
        screen.size(10, 60)
        os.kill(screen.process.pid, signal.SIGWINCH)
        count = len(screen.frames())
        frames = screen.wait_frames(count + 3)
        true(all(len(line) <= 60 for line in frames[-1]), 'columns in %r' % frames[-1])
        true(len(frames[-1]) <= 10, 'rows in %r' % frames[-1])
        contains('\n'.join(frames[-1]), 'servers more', 'what does not fit')
    with t.case('q gives the terminal back'):
        os.write(screen.master, b'q')
        screen.finish()
    with t.case('so do an interrupt and a termination'):
        for signum in (signal.SIGINT, signal.SIGTERM):
            screen = Screen(weir)
            screen.wait_frames(1)
            if signum == signal.SIGINT:
                os.write(screen.master, b'\x03')
            else:
                os.kill(screen.process.pid, signum)
            screen.finish()
    with t.case('no terminal: one snapshot, or as many as asked for, or JSON'):
        text = weirctl(weir, 'top', '-d', '200ms')
        lacks(text, '\x1b', 'escapes')
        equal(len(re.findall('^SERVER', text, re.M)), 1, 'snapshots')
        equal(len(re.findall('^SERVER', weirctl(weir, 'top', 'app', '-n', '3', '-d', '100ms'), re.M)), 3, 'snapshots')
        lines = weirctl(weir, 'top', 'app', '-n', '2', '-d', '200ms', '--json').splitlines()
        equal([[s['server'] for s in json.loads(line)['servers']] for line in lines], [['app/a', 'app/b']] * 2, 'servers')
        until('some requests are seen', lambda: json.loads(weirctl(weir, 'top', '-d', '500ms', '--json'))['requests_per_s'] > 0, 20)
    load.stop()
    equal(load.lost, 0, 'lost')


# ---- sessions ----

def sessions(weir, *words, status=0):
    done = subprocess.run([tool(), '-s', weir.control_path, 'sessions', '--json'] + list(words), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60 * tap.SLOW, text=True)
    equal(done.returncode, status, 'exit status (%s)' % done.stderr)
    return json.loads(done.stdout)


def listed(t, weir, gate):
    gate.shut()
    wait_idle(weir)
    with t.case('sessions: an idle client, one that waits, a WebSocket, streams of HTTP/2'):
        idle = Client(weir.ports['port_other'])
        idle.fetch('GET', '/once')
        busy = Client(weir.port)
        busy.ask('POST', '/held/session?secret=1', body=b'x' * 10)
        gate.wait_held(1)
        sock = open_websocket(weir)
        with H2Client(weir.port) as h2:
            streams = [h2.request(path='/held/h2-%d' % n) for n in range(3)]
            gate.wait_held(4)
            found = sessions(weir)
            equal((found['silent'], found['more']), ([], 0), 'the rest')
            by_path = {s['path']: s for s in found['sessions']}
            one = by_path['/held/session']
            equal((one['state'], one['protocol'], one['route'], one['listener'], one['bytes_in'], one['stream']),
                  ('waiting', 'h1', 'all', 'http', 10, 0), 'the one that waits')
            true(one['server'] in ('app/a', 'app/b') and one['client'] == '127.0.0.1:%d' % busy.sock.getsockname()[1],
                 'whose it is, and where: %r' % one)
            equal((by_path['/ws/chat']['state'], by_path['/ws/chat']['protocol'], by_path['/ws/chat']['server']),
                  ('tunnel', 'ws', 'ws/echo'), 'the WebSocket')
            equal(sorted(s['stream'] for s in found['sessions'] if s['path'].startswith('/held/h2')), streams, 'streams')
            equal([s['state'] for s in found['sessions'] if s['listener'] == 'other'], ['idle'], 'the idle one')
            equal([s['state'] for s in found['sessions'] if s['protocol'] == 'h2' and s['stream'] == 0], ['open'],
                  'the connection of the streams')
            with t.case('by listener, route, server and client; with a limit'):
                equal(len(sessions(weir, 'listen=other')['sessions']), 1, 'of the other listener')
                equal([s['path'] for s in sessions(weir, 'route=ws')['sessions']], ['/ws/chat'], 'of the route')
                equal([s['path'] for s in sessions(weir, 'server=ws/echo')['sessions']], ['/ws/chat'], 'on the server')
                equal(sessions(weir, 'client=10.0.0.0/8')['sessions'], [], 'of nobody')
                limited = sessions(weir, '--limit', '2')
                equal((len(limited['sessions']), limited['more'] > 0), (2, True), 'limited')
                contains(weirctl(weir, 'sessions'), '/ws/chat', 'the table')
                contains(weirctl(weir, 'sessions', '--limit', '1'), 'more; --limit', 'the table')
            gate.open()
            for stream in streams:
                equal(h2.wait(stream).status, '200' if isinstance(h2.answer(stream).status, str) else 200, 'status')
        busy.read()
        busy.close()
        sock.close()
        for conn in weir.things['ws'].conns:
            conn.close()
        idle.close()
        wait_idle(weir)
    with t.case('a worker that hangs is named, the others are heard'):
        stopped = weir.workers()[0]
        clients = [Client(weir.port) for _ in range(12)]
        for c in clients:
            c.fetch('GET', '/spread')
        all_of_them = len(sessions(weir)['sessions'])
        equal(all_of_them, 12, 'sessions')
        weir.expect_deaths = True
        os.kill(stopped, signal.SIGSTOP)
        found = sessions(weir, status=4)
        # The watchdog may have replaced it within the two seconds that we wait.
        if found['silent']:
            equal([s['process'] for s in found['silent']], [stopped], 'who is silent')
        true(all(s['process'] != stopped for s in found['sessions']), 'nothing is told of it')
        for c in clients:
            c.close()
        weir.wait_respawn(stopped)


def many(t, weir):
    with t.case('hundreds of connections are listed in slices, while requests pass'):
        clients = [Client(weir.port) for _ in range(400)]
        load = Load(weir.port, '/many', connections=2).start()
        try:
            until('all are listed', lambda: len(sessions(weir, '--limit', '1000')['sessions']) >= 400, 10)
        finally:
            load.stop()
            for c in clients:
                c.close()
        equal(load.lost, 0, 'lost')


with Story('weirctl at work', deadline=190) as t:
    gate = Gate(only=lambda m: m.target.startswith('/held'))
    a, b = Origin('a', handler=gate), Origin('b', handler=gate)
    weir = Weir(CONF, a=a, b=b, ws=Tunnels(), port_none=free_port())
    drained(t, weir, gate, a, b)
    weighed(t, weir, a, b)
    ejected(t, weir)
    mistakes(t, weir)
    top(t, weir)
    generations(t, weir, gate)
    listed(t, weir, gate)
    many(t, weir)
