// The page over TLS, without a proxy: https and wss of the real binary (BTC_CLUSTER_BIN), in a browser that trusts the
// test's certificate and nothing else that is not signed.

import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";
import { copyFile, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { startCluster } from "./lib/cluster.mjs";

const FIXTURES = fileURLToPath(new URL("../fixtures/tls/", import.meta.url));

let browser, folder;
before(async () => {
  const pins = await Promise.all(["leaf", "self-signed"].map(async (name) => pin(await readFile(join(FIXTURES, `${name}.crt`)))));
  browser = await launch([`--ignore-certificate-errors-spki-list=${pins.join(",")}`]);
  folder = await mkdtemp(join(tmpdir(), "btc-cluster-tls-"));
});
after(async () => {
  await browser?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** The certificate's public key, as Chromium's flag wants it. */
function pin(pem) {
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(key).digest("base64");
}

/** Puts a pair of the fixtures in place, each file at once. */
async function present(name) {
  for (const end of ["crt", "key"]) {
    await copyFile(join(FIXTURES, `${name}.${end}`), join(folder, `next.${end}`));
    await rename(join(folder, `next.${end}`), join(folder, `tls.${end}`));
  }
}

async function withTls(t, more = {}) {
  await present("leaf");
  const tls = { cert: join(folder, "tls.crt"), key: join(folder, "tls.key") };
  return startCluster(t, { cluster: { workers: 2 }, http: { listen_tls: ["127.0.0.1:0"] }, tls, ...more });
}

/** Who a newcomer is shown. */
function shown(cluster) {
  const [host, port] = cluster.tls.split(":");
  return new Promise((done, failed) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      done(socket.getPeerX509Certificate().fingerprint256);
      socket.destroy();
    });
    socket.on("error", failed);
  });
}

async function open(t, cluster) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const tab = Object.assign(new Tab(page), { sent: [] });
  page.on("request", (request) => tab.sent.push(request.url()));
  page.on("websocket", (socket) => tab.sent.push(socket.url()));
  await page.addInitScript(Tab.recordStates);
  await page.goto(`https://${cluster.tls}/`);
  return tab.is("connected");
}

async function works(tab) {
  const first = await tab.text("price");
  await eventually(async () => {
    assert.match(await tab.text("price"), /^\d+(\.\d+)?$/);
    assert.notEqual(await tab.text("price"), first);
  });
  await tab.at("quote-button").click();
  await tab.at("quote-rtt").filter({ hasText: /\d ms$/ }).waitFor();
}

describe("the page over TLS", { skip: process.env.BTC_CLUSTER_STANDIN === "1" && "the stand-in has no TLS" }, () => {
  test("over https the WebSocket is wss, and events and polls are encrypted as well", async (t) => {
    const cluster = await withTls(t);
    const tab = await open(t, cluster);
    await works(tab);
    assert.equal(await tab.page.evaluate(() => isSecureContext && location.protocol), "https:");
    for (const mode of ["sse", "poll", "websocket"]) {
      await tab.at("transport-select").selectOption(mode);
      await tab.at("transport").filter({ hasText: new RegExp(`^${mode}$`) }).waitFor();
      await tab.is("connected");
      await works(tab);
    }
    assert.ok(tab.sent.some((url) => url.startsWith(`wss://${cluster.tls}/ws`)), `${tab.sent}`);
    assert.ok(tab.sent.every((url) => /^(https|wss):/.test(url)), "nothing goes unencrypted");
    assert.deepEqual(tab.errors, []);
    await tab.screenshot("tls");
  });

  test("another certificate is for newcomers; the tab that is there does not notice", async (t) => {
    const cluster = await withTls(t);
    const tab = await open(t, cluster);
    const [session, before] = [await tab.text("session-id"), await shown(cluster)];
    await present("self-signed");
    await eventually(async () => assert.notEqual(await shown(cluster), before));
    await works(tab);
    assert.equal(await tab.text("session-id"), session);
    assert.deepEqual(await tab.states(), ["connecting", "connected"]);
    await works(await open(t, cluster));
  });

  test("all workers are replaced under it: its session goes on", async (t) => {
    const cluster = await withTls(t);
    const tab = await open(t, cluster);
    const session = await tab.text("session-id");
    const pids = (await tab.workers()).map(({ pid }) => pid);
    cluster.replace();
    await eventually(async () => {
      const now = (await tab.workers()).map(({ pid }) => pid);
      assert.ok(now.length === 2 && now.every((pid) => pid !== null && !pids.includes(pid)), `${now}`);
    }, 30_000);
    await tab.is("connected");
    await works(tab);
    assert.equal(await tab.text("session-id"), session);
    assert.equal(await tab.count("gap"), 0);
  });

  test("a browser that does not trust the certificate is not let through", async (t) => {
    const cluster = await withTls(t);
    const careful = await launch();
    t.after(() => careful.close());
    const page = await careful.newPage();
    await assert.rejects(page.goto(`https://${cluster.tls}/`), /ERR_CERT_AUTHORITY_INVALID/);
  });
});
