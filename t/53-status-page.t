#!/usr/bin/python3
# The status page and its JSON: what they say of servers that are up, down, drained, ejected and unknown; and the page in a real
# browser, light, dark and as wide as a phone.
# timeout: 240
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from html.parser import HTMLParser
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import tap
from prom import page

CONF = '''
[weir]
workers = 2
[admin]
bind = 127.0.0.1:{port_admin}
[listen http]
bind = 127.0.0.1:{port}
[listen inside]
bind = 127.0.0.1:{port_b}
[route hello]
path_exact = /hello
respond = 200 Hello.
[route a-route-with-a-very-long-name-of-forty-c]
path = /
upstream = app
fallback = spare
[route closed]
path = /off
enabled = no
redirect = 301 /
[upstream app]
server = {good} name=good max_conns=50
server = {held} name=held
server = {bad} name=bad
server = 127.0.0.1:{port_none} name=down
balance = round_robin
max_fails = 1
fail_timeout = 60s
check = tcp
check_interval = 1s
[upstream spare]
server = no-such-name.test:80
server = 127.0.0.1:{port_c} name=never disabled
'''
VOID = {'meta', 'br', 'img', 'link', 'hr', 'input'}
OPTIONAL = {'html', 'th', 'thead', 'tr', 'td', 'tbody', 'li', 'head', 'body', 'p'}


class Page(HTMLParser):
    """Tags, the text of the whole, and whatever does not close what it opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.trouble, self.attributes = [], [], [], [], []
        self.feed(text)
        self.close()
        self.text = ' '.join(' '.join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        if not self.open or self.open.pop() != tag:
            self.trouble.append('</%s>' % tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != 'style':
            self.words.append(data)


def status_json(weir):
    answer = page(weir, '/status.json')
    equal((answer.status, answer.header('content-type')), (200, 'application/json'), 'status and type')
    return json.loads(answer.text)


def server_of(weir, name):
    return next(s for s in status_json(weir)['servers'] if s['server'] == name)


def drain(weir, name):
    run = subprocess.run([os.path.join(os.path.dirname(tap.program()), 'weirctl'), '-s', weir.control_path, 'drain', name],
                         capture_output=True, text=True, timeout=60 * tap.SLOW)
    equal(run.returncode, 0, 'exit status of weirctl, which said ' + run.stdout + run.stderr)


def chart_points(weir):
    """Of the first chart's first line."""
    found = re.search(r'<polyline class="a" points="([^"]*)"', page(weir, '/status').text)
    return len(found.group(1).split()) if found else 0


def told(t, weir):
    with t.case('JSON: states, since when and why'):
        until('the states are known', lambda: [server_of(weir, n)['state'] for n in ('good', 'held', 'bad', 'down')]
              == ['up', 'drained', 'ejected', 'down'], 20)
        for name, want in (('held', 'weirctl drain'), ('bad', 'requests failed there'), ('down', 'Connection refused')):
            contains(server_of(weir, name)['why'], want, 'why of %s' % name)
            true(0 <= server_of(weir, name)['state_seconds'] < 200 * tap.SLOW, 'seconds of %s' % name)
        never = server_of(weir, 'never')
        equal((never['state'], never['state_seconds']), ('disabled', None), 'the disabled one')
        until('a name that does not resolve is told', lambda: 'not resolve' in server_of(weir, 'no-such-name.test:80')['why'], 20)
    with t.case('JSON: the names that the manual promises'):
        now = status_json(weir)
        for name in ('version state pid started uptime_seconds generation generations workers workers_live worker_restarts '
                     'other_restarts reloads reloads_failed last_reload last_failed_reload lost_connections lost_requests '
                     'totals reasons listeners upstreams servers routes certificates').split():
            isin(name, now, 'name')
        equal((now['state'], now['workers'], now['workers_live']), ('serving', 2, 2), 'state and workers')
        equal([u['name'] for u in now['upstreams']], ['app', 'spare'], 'upstreams')
        equal([listen['name'] for listen in now['listeners']], ['http', 'inside'], 'listeners')
        equal([r['name'] for r in now['routes']], ['hello', 'a-route-with-a-very-long-name-of-forty-c', 'closed', None], 'routes')
        equal(set(now['totals']), set(totals(weir)), 'totals as weirctl has them')
    with t.case('rates and latencies of the last minute'):
        until('two samples lie apart', lambda: server_of(weir, 'good')['requests_per_second'] > 0, 30)
        good = server_of(weir, 'good')
        true(0 < good['p50_seconds'] <= good['p95_seconds'] <= good['p99_seconds'] <= 10, 'latencies %r' % good)
    with t.case('the page: well-formed, without script, and it says what is wrong before all else'):
        answer = page(weir, '/status')
        found = Page(answer.text)
        equal(found.trouble, [], 'tags that do not fit')
        equal([x for x in found.open if x not in OPTIONAL], [], 'tags left open')
        lacks(found.tags, 'script', 'tags')
        equal([a for a in found.attributes if a.startswith('on') or a == 'style'], [], 'attributes')
        equal(found.tags.count('svg'), 4, 'charts')
        true(re.search(r'No server of upstream spare takes requests', found.text), 'the upstream that is down')
        for want in ('serving', 'good', 'drained', 'ejected', 'down', 'disabled', 'Connection refused', 'weirctl drain',
                     'a-route-with-a-very-long-name-of-forty-c', 'not enabled', 'Upstream app 1 of 4 up'):
            contains(found.text, want, 'text')
        nonce = re.search(r"style-src 'nonce-(\w+)'", answer.header('content-security-policy')).group(1)
        contains(answer.text, '<style nonce="%s">' % nonce, 'the style that the policy lets in')
        true(nonce not in page(weir, '/status').text, 'the next page has a nonce of its own')
    with t.case('charts outlive a reload'):
        points = until('there is a line', lambda: chart_points(weir), 40)
        subprocess.run([os.path.join(os.path.dirname(tap.program()), 'weirctl'), '-s', weir.control_path, 'reload'],
                       check=True, capture_output=True, timeout=60 * tap.SLOW)
        weir.expect_deaths = True
        contains(page(weir, '/status').text, 'configuration 2', 'page')
        true(chart_points(weir) >= points, 'there were %d points, now %d' % (points, chart_points(weir)))
        equal(server_of(weir, 'held')['state'], 'drained', 'state')


