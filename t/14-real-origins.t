#!/usr/bin/python3
# Servers of the world behind one weir: nginx, Flask, Node and Python's own http.server, asked by curl and by hand. What
# each of them does with HTTP reaches the client as if it had been asked directly.
# timeout: 200
import gzip
import hashlib
import json
import os
import re
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from others import PYTHON, Server

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
max_body_size = 0

[route nginx]
path = /nginx
strip_prefix = yes
upstream = nginx
[route flask]
path = /flask
strip_prefix = yes
upstream = flask
[route node]
path = /node
strip_prefix = yes
upstream = node
[route quiet]
path = /quiet
strip_prefix = yes
upstream = quiet
[route old]
path = /old
strip_prefix = yes
upstream = old

[upstream nginx]
server = {nginx}
[upstream flask]
server = {flask}
[upstream node]
server = {node}
[upstream quiet]
server = {quiet}
[upstream old]
server = {old}
'''

TEXT = b''.join(b'%06d a line of text that packs well, a line of text that packs well\n' % i for i in range(4000))
BINARY = body_of(300000)

NGINX = '''
    keepalive_requests 100000;
    add_header X-Conn "$connection $connection_requests" always;
    gzip on; gzip_types text/plain; gzip_min_length 1; gzip_http_version 1.0; gzip_proxied any;
    location / {{ }}
    location = /empty {{ return 204; }}
    location = /small {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:{port}/empty; }}
    location = /deny {{ return 403; }}
    location /up/ {{ dav_methods PUT DELETE; }}
'''

FLASK = '''
import threading
from flask import Flask, Response, abort, jsonify, make_response, redirect, request, url_for
app = Flask(__name__)
gone_on = threading.Event()

@app.route('/here')
def here():
    return 'here\\n'

@app.route('/moved')
def moved():
    return redirect(url_for('here'))

@app.route('/moved-whole')
def moved_whole():
    return redirect(request.host_url + 'here?a=b#c', 308)

@app.route('/moved-away')
def moved_away():
    return redirect('http://elsewhere.test/here')

@app.route('/cookies')
def cookies():
    answer = make_response('cookies\\n')
    answer.set_cookie('session', 'a b;c', httponly=True, path='/')
    answer.set_cookie('theme', 'dark', max_age=3600, samesite='Lax')
    answer.delete_cookie('old')
    answer.headers.add('Set-Cookie', 'expires=x; Expires=Wed, 21 Oct 2037 07:28:00 GMT')
    return answer

@app.route('/seen')
def seen():
    return jsonify(cookies=request.cookies, args=request.args.to_dict(False))

@app.route('/events')
def events():
    gone_on.clear()
    def stream():
        yield 'data: first\\n\\n'
        gone_on.wait(20)
        yield 'data: second\\n\\n'
    return Response(stream(), mimetype='text/event-stream')

@app.route('/go-on')
def go_on():
    gone_on.set()
    return 'well\\n'

@app.route('/form', methods=['POST'])
def form():
    return jsonify(form=request.form.to_dict(), files={n: f.read().hex() for n, f in request.files.items()})

@app.route('/broken')
def broken():
    raise RuntimeError('on purpose')
