// What the server says of itself (`GET /api/v1/info`): where the WebSocket is, and the default symbol.

import { here } from "./server.js";
import { tokens } from "./tokens.js";

const AGAIN = 2_000;
const LONGEST = 30_000;

/** Keeps `ws_url` and the default symbol. */
export class Info {
  #wsUrl = null;
  #symbol = null;
  #young = false;
  #asked = 0;
  #timer = 0;

  get wsUrl() {
    return this.#wsUrl;
  }

  /** The symbol of those who ask for none, or null. */
  get symbol() {
    return this.#symbol;
  }

  /** Before the first session: its welcome need not ask again. */
  async begin() {
    tokens.mode(null);
    this.#young = await this.#refresh();
  }

  /** A session began: with another server, maybe. */
  welcome() {
    if (!this.#young) this.#refresh();
    this.#young = false;
  }

  /** Something is not as the server said. Settles when it has answered, or has not. */
  changed() {
    return this.#refresh();
  }

  /** Asks the server; asks again later when it does not answer. Never fails; true when this answer was taken. */
  async #refresh(pause = AGAIN) {
    const asked = ++this.#asked;
    clearTimeout(this.#timer);
    try {
      const response = await fetch(here("api/v1/info"), { cache: "no-store", signal: AbortSignal.timeout(3_000) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const { ws_url: wsUrl, symbol, symbols, auth } = await response.json();
      if (asked !== this.#asked) return false;
      this.#wsUrl = wsUrl || null;
      tokens.mode(auth ?? "open");
      this.#symbol = symbol ?? symbols?.[0] ?? null;
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
