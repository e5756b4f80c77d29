// What the server says of itself (`GET /api/v1/info`): where the WebSocket is, and whether prices are made up.

import { here } from "./server.js";

const AGAIN = 2_000;
const LONGEST = 30_000;

/** Keeps `ws_url` and the default symbol; `onMadeUp(yes)` is told each time it is known whether prices are made up. */
export class Info {
  #wsUrl = null;
  #symbol = null;
  #source = null;
  #young = false;
  #asked = 0;
  #timer = 0;
  #onMadeUp;

  constructor(onMadeUp) {
    this.#onMadeUp = onMadeUp;
  }

  get wsUrl() {
    return this.#wsUrl;
  }

  /** The symbol of those who ask for none, or null. */
  get symbol() {
    return this.#symbol;
  }

  /** Before the first session: its welcome need not ask again. */
  async begin() {
    this.#young = await this.#refresh();
  }

  /** A session began: with another server, maybe. */
  welcome() {
    if (!this.#young) this.#refresh();
    this.#young = false;
  }

  /** The price comes from `name` now. Whether that one is made up only the server knows. */
  async source(name) {
    const changed = this.#source !== null && this.#source !== name;
    this.#source = name;
    if (!changed) return;
    if (name === "mock") this.#onMadeUp(true);
    // Twice: the first answer may be of a worker that has not heard of the new source yet.
    if (await this.#refresh()) this.#later(AGAIN);
  }

  /** Asks the server; asks again later when it does not answer. Never fails; true when this answer was taken. */
  async #refresh(pause = AGAIN) {
    const asked = ++this.#asked;
    clearTimeout(this.#timer);
    try {
      const response = await fetch(here("api/v1/info"), { cache: "no-store", signal: AbortSignal.timeout(3_000) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const { ws_url: wsUrl, mock, symbol, symbols } = await response.json();
      if (asked !== this.#asked) return false;
      this.#wsUrl = wsUrl || null;
      this.#symbol = symbol ?? symbols?.[0] ?? null;
      this.#onMadeUp(mock === true);
      return true;
    } catch {
      if (asked === this.#asked) this.#later(pause, Math.min(pause * 2, LONGEST));
      return false;
    }
  }

  #later(ms, pause) {
    this.#timer = setTimeout(() => this.#refresh(pause), ms);
  }
}
