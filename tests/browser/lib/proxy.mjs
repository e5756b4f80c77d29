// A proxy before a server, of the kinds that sit between people and theirs: it may refuse upgrades, hold back streams, or
// answer in the server's place.

import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";

/**
 * Starts one before `target` (a URL) for the test `t`. `rules` may be changed while it runs:
 *   upgrades  `pass`, `refuse` (403 in HTML) or `cut`
 *   events    `pass`, `hold` (headers come, nothing else), `swallow` (nothing at all) or `refuse`
 *   poll      `pass` or `refuse`
 *   ws        what a plain GET of /ws gets: `pass` or `refuse`
 */
export async function proxy(t, target, rules = {}) {
  const it = { rules: { upgrades: "pass", events: "pass", poll: "pass", ws: "pass", ...rules }, upgrades: 0, requests: [] };
  const sockets = new Set();
  const { hostname, port } = new URL(target);
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, target);
    it.requests.push(`${request.method} ${pathname}`);
    const rule = { "/ws": it.rules.ws, "/api/v1/events": it.rules.events, "/api/v1/poll": it.rules.poll }[pathname] ?? "pass";
    if (rule === "refuse") return refuse(response);
    const onward = ask({ host: hostname, port, path: request.url, method: request.method, headers: request.headers });
    onward.on("response", (answer) => {
      if (rule === "swallow") return answer.resume();
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      if (rule === "hold") return answer.resume();
      answer.pipe(response);
      answer.on("error", () => response.destroy());
      answer.on("close", () => answer.complete || response.destroy());
    });
    onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>")));
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("upgrade", (request, socket, head) => {
    it.upgrades += 1;
    socket.on("error", () => {});
    if (it.rules.upgrades === "cut") return socket.destroy();
    if (it.rules.upgrades === "refuse") return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 11\r\nConnection: close\r\n\r\n<h1>No</h1>");
    const onward = connect(port, hostname, () => {
      const headers = request.rawHeaders.reduce((text, part, at) => text + part + (at % 2 ? "\r\n" : ": "), "");
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n${headers}\r\n`);
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    onward.on("close", () => socket.destroy());
    socket.on("close", () => onward.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  it.url = `http://127.0.0.1:${server.address().port}`;
  return it;
}

function refuse(response) {
  response.writeHead(403, { "content-type": "text/html" }).end("<h1>No</h1>");
}
