#!/usr/bin/python3
# Servers that speak HTTP/2, real (nghttpd) and scripted, behind weir: many requests on one connection, each answer to whom
# it belongs, what a server gave back is sent again, what ends in the middle is never taken for whole, and a hostile server
# harms nobody but its own requests.
# timeout: 300
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import *
from h2server import *

NAMES = iter(range(1000))
HEAD = '''
[listen http]
bind = 127.0.0.1:{port}
max_requests = 100000
'''
MAX_STREAMS, WINDOW = 3, 4


def route(name, servers, *more, keys=''):
    lines = ''.join('server = %s\n' % s for s in (servers if isinstance(servers, list) else [servers]))
    return '[route %s]\npath = /%s\nstrip_prefix = yes\n%s\nupstream = %s\n[upstream %s]\nprotocol = http2\n%s%s\n' % (
        name, name, keys, name, name, lines, '\n'.join(more))


def behind(conf):
    return Weir(conf, workers=1, name='weir%d' % next(NAMES))


def together(jobs):
    """All at once; their results in order."""
    out = [None] * len(jobs)

    def run(i):
        try:
            out[i] = jobs[i]()
        except Exception as e:
            out[i] = e
    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(jobs))]
    for th in threads:
        th.start()
    for th in threads:
        th.join(60 * SLOW)
    return out


def get(weir, path, *args, **how):
    return lambda: fetch(weir.port, *args, target=path, **how)


def real(t, ca):
    if not shutil.which('nghttpd'):
        t.skip('a real server', 'there is no nghttpd here')
        return
    from others import Server
    root = t.path('root')
    os.makedirs(root)
    os.chmod(root, 0o755)
    with open(root + '/big', 'wb') as f:
        f.write(body_of(3000000))
    pair = ca.issue('localhost', ['localhost', '127.0.0.1'])
    port, tls_port = free_port(), free_port()
    clear = Server('nghttpd', ['nghttpd', '--no-tls', '-d', root, '--echo-upload', str(port)], port)
    tls = Server('nghttpd-tls', ['nghttpd', '-d', root, '--echo-upload', str(tls_port), pair.key, pair.cert], tls_port)
    weir = behind(HEAD + route('clear', clear) + route('tls', tls, 'tls = yes', 'tls_ca = ' + ca.cert))
    for where in ('/clear', '/tls'):
        with t.case('nghttpd %s: a large file to HTTP/1 and HTTP/2 clients, HEAD, an upload that comes back' % where):
            equal(fetch(weir.port, target=where + '/big', sha=True).sha256(), digest_of(3000000), 'file')
            with H2Client(weir.port) as c:
                a = c.fetch(path=where + '/big')
                equal((a.status, a.sha.hexdigest()), (200, digest_of(3000000)), 'file over HTTP/2')
            equal(fetch(weir.port, 'HEAD', where + '/big').header('content-length'), '3000000', 'answer to HEAD')
            for size in (1, 20000, 2000000):
                got = fetch(weir.port, 'POST', where + '/echo', body=body_of(size), sha=True)
                equal((got.status, got.sha256()), (200, digest_of(size)), 'echo of %d bytes' % size)


