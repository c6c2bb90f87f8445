#!/usr/bin/python3
# Two origins behind three workers under mixed load: keep-alive requests, uploads, a long download. Workers are killed
# and stopped meanwhile. Only what was inside such a worker may fail; nobody is refused, nothing stays counted.
# timeout: 150
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
max_requests = 0
[route slow]
path = /long
upstream = long
[route hold]
path = /hold
upstream = held
[route room]
path = /room
upstream = room
[route all]
upstream = app
[upstream app]
server = {one}
server = {two}
[upstream long]
server = {long}
[upstream held]
server = {held}
[upstream room]
server = {narrow} max_conns=3
queue_timeout = 20s
'''
BODY = body_of(3000)
PIECES, PIECE = 200, body_of(20000)


async def drip(message, conn):
    """/long/N: a body that takes seconds, in its own time."""
    await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (PIECES * len(PIECE)))
    for _ in range(PIECES):
        await conn.send(PIECE)
        await conn.sleep(0.015)


class Download:
    """A long answer read on a thread of its own."""

    def __init__(self, weir):
        before = inside(weir)
        self.client = Client(weir.port, keep=0)
        self.client.ask('GET', '/long')
        self.client.read_head()
        after = inside(weir)
        self.worker = next(slot for slot in after if after[slot][1] > before[slot][1])
        self.how = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            message = self.client.read()
            self.how = 'whole' if message.length == PIECES * len(PIECE) else 'short'
        except (Truncated, Reset) as error:
            self.how = 'broken: %s' % error

    def end(self):
        self.thread.join(20 * tap.SLOW)
        self.client.close()
        return self.how


def inside(weir):
    """{worker: (clients, requests)} of the workers now."""
    return {row['slot']: (row['active_connections'], row['active_requests']) for row in json_workers(weir)}


def json_workers(weir):
    return [row for row in json.loads(control(weir, 'workers --json')) if row['role'] == 'worker']


class Mixed:
    """Keep-alive GETs and POSTs, until stop(); `troubles`: connections that broke, between or within requests."""

    def __init__(self, weir):
        self.gets = Load(weir.port, '/bytes/2000', connections=8, check=lambda m: m.status == 200 and m.length == 2000)
        self.posts = Load(weir.port, lambda n: '/digest?%d' % n, connections=4, method='POST', body=BODY,
                          check=lambda m: m.status == 200 and digest_of(3000) in m.text)
        self.parts = [self.gets.start(), self.posts.start()]

    @property
    def ok(self):
        return self.gets.ok + self.posts.ok

    def go_on(self, what, count=100):
        """Some more requests succeed."""
        goal = self.ok + count
        until('%d more requests are served: %s' % (count, what), lambda: self.ok >= goal, 15)

    def troubles(self):
        return sum(part.lost + part.counts['closed'] for part in self.parts)

    def stop(self):
        for part in self.parts:
            part.stop()
        return Counter(self.gets.counts) + Counter(self.posts.counts)


def only_breaks(counts):
    """Nothing but connections that broke."""
    equal(set(counts) - {'ok', 'closed', 'reset', 'truncated'}, set(), 'kinds of trouble in %r' % dict(counts))


def busiest(weir, but=()):
    now = inside(weir)
    return max((slot for slot in now if slot not in but), key=lambda slot: now[slot][0])


def killed(t, weir, one, two):
    with t.case('kill -9 of a worker under load: only its own connections break, none is refused'):
        download = Download(weir)
        load = Mixed(weir)
        load.go_on('at first')
        allowed = 0
        for _ in range(3):
            slot = busiest(weir, but=[download.worker])
            allowed += inside(weir)[slot][0]
            pid = weir.kill_worker(slot)
            t.note('worker %d was replaced after %.0f ms' % (slot, weir.wait_respawn(pid) * 1000))
            load.go_on('after a kill')
        counts = load.stop()
        t.note('%r, %d connections were inside' % (dict(counts), allowed))
        only_breaks(counts)
        between(load.troubles(), 0, allowed, 'connections that broke')
    with t.case('a long download in another worker went on all the while'):
        equal(download.end(), 'whole', 'download')
    with t.case('no upload was sent twice but by a client that asked twice'):
        seen = Counter(m.target for m in one.requests + two.requests if m.method == 'POST')
        twice = sum(n - 1 for n in seen.values())
        between(twice, 0, load.posts.counts['closed'], 'uploads that came again')
        equal([m for m in one.requests + two.requests if m.method == 'POST' and m.complete and m.length != 3000], [],
              'uploads of another length')
    with t.case('every count is back to exactly 0'):
        wait_idle(weir)
        equal(status(weir)['restarts'], 3, 'restarts')
    with t.case('a download inside a killed worker breaks off'):
        download = Download(weir)
        pid = weir.kill_worker(download.worker)
        contains(download.end(), 'broken', 'download')
        weir.wait_respawn(pid)
        wait_idle(weir)


def counts_of_the_dead(t, weir, gate):
    with t.case('what a killed worker had under way leaves the counts'):
        clients = [Client(weir.port) for _ in range(30)]
        for client in clients:
            client.ask('GET', '/hold')
        gate.wait_held(30)

        def active():
            return next(s['active'] for s in servers(weir) if s['upstream'] == 'held')
        equal(active(), 30, 'active on the server')
        slot = busiest(weir)
        had = inside(weir)[slot][1]
        pid = weir.kill_worker(slot)
        weir.wait_respawn(pid)
        equal(active(), 30 - had, 'active on the server after a worker with %d was killed' % had)
        gate.open()
        ends = Counter()
        for client in clients:
            try:
                ends[client.read().status] += 1
            except (Reset, Truncated):
                ends['broken'] += 1
            client.close()
        equal(ends, Counter({200: 30 - had, 'broken': had}), 'how the requests ended')
        wait_idle(weir)


def room_of_the_dead(t, weir, gate):
    with t.case('room that a killed worker had taken goes to those who wait in the others'):
        clients = [Client(weir.port, timeout=30) for _ in range(36)]
        for client in clients:
            client.ask('GET', '/room')
        gate.wait_held(3)
        until('everybody else waits', lambda: sum(n for _, n in inside(weir).values()) == 36)
        slot = max(inside(weir), key=lambda slot: inside(weir)[slot][1])
        had = inside(weir)[slot][1]
        weir.wait_respawn(weir.kill_worker(slot))
        gate.open()
        ends = Counter()
        for client in clients:
            try:
                ends[client.read().status] += 1
            except (Reset, Truncated):
                ends['broken'] += 1
            client.close()
        equal(ends, Counter({200: 36 - had, 'broken': had}), 'how the requests ended')
        wait_idle(weir)


def stopped(t, weir):
    with t.case('SIGSTOP of a worker: it is replaced, who waited in its queue is served'):
        load = Mixed(weir)
        load.go_on('at first')
        slot = busiest(weir)
        pid = weir.kill_worker(slot, signal.SIGSTOP)
        until('it stands still', lambda: child_state(pid) == 'T')
        allowed = inside(weir)[slot][0]
        late = []
        for i in range(12):
            late.append(Client(weir.port, timeout=15))
            late[-1].ask('GET', '/late/%d' % i)
        for i, client in enumerate(late):
            equal(client.read().status, 200, 'status of late client %d' % i)
            client.close()
        weir.wait_respawn(pid, 10)
        load.go_on('after it was replaced')
        counts = load.stop()
        t.note('%r, %d connections were inside' % (dict(counts), allowed))
        only_breaks(counts)
        between(load.troubles(), 0, allowed, 'connections that broke')
        contains(weir.errors(), 'is stopped', 'error log')
        wait_idle(weir)


def child_state(pid):
    with open('/proc/%d/stat' % pid) as f:
        return f.read().rpartition(')')[2].split()[0]


with Story('workers that die under load', deadline=120) as t:
    gate, narrow_gate = Gate(), Gate()
    one, two, long = Origin('one'), Origin('two'), Origin('long', handler=drip)
    held = Origin('held', handler=gate)
    narrow = Origin('narrow', handler=narrow_gate)
    weir = Weir(CONF, workers=3, one=one, two=two, long=long, held=held, narrow=narrow)
    killed(t, weir, one, two)
    counts_of_the_dead(t, weir, gate)
    room_of_the_dead(t, weir, narrow_gate)
    stopped(t, weir)
