"""What the master tells about itself over its control socket, as a test needs it."""

import json
import socket

from tap import SLOW, Failed, show, until


def control(weir, words):
    """The text that answers a request line; Failed when the status is not 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10 * SLOW)
        sock.connect(weir.control_path)
        sock.sendall(words.encode() + b'\n')
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    status, _, text = b''.join(parts).decode().partition('\n')
    if status != '0':
        raise Failed('control socket, %s: status %s, %s' % (words, status, text))
    return text


def status(weir):
    """totals, reasons, upstreams, workers, restarts and more, as a dictionary."""
    return json.loads(control(weir, 'status --json'))


def totals(weir):
    """Counters and levels by their names in stat.def."""
    return status(weir)['totals']


def servers(weir):
    """A dictionary per server: upstream, server, state, active, requests, failures and more."""
    return json.loads(control(weir, 'servers --json'))


def busy(weir):
    """Every level that is not 0, by name: of the whole, of upstreams and of servers.  Idle pooled connections are none."""
    now = status(weir)
    levels = {name: now['totals'][name] for name in ('active_connections', 'active_requests')}
    levels.update(('queued for ' + u['name'], u['queued']) for u in now['upstreams'])
    levels.update(('active on %s of %s' % (s['server'], s['upstream']), s['active']) for s in servers(weir))
    return {name: level for name, level in levels.items() if level}


def wait_idle(weir, timeout=5):
    """Until nothing is under way: no client, no request, nothing active or queued anywhere, not even by mistake."""
    last = [None]

    def probe():
        last[0] = busy(weir)
        return not last[0]
    try:
        until('weir is idle', probe, timeout, step=0.02)
    except Failed as failure:
        raise Failed('%s; not 0: %s' % (failure, show(last[0], 2000))) from None
