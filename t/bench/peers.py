"""How weir, nginx, HAProxy and the relay are set up, each as its manual would have it, and the two origins.

A setup is a name: 'plain', 'tls', 'routes', 'hosts', 'servers' or 'workers'. All have one worker or thread (but
'workers', two), an access log in the combined format in a file, keep-alive on both sides and least connections.
"""

import os
import subprocess

import process

HERE = os.path.dirname(os.path.abspath(__file__))
ROUTES, HOSTS, SERVERS = 1000, 100, 100
SIZES = {'small': 128, '10k': 10 * 1024, '1m': 1024 * 1024, 'chunked.html': 10 * 1024}


def body(size):
    """Bytes that tell where they stand, and that server side includes leave alone."""
    return (''.join('%07d ' % n for n in range(size // 8 + 1)))[:size]


def nginx_frame(folder, http, workers=1):
    temps = ''.join('%s_temp_path %s/tmp;' % (kind, folder) for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    return '''daemon off; master_process on; worker_processes %d; pid %s/pid; error_log %s/error crit;
events { worker_connections 16384; }
http { keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 10m; %s %s }
''' % (workers, folder, folder, temps, http)


class World:
    """The origins, the files they serve, a certificate; and proxies made on demand."""

    def __init__(self, stage):
        self.stage = stage
        self.www = os.path.join(stage.top, 'www')
        os.mkdir(self.www)
        self.bodies = {}
        for name, size in SIZES.items():
            self.bodies[name] = os.path.join(self.www, name)
            with open(self.bodies[name], 'w') as f:
                f.write(body(size))
        self.upload = os.path.join(stage.top, 'upload')
        with open(self.upload, 'w') as f:
            f.write(body(100 * 1024))
        self.certificate = self.make_certificate()
        self.origins = [self.make_origin('origin%d' % n) for n in (1, 2)]
        self.kept = len(stage.programs)

    def make_certificate(self):
        path = os.path.join(self.stage.top, 'pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days',
                        '30', '-subj', '/CN=localhost', '-keyout', path + '.key', '-out', path + '.crt'],
                       check=True, capture_output=True)
        with open(path, 'w') as f:
            f.write(open(path + '.crt').read() + open(path + '.key').read())
        return path

    def make_origin(self, name):
        """Half of the servers each; small answers come from memory, others from files. /upload answers when it has read
        the whole body."""
        p = self.stage.program(name, SERVERS // 2)
        listen = ''.join('listen 127.0.0.1:%d;' % port for port in p.ports)
        conf = nginx_frame(p.folder, '''access_log off; sendfile on; tcp_nopush on; open_file_cache max=100;
server { %s root %s; location / { return 200 "%s"; } location = /10k { } location = /1m { }
location = /upload { client_body_buffer_size 256k; proxy_pass_request_body off; proxy_set_header Content-Length "";
proxy_pass http://127.0.0.1:%d/; }
location = /chunked.html { ssi on; types { text/html html; } } }''' % (listen, self.www, body(SIZES['small']), p.port))
        return p.start([process.find('nginx'), '-p', p.folder, '-c', p.file('conf', conf)])

    def servers(self, setup):
        if setup == 'servers':
            return [port for o in self.origins for port in o.ports]
        return [o.port for o in self.origins]

    def clear(self):
        self.stage.clear(self.kept)


def weir(world, setup, name='weir'):
    p = world.stage.program(name)
    route = {'routes': ''.join('[route r%d]\npath = /r%d\nupstream = app\n' % (n, n) for n in range(ROUTES)),
             'hosts': ''.join('[route h%d]\nhost = h%d.example\nupstream = app\n' % (n, n) for n in range(HOSTS))}
    conf = '''[weir]
workers = %d
access_log = %s
[listen main]
bind = 127.0.0.1:%d
max_requests = 0
idle_timeout = 600s
%s%s[upstream app]
keepalive = 128
%s''' % (2 if setup == 'workers' else 1, p.file('access'), p.port,
         'certificate = %s\n' % world.certificate if setup == 'tls' else '',
         route.get(setup, '[route all]\nupstream = app\n'),
         ''.join('server = 127.0.0.1:%d\n' % port for port in world.servers(setup)))
    binary = os.environ.get('WEIR') or os.path.join(HERE, '..', '..', 'weir')
    return p.start([binary, '-c', p.file('weir.ini', conf)])


def nginx(world, setup):
    p = world.stage.program('nginx')
    tls = setup == 'tls'
    listen = 'listen 127.0.0.1:%d%s;' % (p.port, ' ssl http2' if tls else ' reuseport' if setup == 'workers' else '')
    if tls:
        # Its default in Debian 12 ends at TLS 1.2, where a resumed handshake makes no new key.
        listen += ('ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3; '
                   'ssl_session_cache shared:s:10m; http2_max_requests 1000000000;' % (
                       world.certificate, world.certificate))
    to_app = '{ proxy_pass http://app; }'
    if setup == 'routes':
        servers = 'server { %s %s }' % (listen, ''.join('location /r%d/ %s' % (n, to_app) for n in range(ROUTES)))
    elif setup == 'hosts':
        servers = ''.join('server { %s server_name h%d.example; location / %s }' % (listen, n, to_app) for n in range(HOSTS))
    else:
        servers = 'server { %s location / %s }' % (listen, to_app)
    http = '''access_log %s combined;
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
proxy_request_buffering off; proxy_max_temp_file_size 0; tcp_nodelay on; server_names_hash_bucket_size 64;
upstream app { least_conn; %s keepalive 128; keepalive_requests 1000000000; }
%s''' % (p.file('access'), ''.join('server 127.0.0.1:%d;' % port for port in world.servers(setup)), servers)
    conf = nginx_frame(p.folder, http, 2 if setup == 'workers' else 1)
    return p.start([process.find('nginx'), '-p', p.folder, '-c', p.file('conf', conf)])


HAPROXY = '''global
    nbthread %(threads)d
    maxconn 6000
    log stdout format raw local0 info
defaults
    mode http
    log global
    timeout connect 3s
    timeout client 600s
    timeout http-keep-alive 600s
    timeout server 60s
    option forwardfor
    option splice-auto
    http-reuse always
frontend f
    bind 127.0.0.1:%(port)d%(tls)s
    capture request header Referer len 128
    capture request header User-Agent len 256
    log-format "%%ci - - [%%trl] \\"%%HM %%HU %%HV\\" %%ST %%B \\"%%[capture.req.hdr(0)]\\" \\"%%[capture.req.hdr(1)]\\""
    http-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)]
    %(choose)s
backend b
    balance leastconn
%(servers)s'''


def haproxy(world, setup):
    p = world.stage.program('haproxy')
    choose = 'default_backend b'
    if setup == 'routes':
        table = p.file('routes', ''.join('/r%d/ b\n' % n for n in range(ROUTES)))
        choose = 'use_backend %%[path,map_beg(%s)]' % table
    elif setup == 'hosts':
        table = p.file('hosts', ''.join('h%d.example b\n' % n for n in range(HOSTS)))
        choose = 'use_backend %%[req.hdr(host),lower,map(%s)]' % table
    conf = HAPROXY % {
        'threads': 2 if setup == 'workers' else 1, 'port': p.port, 'choose': choose,
        'tls': ' ssl crt %s alpn h2,http/1.1' % world.certificate if setup == 'tls' else '',
        'servers': ''.join('    server s%d 127.0.0.1:%d\n' % (n, port) for n, port in enumerate(world.servers(setup)))}
    return p.start([process.find('haproxy'), '-db', '-f', p.file('conf', conf)], stdout=open(p.file('access'), 'w'))


def relay(world, setup):
    """Speaks no TLS, knows no routes, has one process."""
    if setup != 'plain':
        return None
    p = world.stage.program('relay')
    return p.start([os.environ.get('BENCH_RELAY') or os.path.join(HERE, 'relay'), str(p.port)] +
                   [str(port) for port in world.servers(setup)])


MAKERS = {'weir': weir, 'nginx': nginx, 'haproxy': haproxy, 'relay': relay}
