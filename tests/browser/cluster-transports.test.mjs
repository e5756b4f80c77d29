// A user's view of the three transports and of the panels, over the real binary (BTC_CLUSTER_BIN), or the stand-in while
// developing (BTC_CLUSTER_STANDIN=1).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { startCluster } from "./lib/cluster.mjs";
import { proxy } from "./lib/proxy.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const MODES = ["websocket", "sse", "poll"];

async function open(t, url, context = null) {
  context ??= await browser.newContext();
  t.after(() => context.close());
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

function post(cluster, userId) {
  const headers = { "content-type": "application/json" };
  return fetch(`${cluster.url}/api/v1/quotes`, { method: "POST", headers, body: JSON.stringify({ user_id: userId }) });
}

/** A quote that a back end asks for comes to the tab. */
async function getsAQuote(tab, cluster) {
  const [user, before] = [await tab.text("user-id"), await tab.text("quote-result")];
  const receipt = await eventually(async () => {
    const answer = await post(cluster, user);
    assert.equal(answer.status, 202);
    return answer;
  });
  assert.equal((await receipt.json()).sessions, 1);
  await tab.at("quote-result").filter({ hasText: /^\d+\.?\d* USD from mock, .* \(asked for elsewhere\)\.$/ }).waitFor();
  return before;
}

const unfold = (tab, panel) => tab.at(panel).locator("summary").click();
const has = (tab, testid, text, patience = 10_000) => tab.at(testid).filter({ hasText: text }).waitFor({ timeout: patience });
const said = async (tab, testid) => (await tab.at(testid).locator("li").evaluateAll((all) => all.map((line) => line.lastElementChild.textContent)));

function calm(...tabs) {
  for (const tab of tabs) assert.deepEqual(tab.errors, [], "no console errors");
}

test("a browser whose WebSockets are blocked by a proxy still gets quotes", async (t) => {
  const cluster = await startCluster(t);
  for (const rules of [{ upgrades: "refuse" }, { upgrades: "cut" }, { upgrades: "refuse", ws: "refuse" }]) {
    const between = await proxy(t, cluster.url, rules);
    const tab = await over(await open(t, between.url), "sse");
    await getsAQuote(tab, cluster);
    const first = await tab.text("price");
    await eventually(async () => assert.notEqual(await tab.text("price"), first));
  }
});

test("a browser whose proxy holds back streams as well polls, and still gets quotes", async (t) => {
  const cluster = await startCluster(t);
  for (const events of ["hold", "refuse"]) {
    const between = await proxy(t, cluster.url, { upgrades: "cut", events });
    const tab = await over(await open(t, between.url), "poll", 30_000);
    await getsAQuote(tab, cluster);
    const first = await tab.text("price");
    await eventually(async () => assert.notEqual(await tab.text("price"), first));
  }
});

test("when the proxy lets WebSockets through again the session goes over to one, quietly", async (t) => {
  const cluster = await startCluster(t);
  const between = await proxy(t, cluster.url, { upgrades: "cut" });
  const tab = await over(await open(t, between.url), "sse");
  const [session, states] = [await tab.text("session-id"), await tab.states()];
  between.rules.upgrades = "pass";
  await tab.page.evaluate(() => dispatchEvent(new Event("online")));
  await over(tab, "websocket");
  assert.deepEqual([await tab.text("session-id"), await tab.states(), await tab.count("gap")], [session, states, 0]);
  await getsAQuote(tab, cluster);
});

describe("over each transport", () => {
  for (const mode of MODES) {
    test(`${mode}: prices, workers, the chart and quotes`, async (t) => {
      const cluster = await startCluster(t);
      const tab = await (await open(t, cluster.url)).is("connected");
      await choose(tab, mode);
      const first = await tab.text("price");
      await eventually(async () => assert.notEqual(await tab.text("price"), first));
      await eventually(async () => assert.equal((await tab.workers()).filter((worker) => worker.own).length, 1));
      await eventually(async () => assert.deepEqual(await tab.totals(), { workers: 3, sessions: 1, users: 1 }));
      await eventually(async () => assert.match(await tab.page.locator("#chart-close").textContent(), /^\d+\.\d+$/));
      await tab.at("quote-button").click();
      await has(tab, "quote-rtt", /\d ms$/);
      await getsAQuote(tab, cluster);
      await tab.screenshot(`cluster-${mode}`);
      calm(tab);
    });

    test(`${mode}: a reload goes on with the session`, async (t) => {
      const cluster = await startCluster(t);
      const tab = await (await open(t, cluster.url)).is("connected");
      await choose(tab, mode);
      const session = await tab.text("session-id");
      for (let round = 0; round < 3; round += 1) {
        await getsAQuote(tab, cluster);
        await tab.page.reload();
        await over(tab, mode);
        await eventually(async () => assert.equal(await tab.text("session-id"), session));
        await eventually(async () => assert.match(await tab.text("price"), /^\d+(\.\d+)?$/));
        assert.equal(await tab.count("gap"), 0);
      }
      await getsAQuote(tab, cluster);
      calm(tab);
    });

    test(`${mode}: workers that are replaced: the session goes on, and the page says so`, async (t) => {
      const cluster = await startCluster(t);
      const tab = await (await open(t, cluster.url)).is("connected");
      await choose(tab, mode);
      await eventually(async () => assert.ok(await tab.worker()));
      const [session, states, { pid }] = [await tab.text("session-id"), await tab.states(), await tab.worker()];
      assert.equal(await tab.text("moves"), "no move or restart so far");
      cluster.replace();
      // A worker that is still to be replaced may be the first to take it.
      await tab.at("moves").filter({ hasText: /^\d moves? (or|and) restarts?; (last )?silence .+ ms$/ }).waitFor();
      await eventually(async () => assert.notEqual((await tab.worker())?.pid ?? pid, pid));
      const { cluster: { workers: all } } = cluster.config ?? { cluster: { workers: 3 } };
      await eventually(async () => assert.equal((await tab.workers()).length, all, "each worker has one row"), 30_000);
      await getsAQuote(tab, cluster);
      assert.equal(await tab.text("session-id"), session);
      assert.deepEqual(await tab.states(), states, "nothing looks like an outage");
      assert.equal(await tab.count("gap"), 0);
      calm(tab);
    });

    test(`${mode}: a worker that dies: the tab is back by itself`, async (t) => {
      const cluster = await startCluster(t);
      const tab = await (await open(t, cluster.url)).is("connected");
      await choose(tab, mode);
      const { pid } = await eventually(async () => (await tab.worker()) ?? assert.fail("no row of its own yet"));
      process.kill(pid, "SIGKILL");
      // A poll may be with another worker than the session is: then nothing but the session is lost.
      await eventually(async () => assert.notEqual((await tab.worker())?.pid ?? pid, pid));
      await over(tab, mode);
      await getsAQuote(tab, cluster);
    });
  }

  test("one session goes from one to the next, and nothing that was said is missed", async (t) => {
    const cluster = await startCluster(t);
    const context = await browser.newContext();
    const [tab, other] = [await open(t, cluster.url, context), await open(t, cluster.url, context)];
    for (const one of [tab, other]) {
      await one.is("connected");
      await unfold(one, "chat");
      await has(one, "chat-presence", /^\d users?, /);
    }
    const session = await tab.text("session-id");
    const all = [];
    const say = async (text) => {
      all.push(text);
      await other.at("chat-input").fill(text);
      await other.at("chat-input").press("Enter");
      await has(other, "chat-log", text);
    };
    for (const mode of ["sse", "poll", "websocket", "poll", "sse", "websocket"]) {
      await say(`before ${mode} ${all.length}`);
      await tab.at("transport-select").selectOption(mode);
      await say(`during ${mode} ${all.length}`);
      await over(tab, mode);
      await eventually(async () => assert.deepEqual(await said(tab, "chat-log"), all));
    }
    assert.deepEqual([await tab.text("session-id"), await tab.count("gap")], [session, 0]);
    calm(tab, other);
  });
});

describe("the panels", () => {
  test("a chat between tabs of several workers, with what was said before and who is there", async (t) => {
    const cluster = await startCluster(t);
    const context = await browser.newContext();
    const tabs = [];
    for (let i = 0; i < 3; i += 1) tabs.push(await (await open(t, cluster.url, context)).is("connected"));
    const [first, second, late] = tabs;
    await unfold(first, "chat");
    await has(first, "chat-presence", /^1 user, 1 session here$/);
    await unfold(second, "chat");
    for (const tab of [first, second]) await has(tab, "chat-presence", /^2 users, 2 sessions here$/);
    await first.at("chat-input").fill("<b>Hello</b>");
    await first.at("chat-send").click();
    await second.at("chat-input").fill("Good morning");
    await second.at("chat-input").press("Enter");
    for (const tab of [first, second]) {
      await eventually(async () => assert.deepEqual((await said(tab, "chat-log")).toSorted(), ["<b>Hello</b>", "Good morning"]));
    }
    await choose(late, "sse");
    await unfold(late, "chat");
    await eventually(async () => assert.deepEqual((await said(late, "chat-log")).toSorted(), ["<b>Hello</b>", "Good morning"]));
    await has(late, "chat-state", "only listens");
    await has(first, "chat-presence", /^3 users, 3 sessions here$/);
    await second.close();
    await has(first, "chat-presence", /^2 users, 2 sessions here$/);
    await first.screenshot("cluster-chat");
    calm(first, late);
  });

  test("broadcast, commands and streams", async (t) => {
    const cluster = await startCluster(t);
    const context = await browser.newContext();
    const [tab, other] = [await (await open(t, cluster.url, context)).is("connected"), await (await open(t, cluster.url, context)).is("connected")];
    for (const one of [tab, other]) {
      await unfold(one, "broadcast");
      await has(one, "broadcast-state", "Connected.");
    }
    await tab.at("broadcast-test").click();
    for (const one of [tab, other]) await eventually(async () => assert.ok((await said(one, "broadcast-log")).includes("Test")));
    await unfold(tab, "broadcast");
    await has(other, "broadcast-log", `${await tab.text("user-id")} left; 1 here.`);

    await unfold(tab, "command");
    await has(tab, "command-log", "Вы подключились");
    for (const typed of ["ECHO Привет", "PING", "nonsense"]) {
      await tab.at("command-input").fill(typed);
      await tab.at("command-input").press("Enter");
    }
    for (const answer of ["Сервер услышал: Привет", "PONG", "Error: a command is"]) await has(tab, "command-log", answer);

    await unfold(tab, "streams-panel");
    await has(tab, "streams-remark", "at most 3 streams");
    for (const n of [1, 2, 3]) {
      await tab.at(`stream-toggle-${n}`).click();
      await has(tab, `stream-${n}`, /^\d+\.\d+$/);
    }
    const first = await tab.text("stream-1");
    await eventually(async () => assert.notEqual(await tab.text("stream-1"), first));
    calm(tab, other);
    await tab.at("stream-toggle-4").click();
    await has(tab, "stream-state-4", "user-stream-limit, 429");
    await tab.at("stream-toggle-1").click();
    await eventually(async () => {
      if (!(await tab.at("stream-toggle-4").isChecked())) await tab.at("stream-toggle-4").click();
      assert.match(await tab.text("stream-4"), /session/);
    });
    await tab.screenshot("cluster-panels");
    await unfold(tab, "streams-panel");
    await eventually(async () => {
      const { totals } = await (await fetch(`${cluster.url}/api/v1/stats`)).json();
      assert.equal(totals.by_endpoint?.stream ?? 0, 0);
    });
  });
});
