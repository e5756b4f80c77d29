// The page against a server that misbehaves on command, which the real one does not: the stand-in.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { faintTexts } from "./lib/looks.mjs";
import { standin } from "./standin.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

async function serve(t, options) {
  const server = await standin(options);
  t.after(() => server.stop({ notice: false }));
  return server;
}

async function open(t, url, options) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  return Tab.open(context, url);
}

/** A connected tab, and its server. */
async function session(t, options) {
  const server = await serve(t, options);
  return { server, tab: await (await open(t, server.url)).is("connected") };
}

const STILL = { tick: 1e9, mock: false, source: "binance" };

describe("the price", () => {
  test("never goes back in time", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.tick(70_000);
    await tab.at("price").filter({ hasText: /^70000.00$/ }).waitFor();
    server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ seq: server.seq - 1, price: "1.00" }) });
    server.send({ type: "quote", request_id: "x", ...server.quote({ seq: 0, price: "2.00" }) });
    await tab.at("quote-result").filter({ hasText: "2.00" }).waitFor();
    assert.equal(await tab.text("price"), "70000.00");
  });

  test("goes on after a new start of the server, whose numbers start anew", async (t) => {
    const { server, tab } = await session(t, STILL);
    for (let i = 0; i < 50; i += 1) server.tick(70_000);
    await tab.at("price").filter({ hasText: "70000.00" }).waitFor();
    server.cut();
    server.seq = 0;
    server.tick(71_000);
    await tab.at("price").filter({ hasText: "71000.00" }).waitFor();
    server.tick(72_000);
    await tab.at("price").filter({ hasText: "72000.00" }).waitFor();
  });

  test("is exact to the last digit, and grouped for the eye alone", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ seq: 99, price: "1234567.00000001" }) });
    await tab.at("price").filter({ hasText: /^1234567\.00000001$/ }).waitFor();
    assert.equal(await tab.at("price").locator("span").count(), 3);
  });

  test("is without the zeros that tell nothing, for the eye alone", async (t) => {
    const { server, tab } = await session(t, STILL);
    const tell = (seq, price) => server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ seq, price }) });
    tell(99, "61668.10000000");
    await tab.at("price").filter({ hasText: /^61668\.10000000$/ }).waitFor();
    assert.equal(await tab.at("price").innerText(), "61668.10000000");
    assert.equal(await tab.at("price").getAttribute("title"), "61668.10000000");
    const wide = await tab.at("price").locator(".zeros").evaluate((zeros) => [zeros.textContent, zeros.getBoundingClientRect().width]);
    assert.deepEqual(wide, ["000000", 0]);
    await eventually(async () => assert.match(await tab.page.title(), /^61668\.10 /));
    tell(100, "61668.1");
    await tab.at("price").filter({ hasText: /^61668\.1$/ }).waitFor();
    assert.deepEqual([await tab.at("price").getAttribute("title"), await tab.at("price").locator(".zeros").count()], [null, 0]);
  });

  test("of another pair says so beside it, and a switch is told for a while", async (t) => {
    const { server, tab } = await session(t, { ...STILL, pair: "BTC-USDT", heartbeat: 600_000 });
    await tab.at("other-pair").filter({ hasText: /^BTC-USDT$/ }).waitFor();
    assert.match(await tab.page.locator("#price-remark").textContent(), /BTC-USDT stands in for BTC-USD: USDT is not USD\./);
    const changed = { type: "system", event: "pair-changed", symbol: "BTC-USD", from: "BTC-USDT", to: "BTC-USD", source: "coinbase" };
    await tab.page.clock.install();
    server.send({ ...changed, symbol: "BTC-EUR" });
    Object.assign(server.options, { pair: "BTC-USD", source: "coinbase" });
    server.tick(65_000);
    await tab.at("other-pair").waitFor({ state: "hidden" });
    assert.equal(await tab.text("pair-changed"), "", "another symbol's is not ours");
    server.send(changed);
    await tab.at("pair-changed").filter({ hasText: "Now BTC-USD from coinbase, before BTC-USDT." }).waitFor();
    await tab.page.clock.runFor(58_000);
    assert.notEqual(await tab.text("pair-changed"), "");
    // By the page's clock nothing came for a minute: it may have come back over another connection meanwhile.
    await eventually(async () => {
      server.send({ ...changed, from: "BTC-USD", to: "<img src=x>", source: "binance" });
      const told = tab.at("pair-changed").filter({ hasText: "Now <img src=x> from binance, before BTC-USD." });
      await told.waitFor({ timeout: 1_000 });
    }, 20_000);
    await tab.page.clock.runFor(10_000);
    assert.notEqual(await tab.text("pair-changed"), "");
    await tab.page.clock.runFor(52_000);
    await eventually(async () => assert.equal(await tab.text("pair-changed"), ""));
    // Minutes without a message, by this clock: the session was asked about, at least.
    await tab.is("connected");
  });

  test("flashes up and down, once a second at most", async (t) => {
    const { server, tab } = await session(t, STILL);
    await tab.page.evaluate(() => {
      globalThis.flashes = [];
      const card = document.getElementById("price-card");
      const note = () => card.dataset.flash && globalThis.flashes.push({ at: performance.now(), way: card.dataset.flash });
      new MutationObserver(note).observe(card, { attributeFilter: ["data-flash"] });
    });
    let price = 70_000;
    const flashes = await eventually(async () => {
      server.tick((price = 140_001 - price));
      const all = await tab.page.evaluate(() => globalThis.flashes);
      assert.ok(["up", "down"].every((way) => all.some((one) => one.way === way)) && all.length > 3);
      return all;
    }, 30_000);
    for (const [at, { at: moment }] of flashes.entries()) assert.ok(at === 0 || moment - flashes[at - 1].at > 990, JSON.stringify(flashes));
    await tab.page.locator("#price-card:not([data-flash])").waitFor();
  });

  test("of another kind or pair is no move of the one before", async (t) => {
    const { server, tab } = await session(t, { ...STILL, mock: true });
    const move = tab.page.locator("#price-move");
    for (const [change, price] of [[{ mock: false }, 60_000], [{ pair: "BTC-USDT" }, 61_000]]) {
      await eventually(async () => {
        server.tick(price + server.seq);
        assert.equal(await move.textContent(), "\u25b2");
      });
      Object.assign(server.options, change);
      server.tick(price - 1);
      await tab.at("price").filter({ hasText: `${price - 1}.00` }).waitFor();
      assert.equal(await move.textContent(), "", JSON.stringify(change));
      assert.equal(await tab.page.locator("#price-card[data-flash]").count(), 0);
    }
  });

  test("has its marks in the title in the same moment", async (t) => {
    const { server, tab } = await session(t, { ...STILL, tick: 100, freshFor: 1_500, maxAge: 3_000, refuseStale: true });
    await tab.page.evaluate(() => {
      globalThis.titles = {};
      const price = document.querySelector('[data-testid="price"]');
      const note = () => {
        const is = ["stale", "mock"].find((mark) => document.querySelector(`[data-testid="price-${mark}"]`)) ?? (/^\d/.test(price.textContent) ? "plain" : "none");
        globalThis.titles[is] ??= document.title;
      };
      new MutationObserver(note).observe(document.getElementById("price-card"), { childList: true, characterData: true, subtree: true });
    });
    const titleOf = (is) => eventually(async () => (await tab.page.evaluate((name) => globalThis.titles[name], is)) ?? assert.fail(`never ${is}`));
    assert.match(await titleOf("plain"), /^\d+\.\d+ BTC-USD$/);
    server.options.mock = true;
    assert.match(await titleOf("mock"), /BTC-USD \(made up\)$/);
    server.options.mock = false;
    await tab.at("price-mock").waitFor({ state: "detached" });
    server.silent = true;
    assert.match(await titleOf("stale"), /BTC-USD \(stale\)$/);
    assert.equal(await titleOf("none"), "btc-cluster");
  });

  test("is marked by its own message, whatever another answer says, or if none comes", async (t) => {
    for (const answer of [(route) => route.abort(), (route) => route.fulfill({ json: { mock: false, symbol: "BTC-USD" } })]) {
      const server = await serve(t, STILL);
      Object.assign(server.options, { mock: true, source: "dice" });
      const context = await browser.newContext();
      t.after(() => context.close());
      await context.route("**/api/v1/info", answer);
      const tab = await (await Tab.open(context, server.url)).is("connected");
      assert.match(await tab.text("price-mock"), /^MADE-UP PRICE \(mock\)/);
      const looks = () => tab.page.evaluate(() => [
        getComputedStyle(document.querySelector('[data-testid="price"]')).color === getComputedStyle(document.body).color,
        document.querySelector("link[rel=icon]").getAttribute("href"),
      ]);
      await eventually(async () => assert.deepEqual(await looks(), [false, "favicon-mock.svg"]));
      await eventually(async () => assert.match(await tab.page.title(), /\(made up\)$/));
      await tab.at("quote-button").click();
      await tab.at("quote-result").filter({ hasText: /USD from dice, made up, / }).waitFor();
      server.options.mock = false;
      server.tick(70_000);
      await tab.at("price").filter({ hasText: "70000.00" }).waitFor();
      assert.equal(await tab.count("price-mock"), 0, "not a moment longer");
      await eventually(async () => assert.deepEqual(await looks(), [true, "favicon.svg"]));
      server.options.mock = true;
      server.send({ type: "quote", request_id: "x", ...server.quote({ seq: server.seq + 1 }) });
      await tab.at("price-mock").waitFor();
    }
  });

  test("is loudly made up as long as the server says so, and no longer", async (t) => {
    const { server, tab } = await session(t, { tick: 100 });
    assert.match(await tab.text("price-mock"), /^MADE-UP PRICE \(mock\)/);
    Object.assign(server.options, { mock: false, source: "binance", pair: "BTC-USDT" });
    await tab.at("price-mock").waitFor({ state: "detached" });
    assert.equal(await tab.text("price-source"), "binance");
    Object.assign(server.options, { mock: true, source: "elsewhere" });
    await tab.at("price-mock").waitFor();
  });

  test("is made up again when it is so after a return", async (t) => {
    const { server, tab } = await session(t, STILL);
    assert.equal(await tab.count("price-mock"), 0);
    server.options.mock = true;
    server.cut();
    await tab.at("price-mock").waitFor();
  });

  test("says in the title that it is stale where nobody looks at the page", async (t) => {
    const { server, tab } = await session(t, { ...STILL, freshFor: 1_500 });
    await tab.page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    server.silent = true;
    assert.doesNotMatch(await tab.page.title(), /stale/);
    await eventually(async () => assert.match(await tab.page.title(), /\(stale\)$/));
  });

  test("follows rules that change while it is shown", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.quiet = true;
    await tab.at("price-age").filter({ hasText: /^[1-9]\.\d s$/ }).waitFor();
    server.send({ type: "system", event: "price-rules", fresh_for_ms: 500, max_age_ms: 120_000, gone_after_ms: 600_000 });
    await tab.at("price-stale").waitFor();
    server.send({ type: "system", event: "price-rules", fresh_for_ms: 500, max_age_ms: 600, gone_after_ms: 600 });
    await tab.at("price").filter({ hasText: "no price at the moment" }).waitFor();
    assert.equal(await tab.text("connection"), "connected");
  });

  test("grows old while nobody is connected, which is said in other words than stale", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.refuse({ status: 503, slug: "draining", detail: "this server is going away", retryAfter: 60 });
    server.cut();
    await tab.is("reconnecting");
    await eventually(async () => assert.ok(Number.parseFloat(await tab.text("price-age")) > 2));
    assert.equal(await tab.count("price-stale"), 0);
    assert.match(await tab.page.locator("#price-remark").textContent(), /Last heard/);
  });

  test("comes and goes with the words of the server", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.send({ type: "price", channel: "price:BTC-USD", price: null });
    await tab.at("price").filter({ hasText: "no price" }).waitFor();
    server.tick(65_000);
    await tab.at("price").filter({ hasText: "65000.00" }).waitFor();
    server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ stale: true }) });
    await tab.at("price-stale").waitFor();
    const remark = tab.page.locator("#price-remark");
    await remark.filter({ hasText: "The source has sent nothing newer" }).waitFor();
    server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ stale: true, source: "median" }) });
    await remark.filter({ hasText: "too few sources answer or agree" }).waitFor();
    server.tick(65_001);
    await tab.at("price-stale").waitFor({ state: "detached" });
  });

  test("and everything else from the server is text, never markup", async (t) => {
    const evil = "<img/src=x>";
    const { server, tab } = await session(t, { ...STILL, source: evil });
    assert.equal(await tab.text("price-source"), evil);
    const stats = server.stats();
    server.stats = () => ({ ...stats, users: [{ user_id: evil, sessions: 1, workers: [evil] }], workers: [{ ...stats.workers[0], state: evil }] });
    const all = server.quote({ seq: 99, price: evil, pair: evil, symbol: evil });
    server.send({ type: "price", channel: "price:BTC-USD", ...all, symbol: "BTC-USD" });
    server.send({ type: "quote", request_id: "x", ...all });
    for (const testid of ["price", "quote-result", "users", "workers"]) await tab.at(testid).filter({ hasText: evil }).waitFor();
    assert.equal(await tab.page.locator("img").count(), 0);
    assert.deepEqual(tab.errors, []);
  });
});