'''

NODE = '''
const http = require('http');
function handle(req, res) {
  if (req.url === '/trailers') {
    res.writeHead(200, {'Content-Type': 'text/plain', 'Trailer': 'X-Sum, X-Late'});
    res.write('a body ');
    res.write('with trailers\\n');
    res.addTrailers({'X-Sum': '42', 'X-Late': 'yes'});
    res.end();
  } else if (req.url === '/hints') {
    res.writeEarlyHints({link: ['</style.css>; rel=preload; as=style', '</app.js>; rel=preload; as=script']},
      () => setTimeout(() => res.end('after the hints\\n'), 50));
  } else if (req.url === '/echo') {
    let body = '';
    req.on('data', d => { body += d; });
    req.on('end', () => {
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify({body, trailers: req.trailers, te: req.headers['transfer-encoding'] || null,
                              length: req.headers['content-length'] || null, expect: req.headers['expect'] || null}));
    });
  } else if (req.url === '/soon') {
    req.resume();
    if (QUIET)
      res.setHeader('Connection', 'keep-alive');
    setTimeout(() => res.end('soon\\n'), 40);
  } else if (req.url === '/slow') {
    req.resume();
    res.write('begun\\n');
    setTimeout(() => res.end('ended\\n'), 1200);
  } else {
    req.resume();
    req.on('end', () => res.end(req.method + '\\n'));
  }
}
const server = http.createServer(handle);
// Short on purpose, so that it is the server who closes idle connections. Some versions add a second to it.
server.keepAliveTimeout = 1000;
server.listen(PORT, '127.0.0.1');
'''


class ShortNode(Node):
    """Node that listens by itself.  quiet: its answers do not say how long it keeps an idle connection."""

    def __init__(self, name, source, quiet=False):
        port = free_port()
        script = story().path('app-%s.js' % name)
        with open(script, 'w') as f:
            f.write('const PORT = %d, QUIET = %s;\n%s\n' % (port, str(quiet).lower(), source))
        Server.__init__(self, name, ['node', script], port)


class OldServer(Server):
    """python3 -m http.server: HTTP/1.0, a connection for each request."""

    def __init__(self, name, files):
        folder = story().path(name)
        os.makedirs(os.path.join(folder, 'folder'))
        for path, content in files.items():
            with open(os.path.join(folder, path), 'wb') as f:
                f.write(content)
        port = free_port()
        super().__init__(name, [PYTHON, '-m', 'http.server', '--bind', '127.0.0.1', '--directory', folder, str(port)], port)


# ---- nginx ---------------------------------------------------------------------------------------------------------

def nginx_reuse(t, weir):
    with t.case('nginx: thirty requests of thirty clients go over one connection'):
        seen = [fetch(weir.port, 'GET', '/nginx/binary').header('X-Conn').split() for _ in range(30)]
        equal(len({conn for conn, _ in seen}), 1, 'connections')
        first = int(seen[0][1])
        equal([int(n) for _, n in seen], list(range(first, first + 30)), 'requests counted by nginx')
    with t.case('nginx: HEAD, 204, 304 and an error leave the connection usable'):
        conn = seen[0][0]
        with Client(weir.port) as client:
            etag = client.fetch('GET', '/nginx/binary').header('ETag')
            for method, path, headers, status in (
                    ('HEAD', '/nginx/binary', [], 200), ('GET', '/nginx/empty', [], 204),
                    ('GET', '/nginx/binary', [('If-None-Match', etag)], 304), ('GET', '/nginx/none', [], 404),
                    ('GET', '/nginx/deny', [], 403), ('GET', '/nginx/binary', [], 200)):
                got = client.fetch(method, path, headers)
                equal((got.status, got.header('X-Conn').split()[0]), (status, conn), '%s %s' % (method, path))


def nginx_files(t, weir, nginx):
    with t.case('nginx: a file is whole, byte for byte, and its headers are those that nginx gave'):
        direct, got = fetch(nginx.port, 'GET', '/binary'), fetch(weir.port, 'GET', '/nginx/binary')
        equal(got.body, BINARY, 'body')
        for name in ('Content-Length', 'ETag', 'Last-Modified', 'Accept-Ranges', 'Content-Type', 'Server'):
            equal(got.header(name), direct.header(name), name)
    with t.case('nginx: a file that nginx packs arrives packed, byte for byte what nginx sends'):
        accept = [('Accept-Encoding', 'gzip')]
        direct, got = fetch(nginx.port, 'GET', '/text.txt', accept), fetch(weir.port, 'GET', '/nginx/text.txt', accept)
        equal(got.header('Content-Encoding'), 'gzip', 'Content-Encoding')
        equal(got.framing, 'chunked', 'framing')
        true(got.body == direct.body, 'the same bytes as without weir')
        true(gzip.decompress(got.body) == TEXT, 'unpacked, the file')
        equal(got.header('ETag'), direct.header('ETag'), 'ETag, a weak one')
    with t.case('nginx: without Accept-Encoding it arrives as it lies on the disk'):
        got = fetch(weir.port, 'GET', '/nginx/text.txt')
        equal((got.header('Content-Encoding'), got.framing), (None, 'length'), 'coding and framing')
        true(got.body == TEXT, 'the file')
    with t.case('nginx: HEAD has the length and no body'):
        with Client(weir.port) as client:
            got = client.fetch('HEAD', '/nginx/binary')
            equal((got.status, got.header('Content-Length'), got.length), (200, str(len(BINARY)), 0), 'head and body')
            equal(client.fetch('GET', '/nginx/empty').status, 204, 'the next')


def nginx_parts(t, weir, nginx):
    for text, want in (('bytes=0-99', (0, 100)), ('bytes=1000-1000', (1000, 1001)), ('bytes=-500', (-500, None)),
                       ('bytes=299990-', (299990, None))):
        with t.case('nginx: Range: %s is answered 206 with those bytes' % text):
            got = fetch(weir.port, 'GET', '/nginx/binary', [('Range', text)])
            equal(got.status, 206, 'status')
            true(got.body == BINARY[want[0]:want[1]], 'the bytes')
            true(got.header('Content-Range').endswith('/%d' % len(BINARY)), 'Content-Range')
    with t.case('nginx: several ranges at once are as nginx sends them'):
        several = [('Range', 'bytes=0-9,100-109,-10')]
        got = fetch(weir.port, 'GET', '/nginx/binary', several)
        equal(got.status, 206, 'status')
        boundary = re.match(r'multipart/byteranges; boundary=(\S+)', got.header('Content-Type')).group(1).encode()
        parts = [p.partition(b'\r\n\r\n')[2][:-2] for p in got.body.split(b'--' + boundary)[1:-1]]
        equal(parts, [BINARY[:10], BINARY[100:110], BINARY[-10:]], 'parts')
    with t.case('nginx: a range beyond the end is 416, and If-Range with an old tag gives the whole'):
        got = fetch(weir.port, 'GET', '/nginx/binary', [('Range', 'bytes=900000-')])
        equal((got.status, got.header('Content-Range')), (416, 'bytes */%d' % len(BINARY)), 'status and Content-Range')
        got = fetch(weir.port, 'GET', '/nginx/binary', [('Range', 'bytes=0-9'), ('If-Range', '"old"')])
        equal((got.status, got.length), (200, len(BINARY)), 'status and length')
    with t.case('nginx: If-None-Match and If-Modified-Since are answered 304, without a body'):
        with Client(weir.port) as client:
            whole = client.fetch('GET', '/nginx/binary')
            for name, value in (('If-None-Match', whole.header('ETag')),
                                ('If-Modified-Since', whole.header('Last-Modified'))):
                got = client.fetch('GET', '/nginx/binary', [(name, value)])
                equal((got.status, got.length, got.header('ETag')), (304, 0, whole.header('ETag')), name)
            equal(client.fetch('GET', '/nginx/binary', [('If-None-Match', '"old"')]).status, 200, 'with an old tag')


def nginx_uploads(t, weir, nginx):
    path = story().path('upload')
    with open(path, 'wb') as f:
        f.write(BINARY)
    put = 'http://127.0.0.1:%d/nginx/up/' % weir.port
    for name, args in (('expect', ['-H', 'Expect: 100-continue']), ('plain', ['-H', 'Expect:']),
                       ('chunked', ['-H', 'Transfer-Encoding: chunked', '-H', 'Expect:']),
                       ('chunked-expect', ['-H', 'Transfer-Encoding: chunked', '-H', 'Expect: 100-continue'])):
        with t.case('nginx: curl -T, %s: the file lies there whole' % name):
            got = curl('-T', path, *args, put + name)
            equal((got.code, got.status), (0, 201), 'curl and status; ' + got.err)
            equal('HTTP/1.1 100 Continue' in got.head, 'expect' in name, 'a 100 Continue')
            with open(os.path.join(story().path('nginx'), 'html', 'up', name), 'rb') as f:
                true(f.read() == BINARY, 'the bytes')
            equal(curl('-X', 'DELETE', put + name).status, 204, 'status of DELETE')
    with t.case('nginx: what it refuses after the head alone is not sent (413, no 100 Continue)'):
        got = curl('-T', path, '-H', 'Expect: 100-continue', 'http://127.0.0.1:%d/nginx/small' % weir.port)
        equal((got.code, got.status), (0, 413), 'curl and status; ' + got.err)
        line = weir.wait_access({'uri': '/nginx/small', 'status': 413})
        equal(int(line['in']), 0, 'bytes of body that came')


def curl_ways(t, weir):
    base = 'http://127.0.0.1:%d/nginx/' % weir.port
    with t.case('curl --compressed unpacks what arrives'):
        got = curl('--compressed', base + 'text.txt')
        equal(got.code, 0, 'exit status; ' + got.err)
        true(re.search(r'(?i)^content-encoding: gzip\r$', got.head, re.M), 'packed on the way')
        true(got.body == TEXT, 'the file')
    with t.case('curl --http1.0 gets a body that ends with its length, or with the connection, never chunked'):
        for path, args in (('binary', []), ('text.txt', ['--compressed'])):
            got = curl('--http1.0', *args, base + path)
            equal((got.code, got.status), (0, 200), 'curl and status; ' + got.err)
            lacks(got.head.lower(), 'transfer-encoding', 'head')
            true(got.body == (TEXT if args else BINARY), 'the file')
    with t.case('curl asks for three files over one connection'):
        got = curl('-w', '%{num_connects} ', '-o', '/dev/null', base + 'empty', '-o', '/dev/null', base + 'binary',
                   '-o', '/dev/null', base + 'deny')
        equal((got.code, got.text.split()), (0, ['1', '0', '0']), 'curl and new connections')
    with t.case('curl -C - goes on where a download broke off'):
        path = story().path('part')
        with open(path, 'wb') as f:
            f.write(BINARY[:123456])
        got = curl('-C', '-', '-o', path, base + 'binary')
        equal((got.code, got.status), (0, 206), 'curl and status; ' + got.err)
        with open(path, 'rb') as f:
            true(f.read() == BINARY, 'the file')
    with t.case('curl -I and --path-as-is with dots: normalised on the way'):
        equal(curl('-I', base + 'binary').status, 200, 'status of HEAD')
        equal(curl('--path-as-is', base + 'up/../binary').status, 200, 'status below the prefix')
        equal(curl('--path-as-is', base + '../nginx/./binary').status, 200, 'status around the prefix')


# ---- Flask -----------------------------------------------------------------------------------------------------------

def flask_answers(t, weir, flask):
    for path, location in (('/moved', '/flask/here'),
                           ('/moved-whole', 'http://weir.test/flask/here?a=b#c'),
                           ('/moved-away', 'http://elsewhere.test/here')):
        with t.case('flask: %s redirects to %s' % (path, location)):
            equal(fetch(weir.port, 'GET', '/flask' + path).header('Location'), location, 'Location')
    with t.case('flask: curl -L finds its way through weir'):
        for path in ('/moved', '/moved-whole'):
            got = curl('-L', 'http://127.0.0.1:%d/flask%s' % (weir.port, path))
            equal((got.status, got.text), (200, 'here\n'), 'status and text of ' + path)
    with t.case('flask: four Set-Cookie stay four, as they are and in order'):
        direct, got = fetch(flask.port, 'GET', '/cookies'), fetch(weir.port, 'GET', '/flask/cookies')
        equal(len(got.all('Set-Cookie')), 4, 'fields')
        equal(got.all('Set-Cookie'), direct.all('Set-Cookie'), 'Set-Cookie')
    with t.case('flask: cookies and a query reach it, also in several fields'):
        got = json.loads(fetch(weir.port, 'GET', '/flask/seen?a=1&a=2&b=%26%20+', [('Cookie', 'x=1; y="2"')]).text)
        equal((got['cookies'], got['args']), ({'x': '1', 'y': '2'}, {'a': ['1', '2'], 'b': ['&  ']}), 'what it saw')
    with t.case('flask: curl keeps the cookies and sends them back'):
        jar = story().path('jar')
        base = 'http://127.0.0.1:%d/flask' % weir.port
        equal(curl('-c', jar, base + '/cookies').status, 200, 'status')
        got = json.loads(curl('-b', jar, base + '/seen').text)
        equal(got['cookies'].get('session'), 'a b;c', 'the session')
    with t.case('flask: a form with a file arrives'):
        path = story().path('form-file')
        with open(path, 'wb') as f:
            f.write(BINARY[:70000])
        got = curl('--form-string', 'name=value; with "marks"', '-F', 'file=@' + path, 'http://127.0.0.1:%d/flask/form' % weir.port)
        answer = json.loads(got.text)
        equal(answer['form'], {'name': 'value; with "marks"'}, 'form')
        true(answer['files']['file'] == BINARY[:70000].hex(), 'file')
    with t.case('flask: its own 404, 405 and 500 pass as they are'):
        for method, path, status in (('GET', '/none', 404), ('DELETE', '/here', 405), ('GET', '/broken', 500)):
            direct, got = fetch(flask.port, method, path), fetch(weir.port, method, '/flask' + path)
            equal((got.status, got.body), (status, direct.body), path)
            equal(got.header('Allow'), direct.header('Allow'), 'Allow')


def flask_events(t, weir):
    for version in ('1.1', '1.0'):
        with t.case('flask: of an event stream the first event is here before the second is made, HTTP/%s' % version):
            with Client(weir.port) as client:
                client.ask('GET', '/flask/events', version=version)
                head = client.read_head()
                equal(head.header('Content-Type').split(';')[0], 'text/event-stream', 'Content-Type')
                while head.length < len(b'data: first\n\n'):
                    client.receive()
                    equal(client.decoder.next(), None, 'the whole stream, too early')
                equal(head.body, b'data: first\n\n', 'the first event')
                true(client.silent(), 'nothing more yet')
                equal(fetch(weir.port, 'GET', '/flask/go-on').status, 200, 'status')
                equal(client.read().body, b'data: first\n\ndata: second\n\n', 'the whole stream')
    with t.case('flask: a reader who leaves an event stream ends it'):
        client = Client(weir.port)
        client.ask('GET', '/flask/events')
        client.read_head()
        client.reset()
        weir.wait_access({'uri': '/flask/events', 'reason': 'client_abort'})
        equal(fetch(weir.port, 'GET', '/flask/go-on').status, 200, 'status')


# ---- Node ------------------------------------------------------------------------------------------------------------

def node_messages(t, weir, node):
    with t.case('node: trailers of an answer reach the client'):
        got = fetch(weir.port, 'GET', '/node/trailers', [('TE', 'trailers'), ('Connection', 'TE')])
        equal((got.text, got.trailers), ('a body with trailers\n', [('X-Sum', '42'), ('X-Late', 'yes')]), 'body and trailers')
    with t.case('node: 103 Early Hints arrives before the answer'):
        with Client(weir.port) as client:
            client.ask('GET', '/node/hints')
            hints = client.read_informational()
            equal(hints.status, 103, 'status')
            contains(','.join(hints.all('Link')), '</style.css>; rel=preload; as=style', 'Link')
            got = client.read()
            equal((got.status, got.text, len(got.informational)), (200, 'after the hints\n', 1), 'the answer')
    with t.case('node: an HTTP/1.0 client gets no 103'):
        got = fetch(weir.port, 'GET', '/node/hints', version='1.0')
        equal((got.text, got.informational), ('after the hints\n', []), 'the answer')
    with t.case('node: curl takes the hints in its stride'):
        got = curl('http://127.0.0.1:%d/node/hints' % weir.port)
        equal((got.code, got.status, got.text), (0, 200, 'after the hints\n'), 'curl, status and text')
        contains(got.head, 'HTTP/1.1 103 ', 'heads')
    with t.case('node: chunked stays chunked, a length stays a length, trailers of a request arrive'):
        with Client(weir.port) as client:
            client.send(request('POST', '/node/echo', [('Transfer-Encoding', 'chunked'), ('Trailer', 'X-End')])
                        + chunked([b'one ', b'two'], [('X-End', 'here')]), 'POST')
            got = json.loads(client.read().text)
            equal((got['body'], got['te'], got['length']), ('one two', 'chunked', None), 'chunked')
            equal(got['trailers'], {'x-end': 'here'}, 'trailers')
            got = json.loads(client.fetch('POST', '/node/echo', body=b'three').text)
            equal((got['body'], got['te'], got['length']), ('three', None, '5'), 'length')
    with t.case('node: 100-continue end to end'):
        with Client(weir.port) as client:
            client.send(request('POST', '/node/echo', [('Content-Length', '5'), ('Expect', '100-continue')]), 'POST')
            equal(client.read_informational().status, 100, 'status')
            client.send(b'hello')
            equal(json.loads(client.read().text)['body'], 'hello', 'what it got')
    for method in ('PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'):
        with t.case('node: %s passes' % method):
            equal(fetch(weir.port, method, '/node/x').text, method + '\n', 'text')


class Burst(threading.Thread):
    """Sixteen clients that all ask at once, then all wait for one of the pauses, and ask again: so many connections
    idle for so long.  good: answers; bad: what else came."""

    CLIENTS = 16

    def __init__(self, port, method, target, pauses):
        super().__init__(daemon=True)
        self.port, self.method, self.target, self.pauses = port, method, target, pauses
        self.gate = threading.Barrier(self.CLIENTS + 1)
        self.good, self.bad = [], []

    def one(self):
        with Client(self.port) as client:
            for _ in self.pauses:
                self.gate.wait()
                try:
                    got = client.fetch(self.method, self.target, body=b'x' if self.method == 'POST' else b'')
                    (self.good if got.status == 200 else self.bad).append(got.status)
                except (Truncated, Reset, TimedOut) as error:
                    self.bad.append(repr(error))
                    client = Client(self.port)

    def run(self):
        clients = [threading.Thread(target=self.one, daemon=True) for _ in range(self.CLIENTS)]
        for client in clients:
            client.start()
        for pause in self.pauses:
            self.gate.wait()
            time.sleep(pause)
        for client in clients:
            client.join()

    def lost_nothing(self):
        equal(self.bad, [], 'what went wrong')
        equal(len(self.good), self.CLIENTS * len(self.pauses), 'answers')


def idle_time(port):
    """Seconds after which the server at the port ends an idle connection."""
    with Client(port) as client:
        equal(client.fetch('GET', '/x').status, 200, 'status')
        began = time.monotonic()
        equal(client.end(), 'eof', 'end')
        return time.monotonic() - began


def node_keepalive(t, weir, node):
    idle, before = idle_time(node.port), totals(weir)
    # An answer takes 40 ms, which the connection is not idle.
    around = [idle + 0.04 + n * 0.004 for n in range(-5, 5)]
    gets = Burst(weir.port, 'GET', '/quiet/soon', around)
    posts = Burst(weir.port, 'POST', '/node/soon', [0.7, 0.75, 0.8, 0.85, 1.0, 1.04, 1.08] + around[::2])
    for burst in (gets, posts):
        burst.start()
    for burst in (gets, posts):
        burst.join()
    after = totals(weir)
    t.note('node ends idle connections after %.3f s; %r' % (idle, {
        name: after[name] - before[name] for name in ('stale_retries', 'upstream_connections', 'upstream_reused')}))
    with t.case('node ends idle connections before weir does: of 160 GETs paced around that moment none is lost'):
        gets.lost_nothing()
    with t.case('node says how long it keeps them: of 192 POSTs, which may not be sent twice, none is lost either'):
        posts.lost_nothing()
    with t.case('node: an answer that takes longer than its keep-alive time is whole'):
        equal(fetch(weir.port, 'GET', '/node/slow').text, 'begun\nended\n', 'text')


# ---- HTTP/1.0 ----------------------------------------------------------------------------------------------------------

def old_server(t, weir, old):
    with t.case('http.server: a file over HTTP/1.0 is whole, and the client keeps its HTTP/1.1 connection'):
        with Client(weir.port) as client:
            for _ in range(3):
                got = client.fetch('GET', '/old/binary')
                equal((got.status, got.version), (200, '1.1'), 'status and version')
                true(got.body == BINARY, 'the file')
                true(got.keeps_alive(), 'the connection is kept')
    with t.case('http.server: HEAD, a missing file and an empty one'):
        with Client(weir.port) as client:
            equal(client.fetch('HEAD', '/old/binary').header('Content-Length'), str(len(BINARY)), 'Content-Length')
            equal(client.fetch('GET', '/old/none').status, 404, 'status')
            got = client.fetch('GET', '/old/nothing')
            equal((got.status, got.length), (200, 0), 'status and length')
    with t.case('http.server: the redirect to a folder is made true for the client'):
        got = fetch(weir.port, 'GET', '/old/folder')
        equal((got.status, got.header('Location')), (301, '/old/folder/'), 'status and Location')
        contains(curl('-L', 'http://127.0.0.1:%d/old/folder' % weir.port).text, 'Directory listing', 'the listing')
    with t.case('http.server: If-Modified-Since is answered 304'):
        when = fetch(weir.port, 'GET', '/old/binary').header('Last-Modified')
        equal(fetch(weir.port, 'GET', '/old/binary', [('If-Modified-Since', when)]).status, 304, 'status')
    with t.case('http.server: what it cannot do is its own 501'):
        got = fetch(weir.port, 'POST', '/old/x', body=b'y' * 100)
        equal(got.status, 501, 'status')
        contains(got.text, 'Unsupported method', 'its page')


with Story('real servers behind weir', deadline=170) as t:
    missing = [name for name, there in (('nginx', have_nginx()), ('Flask', have_flask()), ('Node', have_node())) if not there]
    if missing:
        t.skip_all('not installed here: ' + ', '.join(missing))
    nginx = Nginx('nginx', NGINX, files={'binary': BINARY, 'text.txt': TEXT})
    os.makedirs(os.path.join(t.path('nginx'), 'html', 'up'))
    flask, node, quiet = Flask('flask', FLASK), ShortNode('node', NODE), ShortNode('quiet', NODE, quiet=True)
    old = OldServer('old', {'binary': BINARY, 'nothing': b''})
    weir = Weir(CONF, workers=1, nginx=nginx, flask=flask, node=node, quiet=quiet, old=old)
    nginx_reuse(t, weir)
    nginx_files(t, weir, nginx)
    nginx_parts(t, weir, nginx)
    nginx_uploads(t, weir, nginx)
    curl_ways(t, weir)
    flask_answers(t, weir, flask)
    flask_events(t, weir)
    node_messages(t, weir, node)
    node_keepalive(t, weir, node)
    old_server(t, weir, old)
    with t.case('nothing is left under way'):
        wait_idle(weir)
