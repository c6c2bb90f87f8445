#!/usr/bin/python3
# Clients that come in thousands, say nothing, say it slowly, never listen, or want too much: what each of them costs, that
# each is let go in time, and that good clients beside them are served. One worker, so that all of them meet.
# timeout: 180
import os
import re
import resource
import selectors
import socket
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

IDLE, SLOW_HEADS = 5000, 2000
CONF = '''
[weir]
access_log = off

[listen http]
bind = 127.0.0.1:{port}
[listen trickle]
bind = 127.0.0.1:{port_trickle}
header_timeout = 5s
[listen quick]
bind = 127.0.0.1:{port_quick}
header_timeout = 1s
body_timeout = 1s
idle_timeout = 1s
send_timeout = 1s
access_log = {dir}/access.log
[listen small]
bind = 127.0.0.1:{port_small}
max_header_size = 4k
max_requests = 5
max_body_size = 1k
access_log = {dir}/access.log

[route sync]
path = /sync
respond = 200 here
[route big]
path = /big
upstream = one
strip_prefix = yes
[route all]
upstream = one
[upstream one]
server = {one}
'''

FEW = '''
[weir]
max_connections = {most}
[listen http]
bind = 127.0.0.1:{port}
[route sync]
path = /sync
respond = 200 here
[route all]
upstream = one
[upstream one]
server = {one}
'''


def anon(pid):
    """Bytes of a process's own memory that are in use."""
    return status_kib(pid, 'RssAnon') * 1024


def connect_many(port, count):
    found = []
    for _ in range(count):
        sock = socket.socket()
        sock.connect(('127.0.0.1', port))
        found.append(sock)
    return found


def close_all(socks):
    for sock in socks:
        sock.close()


def wait_clients(weir, count):
    until('weir has %d clients' % count, lambda: totals(weir)['active_connections'] == count, 15, step=0.05)


def answers_on(socks):
    """Reads one answer to /sync from each."""
    for sock in socks:
        sock.settimeout(20)
        data = b''
        while not data.endswith(b'here'):
            part = sock.recv(4096)
            if not part:
                raise Failed('connection closed after %r' % data)
            data += part
        if not data.startswith(b'HTTP/1.1 200 '):
            raise Failed('answer %r' % data)


def idle(t, weir):
    (pid,) = weir.worker_pids()
    for _ in range(50):
        fetch(weir.port, 'GET', '/sync')
        fetch(weir.port, 'GET', '/warm')
    wait_idle(weir)
    before = anon(pid)
    with t.case('%d idle connections that never asked anything cost little each' % IDLE):
        socks = connect_many(weir.port, IDLE)
        wait_clients(weir, IDLE)
        each = (anon(pid) - before) / IDLE
        t.note('bytes per idle connection: %d' % each)
        if not sanitized():
            true(each < 1024, 'bytes per idle connection before any request: %d' % each)
    with t.case('%d idle connections after a request each cost no more' % IDLE):
        data = request('GET', '/sync')
        for at in range(0, IDLE, 250):
            for sock in socks[at:at + 250]:
                sock.sendall(data)
            answers_on(socks[at:at + 250])
        for sock in socks[:200]:
            sock.sendall(request('GET', '/bytes/4', host='here'))
            got = b''
            while not re.search(rb'\r\n\r\n.{4}', got, re.S):
                got += sock.recv(4096)
        each = (anon(pid) - before) / IDLE
        t.note('bytes per idle connection after a request: %d' % each)
        if not sanitized():
            true(each < 1024, 'bytes per idle connection after one request: %d' % each)
    with t.case('they are all alive, and a new client is served beside them'):
        equal(fetch(weir.port, 'GET', '/sync').text, 'here', 'a new client')
        for sock in socks[::500]:
            sock.sendall(request('GET', '/sync'))
        answers_on(socks[::500])
        wait_clients(weir, IDLE)
    close_all(socks)
    wait_idle(weir)


def slowloris(t, weir):
    (pid,) = weir.worker_pids()
    before, reasons = anon(pid), status(weir)['reasons']['header_timeout']
    began = time.monotonic()
    with t.case('%d half-open heads, a byte at a time: good clients are served beside them' % SLOW_HEADS):
        socks = connect_many(weir.ports['port_trickle'], SLOW_HEADS)
        for sock in socks:
            sock.sendall(b'GET /slow HTTP/1.1\r\nHost: a\r\nX-')
        wait_clients(weir, SLOW_HEADS)
        rounds = 0
        while time.monotonic() - began < 2.5 or not rounds:
            for sock in socks:
                sock.sendall(b'a')
            rounds += 1
            equal(fetch(weir.port, 'GET', '/sync').text, 'here', 'a good client')
            equal(fetch(weir.port, 'GET', '/bytes/1000').length, 1000, 'a good client')
        each = (anon(pid) - before) / SLOW_HEADS
        t.note('%d rounds, bytes per half-open head: %d' % (rounds, each))
        if not sanitized():
            true(each < 8 * 1024, 'bytes per half-open head: %d' % each)
    with t.case('header_timeout ends every one of them by 408, however busily it trickles'):
        ends = ends_of(socks, lambda: [trickle(sock) for sock in socks[::10]])
        equal([e for e in ends if not e.startswith(b'HTTP/1.1 408 ')], [], 'what did not end by 408')
        equal(status(weir)['reasons']['header_timeout'] - reasons, SLOW_HEADS, 'counted')
        wait_idle(weir)
    close_all(socks)


