#!/usr/bin/python3
# A master killed under load. Its workers serve on without it; a new master starts at once, takes over every file, and serves
# beside them until they end by themselves. Under a supervisor that keeps sockets (systemd's protocol), the new one gets the
# very sockets of the old one back. Clients notice nothing.
# timeout: 120
import array
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
from weir import environment

APP = '''
[weir]
workers = %d
orphan_timeout = 3s
shutdown_timeout = 10s
[listen http]
bind = 127.0.0.1:{port}, unix:{dir}/front
max_requests = 0
[route all]
upstream = app
[upstream app]
server = {one}
check = http
check_interval = 300ms
check_fall = 1
'''


def kill(weir):
    """Kills the master; its family: {pid: birth}."""
    family = {pid: birth(pid) for pid in weir.worker_pids() + [weir.checker()]}
    weir.expect_deaths = True
    os.kill(weir.pid, signal.SIGKILL)
    weir.wait()
    return family


def living(family):
    return [pid for pid, born in family.items() if birth(pid) == born and alive(pid)]


def loads(weir):
    found = [Load(weir.port, '/fresh', connections=3, close_each=True, pause=0.003),
             Load(weir.port, '/kept', connections=3, pause=0.003),
             Load(weir.port, lambda n: '/digest?%d' % n, connections=2, method='POST', body=body_of(3000), pause=0.01,
                  check=lambda m: m.status == 200 and digest_of(3000) in m.text)]
    for load in found:
        load.start()
    return found


def more(load, count):
    goal = load.ok + count
    until('%d more are served' % count, lambda: load.ok >= goal)


def restarted(t):
    weir = Weir(APP % 2, name='restarted', one=Origin('one'))
    running = loads(weir)
    with t.case('the master is killed: its workers serve on, who is new and who was there'):
        family = kill(weir)
        for load in running:
            more(load, 30)
        contains(weir.errors(), 'the master is gone: serving on without it for 3 s', 'error log')
        equal(len(living(family)), 3, 'processes')
    with t.case('its checker goes on: a server that dies is left alone'):
        weir.things['one'].down()
        weir.wait_errors(r'checker.*127\.0\.0\.1:\d+.* (is )?down')
        weir.things['one'].up()
        for load in running:
            load.counts.clear()
    with t.case('a new master starts at once and takes over pid file, locks, control socket and addresses'):
        began = time.monotonic()
        weir.start()
        t.note('it took %.2f s' % (time.monotonic() - began))
        equal(int(read_text(weir.pid_path)), weir.pid, 'process in the pid file')
        until('it answers weirctl', lambda: status(weir)['pid'] == weir.pid)
        contains(weir.errors(), 'workers of an earlier master still listen', 'error log')
        run = subprocess.run([program(), '-c', weir.conf_path], capture_output=True, text=True, timeout=20 * tap.SLOW)
        contains(run.stderr, 'running already', 'a third one')
    with t.case('the orphans end after orphan_timeout, and the new one serves everybody'):
        until('they are gone', lambda: not living(family), 15)
        for load in running:
            more(load, 30)
        for load in running:
            load.stop()
    with t.case('nobody lost anything but requests to a server that was down'):
        equal([load.lost - load.counts['5xx'] for load in running], [0] * 3, 'lost: %r' % running)
    weir.stop()


def unhurt(t):
    weir = Weir((APP % 3).replace('check = http', ''). replace('check_interval = 300ms', '').replace('check_fall = 1', ''),
                name='unhurt', one=Origin('one'))
    running = loads(weir)
    with t.case('three masters killed one after the other under load: not one request fails'):
        families = {}
        for _ in range(3):
            more(running[0], 50)
            families.update(kill(weir))
            more(running[0], 50)
            weir.start()
        until('all orphans are gone', lambda: not living(families), 20)
        more(running[0], 50)
        for load in running:
            load.stop()
        equal([load.lost for load in running], [0] * 3, 'lost: %r' % running)
    weir.stop()


def waiting(t):
    weir = Weir((APP % 1).replace('3s', '500ms'), name='waiting', one=Origin('one'))
    with t.case('what is under way when orphan_timeout ends has its shutdown_timeout'):
        client = Client(weir.port)
        client.ask('GET', '/slow/2500')
        until('the origin was asked', lambda: any(m.target == '/slow/2500' for m in weir.things['one'].requests))
        family = kill(weir)
        weir.wait_errors('orphan_timeout passed')
        equal(client.read().status, 200, 'status')
        until('all are gone, the checker, too', lambda: not living(family), 15)
        true(not listening(weir.port), 'nobody listens')
    weir.stopped = True


STORIES = (restarted, unhurt, waiting)

with Story('orphans', deadline=110) as t:
    for one in STORIES:
        if len(sys.argv) < 2 or one.__name__ in sys.argv[1:]:
            one(t)
