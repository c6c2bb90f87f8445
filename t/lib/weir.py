"""weir itself as a test sees it: one running instance (Weir), or one call of the program (weir_run)."""

import os
import re
import shutil
import signal
import subprocess
import time

import certs
import child
from child import Child, alive, birth, children, listening, read_text, title
from ports import free_port
from tap import SLOW, BailOut, Failed, equal, program, story, until

# One line of the access log, in the test's own template: tab, name, =, value.
FIELDS = ('id=$request_id', 'client=$client_ip', 'listen=$listen', 'method=$method', 'uri=$request_uri',
          'host=$host', 'protocol=$protocol', 'status=$status', 'reason=$reason', 'route=$route',
          'upstream=$upstream', 'server=$server', 'tries=$tries', 'in=$bytes_in', 'out=$bytes_out',
          'duration=$duration')

TROUBLE = re.compile(r'AddressSanitizer|UndefinedBehaviorSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer'
                     r'|runtime error:|Assertion .* failed|panic|\bmust\(')


def binary():
    if not os.access(program(), os.X_OK):
        raise BailOut('no weir at %s (set WEIR)' % program())
    return program()


def environment(more=None):
    env = dict(os.environ)
    env.setdefault('ASAN_OPTIONS', 'detect_leaks=0:abort_on_error=0:exitcode=99:quarantine_size_mb=16')
    env.setdefault('UBSAN_OPTIONS', 'print_stacktrace=1:halt_on_error=1')
    env.update(more or {})
    return env


def fill(text, known, ports):
    """Replaces {name}; {port} and {port...} are reserved when first met.  `${...}` and unknown braces stay."""
    def one(found):
        name = found.group(1)
        if name in known:
            return str(known[name])
        if name.startswith('port'):
            if name not in ports:
                ports[name] = free_port()
            return str(ports[name])
        return found.group(0)
    return re.sub(r'(?<!\$)\{([a-z_][a-z0-9_]*)\}', one, text)


def with_defaults(text, defaults):
    """The text with keys of [weir] added where it does not set them."""
    lines = text.split('\n')
    start = next((i for i, line in enumerate(lines) if re.match(r'\s*\[weir\]', line)), None)
    if start is None:
        lines.insert(0, '[weir]')
        start = 0
    own = set()
    for line in lines[start + 1:]:
        if re.match(r'\s*\[', line):
            break
        own.add(line.partition('=')[0].strip())
    lines[start + 1:start + 1] = ['%s = %s' % pair for pair in defaults if pair[0] not in own]
    return '\n'.join(lines)


def over_tls(conf):
    """WEIRTEST_SCHEME=https: every listener gets a certificate; clients of the tests follow (client.py)."""
    if not certs.everywhere() or 'redirect_https' in conf:
        return conf
    pair = certs.common_pair()
    return re.sub(r'^(\s*\[(?:defaults )?listen\b[^]]*\].*)$', lambda found: found.group(1) + '\ncertificate = %s' % pair
                  if 'defaults' not in found.group(1) else found.group(1), conf, flags=re.M)


