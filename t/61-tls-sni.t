#!/usr/bin/python3
# Which certificate a client is shown: by the name it asks for, by what it can verify, by [tls] sections.
import os
import ssl
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen secure]
bind = 127.0.0.1:{port}
certificate = {a}
certificate = {b_rsa}
certificate = {b}
certificate = {wild}
[listen strict]
bind = 127.0.0.1:{port_strict}
certificate = {b}
sni_strict = yes
[listen tenants]
bind = 127.0.0.1:{port_tenants}
tls = yes
[listen dir]
bind = 127.0.0.1:{port_dir}
certificate = {folder}
[tls one]
listen = tenants
certificate = {one}
[tls deep]
host = *.deep.test, deep.test
listen = tenants, secure
certificate = {deep}
[route all]
respond = 200 $tls_sni $host
'''


def shown(ca, port, name, **more):
    """The common name of the certificate that weir shows, and the kind of its key."""
    context = ca.client(verify=False, **more)
    with Client(port, tls=context, name=name) as client:
        der = client.sock.getpeercert(True)
    done = openssl('x509', '-inform', 'DER', '-noout', '-subject', '-pubkey', '-nameopt', 'RFC2253', stdin=der)
    subject = done.text.split('CN=')[1].split('\n')[0].split(',')[0]
    key = openssl('pkey', '-pubin', '-noout', '-text', stdin=done.stdout[done.stdout.index(b'-----BEGIN'):]).text
    return subject, 'rsa' if 'Modulus' in key else 'ec'


def by_name(t, weir, ca):
    port = weir.port
    for name, want in (('a.test', 'a.test'), ('b.test', 'b.test'), ('B.TEST', 'b.test'), ('x.wild.test', 'wild'),
                       ('own.wild.test', 'b.test'), ('unknown.test', 'a.test'), ('wild.test', 'a.test'),
                       ('y.x.wild.test', 'a.test'), ('deep.test', 'deep'), ('x.deep.test', 'deep'),
                       ('y.x.deep.test', 'deep')):
        with t.case('%s is shown the certificate of %s' % (name, want)):
            equal(shown(ca, port, name)[0], want, 'common name')
    with t.case('without a name the first one is shown'):
        equal(shown(ca, port, None)[0], 'a.test', 'common name')
    with t.case('a client that can do both is shown ECDSA, one that can only do RSA is shown RSA'):
        equal(shown(ca, port, 'b.test'), ('b.test', 'ec'), 'certificate')
        equal(shown(ca, port, 'b.test', most=ssl.TLSVersion.TLSv1_2, ciphers='ECDHE-RSA-AES128-GCM-SHA256'), ('b.test', 'rsa'),
              'certificate')
    with t.case('the name is known to variables'):
        answer = fetch(port, tls=ca.client(), name='x.wild.test', headers=[('Host', 'x.wild.test')])
        equal(answer.text, 'x.wild.test x.wild.test', 'answer')


def refused(port, ca, name):
    try:
        Client(port, tls=ca.client(verify=False), name=name)
    except ssl.SSLError as error:
        return str(error)
    return None


def strict(t, weir, ca):
    port = weir.ports['port_strict']
    with t.case('sni_strict: known names are served'):
        equal(shown(ca, port, 'b.test')[0], 'b.test', 'common name')
    for name in ('a.test', None):
        with t.case('sni_strict: %s is refused with an alert' % (name or 'no name')):
            contains((refused(port, ca, name) or 'no error').lower().replace('_', ' '), 'unrecognized name', 'error')
    with t.case('a malformed server_name ends the handshake'):
        hello = hello_with_bad_name()
        for target in (port, weir.port):
            with Client(target) as client:
                client.send(hello)
                client.sock.settimeout(5)
                equal(client.sock.recv(100)[:1], b'\x15', 'an alert')


def hello_with_bad_name():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing, server_hostname='b.test')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    data = outgoing.read()
    # The list's own length no longer agrees with the extension's.
    return data.replace(b'\x00\x09\x00\x00\x06b.test', b'\x00\x0f\x00\x00\x06b.test')


def tenants(t, weir, ca):
    port = weir.ports['port_tenants']
    with t.case('[tls] sections serve their names, the first one unknown names too'):
        equal([shown(ca, port, n)[0] for n in ('one.test', 'x.deep.test', 'unknown.test')], ['one.test', 'deep', 'one.test'],
              'common names')
    with t.case('a section for some listeners is not for others'):
        equal(shown(ca, weir.port, 'one.test')[0], 'a.test', 'common name')
    port = weir.ports['port_dir']
    with t.case('a directory: chain and key in one file, or a key beside it; first by name for unknown names'):
        equal([shown(ca, port, n)[0] for n in ('a.test', 'b.test', 'unknown.test')], ['a.test', 'b.test', 'a.test'], 'common names')


def sessions(t, weir, ca):
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with t.case('a session of one host does not resume for another (%s)' % most.name):
            context = ca.client(most=most)
            with Client(weir.port, tls=context, name='a.test') as client:
                client.fetch()
                session = client.sock.session
            for name, port, want in (('b.test', weir.port, False), ('b.test', weir.ports['port_strict'], False),
                                     ('a.test', weir.ports['port_dir'], False), ('a.test', weir.port, True)):
                with Client(port, tls=context, name=name, session=session) as client:
                    equal(client.fetch().status, 200, 'status')
                    equal(client.sock.session_reused, want, 'resumed for %s' % name)


def many(t, ca):
    pair = ca.issue('many.test', ['h%d.many.test' % i for i in range(500)])
    weir = Weir('''
        [listen s]
        bind = 127.0.0.1:{port}
        certificate = {pair}
        %s
        [route all]
        respond = 200 $tls_sni
    ''' % '\n'.join('[tls t%d]\nhost = t%d.example\ncertificate = %s' % (i, i, pair) for i in range(300)), name='many', pair=pair)
    with t.case('hundreds of names and sections: each is found'):
        for name in ('h0.many.test', 'h499.many.test', 't0.example', 't299.example'):
            answer = fetch(weir.port, tls=ca.client(verify=False), name=name)
            equal(answer.text, name, 'answer')


def checks(t):
    for conf, line, why in (
            ('certificate = {a}\n[tls x]\nhost = a.test\n[tls y]\nhost = A.test', 7, 'stands in [tls x] too'),
            ('certificate = {a}\n[tls x]\nlisten = nowhere\ncertificate = {a}', 5, 'there is no [listen nowhere]'),
            ('certificate = {a}\n[tls x]\nlisten = l', 4, 'expected a certificate, or hosts'),
            ('certificate = {a}\n[tls x]\nacme = le\ncertificate = {a}', 5, 'not built yet: it comes with ACME'),
            ('[tls x]\nlisten = l\ncertificate = {a}', 4, 'expected listeners with tls')):
        with t.case('-t says: ' + why):
            run = weir_run('-t', conf='[listen l]\nbind = 127.0.0.1:{port}\n%s\n[route r]\nrespond = 200 x\n' % conf,
                           port=free_port(), a=t.a)
            equal(run.code, 1, 'exit status')
            contains(run.text, 'weir.ini:%d: error' % line, 'output')
            contains(run.text, why, 'output')


with Story('TLS by name', deadline=120) as t:
    ca = Authority()
    t.a = a = ca.issue('a.test')
    b = ca.issue('b.test', ['b.test', 'own.wild.test'])
    folder = t.path('folder')
    os.makedirs(folder)
    os.link(a.both, os.path.join(folder, '1.pem'))
    os.link(b.cert, os.path.join(folder, '2.pem'))
    os.link(b.key, os.path.join(folder, '2.key'))
    weir = Weir(CONF, a=a, b=b, b_rsa=ca.issue('b.test', ['b.test', 'own.wild.test'], kind='rsa'),
                wild=ca.issue('wild', ['*.wild.test']), one=ca.issue('one.test'), deep=ca.issue('deep', ['deep.test', '*.deep.test']),
                folder=folder)
    by_name(t, weir, ca)
    strict(t, weir, ca)
    tenants(t, weir, ca)
    sessions(t, weir, ca)
    many(t, ca)
    checks(t)
