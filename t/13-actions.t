#!/usr/bin/python3
# What a route can do besides proxying to one upstream: respond, redirect, error pages, allow and deny, limits of size
# and time, fallback, a weighted split, and being switched off.
import os
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
trusted_proxies = 127.0.0.1
max_body_size = 2k

[route respond]
path = /respond
respond = 201 Hello $client_ip, you asked $method $path of $host; ${header:X-Name} pays $$5
[route respond-quoted]
path = /quoted
respond = 200 "one\\ntwo # no comment"
[route respond-empty]
path = /empty
respond = 204
[route respond-file]
path = /file
respond = 200 ${file:{dir}/page.html}
response_header = Content-Type: text/html

[route redirect]
path = /redirect
redirect = 301 https://$host/new$request_uri
[route redirect-group]
path_regex = ^/old/([a-z]+)/([0-9]+)$
redirect = 302 /new/$2/$1?$query

[route pages]
path = /pages
upstream = dead
error_page = 502,503 <h1>Sorry: $status</h1>
error_page = 4xx four hundreds
[route pages-deny]
path = /pages/deny
deny = all
error_page = 403 no entry
respond = 200 in
[route pages-respond]
path = /pages/respond
respond = 503
error_page = 5xx from the page
[route pages-text]
path = /pages/text
respond = 503 own text
error_page = 5xx from the page
[route pages-origin]
path = /pages/origin
strip_prefix = /pages/origin
upstream = one
error_page = 404,500 from the page

[route allow]
path = /allow
allow = 203.0.113.0/24, 127.0.0.1
respond = 200 in
[route deny]
path = /deny
deny = 203.0.113.66, 198.51.100.0/24
respond = 200 in
[route both]
path = /both
allow = 203.0.113.0/24
deny = 203.0.113.66
respond = 200 in

[route small]
path = /small
max_body_size = 1k
upstream = one
[route large]
path = /large
max_body_size = 0
upstream = one
[route default-size]
path = /size
upstream = one

[route slow]
path = /slow
timeout = 300ms
upstream = one
[route first-byte]
path = /first
response_timeout = 300ms
upstream = one
[route gap]
path = /gap
read_timeout = 300ms
upstream = stutter
[route hole]
path = /hole
connect_timeout = 300ms
retries = 0
upstream = hole

[route fallback]
path = /fallback
upstream = dead
fallback = spare
[route fallback-unused]
path = /unused
upstream = one
fallback = spare

[route split]
path = /split
upstream = one weight=75
upstream = spare weight=25
upstream = never weight=0
[route sticky-split]
path = /sticky
upstream = one weight=50
upstream = spare weight=50
split_by = ${cookie:user}

[route disabled]
path = /off
enabled = no
respond = 200 off
[route down]
path = /down
upstream = dead