def trickle(sock):
    try:
        sock.send(b'a', socket.MSG_DONTWAIT)
    except OSError:
        pass


def ends_of(socks, meanwhile=None, timeout=15):
    """What each got until its end, which must come."""
    got, limit = {sock: b'' for sock in socks}, time.monotonic() + timeout * tap.SLOW
    with selectors.DefaultSelector() as poll:
        for sock in socks:
            sock.setblocking(False)
            poll.register(sock, selectors.EVENT_READ)
        while poll.get_map():
            if time.monotonic() > limit:
                raise Failed('%d connections are still open' % len(poll.get_map()))
            for key, _ in poll.select(0.1):
                try:
                    part = key.fileobj.recv(4096)
                except ConnectionResetError:
                    part = b''
                got[key.fileobj] += part
                if not part:
                    poll.unregister(key.fileobj)
            if meanwhile:
                meanwhile()
    return [got[sock] for sock in socks]


def timeouts(t, weir, one):
    port = weir.ports['port_quick']
    with t.case('a client that says nothing at all is let go by header_timeout, silently'):
        with Client(port) as client:
            equal(client.expect_end(), 'eof', 'end')
    with t.case('idle_timeout closes between two requests, silently'):
        with Client(port) as client:
            equal(client.fetch('GET', '/sync').status, 200, 'status')
            equal(client.expect_end(), 'eof', 'end')
    with t.case('header_timeout runs for each head: 408 within the second one too'):
        with Client(port) as client:
            equal(client.fetch('GET', '/sync').status, 200, 'status')
            client.send(b'GET /second HTTP/1.1\r\nHo')
            equal(client.read().status, 408, 'status')
            client.expect_end()
        weir.wait_access({'status': 408, 'reason': 'header_timeout'})
    with t.case('a body that stops: 408 by body_timeout, the origin never takes it for whole'):
        with Client(port) as client:
            client.send(request('POST', '/body', [('Content-Length', '100')]) + b'0123456789', 'POST')
            equal(client.read().status, 408, 'status')
            client.expect_end()
        weir.wait_access({'uri': '/body', 'status': 408, 'reason': 'body_timeout'})
        one.wait_closed()
        equal([m for m in one.requests if m.target == '/body' and m.complete], [], 'requests that looked whole')
    with t.case('a slow body that keeps coming is no offence'):
        with Client(port) as client:
            client.send(request('POST', '/digest', [('Content-Length', '6')]), 'POST')
            for _ in range(6):
                time.sleep(0.25)
                client.send(b'x')
            equal(client.read().status, 200, 'status')
    with t.case('a client that does not read is let go by send_timeout, its origin too'):
        (pid,) = weir.worker_pids()
        before = anon(pid)
        with Client(port, rcvbuf=8192) as client:
            client.ask('GET', '/big/bytes/50000000')
            line = weir.wait_access({'uri': '/big/bytes/50000000'}, 10)
            equal(line['reason'], 'send_timeout', 'reason')
            true(int(line['out']) < 50000000, 'bytes out: %s' % line['out'])
            try:
                client.read()
                raise Failed('the answer looks whole')
            except (Truncated, Reset):
                pass
        if not sanitized():
            true(anon(pid) - before < 1 << 20, 'growth of the worker: %d' % (anon(pid) - before))
        wait_idle(weir)


def sizes(t, weir):
    port = weir.ports['port_small']

    def status_of(*args, **more):
        result = exchange(port, request(*args, **more), half_close=False)
        return result.statuses, result.end
    with t.case('max_header_size: a head below passes, one above gets 431 and the close'):
        equal(fetch(port, 'GET', '/sync', [('X-Long', 'a' * 3900)]).status, 200, 'status of 3,900 bytes and some')
        equal(status_of('GET', '/sync', [('X-Long', 'a' * 4096)]), ([431], 'eof'), 'one above')
        equal(status_of('GET', '/sync', [('X-Long', 'a' * 400000)]), ([431], 'eof'), 'one far above')
    with t.case('too many fields get 431'):
        fields = [('X-%d' % i, 'v') for i in range(90)]
        equal(fetch(weir.port, 'GET', '/sync', fields).status, 200, 'status of 90 fields')
        equal(exchange(weir.port, request('GET', '/sync', fields * 12)).statuses, [431], 'status of 1,080 fields')
    with t.case('a request line that is too long gets 414'):
        equal(fetch(weir.port, 'GET', '/sync?' + 'a' * 7000).status, 200, 'status of 7,000 bytes')
        equal(exchange(weir.port, request('GET', '/sync?' + 'a' * 9000)).statuses, [414], 'status of 9,000 bytes')
        equal(exchange(weir.port, request('GET', '/sync?' + 'a' * 100000)).statuses, [414], 'status of 100,000 bytes')
    with t.case('max_body_size: 413, declared or counted'):
        equal(fetch(port, 'POST', '/x', body=b'a' * 1025).status, 413, 'declared')
        equal(fetch(port, 'POST', '/x', [('Transfer-Encoding', 'chunked')], chunked([b'a' * 1025])).status, 413, 'counted')
        equal(fetch(port, 'POST', '/x', body=b'a' * 1024).status, 200, 'status of what just fits')
    with t.case('max_requests: the last answer says so and the connection closes'):
        with Client(port) as client:
            for i in range(4):
                answer = client.fetch('GET', '/sync')
                equal((answer.status, answer.tokens('connection')), (200, []), 'request %d' % (i + 1))
            equal(client.fetch('GET', '/sync').tokens('connection'), ['close'], 'Connection of the fifth answer')
            client.expect_end()
    with t.case('max_requests counts pipelined requests too, and no more are answered'):
        result = exchange(port, request('GET', '/sync') * 8)
        equal(result.statuses, [200] * 5, 'answers')


