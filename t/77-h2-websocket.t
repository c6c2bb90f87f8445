#!/usr/bin/python3
# WebSockets that come over HTTP/2 (RFC 8441): a client of python3-h2, real WebSocket programs and scripted ones as servers.
# A CONNECT becomes an Upgrade towards the server, its 101 becomes a 200, and then every byte passes as it is.
# timeout: 120
import asyncio
import os
import re
import struct
import sys
import time
from http import HTTPStatus
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
import base64
import hashlib
from weirtest import *
from h2client import *
from origin import on_loop
from peer import Peer, Raw
from tap import SLOW
try:
    import websockets
    from websockets.frames import Close, Frame, Opcode
    from websockets.streams import StreamReader
except ImportError:
    websockets = None
try:
    import h2.config
    import h2.connection
    import h2.events
except ImportError:
    h2 = None

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
header_timeout = 5s
send_timeout = 700ms
body_timeout = 700ms
max_requests = 100000
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
[route plain]
path = /plain
upstream = plain
[route own]
path = /own
respond = 200 mine
[route hello]
path = /hello
respond = 200 hello
[route ws]
upstream = ws
[upstream raw]
server = {raw}
[upstream plain]
server = {plain}
[upstream ws]
server = 127.0.0.1:{wsport}
'''


def ask(path='/raw', more=(), protocol='websocket', method='CONNECT', version='13'):
    return [(':method', method), (':protocol', protocol), (':scheme', 'http'), (':path', path),
            (':authority', 'weir.test'), ('sec-websocket-version', version)] + list(more)


def answer_to(head, more=b''):
    """The 101 that a server gives to that request."""
    key = re.search(r'sec-websocket-key: *(\S+)\r\n', head, re.I).group(1)
    proof = base64.b64encode(hashlib.sha1(key.encode() + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    return (b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ' + proof +
            b'\r\n' + more + b'\r\n')


# ---- real programs ----

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
        return (HTTPStatus(403), [('X-Why', 'no')], b'not you\n') if path == '/forbidden' else None
    return await websockets.serve(handler, '127.0.0.1', port, max_size=None, ping_interval=None, process_request=process)


class Socket:
    """A WebSocket over a stream of python3-h2."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding='utf-8',
                                                                      validate_outbound_headers=False))
        self.input, self.status, self.ended, self.ponged, self.settings = StreamReader(), None, False, False, None

    @classmethod
    async def open(cls, weir, path):
        self = cls(*await asyncio.open_connection('127.0.0.1', weir.port))
        self.h2.initiate_connection()
        while self.settings is None:
            await self.turn()
        equal(self.h2.remote_settings.enable_connect_protocol, 1, 'SETTINGS_ENABLE_CONNECT_PROTOCOL')
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream, ask(path))
        while self.status is None:
            await self.turn()
        return self

    async def turn(self):
        self.writer.write(self.h2.data_to_send())
        data = await asyncio.wait_for(self.reader.read(65536), 10 * SLOW)
        true(data, 'the connection goes on')
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = dict(event.headers)
                self.status = int(self.headers[':status'])
            elif isinstance(event, h2.events.DataReceived):
                self.input.feed_data(event.data)
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.PingAckReceived):
                self.ponged = True
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings = event
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended = True
                self.input.feed_eof()
        self.writer.write(self.h2.data_to_send())

    async def bytes(self, data):
        """As the windows allow; what comes meanwhile is kept."""
        while data:
            room = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(data))
            if room <= 0:
                await self.turn()
                continue
            self.h2.send_data(self.stream, data[:room])
            data = data[room:]
            self.writer.write(self.h2.data_to_send())
            await self.writer.drain()

    async def send(self, opcode, data):
        await self.bytes(Frame(opcode, data).serialize(mask=True))

    async def receive(self):
        parser = Frame.parse(self.input.read_exact, mask=False)
        while True:
            try:
                next(parser)
            except StopIteration as done:
                return done.value
            await self.turn()

    async def finish(self):
        """Ends in order: what weir has read is answered before the socket closes."""
        self.h2.end_stream(self.stream)
        self.h2.ping(b'12345678')
        while not self.ended or not self.ponged:
            await self.turn()
        self.close()

    def close(self):
        self.writer.close()


async def echo(weir):
    ws = await Socket.open(weir, '/')
    equal(ws.status, 200, 'status')
    for name in ('sec-websocket-accept', 'upgrade', 'connection', 'transfer-encoding', 'content-length'):
        lacks(ws.headers, name, 'fields of the answer')
    for opcode, data in ((Opcode.TEXT, b'text'), (Opcode.TEXT, b''), (Opcode.BINARY, b'\0\xff' * 500),
                         (Opcode.BINARY, os.urandom(1 << 20)), (Opcode.TEXT, b'x' * (3 << 20))):
        await ws.send(opcode, data)
        got = await ws.receive()
        equal((got.opcode, got.data == data), (opcode, True), 'echo of %d' % len(data))
    await ws.send(Opcode.PING, b'there?')
    got = await ws.receive()
    equal((got.opcode, got.data), (Opcode.PONG, b'there?'), 'answer to a ping')
    await ws.send(Opcode.CLOSE, Close(4002, 'client says bye').serialize())
    got = await ws.receive()
    equal((got.opcode, Close.parse(got.data).code), (Opcode.CLOSE, 4002), 'closing handshake')
    await ws.finish()


async def server_closes(weir):
    ws = await Socket.open(weir, '/bye')
    equal((await ws.receive()).data, b'leaving', 'last word')
    got = await ws.receive()
    equal((got.opcode, Close.parse(got.data)), (Opcode.CLOSE, Close(4001, 'server says bye')), 'close frame')
    await ws.send(Opcode.CLOSE, got.data)
    await ws.finish()


async def many(weir, count):
    async def one(i):
        ws = await Socket.open(weir, '/many')
        for n in range(5):
            await ws.send(Opcode.TEXT, b'%d of %d' % (n, i))
            equal((await ws.receive()).data, b'%d of %d' % (n, i), 'echo')
        ws.close()
    await asyncio.gather(*[one(i) for i in range(count)])


def real(t, weir):
    with t.case('a WebSocket echoes text, binary, megabytes, and a ping, and closes'):
        on_loop(echo(weir), 40 * SLOW)
        line = weir.wait_access({'uri': '/', 'status': '101'})
        equal((line['reason'], line['protocol']), ('-', 'HTTP/2'), 'reason and protocol')
        true(min(int(line['in']), int(line['out'])) > 4 << 20, 'bytes both ways: %r' % line)
    with t.case('a server that closes'):
        on_loop(server_closes(weir), 10 * SLOW)
        equal(weir.wait_access({'uri': '/bye'})['reason'], '-', 'reason')
    with t.case('thirty at once, whose connections just end'):
        on_loop(many(weir, 30), 60 * SLOW)
        wait_idle(weir)
    with t.case('a server that refuses is understood, and the connection goes on'):
        with H2Client(weir.port) as c:
            a = c.fetch(ask('/forbidden'), end=False)
            equal((a.status, a.header('x-why'), a.text, a.reset), (403, 'no', 'not you\n', None), 'answer')
            equal(c.fetch(path='/hello').text, 'hello', 'next answer')


# ---- scripted ones ----

def tunnel(c, raw, path='/raw', more=()):
    """An open tunnel: its stream and the server's end."""
    s = c.request(ask(path, more), end=False)
    server = raw.accept()
    head = server.head()
    server.send(answer_to(head))
    c.until('the answer', lambda: c.answer(s).headers)
    equal(c.answer(s).status, 200, 'status')
    return s, server


def body(c, s, n):
    c.until('%d bytes' % n, lambda: c.answer(s).length >= n)
    return c.answer(s).body


def heads(t, weir, raw):
    with t.case('the server is asked as in HTTP/1.1, with a key of its own; the client is answered as in HTTP/2'):
        keys = set()
        for _ in range(2):
            with H2Client(weir.port) as c:
                s = c.request(ask('/raw?q=1', [('origin', 'http://weir.test'), ('sec-websocket-protocol', 'chat'),
                                               ('sec-websocket-key', 'nonsense')]), end=False)
                server = raw.accept()
                head = server.head()
                true(head.startswith('GET /raw?q=1 HTTP/1.1\r\n'), 'request line of %r' % head)
                for field in ('host: weir.test', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13',
                              'origin: http://weir.test', 'sec-websocket-protocol: chat', 'x-forwarded-for: 127.0.0.1'):
                    contains(head.lower(), '\r\n%s\r\n' % field, 'request')
                for field in ('transfer-encoding', 'content-length', ':protocol', 'nonsense'):
                    lacks(head.lower(), field, 'request')
                found = re.findall(r'sec-websocket-key: (\S+)\r\n', head, re.I)
                equal([len(base64.b64decode(k)) for k in found], [16], 'keys of 16 bytes')
                keys.update(found)
                server.send(answer_to(head, b'Sec-WebSocket-Protocol: chat\r\nX-From: raw\r\n') + b'welcome')
                equal(body(c, s, 7), b'welcome', 'bytes that came with the 101')
                equal(sorted(n for n, _ in c.answer(s).headers), [':status', 'date', 'sec-websocket-protocol', 'x-from'],
                      'fields of the answer')
                equal(c.answer(s).status, 200, 'status')
                server.close()
        equal(len(keys), 2, 'different keys')
    with t.case('early bytes are held until the server agreed, then they come first'):
        with H2Client(weir.port) as c:
            s = c.request(ask(), end=False)
            c.frame(DATA, 0, s, b'early bird')
            server = raw.accept()
            head = server.head()
            c.frame(DATA, 0, s, b' and more')
            true(server.got == b'' and server.nothing(), 'silence before the 101')
            server.send(answer_to(head))
            equal(server.read(19), b'early bird and more', 'early bytes')
            server.close()
    with t.case('more early bytes than the window of a stream end it with FLOW_CONTROL_ERROR'):
        with H2Client(weir.port) as c:
            c.until('the settings', lambda: c.settings is not None)
            s = c.request(ask(), end=False)
            server = raw.accept()
            server.head()
            for _ in range(c.settings[4] // 16384 + 1):
                c.frame(DATA, 0, s, bytes(16384))
            equal(c.wait(s).reset, FLOW_CONTROL_ERROR, 'code')
            equal(c.fetch(path='/hello').text, 'hello', 'next answer')
            server.close()


BAD_PROOFS = {
    'without a proof': lambda head: re.sub(rb'Sec-WebSocket-Accept: \S+\r\n', b'', answer_to(head)),
    'with a wrong proof': lambda head: re.sub(rb'Accept: ...', b'Accept: abc', answer_to(head)),
    'to another protocol': lambda head: answer_to(head).replace(b'Upgrade: websocket', b'Upgrade: chat'),
    'in HTTP/1.0': lambda head: answer_to(head).replace(b'HTTP/1.1', b'HTTP/1.0'),
}


def without(name):
    return [p for p in ask() if p[0] != name]


def refused(t, weir, raw, plain):
    for what, make in BAD_PROOFS.items():
        with t.case('a switch %s is no answer: 502, and no byte passes' % what):
            with H2Client(weir.port) as c:
                s = c.request(ask(), end=False)
                c.frame(DATA, 0, s, b'early')
                server = raw.accept()
                server.send(make(server.head()) + b'more')
                equal(c.wait(s).status, 502, 'status')
                equal(server.end()[0], b'', 'what reached the server')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')
                server.close()
    for path in ('/own', '/plain/x'):
        with t.case('an answer of 200 to %s is not taken for a tunnel: 502' % path):
            with H2Client(weir.port) as c:
                a = c.fetch(ask(path), end=False)
                equal((a.status, a.length), (502, 0), 'answer')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')
            weir.wait_access({'uri': path, 'status': '502', 'reason': 'upgrade_refused'})
    for what, pairs, outcome in (
            ('another protocol', ask(protocol='chat'), 501), ('connect-udp', ask(protocol='connect-udp'), 501),
            ('CONNECT itself', [(':method', 'CONNECT'), (':authority', 'weir.test:80')], 501),
            ('no :path', without(':path'), 'bad'), ('no :scheme', without(':scheme'), 'bad'),
            ('no :authority', without(':authority'), 'bad'), ('a GET with :protocol', ask(method='GET'), 'bad'),
            ('an empty :protocol', ask(protocol=''), 'bad'), ('two :protocol', [(':protocol', 'websocket')] + ask(), 'bad'),
            ('a length', ask(more=[('content-length', '5')]), 'bad'),
            ('an upgrade of HTTP/1', ask(more=[('upgrade', 'websocket')]), 'bad')):
        with t.case('%s: %s' % (what, 'PROTOCOL_ERROR' if outcome == 'bad' else outcome)):
            with H2Client(weir.port) as c:
                a = c.fetch(pairs, end=False)
                equal((a.status, a.reset) if outcome == 'bad' else a.status, (0, PROTOCOL_ERROR) if outcome == 'bad' else outcome,
                      'answer')
                equal(c.fetch(path='/hello').text, 'hello', 'next answer')
    with t.case('a field section within a tunnel ends it'):
        with H2Client(weir.port) as c:
            s, server = tunnel(c, raw)
            c.frame(HEADERS, END_HEADERS | END_STREAM, s, c.block([('x', 'y')]))
            equal(c.wait(s).reset, PROTOCOL_ERROR, 'code')
            server.end()
            server.close()


def ends(t, weir, raw):
    with t.case('a client that ends its direction still gets the rest'):
        with H2Client(weir.port) as c:
            s, server = tunnel(c, raw)
            c.frame(DATA, END_STREAM, s, b'question')
            equal(server.end(), (b'question', 'eof'), 'what the server got')
            server.send(b'a' * 300000)
            time.sleep(0.05)
            server.send(b'b')
            server.close()
            a = c.wait(s)
            equal((a.length, a.ended, a.reset), (300001, True, None), 'what the client got')
        line = weir.wait_access({'uri': '/raw', 'in': '8', 'out': '300001'})
        equal((line['status'], line['reason']), ('101', '-'), 'status and reason')
        wait_idle(weir)
    with t.case('a server that ends its direction still gets the rest'):
        with H2Client(weir.port) as c:
            s, server = tunnel(c, raw)
            server.send(b'hello')
            server.shut()
            equal(c.wait(s).body, b'hello', 'what the client got')
            c.upload(s, b'c' * 60000, False)
            time.sleep(0.05)
            c.frame(DATA, END_STREAM, s, b'd')
            equal(server.end(), (b'c' * 60000 + b'd', 'eof'), 'what the server got')
            server.close()
        wait_idle(weir)
    with t.case('a CONNECT that ends with its head: the server sees the end'):
        with H2Client(weir.port) as c:
            s = c.request(ask())
            server = raw.accept()
            server.send(answer_to(server.head()))
            equal(server.end(), (b'', 'eof'), 'what the server got')
            server.send(b'x')
            server.close()
            equal((c.wait(s).status, c.answer(s).body, c.answer(s).ended), (200, b'x', True), 'answer')
    for how in ('resets its stream', 'goes'):
        with t.case('a client that %s: the server is reset' % how):
            with H2Client(weir.port) as c:
                s, server = tunnel(c, raw, '/raw/client')
                c.frame(DATA, 0, s, b'x')
                equal(server.read(1), b'x', 'a byte')
                if how == 'goes':
                    c.sock.close()
                else:
                    c.frame(RST_STREAM, 0, s, struct.pack('>I', CANCEL))
                server.end()
                server.close()
                if how != 'goes':
                    equal(c.fetch(path='/hello').text, 'hello', 'next answer')
            weir.wait_access({'uri': '/raw/client', 'reason': 'client_abort'})
            wait_idle(weir)
    with t.case('a server that resets: so is the stream, with CANCEL'):
        with H2Client(weir.port) as c:
            s, server = tunnel(c, raw, '/raw/server')
            server.send(b'x')
            equal(body(c, s, 1), b'x', 'a byte')
            server.reset()
            equal(c.wait(s).reset, CANCEL, 'code')
            equal(c.fetch(path='/hello').text, 'hello', 'next answer')
        weir.wait_access({'uri': '/raw/server', 'reason': 'server_reset'})


def silence(t, weir, raw):
    with t.case('tunnel_timeout ends a silent tunnel; no other timeout does'):
        with H2Client(weir.port) as c:
            s, server = tunnel(c, raw, '/short')
            began = time.monotonic()
            for n in range(1, 5):              # one direction is enough
                time.sleep(0.25)
                server.send(b'.')
                body(c, s, n)
            between(time.monotonic() - began, 0.95, 60, 'seconds')
            equal(c.wait(s).reset, CANCEL, 'code')
            between(time.monotonic() - began, 1.6, 10 * SLOW, 'seconds until the end')
            server.end()
            server.close()
        weir.wait_access({'uri': '/short', 'reason': 'tunnel_timeout'})


def pressure(t, weir, raw):
    with t.case('a stream without window holds its server back, and no other stream; the worker stays small'):
        before = max(rss(pid) for pid in weir.worker_pids())
        with H2Client(weir.port, window=False) as c:
            s, server = tunnel(c, raw, '/raw/slow')
            server.sock.settimeout(0.5)
            sent, data = 0, os.urandom(65536) * 512
            try:
                while sent < len(data):
                    sent += server.sock.send(data[sent:sent + 65536])
            except TimeoutError:
                pass
            true(sent < 16 << 20, 'the server was held back after %d' % sent)
            c.until('its window is used up', lambda: c.answer(s).length == 65535)
            if not sanitized():
                grown = max(rss(pid) for pid in weir.worker_pids()) - before
                true(grown < 8 << 20, 'memory grew by %d' % grown)
            c.frame(DATA, 0, s, b'other way')
            equal(server.read(9), b'other way', 'the other direction meanwhile')
            server.shut()
            c.window = True
            c.send(frame(WINDOW_UPDATE, 0, s, u32(1 << 30)) + frame(WINDOW_UPDATE, 0, 0, u32(1 << 30)))
            a = c.wait(s, 20)
            equal((a.length, a.sha.hexdigest()), (sent, hashlib.sha256(data[:sent]).hexdigest()), 'bytes')
            server.close()


def u32(n):
    return struct.pack('>I', n)


with Story('WebSockets over HTTP/2', deadline=110) as t:
    raw, plain = Raw(), Origin('plain')
    things = dict(raw=raw, plain=plain, wsport=free_port())
    if websockets and h2:
        on_loop(ws_server(things['wsport']))
    weir = Weir(CONF, **things)
    if websockets and h2:
        real(t, weir)
    else:
        t.skip('real WebSockets', 'python3-websockets or python3-h2 is not installed')
    heads(t, weir, raw)
    refused(t, weir, raw, plain)
    ends(t, weir, raw)
    silence(t, weir, raw)
    pressure(t, weir, raw)
