#!/usr/bin/python3
# What RFC 9113 asks of a server frame by frame, sections 3 to 7 (5.3 of RFC 7540 for what is left of priorities): each case is
# one connection, frames written by hand, and what must come back.
# timeout: 120
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
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
MORE = END_HEADERS          # HEADERS of a request whose body follows
RST, WINDOW = RST_STREAM, WINDOW_UPDATE
GET = dict(path='/hello')


def fresh(c):
    """The block of a GET."""
    return c.block(fields(**GET))


def unfinished(*then):
    """HEADERS that END_HEADERS is missing from, then frames."""
    return asks(flags=END_STREAM, then=then, **GET)


def split_block(pieces):
    """A request in HEADERS and CONTINUATION frames."""
    def script(c):
        block, c.next = fresh(c), 3
        size = len(block) // pieces + 1
        parts = [block[i:i + size] for i in range(0, len(block), size)]
        c.frame(HEADERS, END_STREAM, 1, parts[0])
        for part in parts[1:-1]:
            c.frame(CONTINUATION, 0, 1, part)
        c.frame(CONTINUATION, END_HEADERS, 1, parts[-1])
    return script


def second(kind, flags, make, stream=1):
    """A whole request that is answered, then a frame on its stream."""
    def script(c):
        head(c, 1, **GET)
        equal(c.wait(1).text, 'hello', 'answer')
        c.frame(kind, flags, stream, make(c) if callable(make) else make)
    return script


def padded(pad, lie=None):
    """HEADERS with padding; `lie`: the pad length told."""
    def script(c):
        c.next = 3
        c.frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1,
                bytes([pad if lie is None else lie]) + fresh(c) + bytes(pad))
    return script


def with_priority(dependency, weight=15):
    def script(c):
        c.next = 3
        c.frame(HEADERS, END_STREAM | END_HEADERS | 0x20, 1, u32(dependency) + bytes([weight]) + fresh(c))
    return script


def mixed(c):
    """HEADERS of another stream in the middle of a block."""
    block = fresh(c)
    c.frame(HEADERS, END_STREAM, 1, block[:3])
    c.frame(HEADERS, END_STREAM | END_HEADERS, 3, block)


# ---- 3 and 4: the start, the frame ----

def bad_preface(t, weir):
    for text in (b'INVALID CONNECTION PREFACE\r\n\r\n', b'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'):
        with t.case('3.4: a preface that is none ends the connection: %r' % text):
            with H2Client(weir.port, greet=False) as c:
                c.send(text + frame(SETTINGS))
                while c.sock.recv(4096):
                    pass
    with t.case('3.4: the first frame from the server is SETTINGS'):
        with H2Client(weir.port) as c:
            equal(c.read()[:3], (SETTINGS, 0, 0), 'kind, flags, stream')
            isin(3, c.settings, 'identifiers')
            alive(c)
    with t.case('3.4: a preface that anything but SETTINGS follows is a connection error'):
        with H2Client(weir.port, greet=False) as c:
            c.send(PREFACE + frame(PING, 0, 0, b'12345678'))
            dies(PROTOCOL_ERROR)(c)


