"""Scripted origins: raw TCP servers that record every byte, well-behaved unless told otherwise.

All origins of a test run on one event loop in one thread, hundreds of connections at a time.  Handlers run there too,
so they await and never block.  What was recorded is read from the test's thread at any time.
"""

import asyncio
import inspect
import json
import os
import re
import socket
import struct
import threading
import time

from ports import free_port
from tap import Failed, show, story, until
from wire import Decoder, Malformed, Truncated, blocks, chunked, digest_of

TRANSCRIPT_LIMIT = 128 * 1024

_loop = None
_lock = threading.Lock()


def loop():
    """The event loop of all origins, started when first asked for."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name='origins', daemon=True).start()
    return _loop


def on_loop(coroutine, timeout=10):
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result(timeout)


class Hangup(Exception):
    """A handler is done with the connection."""


class Reply:
    """A normal response.  body: bytes, text or an iterable of bytes (then give `length`, or chunked=True)."""

    def __init__(self, status=200, body=b'', headers=(), reason=None, length=None, chunked=False, trailers=(),
                 close=False):
        self.status, self.headers, self.chunked, self.trailers = status, list(headers), chunked, list(trailers)
        self.body = body.encode() if isinstance(body, str) else body
        self.reason = reason or {200: 'OK', 201: 'Created', 204: 'No Content', 304: 'Not Modified', 302: 'Found',
                                 404: 'Not Found', 500: 'Internal Server Error', 503: 'Service Unavailable'
                                 }.get(status, 'Status')
        self.length, self.close = length, close

    def pieces(self):
        return [self.body] if isinstance(self.body, (bytes, bytearray)) else self.body


class Conn:
    """One connection to an origin, as handlers see it: await send(), body(), sleep(), receive(), closed(), and
    close(), half_close(), reset().  events: [(seconds, '<' or '>' or '*', bytes)], received(), sent(): bytes."""

    def __init__(self, origin, number, reader, writer):
        self.origin, self.number, self.reader, self.writer = origin, number, reader, writer
        self.decoder = Decoder('request', keep=origin.keep, sha=True)
        self.events, self.logged = [], 0
        self.began = time.monotonic()
        self.requests = []
        self.bytes_in = self.bytes_out = 0
        self.open = True
        self.ended = None               # how the peer ended it: eof or reset
        self.continued = False

    def trace(self, way, data):
        if self.logged < TRANSCRIPT_LIMIT:
            data = bytes(data[:TRANSCRIPT_LIMIT - self.logged])
            self.events.append((time.monotonic() - self.began, way, data))
            self.logged += len(data)

    def received(self):
        """All bytes that came on this connection, up to the transcript's limit."""
        return b''.join(data for _, way, data in self.events if way == '<')

    def sent(self):
        return b''.join(data for _, way, data in self.events if way == '>')

    async def send(self, data):
        if isinstance(data, str):
            data = data.encode('latin-1')
        self.trace('>', data)
        self.bytes_out += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)

    async def receive(self):
        """Some bytes, b'' at the end of the stream."""
        try:
            data = await self.reader.read(262144)
        except (ConnectionResetError, BrokenPipeError):
            self.ended = 'reset'
            self.trace('*', b'reset by peer')
            raise Hangup() from None
        if data:
            self.bytes_in += len(data)
            self.trace('<', data)
        else:
            self.ended = self.ended or 'eof'
            self.trace('*', b'end of stream')
        return data

    async def closed(self):
        """Waits until the peer ends the connection, dropping what it sends."""
        try:
            while await self.receive():
                pass
        except Hangup:
            pass

    async def more(self):
        data = await self.receive()
        if data:
            self.decoder.feed(data)
        else:
            self.decoder.eof()

    async def head(self):
        """The next request once its head is here; None when the peer is done."""
        while self.decoder.head is None:
            message = self.decoder.next()
            if message is not None:
                return message
            if self.decoder.head is not None:
                break
            if self.decoder.ended:
                return None
            await self.more()
        return self.decoder.head

    async def body(self, message):
        """Waits until the request's body has come; sends 100 Continue where that is asked for."""
        if message.complete:
            return message
        wants = '100-continue' in message.tokens('expect') and message.version == '1.1'
        if wants and self.origin.send_continue and not self.continued:
            self.continued = True
            await self.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        while self.decoder.next() is None:
            if self.decoder.ended:
                raise Hangup()
            await self.more()
        return message

    def half_close(self):
        self.trace('*', b'we shut down our side')
        self.writer.write_eof()

    def close(self):
        raise Hangup()

    def reset(self):
        self.trace('*', b'we reset')
        sock = self.writer.get_extra_info('socket')
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        except OSError:
            pass
        self.writer.transport.abort()
        raise Hangup()


