#!/usr/bin/python3
# What weir counts, as a Prometheus sees it: exact over workers, deaths and reloads, while everything hangs, and under load;
# and a port that is asked by those who want it no good.
# timeout: 400
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import tap
from child import read_text
from prom import Metrics, have_promtool, page, promtool, scrape

TOP = os.environ.get('srcdir') or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
APP = '''
[weir]
workers = %d
shutdown_timeout = 20s
[admin]
bind = 127.0.0.1:{port_admin}
[listen http]
bind = 127.0.0.1:{port}
max_requests = 0
[route hello]
path_exact = /hello
respond = 200 Hello.
[route app]
path = /
upstream = app
[upstream app]
server = {one} name=one
server = {two} name=two
balance = round_robin
'''
ROUTE = 'weir_route_responses_total'


def weirctl(weir, *words):
    run = subprocess.run([os.path.join(os.path.dirname(tap.program()), 'weirctl'), '-s', weir.control_path, *words],
                         capture_output=True, text=True, timeout=120 * tap.SLOW)
    equal(run.returncode, 0, 'exit status of weirctl %s, which said %s' % (' '.join(words), run.stdout + run.stderr))


def admin_pid(weir):
    return next((p for p in children(weir.pid) if title(p).startswith('weir: admin')), None)


def start(conf, name, **things):
    return Weir(conf, name=name, **things)


def counted(t):
    one, two = Origin('one'), Origin('two')
    weir = start(APP % 3, 'counted', one=one, two=two)
    with t.case('before anything happened all is 0, and nothing is missing'):
        now = scrape(weir)
        equal(now.get('weir_workers'), 3, 'workers')
        equal(now.get('weir_workers_live'), 3, 'live workers')
        equal(now.sum('weir_responses_total'), 0, 'answers')
        equal(now.get('weir_server_up', server='one'), 1, 'server one')
        equal(now.get('weir_request_duration_seconds_count', route='app'), 0, 'observations')
    with t.case('a known load over three workers: requests, bytes and connections are exact'):
        load = Load(weir.port, '/bytes/1000', connections=6, count=400).run()
        equal((load.ok, load.lost), (400, 0), '%r' % load)
        for _ in range(7):
            equal(fetch(weir.port, target='/hello').status, 200, 'status')
        for _ in range(5):
            equal(fetch(weir.port, target='/status/503').status, 503, 'status')
        equal(fetch(weir.port, 'POST', '/x', body=b'y' * 777).status, 200, 'status')
        equal(exchange(weir.port, b'BAD\r\n\r\n').statuses, [400], 'status')
        wait_idle(weir)
        now = scrape(weir)
        equal(now.sum(ROUTE, route='app', **{'class': '2xx'}), 401, '2xx of app')
        equal(now.sum(ROUTE, route='app', **{'class': '5xx'}), 5, '5xx of app')
        equal(now.get(ROUTE, route='hello'), 7, 'answers of hello')
        equal(now.get(ROUTE, route=''), 1, 'answers without a route')
        shares = [now.sum(ROUTE, server=name) for name in ('one', 'two')]
        equal(shares, [len(one.requests), len(two.requests)], 'requests of the two servers')
        equal(now.get('weir_route_request_bytes_total', route='app'), 777, 'bytes of request bodies')
        true(now.sum('weir_route_response_bytes_total', route='app') >= 400000, 'bytes of response bodies')
        equal(now.get('weir_responses_total', **{'class': '2xx'}), 408, '2xx in all')
        equal(now.get('weir_listener_connections_total', listener='http'), now.get('weir_connections_total'), 'clients')
        equal(now.get('weir_listener_open_connections', listener='http'), 0, 'open connections')
        equal(now.get('weir_ends_total', reason='bad_request'), 1, 'bad requests')
        equal(now.sum('weir_server_tries_total'), 406, 'tries')
    with t.case('histograms: buckets grow, the last is the count, and the sums are what was counted'):
        for name, labels, want in (('weir_request_duration_seconds', {'route': 'app'}, 406),
                                   ('weir_request_duration_seconds', {'route': 'hello'}, 7),
                                   ('weir_server_first_byte_duration_seconds', {'server': 'one'}, len(one.requests)),
                                   ('weir_server_connect_duration_seconds', {'server': 'two'}, len(two.conns))):
            buckets = now.find(name + '_bucket', **labels)
            ranked = sorted((float(dict(k)['le'].replace('+Inf', 'inf')), v) for k, v in buckets.items())
            equal(len(ranked), 14, 'buckets of %s' % name)
            equal([v for _, v in ranked], sorted(v for _, v in ranked), 'buckets of %s in order' % name)
            equal((ranked[-1][1], now.get(name + '_count', **labels)), (want, want), 'count of %s %r' % (name, labels))
            # What weir answers itself takes no time: it is done within one turn of the loop.
            true(now.get(name + '_sum', **labels) > 0 or want == 7, 'sum of %s' % name)
    with t.case('a worker is killed: what it counted stays, what it had open does not'):
        idle = Client(weir.port)
        idle.fetch(target='/hello')
        holders = {w['pid'] for w in json.loads(control(weir, 'workers --json')) if w['active_connections']}
        before = scrape(weir)
        pid = holders.pop()
        weir.expect_deaths = True
        os.kill(pid, signal.SIGKILL)
        weir.wait_respawn(pid)
        until('all workers live', lambda: scrape(weir).get('weir_workers_live') == 3)
        now = scrape(weir)
        lost = {k: (v, now.samples.get(k)) for k, v in before.counters().items() if v > now.samples.get(k, 0)}
        equal(lost, {}, 'counters that went back')
        equal(now.get(ROUTE, route='hello'), 8, 'answers of hello')
        equal(now.get('weir_restarts_total', process='worker'), 1, 'restarts')
        equal(now.get('weir_listener_open_connections', listener='http'), 0, 'open connections')
    with t.case('the admin process is killed: another takes its place and knows the same'):
        before, old = scrape(weir), admin_pid(weir)
        os.kill(old, signal.SIGKILL)
        until('another one is there', lambda: admin_pid(weir) not in (None, old))
        now = scrape(weir)
        equal(now.get(ROUTE, route='hello'), 8, 'answers of hello')
        equal(now.get('weir_restarts_total', process='other'), 1, 'restarts')
    if not have_promtool():
        t.skip('promtool accepts it', 'there is no promtool')
    else:
        with t.case('promtool accepts it without a word'):
            equal(promtool('check', 'metrics', text=scrape(weir).text), (0, ''), 'exit status and output')
    with t.case('every family is in the manual, and no other'):
        said = set(re.findall(r'^\.It Li ((?:weir|process)_\w+)', read_text(os.path.join(TOP, 'man', 'weir-metrics.7')), re.M))
        equal(sorted(said), sorted(scrape(weir).names()), 'families')
    used(t, scrape(weir))


