"""A socket that takes HTTP/1 requests and gives HTTP/1 responses, with an HTTP/2 connection below.

So every test that speaks through Client can be told again over HTTP/2 (WEIRTEST_SCHEME=h2 or h2s): a request becomes a
stream as its bytes come, the answer comes back as the bytes that HTTP/1 would have had, a stream that is reset as a
reset connection.  What HTTP/2 cannot say raises NoMeaning, which makes the case one that is skipped.
"""

import http.client
import socket
import struct
import time

import hpack

from h2client import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
                      PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame)
from tap import NoMeaning
from wire import Decoder, Malformed

HOP = ('connection', 'keep-alive', 'proxy-connection', 'transfer-encoding')


class Requests(Decoder):
    """The HTTP/1 requests that are sent, as they come."""

    def __init__(self, bridge):
        super().__init__('request', keep=0)
        self.bridge = bridge

    def on_message_head(self, message):
        result = super().on_message_head(message)
        self.open = message.framing == 'chunked' or self.left > 0
        self.stream = self.bridge.begin(message, not self.open)
        return result

    def take(self, data):
        self.bridge.upload(self.stream, data)

    def finish(self):
        message = super().finish()
        if self.open:
            self.bridge.finish(self.stream, message.trailers)
        return message


class Stream:
    def __init__(self, number, window, method):
        self.number, self.window, self.method = number, window, method
        self.queue, self.headed, self.chunked, self.done, self.reset, self.sent = bytearray(), False, False, False, None, False


