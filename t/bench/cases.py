"""The cases, and how one turn of each is measured.

A turn is one run of a load generator against one proxy. It gives a row: CPU microseconds per answer, answers per second,
latency in microseconds (p50, p99, p999) and the number of answers that were wrong.
"""

import collections
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time

import peers
import process

HERE = os.path.dirname(os.path.abspath(__file__))

# What a browser sends today, cookies included: about 1.2 KB.
BROWSER = {
    'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
    'Accept': 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8',
    'Accept-Encoding': 'gzip, deflate, br, zstd', 'Accept-Language': 'en-US,en;q=0.9,de;q=0.8',
    'Cache-Control': 'max-age=0', 'Referer': 'https://www.shop.example/catalogue/outdoor/tents?page=2&sort=price',
    'Sec-Ch-Ua': '"Chromium";v="126", "Not_A Brand";v="24"', 'Sec-Ch-Ua-Mobile': '?0', 'Sec-Ch-Ua-Platform': '"Linux"',
    'Sec-Fetch-Dest': 'document', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-User': '?1',
    'Upgrade-Insecure-Requests': '1',
    'Cookie': '; '.join('%s=%s' % (name, 'kq3Zv7TdX0aBhE5cLm9R'[:12] * 3) for name in
                        ('session', 'csrftoken', '_ga', '_gid', 'consent', 'cart', 'theme', 'locale')),
}

Case = collections.namedtuple('Case', 'name setup load path answer options text')


def case(name, setup, load, path, answer, text, **options):
    return Case(name, setup, load, path, answer, options, text)


CASES = [
    case('small', 'plain', 'wrk', '/', 'small', '128-byte answers'),
    case('10k', 'plain', 'wrk', '/10k', '10k', '10 KiB answers'),
    case('1m', 'plain', 'wrk', '/1m', '1m', '1 MiB answers', connections=8),
    case('browser', 'plain', 'wrk', '/shop/item/42?ref=mail', 'small', "a browser's 1.2 KB of header, 128-byte answers",
         header=BROWSER),
    case('upload', 'plain', 'wrk', '/upload', 'small', '100 KiB uploads', upload=True, connections=8),
    case('chunked', 'plain', 'wrk', '/chunked.html', 'chunked.html', '10 KiB answers in chunks'),
    case('close', 'plain', 'close', '/', 'small', 'a new connection for each request'),
    case('paced', 'plain', 'paced', '/', 'small', 'small answers at half the load that nginx takes'),
    case('idle', 'plain', 'hold', '/', 'small', 'memory of a connection that idles after one request'),
    case('tls', 'tls', 'wrk', '/', 'small', '128-byte answers over TLS'),
    case('tls-full', 'tls', 'close', '/', 'small', 'full TLS handshakes, one request each'),
    case('tls-resumed', 'tls', 'close', '/', 'small', 'resumed TLS handshakes, one request each', resume=True),
    case('tls-1m', 'tls', 'wrk', '/1m', '1m', '1 MiB answers over TLS', connections=8),
    case('tls-idle', 'tls', 'hold', '/', 'small', 'memory of a TLS connection that idles after one request'),
    case('h2', 'tls', 'h2load', '/', 'small', 'HTTP/2 over TLS, 32 connections with 1 stream', streams=1, connections=32),
    case('h2-100', 'tls', 'h2load', '/', 'small', 'HTTP/2 over TLS, 2 connections with 100 streams', streams=100, connections=2),
    case('routes', 'routes', 'wrk', '/r999/x', 'small', 'the last of 1,000 routes'),
    case('hosts', 'hosts', 'wrk', '/', 'small', 'the last of 100 hosts', header={'Host': 'h99.example'}),
    case('servers', 'servers', 'wrk', '/', 'small', '100 servers'),
    case('workers', 'workers', 'wrk', '/', 'small', 'two workers', connections=64),
]

REPORT = '''
done = function(s, l)
  io.write(string.format('{"requests": %d, "bytes": %d, "wrong": %d, "seconds": %f, "p50": %d, "p99": %d, "p999": %d}\\n',
    s.requests, s.bytes, s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout,
    s.duration / 1e6, l:percentile(50), l:percentile(99), l:percentile(99.9)))
end
'''


def run(argv):
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit('bench: %s failed:\n%s%s' % (' '.join(argv), done.stdout, done.stderr))
    return done.stdout


def url(c, proxy):
    return '%s://127.0.0.1:%d%s' % ('https' if c.setup == 'tls' else 'http', proxy.port, c.path)


def by_wrk(world, c, proxy, seconds, _):
    script = os.path.join(proxy.folder, c.name + '.lua')
    with open(script, 'w') as f:
        f.write(REPORT)
        if c.options.get('upload'):
            f.write("wrk.method = 'POST'\nlocal f = io.open('%s')\nwrk.body = f:read('*a')\nf:close()\n" % world.upload)
    argv = [process.find('wrk'), '-t', '1', '-c', str(c.options.get('connections', 32)), '-d', '%ds' % max(1, round(seconds)),
            '--timeout', '10s', '-s', script]
    for item in c.options.get('header', {}).items():
        argv += ['-H', '%s: %s' % item]
    row = json.loads(run(argv + [url(c, proxy)]).splitlines()[-1])
    # wrk judges status and framing; that no byte of a body is missing shows in what it read.
    size = peers.SIZES[c.answer]
    if row['bytes'] < row['requests'] * (size + 50):
        row['wrong'] += 1
    return row


