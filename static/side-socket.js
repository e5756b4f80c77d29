// A WebSocket of one of the panels: it is there while the panel wants it, comes back by itself where the close code
// says so, and tells why not in words.

import { backoff, RULES, verdict } from "./rules.js";
import { reasonOf, socketUrl } from "./server.js";
import { tokens } from "./tokens.js";
import { bearer } from "./transport-websocket.js";

/** What a failed open or a close means: `{stop, floor}`; `floor` is the soonest return in milliseconds. */
export function afterwards({ code, status, foreign, retryAfterMs = 0 }) {
  // Past its token's end: a fresh one opens it again.
  if (code === 4002) return { stop: false, floor: 0 };
  if (code !== undefined) return { stop: verdict(code) === "stop", floor: verdict(code) === "pause" ? RULES.after41xx : 0 };
  const own = status >= 400 && status < 500 && ![408, 426].includes(status) && !foreign;
  return { stop: own, floor: Math.min(retryAfterMs, RULES.longest) };
}

export class SideSocket {
  #with;
  #socket = null;
  #timer = 0;
  #attempt = 0;

  /**
   * `userId()` and `wsUrl()` as of the main session. `onText(text)` for each message; `onState({phase, why})` with
   * `off`, `opening`, `open`, `waiting` or `refused`, and the `why` of words.js for the last two.
   */
  constructor({ path, userId, wsUrl, onText, onState }) {
    this.#with = { path, userId, wsUrl, onText, onState };
  }

  /** Whether it is wanted. */
  get on() {
    return this.#socket !== null || this.#timer !== 0;
  }

  open() {
    if (this.on) return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Lets go, saying so to the server. */
  close() {
    const socket = this.#socket;
    this.#forget();
    socket?.close?.(1000);
    this.#with.onState({ phase: "off" });
  }

  /** The path to the server is dead: what is open would hang for long. */
  again() {
    const socket = this.#socket;
    if (!socket) return;
    this.#forget();
    socket.close?.();
    this.#after({ kind: "silent" });
  }

  /** Whether it could be said. */
  say(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
  }

  #connect() {
    this.#forget();
    this.#with.onState({ phase: "opening" });
    if (!tokens.awaited) return this.#dial(null);
    const place = (this.#socket = {});
    tokens.fresh().then(({ token, fault, slug }) => {
      if (place !== this.#socket) return;
      if (fault) this.#after({ kind: fault, slug });
      else this.#dial(token);
    });
  }

  #dial(token) {
    const { path, userId, wsUrl, onText, onState } = this.#with;
    let socket;
    try {
      socket = new WebSocket(socketUrl(path, { user_id: userId() }, wsUrl()), bearer(token));
    } catch {
      socket = {}; // not a URL, or ws: from an https: page
      queueMicrotask(() => this.#failed(socket, token));
    }
    let openedAt = null;
    this.#socket = socket;
    socket.onopen = () => {
      openedAt = performance.now();
      onState({ phase: "open" });
    };
    socket.onmessage = ({ data }) => onText(String(data));
    socket.onclose = ({ code, reason }) => {
      if (openedAt === null) return void this.#failed(socket, token);
      if (performance.now() - openedAt >= RULES.stable) this.#attempt = 0;
      this.#after({ code, slug: reason });
    };
  }

  async #failed(socket, token) {
    const answer = await reasonOf(this.#with.path, { user_id: this.#with.userId() }, token);
    if (socket !== this.#socket) return;
    tokens.refused(token, answer.slug);
    const told = answer.status >= 400 && answer.status !== 426;
    this.#after(told ? answer : { kind: answer.status ? "blocked" : "unreachable" });
  }

  #after(why) {
    this.#forget();
    const { stop, floor } = afterwards(why);
    if (stop) return this.#with.onState({ phase: "refused", why });
    this.#timer = setTimeout(() => this.#connect(), floor + backoff(this.#attempt, Math.random()));
    this.#attempt += 1;
    this.#with.onState({ phase: "waiting", why });
  }
}