class Bridge:
    def __init__(self, sock, scheme):
        self.sock, self.scheme = sock, scheme
        self.family = sock.family
        self.requests = Requests(self)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder(max_header_list_size=1 << 20)
        self.streams, self.order, self.next = {}, [], 1
        self.window, self.first_window = 65535, 65535
        self.buffer, self.block, self.out, self.eof, self.greeted = b'', b'', bytearray(), False, False

    # -- what Client asks of a socket --

    def settimeout(self, seconds):
        self.seconds = seconds
        self.sock.settimeout(seconds)

    def gettimeout(self):
        return self.seconds

    def setsockopt(self, *args):
        self.sock.setsockopt(*args)

    def getsockname(self):
        return self.sock.getsockname()

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()

    def sendall(self, data):
        if self.eof:
            raise BrokenPipeError
        if not self.greeted:
            self.greeted = True
            self.sock.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack('>HI', 2, 0)))
        self.requests.feed(data)
        try:
            while self.requests.next():
                pass
        except Malformed as error:
            raise NoMeaning(str(error)) from None
        if self.requests.head is None and len(self.requests.buf) > 2 and b'\r\n\r\n' in self.requests.buf:
            raise NoMeaning('no request')

    def shutdown(self, how):
        """No more requests: what is whole is answered."""
        for s in self.order:
            if not s.sent:
                self.sock.sendall(frame(RST_STREAM, 0, s.number, struct.pack('>I', CANCEL)))
        self.sock.sendall(frame(GOAWAY, 0, 0, struct.pack('>II', 0, 0)))

    def recv(self, size):
        while True:
            self.pump()
            if self.out:
                data = bytes(self.out[:size])
                del self.out[:size]
                return data
            if self.order and self.order[0].reset is not None:
                self.eof = True
                raise ConnectionResetError
            if self.eof:
                return b''
            self.turn()

    # -- requests --

    def begin(self, message, last):
        names = [n.lower() for n, _ in message.headers]
        if message.version != '1.1' or names.count('host') != 1 or 'upgrade' in names or \
                not message.target.startswith('/') and message.target != '*':
            raise NoMeaning('%s %s HTTP/%s' % (message.method, message.target, message.version))
        if 'close' in message.tokens('connection') or message.all('te') not in ([], ['trailers']):
            raise NoMeaning('fields of the connection')
        pairs = [(':method', message.method), (':scheme', self.scheme), (':authority', message.header('host')),
                 (':path', message.target)]
        pairs += [(n.lower(), v) for n, v in message.headers if n.lower() not in HOP + ('host',)]
        s = Stream(self.next, self.first_window, message.method)
        self.streams[s.number] = s
        self.order.append(s)
        self.next += 2
        self.fields(s, pairs, last)
        return s

    def fields(self, s, pairs, last):
        block = self.encoder.encode([(n.encode('latin-1'), v.encode('latin-1')) for n, v in pairs])
        parts = [block[i:i + 16384] for i in range(0, len(block), 16384)] or [b'']
        for i, part in enumerate(parts):
            flags = END_HEADERS if i == len(parts) - 1 else 0
            self.write(frame(CONTINUATION if i else HEADERS, flags | (END_STREAM if last and not i else 0), s.number, part))
        s.sent = last

    def write(self, data):
        self.sock.sendall(data)

    def upload(self, s, data):
        limit = time.monotonic() + (self.seconds or 3600)
        while data and not (s.done or s.reset is not None):
            room = min(16384, self.window, s.window, len(data))
            if room <= 0:
                if time.monotonic() > limit or self.eof:
                    raise socket.timeout('no window') if not self.eof else BrokenPipeError
                self.turn()
                continue
            self.window -= room
            s.window -= room
            self.write(frame(DATA, 0, s.number, data[:room]))
            data = data[room:]

    def finish(self, s, trailers):
        if s.done or s.reset is not None:
            return
        if trailers:
            self.fields(s, [(n.lower(), v) for n, v in trailers], True)
        else:
            self.write(frame(DATA, END_STREAM, s.number))
        s.sent = True

    # -- answers --

    def pump(self):
        """Answers leave in the order of their requests."""
        while self.order:
            s = self.order[0]
            self.out += s.queue
            s.queue.clear()
            if not s.done:
                return
            self.order.pop(0)

    def turn(self):
        """What one read brings."""
        data = self.sock.recv(262144)
        if not data:
            self.eof = True
        self.buffer += data
        while len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], 'big'):
            size = 9 + int.from_bytes(self.buffer[:3], 'big')
            kind, flags, number = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], 'big')
            payload, self.buffer = self.buffer[9:size], self.buffer[size:]
            self.take(kind, flags, self.streams.get(number), payload)

    def take(self, kind, flags, s, payload):
        if kind == SETTINGS and not flags & ACK:
            values = dict(struct.iter_unpack('>HI', payload))
            if 4 in values:
                for each in self.streams.values():
                    each.window += values[4] - self.first_window
                self.first_window = values[4]
            self.tell(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.tell(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            if s:
                s.window += int.from_bytes(payload, 'big')
            else:
                self.window += int.from_bytes(payload, 'big')
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            self.last = bool(flags & END_STREAM) if kind == HEADERS else self.last
            if flags & END_HEADERS:
                block, self.block = self.block, b''
                self.take_fields(s, [(n.decode('latin-1'), v.decode('latin-1')) for n, v in self.decoder.decode(block, raw=True)])
        elif kind == DATA:
            if payload:
                more = struct.pack('>I', len(payload))
                self.tell(frame(WINDOW_UPDATE, 0, 0, more) + frame(WINDOW_UPDATE, 0, s.number, more))
                s.queue += b'%x\r\n%s\r\n' % (len(payload), payload) if s.chunked else payload
            if flags & END_STREAM:
                self.end(s, [])
        elif kind == RST_STREAM and not s.done:
            s.reset = int.from_bytes(payload, 'big')
            if s.reset == PROTOCOL_ERROR and not s.headed:
                s.queue += b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'     # what HTTP/1 says of such a request
                s.done = True

    def tell(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass                             # the peer has closed; what it sent before is still to be read

    def take_fields(self, s, pairs):
        if s.headed:
            self.end(s, pairs)
            return
        status = int(dict(pairs)[':status'])
        lines = ['HTTP/1.1 %d %s' % (status, http.client.responses.get(status, 'Unknown'))]
        lines += ['%s: %s' % pair for pair in pairs if not pair[0].startswith(':')]
        if status >= 200:
            s.headed = True
            s.chunked = 'content-length' not in dict(pairs) and s.method != 'HEAD' and status not in (204, 304)
            if s.chunked:
                lines.append('transfer-encoding: chunked')
        s.queue += '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n'
        if self.last:
            self.end(s, [])

    def end(self, s, trailers):
        if s.chunked:
            s.queue += b'0\r\n' + b''.join(('%s: %s\r\n' % pair).encode('latin-1') for pair in trailers) + b'\r\n'
        s.done = True
