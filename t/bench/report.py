"""Tables for people, JSON for programs."""

import json
import os
import platform
import statistics

# weir's share of the better peer's CPU time, and of the relay's, that it is built to stay below.
GOALS = {'small': (0.80, 1.15), '10k': (0.80, 1.15), 'browser': (0.80, 1.15), '1m': (0.90, None), 'tls': (0.90, None),
         'tls-1m': (0.90, None), 'h2': (0.90, None), 'h2-100': (0.90, None), 'tls-full': (1.00, None),
         'tls-resumed': (1.00, None), 'close': (0.85, None)}
IDLE_BYTES = 400
# The same of weir's own cost with one route, two servers, one worker; two workers shall do 1.9 times as much on two CPUs.
MANY_GOALS = {'routes': 1.05, 'servers': 1.05, 'workers': 2 / 1.9}


def middle(rows, key='cpu'):
    values = [r[key] for r in rows if key in r]
    return statistics.median(values) if values else None


def table(results, args):
    print('CPU time per request in microseconds (median, least and most of %d turns of %g s), latency in microseconds'
          % (args.turns, args.seconds))
    print('%-12s %-8s %8s %8s %8s %10s %8s %8s %8s %6s' % ('case', 'proxy', 'CPU', 'least', 'most', 'req/s', 'p50', 'p99',
                                                          'p99.9', 'wrong'))
    for name, case in results.items():
        for proxy, rows in case.items():
            if not rows:
                continue
            wrong = sum(r['wrong'] for r in rows)
            if 'memory' in rows[0]:
                print('%-12s %-8s %8.0f bytes for each connection %41d' % (name, proxy, rows[0]['memory'], wrong))
                continue
            cpu = [r['cpu'] for r in rows]
            print('%-12s %-8s %8.2f %8.2f %8.2f %10.0f %8.0f %8.0f %8.0f %6d' % (
                name, proxy, middle(rows), min(cpu), max(cpu), middle(rows, 'rate'), middle(rows, 'p50'),
                middle(rows, 'p99'), middle(rows, 'p999'), wrong))


def share(ours, theirs):
    """Median over the turns of our cost as a part of theirs in the same turn."""
    return statistics.median(a['cpu'] / b['cpu'] for a, b in zip(ours, theirs))


def verdict(value, goal):
    return '%.2f%s' % (value, '' if goal is None else ' (goal %.2f%s)' % (goal, '' if value <= goal else ', missed'))


def one_case(name, case):
    said = []
    others = [case[n] for n in ('nginx', 'haproxy') if case[n]]
    goal, relay_goal = GOALS.get(name, (None, None))
    if others:
        said.append('of the better peer %s' % verdict(max(share(case['weir'], o) for o in others), goal))
    if case['relay']:
        said.append('of the relay %s' % verdict(share(case['weir'], case['relay']), relay_goal))
    return said


def ratios(results):
    print('\nweir, as a part of the CPU time of others in the same turn')
    for name, case in results.items():
        if not case['weir']:
            continue
        if 'memory' in case['weir'][0]:
            if name == 'idle':
                print('%-12s %s bytes' % (name, verdict(case['weir'][0]['memory'], IDLE_BYTES)))
            continue
        said = one_case(name, case)
        if case['one']:
            said.append('of weir with one route, two servers and one worker %s' % verdict(
                share(case['weir'], case['one']), MANY_GOALS.get(name)))
        print('%-12s %s' % (name, ', '.join(said)))


def write_json(results, args):
    with open(args.json, 'w') as f:
        json.dump({'turns': args.turns, 'seconds': args.seconds, 'machine': platform.platform(), 'cpus': os.cpu_count(),
                   'cases': results}, f, indent=1)
    print('\nall figures are in ' + args.json)
