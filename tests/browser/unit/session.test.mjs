// The session's decisions without a browser: events and a clock in, states and actions out.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RULES, backoff, first, step, verdict, word } from "../../../static/session.js";

/** A tab with a clock of its own; `random` is what every draw of lots gives. */
class Tab {
  state = first();
  now = 1_000;
  random = 0.5;
  did = [];

  tell(type, more = {}) {
    const { state, actions } = step(this.state, { type, ...more }, this.now, this.random);
    this.state = state;
    this.did = actions.map((action) => action.do);
    this.actions = actions;
    return this;
  }

  after(ms) {
    this.now += ms;
    return this;
  }

  alarm(late = 0) {
    this.now = this.state.wakeAt + late;
    return this.tell("alarm");
  }

  connect() {
    return this.tell("opened").tell("welcome", { heartbeatMs: 25_000 });
  }

  get word() {
    return word(this.state);
  }

  get waits() {
    return this.state.wakeAt - this.now;
  }
}

const started = () => new Tab().tell("start");
const connected = () => started().connect();

describe("the way in", () => {
  test("a tab is connecting until the welcome, not merely until the open", () => {
    const tab = started();
    assert.deepEqual([tab.word, tab.did], ["connecting", ["open"]]);
    assert.equal(tab.tell("opened").word, "connecting");
    assert.equal(tab.tell("welcome", { heartbeatMs: 25_000 }).word, "connected");
  });

  test("an open that takes too long is dropped and its reason asked for", () => {
    assert.deepEqual(started().alarm().did, ["drop", "ask"]);
  });

  test("an open without a welcome is dropped and tried again", () => {
    const tab = started().tell("opened").alarm();
    assert.deepEqual([tab.did, tab.word, tab.state.why.kind], [["drop"], "reconnecting", "no-welcome"]);
  });
});

describe("a lost session", () => {
  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 4300]) {
    test(`${code} comes back with back-off`, () => {
      const tab = connected().tell("closed", { code, reason: "" });
      assert.deepEqual([tab.word, tab.waits], ["reconnecting", 250]);
      assert.deepEqual(tab.alarm().did, ["open"]);
      assert.equal(tab.word, "reconnecting");
      assert.equal(tab.connect().word, "connected");
    });
  }

  for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 4001, 4004, 4006, 4099]) {
    test(`${code} stays away and says why`, () => {
      const tab = connected().tell("closed", { code, reason: "some-slug" });
      assert.deepEqual([tab.word, tab.state.wakeAt], ["offline", null]);
      assert.deepEqual(tab.state.why, { code, slug: "some-slug", event: undefined });
      for (const type of ["online", "visible", "alarm"]) assert.deepEqual(tab.tell(type).did, []);
      assert.deepEqual(tab.tell("again").did, ["open"]);
      assert.equal(tab.word, "connecting");
    });
  }

  test("41xx comes back after a second at the least", () => {
    const tab = connected();
    tab.random = 0;
    assert.equal(tab.tell("closed", { code: 4101, reason: "" }).waits, 1_000);
    assert.deepEqual(tab.after(400).tell("visible").did, [], "nor does a look hurry it");
    assert.equal(tab.waits, 600);
  });

  test("42xx comes back at once with a little jitter", () => {
    const tab = connected();
    tab.random = 0.999;
    assert.ok(tab.tell("closed", { code: 4200, reason: "" }).waits <= RULES.soon);
  });

  test("the server's own slot is kept", () => {
    const tab = connected().tell("system", { inMs: 7_000, event: "shutdown", reason: "stopping" });
    tab.tell("closed", { code: 1001, reason: "" });
    assert.deepEqual([tab.waits, tab.state.why.slug], [7_000, "stopping"]);
  });

  test("a slot does not make a tab come back that shall not, nor a 41xx sooner", () => {
    const stop = connected().tell("system", { inMs: 10 }).tell("closed", { code: 4006, reason: "" });
    assert.equal(stop.word, "offline");
    const pause = connected().tell("system", { inMs: 10 }).tell("closed", { code: 4101, reason: "" });
    assert.equal(pause.waits, 1_000);
  });

  test("a slot is for that close alone, and a system message without one is none", () => {
    const tab = connected().tell("system", { inMs: 7_000 }).tell("closed", { code: 1012, reason: "" });
    tab.alarm().connect().tell("system", { event: "heartbeat" }).tell("closed", { code: 1012, reason: "" });
    assert.ok(tab.waits <= RULES.base * 2);
  });

  test("an absurd slot is not believed", () => {
    const tab = connected().tell("system", { inMs: 1e12 }).tell("closed", { code: 1001, reason: "" });
    assert.equal(tab.waits, RULES.longest);
  });
});

