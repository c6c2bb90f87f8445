#!/usr/bin/python3
# Logs that cannot be written: a full disk, a reader that stopped, one that died, a syslog that is not there. No worker
# waits for any of them, what is lost is counted and told, and writing goes on by itself once there is room.
# timeout: 120
import fcntl
import os
import re
import signal
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
import child

MANY = 1500                     # lines, more than a worker keeps for later
CONF = '''
[weir]
access_log = {log}
error_log = {errors}
log_level = debug
log_format = line {pad} $request_uri $status
[listen http]
bind = 127.0.0.1:{port}
max_requests = 0
[route all]
upstream = one
[upstream one]
server = {one}
'''
PAD = 100 * '='
LINE = re.compile(r'line =+ /[a-z0-9]+/[0-9]+ 200')


def serve(weir, name, count=50):
    """That many requests on one connection, all answered."""
    with Client(weir.port) as client:
        for i in range(count):
            equal(client.fetch('GET', '/%s/%d' % (name, i)).status, 200, 'status of request %d' % i)


def dropped(weir):
    return totals(weir)['log_drops']


def same_workers(weir):
    equal(weir.workers(), weir.first_workers, 'workers')


def all_whole(lines):
    """Lines of access log, none torn or mixed."""
    equal([line for line in lines if not LINE.fullmatch(line)], [], 'lines that are not whole')


def full_device(t, one):
    with t.case('/dev/full for both logs: every request is served, lost lines are counted'):
        weir = Weir(CONF, name='full', workers=1, one=one, pad=PAD, log='/dev/full', errors='/dev/full')
        serve(weir, 'full', MANY)
        until('losses are counted', lambda: dropped(weir) > 0)
        true(dropped(weir) < MANY, 'no more than there were: %d' % dropped(weir))
        same_workers(weir)
        weir.stop()


def small_disk(t, one):
    disk = t.path('disk')
    os.mkdir(disk)
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512k,mode=755', 'tmpfs', disk], capture_output=True)
    if done.returncode:
        t.skip('a disk that is full', 'cannot mount one: %s' % done.stderr.decode().strip())
        return
    try:
        full_disk(t, one, disk)
    finally:
        subprocess.run(['umount', '-l', disk], check=True)


def full_disk(t, one, disk):
    log, filler = os.path.join(disk, 'access.log'), os.path.join(disk, 'filler')
    weir = Weir(CONF, name='disk', workers=1, one=one, pad=PAD, log=log, errors=os.path.join(t.dir, 'disk.log'))
    errors = os.path.join(t.dir, 'disk.log')
    serve(weir, 'before', 20)
    until('20 lines are there', lambda: child.read_text(log).count('\n') == 20)
    with t.case('a disk that fills up: every request is served, the loss is told once'):
        with open(filler, 'wb', buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
        serve(weir, 'during', 3 * MANY)
        until('losses are counted', lambda: dropped(weir) > 0)
        told = re.findall(r'Access log .*access\.log cannot be written, (.*?):', child.read_text(errors))
        equal(told, ['No space left on device'], 'what the error log says')
        same_workers(weir)
    with t.case('with room again lines go on, none of them torn'):
        os.unlink(filler)
        served = 20 + 3 * MANY

        def probe():
            nonlocal served
            serve(weir, 'after', 5)
            served += 5
            return '/after/' in child.read_text(log)
        until('new lines come', probe)
        serve(weir, 'last', 20)
        until('the last line is there', lambda: '/last/19 200\n' in child.read_text(log))
        lines = child.read_text(log).split('\n')[:-1]
        all_whole(lines)
        equal(len(lines) + dropped(weir), served + 20, 'lines and losses together')
    weir.stop()


class Piped(Weir):
    """A weir whose stdout is a pipe, small, to `reader`: the other end."""

    def launch(self):
        self.reader, end = os.pipe()
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reader, False)
        with open(self.err_path, 'ab') as err, open(os.devnull, 'rb') as none:
            self.process = child.spawn(self.args, stdin=none, stdout=end, stderr=err, env=dict(os.environ, **self.env))
        os.close(end)
        self.pid = self.process.pid

    def drain(self):
        """What has come through the pipe."""
        got = b''
        while True:
            try:
                part = os.read(self.reader, 65536)
            except BlockingIOError:
                return got.decode()
            if not part:
                return got.decode()
            got += part


