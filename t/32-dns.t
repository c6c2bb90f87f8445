#!/usr/bin/python3
# A name server that answers well, badly, late and never; a weir that looks its servers up there; origins on addresses of
# loopback. Each name is an upstream of its own; they all change at once, so that the time to live is waited for once.
# timeout: 120
import os
import sys
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from dns import NXDOMAIN, SERVFAIL, Dns, Zone
from ports import free_port

NAMES = ('two', 'alias', 'slow', 'keeps-servfail', 'keeps-nothing', 'keeps-silence', 'late', 'never', 'silent', 'many',
         'long', 'liar', 'loops', 'garbage', 'moves', 'both')


def upstream(name, port, more=''):
    return '''
        [route %s]
        path = /%s
        upstream = %s
        [upstream %s]
        server = %s.test:%d
        %s
    ''' % (name, name, name, name, name, port, more)


def pointer_loop(packet):
    """The answer's owner points at itself."""
    at = packet.rfind(b'\xc0\x0c')
    return packet if at < 0 else packet[:at] + b'\xc0' + bytes([at]) + packet[at + 2:]


def servers_of(weir, name):
    """{address: state} of the upstream's servers that are addresses of its name now."""
    return {s['server'].partition('@')[2]: s['state'] for s in servers(weir)
            if s['upstream'] == name and '@' in s['server'] and s['state'] != 'unused'}


def who(weir, path):
    answer = fetch(weir.port, 'GET', path)
    equal(answer.status, 200, 'status of %s' % path)
    return answer.text


def seen_by(weir, path, n=12):
    return {who(weir, path) for _ in range(n)}