describe("back-off", () => {
  test("doubles with full jitter up to the cap", () => {
    const tops = [0, 1, 2, 3, 4, 5, 6, 99, 5_000].map((attempt) => backoff(attempt, 1));
    assert.deepEqual(tops, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]);
    assert.equal(backoff(6, 0), 0);
  });

  test("grows over failed opens and starts anew only after a session that lasted", () => {
    const tab = connected().after(60_000).tell("closed", { code: 1006, reason: "" });
    const waits = [tab.waits];
    for (let i = 0; i < 3; i += 1) {
      tab.alarm().tell("closed", { code: 1006 }).tell("answer", { status: 0 });
      waits.push(tab.waits);
    }
    assert.deepEqual(waits, [250, 500, 1_000, 2_000]);
    tab.alarm().connect().after(1_000).tell("closed", { code: 1011, reason: "" });
    assert.equal(tab.waits, 4_000, "a welcome and a close in a circle must not spin");
    tab.alarm().connect().after(RULES.stable).tell("closed", { code: 1011, reason: "" });
    assert.equal(tab.waits, 250);
  });

  test("is cut short when the network is back, somebody looks or the button is pressed", () => {
    for (const type of ["online", "visible", "again"]) {
      const tab = connected().tell("closed", { code: 1006, reason: "" });
      assert.deepEqual(tab.tell(type).did, ["open"], type);
    }
  });
});

describe("a refused open", () => {
  const refused = (answer) => started().tell("closed", { code: 1006, reason: "" }).tell("answer", answer);

  test("asks for the reason", () => {
    const tab = started().tell("closed", { code: 1006, reason: "" });
    assert.deepEqual([tab.did, tab.word], [["ask"], "connecting"]);
  });

  for (const status of [400, 401, 403, 404, 421]) {
    test(`${status} is for good, with the reason`, () => {
      const tab = refused({ status, slug: "x", detail: "because" });
      assert.deepEqual([tab.word, tab.state.why], ["offline", { status, slug: "x", detail: "because" }]);
    });
  }

  for (const status of [429, 500, 502, 503]) {
    test(`${status} is tried again, never before Retry-After`, () => {
      const tab = refused({ status, slug: "full", detail: "full", retryAfterMs: 3_000 });
      assert.deepEqual([tab.word, tab.state.why.slug], ["reconnecting", "full"]);
      assert.ok(tab.waits >= 3_000);
      assert.deepEqual(tab.after(1_000).tell("online").did, []);
      assert.deepEqual([tab.waits, tab.alarm().did], [2_000, ["open"]]);
    });
  }

  test("a server that cannot be reached, or does not say, is tried again", () => {
    assert.equal(refused({ status: 0 }).state.why.kind, "unreachable");
    const tab = started().tell("closed", { code: 1006 }).alarm();
    assert.deepEqual([tab.word, tab.state.why.kind], ["reconnecting", "unreachable"]);
  });

  test("another address that fails twice while our own origin serves is given up", () => {
    const tab = started();
    for (let i = 0; i < RULES.misses; i += 1) {
      assert.equal(tab.actions[0].own, false);
      tab.tell("closed", { code: 1006 }).tell("answer", { status: 426, elsewhere: true }).alarm();
    }
    assert.deepEqual(tab.actions, [{ do: "open", via: "websocket", own: true }]);
  });

  test("an own origin that fails, or a server that is down, does not count against the other address", () => {
    const tab = started();
    for (let i = 0; i < 5; i += 1) {
      tab.tell("closed", { code: 1006 }).tell("answer", { status: 426, elsewhere: false }).alarm();
      tab.tell("closed", { code: 1006 }).tell("answer", { status: 0, elsewhere: true }).alarm();
    }
    assert.equal(tab.actions[0].own, false);
  });
});

