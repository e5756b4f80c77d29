// The pure modules of the chart: candles, scales and paths, and the question for the history.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Candles, HOUR, MINUTE, candleOf, gaps, runs, series } from "../../../static/candles.js";
import { History } from "../../../static/history.js";
import { drawing, priceRange, roundPrices, roundTimes, scales } from "../../../static/scale.js";
import * as words from "../../../static/words.js";

const NOON = Date.UTC(2026, 10, 20, 12);
const told = (minute, close = "100.00", more = {}) => ({
  time: new Date(NOON + minute * MINUTE).toISOString(), open: "100.00", high: "110.00", low: "90.00", close, ticks: 3, ...more,
});
const holding = (...all) => {
  const candles = new Candles();
  candles.history(all, 0);
  return candles;
};
const minutes = ({ candles }) => candles.map(({ time }) => (time - NOON) / MINUTE);

describe("candles", () => {
  test("are the server's texts, and numbers beside them", () => {
    const { time, open, at, partial } = candleOf(told(1, "61668.00000000", { open: "0.10", partial: true }));
    assert.deepEqual([time, open, partial, at.close], [NOON + MINUTE, "0.10", true, 61_668]);
  });

  test("that are none are left out", () => {
    const bad = [
      null, undefined, 7, "x", [], {}, told(1, "NaN"), told(1, "-1"), told(1, "1e9"), told(1, ""), told(1, 100), told(1, "0.00"),
      told(1, "1".repeat(400)), told(1, "1", { time: "yesterday" }), told(1, "1", { time: null }), told(1, "1", { low: undefined }),
    ];
    for (const each of bad) assert.equal(candleOf(each), null, JSON.stringify(each));
    assert.deepEqual(minutes(holding(...bad, told(2)).hour(NOON)), [2]);
  });

  test("that are made up and real ones are never together: what came last stays", () => {
    const mock = { mock: true };
    const candles = holding(told(0, "1.00", mock), told(1, "1.00", mock));
    assert.equal(candles.mock, true);
    candles.hear(told(1, "2.00"), 5);
    assert.deepEqual([minutes(candles.hour(NOON)), candles.mock], [[1], false]);
    candles.history([told(0, "1.00", mock), told(1, "1.00", mock)], 4);
    assert.deepEqual([candles.hour(NOON).candles.map(({ close }) => close), candles.mock], [["2.00"], false], "an answer that is too old");
    assert.deepEqual([new Candles().mock, candleOf(told(1, "1.00", { mock: "true" })).mock], [null, false]);
  });

  test("of another kind or pair begin a series of their own", () => {
    const of = (minute, pair, more) => told(minute, "1.00", { pair, ...more });
    const split = (...all) => series(holding(...all).hour(NOON).candles).map((one) => one.map(({ time }) => (time - NOON) / MINUTE));
    assert.deepEqual(split(of(0, "BTC-USD"), of(1, "BTC-USD"), of(3, "BTC-USD")), [[0, 1], [3]]);
    assert.deepEqual(split(of(0, "BTC-USDT"), of(1, "BTC-USD"), of(2, "BTC-USD"), of(3, "BTC-USDT")), [[0], [1, 2], [3]]);
    const mixed = { pairs: ["BTC-USD", "BTC-USDT"] };
    assert.deepEqual(split(of(0, "BTC-USDT"), of(1, "BTC-USD", mixed), of(2, "BTC-USDT", { pairs: ["BTC-USDT", "BTC-USD"] }), of(3, "BTC-USDT")), [[0], [1, 2], [3]]);
    assert.deepEqual(split(told(0), told(1), of(2, "BTC-USD")), [[0, 1], [2]], "which pair it was is not known");
    const hour = holding(of(0, "BTC-USDT"), of(1, "BTC-USD"), of(2, "BTC-USD", mixed)).hour(NOON);
    const { line, partial } = drawing(hour, scales(hour, { low: 0, high: 2 }, { left: 0, top: 0, width: 600, height: 100 }), { left: 0, top: 0, width: 600, height: 100 });
    assert.equal(line.match(/M/g).length, 3);
    assert.doesNotMatch(line, /L/);
    assert.equal(partial.match(/M/g).length, 1, "what mixes pairs is hollow");
  });

  test("of a history come in any order, once each, of an hour", () => {
    const hour = holding(told(5), told(3, "1.00"), told(-54), told(-55), told(3, "2.00")).hour(NOON + 5 * MINUTE);
    assert.deepEqual(minutes(hour), [-54, 3, 5]);
    assert.equal(hour.candles[1].close, "2.00");
    assert.deepEqual([hour.from - NOON, hour.to - NOON, hour.past], [-54 * MINUTE, 6 * MINUTE, false]);
  });

  test("heard since the question was asked are newer than its answer, and those before are not", () => {
    const candles = new Candles();
    candles.hear(told(1, "1.00"), 10);
    candles.hear(told(2, "2.00"), 20);
    candles.history([told(0), told(1, "1.50"), told(2, "1.90")], 15);
    assert.deepEqual(candles.hour(NOON).candles.map(({ close }) => close), ["100.00", "1.50", "2.00"]);
    candles.history([told(3)], 30);
    assert.deepEqual(minutes(candles.hour(NOON)), [3], "what the server has forgotten is forgotten");
  });

  test("replace their minute, follow it, or end it late", () => {
    const candles = holding(told(1), told(2));
    candles.hear(told(2, "101.00"), 1);
    candles.hear(told(3, "102.00"), 2);
    candles.hear(told(1, "99.00"), 3);
    assert.deepEqual(candles.hour(NOON).candles.map(({ close }) => close), ["99.00", "101.00", "102.00"]);
    candles.hear(told(70), 4);
    assert.deepEqual(minutes(candles.hour(NOON + 70 * MINUTE)), [70]);
  });

  test("of a recording that begins again end what came after", () => {
    const candles = holding(...Array.from({ length: 40 }, (_, n) => told(n)));
    candles.hear(told(5, "105.00"), 1);
    assert.deepEqual(minutes(candles.hour(NOON)), [0, 1, 2, 3, 4, 5]);
  });

  test("never are more than an hour of them", () => {
    const candles = new Candles();
    for (let n = 0; n < 500; n += 1) candles.hear(told(n), n);
    assert.equal(candles.hour(NOON + 499 * MINUTE).candles.length, 60);
  });

  test("show the hour until now, until a candle of the future, or until the last one of long ago", () => {
    const at = (minute, now) => {
      const { to, past } = holding(told(minute)).hour(NOON + now * MINUTE);
      return [(to - NOON) / MINUTE, past];
    };
    assert.deepEqual(at(0, 30.5), [31, false]);
    assert.deepEqual(at(40, 30), [41, false]);
    assert.deepEqual(at(0, 59.9), [60, false], "the last minute of that hour that has one");
    assert.deepEqual(at(0, 60), [1, true]);
    assert.deepEqual(at(5_000, 0), [5_001, true]);
    assert.deepEqual(new Candles().hour(NOON), { from: NOON - 59 * MINUTE, to: NOON + MINUTE, past: false, candles: [] });
  });
});

