#!/usr/bin/python3
# Connections cut at every byte: origins that end (FIN) or break off (RST) anywhere in their answer, clients that do so
# anywhere in their request or while they are being answered. Whoever is left must see that the message is not whole, the
# worker lives on, nothing stays counted, and the next request is fine.
# timeout: 150
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from wire import Decoder

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
header_timeout = 5s

[route cut]
path = /cut
upstream = cut
retries = 0
[route early]
path = /early
upstream = early
retries = 0
[route big]
path = /big
upstream = big
[route all]
upstream = one

[upstream cut]
server = {cut}
max_fails = 0
[upstream early]
server = {early}
max_fails = 0
[upstream big]
server = {big}
[upstream one]
server = {one}
max_fails = 0
'''

ANSWERS = {
    'length': b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789',
    'chunked': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\nX: y\r\n\r\n',
    'close': b'HTTP/1.1 200 OK\r\nA: b\r\n\r\n0123456789',
    'interim': b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc',
    'old': b'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc',
}


def upload(framing, target):
    if framing == 'length':
        return request('POST', target, [('Content-Length', '10')], host='a') + b'0123456789'
    return request('POST', target, [('Transfer-Encoding', 'chunked')], host='a') + \
        b'3;x=y\r\n012\r\n7\r\n3456789\r\n0\r\nX: y\r\n\r\n'


def cut_answer(message, conn):
    """/cut/KIND/N/END: the first N bytes of an answer, then its end."""
    kind, size, end = message.target.split('/')[2:5]
    return [ANSWERS[kind][:int(size)], end]


def outcome(port, target, version):
    """('whole', Message) or ('broken', how)."""
    try:
        return 'whole', fetch(port, 'GET', target, version=version, headers=[('Connection', 'keep-alive')])
    except (Truncated, Reset) as error:
        return 'broken', error


def cut_answers(t, weir, kind, end, version):
    text = ANSWERS[kind]
    head = text.rindex(b'\r\n\r\n', 0, text.index(b' 200 ') + 60) + 4 if kind == 'interim' else text.index(b'\r\n\r\n') + 4
    broken = 0
    for size in range(len(text) + 1):
        what, got = outcome(weir.port, '/cut/%s/%d/%s' % (kind, size, end), version)
        where = 'after %d of %d bytes' % (size, len(text))
        if size == len(text) and kind != 'close' or kind == 'close' and end == 'close' and size >= head:
            want = text[head:size] if kind == 'close' else b'0123456789' if b'9' in text else b'abc'
            if end == 'close':
                equal((what, got.status, got.body), ('whole', 200, want), where)
            continue            # a reset may overtake what was sent before it
        if what == 'whole':
            true(size < head or end == 'reset', '%s the client got %r, and could not tell' % (where, got))
            equal(got.status, 502, where)
        else:
            true(size >= head, '%s no answer at all: %s' % (where, got))
            broken += 1
    if end == 'close':
        equal(broken, 0 if kind == 'close' else len(text) - head, 'answers that broke off')


def answers(t, weir):
    for kind in ANSWERS:
        for end in ('close', 'reset'):
            for version in ('1.1', '1.0'):
                with t.case('an answer (%s) cut after each byte by %s, HTTP/%s client' % (kind, end, version)):
                    cut_answers(t, weir, kind, end, version)
    with t.case('nothing is left of them'):
        equal(fetch(weir.port, 'GET', '/echo').status, 200, 'status of the next')
        wait_idle(weir)


def leave(client, how):
    if how == 'reset':
        client.reset()
    elif how == 'shutdown':
        client.half_close()
        client.end()
        client.close()
    else:
        client.close()


def uploads(t, weir, one, steady):
    for framing in ('length', 'chunked'):
        for how in ('close', 'reset', 'shutdown'):
            with t.case('an upload (%s) cut after each byte by %s never reaches the origin as whole' % (framing, how)):
                one.forget()
                text = upload(framing, '/up/%s/%s' % (framing, how))
                for size in range(len(text)):
                    client = Client(weir.port)
                    client.send(text[:size], 'POST')
                    leave(client, how)
                equal(steady.fetch('GET', '/steady').status, 200, 'status on another connection')
                wait_idle_but(weir, 1)
                equal([m for m in one.requests if m.method == 'POST' and m.complete], [], 'uploads that looked whole')
                equal(one.errors, [e for e in one.errors if e.startswith('Truncated')], 'what the origin complained of')
                equal(fetch(weir.port, 'POST', '/digest', body=b'next').status, 200, 'status of the next')
    with t.case('uploads in pieces, byte by byte, are whole'):
        for framing in ('length', 'chunked'):
            with Client(weir.port) as client:
                text = upload(framing, '/up/slow')
                for i in range(len(text)):
                    client.send(text[i:i + 1], 'POST' if i == 0 else None)
                equal(client.read().status, 200, 'status')
            equal(one.last.body, b'0123456789', 'body')


def wait_idle_but(weir, connections):
    """Idle, but for that many connections of clients."""
    until('only %d clients are left' % connections, lambda: busy(weir) == {'active_connections': connections}, 8)


def decoded(part):
    """How many bytes of body the beginning of a request holds."""
    decoder = Decoder('request')
    decoder.feed(part)
    message = decoder.next() or decoder.head
    return message.length


def early(t, weir, origin):
    """The origin breaks off while it is sent a body."""
    for framing in ('length', 'chunked'):
        with t.case('an origin that resets after each byte of an upload (%s): 502, or the answer it gave' % framing):
            model = upload(framing, '/early/reset/99')
            start = model.index(b'\r\n\r\n') + 4
            for size in range(start, len(model) + 1):
                text = upload(framing, '/early/reset/%02d' % decoded(model[:size]))
                with Client(weir.port) as client:
                    client.send(text[:size], 'POST')
                    until('the origin broke off', lambda: origin.conns and not origin.conns[-1].open)
                    client.send(text[size:])
                    equal(client.read().status, 502, 'status after %d bytes' % (size - start))
                origin.forget()
    with t.case('an answer that comes before the body was read reaches the client, whatever becomes of the body'):
        for size in (5, 100000):
            with Client(weir.port) as client:
                client.send(request('POST', '/early/answer', [('Content-Length', '200000')]) + body_of(size), 'POST')
                equal(client.read().status, 413, 'status')
    with t.case('nothing is left of them'):
        wait_idle(weir)


def downloads(t, weir, big):
    for how in ('close', 'reset'):
        for kind in ('length', 'chunked'):
            with t.case('a client that leaves (%s) while it is answered (%s): the origin is let go' % (how, kind)):
                for size in (0, 1, 200, 70000, 1000000):
                    client = Client(weir.port, rcvbuf=16384)
                    client.send(request('GET', '/big/%s' % kind), 'GET')
                    left = size
                    while left > 0:
                        left -= len(client.sock.recv(min(left, 65536)))
                    until('the origin was asked', lambda: big.requests)
                    leave(client, how)
                    big.wait_closed()
                    big.forget()
    with t.case('a client that leaves while the origin thinks: the origin is let go'):
        client = Client(weir.port)
        client.ask('GET', '/big/never')
        big.wait_requests(1)
        client.reset()
        weir.wait_access({'uri': '/big/never', 'reason': 'client_abort'})
        big.wait_closed()
    with t.case('a client that ends only its own direction gets its whole answer'):
        with Client(weir.port) as client:
            client.ask('GET', '/slow/100')
            client.half_close()
            equal(client.read().status, 200, 'status')
            isin(client.end(), ('eof',), 'end')
        with Client(weir.port, keep=0, sha=True) as client:
            client.ask('GET', '/bytes/3000000')
            client.half_close()
            equal(client.read().sha256(), digest_of(3000000), 'body')
    with t.case('answers under way on one connection never mix with those of a client that left'):
        for i in range(20):
            with Client(weir.port) as client:
                client.send(request('GET', '/bytes/50000') + request('GET', '/mix/%d' % i), 'GET')
                if i % 2:
                    client.reset()
            equal(fetch(weir.port, 'GET', '/echo?%d' % i).status, 200, 'status')
    with t.case('nothing is left of them'):
        wait_idle(weir)


async def endless(message, conn):
    if message.target.endswith('/never'):
        await conn.closed()
        raise Hangup()
    if message.target.endswith('/length'):
        await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n')
        piece = bytes(50000)
    else:
        await conn.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        piece = b'c350\r\n' + bytes(50000) + b'\r\n'
    for _ in range(2000):
        conn.writer.write(piece)
        await conn.writer.drain()
    raise Hangup()


async def hasty(message, conn):
    """/early/reset/N: breaks off when N bytes of the body came; else answers before the body."""
    if '/reset/' in message.target:
        while message.length < int(message.target[-2:]):
            await conn.more()
            conn.decoder.next()
        conn.reset()
    await conn.send(b'HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    await conn.closed()
    raise Hangup()


with Story('messages that are not whole', deadline=120) as t:
    one = Origin('one')
    origins = {'one': one, 'cut': Origin('cut', handler=cut_answer), 'big': Origin('big', handler=endless),
               'early': Origin('early', handler=hasty, early=True)}
    weir = Weir(CONF, workers=1, **origins)
    answers(t, weir)
    with Client(weir.port) as steady:
        uploads(t, weir, one, steady)
    early(t, weir, origins['early'])
    downloads(t, weir, origins['big'])
