// The session over three transports, and how it comes back, against the stand-in, with a proxy between where one is
// what makes the trouble.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { proxy } from "./lib/proxy.mjs";
import { standin } from "./standin.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const STILL = { tick: 1e9, mock: false, source: "binance" };

async function serve(t, options) {
  const server = await standin({ ...STILL, ...options });
  t.after(() => server.stop({ notice: false }));
  return server;
}

async function open(t, url, prepare) {
  const context = await browser.newContext();
  t.after(() => context.close());
  await prepare?.(context);
  return Tab.open(context, url);
}

async function over(tab, word, patience = 20_000) {
  await tab.at("transport").filter({ hasText: new RegExp(`^${word}$`) }).waitFor({ timeout: patience });
  return tab.is("connected", patience);
}

async function choose(tab, mode) {
  await tab.at("transport-select").selectOption(mode);
  return over(tab, mode);
}

/** A quote that a back end asks for comes to the tab, over whatever it has. */
async function getsQuotes(tab, server) {
  const price = 10_000 + Math.floor(Math.random() * 1e6);
  server.tick(price);
  await tab.at("price").filter({ hasText: `${price}.00` }).waitFor();
  const body = JSON.stringify({ user_id: await tab.text("user-id") });
  const receipt = await fetch(`${server.url}/api/v1/quotes`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(receipt.status, 202);
  await tab.at("quote-result").filter({ hasText: `${price}.00` }).waitFor();
}

/** The numbered `message`s that a tab has taken, as the text of its chat. */
const lines = (tab) => tab.at("chat-log").locator("li > span").allTextContents();

describe("each transport", () => {
  for (const mode of ["websocket", "sse", "poll"]) {
    test(`${mode}: is chosen, brings prices, statistics, candles and quotes, and is kept over a reload`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      await getsQuotes(tab, server);
      await eventually(async () => assert.equal((await tab.workers()).filter((worker) => worker.own).length, 1));
      const close = await tab.page.locator("#chart-close").textContent();
      server.tick(65_432);
      await eventually(async () => assert.notEqual(await tab.page.locator("#chart-close").textContent(), close));
      await tab.page.reload();
      await over(tab, mode);
      assert.equal(await tab.at("transport-select").inputValue(), mode);
      await getsQuotes(tab, server);
      assert.equal(server.sessions.size, 1);
      assert.deepEqual(tab.errors, []);
    });

    test(`${mode}: a lost connection comes back to the same session, and nothing is missed`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await tab.at("chat").locator("summary").click();
      await choose(tab, mode);
      await eventually(() => assert.ok([...server.sessions.values()][0].channels.has("chat:lobby")));
      const session = await tab.text("session-id");
      server.rooms.say("chat:lobby", "her", { text: "one" });
      await eventually(async () => assert.deepEqual(await lines(tab), ["one"]));
      server.cut();
      server.rooms.say("chat:lobby", "her", { text: "two" });
      server.rooms.say("chat:lobby", "her", { text: "three" });
      await eventually(async () => assert.deepEqual(await lines(tab), ["one", "two", "three"]));
      await tab.is("connected");
      assert.equal(await tab.text("session-id"), session);
      assert.equal(await tab.count("gap"), 0);
      await getsQuotes(tab, server);
    });

    test(`${mode}: a reload goes on with the session`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      await getsQuotes(tab, server);
      const session = await tab.text("session-id");
      server.asked.length = 0;
      await tab.page.reload();
      await over(tab, mode);
      await eventually(async () => assert.equal(await tab.text("session-id"), session));
      assert.match(server.asked[0].ticket, /^[0-9a-f-]{36}\.\d+$/);
      assert.equal(await tab.count("gap"), 0);
      await getsQuotes(tab, server);
      assert.deepEqual([server.sessions.size, server.all.asleep.size], [1, 0]);
    });

    test(`${mode}: a session that was ended for good is not come back to`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      server.close(4006, "kicked");
      await tab.is("offline");
      // Whoever was between two polls then has the word of the next.
      assert.match(await tab.text("connection-reason"), /kicked, 4006|session-ended, 1000/);
      const asked = server.asked.length;
      await tab.page.evaluate(() => dispatchEvent(new Event("online")));
      await tab.page.waitForTimeout(1_500);
      assert.equal(server.asked.length, asked);
      await tab.at("connect-again").click();
      await tab.is("connected");
      assert.equal(server.asked.at(asked).ticket, null, "a new one");
      assert.equal(await tab.count("gap"), 0);
    });

    test(`${mode}: a planned close keeps its slot`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      server.send({ type: "system", event: "restarting", reason: "worker-replaced", reconnect_in_ms: 20_000 });
      server.close(1012, "worker-replaced");
      await tab.is("reconnecting");
      assert.match(await tab.page.locator("#next-try").textContent(), /Next try in (20|19) s/);
      assert.match(await tab.text("connection-reason"), /worker-replaced, 1012/);
      await tab.at("connect-again").click();
      await over(tab, mode);
    });

    test(`${mode}: a refusal is told in the server's words`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      server.refuse({ status: 403, slug: "origin", detail: "this origin is not allowed" });
      server.cut();
      await tab.is("offline");
      assert.equal(await tab.text("connection-reason"), "This origin is not allowed. (origin, 403)");
      server.refuse(null);
      await tab.at("connect-again").click();
      await over(tab, mode);
    });
  }

  for (const [mode, status] of [["sse", 204], ["poll", 410]]) {
    test(`${mode}: ${status} stops the coming back, also when the last message was lost`, async (t) => {
      const server = await serve(t);
      const tab = await (await open(t, server.url)).is("connected");
      await choose(tab, mode);
      const [session] = server.sessions.values();
      const { token } = session;
      server.cut();
      server.all.ended.add(token);
      await tab.is("offline");
      assert.match(await tab.text("connection-reason"), /The server ended this session\. \((session-)?ended, 1000\)/);
      await tab.at("connect-again").click();
      await over(tab, mode);
    });
  }

  test("is changed without a gap, there and back", async (t) => {
    const server = await serve(t);
    const tab = await (await open(t, server.url)).is("connected");
    await tab.at("chat").locator("summary").click();
    await eventually(() => assert.ok([...server.sessions.values()][0].channels.has("chat:lobby")));
    const session = await tab.text("session-id");
    const said = [];
    for (const mode of ["sse", "poll", "websocket", "poll", "sse", "websocket"]) {
      server.rooms.say("chat:lobby", "her", { text: `before ${mode}` });
      await tab.at("transport-select").selectOption(mode);
      server.rooms.say("chat:lobby", "her", { text: `during ${mode}` });
      await over(tab, mode);
      said.push(`before ${mode}`, `during ${mode}`);
      await eventually(async () => assert.deepEqual(await lines(tab), said));
    }
    assert.equal(await tab.text("session-id"), session);
    assert.equal(await tab.count("gap"), 0);
    assert.equal(server.sessions.size, 1);
    assert.deepEqual(tab.errors, []);
  });
});

