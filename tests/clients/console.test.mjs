// What people type into a browser's console, with the npm package `ws` and with node's own WebSocket, which is the
// browsers' one.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Ws from "ws";
import { badNetwork, soon, startDaemon } from "./daemon.mjs";

const SUBPROTOCOL = "btc-cluster.v1.json";

/** An unchanged WebSocket, and the messages that have come in. */
class Client {
  #heard = [];
  #wake = () => {};

  constructor(socket) {
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => {
      this.#heard.push(data);
      this.#wake();
    });
    this.opened = new Promise((open, fail) => {
      socket.addEventListener("open", () => open(this));
      socket.addEventListener("error", () => fail(new Error("refused")));
    });
    this.opened.catch(() => {});
    this.closed = new Promise((close) => socket.addEventListener("close", close));
  }

  say(what) {
    this.socket.send(typeof what === "string" ? what : JSON.stringify(what));
  }

  /** The next message as it came. */
  async text() {
    if (this.#heard.length === 0) await soon("a message", new Promise((wake) => (this.#wake = wake)));
    return this.#heard.shift();
  }

  /** The next message of these types; without any, the next one. */
  async message(...kinds) {
    for (;;) {
      const it = JSON.parse(await this.text());
      if (kinds.length === 0 || kinds.includes(it.type)) return it;
    }
  }

  /** Closes, and waits for the server's word. */
  async leave() {
    this.socket.close(1000);
    return await soon("the close", this.closed);
  }
}