def plain(t):
    one = H2Server('one')
    weir = behind(HEAD + route('a', one) + route('k', one, 'keepalive_timeout = 300ms', 'connect_timeout = 1s'))
    with t.case('the request is HTTP/2: pseudo-headers, lower case, no field of the connection, te and cookies kept'):
        got = fetch(weir.port, 'POST', '/a/echo?x=%41&y', headers=[('X-Mine', 'V'), ('Cookie', 'a=1'), ('Connection', 'x-hop, te'),
                    ('X-Hop', '1'), ('TE', 'trailers'), ('Host', 'shop.test')], body=b'12345')
        pairs = json.loads(got.text)['pairs']
        equal(json.loads(got.text)['length'], 5, 'body')
        names = [n for n, _ in pairs]
        equal(dict(pairs)[':path'], '/echo?x=%41&y', 'path')
        equal([dict(pairs)[k] for k in (':method', ':scheme', ':authority', 'x-mine', 'cookie', 'te', 'content-length')],
              ['POST', 'http', 'shop.test', 'V', 'a=1', 'trailers', '5'], 'fields')
        for name in ('host', 'connection', 'x-hop', 'transfer-encoding', 'keep-alive'):
            true(name not in names, 'no ' + name)
        true(all(n == n.lower() for n in names), 'lower case')
        equal(names.index(':path') < 4, True, 'pseudo-headers come first')
    with t.case('one connection serves many requests, one after the other and all at once'):
        for size in (0, 1, 16384, 70000, 400000):
            equal(fetch(weir.port, target='/a/bytes/%d' % size, sha=True).sha256(), digest_of(size), '%d bytes' % size)
        sizes = [1000 + 977 * i for i in range(60)]
        got = together([get(weir, '/a/bytes/%d' % n, sha=True) for n in sizes])
        for n, a in zip(sizes, got):
            equal((getattr(a, 'status', a), a.sha256()), (200, digest_of(n)), 'answer of %d bytes' % n)
        equal(len(one.conns), 1, 'connections')
    with t.case('chunked uploads with trailers, and an answer\'s trailers, pass both ways'):
        body = b''.join(b'%x\r\n%s\r\n' % (len(p), p) for p in (b'hello ', b'world')) + b'0\r\nX-Sum: 42\r\n\r\n'
        got = json.loads(exchange(weir.port, b'POST /a/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n'
                                  b'Transfer-Encoding: chunked\r\n\r\n' + body).responses[0].text)
        equal((got['length'], got['trailers']), (11, [['x-sum', '42']]), 'upload')

        def trailers(conn, req):
            req.head(200)
            req.data(b'body')
            req.trailer([('x-end', 'yes')])
        one.on_request = trailers
        with H2Client(weir.port) as c:
            a = c.fetch(path='/a/t')
            equal((a.text, dict(a.trailers).get('x-end')), ('body', 'yes'), 'answer')
    with t.case('interim answers pass before the answer'):
        def hints(conn, req):
            req.head(103, [('link', '</x.css>')])
            req.head(200, end=True)
        one.on_request = hints
        with H2Client(weir.port) as c:
            a = c.fetch(path='/a/t')
            equal((a.status, [dict(i)[':status'] for i in a.interim]), (200, ['103']), 'answers')
    with t.case('a request stream and an answer run at the same time'):
        def duplex(conn, req):
            req.head(200)
            for n in (5, 10, 15):
                req.wait('%d bytes' % n, lambda: req.length >= n)
                req.data(b'<%d>' % n)
            req.wait()
            req.data(b'', True)
        one.on_request = duplex
        with H2Client(weir.port) as c:
            s = c.request(method='POST', path='/a/t', end=False)
            for i, n in enumerate((5, 10, 15)):
                c.upload(s, b'12345', end=i == 2)
                c.until('what %d bytes brought' % n, lambda: ('<%d>' % n) in c.answer(s).text)
            equal(c.wait(s).text, '<5><10><15>', 'answer')
    with t.case('an answer before the upload is whole is relayed; the stream is reset without harm to the connection'):
        def early(conn, req):
            req.answer(413, b'too much')
            req.rst(0)
        one.on_request = early
        with H2Client(weir.port) as c:
            s = c.request(method='POST', path='/a/t', end=False)
            a = c.wait(s)
            equal((a.status, a.text), (413, 'too much'), 'answer')
        one.on_request = None
        before = len(one.conns)
        equal(fetch(weir.port, target='/a/x').text, 'one', 'next answer')
        equal(len(one.conns), before, 'connections')
    with t.case('a client that leaves ends its stream with CANCEL, and nothing else'):
        one.on_request = lambda conn, req: req.wait('a reset', lambda: req.reset is not None)
        with H2Client(weir.port) as c:
            n = len(one.requests)
            s = c.request(path='/a/t')
            one.wait_requests(n + 1)
            c.frame(RST_STREAM, 0, s, struct.pack('>I', CANCEL))
            until('the reset', lambda: one.last.reset is not None, 10)
            equal(one.last.reset, CANCEL, 'code')
        one.on_request = None
        equal(fetch(weir.port, target='/a/x').text, 'one', 'next answer')
    with t.case('an Upgrade is not asked of a server of HTTP/2: it gets the request without'):
        got = fetch(weir.port, target='/a/echo', headers=[('Connection', 'upgrade'), ('Upgrade', 'websocket')])
        equal(got.status, 200, 'status')
        true('upgrade' not in [n for n, _ in json.loads(got.text)['pairs']], 'no Upgrade')
        weir.wait_access({'uri': '/a/echo', 'reason': 'upgrade_refused'})
    with t.case('an idle connection is closed after keepalive_timeout, with GOAWAY'):
        equal(fetch(weir.port, target='/k/x').status, 200, 'status')
        conn = one.conns[-1]
        until('the end of the connection', lambda: not conn.open, 10)
        equal([code for _, code in conn.goaways], [0], 'goodbyes')
    with t.case('active and idle counts return to nothing'):
        wait_idle(weir)


