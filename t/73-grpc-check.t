#!/usr/bin/python3
# Checks of servers that speak HTTP/2: `check = grpc` asks the health service of gRPC, in clear and over TLS, `check = http`
# speaks HTTP/2 where its upstream does.
# timeout: 180
import os
import struct
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import *
from h2server import H2Server
from grpcpeer import *

HEAD = '''
[listen http]
bind = 127.0.0.1:{port}
[defaults upstream]
check_interval = 100ms
check_timeout = 1s
check_rise = 1
check_fall = 1
max_fails = 0
'''
SERVING, NOT_SERVING = 1, 2


def route(name, server, *more):
    return '[route %s]\npath = /%s\nupstream = %s\n[upstream %s]\nprotocol = http2\nserver = %s\n%s\n' % (
        name, name, name, name, server, '\n'.join(more))


def states(weir):
    return {s['upstream']: s['state'] for s in servers(weir)}


def wait_state(weir, upstream, want, timeout=15):
    until('%s to be %s' % (upstream, want), lambda: states(weir).get(upstream) == want, timeout)


def refused(t):
    with t.case('a check by gRPC needs protocol = http2, and a service has a name of at most 100 bytes'):
        for more in ('check = grpc', 'protocol = http2\ncheck = grpc\ncheck_path = /' + 'x' * 101):
            done = weir_run('-t', conf='[listen l]\nbind = 127.0.0.1:1\n[route r]\nupstream = u\n[upstream u]\n'
                            'server = 127.0.0.1:2\n' + more + '\n')
            equal(done.code, 1, 'status of -t with ' + more)


def by_grpc(t, ca):
    pair = ca.issue('localhost', ['localhost', '127.0.0.1'])
    clear = GrpcServer('clear', health={'': SERVING, 'shop.Cart': SERVING})
    tls = GrpcServer('tls', pair=pair, health={'': SERVING})
    none = GrpcServer('none')
    weir = Weir(HEAD + route('whole', clear, 'check = grpc') + route('cart', clear, 'check = grpc', 'check_path = /shop.Cart',
                                                                     'check_host = cart.test') +
                route('unknown', clear, 'check = grpc', 'check_path = /no.Such') +
                route('tls', tls, 'check = grpc', 'tls = yes', 'tls_ca = ' + ca.cert) +
                route('none', none, 'check = grpc'), workers=1)
    with t.case('SERVING is up; a service that is not known, or no health service at all, is down'):
        until('many questions', lambda: len(tls.checks) > 2 and len(clear.checks) > 8, 15)
        for name, want in (('whole', 'up'), ('cart', 'up'), ('tls', 'up'), ('unknown', 'down'), ('none', 'down')):
            wait_state(weir, name, want)
        contains(weir.errors(), 'it does not know the service', 'log')
        contains(weir.errors(), 'it has no health service', 'log')
    with t.case('the server is asked for the service that check_path names'):
        until('a question over TLS', lambda: tls.checks, 10)
        until('all questions', lambda: {s for s, _ in clear.checks} >= {'', 'shop.Cart', 'no.Such'}, 10)
        equal(tls.checks[-1][0], '', 'service')
        contains(tls.checks[-1][1]['user-agent'], 'weir-check', 'user agent')
    with t.case('NOT_SERVING takes it down, SERVING brings it back; each service for itself'):
        clear.health['shop.Cart'] = NOT_SERVING
        wait_state(weir, 'cart', 'down')
        equal(states(weir)['whole'], 'up', 'the other')
        equal(fetch(weir.port, target='/cart').status, 503, 'a request')
        contains(weir.errors(), 'it says that it is not serving', 'log')
        clear.health['shop.Cart'] = SERVING
        wait_state(weir, 'cart', 'up')
        clear.health[''] = 0
        wait_state(weir, 'whole', 'down')
        clear.health[''] = SERVING
        wait_state(weir, 'whole', 'up')
    with t.case('a server that is gone is down, one that is back is up'):
        tls.stop()
        wait_state(weir, 'tls', 'down')
        tls.start()
        wait_state(weir, 'tls', 'up')


