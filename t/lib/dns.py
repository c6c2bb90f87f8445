"""A name server on loopback, UDP and TCP, that answers as it is told: well, badly, late or not at all."""

import ipaddress
import socket
import struct
import threading
import time

from ports import free_port
from tap import story

A, CNAME, AAAA = 1, 5, 28
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5


class Zone:
    """What is known of one name.  addresses: texts of either family; rcode: an error instead; drop: no answer at all;
    delay: seconds before it; truncate: UDP says "ask by TCP"; wrong_id: an answer to another question comes first;
    mangle: a function of the packet."""

    def __init__(self, addresses=(), ttl=1, rcode=NOERROR, drop=False, delay=0, truncate=False, wrong_id=(),
                 alias=None, mangle=None):
        self.addresses, self.ttl, self.rcode, self.drop, self.delay = list(addresses), ttl, rcode, drop, delay
        self.truncate, self.wrong_id, self.alias, self.mangle = truncate, list(wrong_id), alias, mangle


def wire_name(name):
    return b''.join(bytes([len(part)]) + part.encode() for part in name.split('.') if part) + b'\0'


class Dns:
    """dns = Dns(); dns.zones['app.test'] = Zone(['127.0.0.2']); `resolver = {dns}`.  asked: [(time, name, type, how)]."""

    def __init__(self):
        self.port = free_port()
        self.zones, self.asked = {}, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(('127.0.0.1', self.port))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(('127.0.0.1', self.port))
        self.tcp.listen(64)
        story().adopt(self)
        for run in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=run, daemon=True).start()

    def __str__(self):
        return '127.0.0.1:%d' % self.port

    def count(self, name, how=None):
        return sum(1 for _, n, _, h in list(self.asked) if n == name and how in (None, h))

    def dump(self):
        return [('questions to the name server', '\n'.join('%.3f %s type %d by %s' % q for q in list(self.asked)[-200:]))]

    def kill(self):
        self.udp.close()
        self.tcp.close()

    # -- packets --------------------------------------------------------------------------------------------------------

    @staticmethod
    def question(packet):
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode().lower())
            at += 1 + packet[at]
        kind = struct.unpack('>H', packet[at + 1:at + 3])[0]
        return '.'.join(labels), kind, packet[12:at + 5]

    def records(self, zone, kind, addresses):
        found = []
        owner = b'\xc0\x0c'
        if zone.alias:
            target = wire_name(zone.alias)
            found.append(owner + struct.pack('>HHIH', CNAME, 1, zone.ttl, len(target)) + target)
            owner = target
        for text in addresses:
            address = ipaddress.ip_address(text)
            if kind == (A if address.version == 4 else AAAA):
                found.append(owner + struct.pack('>HHIH', kind, 1, zone.ttl, len(address.packed)) + address.packed)
        return found

    def answers(self, packet, how):
        """Every packet to send back, in order."""
        name, kind, question = self.question(packet)
        self.asked.append((time.monotonic(), name, kind, how))
        zone = self.zones.get(name, Zone(rcode=NXDOMAIN))
        if zone.drop:
            return
        if zone.delay:
            time.sleep(zone.delay)
        ident = struct.unpack('>H', packet[:2])[0]
        if zone.wrong_id:
            found = self.records(zone, kind, zone.wrong_id)
            yield struct.pack('>HHHHHH', ident ^ 0x5555, 0x8180, 1, len(found), 0, 0) + question + b''.join(found)
        found = [] if zone.rcode else self.records(zone, kind, zone.addresses)
        flags = 0x8180 | zone.rcode
        if zone.truncate and how == 'udp':
            found, flags = [], flags | 0x0200
        reply = struct.pack('>HHHHHH', ident, flags, 1, len(found), 0, 0) + question + b''.join(found)
        yield zone.mangle(reply) if zone.mangle else reply

    # -- sockets --------------------------------------------------------------------------------------------------------

    def _one_udp(self, packet, peer):
        for reply in self.answers(packet, 'udp'):
            try:
                self.udp.sendto(reply[:65000], peer)
            except OSError:
                return

    def _serve_udp(self):
        while True:
            try:
                packet, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            threading.Thread(target=self._one_udp, args=(packet, peer), daemon=True).start()

    def _one_tcp(self, conn):
        with conn:
            stream = conn.makefile('rb')
            while len(size := stream.read(2)) == 2:
                for reply in self.answers(stream.read(struct.unpack('>H', size)[0]), 'tcp'):
                    conn.sendall(struct.pack('>H', len(reply)) + reply)

    def _serve_tcp(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._one_tcp, args=(conn,), daemon=True).start()