def crowd(t, weir):
    with t.case('max_connections: who is too many waits, unrefused, until somebody leaves'):
        clients = [Client(weir.port) for _ in range(20)]
        for client in clients:
            equal(client.fetch('GET', '/sync').status, 200, 'status')
        late = [Client(weir.port) for _ in range(5)]
        for client in late:
            client.ask('GET', '/sync')
        true(late[0].silent(0.2), 'no answer yet')
        equal(clients[7].fetch('GET', '/one').status, 200, 'those inside are served')
        equal(totals(weir)['active_connections'], 20, 'clients inside')
        for client in clients[:5]:
            client.close()
        for client in late:
            equal(client.read().status, 200, 'status of a late one')
        for client in clients + late:
            client.close()
        wait_idle(weir)


class Poor(Weir):
    """A weir whose processes may have NOFILE descriptors each."""
    NOFILE = 100

    def launch(self):
        self.args = ['prlimit', '--nofile=%d' % self.NOFILE, '--'] + self.args
        super().launch()


def exhausted(t, weir, gate):
    """Half of the descriptors may be clients; with a server for each of them none is left."""
    (pid,) = weir.worker_pids()
    with Client(weir.port) as inside:
        equal(inside.fetch('GET', '/sync').status, 200, 'status')
        with t.case('out of descriptors: whose server cannot be reached gets 503'):
            clients = [Client(weir.port) for _ in range(45)]
            for client in clients:
                client.ask('GET', '/held')
            until('all are held or refused', lambda: len(gate.held) + refused(weir) == len(clients))
            between(refused(weir), 1, 30, 'refused for want of descriptors')
            equal(fds(pid), weir.NOFILE, 'descriptors of the worker')
        with t.case('out of descriptors: accepting pauses without spinning, those inside are served'):
            late = [Client(weir.port) for _ in range(3)]
            for client in late:
                client.ask('GET', '/sync')
            weir.wait_errors('Cannot accept a connection')
            spent, end, served = cpu_seconds(pid), time.monotonic() + 1, 0
            while time.monotonic() < end:
                equal(inside.fetch('GET', '/sync').status, 200, 'status inside')
                served += 1
                time.sleep(0.02)
            spent = cpu_seconds(pid) - spent
            t.note('%.2f s of CPU time in a second with %d requests' % (spent, served))
            true(spent < 0.3, 'CPU seconds of the worker in one second: %.2f' % spent)
            equal(len(re.findall('Cannot accept a connection', weir.errors())), 1, 'times the log was told')
        with t.case('the failures are counted'):
            true(totals(weir)['accept_failures'] > 0, 'accept_failures')
        with t.case('when descriptors come free, those who waited are served'):
            gate.open()
            for client in clients:
                isin(client.read().status, (200, 503), 'status')
                client.close()
            for client in late:
                equal(client.read().status, 200, 'status of one who waited')
                client.close()
            equal(fetch(weir.port, 'GET', '/held').status, 200, 'status of the next')


def refused(weir):
    return sum(line['reason'] == 'no_resource' and line['status'] == '503' for line in weir.access())


with Story('limits, and clients that try them', deadline=150) as t:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = IDLE + 1000
    if hard != resource.RLIM_INFINITY and hard < want:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (want, want))
        except (OSError, ValueError):
            IDLE, SLOW_HEADS = hard - 1000, min(SLOW_HEADS, hard - 1000)
            t.note('only %d descriptors: fewer clients' % hard)
    elif soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    one = Origin('one')
    weir = Weir(CONF, workers=1, one=one)
    idle(t, weir)
    slowloris(t, weir)
    timeouts(t, weir, one)
    sizes(t, weir)
    crowd(t, Weir(FEW, name='few', workers=1, one=one, most=20))
    gate = Gate()
    exhausted(t, Poor(FEW, name='poor', workers=1, one=Origin('held', handler=gate), most=0), gate)