describe("silence", () => {
  test("is asked after a few seconds, and ends in a return", () => {
    const tab = connected();
    assert.equal(tab.waits, RULES.calm);
    assert.deepEqual(tab.alarm().did, ["ping"]);
    assert.equal(tab.waits, RULES.pong);
    assert.deepEqual([tab.alarm().did, tab.word, tab.state.why.kind], [["drop"], "reconnecting", "silent"]);
  });

  test("anything heard ends it", () => {
    const tab = connected().alarm().after(4_000).tell("heard");
    assert.deepEqual([tab.word, tab.waits], ["connected", RULES.calm]);
  });

  test("after a sleep of the machine there is one more round, not endless ones", () => {
    const tab = connected().alarm(3_600_000);
    assert.deepEqual([tab.did, tab.word], [["ping"], "reconnecting"], "nothing is known until the answer comes");
    assert.deepEqual(tab.alarm(60_000).did, ["ping"]);
    assert.deepEqual(tab.alarm(60_000).did, ["drop"]);
    const well = connected().alarm(3_600_000).after(20).tell("heard");
    assert.deepEqual([well.word, well.waits], ["connected", RULES.calm]);
    const seen = connected().after(3_600_000).tell("visible");
    assert.deepEqual([seen.did, seen.word], [["ping"], "reconnecting"], "whoever looks first");
  });

  test("of a stream of events is asked about beside it, and its comments must not be late", () => {
    const over = (mode) => {
      const tab = new Tab();
      tab.state = first(mode);
      return tab.tell("start").connect();
    };
    const tab = over("sse");
    const heard = tab.now;
    assert.deepEqual([tab.alarm().did, tab.now - heard, tab.waits, tab.word], [["check"], RULES.calm, RULES.pong, "connected"]);
    const dead = over("sse").alarm().after(900).tell("checked", { ok: false });
    assert.deepEqual([dead.did, dead.word, dead.state.why.kind], [["drop"], "reconnecting", "silent"]);
    const behind = over("sse").alarm().after(900).tell("checked", { ok: true, behind: true });
    assert.deepEqual([behind.did, behind.word, behind.waits], [[], "connected", RULES.pong - 900], "what was published is on its way");
    assert.equal(behind.after(50).tell("heard").waits, RULES.calm, "and comes");
    const lost = over("sse").alarm().after(900).tell("checked", { ok: true, behind: true }).alarm();
    assert.deepEqual([lost.did, lost.word, lost.state.why.kind], [["drop"], "reconnecting", "silent"], "or does not");
    assert.deepEqual([tab.tell("checked", { ok: true, behind: false }).waits, tab.alarm().did], [RULES.calm, ["check"]]);
    while (tab.word === "connected") tab.tell("checked", { ok: true }).alarm();
    assert.deepEqual([tab.did, tab.now - heard], [["drop"], 25_000 + RULES.slack], "the server lives, the stream does not");
    const mute = over("sse").alarm().alarm();
    assert.deepEqual([mute.did, mute.word], [["drop"], "reconnecting"], "nor is there an answer");
    assert.deepEqual(connected().tell("checked", { ok: false }).word, "connected", "an answer that is late");
  });

  test("of a poll that asked to be held for a few seconds is the end", () => {
    const tab = new Tab();
    tab.state = first("poll");
    tab.tell("start").connect();
    assert.equal(tab.waits, RULES.calm + RULES.pong);
    assert.deepEqual([tab.alarm().did, tab.word, tab.state.why.kind], [["drop"], "reconnecting", "silent"]);
  });

  test("of a try to open does not outlast the network's coming back", () => {
    for (const type of ["online", "visible"]) {
      const tab = started();
      assert.deepEqual(tab.after(100).tell(type).did, []);
      assert.deepEqual([tab.after(RULES.stuck).tell(type).did, tab.word], [["drop", "open"], "connecting"]);
      assert.deepEqual(tab.after(RULES.stuck).tell("opened").tell(type).did, ["drop", "open"]);
      assert.deepEqual(tab.tell("closed", { code: 1006 }).after(RULES.stuck).tell(type).did, ["open"], "nothing is open while it asks");
    }
  });

  test("coming back into view or online asks at once unless something was just heard", () => {
    for (const type of ["visible", "online"]) {
      const tab = connected();
      assert.deepEqual(tab.after(100).tell(type).did, []);
      assert.deepEqual(tab.after(RULES.quiet).tell(type).did, ["ping"]);
      assert.deepEqual(tab.tell(type).did, [], "once");
    }
  });
});

