#!/usr/bin/python3
# weir alone: every route answers with its own name, so that the client sees which one took its request; and `weir -e`,
# asked about the same request, must name the same route.
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *


class Table:
    """One weir for a list of routes, and the questions put to it."""

    def __init__(self, t, name, conf, listen='', head=''):
        self.t, self.name = t, name
        lines = []
        for line in conf.strip('\n').split('\n'):
            line = line.strip()
            lines.append(line)
            if line.startswith('[route '):
                lines.append('respond = 200 ' + line.split()[1].rstrip(']'))
        self.weir = Weir('%s\n[listen http]\nbind = 127.0.0.1:{port}\n%s\n%s\n' % (head, listen, '\n'.join(lines)),
                         name=name, workers=1)

    def ask(self, want, target, host='weir.test', method='GET', headers=(), port=None, explain=True, source=None,
            why=''):
        """want: the name of the route, or a status."""
        text = '%s: %s %s of %s%s%s gets %s%s' % (
            self.name, method, target, host, ''.join(', %s: %s' % h for h in headers),
            ', from ' + source if source else '', want, ' (%s)' % why if why else '')
        with self.t.case(text):
            answer = fetch(port or self.weir.port, method, target, headers, host=host, source=source)
            if isinstance(want, int):
                equal(answer.status, want, 'status')
            elif method == 'HEAD':
                equal(answer.status, 200, 'status')
                self.weir.wait_access({'route': want, 'method': 'HEAD'})
            else:
                equal((answer.status, answer.text.strip()), (200, want), 'status and route')
        if explain and not isinstance(want, int) and not source:
            self.explain(want, target, host, method, headers)

    def explain(self, want, target, host, method, headers):
        with self.t.case('%s: weir -e says so too' % self.name):
            args = [x for pair in headers for x in ('-H', '%s: %s' % pair)]
            url = '%s http://%s:%d%s' % (method, host, self.weir.port, target)
            run = weir_run('-e', url, *args, '-c', self.weir.conf_path)
            equal(run.code, 0, 'exit status of weir -e %r' % url)
            contains(run.text, want, 'what it said')


def hosts(t):
    table = Table(t, 'hosts', '''
        [route any]
        [route wild]
        host = *.example
        [route wilder]
        host = *.b.example
        [route exact]
        host = a.example, second.example
        [route deep]
        host = *.c.b.example
        [route upper]
        host = UPPER.example
    ''')
    table.ask('any', '/', 'other.test')
    table.ask('wild', '/', 'x.example')
    table.ask('wild', '/', 'x.y.example', why='any depth below')
    table.ask('any', '/', 'example', why='not itself')
    table.ask('any', '/', 'notexample')
    table.ask('exact', '/', 'a.example', why='exact before wildcard')
    table.ask('exact', '/', 'second.example')
    table.ask('exact', '/', 'A.EXAMPLE', why='case does not count', explain=False)
    table.ask('exact', '/', 'a.example.', why='a final dot does not count', explain=False)
    table.ask('exact', '/', 'a.example:8443', why='the port does not count', explain=False)
    table.ask('upper', '/', 'upper.example')
    table.ask('wilder', '/', 'x.b.example', why='the longest wildcard')
    table.ask('deep', '/', 'x.c.b.example')
    table.ask('wild', '/', 'b.example')
    with t.case('hosts: of an absolute-form target the host counts, not the field'):
        with Client(table.weir.port) as client:
            client.send(b'GET http://a.example/ HTTP/1.1\r\nHost: x.b.example\r\n\r\n')
            equal(client.read().text.strip(), 'exact', 'route')
    with t.case('hosts: 1.0 without Host gets the route without one'):
        equal(fetch(table.weir.port, host=None, version='1.0').text.strip(), 'any', 'route')


def many_hosts(t):
    names = ['h%d.example' % i for i in range(3000)]
    table = Table(t, 'many hosts', '\n'.join('[route r%d]\nhost = %s' % (i, n) for i, n in enumerate(names)))
    for i in (0, 99, 100, 101, 255, 256, 1023, 2999):
        table.ask('r%d' % i, '/', names[i], explain=False)
    table.ask(404, '/', 'h3000.example')


