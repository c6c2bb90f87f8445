#!/usr/bin/python3
# OCSP stapling: fetched by the checker from a real responder, shown to clients that ask, kept over reloads and deaths;
# and what responders do wrong.
# timeout: 150
import http.server
import os
import re
import signal
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from responder import Responder

HEAD = '''
[listen secure]
bind = 127.0.0.1:{port}
[route all]
respond = 200 fine
'''


def url(port, path=''):
    return ['authorityInfoAccess=OCSP;URI:http://127.0.0.1:%d/%s' % (port, path)]


def shown(weir, name, *how, port=None):
    """good, none or another word for what a client is shown."""
    text = openssl('s_client', '-connect', '127.0.0.1:%d' % (port or weir.port), '-servername', name, '-status', *how,
                   check=False).text
    if 'OCSP response: no response sent' in text:
        return 'none'
    if 'OCSP Response Status: successful' in text and 'Cert Status: good' in text:
        return 'good'
    return text


def wait_shown(weir, name, want='good', timeout=20):
    until('%s is shown as %s' % (name, want), lambda: shown(weir, name) == want, timeout, step=0.1)


def conf(pairs):
    return HEAD.replace('[route', ''.join('certificate = %s\n' % p for p in pairs) + '[route')


def lifetime(t, ca):
    responder = Responder(ca, free_port())
    pairs = {n: ca.chained(ca.issue(n, kind=kind, more=url(responder.port)))
             for n, kind in (('good.test', 'ec'), ('rsa.test', 'rsa'), ('revoked.test', 'ec'))}
    pairs['plain.test'] = ca.chained(ca.issue('plain.test'))
    for name, pair in pairs.items():
        if name != 'plain.test':
            responder.knows(pair, name == 'revoked.test')
    weir = Weir(conf(pairs.values()), name='lifetime', workers=2)
    weir.expect_deaths = True
    with t.case('no responder: one warning each, handshakes all the same'):
        for name in ('good.test', 'rsa.test', 'revoked.test'):
            weir.wait_errors(r'warn checker.*OCSP responder 127\.0\.0\.1:%d of the certificate of %s is of no use: connecting '
                             r'failed: Connection refused\. Clients are shown the certificate without' % (responder.port, name))
        equal(shown(weir, 'good.test'), 'none', 'shown')
        equal(fetch(weir.port, tls=ca.client(), name='good.test').text, 'fine', 'answer')
    responder.start()
    with t.case('it comes: its answer is shown, by RSA and ECDSA certificates, over TLS 1.2 and 1.3'):
        for name in ('good.test', 'rsa.test'):
            wait_shown(weir, name)
            for version in ('-tls1_2', '-tls1_3'):
                equal(shown(weir, name, version), 'good', name + ' ' + version)
        weir.wait_errors('OCSP responder of the certificate of good.test answers again')
        equal(len(re.findall('of good.test is of no use', weir.errors())), 1, 'warnings')
    with t.case('a certificate without a responder is shown without; so is a revoked one, which the log tells'):
        weir.wait_errors('of revoked.test is of no use: it says that the certificate was revoked')
        equal([shown(weir, n) for n in ('plain.test', 'revoked.test')], ['none', 'none'], 'shown')
        lacks(weir.errors(), 'certificate of plain.test', 'log')
    responder.stop()
    with t.case('every worker of the next configuration has it at once, the responder being gone'):
        control(weir, 'reload')
        equal([shown(weir, 'good.test') for _ in range(6)], ['good'] * 6, 'shown')
    with t.case('a checker that dies takes nothing along'):
        old = weir.checker()
        os.kill(old, signal.SIGKILL)
        equal(shown(weir, 'good.test'), 'good', 'shown at once')
        until('there is another one', lambda: weir.checker() not in (None, old), 10)
        equal(shown(weir, 'good.test'), 'good', 'shown then')
        equal(len(re.findall('of good.test is of no use', weir.errors())), 1, 'warnings')


