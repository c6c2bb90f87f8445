#!/usr/bin/python3
# Everything under etc/ that a newcomer runs, run as its own README says, only on free ports: two Flask services, three
# Node replicas, the compose file's weir.ini before a name server of the test's, the demonstration, and the two files
# that everybody starts from.
# timeout: 240
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from child import read_text
from dns import Dns, Zone
from weir import environment

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
EXAMPLES = os.path.join(TOP, 'etc', 'examples')
PYTHON = '/usr/bin/python3'

# The two files that documentation shows first, word for word.
BY_PATH = '''; Two services behind one address, by path; anything else gets a greeting.
[listen http]
bind = *:80

[route service1]
path = /service1
strip_prefix = yes
upstream = service1

[route service2]
path = /service2
strip_prefix = yes
upstream = service2

[route welcome]
respond = 200 Welcome to the reverse proxy!

[upstream service1]
server = service1:5000

[upstream service2]
server = service2:5000
'''

BALANCER = '''; A load balancer: least connections over three servers, with active checks.
[listen http]
bind = *:80

[route app]
upstream = app

[upstream app]
balance = least_conn
server = 192.168.1.101:80
server = 192.168.1.102:80 weight=2
server = 192.168.1.103:80 backup
check = http
check_path = /healthz
'''


class Script(Child):
    """An example's ./run with its ports in the environment; all it starts is gone when it is."""

    def __init__(self, example, **ports):
        self.folder = os.path.join(EXAMPLES, example)
        self.ports = list(ports.values())
        env = {name: str(port) for name, port in ports.items()}
        super().__init__(example, ['./run'], cwd=self.folder, env=environment(dict(
            env, WEIR=program(), PYTHON=PYTHON, PYTHONDONTWRITEBYTECODE='1')))
        self.launch()
        for port in self.ports:
            self.wait_listening(port, 20)
        self.family = children(self.pid)

    def member(self, word):
        """Pid of the one whose environment has the word."""
        return next(p for p in children(self.pid) if word in read_text('/proc/%d/environ' % p).split('\0'))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        equal(self.wait(), 0, 'exit status of ./run')
        until('what ./run started is gone', lambda: not any(alive(p) for p in self.family))
        true(not any(listening(p) for p in self.ports), 'no port listens any more')


def readme(example):
    return read_text(os.path.join(EXAMPLES, example, 'README.md'))


def told(text):
    """The paths that a text says to try with curl."""
    return re.findall(r'curl (?:-\w+ )*http://localhost:(?:8080|\$port)(/\S*?)[;\s]', text)


def get(port, path, *more):
    """As the README says it: by curl, at localhost."""
    return curl('http://localhost:%d%s' % (port, path), *more)


# ---- two Flask services ------------------------------------------------------------------------------------------------

def two_services(t):
    ports = {name: free_port() for name in ('WEIR_PORT', 'SERVICE1_PORT', 'SERVICE2_PORT')}
    port = ports['WEIR_PORT']
    with t.case('two-services: ./run starts both services and weir'):
        script = Script('two-services', **ports)
    with t.case('two-services: the README tells what is tried here'):
        equal(told(readme('two-services')), ['/', '/service1/hello', '/service2/', '/service10'], 'paths')
    for name, path, seen in (('service1', '/service1/hello', '/hello'), ('service2', '/service2/', '/'),
                             ('service2', '/service2', '/')):
        with t.case('two-services: %s is answered by %s, which sees %s' % (path, name, seen)):
            got = get(port, path)
            equal((got.code, got.status), (0, 200), 'curl and status')
            answer = json.loads(got.text)
            equal((answer['service'], answer['path']), (name, seen), 'service and path')
            equal(answer['prefix'], '/' + name, 'X-Forwarded-Prefix')
            isin(answer['client'], ('127.0.0.1', '::1'), 'X-Forwarded-For')
            equal(answer['host'], 'localhost:%d' % port, 'Host')
    for path in ('/', '/service10', '/service', '/else/service1'):
        with t.case('two-services: %s gets the greeting' % path):
            got = get(port, path)
            equal((got.status, got.text), (200, 'Welcome to the reverse proxy!'), 'status and text')
    with t.case('two-services: ./run ends what it started'):
        script.end()


# ---- three Node replicas -----------------------------------------------------------------------------------------------