describe("the transport", () => {
  const shut = { status: 426 }; // the server would take an upgrade
  const stranger = { status: 403, foreign: true };
  const tries = (tab, times, answer) => {
    for (let i = 0; i < times; i += 1) {
      if (tab.state.phase === "waiting") tab.alarm();
      tab.tell("closed", { code: 1006 }).tell("answer", answer);
    }
    return tab;
  };
  const over = (tab) => [tab.state.path.via, tab.state.phase];
  const onEvents = () => tries(started(), 1, stranger).connect();

  test("stays with WebSockets after one failure, and leaves them at once after two", () => {
    assert.deepEqual(over(tries(started(), 1, shut)), ["websocket", "waiting"]);
    const tab = tries(started(), 2, shut);
    assert.deepEqual([over(tab), tab.actions], [["sse", "opening"], [{ do: "open", via: "sse", own: false }]]);
    assert.equal(tab.connect().word, "connected");
  });

  test("leaves them after one when a stranger answers in the server's place", () => {
    assert.deepEqual(over(tries(started(), 1, stranger)), ["sse", "opening"]);
    assert.deepEqual(over(tries(started(), 1, { status: 200, foreign: true })), ["sse", "opening"]);
    assert.deepEqual(over(tries(started(), 1, { status: 502, foreign: true })), ["websocket", "waiting"], "no server behind it");
  });

  test("stays with them when the server itself refuses, or is away", () => {
    for (const status of [429, 503, 0]) assert.deepEqual(over(tries(started(), 5, { status })), ["websocket", "waiting"]);
    assert.deepEqual(over(tries(started(), 1, { status: 403 })), ["websocket", "offline"]);
  });

  test("is not so soon given up where it once worked", () => {
    const back = () => connected().tell("closed", { code: 1006 });
    assert.deepEqual(over(tries(back(), 3, shut)), ["websocket", "waiting"]);
    assert.deepEqual(over(tries(back(), 4, shut)), ["sse", "opening"]);
    assert.deepEqual(over(tries(back(), 3, stranger)), ["websocket", "waiting"]);
  });

  test("a WebSocket that is opened and cut, or opened and silent, is none", () => {
    const tab = started().tell("opened").tell("closed", { code: 1006 });
    assert.deepEqual(over(tab), ["websocket", "waiting"]);
    assert.deepEqual(over(tab.alarm().tell("opened").alarm()), ["sse", "opening"]);
  });

  test("goes from events to polling when they are held back, refused, or not there", () => {
    const events = () => tries(started(), 1, stranger);
    const held = events().tell("opened");
    assert.equal(held.waits, RULES.greetEvents);
    assert.deepEqual([over(held.alarm()), held.did], [["poll", "opening"], ["drop", "open"]]);
    const swallowed = events().alarm();
    assert.deepEqual([over(swallowed), swallowed.did], [["poll", "opening"], ["drop", "open"]]);
    assert.deepEqual(over(events().tell("answer", stranger)), ["poll", "opening"]);
    assert.deepEqual(over(events().tell("answer", { status: 404 })), ["poll", "opening"]);
    assert.deepEqual(over(events().tell("answer", { status: 0 })), ["sse", "waiting"], "maybe the server is away");
    assert.deepEqual(over(events().tell("answer", { status: 503 })), ["sse", "waiting"]);
    assert.deepEqual(over(events().tell("answer", { status: 400 })), ["sse", "offline"]);
  });

  test("begins with WebSockets anew when nothing gets through, with back-off", () => {
    const tab = tries(started(), 1, stranger).tell("answer", stranger).tell("answer", stranger);
    assert.deepEqual([over(tab), tab.did], [["websocket", "waiting"], []]);
    const waits = [tab.waits];
    for (let i = 0; i < 3; i += 1) waits.push(tries(tab, 1, stranger).tell("answer", stranger).tell("answer", stranger).waits);
    assert.deepEqual(waits, [250, 500, 1_000, 2_000]);
  });

  test("tries a WebSocket later, or when the network is back, without touching what works", () => {
    const tab = onEvents();
    for (let at = 0; at < RULES.probe; at += 20_000) tab.after(20_000).tell("heard");
    assert.deepEqual([tab.alarm().did, tab.word], [["probe"], "connected"]);
    assert.deepEqual([tab.tell("online").did, tab.tell("probed", { ok: false }).did, tab.word], [[], [], "connected"], "one at a time");
    assert.deepEqual(tab.tell("online").did, ["probe"]);
    assert.equal(tab.state.probing.until - tab.now, RULES.probing);
    tab.after(RULES.calm - 1_000).tell("heard");
    assert.deepEqual([tab.alarm().did, tab.state.probing], [[], null], "no answer is one, too");
    tab.tell("online").tell("probed", { ok: true, heartbeatMs: 1_000 });
    assert.deepEqual([over(tab), tab.did, tab.waits], [["websocket", "connected"], [], RULES.calm]);
  });

  test("a session that its own try has taken over is not lost, unless the try comes to nothing", () => {
    const taken = () => onEvents().tell("online").tell("closed", { code: 4005, reason: "replaced" });
    assert.equal(taken().word, "connected");
    assert.deepEqual(over(taken().tell("probed", { ok: true, heartbeatMs: 1_000 })), ["websocket", "connected"]);
    assert.equal(taken().tell("probed", { ok: false }).word, "reconnecting");
    assert.equal(taken().alarm().word, "reconnecting");
    assert.equal(onEvents().tell("closed", { code: 4005, reason: "replaced" }).word, "offline", "taken over by somebody else");
  });

  test("that was chosen is kept, whatever happens", () => {
    const tab = new Tab();
    tab.state = first("sse");
    tab.tell("start");
    assert.deepEqual(tab.actions, [{ do: "open", via: "sse", own: false }]);
    for (let i = 0; i < 5; i += 1) tab.tell("answer", { status: 0 }).alarm();
    tab.tell("opened").alarm().alarm();
    assert.equal(tab.state.path.via, "sse");
    assert.equal(tab.connect().tell("online").state.probing, null);
    assert.deepEqual(over(tries(started().tell("chosen", { mode: "websocket" }), 1, stranger)), ["websocket", "offline"]);
  });

  test("another choice opens anew, the same one does not", () => {
    const tab = connected().tell("chosen", { mode: "websocket" });
    assert.deepEqual([tab.did, tab.word], [[], "connected"]);
    assert.deepEqual([tab.tell("chosen", { mode: "poll" }).did, tab.state.path.via], [["drop", "open"], "poll"]);
    assert.deepEqual([tab.connect().tell("chosen", { mode: "auto" }).did, tab.state.path.via], [["drop", "open"], "websocket"]);
    const off = connected().tell("closed", { code: 4006, reason: "" }).tell("chosen", { mode: "sse" });
    assert.deepEqual([off.did, off.word], [["open"], "connecting"]);
  });

  test("that only listens waits for a sign of life, and cannot ask for it there", () => {
    const tab = onEvents();
    assert.deepEqual([tab.tell("visible").did, tab.alarm().did, tab.alarm().did, tab.word], [[], ["check"], ["drop"], "reconnecting"]);
    const slept = onEvents().alarm(3_600_000);
    assert.deepEqual([slept.did, slept.word, slept.state.silentAt - slept.now], [["check"], "reconnecting", RULES.pong], "the answer may lie unread");
    assert.equal(slept.tell("heard").word, "connected");
    const ended = onEvents().tell("closed", { code: 1006 }).alarm().tell("closed", { code: 1000, reason: "ended" });
    assert.deepEqual([ended.word, ended.did], ["offline", []]);
  });
});