class Web(http.server.ThreadingHTTPServer):
    """Gives `answers[path]`: bytes for a body, or a function(handler) that writes all itself."""
    daemon_threads = True

    def __init__(self):
        self.answers, self.asked = {}, []
        super().__init__(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.asked.append(self.path)
        what = self.server.answers.get(self.path, b'')
        if callable(what):
            what(self)
            return
        self.send_response(200)
        self.send_header('Content-Type', 'application/ocsp-response')
        self.end_headers()                   # to the end of the connection
        self.wfile.write(what)

    def log_message(self, *ignored):
        pass


def raw(data):
    return lambda handler: handler.wfile.write(data)


def wrong_ways(t, ca):
    web = Web()
    port = web.server_address[1]
    modes = {}

    def issue(mode):
        pair = ca.chained(ca.issue(mode + '.test', more=url(port, mode)))
        responder.knows(pair)
        modes[mode] = pair
        return pair

    responder = Responder(ca, 1)
    good = issue('good')
    chunked_pair = issue('chunked')
    issue('another')
    answer = responder.answer(chunked_pair)
    web.answers['/good'] = responder.answer(good)
    web.answers['/chunked'] = raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + b''.join(
        b'%x\r\n%s\r\n' % (len(answer[i:i + 100]), answer[i:i + 100]) for i in range(0, len(answer), 100)) + b'0\r\n\r\n')
    web.answers['/another'] = responder.answer(good)
    wants = {'another': 'about another certificate'}
    for mode, want, data in (
            ('garbage', 'no OCSP response', b'\x30\x03abc'), ('empty', 'no OCSP response', b''),
            ('refuses', 'it refuses to answer', bytes.fromhex('30030a0103')),
            ('status', 'does not answer with status 200', raw(b'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')),
            ('nohttp', 'its answer is not HTTP', raw(b'hello\r\n\r\n')),
            ('cut', 'closed before its answer was whole', raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc')),
            ('huge', 'answer is too large', b'x' * 100000)):
        issue(mode)
        web.answers['/' + mode], wants[mode] = data, want
    issue('behind')
    web.answers['/behind'], wants['behind'] = responder.answer(modes['behind']) + b'x', 'bytes behind its answer'
    issue('forged')
    forged = ca.issue('nobody', names=[])
    out = modes['forged'].cert + '.forged'
    openssl('ocsp', '-index', responder.index, '-CA', ca.cert, '-rsigner', forged.cert, '-rkey', forged.key, '-issuer', ca.cert,
            '-cert', modes['forged'].cert, '-no_nonce', '-respout', out, '-noverify', '-ndays', '1')
    with open(out, 'rb') as f:
        web.answers['/forged'], wants['forged'] = f.read(), 'not signed by whom the issuer names'
    weir = Weir(conf(modes.values()), name='wrong', workers=1)
    with t.case('whole answers of any framing are taken'):
        for name in ('good.test', 'chunked.test'):
            wait_shown(weir, name)
    for mode, want in wants.items():
        with t.case('not taken: %s (%s)' % (mode, want)):
            weir.wait_errors(r'of the certificate of %s\.test is of no use: [^\n]*%s' % (mode, want))
            equal(shown(weir, mode + '.test'), 'none', 'shown')
    refresh(t, ca, web)
    web.shutdown()


def refresh(t, ca, web):
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509 import ocsp
        import datetime
    except ImportError:
        t.skip('an answer is fetched again at half of its time', 'python3-cryptography is not installed')
        return

    def load(path):
        with open(path, 'rb') as f:
            return x509.load_pem_x509_certificate(f.read())

    at = 'authorityInfoAccess=OCSP;URI:http://localhost:%d/' % web.server_address[1]
    pairs = {n: ca.issue(n + '.test', more=[at + n]) for n in ('short', 'late', 'early')}
    with open(ca.key, 'rb') as f:
        key = serialization.load_pem_private_key(f.read(), None)

    def answer(name, begin, end):
        """The answer counts from `begin` to `end`, in seconds from now."""
        def write(handler):
            now = datetime.datetime.utcnow().replace(microsecond=0)
            begins, ends = (now + datetime.timedelta(seconds=n) for n in (begin, end))
            built = ocsp.OCSPResponseBuilder().add_response(
                load(pairs[name].cert), load(ca.cert), hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, begins, ends, None,
                None).responder_id(ocsp.OCSPResponderEncoding.HASH, load(ca.cert)).sign(key, hashes.SHA256())
            data = built.public_bytes(serialization.Encoding.DER)
            raw(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(data), data))(handler)
        web.answers['/' + name] = write

    answer('short', 0, 12)
    answer('late', -100, -1)
    answer('early', 1000, 2000)
    weir = Weir(conf(ca.chained(p) for p in pairs.values()), name='short', workers=1)
    with t.case('an answer is fetched again at half of its time, by a name that is looked up'):
        wait_shown(weir, 'short.test')
        until('it was asked for again', lambda: web.asked.count('/short') >= 2, 12)
        equal(shown(weir, 'short.test'), 'good', 'shown')
    with t.case('one that came too late or is for later is not taken'):
        weir.wait_errors('of late.test is of no use: its answer is out of date')
        weir.wait_errors('of early.test is of no use: its answer is for later')
    with t.case('one that has gone out of date is not shown'):
        web.answers['/short'] = raw(b'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
        wait_shown(weir, 'short.test', 'none', 30)
        weir.wait_errors('of short.test is of no use: it does not answer with status 200. Clients are shown its last answer')


def checks(t, ca):
    def check(pair, head=''):
        text = head + '[listen s]\nbind = 127.0.0.1:{port}\ncertificate = %s\n[route r]\nrespond = 200 x\n' % pair
        return weir_run('-t', conf=text, port=free_port())

    must = ca.issue('must.test', more=['tlsfeature=status_request'])
    asks = ca.issue('asks.test', more=['tlsfeature=status_request'] + url(1))
    off = '[weir]\nocsp_stapling = no\n'
    for pair, head, why in ((must, '', 'its issuer is not in the chain'), (ca.chained(must), '', 'it names no responder'),
                            (asks, '', 'its issuer is not in the chain'), (ca.chained(asks), off, 'ocsp_stapling is off'),
                            (ca.chained(asks), '', None)):
        with t.case('-t and a certificate that demands stapling: %s' % why):
            run = check(pair, head)
            equal(run.code, 0, 'exit status')
            if why is None:
                lacks(run.text, 'stapling', 'output')
            else:
                contains(run.text, 'demands OCSP stapling, but %s' % why, 'output')


with Story('OCSP stapling', deadline=140) as t:
    ca = Authority()
    lifetime(t, ca)
    wrong_ways(t, ca)
    checks(t, ca)
