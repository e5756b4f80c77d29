// When to connect, when to wait, when to give up: the life of this tab's session, decided here and carried out
// in connection.js. Pure: an event and `now` in, the next state and what to do out. No socket, timer or clock.
//
// A state is an object with a `phase`, what that phase needs, and what outlives phases:
//   attempt  tries since the last session that lasted, for the back-off
//   again    whether this is a return (the word is then "reconnecting")
//   why      what ended the last try, or null: {code|status|kind, slug, detail}
//   misses   times that the other WebSocket address failed while our own origin would have served
//   wakeAt   when the phase wants an `alarm` event, or null
//
// Events: start, opened, welcome, system, heard, closed, answer, alarm, online, visible, again, renamed, leave.
// Actions: {do: "open", own}, {do: "drop"}, {do: "ask"}, {do: "ping"}.

/** Every number of this file, in milliseconds. */
export const RULES = Object.freeze({
  base: 500, // first back-off; doubles each try
  cap: 20_000, // longest back-off
  soon: 200, // first back-off of a 42xx, "at once with jitter"
  after41xx: 1_000, // soonest return after a 41xx
  longest: 600_000, // a server that says "come back later than this" is not believed
  stable: 5_000, // a session that lasted so long resets the back-off
  open: 15_000, // for the handshake
  greet: 10_000, // for the welcome after it
  ask: 6_000, // for the reason of a failed open
  heartbeat: 25_000, // until a welcome tells
  slack: 5_000, // silence allowed beyond 1.5 heartbeats
  pong: 5_000, // for the answer to our own ping
  late: 2_000, // an alarm this late means that timers stood still: one more round
  quiet: 2_000, // on coming back into view, younger signs of life are enough
  misses: 2, // then the page's own origin is used
});

/** The state before `start`. */
export function first() {
  return { phase: "idle", attempt: 0, again: false, why: null, misses: 0, wakeAt: null };
}

/** What the page shows: one of the contract's four words. */
export function word(state) {
  switch (state.phase) {
    case "connected":
      return "connected";
    case "offline":
      return "offline";
    case "waiting":
      return "reconnecting";
    default:
      return state.again ? "reconnecting" : "connecting";
  }
}

/** Whether the page's own origin is to be used although `ws_url` names another address. */
export function prefersOwn(state) {
  return state.misses >= RULES.misses;
}

/** What a close code means: `stop`, `backoff`, `pause` (at least a second) or `soon`. */
export function verdict(code) {
  if (code >= 4000 && code < 4100) return "stop";
  if (code >= 4100 && code < 4200) return "pause";
  if (code >= 4200 && code < 4300) return "soon";
  return [1000, 1002, 1003, 1007, 1008, 1009].includes(code) ? "stop" : "backoff";
}

/** Full jitter: anywhere between nothing and the doubled base, the cap at most. */
export function backoff(attempt, random, base = RULES.base) {
  return random * Math.min(RULES.cap, base * 2 ** Math.min(attempt, 30));
}

/**
 * One step. `now` is monotonic milliseconds, `random` a number in [0, 1).
 * An event that means nothing in this phase changes nothing.
 */
export function step(state, event, now, random) {
  const rule = PHASES[state.phase][event.type] ?? ANYWHERE[event.type];
  const [next, ...actions] = rule ? rule(state, event, now, random) : [state];
  return { state: next, actions };
}

const ANYWHERE = {
  renamed: (s, e, now) => (s.phase === "idle" ? [s] : dropped(s, ...open({ ...s, attempt: 0, again: false }, now))),
  leave: (s) => dropped(s, { ...first(), again: s.again, misses: s.misses }),
};

const PHASES = {
  idle: { start: (s, e, now) => open(s, now) },
  opening: {
    opened: (s, e, now) => [{ ...s, phase: "greeting", wakeAt: now + RULES.greet }],
    closed: (s, e, now) => ask(s, now),
    alarm: (s, e, now) => dropped(s, ...ask(s, now)),
  },
  greeting: {
    welcome: (s, e, now) => [welcomed(s, e, now)],
    closed: lost,
    alarm: (s, e, now, random) => dropped(s, wait(s, now, random, { kind: "no-welcome" })),
  },
  connected: {
    heard: (s, e, now) => [heard(s, now)],
    system: hinted,
    closed: lost,
    alarm: watch,
    online: look,
    visible: look,
  },
  asking: {
    answer: answered,
    alarm: (s, e, now, random) => [wait(s, now, random, { kind: "unreachable" })],
    again: (s, e, now) => open(s, now),
  },
  waiting: {
    alarm: (s, e, now) => open(s, now),
    online: hurry,
    visible: hurry,
    again: (s, e, now) => open(s, now),
  },
  offline: {
    again: (s, e, now) => open({ ...s, attempt: 0, again: false }, now),
  },
};

