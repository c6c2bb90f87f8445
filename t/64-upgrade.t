#!/usr/bin/python3
# WebSockets and other protocols that a connection is switched to: real WebSocket programs on both sides, and scripted
# ones that send just the bytes they are told to. No byte passes before the server agreed, every byte after that, each
# direction ends by itself, and nothing stays behind.
# timeout: 150
import asyncio
import os
import signal
import socket
import struct
import sys
import time
from http import HTTPStatus
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from origin import on_loop
from peer import Peer, Raw
from tap import SLOW
try:
    import websockets
except ImportError:
    websockets = None

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
header_timeout = 5s

[route raw]
path = /raw
upstream = raw
[route short]
path = /short
upstream = raw
tunnel_timeout = 700ms
timeout = 300ms
read_timeout = 100ms
write_timeout = 100ms
[route two]
path = /two
upstream = two
[route mortal]
path = /mortal
upstream = mortal
[route plain]
path = /plain
upstream = plain
[route own]
path = /own
respond = 200 mine
[route ws]
upstream = ws

[upstream raw]
server = {raw}
[upstream two]
server = {left} name=left
server = {right} name=right
balance = least_conn
[upstream mortal]
server = 127.0.0.1:{mortal}
[upstream plain]
server = {plain}
max_fails = 0
[upstream ws]
server = 127.0.0.1:{wsport}
'''

ASK = [('Connection', 'keep-alive, Upgrade'), ('Upgrade', 'echo/1, echo')]
AGREE = b'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-From: raw\r\n\r\n'


def dial(weir, target='/raw', headers=ASK, early=b'', rcvbuf=None):
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.connect(('127.0.0.1', weir.port))
    peer = Peer(sock)
    peer.send(request('GET', target, headers) + early)
    return peer


def tunnel(weir, raw, target='/raw', rcvbuf=None):
    """Both ends of an open tunnel."""
    client = dial(weir, target, rcvbuf=rcvbuf)
    server = raw.accept()
    server.head()
    server.send(AGREE)
    contains(client.head(), ' 101 ', 'the answer')
    return client, server


async def ws_server(port):
    async def handler(ws):
        if ws.path == '/bye':
            await ws.send('leaving')
            await ws.close(4001, 'server says bye')
            return
        try:
            async for message in ws:
                await ws.send(message)
        except websockets.ConnectionClosed:
            pass

    async def process(path, headers):
        if path == '/forbidden':
            return HTTPStatus(403), [('X-Why', 'no')], b'not you\n'
        if path == '/newer':
            return HTTPStatus(426), [('Upgrade', 'websocket')], b'newer\n'
        return None
    return await websockets.serve(handler, '127.0.0.1', port, max_size=None, ping_interval=None, process_request=process)


def ws_connect(weir, path='/'):
    return websockets.connect('ws://127.0.0.1:%d%s' % (weir.port, path), max_size=None, ping_interval=None,
                              open_timeout=10 * SLOW)


async def ws_many(weir, count):
    async def one(i):
        async with ws_connect(weir) as ws:
            for n in range(5):
                await ws.send('%d of %d' % (n, i))
                equal(await ws.recv(), '%d of %d' % (n, i), 'echo')
    await asyncio.gather(*[one(i) for i in range(count)])


async def ws_echo(weir):
    async with ws_connect(weir) as ws:
        for message in ('text', 'ä' * 1000, '', b'\x00\xff', os.urandom(1 << 20), 'x' * (1 << 20)):
            await ws.send(message)
            equal(await ws.recv() == message, True, 'echo of %d' % len(message))
        await (await ws.ping(b'are you there'))


async def ws_client_closes(weir):
    ws = await ws_connect(weir)
    await ws.send('a')
    await ws.recv()
    await ws.close(4002, 'client says bye')
    return ws.close_code


async def ws_server_closes(weir):
    ws = await ws_connect(weir, '/bye')
    equal(await ws.recv(), 'leaving', 'last word')
    try:
        await ws.recv()
    except websockets.ConnectionClosed:
        pass
    return ws.close_code, ws.close_reason


def real_websockets(t, weir):
    with t.case('a WebSocket echoes text, binary, a megabyte, and a ping'):
        on_loop(ws_echo(weir), 30 * SLOW)
        line = weir.wait_access({'uri': '/', 'status': '101'})
        equal(line['reason'], '-', 'reason')
        true(int(line['in']) > 1 << 20 and int(line['out']) > 1 << 20, 'bytes both ways: %r' % line)
    with t.case('closing handshakes from either side arrive'):
        equal(on_loop(ws_client_closes(weir), 10 * SLOW), 4002, 'code')
        equal(on_loop(ws_server_closes(weir), 10 * SLOW), (4001, 'server says bye'), 'code and reason')
        equal(weir.wait_access({'uri': '/bye'})['reason'], '-', 'reason')
    with t.case('a hundred at once'):
        on_loop(ws_many(weir, 100), 60 * SLOW)
        wait_idle(weir)
    with t.case('a server that refuses (403, 426) is understood, and the connection goes on'):
        for path, code in (('/forbidden', 403), ('/newer', 426)):
            with Client(weir.port) as client:
                answer = client.fetch('GET', path, [
                    ('Connection', 'Upgrade'), ('Upgrade', 'websocket'), ('Sec-WebSocket-Version', '13'),
                    ('Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==')])
                equal(answer.status, code, 'status')
                equal(weir.wait_access({'uri': path})['reason'], '-', 'reason')
                equal(client.fetch('GET', '/own').status, 200, 'the next request')


def heads(t, weir, raw):
    with t.case('the server is asked with both fields, the client answered with both'):
        client = dial(weir)
        server = raw.accept()
        head = server.head().lower()
        contains(head, '\r\nconnection: upgrade\r\n', 'request')
        contains(head, '\r\nupgrade: echo/1, echo\r\n', 'request')
        lacks(head, 'keep-alive', 'request')
        server.send(AGREE)
        answer = client.head()
        contains(answer, 'HTTP/1.1 101 Switching Protocols\r\n', 'answer')
        contains(answer.lower(), '\r\nconnection: upgrade\r\n', 'answer')
        contains(answer.lower(), '\r\nupgrade: echo\r\n', 'answer')
        contains(answer, 'X-From: raw', 'answer')
        for name in ('content-length', 'transfer-encoding'):
            lacks(answer.lower(), name, 'answer')
        server.close()
        client.end()
        client.close()
    with t.case('early bytes are held until the server agreed, then they come first'):
        client = dial(weir, early=b'early bird')
        server = raw.accept()
        server.head()
        client.send(b' and more')
        true(server.got == b'' and server.nothing(), 'silence before the 101')
        server.send(AGREE + b'welcome')
        client.head()
        equal(client.read(7), b'welcome', 'bytes that came with the 101')
        equal(server.read(19), b'early bird and more', 'early bytes')
        client.close()
        server.close()


BAD_SWITCHES = {
    'to another protocol': AGREE.replace(b'echo', b'other'),
    'to none': b'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n',
    'in HTTP/1.0': AGREE.replace(b'HTTP/1.1', b'HTTP/1.0'),
    'to two': AGREE.replace(b'Upgrade: echo', b'Upgrade: echo, other'),
}


def refused(t, weir, raw, plain):
    for what, answer in BAD_SWITCHES.items():
        with t.case('a switch %s is no answer: 502' % what):
            client = dial(weir, early=b'early')
            server = raw.accept()
            server.head()
            server.send(answer + b'more')
            contains(client.head(), ' 502 ', 'the answer')
            true(server.end()[0] == b'', 'no byte reached the server')
            client.close()
            server.close()
    with t.case('a switch that nobody asked for is no answer: 502'):
        client = dial(weir, headers=[])
        server = raw.accept()
        lacks(server.head().lower(), 'upgrade', 'request')
        server.send(AGREE)
        contains(client.head(), ' 502 ', 'the answer')
        client.close()
        server.close()
    asked = [('h2c', 'GET', 'h2c', b''), ('h2c beside others', 'GET', 'websocket, H2C', b''), ('HTTP', 'GET', 'HTTP/2.0', b''),
             ('TLS', 'GET', 'TLS/1.0', b''), ('no token', 'GET', 'web socket', b''),
             ('an upgrade with a body', 'POST', 'websocket', b'abc'), ('a GET with a body', 'GET', 'websocket', b'abc'),
             ('a POST', 'POST', 'websocket', b'')]
    for what, method, protocol, body in asked:
        with t.case('%s is not forwarded, the request is' % what):
            path = '/plain/' + what.replace(' ', '-')
            answer = fetch(weir.port, method, path, [('Connection', 'Upgrade, HTTP2-Settings'), ('Upgrade', protocol),
                                                     ('HTTP2-Settings', 'AAMAAABkAAQCAAAAAAIAAAAA')], body)
            equal(answer.status, 200, 'status')
            names = [n.lower() for n, _ in plain.last.headers]
            lacks(names, 'upgrade', 'fields at the server')
            lacks(names, 'http2-settings', 'fields at the server')
            equal(plain.last.body, body, 'body at the server')
            weir.wait_access({'uri': path, 'status': '200', 'reason': 'upgrade_refused'})
    with t.case('where weir answers itself there is no tunnel'):
        equal(fetch(weir.port, 'GET', '/own', ASK).status, 200, 'status')
        weir.wait_access({'uri': '/own', 'reason': 'upgrade_refused'})
    with t.case('an HTTP/1.0 client gets none'):
        equal(fetch(weir.port, 'GET', '/plain/old', ASK, version='1.0').status, 200, 'status')
        lacks([n.lower() for n, _ in plain.last.headers], 'upgrade', 'fields at the server')


MORTAL = '''
import socket, sys
sock = socket.create_server(('127.0.0.1', int(sys.argv[1])))
conn = sock.accept()[0]
data = conn.recv(65536)
while b'\\r\\n\\r\\n' not in data:
    data += conn.recv(65536)
