// A user's view of a running cluster: a real browser, real tabs, the real binary (BTC_CLUSTER_BIN), or the stand-in
// while developing (BTC_CLUSTER_STANDIN=1).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { startCluster } from "./lib/cluster.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A browser of its own for the test, with as many connected tabs. */
async function openTabs(t, cluster, count) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const tabs = [];
  for (let i = 0; i < count; i += 1) tabs.push(await (await Tab.open(context, cluster.url)).is("connected"));
  return { context, tabs };
}

function calm(...tabs) {
  for (const tab of tabs) assert.deepEqual(tab.errors, [], "no console errors");
}

function post(cluster, body) {
  const headers = { "content-type": "application/json" };
  return fetch(`${cluster.url}/api/v1/quotes`, { method: "POST", headers, body: JSON.stringify(body) });
}

test("every tab shows the price with its source and age, who it is, and the workers", async (t) => {
  const cluster = await startCluster(t);
  const { tabs } = await openTabs(t, cluster, 3);
  const seen = { users: new Set(), sessions: new Set() };
  for (const tab of tabs) {
    await eventually(async () => assert.match(await tab.text("price"), /^\d+(\.\d+)?$/));
    assert.equal(await tab.text("price-source"), "mock");
    assert.match(await tab.text("price-age"), /^\d+(\.\d)? (s|min)/);
    assert.match(await tab.text("price-mock"), /MADE-UP PRICE \(mock\)/);
    assert.equal(await tab.count("price-stale"), 0);
    assert.equal(await tab.text("transport"), "websocket");
    seen.users.add(await tab.text("user-id"));
    seen.sessions.add(await tab.text("session-id"));
    await eventually(async () => {
      const workers = await tab.workers();
      assert.deepEqual(workers.map((worker) => worker.id), [1, 2, 3]);
      for (const { pid } of workers) process.kill(pid, 0); // a process that lives
      assert.equal(workers.reduce((sum, worker) => sum + worker.sessions, 0), 3);
      assert.equal(workers.filter((worker) => worker.own).length, 1);
      assert.deepEqual(await tab.totals(), { workers: 3, sessions: 3, users: 3 });
    });
  }
  assert.equal(seen.users.size, 3);
  assert.equal(seen.sessions.size, 3);
  for (const id of [...seen.users, ...seen.sessions]) assert.match(id, UUID);
  const listed = await tabs[0].at("users").locator("li").evaluateAll((items) => items.map((item) => item.dataset.userId));
  assert.deepEqual(listed.toSorted(), [...seen.users].toSorted());
  await tabs[0].screenshot("cluster-connected");
  calm(...tabs);
});

test("the price moves while one looks", async (t) => {
  const cluster = await startCluster(t);
  const { tabs: [tab] } = await openTabs(t, cluster, 1);
  const first = await tab.text("price");
  await eventually(async () => assert.notEqual(await tab.text("price"), first));
  calm(tab);
});

test("the chart shows the minutes that the cluster has seen, and goes on", async (t) => {
  const cluster = await startCluster(t);
  const history = `${cluster.url}/api/v1/history?symbol=BTC-USD&interval=1m&limit=60`;
  const { tabs: [tab] } = await openTabs(t, cluster, 1);
  const close = tab.page.locator("#chart-close");
  await eventually(async () => assert.match(await close.textContent(), /^\d+\.\d+$/));
  const first = await close.textContent();
  await eventually(async () => assert.notEqual(await close.textContent(), first));
  assert.match(await tab.at("chart").getAttribute("aria-label"), /^Last hour of BTC-USD: from \d.* Made-up prices\./);
  assert.equal(await tab.text("chart-mock"), "MADE-UP PRICES (mock)");
  await tab.screenshot("cluster-chart");
  const { candles } = await (await fetch(history)).json();
  assert.equal(await tab.page.locator("#chart-open").textContent(), candles[0].open);
});

test("the answer to the quote button comes to that tab and nowhere else", async (t) => {
  const cluster = await startCluster(t);
  const { tabs } = await openTabs(t, cluster, 3);
  for (let round = 0; round < 5; round += 1) {
    await tabs[0].at("quote-button").click();
    await tabs[0].at("quote-rtt").filter({ hasText: /\d ms$/ }).waitFor();
    assert.match(await tabs[0].text("quote-result"), /^\d+\.?\d* USD from mock, .* old\.$/);
  }
  for (const other of tabs.slice(1)) {
    assert.equal(await other.text("quote-result"), "");
    assert.equal(await other.text("quote-rtt"), "");
  }
  await tabs[0].screenshot("cluster-quote");
  calm(...tabs);
});

