#!/usr/bin/python3
# The configuration as an operator meets it: weir -t and -T on files good and bad, and one running weir whose answers
# show how its file was read. Who takes part: weir, and this client; no origin is needed.
import os
import re
import socket
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

SERVICES = '''; Two services behind one address, by path; anything else gets a greeting.
[listen http]
bind = *:80

[route service1]
path = /service1
strip_prefix = yes
upstream = service1

[route service2]
path = /service2
strip_prefix = yes
upstream = service2

[route welcome]
respond = 200 Welcome to the reverse proxy!

[upstream service1]
server = 127.0.0.1:5000

[upstream service2]
server = 127.0.0.1:5001
'''
BALANCER = '''; A load balancer: least connections over three servers, with active checks.
[listen http]
bind = *:80

[route app]
upstream = app

[upstream app]
balance = least_conn
server = 192.168.1.101:80
server = 192.168.1.102:80 weight=2
server = 192.168.1.103:80 backup
check = http
check_path = /healthz
'''
BAD = '''[weir]
worker = 4
[listen http]
bind = 127.0.0.1
header_timeout = 5
trusted_proxies = 10.0.0.1/8
http3 = yes
[route api]
pth = /api
upstream = ap
[route other]
respond = 200 hello ; there
[upstream app]
server = 127.0.0.1:99999
blance = random
[uptream x]
'''
LISTEN = '[listen l]\nbind = 127.0.0.1:1\n'


def said(run, line, *words):
    """There is one error line about this line, and it holds these words."""
    found = [one for one in run.err.splitlines() if re.search(r'weir\.ini:%d: error: ' % line, one)]
    equal(len(found), 1, 'errors about line %d in %s' % (line, run.err))
    for word in words:
        contains(found[0], word, 'error')


def checks(t):
    for name, text in (('two services', SERVICES), ('the load balancer', BALANCER)):
        with t.case('-t: %s, as the manual has it, is good and warns of nothing' % name):
            run = weir_run('-t', conf=text)
            equal((run.code, run.err), (0, ''), 'exit status and stderr')
    with t.case('-t: every mistake of a file comes at once, each with line, key, what was expected and the nearest word'):
        run = weir_run('-t', conf=BAD)
        equal(run.code, 1, 'exit status')
        said(run, 2, '[weir] worker:', 'did you mean "workers"?')
        said(run, 4, '[listen http] bind:', 'expected ADDRESS:PORT', 'did you mean "127.0.0.1:80"?')
        said(run, 5, 'header_timeout:', 'got "5"', 'did you mean "5s"?')
        said(run, 6, 'without host bits', 'did you mean "10.0.0.0/8"?')
        said(run, 7, 'http3:', 'not built yet')
        said(run, 9, '[route api] pth:', 'did you mean "path"?')
        said(run, 10, 'there is no [upstream ap]', 'did you mean "app"?')
        said(run, 12, '" ;" in text')
        said(run, 14, '[upstream app] server:', '127.0.0.1:99999')
        said(run, 15, 'did you mean "balance"?')
        said(run, 16, 'did you mean [upstream]?')
        equal(run.err.count('error:'), 11, 'errors')
    with t.case('a start with mistakes says the same and ends with status 1'):
        started = weir_run(conf=BAD)
        equal(started.code, 1, 'exit status')
        equal(started.err.count('error:'), 11, 'errors')
    with t.case('-t: warnings leave the status 0'):
        run = weir_run('-t', conf=LISTEN + '[route a]\nrespond = 200\n[route b]\nrespond = 201\n[upstream u]\nserver = 127.0.0.1:1\n')
        equal(run.code, 0, 'exit status')
        contains(run.err, 'weir.ini:5: warning: [route b]: no request can reach this route: [route a]', 'stderr')
        contains(run.err, 'weir.ini:7: warning: [upstream u]: no route uses this upstream', 'stderr')
    with t.case('-t: names are looked up in bounded time'):
        names = ''.join('server = no-such-host-%d.invalid:80\n' % i for i in range(200))
        run = weir_run('-t', conf=LISTEN + '[route a]\nupstream = u\n[upstream u]\n' + names, timeout=10)
        equal(run.code, 0, 'exit status')
        equal(run.err.count('warning: [upstream u] server: the name no-such-host-'), 200, 'warnings in ' + run.err)
    with t.case('-t: localhost resolves'):
        run = weir_run('-t', conf=LISTEN + '[route a]\nupstream = u\n[upstream u]\nserver = localhost:80\n')
        equal((run.code, run.err), (0, ''), 'exit status and stderr')
    with t.case('-t: more connections than files may be open is a warning'):
        run = weir_run('-t', conf='[weir]\nmax_connections = 10000000\n' + LISTEN + '[route a]\nrespond = 200\n')
        equal(run.code, 0, 'exit status')
        contains(run.err, 'weir.ini:2: warning: [weir] max_connections: 10000000 connections need 2000', 'stderr')
    with t.case('-t: an include loop, and files of every odd kind, are errors'):
        for name in ('weir.ini', '*.ini', '/dev/zero', '.', 'none.ini'):
            run = weir_run('-t', conf='[weir]\ninclude = %s\n%s[route a]\nrespond = 200\n' % (name, LISTEN))
            equal(run.code, 1, 'exit status for ' + name)
            said(run, 2, 'include:')
    with t.case('-t: 100 MB of anything end in an error, soon'):
        run = weir_run('-t', conf=b'x' * 100_000_000)
        equal(run.code, 1, 'exit status')
        contains(run.err, '16 MiB', 'stderr')
        run = weir_run('-t', conf=b'[a]\n' * 4_000_000, timeout=30)
        equal(run.code, 1, 'exit status')
        true(len(run.err.splitlines()) < 1100, 'not endless: %d lines' % len(run.err.splitlines()))
    with t.case('-t: bytes that are no text are errors with their line'):
        for bytes_, word in ((b'\x00', '0x00'), (b'\xff', '0xff'), (b'\x1b[2J', '0x1b'), (b'\rx', '0x0d')):
            run = weir_run('-t', conf=LISTEN.encode() + b'[route a]\nrespond = 200\n; ' + bytes_ + b'\n')
            equal(run.code, 1, 'exit status')
            said(run, 5, word)


