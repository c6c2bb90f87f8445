#!/usr/bin/python3
# What an origin is told about the client, what of the client's headers it sees, and what the operator's edits of
# headers, paths and Location change on the way there and back.  Clients come by two listeners: `http` trusts nobody,
# `behind` trusts the proxy at 127.0.0.1 and a network behind it.
import os
import re
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen http]
bind = 127.0.0.1:{port}

[listen behind]
bind = 127.0.0.1:{port_behind}
trusted_proxies = 127.0.0.1, 10.0.0.0/8

[listen cdn]
bind = 127.0.0.1:{port_cdn}
trusted_proxies = 127.0.0.1
client_ip_header = X-Client-Address

[route host-upstream]
path = /host/upstream
host_header = upstream
upstream = app
[route host-preserve]
path = /host/preserve
host_header = preserve
upstream = app
[route host-value]
path = /host/value
host_header = fixed-$method.example
upstream = app

[route edits]
path = /edits
upstream = app
request_header = X-Set: new value
request_header = X-From: $client_ip/$route/${header:X-Ask}
request_header = X-Gone-If-Empty: ${header:X-Not-There}
request_header = X-Dollar: a$$b
request_header = User-Agent: weir-test
request_header_add = X-Many: third
request_header_add = X-Other: only
request_header_remove = X-Secret, X-Hidden
response_header = X-Frame-Options: DENY
response_header = X-Origin: replaced
response_header = X-Status: $status
response_header_add = X-Reply: added
response_header_add = Set-Cookie: mine=1; Path=/
response_header_remove = X-Leak, Server

[route own]
path = /own
respond = 200 {"own":true}
response_header = Content-Type: application/json
response_header = X-Own: yes

[route strip]
path = /strip
strip_prefix = yes
upstream = app
[route strip-part]
path = /part/of/it
strip_prefix = /part
upstream = app
[route strip-deep]
path = /deep/ly/
strip_prefix = yes
upstream = app
[route add]
path = /add
add_prefix = /added
upstream = app
[route swap]
path = /swap
strip_prefix = yes
add_prefix = /for/that
upstream = app
[route rewrite]
path = /rewrite
rewrite = ^/rewrite/user/([0-9]+)$ /user?id=$1&from=$method
rewrite = ^/rewrite/(.*)$ /plain/$1
upstream = app
[route regex]
path_regex = ^/regex/([a-z]+)/([0-9]+)
rewrite = ^.*$ /r/once
request_header = X-Groups: $1-$2
upstream = app
[route keep-location]
path = /keep
strip_prefix = yes
rewrite_location = no
upstream = app
[route all]
upstream = app

