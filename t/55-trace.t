#!/usr/bin/python3
# weirctl trace: the next requests that match are told in full, with every candidate server and why it was passed over,
# and nothing is left behind when weirctl goes. A worker never waits for a reader.
# timeout: 120
import json
import os
import signal
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
trusted_proxies = 127.0.0.2
[route other]
path = /other
upstream = app
[route busy]
path = /busy
upstream = busy
[route plain]
path = /plain
respond = 200 hello
[route all]
upstream = app
[upstream app]
max_fails = 0
server = 127.0.0.1:{port_gone} name=gone
server = {one} name=one
server = {one} name=spare weight=0
server = {one} name=last backup
server = {one} name=idle disabled
[upstream busy]
balance = least_conn
server = {one} name=a
server = {one} name=b max_conns=1
'''


class Trace:
    """weirctl trace, running; its lines as JSON."""

    def __init__(self, weir, *words, json_lines=True):
        tool = os.environ.get('WEIRCTL') or os.path.join(os.path.dirname(program()), 'weirctl')
        self.process = subprocess.Popen(
            [tool, '-s', weir.control_path, 'trace'] + list(words) + (['--json'] if json_lines else []),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        story().finally_(self.end)
        # It is in force once the master has logged it; the order is given in the same turn.
        self.weir, self.seen = weir, weir.errors().count('weirctl asks to trace')

    def wait_begun(self, count):
        until('tracing has begun', lambda: self.weir.errors().count('weirctl asks to trace') >= count, 10)
        return self

    def result(self, status=0):
        out, err = self.process.communicate(timeout=60 * tap.SLOW)
        equal(self.process.returncode, status, 'exit status of weirctl trace; it said %s' % err)
        return out

    def records(self, status=0):
        """All that were traced, and the last line."""
        lines = [json.loads(line) for line in self.result(status).splitlines()]
        return lines[:-1], lines[-1]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


asked = 0


def trace(weir, *words, **how):
    global asked
    asked += 1
    return Trace(weir, *words, **how).wait_begun(asked)


def idle(weir):
    """Nobody traces: the next one is let in at once."""
    global asked
    run = trace(weir, '1', '--wait', '0s')
    run.records(status=4)


def matches(t, weir):
    with t.case('N requests, then it ends by itself'):
        run = trace(weir, '3')
        for n in range(5):
            fetch(weir.port, 'GET', '/n%d?q=%d' % (n, n))
        records, end = run.records()
        equal([r['target'] for r in records], ['/n0?q=0', '/n1?q=1', '/n2?q=2'], 'targets')
        equal(end, {'traced': 3, 'wanted': 3, 'lost': 0}, 'the end')
        equal(records[0]['host'], 'weir.test', 'host')
    with t.case('every candidate, and why it was passed over'):
        others = {o['server']: o['why'] for o in records[0]['tries'][-1]['others']}
        equal(others.pop('app/gone', 'lost') in ('lost', 'tried'), True, 'the one that is gone')
        equal(others, {'app/spare': 'weight 0', 'app/last': 'backup', 'app/idle': 'disabled'}, 'the others')
        equal(records[0]['tries'][-1]['server'], 'app/one', 'who answered')
    with t.case('by route'):
        run = trace(weir, '1', 'route=other')
        fetch(weir.port, 'GET', '/no')
        fetch(weir.port, 'GET', '/other/yes')
        records, _ = run.records()
        equal([r['route'] for r in records], ['other'], 'routes')
    with t.case('by header and its value, blanks and all; by a header of any value'):
        run = trace(weir, '2', 'header=X-Who: a b 100%')
        fetch(weir.port, 'GET', '/1', headers=[('X-Who', 'a b')])
        for _ in range(2):
            fetch(weir.port, 'GET', '/2', headers=[('x-who', 'a b 100%')])
        records, _ = run.records()
        equal([r['target'] for r in records], ['/2', '/2'], 'targets')
        run = trace(weir, 'header=X-Any')
        fetch(weir.port, 'GET', '/1')
        fetch(weir.port, 'GET', '/2', headers=[('X-Any', '7')])
        equal([r['target'] for r in run.records()[0]], ['/2'], 'targets')
    with t.case('by client, as trusted proxies tell it'):
        run = trace(weir, '1', 'client=198.51.100.0/24')
        fetch(weir.port, 'GET', '/no')
        with Client(weir.port, source='127.0.0.2') as c:
            c.fetch('GET', '/yes', headers=[('X-Forwarded-For', '198.51.100.7')])
        records, _ = run.records()
        equal([(r['client'], r['target']) for r in records], [('198.51.100.7', '/yes')], 'who')
    with t.case('requests that no server sees: an answer of weir, one without a meaning'):
        run = trace(weir, '2')
        fetch(weir.port, 'GET', '/plain')
        exchange(weir.port, b'GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')
        records, _ = run.records()
        equal([(r['status'], r['reason'], r['tries']) for r in records], [(200, '-', []), (400, 'bad_request', [])], 'them')


def loads(t, weir, gate):
    with t.case('loads: who was less busy, who full'):
        clients = [Client(weir.port) for _ in range(4)]
        for n, c in enumerate(clients[:3]):
            c.ask('GET', '/busy/held%d' % n)
            gate.wait_held(n + 1)
        run = trace(weir, 'route=busy')
        clients[3].ask('GET', '/busy/traced')
        gate.wait_held(4)
        gate.open()
        records, _ = run.records()
        last = records[0]['tries'][-1]
        equal((last['server'], last['load']), ('busy/a', 2), 'who was picked, at which load')
        equal([(o['server'], o['why'], o['load']) for o in last['others']], [('busy/b', 'full', 1)], 'the other')
        for c in clients:
            equal(c.read().status, 200, 'status')
            c.close()


def ends(t, weir):
    with t.case('a wait that is over: status 4, and what there was'):
        run = trace(weir, '5', 'route=other', '--wait', '1s')
        fetch(weir.port, 'GET', '/other')
        records, end = run.records(status=4)
        equal((len(records), end['traced']), (1, 1), 'traced')
    with t.case('an interrupt ends it in order'):
        run = trace(weir, '5', json_lines=False)
        fetch(weir.port, 'GET', '/seen')
        run.process.stdout.readline()
        run.process.send_signal(signal.SIGINT)
        contains(run.result(), '1 of 5 requests traced', 'the end')
        idle(weir)
    with t.case('a weirctl that is killed ends it, too'):
        run = trace(weir, '1000')
        run.process.kill()
        run.process.wait()

        def free():
            global asked
            run = Trace(weir, '1', '--wait', '0s')
            run.process.communicate(timeout=30)
            asked = weir.errors().count('weirctl asks to trace')
            return run.process.returncode == 4
        until('another one may trace', free, 5)
    with t.case('one at a time; wrong words are told with the nearest'):
        run = trace(weir, '1')
        for words, status, said in ((('1',), 1, 'already'), (('route=oter',), 2, '"other"'), (('rote=x',), 2, '"route"'),
                                    (('0',), 2, 'from 1'), (('client=x',), 2, 'network'), (('--wait', 'x'), 2, 'time')):
            other = Trace(weir, *words)
            _, err = other.process.communicate(timeout=30)
            equal(other.process.returncode, status, 'status of %r' % (words,))
            contains(err, said, 'what is said')
        fetch(weir.port, 'GET', '/')
        run.records()
    with t.case('a reload in between: the new generation is traced as well'):
        run = trace(weir, '50')
        fetch(weir.port, 'GET', '/before')
        control(weir, 'reload')

        def renewed():
            """Answered by the new generation, after its workers have had the order."""
            fetch(weir.port, 'GET', '/after')
            found = json.loads(control(weir, 'why --json --last 5'))
            return any(r['generation'] == 2 and r['request'] == 'GET /after' for r in found)
        until('the new generation serves', renewed, 10)
        for _ in range(10):
            fetch(weir.port, 'GET', '/after')
        run.process.send_signal(signal.SIGINT)
        records, _ = run.records()
        equal({r['generation'] for r in records}, {1, 2}, 'generations')
        weir.expect_deaths = True


def slow_reader(t, weir):
    with t.case('under load: no request waits for the reader, what is lost is counted'):
        run = trace(weir, '10000', '--wait', '20s')
        os.kill(run.process.pid, signal.SIGSTOP)
        load = Load(weir.port, '/plain', connections=8, count=12000).run()
        equal(load.lost, 0, 'requests lost')
        os.kill(run.process.pid, signal.SIGCONT)
        run.process.send_signal(signal.SIGINT)
        records, end = run.records()
        equal(end['traced'] <= 10000, True, 'no more than asked for')
        true(end['lost'] > 0, 'some were lost: %r' % end)
        true(len(records) <= end['traced'], 'and the others told: %d' % len(records))
        idle(weir)


with Story('requests told in full', deadline=110) as t:
    gate = Gate(only=lambda m: m.target.startswith('/busy'))
    one = Origin('one', handler=gate)
    weir = Weir(CONF, one=one, port_gone=free_port())
    matches(t, weir)
    loads(t, weir, gate)
    ends(t, weir)
    slow_reader(t, weir)
