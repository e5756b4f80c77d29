// A path to a server that may die without a word: bytes stop, in both directions, and no connection closes. New
// connections are taken and get nowhere, as with a router that has forgotten them.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Starts one before `target` (a URL) for the test `t`: `{url, stop(), stopEvents(), go(), lag}`. */
export async function deadPath(t, target) {
  const { hostname, port } = new URL(target);
  const ends = new Set();
  const streams = new Set();
  const it = {
    stopped: false,
    /** Milliseconds that everything from the server takes. */
    lag: 0,
    stop() {
      it.stopped = true;
      for (const end of ends) end.pause();
    },
    /** Only streams of events that are open now, and only what the server says over them. */
    stopEvents() {
      for (const far of streams) far.pause();
    },
    /** What was held goes on. */
    go() {
      it.stopped = false;
      for (const end of ends) end.resume();
    },
  };
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    const both = [near, far];
    for (const [end, other] of [both, both.toReversed()]) {
      ends.add(end);
      if (it.stopped) end.pause();
      end.on("data", (data) => {
        if (end === near && String(data).startsWith("GET /api/v1/events")) streams.add(far);
        const late = end === far ? it.lag : 0;
        if (late === 0) other.write(data);
        else setTimeout(() => other.destroyed || other.write(data), late);
      });
      end.on("error", () => end.destroy());
      end.on("close", () => {
        ends.delete(end);
        streams.delete(end);
        // A dead path tells nobody.
        if (!it.stopped) other.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const end of ends) end.destroy();
  });
  it.url = `http://127.0.0.1:${server.address().port}`;
  return it;
}
