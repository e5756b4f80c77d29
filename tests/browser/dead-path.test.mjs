// The page when bytes stop without a word, over each transport: the real binary behind a path that dies.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { startCluster } from "./lib/cluster.mjs";
import { deadPath } from "./lib/dead-path.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const MODES = ["websocket", "sse", "poll"];
// An overdue sign of life is noticed after 10 s: 5 s of silence, 5 s for an answer. The rest is for a slow machine.
const OVERDUE = 16_000;

/** A connected tab for each transport, all behind the same path. */
async function tabs(t, url) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const all = [];
  for (const mode of MODES) {
    const tab = await (await Tab.open(context, url)).is("connected");
    await tab.at("transport-select").selectOption(mode);
    await tab.at("transport").filter({ hasText: new RegExp(`^${mode}$`) }).waitFor();
    await tab.is("connected");
    const first = await tab.text("price");
    await eventually(async () => assert.notEqual(await tab.text("price"), first), 10_000);
    all.push(Object.assign(tab, { mode }));
  }
  return all;
}

const each = (all, does) => Promise.all(all.map(does));

test("when bytes stop the price grows old by the page's own clock, is taken away, and nobody is connected", async (t) => {
  const cluster = await startCluster(t, { price: { fresh_for: "2s", max_age: "6s", forget_after: "60s" } });
  const path = await deadPath(t, cluster.url);
  const all = await tabs(t, path.url);
  for (const tab of all) assert.equal(await tab.count("price-stale"), 0, tab.mode);
  const [first] = all;
  await first.at("streams-panel").locator("summary").click();
  await first.at("stream-toggle-1").click();
  const stream = first.page.locator('[data-stream="stream1"]');
  await first.at("stream-1").filter({ hasText: /^\d+\.\d+$/ }).waitFor();
  path.stop();
  const stopped = performance.now();
  await each(all, async (tab) => {
    await tab.at("price-stale").waitFor({ timeout: 6_000 });
    assert.ok(performance.now() - stopped >= 500, `${tab.mode}: not before its time`);
    assert.match(await tab.text("price"), /^\d+\.\d+$/);
    await eventually(async () => assert.match(await tab.page.title(), /stale/));
    await tab.page.locator('#chart-card[data-live="false"]').waitFor();
  });
  await each(all, async (tab) => {
    await tab.is("reconnecting", OVERDUE);
    await tab.at("price").filter({ hasText: "no price at the moment" }).waitFor({ timeout: OVERDUE });
    await eventually(async () => assert.equal(await tab.page.title(), "btc-cluster (not connected)"));
    assert.equal(await tab.count("price-mock"), 0, "there is no price to mark");
    assert.match(await tab.page.locator("#stats-remark").textContent(), /^Not connected: as it was/);
    assert.equal(await tab.page.locator("#price-remark").textContent(), "The last price heard is too old to be shown.");
  });
  assert.match(await first.at("stream-state-1").textContent(), /Nothing was heard|Connecting|cannot be reached/);
  await eventually(async () => assert.match(await stream.locator(".note").textContent(), /\d+ s ago$/));
  path.go();
  await each(all, async (tab) => {
    await tab.page.evaluate(() => dispatchEvent(new Event("online")));
    await tab.is("connected", 20_000);
    await tab.at("price").filter({ hasText: /^\d+\.\d+$/ }).waitFor();
    await tab.at("price-stale").waitFor({ state: "detached" });
    assert.deepEqual((await tab.states()).slice(-2), ["reconnecting", "connected"], tab.mode);
  });
  await eventually(async () => {
    assert.equal(await stream.getAttribute("data-phase"), "open");
    assert.doesNotMatch(await stream.locator(".note").textContent(), /ago$/);
  }, 30_000);
});

// Beside each other: what they wait for is time.
describe("by the page's own clock", { concurrency: 2 }, () => {
  test("a stale price that the server goes on to serve stays, and one that it refuses goes at max_age", async (t) => {
    const still = { provider: { mock: { tick: "10m" } } };
    const limits = { fresh_for: "1s", max_age: "3s", forget_after: "60s" };
    await each(["serve", "refuse"], async (onStale) => {
      const cluster = await startCluster(t, { price: { ...limits, on_stale: onStale }, ...still });
      const context = await browser.newContext();
      t.after(() => context.close());
      const tab = await (await Tab.open(context, cluster.url)).is("connected");
      await tab.at("price-age").filter({ hasText: /^[4-9]\.\d s$|^–$/ }).waitFor({ timeout: 10_000 });
      assert.equal(await tab.count("price-stale"), onStale === "serve" ? 1 : 0, onStale);
      assert.equal(/^\d/.test(await tab.text("price")), onStale === "serve", onStale);
      await tab.is("connected");
    });
  });

  test("a stream of events that stands still while the server answers beside it is left for another", async (t) => {
    const cluster = await startCluster(t);
    const path = await deadPath(t, cluster.url);
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await (await Tab.open(context, path.url)).is("connected");
    await tab.at("transport-select").selectOption("sse");
    await tab.at("transport").filter({ hasText: /^sse$/ }).waitFor();
    await tab.is("connected");
    const [session, before] = [await tab.text("session-id"), (await tab.states()).length];
    path.stopEvents();
    await eventually(async () => assert.deepEqual((await tab.states()).slice(before), ["reconnecting", "connected"]), OVERDUE);
    const first = await tab.text("price");
    await eventually(async () => assert.notEqual(await tab.text("price"), first));
    assert.equal(await tab.text("session-id"), session);
  });

  test("a session that is taken up again is not connected before the server has said so", async (t) => {
    const cluster = await startCluster(t);
    const path = await deadPath(t, cluster.url);
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await (await Tab.open(context, path.url)).is("connected");
    await tab.at("transport-select").selectOption("poll");
    await tab.at("transport").filter({ hasText: /^poll$/ }).waitFor();
    await tab.is("connected");
    const session = await tab.text("session-id");
    // The session is lost while the page is loaded anew: its files come, the first poll does not.
    await tab.page.route("**/api/v1/poll*", async (route) => {
      path.stop();
      await route.continue();
    });
    await tab.page.reload();
    await eventually(async () => assert.ok(path.stopped));
    await tab.page.waitForTimeout(3_000);
    assert.notEqual(await tab.text("connection"), "connected");
    await tab.page.unroute("**/api/v1/poll*");
    path.go();
    await tab.is("connected", 20_000);
    assert.equal(await tab.text("session-id"), session);
  });

  test("a path that is slow makes a price look as old as it is", async (t) => {
    const cluster = await startCluster(t, { price: { fresh_for: "3s" } });
    const path = await deadPath(t, cluster.url);
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await (await Tab.open(context, path.url)).is("connected");
    assert.equal(await tab.count("price-stale"), 0);
    path.lag = 4_500;
    await tab.at("price-stale").waitFor({ timeout: 10_000 });
    await eventually(async () => assert.ok(Number(await tab.at("price-age").getAttribute("data-ms")) > 4_000), 10_000);
    // Prices go on to come, each of them as late.
    const first = await tab.text("price");
    await eventually(async () => assert.notEqual(await tab.text("price"), first), 10_000);
    assert.equal(await tab.count("price-stale"), 1);
    assert.match(await tab.page.title(), /stale/);
  });
});
