// When to connect, when to wait, when to give up: the life of this tab's session, decided here and carried out
// in connection.js. Pure: an event and `now` in, the next state and what to do out. No socket, timer or clock.
//
// A state is an object with a `phase`, what that phase needs, and what outlives phases:
//   path     over which transport, as fallback.js tells
//   attempt  tries since the last session that lasted, for the back-off
//   again    whether this is a return (the word is then "reconnecting")
//   why      what ended the last try, or null: {code|status|kind, slug, detail}
//   misses   times that the other WebSocket address failed while our own origin would have served
//   wakeAt   when the phase wants an `alarm` event, or null
//
// Events: start, proving, proved, unproved, opened, welcome, system, heard, closed, answer, alarm, online, visible, again, renamed, leave, chosen,
// reopen, probed, checked.
// Actions: {do: "open", via, own}, {do: "drop", clean}, {do: "ask"}, {do: "ping"}, {do: "check"}, {do: "probe"}.
//
// A living session is never quiet for long: after `calm` a WebSocket is pinged. A stream of events cannot be asked; the
// server is, beside it: what it has published must come over the stream, too, and the stream's own comments must not be
// late. A poll is held for `calm` at most.

import { begin, choose, failed, hasAnother, howFailed, probes, welcomed as welcomedBy } from "./fallback.js";
import { RULES, backoff, tokenPause, verdict } from "./rules.js";
import { isAboutToken } from "./tokens.js";

export { RULES, backoff, verdict };

/** The state before `start`, with the chosen transport or `auto`. */
export function first(mode) {
  return { phase: "idle", path: begin(mode), attempt: 0, again: false, why: null, misses: 0, wakeAt: null };
}

/** Whether there is a session, and no sign of life of it is overdue. */
export function isLive(state) {
  return state.phase === "connected" && !state.doubt;
}

