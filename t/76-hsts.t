#!/usr/bin/python3
# hsts: Strict-Transport-Security, over TLS alone, once, whatever answers.
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen secure]
bind = 127.0.0.1:{port}
certificate = {pair}
hsts = 365d subdomains preload
[listen short]
bind = 127.0.0.1:{port_short}
certificate = {pair}
hsts = 0
[listen silent]
bind = 127.0.0.1:{port_silent}
certificate = {pair}
[listen clear]
bind = 127.0.0.1:{port_clear}
[route own]
path = /own
upstream = app
[route set]
path = /set
respond = 200 x
response_header = Strict-Transport-Security: max-age=7
[route removed]
path = /removed
respond = 200 x
response_header_remove = Strict-Transport-Security
[route gone]
path = /gone
upstream = gone
[route all]
path = /echo
upstream = app
[upstream app]
server = {app}
[upstream gone]
server = 127.0.0.1:{port_gone} disabled
'''


async def answer(message, conn):
    if message.target == '/own':
        return Reply(200, b'x', headers=[('strict-transport-security', 'max-age=1')])
    return Reply(200, b'x')


with Story('Strict-Transport-Security', deadline=60) as t:
    ca = Authority()
    weir = Weir(CONF, pair=ca.issue('a.test'), app=Origin('app', answer))

    def sent(target, port, tls=True, **how):
        headers = fetch(port, target=target, tls=ca.client() if tls else None, name='a.test' if tls else None, **how).headers
        return [v for n, v in headers if n.lower() == 'strict-transport-security']

    port, full = weir.port, ['max-age=31536000; includeSubDomains; preload']
    with t.case('on a server\'s answer, on those of weir, and where no route holds'):
        for target in ('/echo', '/gone', '/nowhere'):
            equal(sent(target, port), full, target)
    with t.case('what the server sends itself stands alone'):
        equal(sent('/own', port), ['max-age=1'], 'values')
    with t.case('a route\'s own word wins'):
        equal(sent('/set', port), ['max-age=7'], 'set')
        equal(sent('/removed', port), [], 'removed')
    with t.case('0 takes it back; nothing is sent unless told'):
        equal(sent('/echo', weir.ports['port_short']), ['max-age=0'], 'values')
        equal(sent('/echo', weir.ports['port_silent']), [], 'values')
    with t.case('never in clear, not even at a TLS port'):
        equal(sent('/echo', weir.ports['port_clear'], False), [], 'another listener')
        equal(sent('/echo', port, False), [], 'the answer to plain HTTP')
    with t.case('over HTTP/2 too'):
        done = curl('-k', '--http2', '--resolve', 'a.test:%d:127.0.0.1' % port, 'https://a.test:%d/echo' % port)
        contains(done.head.lower(), 'strict-transport-security: ' + full[0].lower(), 'head')
    with t.case('-t says that it does nothing in clear'):
        run = weir_run('-t', conf='[listen l]\nbind = 127.0.0.1:{port}\nhsts = 1d\n[route r]\nrespond = 200 x\n', port=free_port())
        equal(run.code, 0, 'exit status')
        contains(run.text, 'this listener does not speak TLS', 'output')
