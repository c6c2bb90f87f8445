"""A gRPC server and what is needed to call it, by grpcio, without generated code: messages are bytes.

Only with the python3 of Debian and its python3-grpcio; have_grpc() says whether that is here.
"""

from concurrent import futures
import threading
import time

from ports import free_port
from tap import story

try:
    import grpc
except ImportError:
    grpc = None

METHODS = {'Echo': ('unary', 'unary'), 'Count': ('unary', 'stream'), 'Sum': ('stream', 'unary'), 'Chat': ('stream', 'stream'),
           'Fail': ('unary', 'unary'), 'Slow': ('unary', 'unary'), 'Half': ('unary', 'stream'), 'Forever': ('stream', 'stream'),
           'Mirror': ('unary', 'unary')}


def have_grpc():
    return grpc is not None


class Calls:
    """.echo(b'..') and so on: multi-callables of one channel."""

    def __init__(self, target, credentials=None, options=(), service='/t.Test/'):
        options = list(options) + [('grpc.enable_http_proxy', 0), ('grpc.use_local_subchannel_pool', 1)]
        self.channel = (grpc.secure_channel(target, credentials, options) if credentials else
                        grpc.insecure_channel(target, options))
        for name, (asks, tells) in METHODS.items():
            setattr(self, name.lower(), getattr(self.channel, asks + '_' + tells)(service + name))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()


class Handler(grpc.GenericRpcHandler if grpc else object):
    def __init__(self, server):
        self.server = server

    def service(self, details):
        name = details.method.rpartition('/')[2]
        if details.method == '/grpc.health.v1.Health/Check' and self.server.health is not None:
            return grpc.unary_unary_rpc_method_handler(self.server.check)
        if name not in METHODS or not details.method.startswith('/t.Test/'):
            return None
        asks, tells = METHODS[name]
        return getattr(grpc, '%s_%s_rpc_method_handler' % (asks, tells))(getattr(self.server, 'do_' + name.lower()))


class GrpcServer:
    """On a port of its own.  .calls: names of those that began; .ended: how they ended, for those that are cancelled.
    health: {service: status}, None: no such service; .checks: which were asked for."""

    def __init__(self, name='grpc', pair=None, health=None):
        self.name, self.health = name, health
        self.calls, self.ended, self.checks, self.metadata, self.left = [], [], [], [], []
        self.port = free_port()
        self.pair = pair
        self.start()
        story().adopt(self)

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=40), options=[('grpc.so_reuseport', 0)])
        self.server.add_generic_rpc_handlers((Handler(self),))
        if self.pair:
            with open(self.pair.key, 'rb') as key, open(self.pair.cert, 'rb') as cert:
                credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
            self.server.add_secure_port('127.0.0.1:%d' % self.port, credentials)
        else:
            self.server.add_insecure_port('127.0.0.1:%d' % self.port)
        self.server.start()

    def stop(self, grace=None):
        self.server.stop(grace).wait(10)

    def note(self, name, context):
        self.calls.append(name)
        self.metadata.append(dict(context.invocation_metadata()))
        self.left.append(context.time_remaining())
        context.add_callback(lambda: self.ended.append(name))

    def do_echo(self, request, context):
        self.note('echo', context)
        context.set_trailing_metadata((('x-tail', 'end'), ('x-bin-bin', b'\0\1\2')))
        return request

    def do_mirror(self, request, context):
        self.note('mirror', context)
        context.send_initial_metadata((('x-head', 'begin'),))
        return repr(sorted(dict(context.invocation_metadata()).items())).encode()

    def do_count(self, request, context):
        self.note('count', context)
        for i in range(int(request)):
            yield b'%d' % i

    def do_sum(self, requests, context):
        self.note('sum', context)
        return b'%d' % sum(len(r) for r in requests)

    def do_chat(self, requests, context):
        self.note('chat', context)
        for r in requests:
            yield b'you said ' + r

    def do_fail(self, request, context):
        self.note('fail', context)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'no: ' + request.decode())

    def do_slow(self, request, context):
        self.note('slow', context)
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)
        return b''

    def do_half(self, request, context):
        self.note('half', context)
        yield b'first'
        self.do_slow(request, context)

    def do_forever(self, requests, context):
        self.note('forever', context)
        while context.is_active():
            yield b'tick'
            time.sleep(0.05)

    def check(self, request, context):
        service = request[2:].decode() if request else ''
        self.checks.append((service, dict(context.invocation_metadata())))
        if service not in self.health:
            context.abort(grpc.StatusCode.NOT_FOUND, 'unknown service')
        return b'\x08' + bytes([self.health[service]]) if self.health[service] else b''

    def __str__(self):
        return '127.0.0.1:%d' % self.port

    def kill(self):
        self.server.stop(None)

    def dump(self):
        return [('gRPC server ' + self.name, 'calls %s\nended %s\nchecks %s' % (self.calls, self.ended, self.checks[-10:]))]
