#!/usr/bin/python3
# Clients that send what is not certainly one HTTP message, to origin `one` behind weir.  Each sends its bytes with a
# marker request right behind them: it must be refused once, the marker must not be answered, the connection must end,
# and the origin must have seen neither.  Then another client's marker gets its own answer.
# timeout: 300
import os
import re
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
http2 = no
header_timeout = 1s
body_timeout = 1s

[route all]
upstream = app

[upstream app]
server = {one}
max_fails = 0
'''

H = 'Host: weir.test\r\n'
BODY = 'hello'


def get(line='GET /bad HTTP/1.1', fields=H, end='\r\n'):
    return line + '\r\n' + fields + end


def post(fields, body=BODY):
    return 'POST /bad HTTP/1.1\r\n' + H + fields + '\r\n' + body


def chunks(body):
    return 'POST /bad HTTP/1.1\r\n' + H + 'Transfer-Encoding: chunked\r\n\r\n' + body


# What stands in the head: nothing of it may reach the origin.
HEADS = [
    ('Content-Length and Transfer-Encoding', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
     400),
    ('Transfer-Encoding and Content-Length', post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'),
     400),
    ('Transfer-Encoding and an empty Content-Length',
     post('Transfer-Encoding: chunked\r\nContent-Length:\r\n', '0\r\n\r\n'), 400),
    ('two lengths that differ', post('Content-Length: 5\r\nContent-Length: 6\r\n'), 400),
    ('two lengths that agree', post('Content-Length: 5\r\nContent-Length: 5\r\n'), 400),
    ('a list of lengths', post('Content-Length: 5, 6\r\n'), 400),
    ('a list of equal lengths', post('Content-Length: 5, 5\r\n'), 400),
    ('an empty length', post('Content-Length:\r\n'), 400),
    ('a length of blanks', post('Content-Length: \t \r\n'), 400),
    ('a length with a plus', post('Content-Length: +5\r\n'), 400),
    ('a negative length', post('Content-Length: -5\r\n'), 400),
    ('a hexadecimal length', post('Content-Length: 0x5\r\n'), 400),
    ('a length with a blank inside', post('Content-Length: 5 0\r\n'), 400),
    ('a length with a letter', post('Content-Length: 5a\r\n'), 400),
    ('a length with a point', post('Content-Length: 5.0\r\n'), 400),
    ('a length in quotes', post('Content-Length: "5"\r\n'), 400),
    ('a length of 2^63', post('Content-Length: 9223372036854775808\r\n'), (400, 413)),
    ('a length of 2^64', post('Content-Length: 18446744073709551616\r\n'), (400, 413)),
    ('a length of 2^64 + 5', post('Content-Length: 18446744073709551621\r\n'), (400, 413)),
    ('a length of 2^32 + 5', post('Content-Length: 4294967301\r\n'), (400, 413)),
    ('a length of a hundred digits', post('Content-Length: ' + '9' * 100 + '\r\n'), (400, 413)),
    ('a blank before the colon of Content-Length', post('Content-Length : 5\r\n'), 400),
    ('a tab before the colon of Transfer-Encoding', post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'), 400),
    ('a coding that is not chunked', post('Transfer-Encoding: gzip\r\n'), (400, 501)),
    ('chunked not last', post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'), (400, 501)),
    ('gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'), (400, 501)),
    ('identity', post('Transfer-Encoding: identity\r\n'), (400, 501)),
    ('chunked, identity', post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'), (400, 501)),
    ('identity, chunked', post('Transfer-Encoding: identity, chunked\r\n', '0\r\n\r\n'), (400, 501)),
    ('chunked twice in a list', post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'), (400, 501)),
    ('chunked twice in two fields', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
     (400, 501)),
    ('two fields, chunked and identity',
     post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', '0\r\n\r\n'), (400, 501)),
    ('an empty Transfer-Encoding', post('Transfer-Encoding:\r\n'), 400),
    ('Transfer-Encoding of a comma', post('Transfer-Encoding: ,\r\n'), 400),
    ('a vertical tab before chunked', post('Transfer-Encoding: \vchunked\r\n', '0\r\n\r\n'), 400),
    ('a form feed behind chunked', post('Transfer-Encoding: chunked\f\r\n', '0\r\n\r\n'), 400),
    ('xchunked', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'), (400, 501)),
    ('chunked with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'), (400, 501)),
    ('chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'), (400, 501)),
    ('chunked folded', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'), 400),
    ('chunked in 1.0', 'POST /bad HTTP/1.0\r\n' + H + 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400),
    ('chunked and a length in 1.0',
     'POST /bad HTTP/1.0\r\n' + H + 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n', 400),
    ('no Host in 1.1', get(fields=''), 400),
    ('two Hosts', get(fields=H + 'Host: other.test\r\n'), 400),
    ('two equal Hosts', get(fields=H + H), 400),
    ('two Hosts in 1.0', get('GET /bad HTTP/1.0', fields=H + H), 400),
    ('a Host with a blank', get(fields='Host: a b\r\n'), 400),
    ('a Host with a slash', get(fields='Host: a/b\r\n'), 400),
    ('a Host with userinfo', get(fields='Host: user@weir.test\r\n'), 400),
    ('a Host list', get(fields='Host: a, b\r\n'), 400),
    ('a port that is no number', get(fields='Host: weir.test:8x\r\n'), 400),
    ('a port that is too large', get(fields='Host: weir.test:65536\r\n'), 400),
    ('an open bracket in Host', get(fields='Host: [::1\r\n'), 400),
    ('a Host with a question mark', get(fields='Host: weir.test?x\r\n'), 400),
    ('an absolute target and no Host', get('GET http://weir.test/bad HTTP/1.1', fields=''), 400),
    ('an absolute target with two Hosts', get('GET http://weir.test/bad HTTP/1.1', fields=H + H), 400),
    ('an empty name', get(fields=H + ': x\r\n'), 400),
    ('a blank before the colon', get(fields=H + 'X-Bad : x\r\n'), 400),
    ('a name with an at sign', get(fields=H + 'X@Bad: x\r\n'), 400),
    ('a name with brackets', get(fields=H + 'X(Bad): x\r\n'), 400),
    ('a name with a blank', get(fields=H + 'X Bad: x\r\n'), 400),
    ('a name with a quote', get(fields=H + 'X"Bad: x\r\n'), 400),
    ('a name with a byte above 127', get(fields=H + 'X\xe4Bad: x\r\n'), 400),
    ('a name with NUL', get(fields=H + 'X\0Bad: x\r\n'), 400),
    ('a line without a colon', get(fields=H + 'X-Bad\r\n'), 400),
    ('a folded line', get(fields=H + 'X-Bad: a\r\n b\r\n'), 400),
    ('a folded line with a tab', get(fields=H + 'X-Bad: a\r\n\tb\r\n'), 400),
    ('a fold after Host', get(fields=H + ' .evil\r\n'), 400),
    ('a first field that starts with a blank', get(fields=' X-Bad: a\r\n' + H), 400),
    ('a line of blanks in the head', get(fields=H + '  \r\nX-Bad: a\r\n'), 400),
    ('NUL in a value', get(fields=H + 'X-Bad: a\0b\r\n'), 400),
    ('CR in a value', get(fields=H + 'X-Bad: a\rb\r\n'), 400),
    ('LF in a value', get(fields=H + 'X-Bad: a\nX-Evil: b\r\n'), 400),
    ('CR CR LF', get(fields=H + 'X-Bad: a\r\r\n'), 400),
    ('a head of bare LF', 'GET /bad HTTP/1.1\nHost: weir.test\n\n', 400),
    ('a head that ends with a bare LF', 'GET /bad HTTP/1.1\r\nHost: weir.test\r\n\n', 400),
    ('a bare LF after the request line', 'GET /bad HTTP/1.1\nHost: weir.test\r\n\r\n', 400),
    ('a bare CR after the request line', 'GET /bad HTTP/1.1\rHost: weir.test\r\n\r\n', 400),
    ('a request line that starts with a blank', get(' GET /bad HTTP/1.1'), 400),
    ('two blanks after the method', get('GET  /bad HTTP/1.1'), 400),
    ('two blanks before the version', get('GET /bad  HTTP/1.1'), 400),
    ('a blank behind the version', get('GET /bad HTTP/1.1 '), 400),
    ('tabs instead of blanks', get('GET\t/bad\tHTTP/1.1'), 400),
    ('a blank in the target', get('GET /bad one HTTP/1.1'), 400),
    ('no target', get('GET HTTP/1.1'), 400),
    ('an empty target', get('GET  HTTP/1.1'), 400),
    ('no version', 'GET /bad\r\n\r\n', (400, 505)),
    ('no version, with fields', get('GET /bad'), (400, 505)),
    ('version 2.0', get('GET /bad HTTP/2.0'), (400, 505)),
    ('version 0.9', get('GET /bad HTTP/0.9'), (400, 505)),
    ('version 1.11', get('GET /bad HTTP/1.11'), (400, 505)),
    ('version 01.1', get('GET /bad HTTP/01.1'), (400, 505)),
    ('version in small letters', get('GET /bad http/1.1'), (400, 505)),
    ('another protocol', get('GET /bad HTTPS/1.1'), (400, 505)),
    ('a version with a sign', get('GET /bad HTTP/+1.1'), (400, 505)),
    ('a version cut short', get('GET /bad HTTP/1'), (400, 505)),
    ('a method with brackets', get('GE(T) /bad HTTP/1.1'), 400),
    ('a method with a byte above 127', get('G\xcbT /bad HTTP/1.1'), 400),
    ('a method with NUL', get('G\0T /bad HTTP/1.1'), 400),
    ('NUL in the target', get('GET /bad\0 HTTP/1.1'), 400),
    ('an escape byte in the target', get('GET /bad\x1b[31m HTTP/1.1'), 400),
    ('a DEL in the target', get('GET /bad\x7f HTTP/1.1'), 400),
    ('a byte above 127 in the target', get('GET /bad\xe4 HTTP/1.1'), 400),
    ('a fragment', get('GET /bad#x HTTP/1.1'), 400),
    ('a target without a slash', get('GET bad HTTP/1.1'), 400),
    ('a query alone', get('GET ?bad HTTP/1.1'), 400),
    ('a star for GET', get('GET * HTTP/1.1'), 400),
    ('a star with more', get('OPTIONS *bad HTTP/1.1'), 400),
    ('an absolute target without a host', get('GET http:///bad HTTP/1.1'), 400),
    ('an absolute target with userinfo', get('GET http://user:pw@weir.test/bad HTTP/1.1'), 400),
    ('an absolute target of another scheme', get('GET ftp://weir.test/bad HTTP/1.1'), 400),
    ('an absolute target with a bad port', get('GET http://weir.test:port/bad HTTP/1.1'), 400),
    ('authority-form for GET', get('GET weir.test:80 HTTP/1.1'), 400),
    ('CONNECT', get('CONNECT bad.test:443 HTTP/1.1', fields='Host: bad.test:443\r\n'), (400, 405, 501)),
    ('CONNECT with a path', get('CONNECT /bad HTTP/1.1'), (400, 405, 501)),
    ('an escape that is none', get('GET /bad%zz HTTP/1.1'), 400),
    ('an escape cut short', get('GET /bad%4 HTTP/1.1'), 400),
    ('a percent sign alone', get('GET /bad% HTTP/1.1'), 400),
    ('an escaped NUL', get('GET /bad%00 HTTP/1.1'), 400),
    ('a path above the root', get('GET /../bad HTTP/1.1'), 400),
    ('an escaped path above the root', get('GET /x/%2e%2e/%2E./bad HTTP/1.1'), 400),
    ('another expectation', post('Content-Length: 5\r\nExpect: bad\r\n'), (400, 417)),
    ('a target that is too long', get('GET /bad/' + 'a' * 9000 + ' HTTP/1.1'), 414),
    ('a target that is far too long', get('GET /bad/' + 'a' * 100000 + ' HTTP/1.1'), 414),
    ('a query that is too long', get('GET /bad?' + 'a' * 9000 + ' HTTP/1.1'), 414),
    ('a method that is too long', get('G' * 9000 + ' /bad HTTP/1.1'), (400, 414, 501)),
    ('a field that is too large', get(fields=H + 'X-Bad: ' + 'a' * 33000 + '\r\n'), 431),
    ('a field name that is too large', get(fields=H + 'X-Bad' + 'a' * 33000 + ': x\r\n'), (400, 431)),
    ('a head that is too large', get(fields=H + ''.join('X-Bad-%d: %s\r\n' % (i, 'a' * 1000) for i in range(40))), 431),
    ('too many fields', get(fields=H + 'X-Bad: x\r\n' * 200), 431),
    ('one field too many', get(fields=H + 'X-Bad: x\r\n' * 100), 431),
    ('a head of a megabyte', get(fields=H + 'X-Bad: x\r\n' * 100000), 431),
    ('four empty lines first', '\r\n\r\n\r\n\r\n' + get(), 400),
    ('a bare LF first', '\n' + get(), 400),
    ('a TLS ClientHello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + 'bad' * 50 + '\r\n\r\n', 400),
    ('the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', (400, 505)),
    ('a PROXY line', 'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n' + get(), 400),
    ('a response', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', (400, 505)),
    ('zero bytes', '\0\0\0\0\r\n\r\n', 400),
    ('SSH', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', (400, 505)),
]
HEADS += [('byte 0x%02x in a value' % b, get(fields=H + 'X-Bad: a%cb\r\n' % b), 400)
          for b in list(range(1, 9)) + [11, 12] + list(range(14, 32)) + [127]]

# What stands in the body: the origin may have met its head, but never a whole request.
BODIES = [
    ('a chunk size of letters', chunks('xyz\r\nhello\r\n0\r\n\r\n'), 400),
    ('an empty chunk size', chunks('\r\nhello\r\n0\r\n\r\n'), 400),
    ('a chunk size with 0x', chunks('0x5\r\nhello\r\n0\r\n\r\n'), 400),
    ('a chunk size with a plus', chunks('+5\r\nhello\r\n0\r\n\r\n'), 400),
    ('a negative chunk size', chunks('-5\r\nhello\r\n0\r\n\r\n'), 400),
    ('a blank before a chunk size', chunks(' 5\r\nhello\r\n0\r\n\r\n'), 400),
    ('a chunk size of 17 digits', chunks('10000000000000005\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('a chunk size of 64 digits', chunks('f' * 64 + '\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('a chunk size of 2^64 - 1', chunks('ffffffffffffffff\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('a chunk size of 2^63', chunks('8000000000000000\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('a size with many zeros in front', chunks('0' * 100 + '5\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('a chunk size that ends with a bare LF', chunks('5\nhello\r\n0\r\n\r\n'), 400),
    ('a chunk size that ends with a bare CR', chunks('5\rhello\r\n0\r\n\r\n'), 400),
    ('an LF in an extension', chunks('5;a\nb\r\nhello\r\n0\r\n\r\n'), 400),
    ('a CR in an extension', chunks('5;a\rb\r\nhello\r\n0\r\n\r\n'), 400),
    ('a quoted LF in an extension', chunks('5;a="\n"\r\nhello\r\n0\r\n\r\n'), 400),
    ('a NUL in an extension', chunks('5;a\0\r\nhello\r\n0\r\n\r\n'), 400),
    ('a comma behind the size', chunks('5,5\r\nhello\r\n0\r\n\r\n'), 400),
    ('an extension that never ends', chunks('5;' + 'a' * 100000 + '\r\nhello\r\n0\r\n\r\n'), (400, 413)),
    ('extensions without number', chunks(('1;' + 'a' * 200 + '\r\nx\r\n') * 2000 + '0\r\n\r\n'), (400, 413)),
    ('a chunk longer than its size', chunks('5\r\nhello world\r\n0\r\n\r\n'), 400),
    ('a chunk shorter than its size', chunks('8\r\nhello\r\n0\r\n\r\n'), 400),
    ('a chunk that ends with LF', chunks('5\r\nhello\n0\r\n\r\n'), 400),
    ('a chunk that ends with CR', chunks('5\r\nhello\r0\r\n\r\n'), 400),
    ('a chunk that ends with two blanks', chunks('5\r\nhello  0\r\n\r\n'), 400),
    ('a last chunk that ends with LF', chunks('5\r\nhello\r\n0\n\r\n'), 400),
    ('trailers that end with LF', chunks('5\r\nhello\r\n0\r\n\n'), 400),
    ('a trailer that ends with LF', chunks('5\r\nhello\r\n0\r\nX-Bad: a\n\r\n'), 400),
    ('a trailer without a colon', chunks('5\r\nhello\r\n0\r\nX-Bad\r\n\r\n'), 400),
    ('a trailer with a blank before the colon', chunks('5\r\nhello\r\n0\r\nX-Bad : a\r\n\r\n'), 400),
    ('a trailer with a folded line', chunks('5\r\nhello\r\n0\r\nX-Bad: a\r\n b\r\n\r\n'), 400),
    ('a trailer with NUL', chunks('5\r\nhello\r\n0\r\nX-Bad: \0\r\n\r\n'), 400),
    ('a request in the place of trailers', chunks('5\r\nhello\r\n0\r\nGET /bad HTTP/1.1\r\nHost: x\r\n\r\n'), 400),
    ('trailers that are too large', chunks('0\r\n' + 'X-Bad: a\r\n' * 100000 + '\r\n'), (400, 431)),
    ('more than max_body_size', chunks('1036640\r\n' + 'x' * 17000000 + '\r\n0\r\n\r\n'), 413),
]

# Unusual, but certainly one message: it must arrive as what it is.
GOOD = [
    ('chunked in capitals', 'POST /good HTTP/1.1\r\n' + H + 'transfer-ENCODING:CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n'),
    ('blanks around the length', 'POST /good HTTP/1.1\r\n' + H + 'Content-Length: \t 5 \t \r\n\r\nhello'),
    ('a chunk extension in quotes', 'POST /good HTTP/1.1\r\n' + H +
     'Transfer-Encoding: chunked\r\n\r\n5;a="b;c"\r\nhello\r\n00000\r\n\r\n'),
    ('an empty line first', '\r\nPOST /good HTTP/1.1\r\n' + H + 'Content-Length: 5\r\n\r\nhello'),
    ('99 fields', 'POST /good HTTP/1.1\r\n' + H + 'X: y\r\n' * 97 + 'Content-Length: 5\r\n\r\nhello'),
    ('a target of 8000 bytes', 'POST /good?' + 'q' * 8000 + ' HTTP/1.1\r\n' + H + 'Content-Length: 5\r\n\r\nhello'),
    ('a head of 30 KiB',
     'POST /good HTTP/1.1\r\n' + H + 'X-Large: ' + 'l' * 30000 + '\r\nContent-Length: 5\r\n\r\nhello'),
    ('bytes above 127 in a value', 'POST /good HTTP/1.1\r\n' + H + 'X: \xe4\xff\r\nContent-Length: 5\r\n\r\nhello'),
    ('a tab in a value', 'POST /good HTTP/1.1\r\n' + H + 'X: a\tb\r\nContent-Length: 5\r\n\r\nhello'),
    ('a method nobody knows', 'BREW /good HTTP/1.1\r\n' + H + 'Content-Length: 5\r\n\r\nhello'),
    ('a body with GET', 'GET /good HTTP/1.1\r\n' + H + 'Content-Length: 5\r\n\r\nhello'),
    ('an absolute target in capitals',
     'POST HTTP://WEIR.test/good HTTP/1.1\r\n' + H + 'Content-Length: 5\r\n\r\nhello'),
    ('an empty Host in 1.0', 'POST /good HTTP/1.0\r\nHost:\r\nContent-Length: 5\r\n\r\nhello'),
    ('a Host with a port', 'POST /good HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 5\r\n\r\nhello'),
    ('trailers that may not be there are left out', 'POST /good HTTP/1.1\r\n' + H + 'Transfer-Encoding: chunked\r\n\r\n'
     '5\r\nhello\r\n0\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nX-Fine: yes\r\n\r\n'),
]

marks = [0]


def mark():
    marks[0] += 1
    return '/marker/%d' % marks[0]


def refuse(weir, one, raw, statuses, whole_head, split):
    raw = raw.encode('latin-1')
    one.forget()
    behind = mark()
    data = raw + request('GET', behind)
    if split:
        half = len(raw) // 2
        result = exchange(weir.port, data[:half], more=[(0.003, data[half:])], timeout=4)
    else:
        result = exchange(weir.port, data, timeout=4)
    equal(len(result.responses), 1, 'number of responses in %r' % result)
    answer = result.responses[0]
    isin(answer.status, statuses, 'status')
    contains(answer.tokens('Connection'), 'close', 'Connection')
    equal((result.tail, result.partial, result.error), (b'', None, None), 'what came behind it')
    isin(result.end, ('eof', 'reset'), 'end of the connection')
    after = mark()
    other = fetch(weir.port, 'GET', after)
    equal((other.status, other.text), (200, 'one'), 'answer to another client')
    targets = [r.target for r in one.requests if r.complete]
    equal(targets, [after], 'whole requests at the origin')
    if whole_head:
        equal([r.target for r in one.requests], [after], 'requests at the origin')
        received = re.sub(rb'x-request-id: \w+', b'', one.received().lower())    # any hexadecimal word
        lacks(received, b'bad', 'bytes at the origin')
    lacks(one.received(), behind.encode(), 'bytes at the origin')


def tables(t, weir, one):
    for rows, whole_head, where in ((HEADS, True, 'head'), (BODIES, False, 'body')):
        for name, raw, statuses in rows:
            statuses = statuses if isinstance(statuses, tuple) else (statuses,)
            with t.case('%s: %s is %s' % (where, name, ' or '.join(map(str, statuses)))):
                for split in (False, True):
                    refuse(weir, one, raw, statuses, whole_head, split)
    for name, raw in GOOD:
        with t.case('good: %s' % name):
            one.forget()
            with Client(weir.port) as client:
                client.send(raw)
                equal(client.read().status, 200, 'status')
            got = one.last
            equal((got.complete, got.body), (True, b'hello'), 'what the origin saw')
            true(got.target.startswith('/good'), 'target %r' % got.target)
            lacks(str(got.trailers), 'evil', 'trailers')
            for n, _ in got.trailers:
                lacks(('content-length', 'transfer-encoding', 'host'), n.lower(), 'trailers')


def unfinished(t, weir, one):
    for name, raw in (('nothing', ''), ('half a request line', 'GET /bad HT'), ('half a head', get(end='')[:-4]),
                      ('a head but for the last LF', get()[:-1])):
        with t.case('%s, then the end: nothing reaches the origin' % name):
            one.forget()
            result = exchange(weir.port, raw.encode(), half_close=True, timeout=4)
            isin(result.statuses, ([], [400], [408]), 'statuses')
            isin(result.end, ('eof', 'reset'), 'end')
            after = mark()
            equal(fetch(weir.port, 'GET', after).text, 'one', 'answer to another client')
            equal(one.targets(), [after], 'requests at the origin')
    for name, raw in (('half a body', post('Content-Length: 9\r\n')), ('half a chunk', chunks('9\r\nhello')),
                      ('no last chunk', chunks('5\r\nhello\r\n')),
                      ('no end of trailers', chunks('5\r\nhello\r\n0\r\nX: y\r\n'))):
        with t.case('%s, then the end: never a whole request at the origin' % name):
            one.forget()
            result = exchange(weir.port, raw.encode(), half_close=True, timeout=4)
            isin(result.statuses, ([], [400], [408]), 'statuses')
            isin(result.end, ('eof', 'reset'), 'end')
            after = mark()
            equal(fetch(weir.port, 'GET', after).text, 'one', 'answer to another client')
            equal([r.target for r in one.requests if r.complete], [after], 'whole requests at the origin')
    for name, raw, delay in (('no end of the head', get(end=''), 0),
                             ('a head that never ends, byte by byte', get(), 0.1),
                             ('no end of the body', post('Content-Length: 9\r\n'), 0),
                             ('no end of a chunk', chunks('9\r\nhello'), 0)):
        with t.case('%s: 408 after a second, and the connection ends' % name):
            one.forget()
            began = time.monotonic()
            if delay:
                result = exchange(weir.port, raw[:5].encode(),
                                  more=[(delay, b) for b in [c.encode() for c in raw[5:35]]],
                                  timeout=4)
            else:
                result = exchange(weir.port, raw.encode(), timeout=4)
            isin(result.end, ('eof', 'reset'), 'end')
            if not delay:
                equal(result.statuses, [408], 'statuses')
                between(time.monotonic() - began, 0.9, 2.5 * tap.SLOW, 'seconds')
            equal([r for r in one.requests if r.complete], [], 'whole requests at the origin')


def log_lines(t, weir):
    with t.case('what clients sent stands escaped in the logs: no control byte, one line each'):
        for text in (weir.errors(), open(weir.access_path, 'rb').read().decode('latin-1')):
            bad = [c for c in set(text) if ord(c) < 32 and c not in '\n\t' or ord(c) == 127]
            equal(bad, [], 'control bytes in a log')
    with t.case('every refusal has its reason in the access log'):
        reasons = {line['reason']
                   for line in weir.access() if line.get('status') in ('400', '414', '431', '413', '408')}
        for reason in ('bad_request', 'uri_too_long', 'header_too_large', 'body_too_large', 'header_timeout',
                       'body_timeout'):
            contains(reasons, reason, 'reasons')


with Story('what is not certainly one request', deadline=150) as t:
    one = Origin('one')
    weir = Weir(CONF, workers=1, one=one)
    t.note('%d malformed heads, %d malformed bodies' % (len(HEADS), len(BODIES)))
    tables(t, weir, one)
    unfinished(t, weir, one)
    log_lines(t, weir)
