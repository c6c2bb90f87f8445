"""Scripted HTTP/2 servers: they send exactly the frames they are told, in clear or over TLS, and record what came.

H2Server(name, on_request): on_request(conn, req) runs in a thread of its own for each request, as soon as its head is here.
Without one, paths mean something: /bytes/N, /echo (the body comes back), anything else answers the server's name.
"""

import hashlib
import json
import socket
import struct
import threading
import time

from hpack import Decoder, Encoder

from h2client import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, \
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame
from ports import free_port
from tap import SLOW, Failed, show, story, until
from wire import body_of

PATIENCE = 20


class Request:
    """One stream: .pairs, .path, .method, .header(name), .body, .trailers, .reset (a code), .ended."""

    def __init__(self, conn, stream, pairs):
        self.conn, self.stream, self.pairs = conn, stream, pairs
        self.body, self.length, self.sha = b'', 0, hashlib.sha256()
        self.trailers, self.reset, self.ended = [], None, False

    def header(self, name):
        return next((v for n, v in self.pairs if n == name), None)

    @property
    def path(self):
        return self.header(':path')

    @property
    def method(self):
        return self.header(':method')

    def wait(self, what='the end of a request', probe=None):
        self.conn.wait(what, probe or (lambda: self.ended or self.reset is not None))
        return self

    # answers
    def head(self, status=200, more=(), end=False):
        self.conn.headers(self.stream, [(':status', str(status))] + list(more), end)

    def data(self, body, end=False):
        self.conn.data(self.stream, body, end)

    def trailer(self, pairs):
        self.conn.headers(self.stream, pairs, True)

    def rst(self, code):
        self.conn.frame(RST_STREAM, 0, self.stream, struct.pack('>I', code))

    def answer(self, status=200, body=b'', more=()):
        self.head(status, more, end=not body)
        if body:
            self.data(body, True)

    def __repr__(self):
        return '<%s %s on %d.%d>' % (self.method, self.path, self.conn.number, self.stream)


class H2Conn:
    def __init__(self, server, number, sock):
        self.server, self.number, self.sock = server, number, sock
        self.encoder, self.decoder = Encoder(), Decoder()
        self.lock, self.news = threading.RLock(), threading.Condition()
        self.requests, self.frames, self.goaways = {}, [], []
        self.settings, self.acks, self.pings = None, 0, 0
        self.room, self.initial = {0: 65535}, 65535
        self.open, self.buffer = True, b''

    # -- out --
    def send(self, data):
        with self.lock:
            try:
                self.sock.sendall(data)
                return True
            except OSError:
                return False

    def frame(self, kind, flags=0, stream=0, payload=b''):
        return self.send(frame(kind, flags, stream, payload))

    def headers(self, stream, pairs, end=False):
        with self.lock:
            block = self.encoder.encode(pairs)
            flags = END_STREAM if end else 0
            first, rest = block[:16384], block[16384:]
            self.frame(HEADERS, flags | (0 if rest else END_HEADERS), stream, first)
            while rest:
                piece, rest = rest[:16384], rest[16384:]
                self.frame(CONTINUATION, 0 if rest else END_HEADERS, stream, piece)

    def data(self, stream, body, end=False):
        """As the windows allow."""
        if not body:
            self.frame(DATA, END_STREAM if end else 0, stream, b'')
            return
        at = 0
        while at < len(body):
            self.wait('a window', lambda: min(self.room[0], self.window(stream)) > 0 or self.gone(stream))
            if self.gone(stream):
                return
            with self.news:
                n = min(16384, self.room[0], self.window(stream), len(body) - at)
                if n <= 0:
                    continue
                self.room[0] -= n
                self.room[stream] = self.window(stream) - n
            self.frame(DATA, END_STREAM if end and at + n == len(body) else 0, stream, body[at:at + n])
            at += n

    def window(self, stream):
        return self.room.setdefault(stream, self.initial)

    def gone(self, stream):
        return not self.open or (stream in self.requests and self.requests[stream].reset is not None)

    def goaway(self, last=None, code=0):
        last = max(self.requests, default=0) if last is None else last
        self.frame(GOAWAY, 0, 0, struct.pack('>II', last, code))

    def close(self, reset=False):
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def wait(self, what, probe, timeout=PATIENCE):
        with self.news:
            if not self.news.wait_for(probe, timeout * SLOW):
                raise Failed('%s did not come' % what)

    # -- in --
    def run(self):
        try:
            if self.server.on_connect and self.server.on_connect(self) is False:
                return
            self.read(len(PREFACE))
            if self.server.settings is not None:
                self.frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', k, v) for k, v in self.server.settings.items()))
            if self.server.window:
                self.frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1 << 28))
            while True:
                head = self.read(9)
                size, kind, flags = int.from_bytes(head[:3], 'big'), head[3], head[4]
                self.take(kind, flags, int.from_bytes(head[5:], 'big') & 0x7fffffff, self.read(size))
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.open = False
            with self.news:
                self.news.notify_all()
            if self.server.close_at_end:
                self.close()

    def read(self, n):
        while len(self.buffer) < n:
            more = self.sock.recv(1 << 18)
            if not more:
                raise EOFError
            self.buffer += more
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, len(payload)))
        if kind == SETTINGS and flags & ACK:
            self.acks += 1
        elif kind == SETTINGS:
            self.settings = dict(struct.iter_unpack('>HI', payload))
            with self.news:
                for s in [s for s in self.room if s and 4 in self.settings]:
                    self.room[s] += self.settings[4] - self.initial
                self.initial = self.settings.get(4, self.initial)
            self.frame(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind == PING:
            self.pings += 1
        elif kind == WINDOW_UPDATE:
            with self.news:
                self.room[stream] = (self.window(stream) if stream else self.room[0]) + struct.unpack('>I', payload)[0]
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack('>II', payload[:8]))
        elif kind == HEADERS:
            self.take_headers(flags, stream, payload)
        elif kind == DATA and stream in self.requests:
            req = self.requests[stream]
            req.length += len(payload)
            req.sha.update(payload)
            if len(req.body) < 1 << 16:
                req.body += payload
            req.ended |= bool(flags & END_STREAM)
            if payload and self.server.take:
                self.give(stream, len(payload), req.ended)
        elif kind == RST_STREAM and stream in self.requests:
            self.requests[stream].reset = struct.unpack('>I', payload)[0]
        with self.news:
            self.news.notify_all()

    def give(self, stream, n, ended=False):
        more = struct.pack('>I', n)
        self.send(frame(WINDOW_UPDATE, 0, 0, more) + (b'' if ended else frame(WINDOW_UPDATE, 0, stream, more)))

    def take_headers(self, flags, stream, payload):
        if not flags & END_HEADERS:
            raise Failed('the test server reads no CONTINUATION')
        pairs = [(str(n), str(v)) for n, v in self.decoder.decode(payload)]
        if stream in self.requests:
            self.requests[stream].trailers = pairs
            self.requests[stream].ended = True
            return
        req = Request(self, stream, pairs)
        req.ended = bool(flags & END_STREAM)
        self.requests[stream] = req
        self.server.requests.append(req)
        threading.Thread(target=self.server.serve, args=(self, req), daemon=True).start()


