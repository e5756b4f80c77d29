// Carries out what session.js decides: the WebSocket, the one timer, the question after a failed open.

import { first, step } from "./session.js";

export const SUBPROTOCOL = "btc-cluster.v1.json";

/** A URL of this server, wherever its page is mounted. */
export function here(path, query = {}) {
  const url = new URL(path, new URL(".", location.href));
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  return url;
}

/** Where to open the session: `wsUrl` of the server's info, or the page's own origin. */
export function sessionUrl(userId, wsUrl) {
  const url = wsUrl ? new URL(wsUrl.replace("{host}", location.hostname)) : here("ws");
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  url.hash = "";
  url.searchParams.set("user_id", userId);
  return url;
}

/** One session's connection. `onState(state)` after every step, `onMessage(message)` for every one that is JSON. */
export class Connection {
  #state = first();
  #socket = null;
  #elsewhere = false;
  #question = null;
  #timer = 0;
  #with;

  /** `wsUrl()` tells the address of the server's info (or null), `userId()` whose session it is. */
  constructor({ clock, userId, wsUrl, onState, onMessage, random = Math.random }) {
    this.#with = { clock, userId, wsUrl, onState, onMessage, random };
  }

  get state() {
    return this.#state;
  }

  /** Tells the session that something happened, an `{type, ...}` of session.js. */
  tell(event) {
    const { clock, random, onState } = this.#with;
    const { state, actions } = step(this.#state, event, clock.now(), random());
    const changed = state !== this.#state;
    this.#state = state;
    for (const action of actions) this.#carry(action);
    if (!changed) return;
    this.#wind();
    onState(this.#state);
  }

  /** Says something to the server, where there is a session to say it in. */
  say(message) {
    if (this.#state.phase === "connected") this.#socket?.send(JSON.stringify(message));
  }

  #carry(action) {
    switch (action.do) {
      case "open":
        return this.#open(action.own);
      case "drop":
        return this.#drop();
      case "ask":
        return void this.#ask();
      case "ping":
        return this.#socket?.send('{"type":"ping"}');
    }
  }

  #wind() {
    clearTimeout(this.#timer);
    const { wakeAt } = this.#state;
    if (wakeAt === null) return;
    // At least a millisecond: a timer may fire a little early, and the alarm is for `wakeAt` or later.
    const ring = () => (this.#with.clock.now() < wakeAt ? this.#wind() : this.tell({ type: "alarm" }));
    this.#timer = setTimeout(ring, Math.max(1, wakeAt - this.#with.clock.now()));
  }

  #open(own) {
    const wsUrl = own ? null : this.#with.wsUrl();
    this.#elsewhere = Boolean(wsUrl);
    let socket;
    try {
      socket = new WebSocket(sessionUrl(this.#with.userId(), wsUrl), [SUBPROTOCOL]);
    } catch {
      // Not a URL, or ws: from an https: page. As good as a refused connection, and told after this step.
      queueMicrotask(() => this.tell({ type: "closed", code: 1006, reason: "" }));
      return;
    }
    this.#socket = socket;
    const current = (tell) => (event) => socket === this.#socket && tell(event);
    socket.onopen = current(() => this.tell({ type: "opened" }));
    socket.onmessage = current((event) => this.#hear(event.data));
    socket.onclose = current(({ code, reason }) => {
      this.#socket = null;
      this.tell({ type: "closed", code, reason });
    });
  }

  /** Forgets the socket at once: the close handshake with a dead server takes the browser minutes. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #hear(data) {
    this.tell({ type: "heard" });
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message === null || typeof message !== "object") return;
    if (message.type === "welcome") this.tell({ type: "welcome", heartbeatMs: message.heartbeat_ms });
    if (message.type === "system") {
      const { reconnect_in_ms: inMs, event, reason } = message;
      this.tell({ type: "system", inMs, event, reason });
    }
    this.#with.onMessage(message);
  }

  /** Browsers hide why an upgrade failed; a plain GET of the same path on our own origin tells. */
  async #ask() {
    const question = Symbol("question");
    this.#question = question;
    const elsewhere = this.#elsewhere;
    const answer = await reasonOf(here("ws", { user_id: this.#with.userId() }));
    if (this.#question === question) this.tell({ type: "answer", elsewhere, ...answer });
  }
}

async function reasonOf(url) {
  try {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(5_000) });
    const problem = await problemOf(response);
    return { status: response.status, retryAfterMs: retryAfter(response), ...problem };
  } catch {
    return { status: 0 };
  }
}

/** `Retry-After` in milliseconds, 0 where there is none. */
export function retryAfter(response) {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : 0;
}

/** The slug and the words of a refusal, as far as it is problem+json. */
export async function problemOf(response) {
  if (response.ok) return {};
  try {
    const { type, title, detail } = await response.json();
    const slug = typeof type === "string" ? type.split(/[/:#]/).pop() : "";
    return { slug: slug === "blank" ? "" : slug, detail: detail || title || "" };
  } catch {
    return { slug: "", detail: "" };
  }
}
