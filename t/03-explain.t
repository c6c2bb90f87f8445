#!/usr/bin/python3
# weir -e: which listener, route, filters and servers a request would meet, and why not the others.  Nothing is served; what
# it says of a request is compared with what a running weir then does with the same one.
import os
import re
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen web]
bind = 127.0.0.1:8080
max_body_size = 1m
[listen internal]
bind = 127.0.0.2:8080, 127.0.0.1:9090
exclusive = yes
trusted_proxies = 127.0.0.0/8
[listen plain]
bind = 127.0.0.1:8081
redirect_https = yes

[route beta]
host = shop.example
header = X-Beta: 1
upstream = beta
[route shop]
host = shop.example, *.shop.example
path = /api
strip_prefix = yes
add_prefix = /v2
request_header = X-Route: $route
request_header_remove = Cookie
response_header = X-Served-By: weir
max_body_size = 2k
upstream = shop
retries = 1
retry_on = connect, 503
connect_timeout = 500ms
[route old]
path_regex = ^/old/(\\d+)$
rewrite = ^/old/(\\d+)$ /new?id=$1
upstream = shop
[route down]
host = shop.example
priority = 9
enabled = no
respond = 503 Down.
[route greeting]
respond = 200 Hello $host!
[route private]
listen = internal
deny = 10.0.0.0/8
allow = 127.0.0.0/8, 192.0.2.0/24
split_by = $client_ip
upstream = shop weight=3
upstream = beta weight=1
fallback = beta
[route moved]
path_exact = /moved
redirect = 301 http://$host/here

