#!/usr/bin/python3
# weir alone, without any origin: it starts, says who it is, checks a configuration, answers by itself, and ends as it
# is told: by a signal, in the foreground and as a daemon.
import os
import signal
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

GREETING = '''
[listen http]
bind = 127.0.0.1:{port}

[route hello]
respond = 200 Hello from weir
'''

BROKEN = '''[listen http]
bind = 127.0.0.1:{port}
header_timout = 5s
idle_timeout = 5

[route all]
upstrem = app
[upstream app]
server = 127.0.0.1:9
balance = least_con
'''


def starts_and_answers(t):
    weir = Weir(GREETING)
    with t.case('a route that responds is served'):
        answer = fetch(weir.port)
        equal(answer.status, 200, 'status')
        equal(answer.text.rstrip('\n'), 'Hello from weir', 'body')
        true(answer.header('Content-Type').startswith('text/plain'), 'text/plain')
        true(answer.header('Date'), 'a Date')
    with t.case('curl agrees'):
        seen = curl('http://127.0.0.1:%d/' % weir.port)
        equal((seen.code, seen.status), (0, 200), 'exit status of curl, and status')
    with t.case('there are two workers and a master, each named by its role'):
        equal(sorted(weir.workers()), [0, 1], 'workers')
        true(title(weir.pid).startswith('weir: master'), 'title of the master, %r' % title(weir.pid))
    with t.case('workers have given root away'):
        for pid in weir.worker_pids():
            with open('/proc/%d/status' % pid) as f:
                status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
            if os.getuid() == 0:
                lacks(status['Uid'].split(), '0', 'uids of a worker')
                lacks(status['Gid'].split(), '0', 'gids of a worker')
            equal(int(status['CapEff'], 16) | int(status['CapPrm'], 16), 0, 'capabilities of a worker')
            equal(status['NoNewPrivs'].strip(), '1', 'NoNewPrivs')
            equal(status['Seccomp'].strip(), '2', 'Seccomp')
    with t.case('the pid file names the master'):
        with open(weir.pid_path) as f:
            equal(int(f.read()), weir.pid, 'pid')
    with t.case('the request is in the access log'):
        line = weir.wait_access({'status': 200, 'route': 'hello'})
        equal(line['reason'], '-', 'reason')
    with t.case('TERM ends it with status 0 and takes the pid file away'):
        weir.stop(signal.SIGTERM)
        true(not os.path.exists(weir.pid_path), 'the pid file is gone')
        true(not listening(weir.port), 'nobody listens')


def signals(t):
    for signum in (signal.SIGINT, signal.SIGQUIT):
        weir = Weir(GREETING, name='weir-%s' % signum.name)
        with t.case('%s ends it with status 0' % signum.name):
            equal(fetch(weir.port).status, 200, 'status')
            weir.stop(signum)
    weir = Weir('''
        [listen http]
        bind = 127.0.0.1:{port}
        [route all]
        upstream = app
        [upstream app]
        server = {one}
    ''', name='weir-drain', one=Origin('one'))
    with t.case('QUIT lets a request under way end'):
        with Client(weir.port) as client:
            client.ask('GET', '/slow/800')
            until('the origin was asked', lambda: weir.things['one'].requests)
            weir.workers()
            os.kill(weir.pid, signal.SIGQUIT)
            answer = client.read()
            equal((answer.status, answer.text), (200, 'one'), 'answer')
            client.expect_end()
        weir.stop(signal.SIGQUIT)


def versions(t):
    with t.case('-V tells version and libraries, status 0'):
        run = weir_run('-V')
        equal(run.code, 0, 'exit status')
        contains(run.text.lower(), 'weir', 'output')
        contains(run.text.lower(), 'pcre2', 'output')
        true(any(c.isdigit() for c in run.text), 'a version number')
    with t.case('an unknown option is refused with a hint, status not 0'):
        run = weir_run('--no-such-option')
        true(run.code not in (0, None) and run.code > 0, 'exit status %r' % run.code)
        true(run.err.strip(), 'something on stderr')
    with t.case('a configuration file that is missing is named, status 1'):
        run = weir_run('-t', '-c', t.path('nowhere.ini'))
        equal(run.code, 1, 'exit status')
        contains(run.text, 'nowhere.ini', 'output')