describe("the connection", () => {
  for (const [code, word] of [[1001, "reconnecting"], [1011, "reconnecting"], [1012, "reconnecting"], [1013, "reconnecting"], [4101, "reconnecting"], [4200, "reconnecting"]]) {
    test(`comes back by itself after ${code}`, async (t) => {
      const { server, tab } = await session(t, STILL);
      const at = performance.now();
      server.close(code, "some-slug");
      await eventually(async () => assert.deepEqual(await tab.states(), ["connecting", "connected", word, "connected"]));
      if (code === 4101) assert.ok(performance.now() - at >= 1_000);
    });
  }

  for (const code of [1000, 1008, 4003, 4006]) {
    test(`stays offline after ${code}, says why, and comes with the button`, async (t) => {
      const { server, tab } = await session(t, STILL);
      server.close(code, "some-slug");
      await tab.is("offline");
      assert.match(await tab.text("connection-reason"), new RegExp(`some-slug, ${code}`));
      await tab.page.waitForTimeout(1_500);
      assert.equal(server.sessions.size, 0);
      await tab.at("connect-again").click();
      await tab.is("connected");
      assert.equal(await tab.at("connection-reason").isVisible(), false);
    });
  }

  test("keeps the slot that the server gave it, unless the network comes back or somebody presses", async (t) => {
    const { server, tab } = await session(t, STILL);
    const away = async () => {
      server.send({ type: "system", event: "shutdown", reason: "shutdown", reconnect_in_ms: 20_000 });
      server.close(1001, "shutdown");
      await tab.is("reconnecting");
      assert.match(await tab.page.locator("#next-try").textContent(), /Next try in (20|19) s/);
      await tab.page.waitForTimeout(600);
      assert.equal(await tab.text("connection"), "reconnecting");
    };
    await away();
    await tab.page.evaluate(() => dispatchEvent(new Event("online")));
    await tab.is("connected");
    await away();
    await tab.at("connect-again").click();
    await tab.is("connected");
  });

  test("that is refused for good says so in the server's words", async (t) => {
    const server = await serve(t, STILL);
    server.refuse({ status: 403, slug: "origin", detail: "this origin is not allowed" });
    const tab = await (await open(t, server.url)).is("offline");
    assert.equal(await tab.text("connection-reason"), "This origin is not allowed. (origin, 403)");
    server.refuse(null);
    await tab.at("connect-again").click();
    await tab.is("connected");
  });

  test("that is refused for now waits as long as it is told", async (t) => {
    const server = await serve(t, STILL);
    server.refuse({ status: 503, slug: "full", detail: "every place is taken", retryAfter: 2 });
    const tab = await (await open(t, server.url)).is("reconnecting");
    const at = performance.now();
    assert.match(await tab.text("connection-reason"), /Every place is taken. \(full, 503\)/);
    server.refuse(null);
    await tab.is("connected");
    assert.ok(performance.now() - at > 1_500);
  });

  test("goes where the server says, and to its own origin when that is out of reach", async (t) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const portsTried = async (server) => {
      const ports = [];
      const page = await context.newPage();
      page.on("websocket", (socket) => ports.push(Number(new URL(socket.url()).port)));
      await page.goto(server.url);
      await new Tab(page).is("connected", 30_000);
      return ports;
    };
    const two = await serve(t, { ...STILL, pageWsUrl: "own" });
    assert.deepEqual(await portsTried(two), [two.ports.ws]);
    const gone = await standin(STILL);
    await gone.stop();
    const dead = gone.ports.ws;
    const one = await serve(t, { ...STILL, pageWsUrl: `ws://127.0.0.1:${dead}/ws` });
    assert.deepEqual(await portsTried(one), [dead, dead, one.ports.http]);
  });

  test("that has gone silent is asked, dropped and made anew", async (t) => {
    const { server, tab } = await session(t, { ...STILL, heartbeat: 100 });
    server.silent = true;
    await eventually(async () => assert.deepEqual(await tab.states(), ["connecting", "connected", "reconnecting", "connected"]), 45_000);
    assert.deepEqual(server.heard.filter(({ type }) => type !== "subscribe"), [{ type: "ping" }]);
  });

  test("after a sleep of the machine is not believed, nor is its price, until the server is heard", async (t) => {
    for (const mode of ["websocket", "sse", "poll"]) {
      const { server, tab } = await session(t, STILL);
      await tab.at("transport-select").selectOption(mode);
      await tab.at("transport").filter({ hasText: new RegExp(`^${mode}$`) }).waitFor();
      await tab.is("connected");
      await tab.page.clock.install();
      // Timers of before are real ones; the next message winds them anew.
      server.tick(70_000);
      await tab.at("price").filter({ hasText: "70000.00" }).waitFor();
      server.silent = true;
      const states = (await tab.states()).length;
      await tab.page.clock.fastForward("02:00:00");
      await tab.is("reconnecting");
      await tab.at("price").filter({ hasText: "no price at the moment" }).waitFor();
      server.silent = false;
      server.tick(71_000);
      await tab.page.clock.runFor(1_000);
      await tab.is("connected");
      await tab.at("price").filter({ hasText: "71000.00" }).waitFor();
      assert.deepEqual((await tab.states()).slice(states), ["reconnecting", "connected"], mode);
    }
  });

  test("that is merely quiet is kept", async (t) => {
    const { server, tab } = await session(t, { ...STILL, heartbeat: 100 });
    server.quiet = true;
    await eventually(() => assert.ok(server.heard.some(({ type }) => type === "ping")), 30_000);
    await tab.page.waitForTimeout(5_500);
    assert.deepEqual(await tab.states(), ["connecting", "connected"]);
  });

  test("is given up with the page, and is there again when one goes back to it", async (t) => {
    const { server, tab } = await session(t, STILL);
    const user = await tab.text("user-id");
    await tab.page.goto(`${server.url}/favicon.svg`);
    await eventually(() => assert.equal(server.sessions.size, 0));
    await tab.page.goBack();
    await tab.is("connected");
    assert.equal(await tab.text("user-id"), user);
    assert.equal(server.sessions.size, 1);
  });

  test("is given up in the back/forward cache, where the id is nobody's, and made anew from there", async (t) => {
    const { server, tab } = await session(t, STILL);
    const user = await tab.text("user-id");
    const fire = (type) => tab.page.evaluate((type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true })), type);
    await fire("pagehide");
    await eventually(() => assert.equal(server.sessions.size, 0));
    await fire("pageshow");
    await tab.is("connected");
    assert.equal(await tab.text("user-id"), user);
    assert.equal(server.sessions.size, 1);
    await fire("pagehide");
    const [copy] = await Promise.all([tab.page.waitForEvent("popup"), tab.page.evaluate(() => void window.open(location.href))]);
    const heir = await new Tab(copy).is("connected");
    assert.equal(await heir.text("user-id"), user, "nobody objected");
    await fire("pageshow");
    await tab.is("connected");
    assert.notEqual(await tab.text("user-id"), user);
  });
});