[upstream app]
server = {app}
'''


def seen(weir, target='/echo', headers=(), port=None, **more):
    """What the origin saw, by the request's JSON echo: the Message as the origin has it."""
    answer = fetch(port or weir.port, more.pop('method', 'GET'), target, headers, **more)
    equal(answer.status, 200, 'status')
    return app.last


def forwarded(t, weir):
    with t.case('the origin is told who asks, how and for what; Host is the client\'s'):
        got = seen(weir, host='Shop.Example:8080')
        equal(got.all('X-Forwarded-For'), ['127.0.0.1'], 'X-Forwarded-For')
        equal(got.all('X-Real-IP'), ['127.0.0.1'], 'X-Real-IP')
        equal(got.all('X-Forwarded-Proto'), ['http'], 'X-Forwarded-Proto')
        equal([v.lower() for v in got.all('X-Forwarded-Host')], ['shop.example:8080'], 'X-Forwarded-Host')
        equal(got.all('Host'), ['Shop.Example:8080'], 'Host')
        equal(got.all('X-Forwarded-Prefix'), [], 'X-Forwarded-Prefix')
    with t.case('every request has an id of its own, the same in the log and at the origin'):
        ids = set()
        for _ in range(20):
            value = seen(weir).header('X-Request-ID')
            true(value and re.fullmatch('[0-9A-Za-z-]{8,64}', value), 'id %r' % value)
            ids.add(value)
        equal(len(ids), 20, 'different ids')
        weir.wait_access({'id': value})
    with t.case('what an untrusted client claims is replaced'):
        got = seen(weir,
                   headers=[('X-Forwarded-For', '1.2.3.4'), ('x-forwarded-for', '5.6.7.8'), ('X-Real-IP', '9.9.9.9'),
                                  ('X-Forwarded-Proto', 'https'), ('X-Forwarded-Host', 'evil.example'),
                                  ('X-Forwarded-Prefix', '/evil'), ('X-Request-ID', 'chosen-by-the-client'),
                                  ('Forwarded', 'for=1.2.3.4;host=evil.example')])
        equal(got.all('X-Forwarded-For'), ['127.0.0.1'], 'X-Forwarded-For')
        equal(got.all('X-Real-IP'), ['127.0.0.1'], 'X-Real-IP')
        equal(got.all('X-Forwarded-Proto'), ['http'], 'X-Forwarded-Proto')
        equal(got.all('X-Forwarded-Host'), ['weir.test'], 'X-Forwarded-Host')
        equal(got.all('X-Forwarded-Prefix'), [], 'X-Forwarded-Prefix')
        true(got.header('X-Request-ID') not in (None, 'chosen-by-the-client'), 'a new id')
        lacks(' '.join(got.all('Forwarded')), '1.2.3.4', 'Forwarded')
    for name in ('X_Forwarded_For', 'X-Forwarded_For', 'X_Real_IP', 'X_Forwarded_Proto'):
        with t.case('%s does not pass for the real one' % name):
            answer = fetch(weir.port, 'GET', '/echo', [(name, '6.6.6.6')])
            isin(answer.status, (200, 400), 'status')
            if answer.status == 200:
                lacks([n.lower() for n, _ in app.last.headers], name.lower(), 'headers at the origin')
    with t.case('a trusted proxy\'s claims are extended'):
        got = seen(weir, port=weir.ports['port_behind'], headers=[
            ('X-Forwarded-For', '203.0.113.9'), ('X-Forwarded-Proto', 'https'),
            ('X-Forwarded-Host', 'public.example'), ('X-Request-ID', 'id-of-the-proxy-1'), ('X-Real-IP', '8.8.8.8')])
        equal([x.strip() for v in got.all('X-Forwarded-For') for x in v.split(',')], ['203.0.113.9', '127.0.0.1'],
              'X-Forwarded-For')
        equal(got.all('X-Forwarded-Proto'), ['https'], 'X-Forwarded-Proto')
        equal(got.all('X-Forwarded-Host'), ['public.example'], 'X-Forwarded-Host')
        equal(got.all('X-Real-IP'), ['203.0.113.9'], 'X-Real-IP')
        equal(got.all('X-Request-ID'), ['id-of-the-proxy-1'], 'X-Request-ID')
    chains = (('203.0.113.9, 10.1.2.3', '203.0.113.9', 'one more trusted proxy between'),
              ('6.6.6.6, 203.0.113.9', '203.0.113.9', 'what stands left of an untrusted address is the client\'s word'),
              ('10.9.9.9, 10.1.2.3', '10.9.9.9', 'all trusted: the leftmost'),
              ('2001:db8::7', '2001:db8::7', 'an IPv6 address'))
    for chain, client, why in chains:
        with t.case('the client is the rightmost untrusted address: %s' % why):
            got = seen(weir, port=weir.ports['port_behind'], headers=[('X-Forwarded-For', chain)])
            equal(got.all('X-Real-IP'), [client], 'X-Real-IP')
            weir.wait_access({'client': client})
    with t.case('several X-Forwarded-For lines are one list'):
        got = seen(weir, port=weir.ports['port_behind'],
                   headers=[('X-Forwarded-For', '203.0.113.9'), ('X-Forwarded-For', '10.1.2.3')])
        equal(got.all('X-Real-IP'), ['203.0.113.9'], 'X-Real-IP')
    for junk in ('garbage', '203.0.113.9, garbage', '999.1.1.1', ''):
        with t.case('a trusted proxy that says %r: the client is the last address that can be one' % junk):
            got = seen(weir, port=weir.ports['port_behind'], headers=[('X-Forwarded-For', junk)])
            equal(got.all('X-Real-IP'), ['127.0.0.1'], 'X-Real-IP')
    with t.case('client_ip_header names where the address stands'):
        got = seen(weir, port=weir.ports['port_cdn'], headers=[('X-Client-Address', '198.51.100.4'),
                                                               ('X-Forwarded-For', '203.0.113.9')])
        equal(got.all('X-Real-IP'), ['198.51.100.4'], 'X-Real-IP')
    with t.case('host_header: preserve, the server\'s own, or a value'):
        equal(seen(weir, '/host/preserve/echo', host='a.example:99').all('Host'), ['a.example:99'], 'preserve')
        equal(seen(weir, '/host/upstream/echo', host='a.example:99').all('Host'), [str(app)], 'upstream')
        equal(seen(weir, '/host/value/echo', host='a.example:99').all('Host'), ['fixed-GET.example'], 'a value')
        equal([v.lower() for v in app.last.all('X-Forwarded-Host')], ['a.example:99'], 'X-Forwarded-Host')


def hop_by_hop(t, weir):
    hops = [('Keep-Alive', 'timeout=5'), ('Proxy-Connection', 'keep-alive'), ('TE', 'trailers, gzip'),
            ('Proxy-Authenticate', 'x'), ('X-Mine', 'private'), ('Upgrade', 'foo/2')]
    with t.case('hop-by-hop headers and those that Connection names never reach the origin'):
        got = seen(weir,
                   headers=hops + [('Connection', 'keep-alive, X-Mine, x-other'), ('X-Other', 'y'), ('X-Stays', 'z')])
        there = [n.lower() for n, _ in got.headers]
        for name in ('keep-alive', 'proxy-connection', 'x-mine', 'x-other', 'upgrade', 'proxy-authenticate'):
            lacks(there, name, 'headers at the origin')
        isin(got.all('TE'), ([], ['trailers']), 'TE')
        equal(got.all('X-Stays'), ['z'], 'X-Stays')
    ours = ['X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Real-IP', 'X-Request-ID', 'Host',
            'Content-Length', 'Transfer-Encoding']
    for name in ours:
        with t.case('Connection: %s does not take ours away, nor the body' % name):
            answer = fetch(weir.port, 'POST', '/echo', [('Connection', name)], b'the body')
            isin(answer.status, (200, 400), 'status')
            if answer.status == 200:
                got = app.last
                equal((got.body, got.complete), (b'the body', True), 'body')
                for other in ours[:6]:
                    equal(len(got.all(other)), 1, 'number of %s' % other)
                equal(got.all('X-Real-IP'), ['127.0.0.1'], 'X-Real-IP')
    with t.case('what Connection names cannot take away Cookie or Authorization'):
        got = seen(weir,
                   headers=[('Cookie', 'a=b'), ('Authorization', 'Basic eDp5'),
                            ('Connection', 'close, Cookie, Authorization')])
        if not got.all('Cookie'):
            t.note('Cookie named in Connection was removed, as RFC 9110 section 7.6.1 has it')
        equal(got.all('X-Forwarded-For'), ['127.0.0.1'], 'X-Forwarded-For')
    with t.case('hop-by-hop headers of an answer, and those its Connection names, stay with weir'):
        answer = fetch(weir.port, 'GET', '/hop')
        equal(answer.status, 200, 'status')
        there = [n.lower() for n, _ in answer.headers]
        for name in ('keep-alive', 'x-private', 'proxy-connection', 'upgrade'):
            lacks(there, name, 'headers at the client')
        equal(answer.all('X-Public'), ['seen'], 'X-Public')
    with t.case('Date and Server of the origin stay; a missing Date is added'):
        answer = fetch(weir.port, 'GET', '/hop')
        equal((answer.all('Date'), answer.all('Server')), (['Tue, 15 Nov 1994 08:12:31 GMT'], ['origin/1']),
              'Date, Server')
        equal(len(fetch(weir.port, 'GET', '/').all('Date')), 1, 'Dates')


def edits(t, weir):
    with t.case('request headers: set, added, removed, and built from variables'):
        got = seen(weir,
                   '/edits/echo', [('X-Set', 'old'), ('x-set', 'older'), ('X-Many', 'first'), ('X-Many', 'second'),
                                         ('X-Secret', 's'), ('x-hidden', 'h'), ('X-Ask', 'asked'),
                                         ('X-Gone-If-Empty', 'was here'), ('User-Agent', 'curl')])
        equal(got.all('X-Set'), ['new value'], 'X-Set')
        equal(got.all('X-Many'), ['first', 'second', 'third'], 'X-Many')
        equal(got.all('X-Other'), ['only'], 'X-Other')
        equal(got.all('X-From'), ['127.0.0.1/edits/asked'], 'X-From')
        equal(got.all('X-Dollar'), ['a$b'], 'X-Dollar')
        equal(got.all('User-Agent'), ['weir-test'], 'User-Agent')
        for name in ('X-Secret', 'X-Hidden', 'X-Gone-If-Empty'):
            equal(got.all(name), [], name)
    with t.case('response headers: set, added, removed'):
        answer = fetch(weir.port, 'GET', '/edits/reply')
        equal(answer.all('X-Frame-Options'), ['DENY'], 'X-Frame-Options')
        equal(answer.all('X-Origin'), ['replaced'], 'X-Origin')
        equal(answer.all('X-Status'), ['200'], 'X-Status')
        equal(answer.all('X-Reply'), ['from the origin', 'added'], 'X-Reply')
        equal(answer.all('Set-Cookie'), ['theirs=1', 'mine=1; Path=/'], 'Set-Cookie')
        equal((answer.all('X-Leak'), answer.all('Server')), ([], []), 'X-Leak, Server')
    with t.case('response headers work on weir\'s own answers too'):
        answer = fetch(weir.port, 'GET', '/own')
        equal((answer.text.rstrip(), answer.all('Content-Type'), answer.all('X-Own')),
              ('{"own":true}', ['application/json'], ['yes']), 'answer')
    for bad in ('request_header = Connection: close', 'request_header = Transfer-Encoding: chunked',
                'request_header = Content-Length: 5', 'response_header = Connection: close',
                'request_header_add = Keep-Alive: x', 'response_header = Transfer-Encoding: x',
                'request_header = Bad Name: x', 'request_header = NoColon'):
        with t.case('refused at load: %s' % bad):
            run = weir_run('-t',
                           conf='[listen a]\nbind = 127.0.0.1:%d\n[route x]\nrespond = 200 x\n%s\n' % (free_port(),
                                                                                                       bad))
            equal(run.code, 1, 'exit status; it said ' + run.text)
            contains(run.text, 'weir.ini:5', 'output')


def paths(t, weir):
    rows = (('/strip/a/b?x=1', '/a/b?x=1'), ('/strip', '/'), ('/strip/', '/'), ('/strip?x', '/?x'),
            ('/strip//a', '//a'),
            ('/part/of/it/x', '/of/it/x'), ('/deep/ly/x', '/x'), ('/deep/ly', '/'),
            ('/add/x', '/added/add/x'), ('/swap/x?y', '/for/that/x?y'), ('/swap', '/for/that/'),
            ('/rewrite/user/42', '/user?id=42&from=GET'), ('/rewrite/user/42?id=7', '/user?id=42&from=GET'),
            ('/rewrite/other?q=1', '/plain/other?q=1'), ('/rewrite/a%2Fb', '/plain/a%2Fb'),
            ('/regex/abc/42', '/r/once'), ('/%73trip/x', '/x'), ('/a/../strip/x', '/x'))
    for sent, want in rows:
        with t.case('%s becomes %s' % (sent, want)):
            answer = fetch(weir.port, 'GET', sent)
            equal(answer.status, 200, 'status')
            isin(app.last.target, (want, want.rstrip('/')) if sent == '/swap' else (want,), 'target at the origin')
    with t.case('groups of path_regex are $1, $2'):
        equal(seen(weir, '/regex/abc/42').all('X-Groups'), ['abc-42'], 'X-Groups')
    with t.case('X-Forwarded-Prefix tells the origin what was cut'):
        equal(seen(weir, '/strip/a').all('X-Forwarded-Prefix'), ['/strip'], 'X-Forwarded-Prefix')
        equal(seen(weir, '/part/of/it').all('X-Forwarded-Prefix'), ['/part'], 'X-Forwarded-Prefix')
    with t.case('no line break gets through a rewrite'):
        for target in ('/rewrite/a%0d%0aX-Evil:%20yes', '/rewrite/a%0aX-Evil:1', '/rewrite/%00'):
            answer = fetch(weir.port, 'GET', target)
            isin(answer.status, (200, 400), 'status of ' + target)
            if answer.status == 200:
                lacks([n.lower() for n, _ in app.last.headers], 'x-evil', 'headers at the origin')
                contains(app.last.target.lower(), '%0', 'target at the origin')
    here = 'http://weir.test'
    rows = (('/strip', '/login', '/strip/login', 'a path: what was cut is put back'),
            ('/strip', '/', '/strip/', 'the root'),
            ('/strip', 'http://%s/login?x=1' % app, None, 'the server\'s own address: the client\'s way there'),
            ('/strip', 'http://elsewhere.example/login', 'http://elsewhere.example/login', 'another site: as it is'),
            ('/strip', 'relative', 'relative', 'a relative one: as it is'),
            ('/keep', '/login', '/login', 'rewrite_location = no: as it is'),
            ('/plain', '/login', '/login', 'no path change: as it is'))
    for prefix, given, want, why in rows:
        with t.case('Location, %s' % why):
            answer = fetch(weir.port, 'GET', prefix + '/redirect', [('X-Go', given)])
            equal(answer.status, 302, 'status')
            got = answer.header('Location')
            if want is None:
                isin(got, (here + '/strip/login?x=1', '/strip/login?x=1'), 'Location')
            else:
                isin(got, (want, here + want) if want.startswith('/') and want != given else (want,), 'Location')


def reply(message, conn):
    path = message.target.partition('?')[0]
    if path.endswith('/reply'):
        return Reply(200,
                     'x', [('X-Reply', 'from the origin'), ('Set-Cookie', 'theirs=1'), ('X-Leak', 'l'),
                           ('Server', 'origin/1'),
                                ('X-Frame-Options', 'ALLOW')])
    if path.endswith('/hop'):
        return Reply(200,
                     'x', [('Connection', 'keep-alive, X-Private'), ('Keep-Alive', 'timeout=9'), ('X-Private', 'p'),
                                ('Proxy-Connection', 'x'), ('Upgrade', 'h2c'), ('X-Public', 'seen'),
                                ('Server', 'origin/1'),
                                ('Date', 'Tue, 15 Nov 1994 08:12:31 GMT')])
    if path.endswith('/redirect'):
        return Reply(302, '', [('Location', message.header('X-Go'))])
    return NotImplemented


with Story('headers and paths on their way', deadline=60) as t:
    app = Origin('app', handler=reply)
    weir = Weir(CONF, app=app)
    forwarded(t, weir)
    hop_by_hop(t, weir)
    edits(t, weir)
    paths(t, weir)