def main(t):
    port = free_port()
    origins = {n: Origin('o%d' % n, lambda m, c, n=n: Reply(200, 'o%d' % n), address='127.0.0.%d' % n, port=port)
               for n in (2, 3, 4, 5)}
    dns = Dns()
    zones = dns.zones
    zones['two.test'] = Zone(['127.0.0.2', '127.0.0.3'])
    zones['alias.test'] = Zone(['127.0.0.4'], alias='real.alias.test')
    zones['slow.test'] = Zone(['127.0.0.2'], delay=1.5)
    zones['keeps-servfail.test'] = Zone(['127.0.0.2'])
    zones['keeps-nothing.test'] = Zone(['127.0.0.3'])
    zones['keeps-silence.test'] = Zone(['127.0.0.4'])
    zones['late.test'] = Zone(rcode=NXDOMAIN)
    zones['never.test'] = Zone(rcode=NXDOMAIN)
    zones['silent.test'] = Zone(drop=True)
    zones['many.test'] = Zone(['127.0.0.%d' % n for n in range(2, 42)])
    zones['long.test'] = Zone(['127.0.0.2'] + ['127.0.1.%d' % n for n in range(1, 20)], truncate=True)
    zones['liar.test'] = Zone(['127.0.0.3'], wrong_id=['127.0.0.5'])
    zones['loops.test'] = Zone(['127.0.0.3'], mangle=pointer_loop)
    zones['garbage.test'] = Zone(['127.0.0.3'], mangle=lambda packet: packet[:2] + os.urandom(60))
    zones['moves.test'] = Zone(['127.0.0.2', '127.0.0.3'], ttl=0)
    zones['both.test'] = Zone(['127.0.0.5', '::1'])
    conf = '''
        [weir]
        resolver = {dns}
        [listen http]
        bind = 127.0.0.1:{port}
        [route here]
        path = /here
        respond = 200 here
        [route local]
        path = /local
        upstream = local
        [upstream local]
        server = localhost:{other}
    ''' + ''.join(upstream(name, port, 'balance = round_robin' if name in ('two', 'moves') else '') for name in NAMES)
    local = Origin('local', lambda m, c: Reply(200, 'local'))
    weir = Weir(conf, dns=dns, other=local.port)

    with t.case('weir serves although some names do not resolve'):
        equal(fetch(weir.port, 'GET', '/here').text, 'here', 'body')
    with t.case('a request waits for the first look-up of its name instead of failing'):
        equal(who(weir, '/slow'), 'o2', 'who answered')
    with t.case('each address of a name is a server'):
        equal(seen_by(weir, '/two'), {'o2', 'o3'}, 'who answered')
        line = weir.wait_access(lambda l: l['upstream'] == 'two')
        true(line['server'].startswith('two.test:%d@127.0.0.' % port), 'called NAME@IP in the log, %r' % line['server'])
    with t.case('an alias is followed'):
        equal(who(weir, '/alias'), 'o4', 'who answered')
    with t.case('localhost is found without the name server'):
        equal(who(weir, '/local'), 'local', 'who answered')
        equal(dns.count('localhost'), 0, 'questions for localhost')
    with t.case('both families are taken'):
        until('two addresses', lambda: len(servers_of(weir, 'both')) == 2 or
              ('::1' not in servers_of(weir, 'both') and servers_of(weir, 'both')))
        equal(who(weir, '/both'), 'o5', 'who answered')
    with t.case('a name that does not exist has no server: 503 at once, and a warning'):
        began = time.monotonic()
        equal(fetch(weir.port, 'GET', '/never').status, 503, 'status')
        between(time.monotonic() - began, 0, 1, 'seconds')
        weir.wait_errors(r'warn .*Host name never\.test of upstream never cannot be resolved: there is no such name')
    with t.case('of 40 addresses 32 are used, and that is said'):
        until('32 servers', lambda: len(servers_of(weir, 'many')) == 32)
        weir.wait_errors(r'many\.test of upstream many has 40 addresses, of which 32 are used')
    with t.case('a truncated answer is asked for again by TCP'):
        until('20 servers', lambda: len(servers_of(weir, 'long')) == 20)
        true(dns.count('long.test', 'tcp') > 0, 'asked by TCP')
    with t.case('an answer to another question is not believed'):
        equal(seen_by(weir, '/liar', 6), {'o3'}, 'who answered')
    with t.case('a compression loop and garbage harm nobody'):
        equal(fetch(weir.port, 'GET', '/here').status, 200, 'status')
        true(weir.checker(), 'the checker lives')

    with t.case('a name server that never answers: the name is down after its tries, and a warning says why'):
        weir.wait_errors(r'Host name silent\.test of upstream silent cannot be resolved: no name server answered', 12)
        equal(fetch(weir.port, 'GET', '/silent').status, 503, 'status')

    checker = weir.checker()
    zones['two.test'] = Zone(['127.0.0.3', '127.0.0.4'])
    zones['keeps-servfail.test'] = Zone(rcode=SERVFAIL)
    zones['keeps-nothing.test'] = Zone(rcode=NXDOMAIN)
    zones['keeps-silence.test'] = Zone(drop=True)
    zones['late.test'] = Zone(['127.0.0.5'])
    zones['silent.test'] = Zone(['127.0.0.2'])
    zones['moves.test'] = Zone(['127.0.0.4'], ttl=0)
    with t.case('an address that is gone from the answer is no longer used, a new one is'):
        until('the new addresses', lambda: set(servers_of(weir, 'two')) == {'127.0.0.3', '127.0.0.4'}, 10)
        equal(seen_by(weir, '/two'), {'o3', 'o4'}, 'who answered')
        until('all moved', lambda: set(servers_of(weir, 'moves')) == {'127.0.0.4'}, 10)
        equal(seen_by(weir, '/moves'), {'o4'}, 'who answered')
    with t.case('a name that appears later gets its servers'):
        until('it is resolved', lambda: fetch(weir.port, 'GET', '/late').status == 200, 10)
        equal(who(weir, '/late'), 'o5', 'who answered')
        until('it is resolved', lambda: fetch(weir.port, 'GET', '/silent').status == 200, 10)
    with t.case('SERVFAIL, NXDOMAIN and silence keep the last good addresses, with a warning'):
        for name, origin in (('keeps-servfail', 'o2'), ('keeps-nothing', 'o3'), ('keeps-silence', 'o4')):
            weir.wait_errors(r'Host name %s\.test .*Its last addresses stay in use' % name, 20)
            equal(who(weir, '/' + name), origin, 'who answered for %s' % name)
    with t.case('a time to live of 0 is held for five seconds'):
        between(dns.count('moves.test'), 2, 2 * 8, 'questions, two families each')
    with t.case('trouble is said once, not each time'):
        equal(weir.errors().count('Host name never.test'), 1, 'warnings')
        between(dns.count('never.test'), 4, 40, 'questions')
    with t.case('it was one checker all the time'):
        equal(weir.checker(), checker, 'pid')

    with t.case('a new checker takes up what is known'):
        zones['two.test'] = Zone(drop=True)
        os.kill(checker, 9)
        weir.expect_deaths = True
        until('there is a new checker', lambda: weir.checker() not in (None, checker), 5)
        equal(seen_by(weir, '/two'), {'o3', 'o4'}, 'who answered')
        equal(set(servers_of(weir, 'two')), {'127.0.0.3', '127.0.0.4'}, 'servers')
    with t.case('a name recovers'):
        zones['keeps-servfail.test'] = Zone(['127.0.0.5'])
        until('the new address', lambda: set(servers_of(weir, 'keeps-servfail')) == {'127.0.0.5'}, 20)
        equal(who(weir, '/keeps-servfail'), 'o5', 'who answered')


with Story('names become servers', deadline=110) as t:
    main(t)
