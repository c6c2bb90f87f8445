#!/usr/bin/python3
# A weir behind load that gets signals of all kinds, faster than it can follow: reload, upgrade, reopened logs, dead children
# that are none. It ends up whole: one master, its own processes, every descriptor and every count in its place, nobody lost.
# And an end among them is an end.
# timeout: 180
import os
import random
import re
import signal
import subprocess
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import tap
from child import read_text, stat_of

APP = '''
[weir]
workers = 2
shutdown_timeout = 20s
[listen http]
bind = 127.0.0.1:{port}, unix:{dir}/front
max_requests = 0
[route all]
upstream = app
[upstream app]
server = {one}
server = {two}
'''


def family(weir):
    """Every process that has the error log of this weir open, but zombies: {pid: title}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if any(os.readlink('/proc/%s/fd/%s' % (pid, fd)).startswith(weir.error_path)
                   for fd in os.listdir('/proc/%s/fd' % pid)):
                found[int(pid)] = title(int(pid))
        except OSError:
            continue
    return found


def masters(weir):
    return [pid for pid, name in family(weir).items() if name == 'weir: master']


def zombies(pid):
    return [p for p in os.listdir('/proc') if p.isdigit() and (stat_of(int(p)) or [b'', b'0'])[:2] == [b'Z', b'%d' % pid]]


def calm(weir):
    """Until one master is left, with one generation and nothing under way."""
    def probe():
        pid = int(read_text(weir.pid_path) or 0)
        return masters(weir) == [pid] and len(family(weir)) == 4
    until('one master is left with its three processes', probe, 40)
    weir.follow()
    until('it is at rest', lambda: len(status(weir)['generations']) == 1, 20)
    return weir.pid


def send(weir, kinds, count, pause):
    """Signals to whoever is the master."""
    draw, sent = random.Random(59), {}
    for _ in range(count):
        kind = draw.choice(kinds)
        try:
            os.kill(int(read_text(weir.pid_path) or 0) or weir.pid, kind)
            sent[kind.name] = sent.get(kind.name, 0) + 1
        except ProcessLookupError:
            pass
        time.sleep(pause)
    return sent


def storm(t):
    weir = Weir(APP, name='storm', own=True, one=Origin('one'), two=Origin('two'))
    weir.expect_deaths = True
    kinds = (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
    calm(weir)
    descriptors = len(os.listdir('/proc/%d/fd' % weir.pid))
    with t.case('a thousand signals, upgrades among them, under load: nobody is lost'):
        load = [Load(weir.port, '/fresh', connections=2, close_each=True, pause=0.005),
                Load(weir.port, '/kept', connections=3, pause=0.005)]
        for one in load:
            one.start()
        sent = send(weir, kinds, 1000, 0.005)
        for one in load:
            one.stop()
        equal([one.lost for one in load], [0, 0], 'lost: %r' % load)
    with t.case('then one master is there, with its own workers, and every count is right'):
        calm(weir)
        now = status(weir)
        t.note('sent %r; %d reloads, %d upgrades' % (sent, now['reloads'], now['upgrades']))
        true(now['reloads'] > 0 and now['upgrades'] > 0, 'there were some')
        for line in re.findall(r'.*(?:failed,| error ).*', weir.errors())[:10]:
            t.note(line)
        equal((now['reloads_failed'], now['upgrades_failed'], now['lost_connections']), (0, 0, 0), 'failures and losses')
        wait_idle(weir)
        equal(status(weir)['totals']['requests'], sum(one.ok for one in load), 'requests in all')
    with t.case('no descriptor leaked, no zombie, no file forgotten'):
        between(len(os.listdir('/proc/%d/fd' % weir.pid)), descriptors - 2, descriptors + 2, 'descriptors')
        equal(zombies(weir.pid), [], 'zombies')
        equal(sorted(name for name in os.listdir(weir.dir) if not re.search(r'\.log', name)),
              ['control.sock', 'control.sock.lock', 'front', 'weir', 'weir.ini', 'weir.pid'], 'files')
    weir.stop()
    with t.case('its end takes all of it along'):
        until('no process is left', lambda: not family(weir))
        equal([name for name in os.listdir(weir.dir) if not re.search(r'\.log|\.ini', name)], ['weir'], 'files')


def ends(t):
    """Each time: everything at once, and TERM or QUIT among it."""
    for n, (end, words) in enumerate(((signal.SIGTERM, 'TERM'), (signal.SIGQUIT, 'QUIT'), (signal.SIGTERM, 'TERM'),
                                      (signal.SIGINT, 'INT'))):
        weir = Weir(APP, name='end-%d' % n, own=True, one=Origin('one-%d' % n), two=Origin('two-%d' % n))
        weir.expect_deaths = weir.stopped = True
        with t.case('%s among reloads and upgrades ends it, without leaving anything' % words):
            draw = random.Random(n)
            burst = [signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1, signal.SIGCHLD] * 2 + [end]
            draw.shuffle(burst)
            if n % 2:
                burst = [signal.SIGUSR2, signal.SIGHUP, end]
            for kind in burst:
                os.kill(weir.pid, kind)
                time.sleep(draw.choice((0, 0, 0.003, 0.01)))
            equal(weir.wait(20), 0, 'exit status')

            def over():
                # An upgrade that was faster than the end has another master, which gets its own.
                pid = int(read_text(weir.pid_path) or 0)
                if pid and pid != weir.pid:
                    os.kill(pid, end)
                return not family(weir)
            until('no process is left', over, 30, step=0.2)
            equal([name for name in os.listdir(weir.dir) if not re.search(r'\.log|\.ini', name)], ['weir'], 'files')


with Story('signals', deadline=170) as t:
    for one in (storm, ends):
        if len(sys.argv) < 2 or one.__name__ in sys.argv[1:]:
            one(t)
