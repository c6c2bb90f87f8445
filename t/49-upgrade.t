#!/usr/bin/python3
# A weir whose program is replaced while it runs, again and again, by weirctl and by SIGUSR2. The new one takes over
# everything: sockets, health, counts, session keys, pid file. One that is missing, crashes, hangs or is something else
# changes nothing. Nobody who is served notices either way.
# timeout: 240
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import ssl
import tap
from tap import until
from child import read_text, stat_of

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
    run = subprocess.run([os.path.join(os.path.dirname(program()), 'weirctl'), '-s', weir.control_path, *words],
                         capture_output=True, text=True, timeout=120 * tap.SLOW)
    return run.returncode, run.stdout + run.stderr


def start(conf, **things):
    weir = Weir(conf, own=True, **things)
    weir.expect_deaths = True
    until('it is ready', lambda: status(weir)['state'] == 'running')
    return weir


def upgrade(weir):
    """As it has to succeed; weir.pid is the new master then."""
    old = weir.pid
    code, said = weirctl(weir, 'upgrade')
    equal(code, 0, 'exit status of weirctl upgrade, which said ' + said)
    true(weir.follow() != old, 'the pid file names a new process')
    contains(said, 'process %d serves' % weir.pid, 'weirctl')
    return weir.pid


def settled(weir, timeout=10):
    """Only the generation in force is left."""
    until('old generations are gone', lambda: len(status(weir)['generations']) == 1, timeout)


def replace(weir, text):
    """Another program in the place of weir's own: a script, or None for nothing."""
    os.rename(weir.weir, weir.weir + '.good')
    if text is None:
        return
    with open(weir.weir, 'w') as f:
        f.write(text)
    os.chmod(weir.weir, 0o755)


def restore(weir):
    if os.path.exists(weir.weir + '.good'):
        os.rename(weir.weir + '.good', weir.weir)


def zombies(pid):
    return [p for p in os.listdir('/proc') if p.isdigit() and (stat_of(int(p)) or [b'', b'0'])[1] == b'%d' % pid
            and stat_of(int(p))[0] == b'Z']


def basic(t):
    weir = start(HELLO % 'first' + '[listen more]\nbind = unix:{dir}/front\n', name='basic')
    old = weir.pid
    with t.case('weirctl upgrade: another process serves, with the configuration as it is now'):
        weir.write(HELLO % 'second' + '[listen more]\nbind = unix:{dir}/front\n')
        new = upgrade(weir)
        equal(fetch(weir.port).text, 'second', 'answer')
        equal(json.loads(weirctl(weir, 'status', '--json')[1])['pid'], new, 'process that answers weirctl')
    with t.case('the old one ends with status 0 and takes nothing along'):
        equal(weir.wait(), 0, 'exit status')
        for path in (weir.pid_path, weir.control_path, weir.control_path + '.lock', weir.dir + '/front'):
            true(os.path.exists(path), path + ' is there')
        equal(int(read_text(weir.control_path + '.lock')), new, 'process in the lock file')
        settled(weir)
        equal(status(weir)['upgrades'], 1, 'upgrades')
    with t.case('a second weir still finds the files locked'):
        run = weir_run('-c', weir.conf_path)
        equal(run.code, 3, 'exit status')
        contains(run.err, 'weir is running already: process %d' % new, 'what it says')
    with t.case('SIGUSR2 does the same'):
        os.kill(new, signal.SIGUSR2)
        until('another process serves', lambda: int(read_text(weir.pid_path) or new) != new)
        weir.follow()
        until('the one before is gone', lambda: not os.path.exists('/proc/%d' % new) or zombies(1))
        equal(fetch(weir.port).text, 'second', 'answer')
    with t.case('reload, USR1 and an end work as before'):
        settled(weir)
        weir.write(HELLO % 'third')
        equal(weirctl(weir, 'reload')[0], 0, 'exit status of reload')
        equal(fetch(weir.port).text, 'third', 'answer')
        true(not os.path.exists(weir.dir + '/front'), 'the file of the UNIX address is gone')
        os.rename(weir.error_path, weir.error_path + '.1')
        os.kill(weir.pid, signal.SIGUSR1)
        weir.wait_errors('Logs reopened')
        weir.stop()
        for path in (weir.pid_path, weir.control_path, weir.control_path + '.lock'):
            true(not os.path.exists(path), path + ' is gone')


