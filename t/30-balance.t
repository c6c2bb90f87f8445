#!/usr/bin/python3
# Several origins behind one weir, clients in front: which server each request goes to. The origins hold requests at a
# gate, so that counts are exact and nothing hangs on the clock; connections of clients spread over all workers.
# timeout: 150
import os
import sys
import time
from collections import Counter
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}

[route sync]
path = /sync
respond = 200 here
[route least]
path = /least
upstream = least
[route heavy]
path = /heavy
upstream = heavy
[route turns]
path = /turns
upstream = turns
[route weights]
path = /weights
upstream = weights
[route random]
path = /random
upstream = random
[route ip]
path = /ip
upstream = ip
[route hash10]
path = /hash10
upstream = hash10
[route hash9]
path = /hash9
upstream = hash9
[route ewma]
path = /ewma
upstream = ewma
[route backup]
path = /backup
upstream = backup
[route without]
path = /without
upstream = without
[route room]
path = /room
upstream = room
[route ramp]
path = /ramp
upstream = ramp

[upstream least]
server = {a}
server = {b}
server = {c}
[upstream heavy]
server = {a}
server = {b} weight=2
server = {c}
[upstream turns]
balance = round_robin
server = {a}
server = {b}
server = {c}
[upstream weights]
balance = round_robin
server = {a} weight=5
server = {b}
server = {c}
[upstream random]
balance = random
server = {a}
server = {b}
server = {c}
[upstream ip]
balance = ip_hash
server = {a}
server = {b}
server = {c}
[upstream hash10]
balance = hash ${query:k}
{ten}
[upstream hash9]
balance = hash ${query:k}
{nine}
[upstream ewma]
balance = ewma
server = {quick}
server = {slow}
[upstream backup]
server = {p} name=p
server = {q} name=q
server = {r} name=r backup
max_fails = 0
check = tcp
check_interval = 100ms
check_rise = 1
check_fall = 1
[upstream without]
balance = round_robin
server = {a}
server = {b} disabled
server = {c} weight=0
[upstream room]
server = {a} max_conns=2
server = {b} max_conns=2
[upstream ramp]
balance = round_robin
server = {a}
server = {late} name=late
slow_start = 4s
check = tcp
check_interval = 100ms
check_rise = 1
check_fall = 1
'''

QUEUE = '''
[listen http]
bind = 127.0.0.1:{port}
[route sync]
path = /sync
respond = 200 here
[route line]
path = /line
upstream = line
[route short]
path = /short
upstream = short
[route full]
path = /full
upstream = full
[upstream line]
server = {one} max_conns=1
[upstream short]
server = {two} max_conns=1
queue_timeout = 300ms
[upstream full]
server = {three} max_conns=1
max_queue = 2
'''


def asked(weir, target, count, strict=True, **more):
    """Who answered `count` requests, one after the other, each on a connection of its own; None: nobody."""
    names = []
    for _ in range(count):
        answer = fetch(weir.port, 'GET', target, **more)
        if strict:
            equal(answer.status, 200, 'status of %s' % target)
        names.append(answer.header('X-Origin'))
    return names


def only(weir, target, name):
    """A probe: six requests in a row go to that server alone."""
    return lambda: set(asked(weir, target, 6, strict=False)) == {name}


def hold(weir, gate, target, count):
    """Starts requests that the gate holds, each only when the one before is held; the clients."""
    clients = []
    before = len(gate.held)
    for i in range(count):
        clients.append(Client(weir.port))
        clients[-1].ask('GET', target)
        gate.wait_held(before + i + 1)
    return clients


def finish(clients):
    """Every client gets its 200 and leaves."""
    for client in clients:
        with client:
            equal(client.read().status, 200, 'status of a held request')


def least_conn(t, weir, gate):
    with t.case('least_conn over three workers: 30 requests under way are 10 on each server'):
        clients = hold(weir, gate, '/least', 30)
        equal(gate.counts(), {'a': 10, 'b': 10, 'c': 10}, 'held')
    with t.case('a request that ends makes room where it was, whichever worker has it'):
        for name in ('b', 'b', 'b', 'b'):
            gate.release(next(m for m in gate.held if m.origin.name == name))
        until('weir saw four answers', lambda: len([l for l in weir.access() if l['route'] == 'least']) == 4)
        clients += hold(weir, gate, '/least', 4)
        equal(gate.counts(), {'a': 10, 'b': 10, 'c': 10}, 'held')
    gate.open()
    finish(clients)
    gate.shut()
    with t.case('with nothing under way every server has its turn'):
        gate.open()
        counts = Counter(asked(weir, '/least', 30))
        gate.shut()
        for name in 'abc':
            between(counts[name], 6, 14, 'requests to %s' % name)
    with t.case('weights: the server of weight 2 carries twice as many'):
        clients = hold(weir, gate, '/heavy', 40)
        equal(gate.counts(), {'a': 10, 'b': 20, 'c': 10}, 'held')
    gate.open()
    finish(clients)


def round_robin(t, weir):
    with t.case('round_robin is even across three workers'):
        counts = Counter(asked(weir, '/turns', 60))
        for name in 'abc':
            between(counts[name], 19, 21, 'requests to %s' % name)
    with t.case('round_robin gives weight 5, 1, 1 its shares'):
        names = asked(weir, '/weights', 70)
        counts = Counter(names)
        between(counts['a'], 49, 51, 'requests to the heavy one')
        between(counts['b'], 9, 11, 'requests to the second')
        between(counts['c'], 9, 11, 'requests to the third')
    with t.case('round_robin spreads a heavy server smoothly'):
        for i in range(len(names) - 13):
            between(names[i:i + 14].count('a'), 9, 11, 'turns of the heavy one among 14 in a row')
    with t.case('random uses every server about as much'):
        counts = Counter(asked(weir, '/random', 240))
        for name in 'abc':
            between(counts[name], 45, 115, 'requests to %s' % name)


def random_two(t, weir, gate):
    with t.case('random, two choices: of servers under way the busiest is left out'):
        gate.shut()
        clients = hold(weir, gate, '/random', 36)
        counts = gate.counts()
        for name in 'abc':
            between(counts.get(name, 0), 9, 15, 'held by %s' % name)
        gate.open()
        finish(clients)


def hashes(t, weir):
    with t.case('ip_hash keeps a client on its server, whatever port and worker it comes by'):
        home = {}
        for i in range(1, 41):
            source = '127.0.0.%d' % i
            names = set(asked(weir, '/ip', 3, source=source))
            equal(len(names), 1, 'servers of client %s' % source)
            home[source] = names.pop()
    with t.case('ip_hash spreads clients over all servers'):
        counts = Counter(home.values())
        equal(sorted(counts), ['a', 'b', 'c'], 'servers used')
        true(min(counts.values()) >= 4, 'the smallest share of 40 clients: %r' % counts)
    with t.case('hash: a key has its server'):
        with Client(weir.port) as client:
            ten = {k: client.fetch('GET', '/hash10?k=key%d' % k).header('X-Origin') for k in range(300)}
            again = {k: client.fetch('GET', '/hash10?x=1&k=key%d' % k).header('X-Origin') for k in range(0, 300, 7)}
        for k, name in again.items():
            equal(name, ten[k], 'server of key %d' % k)
        counts = Counter(ten.values())
        equal(len(counts), 10, 'servers used')
        between(max(counts.values()), 30, 75, 'the largest share of 300 keys')
    with t.case('hash: with one of ten servers taken away, its keys move and no others'):
        with Client(weir.port) as client:
            nine = {k: client.fetch('GET', '/hash9?k=key%d' % k).header('X-Origin') for k in range(300)}
        moved = [k for k in ten if ten[k] != nine[k]]
        equal({ten[k] for k in moved}, {'s9'}, 'former servers of the keys that moved')
        equal(sorted(moved), sorted(k for k in ten if ten[k] == 's9'), 'keys that moved')
        true(len({nine[k] for k in moved}) >= 4, 'they spread over several others')


def ewma(t, weir, quick, slow, pace):
    with t.case('ewma prefers the quick server, yet asks the slow one'):
        counts = Counter(asked(weir, '/ewma', 60))
        true(counts['quick'] >= 40, 'the quick one of 60: %r' % counts)
        true(counts['slow'] >= 1, 'the slow one of 60: %r' % counts)
    with t.case('ewma finds out that the slow one became quick'):
        pace[0] = 0
        slow.forget()

        def probe():
            asked(weir, '/ewma', 10)
            return len(slow.requests) >= 5
        until('the other one is asked again and again', probe, 15)


def backup(t, weir, p, q, r):
    with t.case('a backup is left alone while any primary is up'):
        equal(set(asked(weir, '/backup', 20)), {'p', 'q'}, 'servers used')
        p.down()
        until('only q is used', only(weir, '/backup', 'q'), 10)
        equal(len(r.requests), 0, 'requests to the backup')
    with t.case('with all primaries down the backup serves'):
        q.down()
        until('the backup is used at the first try', lambda: only(weir, '/backup', 'r')()
              and weir.access()[-1]['tries'] == '1', 10)
    with t.case('the backup rests as soon as one primary is back'):
        p.up()
        until('the primary is used alone', only(weir, '/backup', 'p'), 10)


def without(t, weir):
    with t.case('a disabled server and one of weight 0 get nothing'):
        equal(set(asked(weir, '/without', 12)), {'a'}, 'servers used')


def room(t, weir, gate):
    gate.shut()
    with t.case('max_conns holds over three workers while others wait in line'):
        clients = [Client(weir.port) for _ in range(24)]
        for client in clients:
            client.ask('GET', '/room')
        gate.wait_held(4)
        for done in range(24):
            until('somebody is held', lambda: gate.held)
            gate.release()
            want = min(4, 23 - done)
            gate.wait_held(want)
        finish(clients)
        equal(gate.most, {'a': 2, 'b': 2}, 'the most held at once')
    gate.open()


def ramp(t, weir, late):
    with t.case('slow_start: a server that comes up takes little at first'):
        until('the other one serves alone', only(weir, '/ramp', 'a'), 10)
        until('the late one is known to be down',
              lambda: any(s['server'] == 'late' and s['state'] == 'down' for s in servers(weir)), 10)
        late.up()
        until('the late one got a request', lambda: (asked(weir, '/ramp', 2), len(late.requests))[1] > 0, 10, step=0)
        counts = Counter(asked(weir, '/ramp', 60))
        true(counts['late'] <= 20, 'the late one of 60 at first: %r' % counts)
    with t.case('slow_start: in the end it has its full share'):
        def probe():
            time.sleep(0.1)
            return asked(weir, '/ramp', 20).count('late') >= 9
        until('half of the requests go to the late one', probe, 12)


def barrier(weir):
    """Everything sent to the one worker before this has been looked at."""
    equal(fetch(weir.port, 'GET', '/sync').text, 'here', 'answer')


def line(t, weir, gate):
    with t.case('those who wait for room are served first come, first served'):
        clients = hold(weir, gate, '/line/0', 1)
        for i in range(1, 8):
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/line/%d' % i)
            barrier(weir)
        equal(len(gate.held), 1, 'requests at the server')
        for i in range(8):
            equal(gate.wait_held(1)[0].target, '/line/%d' % i, 'who is served')
            gate.release()
            if i < 7:
                until('the next one is there', lambda: len(gate.seen) == i + 2)
        finish(clients)
        equal(gate.most, {'one': 1}, 'the most held at once')
    with t.case('one that left the line is passed over'):
        gate.shut()
        clients = hold(weir, gate, '/line/first', 1)
        leaver, stayer = Client(weir.port), Client(weir.port)
        leaver.ask('GET', '/line/leaver')
        barrier(weir)
        stayer.ask('GET', '/line/stayer')
        barrier(weir)
        leaver.reset()
        weir.wait_access({'uri': '/line/leaver', 'status': 499})
        gate.release()
        gate.wait_held(1)
        gate.release()
        finish(clients + [stayer])
        equal([m.target for m in gate.seen], ['/line/first', '/line/stayer'], 'what reached the server')


def queue_ends(t, weir, two, three):
    with t.case('queue_timeout: 503 with Retry-After, and the line goes on'):
        clients = hold(weir, two, '/short/1', 1)
        late = Client(weir.port)
        late.ask('GET', '/short/2')
        answer = late.read()
        equal(answer.status, 503, 'status')
        true(int(answer.header('Retry-After')) > 0, 'Retry-After: %s' % answer.header('Retry-After'))
        weir.wait_access({'uri': '/short/2', 'status': 503, 'reason': 'queue_timeout'})
        two.open()
        finish(clients)
        equal(fetch(weir.port, 'GET', '/short/3').status, 200, 'status of the next')
        equal(two.seen[0].target, '/short/1', 'what was held')
        equal(len(two.seen), 1, 'requests held')
    with t.case('max_queue: one more than may wait gets 503 with Retry-After at once'):
        clients = hold(weir, three, '/full/1', 1)
        for i in (2, 3):
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/full/%d' % i)
            barrier(weir)
        answer = fetch(weir.port, 'GET', '/full/4')
        equal(answer.status, 503, 'status')
        true(int(answer.header('Retry-After')) > 0, 'Retry-After: %s' % answer.header('Retry-After'))
        weir.wait_access({'uri': '/full/4', 'status': 503, 'reason': 'queue_full'})
        three.open()
        finish(clients)


with Story('which server a request goes to', deadline=120) as t:
    gate = Gate()
    gate.open()
    pace = [0.05]

    async def dawdle(message, conn):
        await conn.sleep(pace[0])
        return NotImplemented
    abc = {name: Origin(name, handler=gate) for name in 'abc'}
    pqr = {name: Origin(name) for name in 'pqr'}
    tens = [Origin('s%d' % i) for i in range(10)]
    quick, slow = Origin('quick'), Origin('slow', handler=dawdle)
    late = Origin('late', start=False)
    lines = ['server = %s' % s for s in tens]
    weir = Weir(CONF, workers=3, ten='\n'.join(lines), nine='\n'.join(lines[:9]), quick=quick, slow=slow, late=late,
                **abc, **pqr)
    gate.shut()
    least_conn(t, weir, gate)
    round_robin(t, weir)
    random_two(t, weir, gate)
    hashes(t, weir)
    ewma(t, weir, quick, slow, pace)
    backup(t, weir, **pqr)
    without(t, weir)
    room(t, weir, gate)
    ramp(t, weir, late)

    gates = [Gate(), Gate(), Gate()]
    held = {name: Origin(name, handler=g) for name, g in zip(('one', 'two', 'three'), gates)}
    single = Weir(QUEUE, name='single', workers=1, **held)
    line(t, single, gates[0])
    queue_ends(t, single, gates[1], gates[2])