[upstream one]
server = {one}
[upstream spare]
server = {spare}
[upstream never]
server = {never}
[upstream stutter]
server = {stutter}
[upstream hole]
server = {hole}
[upstream dead]
server = 127.0.0.1:{port_dead}
max_fails = 0
'''


async def stutter_out(message, conn):
    await conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345')
    await conn.sleep(3)
    await conn.send(b'67890')


def responds(t, weir):
    with t.case('respond: status and text, with variables'):
        answer = fetch(weir.port, 'PUT', '/respond/%61?q', [('X-Name', 'Ann')], host='A.example:9')
        equal((answer.status, answer.text.rstrip('\n')),
              (201, 'Hello 127.0.0.1, you asked PUT /respond/a of a.example; Ann pays $5'), 'answer')
        true(answer.header('Content-Type').startswith('text/plain'), 'text/plain')
    with t.case('respond: a quoted text has escapes and may hold comment signs'):
        equal(fetch(weir.port, 'GET', '/quoted').text.rstrip('\n'), 'one\ntwo # no comment', 'text')
    with t.case('respond: a status alone'):
        answer = fetch(weir.port, 'GET', '/empty')
        equal((answer.status, answer.length), (204, 0), 'answer')
    with t.case('respond: the text of a file, and the type that response_header gives'):
        answer = fetch(weir.port, 'GET', '/file')
        equal((answer.text.rstrip('\n'), answer.all('Content-Type')), ('<p># page; "it"</p>', ['text/html']), 'answer')
    with t.case('respond: HEAD tells the length and sends nothing; the connection goes on'):
        with Client(weir.port) as client:
            length = client.fetch('GET', '/quoted').length
            answer = client.fetch('HEAD', '/quoted')
            equal((answer.header('Content-Length'), answer.length), (str(length), 0), 'answer')
            equal(client.fetch('GET', '/empty').status, 204, 'next answer')


def bodies(t, weir):
    """Whatever weir answers by itself, what stands in the request's body never becomes the next request."""
    evil = request('GET', '/respond/smuggled')
    for path, status, why in (('/quoted', 200, 'respond'), ('/redirect/x', 301, 'redirect'),
                              ('/deny/x', 403, 'a denial'),
                              ('/nowhere', 404, 'no route'), ('/down', (502, 503), 'a dead upstream'),
                              ('/pages/respond', 503, 'an error page')):
        headers = [('X-Forwarded-For', '203.0.113.66')] if status == 403 else []
        for size in (0, 1800, 100000, 3000000):
            for framing in ('length', 'chunked', 'expect'):
                with t.case('a body of %s to %s%s is read off or ends the connection' % (
                        '%d bytes' % size if size else 'one request', why,
                        {'length': '', 'chunked': ', in chunks', 'expect': ', with an expectation'}[framing])):
                    body = evil * (1 + size // len(evil))
                    more = headers + ([('Expect', '100-continue')] if framing == 'expect' else [])
                    if framing == 'chunked':
                        data = request('POST', path, more + [('Transfer-Encoding', 'chunked')]) + chunked([body])
                    else:
                        data = request('POST', path, more, body)
                    result = exchange(weir.port, data + request('GET', '/empty'), timeout=0.5, half_close=True)
                    between(len(result.responses), 1, 2, 'number of responses in %r' % result)
                    isin(result.statuses[0], (status if isinstance(status, tuple) else (status,)) + (413,), 'status')
                    equal(result.statuses[1:], [204][:len(result.statuses) - 1], 'status of the next')
                    equal((result.tail, result.error), (b'', None), 'what came behind')
    with t.case('... and the smuggled request stands nowhere in the access log'):
        equal([x for x in weir.access() if 'smuggled' in x.get('uri', '')], [], 'lines')


def redirects(t, weir):
    with t.case('redirect: status and address, with variables'):
        answer = fetch(weir.port, 'GET', '/redirect/x?y=z', host='shop.example')
        equal((answer.status, answer.header('Location')), (301, 'https://shop.example/new/redirect/x?y=z'), 'answer')
    with t.case('redirect: groups of the regex'):
        answer = fetch(weir.port, 'GET', '/old/abc/42?q=1')
        equal((answer.status, answer.header('Location')), (302, '/new/42/abc?q=1'), 'answer')
    with t.case('redirect: no line break by way of a variable'):
        answer = fetch(weir.port, 'GET', '/redirect/%0d%0aSet-Cookie:%20a=b')
        isin(answer.status, (301, 400), 'status')
        equal(answer.all('Set-Cookie'), [], 'Set-Cookie')


def pages(t, weir):
    for path, status, text, why in (
            ('/pages/x', (502, 503), '<h1>Sorry: %d</h1>', 'weir\'s own error, with variables'),
            ('/pages/deny', (403,), 'no entry', 'a denied client'),
            ('/pages/respond', (503,), 'from the page', 'a respond without text'),
            ('/pages/text', (503,), 'own text', 'a respond with text keeps it'),
            ('/pages/origin/status/404', (404,), 'one says 404', 'the server\'s own errors stay'),
            ('/pages/origin/status/500', (500,), 'one says 500', 'the server\'s own errors stay')):
        with t.case('error_page: %s' % why):
            answer = fetch(weir.port, 'GET', path)
            isin(answer.status, status, 'status')
            got = answer.text.rstrip('\n')
            isin(got, (text, text % answer.status if '%d' in text else text, text.replace('%d', '$status')), 'text')
    with t.case('error_page: a range takes any of its statuses'):
        answer = fetch(weir.port, 'POST', '/pages/x', body=b'x' * 3000)
        equal((answer.status, answer.text.rstrip('\n')), (413, 'four hundreds'), 'answer')


def access(t, weir):
    for path, client, want in (
            ('/allow', None, 200), ('/allow', '203.0.113.5', 200), ('/allow', '203.0.114.5', 403),
            ('/allow', '::1', 403),
            ('/deny', None, 200), ('/deny', '203.0.113.66', 403), ('/deny', '198.51.100.200', 403),
            ('/deny', '203.0.113.67', 200),
            ('/both', '203.0.113.5', 200), ('/both', '203.0.113.66', 403), ('/both', None, 403)):
        with t.case('%s for %s is %d' % (path, client or '127.0.0.1', want)):
            answer = fetch(weir.port, 'GET', path, [('X-Forwarded-For', client)] if client else [])
            equal(answer.status, want, 'status')
    with t.case('a denied request has its reason in the log'):
        weir.wait_access({'status': 403, 'reason': 'denied'})


def sizes(t, weir, one):
    for path, size, framing, want in (
            ('/small/digest', 1024, 'length', 200), ('/small/digest', 1025, 'length', 413),
            ('/small/digest', 1024, 'chunked', 200),
            ('/small/digest', 1025, 'chunked', 413), ('/small/digest', 100000, 'chunked', 413),
            ('/size/digest', 2048, 'length', 200),
            ('/size/digest', 2049, 'length', 413), ('/large/digest', 3000000, 'length', 200),
            ('/large/digest', 3000000, 'chunked', 200)):
        with t.case('%d bytes %s to %s give %d' % (size, 'in chunks' if framing == 'chunked' else 'with a length',
                                                   path, want)):
            one.forget()
            with Client(weir.port) as client:
                if framing == 'length':
                    client.send(request('POST', path, [('Content-Length', size)]) + b'x' * size)
                else:
                    client.send(request('POST', path, [('Transfer-Encoding', 'chunked')]) + chunked([b'x' * size]))
                answer = client.read()
                equal(answer.status, want, 'status')
                if want == 413:
                    equal([r for r in one.requests if r.complete], [], 'whole requests at the origin')
                    weir.wait_access({'status': 413, 'reason': 'body_too_large'})
    with t.case('a body that is too large by its length is refused before it is sent'):
        with Client(weir.port) as client:
            client.send(request('POST', '/small/digest', [('Content-Length', 1025), ('Expect', '100-continue')]))
            answer = client.read()
            equal((answer.status, answer.informational), (413, []), 'answer')
    with t.case('what was refused does not become the next request'):
        result = exchange(weir.port, request('POST', '/small/digest', [('Content-Length', 2000)]) +
                          request('GET', '/respond/smuggled') + b'x' * 1900, timeout=2)
        equal(result.statuses[:1], [413], 'statuses')
        equal([x for x in weir.access() if 'smuggled' in x.get('uri', '')], [], 'lines in the log')


def times(t, weir):
    for path, status, reason, why in (
            ('/slow/5000', 504, 'request_timeout', 'timeout for the whole request'),
            ('/first/slow/5000', 504, 'response_timeout', 'response_timeout for the head of the answer'),
            ('/hole/', 504, 'connect_timeout', 'connect_timeout for the connection')):
        with t.case('%d after 300 ms: %s' % (status, why)):
            began = time.monotonic()
            answer = fetch(weir.port, 'GET', path, timeout=6)
            spent = time.monotonic() - began
            equal(answer.status, status, 'status')
            between(spent, 0.28, 1.2 * tap.SLOW, 'seconds')
            weir.wait_access({'uri': path, 'status': status, 'reason': reason})
    with t.case('read_timeout cuts an answer that pauses; the client sees that it is not whole'):
        try:
            answer = fetch(weir.port, 'GET', '/gap')
            raise Failed('a whole answer: %r' % answer)
        except (Truncated, Reset):
            pass
        weir.wait_access({'uri': '/gap', 'reason': 'read_timeout'})
    with t.case('in time is in time'):
        equal(fetch(weir.port, 'GET', '/slow/50').status, 200, 'status')
        equal(fetch(weir.port, 'GET', '/first/slow/50').status, 200, 'status')


def upstreams(t, weir, one, spare, never):
    with t.case('a dead upstream is 502 or 503, at once, and weir lives'):
        began = time.monotonic()
        answer = fetch(weir.port, 'GET', '/down')
        isin(answer.status, (502, 503), 'status')
        between(time.monotonic() - began, 0, 1.0 * tap.SLOW, 'seconds')
    with t.case('fallback takes what the first upstream cannot'):
        spare.forget()
        for i in range(5):
            answer = fetch(weir.port, 'POST' if i % 2 else 'GET', '/fallback/%d' % i, body=b'abc' if i % 2 else b'')
            equal((answer.status, answer.text), (200, 'spare'), 'answer')
        equal(spare.targets(), ['/fallback/%d' % i for i in range(5)], 'requests at spare')
        weir.wait_access({'uri': '/fallback/4', 'upstream': 'spare'})
    with t.case('fallback rests while the first upstream serves'):
        spare.forget()
        equal(fetch(weir.port, 'GET', '/unused').text, 'one', 'answer')
        equal(spare.requests, [], 'requests at spare')
    with t.case('a split of 75 to 25 over 800 requests; weight 0 gets none'):
        one.forget()
        spare.forget()
        load = Load(weir.port, '/split', connections=8, count=800).run()
        equal(load.counts, {'ok': 800}, 'outcomes')
        t.note('one %d, spare %d' % (len(one.requests), len(spare.requests)))
        between(len(spare.requests), 140, 260, 'requests at spare')
        equal(len(one.requests) + len(spare.requests), 800, 'requests in all')
        equal(never.requests, [], 'requests at never')
    with t.case('split_by keeps a client in one part, and parts are even'):
        homes = {}
        for round_ in range(3):
            for user in range(60):
                answer = fetch(weir.port, 'GET', '/sticky', [('Cookie', 'user=u%d' % user)])
                equal(homes.setdefault(user, answer.text), answer.text, 'home of user %d' % user)
        between(sum(home == 'one' for home in homes.values()), 15, 45, 'users at one')
    with t.case('a route that is not enabled is as if it were not there: 404'):
        equal(fetch(weir.port, 'GET', '/off').status, 404, 'status')
        weir.wait_access({'uri': '/off', 'status': 404, 'reason': 'no_route'})


def refused(t):
    base = '[listen a]\nbind = 127.0.0.1:%d\n[upstream u]\nserver = 127.0.0.1:9\n[route x]\n' % free_port()
    for text, what in (
            ('', 'action'), ('respond = 200 x\nupstream = u\n', 'respond'), ('upstream = nobody\n', 'nobody'),
            ('respond = 99 x\n', 'respond'), ('respond = hello\n', 'respond'), ('redirect = 200 /x\n', 'redirect'),
            ('redirect = 301\n', 'redirect'), ('respond = 200 a ; b\n', 'quote'),
            ('respond = 200 $nothing\n', 'nothing'),
            ('upstream = u weigth=3\n', 'weight'), ('respond = 200 x\nauth = me\n', 'not built yet'),
            ('upstream = u\ncache = x\n', 'not built yet'), ('upstream = u\nmirror = u\n', 'not built yet'),
            ('upstream = u\ntimeout = 5\n', '5s'), ('upstream = u\nmax_body_size = 5q\n', 'max_body_size'),
            ('upstream = u\nfallback = nobody\n', 'nobody'), ('upstream = u\nerror_page = 600 x\n', 'error_page')):
        with t.case('-t refuses a route with %r' % text.strip().replace('\n', ' / ')):
            run = weir_run('-t', conf=base + text)
            equal(run.code, 1, 'exit status; it said ' + run.text)
            contains(run.text, what, 'output')


with Story('what routes do', deadline=90) as t:
    one, spare, never = Origin('one'), Origin('spare'), Origin('never')
    stutter = Origin('stutter', handler=stutter_out)
    hole = Blackhole()
    os.makedirs(t.path('weir'), exist_ok=True)
    with open(t.path('weir') + '/page.html', 'w') as f:
        f.write('<p># page; "it"</p>\n')
    weir = Weir(CONF, one=one, spare=spare, never=never, stutter=stutter, hole=hole)
    responds(t, weir)
    bodies(t, weir)
    redirects(t, weir)
    pages(t, weir)
    access(t, weir)
    sizes(t, weir, one)
    times(t, weir)
    upstreams(t, weir, one, spare, never)
    refused(t)
