#!/usr/bin/python3
# Clients speak TLS to weir: versions, ciphers, sessions, ends of connections, abuse; and what -t says of certificates.
import os
import re
import signal
import socket
import ssl
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

CONF = '''
[listen secure]
bind = 127.0.0.1:{port}
certificate = {pair}
header_timeout = 2s
[listen plain]
bind = 127.0.0.1:{port_plain}
redirect_https = {port}
[route facts]
path = /facts
respond = 200 $scheme $tls_version $tls_cipher $tls_sni $tls_client_verify
[route all]
upstream = app
[upstream app]
server = {one}
'''

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def s_client(port, *args, stdin=b'', timeout=10):
    return openssl('s_client', '-connect', '127.0.0.1:%d' % port, '-servername', 'a.test', *args, stdin=stdin, check=False,
                   timeout=timeout)


def requests(t, weir, one, ca):
    with t.case('a request is answered over TLS 1.3, and over TLS 1.2'):
        for most, name in ((V13, 'TLSv1.3'), (V12, 'TLSv1.2')):
            answer = fetch(weir.port, target='/facts', tls=ca.client(most=most), name='a.test')
            words = answer.text.split()
            equal(words[:2] + words[3:], ['https', name, 'a.test', 'none'], 'what weir knows')
            contains(words[2], 'GCM', 'cipher')
    with t.case('the server hears of https'):
        answer = fetch(weir.port, target='/echo', tls=ca.client(), name='a.test')
        equal(one.last.header('X-Forwarded-Proto'), 'https', 'X-Forwarded-Proto')
        equal(answer.status, 200, 'status')
    with t.case('curl agrees, verifying the certificate'):
        seen = curl('--cacert', ca.cert, '--resolve', 'a.test:%d:127.0.0.1' % weir.port, 'https://a.test:%d/x' % weir.port)
        equal((seen.code, seen.status, seen.text), (0, 200, 'one'), 'exit status of curl, status, body')
    with t.case('http/1.1 is agreed on by ALPN; nothing in common ends the handshake'):
        with Client(weir.port, tls=ca.client(), name='a.test') as client:
            equal(client.sock.selected_alpn_protocol(), 'http/1.1', 'protocol')
        try:
            Client(weir.port, tls=ca.client(alpn=('smtp',)), name='a.test')
            raise Failed('the handshake went well')
        except ssl.SSLError as error:
            contains(str(error).lower(), 'alert', 'error')
    with t.case('one connection serves many requests, of many sizes, both ways'):
        with Client(weir.port, tls=ca.client(), name='a.test', keep=0, sha=True) as client:
            for size in (1, 1000, 16383, 16384, 16385, 65536, 1000000, 5000000):
                equal(client.fetch(target='/bytes/%d' % size).sha256(), digest_of(size), 'answer of %d bytes' % size)
                body = body_of(size)
                answer = client.fetch('POST', '/echo', body=body)
                equal(one.last.length, size, 'request of %d bytes' % size)
                equal(one.last.sha256(), digest_of(size), 'its digest')
            equal(client.fetch(target='/chunked/300000').sha256(), digest_of(300000), 'a chunked answer')


def slow_reader(t, weir, ca):
    with t.case('a client that reads slowly gets everything'):
        with Client(weir.port, tls=ca.client(), name='a.test', rcvbuf=4096, keep=0, sha=True) as client:
            client.ask(target='/bytes/3000000')
            for _ in range(20):
                time.sleep(0.02)
                client.sock.settimeout(5)
                client.decoder.feed(client.sock.recv(1000))
            equal(client.read().sha256(), digest_of(3000000), 'digest')
    with t.case('HTTP/1.0 and Connection: close end with a close_notify, after every byte'):
        for headers in ([('Connection', 'close')],):
            client = Client(weir.port, tls=ca.client(), name='a.test')
            client.sock.suppress_ragged_eofs = False
            answer = client.fetch(target='/bytes/200000', headers=headers)
            equal(len(answer.body), 200000, 'length')
            equal(client.end(), 'eof', 'end')
    with t.case('a response whose bytes the socket does not take at once is not cut off by the close'):
        with Client(weir.port, tls=ca.client(), name='a.test', rcvbuf=2048, keep=0, sha=True) as client:
            client.ask(target='/bytes/400000', headers=[('Connection', 'close')])
            time.sleep(0.5)
            equal(client.read().sha256(), digest_of(400000), 'digest')


