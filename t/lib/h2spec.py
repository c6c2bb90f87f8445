"""Tables of what an HTTP/2 server does with single frames: one connection for each row.

A row is (section, what is done, script, outcome).  The script gets a client whose preface is sent and answered; the
outcome gets the same client and fails where something else happened.  Outcomes that say the connection goes on prove it
by a request of their own.
"""

import socket
import struct

from h2client import *
from tap import Failed, equal, isin, true


def u32(*n):
    return b''.join(struct.pack('>I', v) for v in n)


def setting(*pairs):
    return b''.join(struct.pack('>HI', k, v) for k, v in pairs)


# ---- scripts ----

def sends(*frames):
    """Frames as (kind, flags, stream, payload)."""
    return lambda c: c.send(b''.join(frame(*f) for f in frames))


def head(c, stream=1, flags=END_STREAM | END_HEADERS, **how):
    """A request's HEADERS."""
    c.next = max(c.next, stream + 2)
    c.frame(HEADERS, flags, stream, c.block(fields(**how)))


def asks(stream=1, flags=END_STREAM | END_HEADERS, then=(), **how):
    """A request, then frames."""
    def script(c):
        head(c, stream, flags, **how)
        sends(*then)(c)
    return script


def posts(then, **how):
    """A request whose body follows in `then`."""
    return asks(1, END_HEADERS, then, **dict({'method': 'POST', 'path': '/digest'}, **how))


# ---- outcomes ----

def alive(c):
    """Another request is answered, nothing was said of an end."""
    s = c.request(path='/hello')
    c.send(frame(WINDOW_UPDATE, 0, 0, u32(9)) + frame(WINDOW_UPDATE, 0, s, u32(9)))
    a = c.wait(s)
    equal((a.status, a.text, c.goaways), (200, 'hello', []), 'an answer later on')


def answered(stream=1, status=200):
    def outcome(c):
        a = c.wait(stream)
        equal((a.status, a.ended), (status, True), 'answer')
        alive(c)
    return outcome


def dies(*codes):
    """A connection error: GOAWAY with one of the codes, then the end."""
    def outcome(c):
        isin(c.wait_goaway()[1], codes, 'code of the GOAWAY')
    return outcome


def resets(*codes, stream=1):
    """A stream error, and no more than that."""
    def outcome(c):
        c.until('the end of stream %d' % stream, lambda: c.answer(stream).reset is not None)
        isin(c.answer(stream).reset, codes, 'code of the RST_STREAM')
        alive(c)
    return outcome


def blames(*codes, stream=1):
    """A stream error, which a server may take for one of the connection (RFC 9113 5.4.2)."""
    def outcome(c):
        while c.answer(stream).reset is None and not c.goaways:
            if c.read() in (None, 'nothing'):
                raise Failed('neither RST_STREAM nor GOAWAY: %r' % c.frames)
        isin(c.goaways[-1][1] if c.goaways else c.answer(stream).reset, codes, 'code')
    return outcome


def closes(c):
    """The end, with or without GOAWAY."""
    while not c.eof:
        if c.read() == 'nothing':
            raise Failed('the connection is still open')


def pong(payload):
    def outcome(c):
        c.until('an answer to the PING', lambda: c.pings)
        equal(c.pings, [(ACK, payload)], 'PING frames that came')
        alive(c)
    return outcome


def run(t, weir, rows):
    for section, what, script, outcome in rows:
        with t.case('%s: %s' % (section, what)):
            with H2Client(weir.port, window=False) as c:
                c.until('the settings of the server', lambda: c.settings is not None)
                script(c)
                outcome(c)