FRAMES = [
    ('4.1', 'a frame of an unknown type is ignored', sends((0xbb, 0, 0, b'12345678')), alive),
    ('4.1', 'undefined flags are ignored', sends((PING, 0xfe & ~ACK, 0, b'12345678')), pong(b'12345678')),
    ('4.1', 'the reserved bit is ignored', sends((PING, 0, 1 << 31, b'12345678')), pong(b'12345678')),
    ('4.2', 'DATA of 16384 bytes is taken', posts([(DATA, END_STREAM, 1, bytes(16384))]), answered()),
    ('4.2', 'DATA of 16385 bytes', posts([(DATA, END_STREAM, 1, bytes(16385))]), blames(FRAME_SIZE_ERROR)),
    ('4.2', 'HEADERS of 16385 bytes',
     lambda c: c.frame(HEADERS, END_STREAM | END_HEADERS, 1, fresh(c).ljust(16385, b'\x82')), dies(FRAME_SIZE_ERROR)),
    ('4.2', 'CONTINUATION of 16385 bytes', unfinished((CONTINUATION, END_HEADERS, 1, bytes(16385))),
     dies(FRAME_SIZE_ERROR)),
    ('4.2', 'SETTINGS of 16386 bytes', sends((SETTINGS, 0, 0, bytes(16386))), dies(FRAME_SIZE_ERROR)),
    ('4.3', 'a header block that is not one', sends((HEADERS, END_STREAM | END_HEADERS, 1, b'\x8c\xf1\xe3\xc2\xe5\xf2\x3a'
                                                    b'\x6b\xa0\xab\x90\xf4\xff\xff\xff\xff')), dies(COMPRESSION_ERROR)),
    ('4.3', 'PRIORITY within a header block', unfinished((PRIORITY, 0, 1, u32(0) + b'\xff')), dies(PROTOCOL_ERROR)),
    ('4.3', 'HEADERS of another stream within a header block', mixed, dies(PROTOCOL_ERROR)),
]

# ---- 5: streams ----


def grants_nothing(c):
    c.frame(SETTINGS, 0, 0, setting((4, 0)))


def concurrency(c):
    grants_nothing(c)
    for i in range(c.settings[3] + 1):
        head(c, 1 + 2 * i, path='/bytes/100')


def later_stream(first, then):
    def script(c):
        head(c, first, **GET)
        c.wait(first)
        c.frame(HEADERS, END_STREAM | END_HEADERS, then, fresh(c))
    return script


