#!/usr/bin/python3
# Two origins behind a weir that reads its configuration again and again, by weirctl and by SIGHUP. What is good comes into
# force as a whole, what is bad changes nothing and is told with its line. Nobody who is served notices.
# timeout: 240
import json
import os
import random
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
from tap import until
from child import read_text

HELLO = '''
[listen http]
bind = 127.0.0.1:{port}
[route all]
respond = 200 %s
'''
APP = '''
[weir]
workers = %d
shutdown_timeout = 30s
[listen http]
bind = 127.0.0.1:{port}
max_requests = 0
[route all]
upstream = app
[upstream app]
server = {one}
server = {two}
'''


def weirctl(weir, *words):
    """(exit status, all it said)"""
    run = subprocess.run([os.path.join(os.path.dirname(tap.program()), 'weirctl'), '-s', weir.control_path, *words],
                         capture_output=True, text=True, timeout=120 * tap.SLOW)
    return run.returncode, run.stdout + run.stderr


def reload(weir, conf=None):
    """Reloads, as it has to succeed; the number of the generation in force."""
    if conf is not None:
        weir.write(conf)
    status_, said = weirctl(weir, 'reload')
    equal(status_, 0, 'exit status of weirctl reload, which said ' + said)
    return int(re.search(r'generation (\d+) serves', said).group(1))


def rss_kib(weir):
    return int(re.search(r'VmRSS:\s+(\d+)', read_text('/proc/%d/status' % weir.pid)).group(1))


def json_workers(weir):
    return [row for row in json.loads(control(weir, 'workers --json')) if row['role'] == 'worker']


def settled(weir, timeout=10):
    """Only the generation in force is left."""
    until('old generations are gone', lambda: len(status(weir)['generations']) == 1, timeout)


def start(conf, **things):
    weir = Weir(conf, **things)
    weir.expect_deaths = True
    until('it is ready', lambda: status(weir)['state'] == 'running')
    return weir


def basic(t):
    weir = start(HELLO % 'first', name='basic')
    with t.case('weirctl reload: the new answer is in force when it returns'):
        equal(reload(weir, HELLO % 'second'), 2, 'generation')
        equal(fetch(weir.port).text, 'second', 'answer')
        settled(weir)
    with t.case('SIGHUP does the same'):
        weir.write(HELLO % 'third')
        os.kill(weir.pid, signal.SIGHUP)
        until('the third answers', lambda: fetch(weir.port).text == 'third')
    with t.case('status and workers tell of generations'):
        settled(weir)
        now = status(weir)
        equal((now['generation'], now['reloads'], now['reloads_failed']), (3, 2, 0), 'generation, reloads, failures')
        equal({row['generation'] for row in json_workers(weir)}, {3}, 'generations of the workers')
        contains(weirctl(weir, 'status')[1], '3 in force', 'status')