def by_script(t):
    scripts = {}
    one = H2Server('one', lambda conn, req: scripts[req.header(':authority')](conn, req))

    def grpc_answer(body, status='0'):
        def script(conn, req):
            req.wait().head(200, [('content-type', 'application/grpc')])
            if body is not None:
                req.data(body)
            req.trailer([('grpc-status', status)])
        return script
    up = {'plain': b'\0\0\0\0\2\x08\1', 'other-fields': b'\0\0\0\0\7\x12\1x\x08\1\x18\5'}
    down = {
        'empty': b'\0\0\0\0\0', 'no-message': None, 'short': b'\0\0\0\0\2\x08', 'compressed': b'\1\0\0\0\2\x08\1',
        'too-long': b'\0\0\1\0\0' + b'x' * 65536, 'cut-varint': b'\0\0\0\0\2\x08\x81', 'two': b'\0\0\0\0\2\x08\1' * 2,
    }
    for name, body in list(up.items()) + list(down.items()):
        scripts[name] = grpc_answer(body)
    scripts['bad-status'] = grpc_answer(up['plain'], '13')
    scripts['http-503'] = lambda conn, req: req.wait().answer(503, b'no')
    scripts['no-trailers'] = lambda conn, req: (req.wait().head(200), req.data(up['plain'], True))
    scripts['reset'] = lambda conn, req: req.rst(INTERNAL_ERROR)
    scripts['silent'] = lambda conn, req: None
    scripts['closes'] = lambda conn, req: conn.close()
    names = list(scripts)
    weir = Weir(HEAD + ''.join(route(n, one, 'check = grpc', 'check_host = ' + n) for n in names), workers=1, name='weir2')
    with t.case('what is not one good answer that says SERVING is down'):
        one.wait_requests(3 * len(names))
        for n in names:
            wait_state(weir, n, 'up' if n in up else 'down')
    with t.case('the question is as gRPC wants it'):
        req = [r for r in one.requests if r.header(':authority') == 'plain'][0]
        equal([req.header(k) for k in (':method', ':path', 'content-type', 'te')],
              ['POST', '/grpc.health.v1.Health/Check', 'application/grpc', 'trailers'], 'fields')
        equal(req.body, b'\0\0\0\0\0', 'message')


def by_http(t, ca):
    good = [200]
    one = H2Server('one', lambda conn, req: req.wait().answer(good[0] if req.path == '/health?x=1' else 404))
    old = Origin('old')
    flood = H2Server('flood', lambda conn, req: [conn.frame(PING, 0, 0, b'12345678') for _ in range(100000) if conn.open])
    weir = Weir(HEAD + route('http', one, 'check = http', 'check_path = /health?x=1', 'check_host = h.test') +
                route('old', old, 'check = http') + route('tcp', old, 'check = tcp') + route('flood', flood, 'check = http'),
                workers=1, name='weir3')
    with t.case('check = http speaks HTTP/2 to servers of HTTP/2'):
        one.wait_requests(3)
        wait_state(weir, 'http', 'up')
        req = one.requests[0]
        equal([req.header(k) for k in (':method', ':path', ':authority', 'user-agent')],
              ['GET', '/health?x=1', 'h.test', 'weir-check'], 'question')
        good[0] = 500
        wait_state(weir, 'http', 'down')
        contains(weir.errors(), 'it answered with status 500', 'log')
        good[0] = 204
        wait_state(weir, 'http', 'up')
    with t.case('a server of HTTP/1, and one that floods, are down'):
        wait_state(weir, 'old', 'down')
        wait_state(weir, 'flood', 'down')
        wait_state(weir, 'tcp', 'up')


with Story('checks over HTTP/2', deadline=160) as t:
    refused(t)
    authority = Authority()
    by_script(t)
    by_http(t, authority)
    if have_grpc():
        by_grpc(t, authority)
    else:
        t.skip('the health service of gRPC', 'there is no python3-grpcio here')
