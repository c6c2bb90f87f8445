"""A real OCSP responder: the openssl command's, for one authority."""

import subprocess

from certs import openssl
from child import listening, spawn
from tap import until


class Responder:
    """`openssl ocsp` for one authority."""

    def __init__(self, ca, port):
        self.ca, self.port, self.process = ca, port, None
        self.index = ca.file('index.txt')
        open(self.index, 'w').close()

    def knows(self, pair, revoked=False):
        serial = openssl('x509', '-in', pair.cert, '-noout', '-serial').text.strip().partition('=')[2]
        with open(self.index, 'a') as f:
            f.write('%s\t400101000000Z\t%s\t%s\tunknown\t/CN=%s\n' % (
                'R' if revoked else 'V', '200101000000Z' if revoked else '', serial, serial))

    def start(self):
        with open(self.index + '.log', 'ab') as log:
            self.process = spawn(['openssl', 'ocsp', '-index', self.index, '-CA', self.ca.cert, '-rsigner', self.ca.cert, '-rkey',
                                  self.ca.key, '-port', str(self.port), '-ndays', '1'], stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log)
        until('the responder listens', lambda: listening(self.port), 10)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def answer(self, pair, *how):
        """An answer made by hand."""
        out = pair.cert + '.ocsp'
        openssl('ocsp', '-index', self.index, '-CA', self.ca.cert, '-rsigner', self.ca.cert, '-rkey', self.ca.key, '-issuer',
                self.ca.cert, '-cert', pair.cert, '-no_nonce', '-respout', out, '-noverify', *(how or ('-ndays', '1')))
        with open(out, 'rb') as f:
            return f.read()