describe("coming back", () => {
  test("to a session that is gone says for a while that some messages may be missing", async (t) => {
    const server = await serve(t, { heartbeat: 600_000 });
    const tab = await (await open(t, server.url)).is("connected");
    const session = await tab.text("session-id");
    server.all.resume = false;
    server.cut();
    await tab.at("gap").waitFor();
    assert.match(await tab.text("gap"), /^Some messages may be missing\./);
    await tab.is("connected");
    assert.notEqual(await tab.text("session-id"), session);
    await tab.at("gap").waitFor({ state: "detached", timeout: 45_000 });
    assert.deepEqual(tab.errors, []);
  });

  test("to a server that has no tokens is a new session, and no word of a gap", async (t) => {
    const server = await serve(t, { resume: false });
    const tab = await (await open(t, server.url)).is("connected");
    server.cut();
    await eventually(async () => assert.deepEqual(await tab.states(), ["connecting", "connected", "reconnecting", "connected"]));
    assert.equal(await tab.count("gap"), 0);
    await getsQuotes(tab, server);
  });

  test("is not what a duplicated tab does: the first keeps its session", async (t) => {
    const server = await serve(t);
    const tab = await (await open(t, `${server.url}/?user_id=maria`)).is("connected");
    const session = await tab.text("session-id");
    // A window with an opener gets a copy of sessionStorage, as a duplicated tab does.
    const [copy] = await Promise.all([tab.page.waitForEvent("popup"), tab.page.evaluate(() => void window.open(location.href))]);
    const twin = await new Tab(copy).is("connected");
    assert.notEqual(await twin.text("session-id"), session);
    assert.equal(await twin.count("gap"), 0);
    assert.deepEqual(await tab.states(), ["connecting", "connected"]);
    assert.equal(server.sessions.size, 2);
  });

  test("after a session was taken over elsewhere is a matter of the button", async (t) => {
    const server = await serve(t);
    const tab = await (await open(t, server.url)).is("connected");
    server.close(4005, "replaced");
    await tab.is("offline");
    assert.match(await tab.text("connection-reason"), /taken over elsewhere/);
  });
});