def dumps(t):
    conf = '''[weir]
include = conf.d/*.ini
log_format = "$client_ip\\t$status \\"x\\""
[defaults route]
timeout = 10s
response_header = X-All: yes
[policy site]
host = a.example
response_header = X-Site: ${env:WEIR_TEST_SECRET}
[listen l]
bind = 127.0.0.1:1
[route a]
use = site
respond = 200 text with "quotes" and $host
[route b]
upstream = u
timeout = off
[upstream u]
server = 127.0.0.1:1 weight=2
'''
    files = {'conf.d/c.ini': '[route c]\npath = /c\nrespond = 200 ${file:c.txt}\n', 'conf.d/c.txt': 'see'}
    env = {'WEIR_TEST_SECRET': 'hunter2'}
    with t.case('-T shows each value with its origin, and never what came from outside'):
        run = weir_run('-T', conf=conf, files=files, env=env)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        lacks(run.text, 'hunter2', 'output')
        for line in (r'^; timeout = 10s  ; \[defaults route\], \S*weir\.ini:5; no effect: ', r'^host = a\.example  ; policy site, \S*weir\.ini:8$',
                     r'^timeout = off  ; \S*weir\.ini:17$', r'^server = 127\.0\.0\.1:1 weight=2  ; \S*weir\.ini:19$',
                     r'^balance = least_conn  ; built-in$', r'^response_header = X-Site: \$\{env:WEIR_TEST_SECRET\}$',
                     r'^path = /c  ; \S*conf\.d/c\.ini:2$', r'^respond = 200 \$\{file:/\S*conf\.d/c\.txt\}$'):
            true(re.search(line, run.out, re.M), 'a line %s in %s' % (line, run.out))
    with t.case('what -T prints is a configuration, and printed again it is the same'):
        again = weir_run('-T', conf=run.out.encode(), env=env)
        equal(again.code, 0, 'exit status; it said ' + again.text)

        def bare(text):
            return [re.sub(r'  ; .*', '', line) for line in text.splitlines() if not line.startswith(';')]
        equal(bare(again.out), bare(run.out), 'the second dump')
    with t.case('the sample that is installed is good'):
        top = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
        sample = weir_run('-t', '-c', os.path.join(top, 'etc', 'weir.ini'))
        equal((sample.code, sample.err), (0, ''), 'exit status and stderr')


