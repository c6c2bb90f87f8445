"""Real servers as origins: nginx, Flask and Node; each is up when its constructor returns."""

import os
import shutil

from child import Child
from ports import free_port
from tap import story

PYTHON = '/usr/bin/python3'


class Server(Child):
    """Common to all: a port of its own; str() is what `server =` takes."""

    def __init__(self, name, args, port, **more):
        self.port = port
        super().__init__(name, args, **more)
        self.launch()
        self.wait_listening(port, 20)

    def __str__(self):
        return '127.0.0.1:%d' % self.port


def have_nginx():
    return shutil.which('nginx', path=os.environ.get('PATH', '') + ':/usr/sbin') is not None


def have_flask():
    import importlib.util
    return importlib.util.find_spec('flask') is not None


def have_node():
    return shutil.which('node') is not None


class Nginx(Server):
    """nginx with `server` = the inside of its server block (default: answers its name); files: {name: bytes} below
    {root}.  {port} and {root} are filled in."""

    def __init__(self, name='nginx', server='location / {{ return 200 "{name}\\n"; }}', files=None, port=None, connections=1024):
        port = port or free_port()
        folder = story().path(name)
        root = os.path.join(folder, 'html')
        os.makedirs(root)
        os.chmod(folder, 0o755)
        for path, content in (files or {}).items():
            with open(os.path.join(root, path), 'wb') as f:
                f.write(content)
        server = server.format(name=name, port=port, root=root)
        conf = os.path.join(folder, 'nginx.conf')
        with open(conf, 'w') as f:
            f.write('''
daemon off; master_process off; worker_processes 1; pid %(folder)s/pid; error_log stderr info;
events { worker_connections %(connections)d; }
http {
    access_log %(folder)s/access.log; default_type text/plain; client_max_body_size 0;
    client_body_temp_path %(folder)s/t1; proxy_temp_path %(folder)s/t2; fastcgi_temp_path %(folder)s/t3;
    uwsgi_temp_path %(folder)s/t4; scgi_temp_path %(folder)s/t5;
    server { listen 127.0.0.1:%(port)d; add_header X-Origin %(name)s always; root %(root)s;
%(server)s
    }
}
''' % dict(folder=folder, port=port, name=name, server=server, root=root, connections=connections))
        path = shutil.which('nginx', path=os.environ.get('PATH', '') + ':/usr/sbin')
        super().__init__(name, [path, '-p', folder, '-c', conf, '-e', 'stderr'], port)


class Flask(Server):
    """A Flask application: `source` defines `app` (default: says its name and what it was asked)."""

    DEFAULT = '''
from flask import Flask, request, jsonify
app = Flask(__name__)

@app.route('/', defaults={'path': ''}, methods=['GET', 'POST', 'PUT', 'DELETE'])
@app.route('/<path:path>', methods=['GET', 'POST', 'PUT', 'DELETE'])
def hello(path):
    return jsonify(name=NAME, path=request.full_path, method=request.method, headers=list(request.headers.items()),
                   body=request.get_data(as_text=True))
'''

    def __init__(self, name='flask', source=None, port=None):
        port = port or free_port()
        script = story().path('app-%s.py' % name)
        with open(script, 'w') as f:
            f.write('NAME = %r\n%s\n' % (name, source or self.DEFAULT))
            f.write("from werkzeug.serving import WSGIRequestHandler\n"
                    "WSGIRequestHandler.protocol_version = 'HTTP/1.1'\n"
                    "app.run('127.0.0.1', %d, threaded=True)\n" % port)
        super().__init__(name, [PYTHON, '-B', script], port)


class Node(Server):
    """A Node server: `source` exports handle(req, res) (default: says its name and reads the body)."""

    DEFAULT = '''
function handle(req, res) {
  let length = 0;
  req.on('data', d => { length += d.length; });
  req.on('end', () => {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({name: NAME, method: req.method, url: req.url, headers: req.rawHeaders, length}));
  });
}
'''

    def __init__(self, name='node', source=None, port=None):
        port = port or free_port()
        script = story().path('app-%s.js' % name)
        with open(script, 'w') as f:
            f.write('const NAME = %s;\n%s\n' % (repr(name), source or self.DEFAULT))
            f.write("require('http').createServer(handle).listen(%d, '127.0.0.1');\n" % port)
        super().__init__(name, ['node', script], port)
