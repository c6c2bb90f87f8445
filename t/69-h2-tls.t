#!/usr/bin/python3
# HTTP/2 over TLS: chosen by ALPN, refused where a listener does not offer it, one connection for many streams; a client
# certificate that one host asks for is asked for over HTTP/2 too.
import json
import os
import socket
import ssl
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen both]
bind = 127.0.0.1:{port}
certificate = {pair}
[listen old]
bind = 127.0.0.1:{port_old}
certificate = {pair}
http2 = no
[tls guarded]
host = guarded.test
certificate = {guarded}
client_ca = {ca}
[route all]
upstream = one
[upstream one]
server = {one}
'''


def chosen(ca, port, *offered, name='front.test'):
    context = ca.client(verify=False, alpn=offered)
    with socket.create_connection(('127.0.0.1', port), 10) as sock:
        with context.wrap_socket(sock, server_hostname=name) as tls:
            return tls.selected_alpn_protocol()


with Story('HTTP/2 over TLS', deadline=60) as t:
    ca = Authority()
    front, guarded = ca.issue('front.test'), ca.issue('guarded.test')
    weir = Weir(CONF, one=Origin('one'), pair=front, guarded=guarded, ca=ca.cert)
    old = weir.ports['port_old']
    url = 'https://front.test:%d' % weir.port
    at = ('-k', '--resolve', 'front.test:%d:127.0.0.1' % weir.port, '--resolve', 'guarded.test:%d:127.0.0.1' % weir.port)
    with t.case('ALPN: HTTP/2 where it is offered by both, else HTTP/1.1, else no connection'):
        equal(chosen(ca, weir.port, 'h2', 'http/1.1'), 'h2', 'chosen')
        equal(chosen(ca, weir.port, 'http/1.1'), 'http/1.1', 'chosen')
        equal(chosen(ca, old, 'h2', 'http/1.1'), 'http/1.1', 'chosen where http2 = no')
        try:
            chosen(ca, weir.port, 'spdy/1')
            true(False, 'a handshake without a common protocol')
        except ssl.SSLError:
            pass
    with t.case('a request over HTTP/2: the server is told https, the log HTTP/2'):
        done = curl('--http2', '-w', '%{http_version}', *at, url + '/echo')
        contains(done.text, '["X-Forwarded-Proto", "https"]', 'told')
        true(done.text.endswith('2'), 'HTTP version in %r' % done.text[-4:])
        weir.wait_access({'uri': '/echo', 'protocol': 'HTTP/2'})
    with t.case('5 MiB down and up'):
        done = curl('--http2', *at, url + '/bytes/5242880')
        equal(len(done.body), 5242880, 'bytes')
        path = t.path('upload')
        with open(path, 'wb') as f:
            f.write(os.urandom(5 << 20))
        equal(json.loads(curl('--http2', '--data-binary', '@' + path, *at, url + '/digest').text)['length'], 5 << 20,
              'bytes that arrived')
    with t.case('a host that asks for a certificate gets no request over a connection that showed none'):
        done = curl('--http2', '-w', '%{http_code}', '-H', 'Host: guarded.test', *at, url + '/echo')
        true(done.text.endswith('421'), 'status in %r' % done.text[-4:])
    weir.stop()
