// The chart of the last hour, against the stand-in.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { Tab, eventually, launch } from "./lib/browser.mjs";
import { standin } from "./standin.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const STILL = { tick: 1e9, mock: false, source: "binance" };
const MUTE = { ...STILL, candleEvery: 1e8 }; // no candle but those that the test sends
const MINUTE = 60_000;
/** A test takes less; a minute that ends in it moves everything to the left. */
const LONGEST = 15_000;

/** Waits for the next minute where this one ends soon. */
async function clearOfTheTurn() {
  const left = MINUTE - (Date.now() % MINUTE);
  if (left < LONGEST) await new Promise((done) => setTimeout(done, left + 10));
}

async function session(t, options = STILL, context = {}, prepare = () => {}) {
  const server = await standin(options);
  t.after(() => server.stop({ notice: false }));
  prepare(server);
  const own = await browser.newContext({ timezoneId: "UTC", locale: "en-GB", ...context });
  t.after(() => own.close());
  return { server, tab: await (await Tab.open(own, server.url)).is("connected") };
}

/** A candle so many minutes before now, or before another moment. */
function ago(minutes, close, more = {}, now = Date.now()) {
  const start = Math.floor(now / MINUTE) * MINUTE - minutes * MINUTE;
  const time = new Date(start).toISOString();
  return [start, { time, open: close, high: close, low: close, close, ticks: 1, ...more }];
}

function holding(...candles) {
  return (server) => (server.candles = new Map(candles));
}

function path(tab, name) {
  return tab.at("chart").locator(`path.${name}`).getAttribute("d");
}

const pieces = async (tab, name, letter = "M") => ((await path(tab, name)) ?? "").split(letter).length - 1;

function figures(tab) {
  return tab.page.locator(".figures dd").evaluateAll((all) => all.map((each) => each.textContent));
}

async function drawn(tab, bars = 1) {
  await eventually(async () => assert.ok((await pieces(tab, "bars")) >= bars));
  return tab;
}

/** Where the middle of the minute is, so many minutes before the end of the axis. */
async function middle(tab, minutes) {
  const { x, y, height } = await tab.at("chart").boundingBox();
  const [left, right] = await tab.at("chart").locator("path.grid").evaluate((grid) => {
    const [, from, to] = /M([\d.]+) [\d.]+H([\d.]+)/.exec(grid.getAttribute("d"));
    return [Number(from), Number(to)];
  });
  return [x + right - ((minutes + 0.5) * (right - left)) / 60, y + height / 2];
}

