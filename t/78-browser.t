#!/usr/bin/python3
# A page in a real browser, Chromium without a window, over HTTP/2 and TLS: the page, its style sheet, script, picture and
# what its script asks for come through weir, and the script's WebSocket does over the same connection.
# timeout: 200
import asyncio
import base64
import os
import shutil
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from origin import loop, on_loop
from tap import SLOW
try:
    import websockets
except ImportError:
    websockets = None

CONF = '''
[listen https]
bind = 127.0.0.1:{port}
certificate = {pair}
[route ws]
path = /ws
upstream = ws
[route all]
upstream = app
[upstream app]
server = {app}
[upstream ws]
server = 127.0.0.1:{wsport}
'''
PAGE = '''<!doctype html><html><head><title>weir</title><link rel=stylesheet href="/style.css"></head>
<body><p id=script>no script</p><p id=style>no style</p><p id=fetch>nothing</p><p id=socket>nothing</p>
<img src="/dot.png"><script src="/app.js"></script><img src="/wait.png"></body></html>'''
SCRIPT = '''
function say(id, text) { document.getElementById(id).textContent = text; }
say('script', 'the script ran');
say('style', getComputedStyle(document.body).getPropertyValue('--mark').trim());
const told = fetch('/api/echo', {method: 'POST', body: 'x'.repeat(100000)}).then(r => r.text()).then(t => say('fetch', t));
const heard = new Promise(done => {
	const socket = new WebSocket('wss://' + location.host + '/ws');
	socket.onopen = () => socket.send('from the browser');
	socket.onmessage = e => { say('socket', e.data + ' by ' + (socket.protocol || 'none')); socket.close(); };
	socket.onclose = e => { if (e.code !== 1005 && e.code !== 1000) say('socket', 'closed ' + e.code); done(); };
});
Promise.all([told, heard]).then(() => fetch('/done'));
'''
DOT = base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--disable-default-apps', '--disable-extensions',
         '--disable-dev-shm-usage', '--no-proxy-server', '--ignore-certificate-errors')


class Site:
    """The origin.  The last picture comes when the script is done, so that the page is loaded only then."""

    def __init__(self):
        self.done = asyncio.Event()

    async def __call__(self, message, conn):
        path = message.target
        if path == '/':
            return Reply(200, PAGE, [('Content-Type', 'text/html')])
        if path == '/style.css':
            return Reply(200, 'body { --mark: styled; color: green }', [('Content-Type', 'text/css')])
        if path == '/app.js':
            return Reply(200, SCRIPT, [('Content-Type', 'text/javascript')])
        if path == '/api/echo':
            return Reply(200, '%s of %d' % (message.method, message.length), [('Content-Type', 'text/plain')])
        if path == '/done':
            self.done.set()
            return Reply(204)
        if path == '/wait.png':
            await self.done.wait()
        return Reply(200, DOT, [('Content-Type', 'image/png')]) if path.endswith('.png') else Reply(404)


async def ws_server(port):
    async def handler(ws):
        try:
            async for message in ws:
                await ws.send('heard: ' + message)
        except websockets.ConnectionClosed:
            pass
    return await websockets.serve(handler, '127.0.0.1', port, ping_interval=None)


def load(t, weir):
    """The document as it is when the page is loaded."""
    out = t.path('dom')
    command = [shutil.which('chromium'), *FLAGS, '--user-data-dir=' + t.path('profile'), '--dump-dom',
               'https://localhost:%d/' % weir.port]
    with open(out, 'wb') as f, open(t.path('chromium.log'), 'wb') as log:
        browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=log, start_new_session=True,
                                   env=dict(os.environ, HOME=t.dir, XDG_CACHE_HOME=t.dir, XDG_CONFIG_HOME=t.dir))
        try:
            browser.wait(60 * SLOW)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(browser.pid, 9)
            except ProcessLookupError:
                pass
            browser.wait()
    with open(out, encoding='utf-8', errors='replace') as f:
        return f.read()


with Story('a page in a browser', deadline=150) as t:
    if not shutil.which('chromium'):
        t.skip_all('chromium is not installed')
    site = Site()
    app = Origin('app', handler=site)
    wsport = free_port()
    if websockets:
        on_loop(ws_server(wsport))
    weir = Weir(CONF, app=app, wsport=wsport, pair=Authority().issue('localhost'))
    dom = load(t, weir)
    with t.case('the page is whole: script, style, an upload of the script'):
        for text in ('the script ran', '>styled<', 'POST of 100000'):
            contains(dom, text, 'document')
    with t.case('every part of it came over HTTP/2'):
        for path in ('/', '/style.css', '/app.js', '/dot.png', '/wait.png', '/api/echo'):
            equal(weir.wait_access({'uri': path, 'status': '200'})['protocol'], 'HTTP/2', 'protocol of ' + path)
        equal([line for line in weir.access() if line['protocol'] != 'HTTP/2'], [], 'lines of another protocol')
    if websockets:
        with t.case('its WebSocket opened over HTTP/2, too'):
            contains(dom, 'heard: from the browser by none', 'document')
            line = weir.wait_access({'uri': '/ws', 'status': '101'})
            equal((line['protocol'], line['reason']), ('HTTP/2', '-'), 'protocol and reason')
    else:
        t.skip('its WebSocket', 'python3-websockets is not installed')
