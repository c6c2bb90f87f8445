"""Free ports that no other test file gets.

weir binds with SO_REUSEPORT, so a clash would not show as an error but as requests that reach a stranger.  A port is
therefore ours only while we hold the lock on its file; the lock goes with the process, however that ends.  The range
lies below the kernel's ephemeral ports, so no outgoing connection takes one meanwhile.
"""

import fcntl
import os
import random
import socket
import tempfile

LOW, HIGH = 10240, 32000

_held = []


def _lock(port):
    folder = os.path.join(tempfile.gettempdir(), 'weir-t-ports.%d' % os.getuid())
    os.makedirs(folder, mode=0o755, exist_ok=True)
    fd = os.open(os.path.join(folder, str(port)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _unused(port):
    """Nobody is bound to it, on any address (no SO_REUSEADDR: a port in TIME_WAIT is left alone too)."""
    for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        with sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((address, port))
            except OSError:
                return False
    return True


def free_port():
    """A port number that stays ours until this process ends."""
    draw = random.SystemRandom()
    for _ in range(2000):
        port = draw.randrange(LOW, HIGH)
        fd = _lock(port)
        if fd is None:
            continue
        if _unused(port):
            _held.append(fd)
            return port
        os.close(fd)
    raise RuntimeError('no free port between %d and %d' % (LOW, HIGH))