def flow(t):
    one = H2Server('one', window=False)
    weir = behind(HEAD + route('a', one, keys='max_body_size = 0'))
    with t.case('a client that takes nothing holds up its own answer alone; what waits for it is bounded'):
        sent = []

        def big(conn, req):
            req.head(200)
            for _ in range(400):
                req.data(b'x' * 65536)
                sent.append(65536)
            req.data(b'', True)
        one.on_request = big
        with H2Client(weir.port, settings={WINDOW: 0}, window=False) as slow:
            s = slow.request(path='/a/big')
            slow.until('the head', lambda: slow.answer(s).status == 200)
            one.on_request = None
            for i in range(30):
                equal(fetch(weir.port, target='/a/bytes/300000', sha=True).sha256(), digest_of(300000), 'another answer')
            between(sum(sent), 0, 1 << 20, 'bytes that waited')
            slow.frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1 << 30))
            slow.frame(WINDOW_UPDATE, 0, s, struct.pack('>I', 1 << 30))
            equal(slow.wait(s, 60).length, 400 * 65536, 'bytes in the end')
    with t.case('a server that opens no window holds up its own upload alone, until write_timeout'):
        two = H2Server('two', take=False, window=False)
        weir2 = behind(HEAD + route('a', two, 'write_timeout = 1s', keys='max_body_size = 0'))
        two.on_request = lambda conn, req: req.wait() if req.method == 'POST' else req.answer(200, b'ok')
        jobs = [lambda: fetch(weir2.port, 'POST', '/a/x', body=b'x' * 3000000)] + [get(weir2, '/a/y')] * 5
        got = together(jobs)
        equal([a.status for a in got[1:]], [200] * 5, 'others')
        equal(got[0].status, 504, 'the upload')
        until('its reset', lambda: [r for r in two.requests if r.method == 'POST'][0].reset == CANCEL, 10)
    with t.case('an upload of many windows arrives whole'):
        one.on_request = None
        got = fetch(weir.port, 'POST', '/a/echo', body=body_of(5000000))
        equal(json.loads(got.text)['sha'], digest_of(5000000), 'upload')


def streams(t):
    few = H2Server('few', settings={MAX_STREAMS: 4})
    gate = threading.Event()
    few.on_request = lambda conn, req: (gate.wait(30), req.answer(200, req.path.encode()))
    weir = behind(HEAD + route('a', few))
    with t.case('never more streams than the server takes: further connections are opened'):
        jobs = [get(weir, '/a/%d' % i) for i in range(30)]
        th = threading.Thread(target=lambda: results.extend(together(jobs)))
        results = []
        th.start()
        few.wait_requests(30)
        between(max(len(c.requests) for c in few.conns), 1, 4, 'streams on one connection')
        gate.set()
        th.join()
        equal([a.text for a in results], ['/%d' % i for i in range(30)], 'answers')
        equal([r.reset for r in few.requests if r.reset], [], 'resets')
    with t.case('a server that takes none for now: requests wait for as long as connecting may take'):
        none = H2Server('none', settings={MAX_STREAMS: 0})
        later = H2Server('later', settings={MAX_STREAMS: 0})
        weir2 = behind(HEAD + route('a', none, 'connect_timeout = 300ms') + route('b', later, 'connect_timeout = 20s'))
        got = fetch(weir2.port, target='/a/x')
        equal((got.status, weir2.wait_access({'uri': '/a/x'})['reason']), (504, 'connect_timeout'), 'outcome')
        box = []
        th = threading.Thread(target=lambda: box.append(fetch(weir2.port, target='/b/x')))
        th.start()
        until('a connection', lambda: later.conns and later.conns[0].acks, 10)
        later.conns[0].frame(SETTINGS, 0, 0, struct.pack('>HI', MAX_STREAMS, 10))
        th.join(20)
        equal(box[0].text, 'later', 'answer once it takes some')


