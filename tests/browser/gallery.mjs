// Screenshots of every state of the page, wide and narrow, light and dark, against the stand-in: for looking at.
//
//   node gallery.mjs FOLDER [STATE...]

import { Tab, launch } from "./lib/browser.mjs";
import { proxy } from "./lib/proxy.mjs";
import { standin } from "./standin.mjs";

const [folder = "/tmp/btc-cluster-gallery", ...only] = process.argv.slice(2);
process.env.BTC_CLUSTER_ARTIFACTS = folder;

/** Opens the panels of those names. */
async function unfold(tab, ...panels) {
  await tab.is("connected", 20_000);
  for (const panel of panels) await tab.at(panel).locator("summary").click();
}

const STATES = {
  connected: { options: { mock: false, source: "binance", pair: "BTC-USDT" } },
  quote: {
    options: { mock: false, source: "coinbase" },
    async prepare(server, tab) {
      await tab.is("connected");
      await tab.at("quote-button").click();
      await tab.at("quote-rtt").filter({ hasText: "ms" }).waitFor();
    },
  },
  sources: {
    options: { mock: false, source: "median" },
    async prepare(server, tab) {
      server.sources = [
        { source: "coinbase", pair: "BTC-USD", price: "64250.12", age_ms: 120, verdict: "agrees" },
        { source: "kraken", pair: "BTC-USD", price: "64249.90000000", age_ms: 840, verdict: "agrees" },
        { source: "bitstamp", pair: "BTC-USD", price: "66310", age_ms: 1_200, verdict: "deviates" },
        { source: "coindesk", pair: "BTC-USD", price: "64100.5", age_ms: 184_000, verdict: "stale" },
        { source: "binance", pair: "BTC-USDT", price: "64301.77000000", age_ms: 35, verdict: "other-pair" },
        { source: "my-script", pair: null, price: null, age_ms: null, verdict: "none" },
      ];
      await tab.is("connected");
      await tab.at("quote-button").click();
      await tab.at("quote-sources").waitFor();
    },
  },
  switched: {
    options: { mock: false, source: "binance", pair: "BTC-USDT", history: 31 },
    async prepare(server, tab) {
      await tab.is("connected");
      server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ seq: 1e6, price: "61668.00000000" }) });
      server.send({ type: "system", event: "pair-changed", symbol: "BTC-USD", from: "BTC-USD", to: "BTC-USDT", source: "binance" });
      for (const at of [4, 5, 6, 20]) server.candles.delete([...server.candles.keys()].at(-at));
      const partial = [...server.candles.values()].slice(0, 2);
      for (const candle of partial) candle.partial = true;
      server.cut();
      await tab.is("connected");
      await tab.page.waitForTimeout(1_500);
      const { x, y, width, height } = await tab.at("chart").boundingBox();
      await tab.page.mouse.move(x + width * 0.6, y + height / 2);
    },
  },
  recorded: {
    options: { mock: false, source: "replay", tick: 1e9, history: 0 },
    async prepare(server, tab) {
      server.candles.clear();
      for (let n = 0; n < 50; n += 1) {
        const price = (61_000 + 150 * Math.sin(n / 9)).toFixed(2);
        server.candles.set(n, { time: new Date(Date.UTC(2024, 2, 24, 14, n)).toISOString(), open: price, high: `${Number(price) + 20}`, low: price, close: price, ticks: 3 });
      }
      server.cut();
      await tab.is("connected");
    },
  },
  mock: {
    options: {},
    async prepare(server, tab) {
      await tab.is("connected");
      await tab.at("quote-button").click();
      await tab.at("quote-rtt").filter({ hasText: "ms" }).waitFor();
    },
  },
  mixed: {
    options: { mock: false, source: "coinbase" },
    async prepare(server, tab) {
      await tab.is("connected");
      const all = [...server.candles.values()];
      for (const candle of all.slice(0, 25)) candle.pair = "BTC-USDT";
      Object.assign(all[25], { pair: "BTC-USD", pairs: ["BTC-USD", "BTC-USDT"] });
      server.cut();
      await tab.is("connected");
      await tab.page.waitForTimeout(1_500);
    },
  },
  silent: {
    options: { mock: false, source: "kraken", freshFor: 2_000, maxAge: 4_000 },
    async prepare(server, tab) {
      await tab.is("connected");
      await unfold(tab, "streams-panel");
      await tab.at("stream-toggle-1").click();
      await tab.page.waitForTimeout(500);
      server.silent = true;
      server.refuse({ status: 503, slug: "full", detail: "the cluster is full", retryAfter: 30 });
      await tab.is("reconnecting", 20_000);
    },
  },
  stale: { options: { mock: false, source: "binance", freshFor: 300, tick: 1e9 } },
  ended: {
    options: { mock: false, source: "binance", freshFor: 300, tick: 1e9 },
    prepare(server) {
      for (const key of [...server.candles.keys()].slice(-20)) server.candles.delete(key);
      server.cut();
    },
  },
  "no-history": { options: { mock: false, source: "kraken", history: 0, tick: 1e9 }, prepare(server) {
    server.candles.clear();
    server.historyRefusal = { status: 503, slug: "history-unavailable", retryAfter: 60 };
    server.cut();
  } },
  none: { options: { forgetAfter: 300, tick: 1e9 } },
  reconnecting: {
    options: { mock: false, source: "kraken" },
    async prepare(server, tab) {
      await tab.is("connected");
      server.send({ type: "system", event: "restarting", reason: "worker-replaced", reconnect_in_ms: 20_000 });
      server.close(1012, "worker-replaced");
      await tab.is("reconnecting");
    },
  },
  "worker-died": {
    options: { mock: false, source: "kraken" },
    async prepare(server, tab) {
      await tab.is("connected");
      const own = await tab.worker();
      const other = server.workers.find((worker) => worker.id !== own.id);
      Object.assign(other, { state: "failed", pid: null, restarts: 5 });
      await tab.page.waitForTimeout(1_100);
    },
  },
  moved: {
    options: { mock: false, source: "kraken" },
    async prepare(server, tab) {
      await tab.is("connected");
      for (const silence of [4, 31, 12]) server.move(silence);
    },
  },
  refused: { options: {}, refusal: { status: 403, slug: "forbidden", detail: "the origin http://evil.example is not allowed here" } },
  limited: { options: {}, refusal: { status: 429, slug: "limit", detail: "this user has 1 of 1 sessions already", retryAfter: 20 } },
  panels: {
    options: { mock: false, source: "binance", pair: "BTC-USDT" },
    async prepare(server, tab, [, other]) {
      await unfold(other, "chat", "broadcast");
      await unfold(tab, "chat", "broadcast", "command", "streams-panel");
      const her = await other.text("user-id");
      for (const text of ["Good morning.", "Is anybody here? " + "A long line goes on and on. ".repeat(4), "<b>not bold</b>"]) server.rooms.say("chat:lobby", her, { text });
      await tab.at("chat-input").fill("I am.");
      await tab.at("chat-send").click();
      await tab.at("chat-input").fill("And I am writing");
      await tab.at("broadcast-test").click();
      await other.at("broadcast-test").click();
      for (const typed of ["PING", "ECHO Привет", "nonsense"]) {
        await tab.at("command-input").fill(typed);
        await tab.at("command-input").press("Enter");
      }
      for (const n of [1, 3, 5, 2]) await tab.at(`stream-toggle-${n}`).click();
      await tab.at("stream-state-2").filter({ hasText: "429" }).waitFor();
    },
  },
  listening: {
    options: { mock: false, source: "kraken" },
    between: { upgrades: "cut" },
    async prepare(server, tab) {
      await unfold(tab, "chat", "broadcast");
      await tab.at("chat-state").filter({ hasText: "only listens" }).waitFor();
      server.rooms.say("chat:lobby", "her", { text: "Can you hear me?" });
    },
  },
  polling: { options: { mock: false, source: "kraken" }, between: { upgrades: "cut", events: "refuse" } },
  gap: {
    options: { mock: false, source: "kraken" },
    async prepare(server, tab) {
      await tab.is("connected");
      server.all.resume = false;
      server.cut();
      await tab.at("gap").waitFor();
    },
  },
  kicked: {
    options: { mock: false, source: "kraken" },
    async prepare(server, tab) {
      await tab.is("connected");
      server.close(4006, "kicked");
      await tab.is("offline");
    },
  },
};

const browser = await launch();
for (const [state, { options, refusal, between, prepare }] of Object.entries(STATES)) {
  if (only.length > 0 && !only.includes(state)) continue;
  for (const [shape, viewport] of Object.entries({ wide: { width: 1_200, height: 800 }, phone: { width: 360, height: 740 } })) {
    for (const colorScheme of ["light", "dark"]) {
      const server = await standin(options);
      if (refusal) server.refuse(refusal);
      const ends = [];
      const { url } = between ? await proxy({ after: (end) => ends.push(end) }, server.url, between) : server;
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "no-preference" });
      const tabs = [await Tab.open(context, url), await Tab.open(context, url), await Tab.open(context, url)];
      const [tab] = tabs;
      await tab.page.bringToFront();
      await prepare?.(server, tab, tabs);
      await tab.page.waitForTimeout(1_200);
      const overflow = await tab.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      await tab.screenshot(`${state}-${shape}-${colorScheme}`);
      console.log(`${state} ${shape} ${colorScheme}${overflow > 0 ? `: ${overflow} px too wide` : ""} ${tab.errors.join(" | ")}`);
      await context.close();
      await server.stop();
      ends.forEach((end) => end());
    }
  }
}
await browser.close();
