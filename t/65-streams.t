#!/usr/bin/python3
# Answers that trickle: event streams, whose every event must be there at once, and long polls, which say nothing for a
# while. Nobody configures anything for them. A client that leaves is noticed, and its server told.
# timeout: 100
import os
import sys
import threading
import time
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from weirtest import *
from tap import SLOW

CONF = '''
[listen http]
bind = 127.0.0.1:{port}
[route hasty]
path = /hasty
upstream = one
response_timeout = 300ms
[route all]
upstream = one
[upstream one]
server = {one}
'''

HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n'


class Events:
    """An origin's handler: each event goes out when the test says so."""

    def __init__(self):
        self.queue, self.conn = [], None

    def say(self, text):
        self.queue.append(text)

    async def __call__(self, message, conn):
        framed = 'chunked' in message.target
        self.conn, self.queue = conn, []
        await conn.send(HEAD + ('Transfer-Encoding: chunked\r\n' if framed else '') + '\r\n')
        while True:
            while not self.queue:
                await conn.sleep(0.002)
            text = self.queue.pop(0)
            if text is None:
                if framed:
                    await conn.send(b'0\r\n\r\n')
                conn.close()
                return
            data = text.encode()
            await conn.send(b'%x\r\n%s\r\n' % (len(data), data) if framed else data)


def body_so_far(client, want):
    """Until the body under way has these bytes; the seconds that took."""
    began = time.monotonic()
    while want not in bytes(client.decoder.head.kept):
        client.receive()
        done = client.decoder.next()
        if done is not None:
            raise Failed('the answer ended: %r' % done)
    return time.monotonic() - began


def streams(t, weir, events):
    for kind in ('chunked', 'close'):
        for version in ('1.1', '1.0'):
            with t.case('events arrive one by one (%s framing, HTTP/%s client)' % (kind, version)):
                with Client(weir.port) as client:
                    client.ask('GET', '/events/%s' % kind, version=version)
                    equal(client.read_head().header('Content-Type'), 'text/event-stream', 'type, before any event')
                    for i in range(20):
                        text = 'id: %d\ndata: tick %d\n\n' % (i, i)
                        events.say(text)
                        between(body_so_far(client, text.encode()), 0, 0.5 * SLOW, 'seconds until event %d' % i)
                    events.say(None)
                    answer = client.read()
                    equal(answer.body.count(b'tick'), 20, 'events')
                line = weir.wait_access({'uri': '/events/%s' % kind, 'protocol': 'HTTP/%s' % version})
                equal(line['reason'], '-', 'reason')
    with t.case('a hundred streams at once cost little and see their events'):
        clients = [Client(weir.port) for _ in range(100)]
        for client in clients:
            client.ask('GET', '/many')
        for client in clients:
            client.read_head()
        for client in clients:
            body_so_far(client, b'data: 1\n\n')
        for client in clients:
            client.reset()
        wait_idle(weir)


def leaving(t, weir, events):
    for how in ('close', 'reset'):
        with t.case('a client that leaves (%s) is noticed with the next event, and the server told' % how):
            client = Client(weir.port)
            client.ask('GET', '/leave/%s' % how)
            client.read_head()
            events.say('data: 1\n\n')
            body_so_far(client, b'data: 1\n\n')
            getattr(client, how)()
            events.say('data: 2\n\n')       # where the client had closed, this one meets a reset
            weir.wait_access({'uri': '/leave/%s' % how})

            def told():
                events.say('data: 3\n\n')
                return not events.conn.open
            until('the server sees the end', told)
            line = weir.wait_access({'uri': '/leave/%s' % how})
            equal(line['reason'], 'client_abort', 'reason')
            wait_idle(weir)


def polls(t, weir):
    with t.case('a long poll is answered late and whole, and the connection goes on'):
        with Client(weir.port) as client:
            client.ask('GET', '/slow/700')
            true(client.silent(0.3), 'nothing while the server thinks')
            equal(client.read().status, 200, 'status')
            equal(client.fetch('GET', '/x').status, 200, 'the next')
    with t.case('fifty long polls wait side by side with quick requests'):
        results = []

        def poll():
            results.append(fetch(weir.port, 'GET', '/slow/500').status)
        threads = [threading.Thread(target=poll) for _ in range(50)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        equal(fetch(weir.port, 'GET', '/x').status, 200, 'a quick one')
        for thread in threads:
            thread.join()
        equal(results, [200] * 50, 'statuses')
        between(time.monotonic() - began, 0.5, 5 * SLOW, 'seconds')
    with t.case('response_timeout of a route ends a poll that takes too long'):
        equal(fetch(weir.port, 'GET', '/hasty/slow/2000').status, 504, 'status')
        equal(weir.wait_access({'route': 'hasty'})['reason'], 'response_timeout', 'reason')
    with t.case('a client that gives up its poll by a reset frees the server'):
        client = Client(weir.port)
        client.ask('GET', '/slow/5000')
        until('it is under way', lambda: busy(weir).get('active_requests'))
        client.reset()
        wait_idle(weir)


with Story('answers that trickle', deadline=80) as t:
    events = Events()

    async def handler(message, conn):
        if message.target.startswith(('/events', '/leave')):
            return await events(message, conn)
        if message.target == '/many':
            await conn.send(HEAD + '\r\n')
            await conn.send('data: 1\n\n')
            await conn.closed()
            return None
        if 'slow' in message.target:
            await conn.sleep(int(message.target.rpartition('/')[2]) / 1000)
        return Reply(200, 'done')
    one = Origin('one', handler=handler)
    weir = Weir(CONF, one=one)
    streams(t, weir, events)
    leaving(t, weir, events)
    polls(t, weir)
