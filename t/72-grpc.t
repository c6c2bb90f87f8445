#!/usr/bin/python3
# gRPC from end to end: callers and servers by grpcio, weir between them, in clear and over TLS on either side.  Calls of all
# four kinds, metadata, statuses, deadlines, cancellation by either side, and what weir itself has to say, as a caller reads it.
# timeout: 240
import os
import re
import struct
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import *
from h2server import H2Server
from grpcpeer import *

CONF = '''
[weir]
workers = 1
[listen clear]
bind = 127.0.0.1:{port}
body_timeout = 5s
[listen tls]
bind = 127.0.0.1:{port_tls}
certificate = {pair}
[route calls]
path = /t.Test
upstream = app
max_body_size = 1m
[upstream app]
protocol = http2
server = {app}
[route safe]
path = /t.Safe
rewrite = ^/t.Safe/(.*) /t.Test/$1
upstream = safe
[upstream safe]
protocol = http2
server = {safe}
tls = yes
tls_ca = {ca}
[route down]
path = /t.Down
upstream = down
[upstream down]
protocol = http2
server = 127.0.0.1:{nobody}
[route scripted]
path = /t.Raw
upstream = raw
retries = 0
[upstream raw]
protocol = http2
server = {raw}
max_fails = 0
read_timeout = 500ms
[route quick]
path = /t.Quick
rewrite = ^/t.Quick/(.*) /t.Test/$1
upstream = app
timeout = 300ms
[route denied]
path = /t.Denied
deny = all
respond = 200
[route auth]
path = /t.Auth
respond = 401 no
[route busy]
path = /t.Busy
respond = 429 no
[route teapot]
path = /t.Teapot
respond = 418 no
'''

GRPC = [('content-type', 'application/grpc'), ('te', 'trailers')]


def message(body):
    return struct.pack('>BI', 0, len(body)) + body


def outcome(call, *args, **how):
    """The code and details of a call that fails."""
    try:
        call(*args, **dict({'timeout': 20}, **how))
    except grpc.RpcError as e:
        return e.code().name, e.details()
    raise Failed('the call did not fail')


def calls(t, where, c, server):
    with t.case('%s: a unary call, with metadata both ways' % where):
        answer, call = c.mirror.with_call(b'', metadata=(('x-mine', 'v'), ('x-mine-bin', b'\0\1')), timeout=20)
        contains(answer.decode(), "('x-mine', 'v')", 'metadata at the server')
        contains(answer.decode(), "('x-mine-bin', b'\\x00\\x01')", 'binary metadata at the server')
        contains(answer.decode(), "'x-forwarded-for'", 'what a proxy adds')
        equal(dict(call.initial_metadata())['x-head'], 'begin', 'metadata before the answer')
        answer, call = c.echo.with_call(b'hello', timeout=20)
        equal((answer, call.code().name), (b'hello', 'OK'), 'answer')
        equal([dict(call.trailing_metadata()).get(k) for k in ('x-tail', 'x-bin-bin')], ['end', b'\0\1\2'], 'trailers')
    with t.case('%s: messages of any size' % where):
        for n in (0, 1, 16384, 100000, 1000000):
            equal(len(c.echo(b'x' * n, timeout=20)), n, 'echo')
    with t.case('%s: a stream of answers, a stream of requests, both at once' % where):
        equal(list(c.count(b'500', timeout=20)), [b'%d' % i for i in range(500)], 'count')
        equal(c.sum(iter([b'x' * 1000] * 200), timeout=20), b'200000', 'sum')
        box, go = [], threading.Semaphore(0)

        def asks():
            for i in range(20):
                yield b'%d' % i
                go.acquire(timeout=20)       # the next one only once the answer to this one is here
        for a in c.chat(asks(), timeout=20):
            box.append(a)
            go.release()
        equal(box, [b'you said %d' % i for i in range(20)], 'chat, one by one')
    with t.case('%s: an error of the server, and a method that it does not have' % where):
        equal(outcome(c.fail, b'so what'), ('FAILED_PRECONDITION', 'no: so what'), 'error')
        equal(outcome(c.channel.unary_unary('/t.Test/Nothing'), b'')[0], 'UNIMPLEMENTED', 'method')
    with t.case('%s: a deadline reaches the server and ends the call there' % where):
        n = len(server.ended)
        began = time.monotonic()
        equal(outcome(c.slow, b'', timeout=0.4)[0], 'DEADLINE_EXCEEDED', 'outcome')
        between(time.monotonic() - began, 0.3, 5 * SLOW, 'seconds')
        between(server.left[-1] or 0, 0.01, 0.45, 'time left at the server')
        until('its end at the server', lambda: len(server.ended) > n, 10)
    with t.case('%s: a caller that cancels ends the call at the server' % where):
        n, m = len(server.ended), len(server.calls)
        call = c.slow.future(b'', timeout=20)
        until('the call', lambda: len(server.calls) > m, 10)
        call.cancel()
        until('its end at the server', lambda: len(server.ended) > n, 10)
        n = len(server.ended)
        call = c.forever(iter(()), timeout=20)
        equal(next(call), b'tick', 'first answer')
        call.cancel()
        until('its end at the server', lambda: len(server.ended) > n, 10)
    with t.case('%s: many calls at once, each its own answer' % where):
        futures = [c.echo.future(b'%d' % i * 100, timeout=30) for i in range(200)]
        equal([f.result() for f in futures], [b'%d' % i * 100 for i in range(200)], 'answers')