def sessions(t, weir, ca):
    for most, name in ((V12, 'TLS 1.2'), (V13, 'TLS 1.3')):
        with t.case('a session of %s resumes on any worker' % name):
            context = ca.client(most=most)
            with Client(weir.port, tls=context, name='a.test') as client:
                client.fetch(target='/facts')
                session = client.sock.session
            true(session is not None and session.has_ticket, 'a ticket came')
            for _ in range(12):
                with Client(weir.port, tls=context, name='a.test', session=session) as client:
                    equal(client.fetch(target='/facts').status, 200, 'status')
                    true(client.sock.session_reused, 'the session was resumed')
    with t.case('a session resumes on the successor of a worker that was killed'):
        context = ca.client(most=V12)
        with Client(weir.port, tls=context, name='a.test') as client:
            client.fetch(target='/facts')
            session = client.sock.session
        for number in (0, 1):
            weir.wait_respawn(weir.kill_worker(number))
        for _ in range(4):
            with Client(weir.port, tls=context, name='a.test', session=session) as client:
                equal(client.fetch(target='/facts').status, 200, 'status')
                true(client.sock.session_reused, 'the session was resumed')


def refusals(t, weir, ca):
    with t.case('plain HTTP at the TLS port gets a 400 that says so'):
        for method in ('GET', 'DELETE', 'OPTIONS'):
            answer = fetch(weir.port, method=method)
            equal(answer.status, 400, 'status')
            contains(answer.text, 'TLS', 'body')
            contains(answer.text, 'https://', 'body')
        weir.wait_access({'status': 400, 'reason': 'plain_http'})
    with t.case('redirect_https leads to the TLS port, path and query kept'):
        answer = fetch(weir.ports['port_plain'], target='/a%20b?c=d', headers=[('Host', 'a.test')])
        equal((answer.status, answer.header('Location')), (308, 'https://a.test:%d/a%%20b?c=d' % weir.port), 'answer')
    with t.case('TLS 1.1 is refused'):
        seen = s_client(weir.port, '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0')
        true('Cipher is (NONE)' in seen.text or 'alert' in seen.text, seen.text[-300:])
    with t.case('ciphers without forward secrecy or authenticated encryption are refused'):
        for cipher in ('AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'NULL'):
            seen = s_client(weir.port, '-tls1_2', '-cipher', cipher + ':@SECLEVEL=0')
            true('Cipher is (NONE)' in seen.text or 'no cipher' in seen.text.lower(), '%s: %s' % (cipher, seen.text[-300:]))
    with t.case('renegotiation is refused'):
        process = spawn_s_client(weir.port, '-tls1_2')
        process.stdin.write(b'R\n')
        process.stdin.flush()
        time.sleep(0.5)
        process.stdin.close()
        text = process.stdout.read().decode('utf-8', 'replace')
        process.wait(10)
        contains(text, 'no renegotiation', 'what openssl says')
        contains(text, 'Secure Renegotiation IS supported', 'RFC 5746 all the same')
    with t.case('garbage ends the connection, and weir serves on'):
        for data in (b'\x00' * 100, b'\x16\x03\x01\xff\xff' + b'x' * 2000, b'\x80\x2e\x01\x00\x02' + b'a' * 60,
                     b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00', os.urandom(500).replace(b'G', b'g')):
            with Client(weir.port) as client:
                client.send(b'\x01' + data if data[:1].isupper() else data)
                client.half_close()
                isin(client.end(), ('eof', 'reset'), 'end')
        equal(fetch(weir.port, target='/facts', tls=ca.client(), name='a.test').status, 200, 'status')
    with t.case('a handshake that does not come along ends at header_timeout, counted from the accept'):
        with Client(weir.port) as client:
            began = time.monotonic()
            hello = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
            sent = 0
            while time.monotonic() - began < 6:
                client.send(hello[sent:sent + 1] or b'\x00')
                sent += 1
                if client.end(0.3) != 'timeout':
                    break
            between(time.monotonic() - began, 1.5, 4, 'seconds')


def spawn_s_client(port, *args):
    import subprocess
    return spawn(['openssl', 's_client', '-connect', '127.0.0.1:%d' % port, '-servername', 'a.test'] + list(args),
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def floods(t, weir, ca):
    with t.case('a few key updates are answered, a flood of them ends the connection'):
        for count, survives in ((5, True), (200, False)):
            process = spawn_s_client(weir.port, '-tls1_3')
            time.sleep(0.3)
            for _ in range(count):
                try:
                    process.stdin.write(b'K\n')
                    process.stdin.flush()
                except BrokenPipeError:
                    break
                time.sleep(0.004)
            try:
                process.stdin.write(b'GET /facts HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n')
                process.stdin.flush()
                time.sleep(0.3)
                process.stdin.close()
            except BrokenPipeError:
                pass
            text = process.stdout.read().decode('utf-8', 'replace')
            process.wait(10)
            equal('HTTP/1.1 200' in text, survives, 'an answer after %d key updates' % count)
    with t.case('connections cut at any point of the handshake leave nothing behind'):
        hello = client_hello()
        for size in (1, 5, 6, 50, len(hello) - 1, len(hello)):
            for way in ('half_close', 'reset'):
                client = Client(weir.port)
                client.send(hello[:size])
                time.sleep(0.01)
                getattr(client, way)()
                client.close()
        until('no connection is left', lambda: totals(weir)['active_connections'] == 0)


def client_hello():
    """The first bytes of a real handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = context.wrap_bio(incoming, outgoing, server_hostname='a.test')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def split_hello(t, weir):
    with t.case('a hello in pieces of one byte, and in many records, is understood'):
        hello = client_hello()
        body = hello[5:]
        records = b''.join(b'\x16\x03\x01\x00\x10'[:3] + len(body[i:i + 16]).to_bytes(2, 'big') + body[i:i + 16]
                           for i in range(0, len(body), 16))
        for data, step in ((hello, 1), (records, len(records))):
            with Client(weir.port) as client:
                client.sock.settimeout(5)
                for i in range(0, len(data), step):
                    client.send(data[i:i + step])
                equal(client.sock.recv(3)[:1], b'\x16', 'a handshake record came back')


def reloads(t, ca):
    pair = ca.issue('a.test', ['a.test', 'before'])
    weir = Weir(CONF, name='reloads', pair=pair, one=t.one)
    weir.expect_deaths = True   # old generations end
    for most in (V12, V13):
        with t.case('a session resumes after a reload (%s)' % most.name):
            context = ca.client(most=most)
            with Client(weir.port, tls=context, name='a.test') as client:
                client.fetch(target='/facts')
                session = client.sock.session
            control(weir, 'reload')
            with Client(weir.port, tls=context, name='a.test', session=session) as client:
                equal(client.fetch(target='/facts').status, 200, 'status')
                true(client.sock.session_reused, 'the session was resumed')
    with t.case('a reload reads certificates again; a session of the old one is not resumed'):
        other = ca.issue('a.test', ['a.test', 'after'], days=61)
        os.rename(other.cert, pair.cert)
        os.rename(other.key, pair.key)
        control(weir, 'reload')
        context = ca.client(most=V13)
        with Client(weir.port, tls=context, name='a.test', session=None) as client:
            contains(str(client.sock.getpeercert()), 'after', 'names')


def storm(t, weir, ca):
    with t.case('many handshakes at once: each is made, and what already runs does not wait for all of them'):
        alone = Weir(CONF, name='storm', workers=1, pair=t.rsa, one=t.one)
        count = 300
        steady = Client(alone.port, tls=ca.client(), name='a.test')
        steady.fetch(target='/facts')
        ends = []
        for _ in range(count):
            sock = socket.create_connection(('127.0.0.1', alone.port), 20)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ca.client(verify=False).wrap_bio(incoming, outgoing, server_hostname='a.test')
            shake(tls)
            ends.append((sock, tls, incoming, outgoing))
        for sock, _, _, outgoing in ends:
            sock.sendall(outgoing.read())
        began = time.monotonic()
        equal(steady.fetch(target='/facts').status, 200, 'status while they wait')
        between = time.monotonic() - began
        for sock, tls, incoming, outgoing in ends:
            sock.settimeout(20)
            while not shake(tls):
                incoming.write(sock.recv(16384))
            sock.sendall(outgoing.read())
            sock.close()
        until('all are made', lambda: totals(alone)['tls_handshakes'] == count + 1, 20)
        true(totals(alone)['tls_waits'] > 0, 'none was put off')
        t.note('an answer among %d handshakes took %.1f ms; %d steps were put off' % (
            count, between * 1000, totals(alone)['tls_waits']))
        steady.close()


def shake(tls):
    try:
        tls.do_handshake()
        return True
    except ssl.SSLWantReadError:
        return False


def expiry(t, ca):
    with t.case('the log tells of certificates that end soon or have ended, and of no others'):
        alone = Weir(CONF + '[listen more]\nbind = 127.0.0.1:{port_more}\ncertificate = {soon}\ncertificate = {late}\n',
                     name='expiry', pair=t.pair, one=t.one, soon=ca.issue('soon.test', days=5), late=ca.issue('late.test', days=-1))
        alone.wait_errors(r'warn checker.*certificate of soon\.test in \S*soon\S* expires in [45] days')
        alone.wait_errors(r'error checker.*certificate of late\.test in \S*late\S* has expired 1 day ago')
        lacks(alone.errors(), 'certificate of a.test', 'log')


def memory(t, ca):
    weir = Weir(CONF, name='memory', workers=1, pair=t.pair, one=t.one)
    count = 400
    with t.case('what an idle connection costs'):
        context = ca.client()
        first = [warm(weir, context) for _ in range(50)]
        pid = weir.worker_pids()[0]
        before = rss(pid)
        clients = [warm(weir, context) for _ in range(count)]
        each = (rss(pid) - before) / count
        t.note('%d bytes for each of %d idle TLS connections' % (each, count))
        true(sanitized() or each < 40000, '%d bytes for each' % each)
        for client in first + clients:
            client.close()


def warm(weir, context):
    client = Client(weir.port, tls=context, name='a.test')
    client.fetch(target='/facts')
    return client


def checks(t, ca):
    other, old = ca.issue('b.test'), ca.issue('old.test', days=-1)
    soon = ca.issue('soon.test', days=5)
    locked = ca.file('locked.key')
    openssl('ec', '-in', t.pair.key, '-aes128', '-passout', 'pass:x', '-out', locked)
    damaged = ca.file('damaged.pem')
    with open(t.pair.cert) as f, open(damaged, 'w') as g:
        g.write(f.read().replace('M', 'N', 40))

    def check(certificate, *more):
        conf = '[listen s]\nbind = 127.0.0.1:{port}\ncertificate = %s\n%s\n[route r]\nrespond = 200 x\n' % (
            certificate, '\n'.join(more))
        return weir_run('-t', conf=conf, port=free_port())

    bad = (('%s %s' % (t.pair.cert, other.key), 'does not belong'), ('/nowhere.pem', 'No such file'), (t.pair.cert, 'no private key'),
           ('%s %s' % (t.pair.cert, locked), 'passphrase'), ('%s %s' % (damaged, t.pair.key), 'damaged.pem'),
           ('/dev/zero', 'not a regular file'), (t.pair.key, 'no certificate'))
    for certificate, why in bad:
        with t.case('-t refuses %s: %s' % (re.sub(r'\S*/', '', certificate), why)):
            run = check(certificate)
            equal(run.code, 1, 'exit status')
            true(re.search(r'weir\.ini:3: error: \[listen s\] certificate: .*%s' % re.escape(why), run.text), run.text)
    for pair, why in ((old, 'expired 1 day ago'), (soon, 'expires in [45] days')):
        with t.case('-t warns of a certificate that ' + why):
            run = check(pair)
            equal(run.code, 0, 'exit status')
            true(re.search(r'weir\.ini:3: warning: .*' + why, run.text), run.text)
    for line, why in (('tls_ciphers = ECDHE-RSA-AES128-GCM-SHA256:FOO', 'FOO'), ('tls_min = 1.1', '1.2 or 1.3'),
                      ('client_ca = /nowhere', 'No such file'), ('client_verify = required', 'needs a client_ca'),
                      ('client_verify = always', 'off | optional | required'),
                      ('hsts = always', 'a time, say 365d'), ('hsts = 1d subdomain', 'did you mean "subdomains"')):
        with t.case('-t refuses ' + line):
            run = check(t.pair, line)
            equal(run.code, 1, 'exit status')
            true(re.search(r'weir\.ini:4: error: .*%s' % re.escape(why), run.text), run.text)
    with t.case('a listener with tls = yes and no certificate anywhere is refused'):
        run = weir_run('-t', conf='[listen s]\nbind = 127.0.0.1:{port}\ntls = yes\n[route r]\nrespond = 200 x\n', port=free_port())
        equal(run.code, 1, 'exit status')
        contains(run.text, 'there is no certificate', 'output')
    with t.case('no key shows in -T'):
        run = weir_run('-T', conf='[listen s]\nbind = 127.0.0.1:{port}\ncertificate = %s\n[route r]\nrespond = 200 x\n' % t.pair.both,
                       port=free_port())
        equal(run.code, 0, 'exit status')
        lacks(run.text, 'PRIVATE', 'output')


with Story('TLS with clients', deadline=150) as t:
    ca = Authority()
    t.pair = ca.issue('a.test', ['a.test', '127.0.0.1'])
    t.rsa = ca.issue('a.test', kind='rsa')
    t.one = one = Origin('one')
    weir = Weir(CONF, pair=t.pair, one=one)
    requests(t, weir, one, ca)
    slow_reader(t, weir, ca)
    refusals(t, weir, ca)
    split_hello(t, weir)
    floods(t, weir, ca)
    reloads(t, ca)
    storm(t, weir, ca)
    expiry(t, ca)
    sessions(t, weir, ca)
    memory(t, ca)
    checks(t, ca)
