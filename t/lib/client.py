"""Clients: a raw one that sends exactly the bytes it is told and reads strictly, and curl."""

import os
import re
import socket
import ssl
import struct
import subprocess
import time

import certs
from tap import SLOW, Failed, NoMeaning, show, story
from wire import Decoder, Malformed, Reset, TimedOut, Truncated

TRANSCRIPT_LIMIT = 64 * 1024


def request(method='GET', target='/', headers=(), body=b'', host='weir.test', version='1.1'):
    """The bytes of a request; Host and Content-Length are added unless given (host=None: none)."""
    if isinstance(headers, dict):
        headers = list(headers.items())
    names = [n.lower() for n, _ in headers]
    if isinstance(body, str):
        body = body.encode()
    lines = ['%s %s HTTP/%s' % (method, target, version)]
    if host is not None and 'host' not in names:
        lines.append('Host: ' + host)
    lines += ['%s: %s' % pair for pair in headers]
    if body and 'content-length' not in names and 'transfer-encoding' not in names:
        lines.append('Content-Length: %d' % len(body))
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body


def spelled(name):
    """How a field name arrives: HTTP/2 has none but in lower case."""
    return name.lower() if certs.by_h2() else name


def only_h1():
    """The case is of HTTP/1, or of a socket that a bridge cannot be."""
    if certs.by_h2():
        raise NoMeaning('of HTTP/1 alone')