def used(t, now):
    """What the dashboard and the rules ask for is there."""
    alerts = os.path.join(TOP, 'etc', 'prometheus', 'weir-alerts.yml')
    exists = now.names() | {name + end for name, kind in now.types.items() if kind == 'histogram'
                            for end in ('_bucket', '_sum', '_count')}
    with t.case('dashboard and alert rules name only what exists'):
        dashboard = read_text(os.path.join(TOP, 'etc', 'grafana', 'weir.json'))
        panels = json.loads(dashboard)['panels']
        true(len([p for p in panels if p['type'] != 'row']) >= 10, 'panels')
        for what, text in (('dashboard', dashboard), ('rules', read_text(alerts))):
            names = set(re.findall(r'\b((?:weir_[a-z0-9_]+|process_start_time_seconds))\b(?!=)', text))
            names = {n for n in names if not n.startswith('weir_alert')}
            true(len(names) >= 8, 'metrics in the %s' % what)
            equal(sorted(names - exists), [], 'metrics in the %s that do not exist' % what)
    if not have_promtool():
        t.skip('promtool accepts the rules', 'there is no promtool')
        return
    with t.case('promtool accepts the rules'):
        code, said = promtool('check', 'rules', alerts)
        equal(code, 0, 'exit status; it said ' + said)


class Scraper:
    """Scrapes without a pause until stop(); complains of every counter that ever went back."""

    def __init__(self, weir):
        self.weir, self.running, self.count, self.trouble = weir, True, 0, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        last = {}
        while self.running:
            try:
                now = scrape(self.weir).counters()
            except Exception as error:
                self.trouble.append('scrape %d: %r' % (self.count, error))
                continue
            self.trouble += ['%r: %r, then %r' % (k, v, now[k]) for k, v in last.items() if k in now and now[k] < v]
            last = now
            self.count += 1

    def stop(self):
        self.running = False
        self.thread.join(20 * tap.SLOW)
        equal(self.trouble[:5], [], 'troubles of %d scrapes' % self.count)


