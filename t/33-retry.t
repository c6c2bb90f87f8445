#!/usr/bin/python3
# Origins that refuse, reset, hang and lie, one good origin, clients in front: what is tried again and what never is, how
# long anybody waits, and when a server is left alone. `dead` servers stand first, the good one is the backup, so that the
# way of every request is known beforehand.
# timeout: 150
import os
import re
import signal
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

# name: (keys of the route, keys of the upstream); every one is a route /name to an upstream of that name.
WAYS = {
    'refused': ('', 'server = {dead}\nserver = {good} backup'),
    'refused2': ('', 'server = {dead}\nserver = {good} backup'),
    'reset': ('', 'server = {resets}\nserver = {good} backup'),
    'closed': ('', 'server = {closes}\nserver = {good} backup'),
    'half': ('', 'server = {half}\nserver = {good} backup'),
    'anyway': ('retry_on = connect reset non_idempotent', 'server = {resets}\nserver = {good} backup'),
    'pooled': ('retries = 0', 'server = {pooled}'),
    'four': ('', 'server = {resets}\nserver = {resets2}\nserver = {resets3}\nserver = {good} backup'),
    'enough': ('retries = 3', 'server = {resets}\nserver = {resets2}\nserver = {resets3}\nserver = {good} backup'),
    'never': ('retries = 0', 'server = {resets}\nserver = {good} backup'),
    'unless': ('retry_on = connect', 'server = {resets}\nserver = {good} backup'),
    'busy': ('retry_on = connect reset 503', 'server = {busy}\nserver = {good} backup'),
    'busy2': ('retry_on = 503', 'server = {busy}'),
    'relay': ('', 'server = {busy}\nserver = {good} backup'),
    'late': ('', 'server = {hangs}\nserver = {good} backup\nresponse_timeout = 200ms'),
    'later': ('retry_on = timeout', 'server = {hangs}\nserver = {good} backup\nresponse_timeout = 200ms'),
    'budget': ('', 'server = {resets}\nserver = {resets2}\nserver = {resets3}'),
    'mid': ('', 'server = {middle}\nserver = {good} backup'),
    'fall': ('fallback = spare', 'server = {dead}'),
    'none': ('fallback = spare', 'server = {dead} disabled'),
    'both': ('fallback = none', 'server = {dead}'),
    'hole': ('', 'server = {hole}\nconnect_timeout = 200ms'),
    'pause': ('', 'server = {pauses}\nread_timeout = 200ms'),
    'whole': ('timeout = 300ms', 'server = {pauses}'),
    'down': ('', 'server = {dead} name=gone\ncheck = tcp\ncheck_interval = 100ms\ncheck_fall = 1'),
    'spare': ('', 'server = {good}'),
}
# Each with a retry budget of its own.
WAYS.update(('body%d' % i, ('', 'server = {resets}\nserver = {good} backup')) for i in range(1, 6))
EJECT = {
    'eject': ('', 'server = {flaky} name=flaky\nserver = {good}\nbalance = round_robin\nmax_fails = 2\n'
              'fail_timeout = 500ms'),
    'most': ('', 'server = {b1}\nserver = {b2}\nserver = {b3}\nserver = {b4}\nbalance = round_robin\nmax_fails = 1\n'
             'fail_timeout = 60s'),
    'lone': ('', 'server = {b1}\nmax_fails = 1\nfail_timeout = 60s'),
}


def conf(ways):
    text = '[listen http]\nbind = 127.0.0.1:{port}\nmax_body_size = 0\n'
    for name, (route, upstream) in ways.items():
        text += '[route %s]\npath = /%s\nupstream = %s\n%s\n' % (name, name, name, route)
        if 'max_fails' not in upstream:
            upstream += '\nmax_fails = 0'
        text += '[upstream %s]\n%s\n' % (name, upstream)
    return text


class Scene:
    """weir with its origins; ask() sends one request and tells what became of it."""

    def __init__(self, weir, **origins):
        self.weir, self.origins = weir, origins
        self.number = 0

    def ask(self, method, name, body=b'', headers=(), **more):
        """The answer, with .line: its line of the access log."""
        self.number += 1
        target = '/%s/%d' % (name, self.number)
        answer = fetch(self.weir.port, method, target, headers, body, **more)
        answer.line = self.weir.wait_access({'uri': target})
        answer.asked = target
        return answer

    def expect(self, method, name, status, reason='-', tries=None, by=None, body=b'', headers=()):
        answer = self.ask(method, name, body, headers)
        equal((answer.status, answer.line['reason']), (status, reason), 'status and reason of %s %s' % (method, name))
        if tries is not None:
            equal(answer.line['tries'], str(tries), 'tries of %s %s' % (method, name))
        if by is not None:
            equal(answer.header('X-Origin'), by, 'who answered %s %s' % (method, name))
        return answer


