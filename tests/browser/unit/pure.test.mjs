// The other pure modules of the page: prices, quotes, words, the clock, ids, addresses.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { makeClock } from "../../../static/clock.js";
import { newId } from "../../../static/identity.js";
import { Prices, ageAt, compareDecimals } from "../../../static/prices.js";
import { QuoteDesk } from "../../../static/quotes.js";
import { problemOf, refusalOf, retryAfter, socketUrl } from "../../../static/server.js";
import * as words from "../../../static/words.js";

const quote = (seq, price = "100.00", more = {}) => ({ symbol: "BTC-USD", pair: "BTC-USD", price, seq, age_ms: 0, ...more });

describe("prices", () => {
  test("no tab goes back in time", () => {
    const prices = new Prices();
    assert.equal(prices.take(quote(7, "101.00"), 0).price, "101.00");
    assert.equal(prices.take(quote(6, "99.00"), 1), null);
    assert.equal(prices.take(quote(7, "101.00", { stale: true }), 2).stale, true, "the same price, grown stale");
  });

  test("nor does a reconnected one, unless the server's numbers started anew", () => {
    const prices = new Prices();
    const at = (second) => ({ received_at: `2026-11-20T08:14:${second}.000Z` });
    prices.take(quote(500, "101.00", at(23)), 0);
    prices.welcome();
    assert.equal(prices.take(quote(499, "99.00", at(22)), 1), null, "another worker that lags");
    assert.equal(prices.take(quote(1, "98.00", at(40)), 2).price, "98.00", "a new server");
    assert.equal(prices.take(quote(0, "97.00", at(41)), 3), null, "only the first one of a session");
  });

  test("symbols do not disturb each other", () => {
    const prices = new Prices();
    prices.take(quote(7), 0);
    assert.ok(prices.take({ ...quote(3), symbol: "BTC-EUR" }, 0));
  });

  test("none is news, and does not open the door to the past", () => {
    const prices = new Prices();
    prices.take(quote(7), 0);
    assert.equal(prices.take({ symbol: "BTC-USD", price: null }, 1).price, null);
    assert.equal(prices.take(quote(6), 2), null);
    assert.equal(prices.take(quote(8), 3).seq, 8);
  });

  test("moves are told by exact digits", () => {
    const pairs = [["10.00", "9.99"], ["10.0", "10.00"], ["9.9", "10"], ["9.9999999999999999998", "9.9999999999999999999"], ["007", "7.000"]];
    assert.deepEqual(pairs.map(([a, b]) => compareDecimals(a, b)), [1, 0, -1, -1, 0]);
  });

  test("an age counts on from what it was at arrival", () => {
    assert.equal(ageAt({ age_ms: 300, arrivedAt: 1_000 }, 1_500), 800);
    assert.equal(ageAt({ age_ms: -5, arrivedAt: 1_000 }, 900), 0);
  });
});

describe("the quote button", () => {
  const desk = () => {
    const shown = [];
    const waiting = [];
    const receipts = [];
    let now = 0;
    const it = new QuoteDesk({
      post: () => new Promise((done) => receipts.push(done)),
      now: () => now,
      show: (result) => shown.push(result),
      later: (call) => waiting.push(call),
    });
    const receipt = async (value) => {
      receipts.shift()(value);
      await new Promise((done) => setImmediate(done));
    };
    return { it, shown, waiting, receipt, at: (ms) => (now = ms), last: () => shown.at(-1) };
  };
  const accepted = (requestId) => ({ kind: "accepted", requestId, sessions: 1 });

  test("shows the answer that comes after the receipt", async () => {
    const d = desk();
    d.it.ask("me");
    await d.receipt(accepted("r1"));
    assert.equal(d.last().kind, "accepted");
    d.at(12);
    d.it.arrived(quote(1, "5", { request_id: "r1" }));
    assert.deepEqual([d.last().kind, d.last().rtt], ["answer", 12]);
    d.waiting.forEach((call) => call());
    assert.equal(d.last().kind, "answer", "the patience is over and nobody minds");
  });

  test("shows the answer that was there before the receipt", async () => {
    const d = desk();
    d.it.ask("me");
    d.at(8);
    d.it.arrived(quote(1, "5", { request_id: "r1" }));
    assert.equal(d.last().kind, "asking", "whose answer that is, nobody knows yet");
    d.at(20);
    await d.receipt(accepted("r1"));
    assert.deepEqual([d.last().kind, d.last().rtt], ["answer", 8]);
  });

  test("says so when it was accepted and nothing came", async () => {
    const d = desk();
    d.it.ask("me");
    await d.receipt(accepted("r1"));
    d.waiting.forEach((call) => call());
    assert.equal(d.last().kind, "lost");
  });

  test("shows a refusal, and an answer that somebody else asked for", async () => {
    const d = desk();
    d.it.ask("me");
    await d.receipt({ kind: "refused", status: 404, slug: "user-not-connected", detail: "" });
    assert.equal(d.last().kind, "refused");
    d.it.arrived(quote(1, "5", { request_id: "other" }));
    assert.deepEqual([d.last().kind, d.last().rtt], ["answer", null]);
  });
});