test("a quote that a back end asks for comes to the user's tab", async (t) => {
  const cluster = await startCluster(t);
  const { tabs: [tab, other] } = await openTabs(t, cluster, 2);
  const receipt = await post(cluster, { user_id: await tab.text("user-id") });
  assert.equal(receipt.status, 202);
  assert.equal((await receipt.json()).sessions, 1);
  await tab.at("quote-result").filter({ hasText: "asked for elsewhere" }).waitFor();
  assert.equal(await other.text("quote-result"), "");
  calm(tab, other);
});

test("opening and closing tabs changes the table and the totals in every tab", async (t) => {
  const cluster = await startCluster(t);
  const { context, tabs: [tab] } = await openTabs(t, cluster, 1);
  const sits = (sessions) =>
    eventually(async () => {
      assert.deepEqual(await tab.totals(), { workers: 3, sessions, users: sessions });
      assert.equal((await tab.workers()).reduce((sum, worker) => sum + worker.sessions, 0), sessions);
      assert.equal(await tab.at("users").locator("li").count(), sessions);
    });
  await sits(1);
  const opened = await Promise.all([context.waitForEvent("page"), tab.at("new-tab").click()]);
  const second = await new Tab(opened[0]).is("connected");
  assert.notEqual(await second.text("user-id"), await tab.text("user-id"));
  await sits(2);
  const third = await (await Tab.open(context, cluster.url)).is("connected");
  await sits(3);
  await third.close();
  await sits(2);
  await second.close();
  await sits(1);
  calm(tab);
});

test("a worker that is killed: every tab sees the new one, and the lost tab is back by itself", async (t) => {
  const cluster = await startCluster(t);
  const { tabs } = await openTabs(t, cluster, 4);
  const [lost] = tabs;
  const own = (tab) => eventually(async () => (await tab.worker()) ?? assert.fail("no row of its own yet"));
  const places = await Promise.all(tabs.map(own));
  const { id, pid } = places[0];
  const users = await Promise.all(tabs.map((tab) => tab.text("user-id")));
  process.kill(pid, "SIGKILL");
  const killed = performance.now();
  const spared = tabs.filter((_, at) => places[at].id !== id);
  assert.ok(spared.length > 0, "sessions are spread");
  const rowOf = async (tab) => (await tab.workers()).find((worker) => worker.id === id);
  await Promise.all(spared.map((tab) => eventually(async () => assert.notEqual((await rowOf(tab)).pid, pid), 1_500)));
  t.diagnostic(`${spared.length} other tabs saw it after ${Math.round(performance.now() - killed)} ms`);
  // Under crash cover its session goes on, unless something was under way with it.
  await eventually(async () => {
    assert.match((await lost.states()).join(), /^connecting,connected(,reconnecting,connected)?$/);
    assert.notEqual((await lost.worker())?.pid ?? pid, pid);
  });
  t.diagnostic(`the tab of the dead worker was served after ${Math.round(performance.now() - killed)} ms: ${await lost.text("moves")}`);
  await lost.screenshot("cluster-worker-killed");
  for (const [at, tab] of tabs.entries()) {
    assert.equal(await tab.text("user-id"), users[at]);
    await eventually(async () => {
      const row = await rowOf(tab);
      assert.ok(row.pid !== null && row.pid !== pid);
      process.kill(row.pid, 0);
      assert.deepEqual(await tab.totals(), { workers: 3, sessions: 4, users: 4 });
    });
  }
  for (const tab of spared) assert.deepEqual(await tab.states(), ["connecting", "connected"], "nobody else noticed");
  calm(...spared);
});

test("a server that stops and starts again: the tab reconnects by itself and prices go on", async (t) => {
  const cluster = await startCluster(t);
  const { tabs: [tab] } = await openTabs(t, cluster, 1);
  const [user, session] = [await tab.text("user-id"), await tab.text("session-id")];
  await cluster.stop();
  await tab.is("reconnecting");
  await eventually(async () => assert.match(await tab.text("connection-reason"), /stopping|cut|cannot be reached/));
  assert.ok(Number.parseFloat(await tab.text("price-age")) >= 0);
  await tab.screenshot("cluster-stopped");
  await cluster.start();
  await tab.is("connected", 30_000);
  assert.equal(await tab.text("user-id"), user);
  assert.notEqual(await tab.text("session-id"), session);
  const first = await tab.text("price");
  await eventually(async () => assert.notEqual(await tab.text("price"), first));
});