describe("a session that moves to another worker", () => {
  test("goes on: the page says where it is and what it has survived, and nothing looks like an outage", async (t) => {
    for (const mode of ["websocket", "sse", "poll"]) {
      const { server, tab } = await session(t, { ...STILL, heartbeat: 600_000 });
      await tab.at("transport-select").selectOption(mode);
      await tab.at("transport").filter({ hasText: new RegExp(`^${mode}$`) }).waitFor();
      await tab.is("connected");
      await eventually(async () => assert.ok(await tab.worker()));
      const [id, states, opens] = [await tab.text("session-id"), await tab.states(), server.asked.filter(({ path }) => path !== "/api/v1/poll").length];
      const { id: first } = await tab.worker();
      assert.equal(await tab.text("moves"), "no move or restart so far");
      server.move(12);
      await tab.at("moves").filter({ hasText: /^1 move or restart; silence 12 ms$/ }).waitFor();
      const now = server.workers[first % 3];
      assert.equal(await tab.page.locator("#own-worker").textContent(), `${now.id} (process ${now.pid})`);
      const { id: own, pid } = await tab.worker();
      assert.deepEqual([own, pid], [now.id, now.pid], "at once, not with the next statistics");
      server.move(0);
      server.move(180);
      await tab.at("moves").filter({ hasText: /^3 moves and restarts; last silence 180 ms$/ }).waitFor();
      server.tick(71_000);
      await tab.at("price").filter({ hasText: "71000.00" }).waitFor();
      assert.deepEqual(await tab.states(), states, mode);
      assert.equal(await tab.text("session-id"), id);
      assert.equal(server.asked.filter(({ path }) => path !== "/api/v1/poll").length, opens, "nobody connected again");
      assert.equal(await tab.at("connection-reason").textContent(), "");
      assert.deepEqual(tab.errors, []);
    }
  });

  test("keeps its count when it is cut and comes back, and loses it with the session", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.move(12);
    server.move(30);
    const before = (await tab.states()).length;
    server.cut();
    // It may be back before anybody looks.
    await eventually(async () => {
      const states = (await tab.states()).slice(before);
      assert.ok(states.includes("reconnecting") && states.at(-1) === "connected", states);
    });
    await tab.at("moves").filter({ hasText: /^2 moves and restarts$/ }).waitFor();
    server.all.resume = false;
    server.cut();
    await tab.at("moves").filter({ hasText: "no move or restart so far" }).waitFor();
  });

  test("takes a process that the statistics do not know yet", async (t) => {
    const { server, tab } = await session(t, STILL);
    await eventually(async () => assert.ok(await tab.worker()));
    server.quiet = true;
    const { id } = await tab.worker();
    server.send({ type: "system", event: "moved", worker: { id, pid: 424_242 }, silence_ms: 1, moves: 1 });
    await eventually(async () => assert.equal((await tab.worker()).pid, 424_242));
  });
});

