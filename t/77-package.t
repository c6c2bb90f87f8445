#!/usr/bin/python3
# The package from its building to its purging: dpkg-buildpackage from the tree that a tarball would hold, lintian, then,
# in a throw-away copy of this machine with a network of its own, dpkg, the init script with every exit status that it
# promises, a configuration that is broken and mended, a master that is killed, logrotate, removal and purge.
# timeout: 600
import glob
import os
import re
import shutil
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from room import Room

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
BUILT = os.environ.get('builddir') or TOP
INIT = '/etc/init.d/weir'
CONF = '/etc/weir/weir.ini'
SITE = '/etc/weir/conf.d/site.ini'
LOGS = '/var/log/weir'
# What dpkg, adduser and update-rc.d keep of their own work, whatever the package.
NOT_OURS = re.compile(r'/(?:var/lib/(?:logrotate|dpkg|systemd|apt|ucf)|var/cache|var/log/(?:dpkg|apt|alternatives)\S*|usr/sbin/policy-rc\.d|etc/(?:passwd|group|shadow|gshadow|'
                      r'subuid|subgid)-?|var/log/faillog|var/log/lastlog|etc/\.pwd\.lock|etc/ld\.so\.cache|root)(?:/|$)')


def sh(*argv, cwd=None, env=None, timeout=400):
    clean = {k: v for k, v in os.environ.items() if not re.match(r'MAKE|MFLAGS|DEB_|srcdir$|builddir$|PYTHON', k)}
    return subprocess.run(argv, cwd=cwd, env=dict(clean, **(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace', timeout=timeout)


def did(done, what, status=0):
    """The command ended with `status`; what it said is returned."""
    equal(done.returncode, status, '%s: exit status; it said %s' % (what, done.stdout[-3000:]))
    return done.stdout


# ---- building ----

def build(t):
    """The .deb, or None."""
    tree = t.path('build/weir')
    os.mkdir(t.path('build'))
    with t.case('the tree of a tarball is made'):
        did(sh('make', '-s', 'distdir', 'distdir=' + tree, cwd=BUILT), 'make distdir')
    with t.case('dpkg-buildpackage builds the package'):
        # Not optimised, since most of the time of this file goes here.
        did(sh('dpkg-buildpackage', '-us', '-uc', '-b', cwd=tree,
               env={'DEB_BUILD_OPTIONS': 'nocheck noopt parallel=%d' % os.cpu_count()}), 'dpkg-buildpackage')
    found = glob.glob(t.path('build/weir_*.deb'))
    return found[0] if found else None


def linted(t):
    if not shutil.which('lintian'):
        t.skip('lintian finds no fault', 'lintian is not installed')
        return
    with t.case('lintian finds no fault'):
        done = sh('lintian', '--allow-root', '--tag-display-limit', '0', *glob.glob(t.path('build/*.changes')))
        equal([line for line in done.stdout.split('\n') if re.match('[EW]:', line)], [], 'what it says')
        equal(done.returncode, 0, 'exit status; it said ' + done.stdout)


def versions(t):
    with t.case('configure, the Debian package and the spec name one version'):
        def first(path, pattern):
            with open(os.path.join(TOP, path)) as f:
                return re.search(pattern, f.read(), re.M).group(1)
        version = first('configure.ac', r'AC_INIT\(\[weir\], \[(.*?)\]\)')
        equal(first('debian/changelog', r'^weir \((.*?)\)'), version, 'debian/changelog')
        equal(first('rpm/weir.spec', r'^Version: *(\S+)'), version, 'rpm/weir.spec')
    if not shutil.which('rpmlint'):
        t.skip('rpmlint finds no error', 'rpmlint is not installed')
        return
    with t.case('rpmlint finds no error'):
        did(sh('rpmlint', os.path.join(TOP, 'rpm/weir.spec')), 'rpmlint')


# ---- in the room ----

def init(room, verb):
    return room.run(INIT, verb)


def get(room, path, port=80):
    """Status and body."""
    done = room.run('curl', '-s', '-m', '10', '-w', r'\n%{http_code}', 'http://127.0.0.1:%d%s' % (port, path))
    body, _, status = done.stdout.rpartition('\n')
    return int(status or 0), body


def installed(t, room, deb):
    # Where there is no runlevel, as in a container, the policy alone decides: this service starts.
    room.write('/usr/sbin/policy-rc.d', '#!/bin/sh\nexit 104\n')
    os.chmod(room.path('/usr/sbin/policy-rc.d'), 0o755)
    with t.case('dpkg installs it, and it runs'):
        did(room.run('dpkg', '-i', deb), 'dpkg -i')
        contains(did(init(room, 'status'), 'status'), 'running', 'what status says')
    with t.case('until told otherwise it says where to configure it'):
        status, body = get(room, '/')
        equal(status, 404, 'status')
        contains(body, '/etc/weir', 'the answer')
    with t.case('workers run as the account of the package, which owns no file'):
        contains(did(room.run('ps', '-o', 'args=', '-u', 'weir'), 'ps'), 'weir: worker 0', 'processes of weir')
        equal(did(room.run('find', '/etc/weir', '/run', LOGS, '-xdev', '-user', 'weir'), 'find'), '', 'its files')
    with t.case('logs are for root and adm'):
        equal(did(room.run('stat', '-c', '%U:%G %a', LOGS), 'stat'), 'root:adm 2750\n', 'the directory')
        equal(did(room.run('stat', '-c', '%U:%G %a', LOGS + '/access.log'), 'stat'), 'root:adm 640\n', 'a log')
    with t.case('it was registered for the boot'):
        true(glob.glob(room.path('/etc/rc2.d/S*weir')), 'a link in /etc/rc2.d')
    if not shutil.which('systemd-analyze'):
        t.skip('systemd understands the unit', 'there is no systemd-analyze')
        return
    with t.case('systemd understands the unit'):
        equal(did(room.run('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', '/lib/systemd/system/weir.service'), 'verify'), '',
              'what it says')


def reloaded(t, room):
    with t.case('a site in conf.d is in force after a reload'):
        room.write(SITE, '[route site]\npath = /site\nrespond = 200 first\n')
        did(init(room, 'configtest'), 'configtest')
        did(init(room, 'reload'), 'reload')
        equal(get(room, '/site'), (200, 'first'), 'answer')
    with t.case('an address in the edited conffile is in force, too'):
        room.write(CONF, room.read(CONF).replace('bind = *:80\n', 'bind = *:8081\n').replace(
            '[weir]\n', '[weir]\nshutdown_timeout = 2s\n'))
        did(init(room, 'force-reload'), 'force-reload')
        equal(get(room, '/site', 8081), (200, 'first'), 'answer')
    with t.case('a reload of a broken file fails and says why and where, and the old one goes on serving'):
        room.write(SITE, '[route site]\npath = /site\nresponde = 200 second\n')
        said = did(init(room, 'reload'), 'reload', 1)
        contains(said, SITE + ':3', 'what it says')
        contains(said, 'did you mean "respond"', 'what it says')
        equal(get(room, '/site', 8081), (200, 'first'), 'answer')
    with t.case('nor does a restart end what could not start again'):
        contains(did(init(room, 'restart'), 'restart', 6), SITE + ':3', 'what restart says')
        contains(did(init(room, 'configtest'), 'configtest', 6), SITE + ':3', 'what configtest says')
        equal(get(room, '/site', 8081), (200, 'first'), 'answer')
    with t.case('mended, it is taken'):
        room.write(SITE, '[route site]\npath = /site\nrespond = 200 second\n')
        did(init(room, 'reload'), 'reload')
        equal(get(room, '/site', 8081), (200, 'second'), 'answer')


def master(room):
    return int(room.read('/run/weir/weir.pid'))


def exit_statuses(t, room):
    with t.case('start where it runs changes nothing; restart makes a new one'):
        before = master(room)
        did(init(room, 'start'), 'start')
        equal(master(room), before, 'process')
        did(init(room, 'restart'), 'restart')
        true(master(room) != before, 'another process')
        equal(get(room, '/site', 8081), (200, 'second'), 'answer')
    with t.case('a master that was killed is told of as dead, and a start mends it'):
        did(room.run('kill', '-KILL', str(master(room))), 'kill')
        until('status tells', lambda: init(room, 'status').returncode == 1, 10)
        did(init(room, 'reload'), 'reload', 7)
        did(init(room, 'start'), 'start')
        did(init(room, 'status'), 'status')
        equal(get(room, '/site', 8081), (200, 'second'), 'answer')
    with t.case('only root may; nobody knows "begin"'):
        did(init(room, 'begin'), 'begin', 2)
        as_nobody = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', INIT)
        for verb in ('start', 'stop', 'restart', 'reload'):
            did(room.run(*as_nobody, verb), verb, 4)
        did(room.run(*as_nobody, 'status'), 'status')
    with t.case('stopping ends what a killed master left, too'):
        did(room.run('kill', '-KILL', str(master(room))), 'kill')
        did(init(room, 'stop'), 'stop')
        until('no process of weir is left', lambda: room.run('ps', '-o', 'args=', '-u', 'weir').stdout == '', 10)
        did(init(room, 'status'), 'status', 3)
        did(init(room, 'start'), 'start')
    with t.case('stopped: status 3, stop again 0, reload 7, try-restart 0 and nothing'):
        did(init(room, 'stop'), 'stop')
        did(init(room, 'status'), 'status', 3)
        did(init(room, 'stop'), 'stop again')
        did(init(room, 'reload'), 'reload', 7)
        did(init(room, 'try-restart'), 'try-restart')
        did(init(room, 'status'), 'status', 3)
        until('no process of weir is left', lambda: room.run('ps', '-o', 'args=', '-u', 'weir').stdout == '', 10)
    with t.case('not configured: start 6, and it says what is wrong'):
        good = room.read(SITE)
        room.write(SITE, '[route site]\nupstream = none\n')
        contains(did(init(room, 'start'), 'start', 6), SITE + ':2', 'what it says')
        room.write(SITE, good)
        os.rename(room.path(CONF), room.path(CONF + '.away'))
        contains(did(init(room, 'start'), 'start', 6), CONF, 'what it says')
        os.rename(room.path(CONF + '.away'), room.path(CONF))
        did(init(room, 'start'), 'start')


def bounded(t, room):
    with t.case('with no more rights than the unit leaves it, one starts beside the orphans of a killed one, and does its work'):
        unit = room.read('/lib/systemd/system/weir.service')
        caps = ' '.join(re.findall(r'^CapabilityBoundingSet=(.*)$', unit, re.M)).lower().replace('cap_', '+').split()
        true(len(caps) > 5, 'capabilities in the unit')
        start = ('setpriv', '--no-new-privs', '--bounding-set=-all,' + ','.join(caps), '/usr/sbin/weir', '-D', '-c', CONF)
        did(init(room, 'stop'), 'stop')
        did(room.run(*start), 'start')
        did(room.run('kill', '-KILL', str(master(room))), 'kill')
        until('the master is gone', lambda: init(room, 'status').returncode == 1, 10)
        did(room.run(*start), 'start beside orphans')
        did(init(room, 'reload'), 'reload')
        equal(get(room, '/site', 8081), (200, 'second'), 'answer')
        did(init(room, 'restart'), 'restart')


def rotated(t, room):
    if not shutil.which('logrotate'):
        t.skip('logrotate', 'logrotate is not installed')
        return
    with t.case('logrotate moves the logs, and what comes later goes to the new ones'):
        get(room, '/site?before', 8081)
        until('it is logged', lambda: 'site?before' in room.read(LOGS + '/access.log'), 10)
        did(room.run('logrotate', '--force', '/etc/logrotate.d/weir'), 'logrotate')
        def arrives():
            get(room, '/site?after', 8081)
            return 'site?after' in room.read(LOGS + '/access.log')
        until('requests are in the new log', arrives, 10, 0.1)
        contains(room.read(LOGS + '/access.log.1'), 'site?before', 'the old log')
        lacks(room.read(LOGS + '/access.log'), 'site?before', 'the new log')
        equal(did(room.run('stat', '-c', '%U:%G %a', LOGS + '/access.log'), 'stat'), 'root:adm 640\n', 'its rights')


# Fetches until it is told to stop, each time on a new connection; prints how many were answered and what the others met.
CLIENT = r'''
import http.client, sys, threading
stop, good, bad = threading.Event(), 0, []
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.wait(0.002):
    try:
        c = http.client.HTTPConnection("127.0.0.1", 8081, timeout=10)
        c.request("GET", "/site")
        good += c.getresponse().read() == b"second"
        c.close()
    except Exception as e:
        bad.append(repr(e))
print(good, bad)
'''


def installed_again(t, room, deb):
    with t.case('installed over itself under load it loses no request, keeps what the operator wrote, and is another process'):
        before = master(room)
        load = room.start(sys.executable, '-c', CLIENT)
        said = did(room.run('dpkg', '-i', deb), 'dpkg -i')
        until('another master serves', lambda: init(room, 'status').returncode == 0 and master(room) != before, 30)
        result = load.communicate('', timeout=30)[0].strip()
        true(re.match(r'[1-9]\d+ \[\]$', result), 'answers and failures: %s; dpkg said %s' % (result, said))
        equal(get(room, '/site', 8081), (200, 'second'), 'answer')
        true('shutdown_timeout = 2s' in room.read(CONF), 'the change in the conffile')


def gone(t, room):
    with t.case('removed, it does not run, and configuration and logs stay'):
        did(room.run('dpkg', '-r', 'weir'), 'dpkg -r')
        lacks(did(room.run('ps', '-eo', 'args'), 'ps'), 'weir: ', 'processes')
        true(room.read(CONF) and room.read(SITE) and room.read(LOGS + '/access.log.1'), 'files that stay')
        did(room.run('sh', INIT, 'status'), 'status of what is not there', 4)
    with t.case('purged, nothing is left, neither file nor account'):
        did(room.run('dpkg', '-P', 'weir'), 'dpkg -P')
        equal([p for p in room.changed() if 'weir' in p and not p.startswith('/var/cache/man/')], [], 'files')
        equal([p for p in room.changed() if not NOT_OURS.match(p) and os.path.isfile(room.path(p))], [], 'other files')
        equal([p for p in os.listdir(room.path('/run')) if 'weir' in p], [], 'files in /run')
        for name in ('passwd', 'group', 'shadow', 'gshadow'):
            lacks(room.read('/etc/' + name), 'weir', name)


def lived(t, deb):
    try:
        room = Room()
    except OSError as e:
        t.skip('dpkg, the init script, logrotate and purge', 'this machine gives no namespaces: %s' % e)
        return
    there = '/tmp/' + os.path.basename(deb)
    shutil.copy(deb, room.path(there))
    installed(t, room, there)
    reloaded(t, room)
    exit_statuses(t, room)
    bounded(t, room)
    rotated(t, room)
    installed_again(t, room, there)
    gone(t, room)


def lacking():
    tools = [tool for tool in ('make', 'dpkg-buildpackage', 'dh', 'dpkg', 'adduser', 'curl', 'setpriv') if not shutil.which(tool)]
    if sanitized():
        return 'the package is not built with sanitizers'
    if not os.path.isfile(os.path.join(BUILT, 'Makefile')):
        return 'no Makefile in ' + BUILT
    return 'needs ' + ', '.join(tools) if tools else Room.why_not()


with Story('the package', deadline=580) as t:
    why = lacking()
    if why:
        t.skip_all(why)
    versions(t)
    deb = build(t)
    linted(t)
    if deb:
        lived(t, deb)
