#!/usr/bin/python3
# The master and its children in trouble: workers killed, stopped, spinning, dying as soon as they live; the master stopped,
# killed, started twice, told ten things at once; logs moved away under load; ports taken. An origin answers behind it all,
# and clients that came through the door must not notice more than has to be.
import glob
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from signal import SIGCHLD, SIGCONT, SIGHUP, SIGKILL, SIGQUIT, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from child import read_text
from weir import environment
import ptrace

CONF = '''
[weir]
shutdown_timeout = 3s
log_level = info
[listen http]
bind = 127.0.0.1:{port}
[route all]
upstream = app
[upstream app]
server = {one}
'''
HELLO = '''
[listen http]
bind = 127.0.0.1:{port}
[route all]
respond = 200 hello
'''


def status_of(weir, *words):
    tool = os.environ.get('WEIRCTL') or os.path.join(os.path.dirname(program()), 'weirctl')
    done = subprocess.run([tool, '-s', re.search(r'^\s*control\s*=\s*(\S+)', weir.conf, re.M).group(1)] + list(words) +
                          ['--json'], stdout=subprocess.PIPE, timeout=20, text=True)
    equal(done.returncode, 0, 'exit status of weirctl')
    return json.loads(done.stdout)


def idle_again(weir):
    """Nothing is counted as under way any more, neither with clients nor on a server."""
    def probe():
        totals = status_of(weir, 'status')['totals']
        return totals['active_connections'] == totals['active_requests'] == 0 and \
            all(s['active'] == 0 for s in status_of(weir, 'servers'))
    until('every gauge is back at zero', probe, 5)


def forgive(weir):
    """A panic that was asked for, and looked at, is no trouble: the error log begins anew, and a sanitizer's report goes."""
    os.truncate(weir.error_path, 0)
    os.truncate(weir.err_path, 0)


def killed_under_load(t):
    weir = Weir(CONF, name='killed', one=Origin('one'), workers=3)
    load = Load(weir.port, '/x', connections=6, close_each=True).start()
    times = []
    with t.case('a worker killed under load is replaced within 200 ms, again and again'):
        for _ in range(5):
            time.sleep(1.2)
            times.append(weir.wait_respawn(weir.kill_worker(random.choice(list(weir.workers())))))
        true(sorted(times)[2] < 0.2 * tap.SLOW, 'the median of %s' % times)
    load.stop()
    with t.case('nobody is refused, and no more is lost than the killed workers had in hand'):
        equal(load.counts['refused'], 0, 'refused; %r' % load)
        true(load.lost <= 5 * load.connections, 'lost: %r' % load)
        true(load.ok > 100, 'answers: %r' % load)
    with t.case('what the killed ones had counted as under way is gone'):
        idle_again(weir)
    with t.case('what they had served is still counted'):
        true(status_of(weir, 'status')['totals']['responses_2xx'] >= load.ok, 'responses_2xx')
        equal(status_of(weir, 'status')['restarts'], 5, 'restarts')
    with t.case('one line tells of each death: signal, slot, generation, build'):
        lines = [x for x in weir.errors().split('\n') if 'was killed by signal 9' in x]
        equal(len(lines), 5, 'lines')
        for line in lines:
            true(re.search(r'worker \d \(pid \d+, slot \d, generation \d+\).*build [0-9a-f]{8}', line), line)


def crashed(t):
    weir = Weir(CONF, name='crashed', one=Origin('one'))
    with Client(weir.port) as client:
        client.ask('GET', '/slow/5000')
        until('the origin was asked', lambda: weir.things['one'].requests)
        busy = next(w for w in status_of(weir, 'workers') if w['active_requests'])
        with t.case('a crash leaves one line with the signal and what the worker had said'):
            pid = weir.kill_worker(busy['slot'], SIGSEGV)
            weir.wait_respawn(pid)
            found = weir.wait_errors(r'%s \(pid %d.*(killed by signal 11|exited with status).*' % (busy['name'], pid)).group(0)
            if not sanitized():
                contains(found, 'it said: %s[%d]: SIGSEGV' % (busy['name'], pid), 'line')
                true(re.search(r'panic: .*\[0x', weir.errors()), 'a stack in the log')
        with t.case('its client sees the end of the connection, not half an answer'):
            isin(client.end(), ('eof', 'reset'), 'end')
    with t.case('the next request is served'):
        equal(fetch(weir.port).status, 200, 'status')
    forgive(weir)


