#!/usr/bin/python3
# Hostile HTTP/2 clients against one worker, each with a flood of its own, while a well-behaved client is served beside
# them: every flood ends in GOAWAY with ENHANCE_YOUR_CALM or the like, and the worker's memory stays what it was.
# timeout: 300
import os
import struct
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from h2client import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
max_requests = 1000000

[route hello]
path = /hello
respond = 200 hello
[route all]
upstream = app
[upstream app]
server = {one}
'''
MORE = 12 << 20                 # bytes that a worker may grow by, floods and pools together


def u32(n):
    return struct.pack('>I', n)


def repeat(piece):
    return lambda c: piece * (1 + 20000 // len(piece))


def rapid_reset(c):
    out = b''
    for _ in range(200):
        s, c.next = c.next, c.next + 2
        out += frame(HEADERS, END_HEADERS | END_STREAM, s, c.block(fields(path='/slow/2000')))
        out += frame(RST_STREAM, 0, s, u32(CANCEL))
    return out


def made_you_reset(bad):
    """Streams that are valid until weir has to reset them."""
    def make(c):
        out = b''
        for _ in range(100):
            s, c.next = c.next, c.next + 2
            out += frame(HEADERS, END_HEADERS | END_STREAM, s, c.block(fields(path='/slow/2000'))) + bad(s)
        return out
    return make


def malformed(c):
    """Requests of a method alone."""
    out = b''
    for _ in range(200):
        s, c.next = c.next, c.next + 2
        out += frame(HEADERS, END_HEADERS | END_STREAM, s, b'\x82')
    return out


def endless_block(payload):
    def make(c):
        if not hasattr(c, 'begun'):
            c.begun = True
            return frame(HEADERS, END_STREAM, 1, c.block(fields()))
        return frame(CONTINUATION, 0, 1, payload) * (1 + 20000 // (9 + len(payload)))
    return make


def bomb(c):
    """One large field in the table, then references to it, one byte each."""
    s, c.next = c.next, c.next + 2
    if s == 1:
        return frame(HEADERS, END_HEADERS | END_STREAM, s, c.block(fields(path='/hello', more=[('x-bomb', 'y' * 3900)])))
    return frame(HEADERS, END_HEADERS | END_STREAM, s, c.block(fields(path='/slow/2000')) + b'\xbe' * 16000)


CALM = (ENHANCE_YOUR_CALM,)
FLOODS = [
    ('rapid reset', rapid_reset, CALM),
    ('window updates of 0 on streams', made_you_reset(lambda s: frame(WINDOW_UPDATE, 0, s, u32(0))),
     (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)),
    ('windows that overflow', made_you_reset(lambda s: frame(WINDOW_UPDATE, 0, s, u32(0x7fffffff))), CALM),
    ('DATA behind the end of a stream', made_you_reset(lambda s: frame(DATA, 0, s, b'x')),
     (ENHANCE_YOUR_CALM, STREAM_CLOSED)),
    ('HEADERS behind the end of a stream', made_you_reset(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, b'\x82')),
     (ENHANCE_YOUR_CALM, STREAM_CLOSED, PROTOCOL_ERROR)),
    ('PRIORITY of 4 bytes', made_you_reset(lambda s: frame(PRIORITY, 0, s, b'1234')),
     (ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR)),
    ('malformed requests', malformed, CALM),
    ('CONTINUATION without end', endless_block(b'\x00\x01x\x01y' * 100), CALM),
    ('empty CONTINUATION', endless_block(b''), CALM),
    ('SETTINGS', repeat(frame(SETTINGS, 0, 0, struct.pack('>HI', 4, 65535))), CALM),
    ('empty SETTINGS', repeat(frame(SETTINGS)), CALM),
    ('PING', repeat(frame(PING, 0, 0, b'12345678')), CALM),
    ('answers to no PING', repeat(frame(PING, ACK, 0, b'12345678')), CALM),
    ('PRIORITY', repeat(frame(PRIORITY, 0, 3, u32(0) + b'\x10')), CALM),
    ('unknown frames', repeat(frame(99, 0, 0, b'x')), CALM),
    ('window updates', repeat(frame(WINDOW_UPDATE, 0, 0, u32(1))), CALM + (FLOW_CONTROL_ERROR,)),
    ('HPACK references', bomb, CALM),
]


def flood_of_data(empty):
    def make(c):
        if not hasattr(c, 'begun'):
            c.begun = True
            c.next = 3
            return frame(HEADERS, END_HEADERS, 1, c.block(fields('POST', path='/digest')))
        return empty * (1 + 20000 // len(empty))
    return make


FLOODS += [
    ('empty DATA', flood_of_data(frame(DATA, 0, 1)), CALM),
    ('DATA of padding alone', flood_of_data(frame(DATA, PADDED, 1, b'\x00')), CALM),
]


def run(weir, make):
    """Floods until the end, at most 10 MB; the code of the GOAWAY."""
    with H2Client(weir.port, window=False, ack=False, timeout=20) as c:
        sent = 0
        while sent < 10 << 20 and not c.eof and not c.goaways:
            piece = make(c)
            sent += len(piece)
            if not c.send(piece):
                break
            while c.read(0.001) not in (None, 'nothing'):
                pass
        true(sent < 10 << 20, 'weir took %d bytes of flood' % sent)
        try:
            while not c.eof:
                if c.read(3) == 'nothing':
                    break
        except OSError:
            pass
        return c.goaways[-1][1] if c.goaways else None


with Story('floods of HTTP/2 frames', deadline=280) as t:
    one = Origin('one')
    weir = Weir(CONF, one=one, workers=1)
    pid = weir.worker_pids()[0]
    good = H2Client(weir.port)
    good.fetch(path='/hello')
    for _ in range(3):
        run(weir, repeat(frame(PING, 0, 0, b'12345678')))
    base = rss(pid)
    for what, make, codes in FLOODS:
        with t.case('%s: the connection ends, the worker is as it was, others are served' % what):
            cpu = cpu_seconds(pid)
            code = run(weir, make)
            t.note('%s: code %s' % (what, code))
            # A reset by the kernel may overtake the GOAWAY where the flood went on.
            isin(code, codes + (None,), 'code of the GOAWAY')
            began = time.monotonic()
            equal(good.fetch(path='/hello').text, 'hello', 'answer to another client')
            between(time.monotonic() - began, 0, 2, 'seconds that the other client waited')
            if not sanitized():
                between(cpu_seconds(pid) - cpu, 0, 3, 'CPU seconds of the worker')
                true(rss(pid) - base < MORE, 'the worker grew by %d KiB' % (rss(pid) - base >> 10))
    with t.case('30 connections reset their streams at once: one more client is served within a second'):
        attackers = [H2Client(weir.port, window=False, ack=False) for _ in range(30)]
        for c in attackers:
            c.send(rapid_reset(c))
        began = time.monotonic()
        equal(fetch(weir.port, 'GET', '/hello').text, 'hello', 'answer')
        between(time.monotonic() - began, 0, 3, 'seconds')
        for c in attackers:
            c.sock.close()
    with t.case('after all of it nothing is left: no exchange, memory flat'):
        good.sock.close()
        wait_idle(weir)
        t.note('the worker grew by %d KiB' % (rss(pid) - base >> 10))
        if not sanitized():
            true(rss(pid) - base < MORE, 'the worker grew by %d KiB' % (rss(pid) - base >> 10))
    with t.case('the log says what it was'):
        weir.wait_access({'reason': 'flood'})