function carried({ attempt, again, why, misses }) {
  return { attempt, again, why, misses };
}

function open(s, now) {
  return [{ ...carried(s), phase: "opening", wakeAt: now + RULES.open }, { do: "open", own: prefersOwn(s) }];
}

function dropped(s, next, ...actions) {
  const live = ["opening", "greeting", "connected"].includes(s.phase);
  return [next, ...(live ? [{ do: "drop" }] : []), ...actions];
}

function ask(s, now) {
  return [{ ...carried(s), phase: "asking", wakeAt: now + RULES.ask }, { do: "ask" }];
}

function welcomed(s, { heartbeatMs }, now) {
  const heartbeat = heartbeatMs > 0 ? heartbeatMs : RULES.heartbeat;
  return heard({ ...carried(s), phase: "connected", why: null, misses: 0, hint: null, since: now, heartbeat }, now);
}

function heard(s, now) {
  return { ...s, heardAt: now, pinged: null, wakeAt: now + 1.5 * s.heartbeat + RULES.slack };
}

/** A `system` message that says when to return: that session's own slot, spread by the server. */
function hinted(s, { inMs, event, reason }) {
  return [Number.isFinite(inMs) ? { ...s, hint: { inMs: Math.min(Math.max(inMs, 0), RULES.longest), event, reason } } : s];
}

/** Silence: ask for a sign of life, and go when none comes. */
function watch(s, e, now, random) {
  if (!s.pinged) return ping(s, now, false);
  // A suspended machine or a frozen tab: the answer may lie unread. Once, not for ever.
  if (now - s.wakeAt > RULES.late && !s.pinged.once) return ping(s, now, true);
  return dropped(s, wait(rested(s, now), now, random, { kind: "silent" }));
}

function look(s, e, now) {
  return s.pinged || now - s.heardAt < RULES.quiet ? [s] : ping(s, now, false);
}

function ping(s, now, once) {
  return [{ ...s, pinged: { once }, wakeAt: now + RULES.pong }, { do: "ping" }];
}

/** The back-off starts anew only after a session that lasted: welcome-and-close in a circle must not spin. */
function rested(s, now) {
  return s.phase === "connected" && now - s.since >= RULES.stable ? { ...s, attempt: 0 } : s;
}

function lost(s, { code, reason }, now, random) {
  const why = { code, slug: reason || s.hint?.reason || "", event: s.hint?.event };
  const what = verdict(code);
  if (what === "stop") return [{ ...carried(s), phase: "offline", why, wakeAt: null }];
  return [wait(rested(s, now), now, random, why, { what, inMs: s.hint?.inMs })];
}

function wait(s, now, random, why, { what = "backoff", inMs, floor = 0 } = {}) {
  const notBefore = now + Math.max(floor, what === "pause" ? RULES.after41xx : 0);
  const until =
    inMs === undefined
      ? notBefore + backoff(s.attempt, random, what === "soon" ? RULES.soon : RULES.base)
      : Math.max(notBefore, now + inMs);
  return { ...carried(s), phase: "waiting", attempt: s.attempt + 1, again: true, why, notBefore, wakeAt: until };
}

/** The network is back or somebody looks: now, but never before what the server asked for. */
function hurry(s, e, now) {
  return now >= s.notBefore ? open(s, now) : [{ ...s, wakeAt: Math.min(s.wakeAt, s.notBefore) }];
}

/** Why the open failed: what a plain GET of the same path on the page's own origin said. */
function answered(s, { status, slug, detail, retryAfterMs = 0, elsewhere }, now, random) {
  if (!status) return [wait(s, now, random, { kind: "unreachable" })];
  const why = { status, slug, detail };
  if (status === 429 || status >= 500) {
    return [wait(s, now, random, why, { floor: Math.min(retryAfterMs, RULES.longest) })];
  }
  if (status >= 400 && status !== 426 && status !== 408) return [{ ...carried(s), phase: "offline", why, wakeAt: null }];
  // An upgrade would be taken now. If the try went to another address, that address is the trouble.
  const misses = s.misses + (elsewhere ? 1 : 0);
  return [wait({ ...s, misses }, now, random, { kind: elsewhere ? "address" : "failed" })];
}