def by_h2load(_, c, proxy, seconds, __):
    log = os.path.join(proxy.folder, 'h2load.log')
    if os.path.exists(log):
        os.unlink(log)
    connections = c.options['connections']
    out = run([process.find('h2load'), '-D', '%ds' % max(1, round(seconds)), '-c', str(connections), '-m',
               str(c.options['streams']), '--log-file', log, url(c, proxy)])
    times, wrong = [], 0
    with open(log) as f:
        for line in f:
            _, status, took = line.split()
            times.append(int(took))
            wrong += status != '200'
    times.sort()
    sizes = re.search(r'traffic:.*\((\d+)\) data', out)
    failed = re.search(r'(\d+) failed, (\d+) errored, (\d+) timeout', out)
    wrong += sum(map(int, failed.groups()))
    if int(sizes.group(1)) < len(times) * peers.SIZES[c.answer] or 'Application protocol: h2\n' not in out:
        wrong += 1

    def percentile(part):
        return times[min(len(times) - 1, int(len(times) * part))]
    return {'requests': len(times), 'seconds': max(1, round(seconds)), 'wrong': wrong, 'p50': percentile(0.5),
            'p99': percentile(0.99), 'p999': percentile(0.999)}


def load_argv(world, c, proxy, *more):
    tool = os.environ.get('BENCH_LOAD') or os.path.join(HERE, 'load')
    return [tool, c.load, '-p', c.path, '-e', world.bodies[c.answer]] + ['-t'] * (c.setup == 'tls') + \
        ['-s'] * bool(c.options.get('resume')) + list(more) + [str(proxy.port)]


def by_load(world, c, proxy, seconds, rate):
    row = json.loads(run(load_argv(world, c, proxy, '-d', str(seconds), '-c', str(c.options.get('connections', 32)),
                                   '-r', str(rate))))
    if c.setup == 'tls' and c.options.get('resume', False) != (row['resumed'] > row['handshakes'] * 0.9):
        row['wrong'] += 1
        row['first_wrong'] = '%d of %d handshakes were resumed' % (row['resumed'], row['handshakes'])
    if row['wrong']:
        print('%s %s: %s' % (c.name, proxy.name, row['first_wrong']), file=sys.stderr)
    return row


BY = {'wrk': by_wrk, 'h2load': by_h2load, 'close': by_load, 'paced': by_load}
HELD = 4000


def hold(world, c, proxy):
    """Bytes of memory for each of HELD connections that had one request and wait for the next."""
    before = proxy.memory()
    argv = load_argv(world, c, proxy, '-c', str(HELD))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        row = json.loads(tool.stdout.readline())
        time.sleep(0.5)
        row['memory'] = (proxy.memory() - before) / HELD
        tool.stdin.close()
    return row


def prove(world, c, proxy):
    """The very bytes arrive, asked for by another client than the one that measures."""
    with open(world.bodies[c.answer], 'rb') as f:
        expected = f.read()
    upload = None
    if c.options.get('upload'):
        with open(world.upload, 'rb') as f:
            upload = f.read()
    for _ in range(3):
        if c.setup == 'tls':
            context = ssl._create_unverified_context()
            client = http.client.HTTPSConnection('127.0.0.1', proxy.port, timeout=10, context=context)
        else:
            client = http.client.HTTPConnection('127.0.0.1', proxy.port, timeout=10)
        client.request('POST' if upload else 'GET', c.path, body=upload, headers=c.options.get('header', {}))
        answer = client.getresponse()
        got = answer.read()
        client.close()
        if answer.status != 200 or got != expected:
            raise SystemExit('bench: %s answers %s wrongly: status %d, %d bytes' % (proxy.name, c.name, answer.status, len(got)))


def one_turn(world, c, proxy, seconds, rate):
    used = proxy.cpu()
    row = BY[c.load](world, c, proxy, seconds, rate)
    row['cpu'] = (proxy.cpu() - used) / max(row['requests'], 1) * 1e6
    row['rate'] = row['requests'] / row['seconds']
    return row


def half_load(world, proxies, seconds):
    """Half of what nginx, or else the first proxy, takes of small requests."""
    reference = next((p for p in proxies if p.name == 'nginx'), proxies[0])
    return by_wrk(world, CASES[0], reference, seconds, None)['requests'] / max(1, round(seconds)) / 2


def run_case(world, c, proxies, args):
    rows = {name: [] for name in list(peers.MAKERS) + ['one']}
    for proxy in proxies:
        prove(world, c, proxy)
    if c.load == 'hold':
        for proxy in proxies:
            # What requests under way and caches need is no part of what an idle connection does.
            by_wrk(world, c, proxy, 1, None)
            rows[proxy.name].append(hold(world, c, proxy))
        return rows
    rate = half_load(world, proxies, args.seconds) if c.load == 'paced' else None
    for proxy in proxies:
        BY[c.load](world, c, proxy, 0.3, rate)
    for _ in range(args.turns):
        for proxy in proxies:
            rows[proxy.name].append(one_turn(world, c, proxy, args.seconds, rate))
    return rows


def start(world, setup, names):
    made = [peers.MAKERS[name](world, setup) for name in names]
    if setup in ('routes', 'hosts', 'servers', 'workers') and 'weir' in names:
        made.append(peers.weir(world, 'plain', 'one'))      # what the others of this setup are compared with
    return [p for p in made if p]


def run_setup(world, setup, chosen, names, args, results):
    """All cases of one setup; those about memory with proxies of their own."""
    for holding in (True, False):
        some = [c for c in chosen if (c.load == 'hold') == holding]
        if not some:
            continue
        proxies = start(world, setup, names)
        for c in some:
            print('%-12s %s' % (c.name, c.text), file=sys.stderr)
            results[c.name] = run_case(world, c, proxies, args)
        world.clear()
