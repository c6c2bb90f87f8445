#!/usr/bin/python3
# Clients that speak HTTP/2 from their first byte (curl, h2load, and one that sends frames by hand), an HTTP/1 origin
# `one` behind weir.  What a client asks over HTTP/2 is what the origin sees, and what is not one certain request ends
# its stream and nothing else.
# timeout: 300
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
header_timeout = 2s
body_timeout = 1s
send_timeout = 2s
idle_timeout = 3s
max_requests = 100000
[listen old]
bind = 127.0.0.1:{port_b}
http2 = no
[listen few]
bind = 127.0.0.1:{port_c}
max_requests = 5

[route hello]
path = /hello
respond = 200 hello
[route nothing]
path = /nothing
respond = 204
[route all]
upstream = app
[upstream app]
server = {one}
'''


def curl_h2(port, path, *args):
    done = subprocess.run(['curl', '-sS', '--max-time', '20', '--http2-prior-knowledge', 'http://127.0.0.1:%d%s' % (port, path)]
                          + list(args), capture_output=True, timeout=60)
    return done.returncode, done.stdout


def plain(t, weir, one):
    with t.case('curl gets a page, a HEAD without a body, and the log names HTTP/2'):
        equal(curl_h2(weir.port, '/hello'), (0, b'hello'), 'page')
        code, text = curl_h2(weir.port, '/bytes/1234', '-I')
        contains(text.decode(), 'content-length: 1234', 'answer to HEAD')
        equal(weir.wait_access({'uri': '/hello'})['protocol'], 'HTTP/2', 'protocol in the log')
    with t.case('the origin sees one HTTP/1.1 request: host, crumbs of a cookie joined, what a proxy adds'):
        with H2Client(weir.port) as c:
            a = c.fetch(path='/echo?x=1', more=[('cookie', 'a=1'), ('x-mine', 'v'), ('cookie', 'b=2'), ('te', 'trailers')])
            equal(a.status, 200, 'status')
            echo = json.loads(a.text)
            equal((echo['method'], echo['target'], echo['version']), ('GET', '/echo?x=1', '1.1'), 'request line')
            sent = {n.lower(): v for n, v in echo['headers']}
            equal((sent['host'], sent['cookie'], sent['x-mine']), ('weir.test', 'a=1; b=2', 'v'), 'headers')
            equal((sent['x-forwarded-for'], sent['x-forwarded-proto']), ('127.0.0.1', 'http'), 'forwarding headers')
            equal((echo['length'], echo['body']), (0, ''), 'body')
    for size in (0, 1, 16384, 65536, 3000000):
        with t.case('%d bytes are the same down, and up with a length and without' % size):
            with H2Client(weir.port) as c:
                for kind in ('bytes', 'chunked'):
                    a = c.fetch(path='/%s/%d' % (kind, size))
                    equal((a.status, a.length, a.sha.hexdigest()), (200, size, digest_of(size)), kind)
                equal(dict(a.trailers).get('x-digest'), digest_of(size), 'trailers')
            for length in ([('content-length', str(size))], []):
                with H2Client(weir.port) as c:
                    s = c.request(method='POST', path='/digest', more=length, end=False)
                    c.feed(s, body_of(size))
                    equal(json.loads(c.wait(s).text), {'sha256': digest_of(size), 'length': size}, 'up %s' % length)
    with t.case('trailers of a request reach the origin'):
        with H2Client(weir.port) as c:
            a = c.fetch(method='POST', path='/echo', body=b'abc', trailers=[('x-sum', '17')])
            echo = json.loads(a.text)
            equal((echo['body'], echo['trailers']), ('abc', [['x-sum', '17']]), 'body and trailers')
    with t.case('a client that waits for leave to send its body gets a 100'):
        with H2Client(weir.port) as c:
            s = c.request(method='POST', path='/digest', more=[('expect', '100-continue')], end=False)
            c.until('a 100', lambda: c.answer(s).interim)
            c.upload(s, b'hello')
            equal(json.loads(c.wait(s).text)['length'], 5, 'length')
    with t.case('a field that HTTP/1 keeps for itself never comes back'):
        one.raw = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\nX-Up: Yes\r\n\r\nhi'
        with H2Client(weir.port) as c:
            a = c.fetch(path='/x')
            one.raw = None
            equal((a.text, a.header('x-up'), a.header('keep-alive'), a.header('connection')), ('hi', 'Yes', None, None), 'answer')
    with t.case('103 passes before the answer'):
        one.raw = [b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', 0.05, b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi']
        with H2Client(weir.port) as c:
            a = c.fetch(path='/x')
            one.raw = None
            equal(([dict(i).get('link') for i in a.interim], a.text), (['</a>'], 'hi'), 'interim and answer')
    with t.case('an origin that breaks off mid-body ends the stream with INTERNAL_ERROR, not the connection'):
        one.raw = [b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhi', 'close']
        with H2Client(weir.port) as c:
            a = c.fetch(path='/x')
            one.raw = None
            equal((a.status, a.reset), (200, INTERNAL_ERROR), 'answer')
            equal(c.fetch(path='/hello').text, 'hello', 'next answer')


def many(t, weir, one, gate):
    with t.case('100 streams at once, and the 101st is refused'):
        with H2Client(weir.port, ack=False) as c:
            streams = [c.request(path='/held/%d' % i) for i in range(100)]
            gate.wait_held(100)
            refused = c.request(path='/held/x')
            equal(c.wait(refused).reset, REFUSED_STREAM, 'the one too many')
            gate.open()
            equal({c.wait(s).text for s in streams}, {'one'}, 'answers')
            equal(c.settings.get(3), 100, 'SETTINGS_MAX_CONCURRENT_STREAMS')
    gate.is_open = False
    for how in ('a reset', 'the end of the connection'):
        with t.case('%s by the client reaches the origin' % how):
            with H2Client(weir.port) as c:
                s = c.request(path='/held/gone')
                held = gate.wait_held(1)[0]
                if how == 'a reset':
                    c.frame(RST_STREAM, 0, s, struct.pack('>I', CANCEL))
                    until('the origin sees the end', lambda: not held.conn.open or held.conn.reader.at_eof())
                    gate.release()
                    equal(c.fetch(path='/hello').text, 'hello', 'the connection goes on')
                else:
                    c.sock.close()
                    until('the origin sees the end', lambda: not held.conn.open or held.conn.reader.at_eof())
                    gate.release()
            weir.wait_access({'uri': '/held/gone', 'reason': 'client_abort'})
    if shutil.which('h2load'):
        with t.case('h2load: 4000 requests over 4 connections, 50 at once'):
            done = subprocess.run(['h2load', '-n', '4000', '-c', '4', '-m', '50', 'http://127.0.0.1:%d/bytes/3000' % weir.port],
                                  capture_output=True, text=True, timeout=100)
            contains(done.stdout, '4000 succeeded, 0 failed', 'what h2load says')


def windows(t, weir, one):
    with t.case('a client with a window of 0 gets no body, costs little, and is given up after send_timeout'):
        before = sum(rss(p) for p in weir.worker_pids())
        with H2Client(weir.port, settings={4: 0}, window=False) as c:
            streams = [c.request(path='/bytes/3000000') for _ in range(20)]
            c.until('every head', lambda: all(c.answer(s).headers for s in streams))
            time.sleep(0.3)
            grown = sum(rss(p) for p in weir.worker_pids()) - before
            t.note('20 stalled answers of 3 MB: %d KiB more in the workers' % (grown >> 10))
            equal({c.answer(s).length for s in streams}, {0}, 'bytes of body')
            if not sanitized():
                true(grown < 8 << 20, 'memory of the workers grew by %d KiB' % (grown >> 10))
            equal({c.wait(s).reset for s in streams}, {CANCEL}, 'ends')
        weir.wait_access({'reason': 'send_timeout'})
    with t.case('a body trickles through a window of 1000 bytes unharmed'):
        with H2Client(weir.port, settings={4: 1000}) as c:
            a = c.fetch(path='/bytes/200000')
            equal((a.length, a.sha.hexdigest()), (200000, digest_of(200000)), 'body')
    with t.case('a client that does not read its socket is given up, memory stays flat'):
        before = sum(rss(p) for p in weir.worker_pids())
        with H2Client(weir.port, rcvbuf=4096, settings={4: 1 << 30}) as c:
            for _ in range(20):
                c.request(path='/bytes/3000000')
            weir.wait_access(lambda line: line['reason'] == 'send_timeout' and line['out'] != '0', 20)
            grown = sum(rss(p) for p in weir.worker_pids()) - before
            if not sanitized():
                true(grown < 12 << 20, 'memory of the workers grew by %d KiB' % (grown >> 10))
    with t.case('a request body that nobody takes fills its window and no more'):
        one.early = True

        async def late(message, conn):
            await conn.sleep(0.8)
            await conn.body(message)
            return Reply(200, '%d' % message.length)
        one.handler = late
        with H2Client(weir.port) as c:
            s = c.request(method='POST', path='/late', end=False)
            c.feed(s, body_of(2000000))
            equal(c.wait(s).text, '2000000', 'bytes that came')
        one.handler, one.early = None, False
    with t.case('a body that stops gets a 408'):
        with H2Client(weir.port) as c:
            s = c.request(method='POST', path='/digest', end=False)
            c.frame(DATA, 0, s, b'abc')
            a = c.wait(s, 5)
            equal((a.status, a.ended), (408, True), 'answer')
            equal(c.fetch(path='/hello').text, 'hello', 'next answer')


BAD = [
    ('an upper-case name', fields(more=[('X-Upper', 'v')])),
    ('a blank in a name', fields(more=[('x y', 'v')])),
    ('CR LF in a value', fields(more=[('x', 'a\r\nevil: 1')])),
    ('NUL in a value', fields(more=[('x', 'a\0b')])),
    ('a blank before a value', fields(more=[('x', ' a')])),
    ('a blank behind a value', fields(more=[('x', 'a ')])),
    ('connection', fields(more=[('connection', 'close')])),
    ('transfer-encoding', fields(more=[('transfer-encoding', 'chunked')])),
    ('keep-alive', fields(more=[('keep-alive', '5')])),
    ('proxy-connection', fields(more=[('proxy-connection', 'close')])),
    ('upgrade', fields(more=[('upgrade', 'h2c')])),
    ('te: gzip', fields(more=[('te', 'gzip')])),
    ('two paths', fields() + [(':path', '/')]),
    ('a pseudo-header behind a field', fields()[:3] + [('x', 'y'), (':path', '/')]),
    ('an unknown pseudo-header', [(':foo', 'x')] + fields()),
    (':status', [(':status', '200')] + fields()),
    ('no method', fields()[1:]),
    ('no scheme', fields()[:1] + fields()[2:]),
    ('no path', fields()[:3]),
    ('an empty path', fields(path='')),
    ('a path without a slash', fields(path='x')),
    ('a blank in the path', fields(path='/a b')),
    ('CR LF in the path', fields(path='/a HTTP/1.1\r\nx: y')),
    ('CR LF in the method', fields(method='GET / HTTP/1.1\r\nx: y')),
    ('a blank in the authority', fields(host='a b')),
    ('userinfo in the authority', fields(host='u@a')),
    ('no authority', fields()[:2] + fields()[3:]),
    ('Host and :authority that differ', fields(more=[('host', 'other.test')])),
    ('two Hosts', fields(more=[('host', 'weir.test'), ('host', 'weir.test')])),
    ('a length that is no number', fields('POST', more=[('content-length', '5x')])),
    ('two lengths', fields('POST', more=[('content-length', '0'), ('content-length', '0')])),
    ('a length and no body', fields('POST', more=[('content-length', '5')])),
]


def malformed(t, weir, one):
    before = len(one.requests)
    for what, pairs in BAD:
        with t.case('%s: the stream ends with PROTOCOL_ERROR, the connection goes on' % what):
            with H2Client(weir.port) as c:
                a = c.fetch(pairs)
                equal((a.headers, a.reset), ([], PROTOCOL_ERROR), 'answer')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')
    with t.case('none of them reached the origin, all are in the log'):
        equal(len(one.requests), before, 'requests at the origin')
        until('the log', lambda: sum(l['reason'] == 'bad_request' for l in weir.access()) >= len(BAD))
    for what, size, length in (('less', 3, 5), ('more', 7, 5), ('some instead of none', 3, 0)):
        with t.case('a body with %s bytes than its length says ends in PROTOCOL_ERROR' % what):
            with H2Client(weir.port) as c:
                s = c.request(method='POST', path='/echo', more=[('content-length', str(length))], end=False)
                c.frame(DATA, END_STREAM, s, b'x' * size)
                a = c.wait(s)
                c.until('the reset', lambda: a.reset is not None)  # an answer may have come first
                isin(a.reset, (PROTOCOL_ERROR, NO_ERROR), 'end')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')
    with t.case('an answer without a body to a request that is not over is seen before its reset'):
        with H2Client(weir.port) as c:
            a = c.wait(c.request(method='POST', path='/nothing', end=False))
            equal((a.status, a.ended), (204, True), 'answer')
            c.until('the reset', lambda: a.reset is not None)
            equal((a.reset, c.fetch(path='/hello').text), (NO_ERROR, 'hello'), 'code and next answer')
    with t.case('trailers that do not end the stream, and those with a pseudo-header'):
        for last, pairs in ((False, [('x', 'y')]), (True, [(':path', '/')])):
            with H2Client(weir.port) as c:
                s = c.request(method='POST', path='/echo', end=False)
                c.frame(HEADERS, END_HEADERS | (END_STREAM if last else 0), s, c.block(pairs))
                equal(c.wait(s).reset, PROTOCOL_ERROR, 'end')
    for what, pairs, status in (
            ('CONNECT', [(':method', 'CONNECT'), (':authority', 'a:80')], 501),
            ('TRACE', fields('TRACE'), 501),
            ('a path above the root', fields(path='/../x'), 400),
            ('a path with an escaped NUL', fields(path='/a%00b'), 400),
            ('another expectation', fields(more=[('expect', 'x')]), 417),
            ('a path of 9000 bytes', fields(path='/' + 'a' * 9000), 414),
            ('a head of 40000 bytes', fields(more=[('x%d' % i, 'y' * 400) for i in range(99)]), 431),
            ('101 fields', fields(more=[('x', 'y')] * 101), 431),
            ('101 crumbs of a cookie', fields(more=[('cookie', 'a=b')] * 101), 431)):
        with t.case('%s is answered with %d' % (what, status)):
            with H2Client(weir.port) as c:
                block, s = c.block(pairs), 1
                c.next = 3
                c.frame(HEADERS, END_STREAM | (END_HEADERS if len(block) <= 16384 else 0), s, block[:16384])
                rest = block[16384:]
                while rest:
                    c.frame(CONTINUATION, END_HEADERS if len(rest) <= 16384 else 0, s, rest[:16384])
                    rest = rest[16384:]
                equal(c.wait(s).status, status, 'status')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')


def life(t, weir, one):
    with t.case('http2 = no: the preface is refused as HTTP/1'):
        with Client(weir.ports['port_b']) as c:
            c.send(PREFACE)
            isin(c.read().status, (400, 505), 'status')
        equal(fetch(weir.ports['port_b'], 'GET', '/hello').text, 'hello', 'HTTP/1 there')
    with t.case('Upgrade: h2c is not taken'):
        a = fetch(weir.port, 'GET', '/hello', [('Connection', 'Upgrade, HTTP2-Settings'), ('Upgrade', 'h2c'),
                                               ('HTTP2-Settings', 'AAMAAABkAAQAAP__')])
        equal((a.status, a.text), (200, 'hello'), 'answer')
    with t.case('a preface that comes byte by byte, and one that goes wrong'):
        with H2Client(weir.port, greet=False) as c:
            for byte in PREFACE + c.settings_frame({}):
                c.send(bytes([byte]))
                time.sleep(0.002)
            equal(c.fetch(path='/hello').text, 'hello', 'answer')
        with Client(weir.port) as c:
            c.send(PREFACE[:-1] + b'X')
            isin(c.read().status, (400, 505), 'status')
    with t.case('half a preface, and a preface without SETTINGS, end after header_timeout'):
        with H2Client(weir.port, greet=False, ack=False) as c:
            c.send(PREFACE)
            equal(c.wait_goaway()[1], SETTINGS_TIMEOUT, 'code')
        with Client(weir.port) as c:
            c.send(PREFACE[:10])
            equal(c.read().status, 408, 'status')
    with t.case('a header block that is not finished ends the connection after header_timeout'):
        with H2Client(weir.port) as c:
            c.frame(HEADERS, END_STREAM, 1, c.block(fields()))
            c.wait_goaway()
    with t.case('an idle connection is closed with GOAWAY after idle_timeout, pings or not'):
        with H2Client(weir.port) as c:
            c.fetch(path='/hello')
            began = time.monotonic()
            while not c.eof and time.monotonic() - began < 20:
                if c.read(0.3) == 'nothing':
                    c.frame(PING, 0, 0, b'12345678')
            equal(c.goaways[-1][1], NO_ERROR, 'code')
            between(time.monotonic() - began, 2.5, 8, 'seconds')
    with t.case('max_requests: the client is told to go, what it began is answered'):
        with H2Client(weir.ports['port_c']) as c:
            streams = [c.request(path='/hello') for _ in range(5)]
            equal([c.wait(s).text for s in streams], ['hello'] * 5, 'answers')
            equal(c.wait_goaway()[1], NO_ERROR, 'code')
            equal(c.goaways[0][0], 0x7fffffff, 'the first GOAWAY')
    with t.case('a connection that slept goes on as it was: tables, windows, streams'):
        # Most are idle long enough to be folded up; those that are not must not behave differently.
        more = [('x-long-enough-to-be-indexed', 'v%d' % i) for i in range(20)]
        clients = [H2Client(weir.port) for _ in range(30)]
        for i, c in enumerate(clients):
            c.fetch(path='/hello', more=more[i % 20:])
        for rest in (1.3, 0, 1.3):
            time.sleep(rest)
            for i, c in enumerate(clients):
                equal(c.fetch(path='/hello', more=more[i % 20:]).text, 'hello', 'answer')
                equal(c.fetch(path='/bytes/70000').length, 70000, 'length')
        for c in clients:
            c.sock.close()


def cuts(t, weir):
    with t.case('a client that leaves after any byte of a script harms nobody'):
        c = H2Client(weir.port, greet=False)
        script = PREFACE + c.settings_frame({}) + frame(
            HEADERS, END_HEADERS, 1, c.block(fields('POST', '/digest', [('content-length', '5')]))) + frame(
            DATA, END_STREAM, 1, b'hello') + frame(
            HEADERS, END_HEADERS | END_STREAM, 3, c.block(fields(path='/bytes/70000'))) + frame(RST_STREAM, 0, 3, b'\0' * 4)
        c.kill()
        for n in range(1, len(script) + 1):
            with H2Client(weir.port, greet=False) as c:
                c.send(script[:n])
                if n % 3 == 0:
                    c.read(0.001)
        with H2Client(weir.port) as c:
            equal(c.fetch(path='/hello').text, 'hello', 'another client')


def drain(t, weir, gate):
    with t.case('on a stop the client is told in two steps, and its last stream is answered'):
        with H2Client(weir.port) as c:
            s = c.request(path='/held/last')
            gate.wait_held(1)
            os.kill(weir.pid, signal.SIGQUIT)
            c.until('the notice', lambda: c.goaways)
            equal(c.goaways[0], (0x7fffffff, NO_ERROR), 'the notice')
            c.until('the last GOAWAY', lambda: len(c.goaways) > 1)
            equal(c.goaways[1], (s, NO_ERROR), 'the last GOAWAY')
            gate.release()
            equal(c.wait(s).text, 'one', 'answer')
            c.wait_goaway()
        equal(weir.wait(10), 0, 'exit status')
        weir.check_trouble()
        weir.stopped = True


with Story('HTTP/2 clients', deadline=280) as t:
    gate = Gate(only=lambda m: m.target.startswith('/held'))
    one = Origin('one')
    weir = Weir(CONF, one=one)
    plain(t, weir, one)
    one.handler = gate
    many(t, weir, one, gate)
    one.handler = None
    windows(t, weir, one)
    malformed(t, weir, one)
    life(t, weir, one)
    cuts(t, weir)
    one.handler = gate
    drain(t, weir, gate)