/** What the page shows: one of the contract's four words. */
export function word(state) {
  switch (state.phase) {
    case "connected":
      return state.doubt ? "reconnecting" : "connected";
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

/** The transport in use, or about to be: `websocket`, `sse` or `poll`. */
export function via(state) {
  return state.path.via;
}

/** Whether the session can be spoken in: over anything but a WebSocket it only listens. */
export function speaks(state) {
  return state.path.via === "websocket";
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
  renamed: (s, e, now) => (s.phase === "idle" ? [s] : dropped(s, true, ...open({ ...s, attempt: 0, again: false }, now))),
  leave: (s) => dropped(s, false, { ...first(), path: s.path, again: s.again, misses: s.misses }),
  chosen,
};

const PHASES = {
  idle: { start: (s, e, now) => open(s, now) },
  opening: {
    proving: (s, e, now) => [{ ...carried(s), phase: "proving", wakeAt: now + RULES.prove }],
    opened: (s, e, now) => [{ ...s, phase: "greeting", wakeAt: now + (via(s) === "sse" ? RULES.greetEvents : RULES.greet) }],
    closed: (s, e, now, random) => (speaks(s) ? ask(s, now) : lost(s, e, now, random)),
    online: again,
    visible: again,
    answer: (s, e, now, random) => (speaks(s) ? [s] : answered(s, e, now, random)),
    alarm: (s, e, now, random) => dropped(s, false, ...(speaks(s) ? ask(s, now) : missed(s, "silent", { kind: "unreachable" }, now, random))),
  },
  // The page around this one is asked for a token: that the network is back, or somebody looks, changes nothing.
  proving: {
    proved: (s, e, now) => [opening(s, now)],
    unproved: (s, e, now, random) => [wait(s, now, random, e.why, { what: "token" })],
    alarm: (s, e, now, random) => dropped(s, false, wait(s, now, random, { kind: "token-late" }, { what: "token" })),
  },
  greeting: {
    online: again,
    visible: again,
    welcome: (s, e, now) => [welcomed(s, e, now)],
    closed: (s, e, now, random) => (e.code === 1006 ? missed(s, "failed", { code: 1006, slug: "" }, now, random) : lost(s, e, now, random)),
    alarm: (s, e, now, random) => dropped(s, false, ...missed(s, "silent", { kind: "no-welcome" }, now, random)),
  },
  connected: {
    welcome: (s, e, now) => [welcomed(s, e, now)],
    heard: (s, e, now) => [heard(s, now)],
    system: hinted,
    // Taken over by our own probe, whose welcome is about to come.
    closed: (s, e, now, random) => (s.probing && [1000, 4005].includes(e.code) ? [wakened({ ...s, bereft: true })] : lost(s, e, now, random)),
    alarm: rung,
    checked,
    online: (s, e, now) => {
      const [looked, ...actions] = look(s, e, now);
      if (speaks(s) || s.probing || !probes(s.path)) return [looked, ...actions];
      const [next, ...more] = probe(looked, now);
      return [next, ...actions, ...more];
    },
    visible: look,
    probed: (s, e, now, random) => (e.ok ? [welcomed({ ...s, path: { ...s.path, via: "websocket" } }, e, now)] : unprobed(s, e, now, random)),
    reopen: (s, e, now) => dropped(s, false, ...open({ ...s, again: true }, now)),
  },
  asking: {
    answer: answered,
    alarm: (s, e, now, random) => [wait(s, now, random, { kind: "unreachable" })],
    online: again,
    visible: again,
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

function carried({ path, attempt, again, why, misses }) {
  return { path, attempt, again, why, misses };
}

function open(s, now) {
  return [opening(s, now), { do: "open", via: via(s), own: prefersOwn(s) }];
}

function opening(s, now) {
  const patience = hasAnother(s.path) ? RULES.firstOpen : RULES.open;
  return { ...carried(s), phase: "opening", openedAt: now, wakeAt: now + patience };
}

/** Lets go of what is open; `clean` when nobody will come back to it. */
function dropped(s, clean, next, ...actions) {
  const live = ["proving", "opening", "greeting", "connected"].includes(s.phase) && !s.bereft;
  return [next, ...(live ? [{ do: "drop", clean }] : []), ...actions];
}

function ask(s, now) {
  return [{ ...carried(s), phase: "asking", openedAt: s.openedAt, wakeAt: now + RULES.ask }, { do: "ask" }];
}

/** The network is back or somebody looks: a try from before may hang for long. */
function again(s, e, now) {
  return now - s.openedAt < RULES.stuck ? [s] : dropped(s, false, ...open(s, now));
}

/** Another transport was chosen. What is in use already goes on. */
function chosen(s, { mode }, now) {
  const path = choose(s.path, mode);
  if (s.phase === "idle") return [{ ...s, path }];
  if (s.phase === "offline" || path.via !== via(s)) return dropped(s, false, ...open({ ...s, path, attempt: 0 }, now));
  return [s.phase === "connected" ? heard({ ...s, path, probing: null, probeAt: nextProbe(path, now) }, s.heardAt) : { ...s, path }];
}

function welcomed(s, { heartbeatMs }, now) {
  const heartbeat = heartbeatMs > 0 ? heartbeatMs : RULES.heartbeat;
  const path = welcomedBy(s.path);
  const fresh = { phase: "connected", path, why: null, misses: 0, hint: null, since: now, heartbeat };
  return heard({ ...carried(s), ...fresh, probing: null, bereft: false, probeAt: nextProbe(path, now) }, now);
}

function nextProbe(path, now) {
  return probes(path) ? now + RULES.probe : Infinity;
}

function heard(s, now) {
  const silence = via(s) === "poll" ? RULES.calm + RULES.pong : RULES.calm;
  return wakened({ ...s, heardAt: now, pinged: null, doubt: false, silentAt: now + silence });
}

/** When the comments of a stream of events are late. Nothing else comes by itself. */
function overdueAt(s) {
  return via(s) === "sse" ? s.heardAt + s.heartbeat + RULES.slack : Infinity;
}

function wakened(s) {
  const silentAt = s.bereft ? Infinity : s.silentAt;
  return { ...s, wakeAt: Math.min(silentAt, s.probing ? s.probing.until : s.probeAt) };
}

/** Tries a WebSocket beside what works. The session goes over to it only when it is there. */
function probe(s, now) {
  return [wakened({ ...s, probing: { until: now + RULES.probing }, probeAt: now + RULES.probe }), { do: "probe" }];
}

function unprobed(s, e, now, random) {
  if (!s.probing) return [s];
  if (s.bereft) return [wait(rested(s, now), now, random, { code: 1006, slug: "" })];
  return [wakened({ ...s, probing: null })];
}

/** A `system` message that says when to return: that session's own slot, spread by the server. */
function hinted(s, { inMs, event, reason }) {
  return [Number.isFinite(inMs) ? { ...s, hint: { inMs: Math.min(Math.max(inMs, 0), RULES.longest), event, reason } } : s];
}

function rung(s, e, now, random) {
  if (now >= s.silentAt && !s.bereft) return watch(s, e, now, random);
  if (s.probing) return now >= s.probing.until ? unprobed(s, e, now, random) : [s];
  return now >= s.probeAt ? probe(s, now) : [s];
}

/** Silence: ask for a sign of life, and go when none comes. */
function watch(s, e, now, random) {
  if (!s.pinged && via(s) !== "poll" && now < overdueAt(s)) return ping(s, now, false);
  // A suspended machine or a frozen tab: the answer may lie unread. Once, not for ever.
  if (isLate(s, now) && !s.pinged?.once) return ping(s, now, true);
  return silent(s, now, random);
}

/** Timers stood still: whether there still is a session is not known. */
function isLate(s, now) {
  return now - s.silentAt > RULES.late;
}

function silent(s, now, random) {
  return dropped(s, false, wait(rested(s, now), now, random, { kind: "silent" }));
}

function look(s, e, now) {
  return s.bereft || s.pinged || now - s.heardAt < RULES.quiet ? [s] : ping(s, now, false);
}

/** Asks for a sign of life. Of a poll one can only be waited for. */
function ping(s, now, once) {
  const question = { websocket: [{ do: "ping" }], sse: [{ do: "check" }], poll: [] }[via(s)];
  const doubt = s.doubt || isLate(s, now);
  return [wakened({ ...s, doubt, pinged: { once }, silentAt: now + RULES.pong }), ...question];
}

/**
 * Whether the server answers beside a quiet stream, and has published what the stream did not bring: that must come
 * before the question's time is up. If there is nothing to bring, the next question is soon.
 */
function checked(s, { ok, behind }, now, random) {
  if (!s.pinged || s.bereft || via(s) !== "sse") return [s];
  if (!ok) return silent(s, now, random);
  if (behind || now >= overdueAt(s)) return [s];
  return [wakened({ ...s, pinged: null, doubt: false, silentAt: Math.min(now + RULES.calm, overdueAt(s)) })];
}

/** The back-off starts anew only after a session that lasted: welcome-and-close in a circle must not spin. */
function rested(s, now) {
  return s.phase === "connected" && now - s.since >= RULES.stable ? { ...s, attempt: 0 } : s;
}

function lost(s, { code, reason }, now, random) {
  const why = { code, slug: reason || s.hint?.reason || "", event: s.hint?.event };
  if (isAboutToken(reason)) {
    // Past its end: with a fresh one the session goes on at once. Refused: until there is another.
    return [wait(rested(s, now), now, random, why, { what: code === 4002 ? "soon" : "token" })];
  }
  const what = verdict(code);
  if (what === "stop") return [{ ...carried(s), phase: "offline", why, wakeAt: null }];
  return [wait(rested(s, now), now, random, why, { what, inMs: s.hint?.inMs })];
}

function wait(s, now, random, why, { what = "backoff", inMs, floor = 0 } = {}) {
  const notBefore = now + Math.max(floor, { pause: RULES.after41xx, token: RULES.token }[what] ?? 0);
  const until = what === "token" ? now + tokenPause(s.attempt, random)
    : inMs === undefined
      ? notBefore + backoff(s.attempt, random, what === "soon" ? RULES.soon : RULES.base)
      : Math.max(notBefore, now + inMs);
  return { ...carried(s), phase: "waiting", attempt: s.attempt + 1, again: true, why, notBefore, wakeAt: until };
}

/** The network is back or somebody looks: now, but never before what the server asked for. */
function hurry(s, e, now) {
  return now >= s.notBefore ? open(s, now) : [{ ...s, wakeAt: Math.min(s.wakeAt, s.notBefore) }];
}

/** Why the open failed: what the server said, or for a WebSocket a plain GET of the same path on our own origin. */
function answered(s, answer, now, random) {
  const { status, slug, detail, retryAfterMs = 0 } = answer;
  const how = howFailed(via(s), answer);
  if (how === "unreachable") return missed(s, how, { kind: "unreachable" }, now, random);
  if (how === "elsewhere" || how === "failed") {
    // An upgrade would be taken now. If the try went to another address, that address is the trouble.
    const misses = s.misses + (how === "elsewhere" ? 1 : 0);
    return missed({ ...s, misses }, how, { kind: how === "elsewhere" ? "address" : "failed" }, now, random);
  }
  if (how === "refused" && isAboutToken(slug)) return [wait(s, now, random, { status, slug, detail }, { what: "token" })];
  const why = status < 400 ? { kind: "foreign" } : { status, slug, detail };
  const later = status === 429 || status >= 500 || status < 400 || status === 408;
  return missed(s, how, why, now, random, { later, floor: Math.min(retryAfterMs, RULES.longest) });
}

/** A failed open: over to the next transport at once, or once more after a while, or not at all. */
function missed(s, how, why, now, random, { later = true, floor = 0 } = {}) {
  const path = failed(s.path, how);
  const next = { ...carried(s), path };
  if (path.via === via(s)) {
    // Where all transports meet the same stranger, he may go away again.
    const stays = later || (path.mode === "auto" && how === "foreign");
    return [stays ? wait(next, now, random, why, { floor }) : { ...next, phase: "offline", why, wakeAt: null }];
  }
  return path.via === "websocket" ? [wait(next, now, random, why, { floor })] : open({ ...next, why }, now);
}
