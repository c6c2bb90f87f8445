#!/usr/bin/python3
# The command lines of weir and weirctl: what each option does, what a mistake costs, and what -t finds that no reader of
# the file alone could know. Nothing here serves a client but one small weir for weirctl to speak to.
import json
import os
import re
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

GOOD = '''
[listen http]
bind = 127.0.0.1:{port}

[route api]
path = /api
header = X-Key: secret
respond = 200 api

[route rest]
respond = 200 rest
'''


def mistakes(t):
    for words, hint in (
            (['--no-such'], '--no-such'), (['-x'], '-x'), (['-c'], 'needs a value'), (['run'], 'run'),
            (['-t', '-T'], 'exclude'), (['-D', '-t'], 'exclude'), (['-e', 'GET http://a/', '-t'], 'exclude'),
            (['-H', 'A: b'], '-e'), (['--options', 'novel'], 'sample')):
        with t.case('%s is wrong use: status 2, and the sentence names it' % ' '.join(words)):
            run = weir_run(*words)
            equal(run.code, 2, 'exit status; it said ' + run.text)
            equal(run.out, '', 'stdout')
            contains(run.err, hint, 'stderr')
            equal(run.err.count('\n'), 1, 'lines on stderr')
    with t.case('-h lists every option and every exit status, status 0'):
        run = weir_run('-h')
        equal((run.code, run.err), (0, ''), 'exit status and stderr')
        for word in ('-c', '-D', '-t', '-T', '-e', '-H', '-V', '-h', 'FILE', 'Exit status: 0', 'QUIT'):
            contains(run.out, word, 'help')
    with t.case('long names mean the same'):
        equal(weir_run('--version').out, weir_run('-V').out, 'version')
        equal(weir_run('--test', conf=GOOD, port=free_port()).code, 0, 'exit status of --test')


def version(t):
    run = weir_run('-V')
    with t.case('-V names version, build options, compiler and each library, status 0'):
        equal((run.code, run.err), (0, ''), 'exit status and stderr')
        true(re.match(r'weir \d+\.\d+', run.out), 'a version first: %r' % run.out)
        for word in ('options', 'compiler', 'PCRE2', 'c-ares', 'libseccomp', 'inih', 'Landlock'):
            contains(run.out, word, 'output')


def checking(t):
    with t.case('-t: a good file is called good, on stdout, status 0'):
        run = weir_run('-t', conf=GOOD, port=free_port())
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.out, 'weir.ini is good', 'stdout')
    with t.case('-t binds nothing: it is as good while the port is taken'):
        origin = Origin('squatter')
        equal(weir_run('-t', conf=GOOD, port=origin.port).code, 0, 'exit status')
    with t.case('-t makes no file'):
        run = weir_run('-t', conf='[weir]\nerror_log = {dir}/new.log\npid_file = {dir}/pid\n' + GOOD, port=free_port())
        equal(run.code, 0, 'exit status; it said ' + run.text)
        equal(sorted(os.listdir(os.path.dirname(run.path))), ['weir.ini'], 'files')
    with t.case('-t: a log that cannot be opened is an error that names it'):
        run = weir_run('-t', conf='[weir]\nerror_log = {dir}/none/such/e.log\n' + GOOD, port=free_port())
        equal(run.code, 1, 'exit status; it said ' + run.text)
        contains(run.err, 'none/such/e.log', 'stderr')
        lacks(run.out, 'is good', 'stdout')
    if os.getuid() == 0:
        with t.case('-t: an account that does not exist is an error that names it'):
            run = weir_run('-t', conf='[weir]\nuser = no-such-account\n' + GOOD, port=free_port())
            equal(run.code, 1, 'exit status; it said ' + run.text)
            contains(run.err, 'no-such-account', 'stderr')
        with t.case('-t: root is no account for workers'):
            run = weir_run('-t', conf='[weir]\nuser = root\n' + GOOD, port=free_port())
            equal(run.code, 1, 'exit status; it said ' + run.text)
            contains(run.err, 'root', 'stderr')
    with t.case('-t: a name that does not resolve is a warning, status 0'):
        run = weir_run('-t', conf=GOOD.replace('respond = 200 rest', 'upstream = app') +
                       '[upstream app]\nserver = no-such-host.invalid:80\n', port=free_port(), timeout=30)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.err, 'no-such-host.invalid', 'stderr')
        contains(run.err, 'warning', 'stderr')
        contains(run.out, 'is good', 'stdout')
    with t.case('a directory is no configuration'):
        run = weir_run('-t', '-c', t.dir)
        equal(run.code, 1, 'exit status; it said ' + run.text)
    with t.case('an empty file is not good: it listens nowhere'):
        run = weir_run('-t', conf='')
        equal(run.code, 1, 'exit status; it said ' + run.text)


def printing(t):
    with t.case('-T prints every key with its value, defaults included, status 0'):
        run = weir_run('-T', conf=GOOD, port=free_port())
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.out, '[route api]', 'output')
        contains(run.out, 'idle_timeout = 75s', 'output')
    with t.case('-T of a bad file prints the errors alone, status 1'):
        run = weir_run('-T', conf='[listen x]\nbnd = *:1\n')
        equal((run.code, run.out), (1, ''), 'exit status and stdout')
        contains(run.err, 'bind', 'stderr')
    with t.case('--options sample is itself a configuration'):
        run = weir_run('--options', 'sample')
        equal(run.code, 0, 'exit status')
        contains(run.out, '[weir]', 'output')
    with t.case('a reader that leaves is no success'):
        with open('/dev/full', 'w') as full:
            equal(subprocess.run([program(), '-V'], stdout=full).returncode != 0, True, 'exit status is not 0')


