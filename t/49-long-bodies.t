#!/usr/bin/python3
# Bodies much longer than any buffer, both ways and in either framing: whole at the other end, also past slow readers and
# many at a time, and never whole when their sender breaks off.
# timeout: 150
import json
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
max_body_size = 64m

[route all]
upstream = app
retries = 0

[upstream app]
server = {app}
max_fails = 0
'''
LONG = 6 << 20


def broken_off(message, conn):
    """/part/KIND/N/END: N bytes of a body that was to be longer, then its end."""
    if not message.target.startswith('/part/'):
        return conn.origin.well_behaved(message, conn)
    kind, size, end = message.target.split('/')[2:5]
    if kind == 'length':
        text = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % LONG + body_of(int(size))
    else:
        text = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n' % LONG + body_of(int(size))
    return [text, end]


def answers(t, weir):
    for kind in ('bytes', 'chunked'):
        with t.case('a long answer (%s) is whole, time and again on one connection' % kind):
            with Client(weir.port, keep=0, sha=True) as client:
                for size in (LONG, 20000, 300000, LONG + 1):
                    message = client.fetch('GET', '/%s/%d' % (kind, size))
                    equal((message.length, message.sha256()), (size, digest_of(size)), 'length and digest')
        with t.case('more long answers (%s) to slow readers than there are big buffers' % kind):
            clients = [Client(weir.port, rcvbuf=8192, keep=0, sha=True) for _ in range(80)]
            for client in clients:
                client.ask('GET', '/%s/%d' % (kind, 1 << 20))
            equal(fetch(weir.port, 'GET', '/bytes/50000').length, 50000, 'length for somebody else meanwhile')
            for client in clients:
                message = client.read(timeout=60)
                equal((message.length, message.sha256()), (1 << 20, digest_of(1 << 20)), 'length and digest')
                client.close()


def truncated(t, weir):
    for kind in ('length', 'chunked'):
        for end in ('close', 'reset'):
            with t.case('a long answer (%s) that ends too early by %s is not whole' % (kind, end)):
                for size in (0, 16384, 16385, 300000, 1000000, LONG - 1):
                    try:
                        message = fetch(weir.port, 'GET', '/part/%s/%d/%s' % (kind, size, end))
                        equal((message.status, end), (502, 'reset'), 'status after %d bytes, where all got lost' % size)
                    except (Truncated, Reset):
                        pass
    with t.case('nothing is left of them'):
        wait_idle(weir)


def uploads(t, weir, app):
    for chunked in (False, True):
        with t.case('a long upload%s is whole' % (' in chunks' if chunked else '')):
            text = body_of(LONG)
            with Client(weir.port, timeout=60) as client:
                if chunked:
                    client.send(request('POST', '/digest', [('Transfer-Encoding', 'chunked')]), 'POST')
                    for at in range(0, LONG, 100000):
                        piece = text[at:at + 100000]
                        client.send(b'%x\r\n%s\r\n' % (len(piece), piece))
                    client.send(b'0\r\n\r\n')
                else:
                    client.send(request('POST', '/digest', [('Content-Length', str(LONG))]) + text, 'POST')
                got = json.loads(client.read().body)
                equal((got['length'], got['sha256']), (LONG, digest_of(LONG)), 'length and digest')
                equal(client.fetch('GET', '/echo').status, 200, 'status of the next request')
    with t.case('a client that breaks off in a long upload: the origin never has it whole'):
        app.forget()
        for size in (1, 20000, 1000000):
            client = Client(weir.port)
            client.send(request('POST', '/digest', [('Content-Length', str(LONG))]) + body_of(size), 'POST')
            client.reset()
        wait_idle(weir)
        equal([m for m in app.requests if m.complete], [], 'uploads that looked whole')


with Story('long bodies', deadline=120) as t:
    app = Origin('app', handler=broken_off)
    weir = Weir(CONF, app=app, workers=1)
    answers(t, weir)
    truncated(t, weir)
    uploads(t, weir, app)