def refused(t):
    weir = start(HELLO % 'good', name='refused')
    good, pids, descriptors = weir.conf, weir.worker_pids(), len(os.listdir('/proc/%d/fd' % weir.pid))
    other = socket.create_server(('127.0.0.1', 0))
    taken = other.getsockname()[1]
    bad = {
        'bad syntax': (HELLO.replace('respond', 'resbond') % 'x', r'weir\.ini:\d+: error: .*resbond'),
        'a file that is missing': ('include = %s/none.ini\n' % weir.dir + HELLO % 'x', r'none\.ini'),
        'a port in use': (HELLO % 'x' + '[listen more]\nbind = 127.0.0.1:%d\n' % taken,
                          r'weir\.ini:\d+: cannot listen on 127\.0\.0\.1:%d: another process' % taken),
        'a log that cannot be opened': ('[weir]\nerror_log = %s/none/such.log\n' % weir.dir + HELLO % 'x',
                                        r'cannot open the log .*none/such\.log'),
        'another pid file': ('[weir]\npid_file = %s/other.pid\n' % weir.dir + HELLO % 'x', r'pid_file.*restart'),
        'another account': ('[weir]\nuser = nobody\n' + HELLO % 'x', r'user.*restart'),
    }
    for what, (conf, want) in bad.items():
        with t.case('%s: refused with the reason, by weirctl with status 1 and in the log; the old one serves' % what):
            before = weir.errors()
            weir.write(conf)
            code, said = weirctl(weir, 'reload')
            equal(code, 1, 'exit status; it said ' + said)
            true(re.search(want, said), '%r in %r' % (want, said))
            true(re.search(want, weir.errors()[len(before):]), '%r in the log' % want)
            contains(weir.errors()[len(before):], 'generation 1 serves on', 'log')
            equal(fetch(weir.port).text, 'good', 'answer')
    with t.case('none of it left a trace'):
        until('what was begun is gone', lambda: len(status(weir)['generations']) == 1)
        equal(weir.worker_pids(), pids, 'workers')
        equal(len(os.listdir('/proc/%d/fd' % weir.pid)), descriptors, 'descriptors of the master')
        equal([p for p in children(weir.pid) if child_is_zombie(p)], [], 'zombies')
        equal((status(weir)['generation'], status(weir)['reloads_failed']), (1, len(bad)), 'generation, failures')
    other.close()
    with t.case('what is good again is taken'):
        with open(weir.conf_path, 'w') as f:
            f.write(good)
        reload(weir)
        equal(fetch(weir.port).text, 'good', 'answer')
    with t.case('weirctl reload --json tells the outcome for a script, good and bad'):
        code, said = weirctl(weir, 'reload', '--json')
        equal((code, json.loads(said)['ok']), (0, True), 'status and outcome')
        contains(json.loads(said)['message'], 'serves with', 'message')
        weir.write('[listen x\n')
        code, said = weirctl(weir, 'reload', '--json')
        equal((code, json.loads(said)['ok']), (1, False), 'status and outcome')
        contains(json.loads(said)['message'], 'got no ]', 'message')


def child_is_zombie(pid):
    return re.search(r'\) Z ', read_text('/proc/%d/stat' % pid) or '') is not None


def listeners(t):
    weir = start(HELLO % 'a', name='listeners')
    more = '[listen more]\nbind = 127.0.0.1:{port_b}\nbind = unix:{dir}/front\n'
    with t.case('a listener is added'):
        reload(weir, HELLO % 'b' + more)
        equal(fetch(weir.ports['port_b']).text, 'b', 'answer')
        true(os.path.exists(weir.dir + '/front'), 'the file of the UNIX address is there')
    with t.case('addresses that stay keep their sockets, whatever their place in the file'):
        reload(weir, '[listen more]\nbind = 127.0.0.1:{port_b}\nbind = unix:{dir}/front\n' + HELLO % 'c')
        equal([fetch(weir.port).text, fetch(weir.ports['port_b']).text], ['c', 'c'], 'answers')
        true(os.path.exists(weir.dir + '/front'), 'the file of the UNIX address is there')
    with t.case('a listener is removed: those who stand in its queue are served, later ones refused'):
        settled(weir)
        pids = weir.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        queued = [Client(weir.ports['port_b']) for _ in range(8)]
        for client in queued:
            client.ask('GET', '/')
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        reload(weir, HELLO % 'd')
        equal([client.read().status for client in queued], [200] * 8, 'answers')
        until('nobody listens', lambda: not listening(weir.ports['port_b']), 3)
        true(not os.path.exists(weir.dir + '/front'), 'the file of the UNIX address is gone')
        equal(fetch(weir.port).text, 'd', 'answer of the other one')
    with t.case('a wider address takes the place of a narrow one'):
        reload(weir, (HELLO % 'e').replace('127.0.0.1:', '0.0.0.0:'))
        # The kernel prefers the narrow one for as long as an old worker has it open.
        until('the new generation answers', lambda: fetch(weir.port).text == 'e')
        settled(weir)


