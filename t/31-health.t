#!/usr/bin/python3
# Origins that fail and recover, one weir that checks some of them and learns of others by its own requests. What is
# seen: which server answers, what the checks ask for and how often, what the log says of each change.
# timeout: 120
import os
import socket
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from ports import free_port


class Patient:
    """An origin whose answer to /healthz is `word`: a status, or 'hang', 'garbage', 'cut'.  checks: the requests for it."""

    def __init__(self, name, word=200, **more):
        self.word, self.once, self.checks = word, [], []
        self.origin = Origin(name, self.answer, **more)

    async def answer(self, message, conn):
        if message.target != '/healthz':
            return Reply(200, self.origin.name)
        self.checks.append(message)
        word = self.once.pop(0) if self.once else self.word
        if word == 'hang':
            return ['hang']
        if word == 'garbage':
            return [b'220 mail.test ESMTP\r\n\r\n', 'close']
        if word == 'cut':
            return [b'HTTP/1.1 200 OK\r\nContent-', 'close']
        return Reply(word, 'x' * 100000, close=True)

    def __str__(self):
        return str(self.origin)


def state(weir, server):
    return next(s['state'] for s in servers(weir) if s['server'] == str(server))


def becomes(weir, server, wanted, timeout=8):
    until('%s is %s' % (server, wanted), lambda: state(weir, server) == wanted, timeout)


def seen_by(weir, path, n=12):
    return {fetch(weir.port, 'GET', path).text for _ in range(n)}


CHECKED = '''
[listen http]
bind = 127.0.0.1:{port}
[defaults upstream]
balance = round_robin
check_interval = 300ms
check_timeout = 400ms
[route http]
path = /http
upstream = http
[upstream http]
server = {one}
server = {two}
server = {three}
check = http
check_path = /healthz
[route strict]
path = /strict
upstream = strict
[upstream strict]
server = {strict}
check = http
check_path = /healthz
check_host = health.test
check_status = 204, 404
[route tcp]
path = /tcp
upstream = tcp
[upstream tcp]
server = {tcp}
server = {tcp2}
check = tcp
[route port]
path = /port
upstream = port
[upstream port]
server = {tcp2}
check = tcp
check_port = {side}
[route unix]
path = /unix
upstream = unix
[upstream unix]
server = unix:{socket}
check = http
check_path = /healthz
[route hole]
path = /hole
upstream = hole
[upstream hole]
server = {hole}
check = tcp
'''