test("a move is no outage", () => {
  const tab = connected();
  const before = tab.state;
  tab.tell("system", { event: "moved" });
  assert.deepEqual([tab.state, tab.did, tab.word], [before, [], "connected"]);
});

describe("another user, another page", () => {
  test("a new id opens a new session in any phase", () => {
    assert.deepEqual(connected().tell("renamed").did, ["drop", "open"]);
    assert.deepEqual(started().tell("renamed").did, ["drop", "open"]);
    assert.deepEqual(connected().tell("closed", { code: 1006 }).tell("renamed").did, ["open"]);
    assert.deepEqual(new Tab().tell("renamed").did, []);
  });

  test("leaving lets go of the socket, and coming back starts", () => {
    const tab = connected().tell("leave");
    assert.deepEqual([tab.did, tab.state.phase, tab.state.wakeAt], [["drop"], "idle", null]);
    assert.deepEqual(tab.tell("start").did, ["open"]);
  });
});

describe("tokens", () => {
  const refused = (slug) => started().tell("closed", { code: 1006, reason: "" }).tell("answer", { status: 401, slug });

  test("a token is waited for before the open, and the open has its whole time then", () => {
    const tab = started().tell("proving");
    assert.deepEqual([tab.word, tab.did], ["connecting", []]);
    for (const event of ["online", "visible", "again"]) assert.deepEqual(tab.after(3_000).tell(event).did, []);
    assert.equal(tab.state.phase, "proving");
    tab.tell("proved");
    assert.deepEqual([tab.state.phase, tab.did, tab.waits], ["opening", [], RULES.firstOpen]);
    assert.equal(tab.connect().word, "connected");
  });

  test("one that does not come is asked for again, less and less often", () => {
    const tab = started();
    const waits = [];
    for (let i = 0; i < 12; i += 1) {
      tab.tell("proving").tell("unproved", { why: { kind: "token-failed", slug: null } });
      assert.equal(tab.word, "reconnecting");
      waits.push(tab.waits);
      assert.deepEqual(tab.alarm().did, ["open"]);
    }
    assert.ok(waits.every((ms, at) => ms >= RULES.token && ms >= (waits[at - 1] ?? 0)), `${waits}`);
    assert.equal(waits.at(-1), RULES.tokenCap * 0.75);
    assert.deepEqual(tab.tell("proving").alarm().did, ["drop"], "nobody answers");
    assert.equal(tab.state.why.kind, "token-late");
  });

  test("past its end: at once with a fresh one; revoked or not accepted: not before there may be another", () => {
    const expired = connected().tell("closed", { code: 4002, reason: "token-expired" });
    assert.deepEqual([expired.word, expired.waits], ["reconnecting", RULES.soon / 2]);
    assert.deepEqual(expired.alarm().did, ["open"]);
    for (const slug of ["token-revoked", "token-invalid"]) {
      const tab = connected().tell("closed", { code: 4001, reason: slug });
      assert.equal(tab.word, "reconnecting");
      assert.ok(tab.waits >= RULES.token);
      assert.deepEqual(tab.after(10).tell("visible").did, [], "nor when somebody looks");
    }
    assert.equal(connected().tell("closed", { code: 4003, reason: "forbidden" }).word, "offline");
  });

  test("a refusal for the token is waited with, over the same transport; another 401 is final", () => {
    for (const slug of ["token-missing", "token-expired", "token-revoked", "token-invalid"]) {
      const tab = refused(slug);
      assert.deepEqual([tab.word, tab.state.path.via], ["reconnecting", "websocket"], slug);
      assert.ok(tab.waits >= RULES.token, slug);
      assert.deepEqual(tab.tell("again").did, ["open"], "who asks for it is not kept waiting");
    }
    assert.equal(refused("").word, "offline");
  });
});