def who(port, count, **more):
    """How often each replica answered `count` requests."""
    found = Counter()
    for _ in range(count):
        answer = fetch(port, 'GET', '/', **more)
        equal(answer.status, 200, 'status')
        found[re.match(r'Hello from (\S+): GET /\n', answer.text).group(1)] += 1
    return found


def replica_lost(t, script, port, app_port):
    with t.case('replicas: one is killed under load: no request is lost, the other two carry on'):
        load = Load(port, connections=6, pause=0.01).start()
        until('the load runs', lambda: load.ok > 60)
        os.kill(script.member('HOSTNAME=replica1'), signal.SIGKILL)
        until('replica1 is gone', lambda: not listening(app_port))
        at = load.ok
        until('the load goes on', lambda: load.ok > at + 300)
        equal(load.stop().lost, 0, 'requests lost: %r' % load)
        equal(set(who(port, 12)), {'replica2', 'replica3'}, 'who answers')
    with t.case('replicas: started again as the README says, it takes its share after two good checks'):
        contains(readme('replicas'), 'HOSTNAME=replica1 PORT=3001 node app.js', 'README')
        again = Child('replica1', ['node', 'app.js'], cwd=script.folder,
                      env={'HOSTNAME': 'replica1', 'PORT': str(app_port)})
        load = Load(port, connections=2, pause=0.05).start()
        again.launch()
        until('all three answer', lambda: len(who(port, 9)) == 3, 20, step=0.2)
        equal(load.stop().lost, 0, 'requests lost: %r' % load)
    again.kill()


def replicas(t):
    ports = {name: free_port() for name in ('WEIR_PORT', 'APP1_PORT', 'APP2_PORT', 'APP3_PORT')}
    port = ports['WEIR_PORT']
    with t.case('replicas: ./run starts three replicas and weir'):
        script = Script('replicas', **ports)
        until('all three answer', lambda: len(who(port, 9)) == 3, 10, step=0.1)
    with t.case('replicas: the six requests of the README reach all three, told apart by host name'):
        contains(readme('replicas'), 'for i in 1 2 3 4 5 6; do curl http://localhost:8080/; done', 'README')
        answers = [get(port, '/') for _ in range(6)]
        equal([a.status for a in answers], [200] * 6, 'statuses')
        equal({a.text for a in answers}, {'Hello from replica%d: GET /\n' % n for n in (1, 2, 3)}, 'answers')
    with t.case('replicas: of eight clients at once, none is lost and no replica left out'):
        found = Counter()
        load = Load(port, connections=8, count=240, check=lambda m: found.update([m.text]) or m.status == 200).run()
        equal(load.lost, 0, 'requests lost: %r' % load)
        equal(len(found), 3, 'replicas that answered: %r' % found)
    replica_lost(t, script, port, ports['APP1_PORT'])
    with t.case('replicas: ./run ends what it started'):
        script.end()


# ---- containers by service name ------------------------------------------------------------------------------------------

def compose_by_hand(text):
    """Enough of YAML for this one file, where python3-yaml is not installed: {service: {key: text below it}}."""
    services, service, key = {}, None, None
    for line in text.split('\n'):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        true('\t' not in line, 'no tab in %r' % line)
        indent, word = len(line) - len(line.lstrip()), line.strip()
        if indent == 2:
            service = services.setdefault(word.rstrip(':'), {})
        elif indent == 4:
            key = word.partition(':')[0]
            service[key] = word.partition(':')[2].strip()
        elif indent > 4:
            service[key] += '\n' + word
    return services


def compose_file(t):
    folder = os.path.join(EXAMPLES, 'compose')
    text = read_text(os.path.join(folder, 'compose.yaml'))
    try:
        import yaml
    except ImportError:
        yaml = None
    with t.case('compose: compose.yaml has the two services, and every file that it names is there'):
        services = yaml.safe_load(text)['services'] if yaml else compose_by_hand(text)
        equal(sorted(services), ['app', 'weir'], 'services')
        for path in re.findall(r'- (\./[^:\s]+):', text):
            true(os.path.isfile(os.path.join(folder, path)), '%s is there' % path)
        context = os.path.join(folder, re.search(r'context: (\S+)', text).group(1))
        true(os.path.samefile(context, TOP), 'the build context is the top of the tree')
        true(os.path.isfile(os.path.join(context, re.search(r'dockerfile: (\S+)', text).group(1))), 'Dockerfile is there')
        lacks(services['app'], 'ports', 'the scaled service, whose host port only one container could have')
        lacks(services['app'], 'container_name', 'the scaled service, of which there are several')
    with t.case('compose: names and ports of compose.yaml and weir.ini agree'):
        conf = read_text(os.path.join(folder, 'weir.ini'))
        contains(text, 'PORT: "3000"', 'compose.yaml')
        contains(conf, ':-app:3000}', 'weir.ini')
        contains(text, '"8080:8080"', 'compose.yaml')
        contains(conf, 'WEIR_PORT:-8080}', 'weir.ini')


