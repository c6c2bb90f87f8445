#!/usr/bin/python3
# Certificates of clients: asked for or required, by listener and by [tls] section, and no way around them.
import os
import ssl
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen open]
bind = 127.0.0.1:{port}
certificate = {open}
certificate = {both}
[tls secret]
listen = open
host = secret.test
client_ca = {ca}
[tls maybe]
listen = open
host = maybe.test
client_ca = {ca}
client_verify = optional
[tls staff]
listen = open
host = staff.test
client_ca = {other_ca}
[listen closed]
bind = 127.0.0.1:{port_closed}
certificate = {both}
client_ca = {ca}
[tls free]
listen = closed
host = open.test
certificate = {open}
client_verify = off
[route facts]
respond = 200 $tls_client_verify|$tls_client_subject|$tls_client_fingerprint|$host
'''
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def ask(port, context, name, host=None, session=None):
    """The answer's text, a status other than 200, or 'refused'."""
    try:
        with Client(port, tls=context, name=name, session=session) as client:
            answer = client.fetch(headers=[('Host', host or name)])
            return answer.text if answer.status == 200 else answer.status
    except (ssl.SSLError, ConnectionResetError, Truncated, Reset):
        return 'refused'


def rules(t, weir, ca, alice, eve):
    for most in (V12, V13):
        with t.case('required: nobody without a certificate, nor with one of another authority (%s)' % most.name):
            equal(ask(weir.port, ca.client(most=most), 'secret.test'), 'refused', 'without')
            equal(ask(weir.port, ca.client(eve, most=most), 'secret.test'), 'refused', 'of another authority')
            text = ask(weir.port, ca.client(alice, most=most), 'secret.test')
            equal(text, 'ok|CN=alice\\, the first,O=Test|%s|secret.test' % alice.fingerprint, 'with')
        with t.case('optional: without one all the same, but not with a bad one (%s)' % most.name):
            equal(ask(weir.port, ca.client(most=most), 'maybe.test'), 'none|||maybe.test', 'without')
            equal(ask(weir.port, ca.client(eve, most=most), 'maybe.test'), 'refused', 'of another authority')
            true(ask(weir.port, ca.client(alice, most=most), 'maybe.test').startswith('ok|'), 'with')
        with t.case('other names of the listener ask for none (%s)' % most.name):
            equal(ask(weir.port, ca.client(alice, most=most), 'open.test'), 'none|||open.test', 'with')
    with t.case('an expired certificate is no good'):
        equal(ask(weir.port, ca.client(ca.issue('late', days=-1)), 'secret.test'), 'refused', 'answer')
    with t.case('a section lifts what its listener asks for'):
        port = weir.ports['port_closed']
        equal(ask(port, ca.client(), 'secret.test'), 'refused', 'the listener\'s rule')
        equal(ask(port, ca.client(), 'open.test'), 'none|||open.test', 'the section\'s')
        true(ask(port, ca.client(alice), 'secret.test').startswith('ok|'), 'with a certificate')


def around(t, weir, ca, alice, eve):
    with t.case('a host with other rules than the handshake met: 421'):
        for host in ('secret.test', 'SECRET.test', 'secret.test:443', 'secret.test.', 'maybe.test', 'staff.test'):
            equal(ask(weir.port, ca.client(), 'open.test', host), 421, 'Host: ' + host)
        equal(ask(weir.port, ca.client(alice), 'secret.test', 'staff.test'), 421, 'another authority')
        equal(ask(weir.port, ca.client(), 'maybe.test', 'secret.test'), 421, 'from optional to required')
        equal(ask(weir.port, ca.client(alice), 'secret.test', 'open.test'), 421, 'from required to none')
        weir.wait_access({'status': 421, 'reason': 'misdirected'})
    with t.case('no name in the handshake, then the host: 421'):
        context = ca.client(verify=False)
        with Client(weir.port, tls=context) as client:
            equal(client.fetch(headers=[('Host', 'secret.test')]).status, 421, 'status')
    with t.case('a host with the same rules is served, whatever the name was'):
        equal(ask(weir.port, ca.client(), 'open.test', 'elsewhere.test'), 'none|||elsewhere.test', 'answer')
    with t.case('on one connection each request is judged for itself'):
        with Client(weir.port, tls=ca.client(), name='open.test') as client:
            equal([client.fetch(headers=[('Host', h)]).status for h in ('open.test', 'secret.test', 'open.test')],
                  [200, 421, 200], 'statuses')


def sessions(t, weir, ca, alice, eve):
    closed = weir.ports['port_closed']
    for most in (V12, V13):
        with t.case('a session from where nothing is asked for opens nothing (%s)' % most.name):
            context = ca.client(most=most)
            with Client(weir.port, tls=context, name='open.test') as client:
                client.fetch()
                session = client.sock.session
            true(session is not None, 'a session')
            equal(ask(weir.port, context, 'secret.test', session=session), 'refused', 'the other name')
            equal(ask(closed, context, 'secret.test', session=session), 'refused', 'the other listener')
            equal(ask(weir.port, context, 'maybe.test', session=session), 'none|||maybe.test', 'where it is optional')
        with t.case('a session made with a certificate keeps it, for the same host alone (%s)' % most.name):
            context = ca.client(alice, most=most)
            with Client(weir.port, tls=context, name='secret.test') as client:
                client.fetch(headers=[('Host', 'secret.test')])
                session = client.sock.session
            with Client(weir.port, tls=context, name='secret.test', session=session) as client:
                contains(client.fetch(headers=[('Host', 'secret.test')]).text, 'alice', 'who it is')
                true(client.sock.session_reused, 'resumed')
            equal(ask(weir.port, context, 'staff.test', session=session), 'refused', 'another authority\'s host')


with Story('certificates of clients', deadline=90) as t:
    ca, other = Authority(), Authority('other')
    alice, eve = ca.issue('alice, the first', names=[]), other.issue('eve', names=[])
    both = ca.issue('both', ['secret.test', 'maybe.test', 'staff.test'])
    weir = Weir(CONF, open=ca.issue('open.test', ['open.test', 'elsewhere.test']), both=both, ca=ca.cert, other_ca=other.cert)
    rules(t, weir, ca, alice, eve)
    around(t, weir, ca, alice, eve)
    sessions(t, weir, ca, alice, eve)
