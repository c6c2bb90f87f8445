#!/usr/bin/python3
# A scanner's view of TLS as it is by default: versions, order of ciphers, certificates, header fields.
# timeout: 180
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import scan

with Story('testssl.sh, what is quick', deadline=170) as t:
    if scan.program() is None:
        t.skip_all('testssl.sh is not installed')
    else:
        scan.judge(t, scan.scan('--protocols', '--server-preference', '--server-defaults', '--headers', kinds=('ec',), timeout=150), 40)
