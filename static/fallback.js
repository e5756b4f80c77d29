// Over which transport the session goes: the one that was chosen, or, in `auto`, the best that gets through. Pure.
//
// A path is {mode, via, misses, known}: what was chosen, what is in use, how often it failed in a row, and which
// transports have brought a welcome on this page. Where WebSockets do not get through it goes on to Server-Sent Events,
// from there to long polling, and from that to WebSockets again: when all fail, it is not the transport.

export const MODES = ["auto", "websocket", "sse", "poll"];
const NEXT = { websocket: "sse", sse: "poll", poll: "websocket" };
const FEW = 2; // failures in a row of what never worked here
const MORE = 4; // of what did: rather the server is away than the way is shut

/** The path of a page that has chosen `mode`. */
export function begin(mode = "auto") {
  return { mode, via: mode === "auto" ? "websocket" : mode, misses: 0, known: [] };
}

/** Another choice. `auto` begins with WebSockets. */
export function choose(path, mode) {
  return { ...begin(mode), known: path.known };
}

/** A welcome came. */
export function welcomed(path) {
  const known = path.known.includes(path.via) ? path.known : [...path.known, path.via];
  return { ...path, misses: 0, known };
}

/** Whether a WebSocket is tried again from time to time. */
export function probes(path) {
  return path.mode === "auto" && path.via !== "websocket";
}

/** Whether another transport would be used if this one failed. */
export function hasAnother(path) {
  return path.mode === "auto" && !path.known.includes(path.via);
}

/**
 * How it failed, from the answer to the open, or for a WebSocket to the question after it:
 * `unreachable`  nobody answered
 * `foreign`      somebody on the way answered, not this server
 * `failing`      the same, but as when there is no server behind it
 * `missing`      this server has no such transport
 * `elsewhere`    the WebSocket went to another address, our own origin would take it
 * `failed`       the server would take it, and yet it failed
 * `refused`      the server's own word, over whatever transport
 */
export function howFailed(via, { status, foreign, elsewhere }) {
  if (!status) return "unreachable";
  if (foreign && status !== 426) return status >= 500 ? "failing" : "foreign";
  if (via !== "websocket") return [404, 405, 406, 501].includes(status) ? "missing" : "refused";
  if (status < 400 || status === 426 || status === 408) return elsewhere ? "elsewhere" : "failed";
  return "refused";
}

/** The path after a failure: `howFailed`, or `silent` where an open one brought no welcome. */
export function failed(path, how) {
  if (path.mode !== "auto" || how === "refused" || how === "elsewhere") return path;
  // A server that is away is so for every transport; only one that came by a detour is not left for ever.
  if (path.via === "websocket" && how === "unreachable") return path;
  const known = path.known.includes(path.via);
  const misses = path.misses + 1;
  const sure = how === "missing" || (!known && (how === "foreign" || (how === "silent" && path.via !== "websocket")));
  return sure || misses >= (known ? MORE : FEW) ? { ...path, via: NEXT[path.via], misses: 0 } : { ...path, misses };
}
