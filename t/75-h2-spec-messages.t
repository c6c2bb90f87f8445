#!/usr/bin/python3
# What RFC 9113 section 8 asks of a server message by message, and RFC 7541 of its decoder: each case is one connection, a
# header block written by hand, and what must come back.
# timeout: 120
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from weirtest import *
from h2spec import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
header_timeout = 5s
[route hello]
path = /hello
respond = 200 hello
[route all]
upstream = app
[upstream app]
server = {one}
'''
ALL = END_STREAM | END_HEADERS
HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


# ---- header blocks by hand (RFC 7541) ----

def integer(value, bits, first=0):
    """5.1, with the bits above the prefix in `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def text(value, huffman=False):
    """5.2."""
    data = HUFFMAN.encode(value.encode()) if huffman else value.encode()
    return integer(len(data), 7, 0x80 if huffman else 0) + data


# How each kind of literal begins, and how long the prefix of its index is: 6.2.1, 6.2.2, 6.2.3.
INDEXING, PLAIN, NEVER = (0x40, 6), (0x00, 4), (0x10, 4)
USER_AGENT = 58             # in the static table
BASE = b'\x82\x86' + b'\x41' + text('weir.test')        # :method GET, :scheme http, :authority
ECHO = BASE + b'\x44' + text('/echo')


def literal(kind, name, value, huffman=False):
    """`name`: an index, or text."""
    first, bits = kind
    if isinstance(name, int):
        return integer(name, bits, first) + text(value, huffman)
    return bytes([first]) + text(name, huffman) + text(value, huffman)


def block(data, stream=1):
    def script(c):
        c.next = max(c.next, stream + 2)
        c.frame(HEADERS, ALL, stream, data)
    return script


def echoes(name, value):
    """The origin was told that field."""
    def outcome(c):
        a = c.wait(1)
        equal(a.status, 200, 'status')
        contains(a.text.lower(), '["%s", "%s"]' % (name, value), 'what the origin saw')
    return outcome


FORMS = []
for label, kind in (('with incremental indexing', INDEXING), ('without indexing', PLAIN), ('never indexed', NEVER)):
    for huffman in (False, True):
        code = ', Huffman coded' if huffman else ''
        FORMS += [
            ('7541 6.2', 'a literal %s, indexed name%s' % (label, code),
             block(ECHO + literal(kind, USER_AGENT, 'tester', huffman)), echoes('user-agent', 'tester')),
            ('7541 6.2', 'a literal %s, new name%s' % (label, code),
             block(ECHO + literal(kind, 'x-test', 'tester', huffman)), echoes('x-test', 'tester')),
        ]


def twice(c):
    """A field that is put into the dynamic table by the first request and taken from there by the second."""
    block(BASE + literal(INDEXING, 4, '/hello') + literal(INDEXING, 'x-test', 'kept'))(c)
    c.wait(1)
    block(b'\x82\x86\x84' + b'\xbe' + literal(PLAIN, 'host', 'weir.test'), 3)(c)


def eos():
    """The EOS symbol, 30 bits set, within a string."""
    return bytes([0x84]) + b'\xff\xff\xff\xff'


HPACK = [
    ('7541 6.1', 'indexed fields', block(b'\x82\x86\x84' + b'\x41' + text('weir.test')), answered()),
    ('7541 2.3.2', 'a field out of the dynamic table', twice, answered(3)),
    ('7541 6.3', 'an update of the table size', block(b'\x20' + ECHO), answered()),
    ('7541 6.3', 'two updates of the table size', block(b'\x20' + integer(4096, 5, 0x20) + ECHO), answered()),
    ('7541 2.3.3', 'an index beyond the tables', block(ECHO + integer(70, 7, 0x80)), dies(COMPRESSION_ERROR)),
    ('7541 2.3.3', 'a literal whose name has an index beyond the tables', block(ECHO + integer(70, 6, 0x40) + text('x')),
     dies(COMPRESSION_ERROR)),
    ('7541 4.2', 'an update of the table size at the end of a block', block(ECHO + b'\x21'), dies(COMPRESSION_ERROR)),
    ('7541 5.1', 'an integer without end', block(ECHO + b'\xff' + b'\xff' * 12), dies(COMPRESSION_ERROR)),
    ('7541 5.2', 'Huffman padding of more than 7 bits',
     block(ECHO + b'\x00' + text('x-test', True) + integer(len(HUFFMAN.encode(b'test')) + 1, 7, 0x80) + HUFFMAN.encode(b'test')
           + b'\xff'), dies(COMPRESSION_ERROR)),
    ('7541 5.2', 'Huffman padding of zeros', block(ECHO + b'\x00' + text('x-test', True) + b'\x81\x18'),
     dies(COMPRESSION_ERROR)),
    ('7541 5.2', 'EOS in a Huffman string', block(ECHO + b'\x00' + text('x-test', True) + eos()), dies(COMPRESSION_ERROR)),
    ('7541 5.2', 'a string longer than the block', block(ECHO + b'\x00' + text('x-test') + b'\x7e' + b'abc'),
     dies(COMPRESSION_ERROR)),
    ('7541 6.1', 'index 0', block(ECHO + b'\x80'), dies(COMPRESSION_ERROR)),
    ('7541 6.3', 'a table larger than allowed', lambda c: block(integer(c.settings.get(1, 4096) + 1, 5, 0x20) + ECHO)(c),
     dies(COMPRESSION_ERROR)),
]

# ---- messages (RFC 9113 8) ----


def pairs(*more, base=fields(path='/echo')):
    return lambda c: c.request(list(base) + list(more))


def without(name):
    return lambda c: c.request([p for p in fields(path='/echo') if p[0] != name])


def body(length, *pieces):
    """A POST that announces a length."""
    def script(c):
        head(c, 1, END_HEADERS, method='POST', path='/echo', more=[('content-length', str(length))])
        for i, piece in enumerate(pieces):
            c.frame(DATA, END_STREAM if i == len(pieces) - 1 else 0, 1, piece)
    return script


def trailers(*more, flags=ALL):
    """A POST whose body a field section follows."""
    def script(c):
        head(c, 1, END_HEADERS, method='POST', path='/echo')
        c.frame(DATA, 0, 1, b'test')
        c.frame(HEADERS, flags, 1, c.block(more))
    return script


def interim(c):
    head(c, 1, END_HEADERS, method='POST', path='/echo', more=[('expect', '100-continue')])
    c.until('a 100', lambda: c.answer(1).interim)
    c.frame(DATA, END_STREAM, 1, b'test')


def no_body(c):
    a = c.wait(1)
    equal((a.status, a.length, a.header('content-length'), a.ended), (200, 0, '5', True), 'answer to HEAD')
    alive(c)


BAD = resets(PROTOCOL_ERROR)
MESSAGES = [
    ('8.1', 'a GET', asks(path='/hello'), answered()),
    ('8.1', 'a HEAD', asks(method='HEAD', path='/hello'), no_body),
    ('8.1', 'a POST', posts([(DATA, END_STREAM, 1, b'test')]), answered()),
    ('8.1', 'a POST with trailers', trailers(('x-test', 'ok')), answered()),
    ('8.1', 'an interim answer', interim, answered()),
    ('8.1', 'a second HEADERS without END_STREAM', trailers(('x-test', 'ok'), flags=END_HEADERS), BAD),
    ('8.1', 'DATA behind trailers', lambda c: (trailers(('x-test', 'ok'))(c), c.frame(DATA, END_STREAM, 1, b'test')),
     blames(STREAM_CLOSED)),
    ('8.1.1', 'less body than content-length says', body(5, b'test'), BAD),
    ('8.1.1', 'more body than content-length says', body(1, b'test'), BAD),
    ('8.1.1', 'several pieces that are not what content-length says', body(1, b'test', b'test'), BAD),
    ('8.1.1', 'an announced body that does not come', pairs(('content-length', '4'), base=fields('POST', '/echo')), BAD),
    ('8.2', 'an upper-case name', pairs(('X-TEST', 'ok')), BAD),
    ('8.2.1', 'a name with a blank', pairs(('x test', 'ok')), BAD),
    ('8.2.1', 'a name with a colon', pairs(('x:test', 'ok')), BAD),
    ('8.2.1', 'a name beyond ASCII', lambda c: block(ECHO + b'\x00\x02x\xff\x02ok')(c), BAD),
    ('8.2.1', 'a value with NUL', pairs(('x-test', 'a\0b')), BAD),
    ('8.2.1', 'a value with CR', pairs(('x-test', 'a\rb')), BAD),
    ('8.2.1', 'a value with LF', pairs(('x-test', 'a\nb')), BAD),
    ('8.2.1', 'a value that begins with a blank', pairs(('x-test', ' a')), BAD),
    ('8.2.2', 'connection', pairs(('connection', 'keep-alive')), BAD),
    ('8.2.2', 'transfer-encoding', pairs(('transfer-encoding', 'chunked')), BAD),
    ('8.2.2', 'upgrade', pairs(('upgrade', 'h2c')), BAD),
    ('8.2.2', 'te other than trailers', pairs(('te', 'trailers, deflate;q=0.5')), BAD),
    ('8.2.2', 'te: trailers', pairs(('te', 'trailers')), answered()),
    ('8.3', 'an unknown pseudo-header', pairs((':test', 'ok')), BAD),
    ('8.3', 'the pseudo-header of answers', pairs((':status', '200')), BAD),
    ('8.3', 'a pseudo-header in trailers', trailers((':method', 'GET')), BAD),
    ('8.3', 'a pseudo-header behind a field', lambda c: c.request(fields()[:3] + [('x-test', 'ok'), (':path', '/')]), BAD),
    ('8.3.1', 'an empty :path', lambda c: c.request(fields(path='')), BAD),
    ('8.3.1', 'no :method', without(':method'), BAD),
    ('8.3.1', 'no :scheme', without(':scheme'), BAD),
    ('8.3.1', 'no :path', without(':path'), BAD),
    ('8.3.1', 'two :method', pairs((':method', 'GET')), BAD),
    ('8.3.1', 'two :scheme', pairs((':scheme', 'http')), BAD),
    ('8.3.1', 'two :path', pairs((':path', '/')), BAD),
    ('8.3.1', 'two :authority', pairs((':authority', 'weir.test')), BAD),
    ('8.3.1', 'OPTIONS *', lambda c: c.request(fields('OPTIONS', '*')), answered()),
    ('8.3.1', 'userinfo in :authority', lambda c: c.request(fields(host='me@weir.test')), BAD),
    ('8.4', 'PUSH_PROMISE', lambda c: (head(c, path='/slow/2000'), c.frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + ECHO)),
     dies(PROTOCOL_ERROR)),
    ('8.5', 'CONNECT', lambda c: c.request([(':method', 'CONNECT'), (':authority', 'weir.test:80')]), answered(status=501)),
    ('8.5', 'CONNECT with :path', lambda c: c.request(fields('CONNECT', '/')), BAD),
]

with Story('HTTP/2 message by message', deadline=110) as t:
    one = Origin('one')
    weir = Weir(CONF, one=one)
    run(t, weir, HPACK + FORMS + MESSAGES)
    with t.case('the workers are the ones that began'):
        equal(dict(weir.workers()), weir.first_workers, 'workers')