def paths(t):
    table = Table(t, 'paths', '''
        [route root]
        path = /
        [route api]
        path = /api
        [route api-v2]
        path = /api/v2/
        [route exact]
        path_exact = /api/v2/exact
        [route regex]
        path_regex = ^/api/v[0-9]+/(users|groups)$
        path_regex = \\.php$
        [route regex-later]
        path_regex = ^/api/v2/users
        [route two]
        path = /two, /zwei /deux
        [route escaped]
        path_exact = /caf%C3%A9
        [route regex-comma]
        path_regex = ^/comma/[0-9]{2,3}$
    ''')
    table.ask('root', '/')
    table.ask('root', '/apix', why='only on a segment border')
    table.ask('root', '/API', why='case counts')
    table.ask('api', '/api')
    table.ask('api', '/api/')
    table.ask('api', '/api/x?y')
    table.ask('api', '/api?x')
    table.ask('api-v2', '/api/v2', why='/api/v2/ means /api/v2')
    table.ask('api-v2', '/api/v2/x', why='the longest')
    table.ask('api', '/api/v22')
    table.ask('exact', '/api/v2/exact')
    table.ask('api-v2', '/api/v2/exact/', why='exact is exact')
    table.ask('api-v2', '/api/v2/exact/more')
    table.ask('regex', '/api/v2/users', why='regex before prefix; the first of two in the file')
    table.ask('regex', '/anything/x.php', why='the other regex of the same route')
    table.ask('regex', '/api/v2/exact.php')
    table.ask('regex-later', '/api/v2/users/7')
    table.ask('two', '/two')
    table.ask('two', '/zwei/x')
    table.ask('two', '/deux')
    table.ask('escaped', '/caf%c3%a9', why='escapes are compared normalised')
    table.ask('regex-comma', '/comma/123', why='commas are ordinary in a regex')
    table.ask('root', '/comma/1234')
    for target, want in (('/x/../api/v2', 'api-v2'), ('/x/%2e%2e/api', 'api'), ('/%61pi', 'api'),
                         ('/api/./v2/./exact', 'exact'),
                         ('/api%2Fv2', 'root'), ('//api', 'root'), ('/api//v2', 'api'), ('/api/..;/x', 400),
                         ('/api/v2/exact%00', 400), ('/api/%2e%2e%2f', 400), ('/api/..%5Cx', 400),
                         ('/../api', (400, 'api')),
                         ('/%2e%2e/api', (400, 'api')),
                         ('/api/v2/%2E%2E/x', 'api'), ('/api%5Cv2', 'root'), ('/api%252fv2', 'root'),
                         ('/api/v2?/../', 'api-v2')):
        with t.case('paths: %s means %s' % (target, want)):
            answer = fetch(table.weir.port, 'GET', target)
            got = answer.text.strip() if answer.status == 200 else answer.status
            isin(got, want if isinstance(want, tuple) else (want,), 'route')


def conditions(t):
    table = Table(t, 'conditions', r'''
        [route none]
        [route m-post]
        path = /m
        method = POST, PUT
        [route m-get]
        path = /m
        method = GET
        [route m-not]
        path = /mnot
        method = !DELETE
        [route h-name]
        path = /h
        header = X-There
        [route h-value]
        path = /h
        header = X-Value: exact value
        [route h-regex]
        path = /h
        header = X-Regex: ~^v[0-9]+$
        [route h-absent]
        path = /habsent
        header = !X-Absent
        [route h-two]
        path = /htwo
        header = X-One: 1
        header = X-Two: 2
        [route c-name]
        path = /c
        cookie = there
        [route c-value]
        path = /c
        cookie = value=v1
        [route c-regex]
        path = /c
        cookie = regex=~^a+$
        [route c-absent]
        path = /cabsent
        cookie = !absent
        [route q-name]
        path = /q
        query = there
        [route q-value]
        path = /q
        query = value=v1
        [route q-regex]
        path = /q
        query = regex=~^a+$
        [route q-absent]
        path = /qabsent
        query = !absent
        [route client-net]
        path = /client
        client = 127.0.0.0/30
        [route client-not]
        path = /clientnot
        client = !127.0.0.9
        [route client-private]
        path = /clientprivate
        client = private
    ''')
    table.ask('m-get', '/m')
    table.ask('m-post', '/m', method='POST')
    table.ask('m-post', '/m', method='PUT')
    table.ask('m-get', '/m', method='HEAD', why='GET covers HEAD')
    table.ask('none', '/m', method='DELETE')
    table.ask('none', '/m', method='get', why='methods keep their case', explain=False)
    table.ask('m-not', '/mnot')
    table.ask('none', '/mnot', method='DELETE')
    table.ask('h-name', '/h', headers=[('X-There', 'anything')])
    table.ask('h-name', '/h', headers=[('x-there', '')], why='a name in any case, an empty value is there')
    table.ask('none', '/h')
    table.ask('h-value', '/h', headers=[('X-Value', 'exact value')])
    table.ask('none', '/h', headers=[('X-Value', 'exact value and more')])
    table.ask('none', '/h', headers=[('X-Value', 'Exact Value')], why='values keep their case')
    table.ask('h-regex', '/h', headers=[('X-Regex', 'v12')])
    table.ask('none', '/h', headers=[('X-Regex', 'xv12')])
    table.ask('h-absent', '/habsent')
    table.ask('none', '/habsent', headers=[('X-Absent', 'but here')])
    table.ask('h-two', '/htwo', headers=[('X-One', '1'), ('X-Two', '2')])
    table.ask('none', '/htwo', headers=[('X-One', '1')], why='each line must hold')
    table.ask('c-name', '/c', headers=[('Cookie', 'a=b; there=1; c=d')])
    table.ask('none', '/c', headers=[('Cookie', 'nothere=1; xthere=2; there2=3')])
    table.ask('c-value', '/c', headers=[('Cookie', 'value=v1')])
    table.ask('none', '/c', headers=[('Cookie', 'value=v11')])
    table.ask('c-regex', '/c', headers=[('Cookie', 'regex=aaa')])
    table.ask('none', '/c', headers=[('Cookie', 'regex=aab')])
    table.ask('c-absent', '/cabsent', headers=[('Cookie', 'other=1')])
    table.ask('none', '/cabsent', headers=[('Cookie', 'absent=')])
    table.ask('q-name', '/q?a&there&b')
    table.ask('q-name', '/q?there=')
    table.ask('none', '/q?nothere=1')
    table.ask('q-value', '/q?value=v1')
    table.ask('none', '/q?value=v11')
    table.ask('q-regex', '/q?x=1&regex=aaa')
    table.ask('none', '/q?regex=ab')
    table.ask('q-absent', '/qabsent?other')
    table.ask('none', '/qabsent?absent')
    table.ask('client-net', '/client')
    table.ask('none', '/client', source='127.0.0.5')
    table.ask('client-not', '/clientnot')
    table.ask('none', '/clientnot', source='127.0.0.9')
    table.ask('client-private', '/clientprivate')