describe("the chart", () => {
  beforeEach(clearOfTheTurn);

  test("draws the last hour, with its figures and a text for those who do not see it", async (t) => {
    const { server, tab } = await session(t);
    await drawn(tab, 59);
    assert.equal(await pieces(tab, "line"), 1, "one line");
    assert.equal(await path(tab, "gaps"), "");
    await eventually(async () => {
      const first = (Math.floor(Date.now() / MINUTE) - 59) * MINUTE;
      const all = [...server.candles.values()].filter(({ time }) => Date.parse(time) >= first);
      const [, open, high, low, close] = await figures(tab);
      assert.deepEqual([open, close], [all[0].open, all.at(-1).close]);
      assert.deepEqual([high, low], [all.map((each) => each.high).sort().at(-1), all.map((each) => each.low).sort()[0]]);
      const image = tab.page.getByRole("img", { name: /^Last hour of BTC-USD: from / });
      const words = await image.getAttribute("aria-label");
      for (const figure of [open, close, `low ${low}`, `high ${high}`]) assert.ok(words.includes(figure), `${figure} in ${words}`);
    });
    const labels = await tab.at("chart").locator("text").allTextContents();
    assert.ok(labels.filter((label) => /^\d?\d:\d0$/.test(label)).length >= 5, labels.join());
    assert.ok(labels.filter((label) => /^\d\d\u202f\d\d0$/.test(label)).length >= 2, labels.join());
    await tab.page.locator('#chart-card[data-live="true"]').waitFor();
    assert.equal(await tab.count("chart-mock"), 0);
    assert.deepEqual(tab.errors, []);
  });

  test("subscribes first and asks then, once in a session", async (t) => {
    const { server, tab } = await session(t);
    await drawn(tab);
    const asked = () => server.requests.filter((request) => request === "GET /api/v1/history").length;
    assert.deepEqual(server.heard, [{ type: "subscribe", channels: ["candle:BTC-USD@1m"], id: "candles" }]);
    assert.equal(asked(), 1);
    server.cut();
    await eventually(() => assert.equal(asked(), 2));
    assert.equal(server.heard.length, 1, "a session that goes on is subscribed already");
    server.all.resume = false;
    server.cut();
    await eventually(() => assert.equal(asked(), 3));
    assert.equal(server.heard.length, 2);
  });

  test("goes on with what it hears, drawn once a second at most", async (t) => {
    const now = Date.now(); // a minute may end meanwhile
    const candle = (minutes, close) => ago(minutes, close, {}, now);
    const { server, tab } = await session(t, MUTE, {}, holding(candle(1, "100.00"), candle(0, "101.00")));
    await drawn(tab, 2);
    await tab.page.evaluate(() => {
      globalThis.drawings = 0;
      new MutationObserver(() => (globalThis.drawings += 1)).observe(document.querySelector("path.line"), { attributes: true });
    });
    for (let n = 0; n < 60; n += 1) {
      server.candle(candle(0, `${102 + n}.00000000`)[1]);
      await tab.page.waitForTimeout(50);
    }
    server.candle(candle(0, "200.50000000")[1]);
    await eventually(async () => assert.equal((await figures(tab))[4], "200.50000000"));
    assert.equal(await tab.page.locator("#chart-close").innerText(), "200.50000000", "what is copied is the server's text");
    const drawings = await tab.page.evaluate(() => globalThis.drawings);
    assert.ok(drawings >= 2 && drawings <= 6, `${drawings} in about three seconds`);
    server.candle({ ...candle(0, "<img src=x>")[1] });
    server.candle({ ...candle(-1, "201.00")[1] });
    await eventually(async () => assert.equal((await figures(tab))[4], "201.00"));
    assert.equal(await pieces(tab, "bars"), 3);
  });

  test("draws no line over a gap, and hollow what was not seen whole", async (t) => {
    const all = [ago(9, "100.00", { partial: true }), ago(8, "101.00"), ago(3, "102.00"), ago(2, "103.00"), ago(1, "104.00"), ago(0, "105.00")];
    const { tab } = await session(t, STILL, {}, holding(...all));
    await drawn(tab, 5);
    assert.deepEqual([await pieces(tab, "line"), await pieces(tab, "gaps"), await pieces(tab, "partial")], [2, 1, 1]);
    assert.match(await tab.page.locator("#chart-note").textContent(), /Hollow: minutes not seen whole/);
  });

  test("tells the figures of a minute by mouse and by key, also of one without a price", async (t) => {
    const all = [ago(9, "109.00", { open: "1.00", high: "120.00", low: "0.50" }), ago(1, "101.00", { partial: true }), ago(0, "100.00")];
    const { tab } = await session(t, MUTE, {}, holding(...all));
    await drawn(tab, 2);
    const hovered = (minutes, expected) =>
      eventually(async () => {
        await tab.page.mouse.move(...(await middle(tab, minutes)));
        assert.deepEqual((await figures(tab)).slice(1), expected);
      });
    await hovered(9, ["1.00", "120.00", "0.50", "109.00"]);
    assert.match((await figures(tab))[0], /^\d?\d:\d\d$/);
    assert.ok(await tab.at("chart").locator("circle.spot").isVisible());
    await hovered(5, Array(4).fill("\u2013"));
    assert.match((await figures(tab))[0], /no price/);
    await tab.page.mouse.move(0, 0);
    assert.deepEqual((await figures(tab)).slice(1), ["1.00", "120.00", "0.50", "100.00"]);
    await tab.at("chart").focus();
    await tab.page.keyboard.press("ArrowLeft");
    assert.equal((await figures(tab))[4], "100.00");
    await tab.page.keyboard.press("ArrowLeft");
    assert.match((await figures(tab))[0], /not seen whole/);
    assert.match(await tab.page.locator("#chart-spoken").textContent(), /not seen whole: open 101\.00, high 101\.00/);
    await tab.page.keyboard.press("Escape");
    assert.equal((await figures(tab))[1], "1.00");
  });

  test("keeps what a finger points at until it points elsewhere", async (t) => {
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true };
    const { tab } = await session(t, STILL, phone, holding(ago(1, "101.00"), ago(0, "100.00")));
    await drawn(tab, 2);
    await tab.at("chart").scrollIntoViewIfNeeded();
    await eventually(async () => {
      await tab.page.touchscreen.tap(...(await middle(tab, 30)));
      assert.match((await figures(tab))[0], /no price/);
    });
    await tab.page.waitForTimeout(300);
    assert.match((await figures(tab))[0], /no price/);
    await tab.page.locator("#chart-title").tap();
    await eventually(async () => assert.equal((await figures(tab))[4], "100.00"));
  });

  test("asks again quietly where the history is not there yet, and shows meanwhile what it hears", async (t) => {
    const refusal = { status: 503, slug: "history-unavailable", retryAfter: 2 };
    const { server, tab } = await session(t, MUTE, {}, (it) => {
      holding(ago(2, "98.00"))(it);
      it.historyRefusal = refusal;
    });
    await eventually(async () => assert.match(await tab.page.locator("#chart-card").innerText(), /not here yet/));
    server.candle(ago(0, "100.00")[1]);
    await eventually(async () => assert.equal((await figures(tab))[4], "100.00"));
    server.candles = new Map([ago(3, "97.00"), ago(0, "99.00")]);
    server.historyRefusal = null;
    await eventually(async () => assert.equal((await figures(tab))[1], "97.00"));
    assert.equal(await tab.page.locator("#chart-note").textContent(), "");
  });

  test("hides itself on a server that has none, and asks for nothing", async (t) => {
    const { server, tab } = await session(t, { ...STILL, candles: false });
    await tab.at("chart").waitFor({ state: "hidden" });
    assert.ok(!server.requests.includes("GET /api/v1/history"));
    assert.deepEqual(tab.errors, []);
    server.options.candles = true;
    server.cut();
    await tab.at("chart").waitFor();
    await drawn(tab, 50);
  });

  test("hides itself where only the history is missing", async (t) => {
    const { tab } = await session(t, STILL, {}, (it) => (it.historyRefusal = { status: 404, slug: "not-found" }));
    await tab.at("chart").waitFor({ state: "hidden" });
  });

  test("never looks live when it is not: stale, no price, ended, not connected", async (t) => {
    const { server, tab } = await session(t, MUTE);
    await drawn(tab);
    const live = (yes, words) =>
      eventually(async () => {
        assert.equal(await tab.page.locator("#chart-card").getAttribute("data-live"), String(yes));
        assert.match(await tab.page.locator("#chart-note").textContent(), words);
        assert.equal(await tab.at("chart").locator("circle.end").isVisible(), yes);
      });
    await live(true, /^$/);
    server.send({ type: "price", channel: "price:BTC-USD", ...server.quote({ stale: true }) });
    await live(false, /^No newer price since \d?\d:\d\d\.$/);
    server.tick(65_000);
    await live(true, /^$/);
    server.send({ type: "price", channel: "price:BTC-USD", price: null });
    await live(false, /No newer price/);
    server.tick(65_000);
    await live(true, /^$/);
    for (const start of [...server.candles.keys()].slice(-20)) server.candles.delete(start);
    server.cut();
    await live(false, /No newer price/);
    assert.equal(await pieces(tab, "gaps"), 1);
    server.refuse({ status: 503, slug: "full", retryAfter: 60 });
    server.cut();
    await live(false, /^Not connected: as it was at \d?\d:\d\d\.$/);
  });

  test("of a recording ends with its newest candle, and says of when it is", async (t) => {
    const at = (minute) => new Date(Date.UTC(2024, 2, 24, 14, minute)).toISOString();
    const all = [1, 2, 3].map((n) => [n, { ...ago(0, `10${n}.00`)[1], time: at(n) }]);
    const { tab } = await session(t, MUTE, {}, holding(...all));
    await drawn(tab, 3);
    assert.match(await tab.page.locator("#chart-note").textContent(), /^Prices of 24 Mar 2024\.$/);
    assert.equal((await figures(tab))[0], "14:01\u201314:03");
    assert.equal(await path(tab, "gaps"), "");
  });

  test("joins no line from one pair to another, and says which minutes mix them", async (t) => {
    const of = (minutes, pair, pairs) => {
      const [key, candle] = ago(minutes, "100.00");
      return [key, { ...candle, pair, ...(pairs && { pairs }) }];
    };
    const both = ["BTC-USD", "BTC-USDT"];
    const { server, tab } = await session(t, MUTE, {}, holding(of(4, "BTC-USDT"), of(3, "BTC-USDT"), of(2, "BTC-USD", both), of(1, "BTC-USD")));
    await drawn(tab, 3);
    assert.equal(await pieces(tab, "line"), 3);
    assert.equal(await pieces(tab, "partial"), 1);
    const note = await tab.page.locator("#chart-note").textContent();
    assert.match(note, /Hollow: minutes of more than one pair\. Prices of BTC-USD and BTC-USDT; no line joins them\./);
    server.candle(of(0, "BTC-USDT")[1]);
    await eventually(async () => assert.equal(await pieces(tab, "line"), 4));
    assert.equal(await tab.count("chart-mock"), 0);
  });

  test("says that its prices are made up, and asks anew when they no longer are", async (t) => {
    const { server, tab } = await session(t, { tick: 100 });
    await drawn(tab);
    assert.equal(await tab.text("chart-mock"), "MADE-UP PRICES (mock)");
    Object.assign(server.options, { mock: false, source: "binance" });
    server.candles = new Map([ago(0, "5.00")]);
    await tab.at("chart-mock").waitFor({ state: "detached" });
    await eventually(async () => assert.ok([1, 2].includes(await pieces(tab, "bars"))));
    await eventually(() => assert.equal(server.requests.filter((request) => request === "GET /api/v1/history").length, 2));
    assert.deepEqual(tab.errors, []);
  });

  test("rests while nobody looks", async (t) => {
    const { server, tab } = await session(t, MUTE, {}, holding(ago(0, "100.00")));
    await drawn(tab);
    const hide = (yes) =>
      tab.page.evaluate((yes) => {
        Object.defineProperty(document, "hidden", { value: yes, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, yes);
    await hide(true);
    server.candle(ago(0, "107.00")[1]);
    await tab.page.waitForTimeout(1_500);
    assert.equal((await figures(tab))[4], "100.00");
    await hide(false);
    await eventually(async () => assert.equal((await figures(tab))[4], "107.00"), 900);
  });

  test("fits its box at any width", async (t) => {
    const { tab } = await session(t);
    await drawn(tab);
    for (const width of [320, 360, 700, 1_400, 360]) {
      await tab.page.setViewportSize({ width, height: 800 });
      await eventually(async () => {
        const seen = await tab.at("chart").locator("svg").evaluate((svg) => [svg.viewBox.baseVal.width, svg.clientWidth]);
        assert.ok(Math.abs(seen[0] - seen[1]) <= 1, seen.join());
        assert.equal(await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
        const texts = await tab.at("chart").locator("text").evaluateAll((all) => all.map((each) => {
          const { left, right } = each.getBoundingClientRect();
          return [left, right];
        }));
        for (const [left, right] of texts) assert.ok(left >= 0 && right <= width, `${left} ${right} of ${width}`);
      });
    }
  });
});