def reloads(t):
    gate = Gate(only=lambda message: message.target == '/held')
    weir = start(APP % 2, 'reloads', one=Origin('one', handler=gate), two=Origin('two', handler=gate))
    weir.expect_deaths = True
    with t.case('ten reloads under load: no scrape and no request is lost, no counter goes back, and the end is exact'):
        scraper, load = Scraper(weir), Load(weir.port, '/x', connections=4).start()
        more = '[route more]\npath = /more\nrespond = 200 x\n[upstream zero]\nserver = 127.0.0.1:1\n'
        for n in range(10):
            weir.write((more if n % 2 else '') + APP % (1 + n % 3))
            weirctl(weir, 'reload')
            goal, seen = load.ok + 50, scraper.count + 3
            until('50 more are served and 3 scrapes done', lambda: load.ok >= goal and scraper.count >= seen or
                  scraper.trouble, 20)
        load.stop()
        scraper.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        wait_idle(weir)
        now = scrape(weir)
        equal(now.sum(ROUTE, route='app', **{'class': '2xx'}), load.ok, 'answers by route')
        equal(now.get('weir_responses_total', **{'class': '2xx'}), load.ok, 'answers')
        equal(now.get('weir_request_duration_seconds_count', route='app'), load.ok, 'observations')
        equal(now.sum('weir_server_tries_total', upstream='app'), load.ok, 'tries')
        equal(now.get('weir_reloads_total', result='good'), 10, 'reloads')
        equal(now.get('weir_generation'), 11, 'generation')
    with t.case('the same once the old generations are gone'):
        until('only one is left', lambda: len(status(weir)['generations']) == 1, 15)
        now = scrape(weir)
        equal(now.sum(ROUTE, route='app', **{'class': '2xx'}), load.ok, 'answers by route')
        equal(now.get('weir_listener_connections_total', listener='http'), now.get('weir_connections_total'), 'clients')
        equal(len([p for p in children(weir.pid) if title(p).startswith('weir: admin')]), 1, 'admin processes')
    with t.case('an old generation under way counts on'):
        client = Client(weir.port)
        client.ask('GET', '/held')
        until('it is under way', lambda: scrape(weir).sum('weir_server_active_requests') == 1)
        gate.wait_held(1)
        weirctl(weir, 'reload')
        equal(scrape(weir).sum('weir_server_active_requests'), 1, 'active after the reload')
        gate.release()
        equal(client.read().status, 200, 'status')
        until('it is counted', lambda: scrape(weir).sum(ROUTE, route='app') == load.ok + 1)
    with t.case('a bad reload is counted, too'):
        good = weir.conf
        weir.write(APP.replace('respond', 'resbond') % 1)
        os.kill(weir.pid, signal.SIGHUP)
        until('it is counted', lambda: scrape(weir).get('weir_reloads_total', result='failed') == 1)
        with open(weir.conf_path, 'w') as f:
            f.write(good)
    with t.case('the pages move to another address, and go'):
        weir.write(APP.replace('{port_admin}', '{port_other}') % 1)
        weirctl(weir, 'reload')
        equal(page(weir, '/healthz', port='port_other').status, 200, 'status')
        until('nobody listens at the old one', lambda: not listening(weir.ports['port_admin']))
        weir.write(re.sub(r'\[admin\]\nbind = .*\n', '', APP) % 1)
        weirctl(weir, 'reload')
        until('nobody listens', lambda: not listening(weir.ports['port_other']))
        equal(fetch(weir.port).status, 200, 'status of a request')
    weir.stop()