def precedence(t):
    table = Table(t, 'precedence', '''
        [route plain]
        [route path-long]
        path = /p/long
        [route path-short]
        path = /p
        [route host]
        host = h.example
        [route host-path]
        host = h.example
        path = /p/long
        [route wild-exact]
        host = *.example
        path_exact = /p/long/exact
        [route method]
        path = /count
        method = GET
        [route method-header]
        path = /count
        method = GET
        header = X-A
        [route headers]
        path = /count
        header = X-A
        header = X-B
        header = X-C
        [route first]
        path = /same
        [route second]
        path = /same
        [route urgent]
        priority = 10
        path = /urgent
        [route urgent-host]
        host = h.example
        path_exact = /urgent/exact
        [route late]
        priority = -1
        host = h.example
        path_exact = /late
        [route late-common]
        path = /late
        [route disabled]
        enabled = no
        priority = 100
        path = /off
        [route not-off]
        path = /off
    ''')
    table.ask('plain', '/')
    table.ask('path-short', '/p/x')
    table.ask('path-long', '/p/long/x', why='the longest path, wherever it stands')
    table.ask('host', '/p/x', 'h.example', why='a host\'s own route beats a host-less path')
    table.ask('host-path', '/p/long/x', 'h.example')
    table.ask('host-path', '/p/long/exact', 'h.example', why='exact host before wildcard with an exact path')
    table.ask('wild-exact', '/p/long/exact', 'x.example')
    table.ask('path-long', '/p/long/y', 'x.example', why='the wildcard\'s path does not hold')
    table.ask('method', '/count')
    table.ask('method-header', '/count', headers=[('X-A', '1')], why='more conditions win')
    table.ask('headers', '/count', headers=[('X-A', '1'), ('X-B', '1'), ('X-C', '1')],
              why='three lines beat two conditions')
    table.ask('headers', '/count', method='POST', headers=[('X-A', '1'), ('X-B', '1'), ('X-C', '1')])
    table.ask('plain', '/count', method='POST', headers=[('X-A', '1')])
    table.ask('first', '/same', why='the first in the configuration')
    table.ask('urgent', '/urgent/exact', 'h.example', why='priority before everything')
    table.ask('host', '/late', 'h.example', why='a negative priority comes after everything')
    table.ask('late-common', '/late')
    table.ask('not-off', '/off', why='a route that is not enabled is never chosen')


