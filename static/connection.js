// Carries out what session.js decides: the transport in use, the one timer, the question after a failed open, and the
// WebSocket that is tried beside another transport.

import { Resume, putAway, takeBack } from "./resume.js";
import { RULES } from "./rules.js";
import { newestPrice, reasonOf } from "./server.js";
import { first, prefersOwn, speaks, step } from "./session.js";
import * as poll from "./transport-poll.js";
import * as sse from "./transport-sse.js";
import * as websocket from "./transport-websocket.js";

const TRANSPORTS = { websocket, sse, poll };

/**
 * One session. `onState(state)` after every step, `onMessage(message)` for every message but those that came before,
 * `onGap()` when some may be missing.
 */
export class Connection {
  #state;
  #link = null;
  #left = []; // links that were dropped and may be open still
  #probe = null;
  #elsewhere = false;
  #question = null;
  #timer = 0;
  #resume = new Resume();
  #with;

  /**
   * `wsUrl()` tells the address of the server's info (or null), `userId()` whose session it is, `channels(via)` what
   * a session that cannot ask for more is opened with (or null), `isNews(quote)` whether a quote is still to come.
   */
  constructor({ clock, userId, wsUrl, channels, mode, isNews, onState, onMessage, onGap, random = Math.random }) {
    this.#with = { clock, userId, wsUrl, channels, isNews, onState, onMessage, onGap, random };
    this.#state = first(mode);
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
    // No session, nothing to come back to; but a server that only refuses for now may take it later.
    if (state.phase === "offline" && state.why?.code) this.#resume.forget();
    for (const action of actions) this.#carry(action);
    if (!this.#state.probing) this.#dropProbe();
    if (!changed || state !== this.#state) return;
    this.#wind();
    onState(this.#state);
  }

  /** Says something to the server; whether there is a session to say it in. */
  say(message) {
    return this.#state.phase === "connected" && speaks(this.#state) && (this.#link?.say(JSON.stringify(message)) ?? false);
  }

  /** What was kept over a reload, before `start`. */
  restore() {
    this.#resume.restore(takeBack(this.#with.userId()));
  }

  /** The page goes away, and keeps what it needs to come back to its session. One that is `frozen` lets go of it. */
  leave(frozen) {
    putAway(this.#with.userId(), this.#resume.keep());
    this.tell({ type: "leave" });
    if (frozen) this.#closeLeft();
    this.#resume.forget();
  }

  /** A session anew, with the channels of now: for one that cannot ask for them. */
  reopen() {
    this.#resume.forget();
    this.tell({ type: "reopen" });
  }

  #carry(action) {
    switch (action.do) {
      case "open":
        return this.#open(action);
      case "drop":
        return this.#drop(action.clean);
      case "ask":
        return void this.#ask();
      case "ping":
        return this.#link?.say('{"type":"ping"}');
      case "check":
        return void this.#check();
      case "probe":
        return this.#tryWebSocket();
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

  #open({ via, own }) {
    this.#question = null;
    const wsUrl = own ? null : this.#with.wsUrl();
    this.#elsewhere = via === "websocket" && Boolean(wsUrl);
    let offer = this.#resume.offer();
    const current = (tell) => (...all) => link === this.#link && tell(...all);
    const channels = via === "websocket" ? null : this.#with.channels(via);
    const link = TRANSPORTS[via].open({ userId: this.#with.userId(), channels, ticket: offer.ticket, wsUrl }, {
      opened: current(() => this.tell({ type: "opened" })),
      heard: current(() => this.tell({ type: "heard" })),
      message: current((message) => {
        // A second welcome over the same link, as polls may bring, is to all that was heard until then.
        if (message.type === "welcome") {
          this.#welcome(message, offer ?? this.#resume.offer());
          offer = null;
        }
        this.#hear(message);
      }),
      ticket: current((ticket) => this.#resume.at(ticket)),
      continued: current(() => {
        offer = null;
        this.#goOn();
      }),
      refused: current((answer) => {
        this.#link = null;
        this.tell({ type: "answer", ...answer });
      }),
      closed: current((close) => this.#closed(link, close)),
    });
    this.#link = link;
  }

  #closed(link, { code, reason, inMs }) {
    this.#link = null;
    link.drop(false);
    if (inMs !== undefined) this.tell({ type: "system", inMs, event: "close", reason });
    this.tell({ type: "closed", code, reason });
  }

  #drop(clean) {
    if (this.#link) this.#leave(this.#link, clean);
    this.#link = null;
    if (clean) this.#resume.forget();
  }

  #leave(link, clean = false) {
    link.drop(clean);
    if (!clean) this.#left.push(link);
  }

  #closeLeft() {
    for (const link of this.#left) link.close();
    this.#left = [];
  }

  #welcome(message, offer) {
    const gap = this.#resume.welcome(message, offer);
    this.#closeLeft();
    this.tell({ type: "welcome", heartbeatMs: message.heartbeat_ms });
    if (gap) this.#with.onGap();
  }

  #hear(message) {
    const { type } = message;
    if (type !== "welcome" && !this.#resume.heard(message)) return;
    if (type === "system") {
      const { reconnect_in_ms: inMs, event, reason } = message;
      if (event === "moved") this.#resume.moved(message);
      this.tell({ type: "system", inMs, event, reason });
    }
    this.#with.onMessage(message);
  }

  #goOn() {
    const welcome = this.#resume.continued();
    this.tell({ type: "welcome", heartbeatMs: welcome?.heartbeat_ms });
    if (welcome) this.#with.onMessage(welcome);
  }

  /** A WebSocket beside the link in use. With its welcome it takes the session over; until then nothing changes. */
  #tryWebSocket() {
    const offer = this.#resume.offer();
    const wsUrl = prefersOwn(this.#state) ? null : this.#with.wsUrl();
    const failed = () => link === this.#probe && this.tell({ type: "probed", ok: false });
    const hear = (message) => {
      if (link === this.#probe && message.type === "welcome") this.#adopt(link, message, offer);
      if (link === this.#link) this.#hear(message);
    };
    const link = websocket.open({ userId: this.#with.userId(), channels: null, ticket: offer.ticket, wsUrl }, {
      opened: () => {},
      heard: () => link === this.#link && this.tell({ type: "heard" }),
      message: hear,
      closed: (close) => (link === this.#link ? this.#closed(link, close) : failed()),
    });
    this.#probe = link;
  }

  #adopt(link, welcome, offer) {
    if (this.#link) this.#leave(this.#link);
    this.#link = link;
    this.#probe = null;
    this.tell({ type: "probed", ok: true, heartbeatMs: welcome.heartbeat_ms });
    this.#welcome(welcome, offer);
  }

  #dropProbe() {
    if (this.#probe) this.#leave(this.#probe);
    this.#probe = null;
  }

  /** Any answer of the server is a sign of life of the path to it. A newer price in it is missing on the stream. */
  async #check() {
    const link = this.#link;
    const answer = await newestPrice(RULES.pong);
    if (link === this.#link) this.tell({ type: "checked", ok: answer.ok, behind: this.#with.isNews(answer.quote) });
  }

  async #ask() {
    const question = Symbol("question");
    this.#question = question;
    const elsewhere = this.#elsewhere;
    const answer = await reasonOf("ws", { user_id: this.#with.userId() });
    if (this.#question === question) this.tell({ type: "answer", elsewhere, ...answer });
  }
}
