"""A handler that holds requests until the test lets them go: who is where, counted without a clock."""

import asyncio

from origin import Reply, loop
from tap import Failed, show, until


class Gate:
    """Origin('one', handler=gate): requests are held until release(), or answered at once after open().

    held: the requests held now, oldest first.  seen: all that came, in order.  most: how many were ever held at once by
    one origin.  `only`: a function of the request; others pass.  Requests of several origins may share one gate.
    """

    def __init__(self, only=None):
        self.only = only
        self.held, self.seen, self.most = [], [], {}
        self.doors = {}
        self.is_open = False

    async def __call__(self, message, conn):
        if self.is_open or (self.only and not self.only(message)):
            return NotImplemented
        name = conn.origin.name
        door = self.doors[id(message)] = asyncio.Event()
        message.origin = conn.origin
        self.seen.append(message)
        self.held.append(message)
        self.most[name] = max(self.most.get(name, 0), self.count(name))
        try:
            await door.wait()
        finally:
            self.held.remove(message)
            self.doors.pop(id(message), None)
        return Reply(200, name)

    def count(self, name):
        """Requests held by the origin of that name."""
        return sum(m.origin.name == name for m in self.held)

    def counts(self):
        """{name: held now} of every origin that held one."""
        found = {}
        for message in list(self.held):
            found[message.origin.name] = found.get(message.origin.name, 0) + 1
        return found

    def wait_held(self, count, timeout=5):
        def probe():
            return len(self.held) == count
        try:
            until('the gate holds %d requests' % count, probe, timeout)
        except Failed as failure:
            raise Failed('%s; it holds %s' % (failure, show([(m.origin.name, m.target) for m in self.held], 3000))) \
                from None
        return list(self.held)

    def release(self, message=None):
        """Lets one go: the oldest unless told."""
        message = message or self.held[0]
        door = self.doors[id(message)]
        loop().call_soon_threadsafe(door.set)
        until('the gate let %s go' % message.target, lambda: message not in self.held, 5, step=0.001)
        return message

    def open(self):
        """Lets all go, and whoever comes."""
        self.is_open = True
        loop().call_soon_threadsafe(lambda: [door.set() for door in self.doors.values()])
        until('the gate is empty', lambda: not self.held)

    def shut(self):
        """Holds again; forgets what was seen."""
        self.is_open = False
        self.seen.clear()
        self.most.clear()