def own_words(t, weir, port, server):
    def ask(service, **how):
        with Calls('127.0.0.1:%d' % port, service='/%s/' % service) as c:
            return outcome(c.echo, b'x', **how)
    with t.case('what weir says itself comes as a status of gRPC'):
        equal(ask('t.Down'), ('UNAVAILABLE', 'Bad Gateway'), 'no server')
        equal(ask('t.Denied'), ('PERMISSION_DENIED', 'Forbidden'), 'denied')
        equal(ask('t.Nowhere'), ('UNIMPLEMENTED', 'Not Found'), 'no route')
        equal(ask('t.Auth')[0], 'UNAUTHENTICATED', '401')
        equal(ask('t.Busy')[0], 'UNAVAILABLE', '429')
        equal(ask('t.Teapot')[0], 'UNKNOWN', '418')
    with t.case('the route\'s timeout is a deadline, too'):
        with Calls('127.0.0.1:%d' % port, service='/t.Quick/') as c:
            equal(outcome(c.slow, b'')[0], 'DEADLINE_EXCEEDED', 'outcome')
            got = c.half(b'', timeout=20)
            equal(next(got), b'first', 'first answer')
            equal(outcome(lambda **_: next(got))[0], 'DEADLINE_EXCEEDED', 'outcome behind the first answer')
    with t.case('more than max_body_size is RESOURCE_EXHAUSTED'):
        with Calls('127.0.0.1:%d' % port) as c:
            equal(outcome(c.echo, b'x' * 3000000), ('RESOURCE_EXHAUSTED', 'Content Too Large'), 'outcome')
    with t.case('on the wire: HTTP 200, the caller\'s content type, trailers alone; a caller that is none gets HTTP'):
        with H2Client(port) as c:
            a = c.fetch(method='POST', path='/t.Down/x', more=[('content-type', 'application/grpc+proto'), ('te', 'trailers')],
                        body=message(b''))
            equal((a.status, a.ended, a.body), (200, True, b''), 'answer')
            equal([a.header(k) for k in ('content-type', 'grpc-status', 'content-length')], ['application/grpc+proto', '14', None],
                  'fields')
            equal(weir.wait_access({'uri': '/t.Down/x'})['reason'], 'connect_failed', 'reason in the log')
            a = c.fetch(method='POST', path='/t.Down/y', body=b'x')
            equal((a.status, a.header('grpc-status')), (502, None), 'plain answer')
    with t.case('a deadline that the caller does not keep itself: weir does'):
        with H2Client(port) as c:
            a = c.fetch(method='POST', path='/t.Test/Slow', more=GRPC + [('grpc-timeout', '300m')], body=message(b''))
            equal(a.header('grpc-status') or dict(a.trailers).get('grpc-status'), '4', 'status')


def scripted(t, weir, port, raw):
    def ask(script):
        raw.on_request = script
        with Calls('127.0.0.1:%d' % port, service='/t.Raw/') as c:
            return outcome(c.echo, b'x')

    def begin(conn, req):
        req.wait()
        req.head(200, [('content-type', 'application/grpc')])

    with t.case('trailers-only answers of the server pass as they are'):
        equal(ask(lambda conn, req: req.wait().answer(200, b'', [('content-type', 'application/grpc'), ('grpc-status', '5'),
                                                                 ('grpc-message', 'none%20such')])),
              ('NOT_FOUND', 'none such'), 'outcome')
    with t.case('a server that resets, dies or pauses within its answer: UNAVAILABLE, never an answer'):
        equal(ask(lambda conn, req: (begin(conn, req), req.rst(CANCEL)))[0], 'UNAVAILABLE', 'reset')
        equal(ask(lambda conn, req: (begin(conn, req), req.data(message(b'abc')[:6]), conn.close()))[0], 'UNAVAILABLE', 'end')
        equal(ask(begin)[0], 'UNAVAILABLE', 'pause')
        equal(ask(lambda conn, req: req.rst(INTERNAL_ERROR))[0], 'UNAVAILABLE', 'reset before the answer')
        equal(ask(lambda conn, req: req.rst(REFUSED_STREAM))[0], 'UNAVAILABLE', 'refusals without end')
    with t.case('an answer without trailers is relayed without: the caller does not take it for success'):
        true(ask(lambda conn, req: (begin(conn, req), req.data(message(b'abc'), True)))[0] != 'OK', 'outcome')


def restarts(t, weir, port, server):
    with t.case('a server that stops gracefully loses no call; one that comes back is used again'):
        with Calls('127.0.0.1:%d' % port) as c:
            running = c.half(b'', timeout=20)
            equal(next(running), b'first', 'a call is under way')
            threading.Thread(target=server.stop, args=(5,)).start()
            n = len(server.ended)
            running.cancel()
            until('its end', lambda: len(server.ended) > n, 10)
            server.start()

            def again():
                try:
                    return c.echo(b'back', timeout=5) == b'back'
                except grpc.RpcError:
                    return False
            until('an answer', again, 20)
    with t.case('active counts return to nothing'):
        wait_idle(weir, 10)


with Story('gRPC', deadline=220) as t:
    if not have_grpc():
        t.skip_all('there is no python3-grpcio here')
    ca = Authority()
    front = ca.issue('localhost', ['localhost', '127.0.0.1'])
    app, safe, raw = GrpcServer('app'), GrpcServer('safe', pair=front), H2Server('raw')
    weir = Weir(CONF, app=app, safe=safe, raw=raw, ca=ca.cert, pair=front, nobody=free_port())
    with open(ca.cert, 'rb') as f:
        trust = grpc.ssl_channel_credentials(f.read())
    with Calls('127.0.0.1:%d' % weir.port) as c:
        calls(t, 'in clear', c, app)
    with Calls('localhost:%d' % weir.ports['port_tls'], trust, service='/t.Safe/') as c:
        calls(t, 'over TLS on both sides', c, safe)
    own_words(t, weir, weir.port, app)
    scripted(t, weir, weir.port, raw)
    restarts(t, weir, weir.port, app)