def package_of(name):
    """The Debian package that brings a library, or None where that cannot be asked."""
    try:
        done = subprocess.run(['dpkg-query', '-S', '*/' + name], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.match(r'([^:\s,]+)', done.stdout)
    return found and found.group(1)


def dockerfile(t):
    text = read_text(os.path.join(EXAMPLES, 'compose', 'Dockerfile')).replace('\\\n', ' ')
    lists = [set(words.split()) for words in re.findall(r'--no-install-recommends([^&\n]*)', text)]
    with t.case('compose: the Dockerfile installs what ./bootstrap build needs'):
        block = re.search(r'need_to_build\(\) \{(.*?)\n\}', read_text(os.path.join(TOP, 'bootstrap')), re.S).group(1)
        needed = {'gcc' if 'CC' in p else p for p in re.findall(r'^\tneed (\S+)', block, re.M)}
        equal(needed - lists[0], set(), 'packages that are missing in the build stage')
    what = 'compose: the image has every library that weir is linked with'
    done = subprocess.run(['ldd', program()], capture_output=True, text=True, check=False)
    libraries = re.findall(r'^\s*(\S+) =>', done.stdout, re.M)
    packages = {package_of(name) for name in libraries}
    if sanitized() or not libraries or None in packages:
        t.skip(what, 'the packages of the libraries cannot be told here')
        return
    with t.case(what):
        equal(packages - lists[1] - {'libc6', 'libgcc-s1'}, set(), 'packages that are missing in the image')


class Containers:
    """Replicas of the compose file's app, each on an address of its own, as containers have."""

    def __init__(self, port):
        self.port, self.running = port, {}

    def up(self, number):
        child = Child('app-%d' % number, ['node', os.path.join(EXAMPLES, 'compose', 'app.js')],
                      env={'HOSTNAME': 'app-%d' % number, 'ADDRESS': '127.0.0.%d' % number, 'PORT': str(self.port)})
        child.launch()
        until('app-%d listens' % number, lambda: 'app-%d listens' % number in child.out(), 15)
        self.running[number] = child

    def down(self, number):
        self.running.pop(number).kill()


def weir_of_compose(more, **env):
    """The example's weir.ini on a loopback port; `more` is added to [weir]."""
    conf = read_text(os.path.join(EXAMPLES, 'compose', 'weir.ini'))
    for was, now in (('[weir]\n', '[weir]\n' + more), ('bind = *:', 'bind = 127.0.0.1:')):
        contains(conf, was, 'weir.ini')
        conf = conf.replace(was, now)
    port = free_port()
    weir = Weir(conf, name='compose-%d' % port, wait=False, env=dict(env, WEIR_PORT=str(port)))
    weir.wait_listening(port)
    until('an answer comes', lambda: fetch(port, 'GET', '/').status == 200, 10, step=0.1)
    return weir, port


def without_docker(t):
    with t.case('compose: tried without Docker, as the README says'):
        text = readme('compose')
        contains(text, 'ADDRESS=127.0.0.1 PORT=3000 node app.js', 'README')
        contains(text, 'APP=localhost:3000 ', 'README')
        apps = Containers(free_port())
        apps.up(1)
        weir, port = weir_of_compose('', APP='localhost:%d' % apps.port)
        equal(set(who(port, 6)), {'app-1'}, 'who answers')
        weir.stop()
        apps.down(1)


def compose(t):
    compose_file(t)
    dockerfile(t)
    if not have_node():
        t.skip('compose: scaling up and down', 'no Node here')
        return
    without_docker(t)
    dns, apps = Dns(), Containers(free_port())
    for number in (2, 3, 4):
        apps.up(number)

    def zone(*numbers):
        dns.zones['app'] = Zone(['127.0.0.%d' % n for n in numbers])
    zone(2, 3, 4)
    weir, port = weir_of_compose('resolver = %s\n' % dns, APP='app:%d' % apps.port)

    def answering(*numbers):
        want = {'app-%d' % n for n in numbers}
        until('exactly %s answer' % sorted(want), lambda: set(who(port, 12)) == want, 30, step=0.2)
    with t.case('compose: three containers behind one name all answer'):
        answering(2, 3, 4)
    with t.case('compose: scaled down, the one that is gone costs no request'):
        load = Load(port, connections=2, pause=0.02).start()
        zone(2, 3)
        apps.down(4)
        answering(2, 3)
        equal(load.stop().lost, 0, 'requests lost: %r' % load)
    with t.case('compose: scaled up, the new ones take their share, and no request is lost'):
        load = Load(port, connections=2, pause=0.02).start()
        apps.up(4)
        apps.up(5)
        zone(2, 3, 4, 5)
        answering(2, 3, 4, 5)
        equal(load.stop().lost, 0, 'requests lost: %r' % load)
    with t.case('compose: taken out of the name while it still runs, a container gets nothing more'):
        zone(2, 3)
        answering(2, 3)
        weir.stop()


# ---- the demonstration -----------------------------------------------------------------------------------------------------

def demo_answers(t, port):
    with t.case('demo: all three backends have their turn, each known by X-Backend and by its text'):
        answers = [get(port, '/') for _ in range(6)]
        equal([a.status for a in answers], [200] * 6, 'statuses')
        found = Counter(re.search(r'(?i)^x-backend: (\d)\r$', a.head, re.M).group(1) for a in answers)
        equal(found, {'1': 2, '2': 2, '3': 2}, 'turns')
        for a in answers:
            number = re.search(r'(?i)^x-backend: (\d)\r$', a.head, re.M).group(1)
            equal(a.text, 'hello from backend %s, which was asked for /\n' % number, 'text')
    with t.case('demo: one backend by path, without the prefix'):
        for _ in range(3):
            equal(get(port, '/b2/anything').text, 'hello from backend 2, which was asked for /anything\n', 'text')
    with t.case('demo: an answer without a backend, and a redirect'):
        got = get(port, '/hello')
        equal(got.status, 200, 'status')
        true(re.match(r'Hello from weir itself, (127\.0\.0\.1|::1)\. You asked for /hello\.', got.text), got.text)
        got = get(port, '/old')
        equal(got.status, 301, 'status')
        true(re.search(r'(?i)^location: /hello\r$', got.head, re.M), 'Location in %r' % got.head)


def demo(t):
    path = os.path.join(TOP, 'etc', 'demo.ini')
    env = {name: str(free_port()) for name in ('WEIR_PORT', 'WEIR_PORT_B1', 'WEIR_PORT_B2', 'WEIR_PORT_B3')}
    port = int(env['WEIR_PORT'])
    with t.case('demo: what ./bootstrap run says to try is tried here'):
        text = read_text(os.path.join(TOP, 'bootstrap'))
        equal(told(text), ['/', '/', '/b2/anything', '/hello', '/old'], 'paths')
    with t.case('demo: weir -t finds nothing to complain of'):
        run = weir_run('-t', '-c', path, env=env)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        lacks(run.text, 'warning', 'output')
    with t.case('demo: -e and -T as told'):
        run = weir_run('-e', 'GET http://localhost:%d/b2/x' % port, '-c', path, env=env)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.out, 'only_second', 'explanation')
        run = weir_run('-T', '-c', path, env=env)
        equal(run.code, 0, 'exit status; it said ' + run.text)
        contains(run.out, 'check_interval = 2s', 'the whole configuration')
    weir = Child('demo', [program(), '-c', path], cwd=TOP, env=environment(env))
    weir.launch()
    for each in env.values():
        weir.wait_listening(int(each))
    with t.case('demo: the first request is answered, whoever comes first'):
        equal(get(port, '/').status, 200, 'status')
    demo_answers(t, port)
    with t.case('demo: every request has its line on stdout'):
        until('the lines are there', lambda: weir.out().count(' /hello ') == 1, 5)
        equal(weir.stop(signal.SIGQUIT), 0, 'exit status')
        equal(weir.out().count('GET / '), 7, 'lines for /')