CUT = [(RST, 0, 1, u32(CANCEL))]
STREAMS = [
    ('5.1', 'PRIORITY on an idle stream is taken', sends((PRIORITY, 0, 1, u32(0) + b'\x0f')), alive),
    ('5.1', 'idle: DATA', sends((DATA, END_STREAM, 1, b'test')), dies(PROTOCOL_ERROR, STREAM_CLOSED)),
    ('5.1', 'idle: RST_STREAM', sends(*CUT), dies(PROTOCOL_ERROR)),
    ('5.1', 'idle: WINDOW_UPDATE', sends((WINDOW, 0, 1, u32(100))), dies(PROTOCOL_ERROR)),
    ('5.1', 'idle: CONTINUATION', lambda c: c.frame(CONTINUATION, END_HEADERS, 1, fresh(c)), dies(PROTOCOL_ERROR)),
    ('5.1', 'half closed: WINDOW_UPDATE is taken',
     lambda c: (grants_nothing(c), asks(then=[(WINDOW, 0, 1, u32(100))], path='/bytes/100')(c)), answered()),
    ('5.1', 'half closed: PRIORITY is taken', asks(then=[(PRIORITY, 0, 1, u32(0) + b'\xff')], path='/bytes/10'), answered()),
    ('5.1', 'half closed: RST_STREAM is taken', asks(then=CUT, path='/slow/2000'), alive),
    ('5.1', 'half closed: DATA', asks(then=[(DATA, END_STREAM, 1, b'test')], path='/slow/2000'), blames(STREAM_CLOSED)),
    ('5.1', 'half closed: HEADERS', lambda c: (head(c, path='/slow/2000'), head(c)), blames(STREAM_CLOSED)),
    ('5.1', 'half closed: CONTINUATION',
     lambda c: (head(c, path='/slow/2000'), c.frame(CONTINUATION, END_HEADERS, 1, fresh(c))),
     blames(STREAM_CLOSED, PROTOCOL_ERROR)),
    ('5.1', 'closed by RST_STREAM: DATA', posts(CUT + [(DATA, END_STREAM, 1, b'test')]), blames(STREAM_CLOSED)),
    ('5.1', 'closed by RST_STREAM: HEADERS', lambda c: (posts(CUT)(c), head(c)), blames(STREAM_CLOSED)),
    ('5.1', 'closed by RST_STREAM: CONTINUATION', lambda c: (posts(CUT)(c), c.frame(CONTINUATION, END_HEADERS, 1, fresh(c))),
     blames(STREAM_CLOSED, PROTOCOL_ERROR)),
    ('5.1', 'closed: DATA', second(DATA, END_STREAM, b'test'), blames(STREAM_CLOSED)),
    ('5.1', 'closed: HEADERS', second(HEADERS, END_STREAM | END_HEADERS, fresh), blames(STREAM_CLOSED)),
    ('5.1', 'closed: CONTINUATION', second(CONTINUATION, END_HEADERS, fresh), dies(STREAM_CLOSED, PROTOCOL_ERROR)),
    ('5.1', 'closed: PRIORITY is taken', second(PRIORITY, 0, u32(0) + b'\x0f'), alive),
    ('5.1', 'closed: WINDOW_UPDATE and RST_STREAM that were on their way are taken',
     lambda c: (second(WINDOW, 0, u32(9))(c), c.frame(RST, 0, 1, u32(CANCEL))), alive),
    ('5.1.1', 'a stream of even number', asks(2, **GET), dies(PROTOCOL_ERROR)),
    ('5.1.1', 'a stream below one that was', later_stream(5, 3), dies(PROTOCOL_ERROR, STREAM_CLOSED)),
    ('5.1.2', 'more streams than allowed', concurrency, blames(REFUSED_STREAM, PROTOCOL_ERROR, stream=201)),
    ('7540 5.3', 'PRIORITY with weight 1', sends((PRIORITY, 0, 1, u32(0) + b'\x00')), alive),
    ('7540 5.3', 'PRIORITY with weight 256', sends((PRIORITY, 0, 1, u32(0) + b'\xff')), alive),
    ('7540 5.3', 'PRIORITY with a dependency', sends((PRIORITY, 0, 1, u32(0) + b'\xff'), (PRIORITY, 0, 3, u32(1) + b'\xff')),
     alive),
    ('7540 5.3', 'PRIORITY with the exclusive flag', sends((PRIORITY, 0, 1, u32(1 << 31) + b'\xff')), alive),
    ('7540 5.3', 'PRIORITY on an idle stream, then HEADERS on a lower one',
     lambda c: (c.frame(PRIORITY, 0, 3, u32(0) + b'\xff'), head(c, 1, **GET)), answered()),
    ('5.4.1', 'a PING of 6 bytes: GOAWAY, and the connection ends', sends((PING, 0, 0, bytes(6))), dies(FRAME_SIZE_ERROR)),
    ('5.4.1', 'a PING of 6 bytes: GOAWAY tells the last stream', lambda c: (second(PING, 0, bytes(6), 0)(c)),
     lambda c: equal(c.wait_goaway(), (1, FRAME_SIZE_ERROR), 'last stream and code')),
    ('5.5', 'a frame of an extension is ignored', sends((0x16, 0, 0, b'\0' * 8)), alive),
    ('5.5', 'a frame of an extension within a header block', unfinished((0x16, 0, 0, b'\0' * 8)), dies(PROTOCOL_ERROR)),
]

# ---- 6: kinds of frames ----

