#!/usr/bin/python3
# Origin `one` behind weir, clients in front: what a client sends reaches the origin whole and once, what the origin
# answers reaches that client whole and in order, whatever the framing, version or pace of either side.
# timeout: 300
import asyncio
import json
import os
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

BIG = (48 if by_h2() else 200) << 20         # the bridge to HTTP/2 is Python
FLAT = 8 << 20                      # how much a worker may grow over any body, however large

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
max_body_size = 0

[route old]
path = /old
upstream = old
[route closing]
path = /closing
upstream = closing
[route early]
path = /early
upstream = early
[route gate]
path = /gate
upstream = gate
[route hints]
path = /hints
upstream = hints
[route dribble]
path = /dribble
upstream = dribble
[route nginx]
path = /nginx
upstream = nginx
[route flask]
path = /flask
upstream = flask
[route node]
path = /node
upstream = node
[route unix]
path = /unix
upstream = unix
[route ip6]
path = /ip6
upstream = ip6
[route all]
upstream = one

[upstream one]
server = {one}
[upstream old]
server = {old}
[upstream closing]
server = {closing}
[upstream early]
server = {early}
[upstream gate]
server = {gate}
[upstream hints]
server = {hints}
[upstream dribble]
server = {dribble}
[upstream nginx]
server = {nginx}
[upstream flask]
server = {flask}
[upstream node]
server = {node}
[upstream unix]
server = {unix}
[upstream ip6]
server = {ip6}
'''


def say_close(message, conn):
    """Answers without a length, ends the body by closing."""
    return [b'HTTP/1.1 200 OK\r\nX-Origin: closing\r\nContent-Type: text/plain\r\n\r\n', b'closing ', 0.02,
            b'means the end', 'close']


async def answer_early(message, conn):
    """Answers when the head is here, then hangs up without reading the body."""
    if message.target == '/early/read':
        await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly')
        await conn.body(message)
        return
    await conn.send(b'HTTP/1.1 413 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly')
    conn.close()


GATE = asyncio.Event()


async def keep_the_gate(message, conn):
    """Takes the head at once, but the body only when the gate opens; refuses expectations below /gate/refuse."""
    if message.target.startswith('/gate/refuse'):
        return Reply(403, 'not that', close=True)
    await GATE.wait()
    await conn.body(message)
    return Reply(200, json.dumps({'sha256': message.sha256(), 'length': message.length}))


def hint(message, conn):
    return [b'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n', 0.05,
            b'HTTP/1.1 103 Early Hints\r\nLink: </script.js>; rel=preload\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone']


async def dribble_out(message, conn):
    """The answer byte by byte, each in a packet of its own."""
    text = (b'HTTP/1.1 200 OK\r\nX-Origin: dribble\r\nTransfer-Encoding: chunked\r\n\r\n'
            b'3;ext=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 13\r\n\r\n')
    for i in range(len(text)):
        await conn.send(text[i:i + 1])
        await asyncio.sleep(0.001)


def names(headers):
    return [n.lower() for n, _ in headers]


def methods_and_bodies(t, weir, one):
    for method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'M-SEARCH'):
        with t.case('%s reaches the origin as it was sent, with its body' % method):
            body = b'' if method == 'GET' else b'some body'
            answer = fetch(weir.port, method, '/echo?x=1&y=%20', [('X-Mine', 'my value')], body)
            equal(answer.status, 200, 'status')
            echo = json.loads(answer.text)
            equal((echo['method'], echo['target'], echo['version']), (method, '/echo?x=1&y=%20', '1.1'), 'request line')
            equal(echo['body'], body.decode(), 'body')
            contains(echo['headers'], [spelled('X-Mine'), 'my value'], 'headers')
    with t.case('HEAD gets the length of what GET would get and no body, and the connection goes on'):
        with Client(weir.port) as client:
            answer = client.fetch('HEAD', '/bytes/1234')
            equal((answer.status, answer.header('Content-Length'), answer.length), (200, '1234', 0), 'answer')
            equal(one.last.method, 'HEAD', 'what the origin saw')
            equal(client.fetch('GET', '/bytes/1234').body, body_of(1234), 'body of a GET after it')
    for status in (204, 304):
        with t.case('%d has no body, and the connection goes on' % status):
            with Client(weir.port) as client:
                answer = client.fetch('GET', '/status/%d' % status)
                equal((answer.status, answer.length), (status, 0), 'answer')
                lacks(names(answer.headers), 'transfer-encoding', 'headers')
                equal(client.fetch('GET', '/').text, 'one', 'next answer')
    for status in (201, 404, 500, 503):
        with t.case('the origin\'s own %d comes through with its body' % status):
            answer = fetch(weir.port, 'GET', '/status/%d' % status)
            equal((answer.status, answer.text), (status, 'one says %d' % status), 'answer')
    with t.case('an empty body with Content-Length: 0 stays one'):
        with Client(weir.port) as client:
            client.send(request('POST', '/echo', [('Content-Length', '0')]))
            echo = json.loads(client.read().text)
            equal(echo['length'], 0, 'length')
            equal([v for n, v in echo['headers'] if n.lower() == 'content-length'], ['0'], 'Content-Length')
    with t.case('header names and values pass as they are, repeated ones in their order'):
        headers = [('X-One', 'a'), ('x-TWO', 'b, "c;d"'), ('X-One', 'z'), ('Cookie', 'k=v; l=w'),
                   ('X-Latin', 'caf\xe9'),
                   ('X-Empty', '')]
        echo = json.loads(fetch(weir.port, 'GET', '/echo', headers).text)
        got = [tuple(p) for p in echo['headers'] if p[0].lower().startswith('x-') or p[0] == 'Cookie']
        headers = [(n if n == 'Cookie' else spelled(n), v) for n, v in headers]
        equal([p for p in got if p in headers], headers, 'headers')


def framing(t, weir, one, closing):
    with t.case('a chunked request stays chunked towards the origin, framed anew without its extensions'):
        with Client(weir.port) as client:
            client.send(request('POST', '/echo', [('Transfer-Encoding', 'chunked')]) +
                        b'5;name="x y"\r\nhello\r\n00006\r\n world\r\n0;last\r\n\r\n')
            echo = json.loads(client.read().text)
            equal((echo['body'], echo['framing']), ('hello world', 'chunked'), 'what the origin saw')
            lacks(one.last.conn.received(), b'name=', 'bytes at the origin')
    with t.case('trailers of a request reach the origin'):
        with Client(weir.port) as client:
            client.send(request('POST', '/echo', [('Transfer-Encoding', 'chunked'), ('Trailer', 'X-Sum')]) +
                        chunked([b'abc'], [('X-Sum', '17')]))
            equal(json.loads(client.read().text)['trailers'], [[spelled('X-Sum'), '17']], 'trailers')
    with t.case('trailers of a response reach the client'):
        answer = fetch(weir.port, 'GET', '/chunked/100000', sha=True)
        equal((answer.framing, answer.sha256()), ('chunked', digest_of(100000)), 'body')
        equal(answer.trailers, [(spelled('X-Digest'), digest_of(100000))], 'trailers')
    for size in (0, 1, 65535, 65536, 65537, 3000000):
        with t.case('a body of %d bytes is the same with a length and in chunks, down and up' % size):
            with Client(weir.port, sha=True) as client:
                down = client.fetch('GET', '/bytes/%d' % size)
                equal((down.framing, down.length, down.sha256()), ('length', size, digest_of(size)), 'with a length')
                down = client.fetch('GET', '/chunked/%d' % size)
                equal((down.framing, down.length, down.sha256()), ('chunked', size, digest_of(size)), 'in chunks')
                up = client.fetch('POST', '/digest', [('Content-Length', size)], body_of(size))
                equal(json.loads(up.text), {'sha256': digest_of(size), 'length': size}, 'up with a length')
                client.send(request('POST', '/digest', [('Transfer-Encoding', 'chunked')]) + chunked(blocks(size)))
                equal(json.loads(client.read().text), {'sha256': digest_of(size), 'length': size}, 'up in chunks')
    with t.case('a hundred thousand chunks of one byte pass'):
        with Client(weir.port) as client:
            data = b'1\r\nx\r\n' * 100000
            client.send(request('POST', '/digest', [('Transfer-Encoding', 'chunked')]) + data + b'0\r\n\r\n')
            equal(json.loads(client.read().text)['length'], 100000, 'length')
    with t.case('an answer that ends by closing is chunked to a 1.1 client, whose connection goes on'):
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/closing')
            equal((answer.text, answer.framing), ('closing means the end', 'chunked'), 'answer')
            equal(client.fetch('GET', '/').text, 'one', 'next answer')
    with t.case('... and ends by closing to a 1.0 client'):
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/closing', version='1.0')
            equal((answer.text, answer.framing), ('closing means the end', 'close'), 'answer')


def byte_by_byte(t, weir, dribble):
    with t.case('a request that comes byte by byte is one request'):
        with Client(weir.port) as client:
            text = request('POST', '/echo', [('Transfer-Encoding', 'chunked')]) + chunked([b'abc', b'defgh'],
                                                                                          [('A', 'b')])
            for i in range(len(text)):
                client.send(text[i:i + 1])
                time.sleep(0.0005)
            equal(json.loads(client.read().text)['body'], 'abcdefgh', 'body')
    with t.case('an answer that comes byte by byte is one answer'):
        answer = fetch(weir.port, 'GET', '/dribble')
        equal((answer.text, answer.trailers), ('abc0123456789', [(spelled('X-Sum'), '13')]), 'answer')


def continues(t, weir, one, gate):
    with t.case('100-continue: the client is told to go on, and its body arrives'):
        with Client(weir.port) as client:
            client.send(request('POST', '/digest', [('Expect', '100-continue'), ('Content-Length', '5')]))
            equal(client.read_informational().status, 100, 'informational')
            client.send(b'hello')
            answer = client.read()
            equal((answer.status, json.loads(answer.text)['length']), (200, 5), 'answer')
            equal(client.fetch('GET', '/').text, 'one', 'next answer')
    with t.case('100-continue: a client that does not wait is served too'):
        with Client(weir.port) as client:
            client.send(request('POST', '/digest', [('Expect', '100-Continue'), ('Content-Length', '5')]) + b'hello')
            equal(json.loads(client.read().text)['length'], 5, 'length')
            equal(client.fetch('GET', '/').text, 'one', 'next answer')
    with t.case('100-continue: the origin may refuse at once, then no body is asked for'):
        with Client(weir.port) as client:
            client.send(request('POST', '/gate/refuse', [('Expect', '100-continue'), ('Content-Length', '5')]))
            answer = client.read()
            equal((answer.status, answer.text), (403, 'not that'), 'answer')
            if answer.keeps_alive():
                client.send(b'hello')
                equal(client.fetch('GET', '/').text, 'one', 'next answer')
            else:
                client.expect_end()
        contains([200, 403], fetch(weir.port).status, 'next request of another client')
    with t.case('100-continue: a 1.0 client never sees a 100'):
        with Client(weir.port) as client:
            client.send(request('POST', '/digest', [('Expect', '100-continue'), ('Content-Length', '5')],
                                version='1.0') + b'hello')
            answer = client.read()
            equal((answer.informational, json.loads(answer.text)['length']), ([], 5), 'informational, length')
    with t.case('another expectation is answered 417'):
        answer = fetch(weir.port, 'POST', '/digest', [('Expect', 'the-unexpected')], b'hello')
        equal(answer.status, 417, 'status')
    with t.case('103 passes, in order and before the final answer'):
        answer = fetch(weir.port, 'GET', '/hints')
        equal([(i.status, i.header('Link')) for i in answer.informational],
              [(103, '</style.css>; rel=preload'), (103, '</script.js>; rel=preload')], 'informational')
        equal((answer.status, answer.text), (200, 'done'), 'answer')
    with t.case('103 is not sent to a 1.0 client'):
        answer = fetch(weir.port, 'GET', '/hints', version='1.0')
        equal((answer.informational, answer.text), ([], 'done'), 'answer')


def persistence(t, weir, one, closing):
    one.drop_connections()
    one.wait_closed()
    one.forget()
    with t.case('twenty requests on one connection use one connection to the origin'):
        with Client(weir.port) as client:
            for i in range(20):
                equal(client.fetch('GET', '/n/%d' % i).text, 'one', 'answer %d' % i)
        equal(one.connections, 1, 'connections')
        equal(one.targets(), ['/n/%d' % i for i in range(20)], 'targets')
    with t.case('other clients one after the other use that same connection'):
        for i in range(5):
            equal(fetch(weir.port).text, 'one', 'answer')
        equal(one.connections, 1, 'connections')
    with t.case('ten clients at once use ten, and later ones reuse them'):
        for _ in range(2):
            clients = [Client(weir.port) for _ in range(10)]
            for client in clients:
                client.ask('GET', '/slow/100')
            for client in clients:
                equal(client.read().text, 'one', 'answer')
                client.close()
        between(one.connections, 10, 10, 'connections')
    with t.case('an idle connection that the origin closed costs no request'):
        for i in range(5):
            one.drop_connections()
            one.wait_closed()
            equal(fetch(weir.port, 'GET', '/after-close/%d' % i).status, 200, 'status')
    with t.case('... nor one that the origin closes by reset'):
        for i in range(5):
            one.drop_connections(reset=True)
            equal(fetch(weir.port, 'GET', '/after-reset/%d' % i).status, 200, 'status')
    with t.case('an answer with Connection: close ends that connection to the origin only'):
        before = closing.connections
        with Client(weir.port) as client:
            for _ in range(3):
                equal(client.fetch('GET', '/closing').status, 200, 'status')
        equal(closing.connections - before, 3, 'connections')
    with t.case('the client\'s Connection: close ends the client\'s connection only'):
        one.forget()
        opened = one.connections
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/', [('Connection', 'close')])
            equal(answer.header('Connection'), 'close', 'Connection')
            equal(client.expect_end(), 'eof', 'end')
        equal(fetch(weir.port).text, 'one', 'answer')
        equal(one.connections, opened, 'connections')
        lacks([v.lower() for r in one.requests for v in r.all('Connection')], 'close', 'Connection at the origin')


def spares(t):
    one = Origin('one')
    weir = Weir('[weir]\nworkers = 1\n[listen http]\nbind = 127.0.0.1:{port}\n[route all]\nupstream = app\n'
                '[upstream app]\nserver = {one}\nkeepalive = 2\n', name='spares', one=one)
    clients = [Client(weir.port) for _ in range(6)]
    with t.case('a load that goes up and down keeps more connections than keepalive'):
        for _ in range(10):
            for client in clients:
                client.ask('GET', '/slow/50')
            for client in clients:
                equal(client.read().text, 'one', 'answer')
        between(one.connections, 6, 29, 'connections; 42 without spares')
    with t.case('at rest no more than keepalive are left'):
        until('two are left', lambda: one.open_connections == 2, 10)
    weir.stop()


def pipelining(t, weir, one):
    with t.case('fifty pipelined requests are answered in their order'):
        with Client(weir.port) as client:
            client.send(b''.join(request('GET', '/echo?n=%d' % i) for i in range(50)))
            got = [json.loads(client.read().text)['target'] for _ in range(50)]
            equal(got, ['/echo?n=%d' % i for i in range(50)], 'targets')
    with t.case('pipelined requests with bodies, slow and fast ones mixed, keep their order'):
        with Client(weir.port) as client:
            parts, want = [], []
            for i in range(10):
                if i % 3 == 0:
                    parts.append(request('GET', '/slow/50'))
                    client.decoder.methods.append('GET')
                    want.append('one')
                elif i % 3 == 1:
                    parts.append(request('HEAD', '/bytes/10'))
                    client.decoder.methods.append('HEAD')
                    want.append('')
                else:
                    parts.append(request('POST', '/digest', [('Transfer-Encoding', 'chunked')]) + chunked([b'x' * i]))
                    client.decoder.methods.append('POST')
                    want.append(i)
            client.send(b''.join(parts))
            for wanted in want:
                text = client.read().text
                equal(json.loads(text)['length'] if isinstance(wanted, int) else text, wanted, 'answer')
    with t.case('an empty line between requests is passed over'):
        with Client(weir.port) as client:
            client.send(request('POST', '/', body=b'abc') + b'\r\n' + request('GET', '/'))
            equal([client.read().status, client.read().status], [200, 200], 'statuses')


def old_versions(t, weir, one, old):
    with t.case('a 1.0 client is answered and its connection closed'):
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/', version='1.0')
            equal((answer.status, answer.text), (200, 'one'), 'answer')
            equal(client.expect_end(), 'eof', 'end')
    with t.case('a 1.0 client without Host is served'):
        equal(fetch(weir.port, 'GET', '/', host=None, version='1.0').status, 200, 'status')
    with t.case('a 1.0 client that asks for keep-alive gets it, and is told'):
        with Client(weir.port) as client:
            for _ in range(3):
                answer = client.fetch('GET', '/', [('Connection', 'keep-alive')], version='1.0')
                equal((answer.text, answer.tokens('Connection')), ('one', ['keep-alive']), 'answer')
    with t.case('a 1.0 client never sees chunks'):
        answer = fetch(weir.port, 'GET', '/chunked/100000', version='1.0', sha=True)
        equal((answer.framing, answer.sha256()), ('close', digest_of(100000)), 'body')
    with t.case('a 1.0 client with keep-alive and an answer of unknown length: the end is the close'):
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/chunked/1000', [('Connection', 'keep-alive')], version='1.0')
            equal((answer.framing, answer.body), ('close', body_of(1000)), 'answer')
            lacks(answer.tokens('Connection'), 'keep-alive', 'Connection')
    with t.case('the origin is asked in 1.1 though the client speaks 1.0'):
        fetch(weir.port, 'GET', '/version', version='1.0')
        equal(one.last.version, '1.1', 'version')
    with t.case('a 1.0 origin serves 1.1 clients, whose connections go on'):
        with Client(weir.port, sha=True) as client:
            for path in ('/old/bytes/5000', '/old/chunked/5000', '/old/bytes/5000'):
                answer = client.fetch('GET', path)
                equal((answer.status, answer.version, answer.sha256()), (200, '1.1', digest_of(5000)), path)
        equal(old.connections, 3, 'connections, one a request')


def targets(t, weir, one):
    with t.case('absolute-form: its host counts, the Host field does not, the origin is asked in origin-form'):
        with Client(weir.port) as client:
            client.send(b'GET http://other.example:81/abs?q HTTP/1.1\r\nHost: weir.test\r\n\r\n')
            equal(client.read().status, 200, 'status')
            equal((one.last.target, one.last.all('Host')), ('/abs?q', ['other.example:81']), 'target and Host')
    with t.case('absolute-form with an empty path means /'):
        with Client(weir.port) as client:
            client.send(b'GET http://other.example HTTP/1.1\r\nHost: other.example\r\n\r\n')
            equal(client.read().status, 200, 'status')
            equal((one.last.target, one.last.all('Host')), ('/', ['other.example']), 'target and Host')
    with t.case('OPTIONS * reaches the origin as such'):
        with Client(weir.port) as client:
            client.send(b'OPTIONS * HTTP/1.1\r\nHost: weir.test\r\n\r\n')
            answer = client.read()
            equal(answer.status, 200, 'status')
            equal((one.last.method, one.last.target), ('OPTIONS', '*'), 'what the origin saw')
    for sent, want in (('/a/./b/../c', '/a/c'), ('/%61%7e', '/a~'), ('/a%2Fb', '/a%2Fb'), ('/a//b', '/a//b'),
                       ('/%e4', '/%E4'), ('/a?b=../c&d=%61', '/a?b=../c&d=%61'), ('/a/%2e%2E/b', '/b'),
                       ('/a;x=1/b', '/a;x=1/b'),
                       ('/?', '/?'), ('/%5c', '/%5C'), ('/%252f', '/%252f'), ('/a/..', '/'),
                       ("/!$&'()*+,=:@", "/!$&'()*+,=:@")):
        with t.case('target %s is forwarded as %s' % (sent, want)):
            equal(fetch(weir.port, 'GET', sent).status, 200, 'status')
            equal(one.last.target, want, 'target at the origin')


def early_answers(t, weir, early, one):
    with t.case('an origin that answers before the body and hangs up: the client gets that answer'):
        with Client(weir.port) as client:
            client.send(request('POST', '/early/close', [('Content-Length', 1 << 20)]) + b'x' * 1000)
            answer = client.read()
            equal((answer.status, answer.text), (413, 'early'), 'answer')
            client.send(b'x' * 100000)
        equal(fetch(weir.port).text, 'one', 'another client is served')
    with t.case('... also while the client is still sending, unread'):
        with Client(weir.port) as client:
            client.send(request('POST',
                                '/early/close', [('Transfer-Encoding', 'chunked')]) + chunked(blocks(3 << 20))[:-5])
            answer = client.read()
            equal((answer.status, answer.text), (413, 'early'), 'answer')
    with t.case('an origin that answers early but reads on: the next request gets its own answer'):
        with Client(weir.port) as client:
            client.send(request('POST', '/early/read', [('Content-Length', 10)]) + b'01234')
            answer = client.read()
            equal((answer.status, answer.text), (200, 'early'), 'answer')
            client.send(b'56789')
            if answer.keeps_alive():
                equal(client.fetch('GET', '/').text, 'one', 'next answer')
            else:
                client.expect_end()


def upgrades(t, weir, one):
    with t.case('an Upgrade that the server does not take up is a request as any other'):
        with Client(weir.port) as client:
            answer = client.fetch('GET', '/ws', [('Connection', 'Upgrade'), ('Upgrade', 'websocket'),
                                                 ('Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='),
                                                 ('Sec-WebSocket-Version', '13')])
            equal(answer.status, 200, 'status')
            lacks(answer.tokens('Connection'), 'upgrade', 'Connection')
            equal(client.fetch('GET', '/after').status, 200, 'the next request on the connection')
        weir.wait_access({'uri': '/ws', 'reason': '-'})
    with t.case('h2c is not spoken by Upgrade'):
        answer = fetch(weir.port, 'GET', '/h2c', [('Connection', 'Upgrade, HTTP2-Settings'), ('Upgrade', 'h2c'),
                                                  ('HTTP2-Settings', 'AAMAAABkAAQAAP__')])
        true(answer.status != 101, 'no 101')
        for seen in (r for r in one.requests if r.target == '/h2c'):
            lacks(names(seen.headers), 'http2-settings', 'headers at the origin')


def leavers(t, weir, one):
    with t.case('a client that half-closes after its request still gets the answer'):
        with Client(weir.port) as client:
            client.ask('GET', '/slow/100')
            client.half_close()
            equal(client.read().text, 'one', 'answer')
            client.expect_end()
    with t.case('a client that resets: the origin\'s connection is let go, the log says client_abort'):
        one.forget()
        client = Client(weir.port)
        client.ask('GET', '/slow/8000?left')
        one.wait_requests(1)
        client.reset()
        until('the origin sees the end', lambda: one.last.conn.ended or not one.last.conn.open or
              weir.access() and any(x['reason'] == 'client_abort' for x in weir.access()), 5)
        line = weir.wait_access({'uri': '/slow/8000?left'})
        equal(line['reason'], 'client_abort', 'reason')
    with t.case('a client that goes in the middle of its body: the origin never sees a whole request'):
        one.forget()
        client = Client(weir.port)
        client.send(request('POST', '/digest', [('Content-Length', 100000)]) + b'x' * 70000)
        one.wait_requests(1)
        client.reset()
        until('the origin sees the end', lambda: one.last.conn.ended)
        true(not one.last.complete, 'the request at the origin is not complete')
    with t.case('... nor of a chunked one'):
        one.forget()
        client = Client(weir.port)
        client.send(request('POST', '/digest', [('Transfer-Encoding', 'chunked')]) + chunked(blocks(100000))[:-5])
        one.wait_requests(1)
        client.reset()
        until('the origin sees the end', lambda: one.last.conn.ended)
        true(not one.last.complete, 'the request at the origin is not complete')


def real_servers(t, weir):
    for kind, there in (('nginx', have_nginx()), ('flask', have_flask()), ('node', have_node())):
        for size in (10, 300000):
            text = '%s serves a GET and takes %d bytes behind weir' % (kind, size)
            if not there:
                t.skip(text, 'no %s here' % kind)
                continue
            with t.case(text):
                with Client(weir.port) as client:
                    got = client.fetch('GET', '/%s/hello' % kind)
                    equal(got.status, 200, 'status')
                    contains(got.text, kind, 'body')
                    got = client.fetch('POST', '/%s/up' % kind, body=b'y' * size)
                    equal(got.status, 200, 'status')
                    client.send(request('POST', '/%s/up' % kind,
                                        [('Transfer-Encoding', 'chunked')]) + chunked([b'y' * size]))
                    got = client.read()
                    equal(got.status, 200, 'status')
                    if kind == 'node':
                        equal(json.loads(got.text)['length'], size, 'length')


def other_addresses(t, weir):
    for kind in ('unix', 'ip6'):
        with t.case('an origin on %s is reached' % kind):
            answer = fetch(weir.port, 'GET', '/%s/bytes/100000' % kind, sha=True)
            equal((answer.header('X-Origin'), answer.sha256()), (kind, digest_of(100000)), 'answer')


def settled(value, steady=0.3, timeout=10):
    """Waits until value() has not changed for a while; gives it."""
    last, since = value(), time.monotonic()
    end = since + timeout
    while time.monotonic() - since < steady and time.monotonic() < end:
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def total_rss(weir):
    return sum(rss(pid) for pid in weir.worker_pids())


def large(t, weir, one, gate):
    limit = FLAT * (16 if sanitized() else 1)
    base = total_rss(weir)
    with t.case('%d MiB down, whole; the workers stay small' % (BIG >> 20)):
        answer = fetch(weir.port, 'GET', '/bytes/%d' % BIG, sha=True, keep=0, timeout=60)
        equal((answer.status, answer.length, answer.sha256()), (200, BIG, digest_of(BIG)), 'answer')
        t.note('resident before %d KiB, after %d KiB' % (base >> 10, total_rss(weir) >> 10))
        between(total_rss(weir) - base, -base, limit, 'growth')
    with t.case('%d MiB up, whole; the workers stay small' % (BIG >> 20)):
        with Client(weir.port, timeout=60) as client:
            client.send(request('POST', '/digest', [('Content-Length', BIG)]))
            for block in blocks(BIG):
                client.sock.sendall(block)
            equal(json.loads(client.read().text), {'sha256': digest_of(BIG), 'length': BIG}, 'answer')
        between(total_rss(weir) - base, -base, limit, 'growth')
    with t.case('%d MiB to a client that does not read: weir stops reading too, and stays small' % (BIG >> 20)):
        with Client(weir.port, timeout=60, rcvbuf=65536, sha=True, keep=0) as client:
            one.forget()
            before = sum(conn.bytes_out for conn in one.conns)
            client.ask('GET', '/bytes/%d' % BIG)
            one.wait_requests(1)
            sent = settled(lambda: sum(conn.bytes_out for conn in one.conns)) - before
            grown = total_rss(weir) - base
            t.note('the origin could send %d KiB; the workers hold %d KiB more than at first' % (sent >> 10,
                                                                                                 grown >> 10))
            between(sent, 1, BIG // 4, 'bytes the origin got rid of')
            between(grown, -base, limit, 'growth')
            equal(fetch(weir.port).text, 'one', 'others are served meanwhile')
            answer = client.read()
            equal((answer.length, answer.sha256()), (BIG, digest_of(BIG)), 'all of it, when the client reads after all')
    with t.case('%d MiB to an origin that does not read: the client is held back, weir stays small' % (BIG >> 20)):
        only_h1()               # a thread of its own sends
        with Client(weir.port, timeout=60) as client:
            client.send(request('POST', '/gate/up', [('Content-Length', BIG)]))
            done = [0]

            def push():
                for block in blocks(BIG):
                    client.sock.sendall(block)
                    done[0] += len(block)
            pusher = threading.Thread(target=push, daemon=True)
            pusher.start()
            gate.wait_requests(1)
            taken = settled(lambda: done[0])
            grown = total_rss(weir) - base
            t.note('the client could send %d KiB; the workers hold %d KiB more than at first' % (taken >> 10,
                                                                                                 grown >> 10))
            between(taken, 1, BIG // 4, 'bytes the client got rid of')
            between(grown, -base, limit, 'growth')
            equal(fetch(weir.port).text, 'one', 'others are served meanwhile')
            open_gate()
            equal(json.loads(client.read().text), {'sha256': digest_of(BIG), 'length': BIG},
                  'answer, when the origin reads')


def open_gate():
    from origin import loop
    loop().call_soon_threadsafe(GATE.set)


with Story('HTTP/1.1 through weir', deadline=150) as t:
    one = Origin('one')
    old = Origin('old', version='1.0')
    closing = Origin('closing', handler=say_close)
    early = Origin('early', handler=answer_early, early=True)
    gate = Origin('gate', handler=keep_the_gate, early=True)
    hints = Origin('hints', handler=hint)
    dribble = Origin('dribble', handler=dribble_out)
    unix = Origin('unix', unix=t.path('origin.sock'))
    ip6 = Origin('ip6', address='::1')
    nginx = Nginx('nginx', 'location /nginx/up {{ proxy_pass http://%s/; }}' % one +
                  ' location / {{ return 200 "nginx\\n"; }}') if have_nginx() else one
    flask = Flask('flask') if have_flask() else one
    node = Node('node') if have_node() else one
    weir = Weir(CONF, workers=1, one=one, old=old, closing=closing, early=early, gate=gate, hints=hints,
                dribble=dribble, unix=unix, ip6=ip6, nginx=nginx, flask=flask, node=node)
    methods_and_bodies(t, weir, one)
    framing(t, weir, one, closing)
    byte_by_byte(t, weir, dribble)
    continues(t, weir, one, gate)
    persistence(t, weir, one, closing)
    spares(t)
    pipelining(t, weir, one)
    old_versions(t, weir, one, old)
    targets(t, weir, one)
    early_answers(t, weir, early, one)
    upgrades(t, weir, one)
    leavers(t, weir, one)
    real_servers(t, weir)
    other_addresses(t, weir)
    large(t, weir, one, gate)
    with t.case('no origin ever received anything but whole, valid requests'):
        for origin in (one, old, closing, hints, dribble, unix, ip6):
            equal([e for e in origin.errors if 'ended in the' not in e], [], 'errors at ' + origin.name)
