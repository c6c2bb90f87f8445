#!/usr/bin/python3
# What "make install" puts where, and that "make uninstall" takes it away again; then what bash completes for weir and
# weirctl, asked as bash asks: with the line and the place in it, beside a running weir with servers to name.
import os
import re
import shutil
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
BUILT = os.environ.get('builddir') or TOP
SCRIPTS = os.path.join(TOP, 'etc', 'install', 'completion', 'bash')
CONF = '''
[listen http]
bind = 127.0.0.1:{port}
[route app]
upstream = app
[route api]
path = /api
upstream = api
[upstream app]
server = 127.0.0.1:{port_a}
server = 127.0.0.1:{port_b} name=two
[upstream api]
server = 127.0.0.1:{port_c} name=three
'''
INSTALLED = ('sbin/weir', 'sbin/weirctl', 'etc/weir/weir.ini', 'etc/init.d/weir', 'etc/default/weir', 'etc/logrotate.d/weir',
             'lib/systemd/system/weir.service', 'share/man/man8/weir.8', 'share/man/man8/weirctl.8', 'share/man/man5/weir.ini.5',
             'share/man/man7/weir-operations.7', 'share/bash-completion/completions/weir', 'share/doc/weir/README.md',
             'share/bash-completion/completions/weirctl', 'share/zsh/site-functions/_weirctl', 'share/doc/weir/examples/weir.ini')


def make(*words):
    env = {k: v for k, v in os.environ.items() if not re.match(r'MAKE|MFLAGS|srcdir$|builddir$|PYTHON', k)}
    done = subprocess.run(('make', '-s') + words, cwd=BUILT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100)
    equal(done.returncode, 0, 'exit status of make; it said ' + done.stdout[-2000:])


def files(top):
    return sorted(os.path.relpath(os.path.join(folder, n), top) for folder, _, names in os.walk(top) for n in names)


def installed(t):
    if not os.path.isfile(os.path.join(BUILT, 'Makefile')) or not shutil.which('make'):
        t.skip('make install', 'no make, or no Makefile in ' + BUILT)
        return
    where = t.path('image')
    # Whatever prefix the build has: these are what decides, and DESTDIR goes before all of them.
    words = ['DESTDIR=' + where, 'prefix=/opt/weir', 'exec_prefix=/opt/weir', 'sysconfdir=/opt/weir/etc', 'localstatedir=/opt/weir/var',
             'sbindir=/opt/weir/sbin', 'mandir=/opt/weir/share/man', 'datadir=/opt/weir/share', 'datarootdir=/opt/weir/share',
             'docdir=/opt/weir/share/doc/weir']
    with t.case('make install puts everything below DESTDIR and the prefix'):
        make('install', *words)
        got = files(where)
        equal([f for f in INSTALLED if 'opt/weir/' + f not in got], [], 'missing')
        equal([f for f in got if not f.startswith('opt/weir/')], [], 'elsewhere')
        equal(sorted(os.listdir(where + '/opt/weir/var/log')), ['weir'], 'directory of the logs')
        true(os.access(where + '/opt/weir/etc/init.d/weir', os.X_OK), 'the init script is executable')
    with t.case('a changed configuration outlives another install and the uninstall, nothing else does'):
        conf = where + '/opt/weir/etc/weir/weir.ini'
        with open(conf, 'a') as f:
            f.write('; changed\n')
        make('install', *words)
        make('uninstall', *words)
        equal(files(where), ['opt/weir/etc/weir/weir.ini'], 'what is left')
        with open(conf) as f:
            true(f.read().endswith('; changed\n'), 'the change')
    with t.case('an unchanged one goes with the rest'):
        os.unlink(conf)
        make('install', *words)
        make('uninstall', *words)
        equal(files(where), [], 'what is left')


def complete(name, line, colons=True):
    """What bash would offer at the end of `line`: the function is called as bash calls it."""
    script = '''
        source %s/%s
        COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(%s'
        COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
        read -r -a COMP_WORDS <<<"$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _%s "$2" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}" 2>/dev/null
        printf '%%s\\n' "${COMPREPLY[@]}"
    ''' % (SCRIPTS, name, ':' if colons else '', name)
    path = program() if name == 'weir' else os.path.join(os.path.dirname(program()), 'weirctl')
    done = subprocess.run(['bash', '--norc', '-c', script, 'bash', line, os.environ.get(name.upper()) or path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
    equal((done.returncode, done.stderr), (0, ''), 'status and complaints of bash')
    return sorted(done.stdout.split())


def completed(t):
    if not shutil.which('bash'):
        t.skip('completion', 'there is no bash')
        return
    weir = Weir(CONF)
    ctl = 'weirctl -s %s ' % weir.control_path
    with t.case('weir: its options, long and short, and files after -c'):
        options = complete('weir', 'weir ')
        for one in ('-c', '--config', '-t', '--test', '-D', '-V', '--options'):
            isin(one, options, 'option')
        equal(complete('weir', 'weir --da'), ['--daemon'], 'completed')
        equal(complete('weir', 'weir -c ' + weir.conf_path[:-2]), [weir.conf_path], 'completed')
        equal(complete('weir', 'weir --options m'), ['man'], 'completed')
    with t.case('weirctl: every verb that its help tells of'):
        verbs = complete('weirctl', 'weirctl ')
        for one in ('status', 'servers', 'drain', 'reload', 'stop', '-s'):
            isin(one, verbs, 'verb')
        equal(complete('weirctl', 'weirctl rea'), ['ready'], 'completed')
        equal(complete('weirctl', ctl + 'rel'), ['reload'], 'completed after -s')
        isin(weir.control_path, complete('weirctl', 'weirctl -s ' + weir.control_path[:-3]), 'files')
    with t.case("weirctl: a verb's own options"):
        isin('--now', complete('weirctl', ctl + 'stop --'), 'option of stop')
        equal(complete('weirctl', ctl + 'status --j'), ['--json'], 'completed')
    with t.case('weirctl: names of servers and upstreams from the running weir'):
        a = weir.ports['port_a']
        equal(complete('weirctl', ctl + 'drain ', colons=False), sorted(['api/three', 'app/127.0.0.1:%d' % a, 'app/two']), 'servers')
        equal(complete('weirctl', ctl + 'drain app/t'), ['app/two'], 'completed')
        equal(complete('weirctl', ctl + 'weight app/127.0.0.1:'), [str(a)], 'what bash lacks after the colon')
        isin('api', complete('weirctl', ctl + 'servers '), 'upstream')
        equal(complete('weirctl', ctl + 'servers ap'), ['api', 'app'], 'completed')
    with t.case('where no weir runs nothing is offered and nothing is said'):
        equal(complete('weirctl', 'weirctl -s /nonexistent drain '), [], 'completed')


with Story('installing and completion', deadline=150) as t:
    installed(t)
    completed(t)