def upgrades(t):
    weir = start(APP % 2, 'upgrades', one=Origin('one'), two=Origin('two'), own=True)
    weir.expect_deaths = True
    with t.case('three upgrades in place under load: no scrape is lost, no counter goes back, and the end is exact'):
        scraper, load = Scraper(weir), Load(weir.port, '/x', connections=4).start()
        for n in range(3):
            weirctl(weir, 'upgrade')
            weir.follow()
            goal, seen = load.ok + 50, scraper.count + 3
            until('50 more are served and 3 scrapes done', lambda: load.ok >= goal and scraper.count >= seen or
                  scraper.trouble, 30)
        load.stop()
        scraper.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        wait_idle(weir)
        for moment in ('at once', 'when the old ones are gone'):
            now = scrape(weir)
            equal(now.sum(ROUTE, route='app', **{'class': '2xx'}), load.ok, 'answers by route ' + moment)
            equal(now.get('weir_request_duration_seconds_count', route='app'), load.ok, 'observations ' + moment)
            equal(now.get('weir_upgrades_total', result='good'), 3, 'upgrades')
            until('only one generation is left', lambda: len(status(weir)['generations']) == 1, 20)
    weir.stop()


def deaths(t):
    weir = start(APP % 2, 'deaths', one=Origin('one'), two=Origin('two'))
    with t.case('workers are killed one after the other under load: no counter goes back, none counts twice'):
        scraper, load = Scraper(weir), Load(weir.port, '/x', connections=4).start()
        kills = 4
        for n in range(kills):
            goal = load.ok + 60
            until('60 more are served', lambda: load.ok >= goal, 20)
            weir.wait_respawn(weir.kill_worker(n % 2), 20)
        load.stop()
        scraper.stop()
        wait_idle(weir)
        now = scrape(weir)
        # What was under way on a connection when its worker died may have been counted or not, answered or not.
        counted = now.sum(ROUTE, route='app')
        between(counted, load.ok - 4 * kills, load.ok + load.lost + 4 * kills, 'counted, of %r' % load)
        equal(now.get('weir_request_duration_seconds_count', route='app'), counted, 'observations')
        equal(now.get('weir_restarts_total', process='worker'), kills, 'restarts')
        equal(now.sum('weir_server_active_requests'), 0, 'active')
    weir.stop()


def hangs(t):
    gate = Gate(only=lambda message: message.target == '/held')
    weir = start(APP % 2, 'hangs', one=Origin('one', handler=gate), two=Origin('two', handler=gate))
    with t.case('while every worker is stopped a scrape is answered'):
        pids = weir.worker_pids()
        weir.expect_deaths = True
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        answer = page(weir, '/metrics')
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        equal(answer.status, 200, 'status')
        true(Metrics(answer.text).types, 'families')
        until('workers serve', lambda: fetch(weir.port, target='/hello').status == 200)
    with t.case('scrapes from four sides under load: no request is lost'):
        load, scrapers = Load(weir.port, '/x', connections=8).start(), [Scraper(weir) for _ in range(4)]
        until('300 requests and 40 scrapes are done', lambda: load.ok >= 300 and sum(s.count for s in scrapers) >= 40, 30)
        for scraper in scrapers:
            scraper.stop()
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
    with t.case('/healthz says 503 as soon as weir drains'):
        equal((page(weir, '/healthz').status, page(weir, '/healthz').text), (200, 'ok\n'), 'healthz')
        client = Client(weir.port)
        client.ask('GET', '/held')
        until('it is under way', lambda: scrape(weir).sum('weir_server_active_requests') == 1)
        gate.wait_held(1)
        os.kill(weir.pid, signal.SIGQUIT)
        until('healthz says so', lambda: (page(weir, '/healthz').status, page(weir, '/healthz').text) == (503, 'draining\n'))
        gate.release()
        equal(client.read().status, 200, 'status of what was under way')
        equal(weir.wait(15), 0, 'exit status')
        weir.stopped = True