def checks(t):
    one, two, three = Patient('one'), Patient('two'), Patient('three')
    strict = Patient('strict', 404)
    tcp, tcp2, side = Origin('tcp', lambda m, c: Reply(200, 'tcp')), Origin('tcp2', lambda m, c: Reply(200, 'tcp2')), \
        Origin('side')
    os.chmod(t.dir, 0o755)
    unix = Patient('unix', unix=t.path('unix.sock'))
    hole = Blackhole()
    weir = Weir(CHECKED, workers=3, one=one, two=two, three=three, strict=strict, tcp=tcp, tcp2=tcp2, side=side.port,
                socket=unix.origin.unix, hole=hole)

    with t.case('all are up and take their turns'):
        equal(seen_by(weir, '/http'), {'one', 'two', 'three'}, 'who answered')
        equal(seen_by(weir, '/unix'), {'unix'}, 'who answered')
    with t.case('the first checks come within a second'):
        until('everybody was checked', lambda: all(p.checks for p in (one, two, three, strict, unix)), 1.5)
    with t.case('a check asks for check_path, of the server by its address unless check_host says otherwise'):
        ask = one.checks[0]
        equal((ask.method, ask.target, ask.header('Host')), ('GET', '/healthz', str(one)), 'method, target, Host')
        equal(ask.header('Connection'), 'close', 'Connection')
        equal(strict.checks[0].header('Host'), 'health.test', 'Host')
        equal(unix.checks[0].header('Host'), 'localhost', 'Host')
    with t.case('one process checks for all workers, with some jitter'):
        before, began = len(two.checks), time.monotonic()
        until('ten more checks', lambda: len(two.checks) >= before + 10)
        between(time.monotonic() - began, 10 * 0.3 * 0.75, 10 * 0.3 * 1.6, 'seconds for ten checks')
    with t.case('statuses outside of the default may be good'):
        equal(state(weir, strict), 'up', 'state')
        strict.word = 200
        becomes(weir, strict, 'down')
        strict.word = 204
        becomes(weir, strict, 'up')
    with t.case('one bad check among good ones changes nothing'):
        count = len(three.checks)
        three.once = [500]
        until('it was checked again', lambda: len(three.checks) >= count + 4)
        equal(state(weir, three), 'up', 'state')
        lacks(weir.errors(), 'Server %s of' % three, 'error log')
    for word, why in ((500, r'it answered with status 500'), ('hang', r'no answer within 400 ms'),
                      ('garbage', r'its answer is not HTTP'), ('cut', r'it closed before its answer was whole')):
        with t.case('%s: down after three checks, said why; up again after two' % word):
            seen = weir.errors().count('\n')
            two.word = word
            becomes(weir, two, 'down')
            true(seen_by(weir, '/http', 12) == {'one', 'three'}, 'nobody asks it')
            weir.wait_errors(r'warn checker.* Server %s of upstream http is down: %s' % (two, why))
            two.word = 200
            becomes(weir, two, 'up')
            weir.wait_errors(r'notice checker.* Server %s of upstream http is up again after' % two)
            true(weir.errors().count('\n') >= seen + 2, 'two lines')
            equal(seen_by(weir, '/http'), {'one', 'two', 'three'}, 'who answers again')
    with t.case('a port that refuses is down, one that accepts is up'):
        tcp.down()
        becomes(weir, tcp, 'down')
        equal(seen_by(weir, '/tcp'), {'tcp2'}, 'who answered')
        weir.wait_errors(r'Server %s of upstream tcp is down: connecting failed: Connection refused' % tcp)
        tcp.up()
        becomes(weir, tcp, 'up')
    with t.case('check_port is the one that counts'):
        side.down()
        until('no server is left', lambda: fetch(weir.port, 'GET', '/port').status == 503, 8)
        equal(seen_by(weir, '/tcp'), {'tcp', 'tcp2'}, 'the same server elsewhere')
        side.up()
        until('it is back', lambda: fetch(weir.port, 'GET', '/port').status == 200, 8)
    with t.case('a server behind a path is checked too'):
        unix.word = 503
        until('it is down', lambda: fetch(weir.port, 'GET', '/unix').status == 503, 8)
        unix.word = 200
        until('it is up', lambda: fetch(weir.port, 'GET', '/unix').status == 200, 8)
    with t.case('a connection that is never accepted is down by timeout'):
        becomes(weir, hole, 'down')
        weir.wait_errors(r'Server %s of upstream hole is down: no connection within 400 ms' % hole)
    with t.case('all down: 503 with Retry-After, at once'):
        for patient in (one, two, three):
            patient.word = 500
        for patient in (one, two, three):
            becomes(weir, patient, 'down')
        began = time.monotonic()
        answer = fetch(weir.port, 'GET', '/http')
        equal(answer.status, 503, 'status')
        true(int(answer.header('Retry-After')) > 0, 'Retry-After')
        between(time.monotonic() - began, 0, 0.5, 'seconds')
        weir.wait_access({'status': 503, 'reason': 'no_server', 'upstream': 'http'})
    with t.case('a checker that was killed is replaced, and what was known stays known'):
        checker = weir.checker()
        weir.expect_deaths = True
        os.kill(checker, 9)
        equal(state(weir, one), 'down', 'state meanwhile')
        until('there is a new one', lambda: weir.checker() not in (None, checker), 5)
        equal(state(weir, one), 'down', 'state')
        equal(state(weir, tcp), 'up', 'state')
        for patient in (one, two, three):
            patient.word = 200
        for patient in (one, two, three):
            becomes(weir, patient, 'up')
        equal(seen_by(weir, '/http'), {'one', 'two', 'three'}, 'who answers again')
    with t.case('counts of checks are shown'):
        shown = next(s for s in servers(weir) if s['server'] == str(two))
        true(shown['checks'] >= 20 and shown['check_failures'] >= 12, 'checks and failures, %r' % shown)


PASSIVE = '''
[listen http]
bind = 127.0.0.1:{port}
[route all]
upstream = app
retries = 2
[route lone]
path = /lone
upstream = lone
[upstream app]
server = {one}
server = {two}
server = {three}
balance = round_robin
max_fails = 2
fail_timeout = 1s
[upstream lone]
server = {four}
max_fails = 1
fail_timeout = 60s
'''


def ejection(t):
    origins = {n: Origin(n, lambda m, c, n=n: Reply(200, n)) for n in ('one', 'two', 'three', 'four')}
    weir = Weir(PASSIVE, name='passive', workers=2, **origins)
    two, four = origins['two'], origins['four']

    with t.case('a server that refuses is left alone; no client notices'):
        two.down()
        equal({fetch(weir.port, 'GET', '/%d' % n).status for n in range(30)}, {200}, 'statuses')
        weir.wait_errors(r'warn worker.* Server %s of upstream app failed 2 times and is left alone for 1 s' % two)
    with t.case('each time it fails again it is left alone for twice as long'):
        def again():
            fetch(weir.port, 'GET', '/')
            return len([l for l in weir.errors().split('\n') if 'Server %s of' % two in l and 'for 2 s' in l])
        until('it was given another chance', again, 6, step=0.02)
        weir.wait_errors(r'Server %s of upstream app failed 1 time and is left alone for 2 s' % two)
    with t.case('it comes back by itself'):
        two.up()
        until('it serves again', lambda: fetch(weir.port, 'GET', '/').text == 'two', 10, step=0.02)
        equal(seen_by(weir, '/', 9), {'one', 'two', 'three'}, 'who answers')
    with t.case('at most half are left alone'):
        for name in ('one', 'two', 'three'):
            origins[name].down()
        for n in range(20):
            fetch(weir.port, 'GET', '/')
        origins['one'].up(), origins['two'].up(), origins['three'].up()
        equal(fetch(weir.port, 'GET', '/').status, 200, 'status as soon as they are there')
    with t.case('a lone server is always tried'):
        four.down()
        for n in range(3):
            equal(fetch(weir.port, 'GET', '/lone').status, 502, 'status')
        four.up()
        equal(fetch(weir.port, 'GET', '/lone').status, 200, 'status')


with Story('health of servers', deadline=110) as t:
    checks(t)
    ejection(t)
