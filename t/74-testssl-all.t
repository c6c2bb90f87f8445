#!/usr/bin/python3
# A scanner's view of TLS as it is by default: everything that testssl.sh looks at.
# run: soak
# timeout: 600
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import scan

with Story('testssl.sh, all of it', deadline=590) as t:
    if scan.program() is None:
        t.skip_all('testssl.sh is not installed')
    else:
        scan.judge(t, scan.scan(timeout=570), 100)