def listeners(t):
    weir = Weir('''
        [listen http]
        bind = 127.0.0.1:{port}
        [listen admin]
        bind = 127.0.0.1:{port_admin}, 127.0.0.1:{port_admin2}
        exclusive = yes
        [listen third]
        bind = 127.0.0.1:{port_third}
        [listen secure]
        bind = 127.0.0.1:{port_redirect}
        redirect_https = 8443
        [listen plain]
        bind = 127.0.0.1:{port_plain}
        redirect_https = yes
        [route common]
        respond = 200 common
        [route admin]
        listen = admin
        path = /admin
        respond = 200 admin
        [route some]
        listen = http, third
        path = /some
        respond = 200 some
        [route everywhere]
        path = /some
        respond = 200 everywhere
        [route acme]
        listen = secure
        path = /.well-known/acme-challenge
        respond = 200 acme
        ''', name='listeners', workers=1)
    p = weir.ports
    for port, target, want in (
            ('port', '/', 'common'), ('port', '/admin', 'common'), ('port_admin', '/admin/x', 'admin'),
            ('port_admin2', '/admin/x', 'admin'), ('port_admin', '/', 404), ('port_admin', '/some', 404),
            ('port', '/some', 'some'), ('port_third', '/some', 'some')):
        with t.case('listeners: %s at %s gets %s' % (target, port, want)):
            answer = fetch(p[port], 'GET', target)
            got = answer.text.strip() if answer.status == 200 else answer.status
            equal(got, want, 'route or status')
    with t.case('listeners: redirect_https sends to the same host and URI, on the port it names, by 308'):
        answer = fetch(p['port_redirect'], 'POST', '/a/b?c=d', host='shop.example:80', body=b'x')
        equal((answer.status, answer.header('Location')), (308, 'https://shop.example:8443/a/b?c=d'), 'answer')
    with t.case('listeners: ... and on the usual one without a port'):
        answer = fetch(p['port_plain'], 'GET', '/a/b?c=d', host='shop.example:8080')
        equal((answer.status, answer.header('Location')), (308, 'https://shop.example/a/b?c=d'), 'answer')
    with t.case('listeners: a route that names a redirecting listener is an exception'):
        answer = fetch(p['port_redirect'], 'GET', '/.well-known/acme-challenge/x')
        equal((answer.status, answer.text.strip()), (200, 'acme'), 'answer')


def policies(t):
    table = Table(t, 'policies', '''
        [policy shop]
        host = shop.example, www.shop.example
        response_header = X-Site: shop
        [policy private]
        allow = 127.0.0.1
        [route shop]
        use = shop
        [route shop-cart]
        use = shop, private
        path = /cart
        response_header = X-Site: cart
        [route shop-down]
        use = shop
        priority = 100
        enabled = no
        [route rest]
    ''')
    table.ask('shop', '/', 'shop.example')
    table.ask('shop', '/', 'www.shop.example')
    table.ask('shop-cart', '/cart/1', 'shop.example')
    table.ask('rest', '/cart/1', 'other.example')
    with t.case('policies: edits add up, the nearer wins per name'):
        equal(fetch(table.weir.port, 'GET', '/', host='shop.example').all('X-Site'), ['shop'], 'X-Site')
        equal(fetch(table.weir.port, 'GET', '/cart', host='shop.example').all('X-Site'), ['cart'], 'X-Site')


def unreachable(t):
    base = '[listen a]\nbind = 127.0.0.1:%d\n' % free_port()
    for text, name, why in (
            ('[route one]\nrespond = 200 x\n[route two]\nrespond = 200 y\n', 'two', 'the same conditions, later'),
            ('[route one]\npriority = 5\nrespond = 200 x\n[route two]\npath = /x\nhost = h\nrespond = 200 y\n', 'two',
             'everything goes to a higher priority')):
        with t.case('-t warns of a route nothing can reach: %s' % why):
            run = weir_run('-t', conf=base + text)
            equal(run.code, 0, 'exit status; it said ' + run.text)
            contains(run.text, name, 'output')
            true('warning' in run.text.lower() or 'never' in run.text.lower() or 'no request' in run.text.lower(),
                 'a warning in %r' % run.text)
    with t.case('-t has nothing to say of routes that can all be reached'):
        run = weir_run('-t', conf=base + '[route one]\npath = /x\nrespond = 200 x\n[route two]\nrespond = 200 y\n')
        lacks(run.text.lower(), 'warning', 'output')
    for text, what in (('path = /a\npath_exact = /b\n', 'path_exact'), ('path_regex = ^(\n', 'path_regex'),
                       ('client = 10.0.0.1/8\n', '10.0.0.0/8'), ('listen = b\n', 'listen'), ('path = a\n', 'path'),
                       ('method =\n', 'method'), ('priority = high\n', 'priority')):
        with t.case('-t refuses %r' % text.replace('\n', ' ')):
            run = weir_run('-t', conf=base + '[route one]\n' + text + 'respond = 200 x\n')
            equal(run.code, 1, 'exit status; it said ' + run.text)
            contains(run.text, what, 'output')


with Story('which route wins', deadline=90) as t:
    hosts(t)
    paths(t)
    conditions(t)
    precedence(t)
    listeners(t)
    policies(t)
    many_hosts(t)
    unreachable(t)
