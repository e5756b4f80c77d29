// What may be shown of the newest price, by this page's own clock: the server's word that it is old may be on its way for
// long, or never come.

import { ageAt } from "./prices.js";

// Of a server that does not tell its own.
const RULES = { freshFor: 10_000, maxAge: 120_000, goneAfter: 600_000 };

const DRAINED = 2_000; // after a sleep: what lay unread has been read then
const SET_BACK = 5_000; // a price that came so much before the last one: somebody has set the server's clock back

/** The ages that a welcome tells. */
export function rulesOf({ fresh_for_ms: freshFor, max_age_ms: maxAge, gone_after_ms: goneAfter }, before = RULES) {
  const told = Object.entries({ freshFor, maxAge, goneAfter }).filter(([, ms]) => Number.isFinite(ms));
  return { ...before, ...Object.fromEntries(told) };
}

/**
 * `{stale, none}` of a quote of this age, with what the server said of it. A server that is not heard would not have
 * said more than that it is stale: past `maxAge` nothing is shown then.
 */
export function judge(quote, age, rules, live) {
  const staleAfter = Math.min(Math.max(rules.freshFor, 2 * (quote.interval_ms ?? 0)), rules.maxAge);
  const goneAfter = live ? rules.goneAfter : Math.min(rules.goneAfter, rules.maxAge);
  const none = !quote.price || age > goneAfter;
  return { stale: !none && (quote.stale === true || age > staleAfter), none };
}

/**
 * The server's clock, as far ahead of this page's as its quickest message says. What was written long before it came
 * (a path that stood still, or is slow) is as old as its stamp says, not as young as it was when it left.
 */
export class ServerClock {
  #clock;
  #ahead = null;
  #received = -Infinity; // the stamp of the newest price

  constructor(clock) {
    this.#clock = clock;
  }

  /** The first stamp of a session, maybe of another server. */
  begin(stamp) {
    this.#ahead = null;
    this.#received = -Infinity;
    this.hear(stamp);
  }

  /** The stamp of the newest price. Stamps of after a clock was set back say nothing beside those of before. */
  price(stamp) {
    const received = Date.parse(stamp);
    if (received < this.#received - SET_BACK) this.#ahead = null;
    if (Number.isFinite(received)) this.#received = received;
  }

  hear(stamp) {
    const at = Date.parse(stamp);
    if (!Number.isFinite(at)) return;
    this.#ahead = Math.max(this.#ahead ?? -Infinity, at - this.#clock.now());
  }

  forget() {
    this.#ahead = null;
  }

  /** Milliseconds since a stamp, at least. */
  since(stamp) {
    const at = Date.parse(stamp);
    return this.#ahead === null || !Number.isFinite(at) ? 0 : Math.max(0, this.#ahead + this.#clock.now() - at);
  }
}

/** Tells `show({quote, stale, none})` when something else is to be shown; `quote` is null before the first. */
export class ShownPrice {
  #clock;
  #server;
  #show;
  #rules = RULES;
  #live = false;
  #leaps = 0;
  #woke = null; // since when this page's clock and the server's may differ
  #quote = null;
  #shown = "";

  constructor({ clock, show }) {
    this.#clock = clock;
    this.#server = new ServerClock(clock);
    this.#show = show;
  }

  /** A session began. */
  welcome(message) {
    this.#rules = rulesOf(message);
    this.#leaps = this.#clock.leaps();
    this.#woke = null;
    this.#server.begin(message.time);
  }

  /** Other rules, as a `system` message tells them. */
  ruled(message) {
    this.#rules = rulesOf(message, this.#rules);
    this.look();
  }

  /** The server says what time it is. */
  time(stamp) {
    this.#server.hear(stamp);
  }

  /** Whether there is a session; `slept` if timers stood still meanwhile. */
  live(yes, slept = false) {
    this.#live = yes;
    if (slept) this.#woke = this.#clock.now();
    this.look();
  }

  /**
   * The server is heard. After a sleep of the machine the first messages may have lain unread: they are as old as the
   * server's clock says, as it was known before. What comes later tells it anew: the jump may have been somebody's who
   * has set this page's clock.
   */
  heard() {
    const now = this.#clock.now();
    const leaps = this.#clock.leaps();
    if (leaps !== this.#leaps) [this.#leaps, this.#woke] = [leaps, now];
    if (this.#woke === null || now - this.#woke < DRAINED) return;
    this.#woke = null;
    this.#server.forget();
    this.look();
  }

  /** The newest quote, as `Prices` keeps it; null: the server has none. */
  take(quote) {
    this.#quote = quote;
    this.#server.price(quote.received_at);
    this.#shown = "";
    this.look();
  }

  /** Milliseconds since a quote was read by the server, never too few. */
  age(quote) {
    return Math.max(ageAt(quote, this.#clock.now()), this.#server.since(quote.received_at));
  }

  /** A quote that has just come, with its age and state as this page sees them. */
  told(message) {
    const quote = { ...message, arrivedAt: this.#clock.now() };
    const age = this.age(quote);
    return { ...message, age_ms: age, stale: judge(quote, age, this.#rules, true).stale };
  }

  /** To be called often. */
  look() {
    const quote = this.#quote;
    if (quote === null) return;
    const { stale, none } = judge(quote, this.age(quote), this.#rules, this.#live);
    const shown = `${stale} ${none}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#show({ quote, stale, none });
  }
}
