// The token that says whose page this is, where the server asks for one (docs/access.md, "The page").
//
// Whoever embeds the page names a function, `globalThis.btcCluster.getToken`. It is asked before each attempt, so that a
// token that has ended in the meantime, in a tab asleep for instance, is never shown. Without one the browser sends the
// cookie, if there is one, by itself.

const PATIENCE = 10_000; // for one answer
const SHAPE = /^[A-Za-z0-9._-]+$/; // of a signed JWT; a WebSocket's subprotocol takes little more

/** Refusals after which the same token is never good again. */
const FINAL = ["token-expired", "token-revoked"];

/** Whether this is what the server calls a fault of the token. */
export function isAboutToken(slug) {
  return typeof slug === "string" && slug.startsWith("token-");
}

export class Tokens {
  #hook;
  #later;
  #asks = false;
  #question = null;
  #refused = { token: null, slug: null };

  constructor({ hook = () => globalThis.btcCluster?.getToken, later = (...all) => setTimeout(...all) } = {}) {
    this.#hook = hook;
    this.#later = later;
  }

  /** What the server says of itself: whether it asks for tokens; null while that is not known. */
  mode(auth) {
    this.#asks = auth === "token" || (auth === null && this.#given);
  }

  /** Whether the server asks for tokens. */
  get asked() {
    return this.#asks;
  }

  /** Whether there is something to wait for: the server asks, and a page around this one answers. */
  get awaited() {
    return this.#asks && this.#given;
  }

  get #given() {
    return typeof this.#hook() === "function";
  }

  /**
   * The token of now: `{token}`, where null leaves it to the cookie, or `{token: null, fault, slug}`. A fault is
   * `token-late`, `token-failed`, `token-broken`, or `token-same`: it was refused before, with that slug. Those who ask at
   * the same time get the same answer.
   */
  async fresh() {
    if (!this.awaited) return { token: null };
    this.#question ??= this.#ask().finally(() => (this.#question = null));
    return this.#question;
  }

  /** The server does not take this token (null: a cookie's, or none). */
  refused(token, slug) {
    if (isAboutToken(slug)) this.#refused = { token: FINAL.includes(slug) ? token : null, slug };
  }

  /** The server has taken the one of now. */
  taken() {
    this.#refused = { token: null, slug: null };
  }

  async #ask() {
    const { token: before, slug } = this.#refused;
    const late = new Promise((done) => this.#later(() => done({ late: true }), PATIENCE));
    const asked = (async () => ({ token: await this.#hook()({ refused: slug }) }))().catch(() => ({ failed: true }));
    const { token, ...fault } = await Promise.race([asked, late]);
    if (fault.late) return { token: null, fault: "token-late", slug };
    if (fault.failed) return { token: null, fault: "token-failed", slug };
    if (token === null || token === undefined || token === "") return { token: null };
    if (typeof token !== "string" || !SHAPE.test(token)) return { token: null, fault: "token-broken", slug };
    return token === before ? { token: null, fault: "token-same", slug } : { token };
  }
}

/** The page's own. */
export const tokens = new Tokens();

/** The headers that show a token. */
export function bearing(token, headers = {}) {
  return token ? { ...headers, authorization: `Bearer ${token}` } : headers;
}
