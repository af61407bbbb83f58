#!/usr/bin/env node
// Replaces a program behind the front: responds with the request as it arrived, or what the path selects.
const http = require("node:http");
const path = require("node:path");

const port = process.env[`${path.basename(process.argv[1]).toUpperCase()}_INNER_PORT`];
const server = http.createServer((request, response) => {
	const [asked, seconds] = request.url.split("?seconds=");
	if (asked === "/pause") {
		response.write("begin\n");
		return setTimeout(() => response.end("end\n"), Number(seconds) * 1000);
	}
	let bytes = 0;
	request.on("data", (chunk) => (bytes += chunk.length));
	request.on("end", () => response.end(JSON.stringify({ url: request.url, headers: request.headers, bytes })));
});
server.on("upgrade", (request, socket) => {
	socket.on("error", () => socket.destroy());
	socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
});
process.on("SIGTERM", () => process.exit(0));
server.listen(port, "127.0.0.1");