def connects_each(port, seconds, step=0.05):
    """New clients, one each `step`, for so long; the seconds each waited, None for one that was not answered."""
    import threading
    waits, threads = [], []

    def one():
        began = time.monotonic()
        try:
            waits.append(time.monotonic() - began if fetch(port, timeout=8).status == 200 else None)
            waits[-1] = time.monotonic() - began
        except Exception:
            waits.append(None)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        time.sleep(step)
    for thread in threads:
        thread.join()
    return waits


def stopped_and_spinning(t):
    weir = Weir(CONF, name='stopped', one=Origin('one'), workers=3)
    with t.case('clients that meet a stopped worker wait for the watchdog, and none is lost'):
        pid = weir.kill_worker(1, SIGSTOP)
        waits = connects_each(weir.port, 3.2)
        lacks(waits, None, 'waits')
        true(max(waits) < 3.2 * tap.SLOW, 'the longest wait is %.2f s' % max(waits))
        true(sum(w > 0.5 for w in waits) >= 1, 'somebody did meet it')
    with t.case('the stopped worker was killed and replaced'):
        weir.wait_respawn(pid, 3)
        weir.wait_errors(r'worker 1 \(pid %d\) is stopped' % pid)
        equal(len(weir.workers()), 3, 'workers')
    idle_again(weir)
    if not ptrace.usable():
        t.skip('a spinning worker is aborted and replaced', 'needs root and x86-64')
    else:
        with t.case('a spinning worker is aborted, its stack is in the log, and it is replaced'):
            pid = weir.workers()[2]
            with ptrace.Held(pid) as held:
                held.spin()
            # What counts is the processor time it got, which on a busy machine comes slowly.
            weir.wait_respawn(pid, 40)
            weir.wait_errors(r'worker 2 \(pid %d\) is spinning' % pid)
            weir.wait_errors(r'worker 2 \(pid %d.*killed by signal 6' % pid)
            forgive(weir)
        with t.case('nobody misses it'):
            lacks(connects_each(weir.port, 0.5), None, 'waits')
    with t.case('a stopped checker is replaced too'):
        pid = weir.checker()
        os.kill(pid, SIGSTOP)
        until('another checker is there', lambda: weir.checker() not in (None, pid), 6)
    with t.case('a master that stood still for four seconds kills nobody when it goes on'):
        before = weir.workers()
        os.kill(weir.pid, SIGSTOP)
        lacks(connects_each(weir.port, 4, 0.2), None, 'waits meanwhile')
        os.kill(weir.pid, SIGCONT)
        time.sleep(1)
        equal(weir.workers(), before, 'workers')
        equal(fetch(weir.port).status, 200, 'status')


def crash_loop(t):
    weir = Weir(HELLO, name='loop', workers=2)
    weir.expect_deaths = True
    with t.case('one that dies again and again as soon as it lives is started less and less often'):
        starts, last = [], weir.workers()[0]
        end = time.monotonic() + 2.6
        while time.monotonic() < end:
            now = weir.workers().get(0)
            if now not in (None, last):
                starts.append(time.monotonic())
                last = now
                os.kill(now, SIGKILL)
            elif not starts and now:
                os.kill(now, SIGKILL)
            time.sleep(0.002)
        gaps = [round(b - a, 2) for a, b in zip(starts, starts[1:])]
        true(3 <= len(gaps) <= 6, 'gaps between starts: %s' % gaps)
        true(gaps[-1] > 3 * gaps[0], 'gaps grow: %s' % gaps)
        weir.wait_errors('times in a row')
    with t.case('the other worker gets every new client meanwhile'):
        for _ in range(30):
            equal(fetch(weir.port, timeout=1).status, 200, 'status')
    with t.case('in the end it is back'):
        until('both are there', lambda: len(weir.workers()) == 2, 12)


