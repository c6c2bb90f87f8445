#!/usr/bin/env python3
"""Instructions that a worker takes for one request, counted by callgrind, compared with the file `instructions`.

instructions.py [--update] [CASE ...]. A fixed replay of two lengths is counted; their difference, divided by the number of
requests between them, is what is told: start-up is not in it, and neither is time. The figures hold for one compiler and
one set of libraries, which the file names; with others the comparison is made with a wider tolerance, and says so.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import BROWSER  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, 'instructions')
REPLAY = os.environ.get('BENCH_REPLAY') or os.path.join(HERE, 'replay')
TOLERANCE = 3       # percent, with the very same tools
WIDE = 25           # with others
WARM, MORE = 100, 400

CONFIG = '''[weir]
workers = 1
access_log = %s/access
[listen main]
bind = 127.0.0.1:1
max_requests = 0
%s
[upstream app]
keepalive = 128
%s'''
TWO = 'server = 127.0.0.1:@PORT@\nserver = 127.0.0.2:@PORT@\n'
HUNDRED = ''.join('server = 127.0.1.%d:@PORT@\n' % (n + 1) for n in range(100))
ANY = '[route all]\nupstream = app\n'
ROUTES = ''.join('[route r%d]\npath = /r%d\nupstream = app\n' % (n, n) for n in range(1000))
HOSTS = ''.join('[route h%d]\nhost = h%d.example\nupstream = app\n' % (n, n) for n in range(100))


def request(path='/', host='localhost', more=None):
    fields = {'Host': host}
    fields.update(more or {})
    return ('GET %s HTTP/1.1\r\n%s\r\n' % (path, ''.join('%s: %s\r\n' % item for item in fields.items()))).encode()


def answer(size, chunk=0):
    head = 'HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n'
    text = ''.join('%07d ' % n for n in range(size // 8))
    if not chunk:
        return (head + 'Content-Length: %d\r\nConnection: keep-alive\r\n\r\n' % size + text).encode()
    pieces = ''.join('%x\r\n%s\r\n' % (len(text[i:i + chunk]), text[i:i + chunk]) for i in range(0, size, chunk))
    return (head + 'Transfer-Encoding: chunked\r\n\r\n' + pieces + '0\r\n\r\n').encode()


CASES = {
    'small': (ANY, TWO, request(), answer(128)),
    'browser': (ANY, TWO, request('/shop/item/42?ref=mail', more=BROWSER), answer(128)),
    '10k': (ANY, TWO, request(), answer(10240)),
    'chunked': (ANY, TWO, request(), answer(10240, 2048)),
    'routes': (ROUTES, TWO, request('/r999/x'), answer(128)),
    'hosts': (HOSTS, TWO, request(host='h99.example'), answer(128)),
    'servers': (ANY, HUNDRED, request(), answer(128)),
}


def count(top, name, requests):
    """Instructions of the worker process over so many requests."""
    routes, servers, asked, answered = CASES[name]
    folder = os.path.join(top, '%s-%d' % (name, requests))
    os.mkdir(folder)
    for file, text in (('conf', (CONFIG % (folder, routes, servers)).encode()), ('request', asked), ('answer', answered)):
        with open(os.path.join(folder, file), 'wb') as f:
            f.write(text)
    out = os.path.join(folder, 'callgrind')
    done = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=' + out + '.%p', REPLAY,
                           os.path.join(folder, 'conf'), str(requests), os.path.join(folder, 'request'),
                           os.path.join(folder, 'answer')], capture_output=True, text=True, timeout=100)
    totals = [int(re.search(r'^totals: (\d+)', open(os.path.join(folder, n)).read(), re.M).group(1))
              for n in os.listdir(folder) if n.startswith('callgrind.')]
    if done.returncode or not totals:
        raise SystemExit('instructions: %s did not run:\n%s' % (name, done.stderr))
    return max(totals)      # the other process only forked and left


def per_request(top, name):
    return (count(top, name, WARM + MORE) - count(top, name, WARM)) / MORE


def tools():
    """What the figures depend on beside the source."""
    cc = (os.environ.get('BENCH_CC') or 'gcc').split()[0]
    version = subprocess.run([cc, '-dumpfullversion'], capture_output=True, text=True).stdout.strip()
    libc = os.confstr('CS_GNU_LIBC_VERSION')
    return '%s %s, %s, %s, %s' % (cc, version, libc, os.uname().machine, ' '.join(sorted(os.environ.get('BENCH_CFLAGS', '').split())))


def known():
    made_by, figures = '', {}
    with open(FILE) as f:
        for line in f:
            words = line.split('#')[0].split()
            if line.startswith('tools: '):
                made_by = line[len('tools: '):].strip()
            elif len(words) == 2:
                figures[words[0]] = float(words[1])
    return made_by, figures


def update(figures):
    with open(FILE, 'w') as f:
        f.write('# Instructions for one request, by `make bench-instructions UPDATE=1`. Rises of more than %d %% fail.\n' % TOLERANCE)
        f.write('tools: %s\n' % tools())
        f.writelines('%s %.0f\n' % item for item in figures.items())


def judge(figures):
    made_by, were = known()
    same = made_by == tools()
    tolerance = TOLERANCE if same else WIDE
    if not same:
        print('other tools than those of the kept figures, so up to %d %% more are let pass:\n  kept: %s\n  here: %s'
              % (WIDE, made_by, tools()))
    failed = 0
    for name, now in figures.items():
        was = were.get(name)
        bad = was is None or now > was * (1 + tolerance / 100)
        failed += bad
        print('%-10s %8.0f instructions for a request, %s%s' % (
            name, now, 'no figure is kept' if was is None else '%+.1f %%' % ((now / was - 1) * 100),
            ', too many' if bad else ''))
    return failed


def main():
    words = sys.argv[1:]
    names = [w for w in words if w != '--update'] or list(CASES)
    with tempfile.TemporaryDirectory(prefix='weir-instructions.') as top:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            figures = dict(zip(names, pool.map(lambda name: per_request(top, name), names)))
    if '--update' in words:
        update(figures)
    return 1 if judge(figures) else 0


if __name__ == '__main__':
    sys.exit(main())