BROWSER = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
           '--disable-component-update', '--disable-sync', '--hide-scrollbars']


def browser(t, *words):
    with tempfile.TemporaryDirectory(dir=t.dir) as profile:
        run = subprocess.run(['chromium', *BROWSER, '--user-data-dir=' + profile, *words], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=100 * tap.SLOW)
    equal(run.returncode, 0, 'exit status of the browser; it said ' + run.stderr[-2000:])
    return run.stdout


def png_size(path):
    with open(path, 'rb') as f:
        head = f.read(24)
    equal(head[:8], b'\x89PNG\r\n\x1a\n', 'beginning of %s' % path)
    return int.from_bytes(head[16:20], 'big'), int.from_bytes(head[20:24], 'big')


def seen(t, weir):
    url = 'http://127.0.0.1:%d/status' % weir.ports['port_admin']
    sizes = {}
    for name, more in (('light', ()), ('dark', ('--blink-settings=preferredColorScheme=0',))):
        with t.case('a browser shows it, %s' % name):
            shot = os.path.join(t.dir, name + '.png')
            browser(t, '--window-size=1200,1000', '--screenshot=' + shot, *more, url)
            equal(png_size(shot), (1200, 1000), 'size of the picture')
            sizes[name] = os.path.getsize(shot)
            # One colour from edge to edge takes some hundred bytes.
            true(sizes[name] > 20000, 'the picture has %d bytes' % sizes[name])
    with t.case('the style is let in, and nothing else is asked for'):
        requests = browser(t, '--dump-dom', url)
        contains(requests, '<main>', 'page')
        lacks(weir.errors(), 'panic', 'error log')
    with t.case('at 380 pixels nothing reaches over the edge'):
        text = page(weir, '/status').text.replace('http-equiv=refresh', 'data-none')
        wrap = os.path.join(t.dir, 'phone.html')
        with open(wrap, 'w') as f:
            f.write('<!doctype html><body><iframe id=f style="border:0;width:380px;height:900px" srcdoc="%s"></iframe><p id=r></p>'
                    '<script>f.onload = function () { var d = f.contentDocument.documentElement, wide = 0;'
                    'd.querySelectorAll("*").forEach(function (e) { wide = Math.max(wide, e.getBoundingClientRect().right); });'
                    'r.textContent = "scroll=" + d.scrollWidth + " wide=" + Math.round(wide); }</script>' % html.escape(text))
        got = re.search(r'scroll=(\d+) wide=(\d+)', browser(t, '--virtual-time-budget=5000', '--dump-dom',
                                                            'file://' + urllib.parse.quote(wrap)))
        true(got, 'the page was measured')
        true(int(got.group(1)) <= 380 and int(got.group(2)) <= 380, 'widths: %s' % got.group(0))


def broken(message, conn):
    return conn.reset()


with Story('the status page', deadline=220) as t:
    good, held, bad = Origin('good'), Origin('held'), Origin('bad', handler=broken)
    weir = Weir(CONF, name='status', good=good, held=held, bad=bad)
    drain(weir, 'app/held')
    until('the broken one is ejected', lambda: fetch(weir.port).status == 200 and server_of(weir, 'bad')['state'] == 'ejected', 20)
    load = Load(weir.port, '/x', connections=2, pause=0.05).start()
    told(t, weir)
    if shutil.which('chromium') is None:
        t.skip('a browser shows it', 'there is no chromium')
    else:
        seen(t, weir)
    load.stop()
