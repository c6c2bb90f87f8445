#!/usr/bin/python3
# The PROXY protocol and TLS on one connection: a proxy in front of weir sends its header and then the client's handshake,
# at once or by and by; a server behind weir gets the header in clear before the handshake.
import os
import socket
import ssl
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[weir]
log_level = info
[listen https]
bind = 127.0.0.1:{port}
certificate = {pair}
proxy_protocol = required
trusted_proxies = 127.0.0.1
header_timeout = 3s
[route all]
upstream = one
[route out]
path = /out
upstream = out
[upstream one]
server = {one}
[upstream out]
server = 127.0.0.1:{port_server}
send_proxy = v1
tls = yes
tls_ca = {ca}
tls_name = server.test
'''

HEADER = b'PROXY TCP4 203.0.113.7 198.51.100.1 4242 443\r\n'


def over(authority, sock):
    return authority.client(verify=False).wrap_socket(sock, server_hostname='front.test')


def ask(tls, path):
    tls.sendall(request('GET', path, [('Connection', 'close')]))
    got = b''
    while True:
        more = tls.recv(65536)
        if not more:
            return got
        got += more


class Memory:
    """A handshake whose bytes the test carries, so that the first can go in one packet with the header."""

    def __init__(self, authority):
        self.inside, self.outside = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = authority.client(verify=False).wrap_bio(self.inside, self.outside, server_hostname='front.test')
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass

    def hello(self):
        return self.outside.read()


def server(listener, context, seen):
    """Takes one connection: the line in clear, then a request over TLS."""
    sock, _ = listener.accept()
    sock.settimeout(10)
    line = b''
    while not line.endswith(b'\r\n'):
        line += sock.recv(1)
    seen.append(line)
    tls = context.wrap_socket(sock, server_side=True)
    got = b''
    while b'\r\n\r\n' not in got:
        got += tls.recv(4096)
    tls.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
    tls.close()


def both(t):
    authority = Authority()
    front, back = authority.issue('front.test'), authority.issue('server.test')
    listener = socket.create_server(('127.0.0.1', 0))
    weir = Weir(CONF, one=Origin('one'), pair=front, ca=authority.cert, port_server=listener.getsockname()[1])
    with t.case('a handshake behind the header, sent later'):
        with socket.create_connection(('127.0.0.1', weir.port), 10) as sock:
            sock.sendall(HEADER)
            time.sleep(0.05)
            answer = ask(over(authority, sock), '/echo')
            contains(answer, b'203.0.113.7', 'told to the server')
            contains(answer, b'https', 'the scheme told')
    with t.case('a handshake whose first bytes come in one packet with the header'):
        memory = Memory(authority)
        with socket.create_connection(('127.0.0.1', weir.port), 10) as sock:
            sock.sendall(HEADER + memory.hello())
            true(sock.recv(1) == b'\x16', 'the handshake is answered')
    with t.case('no header: no handshake either'):
        with socket.create_connection(('127.0.0.1', weir.port), 10) as sock:
            sock.sendall(Memory(authority).hello())
            try:
                got = sock.recv(100)
            except ConnectionResetError:
                got = b''
            equal(got, b'', 'what came')
    with t.case('a server gets the header in clear, then the handshake'):
        seen = []
        thread = threading.Thread(target=server, args=(listener, authority.server(back), seen), daemon=True)
        thread.start()
        with socket.create_connection(('127.0.0.1', weir.port), 10) as sock:
            sock.sendall(HEADER)
            contains(ask(over(authority, sock), '/out'), b'200 OK', 'answer')
        thread.join(10)
        contains(seen[0], b'PROXY TCP4 203.0.113.7 ', 'header')
    weir.stop()


with Story('the PROXY protocol and TLS', deadline=60) as t:
    both(t)