SERVED = '''[weir]
include = conf.d/*.ini
[defaults route]
response_header = X-Layer: defaults
response_header = X-All: defaults
error_page = 404,403 default page
[policy p]
response_header = X-Layer: policy
error_page = 403 policy page
deny = all
[listen http]
  bind = 127.0.0.1:{port}
	; an indented comment, and a line that the next one does not continue
[listen site]
bind = 127.0.0.1:{port_b}
exclusive = yes
[route text]
path = /text
respond = 200 a=b: "c" $$ $host ${{env:WEIR_T_OUT}}
[route long]
path = /long
respond = 200 {long}
[route quoted]
path_exact = "/quoted"      ; comment
respond = 200 "  one\\n\\"two\\" ; # three"   # comment
[route file]
path = /file
respond = 200 ${{file:body.txt}}
[route regex]
path_regex = ^/n/(\\d{{2,3}})/([a-z,]+)$
redirect = 302 /$2?id=$1
[route denied]
use = p
path = /denied
respond = 200
[route open]
use = p
path = /open
deny = off
response_header = X-Layer: own
respond = 200 open
[route none]
path = /none
respond = 404
[route headed]
path = /headed
header = X-Key: ~^k[0-9]
respond = 200 headed
[route bysite]
listen = site
respond = 200 site
'''


def served(t):
    long_text = 'x' * 16000
    conf = SERVED.replace('{long}', long_text).replace('{{', '{').replace('}}', '}')
    folder = t.path('served')
    os.makedirs(os.path.join(folder, 'conf.d'))
    for name, text in (('body.txt', 'from a file\n'), ('conf.d/z.ini', '[route z]\npath = /z\nrespond = 200 ${file:z.txt}\n'),
                       ('conf.d/z.txt', 'z')):
        with open(os.path.join(folder, name), 'w') as f:
            f.write(text)
    weir = Weir(conf, name='served', workers=1, env={'WEIR_T_OUT': 'no $host; "no quote" # no comment'})

    def get(path, *headers, port=None):
        return fetch(port or weir.port, 'GET', path, headers=headers)
    with t.case('text goes to the end of the line, with variables, and outside values as they are'):
        equal(get('/text').body, b'a=b: "c" $ weir.test no $host; "no quote" # no comment', 'body')
    with t.case('a line of 16 KB is not cut'):
        equal(get('/long').body, long_text.encode(), 'body')
    with t.case('quotes keep blanks, line breaks and what would be a comment'):
        equal(get('/quoted').body, b'  one\n"two" ; # three', 'body')
    with t.case('a file is served without its last line break; in an included file it is relative to that one'):
        equal(get('/file').body, b'from a file', 'body')
        equal(get('/z').body, b'z', 'body')
    with t.case('a regex with braces and commas is one word, and its groups go into the URL'):
        answer = get('/n/42/a,b')
        equal((answer.status, answer.header('Location')), (302, '/a,b?id=42'), 'status and Location')
        equal(get('/n/1/a').status, 404, 'status of one digit')
    with t.case('the nearest header edit and error page win, name by name and status by status'):
        denied, opened, none = get('/denied'), get('/open'), get('/none')
        equal((denied.status, denied.body), (403, b'policy page'), 'denied')
        equal((denied.header('X-Layer'), denied.header('X-All')), ('policy', 'defaults'), 'headers of denied')
        equal((opened.status, opened.body, opened.header('X-Layer')), (200, b'open', 'own'), 'open')
        equal((none.status, none.body, none.header('X-Layer')), (404, b'default page', 'defaults'), 'none')
    with t.case('an exclusive listener has the routes that name it and no other'):
        equal(get('/text', port=weir.ports['port_b']).body, b'site', 'body')
    with t.case('a condition with a regex on a header'):
        equal(get('/headed', ('X-Key', 'k7')).body, b'headed', 'body')
        equal(get('/headed', ('X-Key', 'x7')).status, 404, 'status')


with Story('how a configuration is read, checked and printed', deadline=180) as t:
    checks(t)
    dumps(t)
    served(t)