class Weir(Child):
    """A running weir.  `conf` is its configuration, where {port}, {port_b}.. are free ports (self.port, self.ports),
    {dir} its directory and {one} the origin given as one=...; [weir] gets the test's log files, a pid file and
    `workers` unless set.  Ready when the constructor returns."""

    def __init__(self, conf, name='weir', workers=2, start=True, args=(), env=None, wait=True, own=False, cwd=None,
                 program=None, **things):
        """own: runs a copy of the program in its directory (self.weir) that a test may replace."""
        self.weir = binary()
        name = name.replace(' ', '-')
        self.dir = story().path(name)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.ports = {}
        self.things = dict(things, dir=self.dir)
        self.conf_path = os.path.join(self.dir, 'weir.ini')
        self.error_path = os.path.join(self.dir, 'error.log')
        self.access_path = os.path.join(self.dir, 'access.log')
        self.pid_path = os.path.join(self.dir, 'weir.pid')
        self.control_path = os.path.join(self.dir, 'control.sock')
        self.workers_wanted = workers
        self.write(conf)
        if own:
            self.weir = os.path.join(self.dir, 'weir')
            shutil.copy(binary(), self.weir)
        super().__init__(name, [program or self.weir] + list(args) + ['-c', self.conf_path], cwd=cwd, env=environment(env))
        self.first_workers, self.known = {}, {}
        self.stopped = self.expect_deaths = False
        story().finally_(self.last_check)
        if start:
            self.start(wait)

    def write(self, conf):
        """Writes the configuration anew (a running weir reads it when told to)."""
        text = fill(over_tls(conf), self.things, self.ports)
        self.conf = with_defaults(text, (
            ('workers', self.workers_wanted), ('error_log', self.error_path), ('access_log', self.access_path),
            ('log_format', '"' + r'\t'.join(FIELDS) + '"'), ('pid_file', self.pid_path),
            ('control', self.control_path)))
        self.port = self.ports.get('port')
        with open(self.conf_path, 'w') as f:
            f.write(self.conf)
        found = re.search(r'^\s*workers\s*=\s*(\d+)', self.conf, re.M)
        self.workers_wanted = int(found.group(1)) if found else None

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, wait=True):
        self.stopped = False
        self.launch()
        if wait:
            self.wait_ready()
            self.first_workers = dict(self.workers())

    def bound_ports(self):
        return [int(p) for line in re.findall(r'^\s*bind\s*=(.*)$', self.conf, re.M)
                for p in re.findall(r':(\d+)\b', line)]

    def wait_ready(self, timeout=15):
        """Every port listens and every worker carries its title."""
        def probe():
            if self.process.poll() is not None:
                raise Failed('weir ended with status %s at start\n%s\n%s' % (
                    self.process.returncode, self.err(), self.errors()))
            return all(listening(p) for p in self.bound_ports()) and \
                len(self.workers()) >= (self.workers_wanted or 1)
        until('weir is ready', probe, timeout)

    def workers(self):
        """{number: pid} of the living workers, by their titles."""
        found = {}
        for pid in children(self.pid):
            match = re.match(r'weir: worker (\d+)', title(pid))
            self.known[pid] = birth(pid)
            if match:
                found[int(match.group(1))] = pid
        return found

    def worker_pids(self):
        return sorted(self.workers().values())

    def checker(self):
        """Pid of the checker, or None."""
        return next((p for p in children(self.pid) if title(p).startswith('weir: checker')), None)

    def kill_worker(self, number=None, signum=signal.SIGKILL):
        """Sends a signal to one worker (the lowest unless told) and gives its pid."""
        self.expect_deaths = True
        workers = self.workers()
        pid = workers[min(workers) if number is None else number]
        os.kill(pid, signum)
        return pid

    def wait_respawn(self, old_pid, timeout=5):
        """Until all workers are there again and none of them is old_pid; the seconds it took."""
        began = time.monotonic()
        until('worker %d is replaced' % old_pid, lambda: old_pid not in self.worker_pids()
              and len(self.workers()) >= (self.workers_wanted or 1), timeout, step=0.005)
        return time.monotonic() - began

    def follow(self):
        """After an upgrade: from here on self.pid is the master that the pid file names; gives it."""
        self.pid = int(read_text(self.pid_path))
        self.known[self.pid] = birth(self.pid)
        self.workers()
        return self.pid

    def stop(self, signum=signal.SIGTERM, status=0, timeout=10):
        """Ends weir by a signal; asserts exit status, that no child is left and that no sanitizer spoke."""
        if self.pid != self.process.pid:
            self.stop_heir(signum, timeout)
        elif self.process.poll() is None:
            self.workers()
            self.process.send_signal(signum)
        got = self.wait(timeout)
        self.stopped = True
        equal(got, status, 'exit status of weir after signal %d' % signum)
        until('the children of weir are gone', lambda: not any(birth(p) == b and alive(p)
                                                               for p, b in self.known.items()), 2)
        self.check_trouble()

    def stop_heir(self, signum, timeout):
        """A master that is no child of ours."""
        self.workers()
        os.kill(self.pid, signum)
        until('master %d is gone' % self.pid, lambda: not alive(self.pid), timeout)

    def check_trouble(self):
        for what, text in (('stderr', self.err()), ('error log', self.errors())):
            found = TROUBLE.search(text)
            if found:
                raise Failed('weir has trouble in its %s: %s' % (what, text[max(0, found.start() - 200):][:3000]))

    def last_check(self):
        """At the end of every story: no worker died unasked, and weir ends as it should."""
        if self.process is None or self.stopped:
            return
        with story().case('%s: every worker lived to the end, weir stops with status 0 and no complaint' % self.name):
            self.check_trouble()
            if self.pid == self.process.pid and self.process.poll() is not None:
                raise Failed('weir had ended before, with status %s' % self.process.returncode)
            if self.first_workers and not self.expect_deaths:
                equal(self.workers(), self.first_workers, 'workers now and at the start')
            os.kill(self.pid, signal.SIGCONT)
            self.stop()

    def kill(self):
        if self.process is not None:
            if self.process.poll() is None or self.pid != self.process.pid:
                self.workers()
            child.end_pids(self.process, list(self.known.items()))

    # -- what it tells ------------------------------------------------------------------------------------------------

    def errors(self):
        """The error log."""
        return read_text(self.error_path)

    def wait_errors(self, pattern, timeout=5):
        """Until the error log has a match for the regex; the match."""
        return until('the error log shows %r' % pattern, lambda: re.search(pattern, self.errors()), timeout)

    def access(self):
        """The access log: a dictionary per line, by the names in FIELDS."""
        lines = read_text(self.access_path).split('\n')[:-1]
        return [dict(part.partition('=')[::2] for part in line.split('\t')) for line in lines]

    def wait_access(self, want, timeout=5, what=None):
        """Until a line of the access log satisfies: want is a function, or a dictionary of fields; the line."""
        def fits(line):
            return want(line) if callable(want) else all(line.get(k) == str(v) for k, v in want.items())
        return until(what or 'the access log shows %r' % (want,),
                     lambda: next((line for line in self.access() if fits(line)), None), timeout)

    def dump(self):
        return [('configuration of %s' % self.name, self.conf)] + super().dump() + [
            ('error log of %s' % self.name, self.errors()),
            ('access log of %s' % self.name, read_text(self.access_path))]