[upstream shop]
balance = round_robin
server = 127.0.0.1:7001 weight=2
server = 127.0.0.1:7002 max_conns=5 backup
[upstream beta]
server = 127.0.0.1:7003
'''


def explain(request, *headers, conf=CONF):
    args = ['-e', request]
    for line in headers:
        args += ['-H', line]
    return weir_run(*args, conf=conf)


def lines_of(run, label):
    """What stands behind a label, continued lines too."""
    found, inside = [], False
    for line in run.out.split('\n'):
        head, text = line[:24].strip(), line[24:].strip()
        if head:
            inside = head == label
        if inside and text:
            found.append(text)
    return found


def says(run, label, *wanted):
    have = lines_of(run, label)
    for want in wanted:
        true(any(re.search(want, line) for line in have), '%s says %r; it says %r in\n%s' % (label, want, have, run.text))


with Story('weir -e', deadline=120) as t:
    with t.case('the winner is named with its place, and why each other route lost'):
        run = explain('GET http://shop.example:8080/api/x?q=1')
        equal(run.code, 0, 'exit status')
        says(run, 'listener', r'^web \(.*weir\.ini:2\)')
        says(run, 'routes', r'^lost beta .*header: X-Beta is not 1', r'^won  shop \(.*weir\.ini:\d+\)$',
             r'^lost old .*path_regex: /api/x does not match', r'^lost greeting .*a better one won', r'^lost down .*enabled = no',
             r'^lost private .*does not stand on listener web', r'^lost moved .*path_exact: /api/x is not /moved')
        order = [line.split()[1] for line in lines_of(run, 'routes')]
        equal(order[:2], ['shop', 'beta'] if order[0] == 'shop' else ['beta', 'shop'], 'the hosts first')
        isin('greeting', order, 'routes')
        says(run, 'route', r'^shop \(')

    with t.case('what happens on the way is told in its order'):
        run = explain('GET http://shop.example:8080/api/x?q=1', 'Cookie: a=1', 'Accept: text/plain')
        says(run, 'max_body_size', '^2k$')
        says(run, 'path as forwarded', r'^/v2/x\?q=1$')
        says(run, 'Host', r'^shop\.example:8080$')
        says(run, 'header removed', '^Cookie$')
        says(run, 'header as it came', '^Accept: text/plain$')
        text = run.out
        for want in ('X-Route: shop', 'X-Forwarded-For: 127.0.0.1', 'X-Forwarded-Proto: http',
                     'X-Forwarded-Host: shop.example:8080', 'X-Forwarded-Prefix: /api', 'X-Real-IP: 127.0.0.1'):
            contains(text, want, 'headers')
        says(run, 'upstream', r'^shop \(.*weir\.ini:\d+\)$')
        says(run, 'balance', '^round_robin$')
        says(run, 'servers', r'^127\.0\.0\.1:7001 weight=2$', r'^127\.0\.0\.1:7002 max_conns=5 backup$')
        says(run, 'connect_timeout', '^500ms$')
        says(run, 'response_timeout', '^(60s|1m)$')
        says(run, 'retries', '^1 on other servers, on: connect 503$')
        says(run, 'rewrite_location', '^yes')
        says(run, "answer's header", '^set X-Served-By: weir$')

    with t.case('headers decide as they do in a worker'):
        run = explain('GET http://shop.example:8080/other', 'x-beta: 1')
        equal(run.code, 0, 'exit status')
        says(run, 'route', '^beta ')
        run = explain('GET http://127.0.0.1:8080/api', 'Host: a.shop.example')
        says(run, 'host', r'^a\.shop\.example$')
        says(run, 'route', '^shop ')

    with t.case('a path is normalised before it is matched, and rewritten'):
        run = explain('GET http://other.example:8080/x/%2e%2e/old/17')
        says(run, 'path', '^/old/17$')
        says(run, 'route', '^old ')
        says(run, 'path as forwarded', r'^/new\?id=17$')

    with t.case('the listener is the one with the port of the URL; an address picks among several'):
        says(explain('GET http://a:8081/'), 'listener', '^plain ')
        run = explain('GET http://127.0.0.2:8080/')
        says(run, 'listener', '^internal ', '^not web: ')
        run = explain('GET http://a:8080/')
        says(run, 'listener', '^web ', '^not internal: ')
        run = explain('GET http://a/')
        says(run, 'listener', '^web ', 'nothing listens on port 80')

    with t.case('redirect_https answers where no route does'):
        run = explain('GET http://a:8081/x?y')
        equal(run.code, 1, 'exit status')
        says(run, 'answer', r'^308 to https://a/x\?y ')

    with t.case('allow and deny judge the client that a trusted proxy names'):
        run = explain('GET http://a:9090/')
        equal(run.code, 0, 'exit status')
        says(run, 'route', '^private ')
        says(run, 'client', '^127.0.0.1, a trusted proxy')
        says(run, 'allow, deny', 'may pass')
        says(run, 'upstream', '^shop .*3 of 4', '^beta .*1 of 4')
        says(run, 'split_by', r'^\$client_ip$')
        says(run, 'fallback', '^beta ')
        run = explain('GET http://a:9090/', 'X-Forwarded-For: 192.0.2.9')
        says(run, 'client', '^192.0.2.9, says X-Forwarded-For')
        contains(run.out, 'X-Forwarded-For: 192.0.2.9, 127.0.0.1', 'forwarded')
        run = explain('GET http://a:9090/', 'X-Forwarded-For: 10.1.1.1')
        says(run, 'allow, deny', 'is in deny')
        says(run, 'answer', '^403: ')
        run = explain('GET http://a:9090/', 'X-Forwarded-For: 203.0.113.1')
        says(run, 'allow, deny', 'is not in allow')
        run = explain('GET http://a:8080/', 'X-Forwarded-For: 192.0.2.9')
        says(run, 'client', '^127.0.0.1, which is not among trusted_proxies')

    with t.case('a body that says it is too large'):
        run = explain('POST http://shop.example:8080/api', 'Content-Length: 2049')
        says(run, 'answer', '^413: ')
        lacks(explain('POST http://shop.example:8080/api', 'Content-Length: 2048').out, '413', 'within the limit')

    with t.case('answers of weir itself'):
        says(explain('GET http://b.example:8080/'), 'respond', r'^200 Hello b\.example!$')
        says(explain('GET http://b.example:8080/moved'), 'redirect', '^301 http://b.example/here$')

    with t.case('no route: 404 and exit status 1'):
        run = explain('GET http://a:8080/', conf=CONF.replace('[route greeting]', '[route greeting]\nhost = greet.example'))
        equal(run.code, 1, 'exit status')
        says(run, 'answer', '^404')

    with t.case('what is no request is refused with exit status 2'):
        for request, headers in (('GET', ()), ('/path', ()), ('GET /path', ()), ('GET ftp://a/', ()), ('GET http:///', ()),
                                 ('GET http://a/ HTTP/1.1', ()), ('GET http://a:99999/', ()), ('G{T http://a/', ()),
                                 ('GET http://a/%zz', ()), ('GET http://a/../x', ()), ('GET http://u@a/', ()),
                                 ('GET http://a/#x', ()), ('GET http://a/', ('nocolon',)), ('GET http://a/', ('A : b',)),
                                 ('GET http://a/', ('A: b\r\nB: c',)), ('GET http://a/', ('Host: a', 'Host: b')),
                                 ('GET http://a/', ('Content-Length: x',))):
            run = explain(request, *headers)
            equal(run.code, 2, 'exit status of %r %r: %s' % (request, headers, run.text))
            contains(run.out, 'This is no request', request)

    with t.case('it says what a running weir does'):
        one, two = Origin('one'), Origin('two')
        weir = Weir('''
            [listen http]
            bind = 127.0.0.1:{port}
            [route a]
            host = *.example
            path = /a, /a/b
            upstream = one
            [route b]
            host = x.example
            upstream = two
            [route c]
            path_regex = ^/a/(.)$
            header = X-C: ~^[0-9]+$
            upstream = two
            [route d]
            query = d=1
            method = POST
            upstream = two
            [upstream one]
            server = {one}
            [upstream two]
            server = {two}
        ''', one=one, two=two)
        asked = 0
        for host in ('x.example', 'y.example', 'other'):
            for path in ('/a', '/a/c', '/ab', '/x?d=1', '/'):
                for header in ('X-C: 17', 'X-C: no'):
                    for method in ('GET', 'POST'):
                        name, value = header.split(': ')
                        run = explain('%s http://%s:%d%s' % (method, host, weir.port, path), header, conf=weir.conf)
                        fetch(weir.port, method, path, headers=[('Host', '%s:%d' % (host, weir.port)), (name, value)])
                        asked += 1
                        line = until('the request is logged', lambda: len(weir.access()) >= asked and weir.access()[asked - 1])
                        route = lines_of(run, 'route')
                        told = route[0].split()[0] if route else ''
                        equal(told, line['route'].replace('-', ''), '%s %s %s %s\n%s' % (method, host, path, header, run.out))