for (const [name, WebSocket] of [["ws", Ws], ["node's own WebSocket", globalThis.WebSocket]]) {
  /** `open(path)` gives a client that is open and stays for the rest of the test `t`. */
  const opener = (t, address) => async (path = "", protocols = []) => {
    const client = new Client(new WebSocket(`ws://${address}${path}`, protocols));
    t.after(() => client.socket.close());
    return await soon(`${path} opens`, client.opened);
  };

  /** The tests of one `ws.root`, with one daemon. */
  const at = (root, tests) =>
    describe(`${name}, ${root}`, () => {
      const it = {};
      before(async () => {
        it.daemon = await startDaemon(root);
      });
      after(() => it.daemon?.stop());
      tests(it);
    });

  at("broadcast", (it) => {
    test("a client is welcomed and hears its own words", async (t) => {
      const client = await opener(t, it.daemon.ws)();
      const welcome = await client.message();
      assert.equal(welcome.type, "welcome");
      for (const said of [{ price: [1, 2.5] }, "just text"]) {
        client.say(said);
        const { type, data, from } = await client.message("echo", "broadcast");
        assert.deepEqual({ type, data, from }, { type: "echo", data: said, from: welcome.client });
      }
    });

    test("what one says reaches a client on another worker", async (t) => {
      const open = opener(t, it.daemon.ws);
      const listener = await open();
      const home = (await listener.message("welcome")).worker.id;
      let speaker, elsewhere;
      for (let n = 0; n < 20 && (elsewhere ?? home) === home; n++) {
        speaker = await open("/?user_id=alice");
        elsewhere = (await speaker.message("welcome")).worker.id;
      }
      assert.notEqual(elsewhere, home, "20 clients, and all on one worker");
      speaker.say({ hello: "world" });
      const { data, from } = await listener.message("broadcast");
      assert.deepEqual({ data, from }, { data: { hello: "world" }, from: "alice" });
      assert.equal((await speaker.message("echo", "broadcast")).type, "echo");
    });

    test("who comes and goes is told, and the heart beats", async (t) => {
      const open = opener(t, it.daemon.ws);
      const first = await open();
      const second = await open("/?user_id=bob");
      for (const [kind, total] of [["client_connected", 2], ["client_disconnected", 1]]) {
        let told;
        do told = await first.message(kind);
        while (!told.clients.includes("bob"));
        assert.deepEqual({ count: told.count, total: told.total }, { count: told.clients.length, total });
        await second.leave();
      }
      const beat = await first.message("system");
      assert.deepEqual([beat.event, beat.connections], ["heartbeat", 1]);
    });
  });

  at("command", (it) => {
    test("a client is greeted, answered, and told once of each nonsense", async (t) => {
      const client = await opener(t, it.daemon.ws)();
      assert.equal(await client.text(), "Вы подключились");
      for (const [said, answer] of [
        [{ action: "PING" }, /^PONG$/],
        [{ action: "ECHO", data: "привет" }, /^Сервер услышал: привет$/],
        ["{broken", /^Error: /],
        [{ action: "DANCE" }, /^Error: /],
        [{ action: "PING" }, /^PONG$/],
      ]) {
        client.say(said);
        assert.match(await client.text(), answer);
      }
    });
  });

  at("chat", (it) => {
    test("everybody on every worker hears what is said, cut to fifty characters", async (t) => {
      const all = [];
      while (all.length < 4 || (await it.daemon.workersInUse()) < 2) {
        assert(all.length < 20, "all on one worker");
        all.push(await opener(t, it.daemon.ws)());
      }
      const chat = (message) => JSON.stringify({ event: "chat-message", payload: { userName: "Аня", message } });
      for (const [said, heard] of [
        [chat("привет"), chat("привет")],
        [chat("ж".repeat(60)), chat("ж".repeat(50))],
        ["plain text", "plain text"],
      ]) {
        all[0].say(said);
        for (const client of all) assert.equal(await client.text(), heard);
      }
    });

    test("another object is a wrong query", async (t) => {
      const client = await opener(t, it.daemon.ws)();
      client.say({ event: "other" });
      assert.equal(await client.text(), "Wrong query");
    });
  });

  at("ws", (it) => {
    test("each of the four streams pushes its channel at once, and the fourth of one user is refused", async (t) => {
      const open = opener(t, it.daemon.ws);
      const heard = [];
      for (const n of [1, 2, 3, 4]) {
        const client = await open(`/stream${n}?user_id=user${n}`);
        const { type, channel } = await client.message();
        heard.push([type, channel]);
      }
      const [price, candle] = ["price:BTC-USD", "candle:BTC-USD@1s"];
      assert.deepEqual(heard, [["price", price], ["price", `${price}@1s`], ["candle", candle], ["stats", undefined]]);
      const three = [];
      for (const n of [1, 2, 3]) three.push(await open(`/stream${n}?user_id=alice`));
      await assert.rejects(open("/stream4?user_id=alice"), /refused/);
      // What a page asks to know why.
      assert.equal((await fetch(`http://${it.daemon.http}/stream4?user_id=alice`)).status, 429);
      await three[0].leave();
      // The worker of the next one may hear of it a moment after the client does.
      for (let tries = 0; ; tries++) {
        try {
          await open("/stream4?user_id=alice");
          break;
        } catch (error) {
          if (tries === 50) throw error;
          await new Promise((wake) => setTimeout(wake, 20));
        }
      }
    });

    test("the subprotocol is agreed on", async (t) => {
      const open = opener(t, it.daemon.ws);
      for (const offered of [[SUBPROTOCOL], ["other", SUBPROTOCOL]]) {
        const client = await open("/ws?user_id=alice", offered);
        assert.equal(client.socket.protocol, SUBPROTOCOL);
      }
      assert.equal((await open("/ws?user_id=alice")).socket.protocol, "");
    });

    test("a quote that is posted comes, and questions are answered", async (t) => {
      const client = await opener(t, it.daemon.ws)("/ws?user_id=carol&channels=none");
      await client.message("welcome");
      assert.equal(await it.daemon.quote("carol"), 202);
      assert(Number((await client.message()).price) > 0);
      client.say({ type: "ping", id: 1 });
      assert.deepEqual([(await client.message()).type, await it.daemon.quote("nobody")], ["pong", 404]);
    });

    test("who was cut off comes back with its token and hears what it missed", async (t) => {
      const network = await badNetwork(it.daemon.ws);
      t.after(network.end);
      const open = opener(t, network.address);
      const client = await open("/ws?user_id=dave&channels=news");
      const welcome = await client.message("welcome");
      await it.daemon.publish("news", 1);
      assert.equal((await client.message()).data, 1);
      network.cut();
      assert.equal((await soon("the close", client.closed)).code, 1006);
      await it.daemon.publish("news", 2, 3);
      const again = await open(`/ws?user_id=dave&resume=${welcome.resume}.1`);
      const { resumed, session_id } = await again.message();
      assert.deepEqual({ resumed, session_id }, { resumed: true, session_id: welcome.session_id });
      assert.deepEqual([(await again.message()).data, (await again.message()).data], [2, 3]);
    });
  });

  test(`${name}: the end of the daemon is told to all`, async (t) => {
    const daemon = await startDaemon("broadcast", 2);
    const all = [];
    for (let n = 0; n < 4; n++) all.push(await opener(t, daemon.ws)());
    for (const client of all) await client.message("welcome");
    const ended = daemon.stop();
    for (const client of all) {
      while ((await client.message("system")).event !== "shutdown");
      const { code, reason } = await soon("the close", client.closed);
      assert.deepEqual({ code, reason }, { code: 1001, reason: "shutdown" });
    }
    await ended;
  });
}