def replays(t):
    with t.case('REFUSED_STREAM: the request, a POST too, is sent again; the server is not blamed'):
        seen = []

        def refuse(conn, req):
            seen.append(req)
            if len(seen) % 2:
                req.rst(REFUSED_STREAM)
            else:
                req.wait().answer(200, b'at last %d' % req.length)
        one = H2Server('one', refuse)
        weir = behind(HEAD + route('a', one, 'max_fails = 1'))
        for i in range(5):
            equal(fetch(weir.port, 'POST', '/a/x', body=b'12345').text, 'at last 5', 'answer')
        equal((len(seen), len(one.conns)), (10, 1), 'tries and connections')
        equal(totals(weir)['stale_retries'], 5, 'free retries')
    with t.case('another server is asked where there is one'):
        no = H2Server('no', lambda conn, req: req.rst(REFUSED_STREAM))
        yes = H2Server('yes')
        weir = behind(HEAD + route('a', [no, yes], 'balance = round_robin'))
        equal([fetch(weir.port, 'POST', '/a/x', body=b'x').text for _ in range(6)], ['yes'] * 6, 'answers')
    with t.case('a storm of refusals ends in 503 after a few tries, each in its own time'):
        weir = behind(HEAD + route('a', no))
        before = len(no.requests)
        got = together([get(weir, '/a/%d' % i) for i in range(40)])
        equal([a.status for a in got], [503] * 40, 'statuses')
        between((len(no.requests) - before) / 40, 3, 6, 'tries for each')
        equal(weir.wait_access({'uri': '/a/1'})['reason'], 'server_refused', 'reason')
    with t.case('GOAWAY: streams behind the last one named are sent again on a new connection, those before it finish'):
        release = threading.Event()

        def leave(conn, req):
            if conn.number > 0:
                req.wait().answer(200, b'new ' + req.path.encode())
            elif len(conn.requests) == 4:
                conn.goaway(3)
                release.set()
            elif req.stream <= 3:
                req.head(200)
                release.wait(20)
                time.sleep(0.2)
                req.data(b'old ' + req.path.encode(), True)
        two = H2Server('two', leave)
        weir = behind(HEAD + route('a', two))
        got = together([lambda i=i: fetch(weir.port, 'POST', '/a/%d' % i, body=b'abc') for i in range(4)])
        equal([a.status for a in got], [200] * 4, 'statuses')
        equal(sorted(a.text.split()[0] for a in got), ['new', 'new', 'old', 'old'], 'who answered')
        equal([a.text.split()[1] for a in got], ['/0', '/1', '/2', '/3'], 'each its own answer')
        until('the end of the first connection', lambda: not two.conns[0].open, 10)
    with t.case('a GOAWAY with a reason is logged'):
        def angry(conn, req):
            req.wait().answer(200, b'x')
            conn.goaway(req.stream, ENHANCE_YOUR_CALM)
        angry_one = H2Server('angry', angry)
        weir = behind('[weir]\nlog_level = info\n' + HEAD + route('a', angry_one))
        equal(fetch(weir.port, target='/a/x').status, 200, 'status')
        weir.wait_errors('server %s: it takes no more requests on a connection: ENHANCE_YOUR_CALM' % angry_one)
    with t.case('a server that says goodbye after each answer loses nothing'):
        def last(conn, req):
            req.wait()
            with conn.lock:
                if not hasattr(conn, 'said'):
                    conn.said = max(conn.requests)
                    conn.goaway(conn.said)
            if req.stream <= conn.said:
                req.answer(200, b'bye')
        three = H2Server('three', last)
        weir = behind(HEAD + route('a', three))
        for _ in range(3):
            got = together([lambda: fetch(weir.port, 'POST', '/a/x', body=b'x')] * 8)
            equal([getattr(a, 'text', a) for a in got], ['bye'] * 8, 'answers')
    with t.case('an idle connection that the server closed: the next request, a POST too, opens another'):
        four = H2Server('four')
        weir = behind(HEAD + route('a', four))
        for _ in range(5):
            equal(fetch(weir.port, 'POST', '/a/x', body=b'x').text, 'four', 'answer')
            four.conns[-1].close()
        equal(len(four.conns), 5, 'connections')
    with t.case('a connection that dies under a request: GET is repeated, POST is not'):
        def die(conn, req):
            if req.path == '/die' and conn.number == 1:
                req.wait()
                conn.close(reset=True)
            else:
                req.wait().answer(200, b'alive')
        five = H2Server('five', die)
        weir = behind(HEAD + route('a', five))
        five.conns.append(None)         # the first connection is number 1
        equal(fetch(weir.port, target='/a/x').text, 'alive', 'answer')
        equal(fetch(weir.port, target='/a/die').text, 'alive', 'answer to GET')
        six = H2Server('six', die)
        six.conns.append(None)
        weir = behind(HEAD + route('a', six))
        equal(fetch(weir.port, target='/a/x').text, 'alive', 'answer')
        equal(fetch(weir.port, 'POST', '/a/die', body=b'x').status, 502, 'answer to POST')
        equal(weir.wait_access({'uri': '/a/die'})['reason'], 'server_reset', 'reason')


