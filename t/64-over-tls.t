#!/usr/bin/python3
# timeout: 300
# What other files tell of HTTP/1.1 in clear, told again with every listener and client speaking TLS.
import os
import re
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

FILES = ('10-proxy.t', '20-malformed-requests.t', '21-hostile-responses.t', '34-truncated.t')

with Story('over TLS', deadline=240) as t:
    here = os.path.dirname(os.path.abspath(__file__))
    for name in FILES:
        with t.case('%s over TLS' % name):
            done = subprocess.run([sys.executable, os.path.join(here, name)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env=dict(os.environ, WEIRTEST_SCHEME='https'), timeout=200)
            text = done.stdout.decode('utf-8', 'replace')
            points = re.findall(r'^(not )?ok ', text, re.M)
            t.note('%d points' % len(points))
            bad = re.findall(r'^not ok .*(?:\n#.*){0,8}', text, re.M)
            equal((done.returncode, len(bad)), (0, 0), 'exit status and failures\n%s' % '\n'.join(bad or [text[-3000:]]))
            true(len(points) > 30, 'so few points: %d' % len(points))