test("a reload keeps the tab's id, a duplicated tab gets a new one", async (t) => {
  const cluster = await startCluster(t);
  const { context, tabs: [tab] } = await openTabs(t, cluster, 1);
  const user = await tab.text("user-id");
  await tab.page.reload();
  await tab.is("connected");
  assert.equal(await tab.text("user-id"), user);
  // A window with an opener gets a copy of sessionStorage, as a duplicated tab does.
  const [copy] = await Promise.all([context.waitForEvent("page"), tab.page.evaluate(() => void window.open(location.href))]);
  const duplicate = await new Tab(copy).is("connected");
  assert.notEqual(await duplicate.text("user-id"), user);
  assert.equal(await tab.text("user-id"), user);
  await duplicate.page.reload();
  await duplicate.is("connected");
  assert.notEqual(await duplicate.text("user-id"), user);
  calm(tab, duplicate);
});

test("?user_id= fixes the id, in two tabs the same", async (t) => {
  const cluster = await startCluster(t);
  const { context, tabs: [plain] } = await openTabs(t, cluster, 1);
  const url = `${cluster.url}/?user_id=maria:1@home`;
  const tabs = [await (await Tab.open(context, url)).is("connected"), await (await Tab.open(context, url)).is("connected")];
  for (const tab of tabs) assert.equal(await tab.text("user-id"), "maria:1@home");
  await eventually(async () => assert.deepEqual(await plain.totals(), { workers: 3, sessions: 3, users: 2 }));
  await tabs[0].at("quote-button").click();
  await tabs[0].at("quote-rtt").filter({ hasText: "ms" }).waitFor();
  await tabs[1].at("quote-result").filter({ hasText: "asked for elsewhere" }).waitFor();
  assert.equal(await plain.text("quote-result"), "");
  calm(plain, ...tabs);
});

test("a user id that cannot be one is refused in words, for good", async (t) => {
  const cluster = await startCluster(t);
  const { context } = await openTabs(t, cluster, 0);
  const tab = await (await Tab.open(context, `${cluster.url}/?user_id=no%20spaces`)).is("offline");
  await tab.at("connection-reason").filter({ hasText: "400" }).waitFor();
  assert.equal(await tab.text("connect-again"), "Connect again");
});

test("a refused session is told in words, and is there once there is room", async (t) => {
  const cluster = await startCluster(t, { limits: { sessions_per_user: 1 } });
  const { context } = await openTabs(t, cluster, 0);
  const url = `${cluster.url}/?user_id=only-one`;
  const first = await (await Tab.open(context, url)).is("connected");
  const second = await (await Tab.open(context, url)).is("reconnecting");
  await second.at("connection-reason").filter({ hasText: "429" }).waitFor();
  await second.screenshot("cluster-refused");
  await first.close();
  await second.is("connected", 30_000);
  assert.equal(await second.at("connection-reason").isVisible(), false);
});

test("a price that nobody renews is shown as stale, with its age", async (t) => {
  const cluster = await startCluster(t, {
    price: { fresh_for: "1s", max_age: "2s", forget_after: "10m" },
    provider: { mock: { tick: "10m" } },
  });
  const { tabs: [tab] } = await openTabs(t, cluster, 1);
  await tab.at("price-stale").waitFor();
  assert.match(await tab.text("price"), /^\d/);
  const age = Number.parseFloat(await tab.text("price-age"));
  assert.ok(age >= 1, `${age} s`);
  await eventually(async () => assert.ok(Number.parseFloat(await tab.text("price-age")) > age));
  await tab.screenshot("cluster-stale");
  calm(tab);
});

test("a price that is forgotten is none, in words", async (t) => {
  const cluster = await startCluster(t, {
    price: { fresh_for: "1s", max_age: "2s", forget_after: "4s" },
    provider: { mock: { tick: "10m" } },
  });
  const { tabs: [tab] } = await openTabs(t, cluster, 1);
  await tab.at("price").filter({ hasText: "no price" }).waitFor({ timeout: 10_000 });
  for (const testid of ["price-stale", "price-mock"]) assert.equal(await tab.count(testid), 0);
  await tab.at("quote-button").click();
  await tab.at("quote-result").filter({ hasText: "price-unavailable, 503" }).waitFor();
});

test("a made-up price is marked in a tab that was there before it", async (t) => {
  const nowhere = { rest_url: "http://127.0.0.1:9", stream_url: "ws://127.0.0.1:9" };
  const price = { providers: ["binance", "mock"], start_wait: "4s" };
  const cluster = await startCluster(t, { price, provider: { binance: nowhere } }, "healthz");
  const context = await browser.newContext();
  t.after(() => context.close());
  const tab = await (await Tab.open(context, cluster.url)).is("connected");
  await tab.at("price").filter({ hasText: /^\d+\.\d+$/ }).waitFor({ timeout: 20_000 });
  assert.match(await tab.text("price-mock"), /MADE-UP PRICE \(mock\)/);
  await eventually(async () => assert.match(await tab.page.title(), /\(made up\)$/));
  await tab.at("chart-mock").waitFor();
});
