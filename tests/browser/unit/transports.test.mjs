// Coming back and reading streams, without a browser: tickets, doubles, events, and the words of the panels.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { failed, howFailed } from "../../../static/fallback.js";
import { EventReader } from "../../../static/events.js";
import { Resume, isNumbered, putAway, takeBack } from "../../../static/resume.js";
import * as said from "../../../static/said.js";
import { afterwards } from "../../../static/side-socket.js";

const welcome = (resume, resumed = false) => ({ type: "welcome", session_id: "s", resume, resumed, price: { price: "1" } });
const hear = (it, ...types) => types.map((type) => it.heard({ type }));

describe("coming back", () => {
  /** A tab that was welcomed with the token `a`. */
  const begun = () => {
    const it = new Resume();
    assert.equal(it.welcome(welcome("a"), it.offer()), false, "the first session has no gap");
    return it;
  };

  test("the ticket counts the numbered messages since the welcome, and nothing else", () => {
    const it = begun();
    assert.equal(it.offer().ticket, "a.0");
    hear(it, "price", "stats", "candle", "presence", "system", "quote", "message", "ack", "pong", "echo", "error", "whatever");
    assert.equal(it.offer().ticket, "a.6");
    it.welcome(welcome("b", true), it.offer());
    assert.equal(it.offer().ticket, "b.0", "each welcome counts anew");
  });

  test("the server's own word for it goes before the count, until more comes", () => {
    const it = begun();
    hear(it, "quote");
    it.at("a.7");
    assert.equal(it.offer().ticket, "a.7");
    it.welcome(welcome("b", true), it.offer());
    hear(it, "quote");
    assert.equal(it.offer().ticket, "b.1");
  });

  test("a session that is a new one has a gap; one that goes on, or a first one, has none", () => {
    const it = begun();
    assert.equal(it.welcome(welcome("b", true), it.offer()), false);
    assert.equal(it.welcome(welcome("c", false), it.offer()), true);
    it.forget();
    assert.equal(it.offer().ticket, null);
    assert.equal(it.welcome(welcome("d", false), it.offer()), false);
  });

  test("a server without tokens has none to come back with", () => {
    const it = new Resume();
    it.welcome(welcome(undefined), it.offer());
    hear(it, "quote");
    assert.deepEqual([it.offer().ticket, it.keep()], [null, null]);
  });

  test("what came over the old connection while the new one was on its way comes once", () => {
    const it = begun();
    hear(it, "quote");
    const offer = it.offer();
    assert.deepEqual(hear(it, "message", "message", "price"), [true, true, true]);
    assert.equal(it.welcome(welcome("b", true), offer), false);
    assert.deepEqual(hear(it, "message", "price", "message", "message"), [false, true, false, true]);
    assert.equal(it.offer().ticket, "b.3", "and is counted all the same");
    const late = it.offer();
    hear(it, "quote");
    it.welcome(welcome("c", false), late);
    assert.deepEqual(hear(it, "quote"), [true], "a new session has its own");
  });

  test("a move is part of what a session that goes on was told", () => {
    const resume = new Resume();
    resume.moved({ worker: { id: 9 }, moves: 9 });
    assert.equal(resume.continued(), null);
    resume.welcome({ ...welcome("a"), worker: { id: 1, pid: 7 } }, resume.offer());
    assert.equal(resume.heard({ type: "system" }), true);
    resume.moved({ type: "system", event: "moved", worker: { id: 2, pid: 8 }, silence_ms: 12, moves: 3 });
    const { worker, moves, silence_ms, type } = resume.continued();
    assert.deepEqual([worker, moves, silence_ms, type, resume.offer().ticket], [{ id: 2, pid: 8 }, 3, 12, "welcome", "a.0"]);
  });

  test("a reload keeps the ticket and the welcome, without the price of then", () => {
    const it = begun();
    hear(it, "quote");
    const kept = JSON.parse(JSON.stringify(it.keep()));
    assert.deepEqual(kept, { ticket: "a.1", welcome: { type: "welcome", session_id: "s", resume: "a", resumed: true } });
    const next = new Resume();
    next.restore(kept);
    assert.equal(next.offer().ticket, "a.1");
    assert.equal(next.continued().session_id, "s");
    assert.equal(next.welcome(welcome("b", true), next.offer()), false);
    for (const odd of [null, {}, { ticket: 5 }]) {
      const none = new Resume();
      none.restore(odd);
      assert.equal(none.offer().ticket, null);
    }
  });

  test("what was put away is one user's, and is taken once", () => {
    const store = new Map();
    const storage = () => ({ getItem: (k) => store.get(k) ?? null, setItem: (k, v) => store.set(k, v), removeItem: (k) => store.delete(k) });
    putAway("me", { ticket: "a.1", welcome: null }, storage);
    assert.equal(takeBack("me", storage).ticket, "a.1");
    assert.equal(takeBack("me", storage), null);
    putAway("me", { ticket: "a.1", welcome: null }, storage);
    assert.equal(takeBack("you", storage), null);
    putAway("me", { ticket: "a.1", welcome: null }, storage);
    putAway("me", null, storage);
    assert.equal(takeBack("me", storage), null);
    store.set("btc-cluster.resume", "{");
    assert.equal(takeBack("me", storage), null);
    const forbidden = () => {
      throw new Error("forbidden");
    };
    putAway("me", { ticket: "a.1" }, forbidden);
    assert.equal(takeBack("me", forbidden), null);
  });

  test("any history: every message of the server is heard once and in order, or a gap is told", () => {
    let seed = 7;
    const lots = () => ((seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647);
    for (let history = 0; history < 500; history += 1) {
      const it = new Resume();
      const server = { log: [], base: 0, token: 0 }; // `base`: how many came before the last welcome
      const heard = [];
      let [way, offer] = [[], it.offer()];
      it.welcome(welcome("t0"), offer);
      for (let i = 0; i < 60; i += 1) {
        if (lots() < 0.5) {
          server.log.push(server.log.length);
          way.push(server.log.length - 1);
        } else if (lots() < 0.6) {
          for (const n of way.splice(0, Math.ceil(lots() * 3))) if (it.heard({ type: "quote" })) heard.push(n);
        } else {
          offer = it.offer();
          // Some more arrive over the old connection after the offer was made.
          for (const n of way.splice(0, Math.floor(lots() * 3))) if (it.heard({ type: "quote" })) heard.push(n);
          const seen = Number(offer.ticket.split(".")[1]);
          assert.equal(offer.ticket, `t${server.token}.${seen}`);
          server.token += 1;
          assert.equal(it.welcome(welcome(`t${server.token}`, true), offer), false);
          server.base += seen;
          way = server.log.slice(server.base);
        }
      }
      for (const n of way) if (it.heard({ type: "quote" })) heard.push(n);
      assert.deepEqual(heard, server.log);
    }
  });

  test("numbered are the six", () => {
    assert.deepEqual(["quote", "message", "ack", "pong", "echo", "error"].map(isNumbered), Array(6).fill(true));
    assert.deepEqual(["price", "candle", "stats", "presence", "welcome", "system", "close"].map(isNumbered), Array(7).fill(false));
  });
});

describe("a stream of events", () => {
  const all = (...pieces) => {
    const reader = new EventReader();
    return pieces.flatMap((piece) => reader.feed(piece)).map(({ type, data, id }) => [type, data, id]);
  };
  const stream = 'retry: 3000\n\nevent: welcome\nid: t.0\ndata: {"a":1}\n\n:\n\nevent: quote\nid: t.1\ndata: [\ndata: 2]\n\ndata:x\n\n';
  const events = [["welcome", '{"a":1}', "t.0"], ["quote", "[\n2]", "t.1"], ["message", "x", "t.1"]];

  test("is read whatever its pieces and its line ends", () => {
    assert.deepEqual(all(stream), events);
    assert.deepEqual(all(...stream), events);
    for (const end of ["\r\n", "\r"]) {
      const other = stream.replaceAll("\n", end);
      assert.deepEqual(all(...other, end), events);
      for (let at = 0; at < other.length; at += 1) assert.deepEqual(all(other.slice(0, at), other.slice(at), end), events);
    }
  });

  test("gives nothing before an event is whole, and ignores what it does not know", () => {
    assert.deepEqual(all("data: x\n"), []);
    assert.deepEqual(all("event: y\n\n", "\ufeffdata: 1\n\n"), []);
    assert.deepEqual(all("\ufeffdata: 1\nfoo: 2\nid\n\n"), [["message", "1", ""]]);
    assert.deepEqual(all("id: a\0b\ndata\n\n"), [["message", "", null]]);
  });
});

describe("fallback", () => {
  test("tells what failed", () => {
    const of = (via, ...answers) => answers.map((answer) => howFailed(via, answer));
    assert.deepEqual(of("websocket", { status: 0 }, { status: 426 }, { status: 426, elsewhere: true }, { status: 403 }, { status: 404 }, { status: 503 }), [
      "unreachable", "failed", "elsewhere", "refused", "refused", "refused",
    ]);
    assert.deepEqual(of("websocket", { status: 403, foreign: true }, { status: 200, foreign: true }, { status: 502, foreign: true }, { status: 426, foreign: true }), [
      "foreign", "foreign", "failing", "failed",
    ]);
    assert.deepEqual(of("sse", { status: 404 }, { status: 403 }, { status: 503 }, { status: 407, foreign: true }), ["missing", "refused", "refused", "foreign"]);
  });

  test("goes round, never in a fixed choice", () => {
    const path = { mode: "auto", via: "websocket", misses: 0, known: [] };
    const round = ["foreign", "silent", "missing"].reduce((paths, how) => [...paths, failed(paths.at(-1), how)], [path]);
    assert.deepEqual(round.map(({ via }) => via), ["websocket", "sse", "poll", "websocket"]);
    for (const mode of ["websocket", "sse", "poll"]) assert.equal(failed({ ...path, mode, via: mode }, "foreign").via, mode);
  });
});

describe("the panels' words", () => {
  test("a stream's newest value", () => {
    const of = (value) => Object.values(said.streamed(typeof value === "string" ? value : JSON.stringify(value)));
    assert.deepEqual(of({ type: "price", price: "1.50", pair: "BTC-USDT", source: "binance", stale: true }), ["1.50", "BTC-USDT, binance, stale"]);
    assert.deepEqual(of({ type: "price", price: null }), ["no price", ""]);
    assert.deepEqual(of({ type: "candle", close: "2", symbol: "BTC-USD", interval: "1s" }), ["2", "BTC-USD, candle of 1s"]);
    assert.deepEqual(of({ type: "stats", totals: { sessions: 1, users: 2, workers: 3 } }), ["1 session", "2 users, 3 workers"]);
    assert.deepEqual(of({ type: "line", line: "Nov 20 <b>" }), ["Nov 20 <b>", ""]);
    assert.deepEqual(of({ type: "message", data: { a: 1 } }), ['{"a":1}', ""]);
    assert.deepEqual(["plain text", "[1]", "{"].map((text) => of(text)[0]), ["plain text", "[1]", "{"]);
    assert.deepEqual(of({ type: "stats" }), ["0 sessions", "0 users, 0 workers"]);
  });

  test("what is broadcast", () => {
    const of = (message) => {
      const { kind, who, text } = said.broadcasted(JSON.stringify(message));
      return [kind, who, text];
    };
    const time = "2026-11-20T08:14:23.123Z";
    assert.deepEqual(of({ type: "echo", data: { text: "Test", n: 1 }, from: "me", time }), ["own", "you", "Test"]);
    assert.deepEqual(of({ type: "broadcast", data: [1], from: "her", time }), ["other", "her", "[1]"]);
    assert.deepEqual(of({ type: "client_connected", count: 1, clients: ["her"], total: 2 }), ["system", undefined, "her came; 2 here."]);
    assert.deepEqual(of({ type: "client_disconnected", count: 30, clients: ["a", "b"], total: 2 }), ["system", undefined, "30 clients left; 2 here."]);
    assert.deepEqual(of({ type: "system", event: "heartbeat", connections: 2, memory_bytes: 2_048, uptime_s: 61 }), ["system", undefined, "Heartbeat: 2 connections, 2.0 KiB, up 1 min 01 s."]);
    assert.deepEqual(of({ type: "system", event: "shutdown" }), ["system", undefined, "shutdown"]);
    assert.deepEqual(said.broadcasted("nonsense"), { kind: "other", text: "nonsense" });
  });

  test("what is typed into the console", () => {
    assert.deepEqual(["PING", " ping ", "ECHO a  b", "echo", "pinging", '{"action":"X"}'].map(said.command), [
      '{"action":"PING"}', '{"action":"PING"}', '{"action":"ECHO","data":"a  b"}', '{"action":"ECHO"}', "pinging", '{"action":"X"}',
    ]);
  });

  test("who is in a room", () => {
    assert.deepEqual(said.presence({ users_total: 1, sessions: 2 }), { text: "1 user, 2 sessions here", users: null });
    assert.deepEqual(said.presence({ users_total: 1, sessions: 2, users: [{ user_id: "a", sessions: 2 }] }).users, [{ id: "a", sessions: 2 }]);
  });

  test("when a panel's connection comes back, and when it does not", () => {
    const stops = [{ code: 1000 }, { code: 4006 }, { status: 429 }, { status: 404 }].map((why) => afterwards(why).stop);
    assert.deepEqual(stops, [true, true, true, true]);
    const goes = [{ code: 1006 }, { code: 1012 }, { code: 4200 }, { code: 4101 }, { kind: "blocked" }, { status: 503, retryAfterMs: 2_000 }, { status: 403, foreign: true }].map(afterwards);
    assert.deepEqual(goes.map(({ stop, floor }) => [stop, floor]), [[false, 0], [false, 0], [false, 0], [false, 1_000], [false, 0], [false, 2_000], [false, 0]]);
  });
});