def came(origin, target):
    return sum(r.target == target for r in origin.requests)


def refused(t, s):
    with t.case('a refused connection: the next server, whatever the method'):
        for method in ('GET', 'POST', 'DELETE'):
            s.expect(method, 'refused', 200, tries=2, by='good', body=b'' if method == 'GET' else b'text')
            if method != 'GET':
                equal(s.origins['good'].last.body, b'text', 'body of %s' % method)


def early_ends(t, s):
    good, resets = s.origins['good'], s.origins['resets']
    for name, what in (('reset', 'resets'), ('closed', 'closes'), ('half', 'ends within the head')):
        with t.case('a server that %s before its answer: GET and PUT go to the next server' % what):
            s.expect('GET', name, 200, tries=2, by='good')
            s.expect('PUT', name, 200, tries=2, by='good', body=b'once more')
            equal(good.last.body, b'once more', 'body the second time')
        with t.case('a server that %s: a POST that may have arrived is not repeated' % what):
            before = len(good.requests)
            s.expect('POST', name, 502, 'server_reset', tries=1, body=b'only once')
            equal(len(good.requests), before, 'requests to the other server')
    with t.case('a POST is repeated where the route says so'):
        answer = s.expect('POST', 'anyway', 200, tries=2, by='good', body=b'twice')
        equal(came(resets, answer.asked), 1, 'times at the first server')
        equal(good.last.body, b'twice', 'body at the second')
    with t.case('retries = 2: three servers are tried once each, the fourth not at all'):
        before = len(good.requests)
        answer = s.expect('GET', 'four', 502, 'server_reset', tries=3)
        for name in ('resets', 'resets2', 'resets3'):
            equal(came(s.origins[name], answer.asked), 1, 'times at %s' % name)
        equal(len(good.requests), before, 'requests to the fourth')
    with t.case('retries = 3: the fourth answers'):
        s.expect('GET', 'enough', 200, tries=4, by='good')
    with t.case('retries = 0, or a failure that retry_on does not name: no second try'):
        s.expect('GET', 'never', 502, 'server_reset', tries=1)
        s.expect('GET', 'unless', 502, 'server_reset', tries=1)


def statuses(t, s):
    good = s.origins['good']
    with t.case('retry_on = 503: another server is asked'):
        s.expect('GET', 'busy', 200, tries=2, by='good')
    with t.case('retry_on = 503: with no other server the 503 is relayed as it came'):
        answer = s.expect('GET', 'busy2', 503, tries=1, by='busy')
        equal(answer.text, 'come back later', 'body')
    with t.case('retry_on = 503: a POST is not repeated'):
        before = len(good.requests)
        s.expect('POST', 'busy', 503, tries=1, by='busy', body=b'x')
        equal(len(good.requests), before, 'requests to the other server')
    with t.case('an error status is relayed unless retry_on names it'):
        s.expect('GET', 'relay', 503, tries=1, by='busy')
    with t.case('response_timeout: 504, and another try only where retry_on has timeout'):
        s.expect('GET', 'late', 504, 'response_timeout', tries=1)
        s.expect('GET', 'later', 200, tries=2, by='good')


def pooled(t, s):
    one, weir = s.origins['pooled'], s.weir
    for how in ('close', 'reset'):
        with t.case('a pooled connection that dies unanswered (%s): a GET is sent once more, free of charge' % how):
            s.expect('GET', 'pooled', 200, tries=1)
            one.script = how
            answer = s.expect('GET', 'pooled', 200)
            equal(came(one, answer.asked), 2, 'times it came')
            true(one.last.conn_id != one.requests[-2].conn_id, 'on another connection')
        with t.case('a pooled connection that dies unanswered (%s): a POST that arrived is not sent again' % how):
            s.expect('GET', 'pooled', 200)
            one.script = how
            answer = s.expect('POST', 'pooled', 502, 'server_reset', body=b'x')
            equal(came(one, answer.asked), 1, 'times it came')
    with t.case('a pooled connection that the server closed while idle never costs a POST'):
        (pid,) = weir.worker_pids()
        for i in range(12):
            with Client(weir.port) as client:
                equal(client.fetch('GET', '/pooled/warm').status, 200, 'first answer')
                one.forget()
                # The worker finds the client's bytes before it finds the end of the server's connection.
                os.kill(pid, signal.SIGSTOP)
                try:
                    client.ask('POST', '/pooled/%s' % i, body=b'x')
                    one.drop_connections(reset=bool(i % 2))
                finally:
                    os.kill(pid, signal.SIGCONT)
                equal(client.read().status, 200, 'answer to the POST')
                equal(one.targets(), ['/pooled/%s' % i], 'what came')
    with t.case('a fresh connection that dies unanswered earns no free try'):
        one.drop_connections()
        one.script = 'fresh'
        answer = s.expect('GET', 'pooled', 502, 'server_reset', tries=1)
        equal(came(one, answer.asked), 1, 'times it came')
        one.script = None