def explaining(t):
    port = free_port()

    def explain(request, *headers):
        words = ['-e', request]
        for header in headers:
            words += ['-H', header]
        return weir_run(*words, conf=GOOD, port=port)
    with t.case('-e names the route and why the other lost, status 0'):
        run = explain('GET http://a.test:%d/api/x' % port)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.out, 'rest', 'output')
    with t.case('-H adds headers that conditions see'):
        run = explain('GET http://a.test:%d/api/x' % port, 'X-Key: secret')
        equal(run.code, 0, 'exit status; it said ' + run.text)
        true(re.search(r'won\s+api', run.out), 'api wins in %r' % run.out)
    with t.case('-e of what is no request: status 2'):
        for request in ('', 'GET', 'GET nonsense', 'GE T http://a/'):
            equal(explain(request).code, 2, 'exit status for %r' % request)


def ctl(weir, *words, status=0):
    tool = os.environ.get('WEIRCTL') or os.path.join(os.path.dirname(program()), 'weirctl')
    done = subprocess.run([tool, '-s', weir.things['dir'] + '/ctl'] + list(words), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20, text=True)
    equal(done.returncode, status, 'exit status of weirctl %s; it said %r' % (words, done.stdout + done.stderr))
    return done.stdout if status == 0 else done.stderr


def controlling(t):
    weir = Weir('''
        [weir]
        control = {dir}/ctl
        [listen http]
        bind = 127.0.0.1:{port}
        [route all]
        upstream = app
        [upstream app]
        server = {one}
        server = 127.0.0.1:9 backup name=spare
        [upstream idle]
        server = 127.0.0.1:9 disabled
    ''', one=Origin('one'))
    for _ in range(3):
        fetch(weir.port)
    with t.case('weirctl status is for people'):
        said = ctl(weir, 'status')
        contains(said, 'is running: process %d' % weir.pid, 'output')
        contains(said, '2 of 2 live', 'output')
        until('it counts three requests', lambda: '3 in all' in ctl(weir, 'status'))
    with t.case('weirctl status --json is for scripts'):
        said = json.loads(ctl(weir, 'status', '--json'))
        equal((said['pid'], said['state'], said['workers_live']), (weir.pid, 'running', 2), 'pid, state, live workers')
        equal((said['totals']['requests'], said['totals']['responses_2xx']), (3, 3), 'requests and 2xx')
        equal([u['name'] for u in said['upstreams']], ['app', 'idle'], 'upstreams')
    with t.case('weirctl workers lists every process'):
        said = json.loads(ctl(weir, 'workers', '--json'))
        equal([w['name'] for w in said], ['worker 0', 'worker 1', 'checker'], 'names')
        equal([w['pid'] for w in said[:2]], [weir.workers()[0], weir.workers()[1]], 'pids')
        equal(sum(w['requests'] for w in said), 3, 'requests')
        equal(ctl(weir, 'workers').count('\n'), 4, 'lines of the table')
    with t.case('weirctl servers lists servers, of all upstreams or of one'):
        said = json.loads(ctl(weir, 'servers', '--json'))
        equal([(s['upstream'], s['server']) for s in said],
              [('app', '127.0.0.1:%d' % weir.things['one'].port), ('app', 'spare'), ('idle', '127.0.0.1:9')], 'servers')
        equal((said[0]['state'], said[0]['requests'], said[1]['backup'], said[2]['state']), ('up', 3, True, 'disabled'),
              'states')
        equal(len(json.loads(ctl(weir, 'servers', 'app', '--json'))), 2, 'servers of app')
        contains(ctl(weir, 'servers', 'ap', status=1), 'no upstream "ap"', 'stderr')
    with t.case('weirctl: wrong use is status 2 with a hint'):
        contains(ctl(weir, 'stauts', status=2), 'did you mean "status"', 'stderr')
        contains(ctl(weir, status=2), 'verb', 'stderr')
        contains(ctl(weir, 'status', '--now', status=2), '--now', 'stderr')
        contains(ctl(weir, 'servers', '', status=2), 'empty', 'stderr')
        contains(ctl(weir, 'servers', 'a\tb', status=2), 'control characters', 'stderr')
        contains(ctl(weir, 'servers', 'a b', status=1), 'no upstream "a b"', 'stderr')
        contains(ctl(weir, '-x', status=2), '-x', 'stderr')
    with t.case('weirctl: what is not built yet is status 3'):
        contains(ctl(weir, 'purge', status=3), 'not built yet', 'stderr')
    with t.case('the control socket is for its owner alone'):
        equal(os.stat(weir.dir + '/ctl').st_mode & 0o777, 0o600, 'mode')
    with t.case('a client that says nothing, or too much, or leaves, harms nobody'):
        import socket
        idle = []
        for text in (b'', b'x' * 4000, b'status --json', b'\n', b'\0\n'):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(weir.dir + '/ctl')
            s.sendall(text)
            idle.append(s)
        contains(ctl(weir, 'status'), 'is running', 'output beside them')
        for s in idle:
            s.close()
    with t.case('weirctl stop ends it in order'):
        contains(ctl(weir, 'stop'), 'process %d' % weir.pid, 'output')
        equal(weir.wait(10), 0, 'exit status of weir')
        weir.stopped = True
        true(not os.path.exists(weir.dir + '/ctl'), 'the socket is gone')
        contains(ctl(weir, 'status', status=1), 'is weir running', 'stderr')


with Story('the command lines', deadline=60) as t:
    mistakes(t)
    version(t)
    checking(t)
    printing(t)
    explaining(t)
    controlling(t)