def pipes(t, one):
    errors = os.path.join(t.dir, 'pipe.log')
    weir = Piped(CONF, name='pipe', workers=2, one=one, pad=PAD, log='stdout', errors=errors)
    with t.case('a reader that stands still: every request is served, losses are counted'):
        for i in range(6):
            serve(weir, 'still%d' % i, MANY // 2)
        until('losses are counted', lambda: dropped(weir) > 0)
        contains(child.read_text(errors), 'Access log stdout cannot be written', 'error log')
        same_workers(weir)
    with t.case('when it reads again all lines are whole and new ones come'):
        text = weir.drain()

        def probe():
            nonlocal text
            serve(weir, 'again', 5)
            text += weir.drain()
            return '/again/4 200\n' in text
        until('new lines come', probe)
        all_whole(text.split('\n')[:-1])
    with t.case('a reader that died: every request is served, nobody dies of it'):
        os.close(weir.reader)
        for i in range(3):
            serve(weir, 'dead%d' % i, 300)
        same_workers(weir)
        weir.stop()


def open_fifo(fifo):
    """A descriptor, as soon as somebody reads there; while it is open, the reader stays."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def stopped_reader(t, one):
    with t.case('errors to a pipe whose reader is stopped: every request is served, the master lives'):
        fifo = t.path('fifo')
        os.mkfifo(fifo)
        os.chmod(fifo, 0o666)
        reader = child.spawn(['cat', fifo], stdout=subprocess.DEVNULL)
        try:
            end = until('somebody reads', lambda: open_fifo(fifo))
            weir = Weir(CONF, name='stopped', workers=2, one=one, pad=PAD, log=fifo, errors=fifo)
            os.close(end)
            serve(weir, 'flow', 20)
            os.kill(reader.pid, signal.SIGSTOP)
            for i in range(6):
                serve(weir, 'stopped%d' % i, MANY // 2)
            until('losses are counted', lambda: dropped(weir) > 0)
            same_workers(weir)
            os.kill(reader.pid, signal.SIGCONT)
            serve(weir, 'flow', 20)
            reader.kill()
            reader.wait()
            serve(weir, 'gone', 300)
            same_workers(weir)
            weir.stop()
        finally:
            reader.kill()
            reader.wait()


def no_syslog(t, one):
    if os.path.exists('/dev/log'):
        t.skip('a syslog that is not there', 'there is one here')
        return
    with t.case('a syslog that is not there: weir starts, says so and serves'):
        weir = Weir(CONF, name='syslog', workers=1, one=one, pad=PAD, log='syslog', errors='syslog')
        serve(weir, 'syslog', MANY)
        until('losses are counted', lambda: dropped(weir) > 0)
        same_workers(weir)
        weir.stop()
        contains(weir.err(), '/dev/log', 'what stderr was told')


class Limited(Weir):
    """A weir whose files may not grow beyond 256 KiB."""

    def launch(self):
        self.args = ['prlimit', '--fsize=262144', '--'] + self.args
        super().launch()


def file_size(t, one):
    with t.case('a limit on the size of files: nobody dies of its signal, losses are counted'):
        log = t.path('limited.log')
        weir = Limited(CONF, name='limited', workers=1, one=one, pad=PAD, log=log, errors=t.path('limited-errors.log'))
        serve(weir, 'limited', 3 * MANY)
        until('losses are counted', lambda: dropped(weir) > 0)
        same_workers(weir)
        equal(os.path.getsize(log), 262144, 'size of the log')
        weir.stop()


with Story('logs that cannot be written', deadline=100) as t:
    one = Origin('one')
    full_device(t, one)
    small_disk(t, one)
    pipes(t, one)
    stopped_reader(t, one)
    no_syslog(t, one)
    file_size(t, one)