def ends(t):
    def busy(name):
        weir = Weir(CONF, name=name, one=Origin('one'))
        client = Client(weir.port)
        client.ask('GET', '/slow/20000')
        until('the origin was asked', lambda: weir.things['one'].requests)
        return weir, client
    with t.case('TERM ends it at once, whatever is under way'):
        weir, client = busy('term')
        began = time.monotonic()
        weir.stop(SIGTERM)
        true(time.monotonic() - began < 1.5 * tap.SLOW, 'it took %.2f s' % (time.monotonic() - began))
    with t.case('QUIT waits for what is under way, but no longer than shutdown_timeout, and exits 0'):
        weir, client = busy('quit')
        began = time.monotonic()
        weir.stop(SIGQUIT)
        between(time.monotonic() - began, 2.5, 6 * tap.SLOW, 'seconds it took')
        true(not os.path.exists(weir.pid_path), 'the pid file is gone')
    with t.case('TERM after QUIT does not wait'):
        weir, client = busy('both')
        os.kill(weir.pid, SIGQUIT)
        time.sleep(0.3)
        began = time.monotonic()
        weir.stop(SIGTERM)
        true(time.monotonic() - began < 1.5 * tap.SLOW, 'it took %.2f s' % (time.monotonic() - began))
    with t.case('a stopped worker does not hold up the end'):
        weir = Weir(HELLO, name='held')
        weir.kill_worker(0, SIGSTOP)
        began = time.monotonic()
        weir.stop(SIGTERM)
        true(time.monotonic() - began < 4 * tap.SLOW, 'it took %.2f s' % (time.monotonic() - began))


def draining(t):
    weir = Weir(CONF, name='drain', one=Origin('one'))
    client = Client(weir.port)
    client.ask('GET', '/slow/2000')
    until('the origin was asked', lambda: weir.things['one'].requests)
    weir.workers()
    os.kill(weir.pid, SIGQUIT)
    with t.case('while it drains new clients are refused, not left waiting, and the port is free for a successor'):
        until('nobody listens', lambda: not listening(weir.port), 1.5)
    with t.case('what was under way ends whole'):
        equal(client.read().status, 200, 'status')
    with t.case('then it is gone'):
        weir.stop(SIGQUIT)


def signal_storm(t):
    weir = Weir(CONF, name='storm', one=Origin('one'))
    with t.case('a thousand signals that ask for nothing new change nothing'):
        load = Load(weir.port, '/x', connections=2).start()
        for _ in range(1000):
            os.kill(weir.pid, random.choice((SIGUSR1, SIGCHLD)))
            time.sleep(0.001)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        equal(weir.workers(), weir.first_workers, 'workers')
    with t.case('TERM among them wins'):
        for signum in (SIGUSR1, SIGHUP, SIGTERM, SIGUSR2, SIGQUIT, SIGUSR1):
            os.kill(weir.pid, signum)
        weir.stop(SIGTERM)