describe("words", () => {
  test("what a session has survived", () => {
    const told = [[0], [undefined, 5], [1, 12.4], [3, 0], [3, 0.2], [2], [2, null], [7, 65_000]].map((all) => words.survived(...all));
    assert.deepEqual(told, [
      "no move or restart so far", "no move or restart so far", "1 move or restart; silence 12 ms", "3 moves and restarts; last silence less than 1 ms",
      "3 moves and restarts; last silence less than 1 ms", "2 moves and restarts", "2 moves and restarts", "7 moves and restarts; last silence 1 min 05 s",
    ]);
  });

  test("ages and durations", () => {
    assert.deepEqual([0, 449, 9_949, 9_950, 59_499, 185_000, 7_440_000, 273_600_000].map(words.age), [
      "0.0 s", "0.4 s", "9.9 s", "10 s", "59 s", "3 min 05 s", "2 h 04 min", "3 d 4 h",
    ]);
    assert.equal(words.duration(NaN), "\u2013");
    assert.deepEqual([0.42, 9.96, 10.4, 1_234.5].map(words.milliseconds), ["0.4 ms", "10.0 ms", "10 ms", "1235 ms"]);
  });

  test("sizes and shares", () => {
    assert.deepEqual([0, 1_023, 1_024, 7_130_317, 1e9].map(words.bytes), ["0 B", "1023 B", "1.0 KiB", "6.8 MiB", "954 MiB"]);
    assert.deepEqual([words.percent(1.25), words.percent(undefined)], ["1.3 %", "\u2013"]);
  });

  test("groups of digits join to the source's own text", () => {
    for (const price of ["1", "100", "64250.12", "1000000.00000001", "0.5"]) assert.equal(words.groups(price).join(""), price);
    assert.deepEqual(words.groups("1064250.1234"), ["1", "064", "250.1234"]);
  });

  test("refusals speak with the server's own words first", () => {
    assert.equal(words.refusal({ status: 404, slug: "user-not-connected", detail: "nobody is here" }), "Nobody is here. (user-not-connected, 404)");
    assert.equal(words.refusal({ status: 429 }), "A limit of the server is reached. (429)");
    assert.equal(words.why({ code: 4006, slug: "kicked" }), "An administrator disconnected this session. (kicked, 4006)");
    assert.equal(words.why({ code: 4999, slug: "" }), "The server closed the connection. (4999)");
    assert.equal(words.why(null), "");
    assert.match(words.why({ kind: "unreachable" }), /cannot be reached/);
  });

  test("a pair says what the price is counted in", () => {
    assert.equal(words.currency("BTC-USDT"), "USDT");
  });
});

test("the clock counts sleep and never goes back", () => {
  let monotonic = 100;
  let wall = 1_000_000;
  const clock = makeClock(() => monotonic, () => wall);
  const advance = (m, w) => {
    monotonic += m;
    wall += w;
    return clock.now();
  };
  assert.equal(clock.now(), 100);
  assert.equal(advance(1_000, 1_000), 1_100);
  assert.equal(advance(50, 3_600_050), 3_601_150, "asleep for an hour");
  assert.equal(advance(10, -7_200_000), 3_601_160, "the wall clock set back");
  assert.equal(advance(10, 10), 3_601_170);
  assert.equal(clock.leaps(), 1);
});

test("ids are UUIDs also where the browser makes none", () => {
  const plain = { getRandomValues: (bytes) => crypto.getRandomValues(bytes) };
  for (const source of [crypto, plain]) {
    assert.match(newId(source), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  assert.notEqual(newId(plain), newId(plain));
});

test("the session's address is the page's origin, or the server's other one", () => {
  const at = (page, userId, wsUrl) => {
    globalThis.location = new URL(page);
    return socketUrl("ws", { user_id: userId, resume: null }, wsUrl).href;
  };
  assert.equal(at("http://localhost:3000/", "a:b@c", null), "ws://localhost:3000/ws?user_id=a%3Ab%40c");
  assert.equal(at("https://x.example/btc/index.html?user_id=1", "u", null), "wss://x.example/btc/ws?user_id=u");
  assert.equal(at("http://[::1]:3000/", "u", "ws://{host}:8080/ws"), "ws://[::1]:8080/ws?user_id=u");
  assert.equal(at("http://h:3000/", "u", "wss://h:8443/ws?x=1#y"), "wss://h:8443/ws?x=1&user_id=u");
  assert.throws(() => at("http://h/", "u", "not an address"));
  delete globalThis.location;
});

test("a refusal is read as far as it is one", async () => {
  const json = (body, status, headers) => new Response(body === null ? null : JSON.stringify(body), { status, headers });
  const type = "https://btc-cluster.example/problems/limit";
  assert.deepEqual(await problemOf(json({ type, title: "Limit", detail: "too many" }, 429)), { slug: "limit", detail: "too many" });
  assert.deepEqual(await problemOf(json({ type: "about:blank", title: "Nope" }, 403)), { slug: "", detail: "Nope" });
  assert.deepEqual(await problemOf(new Response("<html>", { status: 502 })), { slug: "", detail: "" });
  assert.deepEqual(await problemOf(json(null, 204)), {});
  assert.equal(retryAfter(json(null, 204, { "retry-after": "3" })), 3_000);
  assert.equal(retryAfter(json(null, 204, { "retry-after": "Fri, 20 Nov 2026 08:00:00 GMT" })), 0);
});
