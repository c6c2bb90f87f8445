#!/usr/bin/python3
# Two origins behind a weir that is asked what a reload would change, and then does it or not. What is said is what happens;
# what makes no difference is not said; nothing is done.
# timeout: 120
import json
import os
import re
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import socket
import tap

CONF = '''
[weir]
shutdown_timeout = 20s
[listen http]
bind = 127.0.0.1:{port}, unix:{dir}/front
header_timeout = 15s
[defaults upstream]
read_timeout = 61s
[policy slow]
timeout = 10s
[route a]
path = /a
method = GET
use = slow
upstream = app
request_header = X-Secret: ${file:{dir}/secret}
[route b]
path = /a
host = *.example
upstream = app
rewrite = ^/x /y
rewrite = ^/y /z
[route c]
path = /a
method = GET, POST
upstream = app
[route d]
path = /d
respond = 200 hi there
[upstream app]
server = {one}
server = {two} weight=2
'''


def weirctl(weir, *words):
    """(exit status, all it said)"""
    run = subprocess.run([os.path.join(os.path.dirname(program()), 'weirctl'), '-s', weir.control_path, *words],
                         capture_output=True, text=True, timeout=120 * tap.SLOW)
    return run.returncode, run.stdout + run.stderr


def plan(weir, conf):
    """The plan for it, as a dictionary; the configuration is written."""
    weir.write(conf)
    code, said = weirctl(weir, 'reload', '--plan', '--json')
    equal(code, 0, 'exit status; it said ' + said)
    return json.loads(said)


def changes(weir, conf):
    return [(c['what'], c['section'], c['key'], c['from'], c['to']) for c in plan(weir, conf)['changes']]


