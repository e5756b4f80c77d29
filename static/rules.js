// The numbers of a session's life, what close codes mean, and the back-off. Pure.

/** In milliseconds, unless it is said otherwise. */
export const RULES = Object.freeze({
  base: 500, // first back-off; doubles each try
  cap: 20_000, // longest back-off
  soon: 200, // first back-off of a 42xx, "at once with jitter"
  after41xx: 1_000, // soonest return after a 41xx
  token: 5_000, // soonest return after a token that was refused; doubles each try
  tokenCap: 300_000, // and the longest
  renew: 2_000, // a token is not replaced sooner
  prove: 12_000, // for a token from the page around this one
  longest: 600_000, // a server that says "come back later than this" is not believed
  stable: 5_000, // a session that lasted so long resets the back-off
  open: 15_000, // for the handshake
  firstOpen: 7_000, // while another transport is there to be tried
  greet: 10_000, // for the welcome after it
  greetEvents: 6_000, // over Server-Sent Events, which a proxy may hold back
  ask: 6_000, // for the reason of a failed open
  heartbeat: 25_000, // until a welcome tells
  calm: 5_000, // silence after which a sign of life is asked for; a poll asks to be held so long
  slack: 5_000, // how late a heartbeat may be that is heard without asking
  pong: 5_000, // for the answer to our own question
  stuck: 2_000, // a try to open that is older begins anew when the network is back
  late: 2_000, // an alarm this late means that timers stood still: one more round
  quiet: 2_000, // on coming back into view, younger signs of life are enough
  misses: 2, // times; then the page's own origin is used
  probe: 180_000, // after which a WebSocket is tried again
  probing: 8_000, // for that try
});

/** What a close code means: `stop`, `backoff`, `pause` (at least a second) or `soon`. */
export function verdict(code) {
  if (code >= 4000 && code < 4100) return "stop";
  if (code >= 4100 && code < 4200) return "pause";
  if (code >= 4200 && code < 4300) return "soon";
  return [1000, 1002, 1003, 1007, 1008, 1009].includes(code) ? "stop" : "backoff";
}

/** Until a refused token is replaced, most likely: half of it is jitter. */
export function tokenPause(attempt, random) {
  return Math.max(RULES.token, Math.min(RULES.tokenCap, RULES.token * 2 ** Math.min(attempt, 30)) * (0.5 + random / 2));
}

/** Full jitter: anywhere between nothing and the doubled base, the cap at most. */
export function backoff(attempt, random, base = RULES.base) {
  return random * Math.min(RULES.cap, base * 2 ** Math.min(attempt, 30));
}