def bodies(t, s):
    good = s.origins['good']
    for i, size in enumerate((1, 16384, 65536), 1):
        with t.case('a body of %d bytes is sent again byte for byte' % size):
            s.expect('PUT', 'body%d' % i, 200, tries=2, by='good', body=body_of(size))
            equal((good.last.framing, good.last.length, good.last.sha256()), ('length', size, digest_of(size)), 'body')
    with t.case('a chunked body with trailers is sent again'):
        data = body_of(50000)
        pieces = [data[:1], data[1:20000], data[20000:]]
        s.expect('PUT', 'body4', 200, tries=2, by='good', body=chunked(pieces, [('X-End', 'here')]),
                 headers=[('Transfer-Encoding', 'chunked'), ('Trailer', 'X-End')])
        equal((good.last.framing, good.last.sha256()), ('chunked', digest_of(50000)), 'body')
        equal(good.last.trailers, [(spelled('X-End'), 'here')], 'trailers')
    with t.case('a body larger than 64 KiB that was under way is not: 502'):
        before = len(good.requests)
        s.expect('PUT', 'body5', 502, 'server_reset', tries=1, body=body_of(65537 + 40000))
        equal(len(good.requests), before, 'requests to the other server')
    with t.case('a large body goes to the next server when the first never took a connection'):
        s.expect('PUT', 'refused2', 200, tries=2, by='good', body=body_of(1 << 20))
        equal((good.last.length, good.last.sha256()), (1 << 20, digest_of(1 << 20)), 'body')
    with t.case('a server that leaves within the body: the next one gets it from its beginning'):
        data, middle = body_of(30000), s.origins['middle']
        with Client(s.weir.port) as client:
            client.send(request('PUT', '/mid/1', [('Content-Length', '30000')]) + data[:10000], 'PUT')
            until('the first one is gone', lambda: middle.conns and not middle.conns[-1].open)
            until('the second one has the beginning', lambda: any(
                c.open and b'/mid/1 ' in c.received() and c.bytes_in > 10000 for c in good.conns))
            client.send(data[10000:])
            equal(client.read().status, 200, 'status')
        equal((good.last.length, good.last.sha256()), (30000, digest_of(30000)), 'body')