with Story('reload --plan', deadline=100) as t:
    secret = t.path('weir/secret')
    os.makedirs(t.path('weir'))
    with open(secret, 'w') as f:
        f.write('old')
    weir = Weir(CONF, one=Origin('one'), two=Origin('two'))
    one, two = ('127.0.0.1:%d' % weir.things[k].port for k in ('one', 'two'))
    pids = weir.worker_pids()

    with t.case('the same configuration: no difference'):
        equal(changes(weir, CONF), [], 'changes')
        contains(weirctl(weir, 'reload', '--plan')[1], '0 differences', 'text')
    with t.case('comments, order of keys and sections, layers, and how a number is written make none'):
        other = CONF.replace('15s', '15000ms  ; a comment').replace('use = slow', 'timeout = 10s').replace(
            '[policy slow]\ntimeout = 10s\n', '').replace('GET, POST', 'POST GET').replace(
            'bind = 127.0.0.1:{port}, unix:{dir}/front', 'bind = unix:{dir}/front\nbind = 127.0.0.1:{port}')
        head, d = other.split('[route d]')[0], '[route d]' + other.split('[route d]')[1].split('[upstream')[0]
        other = head.replace('[route a]', d + '[route a]') + '[upstream' + other.split('[upstream')[2 if 'defaults upstream' not in
                                                                                                  other else 1]
        equal(changes(weir, other), [], 'changes')
    with t.case('values, with place and value before and after'):
        found = plan(weir, CONF.replace('61s', '62s').replace('weight=2', 'weight=5').replace('timeout = 10s', 'timeout = 9s'))
        equal([(c['what'], c['section'], c['key'], c['from'], c['to']) for c in found['changes']],
              [('changed', '[defaults upstream]', 'read_timeout', '61s', '62s'), ('changed', '[route a]', 'timeout', '10s', '9s'),
               ('changed', '[upstream app]', 'server', two + ' weight=2', two + ' weight=5')], 'changes')
        line = weir.conf.split('\n').index('read_timeout = 62s') + 1
        true(found['changes'][0]['to_at'].endswith('weir.ini:%d' % line), 'place %r' % found['changes'][0])
    with t.case('what a reference stands for: told, but not the value'):
        with open(secret, 'w') as f:
            f.write('tiger')
        found = plan(weir, CONF)
        equal([(c['key'], c['outside']) for c in found['changes']], [('request_header', True)], 'changes')
        lacks(json.dumps(found), 'tiger', 'plan')
        contains(weirctl(weir, 'reload', '--plan')[1], 'what it stands for differs', 'text')
        with open(secret, 'w') as f:
            f.write('old')
    with t.case('the order of routes where it decides, and where it does not'):
        routes = CONF.split('[route ')
        swapped = '[route '.join(routes[:1] + [routes[3], routes[1], routes[2]] + routes[4:])
        equal([(c['what'], c['section'], 'route a' in c['to']) for c in plan(weir, swapped)['changes']],
              [('reordered', '[route c]', True)], 'changes')
        equal(changes(weir, '[route '.join(routes[:1] + [routes[2], routes[1]] + routes[3:])), [], 'changes')
        equal([c[:3] for c in changes(weir, CONF.replace('^/x /y', 'first').replace('^/y /z', '^/x /y').replace('= first', '= ^/y /z'))],
              [('reordered', '[route b]', 'rewrite')], 'changes')
    with t.case('sections, addresses, workers and servers that come and go'):
        with Client(weir.port) as client:
            client.ask('GET', '/a/slow/1500')
            until('a request is under way', lambda: busy(weir).get('active_requests'))
            found = plan(weir, CONF.replace('[weir]', '[weir]\nworkers = 3').replace(', unix:{dir}/front', ', 127.0.0.1:{port_b}')
                         .replace('[route d]', '[route e]').replace('server = {one}', 'server = 127.0.0.1:{port_new}'))
            client.read()
        equal([c['section'] for c in found['changes'] if c['key'] is None], ['[route e]', '[route d]'], 'sections')
        equal((found['addresses_opened'], found['addresses_closed'], found['addresses_kept']),
              (['127.0.0.1:%d' % weir.ports['port_b']], ['unix:%s/front' % weir.dir], ['127.0.0.1:%d' % weir.port]), 'addresses')
        equal((found['workers'], found['workers_new'], found['drain_limit_ms']), (2, 3, 20000), 'workers')
        true(found['connections'] >= 1 and found['requests'] == 1, 'connections and requests %r' % found)
        equal([s['server'] for s in found['servers_new']], ['127.0.0.1:%d' % weir.ports['port_new']], 'new servers')
        equal([s['server'] for s in found['servers_gone']], [one], 'servers that go')
        equal([s['server'] for s in found['servers_kept']], [two], 'servers that stay')
    with t.case('what a reload refuses is refused with its words and status 1'):
        other = socket.create_server(('127.0.0.1', 0))
        for conf, want in ((CONF.replace('respond', 'resbond'), r'weir\.ini:\d+: error: .*resbond'),
                           (CONF + '[listen x]\nbind = 127.0.0.1:%d\n' % other.getsockname()[1],
                            r'weir\.ini:\d+: cannot listen on .*another process'),
                           (CONF.replace('[weir]', '[weir]\npid_file = {dir}/other'), r'pid_file has changed'),
                           (CONF.replace('[weir]', '[weir]\nerror_log = {dir}/none/such'), r'none/such')):
            weir.write(conf)
            code, said = weirctl(weir, 'reload', '--plan')
            equal(code, 1, 'exit status; it said ' + said)
            true(re.search(want, said), '%r in %r' % (want, said))
            contains(said, 'a reload would fail', 'answer')
        other.close()
    with t.case('nothing of it was done'):
        equal(weir.worker_pids(), pids, 'workers')
        equal((status(weir)['generation'], status(weir)['reloads_failed']), (1, 0), 'generation and failures')
        true(not listening(weir.ports['port_b']), 'nobody listens on the new address')
        lacks(weir.errors(), 'cannot listen', 'error log')
    with t.case('then it is done as it was said'):
        weir.write(CONF.replace('respond = 200 hi there', 'respond = 200 hi again'))
        contains(weirctl(weir, 'reload', '--plan')[1], '~ [route d] respond = 200 hi again  (was 200 hi there, ', 'plan')
        equal(weirctl(weir, 'reload')[0], 0, 'exit status')
        equal(fetch(weir.port, target='/d').text, 'hi again', 'answer')
        contains(weirctl(weir, 'reload', '--plan')[1], '0 differences', 'plan after it')
    weir.expect_deaths = True
