#!/usr/bin/python3
# Decision records: what became of a request can be asked by its id afterwards, with the servers that were tried and those
# that were passed over, also when the worker that served it is dead, or its generation drains.
# timeout: 120
import json
import os
import re
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
trusted_proxies = 127.0.0.2
[route plain]
path = /plain
respond = 200 hello
[route down]
path = /down
upstream = dead
[route retried]
path = /retried
upstream = mixed
[route held]
path = /held
upstream = app
[route all]
upstream = app
[upstream app]
server = {one} name=one
[upstream mixed]
balance = round_robin
max_fails = 0
server = 127.0.0.1:{port_dead} name=gone
server = {one} name=one
server = {one} name=spare weight=0
[upstream dead]
max_fails = 0
server = 127.0.0.1:{port_dead} name=gone
'''


def weirctl(weir, *words, status=0):
    tool = os.environ.get('WEIRCTL') or os.path.join(os.path.dirname(program()), 'weirctl')
    done = subprocess.run([tool, '-s', weir.control_path] + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60 * tap.SLOW, text=True)
    equal(done.returncode, status, 'exit status of weirctl %s (%s)' % (' '.join(words), done.stderr))
    return done.stdout if status == 0 else done.stderr


def why(weir, request_id):
    """The record of a request; it is there once the request has ended."""
    return json.loads(weirctl(weir, 'why', request_id, '--json'))


def id_of(weir, uri):
    return weir.wait_access({'uri': uri})['id']


def told(t, weir, one):
    with t.case('an answer of a server: who asked, which route, which server, how long'):
        equal(fetch(weir.port, 'POST', '/first?q=1', body=b'x' * 300).status, 200, 'status')
        record = why(weir, id_of(weir, '/first?q=1'))
        for name, value in (('request', 'POST /first'), ('route', 'all'), ('listener', 'http'), ('status', 200),
                            ('reason', '-'), ('closed_by', 'nobody'), ('bytes_in', 300), ('tries_all', 1),
                            ('generation', 1), ('protocol', 'h1'), ('own', False)):
            equal(record[name], value, name)
        isin('127.0.0.1:', record['client'], 'client')
        only, = record['tries']
        equal((only['server'], only['status'], only['result'], only['load']), ('app/one', 200, 'answered', 0), 'the try')
        true(0 < only['header_us'] <= record['total_us'], 'its time: %r' % record)
    with t.case('the same for people'):
        text = weirctl(weir, 'why', record['id'])
        for part in (record['id'], 'POST /first', 'route      all, upstream app', 'app/one', 'closed first by nobody'):
            contains(text, part, 'the text')
    with t.case('the beginning of an id will do'):
        equal(json.loads(weirctl(weir, 'why', record['id'][:20], '--json'))['id'], record['id'], 'id')
    with t.case('an answer of weir itself'):
        equal(fetch(weir.port, 'GET', '/plain').status, 200, 'status')
        record = why(weir, id_of(weir, '/plain'))
        equal((record['route'], record['own'], record['tries']), ('plain', True, []), 'the record')
    with t.case('a request without a route, and one that is none'):
        fetch(weir.port, 'GET', '/none')
        exchange(weir.port, b'GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')
        bad, = [r for r in last(weir, '--status', '400')]
        equal((bad['reason'], bad['route'], bad['closed_by']), ('bad_request', '-', 'weir'), 'the bad one')


def last(weir, *words):
    return json.loads(weirctl(weir, 'why', '--last', '100', '--json', *words))


def passed_over(t, weir):
    with t.case('a retry: which server failed and how, and why others were passed over'):
        def retried():
            fetch(weir.port, 'GET', '/retried')
            return any(len(r['tries']) == 2 for r in last(weir, '--route', 'retried'))
        until('a request met the dead server first', retried, 10)
        record = [r for r in last(weir, '--route', 'retried') if len(r['tries']) == 2][0]
        equal(record['status'], 200, 'status')
        first, second = record['tries']
        equal((first['server'], first['result']), ('mixed/gone', 'connect_failed'), 'the first try')
        equal((second['server'], second['result']), ('mixed/one', 'answered'), 'the second')
        equal({o['server']: o['why'] for o in first['others']}, {'mixed/one': 'lost', 'mixed/spare': 'weight 0'}, 'others')
        equal({o['server']: o['why'] for o in second['others']}, {'mixed/gone': 'tried', 'mixed/spare': 'weight 0'}, 'others')
    with t.case('no server at all'):
        equal(fetch(weir.port, 'GET', '/down').status, 502, 'status')
        record = why(weir, id_of(weir, '/down'))
        equal((record['status'], record['reason'], record['closed_by']), (502, 'connect_failed', 'server'), 'the record')
    with t.case('a server that the operator holds is told so'):
        weirctl(weir, 'drain', 'dead/gone')
        equal(fetch(weir.port, 'GET', '/down?held').status, 503, 'status')
        record = why(weir, id_of(weir, '/down?held'))
        equal((record['tries'][0]['server'], record['tries'][0]['result']), (None, 'no_server'), 'the try')
        equal([(o['server'], o['why']) for o in record['tries'][0]['others']], [('dead/gone', 'held')], 'others')
        weirctl(weir, 'ready', 'dead/gone')


def ids(t, weir):
    with t.case('an id that a trusted proxy gave, longer than a record holds'):
        given = 'trace-' + 'abc.' * 25
        with Client(weir.port, source='127.0.0.2') as c:
            equal(c.fetch('GET', '/given', headers=[('X-Request-ID', given)]).status, 200, 'status')
        weir.wait_access({'uri': '/given'})
        record = why(weir, given)
        equal(record['request'], 'GET /given', 'request')
        weirctl(weir, 'why', given + 'x', status=5)
    with t.case('an unknown id: status 5, and how far back records go'):
        text = weirctl(weir, 'why', 'feedfacefeedface', status=5)
        contains(text, 'is not on record', 'what is said')
        true(re.search(r'\d+ requests are', text), text)
    with t.case('text of a client cannot reach the terminal as it came'):
        exchange(weir.port, b'GET /\x1b[2J HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
        lacks(weirctl(weir, 'why', '--last', '50'), '\x1b', 'the list')
        json.loads(weirctl(weir, 'why', '--last', '50', '--json'))
    with t.case('lists: by status class, by route, bounded; wrong words are told'):
        true(all(r['status'] // 100 == 5 for r in last(weir, '--status', '5xx')), 'only 5xx')
        true(last(weir, '--status', '5xx'), 'there are some')
        equal({r['route'] for r in last(weir, '--route', 'plain')}, {'plain'}, 'routes')
        equal(len(json.loads(weirctl(weir, 'why', '--last', '2', '--json'))), 2, 'how many')
        contains(weirctl(weir, 'why', '--route', 'plan', status=1), 'did you mean "plain"', 'the nearest')
        for words in (('--last', '0'), ('--last', 'x'), ('--status', '6x'), ('id', '--last', '3'), ('--last',)):
            weirctl(weir, 'why', *words, status=2)


def let_go(gate):
    """Whoever is held, unless the origin has seen that nobody waits for it any more."""
    gate.open()
    gate.shut()


def ends(t, weir, gate):
    with t.case('a client that left first'):
        c = Client(weir.port)
        c.ask('GET', '/held/left')
        gate.wait_held(1)
        c.reset()
        record = why(weir, id_of(weir, '/held/left'))
        equal((record['reason'], record['closed_by'], record['status']), ('client_abort', 'client', 499), 'the record')
        equal(record['tries'][0]['result'], 'given_up', 'the try')
        let_go(gate)
    with t.case('records outlive the worker that wrote them, killed with a request in hand'):
        before = {r['id'] for r in last(weir)}
        c = Client(weir.port)
        c.ask('GET', '/held/killed')
        gate.wait_held(1)
        for number in list(weir.workers()):
            weir.wait_respawn(weir.kill_worker(number))
        equal({r['id'] for r in last(weir)} & before, before, 'what is still on record')
        let_go(gate)
        equal(fetch(weir.port, 'GET', '/after').status, 200, 'status')
        id_of(weir, '/after')
        true({r['id'] for r in last(weir)} > before, 'and new ones are added')
        c.close()
    with t.case('and the drain of their generation'):
        c = Client(weir.port)
        c.ask('GET', '/held/drain')
        gate.wait_held(1)
        weirctl(weir, 'reload')
        equal({r['id'] for r in last(weir)} & before, before, 'what is still on record')
        equal(fetch(weir.port, 'GET', '/new').status, 200, 'status')
        record = why(weir, id_of(weir, '/new'))
        equal(record['generation'], 2, 'generation')
        gate.open()
        equal(c.read().status, 200, 'the answer of the old one')
        c.close()


def full(t, weir):
    with t.case('the ring is bounded: the newest stay, and the rest is told by age'):
        weirctl(weir, 'why', '--last', '1')
        load = Load(weir.port, '/plain', connections=4, count=6000).run()
        equal(load.lost, 0, 'lost')
        equal(fetch(weir.port, 'GET', '/newest').status, 200, 'status')
        why(weir, id_of(weir, '/newest'))
        contains(weirctl(weir, 'why', 'feedfacefeedface', status=5), 'all that ended in the last', 'what is said')


def upgraded(t, gate, one):
    """Another program has taken over; a generation of the one before still drains."""
    gate.shut()
    weir = Weir(CONF, name='upgraded', own=True, one=one, port_dead=free_port())
    weir.expect_deaths = True
    with t.case('records of a generation that drains stay through an upgrade'):
        equal(fetch(weir.port, 'GET', '/before').status, 200, 'status')
        asked = id_of(weir, '/before')
        c = Client(weir.port)
        c.ask('GET', '/held/upgrade')
        gate.wait_held(1)
        weirctl(weir, 'upgrade')
        weir.follow()
        record = why(weir, asked)
        equal((record['request'], record['generation'], record['route']), ('GET /before', 1, 'all'), 'the record')
        equal(record['tries'][0]['server'], 'app/one', 'the server')
        equal(fetch(weir.port, 'GET', '/after').status, 200, 'status')
        equal(why(weir, id_of(weir, '/after'))['generation'], 2, 'generation')
    with t.case('drain --wait waits for what the program before has under way'):
        run = subprocess.Popen([os.path.join(os.path.dirname(program()), 'weirctl'), '-s', weir.control_path, 'drain',
                                'app/one', '--wait', '60s'], stdout=subprocess.PIPE, text=True)
        until('the drain is in force', lambda: [s['state'] for s in servers(weir) if s['upstream'] == 'app'] == ['drained'], 5)
        equal([s['active'] for s in servers(weir) if s['upstream'] == 'app'], [1], 'under way')
        equal(run.poll(), None, 'still waiting')
        gate.open()
        contains(run.communicate(timeout=60 * tap.SLOW)[0], '0 requests under way', 'what is said')
        equal((run.returncode, c.read().status), (0, 200), 'exit status, and the answer')
        c.close()


with Story('what became of a request', deadline=100) as t:
    gate = Gate(only=lambda m: m.target.startswith('/held'))
    one = Origin('one', handler=gate)
    weir = Weir(CONF, one=one, port_dead=free_port())
    told(t, weir, one)
    passed_over(t, weir)
    ids(t, weir)
    ends(t, weir, gate)
    full(t, weir)
    upgraded(t, gate, one)
