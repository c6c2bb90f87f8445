#!/usr/bin/python3
# weir speaks TLS to servers: names, verification, sessions, the pool, checks, failures.
import asyncio
import os
import re
import ssl
import subprocess
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

HEAD = '''
[listen http]
bind = 127.0.0.1:{port}
'''


def route(name, server, *more):
    """A route for /name to an upstream of its own."""
    return '[route %s]\npath = /%s\nupstream = %s\n[upstream %s]\nserver = %s\ntls = yes\n%s\n' % (
        name, name, name, name, server, '\n'.join(more))


def seen(origin, conn):
    """What the origin's end of the connection knows."""
    return conn.writer.get_extra_info('ssl_object')


class TlsOrigin(Origin):
    """Remembers the server name and whether the session was resumed, for each connection."""

    def __init__(self, name, ca, pair, **more):
        self.names, self.resumed, self.clients = [], [], []
        context = ca.server(pair, ask=more.pop('ask', False), most=more.pop('most', None))
        context.sni_callback = lambda obj, name, ctx: self.names.append(name)
        super().__init__(name, on_connect=self.note, tls=context, **more)

    async def note(self, conn):
        tls = conn.writer.get_extra_info('ssl_object')
        self.resumed.append(tls.session_reused)
        self.clients.append(tls.getpeercert())


def good_ways(t, ca, alice):
    good = TlsOrigin('good', ca, ca.issue('localhost', ['localhost', '127.0.0.1']))
    old = TlsOrigin('old', ca, ca.issue('old.test'), most=V12)
    asking = TlsOrigin('asking', ca, ca.issue('asking.test'), ask=True)
    trust = 'tls_ca = ' + ca.cert
    weir = Weir(HEAD + route('ip', good, trust) + route('name', 'localhost:%d' % good.port, trust) +
                route('told', old, trust, 'tls_name = old.test') +
                route('mutual', asking, trust, 'tls_name = asking.test', 'client_certificate = %s' % alice) +
                route('alone', asking, trust, 'tls_name = asking.test', 'keepalive = 0'), workers=1)
    with t.case('a server is verified by its address, and by its host name, which it is asked for'):
        for path in ('/ip/x', '/name/x'):
            answer = fetch(weir.port, target=path)
            equal((answer.status, answer.text), (200, 'good'), 'answer to ' + path)
        equal(good.names, [None, 'localhost'], 'server names')
    with t.case('tls_name is what it is asked for, and verified'):
        equal(fetch(weir.port, target='/told').text, 'old', 'answer')
        equal(old.names, ['old.test'], 'server names')
    with t.case('a server that asks for a certificate gets it'):
        equal(fetch(weir.port, target='/mutual').text, 'asking', 'answer')
        contains(str(asking.clients[-1]), 'alice', 'subject')
    with t.case('without one it refuses: 502'):
        equal(fetch(weir.port, target='/alone').status, 502, 'status')
    with t.case('connections are pooled: one for many requests'):
        before = good.connections
        with Client(weir.port, keep=0, sha=True) as client:
            for size in (1, 16384, 100000, 1000000):
                equal(client.fetch(target='/ip/bytes/%d' % size).sha256(), digest_of(size), 'answer of %d bytes' % size)
                client.fetch('POST', '/ip/echo', body=body_of(size))
                equal(good.last.sha256(), digest_of(size), 'request of %d bytes' % size)
        equal(good.connections, before, 'connections')
    with t.case('sessions are resumed with each server'):
        for origin, path in ((good, '/ip/x'), (old, '/told/x')):
            drop(origin)
            for _ in range(3):
                equal(fetch(weir.port, target=path).status, 200, 'status')
                drop(origin)
            true(origin.resumed[-1], 'resumed: %r' % origin.resumed)
    with t.case('a pooled connection that the server closed is replaced without a word'):
        for _ in range(3):
            equal(fetch(weir.port, target='/ip/x').status, 200, 'status')
            drop(good)
            equal(fetch(weir.port, target='/ip/x').status, 200, 'status')
    with t.case('the server sees what the client used'):
        fetch(weir.port, target='/ip/x')
        equal(good.last.header('X-Forwarded-Proto'), 'http', 'X-Forwarded-Proto')


