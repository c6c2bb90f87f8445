#!/usr/bin/python3
# timeout: 150
# What an idle client connection costs a worker, over TLS and over HTTP/2, side by side with nginx: the same certificate,
# the same request before, the same client.
import os
import socket
import ssl
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from tap import story
import h2client

CONF = '''
[weir]
max_connections = 8000
[listen clear]
bind = 127.0.0.1:{port}
[listen secure]
bind = 127.0.0.1:{port_tls}
certificate = {pair}
[route all]
respond = 200 fine
'''
NGINX = '''
    listen 127.0.0.1:%(tls)d ssl; listen 127.0.0.1:%(h2)d http2; listen 127.0.0.1:%(both)d ssl http2;
    ssl_certificate %(cert)s; ssl_certificate_key %(key)s;
    ssl_protocols TLSv1.2 TLSv1.3; keepalive_timeout 600;
    location / {{ return 200 "fine\\n"; }}
'''
COUNT = int(os.environ.get('CONNECTIONS', '500'))
FIRST = 100                     # not counted: they pay for what all share


def anonymous(pid):
    return status_kib(pid, 'RssAnon') * 1024


class Raw:
    """A connection that made one request and then says nothing."""

    def __init__(self, port, tls, h2):
        self.sock = socket.create_connection(('127.0.0.1', port), 20)
        story().adopt(self)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname='idle.test')
        if h2:
            pairs = h2client.fields(host='idle.test', scheme='https' if tls else 'http')
            self.sock.sendall(h2client.PREFACE + h2client.frame(h2client.SETTINGS) + h2client.frame(
                h2client.HEADERS, h2client.END_STREAM | h2client.END_HEADERS, 1, h2client.Encoder().encode(pairs)))
            self.read_h2()
            self.sock.sendall(h2client.frame(h2client.SETTINGS, h2client.ACK))
        else:
            self.sock.sendall(request(host='idle.test'))
            data = b''
            while b'fine' not in data:
                data += self.sock.recv(4096)

    def read_h2(self):
        data, ended = b'', False
        while not ended:
            more = self.sock.recv(4096)
            true(more, 'the connection stays open')
            data += more
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], 'big'):
                size = 9 + int.from_bytes(data[:3], 'big')
                ended |= data[3] in (h2client.DATA, h2client.HEADERS) and bool(data[4] & h2client.END_STREAM)
                data = data[size:]

    def kill(self):
        self.sock.close()

    def dump(self):
        return []


def settled(pid, rest):
    """What is left when nothing more has been given back for `rest` seconds."""
    least, since = anonymous(pid), time.monotonic()
    while time.monotonic() - since < rest:
        time.sleep(0.1)
        if anonymous(pid) < least:
            least, since = anonymous(pid), time.monotonic()
    return least


def cost(pid, port, tls, h2, rest):
    """Bytes for each connection."""
    clients = [Raw(port, tls, h2) for _ in range(FIRST)]
    before = settled(pid, rest)
    clients += [Raw(port, tls, h2) for _ in range(COUNT)]
    each = (settled(pid, rest) - before) / COUNT
    for client in clients:
        client.kill()
        story().things.remove(client)
    return each


with Story('memory of idle connections', deadline=140) as t:
    ca = Authority()
    pair = ca.issue('idle.test')
    v12 = ssl.TLSVersion.TLSv1_2
    ways = (('over TLS 1.3', True, False, None), ('over TLS 1.2', True, False, v12),
            ('of HTTP/2 in clear', False, True, None), ('of HTTP/2 over TLS 1.3', True, True, None))
    there = have_nginx()
    if not there:
        t.note('nginx is not installed: nothing to compare with')
    for i, (text, tls, h2, most) in enumerate(ways):
        with t.case('an idle connection %s costs less than one of nginx' % text):
            context = ca.client(alpn=('h2',) if h2 else ('http/1.1',), most=most) if tls else None
            # Fresh processes each time: what an allocator keeps from before would hide the cost.
            weir = Weir(CONF, name='weir-%d' % i, workers=1, pair=pair)
            own = cost(weir.worker_pids()[0], weir.ports['port_tls'] if tls else weir.port, context, h2, 2.0 if h2 else 0.3)
            weir.stop()
            theirs = None
            if there:
                ports = dict(tls=free_port(), h2=free_port(), both=free_port(), cert=pair.cert, key=pair.key)
                nginx = Nginx('nginx-%d' % i, NGINX % ports, connections=4096)
                theirs = cost(nginx.pid, ports['both' if tls and h2 else 'tls' if tls else 'h2'], context, h2, 0.3)
                nginx.stop()
            t.note('%s: %.0f bytes; nginx: %s' % (text, own, '%.0f bytes, ratio %.2f' % (theirs, own / theirs)
                                                 if there else 'not measured'))
            true(sanitized() or theirs is None or own < theirs, '%d bytes, nginx %d' % (own, theirs or 0))
