#!/usr/bin/python3
# The PROXY protocol: proxies in front of weir that say whose connection it is, others that have no right to, headers cut,
# broken and late; and servers behind weir that are told the same, curl and real proxies among them.
# timeout: 120
import json
import os
import socket
import struct
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from tap import SLOW

CONF = '''
[weir]
log_level = info
[listen must]
bind = 127.0.0.1:{port}
proxy_protocol = required
trusted_proxies = 127.0.0.1, 192.0.2.0/24
header_timeout = 800ms
[listen may]
bind = 127.0.0.1:{port_may}
proxy_protocol = optional
trusted_proxies = 127.0.0.1
header_timeout = 800ms
[listen any]
bind = *:{port_any}
[listen never]
bind = 127.0.0.1:{port_off}
trusted_proxies = 127.0.0.1

[route v1]
path = /v1
upstream = v1
[route v2]
path = /v2
upstream = v2
[route mixed]
path = /mixed
upstream = mixed
[route all]
upstream = one

[upstream one]
server = {one}
[upstream v1]
server = {first}
send_proxy = v1
check = http
check_interval = 100ms
[upstream v2]
server = {second}
send_proxy = v2
check = http
check_interval = 100ms
[upstream mixed]
server = {one}
send_proxy = v1
max_fails = 0
'''

SIG = b'\r\n\r\n\0\r\nQUIT\n'
GET = request('GET', '/echo', [('Connection', 'close')])


def v1(src='203.0.113.7', dst='198.51.100.1', sport=4242, dport=443, family='TCP4'):
    return ('PROXY %s %s %s %d %d\r\n' % (family, src, dst, sport, dport)).encode()


def v2(src='203.0.113.7', dst='198.51.100.1', sport=4242, dport=443, command=1, extras=b''):
    kind = socket.AF_INET6 if ':' in src else socket.AF_INET
    body = socket.inet_pton(kind, src) + socket.inet_pton(kind, dst) + struct.pack('>HH', sport, dport) + extras
    return SIG + bytes([0x20 | command, 0x21 if ':' in src else 0x11]) + struct.pack('>H', len(body)) + body


def through(port, header, after=GET, source=None, address='127.0.0.1'):
    """The answer to a request behind a header."""
    with Client(port, source=source, address=address) as client:
        client.send(header + after)
        return client.read()


def told(answer):
    """What the origin was told of the client."""
    equal(answer.status, 200, 'status')
    headers = {n.lower(): v for n, v in json.loads(answer.body)['headers']}
    return headers.get('x-forwarded-for'), headers.get('x-real-ip')


def hung_up(port, data, limit=None, source=None):
    """The connection ends without an answer; the seconds it took."""
    began = time.monotonic()
    with Client(port, source=source) as client:
        client.send(data)
        client.expect_end(limit)
    return time.monotonic() - began


def inbound(t, weir):
    good = {'v1': v1(), 'v2': v2(), 'v2 with extras': v2(extras=b'\x04\0\5abcde\x01\0\2h2'), 'v1 of IPv6': v1(
        '2001:db8::7', '2001:db8::1', family='TCP6'), 'v2 of IPv6': v2('2001:db8::7', '2001:db8::1')}
    for what, header in good.items():
        ip = '2001:db8::7' if 'IPv6' in what else '203.0.113.7'
        with t.case('the client named in a header (%s) is the client' % what):
            for port in (weir.port, weir.ports['port_may']):
                equal(told(through(port, header)), (ip, ip), 'told')
            weir.wait_access({'client': ip, 'uri': '/echo', 'listen': 'must'})
    with t.case('a header may come in any pieces, the request with it or later'):
        for header in (v1(), v2(extras=b'\x04\0\1x')):
            with Client(weir.port) as client:
                for i in range(len(header)):
                    client.send(header[i:i + 1])
                    if i % 7 == 0:
                        time.sleep(0.002)
                time.sleep(0.05)
                client.send(GET)
                equal(told(client.read()), ('203.0.113.7', '203.0.113.7'), 'told')
    with t.case('one header counts for every request of a connection'):
        with Client(weir.port) as client:
            client.send(v2())
            for _ in range(3):
                equal(told(client.fetch('GET', '/echo')), ('203.0.113.7', '203.0.113.7'), 'told')
    with t.case('LOCAL, UNKNOWN and other families leave the peer what it is'):
        for header in (b'PROXY UNKNOWN\r\n', b'PROXY UNKNOWN a b c d\r\n', v2(command=0), SIG + b'\x20\0\0\0',
                       SIG + b'\x21\0\0\3abc', SIG + b'\x21\x31\0\xd8' + bytes(216)):
            equal(told(through(weir.port, header)), ('127.0.0.1', '127.0.0.1'), 'told by %s' % show(header, 60))
    with t.case('X-Forwarded-For behind a header is believed only when the client named is trusted too'):
        lie = request('GET', '/echo', [('X-Forwarded-For', '198.51.100.99'), ('Connection', 'close')])
        equal(told(through(weir.port, v1(), lie)), ('203.0.113.7', '203.0.113.7'), 'a stranger')
        equal(told(through(weir.port, v1('192.0.2.1'), lie)), ('198.51.100.99, 192.0.2.1', '198.51.100.99'), 'a proxy')
    with t.case('curl sends one'):
        for port in (weir.port, weir.ports['port_may']):
            got = curl('--haproxy-protocol', 'http://127.0.0.1:%d/echo' % port)
            equal((got.code, got.status), (0, 200), 'exit and status')
    with t.case('optional: a trusted proxy may leave the header out, whatever its request begins with'):
        for method in ('GET', 'POST', 'PROPFIND', 'P', 'PROXYING'):
            equal(fetch(weir.ports['port_may'], method, '/echo').status, 200, 'status')
    with t.case('bytes of the header are no part of what is counted'):
        through(weir.port, v1(), request('POST', '/echo?body', [('Connection', 'close')], b'12345'))
        equal(weir.wait_access({'uri': '/echo?body'})['in'], '5', 'bytes')


