// Carries out what session.js decides: the transport in use, the one timer, the question after a failed open, and the
// WebSocket that is tried beside another transport. Where tokens are asked for, each of these has a fresh one.

import { Resume, putAway, takeBack } from "./resume.js";
import { RULES } from "./rules.js";
import { newestPrice, reasonOf } from "./server.js";
import { first, prefersOwn, speaks, step, via } from "./session.js";
import * as poll from "./transport-poll.js";
import * as sse from "./transport-sse.js";
import * as websocket from "./transport-websocket.js";

const TRANSPORTS = { websocket, sse, poll };
const AUTH = "token"; // of a fresh token, in the server's answer
const LAST = 2_000; // nearer to a token's end it is not asked for once more

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
  #attempt = null; // to open, while a token is waited for
  #token = { used: null, offered: null, since: 0 };
  #timer = 0;
  #resume = new Resume();
  #with;

  /**
   * `wsUrl()` tells the address of the server's info (or null), `userId()` whose session it is (null: the
   * token's), `tokens` shows who we are, `channels(via)` what
   * a session that cannot ask for more is opened with (or null), `isNews(quote)` whether a quote is still to come.
   */
  constructor({ clock, userId, tokens, wsUrl, channels, mode, isNews, onState, onMessage, onGap, random = Math.random }) {
    this.#with = { clock, userId, tokens, wsUrl, channels, isNews, onState, onMessage, onGap, random };
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
    if (state.why?.code === 4001 || (state.phase === "offline" && state.why?.code)) this.#resume.forget();
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

  /** The page around this one has a token that it had not before. */
  signedIn() {
    if (this.#state.phase === "connected") this.#renew(0);
    else this.tell({ type: "again" });
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

  #open(action) {
    this.#question = null;
    const { tokens } = this.#with;
    if (!tokens.awaited) return this.#dial(action, null);
    const attempt = (this.#attempt = Symbol("attempt"));
    this.tell({ type: "proving" });
    tokens.fresh().then(({ token, fault, slug }) => {
      if (attempt !== this.#attempt) return;
      if (fault) return this.tell({ type: "unproved", why: { kind: fault, slug } });
      this.tell({ type: "proved" });
      this.#dial(action, token);
    });
  }

  #dial({ via, own }, token) {
    this.#use(token);
    const wsUrl = own ? null : this.#with.wsUrl();
    this.#elsewhere = via === "websocket" && Boolean(wsUrl);
    let offer = this.#resume.offer();
    const current = (tell) => (...all) => link === this.#link && tell(...all);
    const channels = via === "websocket" ? null : this.#with.channels(via);
    const link = TRANSPORTS[via].open({ userId: this.#with.userId(), channels, ticket: offer.ticket, wsUrl, token, renewed: () => this.#renewed() }, {
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
        this.#refused(answer.slug);
        this.tell({ type: "answer", ...answer });
      }),
      closed: current((close) => this.#closed(link, close)),
    });
    this.#link = link;
  }

  #closed(link, { code, reason, inMs }) {
    this.#link = null;
    link.drop(false);
    this.#refused(reason);
    if (inMs !== undefined) this.tell({ type: "system", inMs, event: "close", reason });
    this.tell({ type: "closed", code, reason });
  }

  /** The token in use is not taken any more, or that is not what is said. */
  #refused(slug) {
    this.#with.tokens.refused(this.#token.used, slug);
  }

  #drop(clean) {
    this.#attempt = null;
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
    this.#with.tokens.taken();
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
      if (event === "token-expiring") this.#renew(message.expires_in_ms);
      this.tell({ type: "system", inMs, event, reason });
    }
    if (message.id === AUTH && this.#token.offered) this.#answered(message);
    this.#with.onMessage(message);
  }

  #goOn() {
    const welcome = this.#resume.continued();
    this.tell({ type: "welcome", heartbeatMs: welcome?.heartbeat_ms });
    if (welcome) this.#with.onMessage(welcome);
  }

  /** The token ends in so many milliseconds: a fresh one for this session. Polls bring theirs by themselves. */
  async #renew(inMs) {
    const { tokens } = this.#with;
    const link = this.#link;
    if (!tokens.awaited || !link || via(this.#state) === "poll") return;
    const used = this.#with.clock.now() - this.#token.since;
    // One whose whole life is shorter than the notice is replaced after half of it.
    const early = Math.max(RULES.renew, (used + (inMs || 0)) / 2) - used;
    if (early > 0) return this.#renewIn(early, link, inMs - early);
    const { token } = await tokens.fresh();
    if (link !== this.#link) return;
    if (!token || token === this.#token.used) {
      if (inMs > LAST) this.#renewIn(inMs / 2, link, inMs / 2);
    } else if (!speaks(this.#state)) {
      this.tell({ type: "reopen" });
    } else if (this.say({ type: "auth", token, id: AUTH })) {
      this.#token.offered = token;
    }
  }

  #renewIn(ms, link, left) {
    setTimeout(() => link === this.#link && this.#renew(left), ms);
  }

  #use(token) {
    this.#token.used = token;
    this.#token.since = this.#with.clock.now();
  }

  /** What the server says to the fresh token of this session. */
  #answered({ type, code }) {
    const { offered } = this.#token;
    this.#token.offered = null;
    if (type === "ack") this.#use(offered);
    else this.#with.tokens.refused(offered, code);
  }

  /** The token of a later request of the link in use: the one before, if no fresh one can be had. */
  async #renewed() {
    const { tokens } = this.#with;
    if (!tokens.awaited) return null;
    const { token, fault } = await tokens.fresh();
    if (!fault) this.#token.used = token;
    return this.#token.used;
  }

  /** A WebSocket beside the link in use. With its welcome it takes the session over; until then nothing changes. */
  #tryWebSocket() {
    const { tokens } = this.#with;
    if (!tokens.awaited) return this.#dialBeside(null);
    const place = (this.#probe = { drop() {}, close() {} });
    tokens.fresh().then(({ token, fault }) => {
      if (place !== this.#probe) return;
      if (fault) this.tell({ type: "probed", ok: false });
      else this.#dialBeside(token);
    });
  }

  #dialBeside(token) {
    const offer = this.#resume.offer();
    const wsUrl = prefersOwn(this.#state) ? null : this.#with.wsUrl();
    const failed = () => link === this.#probe && this.tell({ type: "probed", ok: false });
    const hear = (message) => {
      if (link === this.#probe && message.type === "welcome") this.#adopt(link, { message, offer, token });
      if (link === this.#link) this.#hear(message);
    };
    const link = websocket.open({ userId: this.#with.userId(), channels: null, ticket: offer.ticket, wsUrl, token }, {
      opened: () => {},
      heard: () => link === this.#link && this.tell({ type: "heard" }),
      message: hear,
      closed: (close) => (link === this.#link ? this.#closed(link, close) : failed()),
    });
    this.#probe = link;
  }

  #adopt(link, { message: welcome, offer, token }) {
    this.#use(token);
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
    const answer = await reasonOf("ws", { user_id: this.#with.userId() }, this.#token.used);
    if (this.#question !== question) return;
    this.#refused(answer.slug);
    this.tell({ type: "answer", elsewhere, ...answer });
  }
}