test("no history leaves a tab stuck, with two sockets, or asking for what it has not", () => {
  const lots = generator(20_261_120);
  const pick = (list) => list[Math.floor(lots() * list.length)];
  const codes = [1000, 1001, 1006, 1006, 1008, 1011, 1012, 1013, 4001, 4005, 4101, 4102, 4200, 4201];
  const events = [
    () => ["opened"], () => ["welcome", { heartbeatMs: pick([undefined, 0, 1_000, 25_000]) }], () => ["heard"],
    () => ["closed", { code: pick(codes), reason: pick(["", "slug", "token-expired"]) }], () => ["proving"], () => ["proved"],
    () => ["unproved", { why: { kind: "token-failed", slug: null } }], () => ["alarm"], () => ["online"], () => ["visible"],
    () => ["system", { inMs: pick([undefined, 0, 50, 1e9]) }], () => ["again"], () => ["renamed"], () => ["start"], () => ["leave"],
    () => ["answer", { status: pick([0, 200, 400, 403, 404, 426, 429, 503]), elsewhere: pick([true, false]), foreign: pick([true, false]), retryAfterMs: pick([0, 2_000]) }],
    () => ["chosen", { mode: pick(["auto", "auto", "websocket", "sse", "poll"]) }], () => ["reopen"],
    () => ["probed", { ok: pick([true, false]), heartbeatMs: 1_000 }], () => ["checked", { ok: pick([true, false]), behind: pick([true, false]) }],
  ];
  const used = new Set();
  for (let history = 0; history < 4_000; history += 1) {
    const tab = new Tab();
    let link = false;
    for (let i = 0; i < 60; i += 1) {
      const [type, more] = pick(events)();
      const { phase: before, probing } = tab.state;
      const listens = tab.state.path.via !== "websocket";
      if (["opened", "welcome", "heard", "system", "closed"].includes(type) && (!link || before === "proving")) continue;
      if (type === "unproved" && before === "proving") link = false;
      if (type === "probed" && !probing) continue;
      if (type === "answer" && before !== "asking" && !(before === "opening" && listens)) continue;
      if (type === "closed" || (type === "answer" && before === "opening")) link = false;
      if (type === "probed" && more.ok) link = true;
      tab.random = lots();
      tab.after(lots() * 3_000).tell(type, more);
      for (const action of tab.actions) {
        if (action.do === "ping" || action.do === "check") assert.ok(link);
        if (action.do === "probe") assert.ok(listens && tab.state.probing, "only beside another transport");
        if (action.do === "drop") assert.ok(link, `a drop of nothing after ${type}`);
        if (action.do === "drop") link = false;
        if (action.do === "open") assert.ok(!link, `a second link after ${type}`);
        if (action.do === "open") link = true;
        if (action.do === "open") used.add(action.via);
      }
      const { phase, wakeAt, path, bereft } = tab.state;
      assert.equal(tab.word === "connected", phase === "connected" && !tab.state.doubt);
      assert.ok(["connecting", "connected", "reconnecting", "offline"].includes(tab.word));
      assert.equal(link, ["proving", "opening", "greeting", "connected"].includes(phase) && !bereft);
      assert.equal(Number.isFinite(wakeAt), phase !== "idle" && phase !== "offline", phase);
      assert.ok(path.mode === "auto" || path.mode === path.via, "what was chosen is used");
    }
  }
  assert.deepEqual([...used].toSorted(), ["poll", "sse", "websocket"]);
});

test("every close code has one verdict", () => {
  for (let code = 1_000; code < 5_000; code += 1) {
    assert.ok(["stop", "backoff", "pause", "soon"].includes(verdict(code)));
  }
});

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function generator(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