def drop(origin):
    origin.down()
    origin.up()


def s_server(t, pair, *args):
    """A server of openssl's own; its port."""
    port = free_port()
    with open(t.path('s_server'), 'ab') as log:
        spawn(['openssl', 's_server', '-accept', str(port), '-cert', pair.cert, '-key', pair.key, '-cipher', 'ALL:@SECLEVEL=0',
               '-quiet'] + list(args), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until('openssl s_server listens', lambda: listening(port), 10)
    return port


def bad_ways(t, ca):
    other = Authority('other')
    good = TlsOrigin('unknown-to-the-system', ca, ca.issue('localhost', ['localhost', '127.0.0.1']))
    stranger = TlsOrigin('stranger', other, other.issue('localhost', ['127.0.0.1']))
    wrong = TlsOrigin('wrong', ca, ca.issue('wrong.test'))
    late = TlsOrigin('late', ca, ca.issue('late', ['127.0.0.1'], days=-1))
    early = Origin('early', on_connect=speak_first)
    itself = Authority('itself')
    own = TlsOrigin('own', itself, Pair(itself.cert, itself.key))
    named = TlsOrigin('named', ca, ca.issue('other.test', ['other.test', '*.localhost']))
    text = b'localhost\0.evil.test'
    nul = TlsOrigin('nul', ca, ca.issue('nul', names=[], more=['subjectAltName=DER:' + ':'.join(
        '%02x' % b for b in bytes([0x30, len(text) + 2, 0x82, len(text)]) + text)]))
    ancient = s_server(t, ca.issue('ancient', ['127.0.0.1']), '-tls1')
    cut = TlsOrigin('cut', ca, ca.issue('cut', ['127.0.0.1']), handler=cut_off)
    hole = Blackhole()
    silent = Origin('silent', on_connect=say_nothing)
    trust = 'tls_ca = ' + ca.cert
    weir = Weir(HEAD + ''.join(route(o.name, o, trust, 'max_fails = 0') for o in (stranger, wrong, late, early, cut, own)) +
                ''.join(route(o.name, 'localhost:%d' % o.port, trust, 'max_fails = 0') for o in (named, nul)) +
                route('ancient', '127.0.0.1:%d' % ancient, trust, 'max_fails = 0') + route('system', good, 'max_fails = 0') +
                route('lax', wrong, 'tls_verify = no') + route('silent', silent, trust, 'connect_timeout = 500ms') +
                '[defaults route]\nretries = 0\n', name='bad')
    for origin, why in ((stranger, 'unable to get local issuer|self.signed'), (wrong, 'IP address mismatch'),
                        (late, 'has expired'), (early, 'wrong version|packet|http'), (own, 'self.signed'),
                        ('named', 'hostname mismatch'), ('nul', 'hostname mismatch'),
                        ('ancient', 'version|protocol'), ('system', 'unable to get local issuer')):
        name = getattr(origin, 'name', origin)
        with t.case('%s: 502, and the log says why' % name):
            answer = fetch(weir.port, target='/%s/x' % name)
            equal(answer.status, 502, 'status')
            lacks(answer.text, 'injected', 'body')
            weir.wait_access({'route': name, 'reason': 'server_tls'})
            at = r'(127\.0\.0\.1|localhost)\S*' if name == origin else re.escape(str(origin))
            weir.wait_errors('server %s: the TLS handshake failed: .*(?i:%s)' % (at, why))
    with t.case('nobody read a request who should not'):
        for origin in (stranger, wrong, late, own, named, nul, good):
            equal(origin.requests, [], 'requests of ' + origin.name)
    with t.case('tls_verify = no takes any certificate'):
        equal(fetch(weir.port, target='/lax/x').text, 'wrong', 'answer')
    with t.case('an answer that ends by the close, without a close_notify, is cut off, not whole'):
        with Client(weir.port) as client:
            client.ask(target='/cut/x')
            try:
                answer = client.read()
                raise Failed('it came whole: %r' % answer)
            except (Truncated, Reset):
                pass
        weir.wait_access({'route': 'cut', 'reason': 'truncated'})
    with t.case('a server that accepts and does not shake hands: 504 within connect_timeout'):
        began = time.monotonic()
        equal(fetch(weir.port, target='/silent/x').status, 504, 'status')
        between(time.monotonic() - began, 0.4, 2.5, 'seconds')


async def speak_first(conn):
    await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected')


async def say_nothing(conn):
    await asyncio.sleep(30)


async def cut_off(request, conn):
    await conn.send(b'HTTP/1.1 200 OK\r\n\r\n' + b'x' * 1000)
    await asyncio.sleep(0.2)
    conn.writer.transport.abort()
    raise Hangup


def retries(t, ca):
    good = TlsOrigin('good-2', ca, ca.issue('g', ['127.0.0.1']))
    bad = TlsOrigin('bad-2', ca, ca.issue('b.test'))
    weir = Weir(HEAD + '[route r]\nupstream = u\n[upstream u]\nserver = %s\nserver = %s\nbalance = round_robin\ntls = yes\n'
                'tls_ca = %s\n' % (good, bad, ca.cert), name='retries')
    with t.case('a server whose handshake fails is passed over, for POST too'):
        for i in range(8):
            answer = fetch(weir.port, 'POST' if i % 2 else 'GET', '/x', body='hello' if i % 2 else '')
            equal((answer.status, answer.text), (200, 'good-2'), 'answer')


def health(t, ca):
    good = TlsOrigin('good-3', ca, ca.issue('g3', ['127.0.0.1']))
    wrong = TlsOrigin('wrong-3', ca, ca.issue('w3.test'))
    weir = Weir(HEAD + '[route r]\nupstream = u\n[upstream u]\nserver = %s\nserver = %s\ntls = yes\ntls_ca = %s\ncheck = http\n'
                'check_interval = 200ms\ncheck_fall = 1\n[route s]\npath = /tcp\nupstream = v\n[upstream v]\nserver = %s\ntls = yes\n'
                'tls_ca = %s\ncheck = tcp\ncheck_interval = 200ms\ncheck_fall = 1\n' % (good, wrong, ca.cert, wrong, ca.cert),
                name='health')
    with t.case('checks speak TLS: who answers well is up, who has the wrong certificate goes down'):
        weir.wait_errors(r'Server %s of upstream u is down: the TLS handshake failed: .*mismatch' % wrong)
        until('the good one was checked', lambda: any(r.header('User-Agent') == 'weir-check' for r in good.requests))
        lacks(weir.errors(), 'Server %s of upstream u is down' % good, 'error log')
    with t.case('check = tcp makes the handshake too'):
        weir.wait_errors(r'Server %s of upstream v is down: the TLS handshake failed' % wrong)


def checks(t, ca):
    for more, code, why in (
            ('tls_ca = /nowhere', 1, 'No such file'), ('client_certificate = %s' % ca.cert, 1, 'no private key'),
            ('tls_name = a b', 1, 'tls_name'), ('tls_verify = maybe', 1, 'yes or no'), ('tls_verify = no', 0, ''),
            ('tls_ca = %s' % ca.key, 1, 'no certificate in')):
        with t.case('-t: %s' % more.replace(ca.dir, '')):
            run = weir_run('-t', conf=HEAD + route('r', '127.0.0.1:9', more), port=free_port())
            equal(run.code, code, 'exit status; it said ' + run.text)
            contains(run.text, why, 'output')
    with t.case('-t: a UNIX socket has no name to verify'):
        run = weir_run('-t', conf=HEAD + route('r', 'unix:/x', 'tls_ca = ' + ca.cert), port=free_port())
        equal(run.code, 1, 'exit status')
        contains(run.text, 'set tls_name', 'output')
    with t.case('-t: without tls the other keys have no effect, which is said'):
        run = weir_run('-t', conf=HEAD + '[route r]\nupstream = u\n[upstream u]\nserver = 127.0.0.1:9\ntls_name = x.test\n',
                       port=free_port())
        contains(run.text, 'has no effect: tls is off', 'output')


with Story('TLS with servers', deadline=120) as t:
    ca = Authority()
    good_ways(t, ca, ca.issue('alice', names=[]))
    bad_ways(t, ca)
    retries(t, ca)
    health(t, ca)
    checks(t, ca)
