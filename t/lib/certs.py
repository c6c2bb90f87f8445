"""Certificates for tests, made by the openssl command, and contexts of Python's ssl that use them."""

import os
import ssl
import subprocess

from tap import Failed, story


def openssl(*args, stdin=b'', check=True, timeout=30):
    """Runs openssl; the finished process, its output as text in .text."""
    done = subprocess.run(['openssl'] + [str(a) for a in args], input=stdin, capture_output=True, timeout=timeout)
    done.text = (done.stdout + done.stderr).decode('utf-8', 'replace')
    if check and done.returncode:
        raise Failed('openssl %s failed:\n%s' % (' '.join(map(str, args)), done.text))
    return done


def everywhere():
    """The whole test is to be made over TLS."""
    return os.environ.get('WEIRTEST_SCHEME') in ('https', 'h2s')


def by_h2():
    """The whole test is to be made over HTTP/2: in clear (h2), or over TLS (h2s)."""
    return os.environ.get('WEIRTEST_SCHEME') in ('h2', 'h2s')


_common = []


def common_pair():
    if not _common:
        _common.append(Authority('everywhere').issue('everywhere.test'))
    return _common[0]


def common_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if by_h2():
        context.set_alpn_protocols(['h2'])
    return context


class Pair:
    """cert, key: files; both: chain and key in one; fingerprint: SHA-256 in lower-case hex."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key
        self.both = cert[:-4] + '-both.pem'
        with open(self.both, 'wb') as f:
            for path in (cert, key):
                with open(path, 'rb') as part:
                    f.write(part.read())
        os.chmod(self.both, 0o600)

    @property
    def fingerprint(self):
        text = openssl('x509', '-in', self.cert, '-noout', '-fingerprint', '-sha256').text
        return text.partition('=')[2].strip().replace(':', '').lower()

    def __str__(self):
        return '%s %s' % (self.cert, self.key)


class Authority:
    """A certificate authority; .cert is the file to trust."""

    def __init__(self, name='ca'):
        self.name = name
        self.dir = story().path('certs-' + name)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.cert, self.key = self.file('ca.pem'), self.file('ca.key')
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', 300,
                '-subj', '/O=Test/CN=' + name, '-keyout', self.key, '-out', self.cert)

    def file(self, name):
        return os.path.join(self.dir, name)

    def issue(self, name, names=None, kind='ec', days=60):
        """A certificate for these names (by default its own); days=-1: expired."""
        base = '%s-%s-%s' % (name.replace('*', 'any').replace(' ', '_'), kind, days)
        cert, key, request = self.file(base + '.pem'), self.file(base + '.key'), self.file(base + '.csr')
        algorithm = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] if kind == 'ec' else ['rsa:2048']
        openssl('req', '-newkey', *algorithm, '-nodes', '-subj', '/O=Test/CN=' + name,
                '-keyout', key, '-out', request)
        with open(request + '.ext', 'w') as f:
            alternatives = ','.join(('IP:' if n[0].isdigit() else 'DNS:') + n for n in (names or [name]))
            f.write('subjectAltName=' + alternatives if names != [] else 'basicConstraints=CA:FALSE')
        openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial',
                '-days', days, '-extfile', request + '.ext', '-out', cert)
        return Pair(cert, key)

    def client(self, pair=None, verify=True, most=None, least=None, ciphers=None, alpn=('http/1.1',)):
        """A context for clients that trust this authority; `pair` is shown when asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verify:
            context.load_verify_locations(self.cert)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        if most:
            context.maximum_version = most
        if least:
            context.minimum_version = least
        if ciphers:
            context.set_ciphers(ciphers)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server(self, pair, ask=False, most=None):
        """A context for servers; ask: clients must show a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if most:
            context.maximum_version = most
        if ask:
            context.load_verify_locations(self.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