SCRIPT = '#!/bin/sh\n'
# What an older or younger program might find: the same estate, changed in one place.
FOREIGN = '''#!/usr/bin/python3
import fcntl, os, re, sys
text = os.pread(int(os.environ['WEIR_UPGRADE']), 1 << 20, 0)
text = re.sub(rb'^weir (\\d+) \\w+', %s, text)
fd = os.memfd_create('estate', os.MFD_ALLOW_SEALING)
os.write(fd, text)
fcntl.fcntl(fd, 1033, 15)
os.set_inheritable(fd, True)
os.environ['WEIR_UPGRADE'] = str(fd)
os.execv(sys.argv[0] + '.good', sys.argv)
'''
BROKEN = {
    'is missing': (None, r'cannot run .*/weir: No such file'),
    'crashes': (SCRIPT + 'kill -SEGV $$\n', r'killed by signal 11'),
    'ends at once': (SCRIPT + 'echo a library is missing >&2\nexit 9\n', r'a library is missing[^$]*ended with status 9'),
    'is something else': (SCRIPT + 'exit 0\n', r'ended with status 0'),
    'reads nothing of ours': (SCRIPT + 'export WEIR_UPGRADE=2\nexec "$0".good "$@"\n', r'cannot take over .*nothing from weir'),
    'has another shared memory': (FOREIGN % r"rb'weir \1 123'", r'cannot take over .*shared memory has another form'),
    'is too old for what is left': (FOREIGN % r"rb'weir 99 0'", r'cannot take over .*newer kind'),
    'hangs': (SCRIPT + 'exec sleep 300\n', r'did not say within 10 s'),
}


def unchanged(weir, pids, descriptors):
    equal(fetch(weir.port).text, 'good', 'answer')
    equal(weir.worker_pids(), pids, 'workers')
    equal(int(read_text(weir.pid_path)), weir.pid, 'process in the pid file')
    equal(int(read_text(weir.control_path + '.lock')), weir.pid, 'process in the lock file')
    until('descriptors are as before', lambda: len(os.listdir('/proc/%d/fd' % weir.pid)) == descriptors)
    until('no zombie is left', lambda: not zombies(weir.pid))
    true(os.path.exists(weir.dir + '/front'), 'the file of the UNIX address is there')


def broken(t):
    weir = start(HELLO % 'good' + '[listen more]\nbind = unix:{dir}/front\n', name='broken')
    good, pids = weir.conf, weir.worker_pids()
    descriptors = len(os.listdir('/proc/%d/fd' % weir.pid))
    load = Load(weir.port, '/x', connections=2, pause=0.01).start()
    for what, (text, want) in BROKEN.items():
        with t.case('a program that %s: the old one serves on, weirctl and the log say why' % what):
            before = len(weir.errors())
            replace(weir, text)
            try:
                code, said = weirctl(weir, 'upgrade')
                equal(code, 1, 'exit status; it said ' + said)
                true(re.search(want, said), '%r in %r' % (want, said))
                true(re.search(want.split('[^$]*')[-1], weir.errors()[before:]), '%r in the log' % want)
                contains(weir.errors()[before:], 'serves on', 'log')
                unchanged(weir, pids, descriptors)
            finally:
                restore(weir)
    for what, conf, want in (
            ('bad syntax', good.replace('respond', 'resbond'), r'weir\.ini:\d+: error: .*resbond'),
            ('another pid file', good.replace('weir.pid', 'other.pid'), r'pid_file has changed'),
            ('a log that cannot be opened', good.replace('error.log', 'none/such.log'), r'cannot open the log .*none/such')):
        with t.case('a configuration with %s: the same' % what):
            with open(weir.conf_path, 'w') as f:
                f.write(conf)
            code, said = weirctl(weir, 'upgrade')
            equal(code, 1, 'exit status; it said ' + said)
            true(re.search(want, said), '%r in %r' % (want, said))
            unchanged(weir, pids, descriptors)
    with open(weir.conf_path, 'w') as f:
        f.write(good)
    with t.case('nobody noticed anything'):
        load.stop()
        equal((load.lost, load.counts['closed']), (0, 0), 'lost and closed: %r' % load)
        equal(status(weir)['upgrades_failed'], len(BROKEN) + 3, 'failed upgrades')
    with t.case('the next good one succeeds'):
        upgrade(weir)
        equal(fetch(weir.port).text, 'good', 'answer')
    weir.stop()


