// What may be shown of a price, by the page's own clock.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ServerClock, ShownPrice, judge, rulesOf } from "../../../static/shown-price.js";

const RULES = { freshFor: 10_000, maxAge: 120_000, goneAfter: 600_000 };
const NOON = Date.UTC(2026, 10, 30, 12);
const stamp = (ms) => new Date(NOON + ms).toISOString();
const quote = (more = {}) => ({ symbol: "BTC-USD", price: "1.00", stale: false, age_ms: 0, arrivedAt: 0, ...more });

class Clock {
  ms = 0;
  jumps = 0;
  now = () => this.ms;
  leaps = () => this.jumps;
}

describe("a price", () => {
  const of = (age, more, live = true) => {
    const { stale, none } = judge(quote(more), age, RULES, live);
    return none ? "none" : stale ? "stale" : "fresh";
  };

  test("is stale past fresh_for, or twice the source's own interval, and always past max_age", () => {
    assert.deepEqual([of(10_000), of(10_001)], ["fresh", "stale"]);
    const slow = { interval_ms: 30_000 };
    assert.deepEqual([of(60_000, slow), of(60_001, slow)], ["fresh", "stale"]);
    const slower = { interval_ms: 600_000 };
    assert.deepEqual([of(120_000, slower), of(120_001, slower)], ["fresh", "stale"]);
    assert.equal(of(0, { stale: true }), "stale", "the server's own word");
  });

  test("goes when the server would take it away, and where nobody is heard at max_age", () => {
    assert.deepEqual([of(600_000), of(600_001)], ["stale", "none"]);
    assert.deepEqual([of(120_000, {}, false), of(120_001, {}, false)], ["stale", "none"]);
    assert.equal(judge(quote(), 120_001, { ...RULES, goneAfter: 120_000 }, true).none, true, "stale ones are refused");
    assert.equal(of(0, { price: null }), "none");
  });

  test("is judged by what the welcome says, as far as it says something", () => {
    assert.deepEqual(rulesOf({ fresh_for_ms: 1_000, max_age_ms: 2_000, gone_after_ms: 3_000 }), { freshFor: 1_000, maxAge: 2_000, goneAfter: 3_000 });
    assert.deepEqual(rulesOf({}), RULES);
    assert.deepEqual(rulesOf({ fresh_for_ms: 1_000, max_age_ms: "x" }), { ...RULES, freshFor: 1_000 });
  });
});

describe("what is shown", () => {
  const shown = () => {
    const [clock, told] = [new Clock(), []];
    const it = new ShownPrice({ clock, show: ({ stale, none }) => told.push(none ? "none" : stale ? "stale" : "fresh") });
    it.welcome({ time: stamp(0), fresh_for_ms: 1_000, max_age_ms: 5_000, gone_after_ms: 60_000 });
    it.live(true);
    const after = (ms) => ((clock.ms += ms), it.look());
    return { it, clock, told, after };
  };

  test("changes when nothing is heard, once each", () => {
    const { it, told, after } = shown();
    it.take(quote({ age_ms: 200, received_at: stamp(-200) }));
    for (let i = 0; i < 100; i += 1) after(100);
    assert.deepEqual(told, ["fresh", "stale"]);
    it.live(false);
    assert.deepEqual(told, ["fresh", "stale", "none"], "nobody says that it may be shown any longer");
    it.live(true);
    assert.equal(told.at(-1), "stale", "it was only a doubt");
    it.take(quote({ received_at: stamp(10_000), arrivedAt: 10_000 }));
    assert.equal(told.at(-1), "fresh");
  });

  test("follows other rules", () => {
    const { it, told, after } = shown();
    it.take(quote({ received_at: stamp(0) }));
    after(2_000);
    it.ruled({ event: "price-rules", fresh_for_ms: 3_000, max_age_ms: 5_000, gone_after_ms: 60_000 });
    it.ruled({ event: "price-rules", fresh_for_ms: 500, max_age_ms: 1_500, gone_after_ms: 1_500 });
    assert.deepEqual(told, ["fresh", "stale", "fresh", "none"]);
  });

  test("what lay in a path that stood still is as old as its stamp", () => {
    const { it, clock, told } = shown();
    clock.ms = 30_000;
    const late = quote({ age_ms: 100, received_at: stamp(500) });
    assert.equal(it.age({ ...late, arrivedAt: 30_000 }), 29_500);
    it.take({ ...late, arrivedAt: 30_000 });
    assert.deepEqual(told, ["stale"]);
    const told2 = it.told({ ...late, request_id: "x" });
    assert.deepEqual([told2.stale, told2.age_ms, told2.request_id], [true, 29_500, "x"]);
  });

  test("a server's clock that was set back does not make each later price old", () => {
    const { it, clock, told, after } = shown();
    it.take(quote({ received_at: stamp(0) }));
    it.time(stamp(0));
    after(600);
    const hour = 3_600_000;
    it.take(quote({ received_at: stamp(600 - hour), arrivedAt: 600 }));
    assert.deepEqual(told, ["fresh", "fresh"]);
    after(400);
    it.time(stamp(1_000 - hour));
    clock.ms = 30_000;
    assert.equal(it.age(quote({ received_at: stamp(1_100 - hour), arrivedAt: 30_000 })), 28_900, "by what is known since");
  });

  for (const how of ["a jump of the clock", "timers that stood still"]) {
    test(`what lay unread over a sleep of the machine is as old as it is: ${how}`, () => {
      const { it, clock, told } = shown();
      const hour = 3_600_000;
      const take = (received) => (it.heard(), it.take(quote({ received_at: stamp(received), arrivedAt: clock.ms })));
      take(0);
      clock.ms = hour;
      if (how === "a jump of the clock") clock.jumps = 1;
      else it.live(true, true);
      take(300);
      assert.equal(told.at(-1), "none");
      clock.ms += 10;
      take(hour - 50);
      assert.equal(told.at(-1), "fresh", "what was sent since");
      clock.ms += 2_000;
      take(300);
      assert.equal(told.at(-1), "fresh", "it was no sleep: somebody has set this page's clock");
      it.time(stamp(300));
      clock.ms += 500;
      assert.equal(it.age(quote({ received_at: stamp(300), arrivedAt: clock.ms })), 500);
    });
  }

  test("an answer whose age the server knows better is not made younger", () => {
    const { it } = shown();
    assert.equal(it.age({ ...quote({ age_ms: 7_000, received_at: stamp(0) }), arrivedAt: 0 }), 7_000, "the feed's own lag counts");
  });
});

describe("the server's clock", () => {
  test("is as far ahead as its quickest message says", () => {
    const clock = new Clock();
    const server = new ServerClock(clock);
    assert.equal(server.since(stamp(0)), 0, "nothing is known");
    clock.ms = 1_000;
    server.begin(stamp(600)); // 400 ms on its way
    assert.equal(server.since(stamp(0)), 600);
    server.hear(stamp(950));
    assert.equal(server.since(stamp(0)), 950);
    server.hear(stamp(100));
    assert.equal(server.since(stamp(0)), 950, "a slow one says nothing new");
    clock.ms = 2_000;
    assert.equal(server.since(stamp(0)), 1_950);
    assert.equal(server.since(stamp(9_000)), 0);
    for (const none of [null, undefined, "x"]) assert.equal(server.since(none), 0);
  });

  test("is known anew with another session", () => {
    const server = new ServerClock(new Clock());
    server.begin(stamp(20_000));
    server.begin(stamp(5_000));
    assert.equal(server.since(stamp(0)), 5_000);
  });
});