def drains(t):
    one = Origin('one')
    weir = start(APP.replace('{two}', '{one} name=again') % 2, name='drains', one=one)
    with t.case('kept-alive clients are told to go with their next answer, in the grace of 5 s'):
        idle, late, silent = Client(weir.port), Client(weir.port), Client(weir.port)
        for client in (idle, late, silent):
            equal(client.fetch().header('connection'), None, 'Connection')
        began = time.monotonic()
        reload(weir)
        equal(idle.fetch().header('connection'), 'close', 'Connection of the next answer')
        time.sleep(3)
        equal(late.fetch().header('connection'), 'close', 'Connection of an answer 3 s later')
        silent.sock.settimeout(10 * tap.SLOW)
        equal(silent.sock.recv(1), b'', 'the end')
        between(time.monotonic() - began, 4.5, 7 * tap.SLOW, 'seconds until an idle one was closed')
    with t.case('what is under way ends whole, and the old generation with it'):
        busy = Client(weir.port)
        busy.ask('GET', '/slow/1500')
        until('the origin was asked', lambda: any(m.target == '/slow/1500' for m in one.requests))
        reload(weir)
        equal(len(status(weir)['generations']), 2, 'generations')
        answer = busy.read()
        equal((answer.status, answer.header('connection')), (200, 'close'), 'status and Connection')
        settled(weir)
    with t.case('a third old generation is not kept: the oldest ends, and what it lost is counted'):
        clients = []
        for _ in range(3):
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/slow/25000')
            until('the origin was asked', lambda: sum(m.target == '/slow/25000' for m in one.requests) == len(clients))
            reload(weir)
        now = status(weir)
        equal([g['state'] for g in now['generations'] if g['state'] == 'draining'], ['draining'] * 2, 'old generations')
        equal((now['lost_connections'], now['lost_requests']), (1, 1), 'lost clients and requests')
        contains(weir.errors(), 'because 2 old ones are the most', 'error log')
    weir.stop()


def carried(t):
    two = Origin('two')
    conf = APP % 2 + 'check = http\ncheck_interval = 500ms\ncheck_fall = 2\nbalance = round_robin\nmax_fails = 1\nfail_timeout = 60s\n'
    one = Origin('one')
    weir = start(conf, name='carried', one=one, two=two)

    def server(name='one'):
        return next(s for s in servers(weir) if s['server'] == '127.0.0.1:%d' % weir.things[name].port)
    with t.case('a server that is down stays down over a reload, with the time it has been so'):
        one.down()
        until('it is down', lambda: server()['state'] == 'down', 10)
        time.sleep(0.5)
        before = server()['state_ms']
        reload(weir, conf.replace('500ms', '1h'))
        after = server()
        equal(after['state'], 'down', 'state')
        true(after['state_ms'] >= before, 'down for %d ms, was %d' % (after['state_ms'], before))
        for _ in range(6):
            equal(fetch(weir.port).status, 200, 'status')
    with t.case('servers change places, one is added: each keeps its own health and counts'):
        had = {s['server']: (s['state'], s['requests']) for s in servers(weir)}
        reload(weir, conf.replace('server = {one}\nserver = {two}', 'server = {two}\nserver = 127.0.0.1:{port_new}\nserver = {one}')
               .replace('500ms', '1h'))
        now = {s['server']: (s['state'], s['requests']) for s in servers(weir)}
        equal({name: now[name] for name in had}, had, 'state and requests of the old ones')
        equal(now['127.0.0.1:%d' % weir.ports['port_new']], ('up', 0), 'the new one')
    weir.stop()