def faults(t):
    if 'fault-points=yes' not in weir_run('-V').out:
        t.skip('a new program that crashes late', 'needs a build with fault points')
        return
    for fault in ('heir-crash', 'heir-late-crash'):
        weir = start(HELLO % 'good' + '[listen more]\nbind = unix:{dir}/front\n', name=fault, env={'WEIR_FAULT': fault})
        pids, descriptors = weir.worker_pids(), len(os.listdir('/proc/%d/fd' % weir.pid))
        with t.case('%s: a new weir that dies on the way to serving: the old one goes on' % fault):
            code, said = weirctl(weir, 'upgrade')
            equal(code, 1, 'exit status; it said ' + said)
            contains(said, 'killed by signal 6', 'weirctl')
            unchanged(weir, pids, descriptors)
            equal(status(weir)['pid'], weir.pid, 'process that answers weirctl')
        os.truncate(weir.error_path, 0)
        weir.stop()


def refused(t):
    weir = start(HELLO % 'good', name='refused')
    with t.case('a second one while one runs is refused with a sentence'):
        replace(weir, SCRIPT + 'exec sleep 300\n')
        os.kill(weir.pid, signal.SIGUSR2)
        weir.wait_errors('Upgrading: process')
        code, said = weirctl(weir, 'upgrade')
        equal((code, 'an upgrade is under way already' in said), (1, True), 'exit status and answer: ' + said)
        os.kill(weir.pid, signal.SIGUSR2)
        weir.wait_errors('asks to upgrade, but an upgrade is under way')
    with t.case('TERM in the middle of it: both end'):
        sleeper = int(re.search(r'Upgrading: process (\d+)', weir.errors()).group(1))
        weir.stop()
        until('the new program is gone', lambda: not alive(sleeper), 3)
    restore(weir)
    weir = start(HELLO % 'good', name='raced')
    with t.case('TERM a moment after a good one began: no process of either is left'):
        os.kill(weir.pid, signal.SIGUSR2)
        time.sleep(0.004)
        os.kill(weir.pid, signal.SIGTERM)
        equal(weir.wait(), 0, 'exit status')
        weir.stopped = True
        pid = int(read_text(weir.pid_path) or 0)
        if pid:     # it had taken over: its end is another signal
            weir.follow()
            os.kill(pid, signal.SIGTERM)
        until('all are gone', lambda: not mine(weir))