class H2Server:
    """settings: its own; None: it sends none.  take=False: it gives no windows back.  window: it opens the connection's.
    on_connect(conn) may say False: the connection is its business then."""

    def __init__(self, name='h2', on_request=None, settings=None, tls=None, on_connect=None, take=True, window=True,
                 greet=True, close_at_end=True):
        self.name, self.on_request, self.on_connect, self.tls = name, on_request, on_connect, tls
        self.settings = (settings or {}) if greet else None
        self.take, self.window, self.close_at_end = take, window, close_at_end
        self.conns, self.requests, self.troubles = [], [], []
        self.port = free_port()
        self.listener = None
        self.up()
        story().adopt(self)

    def up(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen(512)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def down(self):
        """Ends listener and connections, as the end of a process would."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for conn in self.conns:
            if conn and conn.open:
                conn.close(reset=True)

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connection, args=(sock,), daemon=True).start()

    def connection(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except OSError as e:
                self.troubles.append(str(e))
                return
        conn = H2Conn(self, len(self.conns), sock)
        self.conns.append(conn)
        conn.run()

    def serve(self, conn, req):
        try:
            (self.on_request or self.by_path)(conn, req)
        except Failed as e:
            self.troubles.append(str(e))
        except OSError:
            pass

    def by_path(self, conn, req):
        path = req.path.partition('?')[0]
        if path.startswith('/bytes/'):
            req.wait().answer(200, body_of(int(path.split('/')[2])))
        elif path == '/echo':
            req.wait()
            text = json.dumps({'pairs': req.pairs, 'length': req.length, 'sha': req.sha.hexdigest(),
                               'trailers': req.trailers}).encode()
            req.answer(200, text, [('content-type', 'application/json')])
        else:
            req.wait().answer(200, self.name.encode())

    @property
    def last(self):
        return self.requests[-1]

    def wait_requests(self, n, timeout=PATIENCE):
        until('%d requests' % n, lambda: len(self.requests) >= n, timeout)

    def __str__(self):
        return '127.0.0.1:%d' % self.port

    def kill(self):
        self.down()

    def dump(self):
        return [('HTTP/2 server %s' % self.name, '\n'.join(
            ['%r reset %s, %d bytes, %s' % (r, r.reset, r.length, 'ended' if r.ended else 'open') for r in self.requests[-50:]]
            + ['connection %d: %s %s' % (c.number, show(c.frames[-40:]), c.goaways) for c in self.conns[-8:] if c]
            + self.troubles[-10:]))]