# ---- the two files that everybody starts from ---------------------------------------------------------------------------------

def as_written(t):
    for name, text, route, upstream in (('by path', BY_PATH, 'service1', 'service1'), ('balancer', BALANCER, 'app', 'app')):
        with t.case('the file "%s" is good as it is written, and explained' % name):
            run = weir_run('-t', conf=text)
            equal(run.code, 0, 'exit status; it said ' + run.text)
            run = weir_run('-e', 'GET http://example/service1/x', conf=text)
            equal(run.code, 0, 'exit status; it said ' + run.text)
            true(re.search(r'route.*\b%s\b' % route, run.out), 'the route: ' + run.out)
            true(re.search(r'upstream.*\b%s\b' % upstream, run.out), 'the upstream: ' + run.out)


def by_path(t):
    """Only the addresses to listen on and the ports are others; names are looked up at the test's own name server."""
    dns = Dns()
    one, two = Origin('one', address='127.0.0.2'), Origin('two', address='127.0.0.3')
    dns.zones['service1'], dns.zones['service2'] = Zone(['127.0.0.2']), Zone(['127.0.0.3'])
    text = BY_PATH.replace('*:80', '127.0.0.1:{port}').replace('service1:5000', 'service1:{one}') \
        .replace('service2:5000', 'service2:{two}')
    weir = Weir('[weir]\nresolver = %s\n%s' % (dns, text), name='by-path', one=one.port, two=two.port)
    for name, origin in (('service1', one), ('service2', two)):
        with t.case('by path: /%s/x is /x at %s' % (name, name)):
            until('the name is known', lambda: fetch(weir.port, 'GET', '/%s/' % name).status == 200, 10)
            got = fetch(weir.port, 'GET', '/%s/x?a=b' % name)
            equal((got.status, got.header('X-Origin')), (200, origin.name), 'status and origin')
            equal(origin.last.target, '/x?a=b', 'what it was asked for')
            equal(origin.last.header('X-Forwarded-Prefix'), '/' + name, 'X-Forwarded-Prefix')
    with t.case('by path: anything else gets a greeting'):
        for path in ('/', '/service3', '/service1x'):
            got = fetch(weir.port, 'GET', path)
            equal((got.status, got.text), (200, 'Welcome to the reverse proxy!'), 'status and text')
            equal(got.header('Content-Type').split(';')[0], 'text/plain', 'Content-Type')


