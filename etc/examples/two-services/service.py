"""A small Flask service. NAME says who it is, PORT where it listens."""

import os

from flask import Flask, jsonify, request

NAME = os.environ.get('NAME', 'service')
app = Flask(__name__)


@app.route('/', defaults={'path': ''})
@app.route('/<path:path>')
def hello(path):
    """Tells what arrived, so that one can see what the proxy did to it."""
    return jsonify(service=NAME, path='/' + path, prefix=request.headers.get('X-Forwarded-Prefix'),
                   client=request.headers.get('X-Forwarded-For'), host=request.host)


if __name__ == '__main__':
    app.run(host='127.0.0.1', port=int(os.environ.get('PORT', '5001')))