class Daemon:
    """A weir that left its parent: ends with the story all the same."""

    def __init__(self, pid):
        self.pid, self.birth = pid, birth(pid)
        self.family = [(p, birth(p)) for p in children(pid)]
        story().adopt(self)

    def dump(self):
        return []

    def kill(self):
        for pid, born in [(self.pid, self.birth)] + self.family:
            if birth(pid) == born:
                os.kill(pid, signal.SIGKILL)


class Run:
    """code, out, err, and text (both) of one call; `conf` is what was written."""

    def __init__(self, done, conf, path):
        self.code, self.conf, self.path = done.returncode, conf, path
        self.out = done.stdout.decode('utf-8', 'backslashreplace')
        self.err = done.stderr.decode('utf-8', 'backslashreplace')
        self.text = self.out + self.err

    def __repr__(self):
        return '<exit %d, %r>' % (self.code, self.text)


_runs = [0]


def weir_run(*args, conf=None, env=None, timeout=15, files=None, **things):
    """Runs weir to its end; with conf, that is written (as it stands, but for {placeholders}) and given by -c.
    files: {name: text} are written beside it.  Returns a Run."""
    path, text, args = None, None, list(args)
    if conf is not None:
        _runs[0] += 1
        folder = story().path('run-%d' % _runs[0])
        os.makedirs(folder)
        os.chmod(folder, 0o755)
        for name, content in (files or {}).items():
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(content if isinstance(content, bytes) else content.encode())
        path = os.path.join(folder, 'weir.ini')
        text = conf
        if not isinstance(conf, bytes):
            text = fill(conf, dict(things, dir=folder), {}).encode()
        with open(path, 'wb') as f:
            f.write(text)
        args += ['-c', path]
    process = child.spawn([binary()] + [str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(env))
    try:
        out, err = process.communicate(timeout=timeout * SLOW)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Failed('weir %s did not end within %.1f s\n%s\n%s' % (args, timeout * SLOW, out, err)) from None
    done = subprocess.CompletedProcess(args, process.returncode, out, err)
    run = Run(done, text, path)
    if TROUBLE.search(run.text):
        raise Failed('weir %s has trouble: %r' % (args, run))
    return run