def faults(t):
    scripts = {}
    one = H2Server('one', lambda conn, req: scripts[req.path.partition('?')[0]](conn, req))
    weir = behind(HEAD + route('a', one, 'max_fails = 0', 'read_timeout = 700ms', 'response_timeout = 700ms', keys='retries = 0'))

    def whole(conn, req):
        req.wait().answer(200, b'fine')

    def bad(name, status, reason, script, method='GET'):
        with t.case(name):
            path = '/%d' % len(scripts)
            scripts[path], scripts['/ok'] = script, whole
            got = together([get(weir, '/a' + path, method), get(weir, '/a/ok')])
            equal(getattr(got[0], 'status', got[0]), status, 'status')
            equal(weir.wait_access({'uri': '/a' + path})['reason'], reason, 'reason')
            equal(fetch(weir.port, target='/a/ok').text, 'fine', 'the next one')
            return got

    def headers(*pairs, end=True):
        return lambda conn, req: conn.headers(req.stream, list(pairs), end)

    OK = (':status', '200')
    bad('no :status is no answer', 502, 'server_garbage', headers(('x', 'y')))
    bad('nor is a status of four digits', 502, 'server_garbage', headers((':status', '2000')))
    bad('nor 101', 502, 'server_garbage', headers((':status', '101'), end=False))
    bad('nor an upper-case name', 502, 'server_garbage', headers(OK, ('X-Up', 'y')))
    bad('nor a line end in a value', 502, 'server_garbage', headers(OK, ('x', 'a\r\nb: c')))
    bad('nor a request\'s pseudo-header', 502, 'server_garbage', headers(OK, (':path', '/')))
    bad('nor a field of the connection', 502, 'server_garbage', headers(OK, ('transfer-encoding', 'chunked')))
    bad('nor two lengths', 502, 'server_garbage', headers(OK, ('content-length', '1'), ('content-length', '1')))
    bad('nor a length without the body', 502, 'server_garbage', headers(OK, ('content-length', '5')))
    bad('nor a head larger than 32 KiB', 502, 'server_garbage', headers(OK, *[('x-%d' % i, 'y' * 4000) for i in range(10)]))
    bad('nor more than 100 fields', 502, 'server_garbage', headers(OK, *[('x-%d' % i, 'y') for i in range(120)]))
    bad('nor body without a head', 502, 'server_garbage', lambda conn, req: conn.data(req.stream, b'xyz', True))
    bad('nor an end in an interim answer', 502, 'server_garbage', headers((':status', '103'), end=True))
    bad('nor endless interim answers', 502, 'server_garbage', lambda conn, req: [req.head(103) for _ in range(40)])
    bad('a stream that is reset', 502, 'server_reset', lambda conn, req: req.rst(INTERNAL_ERROR))
    bad('and one without error, too', 502, 'server_reset', lambda conn, req: req.rst(NO_ERROR))
    bad('no answer in time', 504, 'response_timeout', lambda conn, req: None)

    def cut(name, reason, script):
        with t.case('never taken for whole: ' + name):
            path = '/%d' % len(scripts)
            scripts[path], scripts['/ok'] = script, whole
            with H2Client(weir.port) as c:
                a = c.fetch(path='/a' + path)
                true(a.reset is not None and not a.ended, 'the stream is reset')
            equal(weir.wait_access({'uri': '/a' + path})['reason'], reason, 'reason')
            equal(fetch(weir.port, target='/a/ok').text, 'fine', 'the next one')

    def begin(conn, req, length=None):
        req.head(200, [('content-length', str(length))] if length else [])
        req.data(b'x' * 20)
    cut('a reset behind some body', 'truncated', lambda conn, req: (begin(conn, req), req.rst(INTERNAL_ERROR)))
    cut('one with NO_ERROR', 'truncated', lambda conn, req: (begin(conn, req), req.rst(NO_ERROR)))
    cut('less than content-length', 'server_garbage', lambda conn, req: (begin(conn, req, 50), req.data(b'', True)))
    cut('more than content-length', 'server_garbage', lambda conn, req: (begin(conn, req, 10), req.data(b'', True)))
    cut('trailers that do not end the stream', 'server_garbage',
        lambda conn, req: (begin(conn, req), conn.headers(req.stream, [('x', 'y')], False)))
    cut('a pause', 'read_timeout', begin)
    cut('the end of the connection', 'truncated', lambda conn, req: (begin(conn, req), conn.close()))
    cut('its reset', 'truncated', lambda conn, req: (begin(conn, req), time.sleep(0.1), conn.close(reset=True)))
    with t.case('answers that are whole survive the end of their connection, however slow the client'):
        def bye(conn, req):
            req.head(200)
            req.data(b'y' * 100000, True)
            conn.close(reset=True)
        scripts['/bye'] = bye
        with H2Client(weir.port, settings={WINDOW: 0}, window=False) as c:
            s = c.request(path='/a/bye')
            c.until('the head', lambda: c.answer(s).status == 200)
            until('the end of the connection', lambda: not one.conns[-1].open, 10)
            c.frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1 << 28))
            c.frame(WINDOW_UPDATE, 0, s, struct.pack('>I', 1 << 28))
            equal((c.wait(s).length, c.answer(s).ended), (100000, True), 'body')
    with t.case('a server that is killed: half answers are cut, each with its own reason, and weir lives'):
        hold = H2Server('hold')
        weir2 = behind(HEAD + route('a', hold, 'max_fails = 3', keys='retries = 0'))
        hold.on_request = lambda conn, req: (req.head(200), req.data(b'half')) if req.path < '/5' else None
        with H2Client(weir2.port) as c:
            all_ = [c.request(path='/a/%d' % i) for i in range(10)]
            hold.wait_requests(10)
            c.until('half answers', lambda: sum(c.answer(s).text == 'half' for s in all_) == 5)
            hold.down()
            for s in all_:
                c.wait(s)
            equal([c.answer(s).status for s in all_], [200] * 5 + [502] * 5, 'statuses')
            equal([c.answer(s).ended for s in all_], [False] * 5 + [True] * 5, 'ends')
        wait_idle(weir2)
    with t.case('one death of a connection counts as one failure of its server'):
        hold.on_request = None
        hold.up()
        equal(fetch(weir2.port, target='/a/x').text, 'hold', 'it is not ejected')
    with t.case('a silent connection gets no further requests once one of them waited in vain'):
        stuck = []

        def first(conn, req):
            if conn.number == 0:
                stuck.append(req)
            else:
                req.answer(200, b'second')
        mute = H2Server('mute', first)
        weir3 = behind(HEAD + route('a', mute, 'response_timeout = 2s', 'max_fails = 0', keys='retries = 0'))
        equal(fetch(weir3.port, target='/a/x').status, 504, 'first')
        equal(fetch(weir3.port, target='/a/y').text, 'second', 'second')