describe("gaps", () => {
  const of = (now, ...all) => gaps(holding(...all.map((n) => told(n))).hour(NOON + now * MINUTE)).map(({ from, to }) => [(from - NOON) / MINUTE, (to - NOON) / MINUTE]);

  test("are between runs and at the end, but not the minute that has just begun", () => {
    assert.deepEqual(runs(holding(told(1), told(2), told(4)).hour(NOON).candles).map((run) => run.length), [2, 1]);
    assert.deepEqual(of(4, 1, 2, 4), [[3, 4]]);
    assert.deepEqual(of(5, 1, 2, 4), [[3, 4]], "minute 5 has just begun");
    assert.deepEqual(of(9, 1, 2, 4), [[3, 4], [5, 10]]);
    assert.deepEqual(of(9), []);
  });
});

describe("scales", () => {
  const box = { left: 10, top: 5, width: 600, height: 100 };
  const of = (...all) => holding(...all).hour(NOON + 1);

  test("have a range around all prices, with air, and never of nothing", () => {
    assert.equal(priceRange([]), null);
    const { low, high } = priceRange(of(told(0)).candles);
    assert.ok(low > 80 && low < 90 && high > 110 && high < 120);
    const same = { open: "61668.00", high: "61668.00", low: "61668.00" };
    const still = priceRange(of(told(0, "61668.00", same)).candles);
    assert.ok(still.low < 61_668 && still.high > 61_668 && still.high - still.low > 5, "a cent is no mountain");
    const odd = priceRange(of(told(0, "500", { high: "1", low: "2" })).candles);
    assert.ok(odd.low < 1 && odd.high > 500, "a high that is below is drawn as far as it goes");
  });

  test("name round prices", () => {
    const names = (low, high, most) => {
      const { values, decimals } = roundPrices({ low, high }, most);
      return values.map((value) => value.toFixed(decimals));
    };
    assert.deepEqual(names(61_590, 61_712, 4), ["61600", "61650", "61700"]);
    assert.deepEqual(names(0.98, 1.03, 5), ["0.98", "0.99", "1.00", "1.01", "1.02", "1.03"]);
    assert.deepEqual(names(0.0000095, 0.000031, 3), ["0.00001", "0.00002", "0.00003"]);
    assert.deepEqual(names(1.05, 1.06, 2), ["1.050", "1.055", "1.060"]);
    for (const [low, high] of [[1, 1], [NaN, 1], [1, NaN], [-Infinity, Infinity], [2, 1]]) assert.deepEqual(names(low, high, 4), []);
    for (let n = 0; n < 2_000; n += 1) {
      const low = 10 ** (Math.random() * 16 - 8);
      const high = low * (1 + 10 ** (Math.random() * 8 - 5));
      const most = 3 + (n % 6);
      const { values } = roundPrices({ low, high }, most);
      assert.ok(values.length <= most + 1 && values.length >= 1, `${low} ${high} ${most}: ${values}`);
      for (const value of values) assert.ok(value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
    }
  });

  test("name round local times that have room", () => {
    const hour = { from: NOON - 53 * MINUTE, to: NOON + 7 * MINUTE };
    const at = (width, offset) => roundTimes(hour, width, 75, offset).map((time) => new Date(time - offset * MINUTE).toISOString().slice(11, 16));
    assert.deepEqual(at(600, 0), ["11:10", "11:20", "11:30", "11:40", "11:50", "12:00"]);
    assert.deepEqual(at(240, 0), ["11:20", "11:40", "12:00"]);
    assert.deepEqual(at(240, -345), ["17:00", "17:20", "17:40"], "Kathmandu");
    assert.deepEqual(at(150, 0), ["11:30", "12:00"]);
    assert.deepEqual(at(10, 0), ["12:00"]);
  });

  test("are the same there and back", () => {
    const hour = of(told(0));
    const at = scales(hour, { low: 90, high: 110 }, box);
    assert.deepEqual([at.x(hour.from), at.x(hour.to), at.y(110), at.y(90)], [10, 610, 5, 105]);
    for (let minute = hour.from; minute < hour.to; minute += MINUTE) assert.equal(at.minuteAt(at.middle(minute)), minute);
    assert.deepEqual([at.minuteAt(-1e9), at.minuteAt(1e9)], [hour.from, hour.to - MINUTE]);
  });

  test("draw no line over a gap, and hollow what was not seen whole", () => {
    const hour = of(told(-4, "95.00", { partial: true }), told(-3), told(0, "105.00"));
    const at = scales(hour, priceRange(hour.candles), box);
    const { bars, partial, line, gaps: bands, end } = drawing(hour, at, box);
    const count = (path, letter) => path.split(letter).length - 1;
    assert.deepEqual([count(line, "M"), count(line, "L"), count(line, "h0")], [2, 1, 1]);
    assert.deepEqual([count(bars, "M"), count(partial, "M"), count(bands, "M")], [2, 1, 1]);
    assert.equal(Math.round(end.x), 605);
    for (const path of [bars, partial, line, bands]) assert.doesNotMatch(path, /NaN|Infinity|undefined|e/);
  });

  test("draw nothing of nothing", () => {
    const hour = of();
    assert.deepEqual(drawing(hour, scales(hour, { low: 0, high: 1 }, box), box), { bars: "", partial: "", line: "", gaps: "", end: null });
    assert.equal(hour.to - hour.from, HOUR);
  });
});

describe("the question for the history", () => {
  const asking = () => {
    globalThis.location = new URL("http://h/");
    const answers = [];
    const got = [];
    const pauses = [];
    const urls = [];
    const it = new History({
      now: () => 5,
      onCandles: (candles, at) => got.push([candles, at]),
      onState: (word) => got.push(word),
      fetch: (url) => (urls.push(url.pathname + url.search), new Promise((done, fail) => answers.push({ done, fail }))),
      later: (call, ms) => pauses.push({ call, ms }),
      random: () => 1,
    });
    const settle = () => new Promise((done) => setImmediate(done));
    const answer = async (status, body = {}, headers = {}) => {
      answers.shift().done(new Response(JSON.stringify(body), { status, headers }));
      await settle();
    };
    return { it, got, pauses, urls, answers, answer, settle };
  };

  test("is answered", async () => {
    const { it, got, urls, answer } = asking();
    it.ask("BTC-USD");
    await answer(200, { candles: [1] });
    assert.deepEqual([got, urls], [[[[1], 5]], ["/api/v1/history?symbol=BTC-USD&interval=1m&limit=60"]]);
  });

  test("is asked again, later each time, and never before the server said", async () => {
    const { it, got, pauses, answer, answers, settle } = asking();
    it.ask("BTC-USD");
    await answer(503, {}, { "retry-after": "7" });
    pauses.at(-1).call();
    answers.shift().fail(new TypeError("no network"));
    await settle();
    for (let n = 0; n < 8; n += 1) {
      pauses.at(-1).call();
      await answer(n % 2 ? 500 : 200, { candles: "none" });
    }
    assert.deepEqual(pauses.map(({ ms }) => ms), [7_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000]);
    assert.deepEqual(new Set(got), new Set(["waiting"]));
    pauses.at(-1).call();
    await answer(200, { candles: [] });
    assert.deepEqual(got.at(-1), [[], 5]);
  });

  test("is dropped where there is no history, and when nobody wants it any more", async () => {
    const { it, got, pauses, answer } = asking();
    it.ask("BTC-USD");
    await answer(404);
    assert.deepEqual([got, pauses], [["missing"], []]);
    it.ask("BTC-USD");
    it.stop();
    await answer(200, { candles: [1] });
    it.ask("A-B");
    it.ask("C-D");
    await answer(200, { candles: [2] });
    await answer(200, { candles: [3] });
    assert.deepEqual(got.slice(1), [[[3], 5]]);
    delete globalThis.location;
  });
});

describe("words", () => {
  test("zeros that tell nothing are told apart, and two decimals stay", () => {
    const cases = {
      "61668.00000000": ["61668.00", "000000"], "61668.12300000": ["61668.123", "00000"], "61668.10": ["61668.10", ""], "61668.1": ["61668.1", ""],
      "0.00000100": ["0.000001", "00"], "61668": ["61668", ""], "1000": ["1000", ""], "1.230": ["1.23", "0"], "<img>.0000": ["<img>.0000", ""],
    };
    for (const [price, parts] of Object.entries(cases)) {
      assert.deepEqual(words.significant(price), parts);
      assert.equal(words.significant(price).join(""), price);
    }
  });

  test("verdicts, known and not", () => {
    assert.deepEqual(["agrees", "deviates", "stale", "other-pair", "none", "sleepy", "toString", undefined].map(words.opinion), [
      "agrees", "deviates", "stale", "other pair", "no price", "sleepy", "toString", "\u2013",
    ]);
  });
});