BAD = {
    'no header': GET, 'a port too high': v1(sport=65536), 'an address that is none': v1('203.0.113.777'),
    'addresses of another family': v1('::1', '::2'), 'a bare line feed': v1()[:-2] + b'\n',
    'a line too long': b'PROXY UNKNOWN ' + b'x' * 200 + b'\r\n', 'an unknown command': SIG + b'\x22\x11\0\x0c' + bytes(12),
    'version 3': SIG + b'\x31\x11\0\x0c' + bytes(12), 'an unknown family': SIG + b'\x21\x51\0\x0c' + bytes(12),
    'too short for its family': SIG + b'\x21\x21\0\x0c' + bytes(12), 'extras that overrun': v2(extras=b'\x04\0\x09abc'),
    'a length beyond all measure': SIG + b'\x21\x11\xff\xff' + bytes(5000), 'TLS': b'\x16\x03\x01\x02\x00\x01\x00',
}


def hostile(t, weir):
    for what, data in BAD.items():
        with t.case('%s: the connection is closed at once' % what):
            hung_up(weir.port, data if data == GET else data + GET, 0.6 * SLOW)
    with t.case('a header that stops half way, or comes a byte at a time, is waited for as long as header_timeout'):
        for part in (b'P', v1()[:-1], SIG[:5], v2()[:20], b''):
            between(hung_up(weir.port, part), 0.6, 3 * SLOW, 'seconds after %s' % show(part))
        with Client(weir.port) as client:
            began = time.monotonic()
            try:
                for byte in v2(extras=b'\x04\x04\x00' + bytes(1024)):
                    client.sock.sendall(bytes([byte]))
                    time.sleep(0.01)
            except OSError:
                pass
            between(time.monotonic() - began, 0.6, 3 * SLOW, 'seconds')
        weir.wait_errors('its PROXY header did not arrive within header_timeout')
    with t.case('a proxy that leaves within its header takes nothing along'):
        for part in (b'', b'PRO', v2()[:20]):
            with Client(weir.port) as client:
                client.send(part)
                client.half_close()
                client.expect_end(0.6 * SLOW)
        wait_idle(weir)
    with t.case('required: who is not trusted is hung up on, header or not'):
        for data in (v1() + GET, v2() + GET, GET, b''):
            hung_up(weir.port, data, 0.6 * SLOW, source='127.0.0.2')
    with t.case('optional: from who is not trusted it is a malformed request'):
        answer = through(weir.ports['port_may'], v1(), source='127.0.0.2')
        equal(answer.status, 400, 'status')
        equal(told(through(weir.ports['port_may'], b'', source='127.0.0.2')), ('127.0.0.2', '127.0.0.2'), 'without one')
    with t.case('off: it is a malformed request, from trusted proxies too'):
        for header in (v1(), v2()):
            equal(through(weir.ports['port_off'], header).status, 400, 'status')
    with t.case('a second header is a malformed request'):
        equal(through(weir.port, v1() + v1('192.0.2.9')).status, 400, 'status')