def balancer(t):
    port = free_port()
    gate = Gate(only=lambda m: m.target != '/healthz')
    gate.open()
    names = ('first', 'double', 'backup')
    first, double, backup = (Origin(name, handler=gate, address='127.0.1.%d' % n, port=port)
                             for n, name in enumerate(names, 101))
    text = BALANCER.replace('*:80', '127.0.0.1:{port}').replace('192.168', '127.0').replace(':80', ':%d' % port)
    weir = Weir(text, name='balancer', workers=2)
    gate.shut()
    with t.case('balancer: of twelve requests under way the server of weight 2 has twice as many, the backup none'):
        clients = []
        for n in range(12):
            clients.append(Client(weir.port))
            clients[-1].ask('GET', '/')
            gate.wait_held(n + 1)
        equal(gate.counts(), {'first': 4, 'double': 8}, 'held')
        gate.open()
        for client in clients:
            with client:
                equal(client.read().status, 200, 'status')
    with t.case('balancer: every server is checked at /healthz, the backup too'):
        for origin in (first, double, backup):
            until('%s was checked' % origin.name, lambda: any(m.target == '/healthz' for m in origin.requests), 15)
    with t.case('balancer: with both servers gone the backup answers, and no request is lost'):
        load = Load(weir.port, connections=2, pause=0.05).start()
        until('the load runs', lambda: load.ok > 5)
        first.down()
        double.down()
        until('the backup answers', lambda: fetch(weir.port, 'GET', '/').header('X-Origin') == 'backup', 20, step=0.1)
        equal(load.stop().lost, 0, 'requests lost: %r' % load)


with Story('the examples, as their READMEs say', deadline=200) as t:
    if have_flask():
        two_services(t)
    else:
        t.skip('two-services', 'no Flask here')
    if have_node():
        replicas(t)
    else:
        t.skip('replicas', 'no Node here')
    compose(t)
    demo(t)
    as_written(t)
    by_path(t)
    balancer(t)
