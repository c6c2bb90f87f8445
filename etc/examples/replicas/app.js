// One replica: answers with its host name. PORT says where it listens; HOSTNAME stands in for the name of the
// machine, so that three replicas on one machine can be told apart.
'use strict';

const http = require('http');
const os = require('os');

const name = process.env.HOSTNAME || os.hostname();
const port = Number(process.env.PORT || 3000);
const address = process.env.ADDRESS || '127.0.0.1';

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