def budget(t, s):
    with t.case('under a total failure a fifth of the requests may be retried, and three a second'):
        began, count = time.monotonic(), 200
        with Client(s.weir.port) as client:
            for i in range(count):
                equal(client.fetch('GET', '/budget/%d' % i).status, 502, 'status')
        spent = time.monotonic() - began
        until('every line is logged', lambda: sum(line['route'] == 'budget' for line in s.weir.access()) == count)
        tries = sum(int(line['tries']) for line in s.weir.access() if line['route'] == 'budget')
        between(tries - count, count // 10, count // 5 + 3 * (spent + 2), 'retries')


def fallback(t, s):
    with t.case('fallback takes over when no server can be reached, body and all'):
        answer = s.expect('PUT', 'fall', 200, by='good', body=body_of(40000))
        equal(s.origins['good'].last.sha256(), digest_of(40000), 'body')
        equal(answer.line['upstream'], 'spare', 'upstream in the log')
    with t.case('fallback takes over when there is no usable server'):
        equal(s.expect('GET', 'none', 200, by='good').line['upstream'], 'spare', 'upstream in the log')
    with t.case('a fallback without a usable server: 503 or the first failure, never a loop'):
        isin(s.ask('GET', 'both').status, (502, 503), 'status')
    with t.case('all servers down by their checks: 503 with Retry-After, no try'):
        until('it is down', lambda: s.ask('GET', 'down').status == 503, 10)
        answer = s.expect('GET', 'down', 503, 'no_server', tries=0)
        true(int(answer.header('Retry-After')) > 0, 'Retry-After')


def timeouts(t, s):
    with t.case('a server that takes no connection: 504 after connect_timeout'):
        s.expect('GET', 'hole', 504, 'connect_timeout')
        s.expect('POST', 'hole', 504, 'connect_timeout', body=b'x')
    for name, reason in (('pause', 'read_timeout'), ('whole', 'request_timeout')):
        for framing in ('length', 'chunked'):
            with t.case('a pause within a body (%s): the answer breaks off by %s' % (framing, reason)):
                with Client(s.weir.port) as client:
                    client.ask('GET', '/%s/%s' % (name, framing))
                    equal(client.read_head().status, 200, 'status')
                    try:
                        client.read()
                    except (Truncated, Reset):
                        pass
                    else:
                        raise Failed('the answer looks whole')
                s.weir.wait_access({'uri': '/%s/%s' % (name, framing), 'reason': reason})
    with t.case('timeout for the whole request, before any answer: 504'):
        s.expect('GET', 'whole', 504, 'request_timeout')


def ejection(t, weir, flaky, bad, good):
    with t.case('a server that fails twice is left alone, for twice as long each time'):
        def probe():
            equal(fetch(weir.port, 'GET', '/eject').status, 200, 'status')
            time.sleep(0.01)
            return re.findall(r'Server flaky of upstream eject .* for (\d+) s', weir.errors())
        until('it is ejected', probe)
        flaky.forget()
        for _ in range(6):
            equal(fetch(weir.port, 'GET', '/eject').status, 200, 'status')
        until('it is ejected for the third time', lambda: len(probe()) == 3, 8)
        equal(probe(), ['1', '1', '2'], 'seconds, rounded up')
        equal(len(flaky.requests), 2, 'requests meanwhile: one trial after each time')
    with t.case('one good answer and it has its share again'):
        flaky.good = True
        until('it serves', lambda: probe() and len(flaky.requests) >= 6, 8)
        equal(len(probe()), 3, 'ejections')
    with t.case('at most half the servers are ejected'):
        for _ in range(24):
            equal(fetch(weir.port, 'GET', '/most').status, 502, 'status')
        equal(len(set(re.findall(r'Server (\S+) of upstream most', weir.errors()))), 2, 'servers ejected')
        equal(len(re.findall(r'of upstream most failed', weir.errors())), 2, 'ejections')
        true(sum(len(o.requests) for o in bad) >= 24, 'somebody was asked each time')
    with t.case('the only server is always tried'):
        bad[0].forget()
        for _ in range(8):
            equal(fetch(weir.port, 'GET', '/lone').status, 502, 'status')
        equal(len(bad[0].requests), 8, 'requests that came')


def flaky_answer(message, conn):
    if getattr(conn.origin, 'good', False):
        return NotImplemented
    return ['reset']


def pooled_answer(message, conn):
    """Plays its script once, on a connection that served a request before; 'fresh': on any."""
    one = conn.origin
    if getattr(one, 'script', None) and (len(conn.requests) > 1 or one.script == 'fresh'):
        how, one.script = one.script, None
        return ['reset' if how == 'fresh' else how]
    return NotImplemented


async def leave_early(message, conn):
    """Resets when 10,000 bytes of the body are there."""
    while message.length < 10000:
        await conn.more()
        conn.decoder.next()
    conn.reset()


async def pause(message, conn):
    if message.target.endswith('/length'):
        await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello')
    elif message.target.endswith('/chunked'):
        await conn.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    await conn.closed()
    raise Hangup()


with Story('failures of servers, and what is tried again', deadline=120) as t:
    origins = {
        'good': Origin('good'), 'dead': Origin('dead', start=False), 'closes': Origin('closes', raw=['close']),
        'half': Origin('half', raw=[b'HTTP/1.1 200 OK\r\nContent-Le', 'close']), 'hangs': Origin('hangs', raw=['hang']),
        'busy': Origin('busy', handler=lambda m, c: Reply(503, 'come back later')),
        'pooled': Origin('pooled', handler=pooled_answer), 'pauses': Origin('pauses', handler=pause),
        'middle': Origin('middle', handler=leave_early, early=True), 'hole': Blackhole(),
    }
    for name in ('resets', 'resets2', 'resets3'):
        origins[name] = Origin(name, raw=['reset'])
    s = Scene(Weir(conf(WAYS), workers=1, **origins), **origins)
    refused(t, s)
    early_ends(t, s)
    statuses(t, s)
    pooled(t, s)
    bodies(t, s)
    fallback(t, s)
    timeouts(t, s)
    budget(t, s)

    flaky = Origin('flaky', handler=flaky_answer)
    bad = [Origin('b%d' % i, raw=['reset']) for i in range(1, 5)]
    two = Weir(conf(EJECT), name='two', workers=2, flaky=flaky, good=origins['good'], **{o.name: o for o in bad})
    ejection(t, two, flaky, bad, origins['good'])
