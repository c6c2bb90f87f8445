"""Steady load: keep-alive connections that ask one request after the other and say how each ended."""

import asyncio
import threading
import time
from collections import Counter

from client import request
from tap import SLOW, Failed
from wire import Decoder, Malformed, Truncated


class Load:
    """`connections` clients ask for target (or target(n)) until stop(), or `count` requests in all.

    check(message) -> True when the response is right (default: status 200).  close_each: a connection per request.
    counts: ok, refused, reset (while a response was due), truncated, malformed, timeout, wrong, and '5xx', '4xx' by
    status class; `closed` counts keep-alive connections that ended between two requests, which is no loss: that request
    is sent again.  lost: all but ok and closed.  latencies: seconds of the ok ones.  samples: the first few troubles.
    """

    def __init__(self, port, target='/', connections=8, count=None, check=None, method='GET', headers=(), body=b'',
                 address='127.0.0.1', pause=0.0, timeout=10, close_each=False):
        self.port, self.address, self.target, self.method = port, address, target, method
        self.headers, self.body, self.pause, self.timeout = list(headers), body, pause, timeout * SLOW
        self.connections, self.count, self.close_each = connections, count, close_each
        self.check = check or (lambda message: message.status == 200)
        self.counts, self.latencies, self.samples = Counter(), [], []
        self.given = 0
        self.running = True
        self.thread = None

    def start(self):
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()), daemon=True)
        self.thread.start()
        return self

    def stop(self, timeout=30):
        """Lets every request under way end; returns self."""
        self.running = False
        return self.join(timeout)

    def join(self, timeout=60):
        self.thread.join(timeout * SLOW)
        if self.thread.is_alive():
            raise Failed('the load did not end; so far %r' % self)
        return self

    def run(self, timeout=60):
        return self.start().join(timeout)

    @property
    def lost(self):
        return sum(n for what, n in self.counts.items() if what not in ('ok', 'closed'))

    @property
    def ok(self):
        return self.counts['ok']

    def quantile(self, share):
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(len(ranked) * share))] if ranked else 0.0

    def __repr__(self):
        return '<load %s, p50 %.1f ms, p99 %.1f ms, troubles %r>' % (
            dict(self.counts), self.quantile(0.5) * 1e3, self.quantile(0.99) * 1e3, self.samples)

    async def main(self):
        await asyncio.gather(*(self.one() for _ in range(self.connections)))

    def next_target(self):
        if not self.running or (self.count is not None and self.given >= self.count):
            return None
        self.given += 1
        return self.target(self.given) if callable(self.target) else self.target

    async def one(self):
        stream = None
        while (target := self.next_target()) is not None:
            began = time.monotonic()
            data = request(self.method, target, self.headers, self.body)
            what, detail, stream = await self.attempt(stream, data)
            if what == 'closed':
                self.counts['closed'] += 1
                what, detail, stream = await self.attempt(None, data)
            self.counts[what] += 1
            if what == 'ok':
                self.latencies.append(time.monotonic() - began)
            elif len(self.samples) < 10:
                self.samples.append((round(time.monotonic(), 3), what, detail))
            if self.pause or what == 'refused':
                await asyncio.sleep(self.pause or 0.01)
        if stream:
            stream[1].close()

    async def attempt(self, stream, data):
        """(what, detail, stream to go on with)"""
        fresh = stream is None
        got = [0]
        try:
            if fresh:
                stream = await asyncio.wait_for(asyncio.open_connection(self.address, self.port), self.timeout)
            message = await asyncio.wait_for(self.talk(stream, data, got), self.timeout)
        except ConnectionRefusedError:
            return 'refused', '', None
        except asyncio.TimeoutError:
            what, detail = 'timeout', '%d bytes had come' % got[0]
        except (ConnectionError, OSError) as error:
            what, detail = 'reset', '%r, %d bytes had come' % (error, got[0])
        except Truncated as error:
            what, detail = 'truncated', str(error)
        except Malformed as error:
            what, detail = 'malformed', str(error)
        else:
            return self.judge(stream, message)
        if stream:
            stream[1].close()
        if not fresh and not got[0] and what in ('reset', 'truncated'):
            return 'closed', detail, None
        return what, detail, None

    def judge(self, stream, message):
        if not message.keeps_alive() or self.close_each:
            stream[1].close()
            stream = None
        if message.status >= 400 and not self.check(message):
            return '%dxx' % (message.status // 100), message.status, stream
        if not self.check(message):
            return 'wrong', '%r %r' % (message, message.body[:200]), stream
        return 'ok', '', stream

    async def talk(self, stream, data, got):
        reader, writer = stream
        decoder = Decoder('response')
        decoder.methods.append(self.method)
        writer.write(data)
        while True:
            message = decoder.next()
            if message is not None:
                if decoder.buf:
                    raise Malformed('bytes after the response: %r' % bytes(decoder.buf[:200]))
                return message
            if decoder.ended:
                raise Truncated('the connection ended before a response')
            more = await reader.read(65536)
            got[0] += len(more)
            if more:
                decoder.feed(more)
            else:
                decoder.eof()
