// Asks for the last hour (`GET /api/v1/history`), and again when the server cannot tell it yet.

import { here, retryAfter, send } from "./server.js";

const FIRST = 1_000; // back-off: doubles each try, with jitter
const LONGEST = 30_000;
const PATIENCE = 10_000;

/**
 * One question at a time. `onCandles(told, askedAt)` gets the answer; `onState(word)` gets `waiting` while there is
 * none yet, and `missing` from a server that has no history.
 */
export class History {
  #with;
  #question = 0;
  #timer = 0;

  constructor({ now, onCandles, onState, fetch = send, later = (...all) => setTimeout(...all), random = Math.random }) {
    this.#with = { now, onCandles, onState, fetch, later, random };
  }

  /** Asks, `after` so many milliseconds, until there is an answer; an earlier question is forgotten. */
  ask(symbol, after = 0) {
    this.stop();
    const question = this.#question;
    if (after > 0) this.#timer = this.#with.later(() => this.#try(symbol, 0, question), after);
    else this.#try(symbol, 0, question);
  }

  /** Forgets the question. */
  stop() {
    this.#question += 1;
    clearTimeout(this.#timer);
  }

  async #try(symbol, tries, question) {
    const { now, onCandles, onState, fetch, later, random } = this.#with;
    const askedAt = now();
    const answer = await candlesOf(fetch, here("api/v1/history", { symbol, interval: "1m", limit: 60 }));
    if (question !== this.#question) return;
    if (answer.candles) return onCandles(answer.candles, askedAt);
    if (answer.missing) return onState("missing");
    onState("waiting");
    const pause = Math.min(LONGEST, FIRST * 2 ** tries) * (0.5 + random() / 2);
    this.#timer = later(() => this.#try(symbol, Math.min(tries + 1, 10), question), Math.max(pause, Math.min(answer.notBefore, LONGEST)));
  }
}

async function candlesOf(fetch, url) {
  try {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    const { status } = response;
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) return { missing: true };
    const { candles } = response.ok ? await response.json() : {};
    return { candles: Array.isArray(candles) ? candles : null, notBefore: retryAfter(response) };
  } catch {
    return { notBefore: 0 };
  }
}
