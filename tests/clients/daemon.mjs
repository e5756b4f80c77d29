// The daemon under test, as daemon.py has it: that one starts it, and says where it is.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, connect } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const PATIENCE = 10_000;

/** A promise that fails when it takes too long. */
export function soon(what, promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${patience} ms: ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Starts one with `ws.root`; `http`, `ws` and `admin` are its addresses as people type them. */
export async function startDaemon(root, workers = 3) {
  const script = fileURLToPath(new URL("daemon.py", import.meta.url));
  const child = spawn("python3", [script, root, String(workers)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const gone = once(child, "exit");
  const [first] = await Promise.race([once(lines, "line"), gone]);
  if (typeof first !== "string" || !first.startsWith("{")) throw new Error(`no daemon: ${first}`);
  lines.on("line", (line) => console.log(line));
  return new Daemon(child, gone, JSON.parse(first));
}

class Daemon {
  #child;
  #gone;

  constructor(child, gone, addresses) {
    Object.assign(this, addresses);
    this.#child = child;
    this.#gone = gone;
  }

  /** Orders its end, and waits for it. */
  async stop() {
    this.#child.stdin.end();
    const [code] = await this.#gone;
    if (code !== 0) throw new Error("the daemon did not end well");
  }

  /** Orders the price for a user: the HTTP status. */
  async quote(user) {
    return (await post(`http://${this.http}/api/v1/quotes`, { user_id: user })).status;
  }

  /** Says each to all subscribers of a channel, `news` or `weather`. */
  async publish(channel, ...messages) {
    for (const data of messages) {
      const { status } = await post(`http://${this.admin}/api/v1/channels/${channel}/messages`, { data });
      if (status !== 202) throw new Error(`publishing is answered ${status}`);
    }
  }

  /** Disconnects a session for good. */
  async kick(session) {
    const { ok, status } = await fetch(`http://${this.admin}/api/v1/sessions/${session}`, { method: "DELETE" });
    if (!ok) throw new Error(`the DELETE is answered ${status}`);
  }

  /** How many workers hold sessions. */
  async workersInUse() {
    const stats = await (await fetch(`http://${this.http}/api/v1/stats`)).json();
    return stats.workers.filter(({ sessions }) => sessions > 0).length;
  }
}

function post(url, body) {
  return fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** A bad network before an address: `cut()` resets all connections that lead through it; `open` false lets none in. */
export async function badNetwork(address) {
  const port = Number(address.split(":")[1]);
  const connections = new Set();
  const network = { open: true };
  const server = createServer((client) => {
    if (!network.open) return client.resetAndDestroy();
    const upstream = connect(port, "127.0.0.1");
    const ends = [client, upstream];
    connections.add(ends);
    for (const end of ends) {
      end.on("error", () => {});
      end.on("close", () => {
        connections.delete(ends);
        for (const other of ends) other.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  network.address = `localhost:${server.address().port}`;
  network.cut = () => {
    for (const ends of connections) for (const end of ends) end.resetAndDestroy();
  };
  network.end = () => {
    network.cut();
    server.close();
  };
  return network;
}
