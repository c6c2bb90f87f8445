"""TAP output, deadlines and the last word of a test file.

A Story owns everything that was started while it ran: it numbers the cases, prints every log when one failed, ends all
children by their pid and removes the temporary directory.  It knows nothing of HTTP or weir: what wants to be dumped or
ended registers itself with `adopt`.
"""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback



def program():
    """Path of the weir under test: $WEIR, else ./weir at the top of the tree."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.abspath(os.environ.get('WEIR') or os.path.join(here, '..', '..', 'weir'))


def sanitized():
    """The program is a sanitizer build."""
    try:
        with open(program(), 'rb') as f:
            return b'__asan_init' in f.read()
    except OSError:
        return False


SLOW = float(os.environ.get('WEIRTEST_SLOW', '0')) or (3.0 if sanitized() else 1.0)
DUMP_LIMIT = 48 * 1024

_current = None


class Failed(AssertionError):
    """An expectation of the test did not hold."""


class Deadline(BaseException):
    """The whole file ran out of time; not an Exception, so that no test swallows it."""


class BailOut(BaseException):
    """Nothing in this file can work, say because there is no binary."""


def story():
    """The story that is being told; things register with it."""
    if _current is None:
        raise RuntimeError('start one inside `with Story(...) as t:`')
    return _current


def show(value, limit=600):
    """A value on one line, bytes as text with escapes, cut in the middle."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        text = repr(bytes(value))
    else:
        text = repr(value)
    if len(text) > limit:
        text = '%s ... %d more ... %s' % (text[:limit // 2], len(text) - limit, text[-limit // 2:])
    return text


def until(what, probe, timeout=5.0, step=0.01):
    """Calls probe() until it returns something true and returns that; Failed after `timeout` (scaled) seconds."""
    end = time.monotonic() + timeout * SLOW
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() >= end:
            raise Failed('waited %.1f s in vain until %s' % (timeout * SLOW, what))
        time.sleep(step)


def equal(got, want, what='value'):
    if got != want:
        raise Failed('%s: got %s, expected %s' % (what, show(got), show(want)))


def true(got, what):
    if not got:
        raise Failed('%s: got %s' % (what, show(got)))
    return got


def isin(got, wanted, what='value'):
    if got not in wanted:
        raise Failed('%s: got %s, expected one of %s' % (what, show(got), show(wanted)))


def contains(got, want, what='text'):
    if want not in got:
        raise Failed('%s: %s is not in %s' % (what, show(want), show(got, 2000)))


def lacks(got, unwanted, what='text'):
    if unwanted in got:
        raise Failed('%s: %s should not be in %s' % (what, show(unwanted), show(got, 2000)))


def between(got, low, high, what='value'):
    if not low <= got <= high:
        raise Failed('%s: got %s, expected %s to %s' % (what, show(got), low, high))


def say(text):
    """A line of TAP; nobody may be listening any more, and what was started must be ended all the same."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass


class NoMeaning(Failed):
    """What the case does cannot be said in the protocol that the whole test is repeated over."""


class Case:
    """One TAP line: `with t.case('text'):` is ok unless the block raises."""

    def __init__(self, owner, text, todo=None):
        self.owner, self.text, self.todo = owner, text, todo

    def __enter__(self):
        self.began = time.monotonic()
        return self

    def __exit__(self, kind, error, tb):
        spent = time.monotonic() - self.began
        if error is None:
            self.owner.report(True, self.text, self.todo)
            if spent > 5:
                self.owner.note('took %.1f s' % spent)
            return False
        if isinstance(error, NoMeaning):
            self.owner.skip(self.text, 'of HTTP/1 alone')
            return isinstance(error, Exception)
        self.owner.report(False, self.text, self.todo)
        if isinstance(error, Failed):
            where = [f for f in traceback.extract_tb(tb) if not f.filename.endswith('/lib/tap.py')]
            for frame in where[-2:]:
                self.owner.note('at %s:%d  %s' % (os.path.basename(frame.filename), frame.lineno, frame.line))
            self.owner.note(str(error))
        else:
            self.owner.note(''.join(traceback.format_exception(kind, error, tb)))
        return isinstance(error, Exception)


class Story:
    """The frame of a test file; see the guide in weirtest.py."""

    def __init__(self, title, deadline=120):
        self.title = title
        self.seconds = deadline * SLOW
        self.count = self.failures = 0
        self.things = []
        self.last_words = []
        self.skipped = None

    def __enter__(self):
        global _current
        _current = self
        sys.stdout.reconfigure(line_buffering=True, errors='backslashreplace')
        self.began = time.monotonic()
        self.dir = tempfile.mkdtemp(prefix='weir-t-')
        os.chmod(self.dir, 0o755)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self.on_signal)
        signal.signal(signal.SIGALRM, self.on_alarm)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        self.backstop = threading.Timer(self.seconds + 15, self.give_up)
        self.backstop.daemon = True
        self.backstop.start()
        self.note(self.title)
        return self

    def on_signal(self, signum, frame):
        raise Deadline('stopped by signal %d' % signum)

    def on_alarm(self, signum, frame):
        raise Deadline('the whole file had %.0f s' % self.seconds)

    def give_up(self):
        """Backstop, on a thread of its own, for a main thread that no exception reaches."""
        say('not ok %d - deadline, and the main thread did not react' % (self.count + 1))
        self.end_all()
        os._exit(1)

    def adopt(self, thing):
        """thing.dump() -> [(title, text)], thing.kill() ends it whatever its state; last adopted ends first."""
        self.things.append(thing)

    def finally_(self, check):
        """check() runs after the story's last line and may open cases of its own."""
        self.last_words.append(check)

    def report(self, good, text, todo=None):
        self.count += 1
        if not good and not todo:
            self.failures += 1
        text = text.replace('#', r'\#').replace('\n', ' ')
        say('%sok %d - %s%s' % ('' if good else 'not ', self.count, text, ' # TODO ' + todo if todo else ''))
        return good

    def note(self, text):
        say('\n'.join('# ' + line for line in str(text).rstrip('\n').split('\n')))

    def ok(self, good, text):
        return self.report(bool(good), text)

    def case(self, text, todo=None):
        return Case(self, text, todo)

    def skip(self, text, why):
        self.count += 1
        say('ok %d - %s # SKIP %s' % (self.count, text, why))

    def skip_all(self, why):
        self.skipped = why
        raise SystemExit(0)

    def path(self, name):
        return os.path.join(self.dir, name)

    def dump(self):
        kinds = {}
        for thing in self.things:
            kinds[type(thing)] = kinds.get(type(thing), 0) + 1
        for thing in self.things:
            kinds[type(thing)] -= 1
            if kinds[type(thing)] >= 16:            # of hundreds of clients, the last ones tell enough
                continue
            try:
                parts = thing.dump()
            except Exception as error:
                parts = [('no dump of %r' % thing, repr(error))]
            for title, text in parts:
                if isinstance(text, bytes):
                    text = text.decode('utf-8', 'backslashreplace')
                if len(text) > DUMP_LIMIT:
                    half = DUMP_LIMIT // 2
                    text = '%s\n[... %d characters ...]\n%s' % (text[:half], len(text) - 2 * half, text[-half:])
                self.note('---- ' + title)
                self.note(text if text else '(empty)')
        self.note('---- end of logs')

    def end_all(self):
        for thing in reversed(self.things):
            try:
                thing.kill()
            except Exception as error:        # one that cannot be ended must not keep the next alive
                self.note('ending %r: %r' % (thing, error))

    def conclude(self, kind, error, tb):
        if error is None:
            for check in self.last_words:
                check()
            return
        self.report(False, 'the story broke off')
        self.note(''.join(traceback.format_exception(kind, error, tb)))

    def __exit__(self, kind, error, tb):
        if self.skipped is not None:
            say('1..0 # SKIP ' + self.skipped)
            self.leave(0)
        if kind is BailOut:
            say('Bail out! %s' % error)
            self.leave(2)
        try:
            self.conclude(kind, error, tb)
        except BaseException as late:
            self.report(False, 'the last checks broke off')
            self.note(''.join(traceback.format_exception(type(late), late, late.__traceback__)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            say('1..%d' % self.count)
            if self.failures:
                self.dump()
            self.note('%d cases, %d failed, %.1f s' % (self.count, self.failures, time.monotonic() - self.began))
        except Exception as error:
            self.failures += 1
            say('# %r' % error)
        self.leave(1 if self.failures else 0)

    def leave(self, code):
        """Ends everything and this process; threads of origins and clients go with it."""
        self.end_all()
        if os.environ.get('KEEP') == '1':
            print('# kept ' + self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        os._exit(code)