def rotated(t):
    weir = Weir(CONF, name='rotated', one=Origin('one'))
    with t.case('logs are moved away twenty times under load, and no line is lost or torn'):
        load = Load(weir.port, '/x', connections=4).start()
        for n in range(20):
            for path in (weir.access_path, weir.error_path):
                os.rename(path, '%s.%d' % (path, n))
            os.kill(weir.pid, SIGUSR1)
            until('a new log is there', lambda: os.path.exists(weir.access_path) and os.path.exists(weir.error_path))
            time.sleep(0.02)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)

        def lines():
            return [line for path in glob.glob(weir.access_path + '*') for line in read_text(path).splitlines()]
        until('every request has its line', lambda: len(lines()) >= load.ok)
        equal(len(lines()), load.ok, 'lines')
        for line in lines():
            true(line.startswith('id=') and line.count('id=') == 1 and 'duration=' in line, 'a whole line: %r' % line)
    with t.case('the new files belong to the starter, who alone may write them'):
        for path in (weir.access_path, weir.error_path):
            found = os.stat(path)
            equal((found.st_mode & 0o777, found.st_uid), (0o640, os.getuid()), 'mode and owner of ' + path)
    with t.case('workers write to the new files'):
        fetch(weir.port, target='/after')
        weir.wait_access({'uri': '/after'})
    with t.case('a log that cannot be opened anew keeps its old file, and that is said'):
        os.rename(weir.access_path, weir.access_path + '.kept')
        os.mkdir(weir.access_path)
        os.kill(weir.pid, SIGUSR1)
        weir.wait_errors('Cannot reopen the log')
        fetch(weir.port, target='/kept')
        until('the line is in the old file', lambda: 'uri=/kept' in read_text(weir.access_path + '.kept'))
        os.rmdir(weir.access_path)


def twice(t):
    weir = Weir(HELLO, name='first')
    with t.case('a second one with the same pid file is refused with the pid of the first, status 3'):
        run = weir_run('-c', weir.conf_path, timeout=5)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        contains(run.err, 'process %d' % weir.pid, 'stderr')
    with t.case('a second one on the same port alone is refused too, though sharing would work, status 3'):
        run = weir_run(conf='[weir]\npid_file = {dir}/p\ncontrol = {dir}/c\n' + HELLO, port=weir.port, timeout=5)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        true(re.search(r'weir\.ini:\d+: cannot listen on 127\.0\.0\.1:%d: process %d \(weir: master\)' % (
            weir.port, weir.pid), run.err), 'file, line, address and holder in %r' % run.err)
        equal([x for x in os.listdir(os.path.dirname(run.path)) if x != 'weir.ini'], [], 'files left behind')
    with t.case('a second one with the same control socket is refused, status 3'):
        path = re.search(r'^\s*control\s*=\s*(\S+)', weir.conf, re.M).group(1)
        run = weir_run(conf='[weir]\npid_file = {dir}/p\ncontrol = %s\n' % path + HELLO, port=free_port(), timeout=5)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        contains(run.err, 'running already', 'stderr')
    with t.case('the first serves on as if nothing had been'):
        equal(fetch(weir.port).status, 200, 'status')
        equal(status_of(weir, 'status')['pid'], weir.pid, 'pid behind the control socket')
    with t.case('a daemon that cannot start says so on stderr, status 3'):
        run = weir_run('-D', conf='[weir]\npid_file = {dir}/p\nerror_log = {dir}/e\n' + HELLO, port=weir.port, timeout=5)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        contains(run.err, 'cannot listen', 'stderr')
    weir.stop()
    with t.case('a stale pid file, even with the pid of something alive, stops nobody'):
        with open(weir.pid_path, 'w') as f:
            f.write('%d\n' % os.getpid())
        weir.start()
        equal(fetch(weir.port).status, 200, 'status')
        equal(int(read_text(weir.pid_path)), weir.pid, 'the pid in the file')
        weir.stop()
        true(not os.path.exists(weir.pid_path), 'the pid file is gone')


def cannot_start(t):
    for text, want in (('[weir]\nerror_log = {dir}/none/such.log\n', 'none/such.log'),
                       ('[weir]\npid_file = {dir}/none/such.pid\n', 'none/such.pid'),
                       ('[weir]\ncontrol = {dir}/none/such.sock\n', 'none/such.sock')):
        with t.case('%s that cannot be made is named, status 3' % want):
            run = weir_run(conf=text + HELLO, port=free_port(), timeout=5)
            equal(run.code, 3, 'exit status; it said ' + run.text)
            contains(run.err, want, 'stderr')
    with t.case('an address that no interface has is named with file and line, status 3'):
        run = weir_run(conf=HELLO.replace('127.0.0.1', '192.0.2.77'), port=free_port(), timeout=5)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        true(re.search(r'weir\.ini:3: cannot listen on 192\.0\.2\.77:\d+: no interface', run.err), run.err)


