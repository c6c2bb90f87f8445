"""Byte streams that a test drives itself: the ends of a tunnel, servers that send just what they are told to."""

import socket
import struct

from ports import free_port
from tap import SLOW, Failed, show


class Peer:
    """One end of a stream, as a test drives it."""

    def __init__(self, sock):
        self.sock, self.got = sock, b''
        sock.settimeout(10 * SLOW)

    def send(self, data):
        self.sock.sendall(data)

    def read(self, n):
        while len(self.got) < n:
            part = self.sock.recv(65536)
            if not part:
                raise Failed('the stream ended after %s, wanted %d bytes' % (show(self.got), n))
            self.got += part
        data, self.got = self.got[:n], self.got[n:]
        return data

    def head(self):
        while b'\r\n\r\n' not in self.got:
            part = self.sock.recv(65536)
            if not part:
                raise Failed('the stream ended within a head: %s' % show(self.got))
            self.got += part
        head, _, self.got = self.got.partition(b'\r\n\r\n')
        return head.decode('latin-1') + '\r\n'

    def end(self):
        """What comes until the end, and how it ends."""
        try:
            while part := self.sock.recv(65536):
                self.got += part
        except ConnectionResetError:
            return self.got, 'reset'
        return self.got, 'eof'

    def nothing(self, seconds=0.15):
        """Not a byte and no end."""
        self.sock.settimeout(seconds)
        try:
            part = self.sock.recv(1)
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(10 * SLOW)
        self.got += part
        return False

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Raw:
    """A server whose connections the test accepts and serves itself."""

    def __init__(self):
        self.port = free_port()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen(200)
        self.listener.settimeout(10 * SLOW)

    def __str__(self):
        return '127.0.0.1:%d' % self.port

    def accept(self):
        return Peer(self.listener.accept()[0])