class Client:
    """One connection, by TLS with the context `tls` for server `name`.  `timeout` is for every single wait; Reset, Truncated, Malformed, TimedOut say what was wrong."""

    def __init__(self, port, address='127.0.0.1', timeout=10, rcvbuf=None, source=None, keep=1 << 20, sha=False,
                 tls=None, name=None, session=None):
        self.timeout = timeout * SLOW
        if str(port).startswith('/'):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target = port
        else:
            self.sock = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            target = (address, port)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(self.timeout)
        self.decoder = Decoder('response', keep=keep, sha=sha)
        self.log = []
        self.logged = 0
        self.eof = False
        self.port = 0
        story().adopt(self)
        self.sock.connect(target)
        if self.sock.family != socket.AF_UNIX:
            self.port = self.sock.getsockname()[1]
        if tls is None and certs.everywhere():
            tls = certs.common_context()
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=name, session=session,
                                        suppress_ragged_eofs=False)
        if certs.by_h2():
            from h2bridge import Bridge
            self.sock = Bridge(self.sock, 'https' if tls else 'http')
            self.sock.settimeout(self.timeout)

    def trace(self, way, data):
        if self.logged < TRANSCRIPT_LIMIT:
            self.log.append('%s %s' % (way, show(bytes(data[:2000]), 2000)))
            self.logged += len(data)

    def send(self, data, method=None):
        """Sends bytes as they are; `method` tells the reader of a response to HEAD.  False when the peer is gone."""
        if isinstance(data, str):
            data = data.encode('latin-1')
        self.trace('>', data)
        if method is not None:
            self.decoder.methods.append(method)
        try:
            self.sock.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False
        except socket.timeout:
            raise TimedOut('the peer did not take %d bytes within %.1f s' % (len(data), self.timeout)) from None

    def ask(self, method='GET', target='/', headers=(), body=b'', **more):
        """Sends one request and leaves the answer unread."""
        self.send(request(method, target, headers, body, **more), method)

    def fetch(self, method='GET', target='/', headers=(), body=b'', **more):
        """One request and its response."""
        self.ask(method, target, headers, body, **more)
        return self.read()

    def receive(self, timeout=None):
        """Some bytes into the decoder; False at the end of the stream."""
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, ssl.SSLEOFError):
            self.eof = True
            self.trace('*', b'reset')
            head = self.decoder.head
            raise Reset('the connection was reset; before that %r and %s' % (head, show(bytes(self.decoder.buf)))) \
                from None
        except socket.timeout:
            raise TimedOut('nothing came within %.1f s; so far %r and %s' % (
                self.sock.gettimeout(), self.decoder.head, show(bytes(self.decoder.buf)))) from None
        if not data:
            self.eof = True
            self.decoder.eof()
            self.trace('*', b'end of stream')
            return False
        self.trace('<', data)
        self.decoder.feed(data)
        return True

    def read(self, timeout=None):
        """The next response, complete; its informational ones are in .informational."""
        while True:
            message = self.decoder.next()
            if message is not None:
                return message
            if self.eof:
                raise Truncated('the connection ended before a response')
            self.receive(timeout)

    def read_head(self, timeout=None):
        """The head of the next response while its body is under way; read() then gives the whole."""
        while self.decoder.head is None:
            message = self.decoder.next()
            if message is not None:
                raise Failed('wanted only the head, got %r' % message)
            if self.decoder.head is None:
                if self.eof:
                    raise Truncated('the connection ended before a response')
                self.receive(timeout)
        return self.decoder.head

    def read_informational(self):
        """Waits for the first 1xx of the response under way."""
        while not self.decoder.informational:
            message = self.decoder.next()
            if self.decoder.informational:
                break
            if message is not None or self.decoder.head is not None:
                raise Failed('wanted a 1xx, got %r' % (message or self.decoder.head))
            if not self.receive():
                raise Truncated('the connection ended before a 1xx')
        return self.decoder.informational[0]

    def expect_end(self, timeout=None):
        """The peer closes, by FIN or by RST, and sends nothing more before it; Failed otherwise."""
        end = self.end(timeout)
        if self.decoder.buf:
            raise Failed('more bytes before the end: %s' % show(bytes(self.decoder.buf)))
        if end == 'timeout':
            raise Failed('the connection is still open')
        return end

    def end(self, timeout=None):
        """Reads to the end: 'eof', 'reset' or 'timeout'.  What came is in the decoder."""
        if self.eof:
            return 'eof'
        limit = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                if not self.receive(max(0.001, limit - time.monotonic())):
                    return 'eof'
            except Reset:
                return 'reset'
            except TimedOut:
                return 'timeout'

    def silent(self, seconds=0.1):
        """True when nothing comes, neither bytes nor an end, for that long."""
        try:
            self.receive(seconds)
        except TimedOut:
            return True
        except Reset:
            return False
        return False

    def half_close(self):
        try:
            # Of the socket alone: the TLS object would be gone, and with it what is still to be read.
            how = socket.socket.shutdown if isinstance(self.sock, socket.socket) else type(self.sock).shutdown
            how(self.sock, socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    kill = close

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()
        things = story().things
        if ignored[0] is None and self in things:
            things.remove(self)              # its transcript matters no more

    def dump(self):
        return [('client, from port %d' % self.port, '\n'.join(self.log))]


def fetch(port, method='GET', target='/', headers=(), body=b'', **more):
    """One request on a connection of its own; the complete Message.  Keywords: those of request() and of Client."""
    known = ('address', 'timeout', 'rcvbuf', 'source', 'keep', 'sha', 'tls', 'name', 'session')
    with Client(port, **{k: more.pop(k) for k in known if k in more}) as client:
        return client.fetch(method, target, headers, body, **more)


class Exchange:
    """What came back for raw bytes: responses (complete ones), partial (a head whose body did not end), tail (bytes
    that are no response), end (eof, reset, timeout), error (Malformed or Truncated)."""

    def __init__(self):
        self.responses = []
        self.partial = self.error = None
        self.tail = b''
        self.end = None

    @property
    def statuses(self):
        return [r.status for r in self.responses]

    def __repr__(self):
        return '<responses %r, partial %r, end %s, error %r, tail %s>' % (
            self.responses, self.partial, self.end, self.error, show(self.tail, 200))


def exchange(port, data, half_close=False, timeout=10, methods=(), more=()):
    """Sends bytes as they are, reads to the end of the stream.  `more`: (delay, bytes) pairs sent afterwards."""
    result = Exchange()
    with Client(port, timeout=timeout) as client:
        client.decoder.methods += list(methods)
        client.send(data)
        for delay, part in more:
            time.sleep(delay)
            client.send(part)
        if half_close:
            client.half_close()
        result.end = client.end()
        drain(client.decoder, result)
    return result


def drain(decoder, result):
    """Sorts what the decoder holds into the Exchange."""
    try:
        while True:
            message = decoder.next()
            if message is None:
                break
            result.responses.append(message)
    except (Malformed, Truncated) as error:
        result.error = error
    result.partial = decoder.head
    result.tail = bytes(decoder.buf)


class Curl:
    """What curl saw: code (its exit status), status, head, body (bytes), err."""

    def __init__(self, code, out, err, head):
        self.code, self.body, self.err, self.head = code, out, err, head
        lines = [line for line in head.split('\r\n') if line.startswith('HTTP/')]
        self.status = int(lines[-1].split()[1]) if lines else 0

    @property
    def text(self):
        return self.body.decode('utf-8', 'replace')


def curl(*args, timeout=30):
    """Runs curl quietly with the given arguments."""
    head = story().path('curl-head')
    if os.path.exists(head):
        os.unlink(head)
    command = ['curl', '-sS', '--noproxy', '*', '--max-time', str(timeout * SLOW), '-D', head] + [str(a) for a in args]
    if certs.everywhere():
        command = ['curl', '-k'] + [re.sub(r'^http://', 'https://', a) for a in command[1:]]
    if certs.by_h2():
        command[1:1] = ['--http2'] if certs.everywhere() else ['--http2-prior-knowledge']
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=(timeout + 5) * SLOW)
    try:
        with open(head, encoding='latin-1', newline='') as f:
            text = f.read()
    except OSError:
        text = ''
    return Curl(done.returncode, done.stdout, done.stderr.decode('utf-8', 'replace'), text)
