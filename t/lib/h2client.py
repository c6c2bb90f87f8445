"""An HTTP/2 client that sends exactly the frames it is told, well formed or not, and reads what comes back."""

import hashlib
import socket
import struct
import time

from hpack import Decoder, Encoder

from tap import SLOW, Failed, story

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)


def frame(kind, flags=0, stream=0, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def fields(method='GET', path='/', more=(), host='weir.test', scheme='http'):
    return [(':method', method), (':scheme', scheme), (':authority', host), (':path', path)] + list(more)


class Answer:
    """What came on one stream; `reset` is the code of a RST_STREAM."""

    def __init__(self):
        self.headers, self.trailers, self.interim = [], [], []
        self.reset, self.ended, self.length = None, False, 0
        self.sha, self.body = hashlib.sha256(), b''

    @property
    def status(self):
        return int(dict(self.headers).get(':status', 0))

    def header(self, name):
        return dict(self.headers).get(name)

    @property
    def over(self):
        return self.ended or self.reset is not None

    @property
    def text(self):
        return self.body.decode('latin-1')

    def __repr__(self):
        return '<%s %d bytes, %s>' % (self.headers, self.length, 'ended' if self.ended else 'reset %s' % self.reset)


class H2Client:
    """settings: ours; window=False: window updates are sent by hand only; ack=False: so are PING and SETTINGS answers."""

    def __init__(self, port, settings=None, window=True, ack=True, greet=True, timeout=10, rcvbuf=None):
        self.timeout = timeout * SLOW
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(self.timeout)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.window, self.ack = window, ack
        self.answers, self.frames, self.goaways, self.pings = {}, [], [], []
        self.settings, self.eof, self.buffer, self.next = None, False, b'', 1
        story().adopt(self)
        self.sock.connect(('127.0.0.1', port))
        if greet:
            self.send(PREFACE + self.settings_frame(settings or {}))
            if window:
                self.frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1 << 28))

    @staticmethod
    def settings_frame(settings):
        return frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', k, v) for k, v in settings.items()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def kill(self):
        self.sock.close()

    def dump(self):
        return [('HTTP/2 client', '%r\n%s' % (self.answers, self.frames[-50:]))]

    def send(self, data):
        """False: the peer is gone."""
        try:
            self.sock.sendall(data)
            return True
        except (ConnectionError, BrokenPipeError, socket.timeout):
            return False

    def frame(self, kind, flags=0, stream=0, payload=b''):
        return self.send(frame(kind, flags, stream, payload))

    def block(self, pairs):
        return self.encoder.encode(pairs)

    def request(self, pairs=None, body=None, end=True, trailers=None, stream=None, **how):
        """Sends a request (its HEADERS alone with end=False); its stream."""
        stream = stream or self.next
        self.next = max(self.next, stream + 2)
        last = end and body is None and trailers is None
        self.frame(HEADERS, END_HEADERS | (END_STREAM if last else 0), stream,
                   self.block(pairs if pairs is not None else fields(**how)))
        if body is not None:
            self.upload(stream, body, end and trailers is None)
        if trailers is not None:
            self.frame(HEADERS, END_HEADERS | END_STREAM, stream, self.block(trailers))
        return stream

    def upload(self, stream, body, end=True):
        """Within the first window only, or with a reader at work (see feed)."""
        pieces = [body[i:i + 16384] for i in range(0, len(body), 16384)] or [b'']
        for i, piece in enumerate(pieces):
            self.frame(DATA, END_STREAM if end and i == len(pieces) - 1 else 0, stream, piece)

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    # -- reading --

    def read(self, timeout=None):
        """One frame: (kind, flags, stream, payload); None at the end of the connection; 'nothing' when none came."""
        limit = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], 'big')
                if len(self.buffer) >= 9 + size:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], 'big') & 0x7fffffff
                    payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
                    self.take(kind, flags, stream, payload)
                    return kind, flags, stream, payload
            left = limit - time.monotonic()
            if left <= 0:
                return 'nothing'
            self.sock.settimeout(left)
            try:
                more = self.sock.recv(1 << 18)
            except socket.timeout:
                return 'nothing'
            except ConnectionError:
                more = b''
            finally:
                try:
                    self.sock.settimeout(self.timeout)
                except OSError:
                    pass
            if not more:
                self.eof = True
                return None
            self.buffer += more

    def take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, len(payload)))
        if kind == SETTINGS and not flags & ACK:
            self.settings = {k: v for k, v in struct.iter_unpack('>HI', payload)}
            if self.ack:
                self.frame(SETTINGS, ACK)
        elif kind == PING:
            self.pings.append((flags, payload))
            if self.ack and not flags & ACK:
                self.frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack('>II', payload[:8]))
        elif kind == RST_STREAM:
            self.answer(stream).reset = struct.unpack('>I', payload)[0]
        elif kind == HEADERS:
            self.take_headers(self.answer(stream), flags, payload)
        elif kind == DATA:
            a = self.answer(stream)
            a.length += len(payload)
            a.sha.update(payload)
            if len(a.body) < 1 << 16:
                a.body += payload
            a.ended |= bool(flags & END_STREAM)
            if self.window and payload:
                more = struct.pack('>I', len(payload))
                self.send(frame(WINDOW_UPDATE, 0, 0, more) + (b'' if a.ended else frame(WINDOW_UPDATE, 0, stream, more)))

    def take_headers(self, a, flags, payload):
        if not flags & END_HEADERS:
            raise Failed('the test client reads no CONTINUATION')
        got = [(str(n), str(v)) for n, v in self.decoder.decode(payload)]
        if a.headers:
            a.trailers = got
        elif dict(got)[':status'].startswith('1'):
            a.interim.append(got)
        else:
            a.headers = got
        a.ended |= bool(flags & END_STREAM)

    def until(self, what, probe, timeout=None):
        """Reads frames until probe() is true; Failed at the end of the connection or of the time."""
        limit = time.monotonic() + (timeout * SLOW if timeout else self.timeout)
        while not probe():
            got = self.read(max(0, limit - time.monotonic()))
            if got is None or got == 'nothing':
                if probe():
                    return
                raise Failed('%s did not happen: %s' % (what, 'the connection ended' if got is None else 'time passed'))

    def wait(self, stream, timeout=None):
        self.until('the end of stream %d' % stream, lambda: self.answer(stream).over, timeout)
        return self.answer(stream)

    def fetch(self, *args, **how):
        return self.wait(self.request(*args, **how))

    def feed(self, stream, body, end=True):
        """Uploads as the windows allow; reads meanwhile.  The server's windows are followed from the start."""
        room = {0: 65535, stream: 65535}
        seen = 0
        at = 0
        while at < len(body) or (not body and at == 0):
            for kind, value, target in self.windows_from(seen):
                room[target] = room.get(target, 65535) + value if kind == 'add' else room.get(target, 0)
                if kind == 'initial':
                    room[stream] += value - 65535
            seen = len(self.log)
            n = min(16384, room[0], room[stream], len(body) - at)
            if n > 0 or not body:
                at += n
                room[0] -= n
                room[stream] -= n
                self.frame(DATA, END_STREAM if end and at == len(body) else 0, stream, body[at - n:at])
                if not body:
                    return
            elif self.read_logged() is None:
                raise Failed('the connection ended during an upload')
            if self.answer(stream).over:
                return

    log = ()

    def windows_from(self, start):
        return list(self.log)[start:]

    def read_logged(self):
        got = self.read()
        if got == 'nothing':
            raise Failed('no window came')
        if got is not None:
            self.log = list(self.log)
            if got[0] == WINDOW_UPDATE:
                self.log.append(('add', struct.unpack('>I', got[3])[0], got[2]))
            elif got[0] == SETTINGS and not got[1] & ACK:
                self.log.append(('initial', self.settings.get(4, 65535), 0))
        return got

    def wait_goaway(self, timeout=None):
        """(last stream, code) of the last GOAWAY, once the connection has ended."""
        limit = time.monotonic() + (timeout * SLOW if timeout else self.timeout)
        while not self.eof:
            if self.read(max(0, limit - time.monotonic())) == 'nothing':
                raise Failed('the connection did not end; GOAWAYs %s' % self.goaways)
        if not self.goaways:
            raise Failed('the connection ended without GOAWAY')
        return self.goaways[-1]