def unprivileged(t):
    """Started by an ordinary user."""
    if os.getuid() != 0:
        t.skip('started by another user', 'only root can try')
        return
    copy = t.path('weir-copy')
    subprocess.run(['cp', program(), copy], check=True)
    folder = t.path('nobody')
    os.mkdir(folder)
    os.chown(folder, 65534, 65534)
    user = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps=-all']

    def run_as(text, name):
        path = os.path.join(folder, name)
        with open(path, 'w') as f:
            f.write(text)
        return child.spawn(user + [copy, '-c', path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, env=environment())
    port = free_port()
    log = os.path.join(folder, 'e.log')
    weir = run_as('[weir]\nworkers = 2\nerror_log = %s\ncontrol = %s/ctl\n' % (log, folder) +
                  HELLO.replace('{port}', str(port)), 'weir.ini')
    Daemon(weir.pid)
    with t.case('started by an ordinary user it serves, confined by what needs no privilege'):
        until('it serves', lambda: listening(port) and len(children(weir.pid)) == 3)
        equal(fetch(port).status, 200, 'status')
        until('it is ready', lambda: 'is ready' in read_text(log))
        for pid in children(weir.pid):
            status = read_text('/proc/%d/status' % pid)
            contains(status, 'NoNewPrivs:\t1', 'status')
            contains(status, 'Seccomp:\t2', 'status')
    with t.case('and ends as it should'):
        weir.terminate()
        equal(weir.wait(10), 0, 'exit status')
    if int(read_text('/proc/sys/net/ipv4/ip_unprivileged_port_start') or 1024) <= 81:
        t.skip('a port below 1024', 'this system lets everybody have it')
        return
    with t.case('a port that takes privilege is refused with what to do, status 3'):
        weir = run_as('[weir]\ncontrol = %s/ctl\n' % folder + HELLO.replace('{port}', '81'), 'low.ini')
        _, said = weir.communicate(timeout=10)
        equal(weir.returncode, 3, 'exit status; it said %r' % said)
        contains(said.decode(), 'CAP_NET_BIND_SERVICE', 'stderr')


def orphans(t):
    weir = Weir(CONF.replace('log_level', 'orphan_timeout = 2s\nlog_level'), name='orphans', one=Origin('one'))
    client = Client(weir.port)
    client.ask('GET', '/slow/1500')
    until('the origin was asked', lambda: weir.things['one'].requests)
    family = weir.worker_pids() + [weir.checker()]
    weir.expect_deaths = True
    with t.case('after the master is killed its workers end what is under way'):
        os.kill(weir.pid, SIGKILL)
        weir.wait()
        equal(client.read().status, 200, 'status')
    with t.case('a new master starts at once, beside them'):
        began = time.monotonic()
        weir.start()
        true(time.monotonic() - began < 10 * tap.SLOW, 'it took %.2f s' % (time.monotonic() - began))
    with t.case('the orphans leave by themselves'):
        until('they are gone', lambda: not any(alive(p) for p in family), 12)
        for _ in range(20):
            equal(fetch(weir.port, timeout=2).status, 200, 'status')
    weir.stop()


def orphans_told(t):
    weir = Weir(CONF.replace('log_level', 'orphan_timeout = 1h\nlog_level'), name='told', one=Origin('one'))
    weir.expect_deaths = True
    family = weir.worker_pids() + [weir.checker()]
    with t.case('SIGTERM is nothing to a worker that has a master'):
        for pid in family[:-1]:
            os.kill(pid, SIGTERM)
        equal([fetch(weir.port).status for _ in range(4)], [200] * 4, 'statuses')
        equal([p for p in family if not alive(p)], [], 'who is gone')
    client = Client(weir.port)
    client.ask('GET', '/slow/1500')
    until('the origin was asked', lambda: any(m.target == '/slow/1500' for m in weir.things['one'].requests))
    with t.case('an orphan takes it: what is under way ends whole, and so do all of them'):
        os.kill(weir.pid, SIGKILL)
        weir.wait()
        until('both know', lambda: weir.errors().count('serving on without it') == 2, 10)
        for pid in family[:-1]:
            os.kill(pid, SIGTERM)
        equal(client.read().status, 200, 'status')
        until('they are gone', lambda: not any(alive(p) for p in family), 20)
    weir.start()
    weir.stop()


def unix_listener(t):
    weir = Weir('[listen local]\nbind = unix:{dir}/front\n[route all]\nrespond = 200 hello\n', name='unix')
    path = weir.dir + '/front'

    def ask():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            s.connect(path)
            s.sendall(request('GET', '/'))
            return s.recv(4096)
    with t.case('a UNIX address serves'):
        true(ask().startswith(b'HTTP/1.1 200 '), 'the answer')
    with t.case('a worker killed: the other one serves at once'):
        weir.kill_worker()
        for _ in range(10):
            true(ask().startswith(b'HTTP/1.1 200 '), 'the answer')
    with t.case('its file goes with weir'):
        weir.stop()
        true(not os.path.exists(path), 'no file')
    with t.case('a stale file of a killed one is replaced'):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(path)
        s.close()
        weir.start()
        true(ask().startswith(b'HTTP/1.1 200 '), 'the answer')
        weir.stop()


def supervised(t):
    with t.case('a supervisor is told by datagram when weir is ready and when it stops'):
        path = t.path('notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(10)
            weir = Weir(HELLO, name='supervised', env={'NOTIFY_SOCKET': path})
            equal(s.recv(100), b'READY=1', 'first datagram')
            weir.stop()
            said = [s.recv(100)]
            while b'FDSTORE=1' in said[-1]:     # 57-orphans.t is about these
                said.append(s.recv(100))
            equal(said[-1], b'STOPPING=1', 'last datagram')
    with t.case('one with a watchdog is told that the loop turns, for as long as it does'):
        path = t.path('watched.sock')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(10)
            weir = Weir(HELLO, name='watched', env={'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '600000'})
            for _ in range(4):
                while s.recv(200) != b'WATCHDOG=1':
                    pass
            os.kill(weir.pid, SIGSTOP)
            until('the master is stopped', lambda: re.search(r'\) T ', read_text('/proc/%d/stat' % weir.pid)), 5)
            s.setblocking(False)
            try:
                while s.recv(100):
                    pass
            except BlockingIOError:
                pass
            s.settimeout(1)
            try:
                true(not s.recv(100), 'a ping of a stopped master')
            except socket.timeout:
                pass
            os.kill(weir.pid, SIGCONT)
            s.settimeout(10)
            equal(s.recv(100), b'WATCHDOG=1', 'the first word after it')
            weir.stop()


def broken_starts(t):
    if 'fault-points=yes' not in weir_run('-V').out:
        t.skip('a worker that never gets ready', 'needs a build with fault points')
        return
    with t.case('when workers die at start it does not fork without end, and gives up with status 3'):
        run = weir_run(conf='[weir]\nerror_log = {dir}/e\n' + HELLO, port=free_port(), env={'WEIR_FAULT': 'start-crash'},
                       timeout=40)
        equal(run.code, 3, 'exit status; it said ' + run.text)
        deaths = read_text(os.path.dirname(run.path) + '/e').count('killed by signal 6')
        between(deaths, 4, 40, 'deaths')


import child
import tap

with Story('the master and its children in trouble', deadline=150) as t:
    twice(t)
    cannot_start(t)
    unprivileged(t)
    supervised(t)
    unix_listener(t)
    killed_under_load(t)
    crashed(t)
    stopped_and_spinning(t)
    crash_loop(t)
    ends(t)
    draining(t)
    signal_storm(t)
    rotated(t)
    orphans(t)
    orphans_told(t)
    broken_starts(t)
