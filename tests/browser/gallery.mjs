// Screenshots of every state of the page, wide and narrow, light and dark, against the stand-in: for looking at.
//
//   node gallery.mjs FOLDER [STATE...]

import { Tab, launch } from "./lib/browser.mjs";
import { standin } from "./standin.mjs";

const [folder = "/tmp/btc-cluster-gallery", ...only] = process.argv.slice(2);
process.env.BTC_CLUSTER_ARTIFACTS = folder;

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
  mock: { options: {} },
  stale: { options: { mock: false, source: "binance", freshFor: 300, tick: 1e9 } },
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
  refused: { options: {}, refusal: { status: 403, slug: "forbidden", detail: "the origin http://evil.example is not allowed here" } },
  limited: { options: {}, refusal: { status: 429, slug: "limit", detail: "this user has 1 of 1 sessions already", retryAfter: 20 } },
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
for (const [state, { options, refusal, prepare }] of Object.entries(STATES)) {
  if (only.length > 0 && !only.includes(state)) continue;
  for (const [shape, viewport] of Object.entries({ wide: { width: 1_200, height: 800 }, phone: { width: 360, height: 740 } })) {
    for (const colorScheme of ["light", "dark"]) {
      const server = await standin(options);
      if (refusal) server.refuse(refusal);
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "no-preference" });
      const tabs = [await Tab.open(context, server.url), await Tab.open(context, server.url), await Tab.open(context, server.url)];
      const [tab] = tabs;
      await tab.page.bringToFront();
      await prepare?.(server, tab);
      await tab.page.waitForTimeout(1_200);
      const overflow = await tab.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      await tab.screenshot(`${state}-${shape}-${colorScheme}`);
      console.log(`${state} ${shape} ${colorScheme}${overflow > 0 ? `: ${overflow} px too wide` : ""} ${tab.errors.join(" | ")}`);
      await context.close();
      await server.stop();
    }
  }
}
await browser.close();