class Origin:
    """An origin called `name`, up at once, on a port of its own or on a unix socket.

    handler(request, conn), plain or async, gives a Reply, raw bytes, a script or None (it has sent all itself; raise
    Hangup or conn.close() to hang up); without a handler, or when it returns NotImplemented, well_behaved() answers.
    on_connect(conn): async, before the first request.  early=True: handler is called when the head is here, and awaits
    conn.body(request) itself if it likes.  raw=...: the same script for every request.  A script is bytes, or a list of
    bytes, seconds to wait, and the words 'close', 'reset', 'half_close', 'hang'.
    """

    def __init__(self, name='origin', handler=None, on_connect=None, raw=None, early=False, version='1.1', unix=None,
                 address='127.0.0.1', port=None, send_continue=True, keep=65536, start=True,
                 tls=None):
        self.name, self.handler, self.on_connect, self.raw, self.early = name, handler, on_connect, raw, early
        self.version, self.unix, self.address = version, unix, address
        self.send_continue, self.keep, self.tls = send_continue, keep, tls
        self.port = None if unix else port or free_port()
        self.conns, self.requests, self.errors = [], [], []
        self.server = None
        self.tasks = set()
        story().adopt(self)
        if start:
            self.up()

    # -- seen from the test -------------------------------------------------------------------------------------------

    def __str__(self):
        """As `server =` takes it; so {one} in a configuration is this origin."""
        if self.unix:
            return 'unix:' + self.unix
        return ('[%s]:%d' if ':' in self.address else '%s:%d') % (self.address, self.port)

    def up(self):
        """Listens; after down(), on the same port again."""
        on_loop(self._up())

    def down(self, reset=False):
        """Refuses connections from now on; the open ones end by FIN, or by RST."""
        on_loop(self._down(reset))

    def drop_connections(self, reset=False):
        """Ends the open connections; new ones are welcome."""
        on_loop(self._drop(reset))

    def forget(self):
        """Forgets what was recorded; open connections stay, without their past."""
        self.requests.clear()
        self.errors.clear()
        self.conns[:] = [c for c in self.conns if c.open]
        for conn in self.conns:
            conn.events.clear()
            conn.logged = 0

    @property
    def connections(self):
        """How many connections were ever accepted (since forget(): plus those open then)."""
        return len(self.conns)

    @property
    def open_connections(self):
        return sum(c.open for c in self.conns)

    @property
    def last(self):
        if not self.requests:
            raise Failed('origin %s saw no request' % self.name)
        return self.requests[-1]

    def targets(self):
        return [r.target for r in self.requests]

    def received(self):
        """Every byte that came, all connections one after the other."""
        return b''.join(c.received() for c in self.conns)

    def wait_requests(self, count, timeout=5):
        until('origin %s has seen %d requests' % (self.name, count), lambda: len(self.requests) >= count, timeout)
        return self.requests

    def wait_closed(self, timeout=5):
        until('all connections to origin %s are closed' % self.name, lambda: self.open_connections == 0, timeout)

    def dump(self):
        lines = ['%d connections, %d requests, errors: %r' % (len(self.conns), len(self.requests), self.errors)]
        for conn in self.conns[-20:]:
            lines.append('connection %d: %d bytes in, %d out, %s, ended by peer: %s' % (
                conn.number, conn.bytes_in, conn.bytes_out, 'open' if conn.open else 'closed', conn.ended))
            for when, way, data in list(conn.events)[:60]:
                lines.append('  %8.3f %s %s' % (when, way, show(data, 1500)))
        return [('origin %s at %s' % (self.name, self), '\n'.join(lines))]

    def kill(self):
        on_loop(self._down(True))

    # -- on the loop --------------------------------------------------------------------------------------------------

    async def _up(self):
        if self.server is not None:
            return
        if self.unix:
            self.server = await asyncio.start_unix_server(self._serve, self.unix, limit=262144, backlog=4096)
            os.chmod(self.unix, 0o666)
        else:
            self.server = await asyncio.start_server(self._serve, self.address, self.port, limit=262144, backlog=4096,
                                                     reuse_address=True, ssl=self.tls)

    async def _down(self, reset):
        if self.server is not None:
            self.server.close()
            self.server = None
        await self._drop(reset)

    async def _drop(self, reset):
        for conn in [c for c in self.conns if c.open]:
            try:
                if reset:
                    conn.reset()
                conn.writer.close()
            except Hangup:
                pass
        for task in list(self.tasks):
            task.cancel()

    async def _serve(self, reader, writer):
        conn = Conn(self, len(self.conns), reader, writer)
        sock = writer.get_extra_info('socket')
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.conns.append(conn)
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            if self.on_connect:
                await self.on_connect(conn)
            await self._requests(conn)
        except (Hangup, asyncio.CancelledError):
            pass
        except (ConnectionError, OSError) as error:
            conn.ended = 'reset'
            conn.trace('*', str(error).encode())
        except (Malformed, Truncated) as error:
            self.errors.append('%s: %s' % (type(error).__name__, error))
        except Exception as error:              # the handler's bug: seen in `errors`, and in the dump
            self.errors.append('handler: %r' % error)
        finally:
            conn.open = False
            self.tasks.discard(task)
            writer.close()

    async def _requests(self, conn):
        while True:
            message = await conn.head()
            if message is None:
                return
            message.conn, message.conn_id = conn, conn.number
            conn.requests.append(message)
            self.requests.append(message)
            conn.continued = False
            if not self.early:
                await conn.body(message)
            if not await self._answer(message, conn):
                return
            conn.continued = True               # too late for a 100 now
            if not message.complete:
                await conn.body(message)

    async def _answer(self, message, conn):
        result = self.raw if self.raw is not None else NotImplemented
        if result is NotImplemented and self.handler:
            result = self.handler(message, conn)
            if inspect.isawaitable(result):
                result = await result
        if result is NotImplemented:
            await conn.body(message)
            result = self.well_behaved(message, conn)
            if inspect.isawaitable(result):
                result = await result
        if isinstance(result, Reply):
            return await self.send_reply(message, conn, result)
        if result is not None:
            await self.play(conn, result)
        return True

    async def play(self, conn, script):
        for step in [script] if isinstance(script, (bytes, str)) else script:
            if isinstance(step, bytes):
                await conn.send(step)
            elif isinstance(step, (int, float)):
                await conn.sleep(step)
            elif step == 'close':
                conn.close()
            elif step == 'reset':
                conn.reset()
            elif step == 'half_close':
                conn.half_close()
            elif step == 'hang':
                await conn.closed()
                raise Hangup()
            elif callable(step):
                await step(conn)
            else:
                raise ValueError('script step %r' % (step,))

    async def send_reply(self, message, conn, reply):
        old = self.version == '1.0' or message.version == '1.0'
        keep = message.keeps_alive() and not reply.close and not (self.version == '1.0')
        headers = [('X-Origin', self.name)] + reply.headers
        names = [n.lower() for n, _ in headers]
        bodiless = reply.status in (204, 304)
        use_chunked = reply.chunked and not old
        if use_chunked:
            headers.append(('Transfer-Encoding', 'chunked'))
            if reply.trailers:
                headers.append(('Trailer', ', '.join(n for n, _ in reply.trailers)))
        elif reply.chunked:
            keep = False
        elif 'content-length' not in names and not bodiless:
            size = reply.length if reply.length is not None else len(reply.body)
            headers.append(('Content-Length', str(size)))
        if not keep:
            headers.append(('Connection', 'close'))
        head = 'HTTP/%s %d %s\r\n%s\r\n' % (self.version, reply.status, reply.reason,
                                           ''.join('%s: %s\r\n' % pair for pair in headers))
        head = head.encode('latin-1')
        if message.method == 'HEAD' or bodiless:
            await conn.send(head)
        elif isinstance(reply.body, (bytes, bytearray)) and len(reply.body) < 65536:
            await conn.send(head + (chunked([reply.body], reply.trailers) if use_chunked else reply.body))
        else:
            await conn.send(head)
            for piece in reply.pieces():
                await conn.send(b'%x\r\n%s\r\n' % (len(piece), piece) if use_chunked else piece)
            if use_chunked:
                await conn.send(chunked([], reply.trailers))
        return keep

    def well_behaved(self, message, conn):
        """/echo: the request as JSON; /bytes/N and /chunked/N: a body of that size (digest_of(N)); /slow/MS;
        /status/NNN; /digest: sha256 and length of the body; /headers/N: N fields; anything else: the origin's name."""
        path = message.target.partition('?')[0]
        found = re.fullmatch(r'.*?/(bytes|chunked|slow|status|headers)(?:/(\d+))?', path)
        if found:
            return getattr(self, 'do_' + found.group(1))(message, int(found.group(2) or 100))
        if path.endswith('/digest'):
            return Reply(200, json.dumps({'sha256': message.sha256(), 'length': message.length}))
        if path.endswith('/echo'):
            return Reply(200, json.dumps({
                'name': self.name, 'method': message.method, 'target': message.target, 'version': message.version,
                'headers': message.headers, 'trailers': message.trailers, 'framing': message.framing,
                'length': message.length, 'body': message.body.decode('latin-1'), 'connection': message.conn_id}),
                [('Content-Type', 'application/json')])
        return Reply(200, self.name, [('Content-Type', 'text/plain')])

    def do_bytes(self, message, size):
        return Reply(200, blocks(size), [('Content-Type', 'application/octet-stream')], length=size)

    def do_chunked(self, message, size):
        return Reply(200, blocks(size), chunked=True, trailers=[('X-Digest', digest_of(size))])

    async def do_slow(self, message, milliseconds):
        await asyncio.sleep(milliseconds / 1000)
        return Reply(200, self.name)

    def do_status(self, message, status):
        return Reply(status, '' if status in (204, 304) else '%s says %d' % (self.name, status))

    def do_headers(self, message, count):
        return Reply(200, self.name, [('X-Field-%d' % i, 'v%d' % i) for i in range(count)])


class Blackhole:
    """A listener that completes no further handshake: its backlog is full, so a connect to it times out."""

    def __init__(self, name='blackhole'):
        self.name, self.port = name, free_port()
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen(0)
        self.fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(('127.0.0.1', self.port))
            self.fillers.append(filler)
        story().adopt(self)

    def __str__(self):
        return '127.0.0.1:%d' % self.port

    def dump(self):
        return [('blackhole at %s' % self, '')]

    def kill(self):
        for sock in self.fillers + [self.listener]:
            sock.close()