def ejected(t):
    def broken(message, conn):
        return conn.reset()
    bad, good = Origin('bad', handler=broken), Origin('good')
    conf = APP % 2 + 'balance = round_robin\nmax_fails = 1\nfail_timeout = 60s\n'
    weir = start(conf, name='ejected', one=bad, two=good)
    with t.case('an ejected server stays ejected over a reload'):
        for _ in range(4):
            fetch(weir.port)
        weir.wait_errors('is left alone for 60 s')
        asked = len(bad.requests)
        reload(weir)
        for _ in range(10):
            equal(fetch(weir.port).status, 200, 'status')
        equal(len(bad.requests), asked, 'requests to the ejected server')
    weir.stop()


def exact(t):
    weir = start(APP % 2, name='exact', one=Origin('one'), two=Origin('two'))
    with t.case('counters are exact over ten reloads under load'):
        load = Load(weir.port, '/x', connections=6).start()
        for n in range(10):
            reload(weir, APP % (1 + n % 3))
            goal = load.ok + 100
            until('100 more are served', lambda: load.ok >= goal)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        settled(weir)
        wait_idle(weir)
        equal(status(weir)['totals']['requests'], load.ok, 'requests in all')
        equal(sum(s['requests'] for s in servers(weir)), load.ok, 'requests of the servers')
        equal(status(weir)['totals']['responses_2xx'], load.ok, 'answers')
    weir.stop()


def verbs(t):
    one, two = Origin('one'), Origin('two')
    weir = start(APP.replace('{one}', '{one} name=a').replace('{two}', '{two} name=b') % 3 + 'balance = round_robin\n',
                 name='verbs', one=one, two=two)

    def hits(count=40):
        had = len(one.requests), len(two.requests)
        load = Load(weir.port, '/x', connections=4, count=count).run()
        equal((load.ok, load.lost), (count, 0), '%r' % load)
        return len(one.requests) - had[0], len(two.requests) - had[1]

    def state(name='a'):
        return next(s['state'] for s in servers(weir) if s['server'] == name)
    for verb, shown in (('drain', 'drained'), ('down', 'held down')):
        with t.case('weirctl %s: no new request goes there, none fails, and what is under way ends' % verb):
            busy = Client(weir.port)
            while not any(m.target == '/slow/800' for m in one.requests):
                busy.ask('GET', '/slow/800')
                time.sleep(0.2)
                if not any(m.target == '/slow/800' for m in one.requests):
                    busy.read()
            equal(weirctl(weir, verb, 'app/a')[0], 0, 'exit status')
            equal(hits(), (0, 40), 'requests to a and b')
            equal(state(), shown, 'state')
            equal(busy.read().status, 200, 'status of what was under way')
            one.forget()
        with t.case('%s holds over a reload' % verb):
            reload(weir)
            equal((hits(), state()), ((0, 40), shown), 'requests and state')
        with t.case('weirctl ready after %s: it is used again' % verb):
            equal(weirctl(weir, 'ready', 'app/a')[0], 0, 'exit status')
            a, b = hits()
            between(a, 15, 25, 'requests to a')
            equal(state(), 'up', 'state')
    with t.case('weirctl weight: the shares follow, exactly, and hold over a reload'):
        equal(weirctl(weir, 'weight', 'app/a', '3')[0], 0, 'exit status')
        hits()
        between(hits(80)[0], 58, 62, 'requests to a')
        reload(weir)
        between(hits(80)[0], 57, 63, 'requests to a')
        equal(weirctl(weir, 'weight', 'app/a', '0')[0], 0, 'exit status')
        equal(hits(), (0, 40), 'requests with weight 0')
    with t.case('mistakes are told with the nearest name'):
        for words, want, code in ((('drain', 'ap/a'), 'no upstream', 1), (('drain', 'app/c'), 'no server', 1),
                                  (('drain', 'app'), 'UPSTREAM/SERVER', 1), (('weight', 'app/a', 'x'), 'a number', 2),
                                  (('weight', 'app/a', '1001'), '0 to 1000', 2), (('drain',), 'usage', 2)):
            got = weirctl(weir, *words)
            equal(got[0], code, 'exit status of %r' % (words,))
            contains(got[1], want, 'answer to %r' % (words,))
    weir.stop()


