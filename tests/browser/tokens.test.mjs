// The page where tokens are asked for: signed in by a cookie or by the page around it, over the end of a token, and with
// one that is refused. The real binary (BTC_CLUSTER_BIN) alone: the stand-in asks for none.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { startCluster } from "./lib/cluster.mjs";

const SECRET = "a secret of these tests, long enough for HS256";
const run = promisify(execFile);

let browser, folder;
before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), "btc-cluster-tokens-"));
  await writeFile(join(folder, "secret"), SECRET, { mode: 0o600 });
});
after(async () => {
  await browser?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

let issued = 0;

/** A token of `user` that ends in so many seconds. */
function sign(user, seconds, more = {}) {
  const now = Math.floor(Date.now() / 1_000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: user, iat: now, exp: now + seconds, jti: `t${++issued}`, scope: "quote publish", ...more };
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

function withTokens(t, auth = {}) {
  const own = { mode: "token", secret_file: join(folder, "secret"), cookie: "token", leeway: "0s", notice: "2s", ...auth };
  return startCluster(t, { cluster: { workers: 2 }, auth: own });
}

/**
 * A tab whose surrounding page answers with what `give(asked)` returns, `asked` being what the page passes. `asked`
 * counts, `sent` holds each request and each WebSocket of the tab.
 */
async function tabOf(t, cluster, give, { cookie = null, viewport = undefined, within = browser } = {}) {
  const context = await within.newContext({ viewport });
  t.after(() => context.close());
  if (cookie) await context.addCookies([{ name: "token", value: cookie, url: cluster.url, httpOnly: true, sameSite: "Strict" }]);
  const page = await context.newPage();
  const tab = Object.assign(new Tab(page), { context, sent: [], asked: [] });
  page.on("request", (request) => tab.sent.push(request.url()));
  page.on("websocket", (socket) => tab.sent.push(socket.url()));
  if (give) {
    await page.exposeFunction("giveToken", (question) => (tab.asked.push(question), give(question)));
    await page.addInitScript(() => (globalThis.btcCluster = { getToken: (question) => globalThis.giveToken(question) }));
  }
  await page.addInitScript(Tab.recordStates);
  await page.goto(`${cluster.url}/`);
  return tab;
}

/** Tries to open a session, or to go on with one, since `from`. */
function tries(tab, from = 0) {
  return tab.sent.slice(from).filter((url) => /\/(ws|api\/v1\/(events|poll))(\?|$)/.test(url));
}

async function over(tab, mode) {
  await tab.at("transport-select").selectOption(mode);
  await tab.at("transport").filter({ hasText: new RegExp(`^${mode}$`) }).waitFor();
  await tab.is("connected");
}

/** Presses the button, unless the page was quicker. */
function tryNow(tab) {
  return tab.at("connect-again").click({ timeout: 3_000 }).catch(() => {});
}

async function works(tab, user) {
  await tab.at("user-id").filter({ hasText: user }).waitFor();
  const first = await tab.text("price");
  await eventually(async () => {
    assert.match(await tab.text("price"), /^\d+(\.\d+)?$/);
    assert.notEqual(await tab.text("price"), first);
  });
  await eventually(async () => {
    await tab.at("quote-button").click();
    await tab.at("quote-rtt").filter({ hasText: /\d ms$/ }).waitFor({ timeout: 3_000 });
  });
}

/**
 * Puts a tab's process to sleep, the only one of its browser, as a frozen tab is and one of a closed laptop: its scripts
 * stand still, while its connections are open. Answers what wakes it.
 */
async function asleep(tab) {
  const devtools = await tab.context.browser().newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  const all = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  const tell = (signal) => all.forEach((id) => process.kill(id, signal));
  tell("SIGSTOP");
  // What it had asked before may still be on its way here.
  await sleep(500);
  return () => tell("SIGCONT");
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

describe("the page with tokens", { skip: process.env.BTC_CLUSTER_STANDIN === "1" && "the stand-in has no tokens" }, () => {
  test("signed in by a cookie: the token's user, over every transport", async (t) => {
    const cluster = await withTokens(t);
    const tab = await (await tabOf(t, cluster, null, { cookie: sign("ann", 600) })).is("connected");
    await works(tab, "ann");
    for (const mode of ["sse", "poll", "websocket"]) {
      await over(tab, mode);
      await works(tab, "ann");
    }
    for (const panel of ["streams-panel", "command", "broadcast"]) await tab.at(panel).locator("summary").click();
    await tab.at("stream-toggle-1").click();
    await tab.at("stream-1").filter({ hasText: /^\d/ }).waitFor();
    await tab.at("command-log").filter({ hasText: /./ }).waitFor();
    await tab.at("broadcast-log").filter({ hasText: "You are in." }).waitFor();
    assert.deepEqual(tab.errors, []);
    assert.ok(tab.sent.every((url) => !url.includes("user_id=")), "the token says who it is");
    await tab.screenshot("tokens-cookie");
  });

  test("signed in by the page around it: a token for each attempt, never in an address", async (t) => {
    const cluster = await withTokens(t);
    const tab = await (await tabOf(t, cluster, () => sign("ann", 600))).is("connected");
    await works(tab, "ann");
    for (const mode of ["sse", "poll", "websocket"]) {
      await over(tab, mode);
      await works(tab, "ann");
    }
    await tab.at("streams-panel").locator("summary").click();
    await tab.at("stream-toggle-1").click();
    await tab.at("stream-1").filter({ hasText: /^\d/ }).waitFor();
    await tab.at("chat").locator("summary").click();
    await tab.at("chat-input").fill("hello");
    await tab.at("chat-send").click();
    await tab.at("chat-log").filter({ hasText: "hello" }).waitFor();
    assert.ok(tries(tab).length >= 4 && tab.asked.length >= tries(tab).length, `${tab.asked.length} of ${tries(tab).length}`);
    assert.ok(tab.sent.every((url) => !/[?&]token=|eyJ/.test(url)), "no token in an address");
    assert.deepEqual(tab.errors, []);
    await tab.screenshot("tokens-hook");
  });

  test("a token that ends is replaced, and nobody notices", async (t) => {
    const cluster = await withTokens(t, { notice: "8s" });
    await Promise.all(["websocket", "sse", "poll"].map(async (mode) => {
      const tab = await (await tabOf(t, cluster, () => sign("ann", 15))).is("connected");
      await over(tab, mode);
      const [session, before] = [await tab.text("session-id"), (await tab.states()).length];
      await sleep(17_000);
      await tab.is("connected");
      assert.equal(await tab.text("session-id"), session, mode);
      assert.equal(await tab.count("gap"), 0);
      if (mode !== "sse") assert.equal((await tab.states()).length, before, `${mode}: ${await tab.states()}`);
      await works(tab, "ann");
    }));
  });

  test("tokens that live no longer than the notice are not replaced in a circle", async (t) => {
    const cluster = await withTokens(t, { notice: "60s" });
    await Promise.all(["websocket", "sse"].map(async (mode) => {
      const tab = await (await tabOf(t, cluster, () => sign("ann", 20))).is("connected");
      await over(tab, mode);
      const [session, sent] = [await tab.text("session-id"), tab.sent.length];
      await sleep(23_000);
      await tab.is("connected");
      assert.equal(await tab.text("session-id"), session, mode);
      assert.ok(tries(tab, sent).length <= (mode === "sse" ? 4 : 0), `${mode}: ${tries(tab, sent)}`);
      assert.ok(tab.asked.length <= 16, `${mode}: asked ${tab.asked.length} times`);
    }));
  });

  test("a tab asleep over its token's end goes on with its session, with a fresh token and at once", async (t) => {
    const cluster = await withTokens(t);
    const own = await launch();
    t.after(() => own.close());
    for (const mode of ["websocket", "sse", "poll"]) {
      const tab = await (await tabOf(t, cluster, () => sign("ann", 4), { within: own })).is("connected");
      await over(tab, mode);
      const session = await tab.text("session-id");
      const wake = await asleep(tab);
      const [asked, sent] = [tab.asked.length, tab.sent.length];
      await sleep(6_000);
      assert.equal(tab.asked.length, asked, `${mode}: asleep`);
      wake();
      await eventually(async () => assert.ok(tab.asked.length > asked));
      await works(tab, "ann");
      assert.equal(await tab.text("session-id"), session, `${mode}: resumed`);
      assert.equal(await tab.count("gap"), 0);
      const all = tries(tab, sent);
      assert.ok(mode === "poll" || all.length <= 3, `${mode}: ${all}`);
      await tab.context.close();
    }
  });

  test("the expired token is never sent again: the page says so, and waits for another", async (t) => {
    const cluster = await withTokens(t, { notice: "0s" });
    let token = null;
    const tab = await (await tabOf(t, cluster, () => (token ??= sign("ann", 6)))).is("connected");
    const session = await tab.text("session-id");
    await tab.at("connection-reason").filter({ hasText: "Your token has expired. This site still gives the token that was refused." }).waitFor();
    await tab.is("reconnecting");
    const sent = tab.sent.length;
    await tab.screenshot("tokens-expired");
    await sleep(7_000);
    assert.deepEqual(tries(tab, sent), [], "nothing is sent with it");
    assert.equal(tab.asked.at(-1).refused, "token-expired");
    token = sign("ann", 600);
    await tab.page.evaluate(() => dispatchEvent(new Event("btc-cluster:token")));
    await tab.is("connected");
    assert.equal(await tab.text("session-id"), session, "resumed");
    await works(tab, "ann");
  });

  test("a revoked token is told in words, and is not tried in a circle", async (t) => {
    const cluster = await withTokens(t);
    let token = sign("ann", 600, { jti: "bad" });
    const hooked = await (await tabOf(t, cluster, () => token)).is("connected");
    const small = { width: 390, height: 844 };
    const cookied = await (await tabOf(t, cluster, null, { cookie: token, viewport: small })).is("connected");
    await run(process.env.BTC_CLUSTER_BIN, ["ctl", "--socket", cluster.socket, "revoke", "--jti", "bad"]);
    const from = [hooked.sent.length, cookied.sent.length];
    for (const tab of [hooked, cookied]) await tab.at("connection-reason").filter({ hasText: "Your token was revoked." }).waitFor();
    await sleep(10_000);
    for (const tab of [hooked, cookied]) assert.match(await tab.text("connection-reason"), /^Your token was revoked\./);
    assert.deepEqual(tries(hooked, from[0]), [], "a token that is known to be bad is not sent");
    assert.ok(tries(cookied, from[1]).length <= 6, `${tries(cookied, from[1])}`);
    await hooked.screenshot("tokens-revoked");
    await cookied.screenshot("tokens-revoked-phone");
    token = sign("ann", 600);
    await cookied.context.addCookies([{ name: "token", value: token, url: cluster.url, httpOnly: true }]);
    for (const tab of [hooked, cookied]) {
      await tryNow(tab);
      await tab.is("connected");
      await works(tab, "ann");
    }
  });

  test("without a token the page says that one is needed, and a cookie that comes later is enough", async (t) => {
    const cluster = await withTokens(t);
    const tab = await (await tabOf(t, cluster, null)).is("reconnecting");
    await tab.at("connection-reason").filter({ hasText: "You are not signed in: this server wants a token." }).waitFor();
    assert.equal(await tab.text("user-id"), "–");
    await tab.screenshot("tokens-missing");
    await tab.context.addCookies([{ name: "token", value: sign("bob", 600), url: cluster.url, httpOnly: true }]);
    await tryNow(tab);
    await tab.is("connected");
    await works(tab, "bob");
  });

  test("prices that are for everybody are shown to who is not signed in", async (t) => {
    const cluster = await withTokens(t, { anonymous: ["price"] });
    const tab = await (await tabOf(t, cluster, null)).is("connected");
    for (const mode of ["sse", "poll"]) {
      await over(tab, mode);
      const first = await tab.text("price");
      await eventually(async () => assert.notEqual(await tab.text("price"), first));
    }
    await tab.at("quote-button").click();
    await tab.at("quote-result").filter({ hasText: "You are not signed in" }).waitFor();
    assert.equal(await tab.page.locator("#stats-remark").textContent(), "The statistics are not for this session.");
    await tab.screenshot("tokens-anonymous");
  });

  test("a page whose site fails to name it says so, and goes on once it does", async (t) => {
    const cluster = await withTokens(t);
    let fails = true;
    const tab = await (await tabOf(t, cluster, () => (fails ? Promise.reject(new Error("no")) : sign("ann", 600)))).is("reconnecting");
    await tab.at("connection-reason").filter({ hasText: "This site could not say who you are." }).waitFor();
    assert.deepEqual(tries(tab), []);
    fails = false;
    await tab.is("connected");
  });

  test("a reload of the page goes on with the session", async (t) => {
    const cluster = await withTokens(t);
    const tab = await (await tabOf(t, cluster, () => sign("ann", 600))).is("connected");
    const session = await tab.text("session-id");
    await tab.page.reload();
    await tab.is("connected");
    await works(tab, "ann");
    assert.equal(await tab.text("session-id"), session);
    assert.equal(await tab.count("gap"), 0);
  });

  test("the token of somebody else ends the session, and with it begins one of theirs", async (t) => {
    const cluster = await withTokens(t);
    let user = "ann";
    const tab = await (await tabOf(t, cluster, () => sign(user, 600))).is("connected");
    const session = await tab.text("session-id");
    user = "bob";
    await tab.page.evaluate(() => dispatchEvent(new Event("btc-cluster:token")));
    await tab.is("offline");
    assert.match(await tab.text("connection-reason"), /^This session is not allowed\./);
    await tab.at("connect-again").click();
    await tab.is("connected");
    await works(tab, "bob");
    assert.notEqual(await tab.text("session-id"), session);
  });

  test("tokens are asked for from now on, and then no more: the page follows", async (t) => {
    const cluster = await startCluster(t, { cluster: { workers: 2 } });
    const tab = await (await tabOf(t, cluster, () => sign("ann", 600))).is("connected");
    const self = await tab.text("user-id");
    await cluster.reload({ auth: { mode: "token", secret_file: join(folder, "secret") } });
    await tab.at("user-id").filter({ hasText: "ann" }).waitFor();
    await tab.is("connected");
    await works(tab, "ann");
    await cluster.reload({ auth: { mode: "open" } });
    await tab.is("connected");
    await tab.page.reload();
    await tab.is("connected");
    await works(tab, self);
  });

  test("where no token is asked for, nobody is asked for one", async (t) => {
    const cluster = await startCluster(t);
    const tab = await (await tabOf(t, cluster, () => sign("ann", 600))).is("connected");
    assert.match(await tab.text("user-id"), /^[0-9a-f-]{36}$/);
    assert.deepEqual(tab.asked, []);
    assert.ok(tab.sent.some((url) => url.includes("user_id=")));
  });
});
