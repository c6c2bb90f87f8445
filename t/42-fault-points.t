#!/usr/bin/python3
# Workers that fail on purpose in the middle of a request, because a client asked for it: one origin, three workers, and
# other clients who should notice as little as can be. Only for builds with fault points.
# timeout: 120
import json
import os
import re
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
[route held]
path = /held
upstream = held
[route all]
upstream = app
[upstream app]
server = {one}
[upstream held]
server = {two}
'''

# fault: (what the log says of the worker's end, seconds until there is a new one; the watchdog needs two and more)
FAULTS = {
    'crash': (r'was killed by signal 6', 1),
    'exit': (r'exited with status 7', 1),
    'stop': (r'was killed by signal 9', 4),
    'spin': (r'was killed by signal 6', 8),
}


def forgive(weir):
    """The failure was asked for and looked at: what the logs say of it is no trouble."""
    os.truncate(weir.error_path, 0)
    os.truncate(weir.err_path, 0)


def asked_to_fail(weir, fault):
    """A client on whose request a worker fails; (client, pid of that worker, seconds until it was replaced)."""
    weir.expect_deaths = True
    before, began = weir.workers(), time.monotonic()
    client = Client(weir.port)
    client.ask('GET', '/', [('X-Weir-Fault', fault)])

    def replaced():
        now = weir.workers()
        return len(now) == len(before) and [before[n] for n in before if now[n] != before[n]]
    gone = until('a worker is replaced', replaced, FAULTS[fault][1] + 4)
    equal(len(gone), 1, 'workers that went')
    return client, gone[0], time.monotonic() - began


def fails(t, weir, one, fault):
    said, seconds = FAULTS[fault]
    load = Load(weir.port, connections=6, pause=0.005).start()
    until('the load runs', lambda: load.ok > 30)
    with t.case('%s: the worker ends, the log says how, and another takes its place' % fault):
        client, pid, took = asked_to_fail(weir, fault)
        true(took < seconds * (3 if sanitized() else 1), 'replaced within %d s: %.2f' % (seconds, took))
        line = weir.wait_errors(r'worker \d \(pid %d, slot \d, generation \d+\).*' % pid).group(0)
        true(re.search(said, line), 'how it ended: ' + line)
    with t.case('%s: the client that asked for it gets no byte, and the request is not tried elsewhere' % fault):
        with client:
            isin(client.end(), ('eof', 'reset'), 'end')
            equal(bytes(client.decoder.buf), b'', 'bytes that came')
        equal([m for m in one.requests if m.header('X-Weir-Fault')], [], 'such requests at the origin')
    with t.case('%s: nobody else lost more than was inside that worker' % fault):
        at = load.ok
        until('the load goes on', lambda: load.ok > at + 60)
        load.stop()
        equal(load.counts['refused'], 0, 'refused: %r' % load)
        true(load.lost <= load.connections, 'lost: %r' % load)
        wait_idle(weir)
    return pid


def crash_note(t, weir, pid):
    with t.case('crash: the log names the place, the connection and the request'):
        text = weir.errors()
        true(re.search(r'worker \d \(pid %d.*it said: .*fault_crash\(\)' % pid, text), 'the place, in what the master says')
        true(re.search(r'panic: busy with connection \d+, exchange \d+, request id [0-9a-f]{32}', text), 'the request')


def stop_note(t, weir, pid, word):
    with t.case('%s: it is the watchdog that finds it' % word):
        weir.wait_errors(r'worker \d \(pid %d\) is %s' % (pid, word))


def with_others_inside(t, weir, gate):
    with t.case('a request that waits for its origin in the same worker is let go by all, and counted no more'):
        clients, used = [], set()
        while len(used) < 3:                 # one held request in each worker
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/held')
            gate.wait_held(len(clients))
            used = {w['slot'] for w in json.loads(control(weir, 'workers --json')) if w['active_requests']}
        before = len(clients)
        failing, _, _ = asked_to_fail(weir, 'exit')
        failing.close()
        left = next(n for name, n in busy(weir).items() if name.endswith(' of held'))
        between(left, 1, before - 1, 'of %d requests still counted' % before)
        gate.open()
        answered = 0
        for client in clients:
            with client:
                try:
                    answered += client.read().status == 200
                except (Truncated, Reset):
                    pass
        equal(answered, left, 'requests answered in the end')
        wait_idle(weir)


with Story('workers that fail on purpose', deadline=100) as t:
    if 'fault-points=yes' not in weir_run('-V').out:
        t.skip_all('weir is built without fault points (configure --enable-fault-points)')
    gate = Gate()
    one, two = Origin('one'), Origin('two', handler=gate)
    weir = Weir(CONF, workers=3, one=one, two=two)
    with t.case('an unknown fault is a header like any other'):
        equal(fetch(weir.port, 'GET', '/', [('X-Weir-Fault', 'none')]).status, 200, 'status')
        equal(one.last.header('X-Weir-Fault'), 'none', 'what reached the origin')
        one.forget()
    for fault in FAULTS:
        gone = fails(t, weir, one, fault)
        if fault == 'crash':
            crash_note(t, weir, gone)
        elif fault in ('stop', 'spin'):
            stop_note(t, weir, gone, {'stop': 'stopped', 'spin': 'spinning'}[fault])
        forgive(weir)
    with_others_inside(t, weir, gate)
    with t.case('the master counted each death once'):
        equal(status(weir)['restarts'], len(FAULTS) + 1, 'restarts')
    forgive(weir)