def not_h2(t, ca):
    pair = ca.issue('localhost', ['localhost', '127.0.0.1'])
    def speak_old(conn):
        if conn.sock.recv(1000):
            conn.send(b'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
        return False
    old = H2Server('old', on_connect=speak_old)
    old_tls = Origin('old_tls', tls=ca.server(pair))
    gone = free_port()
    mute = H2Server('mute', on_connect=lambda conn: False, close_at_end=False)
    trust = ('tls = yes', 'tls_ca = ' + ca.cert)
    weir = behind(HEAD + route('clear', old) + route('tls', old_tls, *trust) + route('gone', '127.0.0.1:%d' % gone) +
                route('mute', mute, 'connect_timeout = 500ms') + route('both', [old, H2Server('new')], 'balance = round_robin'))
    with t.case('a server of HTTP/1 is told apart before it gets a request: 502, and the log says why, once'):
        for _ in range(2):
            equal(fetch(weir.port, 'POST', '/clear/x', body=b'x').status, 502, 'status')
        equal(weir.wait_access({'uri': '/clear/x'})['reason'], 'server_not_http2', 'reason')
        equal(weir.errors().count('upstream clear, server %s: it does not speak HTTP/2' % old), 1, 'lines')
    with t.case('over TLS, too'):
        got = fetch(weir.port, target='/tls/x')
        equal(got.status, 502, 'status')
        isin(weir.wait_access({'uri': '/tls/x'})['reason'], ('server_not_http2', 'server_tls'), 'reason')
    with t.case('and even a POST goes to another server instead'):
        equal([fetch(weir.port, 'POST', '/both/x', body=b'x').text for _ in range(3)], ['new'] * 3, 'answers')
    with t.case('nobody there: 502; nobody who says a word: 504 after connect_timeout'):
        equal(fetch(weir.port, target='/gone/x').status, 502, 'status')
        equal(fetch(weir.port, target='/mute/x').status, 504, 'status')
        equal(weir.wait_access({'uri': '/mute/x'})['reason'], 'connect_timeout', 'reason')


def floods(t):
    def flood(what):
        def script(conn, req):
            if req.path == '/ok':
                req.answer(200, b'fine')
                return
            req.head(200)
            for _ in range(20000):
                if not conn.send(what(req.stream)) or not conn.open:
                    break
        return script
    kinds = {
        'PING': lambda s: frame(PING, 0, 0, b'12345678') * 50,
        'SETTINGS': lambda s: frame(SETTINGS, 0, 0, b'') * 50,
        'empty DATA': lambda s: frame(DATA, 0, s, b'') * 50,
        'padding alone': lambda s: frame(DATA, PADDED, s, b'\x05' + b'\0' * 5) * 50,
        'WINDOW_UPDATE': lambda s: frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1)) * 50,
        'PRIORITY': lambda s: frame(PRIORITY, 0, s, struct.pack('>IB', 0, 1)) * 50,
        'unknown frames': lambda s: frame(0xbb, 0, s, b'x') * 50,
        'CONTINUATION': lambda s: frame(HEADERS, 0, s, b'') + frame(CONTINUATION, 0, s, b'') * 50,
        'resets of old streams': lambda s: frame(RST_STREAM, 0, 1, struct.pack('>I', 8)) * 50,
    }
    servers = {name: H2Server('flood', flood(what)) for name, what in kinds.items()}
    bomb = H2Server('bomb')

    def explode(conn, req):
        # One large field in the table, then thousands of references to it.
        block = conn.encoder.encode([(':status', '200'), ('x-big', 'y' * 4000)])
        conn.frame(HEADERS, END_HEADERS, req.stream, block + b'\xbe' * 4000)
    bomb.on_request = explode
    servers['HPACK references'] = bomb
    weir = behind(HEAD + ''.join(route('f%d' % i, s, 'max_fails = 0', keys='retries = 0') for i, s in enumerate(servers.values())) +
                route('good', H2Server('good')))
    pid = weir.worker_pids()[0]
    for i, (name, server) in enumerate(servers.items()):
        with t.case('a server\'s flood of %s ends its connection, and nothing else' % name):
            before = rss(pid)
            with H2Client(weir.port) as c:
                a = c.fetch(path='/f%d/x' % i)
                true(a.status == 502 or (a.reset is not None and not a.ended), 'the request fails: %r' % a)
            isin(weir.wait_access({'uri': '/f%d/x' % i})['reason'], ('server_flood', 'server_garbage', 'truncated'), 'reason')
            until('the end of the connection', lambda: not server.conns[0].open, 10)
            equal(fetch(weir.port, target='/good/x').text, 'good', 'others')
            between(rss(pid) - before, -1 << 30, 20 << 20, 'memory')