describe("a proxy that shuts WebSockets out", () => {
  for (const upgrades of ["refuse", "cut"]) {
    test(`${upgrades}: the page goes over to events by itself, says so, and gets quotes`, async (t) => {
      const server = await serve(t);
      const between = await proxy(t, server.url, { upgrades });
      const tab = await over(await open(t, between.url), "sse");
      assert.equal(between.upgrades, 2, "twice, not for ever");
      await getsQuotes(tab, server);
      assert.match(await tab.text("transport-note"), /WebSockets do not get through/);
      assert.equal(await tab.at("transport-select").inputValue(), "auto");
      assert.equal(await tab.at("connection-reason").isVisible(), false);
    });
  }

  test("and answers for the server is believed after one try", async (t) => {
    const server = await serve(t);
    const between = await proxy(t, server.url, { upgrades: "refuse", ws: "refuse" });
    await over(await open(t, between.url), "sse");
    assert.equal(between.upgrades, 1);
  });

  for (const events of ["hold", "swallow", "refuse"]) {
    test(`and events (${events}): the page polls, and gets quotes`, async (t) => {
      const server = await serve(t);
      const between = await proxy(t, server.url, { upgrades: "cut", events });
      const tab = await over(await open(t, between.url), "poll", 30_000);
      await getsQuotes(tab, server);
      assert.match(await tab.text("transport-note"), /long polling is used/);
    });
  }

  test("and everything else leaves the page trying, and comes back when the way is open", async (t) => {
    const server = await serve(t);
    const between = await proxy(t, server.url, { upgrades: "refuse", ws: "refuse", events: "refuse", poll: "refuse" });
    const tab = await open(t, between.url);
    await tab.is("reconnecting");
    await eventually(() => assert.ok(between.requests.includes("GET /api/v1/poll")));
    await tab.at("connection-reason").filter({ hasText: "403" }).waitFor();
    Object.assign(between.rules, { upgrades: "pass", ws: "pass", events: "pass", poll: "pass" });
    await tab.is("connected", 30_000);
  });

  test("for a while: the session goes back to a WebSocket quietly, with all that was said meanwhile", async (t) => {
    const server = await serve(t);
    const between = await proxy(t, server.url, { upgrades: "cut" });
    const tab = await over(await open(t, between.url), "sse");
    await tab.at("chat").locator("summary").click();
    await tab.at("chat-state").filter({ hasText: "only listens" }).waitFor();
    const session = await tab.text("session-id");
    const states = (await tab.states()).length;
    await tab.page.evaluate(() => dispatchEvent(new Event("online")));
    await eventually(() => assert.equal(between.upgrades, 3));
    server.rooms.say("chat:lobby", "her", { text: "still over events" });
    await eventually(async () => assert.deepEqual(await lines(tab), ["still over events"]));
    assert.equal(await tab.text("transport"), "sse");
    between.rules.upgrades = "pass";
    server.rooms.say("chat:lobby", "her", { text: "one" });
    await eventually(async () => {
      await tab.page.evaluate(() => dispatchEvent(new Event("online")));
      assert.equal(await tab.text("transport"), "websocket");
    });
    server.rooms.say("chat:lobby", "her", { text: "two" });
    await eventually(async () => assert.deepEqual(await lines(tab), ["still over events", "one", "two"]));
    assert.deepEqual([await tab.text("session-id"), (await tab.states()).length, server.sessions.size], [session, states, 1]);
    assert.equal(await tab.count("gap"), 0);
    assert.equal(await tab.text("transport-note"), "");
    assert.equal(await tab.at("chat-input").isEnabled(), true);
    await getsQuotes(tab, server);
  });

  test("is tried again after some minutes", async (t) => {
    const server = await serve(t, { heartbeat: 600_000 });
    const between = await proxy(t, server.url, { upgrades: "cut" });
    const tab = await over(await open(t, between.url), "sse");
    await tab.page.clock.install();
    await tab.page.evaluate(() => dispatchEvent(new Event("online")));
    await eventually(() => assert.equal(between.upgrades, 3));
    between.rules.upgrades = "pass";
    // In steps in which the server is heard: more would be silence.
    await eventually(async () => {
      await tab.page.clock.runFor(4_000);
      await tab.page.waitForTimeout(100);
      assert.equal(await tab.text("transport"), "websocket");
    }, 40_000);
    assert.deepEqual(await tab.states(), ["connecting", "reconnecting", "connected"]);
  });

  test("and a server that can neither events nor polling: the page stays with what it can", async (t) => {
    const server = await serve(t, { listening: false });
    const tab = await (await open(t, server.url)).is("connected");
    await tab.at("transport-select").selectOption("sse");
    await tab.is("offline");
    assert.match(await tab.text("connection-reason"), /not-found, 404/);
    await tab.at("transport-select").selectOption("auto");
    await over(tab, "websocket");
  });
});

test("a server that restarts does not drive the page to another transport", async (t) => {
  const first = await serve(t);
  const { ports } = first;
  const tab = await (await open(t, first.url)).is("connected");
  await first.stop();
  await tab.at("connection-reason").filter({ hasText: "cannot be reached" }).waitFor();
  await tab.page.waitForTimeout(3_000);
  await serve(t, ports);
  await tab.is("connected", 30_000);
  assert.equal(await tab.text("transport"), "websocket");
});