describe("the cluster", () => {
  test("tells how many users are left out, and that a server does not tell", async (t) => {
    const { server, tab } = await session(t, STILL);
    const stats = server.stats();
    server.stats = () => ({ ...stats, users: stats.users, users_truncated: 4_950 });
    await tab.page.getByText("and 4950 more").waitFor();
    server.stats = () => ({ ...stats, users: undefined, users_truncated: undefined });
    await tab.page.getByText("does not tell who its users are").waitFor();
  });

  test("shows slots that come, go and fail", async (t) => {
    const { server, tab } = await session(t, STILL);
    const stats = server.stats();
    const row = (id, more) => ({ ...stats.workers[0], id, ...more });
    server.stats = () => ({ ...stats, workers: [row(1), row(3, { state: "failed", pid: null }), row(10)] });
    await eventually(async () => assert.deepEqual((await tab.workers()).map(({ id, pid }) => [id, pid === null]), [[1, false], [3, true], [10, false]]));
    server.stats = () => ({ ...stats, workers: [1, 2, 3, 4].map((id) => row(id)) });
    await eventually(async () => assert.deepEqual((await tab.workers()).map(({ id }) => id), [1, 2, 3, 4]));
  });
});

describe("the quote button", () => {
  test("says the server's words when it is refused", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.refuse({ status: 503, slug: "draining", detail: "going", retryAfter: 60 });
    server.cut();
    await tab.is("reconnecting");
    await eventually(() => assert.equal(server.sessions.size, 0));
    await tab.at("quote-button").click();
    await tab.at("quote-result").filter({ hasText: "This user has no session. (user-not-connected, 404)" }).waitFor();
    assert.equal(await tab.text("quote-rtt"), "");
    await server.stop();
    await tab.at("quote-button").click();
    await tab.at("quote-result").filter({ hasText: "cannot be reached" }).waitFor();
  });
});