DATAS = [
    ('6.1', 'DATA', posts([(DATA, END_STREAM, 1, b'test')]), answered()),
    ('6.1', 'several DATA', posts([(DATA, 0, 1, b'te'), (DATA, END_STREAM, 1, b'st')]), answered()),
    ('6.1', 'DATA with padding', posts([(DATA, END_STREAM | PADDED, 1, b'\x06test' + bytes(6))]), answered()),
    ('6.1', 'DATA on stream 0', sends((DATA, END_STREAM, 0, b'test')), dies(PROTOCOL_ERROR)),
    ('6.1', 'DATA on a stream that is not open', second(DATA, END_STREAM, b'test'), blames(STREAM_CLOSED)),
    ('6.1', 'padding as long as the payload', posts([(DATA, END_STREAM | PADDED, 1, b'\x05test')]), dies(PROTOCOL_ERROR)),
    ('6.1', 'PADDED and no byte', posts([(DATA, END_STREAM | PADDED, 1, b'')]), dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ('6.2', 'HEADERS', asks(**GET), answered()),
    ('6.2', 'HEADERS with padding', padded(6), answered()),
    ('6.2', 'HEADERS with a priority', with_priority(0), answered()),
    ('6.2', 'PRIORITY behind HEADERS without END_HEADERS', unfinished((PRIORITY, 0, 1, u32(0) + b'\xff')),
     dies(PROTOCOL_ERROR)),
    ('6.2', 'HEADERS of another stream behind HEADERS without END_HEADERS', mixed, dies(PROTOCOL_ERROR)),
    ('6.2', 'HEADERS on stream 0', lambda c: c.frame(HEADERS, END_STREAM | END_HEADERS, 0, fresh(c)), dies(PROTOCOL_ERROR)),
    ('6.2', 'padding longer than the payload', padded(0, 255), dies(PROTOCOL_ERROR)),
    ('6.2', 'HEADERS too short for their priority', sends((HEADERS, END_STREAM | END_HEADERS | 0x20, 1, bytes(4))),
     dies(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ('7540 5.3.1', 'HEADERS that depend on themselves', with_priority(1), blames(PROTOCOL_ERROR)),
    # RFC 9113 has no such rule any more, and SETTINGS_NO_RFC7540_PRIORITIES says that nobody looks (RFC 9218 2.1).
    ('7540 5.3.1', 'PRIORITY that depends on itself is ignored',
     posts([(PRIORITY, 0, 1, u32(1) + b'\xff'), (DATA, END_STREAM, 1, b'x')]), answered()),
    ('6.3', 'PRIORITY on stream 0', sends((PRIORITY, 0, 0, u32(1) + b'\xff')), dies(PROTOCOL_ERROR)),
    ('6.3', 'PRIORITY of 4 bytes', posts([(PRIORITY, 0, 1, bytes(4))]), blames(FRAME_SIZE_ERROR)),
    ('6.4', 'RST_STREAM', posts(CUT), alive),
    ('6.4', 'RST_STREAM on stream 0', sends((RST, 0, 0, u32(CANCEL))), dies(PROTOCOL_ERROR)),
    ('6.4', 'RST_STREAM on an idle stream', sends(*CUT), dies(PROTOCOL_ERROR)),
    ('6.4', 'RST_STREAM of 3 bytes', posts([(RST, 0, 1, bytes(3))]), dies(FRAME_SIZE_ERROR)),
]


def window_values(c):
    """Two values for the first window in one frame: the second counts."""
    c.frame(SETTINGS, 0, 0, setting((4, 100), (4, 1)))
    head(c, path='/bytes/10')


def one_byte(c):
    c.until('DATA', lambda: c.answer(1).length)
    equal((c.answer(1).length, c.answer(1).ended), (1, False), 'bytes that came within the window')
    c.frame(WINDOW, 0, 1, u32(1 << 20))
    answered()(c)


def acked(c):
    c.until('the ACK', lambda: sum(f[:2] == (SETTINGS, ACK) for f in c.frames) == 2)
    alive(c)


SETTINGS_ROWS = [
    ('6.5', 'SETTINGS', sends((SETTINGS, 0, 0, setting((3, 100)))), acked),
    ('6.5', 'SETTINGS with ACK and a payload', sends((SETTINGS, ACK, 0, bytes(6))), dies(FRAME_SIZE_ERROR)),
    ('6.5', 'SETTINGS on a stream', sends((SETTINGS, 0, 1, setting((3, 100)))), dies(PROTOCOL_ERROR)),
    ('6.5', 'SETTINGS of 3 bytes', sends((SETTINGS, 0, 0, bytes(3))), dies(FRAME_SIZE_ERROR)),
    ('6.5.2', 'ENABLE_PUSH of 2', sends((SETTINGS, 0, 0, setting((2, 2)))), dies(PROTOCOL_ERROR)),
    ('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31', sends((SETTINGS, 0, 0, setting((4, 1 << 31)))), dies(FLOW_CONTROL_ERROR)),
    ('6.5.2', 'MAX_FRAME_SIZE of 16383', sends((SETTINGS, 0, 0, setting((5, 16383)))), dies(PROTOCOL_ERROR)),
    ('6.5.2', 'MAX_FRAME_SIZE of 2^24', sends((SETTINGS, 0, 0, setting((5, 1 << 24)))), dies(PROTOCOL_ERROR)),
    ('6.5.2', 'an unknown setting is ignored', sends((SETTINGS, 0, 0, setting((0xff, 1)))), acked),
    ('8441 3', 'ENABLE_CONNECT_PROTOCOL of 2', sends((SETTINGS, 0, 0, setting((8, 2)))), dies(PROTOCOL_ERROR)),
    ('6.5.3', 'the last of two values counts', window_values, one_byte),
    ('6.5.3', 'SETTINGS are acknowledged', sends((SETTINGS, 0, 0, b'')), acked),
    ('6.7', 'PING is answered with its payload', sends((PING, 0, 0, b'hopeless')), pong(b'hopeless')),
    ('6.7', 'PING with ACK is not answered', sends((PING, ACK, 0, b'12345678'), (PING, 0, 0, b'87654321')), pong(b'87654321')),
    ('6.7', 'PING on a stream', sends((PING, 0, 1, bytes(8))), dies(PROTOCOL_ERROR)),
    ('6.7', 'PING of 6 bytes', sends((PING, 0, 0, bytes(6))), dies(FRAME_SIZE_ERROR)),
    ('6.8', 'GOAWAY from the client: what it asks later is served or the connection ends in order',
     sends((GOAWAY, 0, 0, u32(0, 0))), dies(NO_ERROR)),
    ('6.8', 'GOAWAY while a request is under way: it is answered',
     lambda c: (head(c, path='/slow/300'), c.frame(GOAWAY, 0, 0, u32(0, 0))),
     lambda c: (equal(c.wait(1).status, 200, 'status'), dies(NO_ERROR)(c))),
    ('6.8', 'GOAWAY on a stream', sends((GOAWAY, 0, 1, u32(0, 0))), dies(PROTOCOL_ERROR)),
    ('6.8', 'GOAWAY of 7 bytes', sends((GOAWAY, 0, 0, bytes(7))), dies(FRAME_SIZE_ERROR)),
]


def negative_window(c):
    """A window of 3 that data is under way in, then 2 less: it is below 0 and takes two more than it seems to be reopened."""
    c.frame(SETTINGS, 0, 0, setting((4, 3)))
    head(c, path='/bytes/10')
    c.until('3 bytes', lambda: c.answer(1).length == 3)
    c.frame(SETTINGS, 0, 0, setting((4, 2)))
    c.frame(WINDOW, 0, 1, u32(2))


def changed_window(c):
    grants_nothing(c)
    head(c, path='/bytes/10')
    c.until('the head', lambda: c.answer(1).headers)
    c.frame(PING, 0, 0, b'12345678')
    c.until('the answer to PING', lambda: c.pings)
    equal(c.answer(1).length, 0, 'bytes within a window of 0')
    c.frame(SETTINGS, 0, 0, setting((4, 1)))


WINDOWS = [
    ('6.9', 'WINDOW_UPDATE of the connection', sends((WINDOW, 0, 0, u32(1))), alive),
    ('6.9', 'WINDOW_UPDATE of a stream', posts([(WINDOW, 0, 1, u32(1)), (DATA, END_STREAM, 1, b'x')]), answered()),
    ('6.9', 'an increment of 0', sends((WINDOW, 0, 0, u32(0))), dies(PROTOCOL_ERROR)),
    ('6.9', 'an increment of 0 on a stream', posts([(WINDOW, 0, 1, u32(0))], path='/slow/2000'), blames(PROTOCOL_ERROR)),
    ('6.9', 'WINDOW_UPDATE of 3 bytes', sends((WINDOW, 0, 0, bytes(3))), dies(FRAME_SIZE_ERROR)),
    ('6.9.1', 'no more than the window allows',
     lambda c: (c.frame(SETTINGS, 0, 0, setting((4, 1))), head(c, path='/bytes/10')), one_byte),
    ('6.9.1', 'a window beyond 2^31-1', sends(*[(WINDOW, 0, 0, u32(0x7fffffff))] * 2), dies(FLOW_CONTROL_ERROR)),
    ('6.9.1', 'a window beyond 2^31-1 on a stream', posts([(WINDOW, 0, 1, u32(0x7fffffff))] * 2, path='/slow/2000'),
     blames(FLOW_CONTROL_ERROR)),
    ('6.9.2', 'windows that are open follow INITIAL_WINDOW_SIZE', changed_window, one_byte),
    ('6.9.2', 'a window below 0', negative_window,
     lambda c: (c.until('a byte more', lambda: c.answer(1).length > 3), equal(c.answer(1).length, 4, 'bytes'))),
    ('6.9.2', 'INITIAL_WINDOW_SIZE beyond 2^31-1', sends((SETTINGS, 0, 0, setting((4, 1 << 31)))), dies(FLOW_CONTROL_ERROR)),
    ('6.10', 'CONTINUATION', split_block(2), answered()),
    ('6.10', 'several CONTINUATION', split_block(4), answered()),
    ('6.10', 'CONTINUATION, then anything else', unfinished((CONTINUATION, 0, 1, b''), (DATA, END_STREAM, 1, b'test')),
     dies(PROTOCOL_ERROR)),
    ('6.10', 'CONTINUATION on stream 0', unfinished((CONTINUATION, END_HEADERS, 0, b'\x82')), dies(PROTOCOL_ERROR)),
    ('6.10', 'CONTINUATION on another stream', unfinished((CONTINUATION, END_HEADERS, 3, b'\x82')), dies(PROTOCOL_ERROR)),
    ('6.10', 'CONTINUATION behind HEADERS with END_HEADERS',
     lambda c: (head(c, flags=MORE, method='POST', path='/digest'), c.frame(CONTINUATION, END_HEADERS, 1, b'\x82')),
     dies(PROTOCOL_ERROR)),
    ('6.10', 'CONTINUATION behind CONTINUATION with END_HEADERS',
     lambda c: (split_block(3)(c), c.frame(CONTINUATION, END_HEADERS, 1, b'\x82')), dies(PROTOCOL_ERROR)),
    ('6.10', 'CONTINUATION behind DATA', posts([(DATA, END_STREAM, 1, b'test'), (CONTINUATION, END_HEADERS, 1, b'\x82')]),
     dies(PROTOCOL_ERROR)),
    ('7', 'GOAWAY with an unknown code', lambda c: (head(c, path='/slow/300'), c.frame(GOAWAY, 0, 0, u32(0, 0xff))),
     lambda c: (equal(c.wait(1).status, 200, 'status'), dies(NO_ERROR)(c))),
    ('7', 'RST_STREAM with an unknown code', posts([(RST, 0, 1, u32(0xff))]), alive),
]

with Story('HTTP/2 frame by frame', deadline=110) as t:
    one = Origin('one')
    weir = Weir(CONF, one=one)
    bad_preface(t, weir)
    run(t, weir, FRAMES + STREAMS + DATAS + SETTINGS_ROWS + WINDOWS)
    with t.case('the workers are the ones that began'):
        equal(dict(weir.workers()), weir.first_workers, 'workers')