PIECES, PIECE = 500, body_of(20000)


async def drip(message, conn):
    """A body that takes ten seconds."""
    await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (PIECES * len(PIECE)))
    for _ in range(PIECES):
        await conn.send(PIECE)
        await conn.sleep(0.02)


class Loop:
    """Does the same thing again and again on a thread; what failed is kept."""

    def __init__(self, what):
        self.what, self.done, self.failed, self.running = what, 0, [], True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.running:
            try:
                self.what()
                self.done += 1
            except Exception as error:     # whatever it is, it is a failure
                self.failed.append('%s %r' % (time.strftime('%H:%M:%S'), error))
            time.sleep(0.2)

    def end(self):
        self.running = False
        self.thread.join(40 * tap.SLOW)


def mixed(t):
    rounds = 100 if tap.SLOW == 1 else 15
    conf = APP.replace('[route all]', '[route long]\npath = /long\nupstream = long\n[route all]') + \
        '[upstream long]\nserver = {long}\n'
    weir = start(conf % 2, name='mixed', one=Origin('one'), two=Origin('two'), long=Origin('long', handler=drip))

    def download():
        client = Client(weir.port, keep=0, timeout=30)
        client.ask('GET', '/long')
        equal(client.read().length, PIECES * len(PIECE), 'length')
        client.close()

    def upload():
        client = Client(weir.port, timeout=30)
        client.send(request('POST', '/digest', [('Content-Length', '30000')]))
        for n in range(20):
            client.send(body_of(30000)[n * 1500:(n + 1) * 1500])
            time.sleep(0.1)
        contains(client.read().text, digest_of(30000), 'digest')
        client.close()
        time.sleep(6)
    with t.case('%d reloads under mixed load, the number of workers changing each time: nothing fails' % rounds):
        body = body_of(3000)
        loads = [Load(weir.port, '/fresh', connections=2, close_each=True, pause=0.01),
                 Load(weir.port, '/kept', connections=4, pause=0.01),
                 Load(weir.port, '/idle', connections=3, pause=0.7),
                 Load(weir.port, lambda n: '/digest?%d' % n, connections=2, method='POST', body=body, pause=0.01,
                      check=lambda m: m.status == 200 and digest_of(3000) in m.text)]
        for load in loads:
            load.start()
        loops = [Loop(download), Loop(upload)]
        counts, sizes, waits = [], [], []
        draw = random.Random(48)
        for n in range(rounds):
            began = time.monotonic()
            reload(weir, conf % draw.choice((1, 2, 3, 4)))
            waits.append(time.monotonic() - began)
            if n >= rounds // 5:
                counts.append(len(os.listdir('/proc/%d/fd' % weir.pid)))
                sizes.append(rss_kib(weir))
            time.sleep(0.1)
        for loop in loops:
            loop.end()
        for load in loads:
            load.stop()
        t.note('reloads took %.0f ms in the middle, %.0f ms at most; downloads %d, uploads %d; %r' % (
            sorted(waits)[len(waits) // 2] * 1000, max(waits) * 1000, loops[0].done, loops[1].done,
            [dict(load.counts) for load in loads]))
        equal([load.lost for load in loads], [0] * len(loads), 'lost: %r' % loads)
        equal([load.counts['closed'] for load in loads], [0] * len(loads), 'closed between requests: %r' % loads)
        equal([loop.failed for loop in loops], [[], []], 'downloads and uploads that failed')
        true(loops[0].done > 0 and loops[1].done > 0, 'there were some')
        equal(status(weir)['lost_connections'], 0, 'lost by ending generations')
    with t.case('every old process is gone, every count is back to 0'):
        settled(weir)
        wait_idle(weir)
        equal(len(children(weir.pid)), status(weir)['workers'] + 1, 'children')
    with t.case('descriptors and memory of the master did not grow'):
        third = len(counts) // 3
        t.note('descriptors %d..%d, RSS %d..%d KiB' % (min(counts), max(counts), min(sizes), max(sizes)))
        between(max(counts[-third:]) - max(counts[:third]), -1000, 8, 'more descriptors')
        if tap.SLOW == 1:
            between(max(sizes[-third:]), 0, max(sizes[:third]) * 1.05 + 64, 'KiB')
    weir.stop()


def storm(t):
    weir = start(APP % 2, name='storm', one=Origin('one'), two=Origin('two'))
    with t.case('a thousand signals in five seconds: reloads are coalesced, nothing is lost, no zombie stays'):
        load = Load(weir.port, '/x', connections=3, pause=0.005).start()
        storm_of = [random.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)) for _ in range(1000)]
        for signum in storm_of:
            os.kill(weir.pid, signum)
            time.sleep(0.005)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        settled(weir, 15)
        now = status(weir)
        t.note('%d reloads' % now['reloads'])
        between(now['reloads'], 2, storm_of.count(signal.SIGHUP), 'reloads')
        equal([p for p in children(weir.pid) if child_is_zombie(p)], [], 'zombies')
    with t.case('TERM in the middle of a reload wins'):
        os.kill(weir.pid, signal.SIGHUP)
        time.sleep(0.03)
        os.kill(weir.pid, signal.SIGTERM)
        weir.stop()
    weir = start(APP % 2, name='quit', one=Origin('three'), two=Origin('four'))
    with t.case('QUIT in the middle of a reload wins, too'):
        os.kill(weir.pid, signal.SIGHUP)
        time.sleep(0.03)
        weir.stop(signal.SIGQUIT)


