#!/usr/bin/python3
# Requests that an old generation still has under way count for the one in force: a server's limit and the choice of the least
# busy one hold over a reload and an upgrade.
# timeout: 90
import os
import subprocess
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import tap

CONF = '''
[weir]
workers = 2
shutdown_timeout = 20s
[listen http]
bind = 127.0.0.1:{port}
[route all]
upstream = app
[upstream app]
queue_timeout = 15s
server = {one}%s
'''


def weirctl(weir, *words):
    run = subprocess.run([os.path.join(os.path.dirname(program()), 'weirctl'), '-s', weir.control_path, *words],
                         capture_output=True, text=True, timeout=120 * tap.SLOW)
    equal(run.returncode, 0, 'exit status of weirctl %r, which said %s' % (words, run.stdout + run.stderr))


def over(weir, verb):
    weirctl(weir, verb)
    weir.follow()
    until('the old generation drains', lambda: len(status(weir)['generations']) == 2)


with Story('generations', deadline=80) as t:
    for verb in ('reload', 'upgrade'):
        gate = Gate()
        weir = Weir(CONF % ' max_conns=2', name='limit-' + verb, one=Origin('limited-' + verb, handler=gate))
        weir.expect_deaths = True
        with t.case('max_conns holds over %s: who comes waits for what the old generation has there' % verb):
            first = [Client(weir.port, timeout=20) for _ in range(2)]
            for client in first:
                client.ask('GET', '/first')
            gate.wait_held(2)
            over(weir, verb)
            second = [Client(weir.port, timeout=20) for _ in range(3)]
            for client in second:
                client.ask('GET', '/second')
            until('three wait', lambda: sum(u['queued'] for u in status(weir)['upstreams']) == 3)
            equal({m.target for m in gate.held}, {'/first'}, 'requests at the server')
            for left in (3, 2, 1, 0):
                gate.release()
                gate.wait_held(min(2, left + 1))
            gate.release()
            equal([client.read().status for client in first + second], [200] * 5, 'statuses')
            equal(list(gate.most.values()), [2], 'the most at once')
            for client in first + second:
                client.close()
        with t.case('after that the old one is forgotten'):
            until('one generation is left', lambda: len(status(weir)['generations']) == 1)
            gate.open()
            equal([fetch(weir.port).status for _ in range(4)], [200] * 4, 'statuses')
            wait_idle(weir)
        weir.stop()

    gate, other = Gate(), Gate()
    weir = Weir(CONF % '\nserver = {two}', name='least', one=Origin('busy', handler=gate), two=Origin('idle', handler=other))
    weir.expect_deaths = True
    with t.case('the least busy server is found over a reload'):
        name = 'app/127.0.0.1:%d' % weir.things['two'].port
        weirctl(weir, 'drain', name)
        first = [Client(weir.port, timeout=20) for _ in range(4)]
        for client in first:
            client.ask('GET', '/first')
        gate.wait_held(4)
        weirctl(weir, 'ready', name)
        over(weir, 'reload')
        second = []
        for n in range(4):
            second.append(Client(weir.port, timeout=20))
            second[-1].ask('GET', '/second')
            until('it is there', lambda: len(gate.held + other.held) == 5 + n)
        equal((len(gate.held), len(other.held)), (4, 4), 'requests at both')
        gate.open()
        other.open()
        equal([client.read().status for client in first + second], [200] * 8, 'statuses')
    weir.stop()