const SOURCES = [
  { source: "coinbase", pair: "BTC-USD", price: "64250.12", age_ms: 120, verdict: "agrees" },
  { source: "bitstamp", pair: "BTC-USD", price: "66310", age_ms: 1_200, verdict: "deviates" },
  { source: "coindesk", pair: "BTC-USD", price: "64100.5", age_ms: 184_000, verdict: "stale" },
  { source: "binance", pair: "BTC-USDT", price: "64301.77000000", age_ms: 35, verdict: "other-pair" },
  { source: "my-script", pair: null, price: null, age_ms: null, verdict: "none" },
  { source: "<b>odd</b>", pair: "BTC-USD", price: "1", age_ms: 1, verdict: "sleepy" },
];

describe("a quote that was accepted and never comes", () => {
  test("is told as what it is", async (t) => {
    const { server, tab } = await session(t, STILL);
    server.forgetful = true;
    await tab.at("quote-button").click();
    await tab.at("quote-result").filter({ hasText: "Accepted for 1 session, but nothing has come to this tab." }).waitFor({ timeout: 10_000 });
    assert.deepEqual(tab.errors, []);
  });
});

describe("the sources of a quote", () => {
  test("are shown below it, each with its verdict, and go with it", async (t) => {
    const { server, tab } = await session(t, STILL);
    assert.equal(await tab.at("quote-sources").isVisible(), false);
    server.sources = SOURCES;
    await tab.at("quote-button").click();
    await tab.at("quote-sources").waitFor();
    const rows = await tab.at("quote-sources").locator("tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
    assert.deepEqual(rows, [
      ["coinbase", "BTC-USD", "64250.12", "0.1 s", "agrees"],
      ["bitstamp", "BTC-USD", "66310", "1.2 s", "deviates"],
      ["coindesk", "BTC-USD", "64100.5", "3 min 04 s", "stale"],
      ["binance", "BTC-USDT", "64301.77000000", "0.0 s", "other pair"],
      ["my-script", "\u2013", "\u2013", "\u2013", "no price"],
      ["<b>odd</b>", "BTC-USD", "1", "0.0 s", "sleepy"],
    ]);
    assert.equal(await tab.page.getByRole("table", { name: "Sources of this quote" }).count(), 1);
    server.sources = null;
    await tab.at("quote-button").click();
    await tab.at("quote-sources").waitFor({ state: "hidden" });
  });
});

describe("the looks", () => {
  const SHAPES = { phone: { width: 360, height: 740 }, desk: { width: 1_200, height: 800 } };

  for (const [shape, viewport] of Object.entries(SHAPES)) {
    for (const colorScheme of ["light", "dark"]) {
      test(`fit a ${shape} and can be read, ${colorScheme}`, async (t) => {
        const server = await serve(t, { tick: 1e9, freshFor: 1, pair: "BTC-USDT" });
        const tab = await (await open(t, server.url, { viewport, colorScheme, reducedMotion: "reduce" })).is("connected");
        await tab.at("price-stale").waitFor();
        server.sources = SOURCES;
        server.move(180);
        server.send({ type: "system", event: "pair-changed", symbol: "BTC-USD", from: "BTC-USD", to: "BTC-USDT", source: "mock" });
        await eventually(async () => assert.ok(await tab.at("chart").locator("path.line[d]").count()));
        await tab.at("quote-button").click();
        await tab.at("quote-rtt").filter({ hasText: "ms" }).waitFor();
        await tab.page.mouse.move(0, 0);
        assert.equal(await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
        assert.deepEqual(await tab.page.evaluate(faintTexts), []);
        server.close(4006, "kicked");
        await tab.is("offline");
        assert.deepEqual(await tab.page.evaluate(faintTexts), []);
        await tab.screenshot(`looks-${shape}-${colorScheme}`);
      });
    }
  }

  test("do not jump: not with prices, not with a lost connection, not with its return", async (t) => {
    for (const viewport of Object.values(SHAPES)) {
      const server = await serve(t, { tick: 20 });
      const tab = await (await open(t, server.url, { viewport })).is("connected");
      await eventually(async () => assert.equal((await tab.workers()).length, 3));
      await tab.page.waitForTimeout(300);
      const tops = () => tab.page.locator("main > *, .columns > *, footer").evaluateAll((all) => all.map((e) => Math.round(e.getBoundingClientRect().top + scrollY)));
      const before = await tops();
      await tab.page.waitForTimeout(500);
      assert.deepEqual(await tops(), before, "prices");
      server.refuse({ status: 503, slug: "full", detail: "full", retryAfter: 1 });
      server.cut();
      await tab.is("reconnecting");
      await tab.at("connect-again").waitFor();
      assert.deepEqual(await tops(), before, "a lost connection");
      const { y, height } = await tab.at("connect-again").boundingBox();
      assert.ok(y > 0 && y + height <= viewport.height, "and it is told where one looks");
      server.refuse(null);
      await tab.is("connected");
      assert.deepEqual(await tops(), before, "its return");
      for (let moves = 0; moves < 12; moves += 1) server.move(12 * moves);
      await tab.at("moves").filter({ hasText: "12 moves" }).waitFor();
      assert.deepEqual(await tops(), before, "moves");
    }
  });

  test("serve those who do not see them: landmarks, names, and no chatter from every tick", async (t) => {
    const { tab } = await session(t, { tick: 50 });
    for (const role of ["banner", "main", "contentinfo"]) assert.equal(await tab.page.getByRole(role).count(), 1, role);
    for (const name of ["Price of BTC-USD", "The last hour", "This tab", "Ask for a quote", "The cluster"]) {
      assert.equal(await tab.page.getByRole("region", { name, exact: true }).count(), 1, name);
    }
    assert.equal(await tab.page.getByRole("table", { name: "Workers" }).getByRole("rowheader").count(), 3);
    const speaks = (testid) => tab.at(testid).evaluate((e) => Boolean(e.closest("[aria-live], [role=status], [role=alert]")));
    assert.deepEqual(await Promise.all(["connection", "quote-result", "price", "price-age", "workers"].map(speaks)), [true, true, false, false, false]);
    await tab.page.keyboard.press("Tab");
    const outline = await tab.page.evaluate(() => [document.activeElement.dataset.testid, getComputedStyle(document.activeElement).outlineStyle]);
    assert.deepEqual(outline, ["chart", "solid"]);
    const next = [];
    for (let i = 0; i < 7; i += 1) {
      await tab.page.keyboard.press("Tab");
      next.push(await tab.page.evaluate(() => document.activeElement.dataset.testid ?? document.activeElement.textContent.trim().split(" ")[0]));
    }
    assert.deepEqual(next, ["transport-select", "new-tab", "quote-button", "Chat", "Broadcast", "Commands", "Streams"]);
    assert.equal(await tab.page.getByLabel("Transport", { exact: true }).count(), 1);
    assert.equal(await tab.at("new-tab").getAttribute("rel"), "noopener");
  });

  test("need nothing from anywhere else, and leave no 404", async (t) => {
    const server = await serve(t, { tick: 50 });
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const answers = [];
    page.on("response", (response) => answers.push([response.status(), new URL(response.url()).origin]));
    await page.goto(server.url);
    await new Tab(page).is("connected");
    for (const answer of answers) assert.deepEqual(answer, [200, server.url]);
    assert.ok(!server.requests.includes("GET /favicon.ico"));
  });
});