def balance(t):
    servers = [H2Server('s%d' % i) for i in range(3)]
    gate = threading.Event()
    for s in servers:
        s.on_request = lambda conn, req: (gate.wait(20), req.answer(200, b'x'))
    weir = behind(HEAD + route('a', servers) + route('m', '%s max_conns=2' % servers[0], 'queue_timeout = 10s'))
    with t.case('least_conn counts streams, not connections'):
        results = []
        th = threading.Thread(target=lambda: results.extend(together([get(weir, '/a/%d' % i) for i in range(30)])))
        th.start()
        until('all of them', lambda: sum(len(s.requests) for s in servers) == 30, 20)
        equal([len(s.requests) for s in servers], [10, 10, 10], 'requests')
        equal([len(s.conns) for s in servers], [1, 1, 1], 'connections')
        gate.set()
        th.join()
        equal([a.status for a in results], [200] * 30, 'statuses')
    with t.case('max_conns bounds streams'):
        most, now, lock = [0], [0], threading.Lock()

        def count(conn, req):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
            req.answer(200, b'x')
        servers[0].on_request = count
        got = together([get(weir, '/m/%d' % i) for i in range(20)])
        equal([a.status for a in got], [200] * 20, 'statuses')
        between(most[0], 1, 2, 'streams at a time')
    with t.case('send_proxy: each request has its connection'):
        lines = []

        def first_line(conn):
            line = b''
            while not line.endswith(b'\r\n'):
                line += conn.sock.recv(1)
            lines.append(line)
        px = H2Server('px', on_connect=first_line)
        weir2 = behind(HEAD + route('a', px, 'send_proxy = v1'))
        for _ in range(3):
            equal(fetch(weir2.port, target='/a/x').text, 'px', 'answer')
        equal((len(px.conns), [x.startswith(b'PROXY TCP4 127.0.0.1') for x in lines]), (3, [True] * 3), 'connections')
        until('their end', lambda: not any(c.open for c in px.conns), 10)
    with t.case('a reload under load loses nothing'):
        for s in servers:
            s.on_request = None
        load = Load(weir.port, '/a/bytes/5000', connections=6).start()
        for _ in range(3):
            control(weir, 'reload')
        weir.expect_deaths = True
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        true(load.ok > 5, 'answers: %r' % load)