def mine(weir):
    """Every process that works in the story's directory of this weir, by its open error log."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if any(os.readlink('/proc/%s/fd/%s' % (pid, fd)) == weir.error_path for fd in os.listdir('/proc/%s/fd' % pid)):
                found.append(int(pid))
        except OSError:
            continue
    return found


def carried(t):
    conf = APP % 2 + 'check = http\ncheck_interval = 500ms\ncheck_fall = 2\nbalance = round_robin\n'
    weir = start(conf.replace('{two}', '{two}\nserver = {three}'), name='carried', one=Origin('one'), two=Origin('two'),
                 three=Origin('three'))
    names = {key: '127.0.0.1:%d' % weir.things[key].port for key in ('one', 'two', 'three')}

    def server(key):
        return next(s for s in servers(weir) if s['server'] == names[key])
    with t.case('health, what the operator asked for and weights hold over an upgrade'):
        weir.things['one'].down()
        until('it is down', lambda: server('one')['state'] == 'down', 10)
        equal(weirctl(weir, 'drain', 'app/' + names['two'])[0], 0, 'exit status of drain')
        equal(weirctl(weir, 'weight', 'app/' + names['three'], '7')[0], 0, 'exit status of weight')
        time.sleep(0.3)
        before = server('one')['state_ms']
        weir.write(conf.replace('{two}', '{two}\nserver = {three}').replace('500ms', '1h'))
        upgrade(weir)
        now = server('one')
        equal(now['state'], 'down', 'state')
        true(now['state_ms'] >= before, 'down for %d ms, was %d' % (now['state_ms'], before))
        equal((server('two')['state'], server('three')['weight']), ('drained', 7), 'state of two, weight of three')
        for _ in range(6):
            equal(fetch(weir.port).status, 200, 'status')
    weir.stop()


def exact(t):
    weir = start(APP % 2, name='exact', one=Origin('one'), two=Origin('two'))
    with t.case('counts are exact over upgrades and reloads under load, and never go back'):
        load = Load(weir.port, '/x', connections=6).start()
        seen = []
        for n in range(4):
            weir.write(APP % (1 + n % 3))
            upgrade(weir)
            for _ in range(5):
                seen.append(status(weir)['totals']['requests'])
            if n % 2:
                equal(weirctl(weir, 'reload')[0], 0, 'exit status of reload')
            goal = load.ok + 100
            until('100 more are served', lambda: load.ok >= goal)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        equal(seen, sorted(seen), 'requests as time goes by')
        settled(weir)
        wait_idle(weir)
        equal(status(weir)['totals']['requests'], load.ok, 'requests in all')
        equal(sum(s['requests'] for s in servers(weir)), load.ok, 'requests of the servers')
        equal((status(weir)['upgrades'], status(weir)['reloads']), (4, 2), 'upgrades and reloads')
    weir.stop()


def drains(t):
    one = Origin('one')
    weir = start(APP.replace('{two}', '{one} name=again') % 2, name='drains', one=one)
    with t.case('what is under way ends whole in the old process, and is counted as under way meanwhile'):
        busy = Client(weir.port)
        busy.ask('GET', '/slow/2500')
        until('the origin was asked', lambda: any(m.target == '/slow/2500' for m in one.requests))
        old = weir.pid
        upgrade(weir)
        now = status(weir)
        equal(([g['state'] for g in now['generations']], now['totals']['active_requests']), (['live', 'draining'], 1),
              'generations and requests under way')
        with open(weir.error_path) as f:
            os.rename(weir.access_path, weir.access_path + '.1')
            os.kill(weir.pid, signal.SIGUSR1)
            until('both reopened their logs', lambda: weir.errors().count('Logs reopened') == 2)
        equal(busy.read().status, 200, 'status')
        weir.wait_access({'uri': '/slow/2500'})
        until('the old process is gone', lambda: not alive(old))
        settled(weir)
    with t.case('a third old generation is not kept, also where it is another process\'s: the oldest ends, counted'):
        clients = []
        for _ in range(3):
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/slow/25000')
            until('the origin was asked', lambda: sum(m.target == '/slow/25000' for m in one.requests) == len(clients))
            upgrade(weir)
        now = status(weir)
        equal([g['state'] for g in now['generations']], ['live', 'draining', 'draining'], 'generations')
        equal((now['lost_connections'], now['lost_requests']), (1, 1), 'lost clients and requests')
    with t.case('TERM ends the masters that still drain as well'):
        until('three masters are there', lambda: len(masters(weir)) == 3)
        weir.stop()
        until('all are gone', lambda: not mine(weir), 5)


def masters(weir):
    return [pid for pid in mine(weir) if title(pid).startswith('weir: master')]


def sessions(t):
    ca = Authority()
    weir = start('''
[listen http]
bind = 127.0.0.1:{port}
certificate = {pair}
[route all]
respond = 200 hello
''', name='sessions', pair=ca.issue('a.test'))
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with t.case('a session of %s resumes after two upgrades' % most.name):
            context = ca.client(most=most)
            with Client(weir.port, tls=context, name='a.test') as client:
                client.fetch()
                session = client.sock.session
            upgrade(weir)
            upgrade(weir)
            for _ in range(4):
                with Client(weir.port, tls=context, name='a.test', session=session) as client:
                    equal(client.fetch().status, 200, 'status')
                    true(client.sock.session_reused, 'the session was resumed')
    weir.stop()


def paths(t):
    with t.case('a program started by a relative path from another directory is found again, and a link is followed anew'):
        here = tap.story().path('elsewhere')
        os.makedirs(here)
        shutil.copy(program(), os.path.join(here, 'weir-1'))
        shutil.copy(program(), os.path.join(here, 'weir-2'))
        os.symlink('weir-1', os.path.join(here, 'weir'))
        weir = Weir(HELLO % 'x', name='paths', cwd=here, program='./weir')
        weir.expect_deaths = True
        os.symlink('weir-2', os.path.join(here, 'next'))
        os.rename(os.path.join(here, 'next'), os.path.join(here, 'weir'))
        os.unlink(os.path.join(here, 'weir-1'))
        upgrade(weir)
        equal(os.readlink('/proc/%d/exe' % weir.pid), os.path.join(here, 'weir-2'), 'program')
        weir.stop()
    with t.case('a daemon with a relative configuration upgrades, too'):
        folder = tap.story().path('daemon')
        os.makedirs(folder)
        port = free_port()
        with open(folder + '/weir.ini', 'w') as f:
            f.write('[weir]\npid_file = pid\ncontrol = ctl\nerror_log = err\n' + (HELLO % 'x').replace('{port}', str(port)))
        done = subprocess.run([program(), '-D', '-c', 'weir.ini'], cwd=folder, timeout=30 * tap.SLOW)
        equal(done.returncode, 0, 'exit status')
        pid = int(read_text(folder + '/pid'))
        Daemon(pid)
        os.kill(pid, signal.SIGUSR2)
        until('another process serves', lambda: int(read_text(folder + '/pid') or pid) != pid)
        new = int(read_text(folder + '/pid'))
        Daemon(new)
        until('the old one is gone', lambda: not alive(pid))
        equal(fetch(port).text, 'x', 'answer')
        os.kill(new, signal.SIGTERM)
        until('it ends', lambda: not alive(new))


PIECES, PIECE = 400, body_of(20000)


async def drip(message, conn):
    """A body that takes eight seconds."""
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


def mixed(t, rounds):
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
        time.sleep(4)
    with t.case('%d upgrades under mixed load, other numbers of workers, a broken program in between: nothing fails' % rounds):
        body = body_of(3000)
        loads = [Load(weir.port, '/fresh', connections=2, close_each=True, pause=0.01),
                 Load(weir.port, '/kept', connections=4, pause=0.01),
                 Load(weir.port, '/idle', connections=3, pause=0.7),
                 Load(weir.port, lambda n: '/digest?%d' % n, connections=2, method='POST', body=body, pause=0.01,
                      check=lambda m: m.status == 200 and digest_of(3000) in m.text)]
        for load in loads:
            load.start()
        loops = [Loop(download), Loop(upload)]
        draw, waits = random.Random(49), []
        for n in range(rounds):
            if n % 4 == 3:
                replace(weir, draw.choice((None, SCRIPT + 'kill -ABRT $$\n')))
                equal(weirctl(weir, 'upgrade')[0], 1, 'exit status with a broken program')
                restore(weir)
            weir.write(conf % draw.choice((1, 2, 3, 4)))
            began = time.monotonic()
            upgrade(weir)
            waits.append(time.monotonic() - began)
            time.sleep(0.1)
        for loop in loops:
            loop.end()
        for load in loads:
            load.stop()
        t.note('upgrades took %.0f ms in the middle, %.0f ms at most; downloads %d, uploads %d; %r' % (
            sorted(waits)[len(waits) // 2] * 1000, max(waits) * 1000, loops[0].done, loops[1].done,
            [dict(load.counts) for load in loads]))
        equal([load.lost for load in loads], [0] * len(loads), 'lost: %r' % loads)
        equal([load.counts['closed'] for load in loads], [0] * len(loads), 'closed between requests: %r' % loads)
        equal([loop.failed for loop in loops], [[], []], 'downloads and uploads that failed')
        true(loops[0].done > 0 and loops[1].done > 0, 'there were some')
        equal((status(weir)['lost_connections'], status(weir)['upgrades']), (0, rounds), 'lost, upgrades')
    with t.case('one master is left, every count is back to 0'):
        settled(weir)
        wait_idle(weir)
        until('one master is left', lambda: masters(weir) == [weir.pid])
        equal(len(children(weir.pid)), status(weir)['workers'] + 1, 'children')
    weir.stop()


def short(t):
    mixed(t, 20 if tap.SLOW == 1 else 6)


STORIES = (basic, broken, faults, refused, carried, exact, drains, sessions, paths, short)

if __name__ == '__main__':
    with Story('upgrade', deadline=220) as t:
        for one in STORIES:
            if len(sys.argv) < 2 or one.__name__ in sys.argv[1:]:
                one(t)
