"""HTTP/1 messages on the wire, read strictly: one decoder for what clients receive and for what origins receive.

Whatever is not exactly one RFC 9112 message raises Malformed, an end in the middle raises Truncated: a test never takes
a broken message for a whole one.  No sockets here.
"""

import hashlib
import random
import re
import zlib

TOKEN = re.compile(rb"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
STATUS_LINE = re.compile(rb'^HTTP/1\.([01]) ([1-9][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)$')
REQUEST_LINE = re.compile(rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.([01])$")
VALUE = re.compile(rb'^[\t \x21-\x7e\x80-\xff]*$')
CHUNK_LINE = re.compile(rb'^([0-9A-Fa-f]{1,16})[ \t]*(;[\t \x21-\x7e\x80-\xff]*)?$')


class Malformed(Exception):
    """The peer sent something that is not an HTTP/1 message."""


class Truncated(Exception):
    """The connection ended inside a message."""


class Reset(Exception):
    """The connection was reset."""


class TimedOut(Exception):
    """The peer said nothing in time."""


class Message:
    """One request or response.

    method, target / status, reason; version ('1.1'); headers: [(name, value)] in order, as text; raw_head: its bytes;
    body: the first `keep` bytes; length, crc and sha256() of the whole; framing: none, length, chunked or close;
    chunks: sizes of the first thousand; trailers; complete; informational: the 1xx before a response.
    """

    def __init__(self):
        self.method = self.target = self.reason = None
        self.status = 0
        self.version = '1.1'
        self.headers, self.trailers, self.informational, self.chunks = [], [], [], []
        self.raw_head = self.raw_trailers = b''
        self.kept = bytearray()
        self.length = self.crc = self.chunk_count = 0
        self.framing = 'none'
        self.complete = False
        self.digest = None
        self.conn = self.conn_id = None

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name, default=None):
        """The only value of a header; more than one is Malformed here."""
        values = self.all(name)
        if len(values) > 1:
            raise Malformed('%d %s headers: %r' % (len(values), name, values))
        return values[0] if values else default

    @property
    def body(self):
        return bytes(self.kept)

    @property
    def text(self):
        return self.kept.decode('utf-8', 'replace')

    def sha256(self):
        return self.digest.hexdigest() if self.digest else hashlib.sha256(b'').hexdigest()

    def tokens(self, name):
        return [w.strip().lower() for v in self.all(name) for w in v.split(',') if w.strip()]

    def keeps_alive(self):
        words = self.tokens('connection')
        if 'close' in words or self.framing == 'close':
            return False
        return self.version == '1.1' or 'keep-alive' in words

    def __repr__(self):
        head = self.raw_head.split(b'\r\n')[0].decode('latin-1')
        return '<%s, %s body of %d%s>' % (head, self.framing, self.length, '' if self.complete else ', not complete')


def parse_fields(lines):
    fields = []
    for line in lines:
        name, colon, value = line.partition(b':')
        value = value.strip(b' \t')
        if not colon or not TOKEN.match(name) or not VALUE.match(value):
            raise Malformed('field line %r' % line)
        fields.append((name.decode('ascii'), value.decode('latin-1')))
    return fields


def parse_head(raw, kind):
    """A Message from the bytes of a head with its empty line."""
    message = Message()
    message.raw_head = bytes(raw)
    lines = bytes(raw[:-4]).split(b'\r\n')
    if any(b'\r' in line or b'\n' in line for line in lines):
        raise Malformed('bare CR or LF in %r' % bytes(raw))
    if kind == 'response':
        found = STATUS_LINE.match(lines[0])
        if not found:
            raise Malformed('status line %r' % lines[0])
        message.status = int(found.group(2))
        message.reason = found.group(3).decode('latin-1')
        message.version = '1.%s' % found.group(1).decode()
    else:
        found = REQUEST_LINE.match(lines[0])
        if not found:
            raise Malformed('request line %r' % lines[0])
        message.method, message.target = found.group(1).decode(), found.group(2).decode('latin-1')
        message.version = '1.%s' % found.group(3).decode()
    message.headers = parse_fields(lines[1:])
    return message


def body_size(message, kind, method):
    """Sets framing; the length where there is one (RFC 9112 section 6.3)."""
    codings = message.tokens('transfer-encoding')
    lengths = message.all('content-length')
    if kind == 'response' and (method == 'HEAD' or message.status in (204, 304) or message.status < 200):
        return 0
    if codings:
        if codings != ['chunked'] or lengths or message.version == '1.0':
            raise Malformed('Transfer-Encoding %r with Content-Length %r' % (codings, lengths))
        message.framing = 'chunked'
        return None
    if lengths:
        if len(lengths) > 1 or not re.fullmatch('[0-9]+', lengths[0]):
            raise Malformed('Content-Length %r' % lengths)
        message.framing = 'length'
        return int(lengths[0])
    if kind == 'response':
        message.framing = 'close'
        return None
    return 0


class Decoder:
    """feed() bytes in, next() whole messages out; `head` is the message whose body is still under way."""

    def __init__(self, kind, keep=1 << 20, sha=False):
        self.kind, self.keep, self.sha = kind, keep, sha
        self.buf = bytearray()
        self.head = None
        self.methods = []                   # of the requests whose responses are awaited, in order
        self.informational = []
        self.left = 0
        self.state = 'head'
        self.ended = False

    def feed(self, data):
        self.buf += data

    def eof(self):
        self.ended = True

    def next(self):
        """The next complete Message, or None while more bytes are needed."""
        while True:
            step = getattr(self, 'on_' + self.state)
            result = step()
            if result is None:
                if self.ended:
                    self.end()
                    return self.finish() if self.state == 'close' else None
                return None
            if result is not True:
                return result

    def end(self):
        if self.state == 'close' or (self.state == 'head' and not self.buf and not self.informational):
            return
        raise Truncated('the connection ended in the %s%s, %d bytes of body had come' % (
            self.state, ' of %r' % self.head if self.head else '', self.head.length if self.head else 0))

    def on_head(self):
        end = self.buf.find(b'\r\n\r\n')
        if end < 0:
            if self.kind == 'response' and self.buf and not b'HTTP/1.'.startswith(bytes(self.buf[:7])):
                raise Malformed('no response: %r' % bytes(self.buf[:200]))
            return None
        message = parse_head(self.buf[:end + 4], self.kind)
        del self.buf[:end + 4]
        if 100 <= message.status < 200 and message.status != 101:
            self.informational.append(message)
            return True
        return self.on_message_head(message)

    def on_message_head(self, message):
        message.informational, self.informational = self.informational, []
        method = None
        if self.kind == 'response':
            method = self.methods.pop(0) if self.methods else 'GET'
        self.head = message
        size = body_size(message, self.kind, method)
        message.digest = hashlib.sha256() if self.sha else None
        if message.framing == 'chunked':
            self.state = 'chunk_line'
        elif message.framing == 'close':
            self.state = 'close'
        else:
            self.left = size
            self.state = 'length'
        return True

    def take(self, data):
        message = self.head
        message.length += len(data)
        message.crc = zlib.crc32(data, message.crc)
        if message.digest:
            message.digest.update(data)
        room = self.keep - len(message.kept)
        if room > 0:
            message.kept += data[:room]

    def on_length(self):
        if self.left and self.buf:
            part = bytes(self.buf[:self.left])
            del self.buf[:len(part)]
            self.left -= len(part)
            self.take(part)
        return None if self.left else self.finish()

    def on_close(self):
        if self.buf:
            self.take(bytes(self.buf))
            self.buf.clear()
        return None

    def line(self, limit):
        end = self.buf.find(b'\r\n')
        if end < 0:
            if len(self.buf) > limit:
                raise Malformed('no line end in %r' % bytes(self.buf[:200]))
            return None
        text = bytes(self.buf[:end])
        del self.buf[:end + 2]
        return text

    def on_chunk_line(self):
        line = self.line(4096)
        if line is None:
            return None
        found = CHUNK_LINE.match(line)
        if not found:
            raise Malformed('chunk line %r' % line)
        self.left = int(found.group(1), 16)
        self.head.chunk_count += 1
        if len(self.head.chunks) < 1000:
            self.head.chunks.append(self.left)
        self.state = 'chunk_data' if self.left else 'trailers'
        return True

    def on_chunk_data(self):
        if self.left and self.buf:
            part = bytes(self.buf[:self.left])
            del self.buf[:len(part)]
            self.left -= len(part)
            self.take(part)
        if self.left or len(self.buf) < 2:
            return None
        if self.buf[:2] != b'\r\n':
            raise Malformed('after a chunk: %r' % bytes(self.buf[:20]))
        del self.buf[:2]
        self.state = 'chunk_line'
        return True

    def on_trailers(self):
        line = self.line(65536)
        if line is None:
            return None
        if line:
            self.head.trailers += parse_fields([line])
            return True
        return self.finish()

    def finish(self):
        message, self.head = self.head, None
        message.complete = True
        self.state = 'head'
        return message


# -- bodies that both sides can compute ------------------------------------------------------------------------------

BLOCK = random.Random(20260101).randbytes(65536)


def blocks(size):
    """The body of that size in pieces; every body of one size is the same."""
    while size > 0:
        yield BLOCK[:size] if size < len(BLOCK) else BLOCK
        size -= len(BLOCK)


def body_of(size):
    return b''.join(blocks(size))


def digest_of(size):
    digest = hashlib.sha256()
    for block in blocks(size):
        digest.update(block)
    return digest.hexdigest()


def chunked(pieces, trailers=(), extension=b''):
    """The pieces as a chunked body, whole, as bytes."""
    out = bytearray()
    for piece in pieces:
        if piece:
            out += b'%x%s\r\n%s\r\n' % (len(piece), extension, piece)
    out += b'0\r\n'
    for name, value in trailers:
        out += ('%s: %s\r\n' % (name, value)).encode('latin-1')
    return bytes(out + b'\r\n')
