// The npm package `eventsource`, which does what a browser's EventSource does: it comes back by itself.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { EventSource } from "eventsource";
import { badNetwork, soon, startDaemon } from "./daemon.mjs";

let daemon;
before(async () => {
  daemon = await startDaemon("broadcast");
});
after(() => daemon?.stop());

/** An unchanged EventSource that is closed after the test `t`, and what it has heard, in order. */
function listen(t, address, query) {
  const source = new EventSource(`http://${address}/api/v1/events?${query}`);
  t.after(() => source.close());
  const heard = [];
  for (const type of ["welcome", "quote", "message", "close"]) {
    source.addEventListener(type, ({ data, lastEventId }) => {
      heard.push({ ...JSON.parse(data), lastEventId });
      source.dispatchEvent(new Event("heard"));
    });
  }
  /** Waits until there are so many. */
  const until = async (count) => {
    while (heard.length < count) await soon(`event ${count} after ${JSON.stringify(heard)}`, once(source, "heard"));
    return heard.slice(0, count);
  };
  return { source, heard, until };
}

// It waits three seconds before it comes back: all at once.
describe("EventSource", { concurrency: true }, () => {
  test("a quote that is posted comes with an id", async (t) => {
    const { until } = listen(t, daemon.http, "user_id=alice");
    const [welcome] = await until(1);
    assert.deepEqual([welcome.type, welcome.user_id], ["welcome", "alice"]);
    assert.equal(await daemon.quote("alice"), 202);
    const [, quote] = await until(2);
    assert.equal(quote.type, "quote");
    assert(quote.lastEventId);
  });

  test("it comes back by itself, loses nothing and hears nothing twice", async (t) => {
    const network = await badNetwork(daemon.http);
    t.after(network.end);
    const { source, until, heard } = listen(t, network.address, "user_id=bob&channels=news");
    await until(1);
    await daemon.publish("news", 1, 2);
    await until(3);
    const lost = once(source, "error");
    network.cut();
    await soon("the loss is noticed", lost);
    await daemon.publish("news", 3, 4);
    await until(6);
    assert.equal(await daemon.quote("bob"), 202);
    await until(7);
    const story = heard.map(({ type, data, resumed }) => data ?? resumed ?? type);
    assert.deepEqual(story, [false, 1, 2, true, 3, 4, "quote"]);
    assert.equal(heard[3].session_id, heard[0].session_id);
  });

  test("lost again before anything came, it still loses nothing", async (t) => {
    const network = await badNetwork(daemon.http);
    t.after(network.end);
    const { source, until, heard } = listen(t, network.address, "user_id=carol&channels=weather");
    for (const welcomes of [1, 2]) {
      await until(welcomes);
      const lost = once(source, "error");
      network.cut();
      await soon("the loss is noticed", lost);
    }
    await daemon.publish("weather", "at last");
    await until(4);
    const story = heard.map(({ data, resumed }) => data ?? resumed);
    assert.deepEqual(story, [false, true, true, "at last"]);
  });

  test("it stops by itself when the operator has disconnected it", async (t) => {
    const { source, until } = listen(t, daemon.http, "user_id=frank&channels=none");
    const [welcome] = await until(1);
    assert.equal(await daemon.quote("frank"), 202);
    await until(2);
    await daemon.kick(welcome.session_id);
    const [, , close] = await until(3);
    assert.deepEqual([close.type, close.code], ["close", 4006]);
    while (source.readyState !== EventSource.CLOSED) await soon("it has stopped", once(source, "error"));
  });
});
