#!/usr/bin/python3
# A hostile origin behind weir.  Each client asks for one row of the table and the origin answers by that row's script:
# what is not certainly one response must come out as 502 or as a visible abort, never as a clean answer with other
# bytes; and whoever asks next, on the same connection or another, gets the answer to that question.
# timeout: 300
import os
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}

[route all]
upstream = app

[upstream app]
server = {evil}
max_fails = 0
response_timeout = {patience}ms
read_timeout = {patience}ms
'''

OK = b'HTTP/1.1 200 OK\r\n'
POISON = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON'


def head(fields=b'', start=OK):
    return start + fields + b'\r\n'


def with_body(fields, body=b'hello', start=OK):
    return head(fields, start) + body


def chunks(body):
    return with_body(b'Transfer-Encoding: chunked\r\n', body)


def many(piece, count):
    return [piece * 100] * (count // 100)


# name, script, what the client may see: 502 (or another number), 'abort', or ('clean', body).
BAD, CUT = {502}, {'abort'}
EITHER = {502, 'abort'}
ROWS = [
    # no response at all
    ('closes at once', ['close'], BAD),
    ('resets at once', ['reset'], BAD),
    ('closes after half a status line', [b'HTTP/1.1 20', 0.02, 'close'], BAD),
    ('closes after half a head', [OK + b'Content-Length: 5\r\n', 0.02, 'close'], BAD),
    ('resets after half a head', [OK + b'Content-Length: 5\r\n', 0.02, 'reset'], BAD),
    ('closes its side after half a head', [OK + b'Content-Length: 5\r\n', 'half_close', 'hang'], BAD),
    ('closes after a 100', [b'HTTP/1.1 100 Continue\r\n\r\n', 0.02, 'close'], BAD),
    ('says nothing', ['hang'], {504}),
    ('stops after half a head', [OK + b'Content-Le', 'hang'], {504}),
    ('one byte of the head each 200 ms', [x for byte in OK + b'X-Long: value' * 10 for x in (bytes([byte]), 0.2)],
     {504}),
    # start lines
    ('garbage', [b'hello world\r\n\r\n'], BAD),
    ('a body without a head', [b'<html>hello</html>', 'close'], BAD),
    ('a request', [b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'], BAD),
    ('a TLS record', [b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'], BAD),
    ('NULs', [b'\0' * 1000], BAD),
    ('no status', [b'HTTP/1.1\r\n\r\n'], BAD),
    ('a status of two digits', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 20 OK\r\n')], BAD),
    ('a status of four digits', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 2000 OK\r\n')], BAD),
    ('a status of letters', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 abc OK\r\n')], BAD),
    ('a status of 0', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 000 OK\r\n')], BAD),
    ('a status with a sign', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 +200 OK\r\n')], BAD),
    ('two blanks before the status', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1  200 OK\r\n')], BAD),
    ('a blank first', [with_body(b'Content-Length: 5\r\n', start=b' HTTP/1.1 200 OK\r\n')], BAD),
    ('version 2', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/2.0 200 OK\r\n')], BAD),
    ('version 0.9', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/0.9 200 OK\r\n')], BAD),
    ('version 1.11', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.11 200 OK\r\n')], BAD),
    ('another protocol', [b'ICY 200 OK\r\n\r\nhello', 'close'], BAD),
    ('a NUL in the reason', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 200 O\0K\r\n')], BAD),
    ('a CR in the reason', [with_body(b'Content-Length: 5\r\n', start=b'HTTP/1.1 200 O\rK\r\n')], BAD),
    ('a head of bare LF', [b'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello'], BAD),
    ('a reason that never ends', [b'HTTP/1.1 200 '] + many(b'a' * 100, 100000), BAD),
    # fields
    ('a field without a colon', [with_body(b'Content-Length: 5\r\nX-Bad\r\n')], BAD),
    ('a blank before the colon', [with_body(b'Content-Length : 5\r\n')], BAD),
    ('an empty name', [with_body(b'Content-Length: 5\r\n: x\r\n')], BAD),
    ('a name with a blank', [with_body(b'Content-Length: 5\r\nX Bad: x\r\n')], BAD),
    ('a NUL in a value', [with_body(b'Content-Length: 5\r\nX-Bad: a\0b\r\n')], BAD),
    ('a CR in a value', [with_body(b'Content-Length: 5\r\nX-Bad: a\rSet-Cookie: evil=1\r\n')], BAD),
    ('an LF in a value', [with_body(b'Content-Length: 5\r\nX-Bad: a\nSet-Cookie: evil=1\r\n')], BAD),
    ('an escape byte in a value', [with_body(b'Content-Length: 5\r\nX-Bad: \x1b[31m\r\n')], BAD),
    ('a folded field', [with_body(b'Content-Length: 5\r\nX-Bad: a\r\n b\r\n')], BAD),
    ('a field of a megabyte', [OK + b'X-Bad: '] + many(b'a' * 100, 10000), BAD),
    ('ten thousand fields', [OK] + many(b'X-Bad: a\r\n', 10000) + [b'Content-Length: 5\r\n\r\nhello'], BAD),
    ('a hundred and twenty fields', [OK + b'X-Bad: a\r\n' * 120 + b'Content-Length: 5\r\n\r\nhello'], BAD),
    # framing
    ('two lengths that differ', [with_body(b'Content-Length: 5\r\nContent-Length: 6\r\n', b'helloX')], BAD),
    ('two lengths that agree', [with_body(b'Content-Length: 5\r\nContent-Length: 5\r\n')], BAD),
    ('a list of lengths', [with_body(b'Content-Length: 5, 6\r\n')], BAD),
    ('an empty length', [with_body(b'Content-Length:\r\n'), 'close'], BAD),
    ('a length with a plus', [with_body(b'Content-Length: +5\r\n')], BAD),
    ('a negative length', [with_body(b'Content-Length: -1\r\n')], BAD),
    ('a length in letters', [with_body(b'Content-Length: five\r\n')], BAD),
    ('a length of 2^64 + 5', [with_body(b'Content-Length: 18446744073709551621\r\n')], BAD),
    ('a length and chunks', [with_body(b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', b'0\r\n\r\n')], BAD),
    ('chunks and a length', [with_body(b'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', b'0\r\n\r\n')], BAD),
    ('a coding nobody knows', [with_body(b'Transfer-Encoding: gzip\r\n', b'x'), 'close'], BAD),
    ('gzip, chunked', [with_body(b'Transfer-Encoding: gzip, chunked\r\n', b'0\r\n\r\n')], BAD),
    ('chunked twice', [with_body(b'Transfer-Encoding: chunked, chunked\r\n', b'0\r\n\r\n')], BAD),
    ('chunked, identity', [with_body(b'Transfer-Encoding: chunked, identity\r\n', b'0\r\n\r\n')], BAD),
    ('a vertical tab before chunked', [with_body(b'Transfer-Encoding: \vchunked\r\n', b'0\r\n\r\n')], BAD),
    ('chunked in 1.0',
     [with_body(b'Transfer-Encoding: chunked\r\n', b'5\r\nhello\r\n0\r\n\r\n', b'HTTP/1.0 200 OK\r\n'), 'close'], BAD),
    # informational
    ('101 that nobody asked for',
     [b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw'], BAD),
    ('endless 100s', many(b'HTTP/1.1 100 Continue\r\n\r\n', 100000) + ['close'], BAD),
    ('endless 103s', many(b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', 100000) + ['close'], EITHER),
    ('a 100 with a length', [b'HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n', POISON, 'close'],
     {502, ('clean', b'POISON')}),
    # bodies
    ('a body that is cut by FIN', [with_body(b'Content-Length: 10\r\n'), 0.05, 'close'], CUT),
    ('a body that is cut by FIN, at once', [with_body(b'Content-Length: 10\r\n'), 'close'], EITHER),
    ('a body that is cut by RST', [with_body(b'Content-Length: 10\r\n'), 0.05, 'reset'], CUT),
    ('a body that is cut by half-close', [with_body(b'Content-Length: 10\r\n'), 0.05, 'half_close', 'hang'], CUT),
    ('a body that stops', [with_body(b'Content-Length: 10\r\n'), 'hang'], CUT),
    ('a body of nothing', [with_body(b'Content-Length: 10\r\n', b''), 0.05, 'close'], EITHER),
    ('a large body that is cut', [with_body(b'Content-Length: 1000000\r\n', b'x' * 999999), 0.05, 'close'], CUT),
    ('a body without a length that ends by RST', [with_body(b''), 0.05, 'reset'], CUT),
    ('chunks without the last one', [chunks(b'5\r\nhello\r\n'), 0.05, 'close'], CUT),
    ('chunks that end before the trailers do', [chunks(b'5\r\nhello\r\n0\r\n'), 0.05, 'close'], CUT),
    ('a chunk that is cut', [chunks(b'a\r\nhello'), 0.05, 'close'], CUT),
    ('a chunk that is cut by RST', [chunks(b'a\r\nhello'), 0.05, 'reset'], CUT),
    ('a chunk size of letters', [chunks(b'5\r\nhello\r\nxyz\r\nhello\r\n0\r\n\r\n')], EITHER),
    ('a first chunk size of letters', [chunks(b'xyz\r\nhello\r\n0\r\n\r\n')], EITHER),
    ('a chunk size with 0x', [chunks(b'0x5\r\nhello\r\n0\r\n\r\n')], EITHER),
    ('a chunk size of 2^64', [chunks(b'5\r\nhello\r\n10000000000000000\r\nx\r\n0\r\n\r\n')], EITHER),
    ('a chunk size of 2^64 - 1', [chunks(b'5\r\nhello\r\nffffffffffffffff\r\nx\r\n0\r\n\r\n'), 0.1, 'close'], EITHER),
    ('a negative chunk size', [chunks(b'-5\r\nhello\r\n0\r\n\r\n')], EITHER),
    ('a chunk longer than its size', [chunks(b'5\r\nhello world\r\n0\r\n\r\n')], EITHER),
    ('a chunk line that ends with LF', [chunks(b'5\nhello\r\n0\r\n\r\n')], EITHER),
    ('a chunk extension with LF', [chunks(b'5;a\nb\r\nhello\r\n0\r\n\r\n')], EITHER),
    ('a chunk extension without end', [chunks(b'5;')] + many(b'a' * 100, 10000) + ['close'], EITHER),
    ('a trailer without a colon', [chunks(b'5\r\nhello\r\n0\r\nX-Bad\r\n\r\n')], EITHER),
    ('a trailer with NUL', [chunks(b'5\r\nhello\r\n0\r\nX-Bad: \0\r\n\r\n')], EITHER),
    ('trailers without end', [chunks(b'5\r\nhello\r\n0\r\n')] + many(b'X-Bad: a\r\n', 100000) + ['close'], EITHER),
    # more than one answer: what belongs to the question is a clean answer, the rest must vanish
    ('bytes behind a length', [with_body(b'Content-Length: 5\r\n', b'helloTRAILING')], {('clean', b'hello')}),
    ('a second answer behind', [with_body(b'Content-Length: 5\r\n') + POISON], {('clean', b'hello')}),
    ('a second answer behind chunks', [chunks(b'5\r\nhello\r\n0\r\n\r\n') + POISON], {('clean', b'hello')}),
    ('a second answer a moment later', [with_body(b'Content-Length: 5\r\n'), 0.05, POISON, 'hang'],
     {('clean', b'hello')}),
    ('a second head, half', [with_body(b'Content-Length: 5\r\n') + OK], {('clean', b'hello')}),
    ('204 with a body', [b'HTTP/1.1 204 No Content\r\n\r\n' + POISON], {('clean', b''), 502}),
    ('204 with a length and a body', [b'HTTP/1.1 204 No Content\r\nContent-Length: 71\r\n\r\n' + POISON],
     {('clean', b''), 502}),
    ('204 with chunks', [b'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
     {('clean', b''), 502}),
    ('304 with a body', [b'HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n' + POISON], {('clean', b''), 502}),
    ('an answer and a late 408', [with_body(b'Content-Length: 5\r\n'), 0.05, b'HTTP/1.1 408 Request Timeout\r\n'
                                  b'Content-Length: 4\r\nConnection: close\r\n\r\nLATE', 'close'],
                                  {('clean', b'hello')}),
]
HEAD_ROWS = [
    ('HEAD answered with a body', [with_body(b'Content-Length: 44\r\n', POISON)], {('clean', b'')}),
    ('HEAD answered with chunks', [chunks(b'2c\r\n' + POISON + b'\r\n0\r\n\r\n')], {('clean', b'')}),
]


def reply(message, conn):
    kind, _, number = message.target.strip('/').partition('/')
    if kind == 'good':
        return Reply(200, 'good ' + number)
    return (HEAD_ROWS if message.method == 'HEAD' else ROWS)[int(number)][1]


marks = [0]


def good(client_or_port):
    """The next question, which must get its own answer."""
    marks[0] += 1
    ask = client_or_port.fetch if isinstance(client_or_port, Client) else lambda *a: fetch(client_or_port, *a)
    answer = ask('GET', '/good/%d' % marks[0])
    equal((answer.status, answer.text), (200, 'good %d' % marks[0]), 'answer to the next question')


def outcome(client, method, target, version):
    """What a careful client makes of it: a status for weir's own error, 'abort', or ('clean', body)."""
    client.ask(method, target, version=version)
    try:
        answer = client.read()
    except (Truncated, Reset):
        return 'abort', None
    if answer.status >= 500:
        lacks(answer.body, b'POISON', 'body of the error')
        lacks(str(answer.headers).lower(), 'evil', 'headers of the error')
        return answer.status, answer
    return ('clean', answer.body), answer


def play(t, weir, evil, index, row, method='GET'):
    name, script, wanted = row
    for version in ('1.1', '1.0'):
        with t.case('%s, to a %s client: %s' % (name, version, ' or '.join(sorted(map(str, wanted))))):
            evil.forget()
            with Client(weir.port, timeout=6) as client:
                got, answer = outcome(client, method, '/row/%d' % index, version)
                isin(got, wanted, 'what the client saw (%r)' % answer)
                asked = evil.requests[-1]
                dirty = asked.conn
                until('weir has let go of the dirty connection', lambda: not dirty.open or dirty.ended, 3)
                if answer is not None and answer.keeps_alive() and version == '1.1':
                    good(client)
                else:
                    isin(client.end(3), ('eof', 'reset'), 'end of the connection')
                    lacks(bytes(client.decoder.buf), b'POISON', 'bytes behind the answer')
            for _ in range(2):
                good(weir.port)
            equal(dirty.requests[-1], asked, 'the last question on the dirty connection')


def leftovers(t, weir, evil):
    with t.case('an answer that comes unasked on an idle connection ends that connection'):
        evil.forget()
        equal(fetch(weir.port, 'GET', '/good/0').status, 200, 'status')
        until('one idle connection', lambda: evil.open_connections >= 1)
        from origin import loop
        for conn in [c for c in evil.conns if c.open]:
            loop().call_soon_threadsafe(conn.writer.write, POISON)
        until('weir closes it', lambda: evil.open_connections == 0)
        good(weir.port)
    with t.case('an origin that sends its answer before the question gets no say in the next one'):
        evil.on_connect = early_bird
        evil.drop_connections()
        evil.wait_closed()
        answer = fetch(weir.port, 'GET', '/good/early')
        isin(answer.status, (200, 502), 'status')
        evil.on_connect = None
        evil.drop_connections()
        evil.wait_closed()
        for _ in range(3):
            good(weir.port)


async def early_bird(conn):
    await conn.send(POISON)


def logs(t, weir, evil):
    with t.case('every refused answer has its reason in the log'):
        reasons = {line['reason'] for line in weir.access()}
        for reason in ('server_reset', 'server_garbage', 'truncated', 'response_timeout', 'read_timeout'):
            contains(reasons, reason, 'reasons')
    with t.case('what the origin sent stands nowhere raw in the logs'):
        for text in (weir.errors(), open(weir.access_path, 'rb').read().decode('latin-1')):
            bad = [c for c in set(text) if ord(c) < 32 and c not in '\n\t' or ord(c) == 127]
            equal(bad, [], 'control bytes in a log')


with Story('hostile origins', deadline=150) as t:
    evil = Origin('evil', handler=reply)
    weir = Weir(CONF, workers=1, evil=evil, patience=int(500 * tap.SLOW))
    base = rss(weir.worker_pids()[0])
    t.note('%d hostile answers' % (len(ROWS) + len(HEAD_ROWS)))
    for index, row in enumerate(ROWS):
        play(t, weir, evil, index, row)
    for index, row in enumerate(HEAD_ROWS):
        play(t, weir, evil, index, row, 'HEAD')
    leftovers(t, weir, evil)
    logs(t, weir, evil)
    with t.case('the worker did not grow by any of it'):
        grown = rss(weir.worker_pids()[0]) - base
        t.note('grown by %d KiB' % (grown >> 10))
        between(grown, -base, (4 << 20) * (16 if sanitized() else 1), 'growth')