def shrink(t):
    weir = start((HELLO % 'x').replace('\n[listen', '\n[weir]\nworkers = 4\n[listen', 1), name='shrink')
    with t.case('from 4 workers to 1 and back: who stands in any queue is served'):
        for n, count in enumerate((1, 4, 2, 3)):
            pids = weir.worker_pids()
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            queued = [Client(weir.port, timeout=15) for _ in range(24)]
            for client in queued:
                client.ask('GET', '/%d' % n)
            weir.write((HELLO % 'x').replace('\n[listen', '\n[weir]\nworkers = %d\n[listen' % count, 1))
            os.kill(weir.pid, signal.SIGHUP)
            until('it is in force', lambda: status(weir)['generation'] == n + 2, 10)
            equal([client.read().status for client in queued], [200] * 24, 'answers with %d workers' % count)
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            settled(weir, 15)
    weir.stop()


def crashes(t):
    if 'fault-points=yes' not in weir_run('-V').out:
        t.skip('a reload whose processes crash', 'needs a build with fault points')
        return
    for fault, want in (('trial-crash', 'killed by signal 6'), ('reload-crash', 'could not start')):
        weir = start(HELLO % 'good', name=fault, env={'WEIR_FAULT': fault})
        pids = weir.worker_pids()
        with t.case('%s: the reload fails, the old generation serves on as if nothing had been' % fault):
            weir.write(HELLO % 'other' + '[listen more]\nbind = 127.0.0.1:{port_b}\n')
            code, said = weirctl(weir, 'reload')
            equal(code, 1, 'exit status; it said ' + said)
            contains(said, want, 'weirctl')
            settled(weir)
            equal((fetch(weir.port).text, weir.worker_pids()), ('good', pids), 'answer and workers')
            true(not listening(weir.ports['port_b']), 'nobody listens on the new address')
            until('no zombie', lambda: not [p for p in children(weir.pid) if child_is_zombie(p)])
        os.kill(weir.pid, signal.SIGTERM)
        weir.wait(10)
        weir.stopped = True


STORIES = (basic, refused, crashes, listeners, drains, carried, ejected, exact, verbs, shrink, storm, mixed)

with Story('reload', deadline=220) as t:
    for one in STORIES:
        if len(sys.argv) < 2 or one.__name__ in sys.argv[1:]:
            one(t)
