// The service that is scaled: answers with the host name, which in a container is the name of the container.
'use strict';

const http = require('http');
const os = require('os');

const name = process.env.HOSTNAME || os.hostname();
const port = Number(process.env.PORT || 3000);
const address = process.env.ADDRESS || '0.0.0.0';

const server = http.createServer((request, response) => {
	if (request.url === '/healthz') {
		response.end('well\n');
		return;
	}
	response.setHeader('Content-Type', 'text/plain');
	response.end(`Hello from ${name}: ${request.method} ${request.url}\n`);
});

// Longer than weir keeps an idle connection (keepalive_timeout, 50s), so that weir is the one to close it.
server.keepAliveTimeout = 60000;
server.listen(port, address, () => console.log(`${name} listens on ${address}:${port}`));

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.on(signal, () => process.exit(0));
}
