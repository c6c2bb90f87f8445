#!/usr/bin/python3
# The access log: what stands in a line, that nothing a client sends can break one, where lines go, and that a log which
# cannot be written costs lines, never time.
import json
import os
import re
import signal
import socket
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

HOSTILE = [b'quote " backslash \\ end', b'latin \xe9 end', b'utf8 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80', b'cut \xe2\x82',
           b'surrogate \xed\xa0\x80', b'tab\there', b'"}\',{"a":"b', b'\\"', b'%0a%0d%00 ${host} $status', b'x' * 6000]


def content(path):
    try:
        with open(path, 'rb') as f:
            return f.read()
    except OSError:
        return b''


def lines_of(path):
    """Whole lines; a rest without its end is a fault."""
    data = content(path)
    true(data == b'' or data.endswith(b'\n'), 'the log ends with a whole line, not %r' % data[-200:])
    return data.split(b'\n')[:-1]


def wait_lines(path, count):
    return until('%d lines in %s' % (count, path), lambda: content(path).count(b'\n') >= count and lines_of(path))


def ask(port, target='/', headers=()):
    return fetch(port, 'GET', target, headers=list(headers))


with Story('access logs', deadline=240) as t:
    one = Origin('one')
    weir = Weir('''
        [weir]
        access_log = {dir}/combined.log
        log_format = combined
        [listen http]
        bind = 127.0.0.1:{port}
        [listen other]
        bind = 127.0.0.1:{port_b}
        access_log = {dir}/listen.log
        log_format = listen $$ ${method}+$path
        [route json]
        host = logs.example
        path = /json
        log_format = json
        access_log = {dir}/json.log
        upstream = one
        [route quiet]
        path = /quiet
        access_log = off
        upstream = one
        [route both]
        path = /both
        access_log = {dir}/combined.log, {dir}/both.log
        log_format = "$route\\t$status\\t${header:X-A}\\t${cookie:c}\\t${query:q}\\t${response:X-Origin}"
        upstream = one
        [route denied]
        path = /denied
        deny = all
        respond = 200 never
        [route dead]
        path = /dead
        upstream = dead
        [route hello]
        path = /hello
        respond = 200 Hello.
        [route all]
        host = logs.example
        upstream = one
        [upstream one]
        server = {one}
        [upstream dead]
        server = 127.0.0.1:{port_dead} max_conns=7
    ''', one=one)
    log = {name: os.path.join(weir.dir, name + '.log') for name in ('combined', 'json', 'listen', 'both')}

    with t.case('combined: the common fields, then request id, route, upstream, server, tries, times and reason'):
        answer = ask(weir.port, '/x?y=1', [('Host', 'logs.example'), ('User-Agent', 'test'), ('Referer', 'http://r/')])
        line = wait_lines(log['combined'], 1)[0].decode()
        found = re.match(r'^127\.0\.0\.1 - - \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "GET /x\?y=1 HTTP/1\.1" 200 (\d+) '
                         r'"http://r/" "test" (.*)$', line)
        true(found, 'combined: ' + line)
        equal(int(found.group(2)), len(answer.body), 'bytes of body')
        stamp = time.mktime(time.strptime(found.group(1)[:20], '%d/%b/%Y:%H:%M:%S'))
        between(abs(stamp - time.time()), 0, 60, 'age of the time stamp')
        more = dict(pair.split('=', 1) for pair in found.group(3).split(' '))
        equal(more['request_id'], one.last.header('X-Request-ID'), 'request id')
        equal([more[k] for k in ('route', 'upstream', 'server', 'tries', 'reason')],
              ['all', 'one', str(one), '1', '-'], 'more of combined')
        for name in ('duration', 'time_queue', 'time_connect', 'time_header'):
            true(re.match(r'^\d+\.\d{3}$', more[name]), '%s is %s' % (name, more[name]))

    with t.case('why an exchange ended as it did is in its line'):
        for target, status, reason in (('/nowhere', 404, 'no_route'), ('/denied', 403, 'denied'),
                                       ('/dead', 502, 'connect_failed'), ('/hello', 200, '-')):
            have = len(lines_of(log['combined']))
            equal(ask(weir.port, target).status, status, target)
            line = wait_lines(log['combined'], have + 1)[-1].decode()
            contains(line, '" %d ' % status, target)
            true(line.endswith(' reason=' + reason), '%s: %s' % (target, line))

    with t.case('a client that leaves, and bytes that are no request'):
        have = len(lines_of(log['combined']))
        client = Client(weir.port)
        client.ask('GET', '/slow/5000', [('Host', 'logs.example')])
        until('the request is at the origin', lambda: one.last.target == '/slow/5000')
        client.reset()
        contains(wait_lines(log['combined'], have + 1)[-1], b'reason=client_abort', 'a client that left')
        for count, bad in enumerate((b'GET /\x01\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\r\n\r\n',
                                     b'GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n')):
            exchange(weir.port, bad)
            contains(wait_lines(log['combined'], have + 2 + count)[-1], b'reason=bad_request', show(bad))
        true(re.fullmatch(rb'[\n -~]*', content(log['combined'])), 'printable ASCII alone')

    with t.case('json: every line is an object, whatever clients send'):
        for value in HOSTILE:
            with Client(weir.port) as client:
                client.send(b'GET /json?q=%22%5c HTTP/1.1\r\nHost: logs.example\r\nUser-Agent: ' + value + b'\r\n\r\n', 'GET')
                equal(client.read().status, 200, show(value))
        for number, line in enumerate(wait_lines(log['json'], len(HOSTILE))):
            entry = json.loads(line.decode('utf-8'))
            equal([entry[k] for k in ('method', 'host', 'status', 'route', 'upstream', 'tries', 'reason')],
                  ['GET', 'logs.example', 200, 'json', 'one', 1, '-'], 'fields of line %d' % number)
            true(re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', entry['time']), entry['time'])
            true(isinstance(entry['bytes_out'], int) and isinstance(entry['duration'], float), 'numbers are numbers')
            value = HOSTILE[number]
            try:
                want = value.decode('utf-8')
            except UnicodeDecodeError:
                want = None
            if want is not None and len(value) < 4096:
                equal(entry['user_agent'], want, 'the value comes back')
        equal(len(lines_of(log['json'])), len(HOSTILE), 'one line each')

    with t.case('the same in combined: escaped, one line each'):
        have = len(lines_of(log['combined']))
        for value in HOSTILE:
            with Client(weir.port) as client:
                client.send(b'GET /hello HTTP/1.1\r\nHost: a\r\nReferer: ' + value + b'\r\n\r\n', 'GET')
                equal(client.read().status, 200, show(value))
        lines = wait_lines(log['combined'], have + len(HOSTILE))[have:]
        equal(len(lines), len(HOSTILE), 'lines')
        for line in lines:
            true(re.fullmatch(rb'[ -~]*', line), 'printable ASCII alone: %r' % line)
            equal(line.count(b'"'), 6, 'no quote of the client gets through in %r' % line)
        contains(lines[0], rb'quote \x22 backslash \x5c end', 'escapes')

    with t.case('templates: variables, escapes of the quoted text, several targets'):
        have = len(lines_of(log['combined']))
        ask(weir.port, '/both?q=7', [('X-A', 'a'), ('Cookie', 'b=1; c=2')])
        ask(weir.port, '/both')
        want = [b'both\t200\ta\t2\t7\tone', b'both\t200\t-\t-\t-\tone']
        equal(wait_lines(log['both'], 2), want, 'both.log')
        equal(wait_lines(log['combined'], have + 2)[have:], want, 'combined.log')

    with t.case('the nearest access_log counts: route, listener, general; off is none'):
        have = len(lines_of(log['combined']))
        ask(weir.port, '/quiet')
        ask(weir.ports['port_b'], '/quiet')
        ask(weir.ports['port_b'], '/hello')
        ask(weir.port, '/hello')
        wait_lines(log['combined'], have + 1)
        equal(wait_lines(log['listen'], 1), [b'listen $ GET+/hello'], 'listen.log')
        equal(len(lines_of(log['combined'])), have + 1, 'lines in combined.log')

    with t.case('rotation under load loses and tears no line'):
        have = len(lines_of(log['combined']))
        load = Load(weir.port, '/hello', connections=6).start()
        olds = []
        for turn in range(8):
            old = '%s.%d' % (log['combined'], turn)
            before = load.ok
            os.rename(log['combined'], old)
            weir.process.send_signal(signal.SIGUSR1)
            until('the log is there again', lambda: os.path.exists(log['combined']))
            until('requests go on', lambda: load.ok > before + 50)
            olds.append(old)
        load.stop()
        equal(load.lost, 0, 'lost: %r' % load)
        files = olds + [log['combined']]
        until('every request has its line', lambda: sum(content(f).count(b'\n') for f in files) >= have + load.ok)
        lines = [line for f in files for line in lines_of(f)][have:]
        equal(len(lines), load.ok, 'lines of the load')
        true(all(line.startswith(b'127.0.0.1 - - [') and line.endswith(b' reason=-') for line in lines), 'whole lines')
        equal(len(set(re.search(rb'request_id=(\w+)', line).group(1) for line in lines)), load.ok, 'request ids')
        holders = [fd for pid in weir.worker_pids() for fd in os.listdir('/proc/%d/fd' % pid)
                   if 'combined.log.' in os.readlink('/proc/%d/fd/%s' % (pid, fd))]
        equal(holders, [], 'descriptors of old logs in workers')

    with t.case('what waits is written when weir stops'):
        have = len(lines_of(log['combined']))
        load = Load(weir.port, '/hello', connections=4, count=200).run()
        weir.stop(signal.SIGQUIT)
        equal(load.ok, 200, 'requests')
        equal(len(lines_of(log['combined'])), have + 200, 'lines')

    with t.case('to stdout'):
        out = Weir('''
            [weir]
            access_log = stdout
            log_format = out $path
            [listen http]
            bind = 127.0.0.1:{port}
            [route all]
            respond = 200 ok
        ''', name='out')
        ask(out.port, '/a')
        until('the line is on stdout', lambda: 'out /a\n' in out.out())
        out.stop()

    with t.case('a reader that does not read costs lines, not time; when it reads again lines come again, all whole'):
        fifo = t.path('fifo')
        os.mkfifo(fifo, 0o666)
        os.chmod(fifo, 0o666)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        full = Weir('''
            [weir]
            access_log = {fifo}
            log_format = "line $request_uri ${header:X-Fill} end"
            [listen http]
            bind = 127.0.0.1:{port}
            [route all]
            respond = 200 ok
        ''', name='full', fifo=fifo)
        load = Load(full.port, lambda n: '/%d' % n, connections=4, count=1500, headers=[('X-Fill', 'x' * 500)]).run()
        equal(load.ok, 1500, 'requests: %r' % load)
        between(load.quantile(0.99), 0, 1.0, 'seconds of the slowest hundredth')
        full.wait_errors(r'Access log .*fifo.* cannot be written.*lines were lost')
        equal(len(re.findall('lines were lost', full.errors())) <= 2, True, 'one warning a minute and worker')

        def drain():
            data = b''
            try:
                while True:
                    data += os.read(reader, 65536)
            except BlockingIOError:
                return data
        got = [drain()]

        def comes_again():
            ask(full.port, '/again')
            got[0] += drain()
            return b'line /again - end\n' in got[0]
        until('lines come again', comes_again)
        lines = got[0].split(b'\n')
        equal(lines.pop(), b'', 'the end')
        true(all(re.fullmatch(rb'line /(\d+ x{500}|again -) end', line) for line in lines), 'whole lines')
        # At the least what fits into weir's own buffer; how much a pipe holds is up to the machine.
        between(len(lines), 50, 1499, 'lines that were kept')
        full.stop()
        os.close(reader)

    with t.case('a full disk costs lines, not time'):
        disk = Weir('''
            [weir]
            access_log = /dev/full
            [listen http]
            bind = 127.0.0.1:{port}
            [route all]
            respond = 200 ok
        ''', name='disk')
        load = Load(disk.port, '/', connections=4, count=1500, headers=[('User-Agent', 'x' * 500)]).run()
        equal(load.ok, 1500, 'requests: %r' % load)
        disk.wait_errors(r'Access log /dev/full cannot be written, No space left on device')
        disk.stop()

    def syslog():
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        daemon.bind('/dev/log')
        try:
            os.chmod('/dev/log', 0o666)
            daemon.settimeout(5)
            logged = Weir('''
                [weir]
                access_log = syslog
                log_format = via $path
                [listen http]
                bind = 127.0.0.1:{port}
                [route all]
                respond = 200 ok
            ''', name='logged')
            ask(logged.port, '/a')
            line = daemon.recv(4096)
            while b'via' not in line:
                line = daemon.recv(4096)
            true(re.fullmatch(rb'<30>weir\[\d+\]: via /a', line), 'datagram %r' % line)
            daemon.close()
            equal([ask(logged.port, '/b').status for _ in range(200)], [200] * 200, 'without a daemon')
            os.unlink('/dev/log')
            daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            daemon.bind('/dev/log')
            os.chmod('/dev/log', 0o666)
            daemon.setblocking(False)

            def heard():
                ask(logged.port, '/c')
                try:
                    while b'via /c' not in daemon.recv(4096):
                        pass
                    return True
                except BlockingIOError:
                    return False
            until('a new daemon hears of requests again', heard, 15, step=0.2)
            logged.stop()
        finally:
            daemon.close()
            os.unlink('/dev/log')

    if os.path.exists('/dev/log') or not os.access('/dev', os.W_OK):
        t.skip('to the syslog', '/dev/log is taken or cannot be made')
    else:
        with t.case('to the syslog'):
            syslog()