def checks(t):
    with t.case('-t accepts a good file with status 0'):
        run = weir_run('-t', conf=GREETING, port=free_port())
        equal(run.code, 0, 'exit status; it said ' + run.text)
    run = weir_run('-t', conf=BROKEN, port=free_port())
    with t.case('-t refuses a bad file with status 1'):
        equal(run.code, 1, 'exit status')
    for line, what in ((3, 'header_timeout'), (4, '5s'), (7, 'upstream'), (10, 'least_conn')):
        with t.case('-t tells of line %d at once with the others, and offers %s' % (line, what)):
            told = [x for x in run.text.split('\n') if 'weir.ini:%d' % line in x or
                    ('weir.ini' in x and 'line %d' % line in x)]
            true(told, 'a message for line %d in\n%s' % (line, run.text))
            contains('\n'.join(told), what, 'message')
    with t.case('started with a bad file it ends with status 1 and says the same'):
        run = weir_run(conf=BROKEN, port=free_port())
        equal(run.code, 1, 'exit status')
        contains(run.text, 'header_timeout', 'output')
    with t.case('-T prints it whole, defaults included, and what it prints is again a configuration'):
        run = weir_run('-T', conf=GREETING, port=free_port())
        equal(run.code, 0, 'exit status')
        contains(run.out, '[route hello]', 'output')
        contains(run.out, 'header_timeout = 15s', 'output')
        again = weir_run('-t', conf=run.out.encode())
        equal(again.code, 0, 'exit status of -t on that; it said ' + again.text)
    with t.case('-e explains which route a request meets'):
        run = weir_run('-e', 'GET http://weir.test/x', conf=GREETING, port=free_port())
        equal(run.code, 0, 'exit status')
        contains(run.text, 'hello', 'output')
    with t.case('a port in use is a clear error, quickly, with status 3'):
        origin = Origin('squatter')
        run = weir_run(conf='[weir]\npid_file = {dir}/p\ncontrol = {dir}/c\nerror_log = stderr\naccess_log = off\n' +
                       GREETING, port=origin.port, timeout=5)
        equal(run.code, 3, 'exit status')
        contains(run.text, str(origin.port), 'output')


def daemon(t):
    weir = Weir(GREETING, name='daemon', start=False, args=['-D'])
    run = weir_run('-D', '-c', weir.conf_path)
    with t.case('-D returns with status 0 once it serves'):
        equal(run.code, 0, 'exit status; it said ' + run.text)
        equal(fetch(weir.port).status, 200, 'status')
    with open(weir.pid_path) as f:
        pid = int(f.read())
    Daemon(pid)
    with t.case('the pid file names the master, which left terminal, session and directory'):
        true(title(pid).startswith('weir: master'), 'title %r' % title(pid))
        equal(os.getsid(pid) != os.getsid(0), True, 'a session of its own')
        equal(os.readlink('/proc/%d/cwd' % pid), '/', 'directory')
        for fd in (0, 1, 2):
            true('tty' not in os.readlink('/proc/%d/fd/%d' % (pid, fd)), 'no terminal')
    with t.case('a second one beside it is refused, and the first serves on'):
        run = weir_run('-D', '-c', weir.conf_path)
        equal(run.code, 3, 'exit status')
        equal(fetch(weir.port).status, 200, 'status')
        with open(weir.pid_path) as f:
            equal(int(f.read()), pid, 'the pid in the file')
    with t.case('TERM ends the daemon and takes the pid file away'):
        os.kill(pid, signal.SIGTERM)
        until('the daemon is gone', lambda: not alive(pid))
        until('the pid file is gone', lambda: not os.path.exists(weir.pid_path))


with Story('weir by itself', deadline=60) as t:
    versions(t)
    checks(t)
    starts_and_answers(t)
    signals(t)
    daemon(t)