def chaos(t):
    lock = threading.Lock()
    dice = random.Random(7)

    def moody(conn, req):
        with lock:
            roll = dice.randrange(100)
        text = (req.path * 300).encode()
        if roll < 60:
            req.wait()
            req.head(200, [('x-path', req.path)])
            for i in range(0, len(text), 1000):
                req.data(text[i:i + 1000])
            req.data(b'', True)
        elif roll < 70:
            req.rst(REFUSED_STREAM)
        elif roll < 80:
            req.head(200, [('x-path', req.path)])
            req.data(text[:100])
            req.rst(INTERNAL_ERROR)
        elif roll < 85:
            req.answer(413, text, [('x-path', req.path)])
            req.rst(0)
        elif roll < 90:
            conn.goaway(req.stream)
        elif roll < 93:
            conn.close(reset=roll == 92)
        elif roll < 97:
            conn.headers(req.stream, [('bad name', 'x')])
        # else: never an answer
    one = H2Server('moody', moody, settings={MAX_STREAMS: 20})
    weir = behind(HEAD + route('a', one, 'max_fails = 0', 'response_timeout = 1s', 'read_timeout = 1s', keys='retries = 1'))
    with t.case('whatever servers do, no answer goes to another request, none that is cut looks whole, and weir lives'):
        outcomes = {}

        def one_client(n):
            mine = random.Random(n)
            with H2Client(weir.port) as c:
                for round_ in range(6):
                    all_ = {}
                    for k in range(10):
                        path = '/a/%d-%d-%d' % (n, round_, k)
                        how = dict(method='POST', body=b'y' * mine.choice((0, 10, 20000))) if mine.random() < 0.4 else {}
                        all_[c.request(path=path, **how)] = path[2:]
                        if mine.random() < 0.15:
                            c.frame(RST_STREAM, 0, max(all_), struct.pack('>I', CANCEL))
                            c.answer(max(all_)).reset = CANCEL
                    for s, path in all_.items():
                        a = c.wait(s, 30)
                        if a.ended and a.status in (200, 413) and a.header('x-path'):
                            equal((a.header('x-path'), a.text), (path, path * 300), 'a whole answer')
                        with lock:
                            key = a.status if a.ended else 'cut'
                            outcomes[key] = outcomes.get(key, 0) + 1
            return 'done'
        equal(together([lambda n=n: one_client(n) for n in range(8)]), ['done'] * 8, 'clients')
        equal(sum(outcomes.values()), 480, 'outcomes: %r' % outcomes)
        true(outcomes.get(200, 0) > 100, 'good ones: %r' % outcomes)
        one.on_request = None
        equal(fetch(weir.port, target='/a/x').text, 'moody', 'afterwards')
        wait_idle(weir, 15)
    with t.case('two of weir in a row, much both ways at once on one connection: neither waits for the other'):
        def echo(conn, req):
            req.head(200)
            done = 0
            while True:
                req.wait('more', lambda: req.length > done or req.ended)
                n = req.length
                if n > done:
                    req.data(b'z' * (n - done))
                    done = n
                elif req.ended:
                    req.data(b'', True)
                    return
        origin = H2Server('echo', echo)
        back = behind(HEAD + route('a', origin, keys='max_body_size = 0').replace('strip_prefix = yes', ''))
        front = behind(HEAD + route('a', '127.0.0.1:%d' % back.port, keys='max_body_size = 0').replace('strip_prefix = yes', ''))
        size, path = 3000000, t.path('big')
        with open(path, 'wb') as f:
            f.write(b'q' * size)
        command = ['curl', '-sS', '--noproxy', '*', '--max-time', str(60 * SLOW), '--http2-prior-knowledge', '--data-binary',
                   '@' + path, '-o', '/dev/null', '-w', '%{http_code} %{size_download}', 'http://127.0.0.1:%d/a/x' % front.port]
        got = together([lambda: subprocess.run(command, capture_output=True).stdout] * 8)
        equal(got, [b'200 %d' % size] * 8, 'outcomes')


with Story('servers of HTTP/2', deadline=280) as t:
    authority = Authority()
    plain(t)
    real(t, authority)
    flow(t)
    streams(t)
    replays(t)
    faults(t)
    not_h2(t, authority)
    floods(t)
    balance(t)
    chaos(t)