conn.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n')
while data := conn.recv(65536):
    conn.sendall(data)
'''


def mortal_server():
    port = free_port()
    child = Child('mortal', [sys.executable, '-c', MORTAL, str(port)])
    child.launch()
    until('it listens', lambda: listening(port))
    return child, port


def ends(t, weir, raw, mortal):
    with t.case('a client that ends its direction still gets the rest'):
        client, server = tunnel(weir, raw)
        client.send(b'question')
        client.shut()
        equal(server.end(), (b'question', 'eof'), 'what the server got')
        server.send(b'a' * 300000)
        time.sleep(0.05)
        server.send(b'b')
        server.close()
        equal(client.end(), (b'a' * 300000 + b'b', 'eof'), 'what the client got')
        client.close()
        wait_idle(weir)
    with t.case('a server that ends its direction still gets the rest'):
        client, server = tunnel(weir, raw)
        server.send(b'hello')
        server.shut()
        equal(client.end(), (b'hello', 'eof'), 'what the client got')
        client.send(b'c' * 300000)
        time.sleep(0.05)
        client.send(b'd')
        client.close()
        equal(server.end(), (b'c' * 300000 + b'd', 'eof'), 'what the server got')
        server.close()
        line = weir.wait_access({'uri': '/raw', 'in': '300001', 'out': '5'})
        equal((line['status'], line['reason']), ('101', '-'), 'status and reason')
        wait_idle(weir)
    with t.case('the server ends with the very 101'):
        client = dial(weir)
        server = raw.accept()
        server.head()
        server.send(AGREE + b'bye')
        server.close()
        client.head()
        equal(client.end(), (b'bye', 'eof'), 'what the client got')
        client.close()
        wait_idle(weir)
    for who in ('client', 'server'):
        for half in (False, True):
            with t.case('a %s that resets%s is noticed by the other at once' % (who, ' behind a half-close' if half else '')):
                client, server = tunnel(weir, raw, '/raw/%s/%d' % (who, half))
                one, other = (client, server) if who == 'client' else (server, client)
                one.send(b'x')
                equal(other.read(1), b'x', 'a byte')
                if half:
                    one.shut() if who == 'server' else other.shut()
                    equal((other if who == 'server' else one).end()[1], 'eof', 'the half-close')
                one.reset()
                if half and who == 'server':
                    equal(other.end()[1], 'eof', 'the end the client knows')
                    weir.wait_access({'uri': '/raw/server/1', 'reason': 'server_reset'})
                else:
                    equal(other.end()[1], 'reset', 'end')
                    weir.wait_access({'uri': '/raw/%s/%d' % (who, half),
                                      'reason': 'client_abort' if who == 'client' else 'server_reset'})
                other.close()
                wait_idle(weir)
    with t.case('a server that is killed in the middle of it'):
        client = dial(weir, '/mortal')
        contains(client.head(), ' 101 ', 'the answer')
        client.send(b'x')
        equal(client.read(1), b'x', 'a byte')
        mortal.process.kill()
        equal(client.end()[0], b'', 'what the client got')
        client.close()
        wait_idle(weir)
    with t.case('resets do not count against the server'):
        equal([s['state'] for s in servers(weir) if s['upstream'] == 'raw'], ['up'], 'state')


def silence(t, weir, raw):
    with t.case('tunnel_timeout ends a silent tunnel; no other timeout does'):
        client, server = tunnel(weir, raw, '/short')
        began = time.monotonic()
        for _ in range(5):              # one direction is enough
            time.sleep(0.25)
            server.send(b'.')
            equal(client.read(1), b'.', 'still alive')
        between(time.monotonic() - began, 1.2, 60, 'seconds')
        client.end()
        between(time.monotonic() - began, 1.85, 10 * SLOW, 'seconds until the end')
        server.end()
        line = weir.wait_access({'uri': '/short', 'reason': 'tunnel_timeout'})
        equal((line['status'], line['out']), ('101', '5'), 'status and bytes')
        client.close()
        server.close()


def pressure(t, weir, raw):
    with t.case('a slow reader holds the sender back; the worker stays small'):
        before = max(rss(pid) for pid in weir.worker_pids())
        client, server = tunnel(weir, raw, '/raw/slow', rcvbuf=16384)
        server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        sent, data = 0, os.urandom(65536) * 1024
        server.sock.settimeout(0.5)
        try:
            while sent < len(data):
                sent += server.sock.send(data[sent:sent + 65536])
        except socket.timeout:
            pass
        true(sent < 32 << 20, 'the sender was held back after %d' % sent)
        grown = max(rss(pid) for pid in weir.worker_pids()) - before
        true(grown < (8 << 20) * SLOW, 'memory grew by %d' % grown)
        client.send(b'other way')
        equal(server.read(9), b'other way', 'the other direction meanwhile')
        server.shut()
        got, end = client.end()
        equal((len(got), end), (sent, 'eof'), 'bytes and end')
        true(got == data[:sent], 'bytes as they were sent')
        client.close()
        server.close()
        wait_idle(weir)


def counting(t, weir, left, right):
    with t.case('a tunnel counts for least_conn as long as it lasts'):
        client = dial(weir, '/two')
        first = socket_of(left, right)
        first.head()
        first.send(AGREE)
        client.head()
        active = {s['server']: s['active'] for s in servers(weir) if s['upstream'] == 'two'}
        equal(sorted(active.values()), [0, 1], 'active')
        busy_one = next(name for name, n in active.items() if n)
        free = right if busy_one == 'left' else left
        for _ in range(4):
            other = dial(weir, '/two', headers=[('Connection', 'close')])
            server = free.accept()
            server.head()
            server.send(b'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
            contains(other.head(), ' 204 ', 'answer')
            server.close()
            other.close()
        client.close()
        first.close()
        wait_idle(weir)


def socket_of(*raws):
    """The connection that came to any of them."""
    import select
    ready, _, _ = select.select([r.listener for r in raws], [], [], 10 * SLOW)
    true(ready, 'a connection')
    return next(r for r in raws if r.listener is ready[0]).accept()


def drain(t, raw, things):
    with t.case('draining leaves tunnels alone until shutdown_timeout'):
        weir = Weir('[weir]\nshutdown_timeout = 1500ms\n' + CONF, name='drained', **things)
        client, server = tunnel(weir, raw)
        began = time.monotonic()
        os.kill(weir.pid, signal.SIGQUIT)
        time.sleep(0.5)
        client.send(b'still')
        equal(server.read(5), b'still', 'a byte while draining')
        server.send(b'here')
        equal(client.read(4), b'here', 'a byte while draining')
        client.end()
        between(time.monotonic() - began, 1.2, 6 * SLOW, 'seconds until the end')
        equal(weir.wait(5), 0, 'exit status')
        weir.stopped = True
        equal(weir.wait_access({'uri': '/raw', 'status': '101'})['reason'], 'shutdown', 'reason')
        client.close()
        server.close()


def retire(t, raw, things):
    weir = Weir('[weir]\nshutdown_timeout = 1s\ntunnel_shutdown_timeout = 4s\n' + CONF, name='retired', **things)
    weir.expect_deaths = True
    with t.case('behind a reload a tunnel has tunnel_shutdown_timeout'):
        client, server = tunnel(weir, raw)
        began = time.monotonic()
        os.kill(weir.pid, signal.SIGHUP)
        until('the old generation drains', lambda: len(status(weir)['generations']) == 2)
        time.sleep(2)
        client.send(b'still')
        equal(server.read(5), b'still', 'a byte past shutdown_timeout')
        client.end()
        between(time.monotonic() - began, 3.7, 8 * SLOW, 'seconds until the end')
        equal(weir.wait_access({'uri': '/raw', 'status': '101'})['reason'], 'shutdown', 'reason')
        client.close()
        server.close()
    with t.case('when weir stops, shutdown_timeout holds for it, too'):
        weir.write('[weir]\nshutdown_timeout = 1s\ntunnel_shutdown_timeout = 0\n' + CONF)
        os.kill(weir.pid, signal.SIGHUP)
        until('one generation is left', lambda: [g['generation'] for g in status(weir)['generations']] == [3], 10)
        client, server = tunnel(weir, raw)
        os.kill(weir.pid, signal.SIGHUP)
        until('the old generation drains', lambda: len(status(weir)['generations']) == 2)
        time.sleep(1.5)
        client.send(b'still')
        equal(server.read(5), b'still', 'a byte past shutdown_timeout')
        os.kill(weir.pid, signal.SIGQUIT)
        client.end()
        equal(weir.wait(8), 0, 'exit status')
        weir.stopped = True
        client.close()
        server.close()


with Story('connections that are switched to another protocol', deadline=110) as t:
    raw, left, right = Raw(), Raw(), Raw()
    plain = Origin('plain')
    things = dict(raw=raw, left=left, right=right, plain=plain, wsport=free_port())
    mortal, things['mortal'] = mortal_server()
    if websockets:
        on_loop(ws_server(things['wsport']))
    weir = Weir(CONF, **things)
    if websockets:
        real_websockets(t, weir)
    else:
        t.skip('real WebSockets', 'python3-websockets is not installed')
    heads(t, weir, raw)
    refused(t, weir, raw, plain)
    ends(t, weir, raw, mortal)
    silence(t, weir, raw)
    pressure(t, weir, raw)
    counting(t, weir, left, right)
    drain(t, raw, things)
    retire(t, raw, things)
