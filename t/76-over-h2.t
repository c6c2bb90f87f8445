#!/usr/bin/python3
# timeout: 240
# What other files tell of HTTP/1.1, told again with every client speaking HTTP/2, in clear and over TLS: the same cases, and
# a bridge that turns what their clients send into streams. Cases that HTTP/2 has no words for are skipped.
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

# Scheme, file, cases that must pass at least.
RUNS = [('h2', '31-health.t', 15), ('h2', '33-retry.t', 25), ('h2', '10-proxy.t', 60), ('h2s', '10-proxy.t', 60),
        ('h2', '13-actions.t', 100), ('h2', '11-headers.t', 60), ('h2', '12-routing.t', 100), ('h2', '34-truncated.t', 20),
        ('h2s', '34-truncated.t', 20)]


def tell(run):
    scheme, name, _ = run
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, os.path.join(here, name)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, WEIRTEST_SCHEME=scheme),
                          timeout=200)
    return done.returncode, done.stdout.decode('utf-8', 'replace')


with Story('over HTTP/2', deadline=220) as t:
    with ThreadPoolExecutor(3) as pool:
        for (scheme, name, least), (code, text) in zip(RUNS, pool.map(tell, RUNS)):
            with t.case('%s over HTTP/2%s' % (name, ' and TLS' if scheme == 'h2s' else '')):
                good = re.findall(r'^ok (?!.*# SKIP)', text, re.M)
                skipped = re.findall(r'^ok .*# SKIP', text, re.M)
                bad = re.findall(r'^not ok .*(?:\n#.*){0,8}', text, re.M)
                t.note('%d cases, %d skipped' % (len(good), len(skipped)))
                equal((code, len(bad)), (0, 0), 'exit status and failures\n%s' % '\n'.join(bad or [text[-3000:]]))
                true(len(good) >= least, 'so few cases: %d' % len(good))
