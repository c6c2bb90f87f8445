"""testssl.sh against weir as it is by default."""

import json
import os
import shutil
import subprocess

from certs import Authority
from ports import free_port
from responder import Responder
from tap import SLOW, Failed, story
from weir import Weir

# WARN is of checks that could not be made: one looks for tickets in a client that does not wait for them.
BAD = ('MEDIUM', 'HIGH', 'CRITICAL', 'FATAL')
# The last two are of the site, not of TLS: an application tells browsers what pages may do.
CONF = '''
[listen secure]
bind = 127.0.0.1:{port}
certificate = {pair}
{rsa}
hsts = 365d
[route all]
respond = 200 fine
response_header = X-Content-Type-Options: nosniff
response_header = X-Frame-Options: DENY
'''


def program():
    return shutil.which('testssl') or shutil.which('testssl.sh')


def scan(*what, timeout, kinds=('ec', 'rsa')):
    """The findings, as testssl.sh tells them; what: its checks, none for all; kinds: of certificates."""
    ca = Authority()
    responder = Responder(ca, free_port())
    more = ['authorityInfoAccess=OCSP;URI:http://127.0.0.1:%d/' % responder.port]
    pairs = [ca.chained(ca.issue('localhost', kind=kind, days=300, more=more)) for kind in kinds]
    for pair in pairs:
        responder.knows(pair)
    responder.start()
    weir = Weir(CONF, pair=pairs[0], rsa='' if len(pairs) < 2 else 'certificate = %s' % pairs[1])
    out = story().path('findings.json')
    done = subprocess.run([program(), '--warnings', 'batch', '--color', '0', '--nodns', 'none', '--add-ca', ca.cert, '--ip',
                           '127.0.0.1', '--jsonfile', out, *what,
                           'localhost:%d' % weir.port], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout * SLOW, env=dict(os.environ, TERM='dumb'))
    responder.stop()
    try:
        with open(out) as f:
            return json.load(f)
    except (OSError, ValueError):
        raise Failed('testssl.sh told nothing:\n%s\n%s' % (done.stdout[-3000:], done.stderr[-3000:])) from None


def judge(t, findings, least):
    """One case for each finding that matters; `least`: how many checks have to have been made."""
    with t.case('testssl.sh has made its checks'):
        if len(findings) < least:
            raise Failed('only %d findings: %r' % (len(findings), findings))
    for one in findings:
        if one['severity'] in BAD + ('LOW', 'WARN'):
            t.note('%s: %s: %s' % (one['severity'], one['id'], one['finding']))
    with t.case('no finding above LOW'):
        bad = ['%s %s: %s' % (f['severity'], f['id'], f['finding']) for f in findings if f['severity'] in BAD]
        if bad:
            raise Failed('\n'.join(bad))