class Listening:
    """An origin's on_connect: reads one header off each connection and keeps what it says."""

    def __init__(self, version):
        self.version, self.seen, self.local = version, [], 0

    async def exactly(self, conn, n):
        data = await conn.reader.readexactly(n)
        conn.trace('<', data)
        return data

    async def __call__(self, conn):
        if self.version == 1:
            line = (await conn.reader.readuntil(b'\r\n')).decode().split()
            if line[:2] == ['PROXY', 'UNKNOWN']:
                self.local += 1
                return
            family, src, dst, sport, dport = line[1:]
            self.seen.append((src, dst, int(sport), int(dport)))
            return
        head = await self.exactly(conn, 16)
        if head[:12] != SIG or head[12] >> 4 != 2:
            raise Hangup()
        body = await self.exactly(conn, struct.unpack('>H', head[14:])[0])
        if head[12] & 15 == 0:
            self.local += 1
            return
        size, kind = (4, socket.AF_INET) if head[13] == 0x11 else (16, socket.AF_INET6)
        self.seen.append((socket.inet_ntop(kind, body[:size]), socket.inet_ntop(kind, body[size:2 * size])) +
                         struct.unpack('>HH', body[2 * size:2 * size + 4]))


def outbound(t, weir, hellos):
    for version, hello in hellos.items():
        path, port = '/v%d/echo' % version, weir.ports['port_any']
        with t.case('servers are told client and destination (v%d), over IPv4 and IPv6' % version):
            for address in ('127.0.0.1', '::1'):
                with Client(port, address=address) as client:
                    equal(client.fetch('GET', path).status, 200, 'status')
                    equal(hello.seen[-1], (address, address, client.port, port), 'told')
        with t.case('a client that a proxy named is told on (v%d)' % version):
            for header in (v1(), v2()):
                equal(through(weir.port, header, request('GET', path, [('Connection', 'close')])).status, 200, 'status')
                equal(hello.seen[-1], ('203.0.113.7', '198.51.100.1', 4242, 443), 'told')
            equal(through(weir.port, v1('2001:db8::7', '2001:db8::1', family='TCP6'),
                          request('GET', path, [('Connection', 'close')])).status, 200, 'status')
            equal(hello.seen[-1], ('2001:db8::7', '2001:db8::1', 4242, 443), 'told')
        with t.case('one client never rides on the connection of another (v%d)' % version):
            del hello.seen[:]
            with Client(port) as one, Client(port) as two:
                for client in (one, two, one, two):
                    equal(client.fetch('GET', path).status, 200, 'status')
                equal([s[2] for s in hello.seen], [one.port, two.port] * 2, 'ports told')
        with t.case('health checks open with a header that speaks for weir itself (v%d)' % version):
            had = hello.local
            until('two more checks', lambda: hello.local >= had + 2)
            equal([s['state'] for s in servers(weir) if s['upstream'] == 'v%d' % version], ['up'], 'state')
    with t.case('a server that expects none answers 400, and no request is lost in the header'):
        equal(fetch(weir.ports['port_any'], 'GET', '/mixed').status, 502, 'status')
        equal(fetch(weir.ports['port_any'], 'GET', '/echo').status, 200, 'status of the next')
    with t.case('two of them in a row: the second is told what the first was'):
        behind = Weir('[listen in]\nbind = 127.0.0.1:{port}\nproxy_protocol = required\ntrusted_proxies = 127.0.0.1\n'
                      '[route all]\nrespond = 200 $client_ip $client_port\n', name='behind')
        front = Weir('[listen in]\nbind = 127.0.0.1:{port}\n[route all]\nupstream = behind\n[upstream behind]\n'
                     'server = 127.0.0.1:{behind}\nsend_proxy = v2\n', name='front', behind=behind.port)
        equal(fetch(front.port, 'GET', '/', source='127.0.0.77').body.split()[0], b'127.0.0.77', 'client')


def configuration(t):
    with t.case('proxy_protocol needs trusted_proxies, keepalive has no part in send_proxy'):
        run = weir_run('-t', conf='[listen a]\nbind = 127.0.0.1:1\nproxy_protocol = optional\n[route r]\nrespond = 200\n')
        equal(run.code, 1, 'exit status')
        contains(run.text, '[listen a] proxy_protocol: nobody may send a PROXY header', 'message')
        run = weir_run('-t', conf='[listen a]\nbind = 127.0.0.1:{port}\n[route r]\nupstream = u\n[upstream u]\n'
                       'server = 127.0.0.1:1\nsend_proxy = v1\nkeepalive = 7\n')
        equal(run.code, 0, 'exit status')
        contains(run.text, 'never used again', 'warning')


with Story('the PROXY protocol', deadline=100) as t:
    one = Origin('one')
    hellos = {1: Listening(1), 2: Listening(2)}
    first = Origin('first', on_connect=hellos[1])
    second = Origin('second', on_connect=hellos[2])
    weir = Weir(CONF, one=one, first=first, second=second)
    inbound(t, weir)
    hostile(t, weir)
    outbound(t, weir, hellos)
    configuration(t)
