// The last hour of the symbol: listens to its candles, asks for those of before, and lets the chart show them.
//
// Subscribed first, asked then: so nothing is missed between. A server that does not know the channel has no history
// either, and is not asked.

import { Candles } from "./candles.js";
import { History } from "./history.js";

const SETTLED = 1_000; // the server's answers may be a little old: none from before the last price of the other kind
const ID = "candles"; // of our subscription, in the server's answer

export class LastHour {
  #clock;
  #say;
  #chart;
  #candles = new Candles();
  #history;
  #symbol = null;
  #live = false;
  #heard = []; // channels that the session is on already
  #wall = null; // the server's wall clock at this page's time 0

  /** `say(message)` speaks in the session and answers whether it could, `chart` shows. */
  constructor({ clock, say, chart }) {
    this.#clock = clock;
    this.#say = say;
    this.#chart = chart;
    this.#history = new History({
      now: () => clock.now(),
      onCandles: (told, askedAt) => this.#take(told, askedAt),
      onState: (word) => this.#state(word),
    });
  }

  /** A session began: everything anew, as the server may be a new one. */
  welcome({ time, channels }) {
    const wall = Date.parse(time);
    this.#wall = (Number.isNaN(wall) ? Date.now() : wall) - this.#clock.now();
    this.#live = true;
    this.#heard = channels ?? [];
    const [, symbol] = /^price:([^@]+)/.exec((channels ?? []).find((name) => /^price:/.test(name))) ?? [];
    const shown = this.#symbol ?? symbol;
    this.#symbol = null;
    if (shown) this.symbol(shown);
  }

  /** The symbol that the page shows, when it is known. */
  symbol(symbol) {
    if (symbol === this.#symbol || !this.#live) return;
    this.#symbol = symbol;
    this.#chart.symbol(symbol);
    const channel = `candle:${symbol}@1m`;
    // A session that only listens is on what it was opened with.
    const asked = !this.#heard.includes(channel) && this.#say({ type: "subscribe", channels: [channel], id: ID });
    if (!asked) this.#history.ask(symbol);
  }

  /** There is no session any more. */
  lost() {
    if (!this.#live) return;
    this.#live = false;
    this.#history.stop();
  }

  /** The answer to our subscription: an `ack`, or an `error`. */
  answered({ id, code }) {
    if (id !== ID) return;
    if (code === "unknown-channel") this.#state("missing");
    else this.#history.ask(this.#symbol);
  }

  /** A live candle. */
  candle(message) {
    if (message.symbol !== this.#symbol || message.interval !== "1m") return;
    const before = this.#candles.mock;
    this.#candles.hear(message, this.#clock.now());
    this.#chart.news();
    // Of another kind: the server has another history now.
    const changed = before !== null && this.#candles.mock !== before;
    if (changed && this.#live) this.#history.ask(this.#symbol, SETTLED);
  }

  /** What is to be seen now, as `Candles.hour` tells it; null as long as no server has told the time. */
  hour() {
    return this.#wall === null ? null : this.#candles.hour(this.#wall + this.#clock.now());
  }

  #take(told, askedAt) {
    this.#candles.history(told, askedAt);
    this.#state("here");
  }

  #state(word) {
    if (word === "missing") this.#candles.clear();
    this.#chart.history(word);
    this.#chart.news();
  }
}