def hostile(t):
    weir = start(APP % 1, 'hostile', one=Origin('one'), two=Origin('two'))
    port = weir.ports['port_admin']

    def ask(text):
        answers = exchange(port, text.encode() if isinstance(text, str) else text, timeout=10)
        return answers.statuses
    head = 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n'
    with t.case('what is no certain request, no GET, or too much is refused'):
        for text, want in ((head + '\r\n', [200]), ('GET /healthz HTTP/1.0\r\n\r\n', [200]), (head + 'a b: c\r\n\r\n', [400]),
                           ('GET /healthz HTTP/1.1\r\n\r\n', [400]), ('\x16\x03\x01\x02\x00\x01', [400]),
                           (head.replace('GET', 'POST') + 'Content-Length: 3\r\n\r\nabc', [405]),
                           (head.replace('GET', 'DELETE') + '\r\n', [405]), (head.replace('GET', 'TRACE') + '\r\n', [405]),
                           (head + 'Content-Length: 3\r\n\r\nabc', [400]), (head + 'X: ' + 'y' * 9000 + '\r\n\r\n', [431]),
                           ('GET /' + 'a' * 9000 + ' HTTP/1.1\r\n\r\n', [414]), (head.replace('healthz', 'x') + '\r\n', [404]),
                           (head.replace('healthz', 'status/../metrics/../healthz') + '\r\n', [200]),
                           (head + 'Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', [400]),
                           ('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [505]), (head + '\r\n' + head + '\r\n', [200])):
            equal(ask(text), want, 'answer to %r' % text[:80])
    with t.case('other names and other origins are refused, and no page may be read across origins'):
        for name, want in (('localhost', 200), ('[::1]:1', 200), ('rebound.example', 421), ('127.0.0.1.example', 421)):
            equal(ask('GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n' % name), [want], 'answer to Host %s' % name)
        for field, want in (('Origin: http://evil.example', 403), ('Origin: null', 403), ('Sec-Fetch-Site: cross-site', 403),
                            ('Sec-Fetch-Site: same-site', 403), ('Sec-Fetch-Site: none', 200), ('Origin: http://127.0.0.1', 200)):
            equal(ask(head + field + '\r\n\r\n'), [want], 'answer to %s' % field)
        for target in ('/status', '/metrics', '/status.json', '/nothing'):
            answer = page(weir, target)
            equal(answer.header('access-control-allow-origin'), None, 'CORS of %s' % target)
            contains(answer.header('content-security-policy'), "default-src 'none'", 'policy of %s' % target)
            equal([answer.header(n) for n in ('x-frame-options', 'x-content-type-options', 'cache-control', 'connection')],
                  ['DENY', 'nosniff', 'no-store', 'close'], 'fields of %s' % target)
    with t.case('HEAD has the head of GET and no body'):
        for target in ('/status', '/metrics', '/healthz', '/nothing'):
            got = exchange(port, b'HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n' % target.encode(), methods=('HEAD',))
            equal(got.statuses, [page(weir, target).status], 'status of %s' % target)
    with t.case('HTTP/1.0 gets the page until the end of the connection'):
        with socket.create_connection(('127.0.0.1', port)) as sock:
            sock.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        text = b''.join(parts).decode().partition('\r\n\r\n')
        lacks(text[0].lower(), 'transfer-encoding', 'head')
        true(Metrics(text[2]).types, 'families')
    with t.case('300 who say nothing and 100 who ask and do not listen keep nobody out, and go'):
        quiet = [socket.create_connection(('127.0.0.1', port)) for _ in range(200)]
        for sock in quiet[:100]:
            sock.sendall(b'GET /metrics HTTP/1.1\r\nHost: loc')
        deaf = []
        for _ in range(60):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(('127.0.0.1', port))
            sock.sendall(b'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n')
            deaf.append(sock)
        quiet += [socket.create_connection(('127.0.0.1', port)) for _ in range(100)]
        until('a scrape gets through', lambda: healthy(weir), 15)
        true(len(os.listdir('/proc/%d/fd' % admin_pid(weir))) < 120, 'descriptors of the admin process')
        for sock in quiet + deaf:
            sock.close()
        until('all of them are gone', lambda: len(os.listdir('/proc/%d/fd' % admin_pid(weir))) < 30, 20)
        equal(fetch(weir.port, target='/hello').status, 200, 'status of a request')
    with t.case('a slow head is cut off in time, byte by byte or not'):
        began = time.monotonic()
        with socket.create_connection(('127.0.0.1', port), timeout=30) as sock:
            got = b''
            try:
                while time.monotonic() - began < 20 * tap.SLOW:
                    sock.sendall(b'G' if not got else b'')
                    sock.settimeout(0.3)
                    try:
                        part = sock.recv(1000)
                    except socket.timeout:
                        continue
                    got += part
                    if not part:
                        break
            except OSError:
                pass
        between(time.monotonic() - began, 4, 15 * tap.SLOW, 'seconds')
    with t.case('it is the same process all the time'):
        equal(scrape(weir).get('weir_restarts_total', process='other'), 0, 'restarts')


def healthy(weir):
    try:
        return page(weir, '/healthz').status == 200
    except (OSError, Reset, Truncated, TimedOut):
        return False


def doors(t):
    base = '[listen http]\nbind = 127.0.0.1:{port}\n[route a]\nrespond = 200 x\n[admin]\n'
    with t.case('an address that others reach needs allow'):
        for bind in ('*:{port_admin}', '0.0.0.0:{port_admin}', '[::]:{port_admin}', '192.0.2.1:9080'):
            run = weir_run('-t', conf=base + 'bind = %s\n' % bind)
            equal(run.code, 1, 'exit status of -t with %s' % bind)
            contains(run.text, 'allow has to say by whom', 'output')
        for lines in ('bind = 127.0.0.1:{port_admin}\n', 'bind = [::1]:{port_admin}\n', 'bind = 0.0.0.0:{port_admin}\nallow = private\n'):
            equal(weir_run('-t', conf=base + lines).code, 0, 'exit status of -t with %s' % lines)
    with t.case('other mistakes are told'):
        for lines, want in (('bind = unix:/tmp/x\n', 'ADDRESS:PORT'), ('bind = 127.0.0.1:{port}\n', 'stands twice'),
                            ('bind = 127.0.0.1:{port_admin}\nauth = me\n', 'not built yet'), ('allow = all\nbind = 1\n', 'ADDRESS:PORT'),
                            ('bind = 127.0.0.1:{port_admin}\nhost = *.x\n', 'without *')):
            run = weir_run('-t', conf=base + lines)
            equal(run.code, 1, 'exit status of -t with %s' % lines)
            contains(run.text, want, 'output')
    weir = Weir(base + 'bind = 0.0.0.0:{port_admin}\nallow = 10.0.0.0/8\nhost = here.test\n', name='doors')
    with t.case('allow is enforced, on a loopback address too'):
        equal(page(weir, '/metrics').status, 403, 'status')
        weir.write(base + 'bind = 0.0.0.0:{port_admin}\nallow = 10.0.0.0/8, 127.0.0.0/8\nhost = here.test\n')
        weirctl(weir, 'reload')
        equal(page(weir, '/metrics').status, 200, 'status')
        equal(fetch(weir.ports['port_admin'], target='/healthz', host='here.test').status, 200, 'status by name')
        equal(fetch(weir.ports['port_admin'], target='/healthz', host='there.test').status, 421, 'status by another name')
    weir.expect_deaths = True


def many(t):
    routes, servers_ = 100, 1000
    conf = '[admin]\nbind = 127.0.0.1:{port_admin}\n[listen http]\nbind = 127.0.0.1:{port}\n[upstream app]\nserver = {one} name=live\n'
    conf += ''.join('server = 127.0.0.1:9 name=s%d weight=0\n' % n for n in range(1, servers_))
    conf += ''.join('[route r%d]\npath = /r%d\nupstream = app\n' % (n, n) for n in range(routes))
    weir = start(conf, 'many', one=Origin('one'))
    with t.case('a thousand servers behind a hundred routes: one bounded buffer'):
        for n in range(routes):
            equal(fetch(weir.port, target='/r%d' % n).status, 200, 'status')
        wait_idle(weir)
        scrape(weir)
        before = rss(admin_pid(weir))
        for _ in range(3):
            now = scrape(weir)
        equal(len(now.find(ROUTE, server='live')), routes, 'series of the one that answers')
        equal(len(now.find('weir_server_up')), servers_, 'servers')
        equal(now.sum(ROUTE), routes, 'answers')
        true(rss(admin_pid(weir)) <= before + (2 << 20), 'the admin process grows from %d to %d' % (before, rss(admin_pid(weir))))
        equal(len(json.loads(page(weir, '/status.json').text)['servers']), servers_, 'servers in JSON')
        contains(page(weir, '/status').text, '</html>', 'page')
    if have_promtool():
        with t.case('promtool accepts that, too'):
            equal(promtool('check', 'metrics', text=now.text), (0, ''), 'exit status and output')


with Story('metrics', deadline=380) as t:
    counted(t)
    reloads(t)
    upgrades(t)
    deaths(t)
    hangs(t)
    hostile(t)
    doors(t)
    many(t)
